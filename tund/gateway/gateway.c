#include "gateway/gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "gateway/admission.h"
#include "gateway/crew.h"
#include "gateway/cut.h"
#include "gateway/gateway_reload.h"
#include "gateway/listener.h"
#include "gateway/revoke.h"
#include "gateway/site.h"

enum {
	TICK_MS = 1000,
	COOKIE_OPEN_S = 30 * 24 * 3600, /* an open session's cookie on disk: for a restart */
	NEVER_S = 10 * 365 * 24 * 3600,
};

struct verdict gateway_ask_device(const struct gateway *gateway, X509 *leaf,
				  STACK_OF(X509) * untrusted)
{
	return verify_ask(&(struct verify_question){
		.trust = gateway->trust,
		.leaf = leaf,
		.untrusted = untrusted,
		.role = VERIFY_DEVICE,
		.at = clock_wall(),
	});
}

/* ---- sessions: cookies, cuts, ends ---- */

int64_t gateway_cookie_lifetime_s(const struct gateway *gateway)
{
	int64_t lifetime_s = gateway->config->gateway.cookie_lifetime_s;

	return lifetime_s ? lifetime_s : NEVER_S;
}

/* lifetime_s 0: the session is open. */
void gateway_remember_cookie(struct gateway *gateway, const struct session *session,
			     int64_t lifetime_s)
{
	struct store_cookie cookie = {
		.identity = session->identity,
		.expires_at_s = clock_wall() + (lifetime_s ? lifetime_s : COOKIE_OPEN_S),
	};

	if (!session->has_cookie || !session->lease)
		return;
	memcpy(cookie.hash, session->cookie_hash, sizeof(cookie.hash));
	snprintf(cookie.lease_key, sizeof(cookie.lease_key), "%s", session->lease->key);
	store_put_cookie(gateway->store, &cookie);
}

/* Whether the link of its site begins or ends with this; a link that is away has ended. */
static bool ends_link(enum event_kind kind, const struct session *session)
{
	return kind == EVENT_SESSION_AWAY ||
	       (kind == EVENT_SESSION_CLOSED && session->state == SESSION_OPEN);
}

static void tell_site(const struct gateway *gateway, enum event_kind kind,
		      const struct session *session, enum reason reason)
{
	bool begins = kind == EVENT_SESSION_OPENED || kind == EVENT_SESSION_BACK;

	if (!session->site || (!begins && !ends_link(kind, session)))
		return;
	event_post(gateway->options.events,
		   &(struct event){
			   .kind = begins ? EVENT_SITE_UP : EVENT_SITE_DOWN,
			   .session = session->id,
			   .reason = reason,
			   .identity = session_name(session),
			   .site = session->site->title,
			   .networks = &session->site->networks,
		   });
}

void gateway_tell_session(const struct gateway *gateway, enum event_kind kind,
			  const struct session *session, enum reason reason, const char *text)
{
	event_post(gateway->options.events, &(struct event){
						    .kind = kind,
						    .session = session->id,
						    .reason = reason,
						    .text = text,
						    .identity = session_name(session),
						    .peer = &session->peer,
						    .handshake_id = session->handshake_id,
					    });
	tell_site(gateway, kind, session, reason);
}

static void forget_session(struct gateway *gateway, struct session *session, enum reason reason,
			   const char *text)
{
	if (session->state == SESSION_OPEN || session->state == SESSION_AWAY)
		gateway_tell_session(gateway, EVENT_SESSION_CLOSED, session, reason, text);
	if (session->lease) {
		lease_release(gateway->leases, session->lease, clock_wall());
		session->lease = NULL;
		gateway->sessions.open--;
	}
	if (session->has_cookie && session->state != SESSION_PENDING)
		store_drop_cookie(gateway->store, session->cookie_hash);
	session_enter(session, SESSION_CLOSED, reason_word(reason));
	if (session->site)
		site_publish(gateway);
	session_table_remove(&gateway->sessions, session);
}

