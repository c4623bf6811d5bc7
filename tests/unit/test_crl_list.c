#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "certs.h"
#include "pki/crl_list.h"

/* Which lists can be judged at all. Who is revoked by one, and the policies: test_verify. */
static const struct {
	const char *name;
	struct certs_list_spec spec;
	const char *problem;
} kinds[] = {
	{"a full list", {.number = 1}, NULL},
	{"a full list without number", {.number = 0}, NULL},
	{"version 1", {.version_1 = true}, NULL},
	{"an empty scope",
	 {.scope = "critical,@scope", .sections = "[scope]\nonlyuser=FALSE\n"},
	 NULL},
	{"a delta list", {.number = 2, .delta = true}, "a delta list; publish the full list"},
	{"a delta list with entries",
	 {.number = 2, .delta = true, .entries = {{.serial = 7}}},
	 "a delta list; publish the full list"},
	{"a number that cannot be read", {.bad_number = true}, "its CRL number cannot be read"},
	{"a delta list whose number cannot be read",
	 {.delta = true, .bad_number = true},
	 "a delta list; publish the full list"},
	{"version 3", {.version_3 = true}, "its version is neither 1 nor 2"},
	{"a thisUpdate of the 13th month", {.bad_time = true}, "its thisUpdate is no time"},
	{"critical extensions that are known",
	 {.number = 1,
	  .critical = true,
	  .entries = {{.serial = 7, .reason = CRL_REASON_KEY_COMPROMISE}}},
	 NULL},
	{"an unknown extension",
	 {.other_oid = "1.3.6.1.4.1.55555.1", .other_is_minor = true},
	 NULL},
	{"an unknown extension of an entry",
	 {.entries = {{.serial = 7}},
	  .other_oid = "1.3.6.1.4.1.55555.1",
	  .other_in_entry = true,
	  .other_is_minor = true},
	 NULL},
	{"users only",
	 {.scope = "critical,@scope", .sections = "[scope]\nonlyuser=TRUE\n"},
	 "a partitioned list"},
	{"users only, not critical",
	 {.scope = "@scope", .sections = "[scope]\nonlyuser=TRUE\n"},
	 "a partitioned list"},
	{"authorities only",
	 {.scope = "critical,@scope", .sections = "[scope]\nonlyCA=TRUE\n"},
	 "a partitioned list"},
	{"attributes only",
	 {.scope = "critical,@scope", .sections = "[scope]\nonlyAA=TRUE\n"},
	 "a partitioned list"},
	{"some reasons only",
	 {.scope = "critical,@scope", .sections = "[scope]\nonlysomereasons=keyCompromise\n"},
	 "a partitioned list"},
	{"one distribution point",
	 {.scope = "critical,@scope", .sections = "[scope]\nfullname=URI:http://crl.example/1\n"},
	 "a partitioned list"},
	{"an indirect list",
	 {.scope = "critical,@scope", .sections = "[scope]\nindirectCRL=TRUE\n"},
	 "an indirect list"},
	{"a scope that cannot be read", {.scope = "critical,DER:0500"}, "cannot be read"},
	{"removeFromCRL", {.entries = {{.serial = 7, .reason = CRL_REASON_REMOVE_FROM_CRL}}}, NULL},
	{"an unknown critical extension",
	 {.other_oid = "1.3.6.1.4.1.55555.1"},
	 "an unknown critical extension; publish"},
	{"an entry of another authority",
	 {.entries = {{.serial = 7, .elsewhere = true}}},
	 "an indirect list"},
	{"an unknown critical extension of an entry",
	 {.entries = {{.serial = 7}}, .other_oid = "1.3.6.1.4.1.55555.1", .other_in_entry = true},
	 "an unknown critical extension of an entry"},
	{"signed with SHA-1", {.digest = "SHA1"}, "its signature is weak"},
	{"signed with SHA-512", {.digest = "SHA512"}, NULL},
};

static struct certs_pair make_ca(const char *ku, enum certs_key key)
{
	return certs_make(
		&(struct certs_spec){.subject = "CN=Corp CA", .ca = true, .ku = ku, .key = key},
		NULL);
}

struct bytes {
	uint8_t *data;
	size_t len;
};

static struct bytes make_bytes(const struct certs_list_spec *spec, const struct certs_pair *ca)
{
	X509_CRL *crl = certs_make_list(spec, ca);
	struct bytes bytes;

	bytes.data = certs_der_list(crl, &bytes.len);
	X509_CRL_free(crl);
	return bytes;
}

/* Not sealed: it borrows the bytes. */
static struct crl_list *read_list(const struct bytes *bytes)
{
	struct crl_list *list;

	assert_null(crl_list_read(bytes->data, bytes->len, &list));
	return list;
}

