#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "certs.h"
#include "pki/identity.h"

#define NAME_64 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"
#define NAME_255                                                                                   \
	NAME_64 NAME_64 NAME_64 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static const struct {
	const char *name;
	struct certs_spec spec;
	enum reason expected;
	enum identity_kind kind;
	const char *identity; /* or part of the text of a refusal */
} read_rows[] = {
	{"URI before all",
	 {.subject = "CN=alice", .san = "email:a@b.example,DNS:d.example,URI:tund://corp/alice"},
	 .kind = IDENTITY_URI,
	 .identity = "tund://corp/alice"},
	{"DNS name before email",
	 {.subject = "CN=alice", .san = "email:a@b.example,DNS:D.Example"},
	 .kind = IDENTITY_DNS,
	 .identity = "d.example"},
	{"the first of two DNS names",
	 {.subject = "CN=alice", .san = "DNS:z.example,DNS:a.example"},
	 .kind = IDENTITY_DNS,
	 .identity = "z.example"},
	{"email before CN",
	 {.subject = "CN=alice", .san = "email:Alice@B.Example"},
	 .kind = IDENTITY_EMAIL,
	 .identity = "Alice@b.example"},
	{"email without @",
	 {.subject = "CN=alice", .san = "email:Alice"},
	 .kind = IDENTITY_EMAIL,
	 .identity = "Alice"},
	{"CN beside an IP address",
	 {.subject = "CN=Alice", .san = "IP:192.0.2.1"},
	 .kind = IDENTITY_CN,
	 .identity = "Alice"},
	{"CN in UTF-8",
	 {.subject = "CN=J\xc3\xbcrgen \xe2\x82\xac"},
	 .kind = IDENTITY_CN,
	 .identity = "J\xc3\xbcrgen \xe2\x82\xac"},
	{"CN in Latin-1",
	 {.cn = {V_ASN1_T61STRING, "J\xfcrgen", 6}},
	 .kind = IDENTITY_CN,
	 .identity = "J\xc3\xbcrgen"},
	{"CN in UTF-16",
	 {.cn = {V_ASN1_BMPSTRING, "\0b\0o\0b", 6}},
	 .kind = IDENTITY_CN,
	 .identity = "bob"},
	{"CN of 255 bytes", {.subject = "CN=" NAME_255}, .kind = IDENTITY_CN, .identity = NAME_255},
	{"32 organisational units are many enough",
	 {.subject = "OU=1/OU=2/OU=3/OU=4/OU=5/OU=6/OU=7/OU=8/OU=9/OU=10/OU=11/OU=12/OU=13/OU=14/"
		     "OU=15/OU=16/OU=17/OU=18/OU=19/OU=20/OU=21/OU=22/OU=23/OU=24/OU=25/OU=26/"
		     "OU=27/OU=28/OU=29/OU=30/OU=31/OU=32/CN=a"},
	 .kind = IDENTITY_CN,
	 .identity = "a"},
	{"33 organisational units",
	 {.subject = "OU=1/OU=2/OU=3/OU=4/OU=5/OU=6/OU=7/OU=8/OU=9/OU=10/OU=11/OU=12/OU=13/OU=14/"
		     "OU=15/OU=16/OU=17/OU=18/OU=19/OU=20/OU=21/OU=22/OU=23/OU=24/OU=25/OU=26/"
		     "OU=27/OU=28/OU=29/OU=30/OU=31/OU=32/OU=33/CN=a"},
	 REASON_NAME_INVALID,
	 .identity = "more than 32"},
	{"CN of 256 bytes",
	 {.subject = "CN=" NAME_255 "x"},
	 REASON_NAME_INVALID,
	 .identity = "the common name is longer than 255 bytes"},
	{"a zero byte in the CN",
	 {.cn = {V_ASN1_UTF8STRING, "alice\0bob", 9}},
	 REASON_NAME_INVALID,
	 .identity = "zero byte"},
	{"a zero byte at the end of the CN",
	 {.cn = {V_ASN1_UTF8STRING, "alice\0", 6}},
	 REASON_NAME_INVALID,
	 .identity = "zero byte"},
	{"a zero byte in a CN in UTF-16",
	 {.cn = {V_ASN1_BMPSTRING, "\0a\0\0\0b", 6}},
	 REASON_NAME_INVALID,
	 .identity = "zero byte"},
	{"an escape in the CN",
	 {.subject = "CN=\x1b[2J"},
	 REASON_NAME_INVALID,
	 .identity = "control character"},
	{"DEL in the CN",
	 {.subject = "CN=a\x7f"},
	 REASON_NAME_INVALID,
	 .identity = "control character"},
	{"a C1 control in the CN",
	 {.subject = "CN=a\xc2\x9b"},
	 REASON_NAME_INVALID,
	 .identity = "control character"},
	{"a no-break space is no control",
	 {.subject = "CN=a\xc2\xa0z"},
	 .kind = IDENTITY_CN,
	 .identity = "a\xc2\xa0z"},
	{"a CN that is no text",
	 {.cn = {V_ASN1_BIT_STRING, "alice", 5}},
	 REASON_NAME_INVALID,
	 .identity = "no text"},
	{"two CNs",
	 {.subject = "CN=alice/OU=x/CN=bob"},
	 REASON_NAME_INVALID,
	 .identity = "several common names"},
	{"a line break in the unit",
	 {.subject = "OU=a\nb/CN=alice"},
	 REASON_NAME_INVALID,
	 .identity = "organisational unit"},
	{"a line break in the organisation",
	 {.subject = "O=a\nb/CN=alice"},
	 REASON_NAME_INVALID,
	 .identity = "organisation"},
	{"a zero byte in a URI",
	 {.subject = "CN=alice", .raw_san = {{GEN_URI, "tund://a\0b", 10}}},
	 REASON_NAME_INVALID,
	 .identity = "a URI holds a zero byte"},
	{"a second DNS name that is not ASCII",
	 {.raw_san = {{GEN_DNS, "a.example", 9}, {GEN_DNS, "b\xe4.example", 10}}},
	 REASON_NAME_INVALID,
	 .identity = "not ASCII"},
	{"a DNS name of 256 bytes",
	 {.raw_san = {{GEN_DNS, NAME_255 "x", 256}}},
	 REASON_NAME_INVALID,
	 .identity = "longer than 255 bytes"},
	{"a first DNS name that is not ASCII",
	 {.raw_san = {{GEN_DNS, "a\xe4.example", 10}, {GEN_DNS, "b.example", 9}}},
	 REASON_NAME_INVALID,
	 .identity = "not ASCII"},
	{"33 DNS names", {.dns_count = 33}, REASON_NAME_INVALID, .identity = "more than 32"},
	{"nothing", {.subject = "O=Corp/OU=Eng"}, REASON_NAME_INVALID, .identity = "no URI"},
	{"two extensions of alternative names",
	 {.subject = "CN=alice", .san = "DNS:a.example", .raw_san = {{GEN_DNS, "b.example", 9}}},
	 REASON_NAME_INVALID,
	 .identity = "cannot be read"},
};

