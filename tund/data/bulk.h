#pragma once
/* What TUN gave and what may wait: super-packets of bulk streams, while the small packets behind
 * them in the kernel's queue go ahead. No packet passes another of its own stream. One a worker.
 *
 * Destinations take turns, by bytes (start-time fair queueing: Goyal, Vin, Cheng, SIGCOMM 1996), so
 * that a flood towards one of them is in nobody's way but its own; where there are too many, the
 * one with most of them waiting loses. Two that share a hash share their turn.
 *
 *	room = bulk_room(bulk), read into it
 *	bulk_holds(bulk, len)		it waits: bulk_put; else it may go at once
 *	while ((packet = bulk_first(bulk)))
 *		... bulk_drop_first(bulk) */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/offload.h"
#include "sys/tun.h"

enum {
	BULK_MAX = 32, /* packets that wait: 2 MiB */
	BULK_LANE_BITS = 10,
};

struct bulk_packet {
	struct bulk_packet *next;
	size_t len;
	uint64_t pair, stream; /* hashes: its hosts and protocol; with its ports */
	bool is_fragment;      /* of a stream that is not known */
	unsigned lane;	       /* a hash: its destination */
	uint64_t turn;	       /* bytes that every lane may have had before it */
	struct tun_header header;
	uint8_t headroom[OFFLOAD_HEADROOM];
	uint8_t bytes[TUN_PACKET_MAX];
};

struct bulk {
	struct bulk_packet *first;	      /* by turn */
	struct bulk_packet *spare;	      /* the room first */
	size_t count, bytes;		      /* that wait */
	uint8_t waiting[1 << BULK_LANE_BITS]; /* packets of each lane */
	uint64_t turn;			      /* of what went last; its end where that was all */
	uint64_t ends[1 << BULK_LANE_BITS];   /* of each lane: the turn of what comes next */
};

void bulk_done(struct bulk *bulk);

/* Where the next packet is to be read. The same until bulk_put. */
struct bulk_packet *bulk_room(struct bulk *bulk);
/* Whether what was read into the room, len bytes, is a super-packet or of a stream that has packets
 * waiting. */
bool bulk_holds(struct bulk *bulk, size_t len);
/* The room's packet waits. Returns what is lost for it, as there are too many, or NULL; it is the
 * room now. */
const struct bulk_packet *bulk_put(struct bulk *bulk);
/* The one whose turn it is, or NULL. */
struct bulk_packet *bulk_first(struct bulk *bulk);
void bulk_drop_first(struct bulk *bulk);
/* Whether no lane has more bytes waiting, within a packet, than that of one that waits. */
bool bulk_is_most(const struct bulk_packet *packet);
