/* data/offload: single rules row by row, and properties over random streams with a fixed seed. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/offload.h"
#include "wire/ip.h"

enum {
	PACKET_MAX = 65535,
	ALL = TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6 | TUN_OFFLOAD_USO4 |
	      TUN_OFFLOAD_USO6,
	TCP = IP_PROTO_TCP,
	UDP = IP_PROTO_UDP,
	FIN = 0x01,
	SYN = 0x02,
	PSH = 0x08,
	ACK = 0x10,
	CWR = 0x80,
	DF = 0x4000,
	STREAM_MAX = 100,
	STREAMS = 6000,
	SPLITS = 6000,
};

/* ---- randomness, the same in every run ---- */

static uint32_t roll(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33);
}

static size_t roll_between(uint64_t *seed, size_t first, size_t last)
{
	return first + roll(seed) % (last - first + 1);
}

static bool one_in(uint64_t *seed, unsigned count)
{
	return roll(seed) % count == 0;
}

static void roll_bytes(uint64_t *seed, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)roll(seed);
}

/* ---- packets ---- */

struct packet_spec {
	unsigned family;
	uint8_t protocol;
	uint8_t ip_options, tcp_options; /* bytes, multiples of 4 */
	uint8_t extension;		 /* IPv6: bytes of destination options, a multiple of 8 */
	uint8_t flags;
	uint16_t id, v4_flags;
	uint32_t sequence;
	uint16_t window;
	uint16_t port;
	size_t payload;
	uint64_t content; /* a seed */
};

struct packet {
	size_t len;
	uint8_t *bytes;
};

static size_t ip_header_len(const struct packet_spec *spec)
{
	return spec->family == 4 ? IP_V4_HEADER + (size_t)spec->ip_options
				 : IP_V6_HEADER + (size_t)spec->extension;
}

static size_t header_len(const struct packet_spec *spec)
{
	return ip_header_len(spec) +
	       (spec->protocol == TCP ? IP_TCP_HEADER + (size_t)spec->tcp_options : IP_UDP_HEADER);
}

/* Word by word, network order: not the code under test. */
static uint32_t sum_slowly(const uint8_t *bytes, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t sum_pseudo(const uint8_t *packet, size_t transport, size_t len, uint8_t protocol)
{
	bool v4 = packet[0] >> 4 == 4;
	uint32_t sum = sum_slowly(packet + (v4 ? 12 : 8), v4 ? 8 : 32, 0);

	sum += protocol + (uint32_t)(len - transport);
	return (sum & 0xffff) + (sum >> 16);
}

static uint16_t checksum_of(const uint8_t *packet, size_t transport, size_t len, uint8_t protocol)
{
	uint32_t sum = sum_pseudo(packet, transport, len, protocol);

	return (uint16_t)~sum_slowly(packet + transport, len - transport, sum);
}

/* Whatever the packet holds now, its checksums fit it afterwards. */
static void mend(uint8_t *packet, size_t transport, size_t len, uint8_t protocol)
{
	uint8_t *field = packet + transport + (protocol == TCP ? 16 : 6);
	uint16_t checksum;

	if (packet[0] >> 4 == 4) {
		ip_put16(packet + 10, 0);
		ip_put16(packet + 10, (uint16_t)~sum_slowly(packet, (packet[0] & 15) * 4U, 0));
	}
	ip_put16(field, 0);
	checksum = checksum_of(packet, transport, len, protocol);
	ip_put16(field, protocol == UDP && checksum == 0 ? 0xffff : checksum);
}

static void write_ip(const struct packet_spec *spec, uint8_t *packet, size_t len)
{
	uint64_t seed = 77;

	roll_bytes(&seed, packet, ip_header_len(spec));
	if (spec->family == 4) {
		packet[0] = (uint8_t)(0x45 + spec->ip_options / 4);
		ip_put16(packet + 2, (uint16_t)len);
		ip_put16(packet + 4, spec->id);
		ip_put16(packet + 6, spec->v4_flags);
		packet[8] = 64;
		packet[9] = spec->protocol;
		return;
	}
	packet[0] = (uint8_t)(0x60 | (packet[0] & 15));
	ip_put16(packet + 4, (uint16_t)(len - IP_V6_HEADER));
	packet[6] = spec->extension ? 60 : spec->protocol;
	if (spec->extension) {
		packet[40] = spec->protocol;
		packet[41] = (uint8_t)(spec->extension / 8 - 1);
	}
}

static size_t build(const struct packet_spec *spec, uint8_t *packet)
{
	size_t transport = ip_header_len(spec), headers = header_len(spec);
	size_t len = headers + spec->payload;
	uint64_t seed = spec->content + 1;
	uint8_t *at = packet + transport;

	write_ip(spec, packet, len);
	roll_bytes(&seed, packet + headers, spec->payload);
	seed = 99;
	roll_bytes(&seed, at, headers - transport);
	ip_put16(at, spec->port ? spec->port : 4000);
	if (spec->protocol == TCP) {
		ip_put32(at + 4, spec->sequence);
		ip_put32(at + 8, 0x01020304);
		at[12] = (uint8_t)((5 + spec->tcp_options / 4) << 4);
		at[13] = spec->flags;
		ip_put16(at + 14, spec->window);
		ip_put16(at + 18, 0);
	} else {
		ip_put16(at + 4, (uint16_t)(len - transport));
	}
	mend(packet, transport, len, spec->protocol);
	return len;
}

static bool is_correct(const uint8_t *packet, size_t len)
{
	struct ip_view view;

	if (ip_read(packet, len, &view) != IP_OK)
		return false;
	if (view.family == 4 && sum_slowly(packet, view.transport, 0) != 0xffff)
		return false;
	if (view.protocol == UDP && (ip_get16(packet + view.transport + 6) == 0 ||
				     ip_get16(packet + view.transport + 4) != len - view.transport))
		return false;
	return checksum_of(packet, view.transport, len, view.protocol) == 0;
}

/* A big packet as TUN hands it over: the checksum field holds the pseudo header's sum. */
static struct tun_header make_gso(const struct packet_spec *spec, uint8_t *packet, size_t len,
				  size_t segment)
{
	size_t transport = ip_header_len(spec);
	uint16_t offset = spec->protocol == TCP ? 16 : 6;
	uint8_t tcp_type = spec->family == 4 ? TUN_GSO_TCPV4 : TUN_GSO_TCPV6;

	ip_put16(packet + transport + offset,
		 (uint16_t)sum_pseudo(packet, transport, len, spec->protocol));
	return (struct tun_header){
		.flags = TUN_CSUM_NEEDED,
		.gso_type = spec->protocol == TCP ? tcp_type : TUN_GSO_UDP_L4,
		.hdr_len = (uint16_t)len, /* as some kernels do */
		.gso_size = (uint16_t)segment,
		.csum_start = (uint16_t)transport,
		.csum_offset = offset,
	};
}

/* Memory with the headroom that split asks for and not a byte more. */
struct room {
	uint8_t *start, *packet;
};

static struct room room_new(size_t len)
{
	struct room room = {.start = malloc(OFFLOAD_HEADROOM + len)};

	assert_non_null(room.start);
	room.packet = room.start + OFFLOAD_HEADROOM;
	return room;
}

/* ---- split ---- */

static void test_split_plain(void **state)
{
	const struct packet_spec spec = {.family = 4, .protocol = TCP, .payload = 100};
	struct tun_header header = {.hdr_len = 9999};
	struct room room = room_new(200);
	struct offload_split split;
	uint8_t before[200], *piece;
	size_t len = build(&spec, room.packet), piece_len;

	(void)state;
	room.packet[36] ^= 1; /* a wrong checksum is not our business */
	memcpy(before, room.packet, len);
	assert_int_equal(offload_split_init(&split, &header, room.packet, len), 0);
	assert_true(offload_split_next(&split, &piece, &piece_len));
	assert_ptr_equal(piece, room.packet);
	assert_int_equal(piece_len, len);
	assert_memory_equal(piece, before, len);
	assert_false(offload_split_next(&split, &piece, &piece_len));
	free(room.start);
}

static void test_split_completes_checksum(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const struct packet_spec spec = {.family = i & 1 ? 6 : 4,
						 .protocol = i & 2 ? TCP : UDP,
						 .flags = ACK,
						 .payload = 101};
		struct room room = room_new(300);
		struct offload_split split;
		size_t len = build(&spec, room.packet), piece_len;
		struct tun_header header = make_gso(&spec, room.packet, len, 0);
		uint8_t *piece;

		header.gso_type = TUN_GSO_NONE;
		assert_false(is_correct(room.packet, len));
		assert_int_equal(offload_split_init(&split, &header, room.packet, len), 0);
		assert_true(offload_split_next(&split, &piece, &piece_len));
		assert_int_equal(piece_len, len);
		assert_true(is_correct(piece, len));
		free(room.start);
	}
}

