#include "base/timers.h"

#include <stdlib.h>

#include "base/xalloc.h"

/* Slot 0 is not used: the parent of slot n is n / 2. */
static void place(struct timers *timers, struct timers_slot slot, size_t at)
{
	timers->heap[at] = slot;
	slot.entry->at = at;
}

static void rise(struct timers *timers, struct timers_slot slot, size_t at)
{
	while (at > 1 && timers->heap[at / 2].due_us > slot.due_us) {
		place(timers, timers->heap[at / 2], at);
		at /= 2;
	}
	place(timers, slot, at);
}

static void sink(struct timers *timers, struct timers_slot slot, size_t at)
{
	for (size_t child = 2 * at; child <= timers->count; child = 2 * at) {
		if (child < timers->count &&
		    timers->heap[child + 1].due_us < timers->heap[child].due_us)
			child++;
		if (timers->heap[child].due_us >= slot.due_us)
			break;
		place(timers, timers->heap[child], at);
		at = child;
	}
	place(timers, slot, at);
}

static void settle(struct timers *timers, struct timers_slot slot, size_t at)
{
	rise(timers, slot, at);
	sink(timers, slot, slot.entry->at);
}

void timers_set(struct timers *timers, struct timers_entry *entry, int64_t due_us)
{
	struct timers_slot slot = {due_us, entry};

	entry->due_us = due_us;
	if (entry->at) {
		settle(timers, slot, entry->at);
		return;
	}
	if (timers->count + 1 >= timers->cap) {
		timers->cap = timers->cap ? 2 * timers->cap : 64;
		timers->heap = xalloc_grow(timers->heap, timers->cap, sizeof(*timers->heap));
	}
	rise(timers, slot, ++timers->count);
}

void timers_cancel(struct timers *timers, struct timers_entry *entry)
{
	size_t at = entry->at;
	struct timers_slot last;

	if (!at)
		return;
	entry->at = 0;
	last = timers->heap[timers->count--];
	if (last.entry != entry)
		settle(timers, last, at);
}

struct timers_entry *timers_take(struct timers *timers, int64_t now_us)
{
	struct timers_entry *first;

	if (timers_next_us(timers) > now_us || !timers->count)
		return NULL;
	first = timers->heap[1].entry;
	timers_cancel(timers, first);
	return first;
}

int64_t timers_next_us(const struct timers *timers)
{
	return timers->count ? timers->heap[1].due_us : INT64_MAX;
}

void timers_done(struct timers *timers)
{
	for (size_t i = 1; i <= timers->count; i++)
		timers->heap[i].entry->at = 0;
	free(timers->heap);
	*timers = (struct timers){0};
}