/* Whatever flow of it is left, one that drains perhaps, goes before its addresses are used
 * again: the order stands before any later attachment in the workers' queues. */
void gateway_close_session(struct gateway *gateway, struct session *session, enum reason reason)
{
	if (session->state != SESSION_PENDING)
		crew_cut(gateway, session, reason, NULL, NULL);
	forget_session(gateway, session, reason, NULL);
}

void gateway_cut_session(struct gateway *gateway, struct session *session, enum reason reason,
			 const char *text, struct gateway_cut *then)
{
	gateway->counts.cut[reason]++;
	crew_cut(gateway, session, reason, text, then);
	forget_session(gateway, session, reason, text);
}

static void send_away(struct gateway *gateway, struct session *session, enum reason reason,
		      const char *why)
{
	int64_t lifetime_s = gateway_cookie_lifetime_s(gateway);

	crew_forget(gateway, session);
	session_table_give_up_at(&gateway->sessions, session,
				 clock_now_us() + lifetime_s * CLOCK_SECOND_US);
	gateway_remember_cookie(gateway, session, lifetime_s);
	session_enter(session, SESSION_AWAY, why);
	if (session->site)
		site_publish(gateway);
	gateway_tell_session(gateway, EVENT_SESSION_AWAY, session, reason, why);
}

static void give_up_late(struct gateway *gateway)
{
	int64_t now_us = clock_now_us();
	struct session *session;

	while ((session = session_table_take_late(&gateway->sessions, now_us))) {
		if (session->state == SESSION_OPEN)
			continue;
		if (session->state == SESSION_PENDING)
			session_table_remove(&gateway->sessions, session);
		else
			gateway_close_session(gateway, session, REASON_PEER_TIMEOUT);
	}
}

/* ---- what workers tell ---- */

static void add_traffic(struct session *session, const struct flow_traffic *traffic)
{
	session->rx_bytes += traffic->rx_bytes;
	session->tx_bytes += traffic->tx_bytes;
	session->rx_packets += traffic->rx_packets;
	session->tx_packets += traffic->tx_packets;
}

static void take_ended(struct gateway *gateway, struct worker_event *event)
{
	struct session *session = session_table_find(&gateway->sessions, event->session);
	char why[WORKER_TEXT + 64];

	if (!session)
		return;
	add_traffic(session, &event->traffic);
	if (session->flow != event->flow)
		return;
	snprintf(why, sizeof(why), "%s%s%s, %lu bytes in, %lu out", reason_word(event->reason),
		 event->text[0] ? ": " : "", event->text, (unsigned long)session->rx_bytes,
		 (unsigned long)session->tx_bytes);
	if (event->keep) {
		send_away(gateway, session, event->reason, why);
		return;
	}
	log_info("session %lu %s ended: %s", (unsigned long)session->id, session_name(session),
		 why);
	gateway_close_session(gateway, session, event->reason);
}

static void take_transport(struct gateway *gateway, const struct worker_event *event)
{
	struct session *session = session_table_find(&gateway->sessions, event->session);

	if (!session || session->flow != event->flow)
		return;
	session->over_dtls = event->over_dtls;
	snprintf(session->data_cipher, sizeof(session->data_cipher), "%.*s",
		 (int)sizeof(session->data_cipher) - 1, event->text);
	log_info("session %lu %s: over %s", (unsigned long)session->id, session_name(session),
		 event->over_dtls ? "DTLS" : "TLS");
	gateway_tell_session(gateway, EVENT_SESSION_TRANSPORT, session, REASON_NONE,
			     event->over_dtls ? "DTLS" : "TLS");
}

static void take_mtu(struct gateway *gateway, const struct worker_event *event)
{
	struct session *session = session_table_find(&gateway->sessions, event->session);

	if (!session || session->flow != event->flow)
		return;
	session->mtu = event->mtu;
	log_info("session %lu %s: the path carries %u bytes", (unsigned long)session->id,
		 session_name(session), event->mtu);
}

