#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "pki/serials.h"

enum { RECORD_LEN = 7 };

static void test_none(void **state)
{
	struct serials serials;
	struct serials_entry entry;

	(void)state;
	serials_init(&serials, 0);
	serials_index(&serials);
	assert_false(serials_find(&serials, (const uint8_t *)"a", 1, &entry));
	assert_false(serials_find(&serials, (const uint8_t *)"", 0, &entry));
	serials_done(&serials);
}

/* Every length, the longest too, and none that only begins alike. */
static void test_lengths(void **state)
{
	uint8_t serial[SERIALS_LEN_MAX + 1];
	struct serials serials;
	struct serials_entry entry;

	(void)state;
	memset(serial, 0x55, sizeof(serial));
	serials_init(&serials, SERIALS_LEN_MAX * (SERIALS_LEN_MAX + RECORD_LEN));
	for (size_t len = 1; len <= SERIALS_LEN_MAX; len += 2)
		serials_add(&serials, serial, len,
			    &(struct serials_entry){.revoked_at = (time_t)len,
						    .reason = (uint8_t)(len % 10)});
	serials_index(&serials);
	assert_int_equal(serials.count, (SERIALS_LEN_MAX + 1) / 2);
	for (size_t len = 0; len <= SERIALS_LEN_MAX + 1; len++) {
		assert_int_equal(serials_find(&serials, serial, len, &entry), len % 2);
		if (len % 2) {
			assert_int_equal(entry.revoked_at, len);
			assert_int_equal(entry.reason, len % 10);
		}
	}
	serials_done(&serials);
}

static void test_twice(void **state)
{
	struct serials serials;
	struct serials_entry entry = {.revoked_at = 1, .reason = 1};

	(void)state;
	serials_init(&serials, 1000);
	serials_add(&serials, (const uint8_t *)"x", 1, &entry);
	entry.reason = 2;
	serials_add(&serials, (const uint8_t *)"x", 1, &entry);
	entry.revoked_at = -5; /* before 1970 */
	serials_add(&serials, (const uint8_t *)"y", 1, &entry);
	entry.revoked_at = 253402300799; /* the last second that a certificate can name */
	serials_add(&serials, (const uint8_t *)"z", 1, &entry);
	serials_index(&serials);
	assert_true(serials_find(&serials, (const uint8_t *)"x", 1, &entry));
	assert_int_equal(entry.reason, 1);
	assert_true(serials_find(&serials, (const uint8_t *)"y", 1, &entry));
	assert_int_equal(entry.revoked_at, 0);
	assert_true(serials_find(&serials, (const uint8_t *)"z", 1, &entry));
	assert_int_equal(entry.revoked_at, 253402300799);
	serials_done(&serials);
}

static void test_many(void **state)
{
	enum { COUNT = 100000 };
	struct serials serials;
	struct serials_entry entry = {.revoked_at = 7};

	(void)state;
	serials_init(&serials, COUNT * (sizeof(uint64_t) + RECORD_LEN));
	for (uint64_t i = 0; i < COUNT; i++) {
		uint64_t serial = 2 * i;

		serials_add(&serials, (const uint8_t *)&serial, sizeof(serial), &entry);
	}
	serials_index(&serials);
	for (uint64_t i = 0; i < 2 * COUNT; i++)
		assert_int_equal(serials_find(&serials, (const uint8_t *)&i, sizeof(i), &entry),
				 i % 2 == 0);
	serials_done(&serials);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
