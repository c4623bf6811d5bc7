#pragma once
/* A set of serial numbers, each with when and why it was revoked, for lists of a million: first
 * filled, then indexed once, then only asked, by any thread and in constant time. One entry costs
 * its serial and 7 bytes, and 6 to 12 bytes of the index. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { SERIALS_LEN_MAX = 255 };

struct serials_entry {
	time_t revoked_at; /* 0: unknown */
	uint8_t reason;	   /* CRLReason (RFC 5280 5.3.1) */
};

struct serials {
	uint8_t *records;
	size_t len, room; /* of records, bytes */
	uint32_t *slots;  /* open addressing: where a record begins + 1; 0: free */
	size_t slot_mask;
	uint64_t keys[2]; /* an authority cannot choose serials that collide */
	size_t count;
};

/* room: bytes; the serials that are added have at most as many, with 7 more for each. At most
 * 4 GiB. */
void serials_init(struct serials *serials, size_t room);
/* serial: as an INTEGER's content in DER, 1 to SERIALS_LEN_MAX bytes. */
void serials_add(struct serials *serials, const uint8_t *serial, size_t len,
		 const struct serials_entry *entry);
void serials_index(struct serials *serials); /* of a serial added twice the first entry counts */
bool serials_find(const struct serials *serials, const uint8_t *serial, size_t len,
		  struct serials_entry *ret);
void serials_done(struct serials *serials);
