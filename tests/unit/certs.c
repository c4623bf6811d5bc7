#include "certs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "certs: cannot make %s\n", what);
	ERR_print_errors_fp(stderr);
	abort();
}

/* param and value say how the key is to be written. */
static EVP_PKEY *new_ec_key(const char *param, const char *value)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	must(key && EVP_PKEY_set_utf8_string_param(key, param, value) == 1, "an EC key");
	return key;
}

static EVP_PKEY *new_dsa_key(void)
{
	EVP_PKEY_CTX *choosing = EVP_PKEY_CTX_new_from_name(NULL, "DSA", NULL);
	EVP_PKEY_CTX *making;
	EVP_PKEY *params = NULL, *key = NULL;

	must(EVP_PKEY_paramgen_init(choosing) == 1 &&
		     EVP_PKEY_CTX_set_dsa_paramgen_bits(choosing, 1024) == 1 &&
		     EVP_PKEY_paramgen(choosing, &params) == 1,
	     "DSA parameters");
	making = EVP_PKEY_CTX_new(params, NULL);
	must(EVP_PKEY_keygen_init(making) == 1 && EVP_PKEY_generate(making, &key) == 1,
	     "a DSA key");
	EVP_PKEY_CTX_free(choosing);
	EVP_PKEY_CTX_free(making);
	EVP_PKEY_free(params);
	return key;
}

static EVP_PKEY *new_pss_key(int bits)
{
	EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
	EVP_PKEY *key = NULL;

	must(EVP_PKEY_keygen_init(making) == 1 &&
		     EVP_PKEY_CTX_set_rsa_keygen_bits(making, bits) == 1 &&
		     EVP_PKEY_generate(making, &key) == 1,
	     "an RSA-PSS key");
	EVP_PKEY_CTX_free(making);
	return key;
}

