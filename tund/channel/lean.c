/* Parsing one certificate, OpenSSL 3.0 asks every decoder and every kind of key that its context
 * has whether it could be the one for the public key, and asks again for each that could: 130 of
 * the 170 us that a certificate costs. A context that has only what a peer's certificate and TLS
 * 1.3 may use spares two thirds of that. It is the default provider under another name, with
 * shorter lists: every function called is the default provider's own. */
#include "channel/lean.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include "channel/lean_cipher.h"

#define ENTRY(id, function)                                                                        \
	{                                                                                          \
		(id), (void (*)(void))(function)                                                   \
	}
#define PROVIDER "lean"

enum { ALGORITHMS_MAX = 128 };

/* Whose certificates can pass pki/verify. */
static const char *const certified[] = {"EC", "RSA", "RSA-PSS", "ED25519", "ED448", NULL};
/* Kinds of key that neither a certificate of ours nor TLS 1.3 uses. What a later OpenSSL adds
 * stays. */
static const char *const unused[] = {"DHX",  "DSA",	"SM2",	    "SCRYPT",
				     "CMAC", "SIPHASH", "POLY1305", NULL};

/* What neither the signature of a certificate nor a suite that we take is made with. A search for
 * decoders walks over all of these as well, copying as it goes. MD5 stays, so that a certificate
 * signed with it is refused for that. */
static const char *const unused_digests[] = {
	"KECCAK-KMAC-128", "KECCAK-KMAC-256", "BLAKE2S-256", "BLAKE2B-512", "SM3", "NULL", NULL};
static const char *const unused_kdfs[] = {"SSKDF",   "PBKDF2", "PKCS12KDF",    "SSHKDF",
					  "X963KDF", "KBKDF",  "X942KDF-ASN1", "SCRYPT",
					  "KRB5KDF", NULL};
static const char *const unused_macs[] = {"BLAKE2BMAC", "BLAKE2SMAC", "CMAC",
					  "GMAC",	"KMAC-128",   "KMAC-256",
					  "SIPHASH",	"POLY1305",   NULL};

/* Filled by make_library, read by every thread after it. */
static struct {
	OSSL_LIB_CTX *library;
	OSSL_PROVIDER *whole; /* in a context of its own */
	OSSL_ALGORITHM keys[ALGORITHMS_MAX], decoders[ALGORITHMS_MAX], digests[ALGORITHMS_MAX],
		kdfs[ALGORITHMS_MAX], macs[ALGORITHMS_MAX];
	const OSSL_ALGORITHM *ciphers; /* NULL: the provider's own */
} lean;

/* names: "EC:id-ecPublicKey:1.2.840.10045.2.1", or the first of them alone. */
static bool is_among(const char *names, const char *const *list)
{
	for (; *list; list++) {
		size_t len = strlen(*list);

		if (strncmp(names, *list, len) == 0 && (names[len] == ':' || names[len] == '\0'))
			return true;
	}
	return false;
}

static bool is_key_wanted(const OSSL_ALGORITHM *key)
{
	return !is_among(key->algorithm_names, unused);
}

static bool is_digest_wanted(const OSSL_ALGORITHM *digest)
{
	return !is_among(digest->algorithm_names, unused_digests);
}

static bool is_kdf_wanted(const OSSL_ALGORITHM *kdf)
{
	return !is_among(kdf->algorithm_names, unused_kdfs);
}

static bool is_mac_wanted(const OSSL_ALGORITHM *mac)
{
	return !is_among(mac->algorithm_names, unused_macs);
}

static bool is_decoder_wanted(const OSSL_ALGORITHM *decoder)
{
	return is_among(decoder->algorithm_names, certified) &&
	       strstr(decoder->property_definition, "input=der") &&
	       strstr(decoder->property_definition, "structure=SubjectPublicKeyInfo");
}

/* Into ret, whose last place stays empty. */
static void pick(int operation, bool (*is_wanted)(const OSSL_ALGORITHM *algorithm),
		 OSSL_ALGORITHM ret[static ALGORITHMS_MAX])
{
	int no_cache;
	const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(lean.whole, operation, &no_cache);
	size_t count = 0;

	for (; all && all->algorithm_names && count < ALGORITHMS_MAX - 1; all++) {
		if (is_wanted(all))
			ret[count++] = *all;
	}
}

static const OSSL_ALGORITHM *query_operation(void *provider, int operation, int *no_cache)
{
	(void)provider;
	*no_cache = 0;
	switch (operation) {
	case OSSL_OP_KEYMGMT:
		return lean.keys;
	case OSSL_OP_DECODER:
		return lean.decoders;
	case OSSL_OP_DIGEST:
		return lean.digests;
	case OSSL_OP_KDF:
		return lean.kdfs;
	case OSSL_OP_MAC:
		return lean.macs;
	case OSSL_OP_CIPHER:
		if (lean.ciphers)
			return lean.ciphers;
		break;
	default:
		break;
	}
	return OSSL_PROVIDER_query_operation(lean.whole, operation, no_cache);
}

/* The groups of TLS among them. */
static int get_capabilities(void *provider, const char *capability, OSSL_CALLBACK *take, void *user)
{
	(void)provider;
	return OSSL_PROVIDER_get_capabilities(lean.whole, capability, take, user);
}

static int get_provider_params(void *provider, OSSL_PARAM params[])
{
	(void)provider;
	return OSSL_PROVIDER_get_params(lean.whole, params);
}

/* The functions behind the lists expect the provider's own context. */
static int init_provider(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
			 const OSSL_DISPATCH **ret_functions, void **ret_provider)
{
	static const OSSL_DISPATCH functions[] = {
		ENTRY(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query_operation),
		ENTRY(OSSL_FUNC_PROVIDER_GET_CAPABILITIES, get_capabilities),
		ENTRY(OSSL_FUNC_PROVIDER_GET_PARAMS, get_provider_params),
		{0, NULL},
	};

	(void)handle;
	(void)in;
	*ret_functions = functions;
	*ret_provider = OSSL_PROVIDER_get0_provider_ctx(lean.whole);
	return 1;
}

static void make_library(void)
{
	OSSL_LIB_CTX *hidden, *library;
	int no_cache;

	if (EVP_default_properties_is_fips_enabled(NULL))
		return;
	hidden = OSSL_LIB_CTX_new();
	library = OSSL_LIB_CTX_new();
	lean.whole = hidden ? OSSL_PROVIDER_load(hidden, "default") : NULL;
	if (lean.whole) {
		pick(OSSL_OP_KEYMGMT, is_key_wanted, lean.keys);
		pick(OSSL_OP_DECODER, is_decoder_wanted, lean.decoders);
		pick(OSSL_OP_DIGEST, is_digest_wanted, lean.digests);
		pick(OSSL_OP_KDF, is_kdf_wanted, lean.kdfs);
		pick(OSSL_OP_MAC, is_mac_wanted, lean.macs);
		lean.ciphers = lean_cipher_list(
			OSSL_PROVIDER_query_operation(lean.whole, OSSL_OP_CIPHER, &no_cache));
	}
	if (lean.whole && library && OSSL_PROVIDER_add_builtin(library, PROVIDER, init_provider) &&
	    OSSL_PROVIDER_load(library, PROVIDER)) {
		lean.library = library;
		return;
	}
	OSSL_LIB_CTX_free(library);
	OSSL_PROVIDER_unload(lean.whole);
	OSSL_LIB_CTX_free(hidden);
}

OSSL_LIB_CTX *lean_library(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_library);
	return lean.library;
}
