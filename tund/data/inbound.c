/* A packet in, from a peer to this host:
 *
 *	1  inbound_udp     a batch of datagrams; GRO has joined those of one peer
 *	2  take_datagram   what shakes hands waits in the backlog until packets have been served:
 *	                   a hello opens a candidate (inbound_shake_hands); else the associations
 *	                   of the path it came by
 *	3  open_record     the record filter, then authenticate and decrypt
 *	4  take_frame      data, probe, answer, keepalive, disconnect (inbound_tls joins here)
 *	5  deliver         what may travel at all; inner source must be the flow's own; access rules;
 *	                   MSS of a SYN
 *	6  offload_join    neighbours of one stream become one packet; worker_flush writes it
 *
 * Functions stand the other way round, each behind those that it calls. */
#include "data/inbound.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "data/liveness.h"
#include "data/move.h"
#include "data/outbound.h"
#include "wire/ip_check.h"

enum {
	WAITING_BYTES = 1024 * 1024, /* in a socket, before a stream is told to be slower */
	CROWD = 4,		     /* runs at once: there may be more */
	STREAM_PIECES = 16,	     /* neighbours: then it is one of those that fill the socket */
	RECORDS_PER_RUN = 256,
	BATCHES_PER_RUN = 8,	 /* of datagrams that only shake hands */
	HELLO_PER_SECOND = 20,	 /* of one flow: candidates it may open; of one of them: repeats */
	HELLO_VERIFY_FROM = 200, /* hellos a second beyond which "auto" verifies addresses first */
	CANDIDATE_GRACE_US =
		1000000, /* a young candidate is not pushed out by another path's hello */
};

static const enum count drop_of_record[] = {
	[DTLS_RECORD_SHORT] = COUNT_DROP_RECORD_SHORT,
	[DTLS_RECORD_TYPE] = COUNT_DROP_RECORD_TYPE,
	[DTLS_RECORD_VERSION] = COUNT_DROP_RECORD_VERSION,
	[DTLS_RECORD_EPOCH] = COUNT_DROP_RECORD_EPOCH,
	[DTLS_RECORD_LENGTH] = COUNT_DROP_RECORD_LENGTH,
	[DTLS_RECORD_REPLAY] = COUNT_DROP_RECORD_REPLAY,
};

/* ---- 5, 6: a packet out of its tunnel ---- */

/* COUNT_MAX when it may pass. */
static enum count may_enter(const struct worker *worker, const struct flow *flow,
			    const uint8_t *packet, const struct ip_view *view)
{
	bool from_ours = flow_owns(flow, view->family, view->source);

	/* A client's own are at this end: what comes is for them, and not from them. */
	if (worker->options.is_client &&
	    (from_ours || !flow_owns(flow, view->family, view->destination)))
		return COUNT_DROP_SOURCE;
	if (!worker->options.is_client && !from_ours)
		return COUNT_DROP_SOURCE;
	if (!access_allows(flow->spec.access, ACCESS_IN, &flow->spec.own, packet, view))
		return COUNT_DROP_ACCESS;
	return COUNT_MAX;
}

/* So that the program on the device fails at once instead of waiting. */
static void answer_prohibited(struct worker *worker, struct flow *flow, const uint8_t *packet,
			      const struct ip_view *view)
{
	uint8_t room[OFFLOAD_HEADROOM + IP_TOO_BIG_MAX];
	size_t len = ip_write_prohibited(packet, view, view->destination, room + OFFLOAD_HEADROOM);

	if (len && rate_allow(&flow->error_rate, 100, worker->now_us))
		outbound_packet(worker, flow, room + OFFLOAD_HEADROOM, len);
}

void inbound_flush(struct worker *worker)
{
	struct tun_header header;

	if (!offload_join_finish(&worker->join, &header))
		return;
	if (header.gso_type != TUN_GSO_NONE)
		worker->counts.of[COUNT_TUN_SUPER_TX]++;
	worker->counts.of[COUNT_TUN_WRITES]++;
	if (tun_write(worker->options.tun_fd, &header, worker->join.packet, worker->join.len) < 0)
		worker->counts.of[COUNT_DROP_TUN_FULL] += worker->join.pieces;
	worker->join.len = 0;
}

