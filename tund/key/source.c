#include "key/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <openssl/ui.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/xalloc.h"
#include "key/scheme.h"

enum {
	KEY_MAX = 64 * 1024,
	PASSPHRASE_MAX = 1024,
	NAME_MAX_BYTES = 256,
	SCHEME_BYTES = 32,
};

/* One opening. */
struct opening {
	const struct source *source;
	char name[NAME_MAX_BYTES]; /* of the key, for messages */
	struct buf passphrase;
	bool was_asked; /* for the passphrase */
	char *error;
	size_t size;
};

static int fail(struct opening *opening, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct opening *opening, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(opening->error, opening->size, format, arguments);
	va_end(arguments);
	return error;
}

/* Whoever can read the file has the key; whoever owns it can let others read it. */
static int check_file(struct opening *opening, const char *path, const struct stat *stat)
{
	unsigned mode = stat->st_mode & 07777;

	if (!S_ISREG(stat->st_mode))
		return fail(opening, -EINVAL, "%s: not a regular file", path);
	if (opening->source->allow_insecure_key)
		return 0;
	if (stat->st_uid != 0 && stat->st_uid != geteuid())
		return fail(opening, -EPERM, "%s: belongs to uid %u; chown root %s", path,
			    (unsigned)stat->st_uid, path);
	if (mode & 077)
		return fail(opening, -EPERM, "%s: %s by others (mode %04o); chmod 600 %s", path,
			    mode & 044 ? "readable" : "writable or executable", mode, path);
	return 0;
}

static int read_descriptor(struct opening *opening, const char *path, int fd, struct buf *ret)
{
	size_t max = ret->limit;

	while (ret->len < max) {
		/* All of the room at once, so that buf never has to move a secret. */
		uint8_t *room = buf_reserve(ret, max - ret->len);
		ssize_t len = read(fd, room, max - ret->len);

		if (len < 0)
			return fail(opening, -errno, "%s: %s", path, strerror(errno));
		if (len == 0)
			return 0;
		ret->len += (size_t)len;
	}
	return fail(opening, -EFBIG, "%s: longer than %zu bytes", path, max - 1);
}

/* The descriptor, or -errno. */
static int open_secret(struct opening *opening, const char *path)
{
	struct stat about;
	_cleanup_close_ int fd = file_open(path, &about);
	int r = about.st_mode ? check_file(opening, path, &about) : 0;

	if (r == 0 && fd < 0)
		r = fail(opening, fd, "%s: %s", path, strerror(-fd));
	return r < 0 ? r : cleanup_take_fd(&fd);
}

/* A file as it stands, at most limit - 1 bytes. passed: its descriptor, where it came as one. */
static int read_secret(struct opening *opening, const char *path, int passed, struct buf *ret)
{
	_cleanup_close_ int fd = -1;

	if (opening->source->is_passed)
		return read_descriptor(opening, path, passed, ret);
	fd = open_secret(opening, path);
	return fd < 0 ? fd : read_descriptor(opening, path, fd, ret);
}

/* The first line. */
static int read_passphrase(struct opening *opening)
{
	const char *path = opening->source->passphrase_file;
	size_t len;
	int r;

	if (!path)
		return 0;
	r = read_secret(opening, path, opening->source->passphrase_fd, &opening->passphrase);
	if (r < 0)
		return r;
	for (len = 0; len < opening->passphrase.len; len++) {
		if (opening->passphrase.data[len] == '\n' || opening->passphrase.data[len] == '\r')
			break;
	}
	if (len == 0)
		return fail(opening, -EINVAL, "%s: its first line is empty", path);
	opening->passphrase.len = len;
	return 0;
}

/* OpenSSL asks here instead of on the terminal. */
static int give_passphrase(char *room, int size, int writing, void *argument)
{
	struct opening *opening = argument;

	(void)writing;
	opening->was_asked = true;
	if (opening->passphrase.len == 0 || opening->passphrase.len > (size_t)size)
		return -1;
	memcpy(room, opening->passphrase.data, opening->passphrase.len);
	return (int)opening->passphrase.len;
}