/* Chooses the last payload word so that the checksum comes out as 0. */
static size_t build_zero_sum(const struct packet_spec *spec, uint8_t *packet)
{
	size_t len = build(spec, packet), transport = ip_header_len(spec);
	uint8_t *field = packet + transport + (spec->protocol == TCP ? 16 : 6);

	ip_put16(packet + len - 2, 0);
	ip_put16(field, 0);
	ip_put16(packet + len - 2, checksum_of(packet, transport, len, spec->protocol));
	return len;
}

static void test_split_zero_checksum(void **state)
{
	/* TCP's 0 stays 0, with UDP it would say "none". */
	static const struct {
		uint8_t protocol;
		bool gso;
		uint16_t expected;
	} rows[] = {{UDP, false, 0xffff}, {UDP, true, 0xffff}, {TCP, false, 0}, {TCP, true, 0}};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		const struct packet_spec spec = {.family = 6,
						 .protocol = rows[i].protocol,
						 .payload = 100,
						 .flags = ACK};
		struct room room = room_new(300);
		size_t len = build_zero_sum(&spec, room.packet), piece_len;
		struct tun_header header = make_gso(&spec, room.packet, len, 200);
		struct offload_split split;
		uint8_t *piece;

		if (!rows[i].gso)
			header.gso_type = TUN_GSO_NONE;
		assert_int_equal(offload_split_init(&split, &header, room.packet, len), 0);
		assert_true(offload_split_next(&split, &piece, &piece_len));
		assert_int_equal(ip_get16(piece + 40 + header.csum_offset), rows[i].expected);
		assert_false(offload_split_next(&split, &piece, &piece_len));
		free(room.start);
	}
}

