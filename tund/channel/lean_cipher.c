/* For each record OpenSSL 3.0's record layer asks its cipher for the length of its IV and of its
 * padding, as parameters that have names: the provider compares each question with eight of them.
 * That is a tenth of what sealing costs. Of AES-GCM in TLS both are constants (RFC 5288), which are
 * answered here; every other question, and all that is done to a byte, stays the provider's. */
#include "channel/lean_cipher.h"

#include <stdbool.h>
#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/params.h>

enum {
	ALGORITHMS_MAX = 256,
	FUNCTIONS_MAX = 32,
	IV = 12, /* bytes: nobody in TLS sets another length */
	TAG = 16,
};

static const char *const quicker[] = {"AES-256-GCM", "AES-128-GCM"};

enum { QUICKER = sizeof(quicker) / sizeof(quicker[0]) };

/* Filled by lean_cipher_list, read by every thread after it. */
static struct {
	OSSL_ALGORITHM list[ALGORITHMS_MAX];
	OSSL_DISPATCH functions[QUICKER][FUNCTIONS_MAX];
	OSSL_FUNC_cipher_get_ctx_params_fn *ask; /* the provider's, of both */
} ciphers;

static int answer(void *cipher, OSSL_PARAM params[])
{
	if (params[0].key && !params[1].key) {
		if (strcmp(params[0].key, OSSL_CIPHER_PARAM_IVLEN) == 0)
			return OSSL_PARAM_set_size_t(params, IV);
		if (strcmp(params[0].key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD) == 0)
			return OSSL_PARAM_set_size_t(params, TAG);
	}
	return ciphers.ask(cipher, params);
}

/* The same functions but one. False when they are not as expected: then they stay as they are. */
static bool replace_answer(const OSSL_DISPATCH *from, OSSL_DISPATCH ret[static FUNCTIONS_MAX])
{
	OSSL_FUNC_cipher_get_ctx_params_fn *ask = NULL;
	size_t count = 0;

	for (; from->function_id && count < FUNCTIONS_MAX - 1; from++) {
		ret[count] = *from;
		if (from->function_id == OSSL_FUNC_CIPHER_GET_CTX_PARAMS) {
			ask = OSSL_FUNC_cipher_get_ctx_params(from);
			ret[count].function = (void (*)(void))answer;
		}
		count++;
	}
	if (!ask || from->function_id || (ciphers.ask && ciphers.ask != ask))
		return false;
	ciphers.ask = ask;
	return true;
}

/* names: "AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46" */
static bool is_named(const char *names, const char *name)
{
	size_t len = strlen(name);

	return strncmp(names, name, len) == 0 && (names[len] == ':' || names[len] == '\0');
}

/* The suites of TLS 1.3 and those of DTLS that we take. */
static bool is_wanted(const char *names)
{
	static const char *const wanted[] = {"AES-256-GCM", "AES-128-GCM", "AES-256-CCM",
					     "AES-128-CCM", "ChaCha20-Poly1305"};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (is_named(names, wanted[i]))
			return true;
	}
	return false;
}

const OSSL_ALGORITHM *lean_cipher_list(const OSSL_ALGORITHM *all)
{
	size_t count = 0;

	for (; all && all->algorithm_names; all++) {
		if (count == ALGORITHMS_MAX - 1)
			return NULL;
		if (!is_wanted(all->algorithm_names))
			continue;
		ciphers.list[count] = *all;
		for (size_t i = 0; i < QUICKER; i++) {
			if (is_named(all->algorithm_names, quicker[i]) &&
			    replace_answer(all->implementation, ciphers.functions[i]))
				ciphers.list[count].implementation = ciphers.functions[i];
		}
		count++;
	}
	return ciphers.list;
}
