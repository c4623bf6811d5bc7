#include "wire/ip.h"

#include <string.h>

#include <arpa/inet.h>

enum {
	V6_HOP_BY_HOP = 0,
	V6_ROUTING = 43,
	V6_FRAGMENT = 44,
	V6_DESTINATION = 60,
	V6_CHAIN_MAX = 8, /* extension headers; RFC 8200 knows at most seven in one packet */
	V6_OFFSET = 0xfff8,
	V6_MORE_FRAGMENTS = 1,
	ROUTING_TYPE_AT = 2,
	ROUTING_LEFT_AT = 3,

	V4_MORE_FRAGMENTS = 0x2000,
	V4_OFFSET = 0x1fff,
	V4_DONT_FRAGMENT = 0x4000,

	TCP_FLAGS_AT = 13,
	TCP_CHECKSUM_AT = 16,
	TCP_SYN = 0x02,
	TCP_OPTION_END = 0,
	TCP_OPTION_NOP = 1,
	TCP_OPTION_MSS = 2,
	TCP_OPTION_MSS_LEN = 4,

	ICMP_HEADER = 8,
	ICMP_V4_MAX = 576, /* RFC 1812 4.3.2.3: the whole error, IP header included */
	ICMP_TTL = 64,
};

/* at: the offset in bytes. */
static void note_fragment(struct ip_view *view, bool more, uint16_t at)
{
	view->is_fragment |= more || at;
	view->is_later_fragment |= at != 0;
	view->more_fragments |= more;
	view->fragment_at = at;
}

/* RFC 8200 4.4: with no segments left it is read over. Type 0 is not wanted at all (RFC 5095). */
static bool leads_elsewhere(const uint8_t *routing)
{
	return routing[ROUTING_TYPE_AT] == 0 || routing[ROUTING_LEFT_AT] > 0;
}

static enum ip_error read_v4(const uint8_t *packet, size_t len, struct ip_view *view)
{
	uint16_t fragment;
	size_t header_len;

	if (len < IP_V4_HEADER)
		return IP_ERROR_SHORT;
	header_len = (packet[0] & 0x0fU) * 4U;
	if (header_len < IP_V4_HEADER || header_len > len)
		return IP_ERROR_HEADER;
	if (ip_get16(packet + 2) != len)
		return IP_ERROR_LENGTH;
	view->source = packet + 12;
	view->destination = packet + 16;
	view->protocol = packet[9];
	view->transport = (uint16_t)header_len;
	fragment = ip_get16(packet + 6);
	note_fragment(view, fragment & V4_MORE_FRAGMENTS, (uint16_t)((fragment & V4_OFFSET) * 8));
	return IP_OK;
}

static bool is_extension(uint8_t next)
{
	return next == V6_HOP_BY_HOP || next == V6_ROUTING || next == V6_FRAGMENT ||
	       next == V6_DESTINATION;
}

/* RFC 8200 4: each header names the type of the next, and (but for the fragment header) its own
 * length in units of 8 bytes, the first not counted. A later fragment ends the walk: what follows
 * is the middle of something. AH and ESP are left to whoever wants them: they count as a transport.
 */
static enum ip_error walk_extensions(const uint8_t *packet, size_t len, struct ip_view *view)
{
	uint8_t next = packet[6];
	size_t at = IP_V6_HEADER, size;

	for (unsigned i = 0; is_extension(next) && !view->is_later_fragment; i++) {
		/* RFC 8200 4.1: hop-by-hop options stand only right behind the IPv6 header. */
		if (i == V6_CHAIN_MAX || (next == V6_HOP_BY_HOP && i > 0) || len - at < 8)
			return IP_ERROR_HEADER;
		size = next == V6_FRAGMENT ? 8 : (packet[at + 1] + 1U) * 8U;
		if (size > len - at)
			return IP_ERROR_HEADER;
		if (next == V6_FRAGMENT)
			note_fragment(view, packet[at + 3] & V6_MORE_FRAGMENTS,
				      ip_get16(packet + at + 2) & V6_OFFSET);
		if (next == V6_ROUTING)
			view->is_routed |= leads_elsewhere(packet + at);
		next = packet[at];
		at += size;
	}
	view->protocol = next;
	view->transport = (uint16_t)at;
	return IP_OK;
}

static enum ip_error read_v6(const uint8_t *packet, size_t len, struct ip_view *view)
{
	if (len < IP_V6_HEADER)
		return IP_ERROR_SHORT;
	/* A jumbogram (RFC 2675) says 0 here and so never fits. */
	if ((size_t)IP_V6_HEADER + ip_get16(packet + 4) != len)
		return IP_ERROR_LENGTH;
	view->source = packet + 8;
	view->destination = packet + 24;
	return walk_extensions(packet, len, view);
}

