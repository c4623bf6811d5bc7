#include "certificates.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

enum { SCALAR = 32, LEAF_MAX = 4096, SERIAL_BITS = 127, VALID_S = 30 * 24 * 3600, HOUR_S = 3600 };

static void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static void cleanup_x509(X509 **cert)
{
	X509_free(*cert);
}

static void cleanup_key(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

static void cleanup_number(BIGNUM **number)
{
	BN_clear_free(*number);
}

/* ---- making ---- */

static bool add_extension(X509 *leaf, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	bool ok = extension && X509_add_ext(leaf, extension, -1) == 1;

	X509_EXTENSION_free(extension);
	return ok;
}

static bool set_serial(X509 *leaf)
{
	_cleanup_(cleanup_number) BIGNUM *number = BN_new();

	return number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
	       BN_to_ASN1_INTEGER(number, X509_get_serialNumber(leaf));
}

static bool set_name(X509 *leaf, size_t number)
{
	X509_NAME *name = X509_get_subject_name(leaf);
	char cn[32];

	snprintf(cn, sizeof(cn), "device-%05zu", number);
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"Corp", -1, -1,
					  0) == 1 &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1,
					  0) == 1;
}

static X509 *issue(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, size_t number)
{
	X509 *leaf = X509_new();

	if (leaf && X509_set_version(leaf, X509_VERSION_3) == 1 && set_serial(leaf) &&
	    set_name(leaf, number) && X509_set_issuer_name(leaf, X509_get_subject_name(ca)) == 1 &&
	    X509_gmtime_adj(X509_getm_notBefore(leaf), -HOUR_S) &&
	    X509_gmtime_adj(X509_getm_notAfter(leaf), VALID_S) && X509_set_pubkey(leaf, key) == 1 &&
	    add_extension(leaf, NID_basic_constraints, "critical,CA:FALSE") &&
	    add_extension(leaf, NID_key_usage, "critical,digitalSignature") &&
	    add_extension(leaf, NID_ext_key_usage, "clientAuth") &&
	    X509_sign(leaf, ca_key, EVP_sha256()) > 0)
		return leaf;
	X509_free(leaf);
	return NULL;
}

static bool write_scalar(struct buf *out, EVP_PKEY *key)
{
	_cleanup_(cleanup_number) BIGNUM *number = NULL;
	uint8_t *room = buf_reserve(out, SCALAR);

	if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &number) != 1 ||
	    BN_bn2binpad(number, room, SCALAR) != SCALAR)
		return false;
	out->len += SCALAR;
	return true;
}

static bool add_device(struct buf *out, X509 *ca, EVP_PKEY *ca_key, size_t number)
{
	_cleanup_(cleanup_key) EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_(cleanup_x509) X509 *leaf = key ? issue(ca, ca_key, key, number) : NULL;
	uint8_t *der = NULL;
	int len = leaf ? i2d_X509(leaf, &der) : -1;

	if (len <= 0)
		return false;
	buf_u16(out, (uint16_t)len);
	buf_append(out, der, (size_t)len);
	OPENSSL_free(der);
	return write_scalar(out, key);
}

static bool read_ca(const char *ca_path, const char *key_path, X509 **ret_ca, EVP_PKEY **ret_key)
{
	_cleanup_(cleanup_file) FILE *ca = fopen(ca_path, "r");
	_cleanup_(cleanup_file) FILE *key = fopen(key_path, "r");

	*ret_ca = ca ? PEM_read_X509(ca, NULL, NULL, NULL) : NULL;
	*ret_key = key ? PEM_read_PrivateKey(key, NULL, NULL, NULL) : NULL;
	return *ret_ca && *ret_key;
}

static bool write_file(const char *path, const struct buf *content)
{
	_cleanup_(cleanup_file) FILE *file = fopen(path, "wb");

	return file && fwrite(content->data, 1, content->len, file) == content->len &&
	       fflush(file) == 0;
}

bool certificates_make(const char *ca_path, const char *ca_key_path, size_t count, const char *path,
		       char *error, size_t size)
{
	_cleanup_(cleanup_x509) X509 *ca = NULL;
	_cleanup_(cleanup_key) EVP_PKEY *ca_key = NULL;
	_cleanup_(buf_wipe) struct buf out = {0};

	if (!read_ca(ca_path, ca_key_path, &ca, &ca_key)) {
		snprintf(error, size, "cannot read a certificate from %s and its key from %s",
			 ca_path, ca_key_path);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		if (!add_device(&out, ca, ca_key, i)) {
			snprintf(error, size, "cannot issue certificate %zu", i);
			return false;
		}
	}
	if (write_file(path, &out))
		return true;
	snprintf(error, size, "%s: %s", path, strerror(errno));
	return false;
}

/* ---- reading ---- */

/* From its parts, which is many times faster than OpenSSL's decoders. */
static EVP_PKEY *make_key(const X509 *leaf, const uint8_t scalar[static SCALAR])
{
	const ASN1_BIT_STRING *point = X509_get0_pubkey_bitstr(leaf);
	_cleanup_(cleanup_number) BIGNUM *number = BN_bin2bn(scalar, SCALAR, NULL);
	uint8_t native[SCALAR];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point->data,
						  (size_t)point->length),
		OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, native, sizeof(native)),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;

	if (number && making && BN_bn2nativepad(number, native, SCALAR) == SCALAR &&
	    EVP_PKEY_fromdata_init(making) == 1)
		EVP_PKEY_fromdata(making, &key, EVP_PKEY_KEYPAIR, params);
	EVP_PKEY_CTX_free(making);
	return key;
}

/* One record; false at the file's end or when it makes no sense. */
static bool read_record(FILE *file, uint8_t *der, size_t *ret_len, uint8_t scalar[static SCALAR])
{
	uint8_t len[2];

	if (fread(len, 1, sizeof(len), file) != sizeof(len))
		return false;
	*ret_len = (size_t)len[0] << 8 | len[1];
	return *ret_len <= LEAF_MAX && fread(der, 1, *ret_len, file) == *ret_len &&
	       fread(scalar, 1, SCALAR, file) == SCALAR;
}

static bool read_one(FILE *file, struct certificate *ret)
{
	uint8_t der[LEAF_MAX], scalar[SCALAR];
	const uint8_t *at = der;
	size_t len;

	if (!read_record(file, der, &len, scalar))
		return false;
	if (!ret) /* passed over */
		return true;
	ret->leaf = d2i_X509(NULL, &at, (long)len);
	ret->key = ret->leaf ? make_key(ret->leaf, scalar) : NULL;
	return ret->key != NULL;
}

struct certificate *certificates_read(const char *path, size_t first, size_t count, char *error,
				      size_t size)
{
	_cleanup_(cleanup_file) FILE *file = fopen(path, "rb");
	struct certificate *certificates;

	if (!file) {
		snprintf(error, size, "%s: %s", path, strerror(errno));
		return NULL;
	}
	certificates = xnew_array(struct certificate, count);
	for (size_t i = 0; i < first + count; i++) {
		if (read_one(file, i < first ? NULL : &certificates[i - first]))
			continue;
		snprintf(error, size, "%s: no certificate %zu in it", path, i);
		certificates_free(certificates, count);
		return NULL;
	}
	return certificates;
}

void certificates_free(struct certificate *certificates, size_t count)
{
	for (size_t i = 0; certificates && i < count; i++) {
		X509_free(certificates[i].leaf);
		EVP_PKEY_free(certificates[i].key);
	}
	free(certificates);
}
