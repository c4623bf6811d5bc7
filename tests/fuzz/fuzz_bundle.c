/* wire/bundle: what the engine reads at a reload. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "wire/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What can be read is written the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bundle_part *part = xnew(struct bundle_part);
	struct span span = {data, size, false};
	struct buf again = {0};

	while (bundle_read(&span, part)) {
		assert(part->bytes >= data && part->bytes + part->len <= data + size);
		assert(strlen(part->name) < BUNDLE_NAME_MAX);
		bundle_write_head(&again, part->kind, part->number, part->name, part->len);
		buf_append(&again, part->bytes, part->len);
	}
	assert(!again.failed && again.len <= size);
	assert(again.len == 0 || memcmp(again.data, data, again.len) == 0);
	assert(span.failed || again.len == size);
	buf_done(&again);
	free(part);
	return 0;
}