static void test_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(read_rows) / sizeof(read_rows[0]); i++) {
		struct certs_pair pair = certs_make(&read_rows[i].spec, NULL);
		struct identity_cert *cert = NULL;
		char text[200] = "";
		enum reason reason = identity_read(pair.cert, pair.cert, &cert, text, sizeof(text));

		if (reason != read_rows[i].expected)
			fail_msg("%s: %s %s", read_rows[i].name, reason_word(reason), text);
		if (reason == REASON_NONE) {
			assert_int_equal(cert->identity.kind, read_rows[i].kind);
			assert_string_equal(cert->identity.name, read_rows[i].identity);
		} else {
			assert_null(cert);
			if (!strstr(text, read_rows[i].identity))
				fail_msg("%s: %s", read_rows[i].name, text);
		}
		identity_cert_unref(cert);
		certs_free(&pair);
	}
}

static struct identity_cert *read_cert(const struct certs_spec *spec,
				       const struct certs_pair *issuer)
{
	struct certs_pair pair = certs_make(spec, issuer);
	struct identity_cert *cert = NULL;
	char text[200] = "";

	if (identity_read(pair.cert, issuer ? issuer->cert : NULL, &cert, text, sizeof(text)) !=
	    REASON_NONE)
		fail_msg("%s", text);
	certs_free(&pair);
	return cert;
}