/* A transport cut short is no error here: whoever needs more than ports looks at the length. */
static void read_transport(const uint8_t *packet, struct ip_view *view)
{
	const uint8_t *transport = packet + view->transport;
	size_t len = (size_t)view->len - view->transport;

	if (view->is_later_fragment)
		return;
	switch (view->protocol) {
	case IP_PROTO_TCP:
	case IP_PROTO_UDP:
		if (len < 4)
			return;
		view->has_ports = true;
		view->source_port = ip_get16(transport);
		view->destination_port = ip_get16(transport + 2);
		return;
	case IP_PROTO_ICMP:
	case IP_PROTO_ICMPV6:
		if (len > 0)
			view->icmp_type = transport[0];
		return;
	default:
		return;
	}
}

enum ip_error ip_read(const uint8_t *packet, size_t len, struct ip_view *ret)
{
	struct ip_view view = {.len = (uint16_t)len};
	enum ip_error error;

	if (len == 0)
		return IP_ERROR_SHORT;
	if (len > UINT16_MAX)
		return IP_ERROR_LENGTH;
	view.family = packet[0] >> 4;
	if (view.family != 4 && view.family != 6)
		return IP_ERROR_VERSION;
	error = view.family == 4 ? read_v4(packet, len, &view) : read_v6(packet, len, &view);
	if (error != IP_OK)
		return error;
	read_transport(packet, &view);
	*ret = view;
	return IP_OK;
}

enum { BLOCK = 64 };

typedef uint64_t word_pair __attribute__((vector_size(16)));

/* RFC 1071: the sum does not depend on byte order nor on the width of the words, so 64 bits are
 * added at a time, without looking at carries: `whole` keeps the sum modulo 2^64, `upper` the exact
 * sum of the words' upper halves, and from both follows the exact sum of the lower halves. The
 * vector type makes two-word instructions of this at any optimisation level. */
static uint64_t sum_by_pairs(const uint8_t *bytes, size_t blocks)
{
	word_pair whole_a = {0}, whole_b = {0}, upper_a = {0}, upper_b = {0};
	uint64_t whole, upper;

	for (; blocks; bytes += BLOCK, blocks--) {
		word_pair words[4];

		memcpy(words, bytes, BLOCK);
		whole_a += words[0];
		upper_a += words[0] >> 32;
		whole_b += words[1];
		upper_b += words[1] >> 32;
		whole_a += words[2];
		upper_a += words[2] >> 32;
		whole_b += words[3];
		upper_b += words[3] >> 32;
	}
	whole_a += whole_b;
	upper_a += upper_b;
	whole = whole_a[0] + whole_a[1];
	upper = upper_a[0] + upper_a[1];
	return upper + (whole - (upper << 32));
}

#if defined(__x86_64__)

typedef uint64_t word_quad __attribute__((vector_size(32)));
typedef word_quad word_quad_at __attribute__((aligned(1), may_alias)); /* anywhere in memory */

/* The same with four words an instruction: nearly twice as fast. */
static __attribute__((target("avx2"))) uint64_t sum_by_quads(const uint8_t *bytes, size_t blocks)
{
	word_quad whole_a = {0}, whole_b = {0}, upper_a = {0}, upper_b = {0};
	uint64_t whole, upper;

	for (; blocks; bytes += BLOCK, blocks--) {
		const word_quad_at *words = (const word_quad_at *)bytes;

		whole_a += words[0];
		upper_a += words[0] >> 32;
		whole_b += words[1];
		upper_b += words[1] >> 32;
	}
	whole_a += whole_b;
	upper_a += upper_b;
	whole = whole_a[0] + whole_a[1] + whole_a[2] + whole_a[3];
	upper = upper_a[0] + upper_a[1] + upper_a[2] + upper_a[3];
	return upper + (whole - (upper << 32));
}

static uint64_t sum_blocks(const uint8_t *bytes, size_t blocks)
{
	return __builtin_cpu_supports("avx2") ? sum_by_quads(bytes, blocks)
					      : sum_by_pairs(bytes, blocks);
}

#else

static uint64_t sum_blocks(const uint8_t *bytes, size_t blocks)
{
	return sum_by_pairs(bytes, blocks);
}

#endif

