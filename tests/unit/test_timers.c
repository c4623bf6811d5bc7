#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/timers.h"

enum { MANY = 5000 };

static void expect_order(struct timers *timers, struct timers_entry *const *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_ptr_equal(timers_take(timers, INT64_MAX), entries[i]);
	assert_null(timers_take(timers, INT64_MAX));
}

static void test_due_first_comes_first(void **state)
{
	struct timers timers = {0};
	struct timers_entry a = {0}, b = {0}, c = {0};

	(void)state;
	timers_set(&timers, &b, 200);
	timers_set(&timers, &c, 300);
	timers_set(&timers, &a, 100);
	assert_int_equal(timers_next_us(&timers), 100);
	assert_null(timers_take(&timers, 99));
	assert_ptr_equal(timers_take(&timers, 100), &a);
	assert_null(timers_take(&timers, 199));
	expect_order(&timers, (struct timers_entry *[]){&b, &c}, 2);
	assert_int_equal(timers_next_us(&timers), INT64_MAX);
	timers_done(&timers);
}

static void test_moved_both_ways(void **state)
{
	struct timers timers = {0};
	struct timers_entry a = {0}, b = {0}, c = {0};

	(void)state;
	timers_set(&timers, &a, 100);
	timers_set(&timers, &b, 200);
	timers_set(&timers, &c, 300);
	timers_set(&timers, &a, 400);
	timers_set(&timers, &c, 50);
	expect_order(&timers, (struct timers_entry *[]){&c, &b, &a}, 3);
	timers_done(&timers);
}

static void test_cancelled_are_never_due(void **state)
{
	struct timers timers = {0};
	struct timers_entry a = {0}, b = {0}, c = {0};

	(void)state;
	timers_cancel(&timers, &a);
	timers_set(&timers, &a, 100);
	timers_set(&timers, &b, 200);
	timers_set(&timers, &c, 300);
	timers_cancel(&timers, &b);
	timers_cancel(&timers, &b);
	expect_order(&timers, (struct timers_entry *[]){&a, &c}, 2);
	timers_cancel(&timers, &a);		/* taken already */
	timers_set(&timers, &a, INT64_MAX - 1); /* and set anew, in a far future */
	assert_null(timers_take(&timers, INT64_MAX - 2));
	expect_order(&timers, (struct timers_entry *[]){&a}, 1);
	timers_set(&timers, &a, 1);
	timers_done(&timers);
	timers_cancel(&timers, &a); /* forgotten with the rest */
}

/* Set, moved and cancelled at random: what is left comes in order, each once. */
static void test_thousands(void **state)
{
	struct timers_entry *entries = calloc(MANY, sizeof(*entries));
	struct timers timers = {0};
	struct timers_entry *entry;
	size_t set = 0, taken = 0;
	int64_t last = -1;

	(void)state;
	srandom(1);
	for (size_t i = 0; i < 4 * (size_t)MANY; i++) {
		entry = &entries[(size_t)random() % MANY];
		if (random() % 4 == 0)
			timers_cancel(&timers, entry);
		else
			timers_set(&timers, entry, random() % 100000);
	}
	for (size_t i = 0; i < MANY; i++)
		set += entries[i].at != 0;
	assert_int_equal(timers.count, set);
	assert_in_range(set, MANY / 2, MANY);
	while ((entry = timers_take(&timers, INT64_MAX))) {
		assert_true(entry->due_us >= last);
		assert_int_equal(entry->at, 0);
		last = entry->due_us;
		taken++;
	}
	assert_int_equal(taken, set);
	timers_done(&timers);
	free(entries);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_due_first_comes_first),
		cmocka_unit_test(test_moved_both_ways),
		cmocka_unit_test(test_cancelled_are_never_due),
		cmocka_unit_test(test_thousands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
