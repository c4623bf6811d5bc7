#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gateway/cut.h"

static void on_done(void *user)
{
	++*(int *)user;
}

/* e: expected, a: acknowledged, d: nothing more is expected. It ends with the last letter, not
 * before. */
static const char *const rows[] = {"d", "ead", "eda", "eeaad", "eedaa", "eaead", "eaeda"};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int done = 0;
		struct gateway_cut *cut = cut_new(on_done, &done);

		for (const char *c = rows[i]; *c; c++) {
			if (done)
				fail_msg("%s: too early", rows[i]);
			if (*c == 'e')
				cut_expect(cut);
			else if (*c == 'a')
				cut_acknowledge(cut);
			else
				cut_done(cut);
		}
		if (done != 1)
			fail_msg("%s: called %d times", rows[i], done);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
