#include "ctl/gateway_commands.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "ctl/describe.h"
#include "gateway/cut.h"
#include "gateway/site.h"
#include "version.h"
#include "wire/ctl_msg.h"

enum { LISTED_AT_ONCE = 100 }; /* two milliseconds' work */

static bool is_listed(const struct session *session)
{
	return session->state == SESSION_OPEN || session->state == SESSION_AWAY;
}

/* ---- status ---- */

static json_t *describe_pools(const struct gateway *gateway)
{
	json_t *array = json_array();
	struct prefix range;
	unsigned used;
	uint64_t size;

	for (size_t i = 0; lease_pool_range(gateway->leases, i, &range, &used, &size); i++) {
		char text[PREFIX_TEXT];

		json_array_append_new(array, json_pack("{s:s, s:I, s:I}", "prefix",
						       prefix_print(&range, text), "used",
						       (json_int_t)used, "size", (json_int_t)size));
	}
	return array;
}

/* Those that are not 0, by their words. */
static json_t *describe_reasons(const uint64_t counts[static REASON_COUNT])
{
	json_t *object = json_object();

	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		if (counts[i])
			json_object_set_new(object, reason_word((enum reason)i),
					    json_integer((json_int_t)counts[i]));
	}
	return object;
}

static json_t *describe_handshakes(const struct gateway *gateway)
{
	return json_pack("{s:I, s:o}", "accepted", (json_int_t)gateway->counts.accepted, "refused",
			 describe_reasons(gateway->counts.refused));
}

static json_t *describe_listeners(const struct gateway *gateway)
{
	json_t *array = json_array();

	for (size_t i = 0; i < gateway->options.listener_count; i++)
		json_array_append_new(array, describe_endpoint(&gateway->options.listeners[i].at));
	return array;
}

static void count_sessions(const struct gateway *gateway, json_t *reply)
{
	json_int_t open = 0, dtls = 0;

	for (struct session *session = gateway->sessions.sessions; session;
	     session = session->hh.next) {
		if (session->state != SESSION_OPEN)
			continue;
		open++;
		dtls += session->over_dtls;
	}
	json_object_set_new(reply, "sessions", json_integer(open));
	json_object_set_new(reply, "sessions_dtls", json_integer(dtls));
	json_object_set_new(reply, "sessions_tls", json_integer(open - dtls));
	json_object_set_new(reply, "sessions_cut", describe_reasons(gateway->counts.cut));
	json_object_set_new(reply, "max_sessions",
			    json_integer(gateway->config->gateway.max_sessions));
}

static void tell_trouble(json_t *reply, const char *what, const char *trouble)
{
	_cleanup_free_ char *line = trouble ? xalloc_print("%s: %s", what, trouble) : NULL;

	if (line)
		json_array_insert_new(json_object_get(reply, "warnings"), 0, describe_text(line));
}

static void add_trouble(const struct gateway *gateway, json_t *reply)
{
	tell_trouble(reply, "durable state cannot be written", store_trouble(gateway->store));
	tell_trouble(reply, "a network of a site is not routed", site_trouble(gateway));
}

static void answer_status(struct gateway_report *report, void *user)
{
	struct ctl_request *request = user;
	const struct ctl *ctl = ctl_of(request);
	const struct gateway *gateway = report->gateway;
	json_t *reply = ctl_msg_reply("status", CTL_EXIT_DONE);

	json_object_update_new(
		reply,
		json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
			  "s:I}",
			  "role", "gateway", "instance", gateway->config->instance, "version",
			  TUND_VERSION, "state", "running", "started_at",
			  describe_time(gateway->started_at), "interface",
			  gateway->config->gateway.interface, "listen", describe_listeners(gateway),
			  "pools", describe_pools(gateway), "certificate",
			  describe_certificate(gateway->options.leaf), "crl_policy",
			  describe_policy(gateway->trust->crl_policy), "offloads",
			  describe_offloads(gateway->options.tun_offloads, report->udp_offloads),
			  "handshakes", describe_handshakes(gateway), "drops",
			  describe_drops(report->counts.of + COUNT_FIRST_DROP), "counters",
			  describe_counters(&report->counts), "generation",
			  (json_int_t)gateway->trust->generation));
	json_object_set_new(reply, "workers", json_integer((json_int_t)gateway->crew.count));
	count_sessions(gateway, reply);
	describe_warnings(ctl, reply);
	add_trouble(gateway, reply);
	gateway_report_free(report);
	ctl_answer(request, reply);
}

void gateway_commands_status(struct ctl_request *request, const json_t *message)
{
	(void)message;
	gateway_ask_report(ctl_of(request)->options.gateway, answer_status, request);
}

/* ---- sessions ---- */

/* Of those that were there when it began, those that still are. */
struct listing {
	struct gateway_report *report;
	uint64_t *ids;
	size_t count, at;
	bool has_begun, has_one;
};

