#pragma once
/* Datagrams that shake hands, which cost a hundred times what a record does, wait here until what
 * is established has been served. A line for each source (all that share a number do), first in,
 * first out; the turn goes round the lines, so who comes with few is not behind those who come with
 * many. When it is full the longest line loses its oldest: whoever sent that says it again. */

#include <stddef.h>
#include <stdint.h>

#include "sys/udp.h"

enum {
	BACKLOG_LINE_BITS = 6,
	BACKLOG_LINES = 1 << BACKLOG_LINE_BITS,
	BACKLOG_BYTES = 1024 * 1024, /* with their bookkeeping, which bounds how many there are */
};

struct backlog_datagram {
	struct backlog_datagram *next;
	struct udp_path path;
	unsigned socket; /* the worker's index of it */
	size_t len;
	uint8_t bytes[];
};

struct backlog_line {
	struct backlog_datagram *first, *last;
	size_t bytes;
};

struct backlog { /* zeroed at first */
	struct backlog_line lines[BACKLOG_LINES];
	size_t bytes;
	unsigned turn;
};

void backlog_done(struct backlog *backlog);
/* Copies the datagram. How many were lost for it. */
unsigned backlog_put(struct backlog *backlog, const struct udp_path *path, unsigned socket,
		     const uint8_t *datagram, size_t len);
/* Whose turn it is; the caller frees it. NULL: nothing waits. */
struct backlog_datagram *backlog_take(struct backlog *backlog);
