/* data/outbound: what the kernel puts into the TUN queue, on its way to a peer. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include "data/outbound.h"
#include "rig.h"
#include "wire/ip.h"

static uint8_t out[RIG_PACKET], packet[RIG_PACKET];

static size_t good_packet(void)
{
	return rig_udp_packet(RIG_CORP, RIG_DEVICE, 100, packet);
}

static uint64_t all_drops(const struct rig *rig)
{
	uint64_t sum = 0;

	for (int i = COUNT_FIRST_DROP; i < COUNT_MAX; i++)
		sum += rig_count(rig, (enum count)i);
	return sum;
}

static void test_over_tls_then_dtls(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = good_packet();

	(void)state;
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), len);
	assert_memory_equal(out, packet, len);
	assert_int_equal(rig_count(rig, COUNT_TLS_RECORDS_TX), 1);
	rig_shake(peer);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), len);
	assert_memory_equal(out, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), -1);
	assert_int_equal(rig_flow_of(peer)->traffic.tx_packets, 2);
	assert_int_equal(rig_flow_of(peer)->traffic.tx_bytes, 2 * len);
	assert_int_equal(rig_count(rig, COUNT_TUN_READS), 2);
	assert_int_equal(all_drops(rig), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A packet that comes singly leaves before TUN is asked for more; what comes in numbers leaves
 * together. */
static void test_alone_or_together(void **state)
{
	static const uint64_t sends[] = {1, 2, 1};
	static const struct tun_header plain;
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = good_packet();

	(void)state;
	rig_shake(peer);
	rig_write_tun(rig, NULL, packet, len);
	for (size_t i = 0; i < sizeof(sends) / sizeof(sends[0]); i++) {
		uint64_t before = rig_count(rig, COUNT_UDP_SENDS);

		if (i > 0) {
			assert_int_equal(tun_write(rig->tun, &plain, packet, len), 0);
			assert_int_equal(tun_write(rig->tun, &plain, packet, len), 0);
		}
		rig_write_tun(rig, NULL, packet, len);
		assert_int_equal(rig_count(rig, COUNT_UDP_SENDS) - before, sends[i]);
	}
	rig_peer_free(peer);
	rig_free(rig);
}

/* Each to its own, by the longest prefix; networks behind a site, too. */
static void test_by_inner_destination(void **state)
{
	static const struct {
		const char *to;
		unsigned peer;
	} rows[] = {
		{RIG_DEVICE, 0}, {"10.99.0.8", 1}, {"10.20.3.4", 1}, {"fd20::9", 1}, {"fd99::7", 0},
	};
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peers[] = {
		rig_attach(rig, &(struct rig_flow){.own = RIG_DEVICE "/32 fd99::7/128"}),
		rig_attach(rig, &(struct rig_flow){.id = 2,
						   .session = 2,
						   .own = "10.99.0.8/32 10.20.0.0/16 fd20::/48"}),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *from = strchr(rows[i].to, ':') ? "fd50::10" : RIG_CORP;
		size_t len = rig_udp_packet(from, rows[i].to, 10 + i, packet);

		rig_write_tun(rig, NULL, packet, len);
		assert_int_equal(rig_frame(peers[rows[i].peer], CSTP_DATA, out), len);
		assert_int_equal(rig_frame(peers[!rows[i].peer], CSTP_DATA, out), -1);
	}
	rig_peer_free(peers[0]);
	rig_peer_free(peers[1]);
	rig_free(rig);
}

static const struct drop_row {
	const char *name;
	bool at_client;
	const char *source, *destination;
	enum count drop;
} drop_rows[] = {
	{"to nobody", false, RIG_CORP, "10.99.0.8", COUNT_DROP_NO_SESSION},
	{"to nobody v6", false, "fd50::10", "fd99::8", COUNT_DROP_NO_SESSION},
	{"the kernel's report to a group", false, "fe80::1", "ff02::16", COUNT_DROP_MULTICAST},
	{"to a group", false, RIG_CORP, "239.1.1.1", COUNT_DROP_MULTICAST},
	{"to all", false, RIG_CORP, "255.255.255.255", COUNT_DROP_BROADCAST},
	{"from a link", false, "169.254.0.1", RIG_DEVICE, COUNT_DROP_LINK_LOCAL},
	{"from loopback", false, "127.0.0.1", RIG_DEVICE, COUNT_DROP_LOOPBACK},
	{"from nobody", false, "0.0.0.0", RIG_DEVICE, COUNT_DROP_UNSPECIFIED},
	{"from the reserved", false, "241.0.0.1", RIG_DEVICE, COUNT_DROP_MARTIAN},
	{"client: from another", true, "10.77.1.2", RIG_CORP, COUNT_DROP_SOURCE},
	{"client: to a group", true, RIG_DEVICE, "224.0.0.251", COUNT_DROP_MULTICAST},
};

