/* data/move, data/replica: several workers, and a flow that follows its device's datagrams from one
 * to another. The test is main: it says who gets what, and can say it in any order.
 *
 *	A = worker 0, to which TLS attaches; B = worker 1, C = worker 2 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "data/move.h"
#include "rig.h"
#include "wire/ip.h"

enum { A, B, C, CREW };

static uint8_t out[RIG_PACKET], packet[RIG_PACKET];

static struct rig_peer *attach(struct rig *rig, uint64_t id, const char *own)
{
	return rig_attach(rig, &(struct rig_flow){.id = id, .session = id, .own = own});
}

/* A DTLS handshake with a worker that has not got the flow. */
static void visit(struct rig_peer *peer, size_t worker)
{
	rig_roam(peer, worker);
	rig_shake(peer);
}

static void release(struct rig *rig, size_t from, size_t to, uint64_t flow)
{
	rig_post_to(rig, from,
		    &(struct worker_order){.kind = WORKER_RELEASE,
					   .session = flow,
					   .flow = flow,
					   .to = (unsigned)to});
}

static void say_where(struct rig *rig, size_t at, size_t worker, uint64_t flow)
{
	rig_post_to(rig, at,
		    &(struct worker_order){.kind = WORKER_WHERE,
					   .session = flow,
					   .flow = flow,
					   .to = (unsigned)worker});
}

static struct worker_order cut_order(uint64_t session)
{
	return (struct worker_order){.kind = WORKER_CUT,
				     .session = session,
				     .reason = REASON_REVOKED,
				     .text = "by hand"};
}

/* A packet that queue brings reaches the device over UDP. */
static bool reaches(struct rig *rig, struct rig_peer *peer, size_t queue, const char *to)
{
	size_t len = rig_udp_packet(RIG_CORP, to, 20, packet);

	rig_write_tun_of(rig, queue, packet, len);
	return rig_frame_udp(peer, CSTP_DATA, out) == (ssize_t)len;
}

/* A packet from the device over UDP comes out of a worker's queue. */
static bool enters(struct rig *rig, struct rig_peer *peer, size_t worker, const char *from)
{
	size_t len = rig_udp_packet(from, RIG_CORP, 20, packet);

	rig_send_udp(peer, CSTP_DATA, packet, len);
	return rig_read_tun_of(rig, worker, out) == (ssize_t)len;
}

static bool told(struct rig *rig, enum worker_event_kind kind, size_t worker)
{
	struct worker_event *event = rig_event(rig, kind);

	return event && event->worker == worker;
}

/* Which states of a flow a worker has. */
static bool has(struct rig_peer *peer, size_t worker, enum flow_state state)
{
	struct flow *flow = rig_flow_at(peer, worker);

	return flow && flow->state == state;
}

/* Packets of the wrong queue get to the device, in order, none lost, none twice; the right worker
 * counts them as its flow's. */
