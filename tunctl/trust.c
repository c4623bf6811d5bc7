/* Warnings, then every authority and what its list is worth, then every list. */
#include <stdio.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "commands.h"
#include "field.h"
#include "reply.h"
#include "table.h"
#include "units.h"

static const struct table_column authority_columns[] = {
	{"AUTHORITY", false}, {"KIND", false},	   {"FINGERPRINT", false}, {"UNTIL", false},
	{"STATE", false},     {"ITS LIST", false}, {"SESSIONS", true},	   {"FILE", false},
};

static const struct table_column list_columns[] = {
	{"LIST OF", false}, {"NUMBER", true},  {"THIS UPDATE", false}, {"NEXT UPDATE", false},
	{"STATE", false},   {"REVOKED", true}, {"SESSIONS", true},     {"FILE", false},
};

static char *describe_grace(const json_t *reply)
{
	char text[UNITS_TEXT];

	if (!field_is(reply, "crl_policy", "grace"))
		return xalloc_string("");
	return xalloc_print(" (%s)",
			    units_duration((int64_t)field_number(reply, "crl_grace_s"), text));
}

static void print_policy(const json_t *reply)
{
	_cleanup_free_ char *policy = field_text(reply, "crl_policy");
	_cleanup_free_ char *grace = describe_grace(reply);
	unsigned long denials = field_number(reply, "denials");

	printf("crl policy %s%s, %lu certificate%s denied here\n", policy, grace, denials,
	       denials == 1 ? "" : "s");
}

/* "fresh", "ageing until ...", "grace until ...", "expired: refused, crl-expired", "missing:
 * ignored", "missing (forged): refused, crl-invalid". */
static char *describe_effect(const json_t *list)
{
	_cleanup_free_ char *state = field_text(list, "state");
	_cleanup_free_ char *effect = field_text(list, "effect");
	_cleanup_free_ char *reason = field_text(list, "reason");
	_cleanup_free_ char *until = field_moment(list, "until_at", clock_wall());
	_cleanup_free_ char *trouble = field_text(list, "trouble");
	bool is_plain = !json_is_string(json_object_get(list, "trouble"));

	if (field_is(list, "effect", "off"))
		return xalloc_string("-");
	if (field_is(list, "state", "fresh"))
		return xalloc_string(state);
	if (field_is(list, "effect", "ok") || field_is(list, "effect", "grace"))
		return xalloc_print("%s until %s", state, until);
	return xalloc_print("%s%s%s%s: %s%s%s", state, is_plain ? "" : " (",
			    is_plain ? "" : trouble, is_plain ? "" : ")", effect,
			    field_is(list, "effect", "refused") ? ", " : "",
			    field_is(list, "effect", "refused") ? reason : "");
}

static void add_authority(struct table *table, const json_t *authority)
{
	time_t now = clock_wall();

	table_row(table);
	table_cell(table, field_text(authority, "subject"));
	table_cell(table, field_text(authority, "kind"));
	table_cell(table, field_text(authority, "fingerprint"));
	table_cell(table, field_moment(authority, "expires_at", now));
	table_cell(table, field_text(authority, "state"));
	table_cell(table, describe_effect(json_object_get(authority, "list")));
	table_cell(table, xalloc_print("%lu", (unsigned long)field_number(authority, "sessions")));
	table_cell(table, field_text(authority, "file"));
}

static void add_list(struct table *table, const json_t *list)
{
	time_t now = clock_wall();

	table_row(table);
	table_cell(table, field_text(list, "issuer"));
	table_cell(table, field_text(list, "number"));
	table_cell(table, field_moment(list, "this_update_at", now));
	table_cell(table, field_moment(list, "next_update_at", now));
	table_cell(table, field_text(list, "state"));
	table_cell(table, xalloc_print("%lu", (unsigned long)field_number(list, "entries")));
	table_cell(table, xalloc_print("%lu", (unsigned long)field_number(list, "sessions")));
	table_cell(table, field_text(list, "file"));
}

static void print_table(const json_t *rows, const struct table_column *columns, size_t count,
			void (*add)(struct table *table, const json_t *row))
{
	struct table *table;
	const json_t *row;
	size_t i;

	if (json_array_size(rows) == 0)
		return;
	putchar('\n');
	table = table_new(columns, count);
	json_array_foreach(rows, i, row) add(table, row);
	table_print(table);
}

static void render_trust(const json_t *reply)
{
	reply_warnings(reply);
	print_policy(reply);
	print_table(json_object_get(reply, "authorities"), authority_columns,
		    sizeof(authority_columns) / sizeof(*authority_columns), add_authority);
	print_table(json_object_get(reply, "lists"), list_columns,
		    sizeof(list_columns) / sizeof(*list_columns), add_list);
}

int trust_main(const struct arguments *arguments)
{
	return ask_run(arguments, json_pack("{s:s}", "command", "trust"), false, render_trust);
}
