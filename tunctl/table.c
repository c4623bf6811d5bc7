#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libsmartcols.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"

enum { ENTRY_NAME_WIDTH = 13 };

struct table {
	struct libscols_table *columns;
	struct libscols_line *row;
	size_t filled; /* cells of it */
};

/* The library fails when there is no memory, which ends the program elsewhere too. */
static void *or_die(void *pointer)
{
	if (!pointer) {
		log_error("out of memory");
		abort();
	}
	return pointer;
}

struct table *table_new(const struct table_column *columns, size_t count)
{
	struct table *table = xnew(struct table);

	table->columns = or_die(scols_new_table());
	/* The cells are plain already: the library would escape the backslashes once more. */
	scols_table_enable_noencoding(table->columns, 1);
	/* A cell is never cut: in a narrow terminal the line wraps. */
	scols_table_set_termforce(table->columns, SCOLS_TERMFORCE_NEVER);
	scols_table_set_column_separator(table->columns, "  ");
	for (size_t i = 0; i < count; i++)
		or_die(scols_table_new_column(table->columns, columns[i].name, 0,
					      columns[i].right ? SCOLS_FL_RIGHT : 0));
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	scols_unref_table(table->columns);
	free(table);
}

void table_row(struct table *table)
{
	table->row = or_die(scols_table_new_line(table->columns, NULL));
	table->filled = 0;
}

void table_cell(struct table *table, char *text)
{
	scols_line_refer_data(table->row, table->filled++, text);
}

/* The last column is padded too: spaces at the end of a line go. */
static void trim_lines(char *text)
{
	char *out = text;

	for (const char *at = text; *at; at++) {
		while (*at == '\n' && out > text && out[-1] == ' ')
			out--;
		*out++ = *at;
	}
	*out = '\0';
}

char *table_text(const struct table *table)
{
	_cleanup_free_ char *text = NULL;
	char *lines;

	if (scols_print_table_to_string(table->columns, &text) < 0)
		or_die(NULL);
	lines = xalloc_print("%s\n", text ? text : "");
	trim_lines(lines);
	return lines;
}

void table_print(struct table *table)
{
	char *text = table_text(table);

	fputs(text, stdout);
	free(text);
	table_free(table);
}

void table_entry(const char *name, char *value)
{
	if (value[0] && strcmp(value, "-") != 0)
		printf("  %-*s %s\n", ENTRY_NAME_WIDTH, name, value);
	free(value);
}
