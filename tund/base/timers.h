#pragma once
/* What is due when: a heap, so that many that wait cost nothing until the first of them is due.
 * Entries are embedded in what they belong to and borrowed. */

#include <stddef.h>
#include <stdint.h>

struct timers_entry {
	int64_t due_us;
	size_t at; /* in the heap, counted from 1; 0: not set */
};

struct timers {
	struct timers_slot { /* due_us once more: comparing touches no entry */
		int64_t due_us;
		struct timers_entry *entry;
	} * heap;
	size_t count, cap;
};

/* Due at a time, earlier or later than it was until now. */
void timers_set(struct timers *timers, struct timers_entry *entry, int64_t due_us);
void timers_cancel(struct timers *timers, struct timers_entry *entry); /* set or not */
/* Removes the entry that is due first, if it is due by now; else NULL. */
struct timers_entry *timers_take(struct timers *timers, int64_t now_us);
/* When the first is due; INT64_MAX: nothing is set. */
int64_t timers_next_us(const struct timers *timers);
void timers_done(struct timers *timers); /* what is still set is forgotten */