uint64_t ip_sum(const uint8_t *bytes, size_t len, uint64_t sum)
{
	size_t blocks = len / BLOCK;
	uint64_t word;
	uint32_t half;
	uint16_t tail;

	if (blocks) {
		sum += sum_blocks(bytes, blocks);
		bytes += blocks * BLOCK;
		len %= BLOCK;
	}
	for (; len >= 8; bytes += 8, len -= 8) {
		memcpy(&word, bytes, 8);
		sum += (word >> 32) + (uint32_t)word;
	}
	if (len >= 4) {
		memcpy(&half, bytes, 4);
		sum += half;
		bytes += 4;
		len -= 4;
	}
	for (; len > 0; len -= len > 1 ? 2 : 1, bytes += 2) {
		tail = 0;
		memcpy(&tail, bytes, len > 1 ? 2 : 1);
		sum += tail;
	}
	return sum;
}

uint16_t ip_sum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16); /* 18 bits at most */
	sum = (sum & 0xffff) + (sum >> 16); /* 17 */
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* Sums are kept as the processor loads words, so they go back the same way: no byte order here. */
void ip_put_sum(uint8_t *at, uint16_t folded)
{
	memcpy(at, &folded, sizeof(folded));
}

/* RFC 9293 3.1 and RFC 8200 8.1 differ in the width of their fields, which a sum does not see. */
uint64_t ip_sum_pseudo(unsigned family, const uint8_t *source, const uint8_t *destination,
		       uint8_t protocol, uint32_t len)
{
	size_t size = family == 4 ? 4 : 16;
	uint64_t sum = (uint64_t)htonl(len) + htonl(protocol);

	return ip_sum(source, size, ip_sum(destination, size, sum));
}

void ip_set_v4_checksum(uint8_t *header)
{
	size_t len = (header[0] & 0x0fU) * 4U;

	memset(header + 10, 0, 2);
	ip_put_sum(header + 10, (uint16_t)~ip_sum_fold(ip_sum(header, len, 0)));
}

/* RFC 1624, equation 3. The value at an odd offset lies across two words of the sum: the same as
 * one word with its bytes exchanged. */
static void mend_checksum(uint8_t *checksum, bool odd, uint16_t old, uint16_t new)
{
	uint32_t sum = (uint16_t)~ip_get16(checksum);

	if (odd) {
		old = __builtin_bswap16(old);
		new = __builtin_bswap16(new);
	}
	sum += (uint32_t)(uint16_t)~old + new;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip_put16(checksum, (uint16_t)~sum);
}

/* The next MSS option at or behind *at, as an offset from the TCP header; 0 when there is none. */
static size_t find_mss(const uint8_t *tcp, size_t header_len, size_t at)
{
	size_t size;

	while (at < header_len && tcp[at] != TCP_OPTION_END) {
		if (tcp[at] == TCP_OPTION_NOP) {
			at++;
			continue;
		}
		size = header_len - at >= 2 ? tcp[at + 1] : 0;
		if (size < 2 || size > header_len - at)
			return 0;
		if (tcp[at] == TCP_OPTION_MSS && size == TCP_OPTION_MSS_LEN)
			return at;
		at += size;
	}
	return 0;
}

/* All MSS options there are, as receivers differ in which of two they believe. One that is missing
 * means 536 (1220) and is not added. */
bool ip_clamp_mss(uint8_t *packet, const struct ip_view *view, unsigned mtu, bool partial_sum)
{
	/* RFC 9293 3.7.1: options, IP's or TCP's, are not counted. */
	unsigned headers = (view->family == 4 ? IP_V4_HEADER : IP_V6_HEADER) + IP_TCP_HEADER;
	size_t room = (size_t)view->len - view->transport, header_len;
	uint8_t *tcp = packet + view->transport;
	bool changed = false;
	uint16_t old;

	if (view->protocol != IP_PROTO_TCP || view->is_fragment || room < IP_TCP_HEADER ||
	    !(tcp[TCP_FLAGS_AT] & TCP_SYN) || mtu <= headers || mtu - headers > UINT16_MAX)
		return false;
	header_len = (tcp[12] >> 4) * 4U;
	if (header_len > room)
		return false;
	for (size_t at = IP_TCP_HEADER; (at = find_mss(tcp, header_len, at));
	     at += TCP_OPTION_MSS_LEN) {
		old = ip_get16(tcp + at + 2);
		if (old <= mtu - headers)
			continue;
		ip_put16(tcp + at + 2, (uint16_t)(mtu - headers));
		if (!partial_sum)
			mend_checksum(tcp + TCP_CHECKSUM_AT, at & 1, old,
				      (uint16_t)(mtu - headers));
		changed = true;
	}
	return changed;
}

/* Neither multicast, broadcast, unspecified nor loopback. A subnet's own broadcast address cannot
 * be told from a host's here. */
static bool is_one_host(unsigned family, const uint8_t *addr)
{
	static const uint8_t zeros[15];

	if (family == 4)
		return addr[0] != 0 && addr[0] != 127 && addr[0] < 224;
	return addr[0] != 0xff && (memcmp(addr, zeros, 15) != 0 || addr[15] > 1);
}

