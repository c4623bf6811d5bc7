#include "pki/material.h"

#include <dirent.h>
#include <errno.h>
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
#include "base/file.h"
#include "base/xalloc.h"
#include "pki/identity.h"
#include "pki/verify.h"

enum {
	CERTIFICATE_FILE_MAX = 1024 * 1024,
	FILES_BYTES_MAX = 256 * 1024 * 1024, /* of all together */
	CHAIN_MAX = 10,
	EXPIRY_WARNING_S = 30 * 24 * 3600,
	DIRECTORY_FILES_MAX = 1000,
};

static const char pem_start[] = "-----BEGIN";

/* ---- files ---- */

static int fail_file(const char *path, int error_number, char *error, size_t size)
{
	snprintf(error, size, "%s: %s", path, strerror(error_number));
	return -error_number;
}

static int check_owner(const char *path, const struct stat *about, size_t limit, char *error,
		       size_t size)
{
	if (!S_ISREG(about->st_mode)) {
		snprintf(error, size, "%s: not a regular file", path);
		return -EINVAL;
	}
	if (about->st_uid != 0 && about->st_uid != geteuid()) {
		snprintf(error, size, "%s: belongs to uid %u; it must belong to root (chown root)",
			 path, about->st_uid);
		return -EPERM;
	}
	if (about->st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(error, size, "%s: may be written by others (mode %04o); chmod go-w", path,
			 about->st_mode & 07777);
		return -EPERM;
	}
	if ((size_t)about->st_size > limit) {
		snprintf(error, size, "%s: has %lld bytes, more than the limit of %zu", path,
			 (long long)about->st_size, limit);
		return -EFBIG;
	}
	return 0;
}

static int read_content(const char *path, int fd, size_t expected, struct buf *ret, char *error,
			size_t size)
{
	struct buf content = {0};
	ssize_t len;
	int r = 0;

	buf_reserve(&content, expected + 1);
	do {
		len = read(fd, content.data + content.len, content.cap - content.len);
		content.len += len > 0 ? (size_t)len : 0;
	} while (len > 0 && content.len < content.cap);
	if (len < 0) {
		r = fail_file(path, errno, error, size);
	} else if (content.len != expected) {
		snprintf(error, size, "%s: was changed while it was read; try again", path);
		r = -EAGAIN;
	}
	if (r == 0)
		*ret = content;
	else
		buf_done(&content);
	return r;
}

int material_read_file(const char *path, size_t limit, struct buf *ret, char *error, size_t size)
{
	struct stat about;
	_cleanup_close_ int fd = file_open(path, &about);
	int r = about.st_mode ? check_owner(path, &about, limit, error, size) : 0;

	if (r == 0 && fd < 0)
		r = fail_file(path, -fd, error, size);
	return r < 0 ? r : read_content(path, fd, (size_t)about.st_size, ret, error, size);
}

/* ---- reading: files, directories, PEM in place ---- */

void material_files_add(struct material_files *files, enum material_kind kind, const char *name,
			struct buf *content, bool unread)
{
	struct material_file *file;

	files->items = xalloc_grow(files->items, files->count + 1, sizeof(*files->items));
	file = &files->items[files->count++];
	*file = (struct material_file){kind, xalloc_string(name), *content, unread};
	*content = (struct buf){0};
}

void material_files_done(struct material_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		buf_done(&files->items[i].content);
		free(files->items[i].name);
	}
	free(files->items);
	*files = (struct material_files){0};
}

struct reading {
	const struct config *config;
	enum material_kind kind;
	struct config_problems *problems;
	struct material_files *files;
	size_t bytes; /* of all so far */
};

static const char *option_of(enum material_kind kind)
{
	switch (kind) {
	case MATERIAL_CERTIFICATE:
		return "identity.certificate";
	case MATERIAL_CA:
		return "trust.ca";
	case MATERIAL_CRL:
		return "trust.crl";
	}
	return "";
}

static void fail_reading(struct reading *reading, const char *name, const char *text)
{
	const char *option = option_of(reading->kind);
	struct buf nothing = {0};

	config_problem(reading->problems, reading->config->path,
		       config_line(reading->config, option), "%s: %s", option, text);
	material_files_add(reading->files, reading->kind, name, &nothing, true);
}

