/* key/source: bytes that are to be a private key, in a file and in the configuration, and bytes
 * that are to be a passphrase file. The first byte chooses. An encrypted key is not fuzzed with its
 * passphrase: how long it takes to open is its own to say. */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "key/scheme.h"
#include "key/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Nobody's; "open sesame", one round. */
static const char encrypted[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
				"MIGaMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAgHVD3iBa8LSQIBATAM\n"
				"BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBAgQQmsEqReoGY08eaFP/V/X/EgRA8vXL\n"
				"NYbmaE7UZME98FB8rDthdv2hJT3EqwcKsvgLFoP2h5sD5DC9o6TokPmhSfCwn391\n"
				"gt3gvhSNcaK0QkMrPg==\n"
				"-----END ENCRYPTED PRIVATE KEY-----\n";

/* Closed with the descriptor; only its owner may read it. */
static int make_file(const uint8_t *data, size_t size, char path[static 32])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	assert(fd >= 0 && fchmod(fd, 0600) == 0);
	assert(write(fd, data, size) == (ssize_t)size);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

/* Whether it opened. */
static bool check_open(const struct source *source)
{
	char error[600] = "", problem[256];
	EVP_PKEY *key = NULL;
	int r = source_open(source, &key, error, sizeof(error));

	assert(!key == (r < 0) && ERR_peek_error() == 0);
	if (key)
		assert(!scheme_key_problem(key, problem, sizeof(problem)) &&
		       scheme_next(NULL, key));
	else
		assert(error[0]);
	for (const char *at = error; *at; at++)
		assert((unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7f);
	EVP_PKEY_free(key);
	return r == 0;
}

/* As descriptors, which a parent has opened, it is the same key. */
static void check_passed(const struct source *source, bool opened)
{
	struct source passed = *source;
	char error[600];

	passed.is_passed = true;
	assert(source_pass(source, &passed.key_fd, &passed.passphrase_fd, error, sizeof(error)) ==
	       0);
	assert(check_open(&passed) == opened);
	if (passed.key_fd >= 0)
		close(passed.key_fd);
	if (passed.passphrase_fd >= 0)
		close(passed.passphrase_fd);
}

static void fuzz_file(const uint8_t *data, size_t size)
{
	struct source source = {0};
	char path[32];
	int fd = make_file(data, size, path);

	source.key = path;
	check_passed(&source, check_open(&source));
	close(fd);
}

static void fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	check_open(&(struct source){.pem = text});
	free(text);
}

static void fuzz_passphrase(const uint8_t *data, size_t size)
{
	char path[32];
	int fd = make_file(data, size, path);

	check_open(&(struct source){.pem = encrypted, .passphrase_file = path});
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		fuzz_file(data + 1, size - 1);
		break;
	case 1:
		fuzz_text(data + 1, size - 1);
		break;
	default:
		fuzz_passphrase(data + 1, size - 1);
		break;
	}
	return 0;
}
