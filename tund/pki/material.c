#include "pki/material.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"

enum {
	CERTIFICATE_FILE_MAX = 1024 * 1024,
	CHAIN_MAX = 10,
	EXPIRY_WARNING_S = 30 * 24 * 3600,
	DIRECTORY_FILES_MAX = 1000,
};

static const char pem_start[] = "-----BEGIN";

/* ---- files ---- */

static int check_owner(const char *path, int fd, size_t limit, off_t *ret_size, char *error,
		       size_t size)
{
	struct stat about;

	if (fstat(fd, &about) < 0)
		return -errno;
	if (!S_ISREG(about.st_mode)) {
		snprintf(error, size, "%s: not a regular file", path);
		return -EINVAL;
	}
	if (about.st_uid != 0 && about.st_uid != geteuid()) {
		snprintf(error, size, "%s: belongs to uid %u; it must belong to root (chown root)",
			 path, about.st_uid);
		return -EPERM;
	}
	if (about.st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(error, size, "%s: may be written by others (mode %04o); chmod go-w", path,
			 about.st_mode & 07777);
		return -EPERM;
	}
	if ((size_t)about.st_size > limit) {
		snprintf(error, size, "%s: has %lld bytes, more than the limit of %zu", path,
			 (long long)about.st_size, limit);
		return -EFBIG;
	}
	*ret_size = about.st_size;
	return 0;
}

int material_read_file(const char *path, size_t limit, struct buf *ret, char *error, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct buf content = {0};
	off_t expected = 0;
	ssize_t len;
	int r;

	if (fd < 0) {
		r = -errno;
		snprintf(error, size, "%s: %s", path, strerror(errno));
		return r;
	}
	r = check_owner(path, fd, limit, &expected, error, size);
	if (r < 0)
		return r;
	buf_reserve(&content, (size_t)expected + 1);
	do {
		len = read(fd, content.data + content.len, content.cap - content.len);
		content.len += len > 0 ? (size_t)len : 0;
	} while (len > 0 && content.len < content.cap);
	if (len < 0) {
		r = -errno;
		snprintf(error, size, "%s: %s", path, strerror(errno));
		buf_done(&content);
		return r;
	}
	*ret = content;
	return 0;
}

/* ---- trust: files, directories, PEM in place ---- */

struct sources {
	struct trust_source *items;
	struct buf *contents;
	char **names;
	size_t count;
};

static void add_source(struct sources *sources, const char *name, struct buf *content)
{
	size_t i = sources->count++;

	sources->items = xalloc_grow(sources->items, sources->count, sizeof(*sources->items));
	sources->contents =
		xalloc_grow(sources->contents, sources->count, sizeof(*sources->contents));
	sources->names = xalloc_grow(sources->names, sources->count, sizeof(*sources->names));
	sources->contents[i] = *content;
	sources->names[i] = xalloc_string(name);
	sources->items[i] = (struct trust_source){sources->names[i], content->data, content->len};
}

static void sources_done(struct sources *sources)
{
	for (size_t i = 0; i < sources->count; i++) {
		buf_done(&sources->contents[i]);
		free(sources->names[i]);
	}
	free(sources->items);
	free(sources->contents);
	free(sources->names);
}

struct loading {
	const struct config *config;
	const char *option; /* whose files are read; afterwards option_of tells */
	const struct sources *lists;
	struct config_problems *problems, *warnings;
};

static void add_file(struct loading *loading, const char *path, struct sources *ret)
{
	struct buf content = {0};
	char error[512];

	if (material_read_file(path, TRUST_FILE_MAX, &content, error, sizeof(error)) < 0)
		config_problem(loading->problems, loading->config->path,
			       config_line(loading->config, loading->option), "%s: %s",
			       loading->option, error);
	else
		add_source(ret, path, &content);
}

static int is_shown(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void add_directory(struct loading *loading, const char *path, struct sources *ret)
{
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, is_shown, alphasort);

	for (int i = 0; i < count; i++) {
		_cleanup_free_ char *name = xalloc_print("%s/%s", path, entries[i]->d_name);
		struct stat about;

		if (i < DIRECTORY_FILES_MAX && stat(name, &about) == 0 && S_ISREG(about.st_mode))
			add_file(loading, name, ret);
		free(entries[i]);
	}
	free(entries);
}

static void add_entry(struct loading *loading, const char *entry, struct sources *ret)
{
	struct buf content = {0};
	struct stat about;

	if (strncmp(entry, pem_start, sizeof(pem_start) - 1) == 0) {
		_cleanup_free_ char *name = xalloc_print("%s in place", loading->option);

		buf_append(&content, entry, strlen(entry));
		add_source(ret, name, &content);
	} else if (stat(entry, &about) == 0 && S_ISDIR(about.st_mode)) {
		add_directory(loading, entry, ret);
	} else {
		add_file(loading, entry, ret);
	}
}

/* The option that names the file, or holds it in place. */
static const char *option_of(const struct loading *loading, const char *file)
{
	for (size_t i = 0; i < loading->lists->count; i++) {
		if (strcmp(loading->lists->names[i], file) == 0)
			return "trust.crl";
	}
	return "trust.ca";
}

static void on_problem(const char *file, const char *text, void *user)
{
	struct loading *loading = user;

	config_problem(loading->problems, loading->config->path,
		       config_line(loading->config, option_of(loading, file)), "%s: %s", file,
		       text);
}