static void test_drops(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(drop_rows) / sizeof(drop_rows[0]); i++) {
		const struct drop_row *row = &drop_rows[i];
		struct rig *rig = rig_new(row->at_client, NULL);
		struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
		size_t len = rig_udp_packet(row->source, row->destination, 20, packet);

		print_message("%s\n", row->name);
		rig_write_tun(rig, NULL, packet, len);
		assert_int_equal(rig_frame(peer, CSTP_DATA, out), -1);
		assert_int_equal(rig_count(rig, row->drop), 1);
		assert_int_equal(all_drops(rig), 1);
		rig_peer_free(peer);
		rig_free(rig);
	}
}

/* A client has one flow, and sends everything there; without it nothing goes anywhere. */
static void test_client(void **state)
{
	struct rig *rig = rig_new(true, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = rig_udp_packet(RIG_DEVICE, "192.0.2.99", 20, packet);

	(void)state;
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), len);
	shutdown(peer->tls->fd, SHUT_WR);
	rig_step(rig);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_NO_SESSION), 1);
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_no_rule(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer =
		rig_attach(rig, &(struct rig_flow){.access = access_compile(NULL, 0)});
	size_t len = good_packet();

	(void)state;
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), -1);
	assert_int_equal(rig_count(rig, COUNT_DROP_ACCESS), 1);
	assert_int_equal(rig_flow_of(peer)->drops[COUNT_DROP_ACCESS - COUNT_FIRST_DROP], 1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- size ---- */

static void test_syn_is_clamped(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer =
		rig_attach(rig,
			   &(struct rig_flow){.mtu = 1300, .own = RIG_DEVICE "/32 fd99::7/128"});
	size_t len = rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x12, 1460, 1, 0, packet);

	(void)state;
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), len);
	assert_int_equal(ip_get16(out + 42), 1300 - 40);
	len = rig_tcp_packet("fd50::10", "fd99::7", 0x02, 1440, 1, 0, packet);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), len);
	assert_int_equal(ip_get16(out + 62), 1300 - 60);
	len = rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x02, 1000, 1, 0, packet);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), len);
	assert_memory_equal(out, packet, len);
	assert_int_equal(rig_count(rig, COUNT_MSS_CLAMPED), 2);
	rig_peer_free(peer);
	rig_free(rig);
}

/* The sender is told by whom it wrote to, and how much fits. */
static void test_too_big(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer =
		rig_attach(rig, &(struct rig_flow){.own = RIG_DEVICE "/32 fd99::7/128"});
	size_t len = rig_udp_packet(RIG_CORP, RIG_DEVICE, RIG_MTU - 28, packet);

	(void)state;
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), RIG_MTU);

	len = rig_udp_packet(RIG_CORP, RIG_DEVICE, RIG_MTU - 27, packet);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), -1);
	assert_true(rig_read_tun(rig, NULL, out) > 0);
	assert_int_equal(out[9], IP_PROTO_ICMP);
	assert_memory_equal(out + 12, packet + 16, 4);
	assert_memory_equal(out + 16, packet + 12, 4);
	assert_int_equal(out[20], 3);
	assert_int_equal(out[21], 4);
	assert_int_equal(ip_get16(out + 26), RIG_MTU);
	assert_memory_equal(out + 28, packet, 28);

	len = rig_udp_packet("fd50::10", "fd99::7", RIG_MTU, packet);
	rig_write_tun(rig, NULL, packet, len);
	assert_true(rig_read_tun(rig, NULL, out) > 0);
	assert_int_equal(out[6], IP_PROTO_ICMPV6);
	assert_int_equal(out[40], 2);
	assert_int_equal(ip_get32(out + 44), RIG_MTU);
	assert_int_equal(rig_count(rig, COUNT_DROP_TOO_BIG), 2);
	assert_int_equal(rig_count(rig, COUNT_TOO_BIG_SENT), 2);

	/* Not more than a hundred a second. */
	for (int i = 0; i < 150; i++)
		rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_count(rig, COUNT_TOO_BIG_SENT), 100);
	assert_int_equal(rig_count(rig, COUNT_DROP_TOO_BIG), 152);
	rig_pass(rig, RIG_S);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_count(rig, COUNT_TOO_BIG_SENT), 101);
	rig_peer_free(peer);
	rig_free(rig);
}