/* A stream's next packet: what could be asked about it has been asked of the first in the join. */
static bool continue_join(struct worker *worker, struct flow *flow, const uint8_t *packet,
			  size_t len)
{
	if (worker->joining != flow)
		return false;
	if (worker->lose_next && worker->join.pieces >= STREAM_PIECES &&
	    worker->join.protocol == IP_PROTO_TCP &&
	    offload_join_fits(&worker->join, packet, len)) {
		worker->lose_next = false;
		worker->lost_us = worker->now_us;
		flow_count_drop(flow, &worker->counts, COUNT_DROP_CONGESTED);
		return true;
	}
	if (!offload_join_extend(&worker->join, packet, len))
		return false;
	flow->traffic.rx_packets++;
	flow->traffic.rx_bytes += len;
	return true;
}

static void deliver(struct worker *worker, struct flow *flow, uint8_t *packet, size_t len)
{
	enum count refused;
	struct ip_view view;

	if (continue_join(worker, flow, packet, len))
		return;
	refused = count_of_ip(ip_check(packet, len, &view));
	if (refused == COUNT_MAX)
		refused = may_enter(worker, flow, packet, &view);
	if (refused != COUNT_MAX) {
		flow_count_drop(flow, &worker->counts, refused);
		if (refused == COUNT_DROP_ACCESS)
			answer_prohibited(worker, flow, packet, &view);
		if (refused == COUNT_DROP_SOURCE && !worker->options.is_client)
			worker_name_foreign(worker, flow, &view);
		return;
	}
	if (ip_clamp_mss(packet, &view, flow->mtu, false))
		worker->counts.of[COUNT_MSS_CLAMPED]++;
	flow->traffic.rx_packets++;
	flow->traffic.rx_bytes += len;
	inbound_flush(worker);
	offload_join_add(&worker->join, worker->options.tun_offloads, packet, len);
	worker->joining = flow;
}

/* ---- 4: a frame ---- */

/* The server follows its client: data goes out on the channel by which the latest came in. */
static void follow_peer(struct worker *worker, struct flow *flow, bool over_dtls)
{
	if (worker->options.is_client || flow->over_dtls == over_dtls || flow->state != FLOW_OPEN)
		return;
	flow->over_dtls = over_dtls;
	worker_tell_transport(worker, flow);
}

static enum reason reason_of_bye(const char *text)
{
	char word[40];
	enum reason reason;
	size_t len = strcspn(text, ": ");

	if (len >= sizeof(word))
		return REASON_DISCONNECTED;
	memcpy(word, text, len);
	word[len] = '\0';
	return reason_parse(word, &reason) ? reason : REASON_DISCONNECTED;
}

/* DISCONNECT: 0xb0 and 0x70 end the session; an empty one, 0x91 and others keep it for a while.
 * What a gateway sends ends it for a client. */
static void take_bye(struct worker *worker, struct flow *flow, const uint8_t *payload, size_t len)
{
	char text[CSTP_TEXT_MAX];
	bool over = worker->options.is_client ||
		    (len && (payload[0] == CSTP_BYE_USER || payload[0] == CSTP_BYE_LOCAL_ERROR));

	log_escape(len ? (const char *)payload + 1 : "", len ? len - 1 : 0, text, sizeof(text));
	worker_end_flow(worker, flow,
			worker->options.is_client ? reason_of_bye(text) : REASON_DISCONNECTED,
			!over, NULL, text);
}

/* On TLS alone; false when the flow is gone. */
static bool take_end(struct worker *worker, struct flow *flow, const struct cstp_frame *frame)
{
	if (frame->type == CSTP_DISCONNECT ||
	    (frame->type == CSTP_TERMINATE && worker->options.is_client)) {
		take_bye(worker, flow, frame->payload, frame->len);
		return false;
	}
	if (frame->type == CSTP_COMPRESSED) {
		worker_end_flow(worker, flow, REASON_PROTOCOL_ERROR, false,
				"compressed packets were not agreed on",
				"sent a compressed packet");
		return false;
	}
	return true;
}

