#include "data/backlog.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

static size_t cost_of(size_t len)
{
	return sizeof(struct backlog_datagram) + len;
}

/* Of IPv6 the network: one host has all addresses in it. */
static struct backlog_line *line_of(struct backlog *backlog, const struct udp_path *path)
{
	struct addr from = addr_of_endpoint(&path->peer);
	uint64_t bits = 0;

	memcpy(&bits, from.bytes, from.family == 4 ? 4 : 8);
	return &backlog->lines[bits * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BACKLOG_LINE_BITS)];
}

static struct backlog_datagram *take_first(struct backlog *backlog, struct backlog_line *line)
{
	struct backlog_datagram *first = line->first;

	line->first = first->next;
	if (!line->first)
		line->last = NULL;
	line->bytes -= cost_of(first->len);
	backlog->bytes -= cost_of(first->len);
	return first;
}

static struct backlog_line *longest_line(struct backlog *backlog)
{
	struct backlog_line *longest = &backlog->lines[0];

	for (unsigned i = 1; i < BACKLOG_LINES; i++) {
		if (backlog->lines[i].bytes > longest->bytes)
			longest = &backlog->lines[i];
	}
	return longest;
}

unsigned backlog_put(struct backlog *backlog, const struct udp_path *path, unsigned socket,
		     const uint8_t *datagram, size_t len)
{
	struct backlog_line *line = line_of(backlog, path);
	struct backlog_datagram *entry = xalloc_zero(1, cost_of(len));
	unsigned lost = 0;

	entry->path = *path;
	entry->socket = socket;
	entry->len = len;
	memcpy(entry->bytes, datagram, len);
	if (line->last)
		line->last->next = entry;
	else
		line->first = entry;
	line->last = entry;
	line->bytes += cost_of(len);
	backlog->bytes += cost_of(len);
	for (; backlog->bytes > BACKLOG_BYTES; lost++)
		free(take_first(backlog, longest_line(backlog)));
	return lost;
}

struct backlog_datagram *backlog_take(struct backlog *backlog)
{
	if (backlog->bytes == 0)
		return NULL;
	do {
		backlog->turn = (backlog->turn + 1) % BACKLOG_LINES;
	} while (!backlog->lines[backlog->turn].first);
	return take_first(backlog, &backlog->lines[backlog->turn]);
}

void backlog_done(struct backlog *backlog)
{
	struct backlog_datagram *entry;

	while ((entry = backlog_take(backlog)))
		free(entry);
}