static void take_carried(struct gateway *gateway, const struct worker_event *event)
{
	struct session *session = session_table_find(&gateway->sessions, event->session);

	if (session)
		add_traffic(session, &event->traffic);
}

static void take_report(struct worker_event *event)
{
	struct gateway_report *report = event->tag;

	if (crew_take_report(event))
		report->done(report, report->user);
}

static void on_worker_event(struct mailbox_message *message, void *owner)
{
	struct worker_event *event = (struct worker_event *)message;
	struct gateway *gateway = owner;

	switch (event->kind) {
	case WORKER_ATTACHED:
		break;
	case WORKER_TRANSPORT:
		take_transport(gateway, event);
		break;
	case WORKER_MTU:
		take_mtu(gateway, event);
		break;
	case WORKER_ENDED:
		take_ended(gateway, event);
		break;
	case WORKER_GUEST:
		crew_take_guest(gateway, event);
		break;
	case WORKER_MOVED:
		crew_take_moved(gateway, event);
		break;
	case WORKER_CARRIED:
		take_carried(gateway, event);
		break;
	case WORKER_WAS_CUT:
	case WORKER_HAS_RULES:
		if (event->tag)
			cut_acknowledge(event->tag);
		break;
	case WORKER_REPORTED:
		take_report(event);
		break;
	case WORKER_STOPPED:
		if (crew_take_stopped(gateway))
			gateway->stopped(gateway->stopped_user);
		break;
	}
	worker_event_free(event);
}

void gateway_ask_report(struct gateway *gateway, void (*done)(struct gateway_report *, void *),
			void *user)
{
	struct gateway_report *report = xnew(struct gateway_report);

	report->gateway = gateway;
	report->done = done;
	report->user = user;
	crew_report(gateway, report);
}

void gateway_report_free(struct gateway_report *report)
{
	if (!report)
		return;
	free(report->flows);
	free(report);
}

static int compare_session(const void *key, const void *flow)
{
	uint64_t wanted = *(const uint64_t *)key;
	uint64_t session = ((const struct worker_flow_report *)flow)->session;

	return wanted < session ? -1 : wanted > session;
}

const struct worker_flow_report *gateway_report_of(const struct gateway_report *report,
						   const struct session *session)
{
	const struct worker_flow_report *found = NULL;

	if (report->flow_count)
		found = bsearch(&session->id, report->flows, report->flow_count,
				sizeof(*report->flows), compare_session);
	return found && found->is_open && found->id == session->flow ? found : NULL;
}

/* ---- what handshake threads tell ---- */

/* A peer that refuses us does so for our certificate. */
static void remember_refusal(struct gateway *gateway, const struct handshake_event *event)
{
	const struct identity_cert *about = event->about ? event->about : event->cert;
	struct identity_cert *own = NULL;
	struct refusal refusal = {
		.at = clock_wall(),
		.by = event->by_peer ? REFUSAL_BY_PEER : REFUSAL_BY_US,
		.reason = event->reason,
		.peer = event->peer,
	};

	snprintf(refusal.id, sizeof(refusal.id), "%s", event->id);
	snprintf(refusal.text, sizeof(refusal.text), "%s", event->text);
	if (event->cert)
		snprintf(refusal.identity, sizeof(refusal.identity), "%s",
			 event->cert->identity.name);
	if (event->by_peer)
		about = own = identity_describe(gateway->options.leaf, NULL);
	if (about)
		refusal_set_certificate(&refusal, about, event->by_peer);
	identity_cert_unref(own);
	refusal_remember(&gateway->refusals, &refusal);
}

static void take_refusal(struct gateway *gateway, const struct handshake_event *event)
{
	gateway->counts.refused[event->reason]++;
	if (event->reason == REASON_NONE)
		return;
	remember_refusal(gateway, event);
	event_post(gateway->options.events,
		   &(struct event){
			   .kind = EVENT_HANDSHAKE_REFUSED,
			   .reason = event->reason,
			   .text = event->text,
			   .identity = event->cert ? event->cert->identity.name : NULL,
			   .serial = event->cert ? event->cert->serial : NULL,
			   .handshake_id = event->id,
			   .peer = &event->peer,
		   });
}

