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

static struct certs_pair make_ca(const char *ku, enum certs_key key)
{
	return certs_make(
		&(struct certs_spec){.subject = "CN=Corp CA", .ca = true, .ku = ku, .key = key},
		NULL);
}

/* Of this authority, as if it had been loaded. */
static struct crl_list *make_list(const struct certs_list_spec *spec, const struct certs_pair *ca)
{
	X509_CRL *crl = certs_make_list(spec, ca);
	struct crl_list *list;
	size_t len;
	uint8_t *der = certs_der_list(crl, &len);

	assert_null(crl_list_read(der, len, &list));
	crl_list_settle(list, ca->cert);
	crl_list_seal(list);
	free(der);
	X509_CRL_free(crl);
	return list;
}

/* The last second of a list, of the grace, and the first one after. */
static void test_dates(void **state)
{
	struct certs_pair ca = make_ca(NULL, CERTS_P256);
	struct certs_pair leaf = certs_make(&(struct certs_spec){.subject = "CN=alice"}, &ca);
	struct crl_list *read = make_list(&(struct certs_list_spec){.number = 1}, &ca);
	char file[] = "corp.crl", text[512];
	struct trust_ca loaded = {.cert = ca.cert, .is_root = true};
	struct trust_crl list = {
		.list = read,
		.issuer = ca.cert,
		.signature_ok = true,
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
	read->this_update = 1000;
	read->next_update = 2000;
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
	crl_list_unref(read);
	certs_free(&leaf);
	certs_free(&ca);
}

/* The first and the last second of each state. */
static void test_freshness(void **state)
{
	struct crl_list read = {.this_update = 1000, .next_update = 4000};
	struct crl_list endless = {.this_update = 1000};
	struct trust_crl list = {.list = &read}, without_end = {.list = &endless};
	static const struct {
		enum trust_crl_policy policy;
		time_t at;
		enum crl_state state;
		time_t since, until;
	} rows[] = {
		{TRUST_CRL_STRICT, 999, CRL_MISSING, 0, 1000},
		{TRUST_CRL_STRICT, 1000, CRL_FRESH, 1000, 3000},
		{TRUST_CRL_STRICT, 2999, CRL_FRESH, 1000, 3000},
		{TRUST_CRL_STRICT, 3000, CRL_AGEING, 3000, 4000},
		{TRUST_CRL_STRICT, 4000, CRL_AGEING, 3000, 4000},
		{TRUST_CRL_STRICT, 4001, CRL_EXPIRED, 4000, 0},
		{TRUST_CRL_GRACE, 4000, CRL_AGEING, 3000, 4000},
		{TRUST_CRL_GRACE, 4001, CRL_GRACE, 4000, 4100},
		{TRUST_CRL_GRACE, 4100, CRL_GRACE, 4000, 4100},
		{TRUST_CRL_GRACE, 4101, CRL_EXPIRED, 4100, 0},
		{TRUST_CRL_ADVISORY, 4001, CRL_EXPIRED, 4000, 0},
		{TRUST_CRL_OFF, 4001, CRL_EXPIRED, 4000, 0},
	};
	struct trust trust = {.crl_grace_s = 100};
	struct crl_freshness freshness;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		trust.crl_policy = rows[i].policy;
		freshness = crl_freshness(&trust, &list, rows[i].at);
		if (freshness.state != rows[i].state || freshness.since != rows[i].since ||
		    freshness.until != rows[i].until)
			fail_msg("at %ld: %s, %ld to %ld", (long)rows[i].at,
				 crl_state_name(freshness.state), (long)freshness.since,
				 (long)freshness.until);
	}
	freshness = crl_freshness(&trust, &without_end, 1 << 30);
	assert_int_equal(freshness.state, CRL_FRESH);
	assert_int_equal(freshness.until, 0);
	assert_int_equal(crl_freshness(&trust, NULL, 1).state, CRL_MISSING);
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
		{.list = make_list(&(struct certs_list_spec){.number = 1}, &ca)},
		{.list = make_list(&(struct certs_list_spec){.entries = {{.serial = 77}},
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
		crl_list_unref(lists[i].list);
	certs_free(&ca);
	certs_free(&other);
	certs_free(&on);
	certs_free(&off);
	certs_free(&elsewhere);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_freshness),
		cmocka_unit_test(test_mentions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