static int fail_decoding(struct opening *opening)
{
	if (!opening->was_asked)
		return fail(opening, -EINVAL, "%s: holds no private key in PEM or DER",
			    opening->name);
	if (!opening->source->passphrase_file)
		return fail(opening, -EINVAL, "%s: is encrypted; name a passphrase-file",
			    opening->name);
	return fail(opening, -EINVAL, "%s: the passphrase in %s does not open it", opening->name,
		    opening->source->passphrase_file);
}

/* form: "DER" or "PEM"; properties: of whose hands it is to be in, NULL for any. */
static EVP_PKEY *decode_as(struct opening *opening, BIO *bio, const char *form,
			   const char *properties)
{
	EVP_PKEY *key = NULL;
	OSSL_DECODER_CTX *decoding =
		OSSL_DECODER_CTX_new_for_pkey(&key, form, NULL, NULL, EVP_PKEY_KEYPAIR, NULL,
					      properties);

	if (!decoding)
		return NULL;
	if (OSSL_DECODER_CTX_set_pem_password_cb(decoding, give_passphrase, opening))
		OSSL_DECODER_from_bio(decoding, bio);
	OSSL_DECODER_CTX_free(decoding);
	return key;
}

/* A TPM's own form (TSS2): the TPM alone can open it. */
static bool is_wrapped_by_tpm(const void *bytes, size_t len)
{
	static const char begin[] = "-----BEGIN TSS2 PRIVATE KEY-----";

	return memmem(bytes, len, begin, sizeof(begin) - 1) != NULL;
}

static int decode_key(struct opening *opening, const void *bytes, size_t len, EVP_PKEY **ret)
{
	BIO *bio = BIO_new_mem_buf(bytes, (int)len); /* borrows */
	EVP_PKEY *key;

	if (!bio)
		return fail(opening, -ENOMEM, "%s: %s", opening->name, strerror(ENOMEM));
	/* Else the public half alone would be taken over by the default provider. */
	if (is_wrapped_by_tpm(bytes, len))
		key = decode_as(opening, bio, "PEM", "provider=tpm2");
	/* PEM may have other blocks before the key: parameters, certificates. */
	else if (memmem(bytes, len, "-----BEGIN ", 11))
		key = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, opening);
	else
		key = decode_as(opening, bio, "DER", NULL);
	BIO_free(bio);
	if (!key)
		return fail_decoding(opening);
	*ret = key;
	return 0;
}

#define TPM2_PACKAGE                                                                               \
	"tpm2-openssl, or there is no TPM: /dev/tpmrm0, or what the environment's "                \
	"TPM2OPENSSL_TCTI names"

/* Who takes the addresses of a scheme, and which Debian package brings it. */
static const struct store {
	const char *scheme, *provider, *package;
} stores[] = {
	/* Where there is no p11-kit (token). */
	{"pkcs11", "pkcs11", "libp11-kit0, which serves as well, or pkcs11-provider"},
	{"handle", "tpm2", TPM2_PACKAGE},
	{"object", "tpm2", TPM2_PACKAGE},
};

static int load_store(struct opening *opening, const char *scheme)
{
	OSSL_STORE_LOADER *loader;

	for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
		if (strcmp(stores[i].scheme, scheme) != 0)
			continue;
		/* tpm2-tss writes to standard error what we say in one line. */
		setenv("TSS2_LOG", "all+NONE", 0);
		/* 1: the default provider goes on being loaded by itself. */
		if (!OSSL_PROVIDER_try_load(NULL, stores[i].provider, 1))
			return fail(opening, -ENOPKG,
				    "%s: needs the OpenSSL provider \"%s\", which does not load; "
				    "install %s",
				    opening->name, stores[i].provider, stores[i].package);
	}
	/* What both can do the default provider does: a TPM's own digests take milliseconds. */
	if (!EVP_set_default_properties(NULL, "?provider=default"))
		return fail(opening, -EIO, "%s: OpenSSL takes no default properties",
			    opening->name);
	loader = OSSL_STORE_LOADER_fetch(NULL, scheme, NULL);
	if (!loader)
		return fail(opening, -ENOPKG,
			    "%s: neither a file that exists nor an address that a loaded OpenSSL "
			    "provider takes (\"%s:\")",
			    opening->name, scheme);
	OSSL_STORE_LOADER_free(loader);
	return 0;
}