static void test_wrong_queue(void **state)
{
	struct rig *rig = rig_new_crew(CREW);
	struct rig_peer *peer = attach(rig, 1, NULL);
	uint32_t expected = 0;
	ssize_t len;

	(void)state;
	rig_shake(peer);
	for (uint32_t i = 0; i < 300; i++) {
		size_t size = rig_udp_packet(RIG_CORP, RIG_DEVICE, 20 + i, packet);

		/* The kernel changes the queue in mid-stream. */
		assert_int_equal(tun_write(rig->tuns[i / 20 % 2 ? B : C], &(struct tun_header){0},
					   packet, size),
				 0);
		if (i % 20 < 19)
			continue;
		rig_step(rig);
		while ((len = rig_frame_udp(peer, CSTP_DATA, out)) >= 0)
			assert_int_equal(len, 20 + IP_V4_HEADER + IP_UDP_HEADER + expected++);
	}
	assert_int_equal(expected, 300);
	assert_int_equal(rig_count(rig, COUNT_HANDED_OVER), 300);
	assert_int_equal(rig->crew[A]->counts.of[COUNT_TUN_READS], 0);
	assert_int_equal(rig_flow_of(peer)->traffic.tx_packets, 300);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A super-packet is handed over as it is, and split by who seals it. */
static void test_wrong_queue_super(void **state)
{
	struct rig *rig = rig_new_crew(CREW);
	struct rig_peer *peer = attach(rig, 1, NULL);
	size_t len = rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x10, 0, 1, 3000, packet);
	struct tun_header header = {
		.flags = TUN_CSUM_NEEDED,
		.gso_type = TUN_GSO_TCPV4,
		.gso_size = 1000,
		.csum_start = 20,
		.csum_offset = 16,
	};

	(void)state;
	rig_shake(peer);
	assert_int_equal(tun_write(rig->tuns[B], &header, packet, len), 0);
	rig_step(rig);
	for (int i = 0; i < 3; i++)
		assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), 1040);
	assert_int_equal(rig_count(rig, COUNT_HANDED_OVER), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Who is behind loses packets, and counts them; nobody waits. */
static void test_wrong_queue_full(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);
	size_t len = rig_udp_packet(RIG_CORP, RIG_DEVICE, 1300, packet);

	(void)state;
	rig_shake(peer);
	for (int i = 0; i < 1200; i++) {
		assert_int_equal(tun_write(rig->tuns[B], &(struct tun_header){0}, packet, len), 0);
		uv_run(&rig->crew[B]->loop, UV_RUN_NOWAIT); /* A has no turn */
	}
	assert_in_range(rig_count(rig, COUNT_HANDED_OVER), 600, 800);
	assert_int_equal(rig_count(rig, COUNT_HANDED_OVER) +
				 rig_count(rig, COUNT_DROP_HANDOVER_FULL),
			 1200);
	rig_step(rig);
	assert_int_equal(rig_flow_of(peer)->traffic.tx_packets, rig_count(rig, COUNT_HANDED_OVER));
	rig_peer_free(peer);
	rig_free(rig);
}

/* The whole way: the guest receives, the flow comes with all that it was, packets of every queue
 * find it, and what was under way on the old path still arrives. */
static void test_move(void **state)
{
	struct rig *rig = rig_new_crew(CREW);
	struct rig_peer *peer = attach(rig, 1, NULL);
	size_t len = rig_udp_packet(RIG_DEVICE, RIG_CORP, 20, packet);
	struct worker_event *event;
	static uint8_t late[RIG_PACKET];
	size_t late_len;
	int old_udp;

	(void)state;
	rig_shake(peer);
	assert_true(enters(rig, peer, A, RIG_DEVICE));
	rig_flow_of(peer)->mtu = 1234;
	/* On the old path, not yet arrived. */
	old_udp = dup(peer->udp);
	peer->mute = true;
	rig_send_udp(peer, CSTP_DATA, packet, len);
	memcpy(late, peer->last, peer->last_len);
	late_len = peer->last_len;
	peer->mute = false;

	visit(peer, B);
	assert_true(told(rig, WORKER_GUEST, B));
	assert_true(has(peer, B, FLOW_GUEST));
	assert_true(enters(rig, peer, B, RIG_DEVICE)); /* nothing waits for main */
	assert_int_equal(rig_flow_at(peer, B)->traffic.rx_packets, 1);
	release(rig, A, B, 1);
	event = rig_event(rig, WORKER_CARRIED);
	assert_int_equal(event->session, 1);
	assert_int_equal(event->traffic.rx_packets, 1);
	assert_true(told(rig, WORKER_MOVED, B));
	assert_null(rig_flow_at(peer, A));
	assert_true(has(peer, B, FLOW_OPEN));
	assert_int_equal(rig_flow_at(peer, B)->mtu, 1234);
	assert_true(rig_flow_at(peer, B)->over_dtls);
	assert_true(reaches(rig, peer, A, RIG_DEVICE)); /* A knows */
	assert_true(reaches(rig, peer, C, RIG_DEVICE)); /* C does not, and asks A */
	say_where(rig, C, B, 1);
	assert_true(reaches(rig, peer, C, RIG_DEVICE));
	assert_true(reaches(rig, peer, B, RIG_DEVICE));
	assert_int_equal(rig_count(rig, COUNT_HANDED_OVER), 1 + 2 + 1);
	/* TLS has come along. */
	rig_send(peer, CSTP_DATA, packet, rig_udp_packet(RIG_DEVICE, RIG_CORP, 20, packet));
	assert_true(rig_read_tun_of(rig, B, out) > 0);
	rig_pass(rig, RIG_S);
	rig_datagram(rig, old_udp, late, late_len);
	assert_true(rig_read_tun_of(rig, A, out) > 0);
	rig_pass(rig, 4 * RIG_S);
	event = rig_event(rig, WORKER_CARRIED); /* the shell's last figures */
	assert_int_equal(event->session, 1);
	assert_int_equal(event->traffic.rx_packets, 1);
	assert_null(rig->crew[A]->table.flows);
	assert_null(rig_event(rig, WORKER_ENDED));
	close(old_udp);
	rig_peer_free(peer);
	rig_free(rig);
}

