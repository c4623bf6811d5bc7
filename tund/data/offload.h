#pragma once
/* Split one big packet from TUN into packets of the tunnel's MTU, join neighbours of one stream
 * into one big packet for TUN. Pure functions over bytes: what the kernel's GSO and GRO do, done
 * here. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/tun.h"

enum {
	OFFLOAD_HEADROOM =
		8, /* bytes before each packet that its channel may overwrite (CSTP header) */
	OFFLOAD_JOIN_MAX = 65535, /* bytes of a joined packet */
};

/* ---- split ----
 *
 *	struct offload_split split;
 *	if (offload_split_init(&split, &header, packet, len) == 0)
 *		while (offload_split_next(&split, &piece, &piece_len))
 *			... piece[-OFFLOAD_HEADROOM .. piece_len) is the caller's
 *
 * The packet is cut in place: each segment's headers are written over the end of the payload before
 * it, which has been handed out already. So a piece is gone once the next is asked for. packet must
 * have OFFLOAD_HEADROOM writable bytes before it. */
struct offload_split {
	uint8_t *packet;
	size_t len, header_len; /* IP and transport headers */
	size_t payload_at, segment;
	uint8_t headers[256];	      /* the first segment's, as a template */
	uint64_t address_sum, v4_sum; /* what of the checksums is the same in all */
	uint16_t transport;
	uint8_t family, gso_type; /* without TUN_GSO_ECN */
	uint32_t tcp_sequence;
	uint16_t ip_id;
	bool done;
};

/* Each piece gets its lengths, checksums and TCP sequence number, and an IPv4 id that counts up
 * from the first's, as the kernel's own segments do (also under don't-fragment, where the id means
 * nothing). FIN and PSH stay with the last, CWR with the first. A GSO packet of one segment or less
 * is one piece.
 *
 * A packet without GSO comes out as it is, its checksum completed where header asks for that.
 * -EINVAL for lengths that lie, an unknown gso_type, a header longer than 256 bytes: the packet is
 * to be dropped and counted. */
int offload_split_init(struct offload_split *split, const struct tun_header *header,
		       uint8_t *packet, size_t len);
bool offload_split_next(struct offload_split *split, uint8_t **ret_piece, size_t *ret_len);
/* How many that would be: to count a packet that is dropped whole. */
size_t offload_pieces(const struct tun_header *header, const uint8_t *packet, size_t len);

/* ---- join ----
 *
 * One join collects neighbours: packets of one TCP stream (same addresses, ports, no options but
 * equal ones, consecutive sequence numbers, equal segment size but for the last, same ACK, only ACK
 * and PSH set, no fragments, same TTL, TOS and DF, correct checksums) or of one UDP flow (equal
 * datagram size but for the last). What does not fit ends it: flush, then start with that packet.
 * Nothing is reordered.
 *
 * What is joined, the kernel's GSO and offload_split take apart again into the same bytes, the IPv4
 * id excepted: under don't-fragment it may be anything (RFC 6864) and the pieces' ids then count up
 * from the first's; without it only packets are joined whose ids do count up by one. So the TCP
 * window, flow label and traffic class must be equal too. A checksum that is wrong or (UDP) absent,
 * IP options, IPv6 extension headers and the lack of payload keep a packet alone. */
struct offload_join {
	uint8_t *packet; /* OFFLOAD_JOIN_MAX + slack bytes, the caller's */
	size_t len;	 /* 0: empty */
	size_t segment;	 /* payload bytes of each piece */
	size_t pieces, header_len;
	uint16_t transport;
	uint8_t family, protocol;
	bool closed; /* a shorter segment or PSH was the last: nothing may follow */
	bool plain;  /* cannot be joined with anything */
	uint32_t next_sequence;
	uint16_t next_id; /* IPv4 */
	uint64_t address_sum;
};

/* offloads: what tun_open found granted; kinds that are missing are not joined. A packet of 0 or
 * more than OFFLOAD_JOIN_MAX bytes is swallowed.
 *
 * True when packet was copied to (or started) the join; false when the join has to be flushed
 * first. */
bool offload_join_add(struct offload_join *join, unsigned offloads, const uint8_t *packet,
		      size_t len);
/* Whether a packet continues what the join holds, its checksum aside. */
bool offload_join_fits(const struct offload_join *join, const uint8_t *packet, size_t len);
/* Adds a packet that only continues what the join holds: its addresses, protocol, ports and
 * all else that rules could ask about are the first packet's. False when it is another's, or the
 * join is empty. */
bool offload_join_extend(struct offload_join *join, const uint8_t *packet, size_t len);
/* Writes headers (length, checksums) and the virtio header of what was joined. After the packet has
 * been written to TUN the caller sets join->len = 0. False when it is empty. */
bool offload_join_finish(struct offload_join *join, struct tun_header *ret_header);