static void listing_done(void *user)
{
	struct listing *listing = user;

	gateway_report_free(listing->report);
	free(listing->ids);
	free(listing);
}

static void add_text(struct buf *out, const json_t *json, size_t cut)
{
	size_t len;
	_cleanup_free_ char *text = ctl_msg_print(json, &len);

	buf_append(out, text, len - cut);
}

static void begin_listing(struct buf *out)
{
	json_t *reply = ctl_msg_reply("sessions", CTL_EXIT_DONE);

	json_object_set_new(reply, "sessions", json_array());
	add_text(out, reply, strlen("]}\n"));
	json_decref(reply);
}

static void list_session(struct listing *listing, struct buf *out, const struct session *session)
{
	json_t *object = describe_session(session, gateway_report_of(listing->report, session));

	if (listing->has_one)
		buf_append(out, ",", 1);
	add_text(out, object, strlen("\n"));
	listing->has_one = true;
	json_decref(object);
}

static bool list_some(struct buf *out, void *user)
{
	struct listing *listing = user;
	const struct session_table *sessions = &listing->report->gateway->sessions;

	if (!listing->has_begun)
		begin_listing(out);
	listing->has_begun = true;
	for (size_t i = 0; i < LISTED_AT_ONCE && listing->at < listing->count; i++) {
		struct session *session = session_table_find(sessions, listing->ids[listing->at++]);

		if (session && is_listed(session))
			list_session(listing, out, session);
	}
	if (listing->at < listing->count)
		return true;
	buf_append(out, "]}\n", strlen("]}\n"));
	return false;
}

static void answer_sessions(struct gateway_report *report, void *user)
{
	struct listing *listing = xnew(struct listing);
	struct session *first = report->gateway->sessions.sessions;

	listing->report = report;
	listing->ids = xnew_array(uint64_t, HASH_COUNT(first) + 1);
	for (struct session *session = first; session; session = session->hh.next)
		listing->ids[listing->count++] = session->id;
	ctl_answer_pieces(user, &(struct ctl_pieces){list_some, listing_done, listing});
}

void gateway_commands_sessions(struct ctl_request *request, const json_t *message)
{
	(void)message;
	gateway_ask_report(ctl_of(request)->options.gateway, answer_sessions, request);
}

/* ---- show ---- */

struct shown { /* what is asked about, until the counters are there */
	struct ctl_request *request;
	uint64_t id;
	char *name;
};

static void shown_free(struct shown *shown)
{
	free(shown->name);
	free(shown);
}

static void add_rules(json_t *array, const struct config_rules *rules)
{
	json_t *more = describe_rules(rules);

	json_array_extend(array, more);
	json_decref(more);
}

static json_t *describe_access(const struct session *session)
{
	json_t *allow = json_array(), *accept = json_array(), *routes = json_array();

	for (size_t i = 0; i < session->block_count; i++) {
		json_t *pushed = describe_prefixes(&session->blocks[i]->routes);

		add_rules(allow, &session->blocks[i]->allow);
		add_rules(accept, &session->blocks[i]->accept);
		json_array_extend(routes, pushed);
		json_decref(pushed);
	}
	return json_pack("{s:o, s:o, s:o}", "allow", allow, "accept", accept, "routes", routes);
}

static void answer_session(struct gateway_report *report, void *user)
{
	struct shown *shown = user;
	struct session *session = session_table_find(&report->gateway->sessions, shown->id);
	const struct worker_flow_report *flow;
	static const uint64_t no_drops[COUNT_MAX - COUNT_FIRST_DROP];
	json_t *reply, *object;

	if (!session || !is_listed(session)) {
		reply = ctl_msg_error(CTL_EXIT_NOT_FOUND, "there is no session %lu",
				      (unsigned long)shown->id);
	} else {
		flow = gateway_report_of(report, session);
		object = describe_session(session, flow);
		json_object_set_new(object, "issuer",
				    session->cert ? describe_text(session->cert->issuer)
						  : json_null());
		json_object_set_new(object, "handshake_id", describe_text(session->handshake_id));
		json_object_set_new(object, "access", describe_access(session));
		json_object_set_new(object, "drops", describe_drops(flow ? flow->drops : no_drops));
		reply = ctl_msg_reply("show", CTL_EXIT_DONE);
		json_object_set_new(reply, "session", object);
	}
	gateway_report_free(report);
	ctl_answer(shown->request, reply);
	shown_free(shown);
}

static bool is_denied(const struct gateway *gateway, const struct seen *seen)
{
	return trust_denies(gateway->trust, seen->key.issuer_hash, seen->key.serial,
			    seen->key.spki_hash);
}

