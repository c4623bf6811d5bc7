#include "wire/bundle.h"

#include <string.h>

void bundle_write_head(struct buf *head, enum bundle_kind kind, uint32_t number, const char *name,
		       size_t len)
{
	if (strlen(name) >= BUNDLE_NAME_MAX || len > BUNDLE_MAX)
		head->failed = true;
	buf_u8(head, (uint8_t)kind);
	buf_u32(head, number);
	buf_string(head, name);
	buf_u32(head, (uint32_t)len);
}

bool bundle_read(struct span *span, struct bundle_part *ret)
{
	if (span->failed || span->len == 0)
		return false;
	ret->kind = span_u8(span);
	if (ret->kind < BUNDLE_PROBLEM || ret->kind > BUNDLE_KEY)
		span->failed = true;
	ret->number = span_u32(span);
	span_string(span, ret->name, sizeof(ret->name));
	ret->len = span_u32(span);
	ret->bytes = span_bytes(span, ret->len);
	return !span->failed;
}