/* False when the flow is gone. */
static bool take_frame(struct worker *worker, struct flow *flow, enum outbound_channel channel,
		       const struct cstp_frame *frame)
{
	bool over_dtls = channel == OUTBOUND_DTLS;

	switch (frame->type) {
	case CSTP_DATA:
		follow_peer(worker, flow, over_dtls);
		if (frame->len == 0) /* a tund that has changed its channel says so */
			return true;
		flow->carried_us = worker->now_us;
		deliver(worker, flow, (uint8_t *)frame->payload, frame->len);
		return true;
	case CSTP_DPD_REQUEST:
		outbound_frame(worker, flow, channel, CSTP_DPD_RESPONSE, frame->payload,
			       frame->len);
		return true;
	case CSTP_DPD_RESPONSE:
		if (over_dtls) {
			follow_peer(worker, flow, true);
			liveness_take_answer(worker, flow, frame->payload, frame->len);
		}
		return true;
	case CSTP_KEEPALIVE:
		return true;
	case CSTP_DISCONNECT:
	case CSTP_TERMINATE:
	case CSTP_COMPRESSED:
		if (!over_dtls)
			return take_end(worker, flow, frame);
		break;
	default:
		break;
	}
	flow_count_drop(flow, &worker->counts, COUNT_DROP_FRAME);
	return true;
}

/* ---- 3: a record ---- */

static void take_plain(struct worker *worker, struct flow_assoc *assoc, uint8_t *plain, size_t len)
{
	struct flow *flow = assoc->flow;
	struct cstp_frame frame;

	assoc->heard_us = worker->now_us;
	flow_touch(&worker->table, flow);
	if (assoc == flow->active)
		liveness_heard_udp(worker, flow);
	if (!cstp_read_datagram(plain, len, &frame)) {
		flow_count_drop(flow, &worker->counts, COUNT_DROP_FRAME);
		return;
	}
	take_frame(worker, flow, OUTBOUND_DTLS, &frame);
}

/* Tries an association; DTLS_RECORD_OK when the datagram was its own. */
static enum count open_record(struct worker *worker, struct flow_assoc *assoc,
			      const uint8_t *datagram, size_t len)
{
	struct dtls *dtls = assoc->dtls;
	struct dtls_record record;
	enum dtls_record_error error;
	size_t plain_len;

	error = dtls_record_check(datagram, len, dtls->aead_min, &dtls->window, &record);
	if (error)
		return drop_of_record[error];
	if (record.type == DTLS_TYPE_DATA && dtls->state != DTLS_OPEN)
		return COUNT_DROP_RECORD_EPOCH;
	switch (dtls_open(dtls, datagram, len, &record, worker->plain, CSTP_RECORD_MAX,
			  &plain_len)) {
	case DTLS_OPENED_RECORD:
		take_plain(worker, assoc, worker->plain, plain_len);
		return COUNT_MAX;
	case DTLS_OPENED_FORGED: /* a flight that was repeated needlessly is in epoch 0 too */
		return record.epoch == 0 ? COUNT_DROP_RECORD_EPOCH : COUNT_DROP_RECORD_FORGED;
	case DTLS_OPENED_NONE:
	case DTLS_OPENED_CLOSED: /* TLS is where a session ends */
		break;
	}
	return COUNT_MAX;
}

/* ---- 2: a datagram ---- */

static void finish_candidate(struct worker *worker, struct flow *flow)
{
	int64_t now_us = worker->now_us;

	if (flow->candidate->dtls->state == DTLS_FAILED) {
		flow_drop_assoc(&worker->table, flow->candidate);
		return;
	}
	if (flow->candidate->dtls->state != DTLS_OPEN)
		return;
	flow_drop_retired(&worker->table, flow, now_us);
	flow_promote(flow, now_us);
	worker->counts.of[COUNT_DTLS_ASSOCIATIONS]++;
	flow->over_dtls = true;
	if (flow->state == FLOW_GUEST) {
		move_ask(worker, flow);
		return;
	}
	worker_tell_transport(worker, flow);
	liveness_start_mtu_probe(worker, flow);
}

