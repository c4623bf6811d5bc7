/* A ring is bytes with a slot for each packet: head, headroom, packet, tailroom. Slots do not wrap:
 * where one does not fit before the end, a slot without a packet fills the rest.
 *
 * Sleep: the giver puts, sets its bit, then looks whether the owner sleeps; the owner says that it
 * sleeps, then looks at the bits. With both in the one order that all threads see, at least one of
 * them sees the other's. */
#include "data/handover.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "data/offload.h"

enum { SLOT_ALIGN = 64 };

struct slot {
	uint32_t size; /* of all of it */
	uint32_t len;  /* of the packet; 0: there is none */
	struct tun_header header;
};

enum { SLOT_PACKET = (sizeof(struct slot) + OFFLOAD_HEADROOM + 15) / 16 * 16 };

/* What one thread writes does not share a line with what the other does. */
struct ring {
	_Alignas(64) _Atomic uint64_t tail; /* bytes ever put */
	uint64_t seen_head;		    /* the giver's memory of head */
	uint8_t *bytes;			    /* made with the first packet */
	_Alignas(64) _Atomic uint64_t head; /* bytes ever taken */
};

struct handover_inbox {
	_Alignas(64) _Atomic uint64_t from; /* who has published */
	_Atomic bool asleep;
	void (*wake)(void *user);
	void *user;
	size_t workers;
	struct ring *rings;
};

struct handover_inbox *handover_new(size_t workers, void (*wake)(void *user), void *user)
{
	struct handover_inbox *inbox = aligned_alloc(64, sizeof(*inbox));
	struct ring *rings = aligned_alloc(64, workers * sizeof(*rings));

	if (!inbox || !rings)
		abort();
	memset(inbox, 0, sizeof(*inbox));
	memset(rings, 0, workers * sizeof(*rings));
	inbox->workers = workers;
	inbox->rings = rings;
	inbox->wake = wake;
	inbox->user = user;
	return inbox;
}

void handover_free(struct handover_inbox *inbox)
{
	if (!inbox)
		return;
	for (size_t i = 0; i < inbox->workers; i++)
		free(inbox->rings[i].bytes);
	free(inbox->rings);
	free(inbox);
}

/* ---- the giver ---- */

static struct slot *slot_at(const struct ring *ring, uint64_t at)
{
	return (struct slot *)(ring->bytes + (at & (HANDOVER_BYTES - 1)));
}

static bool has_room(struct ring *ring, uint64_t tail, size_t size)
{
	if (tail + size - ring->seen_head <= HANDOVER_BYTES)
		return true;
	ring->seen_head = atomic_load_explicit(&ring->head, memory_order_acquire);
	return tail + size - ring->seen_head <= HANDOVER_BYTES;
}

bool handover_put(struct handover_inbox *inbox, unsigned from, const struct tun_header *header,
		  const uint8_t *packet, size_t len)
{
	struct ring *ring = &inbox->rings[from];
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	size_t size =
		(SLOT_PACKET + len + HANDOVER_TAILROOM + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;
	size_t rest = HANDOVER_BYTES - (tail & (HANDOVER_BYTES - 1));
	size_t filler = rest < size ? rest : 0;
	struct slot *slot;

	if (len == 0 || len > TUN_PACKET_MAX || !has_room(ring, tail, filler + size))
		return false;
	if (!ring->bytes)
		ring->bytes = xalloc_zero(HANDOVER_BYTES, 1);
	if (filler)
		*slot_at(ring, tail) = (struct slot){.size = (uint32_t)filler};
	slot = slot_at(ring, tail + filler);
	*slot = (struct slot){(uint32_t)size, (uint32_t)len, *header};
	memcpy((uint8_t *)slot + SLOT_PACKET, packet, len);
	atomic_store_explicit(&ring->tail, tail + filler + size, memory_order_release);
	return true;
}

void handover_publish(struct handover_inbox *inbox, unsigned from)
{
	atomic_fetch_or(&inbox->from, UINT64_C(1) << from);
	/* Only the first of those who find it asleep wakes it. */
	if (atomic_load(&inbox->asleep) && atomic_exchange(&inbox->asleep, false))
		inbox->wake(inbox->user);
}

/* ---- the owner ---- */

uint64_t handover_collect(struct handover_inbox *inbox)
{
	if (atomic_load_explicit(&inbox->from, memory_order_relaxed) == 0)
		return 0;
	return atomic_exchange(&inbox->from, 0);
}

uint64_t handover_reach(struct handover_inbox *inbox, unsigned from)
{
	return atomic_load_explicit(&inbox->rings[from].tail, memory_order_acquire);
}

uint8_t *handover_take(struct handover_inbox *inbox, unsigned from, uint64_t reach,
		       struct tun_header *ret_header, size_t *ret_len)
{
	struct ring *ring = &inbox->rings[from];
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	struct slot *slot;

	if (head == reach)
		return NULL;
	slot = slot_at(ring, head);
	if (slot->len == 0) {
		handover_drop(inbox, from);
		return handover_take(inbox, from, reach, ret_header, ret_len);
	}
	*ret_header = slot->header;
	*ret_len = slot->len;
	return (uint8_t *)slot + SLOT_PACKET;
}

void handover_drop(struct handover_inbox *inbox, unsigned from)
{
	struct ring *ring = &inbox->rings[from];
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	atomic_store_explicit(&ring->head, head + slot_at(ring, head)->size, memory_order_release);
}

bool handover_may_sleep(struct handover_inbox *inbox)
{
	atomic_store(&inbox->asleep, true);
	if (atomic_load(&inbox->from) == 0)
		return true;
	atomic_store(&inbox->asleep, false);
	return false;
}

void handover_wake_up(struct handover_inbox *inbox)
{
	atomic_store(&inbox->asleep, false);
}
