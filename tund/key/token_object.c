#include "key/token_object.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <openssl/asn1.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include "base/buf.h"

enum { LISTED_MAX = 8, ATTRIBUTE_MAX = 16 * 1024, ED25519_BYTES = 32 };

/* ---- finding ---- */

static CK_RV find_up_to(const struct token_object_place *place, CK_OBJECT_CLASS class,
			const CK_ATTRIBUTE *label, const CK_ATTRIBUTE *id,
			CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *count)
{
	CK_ATTRIBUTE wanted[3] = {{CKA_CLASS, &class, sizeof(class)}};
	CK_ULONG wanted_count = 1;
	CK_RV rv;

	if (label)
		wanted[wanted_count++] = *label;
	if (id)
		wanted[wanted_count++] = *id;
	*count = 0;
	rv = place->module->C_FindObjectsInit(place->session, wanted, wanted_count);
	if (rv != CKR_OK)
		return rv;
	rv = place->module->C_FindObjects(place->session, objects, max, count);
	place->module->C_FindObjectsFinal(place->session);
	return rv;
}

CK_RV token_object_find(const struct token_object_place *place, CK_OBJECT_CLASS class,
			const CK_ATTRIBUTE *label, const CK_ATTRIBUTE *id, CK_OBJECT_HANDLE *ret,
			size_t *count)
{
	CK_OBJECT_HANDLE objects[2];
	CK_ULONG found;
	CK_RV rv = find_up_to(place, class, label, id, objects, 2, &found);

	*count = found;
	if (rv == CKR_OK && found > 0)
		*ret = objects[0];
	return rv;
}

/* The attribute's bytes; false where there are none. */
static bool read_attribute(const struct token_object_place *place, CK_OBJECT_HANDLE object,
			   CK_ATTRIBUTE_TYPE type, struct buf *ret)
{
	CK_ATTRIBUTE attribute = {type, NULL, 0};
	CK_FUNCTION_LIST *module = place->module;

	*ret = (struct buf){.limit = ATTRIBUTE_MAX};
	if (module->C_GetAttributeValue(place->session, object, &attribute, 1) != CKR_OK)
		return false;
	if (attribute.ulValueLen == 0 || attribute.ulValueLen > ATTRIBUTE_MAX)
		return false;
	attribute.pValue = buf_reserve(ret, attribute.ulValueLen);
	if (module->C_GetAttributeValue(place->session, object, &attribute, 1) == CKR_OK)
		ret->len = attribute.ulValueLen;
	return ret->len > 0;
}

bool token_object_flag(const struct token_object_place *place, CK_OBJECT_HANDLE object,
		       CK_ATTRIBUTE_TYPE type)
{
	unsigned char value = 0;
	CK_ATTRIBUTE attribute = {type, &value, sizeof(value)};

	return place->module->C_GetAttributeValue(place->session, object, &attribute, 1) ==
		       CKR_OK &&
	       value;
}

/* As a URI would have it, so that it can be copied. */
static void print_escaped(struct buf *text, const struct buf *bytes, bool all)
{
	for (size_t i = 0; i < bytes->len; i++) {
		uint8_t c = bytes->data[i];

		if (!all && (isalnum(c) || (c && strchr("-._~", c))))
			buf_u8(text, c);
		else
			buf_print(text, "%%%02x", c);
	}
}

static void print_name(const struct token_object_place *place, CK_OBJECT_HANDLE object,
		       struct buf *text)
{
	struct buf label, id;

	buf_print(text, "%s", text->len ? ", " : "");
	if (read_attribute(place, object, CKA_LABEL, &label)) {
		buf_print(text, "object=");
		print_escaped(text, &label, false);
	}
	if (read_attribute(place, object, CKA_ID, &id)) {
		buf_print(text, "%sid=", label.len ? ";" : "");
		print_escaped(text, &id, true);
	}
	buf_done(&label);
	buf_done(&id);
}

const char *token_object_names(const struct token_object_place *place, const CK_ATTRIBUTE *label,
			       const CK_ATTRIBUTE *id, char *text, size_t size)
{
	CK_OBJECT_HANDLE objects[LISTED_MAX];
	struct buf names = {0};
	CK_ULONG count;

	if (find_up_to(place, CKO_PRIVATE_KEY, label, id, objects, LISTED_MAX, &count) != CKR_OK)
		count = 0;
	for (CK_ULONG i = 0; i < count; i++)
		print_name(place, objects[i], &names);
	snprintf(text, size, "%.*s", count ? (int)names.len : 4,
		 count ? (const char *)names.data : "none");
	buf_done(&names);
	return text;
}

/* ---- the public half ---- */

static EVP_PKEY *parse_spki(const uint8_t *der, size_t len)
{
	return d2i_PUBKEY(NULL, &der, (long)len);
}

static EVP_PKEY *parse_certificate(const uint8_t *der, size_t len)
{
	X509 *certificate = d2i_X509(NULL, &der, (long)len);
	EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;

	X509_free(certificate);
	return key;
}