static void continue_handshake(struct worker *worker, struct flow_assoc *assoc,
			       const uint8_t *datagram, size_t len)
{
	assoc->heard_us = worker->now_us;
	dtls_handshake(assoc->dtls, datagram, len);
	finish_candidate(worker, assoc->flow);
}

static bool wants_verified_hello(struct worker *worker, int64_t now_us)
{
	switch (worker->options.hello_verify) {
	case CONFIG_HELLO_ON:
		return true;
	case CONFIG_HELLO_OFF:
		return false;
	case CONFIG_HELLO_AUTO:
		break;
	}
	return !rate_allow(&worker->hello_rate, HELLO_VERIFY_FROM, now_us);
}

static bool is_path_of(const struct flow_assoc *assoc, const struct udp_path *path)
{
	return addr_endpoint_equal(&assoc->path.peer, &path->peer) &&
	       addr_equal(&assoc->path.local, &path->local);
}

/* A hello: for the candidate that it repeats or continues, or for a new one. */
static void take_hello(struct worker *worker, struct worker_socket *socket,
		       const struct udp_path *path, const uint8_t *app_id, const uint8_t *datagram,
		       size_t len)
{
	int64_t now_us = worker->now_us;
	struct flow *flow = flow_for_hello(&worker->table, app_id, now_us);
	struct flow_assoc *candidate;

	if (!flow || !flow->spec.has_dtls) {
		worker->counts.of[COUNT_DROP_UNKNOWN_APP_ID]++;
		return;
	}
	candidate = flow->candidate;
	if (candidate && is_path_of(candidate, path)) {
		/* Each may be answered with a whole flight, and its sender's address be another's. */
		if (rate_allow(&candidate->hello_rate, HELLO_PER_SECOND, now_us))
			continue_handshake(worker, candidate, datagram, len);
		else
			flow_count_drop(flow, &worker->counts, COUNT_DROP_HELLO_RATE);
		return;
	}
	if ((candidate && !candidate->dtls->listening &&
	     now_us - candidate->started_us < CANDIDATE_GRACE_US) ||
	    !rate_allow(&flow->hello_rate, HELLO_PER_SECOND, now_us)) {
		/* Somebody may be replaying its hello: from now on an address has to answer first.
		 */
		flow->contested = true;
		flow_count_drop(flow, &worker->counts, COUNT_DROP_HELLO_RATE);
		return;
	}
	candidate = flow_add_candidate(&worker->table, flow, &worker->dtls, true,
				       flow->contested || wants_verified_hello(worker, now_us),
				       path, socket->index, &worker->batch, &socket->out, now_us);
	if (candidate)
		continue_handshake(worker, candidate, datagram, len);
}

static bool is_handshake(const uint8_t *datagram, size_t len)
{
	return len >= DTLS_RECORD_HEADER &&
	       (datagram[0] == DTLS_TYPE_HANDSHAKE || datagram[0] == DTLS_TYPE_CHANGE_CIPHER);
}

/* A flight goes to the association that shakes hands; without one, to the newest, which may have to
 * repeat its last. */
static bool take_flight(struct worker *worker, struct flow_assoc *first, const uint8_t *datagram,
			size_t len)
{
	struct dtls_record record;

	for (struct flow_assoc *assoc = first; assoc; assoc = assoc->next) {
		if (assoc->dtls->state != DTLS_HANDSHAKING)
			continue;
		if (dtls_record_check(datagram, len, DTLS_RECORD_AEAD_MIN_CHACHA,
				      &assoc->dtls->window, &record) == DTLS_RECORD_OK)
			continue_handshake(worker, assoc, datagram, len);
		return true;
	}
	return false;
}

/* assoc: newest association of the path, or NULL. */
static void take_records(struct worker *worker, struct flow_assoc *assoc, const uint8_t *datagram,
			 size_t len)
{
	enum count refused = COUNT_DROP_UNKNOWN_PEER;
	struct flow *flow = assoc ? assoc->flow : NULL;
	struct dtls_record record;

	if (!assoc && dtls_record_read(datagram, len, &record))
		refused = drop_of_record[dtls_record_read(datagram, len, &record)];
	while (assoc && refused != COUNT_MAX) {
		struct flow_assoc *next = assoc->next;

		refused = open_record(worker, assoc, datagram, len);
		assoc = next;
	}
	if (refused != COUNT_MAX)
		flow_count_drop(flow, &worker->counts, refused);
}