/* And back, and on to a third: packets find it from everywhere. */
static void test_move_back(void **state)
{
	struct rig *rig = rig_new_crew(CREW);
	struct rig_peer *peer = attach(rig, 1, NULL);
	static const size_t way[] = {B, A, C, B};
	size_t at = A;

	(void)state;
	rig_shake(peer);
	for (size_t i = 0; i < 4; i++) {
		visit(peer, way[i]);
		release(rig, at, way[i], 1);
		at = way[i];
		assert_true(has(peer, at, FLOW_OPEN));
		for (size_t queue = A; queue < CREW; queue++)
			assert_true(reaches(rig, peer, queue, RIG_DEVICE));
		assert_true(enters(rig, peer, at, RIG_DEVICE));
	}
	assert_int_equal(rig_count(rig, COUNT_FLOWS_MOVED), 4);
	rig_pass(rig, 4 * RIG_S);
	for (size_t i = A; i < CREW; i++)
		assert_int_equal(HASH_COUNT(rig->crew[i]->table.flows), i == at);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A handshake that has begun at A goes on there when the flow leaves: it was for the device's next
 * address, and the flow comes back. */
static void test_candidate_stays(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);

	(void)state;
	visit(peer, B);
	assert_true(told(rig, WORKER_GUEST, B));
	rig_roam(peer, A);
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	rig_step(rig);
	assert_non_null(rig_flow_at(peer, A)->candidate);
	release(rig, A, B, 1);
	assert_true(has(peer, A, FLOW_GUEST));
	rig_shake(peer);
	assert_true(told(rig, WORKER_GUEST, A));
	assert_true(enters(rig, peer, A, RIG_DEVICE));
	release(rig, B, A, 1);
	assert_true(has(peer, A, FLOW_OPEN));
	assert_true(reaches(rig, peer, B, RIG_DEVICE));
	rig_peer_free(peer);
	rig_free(rig);
}

/* Somebody who has seen the hello cannot answer for it: nothing moves, and the guest goes. */
static void test_replayed_hello(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);

	(void)state;
	rig_shake(peer);
	rig_roam(peer, B);
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	rig_step(rig);
	rig_datagram(rig, peer->udp, peer->last, peer->last_len); /* the hello again */
	assert_true(has(peer, B, FLOW_GUEST));
	assert_null(rig_event(rig, WORKER_GUEST));
	assert_true(has(peer, A, FLOW_OPEN));
	assert_true(rig_flow_at(peer, A)->over_dtls);
	rig_pass(rig, 13 * RIG_S);
	assert_null(rig_flow_at(peer, B));
	assert_true(has(peer, A, FLOW_OPEN));
	rig_peer_free(peer);
	rig_free(rig);
}

/* What SSL and the buffers hold of TLS when the flow moves is read by who gets it. */
static void test_pending_records(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);
	size_t len = rig_udp_packet(RIG_DEVICE, RIG_CORP, 20, packet);
	uint8_t frame[CSTP_RECORD_MAX];
	struct flow *flow = rig_flow_of(peer);

	(void)state;
	visit(peer, B);
	cstp_write_header(frame, CSTP_DATA, len);
	memcpy(frame + CSTP_HEADER, packet, len);
	for (int i = 0; i < 3; i++)
		assert_true(tls_write(peer->tls, frame, len + CSTP_HEADER));
	tls_flush(peer->tls);
	/* One read of one record: the rest is in the object, and the socket is empty. */
	{
		size_t got;
		uint8_t record[CSTP_RECORD_MAX];

		assert_int_equal(tls_read(flow->spec.tls, record, sizeof(record), &got), TLS_DONE);
		assert_true(tls_has_input(flow->spec.tls));
	}
	release(rig, A, B, 1);
	assert_true(has(peer, B, FLOW_OPEN));
	assert_int_equal(rig_flow_at(peer, B)->traffic.rx_packets, 2);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- cut while it is on its way ---- */