static EVP_PKEY *make_key(enum certs_key kind)
{
	EVP_PKEY *key = NULL;

	switch (kind) {
	case CERTS_P256:
		key = EVP_EC_gen("P-256");
		break;
	case CERTS_ED25519:
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
		break;
	case CERTS_RSA_2048:
		key = EVP_RSA_gen(2048);
		break;
	case CERTS_RSA_1024:
		key = EVP_RSA_gen(1024);
		break;
	case CERTS_P224:
		key = EVP_EC_gen("P-224");
		break;
	case CERTS_P256_EXPLICIT:
		key = new_ec_key(OSSL_PKEY_PARAM_EC_ENCODING, OSSL_PKEY_EC_ENCODING_EXPLICIT);
		break;
	case CERTS_P256_COMPRESSED:
		key = new_ec_key(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed");
		break;
	case CERTS_DSA:
		key = new_dsa_key();
		break;
	case CERTS_RSA_PSS:
		key = new_pss_key(2048);
		break;
	case CERTS_RSA_PSS_1024:
		key = new_pss_key(1024);
		break;
	case CERTS_P192:
		key = EVP_EC_gen("P-192");
		break;
	case CERTS_P384:
		key = EVP_EC_gen("P-384");
		break;
	case CERTS_P521:
		key = EVP_EC_gen("P-521");
		break;
	case CERTS_SECP256K1:
		key = EVP_EC_gen("secp256k1");
		break;
	case CERTS_ED448:
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
		break;
	case CERTS_X25519:
		key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
		break;
	}
	must(key, "a key");
	return key;
}

EVP_PKEY *certs_new_key(enum certs_key kind)
{
	/* Half of all time would go into large primes; of these kinds a program has one key. */
	static EVP_PKEY *kept[CERTS_DSA + 1];
	bool is_slow = kind == CERTS_RSA_2048 || kind == CERTS_RSA_1024 || kind == CERTS_DSA;

	if (!is_slow)
		return make_key(kind);
	if (!kept[kind])
		kept[kind] = make_key(kind);
	EVP_PKEY_up_ref(kept[kind]);
	return kept[kind];
}

static void fill_name(X509_NAME *name, const struct certs_spec *spec)
{
	char *copy = strdup(spec->subject ? spec->subject : "");
	char *rest = copy, *part;

	/* A given string type is stored as it stands: no length limits, no conversion. */
	while ((part = strsep(&rest, "/")) && *part) {
		char *value = strchr(part, '=');

		must(value, "a subject");
		*value++ = '\0';
		must(X509_NAME_add_entry_by_txt(name, part, V_ASN1_UTF8STRING,
						(unsigned char *)value, -1, -1, 0),
		     "a subject");
	}
	if (spec->cn.len)
		must(X509_NAME_add_entry_by_NID(name, NID_commonName, spec->cn.type,
						(const unsigned char *)spec->cn.bytes,
						(int)spec->cn.len, -1, 0),
		     "a raw CN");
	free(copy);
}

static CONF *read_sections(const char *sections)
{
	CONF *conf = NCONF_new(NULL);
	BIO *bio = BIO_new_mem_buf(sections ? sections : "", -1);
	long line;

	must(!sections || NCONF_load_bio(conf, bio, &line) == 1, "the sections");
	BIO_free(bio);
	return conf;
}

static X509_EXTENSION *new_extension(X509V3_CTX *to, CONF *conf, int nid, const char *value)
{
	X509_EXTENSION *extension;

	X509V3_set_nconf(to, conf);
	extension = X509V3_EXT_nconf_nid(conf, to, nid, value);
	must(extension, value);
	return extension;
}

/* Of an unknown kind, holding an ASN.1 NULL. */
static X509_EXTENSION *new_other(const char *oid, bool critical)
{
	ASN1_OBJECT *kind = OBJ_txt2obj(oid, 1);
	ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
	X509_EXTENSION *extension;

	ASN1_OCTET_STRING_set(data, (const unsigned char *)"\x05\x00", 2);
	extension = X509_EXTENSION_create_by_OBJ(NULL, kind, critical, data);
	must(extension, "an unknown extension");
	ASN1_OCTET_STRING_free(data);
	ASN1_OBJECT_free(kind);
	return extension;
}

static void add_extension(X509 *cert, X509V3_CTX *to, CONF *conf, int nid, const char *value)
{
	X509_EXTENSION *extension;

	if (!value || !*value)
		return;
	extension = new_extension(to, conf, nid, value);
	must(X509_add_ext(cert, extension, -1), value);
	X509_EXTENSION_free(extension);
}

static bool has_raw_san(const struct certs_spec *spec)
{
	return spec->raw_san[0].len || spec->dns_count;
}

static void push_name(GENERAL_NAMES *names, int type, const char *bytes, size_t len)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	ASN1_STRING_set(text, bytes, (int)len);
	GENERAL_NAME_set0_value(name, type, text);
	sk_GENERAL_NAME_push(names, name);
}

static void add_raw_san(X509 *cert, const struct certs_spec *spec)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();

	for (int i = 0; i < CERTS_RAW_MAX && spec->raw_san[i].len; i++)
		push_name(names, spec->raw_san[i].type, spec->raw_san[i].bytes,
			  spec->raw_san[i].len);
	for (unsigned i = 0; i < spec->dns_count; i++) {
		char name[64];
		int len = snprintf(name, sizeof(name), "n%u.corp.example", i);

		push_name(names, GEN_DNS, name, (size_t)len);
	}
	must(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND) == 1,
	     "raw alternative names");
	GENERAL_NAMES_free(names);
}