static void test_facts(void **state)
{
	struct certs_pair ca =
		certs_make(&(struct certs_spec){.subject = "O=Corp/CN=Corp CA", .ca = true}, NULL);
	struct certs_pair leaf =
		certs_make(&(struct certs_spec){.subject = "O=Corp/CN=alice", .serial = 0x0a1f},
			   &ca);
	struct identity_cert *cert = NULL;
	char text[100];
	uint8_t hash[32];
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf.cert), &der);

	(void)state;
	assert_int_equal(identity_read(leaf.cert, ca.cert, &cert, text, sizeof(text)), REASON_NONE);
	assert_string_equal(cert->serial, "a1f");
	assert_string_equal(cert->subject, "CN=alice,O=Corp");
	assert_string_equal(cert->issuer, "CN=Corp CA,O=Corp");
	assert_int_equal(cert->issuer_cn.count, 1);
	assert_string_equal(cert->issuer_cn.items[0], "Corp CA");
	SHA256(der, (size_t)len, hash);
	assert_memory_equal(cert->spki_hash, hash, 32);
	X509_digest(leaf.cert, EVP_sha256(), hash, NULL);
	assert_memory_equal(cert->cert_hash, hash, 32);
	X509_NAME_digest(X509_get_subject_name(ca.cert), EVP_sha256(), hash, NULL);
	assert_memory_equal(cert->issuer_hash, hash, 32);
	assert_true(cert->not_before < time(NULL) && time(NULL) < cert->not_after);
	assert_int_equal(cert->expires_at, cert->not_after);
	OPENSSL_free(der);
	identity_cert_unref(cert);
	certs_free(&leaf);
	certs_free(&ca);
}

/* The subject is in order; rules may compare the issuer's name, too. */
static void test_issuer_with_a_flaw(void **state)
{
	struct certs_pair ca =
		certs_make(&(struct certs_spec){.subject = "CN=Corp\nCA", .ca = true}, NULL);
	struct certs_pair leaf = certs_make(&(struct certs_spec){.subject = "CN=alice"}, &ca);
	struct identity_cert *cert = NULL;
	char text[100];

	(void)state;
	assert_int_equal(identity_read(leaf.cert, ca.cert, &cert, text, sizeof(text)),
			 REASON_NAME_INVALID);
	assert_null(cert);
	assert_string_equal(text, "the issuer's common name holds a control character");
	certs_free(&leaf);
	certs_free(&ca);
}

static void test_time(void **state)
{
	ASN1_TIME *at = ASN1_TIME_set(NULL, 1000);

	(void)state;
	assert_int_equal(identity_time(at), 1000);
	assert_int_equal(identity_time(NULL), 0);
	ASN1_STRING_set(at, "991332000000Z", -1);
	assert_int_equal(identity_time(at), 0);
	ASN1_TIME_free(at);
}

static void set_serial(X509 *cert, const char *hex)
{
	BIGNUM *number = NULL;

	BN_hex2bn(&number, hex);
	BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
}

static void test_serial(void **state)
{
	static const struct {
		const char *hex, *text; /* NULL: refused */
	} serials[] = {
		{"0", "0"},
		{"0F", "f"},
		{"0001", "1"},
		{"F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"},
		{NAME_64, NULL}, /* replaced below */
		{"-1F", NULL},
	};
	char long_hex[66];

	(void)state;
	memset(long_hex, 'A', sizeof(long_hex));
	long_hex[65] = '\0';
	for (size_t i = 0; i < sizeof(serials) / sizeof(serials[0]); i++) {
		struct certs_pair pair =
			certs_make(&(struct certs_spec){.subject = "CN=alice"}, NULL);
		struct identity_cert *cert = NULL;
		char text[100];
		enum reason reason;

		set_serial(pair.cert, serials[i].hex[0] == 'a' ? long_hex : serials[i].hex);
		reason = identity_read(pair.cert, NULL, &cert, text, sizeof(text));
		assert_int_equal(reason, serials[i].text ? REASON_NONE : REASON_NAME_INVALID);
		if (serials[i].text)
			assert_string_equal(cert->serial, serials[i].text);
		identity_cert_unref(cert);
		certs_free(&pair);
	}
}