static void test_split_checksum_bounds(void **state)
{
	static const struct {
		uint16_t start, offset;
		int error;
	} rows[] = {
		{20, 16, 0},	     {20, 98, 0},	{20, 99, -EINVAL}, {118, 0, 0},
		{119, 0, -EINVAL},   {120, 0, -EINVAL}, {121, 0, -EINVAL}, {65535, 65535, -EINVAL},
		{0, 65535, -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct packet_spec spec = {.family = 4, .protocol = TCP, .payload = 80};
		struct tun_header header = {.flags = TUN_CSUM_NEEDED,
					    .csum_start = rows[i].start,
					    .csum_offset = rows[i].offset};
		struct room room = room_new(120);
		struct offload_split split;

		assert_int_equal(build(&spec, room.packet), 120);
		assert_int_equal(offload_split_init(&split, &header, room.packet, 120),
				 rows[i].error);
		free(room.start);
	}
}

enum { NO_EDIT = 0xffff };

struct refused_row {
	const char *name;
	struct packet_spec spec;
	uint8_t gso_type;
	uint16_t gso_size;
	size_t at; /* a byte to set */
	uint8_t value;
	int error;
};

#define V4_TCP                                                                                     \
	{                                                                                          \
		.family = 4, .protocol = TCP, .flags = ACK, .payload = 100                         \
	}
#define V6_TCP                                                                                     \
	{                                                                                          \
		.family = 6, .protocol = TCP, .flags = ACK, .payload = 100                         \
	}
#define V4_UDP                                                                                     \
	{                                                                                          \
		.family = 4, .protocol = UDP, .payload = 100                                       \
	}
#define V6_UDP                                                                                     \
	{                                                                                          \
		.family = 6, .protocol = UDP, .payload = 100                                       \
	}

static const struct refused_row refused_rows[] = {
	{"good v4 TCP", V4_TCP, TUN_GSO_TCPV4, 40, NO_EDIT, 0, 0},
	{"good v6 TCP", V6_TCP, TUN_GSO_TCPV6, 40, NO_EDIT, 0, 0},
	{"good v4 TCP with ECN", V4_TCP, TUN_GSO_TCPV4 | TUN_GSO_ECN, 40, NO_EDIT, 0, 0},
	{"good v4 UDP", V4_UDP, TUN_GSO_UDP_L4, 40, NO_EDIT, 0, 0},
	{"good v6 UDP", V6_UDP, TUN_GSO_UDP_L4, 40, NO_EDIT, 0, 0},
	{"segment size 0", V4_TCP, TUN_GSO_TCPV4, 0, NO_EDIT, 0, -EINVAL},
	{"UFO", V4_UDP, 3, 40, NO_EDIT, 0, -EINVAL},
	{"unknown type", V4_TCP, 2, 40, NO_EDIT, 0, -EINVAL},
	{"v6 type, v4 packet", V4_TCP, TUN_GSO_TCPV6, 40, NO_EDIT, 0, -EINVAL},
	{"v4 type, v6 packet", V6_TCP, TUN_GSO_TCPV4, 40, NO_EDIT, 0, -EINVAL},
	{"TCP type, UDP packet", V4_UDP, TUN_GSO_TCPV4, 40, NO_EDIT, 0, -EINVAL},
	{"UDP type, TCP packet", V4_TCP, TUN_GSO_UDP_L4, 40, NO_EDIT, 0, -EINVAL},
	{"version 0", V4_TCP, TUN_GSO_TCPV4, 40, 0, 0x05, -EINVAL},
	{"total length differs", V4_TCP, TUN_GSO_TCPV4, 40, 3, 0, -EINVAL},
	{"payload length differs", V6_TCP, TUN_GSO_TCPV6, 40, 5, 0, -EINVAL},
	{"a fragment", V4_TCP, TUN_GSO_TCPV4, 40, 6, 0x20, -EINVAL},
	{"data offset 4", V4_TCP, TUN_GSO_TCPV4, 40, 32, 0x40, -EINVAL},
	{"IP header over TCP's end",
	 {.family = 4, .protocol = TCP},
	 TUN_GSO_TCPV4,
	 40,
	 0,
	 0x46,
	 -EINVAL},
	{"data offset past the end",
	 {.family = 4, .protocol = TCP},
	 TUN_GSO_TCPV4,
	 40,
	 32,
	 0x60,
	 -EINVAL},
	{"IP header over UDP's end",
	 {.family = 4, .protocol = UDP},
	 TUN_GSO_UDP_L4,
	 40,
	 0,
	 0x46,
	 -EINVAL},
	{"no payload", {.family = 4, .protocol = TCP}, TUN_GSO_TCPV4, 40, NO_EDIT, 0, 0},
	{"headers of 256 bytes",
	 {.family = 6, .protocol = TCP, .extension = 176, .tcp_options = 20, .payload = 100},
	 TUN_GSO_TCPV6,
	 40,
	 NO_EDIT,
	 0,
	 0},
	{"headers of 260 bytes",
	 {.family = 6, .protocol = TCP, .extension = 176, .tcp_options = 24, .payload = 100},
	 TUN_GSO_TCPV6,
	 40,
	 NO_EDIT,
	 0,
	 -EINVAL},
};

static void test_split_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused_rows) / sizeof(refused_rows[0]); i++) {
		const struct refused_row *row = &refused_rows[i];
		size_t len = header_len(&row->spec) + row->spec.payload, piece_len;
		struct room room = room_new(len);
		struct offload_split split;
		struct tun_header header;
		uint8_t *piece;

		build(&row->spec, room.packet);
		header = make_gso(&row->spec, room.packet, len, row->gso_size);
		header.gso_type = row->gso_type;
		if (row->at != NO_EDIT)
			room.packet[row->at] = row->value;
		print_message("%s\n", row->name);
		assert_int_equal(offload_split_init(&split, &header, room.packet, len), row->error);
		while (row->error == 0 && offload_split_next(&split, &piece, &piece_len))
			assert_true(is_correct(piece, piece_len));
		free(room.start);
	}
}

/* What a piece must be: built anew from the specification, with its part of the payload. */
static void check_piece(const struct packet_spec *whole, const uint8_t *payload, size_t at,
			size_t index, bool last, const uint8_t *piece, size_t len)
{
	static uint8_t expected[PACKET_MAX];
	struct packet_spec spec = *whole;
	size_t headers = header_len(whole);

	spec.payload = len - headers;
	spec.id = (uint16_t)(whole->id + index);
	spec.sequence = whole->sequence + (uint32_t)at;
	if (!last)
		spec.flags &= (uint8_t) ~(FIN | PSH);
	if (index > 0)
		spec.flags &= (uint8_t)~CWR;
	build(&spec, expected);
	memcpy(expected + headers, payload + at, spec.payload);
	mend(expected, ip_header_len(&spec), len, spec.protocol);
	assert_memory_equal(piece, expected, len);
}

