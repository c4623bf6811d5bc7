/* data/liveness: what a worker does as time passes, with a clock that the test moves. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "rig.h"
#include "wire/ip.h"

enum { TICK = 100 * 1000, SEARCH_TICKS = 400 };

static uint8_t out[RIG_PACKET], packet[RIG_PACKET];

static size_t count_frames(struct rig_peer *peer, enum cstp_type type)
{
	size_t count = 0;

	while (rig_frame(peer, type, out) >= 0)
		count++;
	return count;
}

static size_t count_frames_udp(struct rig_peer *peer, enum cstp_type type)
{
	size_t count = 0;

	while (rig_frame_udp(peer, type, out) >= 0)
		count++;
	return count;
}

/* Time passes and every probe is answered, on TLS and, when wanted, on UDP. Probes of over limit
 * bytes are lost. */
static void live(struct rig_peer *peer, int64_t us, bool udp, ssize_t limit)
{
	for (int64_t at = 0; at < us; at += TICK) {
		ssize_t len;

		rig_pass(peer->rig, TICK);
		while ((len = rig_frame(peer, CSTP_DPD_REQUEST, out)) >= 0)
			rig_send(peer, CSTP_DPD_RESPONSE, out, (size_t)len);
		while (udp && (len = rig_frame_udp(peer, CSTP_DPD_REQUEST, out)) >= 0) {
			if (len <= limit)
				rig_send_udp(peer, CSTP_DPD_RESPONSE, out, (size_t)len);
		}
	}
}

static void carry(struct rig *rig, bool from_client)
{
	size_t len = from_client ? rig_udp_packet(RIG_DEVICE, RIG_CORP, 10, packet)
				 : rig_udp_packet(RIG_CORP, RIG_DEVICE, 10, packet);

	rig_write_tun(rig, NULL, packet, len);
}

/* ---- TLS ---- */

static const struct silence_row {
	bool at_client, stranger;
	int64_t first_us;
	size_t probes;
	int64_t end_us;
} silence_rows[] = {
	{false, true, 10 * RIG_S, 5, 30 * RIG_S},	       /* at 10, 15, 20, 25, 30 s */
	{false, false, 12 * RIG_S + RIG_S / 2, 4, 30 * RIG_S}, /* at 12.5, 17.5, 22.5, 27.5 s */
	{true, true, 10 * RIG_S, 3, 20 * RIG_S},
	{true, false, 10 * RIG_S, 3, 20 * RIG_S},
};

static void test_silence_on_tls(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(silence_rows) / sizeof(*silence_rows); i++) {
		const struct silence_row *row = &silence_rows[i];
		struct rig *rig = rig_new(row->at_client, NULL);
		struct rig_peer *peer =
			rig_attach(rig, &(struct rig_flow){.dpd_us = 10 * RIG_S,
							   .no_dtls = true,
							   .peer_is_stranger = row->stranger});
		struct worker_event *event;

		rig_pass(rig, row->first_us - TICK);
		assert_int_equal(count_frames(peer, CSTP_DPD_REQUEST), 0);
		rig_pass(rig, TICK);
		assert_int_equal(count_frames(peer, CSTP_DPD_REQUEST), 1);
		rig_pass(rig, row->end_us - row->first_us);
		assert_int_equal(count_frames(peer, CSTP_DPD_REQUEST), row->probes - 1);
		assert_null(rig_event(rig, WORKER_ENDED));
		rig_pass(rig, TICK);
		event = rig_event(rig, WORKER_ENDED);
		assert_int_equal(event->reason, REASON_PEER_TIMEOUT);
		assert_true(event->keep);
		assert_string_equal(event->text, "nothing was heard on TLS");
		rig_peer_free(peer);
		rig_free(rig);
	}
}