/* About an ICMP error nobody is told anything. */
static void test_too_big_error(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = rig_udp_packet(RIG_CORP, RIG_DEVICE, RIG_MTU, packet);

	(void)state;
	packet[9] = IP_PROTO_ICMP;
	packet[20] = 11;
	ip_set_v4_checksum(packet);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_count(rig, COUNT_DROP_TOO_BIG), 1);
	assert_int_equal(rig_read_tun(rig, NULL, out), -1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- super-packets ---- */

static void test_super_packet_is_split(void **state)
{
	enum { SEGMENTS = 20, SIZE = 1000 };
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len =
		rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x18, 0, 5000, SEGMENTS * SIZE + 10, packet);
	struct tun_header header = {.gso_type = TUN_GSO_TCPV4,
				    .flags = TUN_CSUM_NEEDED,
				    .gso_size = SIZE,
				    .hdr_len = 40,
				    .csum_start = 20,
				    .csum_offset = 16};

	(void)state;
	rig_shake(peer);
	rig_write_tun(rig, &header, packet, len);
	for (uint32_t i = 0; i <= SEGMENTS; i++) {
		ssize_t got = rig_frame_udp(peer, CSTP_DATA, out);
		struct ip_view view;

		assert_int_equal(got, 40 + (i < SEGMENTS ? SIZE : 10));
		assert_int_equal(ip_read(out, (size_t)got, &view), IP_OK);
		assert_int_equal(ip_get32(out + 24), 5000 + i * SIZE);
		assert_int_equal(out[33], i < SEGMENTS ? 0x10 : 0x18);
	}
	assert_int_equal(rig_count(rig, COUNT_TUN_SUPER_RX), 1);
	assert_int_equal(rig_flow_of(peer)->traffic.tx_packets, SEGMENTS + 1);
	/* A run of equal records is one call, and the shorter one ends it. */
	assert_true(rig_count(rig, COUNT_UDP_GSO_TX) >= 1);
	rig_peer_free(peer);
	rig_free(rig);
}

static const struct tun_header super = {
	.gso_type = TUN_GSO_TCPV4,
	.flags = TUN_CSUM_NEEDED,
	.gso_size = 1000,
	.hdr_len = 40,
	.csum_start = 20,
	.csum_offset = 16,
};

/* A small packet passes the super-packets before it; one of their own stream does not. */
static void test_small_goes_first(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t ahead = good_packet(), len;

	(void)state;
	rig_shake(peer);
	for (uint32_t i = 0; i < 2; i++) {
		len = rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x10, 0, i * 3000, 3000, packet);
		assert_int_equal(tun_write(rig->tun, &super, packet, len), 0);
	}
	len = rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x10, 0, 6000, 500, packet);
	assert_int_equal(tun_write(rig->tun, &(struct tun_header){0}, packet, len), 0);
	good_packet();
	rig_write_tun(rig, NULL, packet, ahead);
	assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), ahead);
	assert_int_equal(out[9], IP_PROTO_UDP);
	for (uint32_t at = 0; at <= 6000; at += 1000) {
		assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), at < 6000 ? 1040 : 540);
		assert_int_equal(ip_get32(out + 24), at);
	}
	assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), -1);
	assert_int_equal(all_drops(rig), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Of so much that waits, a stream loses one packet and no more; and again when it has had time. */
static void test_too_much_waits(void **state)
{
	enum { WAITING = 1600 * 1024 };
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x10, 0, 1, 3000, packet);
	uint32_t first[] = {1, 1001, 1001, 1};

	(void)state;
	rig_shake(peer);
	for (int i = 0; i < 4; i++) {
		/* The third comes when a loss is due no more, the fourth when little waits. */
		rig->worker->bulk.bytes = i == 0 || i == 3 ? 0 : WAITING;
		if (i == 2)
			rig_pass(rig, WORKER_SLOW_US);
		rig_write_tun(rig, &super, packet, len);
		rig->worker->bulk.bytes = 0;
		for (uint32_t at = first[i]; at < 3000; at += 1000) {
			assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), 1040);
			assert_int_equal(ip_get32(out + 24), at);
		}
		assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), -1);
		rig->worker->bulk.bytes = WAITING;
		if (i == 1) {
			rig_write_tun(rig, &super, packet, len);
			for (uint32_t at = 1; at < 3000; at += 1000)
				assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), 1040);
		}
		rig->worker->bulk.bytes = 0;
	}
	assert_int_equal(rig_count(rig, COUNT_DROP_CONGESTED), 2);
	assert_int_equal(all_drops(rig), 2);
	rig_peer_free(peer);
	rig_free(rig);
}