static void check_split(const struct packet_spec *spec, size_t segment)
{
	size_t headers = header_len(spec), at = 0, index = 0, piece_len, len, pieces;
	struct room room = room_new(headers + spec->payload);
	uint8_t *payload = malloc(spec->payload + 1), *piece;
	struct offload_split split;
	struct tun_header header;

	assert_non_null(payload);
	len = build(spec, room.packet);
	memcpy(payload, room.packet + headers, spec->payload);
	header = make_gso(spec, room.packet, len, segment);
	pieces = offload_pieces(&header, room.packet, len);
	assert_int_equal(offload_split_init(&split, &header, room.packet, len), 0);
	while (offload_split_next(&split, &piece, &piece_len)) {
		bool last = at + piece_len - headers == spec->payload;

		assert_true(last || piece_len == headers + segment);
		assert_true(piece_len <= headers + segment);
		check_piece(spec, payload, at, index++, last, piece, piece_len);
		at += piece_len - headers;
		/* All of it is the caller's. */
		memset(piece - OFFLOAD_HEADROOM, 0xee, OFFLOAD_HEADROOM + piece_len);
	}
	assert_int_equal(at, spec->payload);
	assert_int_equal(index, spec->payload ? (spec->payload + segment - 1) / segment : 1);
	assert_int_equal(index, pieces);
	free(payload);
	free(room.start);
}

static void test_split_random(void **state)
{
	uint64_t seed = 20261121;

	(void)state;
	for (size_t i = 0; i < SPLITS; i++) {
		struct packet_spec spec = {
			.family = one_in(&seed, 2) ? 4 : 6,
			.protocol = one_in(&seed, 3) ? UDP : TCP,
			.tcp_options = (uint8_t)(4 * roll_between(&seed, 0, 10)),
			.flags = ACK | (roll(&seed) & (FIN | PSH | CWR)),
			.id = (uint16_t)roll(&seed),
			.v4_flags = one_in(&seed, 2) ? DF : 0,
			.sequence = one_in(&seed, 3) ? UINT32_MAX - 3000 : roll(&seed),
			.content = roll(&seed),
		};
		size_t big = one_in(&seed, 20) ? 60000 : 6000, segment;

		if (one_in(&seed, 8))
			spec.ip_options = (uint8_t)(4 * roll_between(&seed, 1, 10));
		if (one_in(&seed, 8))
			spec.extension = (uint8_t)(8 * roll_between(&seed, 1, 12));
		spec.payload = roll_between(&seed, 0, big);
		segment = roll_between(&seed, one_in(&seed, 9) ? 1 : 60, 1500);
		check_split(&spec, segment);
	}
}

static void test_split_biggest(void **state)
{
	struct packet_spec v4 = {.family = 4,
				 .protocol = TCP,
				 .flags = ACK | PSH,
				 .payload = 65535 - 40,
				 .id = 65530};
	struct packet_spec v6 = {.family = 6, .protocol = UDP, .payload = 65535 - 48};

	(void)state;
	check_split(&v4, 1460);
	check_split(&v4, 65535);
	check_split(&v6, 1400);
	check_split(&v6, 65535 - 48);
}

/* ---- join ---- */

static struct offload_join join_new(void)
{
	/* Headroom for splitting it again. */
	return (struct offload_join){.packet = room_new(OFFLOAD_JOIN_MAX).packet};
}

static void join_done(struct offload_join *join)
{
	free(join->packet - OFFLOAD_HEADROOM);
}

static void check_joined(const struct offload_join *join, const struct tun_header *header)
{
	struct ip_view view;
	size_t field;

	assert_int_equal(ip_read(join->packet, join->len, &view), IP_OK);
	assert_int_equal(header->flags, TUN_CSUM_NEEDED);
	if (view.protocol == UDP)
		assert_int_equal(header->gso_type, TUN_GSO_UDP_L4);
	else
		assert_int_equal(header->gso_type,
				 view.family == 4 ? TUN_GSO_TCPV4 : TUN_GSO_TCPV6);
	assert_int_equal(header->csum_start, view.transport);
	assert_int_equal(header->csum_offset, view.protocol == UDP ? 6 : 16);
	if (view.protocol == UDP) {
		assert_int_equal(header->hdr_len, view.transport + 8);
		assert_int_equal(ip_get16(join->packet + view.transport + 4),
				 join->len - view.transport);
	} else {
		assert_int_equal(header->hdr_len,
				 view.transport + (join->packet[view.transport + 12] >> 4) * 4);
	}
	assert_true(join->len > (size_t)header->hdr_len + header->gso_size);
	field = (size_t)header->csum_start + header->csum_offset;
	assert_int_equal(ip_get16(join->packet + field),
			 sum_pseudo(join->packet, view.transport, join->len, view.protocol));
	if (view.family == 4)
		assert_int_equal(sum_slowly(join->packet, 20, 0), 0xffff);
}

/* The same packet, but for an IPv4 id (and so header checksum) that nobody may look at. */
static void check_same(const struct packet *expected, const uint8_t *got, size_t len)
{
	assert_int_equal(len, expected->len);
	if (expected->bytes[0] >> 4 != 4 || !(expected->bytes[6] & 0x40)) {
		assert_memory_equal(got, expected->bytes, len);
		return;
	}
	assert_memory_equal(got, expected->bytes, 4);
	assert_memory_equal(got + 6, expected->bytes + 6, 4);
	assert_memory_equal(got + 12, expected->bytes + 12, len - 12);
}

/* Finishes the join, splits it again, and compares with the packets that went in, which start at
 * *next. Counts the finished join. */
