/* One line an event: when, its number, whom it is about, what happened, and why. */
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "commands.h"
#include "field.h"
#include "sessions.h"
#include "units.h"

/* ---- parts of a line ---- */

/* " word value", or nothing. */
static char *optional(const json_t *object, const char *key, const char *word)
{
	_cleanup_free_ char *value = field_text(object, key);

	return field_is_there(object, key) ? xalloc_print(" %s %s", word, value)
					   : xalloc_string("");
}

/* ": cert-expired: certificate ... expired at ...": the word first, once. */
static char *describe_why(const json_t *line)
{
	_cleanup_free_ char *reason = field_text(line, "reason");
	_cleanup_free_ char *text = field_text(line, "text");
	bool has_reason = field_is_there(line, "reason"), has_text = field_is_there(line, "text");

	if (has_text && (!has_reason || strncmp(text, reason, strlen(reason)) == 0))
		return xalloc_print(": %s", text);
	if (has_text)
		return xalloc_print(": %s: %s", reason, text);
	return has_reason ? xalloc_print(": %s", reason) : xalloc_string("");
}

static char *describe_handshake(const json_t *line)
{
	_cleanup_free_ char *id = field_text(line, "handshake_id");

	return field_is_there(line, "handshake_id") ? xalloc_print(" (handshake %s)", id)
						    : xalloc_string("");
}

/* "session 17 alice", "site session 17 berlin". */
static char *describe_session(const json_t *line)
{
	const json_t *session = json_object_get(line, "session");
	_cleanup_free_ char *identity = field_text(session ? session : line, "identity");

	return xalloc_print("%ssession %lu %s", field_is(session, "role", "site") ? "site " : "",
			    (unsigned long)field_number(session, "id"), identity);
}

/* "alice (192.0.2.7:4711)", or what there is of it. */
static char *describe_peer(const json_t *line)
{
	_cleanup_free_ char *identity = field_text(line, "identity");
	_cleanup_free_ char *peer = field_text(line, "peer_address");

	if (!field_is_there(line, "identity"))
		return xalloc_string(peer);
	return xalloc_print("%s (%s)", identity, peer);
}

/* ---- lines ---- */

static void print_refused(const json_t *line, const char *what)
{
	_cleanup_free_ char *peer = describe_peer(line);
	_cleanup_free_ char *why = describe_why(line);
	_cleanup_free_ char *handshake = describe_handshake(line);

	printf("%s %s%s%s\n", what, peer, why, handshake);
}

static void print_arrival(const json_t *line, const char *what)
{
	const json_t *session = json_object_get(line, "session");
	_cleanup_free_ char *who = describe_session(line);
	_cleanup_free_ char *from = optional(line, "peer_address", "from");
	_cleanup_free_ char *addresses = field_list(session, "inner_addresses", " ");
	_cleanup_free_ char *handshake = describe_handshake(line);

	printf("%s %s%s, address %s%s\n", who, what, from, addresses, handshake);
}

static void print_renewed(const json_t *line, const char *what)
{
	_cleanup_free_ char *who = describe_session(line);
	_cleanup_free_ char *from = optional(line, "peer_address", "from");
	_cleanup_free_ char *handshake = describe_handshake(line);

	printf("%s %s%s%s\n", who, what, from, handshake);
}

static void print_session(const json_t *line, const char *what)
{
	_cleanup_free_ char *who = describe_session(line);
	_cleanup_free_ char *why = describe_why(line);

	printf("%s %s%s\n", who, what, why);
}

static void print_transport(const json_t *line, const char *what)
{
	_cleanup_free_ char *who = describe_session(line);
	_cleanup_free_ char *over = field_text(line, "text");

	printf("%s %s %s\n", who, what, over);
}

static void print_denial(const json_t *line, const char *what)
{
	_cleanup_free_ char *identity = field_text(line, "identity");
	_cleanup_free_ char *serial = field_text(line, "serial");
	_cleanup_free_ char *why = describe_why(line);

	printf("%s %s, serial %s%s\n", what, identity, serial, why);
}

static const char *describe_cause(const char *cause)
{
	static const struct {
		const char *cause, *text;
	} rows[] = {
		{"revoke", "command"},
		{"file", "file changed"},
		{"reload", "reload"},
		{"expired", "certificate ended"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].cause, cause) == 0)
			return rows[i].text;
	}
	return "cause";
}

/* The cause is the text. */
static void print_cut(const json_t *line, const char *what)
{
	_cleanup_free_ char *identity = field_text(line, "identity");
	_cleanup_free_ char *reason = field_text(line, "reason");
	_cleanup_free_ char *cause = field_text(line, "text");

	printf("%s %s: %s, %.1f ms after the %s\n", identity, what, reason,
	       1000 * json_number_value(json_object_get(line, "delay_s")), describe_cause(cause));
}

static void print_site(const json_t *line, const char *what)
{
	_cleanup_free_ char *site = field_text(line, "site");
	_cleanup_free_ char *networks = field_list(line, "networks", " ");
	_cleanup_free_ char *why = describe_why(line);

	printf("site %s is %s: %s%s\n", site, what, networks, why);
}

