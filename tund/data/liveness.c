/* Dead peer detection, keepalives, handshake retransmission, path MTU, idle and drain time-outs.
 *
 * Each channel has its own clock. TLS: nothing heard for dpd, a probe, repeated every dpd/2; more
 * than two dpd (a gateway: three) and the channel is dead, which ends the flow. DTLS: a client
 * probes twice a second while something is carried, else every dpd, and takes a second and a half
 * (two dpd) without an answer for a blocked path: data moves to TLS, the old association is probed
 * on and a new one is tried, until one answers. An answer counts, data does not: a path may be
 * blocked one way. A gateway follows its client's data (inbound.c) and gives DTLS up by itself only
 * when nothing is heard for two dpd. On both channels it leaves to a tund's own probes what they
 * cause in time, and asks, or says that it is there, a quarter later: so an idle channel costs one
 * exchange a dpd.
 *
 * Only flows that are awake are looked at each tick: those that carried something since the last
 * one, or are about to change. Of the others it is known when the next of all this is due; until
 * then they cost nothing, and ten thousand may be quiet at once. */
#include "data/liveness.h"

#include <string.h>

#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "data/move.h"
#include "data/outbound.h"

enum {
	TLS_DEAD_CLIENT = 2, /* dpd periods */
	TLS_DEAD_GATEWAY = 3,
	ACTIVE_US = 5 * 1000000, /* "something is carried": within this time */
	ACTIVE_PROBE_US = 500000,
	ACTIVE_REPEAT_US = 250000,
	ACTIVE_DEAD_US =
		1500000, /* before an inner TCP's fourth retransmission, at three seconds */
	ACTIVE_DEAD_RTTS = 4,
	DEAD_PROBES = 4,
	DEAD_REPEAT_US = 2 * 1000000, /* probing a path that was given up */
	DTLS_RETRY_US = 5 * 1000000,  /* between tunds */
	DTLS_RETRY_STRANGER_US = 60 * 1000000,
	CANDIDATE_US = 4500000, /* a client's handshake may take; a stranger's gateway 12 s */
	CANDIDATE_STRANGER_US = 12 * 1000000,
	RETIRED_US = 3 * 1000000, /* an older association still receives */
	PROBE_TIMEOUT_US = 200000,
	PROBE_TRIES = 3,
	PROBE_STEP = 8, /* bytes: close enough */
	MTU_LEAST_V6 = 1280,
	MTU_LEAST_V4 = 576,
	LIVENESS_MTU_MAX = 9216,
};

static void move_data(struct worker *worker, struct flow *flow, bool over_dtls);

