#pragma once
/* What TUN gave and what may wait: super-packets of bulk streams, while the small packets behind
 * them in the kernel's queue go ahead. No packet passes another of its own stream. One a worker.
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

enum { BULK_MAX = 32 }; /* packets that wait: 2 MiB */

struct bulk_packet {
	struct bulk_packet *next;
	size_t len;
	uint64_t pair, stream; /* hashes: its hosts and protocol; with its ports */
	bool is_fragment;      /* of a stream that is not known */
	struct tun_header header;
	uint8_t headroom[OFFLOAD_HEADROOM];
	uint8_t bytes[TUN_PACKET_MAX];
};

struct bulk {
	struct bulk_packet *first, *last;
	struct bulk_packet *spare; /* the room first */
	size_t count, bytes;	   /* that wait */
};

void bulk_done(struct bulk *bulk);

/* Where the next packet is to be read. The same until bulk_put. */
struct bulk_packet *bulk_room(struct bulk *bulk);
/* Whether what was read into the room, len bytes, is a super-packet or of a stream that has packets
 * waiting. */
bool bulk_holds(struct bulk *bulk, size_t len);
/* The room's packet waits. False: there are too many. */
bool bulk_put(struct bulk *bulk);
/* The one that has waited longest, or NULL. */
struct bulk_packet *bulk_first(struct bulk *bulk);
void bulk_drop_first(struct bulk *bulk);