static int open_file(struct opening *opening, EVP_PKEY **ret)
{
	struct buf bytes = {.limit = KEY_MAX + 1};
	const char *path = opening->source->key ? opening->source->key : opening->name;
	int r = read_secret(opening, path, opening->source->key_fd, &bytes);

	if (r == 0)
		r = is_wrapped_by_tpm(bytes.data, bytes.len) ? load_store(opening, "handle") : 0;
	if (r == 0)
		r = decode_key(opening, bytes.data, bytes.len, ret);
	buf_wipe(&bytes);
	return r;
}

/* What comes from a provider stays with it: another could take over the public half alone. */
static const char *provider_properties(const char *scheme)
{
	return strcasecmp(scheme, "pkcs11") == 0 ? "provider=pkcs11" : "provider=tpm2";
}

static EVP_PKEY *read_store(OSSL_STORE_CTX *store)
{
	EVP_PKEY *key = NULL;

	while (!key && !OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);

		if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
			key = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
		if (!info && OSSL_STORE_error(store))
			break;
	}
	return key;
}

static int open_store(struct opening *opening, const char *scheme, EVP_PKEY **ret)
{
	UI_METHOD *asking = UI_UTIL_wrap_read_pem_callback(give_passphrase, 0);
	_cleanup_free_ char *uri = xalloc_string(opening->source->key);
	OSSL_STORE_CTX *store = NULL;
	EVP_PKEY *key = NULL;
	int r = asking ? load_store(opening, scheme) : -ENOMEM;

	/* tpm2-openssl asks for a password only where it is told that there is one. */
	if (strcasecmp(scheme, "handle") == 0 && opening->passphrase.len > 0 && !strchr(uri, '?')) {
		free(uri);
		uri = xalloc_print("%s?pass", opening->source->key);
	}
	if (r == 0)
		store = OSSL_STORE_open_ex(uri, NULL, provider_properties(scheme), asking, opening,
					   NULL, NULL, NULL);
	if (store && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY))
		key = read_store(store);
	if (r == 0 && !key) {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());

		r = fail(opening, -ENOKEY, "%s: no private key there (%s)%s", opening->name,
			 reason ? reason : "nothing found",
			 opening->was_asked && !opening->source->passphrase_file
				 ? "; name a passphrase-file with the PIN"
				 : "");
	}
	OSSL_STORE_close(store);
	UI_destroy_method(asking);
	if (r == 0)
		*ret = key;
	return r;
}

static bool is_passed_file(const struct source *source)
{
	return source->is_passed && source->key_fd >= 0;
}

/* Whether it is "scheme:..." (RFC 3986 section 3.1) and not a path that exists. */
static bool read_scheme(const char *key, char scheme[static SCHEME_BYTES])
{
	size_t len = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789+-.");

	if (len == 0 || len >= SCHEME_BYTES || key[len] != ':' || access(key, F_OK) == 0)
		return false;
	memcpy(scheme, key, len);
	scheme[len] = '\0';
	return true;
}

static int refuse_file_scheme(struct opening *opening)
{
	return fail(opening, -EINVAL, "%s: write the path without \"file:\"", opening->name);
}

