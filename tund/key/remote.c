/* How a signature finds its way here (OpenSSL 3.0, EVP_DigestSignInit_ex): OpenSSL first picks the
 * preferred provider for the algorithm, which is never us, and asks to have the key exported there.
 * We refuse, for there is no private half to hand out (remote_key). It then takes the provider that
 * the key is from: remote_sign. Comparing with a certificate exports the public half alone. */

#include "key/remote.h"

#include <errno.h>
#include <stdlib.h>

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

#include "key/remote_key.h"
#include "key/remote_sign.h"
#include "key/scheme.h"

#define ENTRY(id, function)                                                                        \
	{                                                                                          \
		(id), (void (*)(void))(function)                                                   \
	}
#define PROVIDER "tund"
#define OURS	 "provider=" PROVIDER

enum { SPKI_MAX = 4096 };

static const OSSL_ALGORITHM keys[] = {
	{"EC:id-ecPublicKey:1.2.840.10045.2.1", OURS, remote_key_ec, "EC, held elsewhere"},
	{"ED25519:1.3.101.112", OURS, remote_key_ed25519, "Ed25519, held elsewhere"},
	{"RSA:rsaEncryption:1.2.840.113549.1.1.1", OURS, remote_key_rsa, "RSA, held elsewhere"},
	{NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM signatures[] = {
	{"ECDSA", OURS, remote_sign_functions, "ECDSA, made elsewhere"},
	{"ED25519:1.3.101.112", OURS, remote_sign_functions, "Ed25519, made elsewhere"},
	{"RSA:rsaEncryption:1.2.840.113549.1.1.1", OURS, remote_sign_functions,
	 "RSA-PSS, made elsewhere"},
	{NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *query_operation(void *provider, int operation, int *no_cache)
{
	(void)provider;
	*no_cache = 0;
	if (operation == OSSL_OP_KEYMGMT)
		return keys;
	return operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int get_provider_params(void *provider, OSSL_PARAM params[])
{
	OSSL_PARAM *name = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);
	OSSL_PARAM *status = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);

	(void)provider;
	if (name && !OSSL_PARAM_set_utf8_ptr(name, "keys held in another process"))
		return 0;
	return !status || OSSL_PARAM_set_int(status, 1);
}

static int init_provider(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
			 const OSSL_DISPATCH **ret_functions, void **ret_provider)
{
	static const OSSL_DISPATCH functions[] = {
		ENTRY(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query_operation),
		ENTRY(OSSL_FUNC_PROVIDER_GET_PARAMS, get_provider_params),
		{0, NULL},
	};

	(void)in;
	*ret_functions = functions;
	*ret_provider = (void *)handle;
	return 1;
}

/* Everybody's keys but ours belong to the default provider: where both offer an algorithm, it wins.
 * The setting replaces what openssl.cnf asks for, of which FIPS is kept. */
static int prefer_default_provider(void)
{
	int is_fips = EVP_default_properties_is_fips_enabled(NULL);

	if (!EVP_set_default_properties(NULL, "?provider!=" PROVIDER))
		return -EIO;
	if (is_fips && !EVP_default_properties_enable_fips(NULL, 1))
		return -EIO;
	return 0;
}

/* At exit, and before OpenSSL's own: a provider that is still loaded then is never freed. Loading
 * by name once more is how to find it. */
static void unload_provider(void)
{
	OSSL_PROVIDER *provider = OSSL_PROVIDER_load(NULL, PROVIDER);

	if (!provider)
		return;
	OSSL_PROVIDER_unload(provider);
	OSSL_PROVIDER_unload(provider);
}

int remote_provider_load(void)
{
	if (!OSSL_PROVIDER_add_builtin(NULL, PROVIDER, init_provider))
		return -EIO;
	/* 1: the default provider goes on being loaded by itself. */
	if (!OSSL_PROVIDER_try_load(NULL, PROVIDER, 1))
		return -EIO;
	if (atexit(unload_provider))
		return -ENOMEM;
	return prefer_default_provider();
}

/* The type of the key, one of the names in `keys`; NULL with the error queue filled. */
static const char *find_type(const uint8_t *spki, size_t len)
{
	EVP_PKEY *public = d2i_PUBKEY_ex(NULL, &spki, (long)len, NULL, REMOTE_KEY_ELSEWHERE);
	const struct scheme *scheme;

	if (!public)
		return NULL;
	scheme = scheme_next(NULL, public);
	EVP_PKEY_free(public);
	if (!scheme)
		ERR_raise(ERR_LIB_EVP, EVP_R_UNSUPPORTED_KEY_TYPE);
	return scheme ? scheme->type : NULL;
}

EVP_PKEY *remote_key_new(const uint8_t *spki, size_t len, int socket, uint32_t generation)
{
	const OSSL_PARAM params[] = {
		OSSL_PARAM_octet_string(REMOTE_KEY_PARAM_SPKI, (void *)spki, len),
		OSSL_PARAM_int(REMOTE_KEY_PARAM_SOCKET, &socket),
		OSSL_PARAM_uint32(REMOTE_KEY_PARAM_GENERATION, &generation),
		OSSL_PARAM_END,
	};
	const char *type = len <= SPKI_MAX ? find_type(spki, len) : NULL;
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *making;

	if (!type)
		return NULL;
	making = EVP_PKEY_CTX_new_from_name(NULL, type, OURS);
	if (making && EVP_PKEY_fromdata_init(making) > 0)
		EVP_PKEY_fromdata(making, &key, EVP_PKEY_KEYPAIR, (OSSL_PARAM *)params);
	EVP_PKEY_CTX_free(making);
	return key;
}