static void on_handshake_event(struct mailbox_message *message, void *owner)
{
	struct handshake_event *event = (struct handshake_event *)message;
	struct gateway *gateway = owner;

	/* Unanswered at the end: a CONNECT's connection goes with the event, another with its
	 * thread, or has gone already. */
	if (gateway->stopping && event->kind != HANDSHAKE_ENDED) {
		handshake_event_free(event);
		return;
	}
	switch (event->kind) {
	case HANDSHAKE_LOGIN:
		admission_login(gateway, event);
		break;
	case HANDSHAKE_CONNECT:
		admission_connect(gateway, event);
		break;
	case HANDSHAKE_ENDED:
		take_refusal(gateway, event);
		listener_forget(gateway, &event->peer);
		handshake_event_free(event);
		break;
	}
}

/* ---- start and stop ---- */

static void on_tick(uv_timer_t *timer)
{
	struct gateway *gateway = timer->data;

	give_up_late(gateway);
	revoke_expired(gateway);
	listener_tick(gateway);
	site_tick(gateway);
}

static void restore_leases(struct gateway *gateway, const struct store_state *state)
{
	for (size_t i = 0; i < state->lease_count; i++) {
		const struct store_lease *lease = &state->leases[i];

		lease_remember(gateway->leases, lease->key, &lease->v4, &lease->v6,
			       lease->used_at_s);
	}
}

/* A session that was there when the gateway ended: its owner may come back with the cookie. */
static void restore_session(struct gateway *gateway, const struct store_cookie *cookie,
			    const struct store_lease *held)
{
	int64_t left_s = cookie->expires_at_s - clock_wall();
	int64_t lifetime_s = gateway_cookie_lifetime_s(gateway);
	struct session *session;
	struct lease *lease;

	/* The families it had and no other: a stranger's client leaves when its addresses change.
	 */
	if (left_s <= 0 || !held ||
	    lease_take(gateway->leases, cookie->lease_key, held->v4.family != 0,
		       held->v6.family != 0, &lease) < 0)
		return;
	session = session_table_add(&gateway->sessions, &cookie->identity);
	session->lease = lease;
	gateway->sessions.open++;
	session_table_set_cookie(&gateway->sessions, session, cookie->hash);
	if (left_s > lifetime_s)
		left_s = lifetime_s;
	session_table_give_up_at(&gateway->sessions, session,
				 clock_now_us() + left_s * CLOCK_SECOND_US);
	session_enter(session, SESSION_AWAY, "the gateway was restarted");
}

static int compare_leases(const void *a, const void *b)
{
	return strcmp(((const struct store_lease *)a)->key, ((const struct store_lease *)b)->key);
}

/* leases: sorted. */
static const struct store_lease *find_lease(const struct store_state *state, const char *key)
{
	struct store_lease wanted;

	if (state->lease_count == 0)
		return NULL;
	snprintf(wanted.key, sizeof(wanted.key), "%s", key);
	return bsearch(&wanted, state->leases, state->lease_count, sizeof(wanted), compare_leases);
}

static void restore(struct gateway *gateway, struct store_state *state)
{
	restore_leases(gateway, state);
	if (state->lease_count)
		qsort(state->leases, state->lease_count, sizeof(*state->leases), compare_leases);
	for (size_t i = 0; i < state->cookie_count; i++)
		restore_session(gateway, &state->cookies[i],
				find_lease(state, state->cookies[i].lease_key));
	gateway->denied = take(state->denied);
	gateway->denied_count = state->denied_count;
	state->denied_count = 0;
	for (size_t i = 0; i < state->seen_count; i++)
		seen_remember(&gateway->seen, &state->seen[i]);
	revoke_load(gateway);
}

struct handshake_pool_options gateway_handshake_options(const struct gateway_options *options,
							struct mailbox *events)
{
	const struct config *config = options->config;

