#pragma once
/* Packets from a worker that has read them from its TUN queue to the one whose flow they are for.
 * Every worker has an inbox with one ring for each of the others: one thread puts, one takes, no
 * locks. First in, first out within a ring; a packet is copied once, and sealed where it lies. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/tun.h"

enum {
	HANDOVER_WORKERS_MAX = 64,
	/* Of one ring: sixteen of the largest packets, or half a thousand of Ethernet's. */
	HANDOVER_BYTES = 1 << 20,
};

struct handover_inbox;

/* wake: called from any thread, and only when the owner sleeps or is about to. */
struct handover_inbox *handover_new(size_t workers, void (*wake)(void *user), void *user);
/* No thread uses it any more. */
void handover_free(struct handover_inbox *inbox);

/* ---- the worker that gives, from: its own number ---- */

/* False: the ring is full. */
bool handover_put(struct handover_inbox *inbox, unsigned from, const struct tun_header *header,
		  const uint8_t *packet, size_t len);
/* Behind a batch: who sleeps is woken. What is put may be seen before. */
void handover_publish(struct handover_inbox *inbox, unsigned from);

/* ---- the worker whose inbox it is ---- */

/* A bit for each worker that has published since the last call. */
uint64_t handover_collect(struct handover_inbox *inbox);
/* How far that ring reaches now: what handover_take gives out. */
uint64_t handover_reach(struct handover_inbox *inbox, unsigned from);
/* The next packet in front of reach, NULL: none. OFFLOAD_HEADROOM bytes before it and
 * HANDOVER_TAILROOM behind may be written, as may the packet, until handover_drop frees its
 * place. */
enum { HANDOVER_TAILROOM = 64 };
uint8_t *handover_take(struct handover_inbox *inbox, unsigned from, uint64_t reach,
		       struct tun_header *ret_header, size_t *ret_len);
void handover_drop(struct handover_inbox *inbox, unsigned from);
/* Before sleep: false when there is something to take instead. After it, always. */
bool handover_may_sleep(struct handover_inbox *inbox);
void handover_wake_up(struct handover_inbox *inbox);