static void test_kinds(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_P256);

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct bytes bytes = make_bytes(&kinds[i].spec, &ca);
		struct crl_list *list;
		const char *problem = crl_list_read(bytes.data, bytes.len, &list);

		if (!list || !problem != !kinds[i].problem ||
		    (problem && !strstr(problem, kinds[i].problem)))
			fail_msg("%s: %s", kinds[i].name, problem ? problem : "fine");
		assert_int_equal(X509_NAME_cmp(list->issuer, X509_get_subject_name(ca.cert)), 0);
		crl_list_unref(list);
		free(bytes.data);
	}
	certs_free(&ca);
}

/* What OpenSSL does not write: a pattern in the bytes, the nth of its kind, and what stands there
 * instead. */
static const struct {
	const char *name;
	struct certs_list_spec spec;
	const char *pattern;
	unsigned nth;
	const char *instead, *problem;
} altered[] = {
	{"two signature algorithms",
	 {.number = 1},
	 "\x2a\x86\x48\xce\x3d\x04\x03\x02",
	 1,
	 "\x2a\x86\x48\xce\x3d\x04\x03\x03",
	 "signature algorithms differ"},
	{"a thisUpdate of the 14th month",
	 {.number = 1},
	 "\x17\x0d",
	 1,
	 "\x17\x0d"
	 "2514",
	 "thisUpdate"},
	{"a nextUpdate of the 14th month",
	 {.number = 1},
	 "\x17\x0d",
	 2,
	 "\x17\x0d"
	 "2514",
	 "nextUpdate"},
	{"reason 11",
	 {.entries = {{.serial = 7, .reason = CRL_REASON_KEY_COMPROMISE}}},
	 "\x04\x03\x0a\x01\x01",
	 1,
	 "\x04\x03\x0a\x01\x0b",
	 "reason cannot be read"},
	{"a second number",
	 {.number = 7, .delta = true},
	 "\x55\x1d\x1b",
	 1,
	 "\x55\x1d\x14",
	 "twice"},
	{"a negative number",
	 {.number = 7},
	 "\x04\x03\x02\x01\x07",
	 1,
	 "\x04\x03\x02\x01\x87",
	 "number"},
	{"version 3", {.number = 7}, "\x02\x01\x01", 1, "\x02\x01\x02", "neither 1 nor 2"},
};

static void alter(struct bytes *bytes, const char *pattern, unsigned nth, const char *instead)
{
	uint8_t *at = bytes->data;

	for (unsigned i = 0; i < nth; i++) {
		at = memmem(at + (i > 0), bytes->len - (size_t)(at + (i > 0) - bytes->data),
			    pattern, strlen(pattern));
		assert_non_null(at);
	}
	memcpy(at, instead, strlen(instead));
}

static void test_altered(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_P256);

	(void)state;
	for (size_t i = 0; i < sizeof(altered) / sizeof(altered[0]); i++) {
		struct bytes bytes = make_bytes(&altered[i].spec, &ca);
		struct crl_list *list;
		const char *problem;

		alter(&bytes, altered[i].pattern, altered[i].nth, altered[i].instead);
		problem = crl_list_read(bytes.data, bytes.len, &list);
		if (!problem || !strstr(problem, altered[i].problem))
			fail_msg("%s: %s", altered[i].name, problem ? problem : "fine");
		crl_list_unref(list);
		free(bytes.data);
	}
	certs_free(&ca);
}

/* The digest is in the parameters. */
static void test_pss(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_RSA_2048);

	(void)state;
	for (int weak = 0; weak < 2; weak++) {
		X509_CRL *crl = certs_make_list(&(struct certs_list_spec){.number = 1}, &ca);
		EVP_MD_CTX *signing = EVP_MD_CTX_new();
		EVP_PKEY_CTX *params;
		struct bytes bytes;
		struct crl_list *list;
		const char *problem;

		assert_int_equal(EVP_DigestSignInit(signing, &params,
						    weak ? EVP_sha1() : EVP_sha256(), NULL, ca.key),
				 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING), 1);
		assert_true(X509_CRL_sign_ctx(crl, signing) > 0);
		bytes.data = certs_der_list(crl, &bytes.len);
		problem = crl_list_read(bytes.data, bytes.len, &list);
		assert_int_equal(problem != NULL, weak);
		if (problem)
			assert_non_null(strstr(problem, "its signature is weak"));
		else
			assert_true(crl_list_signed_by(list, ca.cert));
		crl_list_unref(list);
		free(bytes.data);
		EVP_MD_CTX_free(signing);
		X509_CRL_free(crl);
	}
	certs_free(&ca);
}

static void test_ed25519(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_ED25519);
	struct bytes bytes = make_bytes(&(struct certs_list_spec){.number = 1}, &ca);
	struct crl_list *list = read_list(&bytes);

	(void)state;
	assert_true(crl_list_signed_by(list, ca.cert));
	crl_list_unref(list);
	free(bytes.data);
	certs_free(&ca);
}