/* Any record is a sign of life, an answer or not. */
static void test_signs_of_life(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer =
		rig_attach(rig, &(struct rig_flow){.dpd_us = 10 * RIG_S, .no_dtls = true});

	(void)state;
	live(peer, 100 * RIG_S, false, 0);
	assert_non_null(rig_flow_of(peer));
	for (int i = 0; i < 10; i++) {
		rig_pass(rig, 9 * RIG_S);
		rig_send(peer, CSTP_KEEPALIVE, NULL, 0);
	}
	assert_int_equal(count_frames(peer, CSTP_DPD_REQUEST), 0);
	rig_peer_free(peer);
	rig_free(rig);

	/* Without a period nobody is asked, and nobody given up. */
	rig = rig_new(false, NULL);
	peer = rig_attach(rig, &(struct rig_flow){.no_dtls = true});
	rig_pass(rig, 200 * RIG_S);
	assert_non_null(rig_flow_of(peer));
	assert_int_equal(count_frames(peer, CSTP_DPD_REQUEST), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* One exchange a period: the tund at the other end asks, and what it asks is answered. A stranger,
 * who may wait for us to begin, is asked at the same time. */
static void test_who_asks_on_tls(void **state)
{
	(void)state;
	for (int stranger = 0; stranger < 2; stranger++) {
		struct rig *rig = rig_new(false, NULL);
		struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){
								.dpd_us = 10 * RIG_S,
								.keepalive_us = 10 * RIG_S,
								.no_dtls = true,
								.peer_is_stranger = stranger,
							});
		size_t asked = 0, answers = 0, keepalives = 0;

		for (int i = 0; i < 10; i++) {
			rig_pass(rig, 10 * RIG_S + TICK);
			rig_send(peer, CSTP_DPD_REQUEST, NULL, 0);
			for (ssize_t len = 0; len >= 0;) {
				uint8_t record[CSTP_RECORD_MAX];
				struct cstp_frame frame;

				len = rig_read(peer, record);
				if (len < 0 || !cstp_read_record(record, (size_t)len, &frame))
					continue;
				asked += frame.type == CSTP_DPD_REQUEST;
				answers += frame.type == CSTP_DPD_RESPONSE;
				keepalives += frame.type == CSTP_KEEPALIVE;
			}
		}
		assert_int_equal(answers, 10);
		assert_int_equal(asked, stranger ? 10 : 0);
		assert_int_equal(keepalives, 0);
		rig_peer_free(peer);
		rig_free(rig);
	}
}

/* Where nothing else was sent. */
static void test_keepalives(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.keepalive_us = 30 * RIG_S});

	(void)state;
	rig_pass(rig, 30 * RIG_S - TICK);
	assert_int_equal(count_frames(peer, CSTP_KEEPALIVE), 0);
	rig_pass(rig, TICK);
	assert_int_equal(count_frames(peer, CSTP_KEEPALIVE), 1);
	rig_pass(rig, 20 * RIG_S);
	carry(rig, false);
	rig_pass(rig, 20 * RIG_S);
	assert_int_equal(count_frames(peer, CSTP_KEEPALIVE), 0);
	rig_pass(rig, 10 * RIG_S);
	assert_int_equal(count_frames(peer, CSTP_KEEPALIVE), 1);

	rig_shake(peer);
	live(peer, 2 * RIG_S, true, RIG_MTU); /* the path's size */
	rig_pass(rig, 31 * RIG_S);
	assert_int_equal(count_frames_udp(peer, CSTP_KEEPALIVE), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* What counts is data, in either direction; a probe does not. */
static void test_idle(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.idle_us = 60 * RIG_S});
	size_t len = rig_udp_packet(RIG_DEVICE, RIG_CORP, 10, packet);
	struct worker_event *event;

	(void)state;
	rig_pass(rig, 50 * RIG_S);
	carry(rig, false);
	rig_pass(rig, 50 * RIG_S);
	len = rig_udp_packet(RIG_DEVICE, RIG_CORP, 10, packet);
	rig_send(peer, CSTP_DATA, packet, len);
	rig_pass(rig, 50 * RIG_S);
	rig_send(peer, CSTP_DPD_REQUEST, NULL, 0);
	rig_send(peer, CSTP_DATA, NULL, 0);
	rig_pass(rig, 10 * RIG_S);
	assert_non_null(rig_flow_of(peer));
	rig_pass(rig, TICK);
	assert_null(rig_flow_of(peer));
	event = rig_event(rig, WORKER_ENDED);
	assert_int_equal(event->reason, REASON_IDLE_TIMEOUT);
	assert_false(event->keep);
	assert_true(rig_frame(peer, CSTP_DISCONNECT, out) > 13);
	assert_memory_equal(out, "\xb0idle-timeout:", 14);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- awake and asleep ---- */

static bool is_asleep(struct rig_peer *peer)
{
	const struct flow *flow = rig_flow_of(peer);

	return !flow->awake && !flow->spec.tls->in.data &&
	       (!flow->active || flow->active->dtls->is_resting);
}

/* A quiet flow gives its buffers back, and has them when something comes or goes, on either channel,
 * in either direction. */
