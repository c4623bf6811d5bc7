#include "key/scheme.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

enum {
	GROUP_NAME = 64,
	PROPERTIES = 80,
	RSA_BITS_MIN = 2048,
	RSA_BITS_MAX = 8192, /* a signature of KEY_MSG_SIGNATURE_MAX bytes */
};

static const struct scheme schemes[] = {
	{0x0403, "ecdsa_secp256r1_sha256", "EC", "prime256v1", "SHA256", false},
	{0x0503, "ecdsa_secp384r1_sha384", "EC", "secp384r1", "SHA384", false},
	{0x0807, "ed25519", "ED25519", NULL, NULL, false},
	{0x0804, "rsa_pss_rsae_sha256", "RSA", NULL, "SHA256", true},
	{0x0805, "rsa_pss_rsae_sha384", "RSA", NULL, "SHA384", true},
	{0x0806, "rsa_pss_rsae_sha512", "RSA", NULL, "SHA512", true},
};
_Static_assert(sizeof(schemes) / sizeof(schemes[0]) == SCHEME_MAX, "SCHEME_MAX is their number");

static const struct scheme *schemes_end(void)
{
	return schemes + sizeof(schemes) / sizeof(schemes[0]);
}

const struct scheme *scheme_find(uint16_t id)
{
	for (const struct scheme *scheme = schemes; scheme < schemes_end(); scheme++) {
		if (scheme->id == id)
			return scheme;
	}
	return NULL;
}

const struct scheme *scheme_at(size_t index)
{
	return &schemes[index];
}

size_t scheme_index(const struct scheme *scheme)
{
	return (size_t)(scheme - schemes);
}

bool scheme_fits(const struct scheme *scheme, EVP_PKEY *key)
{
	char group[GROUP_NAME];

	if (!EVP_PKEY_is_a(key, scheme->type))
		return false;
	if (!scheme->group)
		return true;
	return EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) &&
	       strcmp(group, scheme->group) == 0;
}

/* A digest has several names ("SHA256", "SHA2-256"); OpenSSL knows which are the same. */
static bool is_same_digest(const char *a, const char *b)
{
	EVP_MD *md;
	bool same;

	if (!a || !a[0] || !b)
		return !b && (!a || !a[0]);
	md = EVP_MD_fetch(NULL, a, NULL);
	same = md && EVP_MD_is_a(md, b);
	EVP_MD_free(md);
	return same;
}

const struct scheme *scheme_of_key(EVP_PKEY *key, const char *digest)
{
	for (const struct scheme *scheme = schemes; scheme < schemes_end(); scheme++) {
		if (scheme_fits(scheme, key) && is_same_digest(digest, scheme->digest))
			return scheme;
	}
	return NULL;
}

const struct scheme *scheme_next(const struct scheme *previous, EVP_PKEY *key)
{
	const struct scheme *scheme = previous ? previous + 1 : schemes;

	while (scheme < schemes_end() && !scheme_fits(scheme, key))
		scheme++;
	return scheme < schemes_end() ? scheme : NULL;
}

const char *scheme_key_problem(EVP_PKEY *key, char *text, size_t size)
{
	const char *type = EVP_PKEY_get0_type_name(key);
	char group[GROUP_NAME] = "unnamed";
	int bits = EVP_PKEY_get_bits(key);

	if (EVP_PKEY_is_a(key, "RSA") && bits < RSA_BITS_MIN)
		snprintf(text, size,
			 "an RSA key of %d bits is too weak; use P-256, P-384, Ed25519, or RSA of "
			 "at least %d bits",
			 bits, RSA_BITS_MIN);
	else if (EVP_PKEY_is_a(key, "RSA") && bits > RSA_BITS_MAX)
		snprintf(text, size, "an RSA key of %d bits is too large; at most %d are supported",
			 bits, RSA_BITS_MAX);
	else if (scheme_next(NULL, key))
		return NULL;
	else if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL))
		snprintf(text, size, "keys on the curve %s are not supported; use P-256 or P-384",
			 group);
	else
		snprintf(text, size,
			 "keys of type %s are not supported; use P-256, P-384, Ed25519 or RSA",
			 type ? type : "unknown");
	return text;
}

static int set_pss(EVP_PKEY_CTX *parameters)
{
	if (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) <= 0)
		return -EIO;
	if (EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) <= 0)
		return -EIO;
	return 0;
}

/* A key is signed with where it is: another provider, asked first, could be handed the public half
 * of it and find out too late. */
static const char *prefer_own_provider(EVP_PKEY *key, char text[static PROPERTIES])
{
	const OSSL_PROVIDER *provider = EVP_PKEY_get0_provider(key);

	if (!provider)
		return NULL;
	snprintf(text, PROPERTIES, "?provider=%s", OSSL_PROVIDER_get0_name(provider));
	return text;
}

int scheme_sign(const struct scheme *scheme, EVP_PKEY *key, const uint8_t *tbs, size_t tbs_len,
		uint8_t *signature, size_t *len)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *parameters = NULL;
	char properties[PROPERTIES];
	size_t needed = 0;
	int r = -EIO;

	if (!md)
		return -EIO;
	if (EVP_DigestSignInit_ex(md, &parameters, scheme->digest, NULL,
				  prefer_own_provider(key, properties), key, NULL) <= 0)
		goto out;
	if (scheme->is_pss && set_pss(parameters))
		goto out;
	if (EVP_DigestSign(md, NULL, &needed, tbs, tbs_len) <= 0 || needed > *len)
		goto out;
	if (EVP_DigestSign(md, signature, len, tbs, tbs_len) <= 0)
		goto out;
	r = 0;
out:
	EVP_MD_CTX_free(md);
	return r;
}

bool scheme_verify(const struct scheme *scheme, EVP_PKEY *key, const uint8_t *tbs, size_t tbs_len,
		   const uint8_t *signature, size_t len)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *parameters = NULL;
	bool is_right = md &&
			EVP_DigestVerifyInit_ex(md, &parameters, scheme->digest, NULL, NULL, key,
						NULL) > 0 &&
			(!scheme->is_pss || set_pss(parameters) == 0) &&
			EVP_DigestVerify(md, signature, len, tbs, tbs_len) > 0;

	EVP_MD_CTX_free(md);
	return is_right;
}
