/* data/inbound: what a peer sends, over TLS and over DTLS, to a worker driven by hand. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include "rig.h"
#include "wire/ip.h"

static uint8_t out[RIG_PACKET], packet[RIG_PACKET];

static size_t good_packet(void)
{
	return rig_udp_packet(RIG_DEVICE, RIG_CORP, 100, packet);
}

/* ---- CSTP ---- */

static void test_data_to_tun(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = good_packet();
	struct tun_header header;

	(void)state;
	rig_send(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, &header, out), len);
	assert_memory_equal(out, packet, len);
	assert_int_equal(header.gso_type, TUN_GSO_NONE);
	assert_int_equal(rig_flow_of(peer)->traffic.rx_packets, 1);
	assert_int_equal(rig_flow_of(peer)->traffic.rx_bytes, len);
	assert_int_equal(rig_count(rig, COUNT_TUN_WRITES), 1);
	assert_int_equal(rig_count(rig, COUNT_TLS_RECORDS_RX), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A record, and what becomes of the flow. */
static const struct record_row {
	const char *name;
	const char *bytes;
	size_t len;
	enum reason ended; /* REASON_NONE: it stays */
	const char *bye;   /* what the peer is told */
	enum count drop;   /* COUNT_MAX: none */
} record_rows[] = {
	{"nothing of a header", "S", 1, REASON_PROTOCOL_ERROR, "malformed frame", COUNT_MAX},
	{"seven bytes", "STF\1\0\0\0", 7, REASON_PROTOCOL_ERROR, "malformed frame", COUNT_MAX},
	{"wrong magic", "STX\1\0\0\0\0", 8, REASON_PROTOCOL_ERROR, "malformed frame", COUNT_MAX},
	{"wrong version", "STF\2\0\0\0\0", 8, REASON_PROTOCOL_ERROR, "malformed frame", COUNT_MAX},
	{"reserved byte", "STF\1\0\0\0\1", 8, REASON_PROTOCOL_ERROR, "malformed frame", COUNT_MAX},
	{"longer than its record", "STF\1\0\5\7\0abcd", 12, REASON_PROTOCOL_ERROR,
	 "malformed frame", COUNT_MAX},
	{"shorter than its record", "STF\1\0\3\7\0abcd", 12, REASON_PROTOCOL_ERROR,
	 "malformed frame", COUNT_MAX},
	{"64 KiB in eight bytes", "STF\1\xff\xff\0\0", 8, REASON_PROTOCOL_ERROR, "malformed frame",
	 COUNT_MAX},
	{"two frames in one record", "STF\1\0\0\7\0STF\1\0\0\7\0", 16, REASON_PROTOCOL_ERROR,
	 "malformed frame", COUNT_MAX},
	{"an HTTP request", "GET / HTTP/1.1\r\n\r\n", 18, REASON_PROTOCOL_ERROR, "malformed frame",
	 COUNT_MAX},
	{"compressed", "STF\1\0\4\x08\0abcd", 12, REASON_PROTOCOL_ERROR,
	 "compressed packets were not agreed on", COUNT_MAX},
	{"compressed, empty", "STF\1\0\0\x08\0", 8, REASON_PROTOCOL_ERROR,
	 "compressed packets were not agreed on", COUNT_MAX},
	{"type 1", "STF\1\0\0\1\0", 8, REASON_NONE, NULL, COUNT_DROP_FRAME},
	{"type 2", "STF\1\0\1\2\0x", 9, REASON_NONE, NULL, COUNT_DROP_FRAME},
	{"type 6", "STF\1\0\0\6\0", 8, REASON_NONE, NULL, COUNT_DROP_FRAME},
	{"type 10", "STF\1\0\0\x0a\0", 8, REASON_NONE, NULL, COUNT_DROP_FRAME},
	{"type 255", "STF\1\0\0\xff\0", 8, REASON_NONE, NULL, COUNT_DROP_FRAME},
	{"TERMINATE, which is the gateway's to say", "STF\1\0\0\x09\0", 8, REASON_NONE, NULL,
	 COUNT_MAX},
	{"DPD response that nobody asked for", "STF\1\0\4\4\0abcd", 12, REASON_NONE, NULL,
	 COUNT_MAX},
	{"keepalive", "STF\1\0\0\7\0", 8, REASON_NONE, NULL, COUNT_MAX},
	{"keepalive with a payload", "STF\1\0\4\7\0abcd", 12, REASON_NONE, NULL, COUNT_MAX},
	{"empty data", "STF\1\0\0\0\0", 8, REASON_NONE, NULL, COUNT_MAX},
	{"data of one byte", "STF\1\0\1\0\0E", 9, REASON_NONE, NULL, COUNT_DROP_CUT_SHORT},
	{"data that is no packet", "STF\1\0\4\0\0abcd", 12, REASON_NONE, NULL,
	 COUNT_DROP_CUT_SHORT},
};

static uint64_t all_drops(const struct rig *rig)
{
	uint64_t sum = 0;

	for (int i = COUNT_FIRST_DROP; i < COUNT_MAX; i++)
		sum += rig_count(rig, (enum count)i);
	return sum;
}

static void check_ended(struct rig_peer *peer, enum reason reason, bool keep, const char *name)
{
	struct worker_event *event = rig_event(peer->rig, WORKER_ENDED);

	if (!event || event->reason != reason || event->keep != keep)
		fail_msg("%s: %s", name, event ? reason_word(event->reason) : "still there");
	assert_null(rig_flow_of(peer));
}

static void check_record(const struct record_row *row)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len;

	print_message("%s\n", row->name);
	rig_write(peer, row->bytes, row->len);
	if (row->ended) {
		check_ended(peer, row->ended, false, row->name);
		assert_int_equal(rig_frame(peer, CSTP_DISCONNECT, out), 1 + strlen(row->bye));
		assert_int_equal(out[0], CSTP_BYE_USER);
		assert_memory_equal(out + 1, row->bye, strlen(row->bye));
	} else {
		assert_non_null(rig_flow_of(peer));
		assert_null(rig_event(rig, WORKER_ENDED));
		assert_int_equal(all_drops(rig), row->drop == COUNT_MAX ? 0 : 1);
		if (row->drop != COUNT_MAX)
			assert_int_equal(rig_flow_of(peer)->drops[row->drop - COUNT_FIRST_DROP], 1);
		assert_int_equal(rig_read_tun(rig, NULL, out), -1);
		len = good_packet();
		rig_send(peer, CSTP_DATA, packet, len);
		assert_int_equal(rig_read_tun(rig, NULL, out), len);
	}
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(record_rows) / sizeof(record_rows[0]); i++)
		check_record(&record_rows[i]);
}