/* Who floods one device loses, packet by packet counted; a stream to another loses nothing, and is
 * not told that it is too fast. */
static void test_flood_loses_its_own(void **state)
{
	enum { MAX = BULK_ROOM_MAX / TUN_PACKET_MAX, LOST = 8, FLOOD = MAX + LOST };
	static const struct tun_header run = {
		.gso_type = TUN_GSO_UDP_L4,
		.flags = TUN_CSUM_NEEDED,
		.gso_size = 1000,
		.hdr_len = 28,
		.csum_start = 20,
		.csum_offset = 6,
	};
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *mad = rig_attach(rig, &(struct rig_flow){.id = 1, .session = 1});
	struct rig_peer *good =
		rig_attach(rig, &(struct rig_flow){.id = 2, .session = 2, .own = "10.99.0.8/32"});
	size_t len = rig_udp_packet(RIG_CORP, RIG_DEVICE, 2500, packet);

	(void)state;
	rig_shake(mad);
	rig_shake(good);
	for (int i = 0; i < FLOOD; i++)
		assert_int_equal(tun_write(rig->tun, &run, packet, len), 0);
	rig->worker->bulk.bytes = 1600 * 1024;
	len = rig_tcp_packet(RIG_CORP, "10.99.0.8", 0x10, 0, 1, 3000, packet);
	rig_write_tun(rig, &super, packet, len);
	rig->worker->bulk.bytes = 0;
	for (uint32_t at = 1; at < 3000; at += 1000) {
		assert_int_equal(rig_frame_udp(good, CSTP_DATA, out), 1040);
		assert_int_equal(ip_get32(out + 24), at);
	}
	assert_int_equal(rig_flow_of(mad)->traffic.tx_packets, MAX * 3);
	assert_int_equal(rig_count(rig, COUNT_DROP_QUEUE_FULL), LOST * 3);
	assert_int_equal(all_drops(rig), rig_count(rig, COUNT_DROP_QUEUE_FULL));
	rig_peer_free(mad);
	rig_peer_free(good);
	rig_free(rig);
}

/* A stream may be cut anywhere; datagrams may not. */
static void test_segments_that_do_not_fit(void **state)
{
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){.mtu = 1000});
	size_t len = rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x10, 0, 1, 4000, packet), total = 0;
	struct tun_header header = {.gso_type = TUN_GSO_TCPV4, .gso_size = 1400};
	ssize_t got;

	(void)state;
	rig_write_tun(rig, &header, packet, len);
	while ((got = rig_frame(peer, CSTP_DATA, out)) > 0) {
		assert_true(got <= 1000);
		total += (size_t)got - 40;
	}
	assert_int_equal(total, 4000);
	assert_int_equal(all_drops(rig), 0);

	len = rig_udp_packet(RIG_CORP, RIG_DEVICE, 4000, packet);
	header = (struct tun_header){.gso_type = TUN_GSO_UDP_L4, .gso_size = 1400};
	rig_write_tun(rig, &header, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), -1);
	assert_int_equal(rig_count(rig, COUNT_DROP_TOO_BIG), 1);
	assert_int_equal(rig_count(rig, COUNT_TOO_BIG_SENT), 1);
	header.gso_size = 500;
	rig_write_tun(rig, &header, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), 528);
	rig_peer_free(peer);
	rig_free(rig);
}

static void test_header_that_lies(void **state)
{
	static const struct tun_header lies[] = {
		{.gso_type = TUN_GSO_TCPV6, .gso_size = 100}, /* of an IPv4 packet */
		{.gso_type = TUN_GSO_TCPV4, .gso_size = 0},
		{.gso_type = 77, .gso_size = 100},
		{.flags = TUN_CSUM_NEEDED, .csum_start = 60000, .csum_offset = 16},
	};
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = rig_tcp_packet(RIG_CORP, RIG_DEVICE, 0x10, 0, 1, 1000, packet);

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		rig_write_tun(rig, &lies[i], packet, len);
		assert_int_equal(rig_count(rig, COUNT_DROP_MALFORMED), i + 1);
	}
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), -1);
	rig_peer_free(peer);
	rig_free(rig);
}

/* ---- channels that take no more ---- */

static void udp_alone(struct worker_options *options)
{
	options->transport = CONFIG_TRANSPORT_UDP;
}

