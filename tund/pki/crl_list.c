#include "pki/crl_list.h"

#include <string.h>

#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "pki/der.h"

enum {
	DIGEST_BITS_MIN = 224, /* SHA-224 and better, as for certificates */
	NUMBER_BYTES_MAX = 64, /* RFC 5280 5.2.3 allows 20 */
	REASON_MAX = 10,       /* aACompromise */
};

static const char malformed[] = "not a whole revocation list; PEM or DER is right";
static const char indirect[] = "an indirect list; publish one list per authority";

/* Extensions, all 2.5.29.N: their N. */
enum extension {
	CRL_NUMBER = 20,
	REASON_CODE = 21,
	HOLD_INSTRUCTION = 23,
	INVALIDITY_DATE = 24,
	DELTA_INDICATOR = 27,
	DISTRIBUTION_POINT = 28,
	CERTIFICATE_ISSUER = 29,
	AUTHORITY_KEY = 35,
	UNKNOWN = 0,
};

struct reading {
	struct crl_list *list;
	struct span inner_algorithm;
	const char *problem; /* the first; reading goes on only to see that all is well-formed */
};

static void note(struct reading *reading, const char *problem)
{
	if (!reading->problem)
		reading->problem = problem;
}

/* ---- extensions ---- */

/* Extension ::= SEQUENCE { OID, BOOLEAN DEFAULT FALSE, OCTET STRING }; the value is returned. */
static struct span read_extension(struct span *from, enum extension *ret_kind, bool *ret_critical)
{
	struct span content = der_read(from, DER_SEQUENCE), oid, value, flag;

	oid = der_read_oid(&content);
	*ret_critical = false;
	if (der_is(&content, DER_BOOLEAN)) {
		flag = der_read(&content, DER_BOOLEAN);
		if (flag.len != 1)
			content.failed = true;
		else
			*ret_critical = flag.data[0] != 0;
	}
	value = der_read(&content, DER_OCTET_STRING);
	if (content.failed || content.len)
		from->failed = true;
	*ret_kind = oid.len == 3 && oid.data[0] == 0x55 && oid.data[1] == 0x1d && oid.data[2] < 64
			    ? (enum extension)oid.data[2]
			    : UNKNOWN;
	return value;
}

/* A list that leaves certificates out, or speaks for other authorities too, must not be taken for
 * the full one: who is missing from it may well be revoked. */
static const char *find_scope_problem(struct span value)
{
	const uint8_t *at = value.data;
	ISSUING_DIST_POINT *scope = d2i_ISSUING_DIST_POINT(NULL, &at, (long)value.len);
	const char *problem = NULL;

	if (!scope || at != value.data + value.len)
		problem = "its issuingDistributionPoint cannot be read";
	else if (scope->indirectCRL > 0)
		problem = indirect;
	else if (scope->distpoint || scope->onlyuser > 0 || scope->onlyCA > 0 ||
		 scope->onlyattr > 0 || scope->onlysomereasons)
		problem = "a partitioned list; publish the full list";
	ISSUING_DIST_POINT_free(scope);
	return problem;
}

static void read_number(struct reading *reading, struct span value)
{
	struct span rest = value, content = der_read_integer(&rest, DER_INTEGER);
	const uint8_t *at = value.data;

	if (rest.failed || rest.len || content.len > NUMBER_BYTES_MAX || content.data[0] & 0x80)
		note(reading, "its CRL number cannot be read");
	else
		reading->list->number = d2i_ASN1_INTEGER(NULL, &at, (long)value.len);
}

static void read_list_extension(struct reading *reading, struct span value, enum extension kind,
				bool critical)
{
	switch (kind) {
	case DELTA_INDICATOR:
		note(reading, "a delta list; publish the full list");
		break;
	case DISTRIBUTION_POINT:
		note(reading, find_scope_problem(value));
		break;
	case CRL_NUMBER:
		read_number(reading, value);
		break;
	case AUTHORITY_KEY:
		break;
	default:
		if (critical)
			note(reading, "an unknown critical extension; publish the list without it");
	}
}

