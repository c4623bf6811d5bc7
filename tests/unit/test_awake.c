#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/awake.h"

enum { PAUSE_US = 10000 };

/* A worker, and what it has carried. */
static struct worker {
	struct awake awake;
	uint64_t carried;
	int64_t now_us;
} worker;

static void begin(void)
{
	worker = (struct worker){.now_us = 1000000};
}

/* Microseconds later, with so many packets more. */
static bool stays(int64_t later_us, unsigned more)
{
	worker.now_us += later_us;
	worker.carried += more;
	return awake_stays(&worker.awake, worker.carried, worker.now_us);
}

static void finish_look(void)
{
	assert_true(stays(AWAKE_US - 1, 0));
	assert_false(stays(1, 0));
	assert_false(stays(1, 0));
}

/* Lone packets that nothing follows: how many until it looks, that one too. */
static int count_until_look(void)
{
	int count = 1;

	while (!stays(PAUSE_US, 1)) {
		assert_false(stays(AWAKE_US / 2, 0));
		count++;
	}
	finish_look();
	return count;
}

/* Looks that find something, without a pause. */
static void find(int looks)
{
	while (!stays(PAUSE_US, 1))
		;
	for (int i = 0; i < looks; i++) {
		assert_true(stays(AWAKE_US / 2, 0));
		assert_true(stays(AWAKE_US / 4, 1));
	}
	finish_look();
}

static void test_seldom_where_nothing_comes(void **state)
{
	(void)state;
	begin();
	for (int i = 0; i < 3; i++)
		assert_int_equal(count_until_look(), AWAKE_TRY + 1);
}

static void test_always_where_much_comes(void **state)
{
	(void)state;
	begin();
	find(1);
	for (int i = 0; i < 1000; i++) {
		assert_true(stays(PAUSE_US, 1));
		assert_true(stays(AWAKE_US / 2, 1));
		finish_look();
	}
}

static void test_it_ends(void **state)
{
	(void)state;
	begin();
	find(500);
	for (int i = 0; i < AWAKE_CREDIT - 1; i++) {
		assert_true(stays(PAUSE_US, 1));
		finish_look();
	}
	assert_int_equal(count_until_look(), AWAKE_TRY + 1);
}

/* What comes with others is not waited behind; that something came ends a look. */
static void test_not_alone(void **state)
{
	(void)state;
	begin();
	find(500);
	assert_false(stays(PAUSE_US, 2));
	assert_true(stays(PAUSE_US, 1));
	assert_false(stays(10, 3));
}

static void test_a_tenth_of_the_time(void **state)
{
	int64_t looked_us = 0;

	(void)state;
	begin();
	find(500);
	worker.now_us += 1000000;
	for (int i = 0; i < 100000; i++) {
		if (stays(100, 1))
			looked_us += 100;
	}
	assert_in_range(looked_us, 1000000, 1200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seldom_where_nothing_comes),
		cmocka_unit_test(test_always_where_much_comes),
		cmocka_unit_test(test_it_ends),
		cmocka_unit_test(test_not_alone),
		cmocka_unit_test(test_a_tenth_of_the_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
