#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/xalloc.h"

static void test_zero_is_zero(void **state)
{
	static const uint8_t zero[600];
	uint8_t *bytes = xalloc_zero(3, 200);
	(void)state;

	assert_memory_equal(bytes, zero, sizeof(zero));
	free(bytes);
}

static void test_nothing_is_something(void **state)
{
	void *all[] = {xalloc_zero(0, 8), xalloc_zero(8, 0), xalloc_grow(NULL, 0, 8),
		       xalloc_copy(NULL, 0)};
	(void)state;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_non_null(all[i]);
		free(all[i]);
	}
}

static void test_grow_keeps(void **state)
{
	unsigned *numbers = xnew_array(unsigned, 4);
	(void)state;

	for (unsigned i = 0; i < 4; i++)
		numbers[i] = i;
	numbers = xalloc_grow(numbers, 4000, sizeof(*numbers));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(numbers[i], i);
	free(numbers);
}

static void test_copies(void **state)
{
	static const char bytes[] = {'a', 0, 'b'};
	char *copy = xalloc_copy(bytes, sizeof(bytes)), *string = xalloc_string("text");
	char *printed = xalloc_print("%d-%s", 7, "x");
	(void)state;

	assert_memory_equal(copy, bytes, sizeof(bytes));
	assert_string_equal(string, "text");
	assert_null(xalloc_string(NULL));
	assert_string_equal(printed, "7-x");
	free(copy);
	free(string);
	free(printed);
}

static void grow_past_everything(void)
{
	free(xalloc_grow(NULL, SIZE_MAX / 2, 4));
}

static void zero_past_everything(void)
{
	free(xalloc_zero(SIZE_MAX / 2, 4));
}

/* A product that does not fit must not become a small allocation. */
static void test_overflow_ends_the_process(void **state)
{
	static const struct {
		const char *name;
		void (*allocate)(void);
	} rows[] = {{"grow", grow_past_everything}, {"zero", zero_past_everything}};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			close(STDERR_FILENO);
			signal(SIGABRT, SIG_DFL);
			rows[i].allocate();
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			fail_msg("%s went on", rows[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero_is_zero),
		cmocka_unit_test(test_nothing_is_something),
		cmocka_unit_test(test_grow_keeps),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_overflow_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
