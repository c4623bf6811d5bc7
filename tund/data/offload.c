#include "data/offload.h"

#include <errno.h>
#include <string.h>

#include <arpa/inet.h>

#include "wire/ip.h"

enum {
	V4_LEN_AT = 2,
	V4_ID_AT = 4,
	V4_FLAGS_AT = 6,
	V4_CHECKSUM_AT = 10,
	V4_DONT_FRAGMENT = 0x40, /* in the first of the two flag bytes */
	V6_LEN_AT = 4,

	TCP_SEQUENCE_AT = 4,
	TCP_ACK_AT = 8,
	TCP_DATA_OFFSET_AT = 12,
	TCP_FLAGS_AT = 13,
	TCP_WINDOW_AT = 14,
	TCP_CHECKSUM_AT = 16,
	TCP_URGENT_AT = 18,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_CWR = 0x80,

	UDP_LEN_AT = 4,
	UDP_CHECKSUM_AT = 6,
	/* UDP_MAX_SEGMENTS of kernels before 6.9: a bigger packet is refused by write(2). */
	UDP_PIECES_MAX = 64,
};

static void set_ip_len(uint8_t *packet, unsigned family, size_t len)
{
	if (family == 4) {
		ip_put16(packet + V4_LEN_AT, (uint16_t)len);
		ip_set_v4_checksum(packet);
	} else {
		ip_put16(packet + V6_LEN_AT, (uint16_t)(len - IP_V6_HEADER));
	}
}

/* The pseudo header's sum without the length, which alone differs from packet to packet. */
static uint64_t sum_addresses(const uint8_t *packet, unsigned family, uint8_t protocol)
{
	size_t source = family == 4 ? 12 : 8, size = family == 4 ? 4 : 16;

	return ip_sum_pseudo(family, packet + source, packet + source + size, protocol, 0);
}

/* The transport's length as the pseudo header has it. */
static uint64_t sum_length(size_t len)
{
	return htonl((uint32_t)len);
}

/* The kernel left the pseudo header's sum in the field; csum_start and csum_offset are its word. */
static int complete_checksum(const struct tun_header *header, uint8_t *packet, size_t len)
{
	size_t at = (size_t)header->csum_start + header->csum_offset;
	uint16_t checksum;

	if (at + 2 > len)
		return -EINVAL;
	checksum = (uint16_t)~ip_sum_fold(
		ip_sum(packet + header->csum_start, len - header->csum_start, 0));
	/* UDP's 0 says "no checksum" (RFC 768); 0xffff is the same sum. */
	if (checksum == 0 && header->csum_offset == UDP_CHECKSUM_AT)
		checksum = 0xffff;
	ip_put_sum(packet + at, checksum);
	return 0;
}

/* The headers' length by the packet's own account, or 0 when it is not what gso_type says. */
static size_t measure_headers(const uint8_t *packet, const struct ip_view *view, unsigned gso_type)
{
	const uint8_t *transport = packet + view->transport;
	size_t room = (size_t)view->len - view->transport, size;

	if (view->is_fragment)
		return 0;
	if (gso_type == TUN_GSO_UDP_L4)
		return view->protocol == IP_PROTO_UDP && room >= IP_UDP_HEADER
			       ? (size_t)view->transport + IP_UDP_HEADER
			       : 0;
	if (view->protocol != IP_PROTO_TCP || room < IP_TCP_HEADER ||
	    view->family != (gso_type == TUN_GSO_TCPV4 ? 4 : 6))
		return 0;
	size = (transport[TCP_DATA_OFFSET_AT] >> 4) * 4U;
	return size >= IP_TCP_HEADER && size <= room ? view->transport + size : 0;
}

/* hdr_len and csum_start are not looked at: the one may be the whole packet, and with the other the
 * kernel can only say what the headers say too. The protocol's checksum is computed in full. */
