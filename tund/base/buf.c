#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

void buf_done(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){.limit = buf->limit};
}

void buf_wipe(struct buf *buf)
{
	if (buf->data)
		explicit_bzero(buf->data, buf->cap);
	buf_done(buf);
}

void buf_consume(struct buf *buf, size_t len)
{
	if (len > buf->len)
		len = buf->len;
	if (len == 0)
		return;
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
}

/* Growing copies by hand, so that the old bytes can be wiped: a buf may hold secrets. */
static void grow(struct buf *buf, size_t needed)
{
	size_t cap = buf->cap ? buf->cap : 256;
	uint8_t *data;

	while (cap < needed)
		cap = cap > SIZE_MAX / 2 ? needed : cap * 2;
	data = xalloc_grow(NULL, cap, 1);
	if (buf->data) {
		memcpy(data, buf->data, buf->len);
		/* All of it: what was consumed lies beyond len. */
		explicit_bzero(buf->data, buf->cap);
		free(buf->data);
	}
	buf->data = data;
	buf->cap = cap;
}

uint8_t *buf_reserve(struct buf *buf, size_t len)
{
	size_t needed;

	if (buf->failed || __builtin_add_overflow(buf->len, len, &needed) ||
	    (buf->limit && needed > buf->limit)) {
		buf->failed = true;
		return NULL;
	}
	if (needed > buf->cap)
		grow(buf, needed);
	return buf->data + buf->len;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
	uint8_t *room = len ? buf_reserve(buf, len) : NULL;

	if (!room)
		return;
	memcpy(room, bytes, len);
	buf->len += len;
}

void buf_print(struct buf *buf, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	text = xalloc_vprint(format, arguments);
	va_end(arguments);
	buf_append(buf, text, strlen(text));
	explicit_bzero(text, strlen(text)); /* a buf may hold secrets */
}

static void append_be(struct buf *buf, uint64_t value, size_t bytes)
{
	uint8_t be[8];

	for (size_t i = 0; i < bytes; i++)
		be[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
	buf_append(buf, be, bytes);
}

void buf_u8(struct buf *buf, uint8_t value)
{
	append_be(buf, value, 1);
}

void buf_u16(struct buf *buf, uint16_t value)
{
	append_be(buf, value, 2);
}

void buf_u32(struct buf *buf, uint32_t value)
{
	append_be(buf, value, 4);
}

void buf_u64(struct buf *buf, uint64_t value)
{
	append_be(buf, value, 8);
}

void buf_string(struct buf *buf, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len > UINT16_MAX) {
		buf->failed = true;
		return;
	}
	buf_u16(buf, (uint16_t)len);
	buf_append(buf, text, len);
}

const uint8_t *span_bytes(struct span *span, size_t len)
{
	const uint8_t *bytes = span->data;

	if (span->failed || len > span->len) {
		span->failed = true;
		return NULL;
	}
	span->data += len;
	span->len -= len;
	return bytes;
}

static uint64_t read_be(struct span *span, size_t len)
{
	const uint8_t *bytes = span_bytes(span, len);
	uint64_t value = 0;

	for (size_t i = 0; bytes && i < len; i++)
		value = value << 8 | bytes[i];
	return value;
}

uint8_t span_u8(struct span *span)
{
	return (uint8_t)read_be(span, 1);
}

uint16_t span_u16(struct span *span)
{
	return (uint16_t)read_be(span, 2);
}

uint32_t span_u32(struct span *span)
{
	return (uint32_t)read_be(span, 4);
}

uint64_t span_u64(struct span *span)
{
	return read_be(span, 8);
}

void span_string(struct span *span, char *text, size_t size)
{
	size_t len = span_u16(span);
	const uint8_t *bytes = span_bytes(span, len);

	text[0] = '\0';
	if (!bytes)
		return;
	if (len >= size || memchr(bytes, 0, len)) {
		span->failed = true;
		return;
	}
	memcpy(text, bytes, len);
	text[len] = '\0';
}
