#include "pki/serials.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "base/xalloc.h"

/* A record: length of the serial, reason, seconds since 1970 in 5 bytes, the serial. */
enum { AT_LEN = 0, AT_REASON = 1, AT_TIME = 2, TIME_BYTES = 5, AT_SERIAL = 7 };

static_assert(AT_SERIAL == AT_TIME + TIME_BYTES, "what the header says");

__extension__ typedef unsigned __int128 uint128;

void serials_init(struct serials *serials, size_t room)
{
	*serials = (struct serials){.room = room};
	assert(room < UINT32_MAX);
	/* Pages that are never written to cost nothing; serials_index gives the rest back. */
	serials->records = xalloc_grow(NULL, room ? room : 1, 1);
}

void serials_add(struct serials *serials, const uint8_t *serial, size_t len,
		 const struct serials_entry *entry)
{
	uint8_t *record = serials->records + serials->len;
	uint64_t at = entry->revoked_at > 0 ? (uint64_t)entry->revoked_at : 0;

	assert(len >= 1 && len <= SERIALS_LEN_MAX &&
	       AT_SERIAL + len <= serials->room - serials->len);
	record[AT_LEN] = (uint8_t)len;
	record[AT_REASON] = entry->reason;
	for (size_t i = 0; i < TIME_BYTES; i++)
		record[AT_TIME + i] = (uint8_t)(at >> 8 * i);
	memcpy(record + AT_SERIAL, serial, len);
	serials->len += AT_SERIAL + len;
	serials->count++;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint128 product = (uint128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_serial(const struct serials *serials, const uint8_t *serial, size_t len)
{
	uint64_t hash = serials->keys[0] ^ len;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t part = 0;

		memcpy(&part, serial + i, len - i < 8 ? len - i : 8);
		hash = mix(hash ^ part, serials->keys[1]) + serials->keys[0];
	}
	return mix(hash, serials->keys[1]);
}

/* The slot that has this serial, or the free one where it belongs. */
static uint32_t *find_slot(const struct serials *serials, const uint8_t *serial, size_t len)
{
	size_t i = hash_serial(serials, serial, len) & serials->slot_mask;

	for (;; i = (i + 1) & serials->slot_mask) {
		uint32_t *slot = &serials->slots[i];
		const uint8_t *record = serials->records + *slot - 1;

		if (!*slot ||
		    (record[AT_LEN] == len && memcmp(record + AT_SERIAL, serial, len) == 0))
			return slot;
	}
}

/* A power of two of which at most two thirds are taken. */
static size_t count_slots(size_t entries)
{
	size_t count = 4;

	while (count * 2 < entries * 3)
		count *= 2;
	return count;
}

void serials_index(struct serials *serials)
{
	size_t count = count_slots(serials->count);

	serials->records = xalloc_grow(serials->records, serials->len ? serials->len : 1, 1);
	serials->room = serials->len;
	serials->slots = xalloc_zero(count, sizeof(*serials->slots));
	serials->slot_mask = count - 1;
	if (RAND_bytes((uint8_t *)serials->keys, sizeof(serials->keys)) != 1)
		abort();
	serials->keys[1] |= 1;
	for (size_t at = 0; at < serials->len; at += AT_SERIAL + serials->records[at + AT_LEN]) {
		const uint8_t *record = serials->records + at;
		uint32_t *slot = find_slot(serials, record + AT_SERIAL, record[AT_LEN]);

		if (!*slot)
			*slot = (uint32_t)at + 1;
	}
}

bool serials_find(const struct serials *serials, const uint8_t *serial, size_t len,
		  struct serials_entry *ret)
{
	uint32_t slot = len ? *find_slot(serials, serial, len) : 0;
	const uint8_t *record = serials->records + slot - 1;
	uint64_t at = 0;

	if (!slot)
		return false;
	for (size_t i = 0; i < TIME_BYTES; i++)
		at |= (uint64_t)record[AT_TIME + i] << 8 * i;
	*ret = (struct serials_entry){.revoked_at = (time_t)at, .reason = record[AT_REASON]};
	return true;
}

void serials_done(struct serials *serials)
{
	free(serials->records);
	free(serials->slots);
	*serials = (struct serials){0};
}
