#include "data/bulk.h"

#include <stdlib.h>
#include <string.h>

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
	free_list(bulk->first);
	free_list(bulk->spare);
	*bulk = (struct bulk){0};
}

/* The one given back last is in the processor's cache. */
struct bulk_packet *bulk_room(struct bulk *bulk)
{
	if (!bulk->spare)
		bulk->spare = xnew(struct bulk_packet);
	return bulk->spare;
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
static bool name_stream(struct bulk_packet *packet)
{
	struct ip_view view;
	size_t size;

	if (ip_read(packet->bytes, packet->len, &view) != IP_OK)
		return false;
	size = view.family == 4 ? 4 : 16;
	packet->lane = (unsigned)(mix_address(0, view.destination, size) >> (64 - BULK_LANE_BITS));
	packet->pair =
		mix_address(mix_address(view.protocol, view.source, size), view.destination, size);
	packet->stream =
		mix(packet->pair, (uint32_t)view.source_port << 16 | view.destination_port);
	packet->is_fragment = view.is_fragment;
	return true;
}

static bool is_behind(const struct bulk *bulk, const struct bulk_packet *packet)
{
	for (const struct bulk_packet *waiting = bulk->first; waiting; waiting = waiting->next) {
		if (waiting->stream == packet->stream ||
		    (waiting->pair == packet->pair &&
		     (waiting->is_fragment || packet->is_fragment)))
			return true;
	}
	return false;
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

static void insert(struct bulk *bulk, struct bulk_packet *packet)
{
	struct bulk_packet **link = &bulk->first;

	while (*link && (*link)->turn <= packet->turn)
		link = &(*link)->next;
	packet->next = *link;
	*link = packet;
	bulk->waiting[packet->lane]++;
	bulk->count++;
	bulk->bytes += packet->len;
}

static void give_back(struct bulk *bulk, struct bulk_packet *packet)
{
	bulk->waiting[packet->lane]--;
	bulk->count--;
	bulk->bytes -= packet->len;
	packet->next = bulk->spare;
	bulk->spare = packet;
}

/* Places are what there is too little of: of the lane with most of them, the newest. */
static const struct bulk_packet *lose_one(struct bulk *bulk)
{
	struct bulk_packet **at = &bulk->first, *lost;

	for (struct bulk_packet **link = at; *link; link = &(*link)->next) {
		if (bulk->waiting[(*link)->lane] >= bulk->waiting[(*at)->lane])
			at = link;
	}
	lost = *at;
	*at = lost->next;
	bulk->ends[lost->lane] -= lost->len;
	give_back(bulk, lost);
	return lost;
}

const struct bulk_packet *bulk_put(struct bulk *bulk)
{
	struct bulk_packet *packet = bulk->spare;
	uint64_t *end = &bulk->ends[packet->lane];

	bulk->spare = packet->next;
	/* Silence earns nothing: who comes anew is level with what went last. */
	packet->turn = *end > bulk->turn ? *end : bulk->turn;
	*end = packet->turn + packet->len;
	insert(bulk, packet);
	return bulk->count > BULK_MAX ? lose_one(bulk) : NULL;
}

struct bulk_packet *bulk_first(struct bulk *bulk)
{
	return bulk->first;
}

void bulk_drop_first(struct bulk *bulk)
{
	struct bulk_packet *packet = bulk->first;

	bulk->first = packet->next;
	bulk->turn = bulk->first ? packet->turn : packet->turn + packet->len;
	give_back(bulk, packet);
}

bool bulk_is_most(const struct bulk_packet *packet)
{
	const struct bulk_packet *last = packet;

	while (last->next)
		last = last->next;
	return packet->lane == last->lane;
}
