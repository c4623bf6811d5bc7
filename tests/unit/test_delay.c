#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/delay.h"

static void test_buckets(void **state)
{
	static const struct {
		int64_t delay_us;
		int bucket;
	} rows[] = {
		{-1, 0},       {0, 0},	      {500, 0},	     {501, 1},
		{1000, 1},     {1001, 2},     {100000, 7},   {100001, 8},
		{1000000, 10}, {2500000, 11}, {2500001, 12}, {INT64_MAX / 2, 12},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct delay_histogram histogram = {0};

		delay_add(&histogram, rows[i].delay_us);
		assert_int_equal(histogram.counts[rows[i].bucket], 1);
		assert_int_equal(histogram.sum_us, rows[i].delay_us);
	}
}

static void test_names_and_bounds(void **state)
{
	(void)state;
	for (int i = 0; i < DELAY_CAUSES; i++)
		assert_non_null(delay_cause_name((enum delay_cause)i));
	for (int i = 1; i < DELAY_BOUNDS; i++)
		assert_true(delay_bounds_us[i] > delay_bounds_us[i - 1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_names_and_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