static EVP_PKEY *from_attribute(const struct token_object_place *place, CK_OBJECT_HANDLE object,
				CK_ATTRIBUTE_TYPE type,
				EVP_PKEY *(*parse)(const uint8_t *der, size_t len))
{
	EVP_PKEY *key = NULL;
	struct buf bytes;

	if (read_attribute(place, object, type, &bytes))
		key = parse(bytes.data, bytes.len);
	buf_done(&bytes);
	return key;
}

static EVP_PKEY *make_rsa(const struct buf *modulus, const struct buf *exponent)
{
	BIGNUM *n = BN_bin2bn(modulus->data, (int)modulus->len, NULL);
	BIGNUM *e = BN_bin2bn(exponent->data, (int)exponent->len, NULL);
	EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	if (n && e && making && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
		params = OSSL_PARAM_BLD_to_param(build);
	if (params && EVP_PKEY_fromdata_init(making) > 0)
		EVP_PKEY_fromdata(making, &key, EVP_PKEY_PUBLIC_KEY, params);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(making);
	BN_free(n);
	BN_free(e);
	return key;
}

static EVP_PKEY *from_rsa(const struct token_object_place *place, CK_OBJECT_HANDLE object)
{
	struct buf modulus, exponent = {0};
	EVP_PKEY *key = NULL;

	if (read_attribute(place, object, CKA_MODULUS, &modulus) &&
	    read_attribute(place, object, CKA_PUBLIC_EXPONENT, &exponent))
		key = make_rsa(&modulus, &exponent);
	buf_done(&modulus);
	buf_done(&exponent);
	return key;
}

/* A point is an octet string in DER, and with some modules the bytes alone. */
static void unwrap_point(const struct buf *point, const uint8_t **bytes, size_t *len)
{
	const uint8_t *at = point->data;
	long body;
	int tag, class;

	*bytes = point->data;
	*len = point->len;
	if (ASN1_get_object(&at, &body, &tag, &class, (long)point->len) == 0 &&
	    tag == V_ASN1_OCTET_STRING && at + body == point->data + point->len) {
		*bytes = at;
		*len = (size_t)body;
	}
}

static EVP_PKEY *make_ec(const struct buf *group, const uint8_t *point, size_t len)
{
	const uint8_t *at = group->data;
	EVP_PKEY *key = d2i_KeyParams(EVP_PKEY_EC, NULL, &at, (long)group->len);

	if (key && EVP_PKEY_set1_encoded_public_key(key, point, len) <= 0) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

static EVP_PKEY *from_ec(const struct token_object_place *place, CK_OBJECT_HANDLE object,
			 bool is_edwards)
{
	struct buf group, point = {0};
	EVP_PKEY *key = NULL;

	if (read_attribute(place, object, CKA_EC_PARAMS, &group) &&
	    read_attribute(place, object, CKA_EC_POINT, &point)) {
		const uint8_t *bytes;
		size_t len;

		unwrap_point(&point, &bytes, &len);
		if (!is_edwards)
			key = make_ec(&group, bytes, len);
		else if (len == ED25519_BYTES)
			key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes, len);
	}
	buf_done(&group);
	buf_done(&point);
	return key;
}

static EVP_PKEY *from_attributes(const struct token_object_place *place, CK_OBJECT_HANDLE object)
{
	CK_KEY_TYPE type;
	CK_ATTRIBUTE attribute = {CKA_KEY_TYPE, &type, sizeof(type)};

	if (place->module->C_GetAttributeValue(place->session, object, &attribute, 1) != CKR_OK)
		return NULL;
	if (type == CKK_RSA)
		return from_rsa(place, object);
	if (type == CKK_EC || type == CKK_EC_EDWARDS)
		return from_ec(place, object, type == CKK_EC_EDWARDS);
	return NULL;
}

/* An object of the class with the same id as the private key's. */
static bool find_beside(const struct token_object_place *place, CK_OBJECT_HANDLE key,
			CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *ret)
{
	CK_ATTRIBUTE wanted = {.type = CKA_ID};
	size_t count = 0;
	struct buf id;

	if (read_attribute(place, key, CKA_ID, &id)) {
		wanted.pValue = id.data;
		wanted.ulValueLen = id.len;
		token_object_find(place, class, NULL, &wanted, ret, &count);
	}
	buf_done(&id);
	return count > 0;
}

EVP_PKEY *token_object_public(const struct token_object_place *place, CK_OBJECT_HANDLE key)
{
	EVP_PKEY *found = from_attribute(place, key, CKA_PUBLIC_KEY_INFO, parse_spki);
	CK_OBJECT_HANDLE beside;

	if (!found && find_beside(place, key, CKO_PUBLIC_KEY, &beside))
		found = from_attributes(place, beside);
	if (!found && find_beside(place, key, CKO_CERTIFICATE, &beside))
		found = from_attribute(place, beside, CKA_VALUE, parse_certificate);
	return found ? found : from_attributes(place, key);
}