static void test_sleeper_works(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.dpd_us = 60 * RIG_S});
	size_t len;

	(void)state;
	rig_shake(peer);
	assert_false(is_asleep(peer));
	live(peer, RIG_S, true, RIG_MTU); /* the path's size */
	for (int i = 0; i < 3; i++) {
		assert_true(is_asleep(peer));
		carry(rig, false);
		assert_false(is_asleep(peer));
		assert_int_equal(count_frames_udp(peer, CSTP_DATA), 1);
		rig_pass(rig, RIG_S);
		assert_true(is_asleep(peer));
		rig_send_udp(peer, CSTP_DPD_REQUEST, (const uint8_t *)"there", 5);
		assert_int_equal(rig_frame_udp(peer, CSTP_DPD_RESPONSE, out), 5);
		rig_pass(rig, RIG_S);
		assert_true(is_asleep(peer));
		len = rig_udp_packet(RIG_DEVICE, RIG_CORP, 10, packet);
		rig_send_udp(peer, CSTP_DATA, packet, len);
		assert_int_equal(rig_read_tun(rig, NULL, out), len);
		rig_pass(rig, RIG_S);
		rig_send(peer, CSTP_DPD_REQUEST, (const uint8_t *)"there", 5);
		assert_false(is_asleep(peer));
		assert_int_equal(rig_frame(peer, CSTP_DPD_RESPONSE, out), 5);
		rig_pass(rig, RIG_S);
	}
	rig_peer_free(peer);
	rig_free(rig);
}

/* Half a record: the rest comes when the flow is asleep. */
static void test_half_a_record(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.no_dtls = true});
	uint8_t frame[CSTP_HEADER + 5] = {0};

	(void)state;
	cstp_write_header(frame, CSTP_DPD_REQUEST, 5);
	assert_true(tls_write(peer->tls, frame, sizeof(frame)));
	assert_int_equal(send(peer->tls->fd, peer->tls->out.data, 10, 0), 10);
	peer->tls->out_at = 10;
	rig_step(rig);
	rig_pass(rig, 5 * RIG_S);
	assert_true(is_asleep(peer));
	assert_int_equal(tls_flush(peer->tls), TLS_DONE);
	rig_step(rig);
	assert_int_equal(rig_frame(peer, CSTP_DPD_RESPONSE, out), 5);
	rig_peer_free(peer);
	rig_free(rig);
}

/* What begins while a flow is asleep also ends: a hello that is not followed by more, and a
 * predecessor. */
static void test_sleeper_is_woken(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0}), *next;

	(void)state;
	rig_pass(rig, 2 * RIG_S);
	assert_true(is_asleep(peer));
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	rig_step(rig);
	assert_non_null(rig_flow_of(peer)->candidate);
	rig_pass(rig, 13 * RIG_S);
	assert_null(rig_flow_of(peer)->candidate);
	rig_pass(rig, RIG_S);
	assert_true(is_asleep(peer));
	next = rig_attach(rig, &(struct rig_flow){.id = 2, .replaces = 1});
	rig_pass(rig, 4 * RIG_S);
	assert_null(rig_flow_of(peer));
	rig_peer_free(next);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Each channel has its own: TLS says something, DTLS does not. */