/* Of several in one read the rest is not looked at once the flow is gone. */
static void test_nothing_after_the_end(void **state)
{
	static const char bad[] = "STF\1\0\5\0\0";
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	uint8_t record[CSTP_RECORD_MAX];
	size_t len = good_packet();

	(void)state;
	cstp_write_header(record, CSTP_DATA, len);
	memcpy(record + CSTP_HEADER, packet, len);
	assert_true(tls_write(peer->tls, record, CSTP_HEADER + len));
	assert_true(tls_write(peer->tls, bad, 8));
	rig_write(peer, record, CSTP_HEADER + len);
	check_ended(peer, REASON_PROTOCOL_ERROR, false, "bad record");
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	assert_int_equal(rig_read_tun(rig, NULL, out), -1);
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_probe_is_echoed(void **state)
{
	static const size_t sizes[] = {0, 1, 4, 1400, CSTP_RECORD_MAX - CSTP_HEADER};
	static uint8_t payload[CSTP_RECORD_MAX];
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(payload, (int)i + 1, sizes[i]);
		rig_send(peer, CSTP_DPD_REQUEST, payload, sizes[i]);
		assert_int_equal(rig_frame(peer, CSTP_DPD_RESPONSE, out), sizes[i]);
		assert_memory_equal(out, payload, sizes[i]);
	}
	rig_peer_free(peer);
	rig_free(rig);
}

static const struct bye_row {
	const char *name;
	bool at_client;
	enum cstp_type type;
	const char *payload;
	size_t len;
	enum reason reason;
	bool keep;
	const char *text;
} bye_rows[] = {
	{"user", false, CSTP_DISCONNECT, "\xb0Logout", 7, REASON_DISCONNECTED, false, "Logout"},
	{"error there", false, CSTP_DISCONNECT, "\x70x", 2, REASON_DISCONNECTED, false, "x"},
	{"reconnecting", false, CSTP_DISCONNECT, "\x91", 1, REASON_DISCONNECTED, true, ""},
	{"empty", false, CSTP_DISCONNECT, "", 0, REASON_DISCONNECTED, true, ""},
	{"unknown kind", false, CSTP_DISCONNECT, "\x01why", 4, REASON_DISCONNECTED, true, "why"},
	{"its text is escaped", false, CSTP_DISCONNECT,
	 "\xb0"
	 "a\n\x1b[2Jb",
	 8, REASON_DISCONNECTED, false, "a\\x0a\\x1b[2Jb"},
	{"client: revoked", true, CSTP_DISCONNECT, "\xb0revoked: by hand", 17, REASON_REVOKED,
	 false, "revoked: by hand"},
	{"client: the word alone", true, CSTP_DISCONNECT, "\xb0shutdown", 9, REASON_SHUTDOWN, false,
	 "shutdown"},
	{"client: a stranger's text", true, CSTP_DISCONNECT, "\xb0Server request", 15,
	 REASON_DISCONNECTED, false, "Server request"},
	{"client: an endless word", true, CSTP_DISCONNECT,
	 "\xb0revokedrevokedrevokedrevokedrevokedrevokedrevoked", 50, REASON_DISCONNECTED, false,
	 "revokedrevokedrevokedrevokedrevokedrevokedrevoked"},
	{"client: kept by nobody", true, CSTP_DISCONNECT, "\x91", 1, REASON_DISCONNECTED, false,
	 ""},
	{"client: terminate", true, CSTP_TERMINATE, "", 0, REASON_DISCONNECTED, false, ""},
};

static void test_byes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bye_rows) / sizeof(bye_rows[0]); i++) {
		const struct bye_row *row = &bye_rows[i];
		struct rig *rig = rig_new(row->at_client, NULL);
		struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
		struct worker_event *event;

		print_message("%s\n", row->name);
		rig_send(peer, row->type, row->payload, row->len);
		event = rig_event(rig, WORKER_ENDED);
		assert_non_null(event);
		assert_int_equal(event->reason, row->reason);
		assert_int_equal(event->keep, row->keep);
		assert_string_equal(event->text, row->text);
		assert_null(rig_flow_of(peer));
		/* A bye is not answered with one. */
		assert_int_equal(rig_read(peer, out), -2);
		rig_peer_free(peer);
		rig_free(rig);
	}
}

