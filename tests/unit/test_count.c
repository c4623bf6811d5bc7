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

/* No error of wire/ip goes uncounted, and no two are one. */
static void test_ip_errors(void **state)
{
	(void)state;
	assert_int_equal(count_of_ip(IP_OK), COUNT_MAX);
	for (int i = IP_OK + 1; i < IP_ERROR_MAX; i++) {
		enum count count = count_of_ip((enum ip_error)i);

		assert_in_range(count, COUNT_FIRST_DROP, COUNT_DROP_MARTIAN);
		for (int k = IP_OK + 1; k < i; k++)
			assert_int_not_equal(count, count_of_ip((enum ip_error)k));
	}
	assert_string_equal(count_name(count_of_ip(IP_ERROR_LENGTH)), "lying-length");
	assert_string_equal(count_name(count_of_ip(IP_ERROR_SOURCE_ROUTE)), "source-routed");
	assert_string_equal(count_name(count_of_ip(IP_ERROR_MULTICAST)), "multicast");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_drops_come_last),
		cmocka_unit_test(test_ip_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
