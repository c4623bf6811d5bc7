#pragma once
/* Owned bytes that grow up to a limit, and a reader that cannot run past the end. Integers are
 * big-endian. A writer past its limit and a reader past its end set `failed` and do nothing more,
 * so a whole message can be written or read first and judged once. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len, cap;
	size_t limit; /* bytes; 0 is none */
	bool failed;
};

struct span { /* borrowed */
	const uint8_t *data;
	size_t len;
	bool failed;
};

void buf_done(struct buf *buf);
void buf_wipe(struct buf *buf);		       /* zeroes the bytes, then as buf_done */
void buf_consume(struct buf *buf, size_t len); /* drops the first len bytes */
uint8_t *buf_reserve(struct buf *buf,
		     size_t len); /* room for len more bytes, NULL past the limit */
void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_print(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_u8(struct buf *buf, uint8_t value);
void buf_u16(struct buf *buf, uint16_t value);
void buf_u32(struct buf *buf, uint32_t value);
void buf_u64(struct buf *buf, uint64_t value);
void buf_string(struct buf *buf, const char *text); /* u16 length and the bytes; NULL as empty */

uint8_t span_u8(struct span *span);
uint16_t span_u16(struct span *span);
uint32_t span_u32(struct span *span);
uint64_t span_u64(struct span *span);
const uint8_t *span_bytes(struct span *span, size_t len); /* NULL and failed when there are fewer */
/* As buf_string; copies at most size - 1 bytes and refuses a longer or zero-holding string. */
void span_string(struct span *span, char *text, size_t size);
