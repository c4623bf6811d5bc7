#pragma once
/* What a reload reads, from the parent to the engine in one memory file: a row of parts, each
 *
 *	u8 kind, u32 number, u16 length and name, u32 length and bytes
 *
 * The engine parses all of it, for it is the one that may be broken by what it parses. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum bundle_kind {
	BUNDLE_PROBLEM = 1, /* name: the file, number: its line, bytes: the text */
	BUNDLE_CONFIG = 2,  /* name: its path, number: 1 when only its owner may read it */
	BUNDLE_CERTIFICATE =
		3,     /* and the next two: name: where it stands, number: 1 when it could */
	BUNDLE_CA = 4, /* not be read, for which there is a problem */
	BUNDLE_CRL = 5,
	BUNDLE_KEY = 6, /* number: its generation, bytes: SubjectPublicKeyInfo (DER) */
};

enum {
	BUNDLE_MAX = 512 * 1024 * 1024, /* bytes of a whole one */
	BUNDLE_NAME_MAX = 8192,
};

struct bundle_part {
	enum bundle_kind kind;
	uint32_t number;
	char name[BUNDLE_NAME_MAX];
	const uint8_t *bytes; /* borrowed */
	size_t len;
};

/* What stands before the bytes, which follow. head fails when the name is too long. */
void bundle_write_head(struct buf *head, enum bundle_kind kind, uint32_t number, const char *name,
		       size_t len);
/* False at the end, and (span->failed) where it is no bundle. */
bool bundle_read(struct span *span, struct bundle_part *ret);