static int init_segments(struct offload_split *split, const struct tun_header *header)
{
	struct ip_view view;

	if (split->gso_type != TUN_GSO_TCPV4 && split->gso_type != TUN_GSO_TCPV6 &&
	    split->gso_type != TUN_GSO_UDP_L4)
		return -EINVAL;
	if (header->gso_size == 0 || ip_read(split->packet, split->len, &view) != IP_OK)
		return -EINVAL;
	split->header_len = measure_headers(split->packet, &view, split->gso_type);
	if (split->header_len == 0 || split->header_len > sizeof(split->headers))
		return -EINVAL;
	memcpy(split->headers, split->packet, split->header_len);
	split->payload_at = split->header_len;
	split->segment = header->gso_size;
	split->transport = view.transport;
	split->family = view.family;
	split->address_sum = sum_addresses(split->headers, view.family, view.protocol);
	if (view.family == 4) {
		split->ip_id = ip_get16(split->headers + V4_ID_AT);
		ip_put16(split->headers + V4_LEN_AT, 0);
		ip_put16(split->headers + V4_ID_AT, 0);
		ip_put16(split->headers + V4_CHECKSUM_AT, 0);
		split->v4_sum = ip_sum(split->headers, view.transport, 0);
	}
	if (split->gso_type != TUN_GSO_UDP_L4)
		split->tcp_sequence = ip_get32(split->headers + view.transport + TCP_SEQUENCE_AT);
	return 0;
}

int offload_split_init(struct offload_split *split, const struct tun_header *header,
		       uint8_t *packet, size_t len)
{
	/* Field by field: clearing the template, too, for every packet is work for nothing. */
	split->packet = packet;
	split->len = len;
	split->gso_type = header->gso_type & (uint8_t)~TUN_GSO_ECN;
	split->done = false;
	if (split->gso_type != TUN_GSO_NONE)
		return init_segments(split, header);
	if (header->flags & TUN_CSUM_NEEDED)
		return complete_checksum(header, packet, len);
	return 0;
}

size_t offload_pieces(const struct tun_header *header, const uint8_t *packet, size_t len)
{
	uint8_t gso_type = header->gso_type & (uint8_t)~TUN_GSO_ECN;
	struct ip_view view;
	size_t headers;

	if (gso_type == TUN_GSO_NONE || header->gso_size == 0 ||
	    ip_read(packet, len, &view) != IP_OK)
		return 1;
	headers = measure_headers(packet, &view, gso_type);
	if (headers == 0 || len <= headers)
		return 1;
	return (len - headers + header->gso_size - 1) / header->gso_size;
}

/* Writes the TCP header's varying fields, and takes CWR from the template after the first. */
static void write_tcp(struct offload_split *split, uint8_t *tcp, size_t payload, bool last)
{
	ip_put32(tcp + TCP_SEQUENCE_AT, split->tcp_sequence);
	split->tcp_sequence += (uint32_t)payload;
	if (!last)
		tcp[TCP_FLAGS_AT] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	split->headers[split->transport + TCP_FLAGS_AT] &= (uint8_t)~TCP_CWR;
}

/* Length, id and checksum, which are 0 in the template. */
static void write_v4(struct offload_split *split, uint8_t *piece, size_t len)
{
	uint16_t id = split->ip_id++;

	ip_put16(piece + V4_LEN_AT, (uint16_t)len);
	ip_put16(piece + V4_ID_AT, id);
	ip_put_sum(piece + V4_CHECKSUM_AT,
		   (uint16_t)~ip_sum_fold(split->v4_sum + htons((uint16_t)len) + htons(id)));
}