static void add_extensions(X509 *cert, const struct certs_spec *spec, X509 *issuer)
{
	CONF *conf = read_sections(spec->sections);
	X509V3_CTX to;

	X509V3_set_ctx(&to, issuer, cert, NULL, NULL, 0);
	if (spec->basic)
		add_extension(cert, &to, conf, NID_basic_constraints, spec->basic);
	else if (spec->ca)
		add_extension(cert, &to, conf, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(cert, &to, conf, NID_key_usage, spec->ku);
	add_extension(cert, &to, conf, NID_ext_key_usage, spec->eku);
	add_extension(cert, &to, conf, NID_subject_alt_name, spec->san);
	add_extension(cert, &to, conf, NID_name_constraints, spec->constraints);
	if (has_raw_san(spec))
		add_raw_san(cert, spec);
	if (spec->other_oid) {
		X509_EXTENSION *other = new_other(spec->other_oid, !spec->other_is_minor);

		X509_add_ext(cert, other, -1);
		X509_EXTENSION_free(other);
	}
	if (!spec->no_key_ids) {
		add_extension(cert, &to, conf, NID_subject_key_identifier, "hash");
		/* Its own key identifier is there by now, should it be its own issuer. */
		if (X509_get_ext_by_NID(issuer, NID_subject_key_identifier, -1) >= 0)
			add_extension(cert, &to, conf, NID_authority_key_identifier, "keyid");
	}
	if (spec->twice)
		must(X509_add_ext(cert,
				  X509_get_ext(cert, X509_get_ext_by_NID(cert, spec->twice, -1)),
				  -1),
		     "an extension twice");
	NCONF_free(conf);
}

static const EVP_MD *find_digest(EVP_PKEY *key, const char *digest)
{
	int kind = EVP_PKEY_get_base_id(key);

	if (digest)
		return EVP_get_digestbyname(digest);
	return kind == EVP_PKEY_ED25519 || kind == EVP_PKEY_ED448 ? NULL : EVP_sha256();
}

static EVP_MD_CTX *begin_signature(EVP_PKEY *signer, const struct certs_spec *spec)
{
	EVP_MD_CTX *signing = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key;

	must(EVP_DigestSignInit(signing, &key, find_digest(signer, spec->digest), NULL, signer) ==
		     1,
	     "a signature's beginning");
	if (spec->pss)
		must(EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) == 1 &&
			     EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST) == 1,
		     "RSA-PSS");
	return signing;
}

static void sign(X509 *cert, EVP_PKEY *signer, const struct certs_spec *spec)
{
	EVP_MD_CTX *signing = begin_signature(signer, spec);

	must(X509_sign_ctx(cert, signing) > 0, "a signature");
	EVP_MD_CTX_free(signing);
}

static void spoil_signature(const ASN1_BIT_STRING *signature)
{
	unsigned char *bytes = (unsigned char *)ASN1_STRING_get0_data(signature);

	bytes[ASN1_STRING_length(signature) - 1] ^= 1;
}

/* As a peer's would come: parsed from its bytes, with nothing cached from the making. */
static X509 *parse_again(X509 *made)
{
	unsigned char *der = NULL;
	int len = i2d_X509(made, &der);
	const unsigned char *at = der;
	X509 *cert = d2i_X509(NULL, &at, len);

	must(cert, "a certificate that parses");
	OPENSSL_free(der);
	X509_free(made);
	return cert;
}

static X509_CRL *parse_list_again(X509_CRL *made)
{
	unsigned char *der = NULL;
	int len = i2d_X509_CRL(made, &der);
	const unsigned char *at = der;
	X509_CRL *crl = d2i_X509_CRL(NULL, &at, len);

	must(crl, "a list that parses");
	OPENSSL_free(der);
	X509_CRL_free(made);
	return crl;
}

static void set_unknown_key(X509 *cert)
{
	unsigned char *bytes = OPENSSL_zalloc(8);

	must(X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(cert), OBJ_txt2obj("1.2.3.4.5", 1),
				    V_ASN1_UNDEF, NULL, bytes, 8) == 1,
	     "an unknown key");
}

static void set_validity(X509 *cert, const struct certs_spec *spec)
{
	bool by_default = !spec->from_s && !spec->until_s;
	time_t now = time(NULL);

	ASN1_TIME_set(X509_getm_notBefore(cert), now + (by_default ? -CERTS_DAY_S : spec->from_s));
	ASN1_TIME_set(X509_getm_notAfter(cert),
		      now + (by_default ? 365 * CERTS_DAY_S : spec->until_s));
}

