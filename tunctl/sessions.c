#include "sessions.h"

#include <stdio.h>

#include "ask.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "commands.h"
#include "field.h"
#include "table.h"

static const struct table_column columns[] = {
	{"ID", true},	    {"IDENTITY", false}, {"ROLE", false},      {"GROUPS", false},
	{"ADDRESS", false}, {"PEER", false},	 {"TRANSPORT", false}, {"SINCE", false},
	{"RX", true},	    {"TX", true},
};

/* How it is carried; what is not open says so instead. */
static char *describe_transport(const json_t *session)
{
	if (!field_is(session, "state", "open"))
		return field_text(session, "state");
	if (field_is(session, "transport", "dtls"))
		return xalloc_string("DTLS");
	if (field_is(session, "transport", "tls"))
		return xalloc_string("TLS");
	return field_text(session, "transport");
}

static void add_session(struct table *table, const json_t *session)
{
	table_row(table);
	table_cell(table, xalloc_print("%lu", (unsigned long)field_number(session, "id")));
	table_cell(table, field_text(session, "identity"));
	table_cell(table, field_text(session, "role"));
	table_cell(table, field_list(session, "groups", ","));
	table_cell(table, field_list(session, "inner_addresses", ","));
	table_cell(table, field_text(session, "peer_address"));
	table_cell(table, describe_transport(session));
	table_cell(table, field_moment(session, "connected_at", clock_wall()));
	table_cell(table, field_bytes(session, "rx_bytes"));
	table_cell(table, field_bytes(session, "tx_bytes"));
}

void sessions_print(const json_t *sessions)
{
	struct table *table = table_new(columns, sizeof(columns) / sizeof(*columns));
	const json_t *session;
	size_t i;

	json_array_foreach(sessions, i, session) add_session(table, session);
	table_print(table);
}

static void render_sessions(const json_t *reply)
{
	const json_t *sessions = json_object_get(reply, "sessions");

	if (json_array_size(sessions) == 0)
		puts("nobody is connected");
	else
		sessions_print(sessions);
}

int sessions_main(const struct arguments *arguments)
{
	return ask_run(arguments, json_pack("{s:s}", "command", "sessions"), false,
		       render_sessions);
}
