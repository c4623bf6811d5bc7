/* data/worker: orders from main, events to it, and the ends of channels. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/xalloc.h"
#include "rig.h"

static uint8_t out[RIG_PACKET], packet[RIG_PACKET];

static void test_attach(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer =
		rig_attach(rig,
			   &(struct rig_flow){.id = 5, .session = 9, .greeting = "HTTP/1.1 200"});
	struct worker_event *event = rig_event(rig, WORKER_ATTACHED);

	(void)state;
	assert_int_equal(event->flow, 5);
	assert_int_equal(event->session, 9);
	assert_int_equal(rig_read(peer, out), 12);
	assert_memory_equal(out, "HTTP/1.1 200", 12);
	assert_null(rig_flow_of(peer)->spec.greeting.data);
	rig_peer_free(peer);
	rig_free(rig);
}

static struct rig_peer *attach(struct rig *rig, uint64_t id, uint64_t session, const char *own)
{
	return rig_attach(rig, &(struct rig_flow){.id = id, .session = session, .own = own});
}

static bool reaches(struct rig *rig, struct rig_peer *peer, const char *to)
{
	size_t len = rig_udp_packet(RIG_CORP, to, 20, packet);

	rig_write_tun(rig, NULL, packet, len);
	return rig_frame(peer, CSTP_DATA, out) == (ssize_t)len;
}

/* The new flow has the addresses and what was learnt; the old one receives for three seconds. */
static void test_replace(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *old = attach(rig, 1, 1, RIG_DEVICE "/32"), *new;
	size_t len = rig_udp_packet(RIG_DEVICE, RIG_CORP, 20, packet);
	struct worker_event *event;
	int64_t carried_us;

	(void)state;
	rig_send(old, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	rig_flow_of(old)->mtu = 1234;
	carried_us = rig_flow_of(old)->carried_us;
	rig_pass(rig, RIG_S);
	new = rig_attach(rig, &(struct rig_flow){.id = 2, .replaces = 1});
	assert_int_equal(rig_flow_of(old)->state, FLOW_DRAINING);
	assert_int_equal(rig_flow_of(new)->mtu, 1234);
	assert_int_equal(rig_flow_of(new)->carried_us, carried_us);
	assert_true(reaches(rig, new, RIG_DEVICE));
	rig_send(old, CSTP_DATA, packet, len);
	rig_read_tun(rig, NULL, out);
	assert_int_equal(rig_flow_of(old)->traffic.rx_packets, 1);
	len = rig_udp_packet(RIG_DEVICE, RIG_CORP, 20, packet);
	rig_send(old, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	rig_pass(rig, 4 * RIG_S);
	assert_null(rig_flow_of(old));
	event = rig_event(rig, WORKER_ENDED);
	assert_int_equal(event->flow, 1);
	assert_int_equal(event->reason, REASON_REPLACED);
	assert_true(event->keep);
	assert_non_null(rig_flow_of(new));
	rig_peer_free(old);
	rig_peer_free(new);
	rig_free(rig);
}

/* A flow that drains and whose peer closes ends at once, as replaced. */
static void test_drained_is_closed(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *old = attach(rig, 1, 1, NULL);
	struct rig_peer *new = rig_attach(rig, &(struct rig_flow){.id = 2, .replaces = 1});
	/* One that replaces what is not there is one like any. */
	struct rig_peer *other = rig_attach(rig, &(struct rig_flow){.id = 3,
								    .session = 3,
								    .own = "10.99.0.9/32",
								    .replaces = 77});

	(void)state;
	shutdown(old->tls->fd, SHUT_WR);
	rig_step(rig);
	assert_int_equal(rig_event(rig, WORKER_ENDED)->reason, REASON_REPLACED);
	assert_null(rig_flow_of(old));
	assert_non_null(rig_flow_of(new));
	assert_non_null(rig_flow_of(other));
	rig_peer_free(old);
	rig_peer_free(new);
	rig_peer_free(other);
	rig_free(rig);
}

/* Every flow of the session, told why; acknowledged once nothing of it is left; others stay. */
static void test_cut(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *drains = attach(rig, 1, 7, RIG_DEVICE "/32");
	struct rig_peer *cut = rig_attach(rig, &(struct rig_flow){.id = 2,
								  .session = 7,
								  .own = RIG_DEVICE "/32",
								  .replaces = 1});
	struct rig_peer *other = attach(rig, 3, 8, "10.99.0.8/32");
	struct worker_event *event;
	int tag;

	(void)state;
	rig_shake(cut);
	rig_post(rig, &(struct worker_order){.kind = WORKER_CUT,
					     .session = 7,
					     .reason = REASON_REVOKED,
					     .text = "by hand",
					     .tag = &tag});
	event = rig_event(rig, WORKER_WAS_CUT);
	assert_int_equal(event->session, 7);
	assert_int_equal(event->reason, REASON_REVOKED);
	assert_ptr_equal(event->tag, &tag);
	assert_null(rig_flow_of(cut));
	assert_null(rig_flow_of(drains));
	assert_null(rig_event(rig, WORKER_ENDED));
	assert_int_equal(rig_frame(cut, CSTP_DISCONNECT, out), 1 + strlen("revoked: by hand"));
	assert_int_equal(out[0], CSTP_BYE_USER);
	assert_memory_equal(out + 1, "revoked: by hand", strlen("revoked: by hand"));
	assert_int_equal(rig_read(cut, out), -2);
	assert_int_equal(rig_read(drains, out), -2); /* without a word */
	/* What still comes over UDP is nobody's. */
	rig_send_udp(cut, CSTP_DATA, NULL, 0);
	assert_int_equal(rig_count(rig, COUNT_DROP_UNKNOWN_PEER), 1);
	assert_true(reaches(rig, other, "10.99.0.8"));
	assert_false(reaches(rig, other, RIG_DEVICE));
	assert_int_equal(rig_count(rig, COUNT_DROP_NO_SESSION), 1);
	rig_peer_free(cut);
	rig_peer_free(drains);
	rig_peer_free(other);
	rig_free(rig);
}

/* The device reads the answer to its request before why it is cut. */
static void test_cut_at_once(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.session = 7,
								   .greeting = "HTTP/1.1 200",
								   .waits = true});

	(void)state;
	rig_post(rig, &(struct worker_order){.kind = WORKER_CUT,
					     .session = 7,
					     .reason = REASON_REVOKED});
	assert_null(rig_flow_of(peer));
	assert_null(rig->worker->newcomers);
	assert_int_equal(rig_read(peer, out), 12);
	assert_memory_equal(out, "HTTP/1.1 200", 12);
	assert_int_equal(rig_frame(peer, CSTP_DISCONNECT, out), 1 + strlen("revoked"));
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_silent_cut(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = attach(rig, 1, 7, NULL);

	(void)state;
	rig_post(rig, &(struct worker_order){.kind = WORKER_CUT, .session = 7, .silent = true});
	assert_int_equal(rig_read(peer, out), -2);
	/* A session without flows is cut as well. */
	assert_non_null(rig_event(rig, WORKER_WAS_CUT));
	rig_post(rig, &(struct worker_order){.kind = WORKER_CUT, .session = 7});
	assert_non_null(rig_event(rig, WORKER_WAS_CUT));
	rig_peer_free(peer);
	rig_free(rig);
}

/* The last word has two seconds to be read, and what the peer sends meanwhile is thrown away, a
 * megabyte at most. */
static void test_lingering(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *quick = attach(rig, 1, 1, RIG_DEVICE "/32");
	struct rig_peer *slow = attach(rig, 2, 2, "10.99.0.8/32");
	struct rig_peer *flood = attach(rig, 3, 3, "10.99.0.9/32");
	static uint8_t junk[64 * 1024];
	int64_t start_us = rig_now_us();
	size_t thrown = 0;
	ssize_t len;

	(void)state;
	for (uint64_t session = 1; session <= 3; session++)
		rig_post(rig, &(struct worker_order){.kind = WORKER_CUT,
						     .session = session,
						     .reason = REASON_SHUTDOWN});
	shutdown(quick->tls->fd, SHUT_WR);
	rig_pass(rig, 10 * RIG_MS);
	assert_int_equal(rig_frame(quick, CSTP_DISCONNECT, out), 1 + strlen("shutdown"));
	for (int i = 0; i < 1000; i++) {
		len = send(flood->tls->fd, junk, sizeof(junk), MSG_NOSIGNAL);
		thrown += len > 0 ? (size_t)len : 0;
		if (len < 0 && errno == EPIPE)
			break;
		rig_pass(rig, RIG_MS);
	}
	assert_in_range(thrown, 1 << 20, 2 << 20);
	assert_true(rig_now_us() < start_us + 2 * RIG_S);
	assert_int_equal(rig_frame(slow, CSTP_DISCONNECT, out), 1 + strlen("shutdown"));
	assert_non_null(rig->worker->lingering);
	rig_pass(rig, 3 * RIG_S);
	assert_null(rig->worker->lingering);
	rig_peer_free(quick);
	rig_peer_free(slow);
	rig_peer_free(flood);
	rig_free(rig);
}

static bool enters(struct rig *rig, struct rig_peer *peer, const char *from, const char *to)
{
	size_t len = rig_udp_packet(from, to, 20, packet);

	rig_send(peer, CSTP_DATA, packet, len);
	return rig_read_tun(rig, NULL, out) == (ssize_t)len;
}

/* In force for the next packet, of that session alone. */
static void test_rules(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = attach(rig, 1, 1, RIG_DEVICE "/32 10.20.0.0/16");
	struct rig_peer *other = attach(rig, 2, 2, "10.99.0.8/32");
	struct worker_order order = {.kind = WORKER_RULES, .session = 1};
	struct prefix own;

	(void)state;
	assert_true(enters(rig, peer, RIG_DEVICE, RIG_CORP));
	assert_true(enters(rig, peer, "10.20.1.1", RIG_CORP));
	assert_true(prefix_parse(RIG_DEVICE "/32", &own, NULL));
	prefix_list_add(&order.spec.own, &own);
	assert_true(prefix_parse("10.30.0.0/16", &own, NULL));
	prefix_list_add(&order.spec.own, &own);
	order.spec.access = rig_allow("10.50.0.11/32");
	rig_post(rig, &order);
	assert_int_equal(rig_event(rig, WORKER_HAS_RULES)->session, 1);
	assert_false(enters(rig, peer, RIG_DEVICE, RIG_CORP));
	assert_int_equal(rig_count(rig, COUNT_DROP_ACCESS), 1);
	assert_true(enters(rig, peer, RIG_DEVICE, "10.50.0.11"));
	assert_false(enters(rig, peer, "10.20.1.1", "10.50.0.11"));
	assert_int_equal(rig_count(rig, COUNT_DROP_SOURCE), 1);
	assert_true(enters(rig, peer, "10.30.1.1", "10.50.0.11"));
	assert_true(enters(rig, other, "10.99.0.8", RIG_CORP));
	rig_peer_free(peer);
	rig_peer_free(other);
	rig_free(rig);
}

static void test_tune(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = attach(rig, 1, 1, NULL);

	(void)state;
	rig_pass(rig, 2 * RIG_S); /* it is asleep, with nothing due */
	rig_post(rig, &(struct worker_order){.kind = WORKER_TUNE,
					     .hello_verify = CONFIG_HELLO_ON,
					     .transport = CONFIG_TRANSPORT_TCP,
					     .spec.idle_us = 5 * RIG_S});
	assert_int_equal(rig->worker->options.hello_verify, CONFIG_HELLO_ON);
	assert_int_equal(rig->worker->options.transport, CONFIG_TRANSPORT_TCP);
	rig_pass(rig, 6 * RIG_S);
	assert_int_equal(rig_event(rig, WORKER_ENDED)->reason, REASON_IDLE_TIMEOUT);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Figures of every flow that is there, and the sum of all there ever were. */
static void test_report(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *gone = attach(rig, 1, 1, "10.99.0.6/32");
	struct rig_peer *old = attach(rig, 2, 2, RIG_DEVICE "/32"), *new;
	struct worker_event *event;
	int tag;

	(void)state;
	assert_true(enters(rig, gone, "10.99.0.6", RIG_CORP));
	rig_post(rig, &(struct worker_order){.kind = WORKER_CUT, .session = 1});
	assert_true(enters(rig, old, RIG_DEVICE, RIG_CORP));
	assert_false(enters(rig, old, "10.99.0.6", RIG_CORP));
	new = rig_attach(rig, &(struct rig_flow){.id = 3,
						 .session = 2,
						 .own = RIG_DEVICE "/32",
						 .replaces = 2});
	rig_shake(new);
	assert_true(enters(rig, new, RIG_DEVICE, RIG_CORP));
	rig_pass(rig, RIG_S);
	rig_post(rig, &(struct worker_order){.kind = WORKER_REPORT, .tag = &tag});
	event = rig_event(rig, WORKER_REPORTED);
	assert_ptr_equal(event->tag, &tag);
	assert_int_equal(event->flow_count, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct worker_flow_report *flow = &event->flows[i];

		assert_int_equal(flow->session, 2);
		assert_int_equal(flow->is_open, flow->id == 3);
		assert_int_equal(flow->traffic.rx_packets, 1);
		if (!flow->is_open)
			continue;
		assert_int_equal(flow->idle_us, RIG_S);
		assert_int_equal(flow->mtu, RIG_MTU);
		assert_string_equal(flow->cipher, dtls_cipher(new->dtls));
		assert_true(addr_endpoint_equal(&flow->peer, &new->udp_at));
	}
	assert_int_equal(event->traffic.rx_packets, 3);
	assert_int_equal(event->counts.of[COUNT_DROP_SOURCE], 1);
	rig_peer_free(gone);
	rig_peer_free(old);
	rig_peer_free(new);
	rig_free(rig);
}

/* Between the slices of a report: described, next, later. */
static const uint64_t going[] = {1, 40, 65, 66, 100, 150};

static void check_report(const struct worker_event *event, const void *tag, size_t flows,
			 uint64_t packets)
{
	bool seen[256] = {false};
	uint64_t sum = 0;

	assert_non_null(event);
	assert_ptr_equal(event->tag, tag);
	assert_int_equal(event->flow_count, flows);
	assert_int_equal(event->traffic.tx_packets, packets);
	for (size_t i = 0; i < event->flow_count; i++) {
		assert_in_range(event->flows[i].id, 1, 255);
		assert_false(seen[event->flows[i].id]);
		seen[event->flows[i].id] = true;
		sum += event->flows[i].traffic.tx_packets;
	}
	assert_int_equal(sum, flows);
	for (size_t i = 0; i < sizeof(going) / sizeof(*going); i++)
		assert_false(seen[going[i]]);
}

/* Many are not described in one turn. What happens between turns: flows that have been, are next,
 * or would be, go; each has carried one packet, which counts once. Two ask at once. */
static void test_report_in_slices(void **state)
{
	enum { MANY = 150 };
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peers[MANY];
	size_t kept = MANY - sizeof(going) / sizeof(*going);
	int first, second;

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		char own[32], to[16];

		snprintf(to, sizeof(to), "10.99.1.%zu", i + 1);
		snprintf(own, sizeof(own), "%s/32", to);
		peers[i] = attach(rig, i + 1, i + 1, own);
		assert_true(reaches(rig, peers[i], to));
	}
	report_ask(rig->worker, &first);
	report_ask(rig->worker, &second);
	assert_null(rig_event(rig, WORKER_REPORTED));
	assert_int_equal(rig->worker->table.cursor->spec.id, 65);
	for (size_t i = 0; i < sizeof(going) / sizeof(*going); i++)
		worker_end_flow(rig->worker, flow_find(&rig->worker->table, going[i]),
				REASON_DISCONNECTED, false, NULL, "");
	assert_int_equal(rig->worker->table.cursor->spec.id, 67);
	rig_step(rig);
	rig_step(rig);
	check_report(rig_event(rig, WORKER_REPORTED), &first, kept, MANY);
	check_report(rig_event(rig, WORKER_REPORTED), &second, kept, MANY);
	assert_false(uv_is_active((uv_handle_t *)&rig->worker->report.turn));

	/* The end of the worker is no reason to leave somebody without an answer. */
	report_ask(rig->worker, &first);
	report_ask(rig->worker, &second);
	rig_post(rig, &(struct worker_order){.kind = WORKER_STOP, .reason = REASON_SHUTDOWN});
	check_report(rig_event(rig, WORKER_REPORTED), &first, kept, MANY);
	check_report(rig_event(rig, WORKER_REPORTED), &second, kept, MANY);
	for (size_t i = 0; i < MANY; i++)
		rig_peer_free(peers[i]);
	rig_free(rig);
}

/* All end with the reason; what main still posts is taken, and comes to nothing. */
static void test_stop(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *a = attach(rig, 1, 1, RIG_DEVICE "/32");
	struct rig_peer *b = attach(rig, 2, 2, "10.99.0.8/32");
	struct worker_order *stop = xnew(struct worker_order), *late = xnew(struct worker_order);
	size_t len;

	(void)state;
	stop->kind = WORKER_STOP;
	stop->reason = REASON_SHUTDOWN;
	worker_post(rig->worker, stop);
	late->kind = WORKER_ATTACH;
	late->spec.name = xalloc_string("late");
	worker_post(rig->worker, late);
	rig->run(rig->worker); /* ends */
	rig->stopped = true;
	assert_non_null(rig_event(rig, WORKER_STOPPED));
	assert_null(rig->worker->table.flows);
	uv_run(&rig->loop, UV_RUN_NOWAIT);
	for (int i = 0; i < 2; i++) {
		struct rig_peer *peer = i ? b : a;

		assert_int_equal(tls_read(peer->tls, out, CSTP_RECORD_MAX, &len), TLS_DONE);
		assert_int_equal(len, CSTP_HEADER + 1 + strlen("shutdown"));
		assert_int_equal(out[6], CSTP_DISCONNECT);
		assert_int_equal(tls_read(peer->tls, out, CSTP_RECORD_MAX, &len), TLS_CLOSED);
	}
	rig_peer_free(a);
	rig_peer_free(b);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attach),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_drained_is_closed),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_cut_at_once),
		cmocka_unit_test(test_silent_cut),
		cmocka_unit_test(test_lingering),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_tune),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_report_in_slices),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, rig_open_program, rig_close_program);
}