static json_t *describe_seen(const struct gateway *gateway, const char *name)
{
	json_t *array = json_array();

	for (const struct seen *seen = gateway->seen.first; seen; seen = seen->hh.next) {
		if (strcmp(seen->name, name) != 0)
			continue;
		json_array_append_new(array, json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:b}",
						       "subject", describe_text(seen->subject),
						       "issuer", describe_text(seen->issuer),
						       "serial", seen->key.serial, "first_at",
						       describe_time(seen->first_at_s), "last_at",
						       describe_time(seen->last_at_s), "expires_at",
						       describe_time(seen->not_after_s), "denied",
						       is_denied(gateway, seen)));
	}
	return array;
}

static void answer_identity(struct gateway_report *report, void *user)
{
	struct shown *shown = user;
	struct gateway *gateway = report->gateway;
	json_t *sessions = json_array(), *addresses = json_array();
	json_t *certificates = describe_seen(gateway, shown->name);
	json_t *reply = ctl_msg_reply("show", CTL_EXIT_DONE);

	for (struct session *session = session_table_by_name(&gateway->sessions, shown->name);
	     session; session = session->next_of_name) {
		json_t *object;

		if (!is_listed(session))
			continue;
		object = describe_session(session, gateway_report_of(report, session));
		json_array_extend(addresses, json_object_get(object, "inner_addresses"));
		json_array_append_new(sessions, object);
	}
	if (json_array_size(sessions) == 0 && json_array_size(certificates) == 0) {
		json_decref(reply);
		reply = ctl_msg_error(CTL_EXIT_NOT_FOUND, "nobody of that name was seen here");
	}
	json_object_set_new(reply, "identity", describe_text(shown->name));
	json_object_set_new(reply, "sessions", sessions);
	json_object_set_new(reply, "certificates", certificates);
	json_object_set_new(reply, "addresses", addresses);
	gateway_report_free(report);
	ctl_answer(shown->request, reply);
	shown_free(shown);
}

void gateway_commands_show(struct ctl_request *request, const json_t *message)
{
	const char *what = ctl_msg_string(message, "what"), *name = ctl_msg_string(message, "name");
	const json_t *id = json_object_get(message, "id");
	struct gateway *gateway = ctl_of(request)->options.gateway;
	struct shown *shown;

	if (!what || (strcmp(what, "session") == 0 ? !json_is_integer(id) : !name)) {
		ctl_answer(request,
			   ctl_msg_error(CTL_EXIT_USAGE,
					 "say which: a session's id or an identity's name"));
		return;
	}
	shown = xnew(struct shown);
	shown->request = request;
	shown->name = xalloc_string(name);
	if (strcmp(what, "session") == 0) {
		shown->id = (uint64_t)json_integer_value(id);
		gateway_ask_report(gateway, answer_session, shown);
	} else {
		gateway_ask_report(gateway, answer_identity, shown);
	}
}

/* ---- disconnect ---- */

struct disconnecting {
	struct ctl_request *request;
	json_t *cut;
};

static void answer_disconnect(void *user)
{
	struct disconnecting *disconnecting = user;
	json_t *reply = ctl_msg_reply("disconnect", CTL_EXIT_DONE);

	json_object_set_new(reply, "cut", disconnecting->cut);
	ctl_answer(disconnecting->request, reply);
	free(disconnecting);
}

static bool is_target(const struct session *session, const char *target)
{
	char *end;
	unsigned long id = strtoul(target, &end, 10);

	if (!is_listed(session))
		return false;
	return (*end == '\0' && end != target && session->id == id) ||
	       strcmp(session_name(session), target) == 0;
}

void gateway_commands_disconnect(struct ctl_request *request, const json_t *message)
{
	struct gateway *gateway = ctl_of(request)->options.gateway;
	const char *target = ctl_msg_string(message, "target");
	struct disconnecting *disconnecting;
	struct session *session, *next;
	struct gateway_cut *cut;

	if (!target) {
		ctl_answer(request,
			   ctl_msg_error(CTL_EXIT_USAGE,
					 "say whom: a session's id or an identity's name"));
		return;
	}
	disconnecting = xnew(struct disconnecting);
	disconnecting->request = request;
	disconnecting->cut = json_array();
	cut = cut_new(answer_disconnect, disconnecting);
	HASH_ITER(hh, gateway->sessions.sessions, session, next)
	{
		if (!is_target(session, target))
			continue;
		json_array_append_new(disconnecting->cut, describe_session(session, NULL));
		gateway_cut_session(gateway, session, REASON_DISCONNECTED, "by the administrator",
				    cut);
	}
	if (json_array_size(disconnecting->cut) == 0) {
		json_decref(disconnecting->cut);
		free(disconnecting);
		free(cut);
		ctl_answer(request,
			   ctl_msg_error(CTL_EXIT_NOT_FOUND, "no session has that id or identity"));
		return;
	}
	cut_done(cut);
}