/* Whether one of that kind has been there before. */
static bool is_second(uint64_t *seen, enum extension kind)
{
	bool was_seen = kind != UNKNOWN && *seen >> kind & 1;

	*seen |= UINT64_C(1) << kind;
	return was_seen;
}

struct found {
	enum extension kind;
	bool critical, again;
	struct span value;
};

/* The next of them; false at the end, and where there is none that can be read. */
static bool next_extension(struct span *extensions, uint64_t *seen, struct found *ret)
{
	if (extensions->failed || !extensions->len)
		return false;
	ret->value = read_extension(extensions, &ret->kind, &ret->critical);
	ret->again = is_second(seen, ret->kind);
	return !extensions->failed;
}

static void read_list_extensions(struct reading *reading, struct span *from)
{
	struct span outer = der_read(from, DER_EXPLICIT_0);
	struct span extensions = der_read(&outer, DER_SEQUENCE);
	struct found found;
	uint64_t seen = 0;

	while (next_extension(&extensions, &seen, &found)) {
		if (found.again)
			note(reading, "an extension twice; RFC 5280 allows one of a kind");
		else
			read_list_extension(reading, found.value, found.kind, found.critical);
	}
	if (extensions.failed || outer.len)
		from->failed = true;
}

/* ---- entries ---- */

static void read_reason(struct reading *reading, struct span value, struct serials_entry *entry)
{
	struct span code = der_read_integer(&value, DER_ENUMERATED);

	if (value.failed || value.len || code.len != 1 || code.data[0] > REASON_MAX)
		note(reading, "an entry's reason cannot be read");
	else
		entry->reason = code.data[0];
}

static void read_entry_extensions(struct reading *reading, struct span *from,
				  struct serials_entry *entry)
{
	struct span extensions = der_read(from, DER_SEQUENCE);
	struct found found;
	uint64_t seen = 0;

	while (next_extension(&extensions, &seen, &found)) {
		if (found.again)
			note(reading, "an extension of an entry twice; RFC 5280 allows one of a "
				      "kind");
		else if (found.kind == CERTIFICATE_ISSUER)
			note(reading, indirect);
		else if (found.kind == REASON_CODE)
			read_reason(reading, found.value, entry);
		else if (found.critical && found.kind != INVALIDITY_DATE)
			note(reading, "an unknown critical extension of an entry; publish the list "
				      "without it");
	}
	from->failed |= extensions.failed;
}

/* SEQUENCE { serial INTEGER, revocationDate Time, extensions OPTIONAL } */
static void read_entry(struct reading *reading, struct span *from)
{
	struct crl_list *list = reading->list;
	struct span content = der_read(from, DER_SEQUENCE);
	struct span serial = der_read_integer(&content, DER_INTEGER);
	struct serials_entry entry = {0};

	der_read_time(&content, &entry.revoked_at);
	if (!content.failed && content.len)
		read_entry_extensions(reading, &content, &entry);
	if (content.failed || content.len) {
		from->failed = true;
		return;
	}
	list->entry_count++;
	if (serial.len > SERIALS_LEN_MAX)
		note(reading, "an entry's serial number has more than 255 bytes");
	else if (entry.reason != CRL_REASON_REMOVE_FROM_CRL)
		serials_add(&list->serials, serial.data, serial.len, &entry);
}

static void read_entries(struct reading *reading, struct span *from)
{
	struct span entries = der_read(from, DER_SEQUENCE);

	/* An entry is at least 7 bytes more than its serial: three tags and lengths, and a time. */
	serials_init(&reading->list->serials, entries.len);
	while (!entries.failed && entries.len)
		read_entry(reading, &entries);
	from->failed |= entries.failed;
}

/* ---- the list ---- */

