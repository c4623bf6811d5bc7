#include <stdio.h>

#include "ask.h"
#include "base/clock.h"
#include "commands.h"
#include "field.h"
#include "table.h"

static const struct table_column columns[] = {
	{"IDENTITY", false}, {"SERIAL", false}, {"ISSUER", false},
	{"SINCE", false},    {"REASON", false},
};

static void add_denial(struct table *table, const json_t *denial)
{
	table_row(table);
	table_cell(table, field_text(denial, "identity"));
	table_cell(table, field_text(denial, "serial"));
	table_cell(table, field_text(denial, "issuer"));
	table_cell(table, field_moment(denial, "denied_at", clock_wall()));
	table_cell(table, field_text(denial, "reason"));
}

static void render_revoked(const json_t *reply)
{
	const json_t *denials = json_object_get(reply, "revoked"), *denial;
	struct table *table;
	size_t i;

	if (json_array_size(denials) == 0) {
		puts("nothing is denied here");
		return;
	}
	table = table_new(columns, sizeof(columns) / sizeof(*columns));
	json_array_foreach(denials, i, denial) add_denial(table, denial);
	table_print(table);
}

int revoked_main(const struct arguments *arguments)
{
	return ask_run(arguments, json_pack("{s:s}", "command", "revoked"), false, render_revoked);
}