static void test_transport_udp(void **state)
{
	struct rig *rig = rig_new(false, udp_alone);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = good_packet();

	(void)state;
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), -1);
	assert_int_equal(rig_count(rig, COUNT_DROP_QUEUE_FULL), 1);
	assert_int_equal(rig_flow_of(peer)->traffic.tx_packets, 0);
	rig_shake(peer);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame_udp(peer, CSTP_DATA, out), len);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A peer that reads nothing: what does not fit is dropped; the rest comes once it reads. */
static void test_slow_peer(void **state)
{
	enum { PACKETS = 2000 };
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	size_t len = rig_udp_packet(RIG_CORP, RIG_DEVICE, 1300, packet), got = 0;
	uint64_t dropped;

	(void)state;
	for (int i = 0; i < PACKETS; i++)
		rig_write_tun(rig, NULL, packet, len);
	dropped = rig_count(rig, COUNT_DROP_QUEUE_FULL);
	assert_true(dropped > 0);
	assert_true(rig_flow_of(peer)->poll_events & UV_WRITABLE);
	while (rig_frame(peer, CSTP_DATA, out) == (ssize_t)len)
		got++;
	assert_int_equal(got, PACKETS - dropped);
	assert_int_equal(rig_flow_of(peer)->traffic.tx_packets, got);
	assert_false(rig_flow_of(peer)->poll_events & UV_WRITABLE);
	rig_write_tun(rig, NULL, packet, len);
	assert_int_equal(rig_frame(peer, CSTP_DATA, out), len);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A control frame's payload is cut to what a record holds; without DTLS none goes there. */
static void test_frames(void **state)
{
	static uint8_t payload[CSTP_RECORD_MAX + 100];
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});

	(void)state;
	outbound_frame(rig->worker, rig_flow_of(peer), OUTBOUND_TLS, CSTP_DPD_REQUEST, payload,
		       sizeof(payload));
	worker_flush(rig->worker);
	assert_int_equal(rig_frame(peer, CSTP_DPD_REQUEST, out), CSTP_RECORD_MAX - CSTP_HEADER);
	outbound_frame(rig->worker, rig_flow_of(peer), OUTBOUND_DTLS, CSTP_DPD_REQUEST, payload, 4);
	worker_flush(rig->worker);
	assert_int_equal(rig_frame_udp(peer, CSTP_DPD_REQUEST, out), -1);
	assert_int_equal(rig_count(rig, COUNT_UDP_SENDS), 0);
	rig_peer_free(peer);
	rig_free(rig);
}

/* A peer that reads nothing and asks: answers wait up to a limit, then they are dropped. */
static void test_frames_of_slow_peer(void **state)
{
	enum { ASKED = 1000 };
	static uint8_t payload[16000];
	struct rig *rig = rig_new(false, NULL);
	struct rig_peer *peer = rig_attach(rig, &(struct rig_flow){0});
	uint64_t dropped;
	int got = 0;

	(void)state;
	for (int i = 0; i < ASKED; i++) {
		outbound_frame(rig->worker, rig_flow_of(peer), OUTBOUND_TLS, CSTP_DPD_RESPONSE,
			       payload, sizeof(payload));
		worker_flush(rig->worker);
	}
	dropped = rig_count(rig, COUNT_DROP_QUEUE_FULL);
	assert_in_range(rig_flow_of(peer)->spec.tls->out.len, 1, TLS_OUT_MAX);
	while (rig_frame(peer, CSTP_DPD_RESPONSE, out) == sizeof(payload))
		got++;
	assert_int_equal(got + dropped, ASKED);
	assert_true(dropped > 0);
	assert_int_equal(rig_count(rig, COUNT_TLS_RECORDS_TX), got);
	rig_peer_free(peer);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_over_tls_then_dtls),
		cmocka_unit_test(test_alone_or_together),
		cmocka_unit_test(test_by_inner_destination),
		cmocka_unit_test(test_drops),
		cmocka_unit_test(test_client),
		cmocka_unit_test(test_no_rule),
		cmocka_unit_test(test_syn_is_clamped),
		cmocka_unit_test(test_too_big),
		cmocka_unit_test(test_too_big_error),
		cmocka_unit_test(test_super_packet_is_split),
		cmocka_unit_test(test_small_goes_first),
		cmocka_unit_test(test_too_much_waits),
		cmocka_unit_test(test_flood_loses_its_own),
		cmocka_unit_test(test_segments_that_do_not_fit),
		cmocka_unit_test(test_header_that_lies),
		cmocka_unit_test(test_transport_udp),
		cmocka_unit_test(test_slow_peer),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_frames_of_slow_peer),
	};

	return cmocka_run_group_tests(tests, rig_open_program, rig_close_program);
}