static void test_lost_channel(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	struct worker_event *event;

	(void)state;
	shutdown(peer->tls->fd, SHUT_WR);
	rig_step(rig);
	event = rig_event(rig, WORKER_ENDED);
	assert_int_equal(event->reason, REASON_PEER_TIMEOUT);
	assert_true(event->keep);
	assert_string_equal(event->text, "closed the connection");
	rig_peer_free(peer);

	/* Bytes that are no TLS record. */
	peer = rig_attach(rig, &(struct rig_flow){.id = 2});
	assert_int_equal(write(peer->tls->fd, "garbage that is long enough", 27), 27);
	rig_step(rig);
	event = rig_event(rig, WORKER_ENDED);
	assert_int_equal(event->flow, 2);
	assert_int_equal(event->reason, REASON_PEER_TIMEOUT);
	assert_true(event->keep && event->text[0]);
	assert_string_not_equal(event->text, "closed the connection");
	rig_peer_free(peer);
	rig_free(rig);
}

/* More in one go than a run takes: the rest follows without another byte from the peer. */
static void test_many_records(void **state)
{
	enum { RECORDS = 700 };
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = rig_udp_packet(RIG_DEVICE, RIG_CORP, 10, packet), got = 0;
	uint8_t record[200];

	(void)state;
	cstp_write_header(record, CSTP_DATA, len);
	memcpy(record + CSTP_HEADER, packet, len);
	for (int i = 0; i < RECORDS; i++)
		assert_true(tls_write(peer->tls, record, CSTP_HEADER + len));
	for (int i = 0; i < 20; i++) {
		tls_flush(peer->tls);
		rig_step(rig);
		while (rig_read_tun(rig, NULL, out) >= 0)
			got++;
	}
	assert_int_equal(got, RECORDS);
	assert_int_equal(rig_flow_of(peer)->traffic.rx_packets, RECORDS);
	rig_peer_free(peer);
	rig_free(rig);
}

/* The record that came with the answer to CONNECT. */
static void test_early_record(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.early = "no frame at all"});

	(void)state;
	check_ended(peer, REASON_PROTOCOL_ERROR, false, "early");
	assert_non_null(rig_event(rig, WORKER_ATTACHED));
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- what is in a packet ---- */

static const struct inner_row {
	const char *name;
	bool at_client;
	const char *source, *destination;
	enum count drop; /* COUNT_MAX: it passes */
} inner_rows[] = {
	{"good", false, RIG_DEVICE, RIG_CORP, COUNT_MAX},
	{"good v6", false, "fd99::7", "fd50::10", COUNT_MAX},
	{"from another", false, "10.99.0.8", RIG_CORP, COUNT_DROP_SOURCE},
	{"from another v6", false, "fd99::8", "fd50::10", COUNT_DROP_SOURCE},
	{"to a group", false, RIG_DEVICE, "224.0.0.1", COUNT_DROP_MULTICAST},
	{"a stranger's, to a group", false, "10.99.0.8", "224.0.0.1", COUNT_DROP_MULTICAST},
	{"loopback", false, "127.0.0.1", RIG_CORP, COUNT_DROP_LOOPBACK},
	{"client: good", true, RIG_CORP, RIG_DEVICE, COUNT_MAX},
	{"client: for another", true, RIG_CORP, "10.99.0.8", COUNT_DROP_SOURCE},
	{"client: from itself", true, RIG_DEVICE, RIG_DEVICE, COUNT_DROP_SOURCE},
	{"client: from itself, for another", true, RIG_DEVICE, RIG_CORP, COUNT_DROP_SOURCE},
	{"client: from nobody", true, "0.0.0.0", RIG_DEVICE, COUNT_DROP_UNSPECIFIED},
};

static void test_inner_packets(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(inner_rows) / sizeof(inner_rows[0]); i++) {
		const struct inner_row *row = &inner_rows[i];
		struct rig *rig = rig_new(row->at_client, NULL);
		struct rig_peer *peer =
			rig_attach(rig, &(struct rig_flow){.own = RIG_DEVICE "/32 fd99::7/128"});
		size_t len = rig_udp_packet(row->source, row->destination, 20, packet);

		print_message("%s\n", row->name);
		rig_send(peer, CSTP_DATA, packet, len);
		assert_int_equal(rig_read_tun(rig, NULL, out),
				 row->drop == COUNT_MAX ? (ssize_t)len : -1);
		assert_int_equal(all_drops(rig), row->drop == COUNT_MAX ? 0 : 1);
		if (row->drop != COUNT_MAX) {
			assert_int_equal(rig_count(rig, row->drop), 1);
			assert_int_equal(rig_flow_of(peer)->traffic.rx_packets, 0);
		}
		rig_peer_free(peer);
		rig_free(rig);
	}
}

static struct access *make_rules(const char *net, uint8_t protocol)
{
	struct config_rule rule = {.protocol = protocol};
	struct config_access block = {.allow = {.items = &rule, .count = 1}};
	const struct config_access *blocks[] = {&block};

	assert_true(prefix_parse(net, &rule.net, NULL));
	return access_compile(blocks, 1);
}

