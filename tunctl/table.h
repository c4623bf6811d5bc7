#pragma once
/* What tunctl prints: tables of one line an entry, and blocks of "name   value". */

#include <stdbool.h>
#include <stddef.h>

struct table;

struct table_column {
	const char *name;
	bool right; /* numbers */
};

struct table *table_new(const struct table_column *columns, size_t count);
void table_free(struct table *table);
void table_row(struct table *table); /* begins one */
/* The next cell of the row; frees text. */
void table_cell(struct table *table, char *text);
char *table_text(const struct table *table); /* malloc'ed */
void table_print(struct table *table);	     /* and frees it */

/* One line of a block; nothing when there is no value ("" or "-"). Frees value. */
void table_entry(const char *name, char *value);