enum moment { BEFORE_GUEST, ASKED, RELEASED, ADOPTED };

static const struct cut_case {
	const char *name;
	enum moment when;
	bool other_first; /* B is told before A */
} cut_cases[] = {
	{"before anything, A first", BEFORE_GUEST, false},
	{"before anything, B first", BEFORE_GUEST, true},
	{"asked, A first", ASKED, false},
	{"asked, B first", ASKED, true},
	{"released and not arrived", RELEASED, true},
	{"adopted, A first", ADOPTED, false},
	{"adopted, B first", ADOPTED, true},
};

static void post_cut(struct rig *rig, size_t worker)
{
	struct worker_order *order = xnew(struct worker_order);

	*order = cut_order(1);
	worker_post(rig->crew[worker], order);
}

/* B has the order to cut in its mailbox when A lets the flow go: it comes behind. */
static void cut_on_the_way(struct rig *rig)
{
	struct worker_order *order = xnew(struct worker_order);

	post_cut(rig, B);
	uv_run(&rig->crew[B]->loop, UV_RUN_NOWAIT);
	*order = (struct worker_order){
		.kind = WORKER_RELEASE,
		.session = 1,
		.flow = 1,
		.to = B,
	};
	worker_post(rig->crew[A], order);
	post_cut(rig, A);
	uv_run(&rig->crew[A]->loop, UV_RUN_NOWAIT);
	rig_step(rig);
}

/* Nothing passes once both have acknowledged; the device has heard why, wherever the flow was. */
static void check_cut(struct rig *rig, struct rig_peer *peer, const char *name)
{
	for (int i = 0; i < 2; i++) {
		if (!rig_event(rig, WORKER_WAS_CUT))
			fail_msg("%s: not acknowledged by both", name);
	}
	if (rig_frame(peer, CSTP_DISCONNECT, out) != 1 + (ssize_t)strlen("revoked: by hand"))
		fail_msg("%s: the device was not told why", name);
	for (size_t i = A; i <= B; i++) {
		struct replica *replica = &rig->crew[i]->table.replica;

		if (rig->crew[i]->table.flows || replica->by_session || replica->by_app_id)
			fail_msg("%s: worker %zu still has something", name, i);
		rig_write_tun_of(rig, i, packet, rig_udp_packet(RIG_CORP, RIG_DEVICE, 20, packet));
	}
	if (peer->dtls && rig_frame_udp(peer, CSTP_DATA, out) >= 0)
		fail_msg("%s: a packet went out", name);
	rig_send_udp(peer, CSTP_DATA, packet, rig_udp_packet(RIG_DEVICE, RIG_CORP, 20, packet));
	if (rig_read_tun_of(rig, A, out) >= 0 || rig_read_tun_of(rig, B, out) >= 0)
		fail_msg("%s: a packet came in", name);
}

static void test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cut_cases) / sizeof(*cut_cases); i++) {
		const struct cut_case *row = &cut_cases[i];
		struct rig *rig = rig_new_crew(2);
		struct rig_peer *peer = attach(rig, 1, NULL);

		rig_shake(peer);
		if (row->when >= ASKED)
			visit(peer, B);
		if (row->when == ADOPTED)
			release(rig, A, B, 1);
		if (row->when == RELEASED) {
			cut_on_the_way(rig);
		} else {
			post_cut(rig, row->other_first ? B : A);
			rig_step(rig);
			post_cut(rig, row->other_first ? A : B);
			rig_step(rig);
			release(rig, A, B, 1); /* main's, from before */
		}
		check_cut(rig, peer, row->name);
		rig_pass(rig, 6 * RIG_S);
		assert_null(rig->crew[A]->farewells);
		assert_null(rig->crew[B]->farewells);
		rig_peer_free(peer);
		rig_free(rig);
	}
}

/* ---- what else comes between ---- */

static struct worker_order *rules_order(const char *own, const char *reach)
{
	struct worker_order *order = xnew(struct worker_order);
	struct prefix prefix;