/* The device is told, not more than a hundred times a second. */
static void test_prohibited(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer =
		rig_attach(rig,
			   &(struct rig_flow){.access = make_rules("10.50.0.0/24", IP_PROTO_TCP)});
	size_t len = rig_tcp_packet(RIG_DEVICE, RIG_CORP, 0x02, 0, 1, 0, packet), told = 0;

	(void)state;
	rig_send(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	len = good_packet();
	for (int i = 0; i < 150; i++)
		rig_send(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, NULL, out), -1);
	assert_int_equal(rig_count(rig, COUNT_DROP_ACCESS), 150);
	while (rig_frame(peer, CSTP_DATA, out) > 0) {
		told++;
		assert_int_equal(out[9], IP_PROTO_ICMP);
		assert_int_equal(out[20], 3);
		assert_int_equal(out[21], 13);
		assert_memory_equal(out + 12, packet + 16, 4); /* from whom it was for */
		assert_memory_equal(out + 16, packet + 12, 4);
		assert_memory_equal(out + 28, packet, 28);
	}
	assert_int_equal(told, 100);
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_syn_is_clamped(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.mtu = 1300});
	size_t len = rig_tcp_packet(RIG_DEVICE, RIG_CORP, 0x02, 1460, 1, 0, packet);

	(void)state;
	rig_send(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	assert_int_equal(ip_get16(out + 42), 1300 - 40);
	assert_int_equal(rig_count(rig, COUNT_MSS_CLAMPED), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

static void grant_offloads(struct worker_options *options)
{
	options->tun_offloads = TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6;
}

/* Neighbours of one stream in one batch become one packet; another stream's ends it. */
static void test_neighbours_are_joined(void **state)
{
	struct rig *rig = rig_new(false, grant_offloads);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	uint8_t record[CSTP_RECORD_MAX];
	struct tun_header header;
	size_t len;

	(void)state;
	for (uint32_t i = 0; i < 5; i++) {
		len = rig_tcp_packet(RIG_DEVICE, RIG_CORP, 0x10, 0, 1000 + i * 500, 500,
				     record + CSTP_HEADER);
		cstp_write_header(record, CSTP_DATA, len);
		assert_true(tls_write(peer->tls, record, CSTP_HEADER + len));
	}
	len = good_packet();
	rig_send(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, &header, out), 40 + 5 * 500);
	assert_int_equal(header.gso_type, TUN_GSO_TCPV4);
	assert_int_equal(header.gso_size, 500);
	assert_int_equal(rig_read_tun(rig, &header, out), len);
	assert_int_equal(rig_count(rig, COUNT_TUN_SUPER_TX), 1);
	assert_int_equal(rig_flow_of(peer)->traffic.rx_packets, 6);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Its packet would go on from where another device's stream is: it is judged by itself. */
static void test_a_stream_is_not_continued_by_others(void **state)
{
	struct rig *rig = rig_new(false, grant_offloads);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.id = 1, .session = 1});
	struct rig_peer *other =
		rig_attach(rig, &(struct rig_flow){.id = 2, .session = 2, .own = "10.99.0.8/32"});
	uint8_t plain[600] = {CSTP_DATA};
	struct tun_header header;
	size_t len;

	(void)state;
	rig_shake(peer);
	rig_shake(other);
	for (uint32_t i = 0; i < 3; i++) {
		len = rig_tcp_packet(RIG_DEVICE, RIG_CORP, 0x10, 0, 1000 + i * 500, 500, plain + 1);
		assert_true(dtls_seal((i == 1 ? other : peer)->dtls, plain, len + 1));
	}
	rig_step(rig);
	assert_int_equal(rig_count(rig, COUNT_DROP_SOURCE), 1);
	assert_int_equal(rig_read_tun(rig, &header, out), 540);
	assert_int_equal(rig_read_tun(rig, &header, out), 540);
	assert_int_equal(ip_get32(out + 24), 2000);
	assert_int_equal(rig_read_tun(rig, &header, out), -1);
	rig_peer_free(other);
	rig_peer_free(peer);
	rig_free(rig);
}

/* More than a socket should hold, of two streams. lone: their packets take turns. */
static uint64_t fill_socket(bool lone, size_t *ret_arrived)
{
	enum { PACKETS = 1000, PAYLOAD = 1300 };
	struct rig *rig = rig_new(false, grant_offloads);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	uint8_t plain[1500] = {CSTP_DATA};
	struct tun_header header;
	uint64_t drops;
	ssize_t got;

	rig_shake(peer);
	for (uint32_t i = 0; i < PACKETS; i++) {
		uint32_t turn = lone ? i / 2 : i;
		size_t len = rig_tcp_packet(RIG_DEVICE, RIG_CORP, 0x10, 0, turn * PAYLOAD, PAYLOAD,
					    plain + 1);

		if (lone && i % 2)
			len = rig_tcp_packet(RIG_DEVICE, "10.50.0.11", 0x10, 0, turn * PAYLOAD,
					     PAYLOAD, plain + 1);
		assert_true(dtls_seal(peer->dtls, plain, len + 1));
	}
	*ret_arrived = 0;
	for (int i = 0; i < 100; i++) {
		rig_step(rig);
		while ((got = rig_read_tun(rig, &header, out)) > 0)
			*ret_arrived += ((size_t)got - 40) / PAYLOAD;
	}
	drops = rig_count(rig, COUNT_DROP_CONGESTED);
	assert_int_equal(rig_flow_of(peer)->drops[COUNT_DROP_CONGESTED - COUNT_FIRST_DROP], drops);
	rig_peer_free(peer);
	rig_free(rig);
	return drops;
}

/* A stream that fills the socket is told to be slower, by one packet in a while: the clock stands
 * still. One that others' packets stand between does not fill it. */
static void test_slowing_down(void **state)
{
	size_t arrived;

	(void)state;
	assert_int_equal(fill_socket(false, &arrived), 1);
	assert_int_equal(arrived, 999);
	assert_int_equal(fill_socket(true, &arrived), 0);
	assert_int_equal(arrived, 1000);
}