static void read_file(struct reading *reading, const char *path)
{
	size_t limit =
		reading->kind == MATERIAL_CERTIFICATE ? CERTIFICATE_FILE_MAX : TRUST_FILE_MAX;
	struct buf content = {0};
	char error[512];

	if (material_read_file(path, limit, &content, error, sizeof(error)) < 0) {
		fail_reading(reading, path, error);
		return;
	}
	reading->bytes += content.len;
	if (reading->bytes > FILES_BYTES_MAX) {
		snprintf(error, sizeof(error), "%s: all files together have more than %d bytes",
			 path, FILES_BYTES_MAX);
		fail_reading(reading, path, error);
		buf_done(&content);
		return;
	}
	material_files_add(reading->files, reading->kind, path, &content, false);
}

static int is_shown(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void read_directory(struct reading *reading, const char *path)
{
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, is_shown, alphasort);
	char error[512];

	if (count < 0) {
		snprintf(error, sizeof(error), "%s: %s", path, strerror(errno));
		fail_reading(reading, path, error);
	}
	if (count > DIRECTORY_FILES_MAX) {
		snprintf(error, sizeof(error), "%s: holds more than %d files", path,
			 DIRECTORY_FILES_MAX);
		fail_reading(reading, path, error);
	}
	for (int i = 0; i < count; i++) {
		_cleanup_free_ char *name = xalloc_print("%s/%s", path, entries[i]->d_name);
		struct stat about;

		if (count <= DIRECTORY_FILES_MAX && stat(name, &about) == 0 &&
		    S_ISREG(about.st_mode))
			read_file(reading, name);
		free(entries[i]);
	}
	free(entries);
}

static void read_in_place(struct reading *reading, const char *text)
{
	_cleanup_free_ char *name = xalloc_print("%s in place", option_of(reading->kind));
	struct buf content = {0};

	buf_append(&content, text, strlen(text));
	material_files_add(reading->files, reading->kind, name, &content, false);
}

static void read_entry(struct reading *reading, const char *entry)
{
	struct stat about;

	if (strncmp(entry, pem_start, sizeof(pem_start) - 1) == 0)
		read_in_place(reading, entry);
	else if (stat(entry, &about) == 0 && S_ISDIR(about.st_mode))
		read_directory(reading, entry);
	else
		read_file(reading, entry);
}

static void read_entries(struct reading *reading, enum material_kind kind,
			 const struct config_strings *entries)
{
	reading->kind = kind;
	for (size_t i = 0; i < entries->count; i++)
		read_entry(reading, entries->items[i]);
}

static void read_certificate(struct reading *reading)
{
	const struct config_identity *identity = &reading->config->identity;

	reading->kind = MATERIAL_CERTIFICATE;
	if (identity->certificate_is_pem)
		read_in_place(reading, identity->certificate);
	else if (strchr(identity->certificate, ':') && identity->certificate[0] != '/')
		fail_reading(reading, identity->certificate,
			     "reading a certificate from a URI is not built yet; name a file, or "
			     "write it in place");
	else
		read_file(reading, identity->certificate);
}

void material_read(const struct config *config, struct config_problems *problems,
		   struct material_files *ret)
{
	struct reading reading = {.config = config, .problems = problems, .files = ret};

	*ret = (struct material_files){0};
	read_certificate(&reading);
	read_entries(&reading, MATERIAL_CRL, &config->trust.crl);
	read_entries(&reading, MATERIAL_CA, &config->trust.ca);
}

/* ---- making: trust ---- */

struct loading {
	const struct config *config;
	const struct material_files *files;
	struct config_problems *problems, *warnings;
	const struct trust *previous; /* in force; NULL at the start */
	bool keep;		      /* of it what is wrong in the files */
};

/* The option that names the file, or holds it in place. */
static const char *find_option(const struct loading *loading, const char *file)
{
	for (size_t i = 0; i < loading->files->count; i++) {
		const struct material_file *item = &loading->files->items[i];

		if (item->kind == MATERIAL_CRL && strcmp(item->name, file) == 0)
			return option_of(MATERIAL_CRL);
	}
	return option_of(MATERIAL_CA);
}