static void drain(struct offload_join *join, const struct packet *packets, size_t *next,
		  size_t *ret_joins)
{
	const struct tun_header zeros = {0};
	struct offload_split split;
	struct tun_header header;
	size_t pieces = join->pieces, first = *next, len;
	uint8_t *piece;

	if (!offload_join_finish(join, &header))
		return;
	(*ret_joins)++;
	if (pieces == 1) {
		assert_memory_equal(&header, &zeros, sizeof(zeros));
		assert_int_equal(join->len, packets[first].len);
		assert_memory_equal(join->packet, packets[first].bytes, join->len);
	} else {
		check_joined(join, &header);
	}
	assert_int_equal(offload_split_init(&split, &header, join->packet, join->len), 0);
	while (offload_split_next(&split, &piece, &len)) {
		check_same(&packets[(*next)++], piece, len);
		if (pieces > 1)
			assert_true(is_correct(piece, len));
	}
	assert_int_equal(*next - first, pieces);
	join->len = 0;
}

/* How many joins the packets became. */
static size_t join_and_split(unsigned offloads, const struct packet *packets, size_t count)
{
	struct offload_join join = join_new();
	size_t next = 0, joins = 0;

	for (size_t i = 0; i < count; i++) {
		if (offload_join_add(&join, offloads, packets[i].bytes, packets[i].len))
			continue;
		drain(&join, packets, &next, &joins);
		assert_true(offload_join_add(&join, offloads, packets[i].bytes, packets[i].len));
	}
	drain(&join, packets, &next, &joins);
	assert_int_equal(next, count);
	join_done(&join);
	return joins;
}

/* count packets of spec, each of payload bytes, sequence and id counting on. */
static void build_run(const struct packet_spec *spec, struct packet *packets, size_t count)
{
	struct packet_spec each = *spec;

	for (size_t i = 0; i < count; i++) {
		packets[i].len = header_len(&each) + each.payload;
		packets[i].bytes = malloc(packets[i].len);
		assert_non_null(packets[i].bytes);
		build(&each, packets[i].bytes);
		each.sequence += (uint32_t)each.payload;
		each.id++;
		each.content++;
	}
}

static void free_run(struct packet *packets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(packets[i].bytes);
}

/* Two packets that fit, of which the second is changed in one byte. */
struct pair_row {
	const char *name;
	struct packet_spec spec;
	size_t at;
	uint8_t change; /* exclusive or */
	bool wrong;	/* the checksums are not mended after it */
	size_t joins;
};

#define V4_TCP_ID                                                                                  \
	{                                                                                          \
		.family = 4, .protocol = TCP, .flags = ACK, .payload = 100, .id = 0xffff           \
	}
#define V4_TCP_DF                                                                                  \
	{                                                                                          \
		.family = 4, .protocol = TCP, .flags = ACK, .payload = 100, .v4_flags = DF         \
	}
#define V4_TCP_12                                                                                  \
	{                                                                                          \
		.family = 4, .protocol = TCP, .flags = ACK, .payload = 100, .tcp_options = 12      \
	}

static const struct pair_row pair_rows[] = {
	{"v4 TCP", V4_TCP, 40, 0, false, 1},
	{"v6 TCP", V6_TCP, 60, 0, false, 1},
	{"v4 UDP", V4_UDP, 28, 0, false, 1},
	{"v6 UDP", V6_UDP, 48, 0, false, 1},
	{"v4 TCP with options", V4_TCP_12, 52, 0, false, 1},
	{"v4 TCP with other payload", V4_TCP, 40, 0xff, false, 1},
	{"v4 id wraps", V4_TCP_ID, 40, 0, false, 1},
	{"v4 TOS", V4_TCP, 1, 0x10, false, 2},
	{"v4 ECN mark", V4_TCP, 1, 0x03, false, 2},
	{"v4 id out of order", V4_TCP, 5, 0x02, false, 2},
	{"v4 id under don't-fragment", V4_TCP_DF, 5, 0x02, false, 1},
	{"v4 don't-fragment", V4_TCP, 6, 0x40, false, 2},
	{"v4 don't-fragment gone", V4_TCP_DF, 6, 0x40, false, 2},
	{"v4 reserved flag", V4_TCP, 6, 0x80, false, 2},
	{"v4 more fragments", V4_TCP, 6, 0x20, false, 2},
	{"v4 TTL", V4_TCP, 8, 0x01, false, 2},
	{"v4 source", V4_TCP, 15, 0x01, false, 2},
	{"v4 destination", V4_TCP, 16, 0x80, false, 2},
	{"v4 header checksum", V4_TCP, 10, 0x01, true, 2},
	{"v6 traffic class", V6_TCP, 1, 0x20, false, 2},
	{"v6 flow label", V6_TCP, 3, 0x01, false, 2},
	{"v6 hop limit", V6_TCP, 7, 0x01, false, 2},
	{"v6 source", V6_TCP, 8, 0x01, false, 2},
	{"v6 destination", V6_TCP, 39, 0x01, false, 2},
	{"TCP source port", V4_TCP, 20, 0x01, false, 2},
	{"TCP destination port", V4_TCP, 23, 0x01, false, 2},
	{"TCP sequence", V4_TCP, 27, 0x01, false, 2},
	{"TCP ACK", V4_TCP, 31, 0x01, false, 2},
	{"TCP ACK's first byte", V4_TCP, 28, 0x80, false, 2},
	{"TCP reserved bits", V4_TCP, 32, 0x01, false, 2},
	{"TCP data offset", V4_TCP, 32, 0x30, false, 2},
	{"TCP FIN", V4_TCP, 33, 0x01, false, 2},
	{"TCP SYN", V4_TCP, 33, 0x02, false, 2},
	{"TCP RST", V4_TCP, 33, 0x04, false, 2},
	{"TCP PSH", V4_TCP, 33, 0x08, false, 1},
	{"TCP without ACK", V4_TCP, 33, 0x10, false, 2},
	{"TCP URG", V4_TCP, 33, 0x20, false, 2},
	{"TCP ECE", V4_TCP, 33, 0x40, false, 2},
	{"TCP CWR", V4_TCP, 33, 0x80, false, 2},
	{"TCP window", V4_TCP, 35, 0x01, false, 2},
	{"TCP window's first byte", V4_TCP, 34, 0x01, false, 2},
	{"TCP checksum", V4_TCP, 37, 0x01, true, 2},
	{"TCP payload damaged", V6_TCP, 159, 0x01, true, 2},
	{"TCP urgent pointer", V4_TCP, 39, 0x01, false, 2},
	{"TCP option", V4_TCP_12, 51, 0x01, false, 2},
	{"UDP source port", V4_UDP, 21, 0x01, false, 2},
	{"UDP destination port", V6_UDP, 43, 0x01, false, 2},
	{"UDP length", V4_UDP, 25, 0x01, false, 2},
	{"UDP checksum", V6_UDP, 46, 0x01, true, 2},
	{"UDP payload damaged", V4_UDP, 127, 0x80, true, 2},
};

