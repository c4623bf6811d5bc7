/* A packet out, from this host to a peer:
 *
 *	1  outbound_run    TUN queue: one packet, or 64 KiB of one stream, with its virtio header;
 *	                   what may travel at all
 *	2  find_flow       whose it is, by its inner destination (a client has one flow); handed
 *	                   over where another worker has it, who goes on with 3
 *	3  may_pass        the inner addresses and the access rules
 *	4  fit_path        MSS of a SYN; too big: told to its sender; a super-packet's segment size
 *	5  seal_pieces     split, and each piece sealed: DTLS into the batch, or CSTP on TLS
 *	6  worker_flush    one UDP GSO call for a run of equal records; TLS channels sent
 *
 * Bulk lets small packets pass (data/bulk.h): between the two stands what is to be sealed next.
 *
 * Functions stand in this order, but 1, which calls 2 to 5, behind 4. */
#include "data/outbound.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "sys/tun.h"
#include "wire/ip_check.h"

enum {
	/* Then other descriptors get their turn. */
	READS_PER_RUN = 64,
	BYTES_PER_RUN = 128 * 1024,
	BULK_BYTES = 1024 * 1024, /* that wait before a stream is told to be slower */
	CONTROL_MAX = CSTP_RECORD_MAX,
};

static void seal_pieces(struct worker *worker, struct flow *flow, struct tun_header *header,
			uint8_t *packet, size_t len);

/* 2: NULL when it is not ours, and what there is to do about that has been done. */
static struct flow *find_flow(struct worker *worker, const struct tun_header *header,
			      const uint8_t *packet, const struct ip_view *view)
{
	struct replica_entry *entry;

	if (worker->options.is_client) {
		if (!worker->current)
			worker->counts.of[COUNT_DROP_NO_SESSION]++;
		return worker->current;
	}
	entry = replica_by_inner(&worker->table.replica, view->family, view->destination);
	if (!entry)
		worker->counts.of[COUNT_DROP_NO_SESSION]++;
	else if (!entry->here)
		worker_hand_over(worker, entry->worker, header, packet, view->len);
	return entry ? entry->here : NULL;
}

/* 3: COUNT_MAX when it may. */
static enum count may_pass(const struct worker *worker, const struct flow *flow,
			   const uint8_t *packet, const struct ip_view *view)
{
	if (worker->options.is_client && !flow_owns(flow, view->family, view->source))
		return COUNT_DROP_SOURCE;
	if (!access_allows(flow->spec.access, ACCESS_OUT, &flow->spec.own, packet, view))
		return COUNT_DROP_ACCESS;
	return COUNT_MAX;
}

static size_t header_length(const uint8_t *packet, const struct ip_view *view)
{
	if (view->protocol == IP_PROTO_UDP)
		return view->transport + (size_t)IP_UDP_HEADER;
	return view->transport + (size_t)(packet[view->transport + 12] >> 4) * 4;
}

/* The sender is this host or one behind it: the answer goes back into TUN. It comes from the
 * address the packet was for, as one from our own would be taken for spoofed. */
static void answer_too_big(struct worker *worker, struct flow *flow, const uint8_t *packet,
			   const struct ip_view *view)
{
	static const struct tun_header plain;
	uint8_t answer[IP_TOO_BIG_MAX];
	size_t len = ip_write_too_big(packet, view, view->destination, flow->mtu, answer);

	if (len == 0 || !rate_allow(&flow->error_rate, 100, worker->now_us))
		return;
	if (tun_write(worker->options.tun_fd, &plain, answer, len) == 0)
		worker->counts.of[COUNT_TOO_BIG_SENT]++;
}

/* 4: false when the packet was too big and has been answered. */
static bool fit_path(struct worker *worker, struct flow *flow, struct tun_header *header,
		     uint8_t *packet, const struct ip_view *view)
{
	unsigned gso = header->gso_type & ~TUN_GSO_ECN;
	size_t headers;

	if (ip_clamp_mss(packet, view, flow->mtu, header->flags & TUN_CSUM_NEEDED))
		worker->counts.of[COUNT_MSS_CLAMPED]++;
	if (view->len <= flow->mtu)
		return true;
	if (gso == TUN_GSO_NONE || view->transport + IP_TCP_HEADER > view->len) {
		answer_too_big(worker, flow, packet, view);
		return false;
	}
	headers = header_length(packet, view);
	if (headers + header->gso_size <= flow->mtu)
		return true;
	if (gso == TUN_GSO_UDP_L4) {
		answer_too_big(worker, flow, packet, view);
		return false;
	}
	/* A TCP stream may be cut anywhere: no need to wait for the sender to learn. */
	header->gso_size = (uint16_t)(flow->mtu - headers);
	return true;
}