/* The piece is header_len + payload bytes; its payload stands already where it is to be. */
static void write_headers(struct offload_split *split, uint8_t *piece, size_t payload, bool last)
{
	size_t len = split->header_len + payload;
	bool udp = split->gso_type == TUN_GSO_UDP_L4;
	uint8_t *transport = piece + split->transport, *field;
	uint16_t checksum;
	uint64_t sum;

	memcpy(piece, split->headers, split->header_len);
	if (split->family == 4)
		write_v4(split, piece, len);
	else
		ip_put16(piece + V6_LEN_AT, (uint16_t)(len - IP_V6_HEADER));
	if (udp)
		ip_put16(transport + UDP_LEN_AT, (uint16_t)(len - split->transport));
	else
		write_tcp(split, transport, payload, last);

	field = transport + (udp ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT);
	memset(field, 0, 2);
	sum = split->address_sum + sum_length(len - split->transport);
	sum = ip_sum(transport, len - split->transport, sum);
	checksum = (uint16_t)~ip_sum_fold(sum);
	ip_put_sum(field, udp && checksum == 0 ? 0xffff : checksum);
}

bool offload_split_next(struct offload_split *split, uint8_t **ret_piece, size_t *ret_len)
{
	size_t payload;
	uint8_t *piece;

	if (split->done)
		return false;
	if (split->gso_type == TUN_GSO_NONE) {
		split->done = true;
		*ret_piece = split->packet;
		*ret_len = split->len;
		return true;
	}
	payload = split->len - split->payload_at;
	split->done = payload <= split->segment;
	if (!split->done)
		payload = split->segment;
	/* Never before split->packet: in front of this payload there is at least the header's room.
	 */
	piece = split->packet + split->payload_at - split->header_len;
	write_headers(split, piece, payload, split->done);
	split->payload_at += payload;
	*ret_piece = piece;
	*ret_len = split->header_len + payload;
	return true;
}

/* A packet as the join sees it. header_len 0: it travels alone. */
struct candidate {
	const uint8_t *packet;
	size_t len, header_len, payload;
	uint16_t transport;
	uint8_t family, protocol;
};

static unsigned offload_of(unsigned family, uint8_t protocol)
{
	if (protocol == IP_PROTO_TCP)
		return family == 4 ? TUN_OFFLOAD_TSO4 : TUN_OFFLOAD_TSO6;
	return family == 4 ? TUN_OFFLOAD_USO4 : TUN_OFFLOAD_USO6;
}

/* The header's length when nothing in it forbids joining, else 0. */
static size_t measure_tcp(const uint8_t *tcp, size_t room)
{
	size_t size;

	/* No data, or data offset's reserved bits (RFC 9293; one is AccECN's) or flags set. */
	if (room <= IP_TCP_HEADER || (tcp[TCP_DATA_OFFSET_AT] & 0x0f) ||
	    (tcp[TCP_FLAGS_AT] & ~TCP_PSH) != TCP_ACK)
		return 0;
	size = (tcp[TCP_DATA_OFFSET_AT] >> 4) * 4U;
	return size >= IP_TCP_HEADER && size < room ? size : 0;
}

static size_t measure_udp(const uint8_t *udp, size_t room)
{
	if (room <= IP_UDP_HEADER || ip_get16(udp + UDP_LEN_AT) != room ||
	    ip_get16(udp + UDP_CHECKSUM_AT) == 0)
		return 0;
	return IP_UDP_HEADER;
}

/* Anything doubtful travels alone, as it is: judging packets is not the join's business. */
static struct candidate inspect(unsigned offloads, const uint8_t *packet, size_t len)
{
	struct candidate alone = {.packet = packet, .len = len}, candidate = alone;
	const uint8_t *transport;
	struct ip_view view;
	size_t plain_header, size;

	if (ip_read(packet, len, &view) != IP_OK || view.is_fragment)
		return alone;
	plain_header = view.family == 4 ? IP_V4_HEADER : IP_V6_HEADER;
	if (view.transport != plain_header ||
	    (view.protocol != IP_PROTO_TCP && view.protocol != IP_PROTO_UDP) ||
	    !(offloads & TUN_OFFLOAD_CSUM) || !(offloads & offload_of(view.family, view.protocol)))
		return alone;
	transport = packet + view.transport;
	size = view.protocol == IP_PROTO_TCP ? measure_tcp(transport, len - view.transport)
					     : measure_udp(transport, len - view.transport);
	if (size == 0)
		return alone;
	candidate.transport = view.transport;
	candidate.header_len = view.transport + size;
	candidate.payload = len - candidate.header_len;
	candidate.family = view.family;
	candidate.protocol = view.protocol;
	return candidate;
}

