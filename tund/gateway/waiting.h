#pragma once
/* Accepted connections that wait for their turn. The turn goes round the sources, within a source to
 * the oldest: who comes with one connection is not behind those who come with many. Every call takes
 * the same time, however many wait. */

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

struct waiting_line;

struct waiting_place {			   /* one connection */
	struct waiting_place *next, *prev; /* in its line, the oldest first */
	struct waiting_place *younger, *older;
	struct waiting_line *line;
	int64_t since_us;
	int fd;
	struct endpoint peer;
};

struct waiting_line { /* one source's; zeroed at first, in nobody's hands while it is not empty */
	struct waiting_place *first, *last;
	size_t count;
	struct waiting_line *next, *prev;   /* in the circle of turns */
	struct waiting_line *above, *below; /* among those of the same length */
};

struct waiting_room { /* zeroed at first */
	size_t count;
	struct waiting_line *turn; /* whose it is next; NULL: nobody waits */
	struct waiting_place *oldest, *youngest;
	struct waiting_line **by_length; /* [length], lists; room for longest_max */
	size_t longest, longest_max;
};

/* Nobody waits any more. */
void waiting_done(struct waiting_room *room);
/* The line's newest. The place is the room's until one of the calls below returns it. */
void waiting_add(struct waiting_room *room, struct waiting_line *line, struct waiting_place *place);
/* Whose turn it is, taken out; NULL: nobody waits. */
struct waiting_place *waiting_take(struct waiting_room *room);
/* The oldest of all, taken out, when it has waited since before since_us; else NULL. */
struct waiting_place *waiting_take_late(struct waiting_room *room, int64_t since_us);
/* For a newcomer of a line of that length (itself counted) when the room is full: the newest of the
 * longest line, taken out, when that line is the longer one; else NULL. */
struct waiting_place *waiting_take_excess(struct waiting_room *room, size_t length);