	order->kind = WORKER_RULES;
	order->session = 1;
	order->spec.access = rig_allow(reach);
	assert_true(prefix_parse(own, &prefix, NULL));
	prefix_list_add(&order->spec.own, &prefix);
	return order;
}

/* The new rules were at B before the flow was, and at A after it had left. */
static void test_rules_pass_the_flow(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);
	struct worker_order *order = xnew(struct worker_order);

	(void)state;
	visit(peer, B);
	worker_post(rig->crew[B], rules_order("10.99.0.9/32", "10.50.0.11/32"));
	rig_step(rig);
	*order = (struct worker_order){
		.kind = WORKER_RELEASE,
		.session = 1,
		.flow = 1,
		.to = B,
	};
	worker_post(rig->crew[A], order);
	worker_post(rig->crew[A], rules_order("10.99.0.9/32", "10.50.0.11/32"));
	rig_step(rig);
	assert_true(has(peer, B, FLOW_OPEN));
	assert_false(enters(rig, peer, B, RIG_DEVICE));
	assert_int_equal(rig_count(rig, COUNT_DROP_SOURCE), 1);
	assert_false(enters(rig, peer, B, "10.99.0.9")); /* to where the rules do not let it */
	assert_int_equal(rig_count(rig, COUNT_DROP_ACCESS), 1);
	assert_false(reaches(rig, peer, A, RIG_DEVICE));
	assert_int_equal(rig_count(rig, COUNT_DROP_NO_SESSION), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Networks that a session has got are found from every queue, and what it has lost from none. */
static void test_rules_are_known_everywhere(void **state)
{
	struct rig *rig = rig_new_crew(CREW);
	struct rig_peer *peer = attach(rig, 1, RIG_DEVICE "/32");

	(void)state;
	rig_shake(peer);
	assert_true(reaches(rig, peer, C, RIG_DEVICE));
	for (size_t i = A; i < CREW; i++)
		worker_post(rig->crew[i], rules_order("10.30.0.0/16", "0.0.0.0/0"));
	rig_step(rig);
	assert_false(reaches(rig, peer, C, RIG_DEVICE));
	assert_int_equal(rig->crew[C]->counts.of[COUNT_DROP_NO_SESSION], 1);
	assert_true(reaches(rig, peer, C, "10.30.1.1"));
	assert_int_equal(rig_count(rig, COUNT_HANDED_OVER), 2);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Replaced at A before main's order came: what drains stays, and its successor is not touched. */
static void test_released_too_late(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *old = attach(rig, 1, NULL), *new;

	(void)state;
	visit(old, B);
	new = rig_attach(rig, &(struct rig_flow){.id = 2, .replaces = 1});
	release(rig, A, B, 1);
	assert_true(has(old, A, FLOW_DRAINING));
	assert_true(has(new, A, FLOW_OPEN));
	assert_null(rig_event(rig, WORKER_MOVED));
	rig_shake(new);
	assert_true(reaches(rig, new, B, RIG_DEVICE));
	rig_peer_free(old);
	rig_peer_free(new);
	rig_free(rig);
}

/* A renewal comes to B while the old flow is on its way there: that one drains. */
static void test_replaced_on_the_way(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *old = attach(rig, 1, NULL);
	struct flow_spec spec;
	struct worker_order *order = xnew(struct worker_order);
	struct replica_entry *entry;

	(void)state;
	visit(old, B);
	spec = flow_spec_copy(&rig_flow_at(old, A)->spec);
	spec.id = 2;
	spec.replaces = 1;
	memset(spec.app_id, 2, sizeof(spec.app_id));
	order->kind = WORKER_LEARN; /* of B, as if C had it: nothing is attached by hand here */
	order->session = 1;
	order->to = A;
	order->spec = spec;
	worker_post(rig->crew[B], order);
	rig_step(rig);
	release(rig, A, B, 1);
	assert_true(has(old, B, FLOW_DRAINING));
	assert_true(enters(rig, old, B, RIG_DEVICE));
	entry = replica_find(&rig->crew[B]->table.replica, 1);
	assert_int_equal(entry->spec->id, 2);
	assert_null(entry->guest);
	rig_pass(rig, 4 * RIG_S);
	assert_int_equal(rig_event(rig, WORKER_ENDED)->reason, REASON_REPLACED);
	assert_null(rig->crew[B]->table.flows);
	rig_peer_free(old);
	rig_free(rig);
}

/* Ended at A before main's order came: nothing leaves, and what B had goes with main's word. */
static void test_ended_before(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);

	(void)state;
	visit(peer, B);
	rig_write(peer, "\x53\x54\x46\x01\x00\x00\x05\x00", 8); /* DISCONNECT */
	assert_non_null(rig_event(rig, WORKER_ENDED));
	release(rig, A, B, 1);
	assert_true(has(peer, B, FLOW_GUEST));
	rig_post_to(rig, B, &(struct worker_order){.kind = WORKER_FORGET, .session = 1, .flow = 1});
	assert_null(rig->crew[B]->table.flows);
	assert_null(rig->crew[B]->table.replica.by_session);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Main may have other plans: a guest that the device talks to asks again, one that it does not goes.
 */
static void test_guest_waits(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);

	(void)state;
	visit(peer, B);
	assert_true(told(rig, WORKER_GUEST, B));
	rig_pass(rig, 2 * RIG_S);
	assert_null(rig_event(rig, WORKER_GUEST));
	assert_true(enters(rig, peer, B, RIG_DEVICE));
	rig_pass(rig, RIG_S);
	assert_true(told(rig, WORKER_GUEST, B));
	rig_pass(rig, 13 * RIG_S);
	assert_null(rig_flow_at(peer, B));
	assert_int_equal(rig_event(rig, WORKER_CARRIED)->traffic.rx_packets, 1);
	assert_non_null(rig_flow_at(peer, A));
	rig_peer_free(peer);
	rig_free(rig);
}

/* B sleeps when main's word and the hello come at once: it reads its orders first. */
static void test_hello_with_the_news(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);
	struct worker_order *order = xnew(struct worker_order);
	struct flow_spec spec = flow_spec_copy(&rig_flow_at(peer, A)->spec);

	(void)state;
	rig_post_to(rig, B, &(struct worker_order){.kind = WORKER_FORGET, .session = 1, .flow = 1});
	rig_roam(peer, B);
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0); /* arrives: B has had no turn */
	*order = (struct worker_order){.kind = WORKER_LEARN, .session = 1, .spec = spec};
	worker_post(rig->crew[B], order);
	/* As a loop does whose socket comes before its mailbox. */
	rig->crew[B]->sockets[0].poll.poll_cb(&rig->crew[B]->sockets[0].poll, 0, UV_READABLE);
	assert_int_equal(rig_count(rig, COUNT_DROP_UNKNOWN_APP_ID), 0);
	rig_step(rig);
	assert_true(has(peer, B, FLOW_GUEST));
	rig_peer_free(peer);
	rig_free(rig);
}

