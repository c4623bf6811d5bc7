/* data/offload. The first byte chooses: even, a virtio header and a packet to be split; odd,
 * packets, each behind two bytes of length, to be joined, split again and compared. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/offload.h"
#include "wire/ip.h"

enum {
	ALL = TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6 | TUN_OFFLOAD_USO4 |
	      TUN_OFFLOAD_USO6,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_split(const uint8_t *data, size_t size)
{
	struct offload_split split;
	struct tun_header header;
	uint8_t *room, *piece;
	size_t len;

	if (size < sizeof(header) || size - sizeof(header) > TUN_PACKET_MAX)
		return;
	memcpy(&header, data, sizeof(header));
	size -= sizeof(header);
	room = malloc(OFFLOAD_HEADROOM + size);
	assert(room);
	memcpy(room + OFFLOAD_HEADROOM, data + sizeof(header), size);
	if (offload_split_init(&split, &header, room + OFFLOAD_HEADROOM, size) == 0)
		while (offload_split_next(&split, &piece, &len)) {
			assert(piece >= room + OFFLOAD_HEADROOM &&
			       piece + len <= room + OFFLOAD_HEADROOM + size);
			memset(piece - OFFLOAD_HEADROOM, 0xee, OFFLOAD_HEADROOM + len);
		}
	free(room);
}

/* Equal but for what may be: the id under don't-fragment with its checksum, and which of its two
 * zeros (0 and 0xffff) a checksum has. */
static void check_same(const uint8_t *got, const uint8_t *expected, size_t len, bool joined)
{
	struct ip_view view;
	size_t field;

	if (!joined) {
		assert(memcmp(got, expected, len) == 0);
		return;
	}
	assert(ip_read(got, len, &view) == IP_OK);
	field = view.transport + (view.protocol == IP_PROTO_TCP ? 16U : 6U);
	for (size_t i = 0; i < len; i++) {
		if (view.family == 4 && (i / 2 == 5 || (i / 2 == 2 && got[6] & 0x40)))
			continue;
		if (i - field < 2 && ip_get16(expected + field) == 0xffff)
			continue;
		assert(got[i] == expected[i]);
	}
}

/* next: where the packets that were joined stand in the input. */
static const uint8_t *drain(struct offload_join *join, const uint8_t *next)
{
	struct offload_split split;
	struct tun_header header;
	size_t pieces = join->pieces, len;
	uint8_t *piece;

	if (!offload_join_finish(join, &header))
		return next;
	assert(offload_split_init(&split, &header, join->packet, join->len) == 0);
	for (; offload_split_next(&split, &piece, &len); next += 2 + len, pieces--) {
		assert(pieces > 0 && ip_get16(next) == len);
		check_same(piece, next + 2, len, join->pieces > 1);
	}
	assert(pieces == 0);
	join->len = 0;
	return next;
}

static void fuzz_join(const uint8_t *data, size_t size)
{
	uint8_t *room = malloc(OFFLOAD_HEADROOM + OFFLOAD_JOIN_MAX);
	struct offload_join join = {.packet = room + OFFLOAD_HEADROOM};
	const uint8_t *next = data, *packet;
	size_t len;

	assert(room);
	while (size >= 2) {
		len = ip_get16(data);
		if (len == 0 || len > size - 2)
			break;
		packet = data + 2;
		if (!offload_join_add(&join, ALL, packet, len)) {
			next = drain(&join, next);
			assert(next == data);
			assert(offload_join_add(&join, ALL, packet, len));
		}
		data += 2 + len;
		size -= 2 + len;
	}
	next = drain(&join, next);
	assert(next == data);
	free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		fuzz_join(data + 1, size - 1);
	else
		fuzz_split(data + 1, size - 1);
	return 0;
}