static int64_t min_us(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max_us(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* ---- whose turn it is to ask ---- */

/* A tund's client asks by itself every dpd on each channel, and is answered: to do the same at the
 * same time would nearly double what ten thousand quiet ones cost. */
static int64_t gateway_patience_us(const struct flow *flow)
{
	return flow->spec.dpd_us + (flow->spec.peer_is_tund ? flow->spec.dpd_us / 4 : 0);
}

/* What a client's probes cause is sign enough, where they come no later. */
static int64_t keepalive_after_us(const struct flow *flow)
{
	bool asked = flow->spec.dpd_us && flow->spec.dpd_us <= flow->spec.keepalive_us;

	return asked ? max_us(flow->spec.keepalive_us, gateway_patience_us(flow))
		     : flow->spec.keepalive_us;
}

/* ---- path MTU ---- */

static unsigned least_mtu(const struct flow *flow)
{
	for (size_t i = 0; i < flow->spec.own.count; i++) {
		if (flow->spec.own.items[i].addr.family == 6)
			return MTU_LEAST_V6;
	}
	return MTU_LEAST_V4;
}

static void send_mtu_probe(struct worker *worker, struct flow *flow, int64_t now_us)
{
	struct flow_mtu_probe *probe = &flow->probe;
	uint8_t padding[LIVENESS_MTU_MAX] = {0};

	memcpy(padding, &probe->mark, sizeof(probe->mark));
	probe->sent_us = now_us;
	probe->tries++;
	outbound_frame(worker, flow, OUTBOUND_DTLS, CSTP_DPD_REQUEST, padding, probe->size);
}

static void settle_mtu(struct worker *worker, struct flow *flow, unsigned mtu)
{
	flow->probe.size = 0;
	if (mtu == flow->mtu)
		return;
	flow->mtu = mtu;
	worker_tell_mtu(worker, flow);
}

/* IPv6 inside needs 1280 bytes, and TLS carries any: no DTLS until the next channel. */
static void leave_dtls(struct worker *worker, struct flow *flow)
{
	log_info("%s: the path is too small for IPv6 in DTLS", flow->spec.name);
	flow->probe.size = 0;
	flow->spec.has_dtls = false;
	move_data(worker, flow, false);
	batch_flush(&worker->batch); /* it may hold records of the association */
	flow_drop_assoc(&worker->table, flow->active);
}

static void end_mtu_search(struct worker *worker, struct flow *flow)
{
	struct flow_mtu_probe *probe = &flow->probe;

	if (probe->low >= least_mtu(flow) && (probe->answered || !worker->options.is_client))
		settle_mtu(worker, flow, probe->low);
	else if (!probe->answered && !flow->spec.peer_is_tund)
		probe->size = 0; /* it echoes no padding: what it said stands */
	else if (least_mtu(flow) == MTU_LEAST_V6)
		leave_dtls(worker, flow);
	else
		settle_mtu(worker, flow, MTU_LEAST_V4);
}

/* Halves what is left between what passes and what does not. */
static void next_mtu_size(struct worker *worker, struct flow *flow, int64_t now_us)
{
	struct flow_mtu_probe *probe = &flow->probe;
	bool decided = probe->answered || flow->spec.peer_is_tund;

	if (probe->high < probe->low + PROBE_STEP || (decided && probe->high < least_mtu(flow))) {
		end_mtu_search(worker, flow);
		return;
	}
	probe->size = probe->low + (probe->high - probe->low + 1) / 2;
	probe->tries = 0;
	send_mtu_probe(worker, flow, now_us);
}

/* A gateway asks tunds alone: openconnect echoes nothing. A client asks every gateway. */
static bool may_ask_mtu(const struct worker *worker, const struct flow *flow)
{
	return flow->spec.mtu <= LIVENESS_MTU_MAX &&
	       (flow->spec.peer_is_tund || worker->options.is_client);
}

void liveness_start_mtu_probe(struct worker *worker, struct flow *flow)
{
	if (!may_ask_mtu(worker, flow))
		return;
	flow->probe = (struct flow_mtu_probe){
		.size = flow->spec.mtu,
		.low = worker->options.is_client ? (unsigned)MTU_LEAST_V4 : least_mtu(flow),
		.high = flow->spec.mtu,
		.mark = (uint32_t)clock_now_us(),
	};
	send_mtu_probe(worker, flow, clock_now_us());
}

void liveness_path_shrank(struct worker *worker, struct flow *flow)
{
	unsigned least = least_mtu(flow), smaller = flow->mtu - flow->mtu / 16;

	if (flow->probe.size)
		return;
	if (may_ask_mtu(worker, flow))
		liveness_start_mtu_probe(worker, flow);
	else
		settle_mtu(worker, flow, smaller > least ? smaller : least);
}

/* The mark is the search's: a late echo of a larger size counts as well. */
static void take_mtu_answer(struct worker *worker, struct flow *flow, const uint8_t *payload,
			    size_t len)
{
	struct flow_mtu_probe *probe = &flow->probe;

	if (probe->size == 0 || len <= probe->low || len > flow->spec.mtu ||
	    memcmp(payload, &probe->mark, sizeof(probe->mark)) != 0)
		return;
	probe->answered = true;
	probe->low = (unsigned)len;
	if (probe->high < probe->low)
		probe->high = probe->low;
	if (probe->low == probe->high)
		settle_mtu(worker, flow, probe->low);
	else if (probe->low >= probe->size)
		next_mtu_size(worker, flow, clock_now_us());
}

static int64_t probe_timeout_us(const struct flow *flow)
{
	int64_t slow_us = 2 * flow->udp.rtt_us;

	return slow_us > PROBE_TIMEOUT_US ? slow_us : PROBE_TIMEOUT_US;
}

static void tick_mtu_probe(struct worker *worker, struct flow *flow, int64_t now_us)
{
	struct flow_mtu_probe *probe = &flow->probe;

	if (probe->size == 0 || !flow->active || now_us - probe->sent_us < probe_timeout_us(flow))
		return;
	if (flow->udp_dead) {
		probe->size = 0;
		return;
	}
	if (probe->tries < PROBE_TRIES) {
		send_mtu_probe(worker, flow, now_us);
		return;
	}
	probe->high = probe->size - 1;
	next_mtu_size(worker, flow, now_us);
}

/* ---- DTLS ---- */

static void move_data(struct worker *worker, struct flow *flow, bool over_dtls)
{
	if (flow->over_dtls == over_dtls)
		return;
	flow->over_dtls = over_dtls;
	worker_tell_transport(worker, flow);
	/* The gateway follows data; an empty packet is the least of it. */
	if (worker->options.is_client && flow->spec.peer_is_tund)
		outbound_frame(worker, flow, over_dtls ? OUTBOUND_DTLS : OUTBOUND_TLS, CSTP_DATA,
			       NULL, 0);
}

void liveness_heard_udp(struct worker *worker, struct flow *flow)
{
	flow->udp.heard_us = worker->now_us;
	if (!worker->options.is_client)
		flow->udp.unanswered = 0;
}

void liveness_take_answer(struct worker *worker, struct flow *flow, const uint8_t *payload,
			  size_t len)
{
	if (flow->udp.unanswered == 1) { /* else it may answer an earlier one */
		int64_t sample_us = clock_now_us() - flow->udp.probed_us;

		flow->udp.rtt_us += (sample_us - flow->udp.rtt_us) / (flow->udp.rtt_us ? 8 : 1);
	}
	flow->udp.unanswered = 0;
	flow->udp_dead = false;
	if (worker->options.is_client)
		move_data(worker, flow, true);
	take_mtu_answer(worker, flow, payload, len);
}

static void probe_udp(struct worker *worker, struct flow *flow, int64_t now_us)
{
	if (flow->udp.unanswered++ == 0)
		flow->udp.asking_us = now_us;
	flow->udp.probed_us = now_us;
	outbound_frame(worker, flow, OUTBOUND_DTLS, CSTP_DPD_REQUEST, NULL, 0);
}

/* A slow path's answers are given more time. */
static int64_t active_dead_us(const struct flow *flow)
{
	int64_t slow_us = ACTIVE_DEAD_RTTS * flow->udp.rtt_us;

	return min_us(slow_us > ACTIVE_DEAD_US ? slow_us : ACTIVE_DEAD_US, 2 * flow->spec.dpd_us);
}

static void tick_udp_client(struct worker *worker, struct flow *flow, int64_t now_us)
{
	bool active = now_us - flow->carried_us < ACTIVE_US;
	int64_t dpd = flow->spec.dpd_us;
	int64_t every = active ? min_us(ACTIVE_PROBE_US, dpd) : dpd;
	int64_t repeat = active ? min_us(ACTIVE_REPEAT_US, dpd / 2) : dpd / 2;
	int64_t dead = active ? active_dead_us(flow) : 2 * dpd;
	int64_t probed = now_us - flow->udp.probed_us;

	if (flow->udp_dead) {
		if (probed >= DEAD_REPEAT_US)
			probe_udp(worker, flow, now_us);
		return;
	}
	if (flow->udp.unanswered == 0) {
		if (probed >= every)
			probe_udp(worker, flow, now_us);
		return;
	}
	if (now_us - flow->udp.asking_us >= dead && flow->udp.unanswered >= DEAD_PROBES) {
		flow->udp_dead = true;
		flow->next_dtls_us = now_us;
		move_data(worker, flow, false);
	} else if (probed >= repeat) {
		probe_udp(worker, flow, now_us);
	}
}

static void tick_udp_gateway(struct worker *worker, struct flow *flow, int64_t now_us)
{
	int64_t dpd = flow->spec.dpd_us, silent = now_us - flow->udp.heard_us;

	if (silent > 2 * dpd) {
		if (flow->over_dtls) {
			flow->over_dtls = false;
			worker_tell_transport(worker, flow);
		}
		return;
	}
	if (silent >= gateway_patience_us(flow) && now_us - flow->udp.probed_us >= dpd / 2)
		probe_udp(worker, flow, now_us);
}

static void tick_udp(struct worker *worker, struct flow *flow, int64_t now_us)
{
	if (!flow->active)
		return;
	if (flow->spec.dpd_us && worker->options.is_client)
		tick_udp_client(worker, flow, now_us);
	else if (flow->spec.dpd_us)
		tick_udp_gateway(worker, flow, now_us);
	if (flow->spec.keepalive_us && now_us - flow->udp.sent_us >= keepalive_after_us(flow))
		outbound_frame(worker, flow, OUTBOUND_DTLS, CSTP_KEEPALIVE, NULL, 0);
}

static bool wants_association(const struct worker *worker, const struct flow *flow, int64_t now_us)
{
	if (!worker->options.is_client || worker->options.transport == CONFIG_TRANSPORT_TCP ||
	    !flow->spec.has_dtls || flow->candidate || now_us < flow->next_dtls_us)
		return false;
	return !flow->active || flow->udp_dead ||
	       flow->active->dtls->sealed + flow->active->dtls->opened > DTLS_REKEY_RECORDS;
}

static struct worker_socket *socket_of_family(struct worker *worker, unsigned family)
{
	for (size_t i = 0; i < worker->options.socket_count; i++) {
		if (worker->sockets[i].family == family)
			return &worker->sockets[i];
	}
	return NULL;
}

static void try_association(struct worker *worker, struct flow *flow, int64_t now_us)
{
	struct addr peer = addr_of_endpoint(&flow->spec.path.peer);
	struct worker_socket *socket = socket_of_family(worker, peer.family);
	struct flow_assoc *candidate;

	flow->next_dtls_us = now_us + (flow->spec.peer_is_tund ? (int64_t)DTLS_RETRY_US
							       : (int64_t)DTLS_RETRY_STRANGER_US);
	if (!socket)
		return;
	candidate = flow_add_candidate(&worker->table, flow, &worker->dtls, false, false,
				       &flow->spec.path, socket->index, &worker->batch,
				       &socket->out, now_us);
	if (candidate)
		dtls_handshake(candidate->dtls, NULL, 0);
}

static void tick_candidate(struct worker *worker, struct flow *flow, int64_t now_us)
{
	int64_t patience = worker->options.is_client && flow->spec.peer_is_tund
				   ? (int64_t)CANDIDATE_US
				   : (int64_t)CANDIDATE_STRANGER_US;

	if (wants_association(worker, flow, now_us))
		try_association(worker, flow, now_us);
	if (!flow->candidate)
		return;
	dtls_tick(flow->candidate->dtls);
	if (flow->candidate->dtls->state == DTLS_FAILED ||
	    now_us - flow->candidate->started_us > patience)
		flow_drop_assoc(&worker->table, flow->candidate);
}

/* A gateway cannot ask for a new association: it lets the channel go, and the client comes back
 * with its cookie, new keys and the same addresses. A tund renews long before. False when the flow
 * is gone. */
static bool tick_key_age(struct worker *worker, struct flow *flow)
{
	const struct dtls *dtls = flow->active ? flow->active->dtls : NULL;

	if (worker->options.is_client || !dtls ||
	    (dtls->sealed < DTLS_RECORDS_MAX && dtls->opened < DTLS_RECORDS_MAX))
		return true;
	worker_end_flow(worker, flow, REASON_NONE, true, NULL,
			"its keys have served their number of records");
	return false;
}

/* ---- TLS ---- */

/* False when the flow is gone. */
static bool tick_tls(struct worker *worker, struct flow *flow, int64_t now_us)
{
	int64_t dpd = flow->spec.dpd_us, silent = now_us - flow->tcp.heard_us;
	bool is_client = worker->options.is_client;
	int periods = is_client ? TLS_DEAD_CLIENT : TLS_DEAD_GATEWAY;
	int64_t patience = is_client ? dpd : gateway_patience_us(flow);

	if (dpd && silent > periods * dpd) {
		worker_end_flow(worker, flow, REASON_PEER_TIMEOUT, true, NULL,
				"nothing was heard on TLS");
		return false;
	}
	if (dpd && silent >= patience && now_us - flow->tcp.probed_us >= dpd / 2) {
		flow->tcp.probed_us = now_us;
		outbound_frame(worker, flow, OUTBOUND_TLS, CSTP_DPD_REQUEST, NULL, 0);
	}
	if (flow->spec.keepalive_us && now_us - flow->tcp.sent_us >= keepalive_after_us(flow))
		outbound_frame(worker, flow, OUTBOUND_TLS, CSTP_KEEPALIVE, NULL, 0);
	return true;
}

/* False when the flow is gone. */
static bool tick_flow(struct worker *worker, struct flow *flow, int64_t now_us)
{
	flow_drop_retired(&worker->table, flow, now_us - RETIRED_US);
	if (flow->state == FLOW_GUEST) {
		tick_candidate(worker, flow, now_us);
		return move_tick_guest(worker, flow, now_us);
	}
	if (flow->state == FLOW_DRAINING) {
		if (now_us < flow->drain_until_us)
			return true;
		worker_end_flow(worker, flow, REASON_REPLACED, true, NULL, "");
		return false;
	}
	if (flow->spec.idle_us && now_us - flow->carried_us > flow->spec.idle_us) {
		worker_end_flow(worker, flow, REASON_IDLE_TIMEOUT, false,
				"idle-timeout: nothing was carried for a while", "");
		return false;
	}
	if (!tick_key_age(worker, flow))
		return false;
	tick_candidate(worker, flow, now_us);
	tick_udp(worker, flow, now_us);
	tick_mtu_probe(worker, flow, now_us);
	return tick_tls(worker, flow, now_us);
}

/* ---- awake and asleep ---- */

/* What has deadlines closer than a peer's silence. A client has one flow, or two: it may stay awake.
 */
static bool is_restless(const struct worker *worker, const struct flow *flow)
{
	return worker->options.is_client || flow->touched || flow->candidate || flow->older ||
	       flow->probe.size || flow->state != FLOW_OPEN;
}

/* When the next probe of a channel is due. */
static int64_t probe_due_us(const struct flow_pulse *pulse, int64_t patience_us, int64_t dpd)
{
	return max_us(pulse->heard_us + patience_us, pulse->probed_us + dpd / 2);
}

static int64_t tls_due_us(const struct flow *flow)
{
	int64_t dpd = flow->spec.dpd_us, due = INT64_MAX;

	if (dpd)
		due = min_us(probe_due_us(&flow->tcp, gateway_patience_us(flow), dpd),
			     flow->tcp.heard_us + TLS_DEAD_GATEWAY * dpd + 1);
	if (flow->spec.keepalive_us)
		due = min_us(due, flow->tcp.sent_us + keepalive_after_us(flow));
	return due;
}

/* A path that was given up is asked no more. */
static int64_t udp_due_us(const struct flow *flow, int64_t now_us)
{
	int64_t dpd = flow->spec.dpd_us, due = INT64_MAX, dead_us;

	if (!flow->active)
		return INT64_MAX;
	dead_us = flow->udp.heard_us + 2 * dpd + 1;
	if (dpd && now_us < dead_us)
		due = min_us(probe_due_us(&flow->udp, gateway_patience_us(flow), dpd), dead_us);
	if (flow->spec.keepalive_us)
		due = min_us(due, flow->udp.sent_us + keepalive_after_us(flow));
	return due;
}

/* When tick_flow has something to do again, if nothing happens until then. */
static int64_t due_us(const struct flow *flow, int64_t now_us)
{
	int64_t due = min_us(tls_due_us(flow), udp_due_us(flow, now_us));

	if (flow->spec.idle_us)
		due = min_us(due, flow->carried_us + flow->spec.idle_us + 1);
	return due;
}

static void look_at(struct worker *worker, struct flow *flow, int64_t now_us)
{
	if (!tick_flow(worker, flow, now_us))
		return;
	if (is_restless(worker, flow))
		flow->touched = false;
	else
		flow_sleep(&worker->table, flow, due_us(flow, now_us));
}

void liveness_tick_flow(struct worker *worker, struct flow *flow)
{
	tick_flow(worker, flow, clock_now_us());
	worker_flush(worker);
}

void liveness_tick(struct worker *worker)
{
	int64_t now_us = clock_now_us();
	struct flow *flow, *next;

	while (flow_wake_due(&worker->table, now_us))
		;
	DL_FOREACH_SAFE2(worker->table.awake, flow, next, next_awake)
	look_at(worker, flow, now_us);
	worker_flush(worker);
}