static void on_problem(const char *file, const char *text, void *user)
{
	struct loading *loading = user;

	config_problem(loading->problems, loading->config->path,
		       config_line(loading->config, find_option(loading, file)), "%s: %s", file,
		       text);
}

static void on_warning(const char *file, const char *text, void *user)
{
	struct loading *loading = user;

	config_problem(loading->warnings, loading->config->path,
		       config_line(loading->config, find_option(loading, file)), "%s: %s", file,
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

static bool is_read(const struct material_files *files, enum material_kind kind)
{
	for (size_t i = 0; i < files->count; i++) {
		if (files->items[i].kind == kind && files->items[i].unread)
			return false;
	}
	return true;
}

/* Borrowed from files. The caller frees the array. */
static struct trust_source *list_sources(const struct material_files *files,
					 enum material_kind kind, size_t *ret_count)
{
	struct trust_source *sources = xnew_array(struct trust_source, files->count);
	size_t count = 0;

	for (size_t i = 0; i < files->count; i++) {
		const struct material_file *file = &files->items[i];

		if (file->kind == kind)
			sources[count++] = (struct trust_source){
				.file = file->name,
				.data = file->content.data,
				.len = file->content.len,
				.unread = file->unread,
			};
	}
	*ret_count = count;
	return sources;
}

static struct trust *make_trust(struct loading *loading)
{
	const struct config_trust *config = &loading->config->trust;
	struct trust_options options = {
		.crl_policy = policy_of(config),
		.crl_grace_s = config->crl_grace_s,
		.generation = 1,
		.previous = loading->previous,
		.keep = loading->keep,
	};
	_cleanup_free_ struct trust_source *cas =
		list_sources(loading->files, MATERIAL_CA, &options.ca_count);
	_cleanup_free_ struct trust_source *crls =
		list_sources(loading->files, MATERIAL_CRL, &options.crl_count);

	options.cas = cas;
	options.crls = crls;
	if (!options.keep &&
	    (!is_read(loading->files, MATERIAL_CA) || !is_read(loading->files, MATERIAL_CRL)))
		return NULL;
	return trust_new(&options, on_problem, on_warning, loading);
}

/* ---- our certificate ---- */

static void certificate_problem(const struct loading *loading, const char *text)
{
	config_problem(loading->problems, loading->config->path,
		       config_line(loading->config, "identity.certificate"),
		       "identity.certificate: %s", text);
}

/* A block that says it is encrypted: OpenSSL would ask for its passphrase on the terminal. */
static int have_no_passphrase(char *room, int size, int writing, void *unused)
{
	(void)room;
	(void)size;
	(void)writing;
	(void)unused;
	return -1;
}

static int read_certificates(struct loading *loading, const struct buf *content,
			     struct material *ret)
{
	BIO *bio = BIO_new_mem_buf(content->data, (int)content->len);
	X509 *cert;
	bool at_end;

	ret->leaf = PEM_read_bio_X509(bio, NULL, have_no_passphrase, NULL);
	ret->chain = sk_X509_new_null();
	while (ret->leaf && sk_X509_num(ret->chain) < CHAIN_MAX &&
	       (cert = PEM_read_bio_X509(bio, NULL, have_no_passphrase, NULL)))
		sk_X509_push(ret->chain, cert);
	BIO_free(bio);
	at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	/* A reload makes it beside live connections: SSL_get_error must not see what failed
	 * here. */
	ERR_clear_error();
	if (!ret->leaf) {
		certificate_problem(loading,
				    "no certificate in PEM form is in it, or it is cut off; write "
				    "the leaf first, then its intermediates");
		return -EINVAL;
	}
	if (!at_end) {
		certificate_problem(loading, "a certificate behind the leaf is cut off or damaged");
		return -EINVAL;
	}
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

static int make_certificate(struct loading *loading, struct material *ret)
{
	for (size_t i = 0; i < loading->files->count; i++) {
		const struct material_file *file = &loading->files->items[i];

		if (file->kind != MATERIAL_CERTIFICATE || file->unread)
			continue;
		if (read_certificates(loading, &file->content, ret) < 0)
			return -EINVAL;
		warn_of_expiry(loading, ret->leaf);
		return 0;
	}
	return -ENOENT;
}

int material_make(const struct config *config, const struct material_files *files,
		  const struct trust *previous, struct config_problems *problems,
		  struct config_problems *warnings, struct material *ret)
{
	struct loading loading = {config, files, problems, warnings, previous, false};
	size_t before = problems->count;
	int r;

	*ret = (struct material){0};
	r = make_certificate(&loading, ret);
	ret->trust = make_trust(&loading);
	if (r == 0 && problems->count == before && ret->trust)
		return 0;
	if (problems->count == before && is_read(files, MATERIAL_CA) &&
	    is_read(files, MATERIAL_CRL) && !ret->trust)
		config_problem(problems, config->path, config_line(config, "trust.ca"),
			       "trust.ca: nobody can be verified by it");
	material_done(ret);
	return -EINVAL;
}

/* ---- in place of what is in force ---- */

void material_keep_own(struct material *material, const struct material *in_force)
{
	X509_up_ref(in_force->leaf);
	X509_free(material->leaf);
	material->leaf = in_force->leaf;
	sk_X509_pop_free(material->chain, X509_free);
	material->chain = X509_chain_up_ref(in_force->chain);
}

/* Who vouches for ours may be an authority that we do not trust ourselves, and what its lists say is
 * for others to judge. */
static bool is_against(enum reason reason)
{
	return reason != REASON_NONE && reason != REASON_ISSUER_UNKNOWN &&
	       reason != REASON_CRL_MISSING && reason != REASON_CRL_EXPIRED &&
	       reason != REASON_CRL_INVALID;
}

/* Why the certificate cannot take the place of one that works; false: it can. */
static bool is_useless(const struct loading *loading, const struct material *material)
{
	time_t now = clock_wall();
	struct verdict verdict = verify_ask(&(struct verify_question){
		.trust = material->trust,
		.leaf = material->leaf,
		.untrusted = material->chain,
		.role = loading->config->role == CONFIG_GATEWAY ? VERIFY_GATEWAY : VERIFY_DEVICE,
		.any_name = true,
		.at = now,
	});
	char text[sizeof(verdict.text) + 80] = "";

	if (is_against(verdict.reason))
		snprintf(text, sizeof(text), "%s: %s", reason_word(verdict.reason), verdict.text);
	else if (identity_time(X509_get0_notAfter(material->leaf)) < now)
		snprintf(text, sizeof(text), "it has expired");
	else if (identity_time(X509_get0_notBefore(material->leaf)) > now)
		snprintf(text, sizeof(text), "it is not valid yet");
	if (text[0])
		certificate_problem(loading, text);
	verify_done(&verdict);
	return text[0];
}

static bool renew_own(struct loading *loading, const struct material *in_force,
		      struct material *ret)
{
	if (make_certificate(loading, ret) == 0 &&
	    (X509_cmp(ret->leaf, in_force->leaf) == 0 || !is_useless(loading, ret)))
		return true;
	material_keep_own(ret, in_force);
	return false;
}

bool material_renew(const struct config *config, const struct material_files *files,
		    const struct material *in_force, struct config_problems *problems,
		    struct config_problems *warnings, struct material *ret)
{
	struct loading loading = {config, files, problems, warnings, in_force->trust, true};

	*ret = (struct material){.trust = make_trust(&loading)};
	if (!ret->trust)
		ret->trust = trust_ref(in_force->trust);
	return renew_own(&loading, in_force, ret);
}

int material_load(const struct config *config, struct config_problems *problems,
		  struct config_problems *warnings, struct material *ret)
{
	struct material_files files;
	size_t before = problems->count;
	int r;

	material_read(config, problems, &files);
	r = material_make(config, &files, NULL, problems, warnings, ret);
	material_files_done(&files);
	if (r == 0 && problems->count > before) {
		material_done(ret);
		r = -EINVAL;
	}
	return r;
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