	return (struct handshake_pool_options){
		.threads = options->key_socket_count,
		.key_sockets = options->key_sockets,
		.spki = options->spki.data,
		.spki_len = options->spki.len,
		.key_generation = options->key_generation,
		.leaf = options->leaf,
		.chain = options->chain,
		.groups = config->crypto.groups,
		.hybrid = config->crypto.post_quantum != CONFIG_PQ_OFF,
		.timeout_us = config->limits.handshake_timeout_s * CLOCK_SECOND_US,
		.events = events,
	};
}

static int start_handshakes(struct gateway *gateway, char *error, size_t size)
{
	struct handshake_pool_options pool =
		gateway_handshake_options(&gateway->options, gateway->handshake_events);

	return handshake_pool_start(&pool, &gateway->handshakes, error, size);
}

void gateway_find_reserved(const struct gateway_options *options, struct prefix_list *reserved)
{
	site_reserve(options->config, reserved);
	for (size_t i = 0; i < options->listener_count; i++) {
		struct addr addr = addr_of_endpoint(&options->listeners[i].at);
		struct prefix host = prefix_host(&addr);

		prefix_list_add(reserved, &host);
	}
}

static int start_parts(struct gateway *gateway, char *error, size_t size)
{
	const struct config *config = gateway->config;
	struct store_state state = {0};
	struct prefix_list reserved = {0};
	int r;

	r = store_start(config->state_directory, gateway->options.loop,
			gateway->options.enter_store, &gateway->store, &state, error, size);
	if (r < 0)
		return r;
	r = gateway->options.enter_engine ? gateway->options.enter_engine() : 0;
	if (r < 0) {
		store_state_done(&state);
		snprintf(error, size, "cannot load the sandbox: %s", strerror(-r));
		return r;
	}
	gateway_find_reserved(&gateway->options, &reserved);
	gateway->leases = lease_pool_new(&config->gateway.pool, &reserved);
	prefix_list_done(&reserved);
	restore(gateway, &state);
	store_state_done(&state);
	r = crew_start(gateway);
	if (r < 0) {
		snprintf(error, size, "cannot start the workers: %s", strerror(-r));
		return r;
	}
	return start_handshakes(gateway, error, size);
}

int gateway_start(const struct gateway_options *options, struct gateway **ret, char *error,
		  size_t size)
{
	struct gateway *gateway = xnew(struct gateway);
	int r;

	gateway->options = *options;
	gateway->config = options->config;
	gateway->trust = trust_ref(options->trust);
	gateway->started_at = clock_wall();
	gateway->worker_events = mailbox_new(options->loop, on_worker_event, gateway);
	gateway->handshake_events = mailbox_new(options->loop, on_handshake_event, gateway);
	r = start_parts(gateway, error, size);
	if (r < 0)
		return r; /* the process ends: nothing is taken apart */
	listener_start(gateway);
	site_start(gateway);
	uv_timer_init(options->loop, &gateway->tick);
	gateway->tick.data = gateway;
	uv_timer_start(&gateway->tick, on_tick, TICK_MS, TICK_MS);
	*ret = gateway;
	return 0;
}

void gateway_stop(struct gateway *gateway, void (*stopped)(void *user), void *user)
{
	gateway->stopping = true;
	gateway->stopped = stopped;
	gateway->stopped_user = user;
	listener_stop(gateway);
	site_stop(gateway);
	gateway_reload_stop(gateway);
	uv_close((uv_handle_t *)&gateway->tick, NULL);
	crew_stop(gateway);
}

void gateway_free(struct gateway *gateway)
{
	if (!gateway)
		return;
	crew_free(gateway);
	handshake_pool_stop(gateway->handshakes);
	mailbox_free(gateway->worker_events);
	mailbox_free(gateway->handshake_events);
	store_stop(gateway->store);
	session_table_done(&gateway->sessions);
	site_done(gateway);
	lease_pool_free(gateway->leases);
	trust_unref(gateway->trust);
	free(gateway->denied);
	seen_done(&gateway->seen);
	refusal_done(&gateway->refusals);
	free(gateway);
}
