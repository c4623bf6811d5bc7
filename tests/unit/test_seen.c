/* session/seen. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "session/seen.h"

enum { CROWD = 5000 };

static struct store_seen make_seen(const char *name, uint8_t issuer, const char *serial)
{
	struct store_seen seen = {
		.identity = {.kind = IDENTITY_DNS},
		.first_at_s = 10,
		.last_at_s = 20,
		.not_after_s = 30,
	};

	snprintf(seen.identity.name, sizeof(seen.identity.name), "%s", name);
	memset(seen.identity.root, 7, sizeof(seen.identity.root));
	memset(seen.key.issuer_hash, issuer, sizeof(seen.key.issuer_hash));
	memset(seen.key.spki_hash, 9, sizeof(seen.key.spki_hash));
	snprintf(seen.key.serial, sizeof(seen.key.serial), "%s", serial);
	snprintf(seen.subject, sizeof(seen.subject), "CN=%s", name);
	snprintf(seen.issuer, sizeof(seen.issuer), "CN=issuer %u", issuer);
	return seen;
}

static void test_comes_back_as_it_was(void **state)
{
	struct seen_table table = {0};
	struct store_seen alice = make_seen("alice", 1, "2a"), again;

	(void)state;
	seen_remember(&table, &alice);
	again = seen_expand(table.first);
	assert_memory_equal(&again, &alice, sizeof(alice));
	seen_done(&table);
	assert_null(table.first);
}

/* A serial is its issuer's, and no part of a longer one. */
static void test_found_by_issuer_and_serial(void **state)
{
	static const struct {
		const char *name, *serial;
		uint8_t issuer;
	} rows[] = {{"a", "2a", 1}, {"b", "2a", 2}, {"c", "2a0", 1}, {"d", "2", 1}, {"e", "", 1}};
	struct seen_table table = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct store_seen seen = make_seen(rows[i].name, rows[i].issuer, rows[i].serial);

		assert_null(seen_find(&table, &seen.key));
		seen_remember(&table, &seen);
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct store_seen seen = make_seen("", rows[i].issuer, rows[i].serial);

		/* What stands behind the serial's end does not count. */
		memset(seen.key.serial + strlen(rows[i].serial) + 1, 'x', 3);
		assert_string_equal(seen_find(&table, &seen.key)->name, rows[i].name);
	}
	seen_done(&table);
}

static void test_thousands_once_each(void **state)
{
	struct seen_table table = {0};
	char serial[16];

	(void)state;
	for (int i = 0; i < 2 * CROWD; i++) {
		struct store_seen seen;

		snprintf(serial, sizeof(serial), "%x", i % CROWD);
		seen = make_seen("alice", 1, serial);
		seen.first_at_s = seen.last_at_s = i;
		seen_remember(&table, &seen);
	}
	assert_int_equal(HASH_COUNT(table.first), CROWD);
	for (int i = 0; i < CROWD; i++) {
		struct store_seen key;

		snprintf(serial, sizeof(serial), "%x", i);
		key = make_seen("", 1, serial);
		assert_int_equal(seen_find(&table, &key.key)->first_at_s, i);
		assert_int_equal(seen_find(&table, &key.key)->last_at_s, CROWD + i);
	}
	seen_done(&table);
}

static void test_bounded(void **state)
{
	struct seen_table table = {0};
	struct store_seen seen = make_seen("alice", 1, "");

	(void)state;
	for (int i = 0; i < SEEN_MAX + 10; i++) {
		snprintf(seen.key.serial, sizeof(seen.key.serial), "%x", i);
		seen_remember(&table, &seen);
	}
	assert_int_equal(HASH_COUNT(table.first), SEEN_MAX);
	seen_done(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comes_back_as_it_was),
		cmocka_unit_test(test_found_by_issuer_and_serial),
		cmocka_unit_test(test_thousands_once_each),
		cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
