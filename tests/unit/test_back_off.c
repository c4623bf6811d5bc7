/* client/back_off: between three quarters and all of what was to be waited, and all of that range is used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/back_off.h"

enum { DRAWS = 2000 };

static const struct row {
	unsigned failures;
	bool by_refusal;
	int64_t most_ms;
} rows[] = {
	{0, false, 1000},  {1, false, 1000},	{2, false, 2000},  {3, false, 4000},
	{6, false, 32000}, {7, false, 60000},	{8, false, 60000}, {UINT32_MAX, false, 60000},
	{0, true, 5000},   {1, true, 5000},	{2, true, 10000},  {4, true, 40000},
	{5, true, 60000},  {1000, true, 60000},
};

/* least to most, and no tenth of it is left out. */
static void check_spread(const int64_t *draws, int64_t least, int64_t most)
{
	size_t tenths[10] = {0};

	for (size_t i = 0; i < DRAWS; i++) {
		size_t tenth;

		assert_in_range(draws[i], least, most);
		tenth = (size_t)((draws[i] - least) * 10 / (most - least + 1));
		tenths[tenth]++;
	}
	for (size_t i = 0; i < 10; i++)
		assert_in_range(tenths[i], DRAWS / 20, DRAWS / 5);
}

static void test_waits(void **state)
{
	int64_t draws[DRAWS];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (size_t k = 0; k < DRAWS; k++)
			draws[k] = back_off_ms(rows[i].failures, rows[i].by_refusal);
		check_spread(draws, rows[i].most_ms * 3 / 4, rows[i].most_ms);
	}
}

static void test_what_is_due(void **state)
{
	int64_t draws[DRAWS];

	(void)state;
	for (size_t k = 0; k < DRAWS; k++)
		draws[k] = back_off_early_ms(3600 * 1000);
	check_spread(draws, 3240 * 1000, 3600 * 1000);
	assert_int_equal(back_off_early_ms(0), 0);
	assert_in_range(back_off_early_ms(1000), 900, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_what_is_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