static void test_keepalive_of_one_channel(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.keepalive_us = 30 * RIG_S});

	(void)state;
	rig_shake(peer);
	live(peer, 2 * RIG_S, true, RIG_MTU);
	rig_pass(rig, 20 * RIG_S);
	rig_send(peer, CSTP_DPD_REQUEST, NULL, 0); /* answered */
	rig_pass(rig, 12 * RIG_S);
	assert_int_equal(count_frames_udp(peer, CSTP_KEEPALIVE), 1);
	assert_int_equal(count_frames(peer, CSTP_KEEPALIVE), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Of many, one at a time has something to do; the others sleep on. */
static void test_crowd_sleeps(void **state)
{
	enum { CROWD = 40 };
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peers[CROWD];

	(void)state;
	for (int i = 0; i < CROWD; i++) {
		char own[32];

		snprintf(own, sizeof(own), "10.99.1.%d/32", i + 1);
		peers[i] = rig_attach(rig, &(struct rig_flow){.id = (uint64_t)i + 1,
							      .session = (uint64_t)i + 1,
							      .own = own,
							      .dpd_us = 30 * RIG_S,
							      .no_dtls = true});
		rig_pass(rig, RIG_S / 2);
	}
	for (int i = 0; i < 20 * CROWD; i++) {
		size_t awake = 0;

		rig_pass(rig, RIG_S / 4);
		for (int k = 0; k < CROWD; k++) {
			if (count_frames(peers[k], CSTP_DPD_REQUEST))
				rig_send(peers[k], CSTP_DPD_RESPONSE, NULL, 0);
			awake += rig_flow_of(peers[k])->awake;
		}
		assert_in_range(awake, 0, CROWD / 4);
	}
	for (int i = 0; i < CROWD; i++)
		rig_peer_free(peers[i]);
	rig_free(rig);
}

/* ---- DTLS at a client ---- */

/* Hellos that are waiting at the peer's socket. */
static size_t count_hellos(struct rig_peer *peer)
{
	const uint8_t *app_id;
	size_t count = 0;
	ssize_t len;

	rig_step(peer->rig);
	while ((len = recv(peer->udp, out, sizeof(out), 0)) >= 0)
		count += dtls_record_hello(out, (size_t)len, &app_id) &&
			 memcmp(app_id, peer->app_id, DTLS_APP_ID) == 0;
	return count;
}

/* OpenSSL repeats a hello by a clock of its own: what is counted is attempts, one candidate
 * each. */
static void test_client_tries(void **state)
{
	struct rig *rig = rig_new(true, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});

	(void)state;
	assert_int_equal(count_hellos(peer), 1);
	assert_non_null(rig_flow_of(peer)->candidate);
	rig_pass(rig, 4500 * RIG_MS);
	assert_non_null(rig_flow_of(peer)->candidate);
	rig_pass(rig, TICK);
	assert_null(rig_flow_of(peer)->candidate);
	count_hellos(peer);
	rig_pass(rig, 400 * RIG_MS);
	assert_non_null(rig_flow_of(peer)->candidate);
	assert_int_equal(count_hellos(peer), 1);
	rig_peer_free(peer);
	rig_free(rig);

	/* A stranger is given more time, and asked less often. */
	rig = rig_new(true, NULL);
	peer = rig_attach(rig, &(struct rig_flow){.peer_is_stranger = true});
	rig_pass(rig, 12 * RIG_S);
	assert_non_null(rig_flow_of(peer)->candidate);
	rig_pass(rig, TICK);
	assert_null(rig_flow_of(peer)->candidate);
	count_hellos(peer);
	rig_pass(rig, 47 * RIG_S);
	assert_int_equal(count_hellos(peer), 0);
	rig_pass(rig, RIG_S);
	assert_int_equal(count_hellos(peer), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

static void tcp_alone(struct worker_options *options)
{
	options->transport = CONFIG_TRANSPORT_TCP;
}

static void no_socket(struct worker_options *options)
{
	options->sockets[0].family = 6;
}

static void test_client_does_not_try(void **state)
{
	void (*const changes[])(struct worker_options *) = {tcp_alone, no_socket, NULL};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct rig *rig = rig_new(true, changes[i]);
		struct rig_peer *peer =
			rig_attach(rig, &(struct rig_flow){.no_dtls = changes[i] == NULL});

		rig_pass(rig, 20 * RIG_S);
		assert_int_equal(count_hellos(peer), 0);
		assert_null(rig_flow_of(peer)->candidate);
		rig_peer_free(peer);
		rig_free(rig);
	}
}

/* A client with its association up and the path's size known; nothing has been carried for long. */
static struct rig_peer *attach_client(struct rig *rig)
{
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.dpd_us = 10 * RIG_S});

	rig_shake(peer);
	assert_true(rig_flow_of(peer)->over_dtls);
	live(peer, 6 * RIG_S, true, RIG_MTU);
	rig_forget_events(rig);
	return peer;
}