static void take_handshake(struct worker *worker, struct worker_socket *socket,
			   const struct udp_path *path, const uint8_t *datagram, size_t len)
{
	struct flow_assoc *assoc = flow_by_path(&worker->table, path, socket->index);
	const uint8_t *app_id;

	if (!worker->options.is_client && dtls_record_hello(datagram, len, &app_id))
		take_hello(worker, socket, path, app_id, datagram, len);
	else if (!assoc || !take_flight(worker, assoc, datagram, len))
		take_records(worker, assoc, datagram, len);
}

bool inbound_shake_hands(struct worker *worker)
{
	struct backlog_datagram *next = backlog_take(&worker->backlog);

	if (!next)
		return false;
	worker->now_us = clock_now_us();
	take_handshake(worker, &worker->sockets[next->socket], &next->path, next->bytes, next->len);
	free(next);
	return true;
}

/* Whether it is worth a place in the backlog: who says hello is known by now. */
static bool is_expected(struct worker *worker, const struct flow_assoc *assoc,
			const uint8_t *datagram, size_t len)
{
	const uint8_t *app_id;

	if (dtls_record_hello(datagram, len, &app_id))
		return replica_by_app_id(&worker->table.replica, app_id);
	return assoc;
}

/* assoc: newest association of the path, or NULL. */
static void take_datagram(struct worker *worker, struct worker_socket *socket,
			  const struct udp_path *path, struct flow_assoc *assoc,
			  const uint8_t *datagram, size_t len)
{
	if (!is_handshake(datagram, len)) {
		take_records(worker, assoc, datagram, len);
		return;
	}
	worker->counts.of[COUNT_UDP_HANDSHAKES_RX]++;
	if (worker->options.is_client || !is_expected(worker, assoc, datagram, len)) {
		take_handshake(worker, socket, path, datagram, len);
		return;
	}
	worker->counts.of[COUNT_DROP_BACKLOG_FULL] +=
		backlog_put(&worker->backlog, path, socket->index, datagram, len);
	worker_spare_time(worker);
}

/* ---- 1: the sockets ---- */

static void take_run(struct worker *worker, struct worker_socket *socket, struct udp_run *run)
{
	struct flow_table *table = &worker->table;
	struct flow_assoc *assoc;
	uint64_t changes;
	size_t at = 0;

	/* A client's associations are keyed without the local address, which the kernel chooses. */
	if (worker->options.is_client)
		run->path.local = (struct addr){0};
	if (run->len > run->segment)
		worker->counts.of[COUNT_UDP_GRO_RX]++;
	assoc = flow_by_path(table, &run->path, socket->index);
	changes = table->path_changes;
	while (at < run->len) {
		size_t len = run->len - at < run->segment ? run->len - at : run->segment;

		worker->counts.of[COUNT_UDP_DATAGRAMS_RX]++;
		if (changes != table->path_changes) {
			assoc = flow_by_path(table, &run->path, socket->index);
			changes = table->path_changes;
		}
		take_datagram(worker, socket, &run->path, assoc, run->data + at, len);
		at += len;
	}
}

/* When more comes than we can take, the socket's queue grows until it is full, and what is small
 * waits with the rest. So one of the streams that fill it is told, as by any router: by one packet
 * lost, and then not again until it can have heard. */
static bool is_too_much(struct worker *worker, int fd, int count)
{
	return count >= CROWD && worker->now_us - worker->lost_us >= WORKER_SLOW_US &&
	       udp_waiting(fd) >= WAITING_BYTES;
}

