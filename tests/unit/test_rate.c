#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rate.h"

static unsigned count_allowed(struct rate *rate, unsigned per_second, int64_t now_us,
			      unsigned tries)
{
	unsigned allowed = 0;

	for (unsigned i = 0; i < tries; i++)
		allowed += rate_allow(rate, per_second, now_us);
	return allowed;
}

/* Each row goes on from the one before. */
static void test_steps(void **state)
{
	static const struct {
		const char *name;
		unsigned per_second;
		int64_t at_us;
		unsigned tries, allowed;
	} rows[] = {
		{"starts full", 10, 1000000, 20, 10},
		{"empty at the same time", 10, 1000000, 5, 0},
		{"not yet a whole one", 10, 1099999, 5, 0},
		{"one more after a tenth", 10, 1100000, 5, 1},
		{"half a second, five", 10, 1600000, 20, 5},
		{"never more than a second's worth", 10, 3600000000, 100, 10},
		{"the clock stands back", 10, 3500000000, 5, 0},
		{"lowered: no more than the new limit", 2, 3600000000, 100, 2},
		{"no limit", 0, 3600000000, 1000, 1000},
		{"raised: fills at the new pace", 100, 3600500000, 100, 50},
	};
	struct rate rate = {0};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned allowed =
			count_allowed(&rate, rows[i].per_second, rows[i].at_us, rows[i].tries);

		if (allowed != rows[i].allowed)
			fail_msg("%s: %u allowed", rows[i].name, allowed);
	}
}

/* Asked every microsecond it must not gain or lose by rounding. */
static void test_long_run_keeps_the_pace(void **state)
{
	struct rate rate = {0};
	unsigned allowed = 0;
	(void)state;

	for (int64_t at = 1; at <= 3 * CLOCK_SECOND_US; at++)
		allowed += rate_allow(&rate, 7, at);
	assert_in_range(allowed, 7 + 20, 7 + 21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_long_run_keeps_the_pace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
