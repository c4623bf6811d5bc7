#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "pki/der.h"

#define BYTES(text)                                                                                \
	{                                                                                          \
		.data = (const uint8_t *)(text), .len = sizeof(text) - 1                           \
	}

/* An element that is to be an INTEGER. */
static const struct {
	const char *name;
	struct span bytes;
	int len; /* of its content; -1: refused */
} integers[] = {
	{"one byte", BYTES("\x02\x01\x05"), 1},
	{"what follows is not read", BYTES("\x02\x01\x05\xff"), 1},
	{"a zero that says it is not negative", BYTES("\x02\x02\x00\x80"), 2},
	{"a zero too many", BYTES("\x02\x02\x00\x7f"), -1},
	{"a negative one", BYTES("\x02\x01\x80"), 1},
	{"ones too many", BYTES("\x02\x02\xff\x80"), -1},
	{"nothing", BYTES(""), -1},
	{"no length", BYTES("\x02"), -1},
	{"no content", BYTES("\x02\x00"), -1},
	{"cut off", BYTES("\x02\x02\x05"), -1},
	{"another tag", BYTES("\x0a\x01\x05"), -1},
	{"indefinite", BYTES("\x02\x80\x05\x00\x00"), -1},
	{"a long length that would be short", BYTES("\x02\x81\x01\x05"), -1},
	{"a length that begins with zero", BYTES("\x02\x82\x00\x80"), -1},
	{"a length of five bytes", BYTES("\x02\x85\x01\x00\x00\x00\x00\x05"), -1},
	{"a length beyond the end", BYTES("\x02\x84\xff\xff\xff\xff\x05"), -1},
	{"a length that is cut off", BYTES("\x02\x84\xff"), -1},
};

static void test_integers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++) {
		struct span from = integers[i].bytes;
		struct span content = der_read_integer(&from, DER_INTEGER);
		int len = content.failed ? -1 : (int)content.len;

		if (len != integers[i].len || from.failed != (len < 0))
			fail_msg("%s: %d", integers[i].name, len);
	}
}

static void test_oids(void **state)
{
	static const struct {
		struct span bytes;
		bool is_right;
	} oids[] = {
		{BYTES("\x06\x03\x55\x1d\x14"), true},	   {BYTES("\x06\x03\x55\x81\x00"), true},
		{BYTES("\x06\x04\x55\x81\x80\x00"), true}, {BYTES("\x06\x00"), false},
		{BYTES("\x06\x03\x55\xe3\xf0"), false},	   {BYTES("\x06\x03\x55\x80\x14"), false},
		{BYTES("\x06\x02\x80\x14"), false},	   {BYTES("\x02\x01\x14"), false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(oids) / sizeof(oids[0]); i++) {
		struct span from = oids[i].bytes;
		struct span content = der_read_oid(&from);

		assert_int_equal(content.failed, !oids[i].is_right);
		assert_int_equal(from.failed, !oids[i].is_right);
	}
}

static void test_long(void **state)
{
	uint8_t bytes[3 + 0x80] = {DER_OCTET_STRING, 0x81, 0x80};
	struct span from = {.data = bytes, .len = sizeof(bytes)}, content;

	(void)state;
	content = der_read(&from, DER_OCTET_STRING);
	assert_int_equal(content.len, 0x80);
	assert_ptr_equal(content.data, bytes + 3);
	assert_int_equal(from.len, 0);
	assert_false(from.failed);
	from = (struct span){.data = bytes, .len = sizeof(bytes)};
	content = der_read_whole(&from, DER_OCTET_STRING);
	assert_int_equal(content.len, sizeof(bytes));
	assert_ptr_equal(content.data, bytes);
	/* At the end there is nothing more. */
	assert_false(der_is(&from, DER_OCTET_STRING));
	der_read(&from, DER_OCTET_STRING);
	assert_true(from.failed);
}

static const struct {
	const char *text;
	uint8_t tag;
	time_t at;
} times[] = {
	{"700101000000Z", DER_UTC_TIME, 0},
	{"700101000001Z", DER_UTC_TIME, 1},
	{"000229120000Z", DER_UTC_TIME, 951825600},
	{"491231235959Z", DER_UTC_TIME, 2524607999},
	{"500101000000Z", DER_UTC_TIME, -631152000},
	{"20000229120000Z", DER_GENERALIZED_TIME, 951825600},
	{"19700101000001Z", DER_GENERALIZED_TIME, 1},
	{"99991231235959Z", DER_GENERALIZED_TIME, 253402300799},
	{"21000228235959Z", DER_GENERALIZED_TIME, 4107542399},
	{"21000229000000Z", DER_GENERALIZED_TIME, 0},
	{"010229120000Z", DER_UTC_TIME, 0},
	{"001301000000Z", DER_UTC_TIME, 0},
	{"000001000000Z", DER_UTC_TIME, 0},
	{"000100000000Z", DER_UTC_TIME, 0},
	{"000431000000Z", DER_UTC_TIME, 0},
	{"000101240000Z", DER_UTC_TIME, 0},
	{"000101006000Z", DER_UTC_TIME, 0},
	{"000101000060Z", DER_UTC_TIME, 0},
	{"0001010000Z", DER_UTC_TIME, 0},
	{"0001010000000", DER_UTC_TIME, 0},
	{"00010100000/Z", DER_UTC_TIME, 0},
	{"20000229120000Z", DER_UTC_TIME, 0},
	{"20000229120000.5Z", DER_GENERALIZED_TIME, 0},
	{"000229120000Z", DER_GENERALIZED_TIME, 0},
};

static void test_times(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		uint8_t bytes[40] = {times[i].tag, (uint8_t)strlen(times[i].text)};
		struct span from = {.data = bytes, .len = 2 + bytes[1]};
		time_t at = 77;

		memcpy(bytes + 2, times[i].text, bytes[1]);
		der_read_time(&from, &at);
		if (from.failed || at != times[i].at)
			fail_msg("%s: %ld", times[i].text, (long)at);
	}
}

static void test_no_time(void **state)
{
	static const struct span none[] = {BYTES("\x17\x00"), BYTES("\x18\x00"),
					   BYTES("\x02\x01\x05"), BYTES("")};
	time_t at;

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		struct span from = none[i];

		der_read_time(&from, &at);
		assert_true(from.failed);
		assert_int_equal(at, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers), cmocka_unit_test(test_oids),
		cmocka_unit_test(test_long),	 cmocka_unit_test(test_times),
		cmocka_unit_test(test_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