/* Whether there may be more, and this was of the kind that is only put aside. */
static bool take_batch(struct worker *worker, struct worker_socket *socket)
{
	struct udp_run *runs = socket->runs;
	const uint64_t *counts = worker->counts.of;
	uint64_t others = counts[COUNT_UDP_DATAGRAMS_RX] - counts[COUNT_UDP_HANDSHAKES_RX];
	int count = udp_receive(socket->receiver, socket->out.fd, runs);

	if (count <= 0)
		return false;
	worker->now_us = clock_now_us();
	worker->counts.of[COUNT_UDP_RECEIVES]++;
	/* A device says hello once it has been greeted, and main has told us before. */
	worker_take_orders(worker);
	worker->lose_next = is_too_much(worker, socket->out.fd, count);
	for (int i = 0; i < count; i++)
		take_run(worker, socket, &runs[i]);
	worker->lose_next = false;
	inbound_flush(worker);
	return count == UDP_BATCH &&
	       others == counts[COUNT_UDP_DATAGRAMS_RX] - counts[COUNT_UDP_HANDSHAKES_RX];
}

void inbound_udp(struct worker *worker, struct worker_socket *socket)
{
	uint64_t written = worker->counts.of[COUNT_TUN_WRITES];

	/* Records may be behind those who shake hands. What else there is waits for its turn: the
	 * other direction's may be an echo's answer. */
	for (int i = 0; i < BATCHES_PER_RUN && take_batch(worker, socket); i++)
		;
	/* What was written may be answered already: the kernel takes a packet all its way at once,
	 * to a host that is one wire off and back. So an answer needs no wake-up of its own. */
	if (written != worker->counts.of[COUNT_TUN_WRITES] && !worker->stopped)
		outbound_run(worker);
	else
		worker_flush(worker);
}

/* One record; false when the flow is gone. */
static bool take_record(struct worker *worker, struct flow *flow, const uint8_t *record, size_t len)
{
	struct cstp_frame frame;

	worker->counts.of[COUNT_TLS_RECORDS_RX]++;
	flow_touch(&worker->table, flow);
	flow->tcp.heard_us = worker->now_us;
	flow->tcp.unanswered = 0;
	if (cstp_read_record(record, len, &frame))
		return take_frame(worker, flow, OUTBOUND_TLS, &frame);
	worker_end_flow(worker, flow, REASON_PROTOCOL_ERROR, false, "malformed frame",
			"sent a record that is not one frame");
	return false;
}

static void lost_channel(struct worker *worker, struct flow *flow, enum tls_result result)
{
	char text[WORKER_TEXT];

	if (flow->state == FLOW_DRAINING)
		worker_end_flow(worker, flow, REASON_REPLACED, true, NULL, "");
	else if (result == TLS_CLOSED && !flow->spec.tls->socket_error)
		worker_end_flow(worker, flow, REASON_PEER_TIMEOUT, true, NULL,
				"closed the connection");
	else {
		tls_failure(flow->spec.tls, text, sizeof(text));
		worker_end_flow(worker, flow, REASON_PEER_TIMEOUT, true, NULL, text);
	}
}

/* False when the flow is gone. */
static bool read_records(struct worker *worker, struct flow *flow)
{
	/* Past the limit only what is in our own buffer: the socket would not call again for that.
	 */
	for (int i = 0; i < RECORDS_PER_RUN || tls_has_input(flow->spec.tls); i++) {
		enum tls_result result;
		size_t len;

		flow->spec.tls->paused = i >= RECORDS_PER_RUN;
		result = tls_read(flow->spec.tls, worker->plain, CSTP_RECORD_MAX, &len);
		if (result == TLS_AGAIN)
			break;
		if (result != TLS_DONE) {
			lost_channel(worker, flow, result);
			return false;
		}
		if (!take_record(worker, flow, worker->plain, len))
			return false;
	}
	flow->spec.tls->paused = false;
	return true;
}

/* False when the flow is gone. */
static bool take_early(struct worker *worker, struct flow *flow)
{
	struct buf early = flow->spec.early;
	bool there;

	flow->spec.early = (struct buf){0};
	there = early.len == 0 || take_record(worker, flow, early.data, early.len);
	buf_wipe(&early);
	return there;
}

bool inbound_tls(struct worker *worker, struct flow *flow)
{
	bool there;

	worker->now_us = clock_now_us();
	there = take_early(worker, flow) && read_records(worker, flow);
	inbound_flush(worker);
	worker_flush(worker);
	return there;
}