static void set_serial(X509 *cert, const struct certs_spec *spec)
{
	static uint64_t last_serial = 0x1000;
	ASN1_INTEGER *serial = X509_get_serialNumber(cert);
	BIGNUM *number = NULL;

	if (!spec->serial_hex) {
		ASN1_INTEGER_set_uint64(serial, spec->serial ? spec->serial : ++last_serial);
		return;
	}
	must(BN_hex2bn(&number, spec->serial_hex) > 0 && BN_to_ASN1_INTEGER(number, serial),
	     "a serial number");
	BN_free(number);
}

static X509 *make_cert(const struct certs_spec *spec, const struct certs_pair *issuer,
		       EVP_PKEY *key)
{
	X509 *cert = X509_new();

	X509_set_version(cert, spec->version_1 ? X509_VERSION_1 : X509_VERSION_3);
	set_serial(cert, spec);
	fill_name(X509_get_subject_name(cert), spec);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer->cert : cert));
	set_validity(cert, spec);
	must(X509_set_pubkey(cert, key) == 1, "a public key");
	if (spec->no_such_key)
		set_unknown_key(cert);
	if (!spec->version_1)
		add_extensions(cert, spec, issuer ? issuer->cert : cert);
	sign(cert, issuer ? issuer->key : key, spec);
	if (spec->spoil) {
		const ASN1_BIT_STRING *signature;

		X509_get0_signature(&signature, NULL, cert);
		spoil_signature(signature);
	}
	return cert;
}

struct certs_pair certs_make(const struct certs_spec *spec, const struct certs_pair *issuer)
{
	struct certs_pair pair = {.key = spec->same_key};

	if (pair.key)
		EVP_PKEY_up_ref(pair.key);
	else
		pair.key = certs_new_key(spec->key);
	pair.cert = parse_again(make_cert(spec, issuer, pair.key));
	return pair;
}

static void exchange(uint8_t *bytes, size_t len, const char *from, const char *to)
{
	uint8_t *at = memmem(bytes, len, from, strlen(from));

	must(at && strlen(to) == strlen(from), "what is to be exchanged");
	memcpy(at, to, strlen(to));
}

/* An element longer than 255 bytes. */
static void append_der(BIO *out, uint8_t tag, const uint8_t *bytes, size_t len)
{
	const uint8_t head[] = {tag, 0x82, (uint8_t)(len >> 8), (uint8_t)len};

	must(len >= 0x100 && len <= UINT16_MAX, "an element of a length that fits");
	BIO_write(out, head, sizeof(head));
	BIO_write(out, bytes, (int)len);
}

/* The same certificate around other bytes, signed anew. */
static uint8_t *assemble(X509 *cert, EVP_PKEY *signer, const struct certs_spec *spec,
			 size_t *ret_len)
{
	BIO *inner = BIO_new(BIO_s_mem()), *outer = BIO_new(BIO_s_mem());
	EVP_MD_CTX *signing = begin_signature(signer, spec);
	const X509_ALGOR *algorithm;
	unsigned char *tbs = NULL, *der = NULL;
	int tbs_len = i2d_re_X509_tbs(cert, &tbs), der_len;
	uint8_t signature[1024], *copy;
	size_t signature_len = sizeof(signature);
	char *bytes;
	long len;

	exchange(tbs, (size_t)tbs_len, spec->from, spec->to);
	must(EVP_DigestSign(signing, signature, &signature_len, tbs, (size_t)tbs_len) == 1,
	     "a signature of other bytes");
	X509_get0_signature(NULL, &algorithm, cert);
	der_len = i2d_X509_ALGOR((X509_ALGOR *)algorithm, &der);
	BIO_write(inner, tbs, tbs_len);
	BIO_write(inner, der, der_len);
	BIO_write(inner, (const uint8_t[]){0x03, (uint8_t)(signature_len + 1), 0}, 3);
	must(signature_len < 0x7f, "a signature that is short");
	BIO_write(inner, signature, (int)signature_len);
	len = BIO_get_mem_data(inner, &bytes);
	append_der(outer, 0x30, (uint8_t *)bytes, (size_t)len);
	len = BIO_get_mem_data(outer, &bytes);
	copy = malloc((size_t)len);
	memcpy(copy, bytes, (size_t)len);
	*ret_len = (size_t)len;
	OPENSSL_free(tbs);
	OPENSSL_free(der);
	EVP_MD_CTX_free(signing);
	BIO_free(inner);
	BIO_free(outer);
	return copy;
}

