/* wire/dtls_record: the record filter, with a window in use, and the look at a hello. */

#include <assert.h>
#include <stdint.h>

#include "wire/dtls_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What passes holds what check promises, record by record. */
static void check_passed(const uint8_t *data, size_t size, const struct dtls_window *window)
{
	struct dtls_record record;
	size_t count = 0;

	for (size_t at = 0; at < size; at += DTLS_RECORD_HEADER + record.len, count++) {
		assert(dtls_record_read(data + at, size - at, &record) == DTLS_RECORD_OK);
		assert(record.len <= size - at - DTLS_RECORD_HEADER && record.epoch <= 1);
		assert(record.sequence >> 48 == 0);
		if (record.epoch == 1)
			assert(record.len >= DTLS_RECORD_AEAD_MIN);
		if (record.type == DTLS_TYPE_DATA || record.type == DTLS_TYPE_ALERT) {
			assert(size == DTLS_RECORD_HEADER + record.len && record.epoch == 1);
			assert(dtls_window_fresh(window, record.sequence));
		}
	}
	assert(count > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dtls_window window = {0};
	struct dtls_record record;
	const uint8_t *id;

	dtls_window_mark(&window, 70);
	dtls_window_mark(&window, 5);
	dtls_window_mark(&window, 7);
	if (dtls_record_check(data, size, DTLS_RECORD_AEAD_MIN, &window, &record) ==
	    DTLS_RECORD_OK) {
		check_passed(data, size, &window);
		dtls_window_mark(&window, record.sequence);
		assert(!dtls_window_fresh(&window, record.sequence));
	}
	if (dtls_record_hello(data, size, &id))
		assert(id > data && id + DTLS_APP_ID < data + size);
	return 0;
}