static void take_packet(struct worker *worker, struct tun_header *header, uint8_t *packet,
			size_t len)
{
	struct ip_view view;
	struct flow *flow;
	enum count refused;

	refused = count_of_ip(ip_check(packet, len, &view));
	if (refused != COUNT_MAX) {
		worker->counts.of[refused]++;
		return;
	}
	flow = find_flow(worker, header, packet, &view);
	if (!flow)
		return;
	refused = may_pass(worker, flow, packet, &view);
	if (refused != COUNT_MAX) {
		flow_count_drop(flow, &worker->counts, refused);
		if (refused == COUNT_DROP_SOURCE)
			worker_name_foreign(worker, flow, &view);
		return;
	}
	if (!fit_path(worker, flow, header, packet, &view)) {
		flow_count_drop(flow, &worker->counts, COUNT_DROP_TOO_BIG);
		return;
	}
	seal_pieces(worker, flow, header, packet, len);
}

/* Where too much waits already, something is lost for it. */
static void put_bulk(struct worker *worker)
{
	const struct bulk_packet *lost;

	bulk_put(&worker->bulk);
	while ((lost = bulk_lose(&worker->bulk)))
		worker->counts.of[COUNT_DROP_QUEUE_FULL] +=
			offload_pieces(&lost->header, lost->bytes, lost->len);
}

/* 1: what is small goes at once, what is bulk waits until nothing else is there. */
static void read_tun(struct worker *worker)
{
	struct bulk *bulk = &worker->bulk;

	for (int i = 0; i < READS_PER_RUN; i++) {
		struct bulk_packet *room = bulk_room(bulk);
		ssize_t len = tun_read(worker->options.tun_fd, &room->header, room->bytes,
				       TUN_PACKET_MAX);

		if (len < 0)
			break;
		worker->counts.of[COUNT_TUN_READS]++;
		if (room->header.gso_type != TUN_GSO_NONE)
			worker->counts.of[COUNT_TUN_SUPER_RX]++;
		if (!bulk_holds(bulk, (size_t)len))
			take_packet(worker, &room->header, room->bytes, (size_t)len);
		else
			put_bulk(worker);
		/* Nothing is expected behind it: it need not wait for the call that says so. */
		if (worker->sparse)
			worker_flush(worker);
		worker->sparse = false;
	}
}

/* Whether a stream has to be told that it is too fast: by one packet lost, as it would be told by
 * any router, and then not again until it can have heard. Not where others fill the queue. */
static bool is_too_much(struct worker *worker, const struct bulk_packet *packet)
{
	uint8_t gso = packet->header.gso_type & (uint8_t)~TUN_GSO_ECN;

	if ((gso != TUN_GSO_TCPV4 && gso != TUN_GSO_TCPV6) ||
	    worker->now_us - worker->bulk_lost_us < WORKER_SLOW_US ||
	    !bulk_is_too_much(&worker->bulk, BULK_BYTES))
		return false;
	worker->bulk_lost_us = worker->now_us;
	return true;
}

/* Returns the bytes taken. */
static size_t take_bulk(struct worker *worker)
{
	struct bulk_packet *packet = bulk_first(&worker->bulk);
	size_t len = packet->len;

	worker->lose_piece = is_too_much(worker, packet);
	take_packet(worker, &packet->header, packet->bytes, len);
	worker->lose_piece = false;
	bulk_drop_first(&worker->bulk);
	return len;
}

void outbound_run(struct worker *worker)
{
	uint64_t reads = worker->counts.of[COUNT_TUN_READS];
	size_t bytes = 0;

	worker->now_us = clock_now_us();
	read_tun(worker);
	while (worker->bulk.count && bytes < BYTES_PER_RUN) {
		bytes += take_bulk(worker);
		read_tun(worker);
	}
	worker_flush(worker);
	worker_publish(worker);
	worker->sparse = worker->counts.of[COUNT_TUN_READS] - reads <= 1;
	worker_come_back(worker, worker->bulk.count > 0);
}

