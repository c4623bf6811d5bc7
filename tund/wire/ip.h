#pragma once
/* IPv4, IPv6, TCP, UDP, ICMP headers (RFC 791, 8200, 9293, 768, 792, 4443): where things stand, and
 * checksums (RFC 1071). Everything is checked against len before it is read; nothing here
 * allocates. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	IP_V4_HEADER = 20,
	IP_V6_HEADER = 40,
	IP_TCP_HEADER = 20,
	IP_UDP_HEADER = 8,
	IP_ICMP_HEADER = 8, /* of every message that is for more than the link */
	IP_PROTO_ICMP = 1,
	IP_PROTO_TCP = 6,
	IP_PROTO_UDP = 17,
	IP_PROTO_ICMPV6 = 58,
};

/* Why a packet is not one that may travel. */
enum ip_error {
	IP_OK,
	IP_ERROR_SHORT,	  /* fewer bytes than a header */
	IP_ERROR_VERSION, /* neither 4 nor 6 */
	IP_ERROR_LENGTH,  /* total or payload length differs from the bytes there are */
	IP_ERROR_HEADER,  /* header length, or an extension chain that runs past the end */
	/* Of ip_check alone. */
	IP_ERROR_TRANSPORT,    /* TCP, UDP or ICMP header cut, or a length in it that lies */
	IP_ERROR_FRAGMENT,     /* one that no honest sender makes: see ip_check.c */
	IP_ERROR_SOURCE_ROUTE, /* asks to be sent on to somewhere else */
	IP_ERROR_MULTICAST,
	IP_ERROR_BROADCAST, /* 255.255.255.255: a subnet's own cannot be told from a host */
	IP_ERROR_LOOPBACK,
	IP_ERROR_LINK_LOCAL,
	IP_ERROR_UNSPECIFIED,
	IP_ERROR_MARTIAN, /* other addresses that no host has */
	IP_ERROR_MAX,
};

struct ip_view {
	uint8_t family;			     /* 4 or 6 */
	const uint8_t *source, *destination; /* 4 or 16 bytes, into the packet */
	uint8_t protocol;		     /* of the transport, behind IPv6 extension headers */
	uint16_t transport;		     /* offset of the transport header */
	uint16_t len;			     /* of the whole packet */
	bool is_fragment;		     /* any fragment; ports are known only in the first */
	bool is_later_fragment; /* not the first: its transport header travels in another packet */
	bool more_fragments;	/* not the last */
	bool is_routed;		/* an IPv6 routing header that is not yet used up, or of type 0 */
	uint16_t fragment_at;	/* bytes of the whole before this fragment's */
	bool has_ports;		/* TCP or UDP with its ports inside this packet */
	uint16_t source_port, destination_port; /* host order */
	uint8_t icmp_type;			/* ICMP and ICMPv6, when it is inside */
};

/* Big-endian fields at any alignment. */
static inline uint16_t ip_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t ip_get32(const uint8_t *at)
{
	return (uint32_t)ip_get16(at) << 16 | ip_get16(at + 2);
}

static inline void ip_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void ip_put32(uint8_t *at, uint32_t value)
{
	ip_put16(at, (uint16_t)(value >> 16));
	ip_put16(at + 2, (uint16_t)value);
}

/* The packet must be exactly len bytes long. */
enum ip_error ip_read(const uint8_t *packet, size_t len, struct ip_view *ret);

/* One's complement sum of bytes, in network order, added to a partial sum; and its folding. Fast:
 * it is on the packet path for every byte. Only the last of several parts may have an odd length.
 * Sums may be added with +. */
uint64_t ip_sum(const uint8_t *bytes, size_t len, uint64_t sum);
uint16_t ip_sum_fold(uint64_t sum); /* folded, not inverted, network order as it stands in memory */
/* Stores a folded (and, for a finished checksum, inverted) sum at any alignment. */
void ip_put_sum(uint8_t *at, uint16_t folded);
/* The pseudo header's sum: family 4 or 6. */
uint64_t ip_sum_pseudo(unsigned family, const uint8_t *source, const uint8_t *destination,
		       uint8_t protocol, uint32_t len);
/* Sets an IPv4 header's own checksum. */
void ip_set_v4_checksum(uint8_t *header);

/* Lowers the MSS option of a TCP SYN (or SYN-ACK) so that its segments fit mtu bytes of IP packet,
 * and mends the checksum (RFC 1624). True when it changed. Anything else is left alone. When
 * partial_sum is true the checksum field holds only the pseudo header's sum (virtio NEEDS_CSUM) and
 * is left alone. */
bool ip_clamp_mss(uint8_t *packet, const struct ip_view *view, unsigned mtu, bool partial_sum);

/* Writes "packet too big" (ICMPv6 type 2) or "fragmentation needed" (ICMP type 3 code 4) about
 * packet into ret (at least IP_TOO_BIG_MAX bytes), from the address source (4 or 16 bytes by
 * family) back to the packet's sender, with as much of it as the RFCs ask. Its length; 0 where none
 * may be sent (RFC 1122: about an ICMP error, a later fragment, a multicast or broadcast address).
 */
enum { IP_TOO_BIG_MAX = 1280 };
size_t ip_write_too_big(const uint8_t *packet, const struct ip_view *view, const uint8_t *source,
			unsigned mtu, uint8_t ret[static IP_TOO_BIG_MAX]);
/* As above: destination unreachable, administratively prohibited (ICMP 3/13, ICMPv6 1/1). */
size_t ip_write_prohibited(const uint8_t *packet, const struct ip_view *view, const uint8_t *source,
			   uint8_t ret[static IP_TOO_BIG_MAX]);