static int open_named(struct opening *opening, EVP_PKEY **ret)
{
	char scheme[SCHEME_BYTES];

	if (is_passed_file(opening->source) || !read_scheme(opening->source->key, scheme))
		return open_file(opening, ret);
	/* OpenSSL would open it without a look at owner and mode. */
	if (strcasecmp(scheme, "file") == 0)
		return refuse_file_scheme(opening);
	return open_store(opening, scheme, ret);
}

/* What may be shown of it: a URI's PIN stands behind a question mark, or as an attribute. */
static void name_key(struct opening *opening)
{
	const char *key = opening->source->key;
	char scheme[SCHEME_BYTES], *secret;

	snprintf(opening->name, sizeof(opening->name), "%s",
		 key ? key : "the key in the configuration");
	/* What is passed is a file's, and there may be nobody to ask whether it exists. */
	if (!key || is_passed_file(opening->source) || !read_scheme(key, scheme))
		return;
	opening->name[strcspn(opening->name, "?")] = '\0';
	secret = strstr(opening->name, "pin-");
	if (secret)
		*secret = '\0';
}

static int check_kind(struct opening *opening, EVP_PKEY **key)
{
	char problem[NAME_MAX_BYTES];

	if (!scheme_key_problem(*key, problem, sizeof(problem)))
		return 0;
	EVP_PKEY_free(take(*key));
	return fail(opening, -EINVAL, "%s: %s", opening->name, problem);
}

int source_open(const struct source *source, EVP_PKEY **ret, char *error, size_t size)
{
	struct opening opening = {
		.source = source,
		.passphrase = {.limit = PASSPHRASE_MAX + 1},
		.error = error,
		.size = size,
	};
	EVP_PKEY *key = NULL;
	int r;

	name_key(&opening);
	r = read_passphrase(&opening);
	if (r == 0 && source->pem)
		r = decode_key(&opening, source->pem, strlen(source->pem), &key);
	else if (r == 0)
		r = open_named(&opening, &key);
	if (r == 0)
		r = check_kind(&opening, &key);
	buf_wipe(&opening.passphrase);
	ERR_clear_error();
	if (r == 0)
		*ret = key;
	return r;
}

bool source_is_file(const char *key)
{
	char scheme[SCHEME_BYTES];

	return !read_scheme(key, scheme);
}

bool source_is_pkcs11(const char *key)
{
	char scheme[SCHEME_BYTES];

	return read_scheme(key, scheme) && strcasecmp(scheme, "pkcs11") == 0;
}

int source_read_pin(const struct source *source, struct buf *ret, char *error, size_t size)
{
	struct opening opening = {
		.source = source,
		.passphrase = {.limit = PASSPHRASE_MAX + 1},
		.error = error,
		.size = size,
	};
	int r;

	name_key(&opening);
	r = read_passphrase(&opening);
	if (r < 0)
		buf_wipe(&opening.passphrase);
	else
		*ret = opening.passphrase;
	return r;
}

static int pass_files(struct opening *opening, int *key, int *passphrase)
{
	const struct source *source = opening->source;
	char scheme[SCHEME_BYTES];
	bool is_stored = source->key && read_scheme(source->key, scheme);

	if (is_stored && strcasecmp(scheme, "file") == 0)
		return refuse_file_scheme(opening);
	/* In the order of source_open. */
	if (source->passphrase_file) {
		*passphrase = open_secret(opening, source->passphrase_file);
		if (*passphrase < 0)
			return *passphrase;
	}
	if (!source->key || is_stored)
		return 0;
	*key = open_secret(opening, source->key);
	return *key < 0 ? *key : 0;
}

int source_pass(const struct source *source, int *ret_key, int *ret_passphrase, char *error,
		size_t size)
{
	struct opening opening = {.source = source, .error = error, .size = size};
	_cleanup_close_ int key = -1, passphrase = -1;
	int r;

	name_key(&opening);
	r = pass_files(&opening, &key, &passphrase);
	if (r < 0)
		return r;
	*ret_key = cleanup_take_fd(&key);
	*ret_passphrase = cleanup_take_fd(&passphrase);
	return 0;
}
