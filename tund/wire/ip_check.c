#include "wire/ip_check.h"

#include <string.h>

enum {
	PACKET_MAX = 65535, /* bytes, once put together again */

	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_LOOSE_ROUTE = 131,
	OPTION_STRICT_ROUTE = 137,

	UDP_LEN_AT = 4,
	TCP_DATA_OFFSET_AT = 12,
};

/* ---- addresses ---- */

static enum ip_error judge_v4(const uint8_t *addr)
{
	uint32_t whole = ip_get32(addr);

	if (whole == 0)
		return IP_ERROR_UNSPECIFIED;
	if (whole == UINT32_MAX)
		return IP_ERROR_BROADCAST;
	if (addr[0] >= 224 && addr[0] <= 239)
		return IP_ERROR_MULTICAST;
	if (addr[0] == 127)
		return IP_ERROR_LOOPBACK;
	if (addr[0] == 169 && addr[1] == 254)
		return IP_ERROR_LINK_LOCAL;
	/* RFC 1812 5.3.7, RFC 6890: "this network", and what was kept for the future. */
	return addr[0] == 0 || addr[0] >= 240 ? IP_ERROR_MARTIAN : IP_OK;
}

/* ::a.b.c.d and ::ffff:a.b.c.d (RFC 4291 2.5.5) stand for IPv4 hosts inside programs alone: on the
 * wire they lead a filter of IPv6 addresses to think of the wrong host. */
static bool embeds_v4(const uint8_t *addr)
{
	static const uint8_t zeros[10];

	return memcmp(addr, zeros, 10) == 0 &&
	       (ip_get16(addr + 10) == 0 || ip_get16(addr + 10) == 0xffff);
}

static enum ip_error judge_v6(const uint8_t *addr)
{
	static const uint8_t zeros[15];

	if (addr[0] == 0xff)
		return IP_ERROR_MULTICAST;
	if (addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80)
		return IP_ERROR_LINK_LOCAL;
	if (memcmp(addr, zeros, 15) == 0 && addr[15] <= 1)
		return addr[15] ? IP_ERROR_LOOPBACK : IP_ERROR_UNSPECIFIED;
	return embeds_v4(addr) ? IP_ERROR_MARTIAN : IP_OK;
}

/* The destination first: a host's reports to a group, sent from a link's address, are multicast. */
static enum ip_error check_addresses(const struct ip_view *view)
{
	enum ip_error (*judge)(const uint8_t *) = view->family == 4 ? judge_v4 : judge_v6;
	enum ip_error error = judge(view->destination);

	return error ? error : judge(view->source);
}

/* ---- ways that are prescribed ---- */

/* RFC 791 3.1. Other options are the routers' business. */
static enum ip_error check_v4_options(const uint8_t *packet, const struct ip_view *view)
{
	size_t at = IP_V4_HEADER, size;

	while (at < view->transport && packet[at] != OPTION_END) {
		if (packet[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (packet[at] == OPTION_LOOSE_ROUTE || packet[at] == OPTION_STRICT_ROUTE)
			return IP_ERROR_SOURCE_ROUTE;
		size = view->transport - at >= 2 ? packet[at + 1] : 0;
		if (size < 2 || size > view->transport - at)
			return IP_ERROR_HEADER;
		at += size;
	}
	return IP_OK;
}

static enum ip_error check_route(const uint8_t *packet, const struct ip_view *view)
{
	if (view->family == 4)
		return check_v4_options(packet, view);
	return view->is_routed ? IP_ERROR_SOURCE_ROUTE : IP_OK;
}

/* ---- transport ---- */

static size_t header_min(uint8_t protocol)
{
	switch (protocol) {
	case IP_PROTO_TCP:
		return IP_TCP_HEADER;
	case IP_PROTO_UDP:
		return IP_UDP_HEADER;
	case IP_PROTO_ICMP:
	case IP_PROTO_ICMPV6:
		return IP_ICMP_HEADER;
	default:
		return 0;
	}
}

/* All of the header: TCP's says itself how long it is. */
static bool has_header(const uint8_t *transport, uint8_t protocol, size_t room)
{
	size_t size;

	if (room < header_min(protocol))
		return false;
	if (protocol != IP_PROTO_TCP)
		return true;
	size = (transport[TCP_DATA_OFFSET_AT] >> 4) * 4U;
	return size >= IP_TCP_HEADER && size <= room;
}

/* UDP may end before its packet does (RFC 9868 puts options there), not after it. */
static enum ip_error check_transport(const uint8_t *packet, const struct ip_view *view)
{
	const uint8_t *transport = packet + view->transport;
	size_t room = (size_t)view->len - view->transport, len;

	if (!has_header(transport, view->protocol, room))
		return IP_ERROR_TRANSPORT;
	if (view->protocol != IP_PROTO_UDP)
		return IP_OK;
	len = ip_get16(transport + UDP_LEN_AT);
	return len < IP_UDP_HEADER || len > room ? IP_ERROR_TRANSPORT : IP_OK;
}

/* The first holds all headers (RFC 1858, RFC 7112), so that ports and flags are known; a later one
 * does not reach back into them; all but the last are multiples of 8 bytes, and the whole is no
 * longer than a packet can be. */
static enum ip_error check_fragment(const uint8_t *packet, const struct ip_view *view)
{
	size_t payload = (size_t)view->len - view->transport;
	/* The fragment header itself is gone from the whole. */
	size_t headers = view->family == 4 ? view->transport : view->transport - 8U - IP_V6_HEADER;

	if (payload == 0 || (view->more_fragments && payload % 8) ||
	    headers + view->fragment_at + payload > PACKET_MAX)
		return IP_ERROR_FRAGMENT;
	if (view->is_later_fragment)
		return view->fragment_at < header_min(view->protocol) ? IP_ERROR_FRAGMENT : IP_OK;
	return has_header(packet + view->transport, view->protocol, payload) ? IP_OK
									     : IP_ERROR_FRAGMENT;
}

enum ip_error ip_check(const uint8_t *packet, size_t len, struct ip_view *ret)
{
	enum ip_error error = ip_read(packet, len, ret);

	if (error == IP_OK)
		error = check_addresses(ret);
	if (error == IP_OK)
		error = check_route(packet, ret);
	if (error == IP_OK)
		error = ret->is_fragment ? check_fragment(packet, ret)
					 : check_transport(packet, ret);
	return error;
}
