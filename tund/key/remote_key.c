#include "key/remote_key.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/x509.h>

#include "base/xalloc.h"

/* OpenSSL's tables hold functions of every shape under one type. */
#define ENTRY(id, function)                                                                        \
	{                                                                                          \
		(id), (void (*)(void))(function)                                                   \
	}

static void *new_key(void *provider)
{
	struct remote_key *key = xnew(struct remote_key);

	(void)provider;
	key->socket = -1;
	return key;
}

static void free_key(void *keydata)
{
	struct remote_key *key = keydata;

	if (!key)
		return;
	EVP_PKEY_free(key->public);
	free(key);
}

/* The private half counts as present: it is, elsewhere. */
static int has_parts(const void *keydata, int selection)
{
	const struct remote_key *key = keydata;

	(void)selection;
	return key && key->public;
}

static int match_public(const void *keydata1, const void *keydata2, int selection)
{
	const struct remote_key *a = keydata1, *b = keydata2;

	(void)selection;
	return EVP_PKEY_eq(a->public, b->public) == 1;
}

/* For a type of its own each, so that one type's key is not taken for another's. */
static int import_as(void *keydata, const char *type, const OSSL_PARAM params[])
{
	const OSSL_PARAM *spki = OSSL_PARAM_locate_const(params, REMOTE_KEY_PARAM_SPKI);
	const OSSL_PARAM *socket = OSSL_PARAM_locate_const(params, REMOTE_KEY_PARAM_SOCKET);
	const OSSL_PARAM *generation = OSSL_PARAM_locate_const(params, REMOTE_KEY_PARAM_GENERATION);
	struct remote_key *key = keydata;
	const unsigned char *der;
	const void *bytes;
	EVP_PKEY *public;
	size_t len;

	if (!spki || !socket || !generation || key->public ||
	    !OSSL_PARAM_get_int(socket, &key->socket) ||
	    !OSSL_PARAM_get_uint32(generation, &key->generation) ||
	    !OSSL_PARAM_get_octet_string_ptr(spki, &bytes, &len))
		return 0;
	der = bytes;
	public = d2i_PUBKEY_ex(NULL, &der, (long)len, NULL, REMOTE_KEY_ELSEWHERE);
	if (!public)
		return 0;
	if (!EVP_PKEY_is_a(public, type)) {
		EVP_PKEY_free(public);
		return 0;
	}
	key->public = public;
	return 1;
}

static int import_ec(void *keydata, int selection, const OSSL_PARAM params[])
{
	(void)selection;
	return import_as(keydata, "EC", params);
}

static int import_ed25519(void *keydata, int selection, const OSSL_PARAM params[])
{
	(void)selection;
	return import_as(keydata, "ED25519", params);
}

static int import_rsa(void *keydata, int selection, const OSSL_PARAM params[])
{
	(void)selection;
	return import_as(keydata, "RSA", params);
}

static const OSSL_PARAM *import_types(int selection)
{
	static const OSSL_PARAM types[] = {
		OSSL_PARAM_octet_string(REMOTE_KEY_PARAM_SPKI, NULL, 0),
		OSSL_PARAM_int(REMOTE_KEY_PARAM_SOCKET, NULL),
		OSSL_PARAM_uint32(REMOTE_KEY_PARAM_GENERATION, NULL),
		OSSL_PARAM_END,
	};

	(void)selection;
	return types;
}

/* The default provider asks for this to compare us with a certificate (public only), and, before
 * each signature, to sign with our key itself: refusing that makes OpenSSL come to us. */
static int export_public(void *keydata, int selection, OSSL_CALLBACK *callback, void *argument)
{
	struct remote_key *key = keydata;

	if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)
		return 0;
	return EVP_PKEY_export(key->public, selection, callback, argument);
}

static const OSSL_PARAM *export_types(int selection)
{
	static const OSSL_PARAM types[] = {
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
		OSSL_PARAM_END,
	};

	return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : types;
}

static int get_params(void *keydata, OSSL_PARAM params[])
{
	struct remote_key *key = keydata;

	return EVP_PKEY_get_params(key->public, params);
}

static const OSSL_PARAM *gettable_params(void *provider)
{
	static const OSSL_PARAM types[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)provider;
	return types;
}

/* Signatures on EC keys go by another name than their keys. */
static const char *name_ec_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

#define KEY_ENTRIES                                                                                \
	ENTRY(OSSL_FUNC_KEYMGMT_NEW, new_key), ENTRY(OSSL_FUNC_KEYMGMT_FREE, free_key),            \
		ENTRY(OSSL_FUNC_KEYMGMT_HAS, has_parts),                                           \
		ENTRY(OSSL_FUNC_KEYMGMT_MATCH, match_public),                                      \
		ENTRY(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, import_types),                               \
		ENTRY(OSSL_FUNC_KEYMGMT_EXPORT, export_public),                                    \
		ENTRY(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, export_types),                               \
		ENTRY(OSSL_FUNC_KEYMGMT_GET_PARAMS, get_params),                                   \
		ENTRY(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, gettable_params)

const OSSL_DISPATCH remote_key_ec[] = {
	KEY_ENTRIES,
	ENTRY(OSSL_FUNC_KEYMGMT_IMPORT, import_ec),
	ENTRY(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, name_ec_operation),
	{0, NULL},
};

const OSSL_DISPATCH remote_key_ed25519[] = {
	KEY_ENTRIES,
	ENTRY(OSSL_FUNC_KEYMGMT_IMPORT, import_ed25519),
	{0, NULL},
};

const OSSL_DISPATCH remote_key_rsa[] = {
	KEY_ENTRIES,
	ENTRY(OSSL_FUNC_KEYMGMT_IMPORT, import_rsa),
	{0, NULL},
};