/* A damaged packet must not come out with a fresh, right checksum. The join's addresses are the
 * packet's. */
static bool is_valid_checksum(const struct offload_join *join, const uint8_t *packet, size_t len)
{
	uint64_t sum = join->address_sum + sum_length(len - join->transport);

	if (join->family == 4 && ip_sum_fold(ip_sum(packet, IP_V4_HEADER, 0)) != 0xffff)
		return false;
	return ip_sum_fold(ip_sum(packet + join->transport, len - join->transport, sum)) == 0xffff;
}

/* Bytes first .. last of two headers are the same. */
static bool same_bytes(const uint8_t *a, const uint8_t *b, size_t first, size_t last)
{
	return memcmp(a + first, b + first, last - first + 1) == 0;
}

static bool same_ip(const struct offload_join *join, const uint8_t *packet)
{
	const uint8_t *first = join->packet;

	if (join->family == 6)
		/* Version, class, flow label; next header, hop limit, addresses. */
		return same_bytes(first, packet, 0, 3) && same_bytes(first, packet, 6, 39);
	/* Version, header length, TOS; flags, offset, TTL, protocol; addresses. */
	if (!same_bytes(first, packet, 0, 1) || !same_bytes(first, packet, 6, 9) ||
	    !same_bytes(first, packet, 12, 19))
		return false;
	return (first[V4_FLAGS_AT] & V4_DONT_FRAGMENT) ||
	       ip_get16(packet + V4_ID_AT) == join->next_id;
}

static bool same_tcp(const struct offload_join *join, const uint8_t *tcp)
{
	const uint8_t *first = join->packet + join->transport;

	/* Sequence, PSH and checksum are what may differ. */
	return ip_get32(tcp + TCP_SEQUENCE_AT) == join->next_sequence &&
	       (tcp[TCP_FLAGS_AT] & ~TCP_PSH) == TCP_ACK && same_bytes(first, tcp, 0, 3) &&
	       same_bytes(first, tcp, TCP_ACK_AT, TCP_DATA_OFFSET_AT) &&
	       same_bytes(first, tcp, TCP_WINDOW_AT, TCP_WINDOW_AT + 1) &&
	       same_bytes(first, tcp, TCP_URGENT_AT, join->header_len - join->transport - 1);
}

static bool same_udp(const struct offload_join *join, const uint8_t *udp, size_t room)
{
	return join->pieces < UDP_PIECES_MAX &&
	       same_bytes(join->packet + join->transport, udp, 0, 3) &&
	       ip_get16(udp + UDP_LEN_AT) == room && ip_get16(udp + UDP_CHECKSUM_AT) != 0;
}

static size_t ip_length(const uint8_t *packet, unsigned family)
{
	return family == 4 ? ip_get16(packet + V4_LEN_AT)
			   : (size_t)IP_V6_HEADER + ip_get16(packet + V6_LEN_AT);
}

/* All that the first packet was asked is answered by the same bytes in the same places. */
static bool belongs(const struct offload_join *join, const uint8_t *packet, size_t len)
{
	const uint8_t *transport = packet + join->transport;

	if (len <= join->header_len || len - join->header_len > join->segment ||
	    len - join->header_len > OFFLOAD_JOIN_MAX - join->len ||
	    ip_length(packet, join->family) != len || !same_ip(join, packet))
		return false;
	return join->protocol == IP_PROTO_TCP ? same_tcp(join, transport)
					      : same_udp(join, transport, len - join->transport);
}