/* What was joined counts as what it was. */
static void test_tun_full(void **state)
{
	struct rig *rig = rig_new(false, grant_offloads);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	uint8_t record[CSTP_RECORD_MAX];
	size_t len = good_packet();
	int sent = 0, got = 0, bytes = 4096;

	(void)state;
	assert_int_equal(setsockopt(rig->worker->options.tun_fd, SOL_SOCKET, SO_SNDBUF, &bytes,
				    sizeof(bytes)),
			 0);
	for (; sent < 5000 && rig_count(rig, COUNT_DROP_TUN_FULL) < 3; sent++)
		rig_send(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_TUN_FULL), 3);
	for (uint32_t i = 0; i < 5; i++) {
		size_t size = rig_tcp_packet(RIG_DEVICE, RIG_CORP, 0x10, 0, 1000 + i * 500, 500,
					     record + CSTP_HEADER);

		cstp_write_header(record, CSTP_DATA, size);
		assert_true(tls_write(peer->tls, record, CSTP_HEADER + size));
	}
	rig_send(peer, CSTP_KEEPALIVE, NULL, 0);
	assert_int_equal(rig_count(rig, COUNT_DROP_TUN_FULL), 8);
	while (rig_read_tun(rig, NULL, out) >= 0)
		got++;
	assert_int_equal(got, sent - 3);
	rig_send(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- DTLS ---- */

static void test_hello_makes_a_candidate(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	struct worker_event *event;
	struct flow *flow = rig_flow_of(peer);
	size_t len = good_packet();

	(void)state;
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	rig_step(rig);
	/* The App-ID proves nothing: data goes where it went. */
	assert_non_null(flow->candidate);
	assert_null(flow->active);
	assert_false(flow->over_dtls);
	rig_shake(peer);
	assert_null(flow->candidate);
	assert_non_null(flow->active);
	assert_true(flow->over_dtls);
	event = rig_event(rig, WORKER_TRANSPORT);
	assert_true(event->over_dtls);
	assert_string_equal(event->text, dtls_cipher(peer->dtls));
	assert_int_equal(rig_count(rig, COUNT_DTLS_ASSOCIATIONS), 1);
	rig_send_udp(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	assert_memory_equal(out, packet, len);
	assert_int_equal(all_drops(rig), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* What a gateway sends goes where the latest came from. */
static void test_data_is_followed(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});

	(void)state;
	rig_shake(peer);
	rig_forget_events(rig);
	rig_send(peer, CSTP_DPD_REQUEST, NULL, 0); /* not data */
	assert_true(rig_flow_of(peer)->over_dtls);
	rig_send(peer, CSTP_DATA, NULL, 0);
	assert_false(rig_flow_of(peer)->over_dtls);
	assert_false(rig_event(rig, WORKER_TRANSPORT)->over_dtls);
	rig_send_udp(peer, CSTP_DATA, NULL, 0);
	assert_true(rig_flow_of(peer)->over_dtls);
	assert_true(rig_event(rig, WORKER_TRANSPORT)->over_dtls);
	rig_send_udp(peer, CSTP_DATA, NULL, 0);
	assert_null(rig_event(rig, WORKER_TRANSPORT));
	rig_peer_free(peer);
	rig_free(rig);
}

/* Control is TLS's: over DTLS a record of these kinds is dropped, and all goes on. */
static const struct udp_row {
	const char *name;
	uint8_t type;
	const char *payload;
	size_t len;
	bool dropped;
} udp_rows[] = {
	{"DISCONNECT, user", CSTP_DISCONNECT, "\xb0 bye", 4, true},
	{"DISCONNECT, reconnecting", CSTP_DISCONNECT, "\x91", 1, true},
	{"DISCONNECT, error", CSTP_DISCONNECT, "\x70", 1, true},
	{"DISCONNECT, empty", CSTP_DISCONNECT, "", 0, true},
	{"TERMINATE", CSTP_TERMINATE, "", 0, true},
	{"compressed", CSTP_COMPRESSED, "abcd", 4, true},
	{"type 1", 1, "", 0, true},
	{"type 2", 2, "x", 1, true},
	{"type 255", 255, "", 0, true},
	{"keepalive", CSTP_KEEPALIVE, "", 0, false},
	{"empty data", CSTP_DATA, "", 0, false},
	{"DPD response", CSTP_DPD_RESPONSE, "", 0, false},
};

static void test_frames_over_dtls(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	uint64_t dropped = 0;

	(void)state;
	rig_shake(peer);
	for (size_t i = 0; i < sizeof(udp_rows) / sizeof(udp_rows[0]); i++) {
		const struct udp_row *row = &udp_rows[i];

		print_message("%s\n", row->name);
		rig_send_udp(peer, (enum cstp_type)row->type, row->payload, row->len);
		dropped += row->dropped;
		assert_int_equal(rig_count(rig, COUNT_DROP_FRAME), dropped);
		assert_int_equal(all_drops(rig), dropped);
		assert_non_null(rig_flow_of(peer));
	}
	assert_null(rig_event(rig, WORKER_ENDED));
	rig_send_udp(peer, CSTP_DPD_REQUEST, "alive?", 6);
	assert_int_equal(rig_frame_udp(peer, CSTP_DPD_RESPONSE, out), 6);
	assert_memory_equal(out, "alive?", 6);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Datagrams from strangers, and in the name of the peer; each is one drop. */
static void test_datagrams_that_are_none_of_ours(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	int stranger = rig_socket(rig, NULL);
	uint8_t bad[RIG_PACKET];
	size_t len;

	(void)state;
	rig_shake(peer);
	rig_send_udp(peer, CSTP_KEEPALIVE, NULL, 0);
	len = peer->last_len;

	rig_datagram(rig, stranger, peer->last, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_UNKNOWN_PEER), 1);
	rig_datagram(rig, stranger, "x", 1);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_SHORT), 1);
	rig_datagram(rig, stranger, "GET / HTTP/1.1\r\n\r\n", 18);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_TYPE), 1);

	rig_datagram(rig, peer->udp, peer->last, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_REPLAY), 1);
	memcpy(bad, peer->last, len);
	bad[10] = 99; /* a fresh sequence number */
	rig_datagram(rig, peer->udp, bad, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_FORGED), 1);
	bad[4] = 7;
	rig_datagram(rig, peer->udp, bad, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_EPOCH), 1);
	bad[4] = 1;
	bad[2] = 0xff;
	rig_datagram(rig, peer->udp, bad, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_VERSION), 1);
	bad[2] = 0xfd;
	bad[11] = 0x7f;
	rig_datagram(rig, peer->udp, bad, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_LENGTH), 1);
	assert_int_equal(all_drops(rig), 8);
	/* Those in its name are the session's, too. */
	assert_int_equal(rig_flow_of(peer)->drops[COUNT_DROP_RECORD_FORGED - COUNT_FIRST_DROP], 1);
	assert_int_equal(rig_flow_of(peer)->drops[COUNT_DROP_UNKNOWN_PEER - COUNT_FIRST_DROP], 0);

	rig_send_udp(peer, CSTP_DPD_REQUEST, NULL, 0);
	assert_int_equal(rig_frame_udp(peer, CSTP_DPD_RESPONSE, out), 0);
	close(stranger);
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_unknown_app_id(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	struct rig_peer *tcp =
		rig_attach(rig,
			   &(struct rig_flow){.id = 2, .own = "10.99.0.8/32", .no_dtls = true});

	(void)state;
	memset(peer->app_id, 0xee, sizeof(peer->app_id));
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	rig_step(rig);
	assert_int_equal(rig_count(rig, COUNT_DROP_UNKNOWN_APP_ID), 1);
	/* One that wanted no DTLS has none. */
	rig_open_dtls(tcp);
	dtls_handshake(tcp->dtls, NULL, 0);
	rig_step(rig);
	assert_int_equal(rig_count(rig, COUNT_DROP_UNKNOWN_APP_ID), 2);
	assert_null(rig_flow_of(tcp)->candidate);
	rig_peer_free(peer);
	rig_peer_free(tcp);
	rig_free(rig);
}

