/* wire/ip: reading, checksums, the MSS clamp, ICMP errors. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ip.h"

enum { PACKET_MAX = 2048 };

#define V4_ADDRS      "c0000201 c6336402" /* 192.0.2.1 to 198.51.100.2 */
#define V6_ADDR(last) "20010db8 00000000 00000000 000000" last
#define V6_ADDRS      V6_ADDR("01") V6_ADDR("02")

/* Hexadecimal digits, spaces ignored. Returns how many bytes. */
static size_t read_hex(const char *hex, uint8_t *ret)
{
	size_t len = 0;
	char pair[3] = {0};

	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		memcpy(pair, hex++, 2);
		assert_true(len < PACKET_MAX);
		ret[len++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return len;
}

/* A copy with nothing behind it, so that the address sanitizer sees a byte read too far. */
static uint8_t *copy_exact(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return copy;
}

static struct ip_view read_good(const uint8_t *packet, size_t len)
{
	struct ip_view view;

	assert_int_equal(ip_read(packet, len, &view), IP_OK);
	return view;
}

/* ---- ip_read ---- */

struct read_row {
	const char *name, *hex;
	enum ip_error error;
	uint8_t protocol;
	uint16_t transport;
	bool fragment, later, ports;
	uint8_t icmp_type;
};

static const struct read_row read_rows[] = {
	{.name = "nothing", .hex = "", .error = IP_ERROR_SHORT},
	{.name = "version 5",
	 .hex = "55000014 00000000 40060000" V4_ADDRS,
	 .error = IP_ERROR_VERSION},
	{.name = "v4 of 19 bytes",
	 .hex = "45000013 00000000 40060000 c0000201 c63364",
	 .error = IP_ERROR_SHORT},
	{.name = "v4 header length 4",
	 .hex = "44000014 00000000 40060000" V4_ADDRS,
	 .error = IP_ERROR_HEADER},
	{.name = "v4 header past the end",
	 .hex = "46000014 00000000 40060000" V4_ADDRS,
	 .error = IP_ERROR_HEADER},
	{.name = "v4 total too small",
	 .hex = "45000014 00000000 40060000" V4_ADDRS "00",
	 .error = IP_ERROR_LENGTH},
	{.name = "v4 total too big",
	 .hex = "45000016 00000000 40060000" V4_ADDRS "00",
	 .error = IP_ERROR_LENGTH},
	{.name = "v4 bare",
	 .hex = "45000014 00000000 40060000" V4_ADDRS,
	 .protocol = 6,
	 .transport = 20},
	{.name = "v4 UDP",
	 .hex = "4500001c 00000000 40110000" V4_ADDRS "04d2162e 00080000",
	 .protocol = 17,
	 .transport = 20,
	 .ports = true},
	{.name = "v4 TCP, ports and no more",
	 .hex = "45000018 00000000 40060000" V4_ADDRS "04d2162e",
	 .protocol = 6,
	 .transport = 20,
	 .ports = true},
	{.name = "v4 TCP, ports cut",
	 .hex = "45000017 00000000 40060000" V4_ADDRS "04d216",
	 .protocol = 6,
	 .transport = 20},
	{.name = "v4 options",
	 .hex = "46000020 00000000 40110000" V4_ADDRS "01010101 04d2162e 00080000",
	 .protocol = 17,
	 .transport = 24,
	 .ports = true},
	{.name = "v4 first fragment",
	 .hex = "4500001c 00002000 40110000" V4_ADDRS "04d2162e 00100000",
	 .protocol = 17,
	 .transport = 20,
	 .fragment = true,
	 .ports = true},
	{.name = "v4 later fragment",
	 .hex = "4500001c 00000001 40110000" V4_ADDRS "04d2162e 00100000",
	 .protocol = 17,
	 .transport = 20,
	 .fragment = true,
	 .later = true},
	{.name = "v4 don't-fragment is no fragment",
	 .hex = "4500001c 00004000 40110000" V4_ADDRS "04d2162e 00080000",
	 .protocol = 17,
	 .transport = 20,
	 .ports = true},
	{.name = "v4 ICMP",
	 .hex = "4500001c 00000000 40010000" V4_ADDRS "08000000 00010001",
	 .protocol = 1,
	 .transport = 20,
	 .icmp_type = 8},
	{.name = "v4 ICMP later fragment",
	 .hex = "4500001c 00000001 40010000" V4_ADDRS "08000000 00010001",
	 .protocol = 1,
	 .transport = 20,
	 .fragment = true,
	 .later = true},
	{.name = "v4 ICMP without a byte",
	 .hex = "45000014 00000000 40010000" V4_ADDRS,
	 .protocol = 1,
	 .transport = 20},
	{.name = "v6 of 39 bytes",
	 .hex = "60000000 00001140" V6_ADDR("01") "20010db8 00000000 00000000 000000",
	 .error = IP_ERROR_SHORT},
	{.name = "v6 payload too small",
	 .hex = "60000000 00001140" V6_ADDRS "00",
	 .error = IP_ERROR_LENGTH},
	{.name = "v6 payload too big",
	 .hex = "60000000 00021140" V6_ADDRS "00",
	 .error = IP_ERROR_LENGTH},
	{.name = "v6 jumbogram",
	 .hex = "60000000 00000040" V6_ADDRS "1100c204 00010000 04d2162e 00080000",
	 .error = IP_ERROR_LENGTH},
	{.name = "v6 UDP",
	 .hex = "60000000 00081140" V6_ADDRS "04d2162e 00080000",
	 .protocol = 17,
	 .transport = 40,
	 .ports = true},
	{.name = "v6 no next header",
	 .hex = "60000000 00003b40" V6_ADDRS,
	 .protocol = 59,
	 .transport = 40},
	{.name = "v6 hop-by-hop, destination, routing",
	 .hex = "60000000 00280040" V6_ADDRS "3c000104 00000000 2b010104 00000000 00000000 00000000"
		"11000000 00000000 04d2162e 00080000",
	 .protocol = 17,
	 .transport = 72,
	 .ports = true},
	{.name = "v6 hop-by-hop in second place",
	 .hex = "60000000 00183c40" V6_ADDRS
		"00000104 00000000 11000104 00000000 04d2162e 00080000",
	 .error = IP_ERROR_HEADER},
	{.name = "v6 extension starts at the end",
	 .hex = "60000000 00003c40" V6_ADDRS,
	 .error = IP_ERROR_HEADER},
	{.name = "v6 extension of 7 bytes",
	 .hex = "60000000 00073c40" V6_ADDRS "11000104 000000",
	 .error = IP_ERROR_HEADER},
	{.name = "v6 extension past the end",
	 .hex = "60000000 00083c40" V6_ADDRS "11010104 00000000",
	 .error = IP_ERROR_HEADER},
	{.name = "v6 eight extensions",
	 .hex = "60000000 00483c40" V6_ADDRS "3c000104 00000000 3c000104 00000000 3c000104 00000000"
		"3c000104 00000000 3c000104 00000000 3c000104 00000000 3c000104 00000000"
		"11000104 00000000 04d2162e 00080000",
	 .protocol = 17,
	 .transport = 104,
	 .ports = true},
	{.name = "v6 nine extensions",
	 .hex = "60000000 00503c40" V6_ADDRS "3c000104 00000000 3c000104 00000000 3c000104 00000000"
		"3c000104 00000000 3c000104 00000000 3c000104 00000000 3c000104 00000000"
		"3c000104 00000000 11000104 00000000 04d2162e 00080000",
	 .error = IP_ERROR_HEADER},
	{.name = "v6 extension and nothing behind it",
	 .hex = "60000000 00083c40" V6_ADDRS "11000104 00000000",
	 .protocol = 17,
	 .transport = 48},
	{.name = "v4 ICMP of one byte",
	 .hex = "45000015 00000000 40010000" V4_ADDRS "0b",
	 .protocol = 1,
	 .transport = 20,
	 .icmp_type = 11},
	{.name = "v6 first fragment",
	 .hex = "60000000 00102c40" V6_ADDRS "11000001 00000001 04d2162e 00100000",
	 .protocol = 17,
	 .transport = 48,
	 .fragment = true,
	 .ports = true},
	{.name = "v6 later fragment",
	 .hex = "60000000 00102c40" V6_ADDRS "11000008 00000001 04d2162e 00100000",
	 .protocol = 17,
	 .transport = 48,
	 .fragment = true,
	 .later = true},
	{.name = "v6 fragment header's length byte is reserved",
	 .hex = "60000000 00102c40" V6_ADDRS "11ff0001 00000001 04d2162e 00100000",
	 .protocol = 17,
	 .transport = 48,
	 .fragment = true,
	 .ports = true},
	{.name = "v6 atomic fragment is whole",
	 .hex = "60000000 00102c40" V6_ADDRS "11000000 00000001 04d2162e 00080000",
	 .protocol = 17,
	 .transport = 48,
	 .ports = true},
	{.name = "v6 later fragment of an extension is not walked",
	 .hex = "60000000 00102c40" V6_ADDRS "3c000008 00000001 11ff0000 00000000",
	 .protocol = 60,
	 .transport = 48,
	 .fragment = true,
	 .later = true},
	{.name = "v6 ICMPv6",
	 .hex = "60000000 00083a40" V6_ADDRS "80000000 00010001",
	 .protocol = 58,
	 .transport = 40,
	 .icmp_type = 128},
	{.name = "v6 authentication header stays closed",
	 .hex = "60000000 00183340" V6_ADDRS
		"11040000 00000001 00000001 00000000 04d2162e 00080000",
	 .protocol = 51,
	 .transport = 40},
};

static void check_view(const struct read_row *row, const uint8_t *packet, size_t len,
		       const struct ip_view *view)
{
	bool v4 = packet[0] >> 4 == 4;

	assert_int_equal(view->family, v4 ? 4 : 6);
	assert_ptr_equal(view->source, packet + (v4 ? 12 : 8));
	assert_ptr_equal(view->destination, packet + (v4 ? 16 : 24));
	assert_int_equal(view->len, len);
	assert_int_equal(view->protocol, row->protocol);
	assert_int_equal(view->transport, row->transport);
	assert_int_equal(view->is_fragment, row->fragment);
	assert_int_equal(view->is_later_fragment, row->later);
	assert_int_equal(view->has_ports, row->ports);
	assert_int_equal(view->source_port, row->ports ? 1234 : 0);
	assert_int_equal(view->destination_port, row->ports ? 5678 : 0);
	assert_int_equal(view->icmp_type, row->icmp_type);
}

static void test_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(read_rows) / sizeof(read_rows[0]); i++) {
		const struct read_row *row = &read_rows[i];
		struct ip_view view = {.family = 99};
		uint8_t bytes[PACKET_MAX], *packet;
		size_t len = read_hex(row->hex, bytes);
		enum ip_error error;

		packet = copy_exact(bytes, len);
		error = ip_read(packet, len, &view);
		if (error != row->error)
			fail_msg("%s: %d, not %d", row->name, error, row->error);
		print_message("%s\n", row->name);
		if (error == IP_OK)
			check_view(row, packet, len, &view);
		else
			assert_int_equal(view.family, 99);
		free(packet);
	}
}

