/* wire/metrics_text: whatever JSON a daemon answers, what is printed is lines of printable ASCII
 * that are comments or samples. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "wire/metrics_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, size_t len)
{
	const char *space = memrchr(line, ' ', len);

	assert(len > 0 && space);
	for (size_t i = 0; i < len; i++)
		assert((unsigned char)line[i] >= 0x20 && (unsigned char)line[i] < 0x7f);
	if (line[0] == '#') {
		assert(strncmp(line, "# HELP ", 7) == 0 || strncmp(line, "# TYPE ", 7) == 0);
		return;
	}
	/* A sample: its name, labels in braces or none, its value. */
	assert(strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:", line[0]));
	assert(memchr(line, '{', len) ? space[-1] == '}' : space > line);
	assert(strchr("-0123456789", space[1]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *metrics = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);
	struct buf text = {0};
	const char *at, *end;

	metrics_text_write(&text, metrics);
	at = (const char *)text.data;
	for (size_t left = text.len; left; left -= (size_t)(end + 1 - at), at = end + 1) {
		end = memchr(at, '\n', left);
		assert(end);
		check_line(at, (size_t)(end - at));
	}
	buf_done(&text);
	json_decref(metrics);
	return 0;
}
