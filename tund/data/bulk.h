#pragma once
/* What TUN gave and what may wait: super-packets of bulk streams, while the small packets behind
 * them in the kernel's queue go ahead. No packet passes another of its own stream. One a worker.
 *
 * Destinations take turns, by bytes (start-time fair queueing: Goyal, Vin, Cheng, SIGCOMM 1996), so
 * that a flood towards one of them is in nobody's way but its own; where there is too much, the
 * one that takes most room loses. Two that share a hash share their turn.
 *
 *	room = bulk_room(bulk), read into it
 *	bulk_holds(bulk, len)		it waits: bulk_put, and bulk_lose until there is room; else
 *					it may go at once
 *	while ((packet = bulk_first(bulk)))
 *		... bulk_drop_first(bulk) */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/offload.h"
#include "sys/tun.h"

enum {
	BULK_BYTES_MAX = 2 * 1024 * 1024, /* that wait */
	BULK_ROOM_MAX = 4 * 1024 * 1024,  /* for them */
	BULK_ROOM_SMALL = 2048,		  /* a single packet's; else TUN_PACKET_MAX */
	BULK_HASH_BITS = 10,
};

struct bulk_packet {
	struct bulk_packet *prev, *next; /* of its lane; spare ones by next alone */
	size_t len, room;
	uint64_t turn;	       /* bytes that every lane may have had before it */
	unsigned lane;	       /* hashes: its destination; */
	unsigned pair, stream; /* its hosts and protocol; with its ports */
	bool is_fragment;      /* of a stream that is not known */
	struct tun_header header;
	uint8_t headroom[OFFLOAD_HEADROOM];
	uint8_t bytes[];
};

struct bulk_lane {
	struct bulk_lane *prev, *next; /* of those that have packets */
	struct bulk_packet *packets;
	size_t bytes, room;
	uint64_t end; /* the turn of what comes next */
};

struct bulk {
	struct bulk_lane *first;     /* by the turn of their first packets */
	struct bulk_packet *spare;   /* of TUN_PACKET_MAX, the room first */
	struct bulk_packet *smaller; /* spare ones of BULK_ROOM_SMALL */
	size_t count, bytes, room;   /* that wait */
	uint64_t turn;		     /* of what went last; its end where that was all */
	struct bulk_lane lanes[1 << BULK_HASH_BITS];
	/* How many wait, by hash. */
	uint16_t streams[1 << BULK_HASH_BITS];
	uint16_t pairs[1 << BULK_HASH_BITS];
	uint16_t fragments[1 << BULK_HASH_BITS]; /* of that pair */
};

void bulk_done(struct bulk *bulk);

/* Where the next packet is to be read: TUN_PACKET_MAX bytes. The same until bulk_put. */
struct bulk_packet *bulk_room(struct bulk *bulk);
/* Whether what was read into the room, len bytes, is a super-packet or of a stream that has packets
 * waiting. */
bool bulk_holds(struct bulk *bulk, size_t len);
/* The room's packet waits. */
void bulk_put(struct bulk *bulk);
/* Where too much waits: the newest packet of who takes most room, waiting no more. It stays readable
 * until the next call of any. NULL: there is room. */
const struct bulk_packet *bulk_lose(struct bulk *bulk);
/* The one whose turn it is, or NULL. */
struct bulk_packet *bulk_first(struct bulk *bulk);
void bulk_drop_first(struct bulk *bulk);
/* Whether so much waits that a stream should be slower, wait_bytes or half of all room, and no lane
 * has more of it, within a packet, than the first packet's. */
bool bulk_is_too_much(const struct bulk *bulk, size_t wait_bytes);
