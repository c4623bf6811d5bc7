#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "data/count.h"

/* Names are what users see: each one's own, and fit for a metric's label. */
static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < COUNT_MAX; i++) {
		const char *name = count_name((enum count)i);

		assert_non_null(name);
		assert_true(name[0]);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_-"), strlen(name));
		for (int k = 0; k < i; k++)
			assert_string_not_equal(name, count_name((enum count)k));
	}
}

static void test_drops_come_last(void **state)
{
	(void)state;
	assert_int_equal((int)COUNT_FIRST_DROP, (int)COUNT_DROP_MALFORMED);
	assert_int_equal(COUNT_DROP_FRAME, COUNT_MAX - 1);
	assert_true((int)COUNT_TOO_BIG_SENT < (int)COUNT_FIRST_DROP);
	assert_string_equal(count_name(COUNT_DROP_RECORD_REPLAY), "replayed");
	assert_string_equal(count_name(COUNT_TUN_READS), "tun_reads");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_drops_come_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
