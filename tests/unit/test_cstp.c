#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "wire/cstp.h"

static const struct record_case {
	const char *name;
	uint8_t bytes[12];
	size_t len;
	int type; /* -1: refused */
	size_t payload;
} record_cases[] = {
	{"data", {'S', 'T', 'F', 1, 0, 3, 0, 0, 1, 2, 3}, 11, CSTP_DATA, 3},
	{"keepalive", {'S', 'T', 'F', 1, 0, 0, 7, 0}, 8, CSTP_KEEPALIVE, 0},
	{"an unknown type is the caller's matter", {'S', 'T', 'F', 1, 0, 0, 99, 0}, 8, 99, 0},

	{"nothing", {0}, 0, -1, 0},
	{"a header cut short", {'S', 'T', 'F', 1, 0, 0, 7}, 7, -1, 0},
	{"first byte of the magic", {'s', 'T', 'F', 1, 0, 0, 7, 0}, 8, -1, 0},
	{"last byte of the magic", {'S', 'T', 'F', 2, 0, 0, 7, 0}, 8, -1, 0},
	{"reserved byte", {'S', 'T', 'F', 1, 0, 0, 7, 1}, 8, -1, 0},
	{"length above the record's", {'S', 'T', 'F', 1, 0, 4, 0, 0, 1, 2, 3}, 11, -1, 0},
	{"length below the record's", {'S', 'T', 'F', 1, 0, 2, 0, 0, 1, 2, 3}, 11, -1, 0},
	{"length in the upper byte", {'S', 'T', 'F', 1, 1, 3, 0, 0, 1, 2, 3}, 11, -1, 0},
};

static void test_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(record_cases) / sizeof(*record_cases); i++) {
		const struct record_case *row = &record_cases[i];
		struct cstp_frame frame;
		bool ok = cstp_read_record(row->bytes, row->len, &frame);

		if (ok != (row->type >= 0))
			fail_msg("%s: read %d", row->name, ok);
		if (ok && (frame.type != row->type || frame.len != row->payload ||
			   frame.payload != row->bytes + CSTP_HEADER))
			fail_msg("%s: type %u, %zu bytes", row->name, frame.type, frame.len);
	}
}

static void test_round_trip(void **state)
{
	static const size_t lengths[] = {0, 1, 255, 256, 1500, CSTP_RECORD_MAX - CSTP_HEADER};
	uint8_t record[CSTP_RECORD_MAX] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		struct cstp_frame frame;

		cstp_write_header(record, CSTP_DPD_RESPONSE, lengths[i]);
		assert_true(cstp_read_record(record, CSTP_HEADER + lengths[i], &frame));
		assert_int_equal(frame.type, CSTP_DPD_RESPONSE);
		assert_int_equal(frame.len, lengths[i]);
	}
}

static void test_datagrams(void **state)
{
	static const uint8_t data[] = {CSTP_DATA, 0x45, 0x00};
	struct cstp_frame frame;

	(void)state;
	assert_false(cstp_read_datagram(data, 0, &frame));
	assert_true(cstp_read_datagram(data, 1, &frame));
	assert_int_equal(frame.len, 0);
	assert_true(cstp_read_datagram(data, 3, &frame));
	assert_int_equal(frame.type, CSTP_DATA);
	assert_int_equal(frame.len, 2);
	assert_ptr_equal(frame.payload, data + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