static void print_trust(const json_t *line, const char *what)
{
	unsigned long denials = field_number(line, "denials");

	printf("%s, %lu certificate%s denied here\n", what, denials, denials == 1 ? "" : "s");
}

static void print_tunnel(const json_t *line, const char *what)
{
	_cleanup_free_ char *why = describe_why(line);

	printf("%s%s\n", what, why);
}

static void print_up(const json_t *line, const char *what)
{
	const json_t *tunnel = json_object_get(line, "tunnel");
	_cleanup_free_ char *gateway = field_text(tunnel, "gateway");
	_cleanup_free_ char *peer = field_text(tunnel, "gateway_address");
	_cleanup_free_ char *addresses = field_list(tunnel, "inner_addresses", " ");

	printf("%s %s (%s), address %s\n", what, gateway, peer, addresses);
}

static void print_tunnel_transport(const json_t *line, const char *what)
{
	_cleanup_free_ char *over = field_text(line, "text");

	printf("%s %s\n", what, over);
}

static void print_attempt(const json_t *line, const char *what)
{
	_cleanup_free_ char *gateway = field_text(line, "identity");
	_cleanup_free_ char *why = describe_why(line);
	_cleanup_free_ char *handshake = describe_handshake(line);

	printf("%s %s%s%s\n", what, gateway, why, handshake);
}

static void print_gap(const json_t *line, const char *what)
{
	printf("%lu %s\n", (unsigned long)field_number(line, "missed"), what);
}

/* Event names are the daemon's, base/event.h. */
static const struct {
	const char *event;
	void (*print)(const json_t *line, const char *what);
	const char *what;
} printers[] = {
	{"handshake-refused", print_refused, "refused"},
	{"session-opened", print_arrival, "opened"},
	{"session-closed", print_session, "closed"},
	{"session-cut", print_cut, "is cut off"},
	{"session-away", print_session, "is away"},
	{"session-back", print_arrival, "is back"},
	{"session-renewed", print_renewed, "has renewed its keys"},
	{"session-changed", print_session, "has other rights now"},
	{"session-transport", print_transport, "goes over"},
	{"revoked", print_denial, "denied"},
	{"unrevoked", print_denial, "no longer denied:"},
	{"site-up", print_site, "up"},
	{"site-down", print_site, "down"},
	{"tunnel-connecting", print_attempt, "connecting to"},
	{"tunnel-up", print_up, "tunnel up to"},
	{"tunnel-waiting", print_tunnel, "not connected, waiting to try again"},
	{"tunnel-renewed", print_tunnel, "tunnel has renewed its keys"},
	{"tunnel-transport", print_tunnel_transport, "tunnel goes over"},
	{"attempt-failed", print_attempt, "cannot connect to"},
	{"trust-changed", print_trust, "trust has changed"},
	{"reloaded", print_tunnel, "configuration reloaded"},
	{"stopping", print_tunnel, "tund is stopping"},
	{"stopped", print_tunnel, "tund has stopped"},
	{"gap", print_gap, "events were missed here: they came faster than they were taken"},
};

/* ---- the snapshot ---- */

static void print_sessions(const json_t *sessions)
{
	if (json_array_size(sessions) == 0)
		puts("nobody is connected");
	else
		sessions_print(sessions);
}

static void print_state(const json_t *tunnel)
{
	_cleanup_free_ char *state = field_text(tunnel, "state");
	_cleanup_free_ char *gateway = field_text(tunnel, "gateway");
	_cleanup_free_ char *since = field_since(tunnel, "since_at", clock_wall());
	_cleanup_free_ char *transport = optional(tunnel, "transport", "over");

	printf("tunnel to %s: %s%s since %s\n", gateway, state, transport, since);
}

static void print_snapshot(const json_t *line)
{
	const json_t *tunnel = json_object_get(line, "tunnel");
	_cleanup_free_ char *role = field_text(line, "role");
	_cleanup_free_ char *instance = field_text(line, "instance");
	_cleanup_free_ char *since = field_since(line, "started_at", clock_wall());

	printf("%s %s: running since %s, %lu events so far\n", role, instance, since,
	       (unsigned long)field_number(line, "seq"));
	if (tunnel)
		print_state(tunnel);
	else
		print_sessions(json_object_get(line, "sessions"));
	puts("watching; Ctrl-C ends it");
}

static void render_line(const json_t *line)
{
	_cleanup_free_ char *event = field_text(line, "event");
	_cleanup_free_ char *at = field_moment(line, "at", clock_wall());

	if (strcmp(event, "snapshot") == 0) {
		print_snapshot(line);
		return;
	}
	printf("%s  #%lu  ", at, (unsigned long)field_number(line, "seq"));
	for (size_t i = 0; i < sizeof(printers) / sizeof(*printers); i++) {
		if (strcmp(printers[i].event, event) == 0) {
			printers[i].print(line, printers[i].what);
			return;
		}
	}
	print_tunnel(line, event);
}

int watch_main(const struct arguments *arguments)
{
	return ask_follow(arguments, json_pack("{s:s}", "command", "watch"), render_line);
}
