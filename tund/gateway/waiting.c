#include "gateway/waiting.h"

#include <stdlib.h>

#include "base/xalloc.h"

/* ---- lines by their length ---- */

static void leave_length(struct waiting_room *room, struct waiting_line *line)
{
	if (line->count == 0)
		return;
	if (line->above)
		line->above->below = line->below;
	else
		room->by_length[line->count] = line->below;
	if (line->below)
		line->below->above = line->above;
	line->above = line->below = NULL;
}

static void join_length(struct waiting_room *room, struct waiting_line *line)
{
	struct waiting_line **list;

	if (line->count == 0)
		return;
	list = &room->by_length[line->count];
	line->below = *list;
	if (*list)
		(*list)->above = line;
	*list = line;
	if (line->count > room->longest)
		room->longest = line->count;
}

/* A line grows and shrinks by one: the longest is then the one before, or shorter by one. */
static void resize_line(struct waiting_room *room, struct waiting_line *line, size_t count)
{
	if (count >= room->longest_max) {
		size_t max = 2 * count + 16;

		room->by_length = xalloc_grow(room->by_length, max, sizeof(*room->by_length));
		for (size_t i = room->longest_max; i < max; i++)
			room->by_length[i] = NULL;
		room->longest_max = max;
	}
	leave_length(room, line);
	line->count = count;
	join_length(room, line);
	if (room->longest && !room->by_length[room->longest])
		room->longest--;
}

/* ---- the circle of turns ---- */

/* Behind all others: the turn comes to it last. */
static void join_circle(struct waiting_room *room, struct waiting_line *line)
{
	struct waiting_line *turn = room->turn;

	if (!turn) {
		line->next = line->prev = room->turn = line;
		return;
	}
	line->next = turn;
	line->prev = turn->prev;
	turn->prev->next = line;
	turn->prev = line;
}

static void leave_circle(struct waiting_room *room, struct waiting_line *line)
{
	if (line->next == line) {
		room->turn = NULL;
	} else {
		line->prev->next = line->next;
		line->next->prev = line->prev;
		if (room->turn == line)
			room->turn = line->next;
	}
	line->next = line->prev = NULL;
}

/* ---- places ---- */

static struct waiting_place *take_out(struct waiting_room *room, struct waiting_place *place)
{
	struct waiting_line *line = place->line;

	*(place->prev ? &place->prev->next : &line->first) = place->next;
	*(place->next ? &place->next->prev : &line->last) = place->prev;
	*(place->older ? &place->older->younger : &room->oldest) = place->younger;
	*(place->younger ? &place->younger->older : &room->youngest) = place->older;
	place->next = place->prev = place->older = place->younger = NULL;
	resize_line(room, line, line->count - 1);
	room->count--;
	if (line->count == 0)
		leave_circle(room, line);
	return place;
}

void waiting_add(struct waiting_room *room, struct waiting_line *line, struct waiting_place *place)
{
	place->line = line;
	place->next = place->younger = NULL;
	place->prev = line->last;
	*(line->last ? &line->last->next : &line->first) = place;
	line->last = place;
	place->older = room->youngest;
	*(room->youngest ? &room->youngest->younger : &room->oldest) = place;
	room->youngest = place;
	if (line->count == 0)
		join_circle(room, line);
	resize_line(room, line, line->count + 1);
	room->count++;
}

struct waiting_place *waiting_take(struct waiting_room *room)
{
	struct waiting_line *line = room->turn;

	if (!line)
		return NULL;
	room->turn = line->next;
	return take_out(room, line->first);
}

struct waiting_place *waiting_take_late(struct waiting_room *room, int64_t since_us)
{
	if (!room->oldest || room->oldest->since_us >= since_us)
		return NULL;
	return take_out(room, room->oldest);
}

struct waiting_place *waiting_take_excess(struct waiting_room *room, size_t length)
{
	if (room->longest <= length)
		return NULL;
	return take_out(room, room->by_length[room->longest]->last);
}

void waiting_done(struct waiting_room *room)
{
	free(room->by_length);
	*room = (struct waiting_room){0};
}
