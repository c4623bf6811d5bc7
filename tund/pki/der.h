#pragma once
/* A strict reader of DER (X.690): one-byte tags, definite lengths in their shortest form. It makes no
 * objects; spans point into what is read. A reader that meets anything else sets `failed` in the
 * span and does nothing more. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/buf.h"

enum {
	DER_BOOLEAN = 0x01,
	DER_INTEGER = 0x02,
	DER_BIT_STRING = 0x03,
	DER_OCTET_STRING = 0x04,
	DER_OID = 0x06,
	DER_ENUMERATED = 0x0a,
	DER_UTC_TIME = 0x17,
	DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30,
	DER_EXPLICIT_0 = 0xa0,
};

bool der_is(const struct span *from, uint8_t tag); /* the next element; false at the end */
/* The content of the next element, which must have this tag. */
struct span der_read(struct span *from, uint8_t tag);
/* The next element of this tag with its tag and length. */
struct span der_read_whole(struct span *from, uint8_t tag);
/* As der_read; also fails where an integer is empty or longer than it need be. */
struct span der_read_integer(struct span *from, uint8_t tag);
/* As der_read; also fails where it is no whole identifier (X.690 8.19). */
struct span der_read_oid(struct span *from);
/* UTCTime or GeneralizedTime in the form of RFC 5280 4.1.2.5: to the second, in UTC. *ret is 0 when
 * the content is no such time; only another tag, or no content at all, fails. */
void der_read_time(struct span *from, time_t *ret);