/* What the next piece has to look like. */
static void expect_next(struct offload_join *join, const uint8_t *packet, size_t payload)
{
	const uint8_t *tcp = packet + join->transport;

	join->pieces++;
	join->next_id++;
	join->closed = payload < join->segment;
	if (join->protocol != IP_PROTO_TCP)
		return;
	join->next_sequence = ip_get32(tcp + TCP_SEQUENCE_AT) + (uint32_t)payload;
	join->closed |= (tcp[TCP_FLAGS_AT] & TCP_PSH) != 0;
}

/* The checksum is looked at now, and not when a second packet comes: the bytes are in the cache. */
static void start(struct offload_join *join, const struct candidate *packet)
{
	*join = (struct offload_join){
		.packet = join->packet,
		.len = packet->len,
		.segment = packet->payload,
		.header_len = packet->header_len,
		.transport = packet->transport,
		.family = packet->family,
		.protocol = packet->protocol,
		.pieces = 1,
		.plain = true,
	};
	memcpy(join->packet, packet->packet, packet->len);
	if (packet->header_len == 0)
		return;
	join->address_sum = sum_addresses(packet->packet, packet->family, packet->protocol);
	if (!is_valid_checksum(join, packet->packet, packet->len))
		return;
	join->plain = false;
	join->pieces = 0;
	if (packet->family == 4)
		join->next_id = ip_get16(packet->packet + V4_ID_AT);
	expect_next(join, packet->packet, packet->payload);
}

/* Only PSH can differ in the flags; it ends the join, so the last packet's are everybody's. */
static void append(struct offload_join *join, const uint8_t *packet, size_t payload)
{
	memcpy(join->packet + join->len, packet + join->header_len, payload);
	join->len += payload;
	if (join->protocol == IP_PROTO_TCP)
		join->packet[join->transport + TCP_FLAGS_AT] =
			packet[join->transport + TCP_FLAGS_AT];
	expect_next(join, packet, payload);
}

bool offload_join_fits(const struct offload_join *join, const uint8_t *packet, size_t len)
{
	return join->len > 0 && !join->plain && !join->closed && belongs(join, packet, len);
}

bool offload_join_extend(struct offload_join *join, const uint8_t *packet, size_t len)
{
	if (!offload_join_fits(join, packet, len) || !is_valid_checksum(join, packet, len))
		return false;
	append(join, packet, len - join->header_len);
	return true;
}

bool offload_join_add(struct offload_join *join, unsigned offloads, const uint8_t *packet,
		      size_t len)
{
	struct candidate candidate;

	if (len == 0 || len > OFFLOAD_JOIN_MAX)
		return true;
	if (join->len > 0)
		return offload_join_extend(join, packet, len);
	candidate = inspect(offloads, packet, len);
	start(join, &candidate);
	return true;
}

/* The pieces' checksums were right, so the whole needs none summed: the kernel, or the card it
 * leaves by, completes it from the pseudo header's sum where it is needed at all. */
bool offload_join_finish(struct offload_join *join, struct tun_header *ret_header)
{
	bool udp = join->protocol == IP_PROTO_UDP;
	uint8_t *transport;
	uint16_t offset = udp ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT;
	uint8_t tcp_type = join->family == 4 ? TUN_GSO_TCPV4 : TUN_GSO_TCPV6;

	if (join->len == 0)
		return false;
	*ret_header = (struct tun_header){0};
	if (join->pieces == 1)
		return true;
	transport = join->packet + join->transport;
	set_ip_len(join->packet, join->family, join->len);
	if (udp)
		ip_put16(transport + UDP_LEN_AT, (uint16_t)(join->len - join->transport));
	ip_put_sum(transport + offset,
		   ip_sum_fold(join->address_sum + sum_length(join->len - join->transport)));
	*ret_header = (struct tun_header){
		.flags = TUN_CSUM_NEEDED,
		.gso_type = udp ? TUN_GSO_UDP_L4 : tcp_type,
		.hdr_len = (uint16_t)join->header_len,
		.gso_size = (uint16_t)join->segment,
		.csum_start = join->transport,
		.csum_offset = offset,
	};
	return true;
}