uint8_t *certs_make_der(const struct certs_spec *spec, const struct certs_pair *issuer,
			size_t *ret_len)
{
	X509 *cert = make_cert(spec, issuer, spec->same_key);
	EVP_PKEY *signer = issuer ? issuer->key : spec->same_key;
	uint8_t *der =
		spec->from ? assemble(cert, signer, spec, ret_len) : certs_der(cert, ret_len);

	X509_free(cert);
	return der;
}

void certs_free(struct certs_pair *pair)
{
	X509_free(pair->cert);
	EVP_PKEY_free(pair->key);
	*pair = (struct certs_pair){NULL, NULL};
}

static void add_entry(X509_CRL *crl, const struct certs_entry *entry,
		      const struct certs_list_spec *spec, time_t now)
{
	X509_REVOKED *revoked = X509_REVOKED_new();
	ASN1_INTEGER *serial = ASN1_INTEGER_new();
	ASN1_TIME *when = ASN1_TIME_set(NULL, now + entry->at_s);

	ASN1_INTEGER_set_uint64(serial, entry->serial);
	X509_REVOKED_set_serialNumber(revoked, serial);
	X509_REVOKED_set_revocationDate(revoked, when);
	if (entry->reason != CRL_REASON_UNSPECIFIED) {
		ASN1_ENUMERATED *code = ASN1_ENUMERATED_new();

		ASN1_ENUMERATED_set(code, entry->reason);
		X509_REVOKED_add1_ext_i2d(revoked, NID_crl_reason, code, spec->critical, 0);
		ASN1_ENUMERATED_free(code);
	}
	if (spec->critical) {
		ASN1_GENERALIZEDTIME *date = ASN1_GENERALIZEDTIME_set(NULL, now);

		X509_REVOKED_add1_ext_i2d(revoked, NID_invalidity_date, date, 1, 0);
		ASN1_GENERALIZEDTIME_free(date);
	}
	if (entry->elsewhere) {
		GENERAL_NAMES *names = GENERAL_NAMES_new();

		push_name(names, GEN_URI, "ca://other", 10);
		X509_REVOKED_add1_ext_i2d(revoked, NID_certificate_issuer, names, 1, 0);
		GENERAL_NAMES_free(names);
	}
	if (spec->other_oid && spec->other_in_entry) {
		X509_EXTENSION *other = new_other(spec->other_oid, !spec->other_is_minor);

		X509_REVOKED_add_ext(revoked, other, -1);
		X509_EXTENSION_free(other);
	}
	must(X509_CRL_add0_revoked(crl, revoked) == 1, "an entry");
	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(when);
}

static void add_number(X509_CRL *crl, int nid, int64_t value, bool critical)
{
	ASN1_INTEGER *number = ASN1_INTEGER_new();

	ASN1_INTEGER_set_int64(number, value);
	must(X509_CRL_add1_ext_i2d(crl, nid, number, critical, 0) == 1, "a number");
	ASN1_INTEGER_free(number);
}

static void add_extension_of_list(X509_CRL *crl, X509V3_CTX *to, CONF *conf, int nid,
				  const char *value)
{
	X509_EXTENSION *extension = new_extension(to, conf, nid, value);

	X509_CRL_add_ext(crl, extension, -1);
	X509_EXTENSION_free(extension);
}