static void take_ring(struct worker *worker, unsigned from, uint64_t reach)
{
	struct tun_header header;
	uint8_t *packet;
	size_t len;

	while ((packet = handover_take(worker->inbox, from, reach, &header, &len))) {
		take_packet(worker, &header, packet, len);
		handover_drop(worker->inbox, from);
	}
}

/* A flow may have been sent ahead of its packets: orders are read between looking how far the rings
 * reach and taking what is in them. */
void outbound_take_handed(struct worker *worker)
{
	uint64_t from = handover_collect(worker->inbox), reach[WORKER_CREW_MAX];

	if (!from)
		return;
	worker->now_us = clock_now_us();
	for (unsigned i = 0; i < worker->crew_count; i++)
		reach[i] = handover_reach(worker->inbox, i);
	worker_take_orders(worker);
	for (unsigned i = 0; i < worker->crew_count; i++) {
		if (from >> i & 1)
			take_ring(worker, i, reach[i]);
	}
	worker_flush(worker);
	worker_publish(worker);
}

/* 5: the type byte or the frame's header goes into the headroom before the piece. */
static bool seal_piece(struct worker *worker, struct flow *flow, uint8_t *piece, size_t len)
{
	if (flow->over_dtls && flow->active) {
		piece[-1] = CSTP_DATA;
		return dtls_seal(flow->active->dtls, piece - 1, len + 1);
	}
	if (!flow->spec.tls || worker->options.transport == CONFIG_TRANSPORT_UDP ||
	    tls_is_full(flow->spec.tls))
		return false;
	cstp_write_header(piece - CSTP_HEADER, CSTP_DATA, len);
	if (!tls_write(flow->spec.tls, piece - CSTP_HEADER, len + CSTP_HEADER))
		return false;
	worker->counts.of[COUNT_TLS_RECORDS_TX]++;
	worker_mark_pending(worker, flow);
	return true;
}

static void seal_pieces(struct worker *worker, struct flow *flow, struct tun_header *header,
			uint8_t *packet, size_t len)
{
	struct offload_split split;
	uint8_t *piece;
	size_t piece_len;

	if (offload_split_init(&split, header, packet, len) < 0) {
		flow_count_drop(flow, &worker->counts, COUNT_DROP_MALFORMED);
		return;
	}
	flow_touch(&worker->table, flow);
	if (worker->lose_piece && offload_split_next(&split, &piece, &piece_len))
		flow_count_drop(flow, &worker->counts, COUNT_DROP_CONGESTED);
	while (offload_split_next(&split, &piece, &piece_len)) {
		if (!seal_piece(worker, flow, piece, piece_len)) {
			flow_count_drop(flow, &worker->counts, COUNT_DROP_QUEUE_FULL);
			continue;
		}
		flow->traffic.tx_packets++;
		flow->traffic.tx_bytes += piece_len;
	}
	flow->carried_us = worker->now_us;
	if (flow->over_dtls)
		flow->udp.sent_us = flow->carried_us;
	else
		flow->tcp.sent_us = flow->carried_us;
}

void outbound_packet(struct worker *worker, struct flow *flow, uint8_t *packet, size_t len)
{
	struct tun_header header = {0};

	seal_pieces(worker, flow, &header, packet, len);
}

void outbound_frame(struct worker *worker, struct flow *flow, enum outbound_channel channel,
		    enum cstp_type type, const uint8_t *payload, size_t len)
{
	uint8_t frame[CONTROL_MAX];

	if (len > sizeof(frame) - CSTP_HEADER)
		len = sizeof(frame) - CSTP_HEADER;
	if (len)
		memcpy(frame + CSTP_HEADER, payload, len);
	flow_touch(&worker->table, flow);
	if (channel == OUTBOUND_DTLS && flow->active) {
		frame[CSTP_HEADER - 1] = (uint8_t)type;
		dtls_seal(flow->active->dtls, frame + CSTP_HEADER - 1, len + 1);
		flow->udp.sent_us = clock_now_us();
	} else if (channel == OUTBOUND_TLS) {
		cstp_write_header(frame, (uint8_t)type, len);
		if (!tls_write(flow->spec.tls, frame, len + CSTP_HEADER)) {
			flow_count_drop(flow, &worker->counts, COUNT_DROP_QUEUE_FULL);
			return;
		}
		worker->counts.of[COUNT_TLS_RECORDS_TX]++;
		worker_mark_pending(worker, flow);
		flow->tcp.sent_us = clock_now_us();
	}
}
