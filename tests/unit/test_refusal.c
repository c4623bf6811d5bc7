#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "certs.h"
#include "pki/refusal.h"

static void remember(struct refusal_memory *memory, const char *id, const char *text)
{
	struct refusal refusal = {.reason = REASON_CERT_EXPIRED};

	snprintf(refusal.id, sizeof(refusal.id), "%s", id);
	snprintf(refusal.text, sizeof(refusal.text), "%s", text);
	refusal_remember(memory, &refusal);
}

static void test_comes_back_as_it_was(void **state)
{
	struct refusal_memory memory = {0};
	struct refusal refusal = {
		.id = "1a2b3c4d",
		.at = 1000,
		.by = REFUSAL_BY_PEER,
		.reason = REASON_NO_ACCESS,
		.text = "no block matches",
		.gateway = "vpn.corp.example",
		.identity = "alice",
		.certificate_is_own = true,
		.subject = "CN=alice",
		.issuer = "CN=Corp",
		.serial = "2a",
	};

	(void)state;
	assert_null(refusal_find(&memory, "1a2b3c4d"));
	refusal_remember(&memory, &refusal);
	assert_memory_equal(refusal_find(&memory, "1a2b3c4d"), &refusal, sizeof(refusal));
	assert_non_null(refusal_find(&memory, "1A2B3C4D"));
	assert_null(refusal_find(&memory, "1a2b3c4e"));
	refusal_done(&memory);
	assert_null(refusal_find(&memory, "1a2b3c4d"));
}

static void test_the_newest_of_one_id(void **state)
{
	struct refusal_memory memory = {0};

	(void)state;
	remember(&memory, "1a2b3c4d", "first");
	remember(&memory, "1a2b3c4d", "second");
	remember(&memory, "00000001", "third");
	assert_string_equal(refusal_find(&memory, "1a2b3c4d")->text, "second");
	refusal_done(&memory);
}

static void test_without_an_id(void **state)
{
	struct refusal_memory memory = {0};

	(void)state;
	remember(&memory, "", "before its hello");
	assert_int_equal(memory.count, 0);
	assert_null(refusal_find(&memory, ""));
	refusal_done(&memory);
}

static void test_the_oldest_are_forgotten(void **state)
{
	struct refusal_memory memory = {0};
	char id[REFUSAL_ID_TEXT];

	(void)state;
	for (unsigned i = 0; i < REFUSAL_MAX + 3; i++) {
		snprintf(id, sizeof(id), "%08x", i);
		remember(&memory, id, id);
	}
	assert_null(refusal_find(&memory, "00000000"));
	assert_null(refusal_find(&memory, "00000002"));
	for (unsigned i = 3; i < REFUSAL_MAX + 3; i++) {
		snprintf(id, sizeof(id), "%08x", i);
		assert_string_equal(refusal_find(&memory, id)->text, id);
	}
	refusal_done(&memory);
}

static void test_certificate(void **state)
{
	struct certs_pair ca =
		certs_make(&(struct certs_spec){.subject = "CN=Corp CA", .ca = true}, NULL);
	struct certs_pair leaf =
		certs_make(&(struct certs_spec){.subject = "CN=al\x1b[2Jice", .serial = 0x2a}, &ca);
	struct identity_cert *cert = identity_describe(leaf.cert, NULL);
	struct refusal refusal = {0};

	(void)state;
	refusal_set_certificate(&refusal, cert, true);
	assert_true(refusal.certificate_is_own);
	assert_string_equal(refusal.subject, "CN=al\\1B[2Jice");
	assert_string_equal(refusal.issuer, "CN=Corp CA");
	assert_string_equal(refusal.serial, "2a");
	cert->serial[0] = '\0';
	refusal_set_certificate(&refusal, cert, false);
	assert_false(refusal.certificate_is_own);
	assert_string_equal(refusal.serial, "?");
	identity_cert_unref(cert);
	certs_free(&leaf);
	certs_free(&ca);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comes_back_as_it_was),
		cmocka_unit_test(test_the_newest_of_one_id),
		cmocka_unit_test(test_without_an_id),
		cmocka_unit_test(test_the_oldest_are_forgotten),
		cmocka_unit_test(test_certificate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
