#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <time.h>

#include "base/clock.h"

static void test_print(void **state)
{
	static const struct {
		time_t at;
		const char *text;
	} rows[] = {
		{0, "1970-01-01T00:00:00Z"},
		{1000000000, "2001-09-09T01:46:40Z"},
		{INT64_C(253402300799), "9999-12-31T23:59:59Z"}, /* a certificate's "for ever" */
		{-1, "1969-12-31T23:59:59Z"},
		{INT64_C(67767976233532799), "2147483647-12-31T23:59:59Z"},
		{INT64_MAX, "never"},
		{INT64_MIN, "long ago"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[CLOCK_TEXT];

		assert_ptr_equal(clock_print(rows[i].at, text), text);
		assert_string_equal(text, rows[i].text);
	}
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		bool good;
		time_t at;
	} rows[] = {
		{"1970-01-01T00:00:00Z", true, 0},
		{"2026-11-21T09:14:03Z", true, 1795252443},
		{"2026-11-21T09:14:03", false, 0},
		{"2026-11-21T09:14:03Z ", false, 0},
		{"2026-11-21T09:14:03+01:00", false, 0},
		{"2026-02-30T09:14:03Z", false, 0},
		{"2026-11-21T09:14:60Z", false, 0},
		{"2026-11-21T9:14:03Z", false, 0},
		{" 2026-11-21T09:14:03Z", false, 0},
		{"never", false, 0},
		{"", false, 0},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		time_t at = -1;

		if (clock_parse(rows[i].text, &at) != rows[i].good)
			fail_msg("\"%s\"", rows[i].text);
		assert_int_equal(at, rows[i].good ? rows[i].at : -1);
	}
}

static void test_now_moves_at_the_pace_of_time(void **state)
{
	struct timespec pause = {.tv_nsec = 20000000}, boot;
	int64_t before = clock_now_us(), after;
	(void)state;

	nanosleep(&pause, NULL);
	after = clock_now_us();
	assert_true(after - before >= 20 * CLOCK_MS_US);
	assert_true(after - before < 60 * CLOCK_SECOND_US); /* a busy machine may be slow */
	clock_gettime(CLOCK_BOOTTIME, &boot);
	assert_in_range(boot.tv_sec - after / CLOCK_SECOND_US, 0, 60);
}

static void test_now_never_goes_back(void **state)
{
	int64_t last = 0;
	(void)state;

	for (int i = 0; i < 10000; i++) {
		int64_t now = clock_now_us();

		assert_true(now >= last);
		last = now;
	}
}

static void test_wall_is_the_wall_clock(void **state)
{
	time_t before = time(NULL), wall = clock_wall(), after = time(NULL);
	(void)state;

	assert_true(before <= wall && wall <= after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_now_moves_at_the_pace_of_time),
		cmocka_unit_test(test_now_never_goes_back),
		cmocka_unit_test(test_wall_is_the_wall_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