/* A hello that was recorded and comes from elsewhere disturbs neither the active association nor a
 * young candidate; from then on addresses have to answer first. */
static void test_replayed_hello(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	int elsewhere = rig_socket(rig, NULL);
	struct flow *flow = rig_flow_of(peer);
	uint8_t hello[RIG_PACKET];
	struct flow_assoc *active, *candidate;
	size_t len;

	(void)state;
	peer->mute = true;
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	len = peer->last_len;
	memcpy(hello, peer->last, len);
	peer->mute = false;
	rig_open_dtls(peer);
	rig_shake(peer);
	active = flow->active;

	rig_datagram(rig, elsewhere, hello, len);
	candidate = flow->candidate;
	assert_non_null(candidate);
	assert_false(candidate->dtls->listening);
	assert_ptr_equal(flow->active, active);
	/* Again from a third place: too soon. */
	rig_datagram(rig, peer->udp, hello, len);
	assert_ptr_equal(flow->candidate, candidate);
	assert_true(flow->contested);
	assert_int_equal(rig_count(rig, COUNT_DROP_HELLO_RATE), 1);
	rig_pass(rig, 2 * RIG_S);
	rig_datagram(rig, peer->udp, hello, len);
	assert_non_null(flow->candidate);
	assert_true(flow->candidate->dtls->listening);
	assert_ptr_equal(flow->active, active);
	rig_send_udp(peer, CSTP_DPD_REQUEST, "still?", 6);
	assert_int_equal(rig_frame_udp(peer, CSTP_DPD_RESPONSE, out), 6);
	close(elsewhere);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Twenty candidates a second, then no more until time has passed. */
static void test_hello_rate(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	uint8_t hello[RIG_PACKET];
	int udp[31];
	size_t len;

	(void)state;
	peer->mute = true;
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	len = peer->last_len;
	memcpy(hello, peer->last, len);
	for (size_t i = 0; i < 31; i++)
		udp[i] = rig_socket(rig, NULL);
	rig_flow_of(peer)->contested = true; /* a candidate that listens may be pushed out */
	for (size_t i = 0; i < 30; i++)
		rig_datagram(rig, udp[i], hello, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_HELLO_RATE), 10);
	rig_pass(rig, RIG_S);
	rig_datagram(rig, udp[30], hello, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_HELLO_RATE), 10);
	for (size_t i = 0; i < 31; i++)
		close(udp[i]);
	rig_peer_free(peer);
	rig_free(rig);
}

/* From where the candidate is: each of twenty a second may be answered, and no more. */
static void test_repeated_hello(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	struct flow_assoc *candidate;

	(void)state;
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	rig_step(rig);
	candidate = rig_flow_of(peer)->candidate;
	assert_non_null(candidate);
	for (size_t i = 0; i < 30; i++)
		rig_datagram(rig, peer->udp, peer->last, peer->last_len);
	assert_int_equal(rig_count(rig, COUNT_DROP_HELLO_RATE), 10);
	rig_pass(rig, RIG_S);
	rig_datagram(rig, peer->udp, peer->last, peer->last_len);
	assert_int_equal(rig_count(rig, COUNT_DROP_HELLO_RATE), 10);
	assert_ptr_equal(rig_flow_of(peer)->candidate, candidate);
	assert_false(rig_flow_of(peer)->contested);
	rig_shake(peer);
	assert_true(rig_flow_of(peer)->over_dtls);
	rig_peer_free(peer);
	rig_free(rig);
}