static void test_client_probes(void **state)
{
	struct rig *rig = rig_new(true, NULL);
	struct rig_peer *peer = attach_client(rig);
	size_t probes = 0;

	(void)state;
	/* Idle: one in a period. */
	for (int i = 0; i < 200; i++) {
		ssize_t len;

		rig_pass(rig, TICK);
		while ((len = rig_frame_udp(peer, CSTP_DPD_REQUEST, out)) >= 0) {
			probes++;
			rig_send_udp(peer, CSTP_DPD_RESPONSE, out, (size_t)len);
		}
		while (rig_frame(peer, CSTP_DPD_REQUEST, out) >= 0)
			rig_send(peer, CSTP_DPD_RESPONSE, NULL, 0);
	}
	assert_int_equal(probes, 2);
	/* While something is carried: two a second. */
	carry(rig, true);
	probes = 0;
	for (int i = 0; i < 40; i++) {
		rig_pass(rig, TICK);
		while (rig_frame_udp(peer, CSTP_DPD_REQUEST, out) >= 0) {
			probes++;
			rig_send_udp(peer, CSTP_DPD_RESPONSE, NULL, 0);
		}
	}
	assert_in_range(probes, 7, 9);
	assert_true(rig_flow_of(peer)->over_dtls);
	rig_peer_free(peer);
	rig_free(rig);
}

/* No answer for a second and a half: data moves to TLS at once, a new association is tried, the old
 * one probed on; when that answers after all, data moves back. */
static void test_client_leaves_a_blocked_path(void **state)
{
	struct rig *rig = rig_new(true, NULL);
	struct rig_peer *peer = attach_client(rig);
	struct flow *flow = rig_flow_of(peer);
	int64_t start_us = rig_now_us();

	(void)state;
	while (flow->over_dtls && rig_now_us() < start_us + 20 * RIG_S) {
		carry(rig, true);
		rig_pass(rig, TICK);
	}
	assert_in_range(rig_now_us() - start_us, 1500 * RIG_MS, 2600 * RIG_MS);
	assert_true(flow->udp_dead);
	assert_false(rig_event(rig, WORKER_TRANSPORT)->over_dtls);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), 0); /* the gateway follows this */
	assert_non_null(flow->active);
	carry(rig, true);
	assert_true(rig_frame(peer, CSTP_DATA, out) > 0);

	count_frames_udp(peer, CSTP_DPD_REQUEST);
	rig_pass(rig, TICK);
	assert_non_null(flow->candidate);
	rig_pass(rig, 2 * RIG_S);
	assert_int_equal(count_frames_udp(peer, CSTP_DPD_REQUEST), 1);
	rig_send_udp(peer, CSTP_DPD_RESPONSE, NULL, 0);
	assert_false(flow->udp_dead);
	assert_true(flow->over_dtls);
	assert_true(rig_event(rig, WORKER_TRANSPORT)->over_dtls);
	assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A path of 700 ms is slow, not blocked. */
static void test_client_stays_on_a_slow_path(void **state)
{
	struct rig *rig = rig_new(true, NULL);
	struct rig_peer *peer = attach_client(rig);
	struct flow *flow = rig_flow_of(peer);
	unsigned due[8] = {0}; /* answers that are under way, by tick */

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		carry(rig, true);
		rig_pass(rig, TICK);
		for (; due[i % 8]; due[i % 8]--)
			rig_send_udp(peer, CSTP_DPD_RESPONSE, NULL, 0);
		due[(i + 7) % 8] += (unsigned)count_frames_udp(peer, CSTP_DPD_REQUEST);
		while (rig_frame(peer, CSTP_DPD_REQUEST, out) >= 0)
			rig_send(peer, CSTP_DPD_RESPONSE, NULL, 0);
		assert_true(flow->over_dtls);
	}
	assert_true(flow->udp.rtt_us > 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- DTLS at a gateway ---- */

static void give_up_late(bool stranger, int64_t first_us, size_t probes)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.dpd_us = 10 * RIG_S,
								   .peer_is_stranger = stranger});
	struct flow *flow = rig_flow_of(peer);

	rig_shake(peer);
	live(peer, RIG_S, true, RIG_MTU);
	count_frames_udp(peer, CSTP_DPD_REQUEST);
	rig_forget_events(rig);
	rig_send_udp(peer, CSTP_KEEPALIVE, NULL, 0);
	live(peer, first_us - TICK, false, 0);
	assert_int_equal(count_frames_udp(peer, CSTP_DPD_REQUEST), 0);
	live(peer, 20 * RIG_S - first_us + TICK, false, 0);
	assert_int_equal(count_frames_udp(peer, CSTP_DPD_REQUEST), probes);
	assert_true(flow->over_dtls);
	live(peer, TICK, false, 0);
	assert_false(flow->over_dtls);
	assert_false(rig_event(rig, WORKER_TRANSPORT)->over_dtls);
	live(peer, 20 * RIG_S, false, 0);
	assert_null(rig_event(rig, WORKER_TRANSPORT));
	/* Its client's next data brings it back. */
	rig_send_udp(peer, CSTP_DATA, NULL, 0);
	assert_true(flow->over_dtls);
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_gateway_gives_up_late(void **state)
{
	(void)state;
	give_up_late(true, 10 * RIG_S, 3);		/* asked at 10, 15, 20 s */
	give_up_late(false, 12 * RIG_S + RIG_S / 2, 2); /* at 12.5, 17.5 s */
}

