#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "commands.h"
#include "field.h"
#include "reply.h"
#include "sessions.h"
#include "table.h"
#include "units.h"
#include "wire/ctl_msg.h"

/* ---- a session ---- */

static char *describe_transport(const json_t *session)
{
	_cleanup_free_ char *cipher = field_text(session, "data_cipher");

	if (!field_is(session, "transport", "dtls"))
		return field_is(session, "transport", "tls") ? xalloc_string("TLS")
							     : xalloc_string("-");
	if (!field_is_there(session, "data_cipher"))
		return xalloc_string("DTLS");
	return xalloc_print("DTLS, %s", cipher);
}

static char *describe_control(const json_t *session)
{
	_cleanup_free_ char *version = field_text(session, "tls_version");
	_cleanup_free_ char *cipher = field_text(session, "cipher");
	_cleanup_free_ char *group = field_text(session, "group");

	return xalloc_print("%s, %s, %s", version, cipher, group);
}

static char *describe_packets(const json_t *session, const char *bytes, const char *packets)
{
	_cleanup_free_ char *text = field_bytes(session, bytes);

	return xalloc_print("%s, %lu packets", text, (unsigned long)field_number(session, packets));
}

static char *describe_idle(const json_t *session)
{
	char text[UNITS_TEXT];

	return xalloc_string(units_duration((int64_t)field_number(session, "idle_s"), text));
}

static void print_who(const json_t *session)
{
	table_entry("identity", field_text(session, "identity"));
	table_entry("kind", field_text(session, "identity_kind"));
	table_entry("role", field_text(session, "role"));
	table_entry("groups", field_list(session, "groups", ", "));
	table_entry("subject", field_text(session, "subject"));
	table_entry("issuer", field_text(session, "issuer"));
	table_entry("serial", field_text(session, "serial"));
	table_entry("valid until", field_until(session, "expires_at", clock_wall()));
}

static void print_connection(const json_t *session)
{
	table_entry("state", field_text(session, "state"));
	table_entry("since", field_since(session, "connected_at", clock_wall()));
	table_entry("idle", describe_idle(session));
	table_entry("from", field_text(session, "peer_address"));
	table_entry("addresses", field_list(session, "inner_addresses", ", "));
	if (json_array_size(json_object_get(session, "networks")) > 0)
		table_entry("networks", field_list(session, "networks", ", "));
	table_entry("transport", describe_transport(session));
	table_entry("control", describe_control(session));
	table_entry("mtu", xalloc_print("%lu", (unsigned long)field_number(session, "mtu")));
	table_entry("received", describe_packets(session, "rx_bytes", "rx_packets"));
	table_entry("sent", describe_packets(session, "tx_bytes", "tx_packets"));
	table_entry("dropped", field_counts(session, "drops"));
	table_entry("agent", field_text(session, "agent"));
	table_entry("handshake", field_text(session, "handshake_id"));
}

static void print_session(const json_t *session)
{
	const json_t *access = json_object_get(session, "access");

	printf("session %lu\n", (unsigned long)field_number(session, "id"));
	print_who(session);
	print_connection(session);
	reply_list("may open", access, "allow");
	reply_list("may accept", access, "accept");
	reply_list("routes", access, "routes");
}

/* ---- an identity ---- */

static const struct table_column certificate_columns[] = {
	{"SERIAL", false}, {"SUBJECT", false}, {"ISSUER", false}, {"FIRST SEEN", false},
	{"LAST", false},   {"UNTIL", false},   {"", false},
};

static const char *certificate_state(const json_t *certificate)
{
	time_t until;

	if (json_is_true(json_object_get(certificate, "denied")))
		return "denied";
	if (field_time(certificate, "expires_at", &until) && until <= clock_wall())
		return "expired";
	return "";
}

static void print_certificates(const json_t *certificates)
{
	struct table *table = table_new(certificate_columns,
					sizeof(certificate_columns) / sizeof(*certificate_columns));
	const json_t *certificate;
	size_t i;

	json_array_foreach(certificates, i, certificate)
	{
		table_row(table);
		table_cell(table, field_text(certificate, "serial"));
		table_cell(table, field_text(certificate, "subject"));
		table_cell(table, field_text(certificate, "issuer"));
		table_cell(table, field_moment(certificate, "first_at", clock_wall()));
		table_cell(table, field_moment(certificate, "last_at", clock_wall()));
		table_cell(table, field_moment(certificate, "expires_at", clock_wall()));
		table_cell(table, xalloc_string(certificate_state(certificate)));
	}
	table_print(table);
}

static void print_identity(const json_t *reply)
{
	const json_t *sessions = json_object_get(reply, "sessions");
	const json_t *certificates = json_object_get(reply, "certificates");
	_cleanup_free_ char *name = field_text(reply, "identity");

	printf("%s%s\n", name, json_array_size(sessions) ? "" : ", not connected");
	table_entry("addresses", field_list(reply, "addresses", ", "));
	if (json_array_size(sessions)) {
		putchar('\n');
		sessions_print(sessions);
	}
	if (json_array_size(certificates)) {
		puts("\ncertificates seen");
		print_certificates(certificates);
	}
}

static void render_show(const json_t *reply)
{
	const json_t *session = json_object_get(reply, "session");

	if (session)
		print_session(session);
	else
		print_identity(reply);
}

/* ---- the question ---- */

static int show_session(const struct arguments *arguments, const char *text)
{
	char *end;
	long long id;

	errno = 0;
	id = strtoll(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno)
		return ask_fail(arguments,
				ctl_msg_error(CTL_EXIT_USAGE,
					      "a session's id is a number, see tunctl sessions"));
	return ask_run(arguments,
		       json_pack("{s:s, s:s, s:I}", "command", "show", "what", "session", "id",
				 (json_int_t)id),
		       false, render_show);
}

int show_main(const struct arguments *arguments)
{
	const char *what = arguments->words[1], *which = arguments->words[2];

	if (strcmp(what, "session") == 0)
		return show_session(arguments, which);
	if (strcmp(what, "identity") == 0)
		return ask_run(arguments,
			       json_pack("{s:s, s:s, s:s}", "command", "show", "what", "identity",
					 "name", which),
			       false, render_show);
	return ask_fail(arguments,
			ctl_msg_error(CTL_EXIT_USAGE, "show session ID, or show identity NAME"));
}
