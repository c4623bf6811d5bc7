#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "certs.h"
#include "pki/crl.h"

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

static void test_kinds(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_P256);

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		X509_CRL *crl = certs_make_list(&kinds[i].spec, &ca);
		const char *problem = crl_problem(crl);

		if (!problem != !kinds[i].problem ||
		    (problem && !strstr(problem, kinds[i].problem)))
			fail_msg("%s: %s", kinds[i].name, problem ? problem : "fine");
		X509_CRL_free(crl);
	}
	certs_free(&ca);
}

static void test_ed25519(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_ED25519);
	X509_CRL *crl = certs_make_list(&(struct certs_list_spec){.number = 1}, &ca);

	(void)state;
	assert_null(crl_problem(crl));
	assert_true(crl_signed_by(crl, ca.cert));
	X509_CRL_free(crl);
	certs_free(&ca);
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
		X509_CRL *crl = certs_make_list(&(struct certs_list_spec){.number = 1}, &ca);
		X509_CRL *altered = certs_make_list(&(struct certs_list_spec){.spoil = true}, &ca);

		assert_int_equal(crl_signed_by(crl, ca.cert), usages[i].allowed);
		assert_false(crl_signed_by(crl, namesake.cert));
		assert_false(crl_signed_by(altered, ca.cert));
		X509_CRL_free(crl);
		X509_CRL_free(altered);
		certs_free(&ca);
		certs_free(&namesake);
	}
}

/* The last second of a list, of the grace, and the first one after. */
static void test_dates(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_P256);
	struct certs_pair leaf = certs_make(&(struct certs_spec){.subject = "CN=alice"}, &ca);
	X509_CRL *crl = certs_make_list(&(struct certs_list_spec){.number = 1}, &ca);
	char file[] = "corp.crl", text[512];
	struct trust_ca loaded = {.cert = ca.cert, .is_root = true};
	struct trust_crl list = {
		.crl = crl,
		.issuer = ca.cert,
		.signature_ok = true,
		.this_update = 1000,
		.next_update = 2000,
		.file = file,
	};
	struct trust trust = {.cas = &loaded, .ca_count = 1, .crls = &list, .crl_count = 1};
	static const struct {
		enum trust_crl_policy policy;
		time_t at;
		enum reason expected;
	} dates[] = {
		{TRUST_CRL_STRICT, 999, REASON_CRL_INVALID},
		{TRUST_CRL_STRICT, 1000, REASON_NONE},
		{TRUST_CRL_STRICT, 2000, REASON_NONE},
		{TRUST_CRL_STRICT, 2001, REASON_CRL_EXPIRED},
		{TRUST_CRL_GRACE, 999, REASON_CRL_INVALID},
		{TRUST_CRL_GRACE, 2100, REASON_NONE},
		{TRUST_CRL_GRACE, 2101, REASON_CRL_EXPIRED},
		{TRUST_CRL_ADVISORY, 999, REASON_NONE},
		{TRUST_CRL_ADVISORY, 9999, REASON_NONE},
		{TRUST_CRL_OFF, 999, REASON_NONE},
		{TRUST_CRL_OFF, 9999, REASON_NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
		trust.crl_policy = dates[i].policy;
		trust.crl_grace_s = 100;
		assert_int_equal(crl_check(&trust, leaf.cert, ca.cert, dates[i].at, text,
					   sizeof(text)),
				 dates[i].expected);
	}
	trust.crl_policy = TRUST_CRL_STRICT;
	crl_check(&trust, leaf.cert, ca.cert, 9999, text, sizeof(text));
	assert_string_equal(text, "the revocation list of \"CN=Corp CA\" (corp.crl) was due for "
				  "renewal at 1970-01-01T00:33:20Z");
	X509_CRL_free(crl);
	certs_free(&leaf);
	certs_free(&ca);
}

/* By issuer and serial, whatever else is wrong with the list. */
static void test_mentions(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_P256);
	struct certs_pair other =
		certs_make(&(struct certs_spec){.subject = "CN=Other", .ca = true}, NULL);
	struct certs_pair on =
		certs_make(&(struct certs_spec){.subject = "CN=a", .serial = 77}, &ca);
	struct certs_pair off =
		certs_make(&(struct certs_spec){.subject = "CN=b", .serial = 78}, &ca);
	struct certs_pair elsewhere =
		certs_make(&(struct certs_spec){.subject = "CN=c", .serial = 77}, &other);
	struct trust_crl lists[2] = {
		{.crl = certs_make_list(&(struct certs_list_spec){.number = 1}, &ca)},
		{.crl = certs_make_list(&(struct certs_list_spec){.entries = {{.serial = 77}},
								  .spoil = true},
					&ca)},
	};
	struct trust trust = {.crls = lists, .crl_count = 2};

	(void)state;
	assert_true(crl_mentions(&trust, on.cert));
	assert_false(crl_mentions(&trust, off.cert));
	assert_false(crl_mentions(&trust, elsewhere.cert));
	trust.crl_count = 1;
	assert_false(crl_mentions(&trust, on.cert));
	for (size_t i = 0; i < 2; i++)
		X509_CRL_free(lists[i].crl);
	certs_free(&ca);
	certs_free(&other);
	certs_free(&on);
	certs_free(&off);
	certs_free(&elsewhere);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),	  cmocka_unit_test(test_ed25519),
		cmocka_unit_test(test_signed_by), cmocka_unit_test(test_dates),
		cmocka_unit_test(test_mentions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
