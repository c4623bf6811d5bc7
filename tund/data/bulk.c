#include "data/bulk.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/xalloc.h"
#include "wire/ip.h"

static void free_list(struct bulk_packet *packet)
{
	while (packet) {
		struct bulk_packet *next = packet->next;

		free(packet);
		packet = next;
	}
}

void bulk_done(struct bulk *bulk)
{
	for (struct bulk_lane *lane = bulk->first; lane; lane = lane->next)
		free_list(lane->packets);
	free_list(bulk->spare);
	free_list(bulk->smaller);
	*bulk = (struct bulk){0};
}

/* The one given back last is in the processor's cache. */
static struct bulk_packet *get_spare(struct bulk_packet **spare, size_t room)
{
	if (!*spare) {
		*spare = xalloc_zero(1, sizeof(**spare) + room);
		(*spare)->room = room;
	}
	return *spare;
}

struct bulk_packet *bulk_room(struct bulk *bulk)
{
	return get_spare(&bulk->spare, TUN_PACKET_MAX);
}

/* Streams that share a hash only wait for each other. */
static uint64_t mix(uint64_t hash, uint32_t word)
{
	return (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t mix_address(uint64_t hash, const uint8_t *address, size_t len)
{
	for (size_t i = 0; i < len; i += 4)
		hash = mix(hash, ip_get32(address + i));
	return hash;
}

/* A packet that cannot be read is in nobody's way. */
static unsigned top_bits(uint64_t hash)
{
	return (unsigned)(hash >> (64 - BULK_HASH_BITS));
}

/* False for what cannot be read: it is for others to say what is wrong with it. */
static bool name_stream(struct bulk_packet *packet)
{
	struct ip_view view;
	uint64_t pair;
	size_t size;

	if (ip_read(packet->bytes, packet->len, &view) != IP_OK)
		return false;
	size = view.family == 4 ? 4 : 16;
	pair = mix_address(mix_address(view.protocol, view.source, size), view.destination, size);
	packet->lane = top_bits(mix_address(0, view.destination, size));
	packet->pair = top_bits(pair);
	packet->stream =
		top_bits(mix(pair, (uint32_t)view.source_port << 16 | view.destination_port));
	packet->is_fragment = view.is_fragment;
	return true;
}

static bool is_behind(const struct bulk *bulk, const struct bulk_packet *packet)
{
	return bulk->streams[packet->stream] || bulk->fragments[packet->pair] ||
	       (packet->is_fragment && bulk->pairs[packet->pair]);
}

bool bulk_holds(struct bulk *bulk, size_t len)
{
	struct bulk_packet *packet = bulk->spare;
	bool is_super = packet->header.gso_type != TUN_GSO_NONE;

	packet->len = len;
	if (!is_super && bulk->count == 0)
		return false;
	return name_stream(packet) && (is_super || is_behind(bulk, packet));
}

/* Single packets by the hundred wait behind a super-packet of their stream: not in 64 KiB each. */
static struct bulk_packet *take_room(struct bulk *bulk)
{
	struct bulk_packet *packet = bulk->spare, *small;

	if (packet->len > BULK_ROOM_SMALL) {
		bulk->spare = packet->next;
		return packet;
	}
	small = get_spare(&bulk->smaller, BULK_ROOM_SMALL);
	bulk->smaller = small->next;
	memcpy(small, packet, offsetof(struct bulk_packet, bytes) + packet->len);
	small->room = BULK_ROOM_SMALL;
	return small;
}

/* By turn, and behind those whose turn is the same. */
static void insert(struct bulk *bulk, struct bulk_lane *lane)
{
	struct bulk_lane *before = bulk->first ? bulk->first->prev : NULL;

	while (before && before->packets->turn > lane->packets->turn)
		before = before == bulk->first ? NULL : before->prev;
	if (before)
		DL_APPEND_ELEM(bulk->first, before, lane);
	else
		DL_PREPEND(bulk->first, lane);
}

static void account(struct bulk *bulk, const struct bulk_packet *packet, int by)
{
	struct bulk_lane *lane = &bulk->lanes[packet->lane];
	size_t len = packet->len, room = packet->room;

	bulk->count += (size_t)by;
	bulk->bytes += by > 0 ? len : -len;
	bulk->room += by > 0 ? room : -room;
	lane->bytes += by > 0 ? len : -len;
	lane->room += by > 0 ? room : -room;
	bulk->streams[packet->stream] += (uint16_t)by;
	bulk->pairs[packet->pair] += (uint16_t)by;
	if (packet->is_fragment)
		bulk->fragments[packet->pair] += (uint16_t)by;
}

void bulk_put(struct bulk *bulk)
{
	struct bulk_packet *packet = take_room(bulk);
	struct bulk_lane *lane = &bulk->lanes[packet->lane];
	bool was_empty = !lane->packets;

	/* Silence earns nothing: who comes anew is level with what went last. */
	packet->turn = lane->end > bulk->turn ? lane->end : bulk->turn;
	lane->end = packet->turn + packet->len;
	DL_APPEND(lane->packets, packet);
	if (was_empty)
		insert(bulk, lane);
	account(bulk, packet, 1);
}

static void take_out(struct bulk *bulk, struct bulk_packet *packet)
{
	struct bulk_lane *lane = &bulk->lanes[packet->lane];
	struct bulk_packet **spare =
		packet->room == BULK_ROOM_SMALL ? &bulk->smaller : &bulk->spare;
	bool was_first = packet == lane->packets;

	account(bulk, packet, -1);
	if (was_first)
		DL_DELETE(bulk->first, lane);
	DL_DELETE(lane->packets, packet);
	if (was_first && lane->packets)
		insert(bulk, lane);
	packet->next = *spare;
	*spare = packet;
}

const struct bulk_packet *bulk_lose(struct bulk *bulk)
{
	struct bulk_lane *most = bulk->first;
	struct bulk_packet *lost;

	if (bulk->bytes <= BULK_BYTES_MAX && bulk->room <= BULK_ROOM_MAX)
		return NULL;
	for (struct bulk_lane *lane = most; lane; lane = lane->next) {
		if (lane->room >= most->room)
			most = lane;
	}
	lost = most->packets->prev;
	most->end -= lost->len;
	take_out(bulk, lost);
	return lost;
}

struct bulk_packet *bulk_first(struct bulk *bulk)
{
	return bulk->first ? bulk->first->packets : NULL;
}

void bulk_drop_first(struct bulk *bulk)
{
	struct bulk_packet *packet = bulk->first->packets;

	take_out(bulk, packet);
	bulk->turn = bulk->first ? packet->turn : packet->turn + packet->len;
}

bool bulk_is_too_much(const struct bulk *bulk, size_t wait_bytes)
{
	const struct bulk_lane *first = bulk->first;

	if (!first || (bulk->bytes < wait_bytes && bulk->room < BULK_ROOM_MAX / 2))
		return false;
	for (const struct bulk_lane *lane = first; lane; lane = lane->next) {
		if (lane->bytes > first->bytes + first->packets->len)
			return false;
	}
	return true;
}
