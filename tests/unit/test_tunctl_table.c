#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../tunctl/table.h"

static const struct table_column columns[] = {{"ID", true}, {"NAME", false}, {"NOTE", false}};

static void assert_table(const char *const *cells, size_t count, const char *wanted)
{
	struct table *table = table_new(columns, 3);
	char *text;

	for (size_t i = 0; i < count; i++) {
		if (i % 3 == 0)
			table_row(table);
		table_cell(table, strdup(cells[i]));
	}
	text = table_text(table);
	assert_string_equal(text, wanted);
	free(text);
	table_free(table);
}

static void columns_are_aligned(void **state)
{
	static const char *const cells[] = {"7", "alice", "", "117", "b", "late"};
	(void)state;

	assert_table(cells, 6,
		     " ID  NAME   NOTE\n"
		     "  7  alice\n"
		     "117  b      late\n");
}

static void backslashes_stay_as_they_are(void **state)
{
	static const char *const cells[] = {"1", "a\\x1b[2J", "x"};
	(void)state;

	assert_table(cells, 3,
		     "ID  NAME      NOTE\n"
		     " 1  a\\x1b[2J  x\n");
}

static void a_long_cell_is_not_cut(void **state)
{
	char name[301], wanted[1000];
	const char *cells[] = {"1", name, "x"};
	(void)state;

	memset(name, 'n', 300);
	name[300] = '\0';
	snprintf(wanted, sizeof(wanted), "ID  NAME%*s  NOTE\n 1  %s  x\n", 296, "", name);
	assert_table(cells, 3, wanted);
}

static void an_unfinished_row(void **state)
{
	static const char *const cells[] = {"1"};
	(void)state;

	assert_table(cells, 1, "ID  NAME  NOTE\n 1\n");
	table_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_aligned),
		cmocka_unit_test(backslashes_stay_as_they_are),
		cmocka_unit_test(a_long_cell_is_not_cut),
		cmocka_unit_test(an_unfinished_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