/* A tund that asks gets answers; a keepalive between them, no later than a probe would be, says no
 * more. */
static void test_keepalive_beside_probes(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.dpd_us = 20 * RIG_S,
								   .keepalive_us = 20 * RIG_S});

	(void)state;
	rig_shake(peer);
	live(peer, 2 * RIG_S, true, RIG_MTU);
	for (int i = 0; i < 4; i++) {
		rig_send_udp(peer, CSTP_DPD_REQUEST, NULL, 0);
		live(peer, 21 * RIG_S, false, 0);
	}
	assert_int_equal(count_frames_udp(peer, CSTP_KEEPALIVE), 0);
	rig_send_udp(peer, CSTP_DPD_REQUEST, NULL, 0);
	live(peer, 25 * RIG_S, false, 0);
	assert_true(count_frames_udp(peer, CSTP_DPD_REQUEST) > 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- keys that are old ---- */

static void test_gateway_lets_old_keys_go(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	struct worker_event *event;

	(void)state;
	rig_shake(peer);
	rig_flow_of(peer)->active->dtls->opened = DTLS_RECORDS_MAX - 1;
	rig_pass(rig, TICK);
	assert_non_null(rig_flow_of(peer));
	rig_flow_of(peer)->active->dtls->opened = DTLS_RECORDS_MAX;
	rig_pass(rig, TICK);
	event = rig_event(rig, WORKER_ENDED);
	assert_int_equal(event->reason, REASON_NONE);
	assert_true(event->keep);
	assert_int_equal(rig_read(peer, out), -2); /* without a word: it shall come back */
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_client_renews_old_keys(void **state)
{
	struct rig *rig = rig_new(true, NULL);
	struct rig_peer *peer = attach_client(rig);
	struct flow *flow = rig_flow_of(peer);
	struct flow_assoc *first = flow->active;

	(void)state;
	first->dtls->sealed = DTLS_REKEY_RECORDS;
	first->dtls->opened = 1;
	assert_null(flow->candidate);
	rig_pass(rig, TICK);
	assert_non_null(flow->candidate);
	assert_ptr_equal(flow->active, first);
	rig_open_dtls(peer);
	rig_shake(peer);
	assert_ptr_not_equal(flow->active, first);
	assert_ptr_equal(flow->older, first);
	assert_true(flow->over_dtls);
	rig_pass(rig, 3 * RIG_S + TICK);
	assert_null(flow->older);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- path MTU ---- */

enum search_ends { AT_GATEWAY, AT_CLIENT, AT_STRANGERS_CLIENT };

static const struct search_row {
	const char *name, *own;
	ssize_t limit;	    /* of the path, inner bytes; what is larger is not answered */
	unsigned low, high; /* 0: DTLS is left */
	bool told;
	enum search_ends ends;
} search_rows[] = {
	{"all of it", RIG_DEVICE "/32", RIG_MTU, RIG_MTU, RIG_MTU, false, AT_GATEWAY},
	{"nearly", RIG_DEVICE "/32", RIG_MTU - 1, RIG_MTU - 8, RIG_MTU - 1, true, AT_GATEWAY},
	{"less", RIG_DEVICE "/32", 1000, 993, 1000, true, AT_GATEWAY},
	{"the least", RIG_DEVICE "/32", 576, 576, 576, true, AT_GATEWAY},
	{"less than the least", RIG_DEVICE "/32", 100, 576, 576, true, AT_GATEWAY},
	{"nothing", RIG_DEVICE "/32", -1, 576, 576, true, AT_GATEWAY},
	{"IPv6 wants 1280", RIG_DEVICE "/32 fd99::7/128", 1000, 1280, 1280, true, AT_GATEWAY},
	{"IPv6 with more", RIG_DEVICE "/32 fd99::7/128", 1350, 1343, 1350, true, AT_GATEWAY},
	{"client, less", RIG_DEVICE "/32", 1000, 993, 1000, true, AT_CLIENT},
	{"client, nothing", RIG_DEVICE "/32", -1, 576, 576, true, AT_CLIENT},
	{"client, IPv6 with more", RIG_DEVICE "/32 fd99::7/128", 1350, 1343, 1350, true, AT_CLIENT},
	{"client, too small for IPv6", RIG_DEVICE "/32 fd99::7/128", 1000, 0, 0, false, AT_CLIENT},
	{"a stranger that echoes", RIG_DEVICE "/32", 1000, 993, 1000, true, AT_STRANGERS_CLIENT},
	{"a stranger that does not", RIG_DEVICE "/32 fd99::7/128", -1, RIG_MTU, RIG_MTU, false,
	 AT_STRANGERS_CLIENT},
};

static void check_found(struct rig_peer *peer, const struct search_row *row)
{
	struct flow *flow = rig_flow_of(peer);
	struct worker_event *event = rig_event(peer->rig, WORKER_MTU);

	assert_int_equal(flow->probe.size, 0);
	assert_int_equal(flow->over_dtls, row->low > 0);
	assert_int_equal(flow->active != NULL, row->low > 0);
	if (row->low)
		assert_in_range(flow->mtu, row->low, row->high);
	assert_int_equal(event != NULL, row->told);
	if (event)
		assert_int_equal(event->mtu, flow->mtu);
	assert_null(rig_event(peer->rig, WORKER_MTU));
}

static void test_mtu_search(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(search_rows) / sizeof(search_rows[0]); i++) {
		const struct search_row *row = &search_rows[i];
		struct rig *rig = rig_new(row->ends != AT_GATEWAY, NULL);
		struct rig_peer *peer =
			rig_attach(rig,
				   &(struct rig_flow){.own = row->own,
						      .peer_is_stranger =
							      row->ends == AT_STRANGERS_CLIENT});

		print_message("%s\n", row->name);
		rig_shake(peer);
		for (int k = 0; k < SEARCH_TICKS && rig_flow_of(peer)->probe.size; k++)
			live(peer, TICK, true, row->limit);
		check_found(peer, row);
		rig_peer_free(peer);
		rig_free(rig);
	}
}

static void test_no_mtu_search(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.peer_is_stranger = true});

	(void)state;
	rig_shake(peer);
	rig_pass(rig, RIG_S);
	assert_int_equal(count_frames_udp(peer, CSTP_DPD_REQUEST), 0);
	rig_peer_free(peer);
	peer = rig_attach(rig, &(struct rig_flow){.id = 2, .own = "10.99.0.8/32", .mtu = 9217});
	rig_shake(peer);
	rig_pass(rig, RIG_S);
	assert_int_equal(count_frames_udp(peer, CSTP_DPD_REQUEST), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Answers that are none, or to another search, change nothing; a late one to a larger size does. */
static void test_mtu_answers(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	static uint8_t first[RIG_MTU + 1], junk[RIG_MTU + 1];
	struct flow *flow = rig_flow_of(peer);

	(void)state;
	rig_shake(peer);
	assert_int_equal(rig_frame_udp(peer, CSTP_DPD_REQUEST, out), RIG_MTU);
	memcpy(first, out, RIG_MTU);
	memset(junk, 0xaa, sizeof(junk));
	rig_send_udp(peer, CSTP_DPD_RESPONSE, junk, RIG_MTU);
	rig_send_udp(peer, CSTP_DPD_RESPONSE, first, RIG_MTU + 1);
	rig_send_udp(peer, CSTP_DPD_RESPONSE, first, 4);
	rig_send_udp(peer, CSTP_DPD_RESPONSE, NULL, 0);
	assert_int_equal(flow->probe.size, RIG_MTU);
	/* Three tries, 200 ms each, then half way down. */
	rig_pass(rig, 700 * RIG_MS);
	assert_int_equal(count_frames_udp(peer, CSTP_DPD_REQUEST), 3);
	assert_in_range(flow->probe.size, 900, 1100);
	rig_send_udp(peer, CSTP_DPD_RESPONSE, first, RIG_MTU);
	assert_int_equal(flow->probe.size, 0);
	assert_int_equal(flow->mtu, RIG_MTU);
	assert_null(rig_event(rig, WORKER_MTU));
	rig_peer_free(peer);
	rig_free(rig);
}

/* On a path that was given up nothing is measured. */
static void test_mtu_search_ends_with_its_path(void **state)
{
	struct rig *rig = rig_new(true, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.dpd_us = 10 * RIG_S});
	struct flow *flow = rig_flow_of(peer);

	(void)state;
	rig_shake(peer);
	assert_int_equal(flow->probe.size, RIG_MTU);
	for (int i = 0; i < 40; i++) {
		carry(rig, true);
		rig_pass(rig, TICK);
	}
	assert_true(flow->udp_dead);
	assert_int_equal(flow->probe.size, 0);
	assert_int_equal(flow->mtu, RIG_MTU);
	rig_peer_free(peer);
	rig_free(rig);
}

static void set_loopback_mtu(int mtu)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_mtu = mtu};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(ioctl(fd, SIOCSIFMTU, &request), 0);
	close(fd);
}