static void on_warning(const char *file, const char *text, void *user)
{
	struct loading *loading = user;

	config_problem(loading->warnings, loading->config->path,
		       config_line(loading->config, option_of(loading, file)), "%s: %s", file,
		       text);
}

static enum trust_crl_policy policy_of(const struct config_trust *trust)
{
	if (trust->crl.count == 0 && !trust->crl_policy_set)
		return TRUST_CRL_OFF;
	switch (trust->crl_policy) {
	case CONFIG_CRL_STRICT:
		return TRUST_CRL_STRICT;
	case CONFIG_CRL_GRACE:
		return TRUST_CRL_GRACE;
	case CONFIG_CRL_ADVISORY:
		return TRUST_CRL_ADVISORY;
	}
	return TRUST_CRL_STRICT;
}

static struct trust *load_trust(struct loading *loading)
{
	const struct config_trust *config = &loading->config->trust;
	struct sources cas = {0}, crls = {0};
	size_t before = loading->problems->count;
	struct trust_options options = {
		.crl_policy = policy_of(config),
		.crl_grace_s = config->crl_grace_s,
		.generation = 1,
	};
	struct trust *trust = NULL;

	loading->option = "trust.crl";
	for (size_t i = 0; i < config->crl.count; i++)
		add_entry(loading, config->crl.items[i], &crls);
	loading->option = "trust.ca";
	for (size_t i = 0; i < config->ca.count; i++)
		add_entry(loading, config->ca.items[i], &cas);
	options.cas = cas.items;
	options.ca_count = cas.count;
	options.crls = crls.items;
	options.crl_count = crls.count;
	loading->lists = &crls;
	if (loading->problems->count == before)
		trust = trust_new(&options, on_problem, on_warning, loading);
	sources_done(&cas);
	sources_done(&crls);
	return trust;
}

/* ---- our certificate ---- */

static void certificate_problem(struct loading *loading, const char *text)
{
	config_problem(loading->problems, loading->config->path,
		       config_line(loading->config, "identity.certificate"),
		       "identity.certificate: %s", text);
}

static int read_certificates(struct loading *loading, const struct buf *content,
			     struct material *ret)
{
	BIO *bio = BIO_new_mem_buf(content->data, (int)content->len);
	X509 *cert;

	ret->leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	ret->chain = sk_X509_new_null();
	while (ret->leaf && sk_X509_num(ret->chain) < CHAIN_MAX &&
	       (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		sk_X509_push(ret->chain, cert);
	BIO_free(bio);
	if (!ret->leaf) {
		certificate_problem(loading,
				    "no certificate in PEM form is in it, or it is cut off; write "
				    "the leaf first, then its intermediates");
		return -EINVAL;
	}
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
		certificate_problem(loading, "a certificate behind the leaf is cut off or damaged");
		return -EINVAL;
	}
	ERR_clear_error();
	return 0;
}

static void warn_of_expiry(struct loading *loading, X509 *leaf)
{
	time_t soon = clock_wall() + EXPIRY_WARNING_S;
	struct tm end;
	char text[CLOCK_TEXT];
	time_t at;

	if (!ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &end))
		return;
	at = timegm(&end);
	if (at < soon)
		config_problem(loading->warnings, loading->config->path,
			       config_line(loading->config, "identity.certificate"),
			       "our certificate %s at %s; renew it",
			       at < clock_wall() ? "expired" : "expires", clock_print(at, text));
}

static int load_certificate(struct loading *loading, struct material *ret)
{
	const struct config_identity *identity = &loading->config->identity;
	struct buf content = {0};
	char error[512];
	int r;

	if (strchr(identity->certificate, ':') && identity->certificate[0] != '/' &&
	    !identity->certificate_is_pem) {
		certificate_problem(loading, "reading a certificate from a URI is not built yet; "
					     "name a file, or write it in place");
		return -EINVAL;
	}
	if (identity->certificate_is_pem) {
		buf_append(&content, identity->certificate, strlen(identity->certificate));
	} else if (material_read_file(identity->certificate, CERTIFICATE_FILE_MAX, &content, error,
				      sizeof(error)) < 0) {
		certificate_problem(loading, error);
		return -EINVAL;
	}
	r = read_certificates(loading, &content, ret);
	buf_done(&content);
	if (r == 0)
		warn_of_expiry(loading, ret->leaf);
	return r;
}

int material_load(const struct config *config, struct config_problems *problems,
		  struct config_problems *warnings, struct material *ret)
{
	struct loading loading = {.config = config, .problems = problems, .warnings = warnings};
	size_t before = problems->count;

	*ret = (struct material){0};
	load_certificate(&loading, ret);
	ret->trust = load_trust(&loading);
	if (problems->count == before && ret->trust)
		return 0;
	if (problems->count == before)
		config_problem(problems, config->path, config_line(config, "trust.ca"),
			       "trust.ca: nobody can be verified by it");
	material_done(ret);
	return -EINVAL;
}

void material_done(struct material *material)
{
	X509_free(material->leaf);
	sk_X509_pop_free(material->chain, X509_free);
	trust_unref(material->trust);
	*material = (struct material){0};
}

bool material_key_fits(const struct material *material, const struct buf *spki)
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(material->leaf), &der);
	bool fits = len > 0 && (size_t)len == spki->len && memcmp(der, spki->data, spki->len) == 0;

	OPENSSL_free(der);
	return fits;
}