static void test_describe(void **state)
{
	struct certs_pair pair =
		certs_make(&(struct certs_spec){.subject = "CN=al\nice/CN=bob", .serial = 7}, NULL);
	struct identity_cert *cert = identity_describe(pair.cert, NULL);

	(void)state;
	assert_string_equal(cert->identity.name, "");
	assert_string_equal(cert->subject, "CN=bob,CN=al\\0Aice");
	assert_string_equal(cert->serial, "7");
	identity_cert_unref(cert);
	certs_free(&pair);
	identity_cert_unref(NULL);
}

static void test_long_subject(void **state)
{
	static char subject[8 * 1024];
	struct certs_pair pair;
	struct identity_cert *cert;
	char text[100];
	size_t used = 0;

	(void)state;
	for (int i = 0; i < 25; i++)
		used += (size_t)snprintf(subject + used, sizeof(subject) - used, "OU=%s/",
					 NAME_255);
	snprintf(subject + used, sizeof(subject) - used, "CN=alice");
	pair = certs_make(&(struct certs_spec){.subject = subject}, NULL);
	assert_int_equal(identity_read(pair.cert, NULL, &cert, text, sizeof(text)),
			 REASON_NAME_INVALID);
	assert_non_null(strstr(text, "longer than 4096 bytes"));
	cert = identity_describe(pair.cert, NULL);
	assert_true(strlen(cert->subject) < 50);
	identity_cert_unref(cert);
	certs_free(&pair);
}

static void test_equal(void **state)
{
	struct identity alice = {.kind = IDENTITY_CN, .name = "alice", .root = {1}};
	struct identity other = alice;

	(void)state;
	assert_true(identity_equal(&alice, &other));
	other.root[31] = 1;
	assert_false(identity_equal(&alice, &other));
	other = alice;
	other.kind = IDENTITY_EMAIL;
	assert_false(identity_equal(&alice, &other));
	other = alice;
	other.name[0] = 'A';
	assert_false(identity_equal(&alice, &other));
	assert_string_equal(identity_kind_name(IDENTITY_URI), "uri");
	assert_string_equal(identity_kind_name(IDENTITY_DNS), "dns");
	assert_string_equal(identity_kind_name(IDENTITY_EMAIL), "email");
	assert_string_equal(identity_kind_name(IDENTITY_CN), "cn");
}

static void test_matches(void **state)
{
	static const struct {
		const char *condition;
		bool matches;
	} conditions[] = {
		{"cn=alice", true},
		{"CN=alice", true},
		{"cn=Alice", false},
		{"cn=al", false},
		{"cn=alice2", false},
		{"cn=*", true},
		{"cn=a*e", true},
		{"cn=*lic*", true},
		{"cn=**alice**", true},
		{"cn=a*x", false},
		{"cn=a*ice*e", false},
		{"o=Corp", true},
		{"o=corp", false},
		{"ou=Engineering", true},
		{"ou=Eng*", true},
		{"ou=Ops", true},
		{"ou=Sales", false},
		{"issuer=corp ca", true},
		{"issuer=Corp*", true},
		{"issuer=Other", false},
		{"dns:berlin.corp.example", true},
		{"DNS:BERLIN.corp.example", true},
		{"dns:*.corp.example", true},
		{"dns:*.evil.example", false},
		{"dns:*", true},
		{"email:ALICE@corp.example", true},
		{"email:*@corp.example", true},
		{"email:*@evil.example", false},
		{"uri:tund://corp/alice", true},
		{"uri:tund://corp/ALICE", false},
		{"uri:tund://corp/*", true},
		{"serial:a1f", true},
		{"serial:0A1F", true},
		{"serial:0a:1f", true},
		{"serial:a1", false},
		{"serial:a1f0", false},
		{"serial:1f", false},
		{"serial:0", false},
		{"serial:*", false},
		{"cn:alice", false},
		{"cn=", false},
		{"alice", false},
		{"", false},
		{"c=DE", false},
		{" cn=alice", false},
	};
	struct certs_pair ca =
		certs_make(&(struct certs_spec){.subject = "CN=Corp CA", .ca = true}, NULL);
	struct identity_cert *cert = read_cert(
		&(struct certs_spec){
			.subject = "O=Corp/OU=Engineering/OU=Ops/CN=alice",
			.serial = 0xa1f,
			.san = "DNS:Berlin.corp.example,email:alice@corp.example,"
			       "URI:tund://corp/alice",
		},
		&ca);

	(void)state;
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
		if (identity_matches(cert, conditions[i].condition) != conditions[i].matches)
			fail_msg("%s", conditions[i].condition);
	}
	identity_cert_unref(cert);
	certs_free(&ca);
}