/* A worker that has stopped frees what still comes. */
static void test_stopped(void **state)
{
	struct rig *rig = rig_new_crew(2);
	struct rig_peer *peer = attach(rig, 1, NULL);
	struct worker_order *stop = xnew(struct worker_order);

	(void)state;
	visit(peer, B);
	stop->kind = WORKER_STOP;
	stop->silent = true;
	worker_post(rig->crew[B], stop);
	uv_run(&rig->crew[B]->loop, UV_RUN_NOWAIT);
	release(rig, A, B, 1);
	mailbox_receive(rig->crew[B]->orders);
	assert_null(rig->crew[B]->table.flows);
	assert_int_equal(rig_read(peer, out), -2);
	rig_peer_free(peer);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_queue),
		cmocka_unit_test(test_wrong_queue_super),
		cmocka_unit_test(test_wrong_queue_full),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_move_back),
		cmocka_unit_test(test_candidate_stays),
		cmocka_unit_test(test_replayed_hello),
		cmocka_unit_test(test_pending_records),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_rules_pass_the_flow),
		cmocka_unit_test(test_rules_are_known_everywhere),
		cmocka_unit_test(test_released_too_late),
		cmocka_unit_test(test_replaced_on_the_way),
		cmocka_unit_test(test_ended_before),
		cmocka_unit_test(test_guest_waits),
		cmocka_unit_test(test_hello_with_the_news),
		cmocka_unit_test(test_stopped),
	};

	return cmocka_run_group_tests(tests, rig_open_program, rig_close_program);
}