static void add_list_extensions(X509_CRL *crl, const struct certs_list_spec *spec, X509 *issuer)
{
	CONF *conf = read_sections(spec->sections);
	X509V3_CTX to;

	X509V3_set_ctx(&to, issuer, NULL, NULL, crl, 0);
	if (spec->number)
		add_number(crl, NID_crl_number, spec->number, spec->critical);
	if (spec->delta)
		add_number(crl, NID_delta_crl, 1, true);
	if (spec->bad_number)
		add_extension_of_list(crl, &to, conf, NID_crl_number, "DER:0500");
	if (spec->critical)
		add_extension_of_list(crl, &to, conf, NID_authority_key_identifier,
				      "critical,keyid:always");
	if (spec->scope)
		add_extension_of_list(crl, &to, conf, NID_issuing_distribution_point, spec->scope);
	if (spec->other_oid && !spec->other_in_entry) {
		X509_EXTENSION *other = new_other(spec->other_oid, !spec->other_is_minor);

		X509_CRL_add_ext(crl, other, -1);
		X509_EXTENSION_free(other);
	}
	NCONF_free(conf);
}

X509_CRL *certs_make_list(const struct certs_list_spec *spec, const struct certs_pair *issuer)
{
	bool by_default = !spec->this_s && !spec->next_s;
	X509_CRL *crl = X509_CRL_new();
	time_t now = time(NULL);
	ASN1_TIME *this_update = ASN1_TIME_set(NULL, now + (by_default ? -3600 : spec->this_s));
	ASN1_TIME *next_update =
		ASN1_TIME_set(NULL, now + (by_default ? 7 * CERTS_DAY_S : spec->next_s));

	X509_CRL_set_version(crl, spec->version_1   ? X509_CRL_VERSION_1
				  : spec->version_3 ? X509_CRL_VERSION_2 + 1
						    : X509_CRL_VERSION_2);
	if (spec->bad_time)
		ASN1_STRING_set(this_update, "991332000000Z", -1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->cert));
	X509_CRL_set1_lastUpdate(crl, this_update);
	if (!spec->no_next)
		X509_CRL_set1_nextUpdate(crl, next_update);
	for (int i = 0; i < CERTS_ENTRY_MAX && spec->entries[i].serial; i++)
		add_entry(crl, &spec->entries[i], spec, now);
	add_list_extensions(crl, spec, issuer->cert);
	must(X509_CRL_sign(crl, issuer->key, find_digest(issuer->key, spec->digest)) > 0,
	     "a list's signature");
	if (spec->spoil) {
		const ASN1_BIT_STRING *signature;

		X509_CRL_get0_signature(crl, &signature, NULL);
		spoil_signature(signature);
	}
	ASN1_TIME_free(this_update);
	ASN1_TIME_free(next_update);
	return parse_list_again(crl);
}

static char *take_text(BIO *bio)
{
	char *bytes;
	long len = BIO_get_mem_data(bio, &bytes);
	char *text = strndup(bytes, (size_t)len);

	BIO_free(bio);
	return text;
}

char *certs_pem(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());

	must(PEM_write_bio_X509(bio, cert) == 1, "PEM");
	return take_text(bio);
}

char *certs_pem_list(X509_CRL *crl)
{
	BIO *bio = BIO_new(BIO_s_mem());

	must(PEM_write_bio_X509_CRL(bio, crl) == 1, "PEM");
	return take_text(bio);
}

char *certs_pem_key(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());

	must(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1, "PEM");
	return take_text(bio);
}

static uint8_t *copy_der(unsigned char *der, int len, size_t *ret_len)
{
	uint8_t *copy;

	must(len > 0, "DER");
	copy = malloc((size_t)len);
	memcpy(copy, der, (size_t)len);
	OPENSSL_free(der);
	*ret_len = (size_t)len;
	return copy;
}

uint8_t *certs_der(X509 *cert, size_t *ret_len)
{
	unsigned char *der = NULL;
	int len = i2d_X509(cert, &der);

	return copy_der(der, len, ret_len);
}

uint8_t *certs_der_list(X509_CRL *crl, size_t *ret_len)
{
	unsigned char *der = NULL;
	int len = i2d_X509_CRL(crl, &der);

	return copy_der(der, len, ret_len);
}