/* What the certificate lacks matches nothing, not even a star; nor does an unread serial number. */
static void test_matches_nothing(void **state)
{
	struct identity_cert *cert = read_cert(&(struct certs_spec){.subject = "CN=alice"}, NULL);

	(void)state;
	assert_false(identity_matches(cert, "dns:*"));
	assert_false(identity_matches(cert, "o=*"));
	cert->serial[0] = '\0';
	assert_false(identity_matches(cert, "serial:0"));
	identity_cert_unref(cert);
}

static void test_serial_zero(void **state)
{
	struct identity_cert *cert = read_cert(&(struct certs_spec){.subject = "CN=alice"}, NULL);

	(void)state;
	snprintf(cert->serial, sizeof(cert->serial), "0");
	assert_true(identity_matches(cert, "serial:0"));
	assert_true(identity_matches(cert, "serial:00:00"));
	assert_false(identity_matches(cert, "serial:1"));
	identity_cert_unref(cert);
}

static void test_condition_problem(void **state)
{
	static const struct {
		const char *condition, *problem;
	} conditions[] = {
		{"cn=alice", NULL},
		{"oU=x", NULL},
		{"serial:0A:1f", NULL},
		{"uri:a=b:c", NULL},
		{"alice", "a condition begins with"},
		{"=alice", "a condition begins with"},
		{"", "a condition begins with"},
		{"cnn=alice", "a condition begins with"},
		{"cn", "write ="},
		{"cn:alice", "write ="},
		{"dns=a.example", "write :"},
		{"cn=", "a value is missing"},
		{"dns:", "a value is missing"},
		{"serial:xyz", "hexadecimal"},
		{"serial:*", "hexadecimal"},
		{"serial::", "hexadecimal"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
		const char *problem = identity_condition_problem(conditions[i].condition);

		if (!problem != !conditions[i].problem)
			fail_msg("%s: %s", conditions[i].condition, problem ? problem : "fine");
		if (problem && !strstr(problem, conditions[i].problem))
			fail_msg("%s: %s", conditions[i].condition, problem);
	}
}

/* A pattern that makes a recursive matcher try 2^60 ways. */
static void test_glob_is_quick(void **state)
{
	struct identity_cert *cert =
		read_cert(&(struct certs_spec){.subject = "CN=" NAME_255}, NULL);
	char pattern[512] = "cn=";
	clock_t begin = clock();

	(void)state;
	memset(cert->cn.items[0], 'a', 255);
	for (int i = 0; i < 60; i++)
		strcat(pattern, "*a");
	strcat(pattern, "*b");
	assert_false(identity_matches(cert, pattern));
	assert_true(clock() - begin < CLOCKS_PER_SEC);
	identity_cert_unref(cert);
}

static void test_refs(void **state)
{
	struct identity_cert *cert = read_cert(&(struct certs_spec){.subject = "CN=alice"}, NULL);

	(void)state;
	assert_ptr_equal(identity_cert_ref(cert), cert);
	identity_cert_unref(cert);
	assert_string_equal(cert->identity.name, "alice");
	identity_cert_unref(cert);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_serial),
		cmocka_unit_test(test_serial_zero),
		cmocka_unit_test(test_issuer_with_a_flaw),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_describe),
		cmocka_unit_test(test_long_subject),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_matches_nothing),
		cmocka_unit_test(test_condition_problem),
		cmocka_unit_test(test_glob_is_quick),
		cmocka_unit_test(test_refs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