/* By whom a list can be signed; the same before and after the bytes are gone. */
static void check_signers(const struct certs_list_spec *spec, const struct certs_pair *ca,
			  const struct certs_pair *namesake, bool allowed)
{
	struct bytes bytes = make_bytes(spec, ca);
	struct crl_list *loaded = read_list(&bytes), *unknown = read_list(&bytes);

	assert_int_equal(crl_list_signed_by(loaded, ca->cert), allowed);
	assert_false(crl_list_settle(loaded, namesake->cert));
	assert_int_equal(crl_list_settle(loaded, ca->cert), allowed);
	assert_int_equal(loaded->signer != NULL, allowed);
	crl_list_seal(loaded);
	crl_list_seal(unknown);
	free(bytes.data);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(crl_list_signed_by(i ? loaded : unknown, ca->cert), allowed);
		assert_false(crl_list_signed_by(i ? loaded : unknown, namesake->cert));
	}
	assert_int_equal(loaded->signed_bytes.len == 0, allowed);
	/* Sealed, it is immutable. */
	assert_int_equal(crl_list_settle(unknown, ca->cert), allowed);
	assert_null(unknown->signer);
	crl_list_unref(loaded);
	crl_list_unref(unknown);
}

static void test_signed_by(void **state)
{
	static const struct {
		const char *ku;
		bool allowed;
	} usages[] = {
		{NULL, true},
		{"keyCertSign,cRLSign", true},
		{"cRLSign", true},
		{"keyCertSign", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(usages) / sizeof(usages[0]); i++) {
		struct certs_pair ca = make_ca(usages[i].ku, CERTS_P256);
		struct certs_pair namesake = make_ca(usages[i].ku, CERTS_P256);

		check_signers(&(struct certs_list_spec){.number = 1}, &ca, &namesake,
			      usages[i].allowed);
		check_signers(&(struct certs_list_spec){.spoil = true}, &ca, &namesake, false);
		certs_free(&ca);
		certs_free(&namesake);
	}
}

/* Any byte of what is signed, and of the signature, altered or missing. */
static void test_every_byte(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_P256);
	struct bytes bytes =
		make_bytes(&(struct certs_list_spec){.number = 3, .entries = {{.serial = 0x77}}},
			   &ca);

	(void)state;
	for (size_t i = 0; i < bytes.len; i++) {
		struct crl_list *list;

		assert_non_null(crl_list_read(bytes.data, i, &list));
		assert_null(list);
		bytes.data[i] ^= 1;
		if (!crl_list_read(bytes.data, bytes.len, &list) &&
		    crl_list_signed_by(list, ca.cert))
			fail_msg("byte %zu", i);
		crl_list_unref(list);
		bytes.data[i] ^= 1;
	}
	free(bytes.data);
	certs_free(&ca);
}

static void test_entries(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_P256);
	struct bytes bytes = make_bytes(
		&(struct certs_list_spec){
			.number = 0x1234,
			.entries = {{.serial = 0xffffffffffffffff, .at_s = -100},
				    {.serial = 0x80, .reason = CRL_REASON_KEY_COMPROMISE},
				    {.serial = 1, .reason = CRL_REASON_REMOVE_FROM_CRL},
				    {.serial = 0x7f}}},
		&ca);
	struct crl_list *list = read_list(&bytes);
	ASN1_INTEGER *serial = ASN1_INTEGER_new();
	struct serials_entry entry;
	time_t now = time(NULL);

	(void)state;
	crl_list_seal(list);
	assert_int_equal(list->entry_count, 4);
	assert_int_equal(ASN1_INTEGER_get(list->number), 0x1234);
	assert_in_range(now - list->this_update, 3600, 3610);
	assert_in_range(list->next_update - now, 7 * CERTS_DAY_S - 10, 7 * CERTS_DAY_S);
	ASN1_INTEGER_set_uint64(serial, 0xffffffffffffffff);
	assert_true(crl_list_find(list, serial, &entry));
	assert_in_range(now - entry.revoked_at, 100, 110);
	assert_int_equal(entry.reason, 0);
	ASN1_INTEGER_set_uint64(serial, 0x80);
	assert_true(crl_list_find(list, serial, &entry));
	assert_int_equal(entry.reason, CRL_REASON_KEY_COMPROMISE);
	/* 80 without the zero before it is -128. */
	ASN1_INTEGER_set_int64(serial, -128);
	assert_false(crl_list_find(list, serial, &entry));
	ASN1_INTEGER_set_uint64(serial, 1);
	assert_false(crl_list_find(list, serial, &entry));
	ASN1_INTEGER_set_uint64(serial, 0);
	assert_false(crl_list_find(list, serial, &entry));
	ASN1_INTEGER_set_uint64(serial, 0x7f);
	assert_true(crl_list_find(list, serial, &entry));
	ASN1_INTEGER_free(serial);
	crl_list_unref(list);
	free(bytes.data);
	certs_free(&ca);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),	  cmocka_unit_test(test_altered),
		cmocka_unit_test(test_pss),	  cmocka_unit_test(test_ed25519),
		cmocka_unit_test(test_signed_by), cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