static void test_join_pairs(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pair_rows) / sizeof(pair_rows[0]); i++) {
		const struct pair_row *row = &pair_rows[i];
		struct packet packets[2], swapped[2];

		print_message("%s\n", row->name);
		build_run(&row->spec, packets, 2);
		packets[1].bytes[row->at] ^= row->change;
		if (!row->wrong)
			mend(packets[1].bytes, ip_header_len(&row->spec), packets[1].len,
			     row->spec.protocol);
		assert_int_equal(join_and_split(ALL, packets, 2), row->joins);
		/* The first may be what is wrong. */
		if (row->wrong) {
			build_run(&row->spec, swapped, 2);
			swapped[0].bytes[row->at] ^= row->change;
			assert_int_equal(join_and_split(ALL, swapped, 2), 2);
			free_run(swapped, 2);
		}
		free_run(packets, 2);
	}
}

/* Two equal packets of a kind that is never joined, however alike they are. */
static void test_join_alone(void **state)
{
	static const struct {
		const char *name;
		struct packet_spec spec;
		unsigned offloads;
		size_t joins;
	} rows[] = {
		{"v4 options",
		 {.family = 4, .protocol = TCP, .flags = ACK, .payload = 9, .ip_options = 4},
		 ALL,
		 2},
		{"v6 extension",
		 {.family = 6, .protocol = TCP, .flags = ACK, .payload = 9, .extension = 8},
		 ALL,
		 2},
		{"fragments",
		 {.family = 4, .protocol = TCP, .flags = ACK, .payload = 9, .v4_flags = 0x2000},
		 ALL,
		 2},
		{"later fragments",
		 {.family = 4, .protocol = UDP, .payload = 9, .v4_flags = 1},
		 ALL,
		 2},
		{"pure ACKs", {.family = 4, .protocol = TCP, .flags = ACK}, ALL, 2},
		{"pure ACKs with options",
		 {.family = 6, .protocol = TCP, .flags = ACK, .tcp_options = 12},
		 ALL,
		 2},
		{"empty datagrams", {.family = 6, .protocol = UDP}, ALL, 2},
		{"PSH in both",
		 {.family = 6, .protocol = TCP, .flags = ACK | PSH, .payload = 9},
		 ALL,
		 2},
		{"SYN with data",
		 {.family = 6, .protocol = TCP, .flags = ACK | SYN, .payload = 9},
		 ALL,
		 2},
		{"no TSO4", V4_TCP, ALL & ~TUN_OFFLOAD_TSO4, 2},
		{"no TSO6", V6_TCP, ALL & ~TUN_OFFLOAD_TSO6, 2},
		{"no USO4", V4_UDP, ALL & ~TUN_OFFLOAD_USO4, 2},
		{"no USO6", V6_UDP, ALL & ~TUN_OFFLOAD_USO6, 2},
		{"no checksums", V4_TCP, ALL & ~TUN_OFFLOAD_CSUM, 2},
		{"TSO4 alone", V4_TCP, TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4, 1},
		{"TSO6 alone", V6_TCP, TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO6, 1},
		{"USO4 alone", V4_UDP, TUN_OFFLOAD_CSUM | TUN_OFFLOAD_USO4, 1},
		{"USO6 alone", V6_UDP, TUN_OFFLOAD_CSUM | TUN_OFFLOAD_USO6, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct packet packets[2];

		print_message("%s\n", rows[i].name);
		build_run(&rows[i].spec, packets, 2);
		assert_int_equal(join_and_split(rows[i].offloads, packets, 2), rows[i].joins);
		free_run(packets, 2);
	}
}

/* A datagram without a checksum must not be given one. */
static void test_join_udp_without_checksum(void **state)
{
	struct packet packets[2];
	const struct packet_spec spec = V4_UDP;

	(void)state;
	build_run(&spec, packets, 2);
	for (size_t i = 0; i < 2; i++)
		ip_put16(packets[i].bytes + 26, 0);
	assert_int_equal(join_and_split(ALL, packets, 2), 2);
	free_run(packets, 2);

	/* Not even where the rest of it sums to what a right checksum of 0 would be. */
	build_run(&spec, packets, 2);
	for (size_t i = 0; i < 2; i++) {
		struct packet_spec each = spec;

		each.id = (uint16_t)i;
		build_zero_sum(&each, packets[i].bytes);
		assert_int_equal(checksum_of(packets[i].bytes, 20, packets[i].len, UDP), 0);
	}
	assert_int_equal(join_and_split(ALL, packets, 2), 2);
	free_run(packets, 2);

	/* Nor behind one that has one. */
	build_run(&spec, packets, 2);
	build_zero_sum(&(struct packet_spec){.family = spec.family,
					     .protocol = spec.protocol,
					     .payload = spec.payload,
					     .id = (uint16_t)(spec.id + 1)},
		       packets[1].bytes);
	assert_int_equal(join_and_split(ALL, packets, 2), 2);
	free_run(packets, 2);
}

/* Two packets alike, both with a byte that makes them none to join. */
static void test_join_odd_headers(void **state)
{
	static const struct {
		const char *name;
		struct packet_spec spec;
		size_t at;
		uint8_t value;
		size_t joins;
	} rows[] = {
		{"nothing odd", V4_TCP, 33, ACK, 1},
		{"data offset 4", V4_TCP, 32, 0x40, 2},
		{"data offset 0", V4_TCP, 32, 0x00, 2},
		{"data offset past the end",
		 {.family = 4, .protocol = TCP, .flags = ACK, .payload = 20},
		 32,
		 0xf0,
		 2},
		{"data offset at the end",
		 {.family = 6, .protocol = TCP, .flags = ACK, .payload = 20},
		 52,
		 0xa0,
		 2},
		{"reserved bits", V4_TCP, 32, 0x58, 2},
		{"no flags", V4_TCP, 33, 0, 2},
		{"PSH without ACK", V4_TCP, 33, PSH, 2},
		{"URG", V4_TCP, 33, ACK | 0x20, 2},
		{"CWR", V4_TCP, 33, ACK | CWR, 2},
		{"UDP length too small", V4_UDP, 25, 107, 2},
		{"UDP length too big", V6_UDP, 45, 109, 2},
		{"an other protocol", V4_TCP, 9, 132, 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct packet packets[2];

		print_message("%s\n", rows[i].name);
		build_run(&rows[i].spec, packets, 2);
		for (size_t j = 0; j < 2; j++) {
			packets[j].bytes[rows[i].at] = rows[i].value;
			mend(packets[j].bytes, ip_header_len(&rows[i].spec), packets[j].len,
			     rows[i].spec.protocol);
		}
		assert_int_equal(join_and_split(ALL, packets, 2), rows[i].joins);
		free_run(packets, 2);
	}
}

/* Transports cut off anywhere in their headers. */
static void test_join_cut(void **state)
{
	static const struct packet_spec specs[] = {V4_TCP, V6_TCP, V4_UDP, V6_UDP};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		size_t transport = ip_header_len(&specs[i]);

		for (size_t cut = 0; cut <= 20; cut++) {
			struct packet packets[2];

			for (size_t j = 0; j < 2; j++) {
				uint8_t whole[300];

				build(&specs[i], whole);
				packets[j].len = transport + cut;
				packets[j].bytes = malloc(packets[j].len);
				assert_non_null(packets[j].bytes);
				ip_put16(whole + (specs[i].family == 4 ? 2 : 4),
					 (uint16_t)(specs[i].family == 4 ? transport + cut : cut));
				memcpy(packets[j].bytes, whole, packets[j].len);
			}
			assert_int_equal(join_and_split(ALL, packets, 2), 2);
			free_run(packets, 2);
		}
	}
}

static void test_join_not_ip(void **state)
{
	uint8_t bytes[3][100] = {{0}};
	struct packet packets[3];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		packets[i] = (struct packet){.len = 100, .bytes = bytes[i]};
	bytes[1][0] = 0x45; /* of the wrong length */
	assert_int_equal(join_and_split(ALL, packets, 3), 3);
}

/* Sizes: a shorter segment is the last, a longer one begins anew. */
static void test_join_sizes(void **state)
{
	static const struct {
		const char *name;
		size_t sizes[4];
		size_t joins;
	} rows[] = {
		{"equal", {100, 100, 100, 100}, 1},	{"short last", {100, 100, 100, 99}, 1},
		{"short third", {100, 100, 1, 100}, 2}, {"short second", {100, 99, 99, 99}, 2},
		{"long last", {100, 100, 100, 101}, 2}, {"growing", {1, 2, 3, 4}, 4},
		{"shrinking", {100, 99, 98, 97}, 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned kind = 0; kind < 4; kind++) {
			struct packet_spec spec = {.family = kind & 1 ? 4 : 6,
						   .protocol = kind & 2 ? TCP : UDP,
						   .flags = ACK};
			struct packet packets[4];

			print_message("%s %u\n", rows[i].name, kind);
			for (size_t j = 0; j < 4; j++) {
				spec.payload = rows[i].sizes[j];
				build_run(&spec, &packets[j], 1);
				spec.sequence += (uint32_t)spec.payload;
				spec.id++;
			}
			assert_int_equal(join_and_split(ALL, packets, 4), rows[i].joins);
			free_run(packets, 4);
		}
	}
}

static void test_join_push(void **state)
{
	const struct packet_spec spec = V6_TCP;
	struct offload_join join = join_new();
	struct packet packets[4];
	struct tun_header header;

	(void)state;
	build_run(&spec, packets, 4);
	packets[1].bytes[53] |= PSH;
	mend(packets[1].bytes, 40, packets[1].len, TCP);
	assert_int_equal(join_and_split(ALL, packets, 4), 2);

	/* The one that ended it shows in the joined packet. */
	assert_true(offload_join_add(&join, ALL, packets[0].bytes, packets[0].len));
	assert_true(offload_join_add(&join, ALL, packets[1].bytes, packets[1].len));
	assert_false(offload_join_add(&join, ALL, packets[2].bytes, packets[2].len));
	assert_true(offload_join_finish(&join, &header));
	assert_int_equal(join.packet[53], ACK | PSH);
	assert_int_equal(header.gso_size, 100);
	join_done(&join);
	free_run(packets, 4);
}

/* 65535 bytes, and 64 datagrams, are the most. */
static void test_join_limits(void **state)
{
	struct packet_spec tcp = {.family = 4, .protocol = TCP, .flags = ACK, .payload = 13099};
	struct packet_spec udp = {.family = 4, .protocol = UDP, .payload = 10};
	struct packet packets[STREAM_MAX];

	(void)state;
	build_run(&tcp, packets, 5); /* 40 + 5 * 13099 = 65535 */
	assert_int_equal(join_and_split(ALL, packets, 5), 1);
	free_run(packets, 5);
	tcp.tcp_options = 4;
	build_run(&tcp, packets, 5);
	assert_int_equal(join_and_split(ALL, packets, 5), 2);
	free_run(packets, 5);

	build_run(&udp, packets, 65);
	assert_int_equal(join_and_split(ALL, packets, 64), 1);
	assert_int_equal(join_and_split(ALL, packets, 65), 2);
	free_run(packets, 65);
	tcp.payload = 10;
	build_run(&tcp, packets, 65);
	assert_int_equal(join_and_split(ALL, packets, 65), 1);
	free_run(packets, 65);
}

static void test_join_swallows(void **state)
{
	uint8_t *bytes = calloc(1, OFFLOAD_JOIN_MAX + 1);
	struct offload_join join = join_new();
	struct tun_header header;

	(void)state;
	assert_non_null(bytes);
	assert_false(offload_join_finish(&join, &header));
	assert_true(offload_join_add(&join, ALL, bytes, 0));
	assert_true(offload_join_add(&join, ALL, bytes, OFFLOAD_JOIN_MAX + 1));
	assert_false(offload_join_finish(&join, &header));
	assert_true(offload_join_add(&join, ALL, bytes, OFFLOAD_JOIN_MAX));
	assert_true(offload_join_finish(&join, &header));
	assert_int_equal(join.len, OFFLOAD_JOIN_MAX);
	join_done(&join);
	free(bytes);
}

static struct packet_spec roll_stream(uint64_t *seed)
{
	return (struct packet_spec){
		.family = one_in(seed, 2) ? 4 : 6,
		.protocol = one_in(seed, 3) ? UDP : TCP,
		.tcp_options = (uint8_t)(4 * roll_between(seed, 0, 10)),
		.flags = ACK,
		.id = (uint16_t)roll(seed),
		.v4_flags = one_in(seed, 2) ? DF : 0,
		.sequence = one_in(seed, 3) ? UINT32_MAX - 3000 : roll(seed),
		.window = (uint16_t)roll(seed),
		.port = (uint16_t)roll_between(seed, 1, 3),
		.payload = roll_between(seed, 1, one_in(seed, 10) ? 1500 : 200),
		.content = roll(seed),
	};
}

/* Random streams, undisturbed: what can be joined is joined, and comes apart as it was. */
static void test_join_random_streams(void **state)
{
	uint64_t seed = 4711;

	(void)state;
	for (size_t i = 0; i < STREAMS; i++) {
		struct packet_spec spec = roll_stream(&seed), last;
		size_t count = roll_between(&seed, 1, 30);
		struct packet packets[STREAM_MAX];

		last = spec;
		build_run(&spec, packets, count);
		last.sequence += (uint32_t)(count * spec.payload);
		last.id = (uint16_t)(last.id + count);
		last.payload = roll_between(&seed, 1, spec.payload);
		last.flags |= one_in(&seed, 2) ? PSH : 0;
		build_run(&last, &packets[count++], 1);
		assert_int_equal(join_and_split(ALL, packets, count), 1);
		free_run(packets, count);
	}
}

/* One packet of the stream, perhaps damaged; what the stream's next is then made of. */
static void build_disturbed(uint64_t *seed, struct packet_spec *spec, struct packet *packet)
{
	struct packet_spec each = *spec;

	if (one_in(seed, 8))
		each.payload = roll_between(seed, 0, spec->payload);
	if (one_in(seed, 12))
		each.flags ^= (uint8_t)(1U << roll(seed) % 8);
	if (one_in(seed, 12))
		each.id = (uint16_t)roll(seed);
	build_run(&each, packet, 1);
	if (one_in(seed, 12)) {
		packet->bytes[roll(seed) % packet->len] ^= (uint8_t)(1U << roll(seed) % 8);
		/* Or else its checksum is wrong now. Where the damage is to lengths, mending is
		 * beyond it. */
		if (one_in(seed, 2) && packet->len >= header_len(&each))
			mend(packet->bytes, ip_header_len(&each), packet->len, each.protocol);
	}
	spec->sequence += (uint32_t)each.payload;
	spec->id++;
	spec->content++;
}

/* Two streams in turns, damaged, of changing sizes: whatever goes in comes out, in order. */
static void test_join_random_disorder(void **state)
{
	uint64_t seed = 1234567;
	size_t packets_all = 0, joins = 0;

	(void)state;
	for (size_t i = 0; i < STREAMS; i++) {
		struct packet_spec specs[2] = {roll_stream(&seed), roll_stream(&seed)};
		size_t count = roll_between(&seed, 1, 30), which = 0;
		struct packet packets[STREAM_MAX];

		for (size_t j = 0; j < count; j++) {
			which ^= one_in(&seed, 6);
			build_disturbed(&seed, &specs[which], &packets[j]);
		}
		packets_all += count;
		joins += join_and_split(ALL, packets, count);
		free_run(packets, count);
	}
	/* Neither everything nor nothing was joined. */
	assert_true(joins > packets_all / 4 && joins < packets_all * 3 / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_plain),
		cmocka_unit_test(test_split_completes_checksum),
		cmocka_unit_test(test_split_zero_checksum),
		cmocka_unit_test(test_split_checksum_bounds),
		cmocka_unit_test(test_split_refuses),
		cmocka_unit_test(test_split_random),
		cmocka_unit_test(test_split_biggest),
		cmocka_unit_test(test_join_pairs),
		cmocka_unit_test(test_join_alone),
		cmocka_unit_test(test_join_udp_without_checksum),
		cmocka_unit_test(test_join_odd_headers),
		cmocka_unit_test(test_join_cut),
		cmocka_unit_test(test_join_not_ip),
		cmocka_unit_test(test_join_sizes),
		cmocka_unit_test(test_join_push),
		cmocka_unit_test(test_join_limits),
		cmocka_unit_test(test_join_swallows),
		cmocka_unit_test(test_join_random_streams),
		cmocka_unit_test(test_join_random_disorder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