static bool is_icmp_error(const struct ip_view *view)
{
	uint8_t type = view->icmp_type;

	if (view->family == 6)
		/* RFC 4443 2.1 and 2.4 (e): all errors are below 128; a redirect (137) counts too.
		 */
		return view->protocol == IP_PROTO_ICMPV6 && (type < 128 || type == 137);
	if (view->protocol != IP_PROTO_ICMP)
		return false;
	/* Unreachable, source quench, redirect, time exceeded, parameter problem; and one cut off
	 * before its type may be any of them. */
	return view->len == view->transport || (type >= 3 && type <= 5) || type == 11 || type == 12;
}

/* RFC 1122 3.2.2, RFC 4443 2.4 (e). Of a packet to an IPv6 multicast group its sender may learn
 * that it is too big, and nothing else. */
static bool may_answer(const struct ip_view *view, bool too_big)
{
	if (view->is_later_fragment || is_icmp_error(view) ||
	    !is_one_host(view->family, view->source))
		return false;
	return (too_big && view->family == 6) || is_one_host(view->family, view->destination);
}

/* total: of the whole error, IP header included. */
static void write_v4_header(uint8_t *ret, const uint8_t *source, const uint8_t *destination,
			    size_t total)
{
	memset(ret, 0, IP_V4_HEADER);
	ret[0] = 0x45;
	ret[1] = 0xc0; /* RFC 1812 4.3.2.5: internetwork control */
	ip_put16(ret + 2, (uint16_t)total);
	ip_put16(ret + 6, V4_DONT_FRAGMENT);
	ret[8] = ICMP_TTL;
	ret[9] = IP_PROTO_ICMP;
	memcpy(ret + 12, source, 4);
	memcpy(ret + 16, destination, 4);
	ip_set_v4_checksum(ret);
}

static void write_v6_header(uint8_t *ret, const uint8_t *source, const uint8_t *destination,
			    size_t total)
{
	memset(ret, 0, IP_V6_HEADER);
	ret[0] = 0x60;
	ip_put16(ret + 4, (uint16_t)(total - IP_V6_HEADER));
	ret[6] = IP_PROTO_ICMPV6;
	ret[7] = ICMP_TTL;
	memcpy(ret + 8, source, 16);
	memcpy(ret + 24, destination, 16);
}

/* value: the four bytes behind the checksum, the next hop's MTU or unused. */
static size_t write_error(const uint8_t *packet, const struct ip_view *view, const uint8_t *source,
			  uint8_t type, uint8_t code, uint32_t value, uint8_t *ret)
{
	size_t header_len = view->family == 4 ? IP_V4_HEADER : IP_V6_HEADER;
	size_t total = header_len + ICMP_HEADER + view->len;
	size_t total_max = view->family == 4 ? ICMP_V4_MAX : IP_TOO_BIG_MAX;
	uint8_t *icmp = ret + header_len;
	uint64_t sum = 0;

	if (total > total_max)
		total = total_max;
	if (view->family == 4)
		write_v4_header(ret, source, view->source, total);
	else
		write_v6_header(ret, source, view->source, total);
	icmp[0] = type;
	icmp[1] = code;
	ip_put16(icmp + 2, 0);
	ip_put32(icmp + 4, value);
	memcpy(icmp + ICMP_HEADER, packet, total - header_len - ICMP_HEADER);
	if (view->family == 6)
		sum = ip_sum_pseudo(6, source, view->source, IP_PROTO_ICMPV6,
				    (uint32_t)(total - header_len));
	sum = ip_sum(icmp, total - header_len, sum);
	ip_put_sum(icmp + 2, (uint16_t)~ip_sum_fold(sum));
	return total;
}

size_t ip_write_too_big(const uint8_t *packet, const struct ip_view *view, const uint8_t *source,
			unsigned mtu, uint8_t ret[static IP_TOO_BIG_MAX])
{
	if (!may_answer(view, true))
		return 0;
	if (view->family == 6)
		return write_error(packet, view, source, 2, 0, mtu, ret);
	/* RFC 1191 section 4: the lower 16 bits. */
	return write_error(packet, view, source, 3, 4, mtu > UINT16_MAX ? UINT16_MAX : mtu, ret);
}

size_t ip_write_prohibited(const uint8_t *packet, const struct ip_view *view, const uint8_t *source,
			   uint8_t ret[static IP_TOO_BIG_MAX])
{
	if (!may_answer(view, false))
		return 0;
	if (view->family == 6)
		return write_error(packet, view, source, 1, 1, 0, ret);
	return write_error(packet, view, source, 3, 13, 0, ret);
}