/* The kernel refuses a datagram: between tunds the path is measured, with a stranger it goes down
 * by a sixteenth at a time. */
static void test_path_shrinks(void **state)
{
	enum { PATH = 1200, AROUND = 20 + 8 + DTLS_OVERHEAD_GCM + 1 };
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	struct rig_peer *stranger = rig_attach(rig, &(struct rig_flow){.id = 2,
								       .session = 2,
								       .own = "10.99.0.8/32",
								       .peer_is_stranger = true});
	size_t len = rig_udp_packet(RIG_CORP, RIG_DEVICE, RIG_MTU - 28, packet);

	(void)state;
	rig_shake(peer);
	live(peer, RIG_S, true, RIG_MTU);
	rig_shake(stranger);
	rig_forget_events(rig);
	set_loopback_mtu(PATH);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_flow_of(peer)->probe.size, RIG_MTU);
	for (int i = 0; i < SEARCH_TICKS && rig_flow_of(peer)->probe.size; i++)
		live(peer, TICK, true, RIG_MTU);
	assert_in_range(rig_flow_of(peer)->mtu, PATH - AROUND - 8, PATH - AROUND);
	assert_int_equal(rig_event(rig, WORKER_MTU)->mtu, rig_flow_of(peer)->mtu);

	len = rig_udp_packet(RIG_CORP, "10.99.0.8", RIG_MTU - 28, packet);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_flow_of(stranger)->mtu, RIG_MTU - RIG_MTU / 16);
	assert_int_equal(rig_event(rig, WORKER_MTU)->mtu, RIG_MTU - RIG_MTU / 16);
	for (int i = 0; i < 30; i++) {
		len = rig_udp_packet(RIG_CORP, "10.99.0.8", rig_flow_of(stranger)->mtu - 28,
				     packet);
		rig_write_tun(rig, NULL, packet, len);
	}
	assert_in_range(rig_flow_of(stranger)->mtu, PATH - AROUND - 80, PATH - AROUND);
	/* Never below what every path has to carry. */
	set_loopback_mtu(400);
	for (int i = 0; i < 30; i++)
		rig_write_tun(rig, NULL, packet,
			      rig_udp_packet(RIG_CORP, "10.99.0.8", rig_flow_of(stranger)->mtu - 28,
					     packet));
	assert_int_equal(rig_flow_of(stranger)->mtu, 576);
	set_loopback_mtu(65536);
	rig_peer_free(peer);
	rig_peer_free(stranger);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silence_on_tls),
		cmocka_unit_test(test_signs_of_life),
		cmocka_unit_test(test_who_asks_on_tls),
		cmocka_unit_test(test_keepalives),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_sleeper_works),
		cmocka_unit_test(test_half_a_record),
		cmocka_unit_test(test_sleeper_is_woken),
		cmocka_unit_test(test_keepalive_of_one_channel),
		cmocka_unit_test(test_crowd_sleeps),
		cmocka_unit_test(test_client_tries),
		cmocka_unit_test(test_client_does_not_try),
		cmocka_unit_test(test_client_probes),
		cmocka_unit_test(test_client_leaves_a_blocked_path),
		cmocka_unit_test(test_client_stays_on_a_slow_path),
		cmocka_unit_test(test_gateway_gives_up_late),
		cmocka_unit_test(test_keepalive_beside_probes),
		cmocka_unit_test(test_gateway_lets_old_keys_go),
		cmocka_unit_test(test_client_renews_old_keys),
		cmocka_unit_test(test_mtu_search),
		cmocka_unit_test(test_no_mtu_search),
		cmocka_unit_test(test_mtu_answers),
		cmocka_unit_test(test_mtu_search_ends_with_its_path),
		cmocka_unit_test(test_path_shrinks),
	};

	return cmocka_run_group_tests(tests, rig_open_program, rig_close_program);
}