static void test_read_too_long(void **state)
{
	uint8_t *packet = calloc(1, 65536);
	struct ip_view view;

	(void)state;
	assert_non_null(packet);
	packet[0] = 0x45;
	ip_put16(packet + 2, 65535);
	assert_int_equal(ip_read(packet, 65535, &view), IP_OK);
	assert_int_equal(view.len, 65535);
	ip_put16(packet + 2, 0); /* 65536 modulo 2^16 */
	assert_int_equal(ip_read(packet, 65536, &view), IP_ERROR_LENGTH);
	free(packet);
}

/* ---- sums ---- */

/* Word by word as in RFC 1071's first example, network order. */
static uint16_t sum_slowly(const uint8_t *bytes, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint16_t as_stored(uint16_t folded)
{
	uint8_t bytes[2];

	ip_put_sum(bytes, folded);
	return ip_get16(bytes);
}

static void test_sum_known(void **state)
{
	uint8_t rfc1071[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	uint8_t header[PACKET_MAX];

	(void)state;
	assert_int_equal(as_stored(ip_sum_fold(ip_sum(rfc1071, 8, 0))), 0xddf2);
	read_hex("45000073 00004000 40111234 c0a80001 c0a800c7", header);
	ip_set_v4_checksum(header);
	assert_int_equal(ip_get16(header + 10), 0xb861);
	/* Options are part of it. */
	read_hex("46000018 00000000 40110000 c0a80001 c0a800c7 94040000", header);
	ip_set_v4_checksum(header);
	assert_int_equal(sum_slowly(header, 24, 0), 0xffff);
}

static void test_sum_lengths(void **state)
{
	uint8_t bytes[400];

	(void)state;
	srand(1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand();
	for (size_t len = 0; len <= 300; len++)
		for (size_t at = 0; at < 16; at++) {
			uint8_t *copy = copy_exact(bytes + at, len);

			assert_int_equal(as_stored(ip_sum_fold(ip_sum(copy, len, 0))),
					 sum_slowly(copy, len, 0));
			free(copy);
		}
}

/* A one's complement sum is the value modulo 0xffff, with 0xffff for all multiples but 0. */
static void test_sum_fold(void **state)
{
	static const uint64_t words[] = {0, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff};

	(void)state;
	for (unsigned i = 0; i < 8 * 8 * 8 * 8; i++) {
		uint64_t sum = words[i & 7] << 48 | words[i >> 3 & 7] << 32 |
			       words[i >> 6 & 7] << 16 | words[i >> 9 & 7];
		uint64_t expected = sum % 0xffff;

		assert_int_equal(ip_sum_fold(sum), sum && !expected ? 0xffff : expected);
	}
}

static void test_sum_carries(void **state)
{
	uint8_t *bytes = malloc(65536);
	uint64_t sum;

	(void)state;
	assert_non_null(bytes);
	memset(bytes, 0xff, 65536);
	assert_int_equal(ip_sum_fold(ip_sum(bytes, 65536, 0)), 0xffff);
	/* Parts of even length add up to the whole. */
	for (size_t i = 0; i < 65536; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 8));
	sum = ip_sum(bytes + 1000, 64536, ip_sum(bytes, 1000, 0));
	assert_int_equal(as_stored(ip_sum_fold(sum)), sum_slowly(bytes, 65536, 0));
	free(bytes);
}

static void test_sum_pseudo(void **state)
{
	uint8_t pseudo[PACKET_MAX];
	size_t len;

	(void)state;
	len = read_hex(V4_ADDRS "00 11 ffdc", pseudo);
	assert_int_equal(as_stored(ip_sum_fold(ip_sum_pseudo(4, pseudo, pseudo + 4, 17, 0xffdc))),
			 sum_slowly(pseudo, len, 0));
	len = read_hex(V6_ADDRS "0001ffdc 0000003a", pseudo);
	assert_int_equal(as_stored(ip_sum_fold(ip_sum_pseudo(6, pseudo, pseudo + 16, 58, 0x1ffdc))),
			 sum_slowly(pseudo, len, 0));
}

/* ---- MSS clamp ---- */

/* The sum over pseudo header and transport: 0xffff when its checksum is right. */
static uint16_t sum_transport(const uint8_t *packet, const struct ip_view *view)
{
	size_t len = (size_t)view->len - view->transport, size = view->family == 4 ? 4 : 16;
	uint32_t pseudo = sum_slowly(view->source, size, 0);

	pseudo += sum_slowly(view->destination, size, 0) + view->protocol + (uint32_t)len;
	return sum_slowly(packet + view->transport, len, pseudo);
}

struct clamp_row {
	const char *name;
	unsigned family;
	const char *options; /* TCP's, a multiple of 4 bytes */
	unsigned mtu;
	size_t at;	   /* of the MSS value in the options */
	unsigned expected; /* that value afterwards */
	bool changed;
	uint8_t flags;	   /* TCP's; 0: SYN */
	uint8_t protocol;  /* 0: TCP */
	uint16_t fragment; /* IPv4's flags and offset */
	uint8_t doff;	   /* 0: what it is */
	bool partial;
};

static const struct clamp_row clamp_rows[] = {
	{.name = "v4",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1360,
	 .changed = true},
	{.name = "v6",
	 .family = 6,
	 .options = "020405a0",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1340,
	 .changed = true},
	{.name = "SYN ACK",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1360,
	 .changed = true,
	 .flags = 0x12},
	{.name = "no SYN",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1460,
	 .flags = 0x10},
	{.name = "equal",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1500,
	 .at = 2,
	 .expected = 1460},
	{.name = "one too big",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1499,
	 .at = 2,
	 .expected = 1459,
	 .changed = true},
	{.name = "smaller",
	 .family = 4,
	 .options = "02040218",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 536},
	{.name = "odd offset",
	 .family = 4,
	 .options = "01020405 b4010101",
	 .mtu = 1300,
	 .at = 3,
	 .expected = 1260,
	 .changed = true},
	{.name = "odd offset, high byte carries",
	 .family = 6,
	 .options = "010204ff ff000000",
	 .mtu = 1280,
	 .at = 3,
	 .expected = 1220,
	 .changed = true},
	{.name = "behind two NOPs",
	 .family = 4,
	 .options = "01010204 05b40000",
	 .mtu = 1400,
	 .at = 4,
	 .expected = 1360,
	 .changed = true},
	{.name = "behind others",
	 .family = 4,
	 .options = "0402080a 00000001 00000002 0204ffff",
	 .mtu = 1400,
	 .at = 14,
	 .expected = 1360,
	 .changed = true},
	{.name = "behind the end of options",
	 .family = 4,
	 .options = "00000000 020405b4",
	 .mtu = 1400,
	 .at = 6,
	 .expected = 1460},
	{.name = "the second counts too",
	 .family = 4,
	 .options = "02040218 020405b4",
	 .mtu = 1400,
	 .at = 6,
	 .expected = 1360,
	 .changed = true},
	{.name = "MSS of the wrong length",
	 .family = 4,
	 .options = "0206ffff ffff0000",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 0xffff},
	{.name = "option of length 0",
	 .family = 4,
	 .options = "0300ffff 020405b4",
	 .mtu = 1400,
	 .at = 6,
	 .expected = 1460},
	{.name = "option of length 1",
	 .family = 4,
	 .options = "03010204 05b40000",
	 .mtu = 1400,
	 .at = 4,
	 .expected = 0x5b4},
	{.name = "MSS past the options",
	 .family = 4,
	 .options = "01010204",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 0x204},
	{.name = "kind as the last byte",
	 .family = 4,
	 .options = "01010102",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 0x102},
	{.name = "no options by data offset",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1460,
	 .doff = 5},
	{.name = "data offset too small",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1460,
	 .doff = 4},
	{.name = "data offset past the end",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1460,
	 .doff = 15},
	{.name = "UDP",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1460,
	 .protocol = 17},
	{.name = "first fragment",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1460,
	 .fragment = 0x2000},
	{.name = "MTU below the headers",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 40,
	 .at = 2,
	 .expected = 1460},
	{.name = "huge MTU",
	 .family = 4,
	 .options = "0204ffff",
	 .mtu = 65600,
	 .at = 2,
	 .expected = 65535},
	{.name = "partial sum stays",
	 .family = 4,
	 .options = "020405b4",
	 .mtu = 1400,
	 .at = 2,
	 .expected = 1360,
	 .changed = true,
	 .partial = true},
};

static size_t build_syn(const struct clamp_row *row, uint8_t *packet)
{
	size_t ip = row->family == 4 ? 20 : 40, options;
	uint8_t *tcp = packet + ip;
	struct ip_view view;

	read_hex(row->family == 4 ? "45000000 00000000 40060000" V4_ADDRS
				  : "60000000 00000640" V6_ADDRS,
		 packet);
	read_hex("04d2162e 00000001 00000000 50020400 00000000", tcp);
	options = read_hex(row->options, tcp + 20);
	tcp[12] = (uint8_t)((row->doff ? row->doff : 5 + options / 4) << 4);
	tcp[13] = row->flags ? row->flags : 0x02;
	if (row->family == 4) {
		ip_put16(packet + 2, (uint16_t)(40 + options));
		ip_put16(packet + 6, row->fragment);
		packet[9] = row->protocol ? row->protocol : 6;
	} else {
		ip_put16(packet + 4, (uint16_t)(20 + options));
	}
	view = read_good(packet, ip + 20 + options);
	if (row->partial)
		ip_put16(tcp + 16, 0x1234);
	else
		ip_put16(tcp + 16, (uint16_t)~sum_transport(packet, &view));
	return view.len;
}

static void test_clamp(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(clamp_rows) / sizeof(clamp_rows[0]); i++) {
		const struct clamp_row *row = &clamp_rows[i];
		uint8_t bytes[PACKET_MAX], *packet, *options;
		size_t len = build_syn(row, bytes);
		struct ip_view view;

		packet = copy_exact(bytes, len);
		view = read_good(packet, len);
		options = packet + view.transport + 20;
		print_message("%s\n", row->name);
		assert_int_equal(ip_clamp_mss(packet, &view, row->mtu, row->partial), row->changed);
		assert_int_equal(ip_get16(options + row->at), row->expected);
		if (row->partial)
			assert_int_equal(ip_get16(options - 4), 0x1234);
		else
			assert_int_equal(sum_transport(packet, &view), 0xffff);
		if (!row->changed)
			assert_memory_equal(packet, bytes, len);
		free(packet);
	}
}

/* Many values, at both parities: the mended checksum is a right one. */
static void test_clamp_checksum(void **state)
{
	struct clamp_row row = {.name = "", .family = 4};
	static const char *const options[] = {"0204ffff", "010204ff ff010101"};
	uint8_t packet[PACKET_MAX];

	(void)state;
	for (unsigned i = 82; i < 2 * 65575; i += 3) {
		unsigned mtu = i / 2;
		struct ip_view view;

		row.options = options[i & 1];
		view = read_good(packet, build_syn(&row, packet));
		assert_true(ip_clamp_mss(packet, &view, mtu, false));
		assert_int_equal(sum_transport(packet, &view), 0xffff);
	}
}

static void test_clamp_short(void **state)
{
	uint8_t bytes[PACKET_MAX], *packet;
	size_t len = read_hex("45000027 00000000 40060000" V4_ADDRS
			      "04d2162e 00000001 00000000 60020400 000000",
			      bytes);
	struct ip_view view;

	(void)state;
	packet = copy_exact(bytes, len);
	view = read_good(packet, len);
	assert_false(ip_clamp_mss(packet, &view, 1400, false));
	free(packet);
}

/* ---- ICMP errors ---- */

struct error_row {
	const char *name, *hex;
	bool too_big, prohibited; /* whether one may be sent */
};

static const struct error_row error_rows[] = {
	{"v4 UDP", "4500001c 00004000 40110000" V4_ADDRS "04d2162e 00080000", true, true},
	{"v4 first fragment", "4500001c 00002000 40110000" V4_ADDRS "04d2162e 00080000", true,
	 true},
	{"v4 later fragment", "4500001c 00000001 40110000" V4_ADDRS "04d2162e 00080000", false,
	 false},
	{"v4 echo request", "4500001c 00000000 40010000" V4_ADDRS "08000000 00000000", true, true},
	{"v4 echo reply", "4500001c 00000000 40010000" V4_ADDRS "00000000 00000000", true, true},
	{"v4 unreachable", "4500001c 00000000 40010000" V4_ADDRS "03000000 00000000", false, false},
	{"v4 source quench", "4500001c 00000000 40010000" V4_ADDRS "04000000 00000000", false,
	 false},
	{"v4 redirect", "4500001c 00000000 40010000" V4_ADDRS "05000000 00000000", false, false},
	{"v4 time exceeded", "4500001c 00000000 40010000" V4_ADDRS "0b000000 00000000", false,
	 false},
	{"v4 parameter problem", "4500001c 00000000 40010000" V4_ADDRS "0c000000 00000000", false,
	 false},
	{"v4 ICMP type 2", "4500001c 00000000 40010000" V4_ADDRS "02000000 00000000", true, true},
	{"v4 ICMP type 6", "4500001c 00000000 40010000" V4_ADDRS "06000000 00000000", true, true},
	{"v4 ICMP type 10", "4500001c 00000000 40010000" V4_ADDRS "0a000000 00000000", true, true},
	{"v4 ICMP type 13", "4500001c 00000000 40010000" V4_ADDRS "0d000000 00000000", true, true},
	{"v4 ICMP without its type", "45000014 00000000 40010000" V4_ADDRS, false, false},
	{"v4 to multicast", "4500001c 00000000 40110000 c0000201 e0000001 04d2162e 00080000", false,
	 false},
	{"v4 to broadcast", "4500001c 00000000 40110000 c0000201 ffffffff 04d2162e 00080000", false,
	 false},
	{"v4 to 223.255.255.254", "4500001c 00000000 40110000 c0000201 dffffffe 04d2162e 00080000",
	 true, true},
	{"v4 from multicast", "4500001c 00000000 40110000 e0000001 c6336402 04d2162e 00080000",
	 false, false},
	{"v4 from broadcast", "4500001c 00000000 40110000 ffffffff c6336402 04d2162e 00080000",
	 false, false},
	{"v4 from 0.0.0.0", "4500001c 00000000 40110000 00000000 c6336402 04d2162e 00080000", false,
	 false},
	{"v4 from loopback", "4500001c 00000000 40110000 7f000001 c6336402 04d2162e 00080000",
	 false, false},
	{"v6 UDP", "60000000 00081140" V6_ADDRS "04d2162e 00080000", true, true},
	{"v6 echo request", "60000000 00083a40" V6_ADDRS "80000000 00000000", true, true},
	{"v6 too big", "60000000 00083a40" V6_ADDRS "02000000 00000000", false, false},
	{"v6 error not yet known", "60000000 00083a40" V6_ADDRS "7f000000 00000000", false, false},
	{"v6 redirect", "60000000 00083a40" V6_ADDRS "89000000 00000000", false, false},
	{"v6 ICMP without its type", "60000000 00003a40" V6_ADDRS, false, false},
	{"v6 later fragment", "60000000 00102c40" V6_ADDRS "11000008 00000001 04d2162e 00100000",
	 false, false},
	{"v6 to multicast",
	 "60000000 00081140" V6_ADDR("01") "ff020000 00000000 00000000 00000001 04d2162e 00080000",
	 true, false},
	{"v6 from multicast",
	 "60000000 00081140 ff020000 00000000 00000000 00000001" V6_ADDR("01") "04d2162e 00080000",
	 false, false},
	{"v6 from the unspecified address",
	 "60000000 00081140 00000000 00000000 00000000 00000000" V6_ADDR("01") "04d2162e 00080000",
	 false, false},
	{"v6 from loopback",
	 "60000000 00081140 00000000 00000000 00000000 00000001" V6_ADDR("01") "04d2162e 00080000",
	 false, false},
	{"v6 from ::2",
	 "60000000 00081140 00000000 00000000 00000000 00000002" V6_ADDR("01") "04d2162e 00080000",
	 true, true},
};

static const uint8_t gateway[16] = {0x0a, 0, 0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

struct icmp_expectation {
	uint8_t type, code;
	uint32_t value;
	size_t total;
};

/* Headers, checksums and the packet quoted. */
static void check_error(const uint8_t *packet, const uint8_t *error, size_t len,
			const struct icmp_expectation *expected)
{
	bool v4 = packet[0] >> 4 == 4;
	size_t header_len = v4 ? 20 : 40, size = v4 ? 4 : 16;
	struct ip_view view = read_good(error, len);
	const uint8_t *icmp = error + header_len;

	assert_int_equal(len, expected->total);
	assert_int_equal(view.family, v4 ? 4 : 6);
	assert_int_equal(view.protocol, v4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6);
	assert_int_equal(view.transport, header_len);
	assert_memory_equal(view.source, gateway, size);
	assert_memory_equal(view.destination, packet + (v4 ? 12 : 8), size);
	assert_int_equal(icmp[0], expected->type);
	assert_int_equal(icmp[1], expected->code);
	assert_int_equal(ip_get32(icmp + 4), expected->value);
	assert_memory_equal(icmp + 8, packet, len - header_len - 8);
	if (v4) {
		assert_int_equal(error[1], 0xc0);
		assert_int_equal(ip_get32(error + 4), 0x00004000);
		assert_int_equal(error[8], 64);
		assert_int_equal(sum_slowly(error, 20, 0), 0xffff);
		assert_int_equal(sum_slowly(icmp, len - 20, 0), 0xffff);
	} else {
		assert_int_equal(ip_get32(error), 0x60000000);
		assert_int_equal(error[7], 64);
		assert_int_equal(sum_transport(error, &view), 0xffff);
	}
}

static void test_errors(void **state)
{
	uint8_t bytes[PACKET_MAX], error[IP_TOO_BIG_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(error_rows) / sizeof(error_rows[0]); i++) {
		const struct error_row *row = &error_rows[i];
		size_t len = read_hex(row->hex, bytes), got;
		uint8_t *packet = copy_exact(bytes, len);
		struct ip_view view = read_good(packet, len);
		bool v4 = view.family == 4;
		struct icmp_expectation big = {v4 ? 3 : 2, v4 ? 4 : 0, 1280, len + (v4 ? 28 : 48)};
		struct icmp_expectation not_allowed = {v4 ? 3 : 1, v4 ? 13 : 1, 0, big.total};

		print_message("%s\n", row->name);
		got = ip_write_too_big(packet, &view, gateway, 1280, error);
		assert_int_equal(got > 0, row->too_big);
		if (got)
			check_error(packet, error, got, &big);
		got = ip_write_prohibited(packet, &view, gateway, error);
		assert_int_equal(got > 0, row->prohibited);
		if (got)
			check_error(packet, error, got, &not_allowed);
		free(packet);
	}
}

/* As much of the packet as fits 576 and 1280 bytes; the MTU field has 16 and 32 bits. */
static void test_error_sizes(void **state)
{
	uint8_t *packet = calloc(1, 65535), error[IP_TOO_BIG_MAX];
	struct icmp_expectation v4 = {3, 4, 65535, 576}, v6 = {2, 0, 70000, 1280};
	struct ip_view view;
	size_t len;

	(void)state;
	assert_non_null(packet);
	read_hex("4500ffff 00004000 40110000" V4_ADDRS "04d2162e 00080000", packet);
	view = read_good(packet, 65535);
	len = ip_write_too_big(packet, &view, gateway, 70000, error);
	check_error(packet, error, len, &v4);

	read_hex("60000000 ffd71140" V6_ADDRS "04d2162e 00080000", packet);
	view = read_good(packet, 65535);
	len = ip_write_too_big(packet, &view, gateway, 70000, error);
	check_error(packet, error, len, &v6);
	free(packet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),	       cmocka_unit_test(test_read_too_long),
		cmocka_unit_test(test_sum_known),      cmocka_unit_test(test_sum_lengths),
		cmocka_unit_test(test_sum_fold),       cmocka_unit_test(test_sum_carries),
		cmocka_unit_test(test_sum_pseudo),     cmocka_unit_test(test_clamp),
		cmocka_unit_test(test_clamp_checksum), cmocka_unit_test(test_clamp_short),
		cmocka_unit_test(test_errors),	       cmocka_unit_test(test_error_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