static void verify_always(struct worker_options *options)
{
	options->hello_verify = CONFIG_HELLO_ON;
}

static void verify_auto(struct worker_options *options)
{
	options->hello_verify = CONFIG_HELLO_AUTO;
}

static void test_hello_verify(void **state)
{
	struct rig *rig = rig_new(false, verify_always);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});

	(void)state;
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	rig_step(rig);
	assert_true(rig_flow_of(peer)->candidate->dtls->listening);
	rig_shake(peer);
	assert_true(rig_flow_of(peer)->over_dtls);
	rig_peer_free(peer);
	rig_free(rig);

	/* "auto": only beyond so many a second. */
	rig = rig_new(false, verify_auto);
	peer = rig_attach(rig, &(struct rig_flow){0});
	rig_shake(peer);
	assert_true(rig_flow_of(peer)->over_dtls);
	while (rate_allow(&rig->worker->hello_rate, 200, rig_now_us()))
		;
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	rig_step(rig);
	assert_true(rig_flow_of(peer)->candidate->dtls->listening);
	rig_peer_free(peer);
	rig_free(rig);
}

/* The right App-ID with a wrong key gets nowhere, and its candidate goes. */
static void test_wrong_key(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	uint8_t type;

	(void)state;
	memset(peer->psk, 0x77, sizeof(peer->psk));
	rig_open_dtls(peer);
	dtls_handshake(peer->dtls, NULL, 0);
	for (int i = 0; i < 10; i++)
		rig_read_udp(peer, &type, out);
	assert_int_not_equal(peer->dtls->state, DTLS_OPEN);
	assert_null(rig_flow_of(peer)->active);
	assert_false(rig_flow_of(peer)->over_dtls);
	rig_pass(rig, 13 * RIG_S);
	assert_null(rig_flow_of(peer)->candidate);
	assert_int_equal(rig_count(rig, COUNT_DTLS_ASSOCIATIONS), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* New keys on the same path: what is still under way on the old is opened for a while. */
static void test_second_association(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	struct flow *flow = rig_flow_of(peer);
	uint8_t late[RIG_PACKET], later[RIG_PACKET];
	size_t len = good_packet(), late_len;
	struct flow_assoc *first;

	(void)state;
	rig_shake(peer);
	first = flow->active;
	peer->mute = true;
	rig_send_udp(peer, CSTP_DATA, packet, len);
	memcpy(late, peer->last, peer->last_len);
	late_len = peer->last_len;
	rig_send_udp(peer, CSTP_DATA, packet, len);
	memcpy(later, peer->last, peer->last_len);
	peer->mute = false;

	rig_shake(peer);
	assert_ptr_equal(flow->older, first);
	assert_ptr_not_equal(flow->active, first);
	rig_datagram(rig, peer->udp, late, late_len);
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	rig_send_udp(peer, CSTP_DATA, packet, len);
	assert_int_equal(rig_read_tun(rig, NULL, out), len);
	rig_pass(rig, 4 * RIG_S);
	assert_null(flow->older);
	rig_datagram(rig, peer->udp, later, late_len);
	assert_int_equal(rig_read_tun(rig, NULL, out), -1);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_FORGED), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A run of datagrams that GRO has joined is taken apart. */
static void test_gro(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = good_packet(), got = 0;
	uint8_t plain[200], *run = out;
	unsigned offloads = UDP_OFFLOAD_GSO;
	struct udp_path path = {.peer = rig->udp_at};
	size_t each = 0, sent;

	(void)state;
	rig_shake(peer);
	peer->mute = true;
	memcpy(plain + 1, packet, len);
	plain[0] = CSTP_DATA;
	for (int i = 0; i < 10; i++) {
		assert_true(dtls_seal(peer->dtls, plain, len + 1));
		each = peer->last_len;
		memcpy(run, peer->last, each);
		run += each;
	}
	assert_int_equal(udp_send(peer->udp, &offloads, &path, out, 10 * each, each, &sent), 0);
	rig_step(rig);
	while (rig_read_tun(rig, NULL, out) >= 0)
		got++;
	assert_int_equal(got, 10);
	assert_true(rig_count(rig, COUNT_UDP_GRO_RX) > 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* In one run a hello, and behind it a record, which does not wait: it is nobody's yet. */
static void test_gro_behind_a_hello(void **state)
{
	static const uint8_t data[53] = {DTLS_TYPE_DATA, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 40};
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	unsigned offloads = UDP_OFFLOAD_GSO;
	struct udp_path path = {.peer = rig->udp_at};
	size_t sent;

	(void)state;
	rig_open_dtls(peer);
	peer->mute = true;
	dtls_handshake(peer->dtls, NULL, 0);
	memcpy(out, peer->last, peer->last_len);
	memcpy(out + peer->last_len, data, sizeof(data));
	assert_int_equal(udp_send(peer->udp, &offloads, &path, out, peer->last_len + sizeof(data),
				  peer->last_len, &sent),
			 0);
	rig_step(rig);
	assert_int_equal(rig_count(rig, COUNT_UDP_GRO_RX), 1);
	assert_non_null(rig_flow_of(peer)->candidate);
	assert_int_equal(rig_count(rig, COUNT_DROP_RECORD_EPOCH), 0);
	assert_int_equal(rig_count(rig, COUNT_DROP_UNKNOWN_PEER), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A worker whose socket holds hellos of one peer, as many as are said, and behind them a record of
 * another, whose association is open. */
static struct rig *rig_with_hellos(int hellos, struct rig_peer *ret[static 2])
{
	struct rig *rig = rig_new(false, NULL);
	size_t len = good_packet();

	ret[0] = rig_attach(rig, &(struct rig_flow){.id = 1});
	ret[1] = rig_attach(rig, &(struct rig_flow){.id = 2, .session = 2, .own = "10.99.0.8/32"});
	rig_shake(ret[0]);
	rig_open_dtls(ret[1]);
	dtls_handshake(ret[1]->dtls, NULL, 0);
	for (int i = 1; i < hellos; i++)
		send(ret[1]->udp, ret[1]->last, ret[1]->last_len, 0);
	memmove(packet + 1, packet, len);
	packet[0] = CSTP_DATA;
	assert_true(dtls_seal(ret[0]->dtls, packet, len + 1));
	return rig;
}

/* However many want to shake hands, a record goes to TUN in the turn in which it is found. */
static void test_record_passes_hellos(void **state)
{
	struct rig_peer *peer[2];
	struct rig *rig = rig_with_hellos(100, peer);

	(void)state;
	uv_run(&rig->worker->loop, UV_RUN_NOWAIT);
	assert_true(rig_read_tun(rig, NULL, out) > 0);
	assert_int_equal(rig_count(rig, COUNT_UDP_HANDSHAKES_RX), 2 + 100);
	assert_null(rig_flow_of(peer[1])->candidate);
	/* Without another datagram they get their turn. */
	uv_run(&rig->worker->loop, UV_RUN_NOWAIT);
	assert_non_null(rig_flow_of(peer[1])->candidate);
	rig_shake(peer[1]);
	assert_true(rig_flow_of(peer[1])->over_dtls);
	rig_peer_free(peer[0]);
	rig_peer_free(peer[1]);
	rig_free(rig);
}

/* They wait in bounded space, and what is lost for that is counted. */
static void test_too_many_hellos(void **state)
{
	struct rig_peer *peer[2];
	struct rig *rig = rig_with_hellos(1, peer);
	struct worker_socket *socket = &rig->worker->sockets[0];

	(void)state;
	for (int i = 0; i < 8000; i++) {
		send(peer[1]->udp, peer[1]->last, peer[1]->last_len, 0);
		if (i % 100 == 99)
			socket->poll.poll_cb(&socket->poll, 0, UV_READABLE);
	}
	assert_true(rig->worker->backlog.bytes <= BACKLOG_BYTES);
	assert_true(rig_count(rig, COUNT_DROP_BACKLOG_FULL) > 1000);
	rig_step(rig);
	assert_int_equal(rig->worker->backlog.bytes, 0);
	assert_non_null(rig_flow_of(peer[1])->candidate);
	rig_peer_free(peer[0]);
	rig_peer_free(peer[1]);
	rig_free(rig);
}

/* A hello that names nobody's App-ID costs no place there. */
static void test_unknown_hello_does_not_wait(void **state)
{
	struct rig_peer *peer[2];
	struct rig *rig = rig_with_hellos(1, peer);

	(void)state;
	rig_step(rig);
	rig_post(rig, &(struct worker_order){.kind = WORKER_CUT, .session = 2});
	send(peer[1]->udp, peer[1]->last, peer[1]->last_len, 0);
	uv_run(&rig->worker->loop, UV_RUN_NOWAIT);
	assert_int_equal(rig_count(rig, COUNT_DROP_UNKNOWN_APP_ID), 1);
	assert_int_equal(rig->worker->backlog.bytes, 0);
	rig_peer_free(peer[0]);
	rig_peer_free(peer[1]);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data_to_tun),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_nothing_after_the_end),
		cmocka_unit_test(test_probe_is_echoed),
		cmocka_unit_test(test_byes),
		cmocka_unit_test(test_lost_channel),
		cmocka_unit_test(test_many_records),
		cmocka_unit_test(test_early_record),
		cmocka_unit_test(test_inner_packets),
		cmocka_unit_test(test_prohibited),
		cmocka_unit_test(test_syn_is_clamped),
		cmocka_unit_test(test_neighbours_are_joined),
		cmocka_unit_test(test_a_stream_is_not_continued_by_others),
		cmocka_unit_test(test_slowing_down),
		cmocka_unit_test(test_tun_full),
		cmocka_unit_test(test_hello_makes_a_candidate),
		cmocka_unit_test(test_data_is_followed),
		cmocka_unit_test(test_frames_over_dtls),
		cmocka_unit_test(test_datagrams_that_are_none_of_ours),
		cmocka_unit_test(test_unknown_app_id),
		cmocka_unit_test(test_replayed_hello),
		cmocka_unit_test(test_hello_rate),
		cmocka_unit_test(test_repeated_hello),
		cmocka_unit_test(test_hello_verify),
		cmocka_unit_test(test_wrong_key),
		cmocka_unit_test(test_second_association),
		cmocka_unit_test(test_gro),
		cmocka_unit_test(test_gro_behind_a_hello),
		cmocka_unit_test(test_record_passes_hellos),
		cmocka_unit_test(test_too_many_hellos),
		cmocka_unit_test(test_unknown_hello_does_not_wait),
	};

	return cmocka_run_group_tests(tests, rig_open_program, rig_close_program);
}
