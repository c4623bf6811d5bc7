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

static void print_refused(const json_t *line)
{
	_cleanup_free_ char *peer = describe_peer(line);
	_cleanup_free_ char *why = describe_why(line);
	_cleanup_free_ char *handshake = describe_handshake(line);

	printf("refused %s%s%s\n", peer, why, handshake);
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

static void print_opened(const json_t *line)
{
	print_arrival(line, "opened");
}

static void print_back(const json_t *line)
{
	print_arrival(line, "is back");
}

static void print_renewed(const json_t *line)
{
	_cleanup_free_ char *who = describe_session(line);
	_cleanup_free_ char *from = optional(line, "peer_address", "from");
	_cleanup_free_ char *handshake = describe_handshake(line);

	printf("%s has renewed its keys%s%s\n", who, from, handshake);
}

static void print_session(const json_t *line, const char *what)
{
	_cleanup_free_ char *who = describe_session(line);
	_cleanup_free_ char *why = describe_why(line);

	printf("%s %s%s\n", who, what, why);
}

static void print_closed(const json_t *line)
{
	print_session(line, "closed");
}

static void print_away(const json_t *line)
{
	print_session(line, "is away");
}

static void print_changed(const json_t *line)
{
	print_session(line, "has other rights now");
}

static void print_transport(const json_t *line)
{
	_cleanup_free_ char *who = describe_session(line);
	_cleanup_free_ char *over = field_text(line, "text");

	printf("%s goes over %s\n", who, over);
}

static void print_denial(const json_t *line, const char *what)
{
	_cleanup_free_ char *identity = field_text(line, "identity");
	_cleanup_free_ char *serial = field_text(line, "serial");
	_cleanup_free_ char *why = describe_why(line);

	printf("%s %s, serial %s%s\n", what, identity, serial, why);
}

static void print_revoked(const json_t *line)
{
	print_denial(line, "denied");
}

static void print_unrevoked(const json_t *line)
{
	print_denial(line, "no longer denied:");
}

static void print_site(const json_t *line, const char *what)
{
	_cleanup_free_ char *site = field_text(line, "site");
	_cleanup_free_ char *networks = field_list(line, "networks", " ");
	_cleanup_free_ char *why = describe_why(line);

	printf("site %s is %s: %s%s\n", site, what, networks, why);
}

static void print_site_up(const json_t *line)
{
	print_site(line, "up");
}

static void print_site_down(const json_t *line)
{
	print_site(line, "down");
}

static void print_trust(const json_t *line)
{
	unsigned long denials = field_number(line, "denials");

	printf("trust has changed, %lu certificate%s denied here\n", denials,
	       denials == 1 ? "" : "s");
}

static void print_tunnel(const json_t *line, const char *what)
{
	_cleanup_free_ char *why = describe_why(line);

	printf("%s%s\n", what, why);
}

static void print_connecting(const json_t *line)
{
	_cleanup_free_ char *gateway = field_text(line, "identity");
	_cleanup_free_ char *what = xalloc_print("connecting to %s", gateway);

	print_tunnel(line, what);
}

static void print_up(const json_t *line)
{
	const json_t *tunnel = json_object_get(line, "tunnel");
	_cleanup_free_ char *gateway = field_text(tunnel, "gateway");
	_cleanup_free_ char *peer = field_text(tunnel, "gateway_address");
	_cleanup_free_ char *addresses = field_list(tunnel, "inner_addresses", " ");

	printf("tunnel up to %s (%s), address %s\n", gateway, peer, addresses);
}

static void print_waiting(const json_t *line)
{
	print_tunnel(line, "not connected, waiting to try again");
}

static void print_tunnel_renewed(const json_t *line)
{
	print_tunnel(line, "tunnel has renewed its keys");
}

static void print_tunnel_transport(const json_t *line)
{
	_cleanup_free_ char *over = field_text(line, "text");

	printf("tunnel goes over %s\n", over);
}

static void print_failed(const json_t *line)
{
	_cleanup_free_ char *gateway = field_text(line, "identity");
	_cleanup_free_ char *why = describe_why(line);
	_cleanup_free_ char *handshake = describe_handshake(line);

	printf("cannot connect to %s%s%s\n", gateway, why, handshake);
}

static void print_reloaded(const json_t *line)
{
	print_tunnel(line, "configuration reloaded");
}

static void print_stopping(const json_t *line)
{
	(void)line;
	puts("tund is stopping");
}

static void print_stopped(const json_t *line)
{
	(void)line;
	puts("tund has stopped");
}

static void print_gap(const json_t *line)
{
	printf("%lu events were missed here: they came faster than they were taken\n",
	       (unsigned long)field_number(line, "missed"));
}

/* Event names are the daemon's, base/event.h. */
static const struct {
	const char *event;
	void (*print)(const json_t *line);
} printers[] = {
	{"handshake-refused", print_refused},
	{"session-opened", print_opened},
	{"session-closed", print_closed},
	{"session-away", print_away},
	{"session-back", print_back},
	{"session-renewed", print_renewed},
	{"session-changed", print_changed},
	{"session-transport", print_transport},
	{"revoked", print_revoked},
	{"unrevoked", print_unrevoked},
	{"site-up", print_site_up},
	{"site-down", print_site_down},
	{"tunnel-connecting", print_connecting},
	{"tunnel-up", print_up},
	{"tunnel-waiting", print_waiting},
	{"tunnel-renewed", print_tunnel_renewed},
	{"tunnel-transport", print_tunnel_transport},
	{"attempt-failed", print_failed},
	{"trust-changed", print_trust},
	{"reloaded", print_reloaded},
	{"stopping", print_stopping},
	{"stopped", print_stopped},
	{"gap", print_gap},
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
			printers[i].print(line);
			return;
		}
	}
	print_tunnel(line, event);
}

int watch_main(const struct arguments *arguments)
{
	return ask_follow(arguments, json_pack("{s:s}", "command", "watch"), render_line);
}