static bool digest_of_pss_is_weak(const X509_ALGOR *algorithm)
{
	RSA_PSS_PARAMS *params =
		ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_PSS_PARAMS), algorithm->parameter);
	/* Left out it is SHA-1 (RFC 4055 3.1). */
	int nid = params && params->hashAlgorithm ? OBJ_obj2nid(params->hashAlgorithm->algorithm)
						  : NID_sha1;
	const EVP_MD *md = EVP_get_digestbynid(nid);

	RSA_PSS_PARAMS_free(params);
	return !md || EVP_MD_get_size(md) * 8 < DIGEST_BITS_MIN;
}

/* Collisions cost half of the digest's bits. */
static bool digest_is_weak(const X509_ALGOR *algorithm)
{
	int digest, key;
	const EVP_MD *md;

	if (!OBJ_find_sigid_algs(OBJ_obj2nid(algorithm->algorithm), &digest, &key))
		return true;
	if (key == NID_rsassaPss)
		return digest_of_pss_is_weak(algorithm);
	/* Ed25519 and Ed448 have no digest of their own. */
	if (digest == NID_undef)
		return false;
	md = EVP_get_digestbynid(digest);
	return !md || EVP_MD_get_size(md) * 8 < DIGEST_BITS_MIN;
}

static void read_version(struct reading *reading, struct span *from)
{
	struct span version;

	if (!der_is(from, DER_INTEGER))
		return;
	version = der_read_integer(from, DER_INTEGER);
	if (!version.failed && (version.len != 1 || version.data[0] > 1))
		note(reading, "its version is neither 1 nor 2");
}

static void read_issuer(struct reading *reading, struct span *from)
{
	struct span name = der_read_whole(from, DER_SEQUENCE);
	const uint8_t *at = name.data;

	if (from->failed)
		return;
	reading->list->issuer = d2i_X509_NAME(NULL, &at, (long)name.len);
	if (!reading->list->issuer || at != name.data + name.len)
		from->failed = true;
}

static void read_dates(struct reading *reading, struct span *from)
{
	struct crl_list *list = reading->list;

	der_read_time(from, &list->this_update);
	if (!list->this_update)
		note(reading, "its thisUpdate is no time");
	if (!der_is(from, DER_UTC_TIME) && !der_is(from, DER_GENERALIZED_TIME))
		return;
	der_read_time(from, &list->next_update);
	if (!list->next_update)
		note(reading, "its nextUpdate is no time");
}

/* TBSCertList (RFC 5280 5.1). */
static void read_signed_part(struct reading *reading, struct span content, struct span *from)
{
	read_version(reading, &content);
	reading->inner_algorithm = der_read_whole(&content, DER_SEQUENCE);
	read_issuer(reading, &content);
	read_dates(reading, &content);
	if (der_is(&content, DER_SEQUENCE))
		read_entries(reading, &content);
	if (der_is(&content, DER_EXPLICIT_0))
		read_list_extensions(reading, &content);
	if (content.failed || content.len)
		from->failed = true;
}

static void read_signature(struct reading *reading, struct span *from)
{
	struct crl_list *list = reading->list;
	struct span algorithm = der_read_whole(from, DER_SEQUENCE);
	struct span signature = der_read_whole(from, DER_BIT_STRING);
	const uint8_t *at = algorithm.data;

	if (from->failed)
		return;
	if (algorithm.len != reading->inner_algorithm.len ||
	    memcmp(algorithm.data, reading->inner_algorithm.data, algorithm.len) != 0)
		note(reading, "its two signature algorithms differ");
	list->algorithm = d2i_X509_ALGOR(NULL, &at, (long)algorithm.len);
	at = signature.data;
	list->signature = d2i_ASN1_BIT_STRING(NULL, &at, (long)signature.len);
	if (!list->algorithm || !list->signature)
		from->failed = true;
	else if (digest_is_weak(list->algorithm))
		note(reading, "its signature is weak; sign it with SHA-256 or stronger");
}

/* CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signature } */
static bool read_all(struct reading *reading, struct span der)
{
	struct span content = der_read(&der, DER_SEQUENCE), whole, signed_part;

	whole = content;
	reading->list->signed_bytes = der_read_whole(&content, DER_SEQUENCE);
	if (content.failed)
		return false;
	signed_part = der_read(&whole, DER_SEQUENCE);
	read_signed_part(reading, signed_part, &content);
	if (!content.failed)
		read_signature(reading, &content);
	return !der.failed && !der.len && !content.failed && !content.len;
}

void crl_list_hash(const uint8_t *der, size_t len, uint8_t ret[static 32])
{
	SHA256(der, len, ret);
}

const char *crl_list_read(const uint8_t *der, size_t len, struct crl_list **ret)
{
	struct crl_list *list = xnew(struct crl_list);
	struct reading reading = {.list = list};

	list->refs = 1;
	*ret = list;
	if (!read_all(&reading, (struct span){.data = der, .len = len})) {
		list->signed_bytes = (struct span){0};
		crl_list_unref(list);
		*ret = NULL;
		return malformed;
	}
	crl_list_hash(der, len, list->hash);
	return reading.problem;
}

/* ---- its signature ---- */

/* OpenSSL verifies objects, by what they encode to. This one encodes to the bytes it borrows. */
static bool verify(const struct crl_list *list, EVP_PKEY *key)
{
	ASN1_STRING bytes = {
		.type = V_ASN1_SEQUENCE,
		.data = (unsigned char *)list->signed_bytes.data,
		.length = (int)list->signed_bytes.len,
	};
	ASN1_TYPE object = {.type = V_ASN1_SEQUENCE, .value.sequence = &bytes};

	return ASN1_item_verify(ASN1_ITEM_rptr(ASN1_ANY), list->algorithm, list->signature, &object,
				key) == 1;
}

bool crl_list_signed_by(const struct crl_list *list, X509 *issuer)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer);

	/* Without a keyUsage all uses are allowed, and all bits come back set. */
	if (!key || !(X509_get_key_usage(issuer) & KU_CRL_SIGN))
		return false;
	return list->signer ? EVP_PKEY_eq(list->signer, key) == 1 : verify(list, key);
}

bool crl_list_settle(struct crl_list *list, X509 *issuer)
{
	if (!crl_list_signed_by(list, issuer))
		return false;
	if (!list->signer && !list->is_sealed) {
		list->signer = X509_get_pubkey(issuer);
		list->signed_bytes = (struct span){0};
	}
	return true;
}

void crl_list_seal(struct crl_list *list)
{
	struct span *bytes = &list->signed_bytes;

	if (bytes->len)
		bytes->data = xalloc_copy(bytes->data, bytes->len);
	serials_index(&list->serials);
	list->is_sealed = true;
}

/* ---- asking it ---- */

bool crl_list_find(const struct crl_list *list, const ASN1_INTEGER *serial,
		   struct serials_entry *ret)
{
	enum { HEAD_MAX = 3 }; /* tag and length of SERIALS_LEN_MAX bytes */
	uint8_t der[HEAD_MAX + SERIALS_LEN_MAX], *end = der;
	struct span whole = {.data = der}, content;
	int len = i2d_ASN1_INTEGER(serial, NULL);

	/* No list has a longer one. */
	if (len <= 0 || (size_t)len > sizeof(der))
		return false;
	whole.len = (size_t)i2d_ASN1_INTEGER(serial, &end);
	content = der_read(&whole, DER_INTEGER);
	return !content.failed && serials_find(&list->serials, content.data, content.len, ret);
}

struct crl_list *crl_list_ref(struct crl_list *list)
{
	__atomic_add_fetch(&list->refs, 1, __ATOMIC_RELAXED);
	return list;
}

void crl_list_unref(struct crl_list *list)
{
	if (!list || __atomic_sub_fetch(&list->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	X509_NAME_free(list->issuer);
	ASN1_INTEGER_free(list->number);
	EVP_PKEY_free(list->signer);
	X509_ALGOR_free(list->algorithm);
	ASN1_BIT_STRING_free(list->signature);
	if (list->is_sealed)
		free((void *)list->signed_bytes.data);
	serials_done(&list->serials);
	free(list);
}
