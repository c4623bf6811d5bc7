#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void test_writes_big_endian(void **state)
{
	static const uint8_t wanted[] = {
		0x01,						/* u8 */
		0x02, 0x03,					/* u16 */
		0x04, 0x05, 0x06, 0x07,				/* u32 */
		0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, /* u64 */
		0x00, 0x02, 'h',  'i',				/* string */
		0x00, 0x00,					/* no string */
		'n',  '=',  '4',  '2',				/* print */
		0xff, 0x00, 0xfe,				/* append */
	};
	struct buf buf = {0};
	(void)state;

	buf_u8(&buf, 0x01);
	buf_u16(&buf, 0x0203);
	buf_u32(&buf, 0x04050607);
	buf_u64(&buf, 0x08090a0b0c0d0e0f);
	buf_string(&buf, "hi");
	buf_string(&buf, NULL);
	buf_print(&buf, "n=%d", 42);
	buf_append(&buf, "\xff\x00\xfe", 3);
	assert_false(buf.failed);
	assert_int_equal(buf.len, sizeof(wanted));
	assert_memory_equal(buf.data, wanted, sizeof(wanted));
	buf_done(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.len + buf.cap, 0);
}

static void test_grows_and_keeps_what_is_there(void **state)
{
	struct buf buf = {0};
	(void)state;

	for (uint32_t i = 0; i < 10000; i++)
		buf_u32(&buf, i);
	assert_int_equal(buf.len, 40000);
	for (uint32_t i = 0; i < 10000; i++)
		assert_int_equal(buf.data[4 * i + 2] << 8 | buf.data[4 * i + 3], i);
	buf_done(&buf);
}

static void write_u8(struct buf *buf)
{
	buf_u8(buf, 1);
}

static void write_u64(struct buf *buf)
{
	buf_u64(buf, 1);
}

static void write_string(struct buf *buf)
{
	buf_string(buf, "12345678");
}

static void write_print(struct buf *buf)
{
	buf_print(buf, "%s", "12345678");
}

static void write_nothing(struct buf *buf)
{
	buf_append(buf, NULL, 0);
}

static void reserve_all(struct buf *buf)
{
	assert_null(buf_reserve(buf, SIZE_MAX));
}

static void test_limit(void **state)
{
	static const struct {
		const char *name;
		void (*write)(struct buf *);
		size_t limit, before;
		bool failed;
	} rows[] = {
		{"the last byte", write_u8, 10, 9, false},
		{"one too many", write_u8, 10, 10, true},
		{"eight fit", write_u64, 10, 2, false},
		{"eight do not", write_u64, 10, 3, true},
		{"a string fits with its length", write_string, 20, 10, false},
		{"a string does not", write_string, 20, 11, true},
		{"printed text fits", write_print, 20, 12, false},
		{"printed text does not", write_print, 20, 13, true},
		{"nothing always fits", write_nothing, 10, 10, false},
		{"the length overflows", reserve_all, 0, 1, true},
		{"far past the limit", reserve_all, 10, 0, true},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf buf = {.limit = rows[i].limit};

		for (size_t j = 0; j < rows[i].before; j++)
			buf_u8(&buf, 0);
		assert_false(buf.failed);
		rows[i].write(&buf);
		if (buf.failed != rows[i].failed)
			fail_msg("%s: failed is %d", rows[i].name, buf.failed);
		buf_done(&buf);
		assert_int_equal(buf.limit, rows[i].limit);
		assert_false(buf.failed);
	}
}

static void test_failed_stays_failed(void **state)
{
	struct buf buf = {.limit = 4};
	(void)state;

	buf_u16(&buf, 1);
	buf_u32(&buf, 1); /* too many */
	buf_u8(&buf, 1);  /* would fit */
	assert_true(buf.failed);
	assert_int_equal(buf.len, 2);
	buf_done(&buf);
}

static void test_string_longer_than_its_length_field(void **state)
{
	char *text = malloc(UINT16_MAX + 2);
	struct buf buf = {0};
	(void)state;

	memset(text, 'x', UINT16_MAX + 1);
	text[UINT16_MAX + 1] = '\0';
	buf_string(&buf, text);
	assert_true(buf.failed);
	buf_done(&buf);
	buf_string(&buf, text + 1);
	assert_false(buf.failed);
	assert_int_equal(buf.len, 2 + UINT16_MAX);
	buf_done(&buf);
	free(text);
}

static void test_consume(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *left;
	} rows[] = {
		{"abcdef", 0, "abcdef"}, {"abcdef", 2, "cdef"}, {"abcdef", 6, ""},
		{"abcdef", 7, ""},	 {"", 0, ""},		{"", 3, ""},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf buf = {0};

		buf_append(&buf, rows[i].text, strlen(rows[i].text));
		buf_consume(&buf, rows[i].len);
		assert_int_equal(buf.len, strlen(rows[i].left));
		if (buf.len)
			assert_memory_equal(buf.data, rows[i].left, buf.len);
		buf_done(&buf);
	}
}

static void test_reserve_then_count(void **state)
{
	struct buf buf = {.limit = 1000};
	uint8_t *room = buf_reserve(&buf, 1000);
	(void)state;

	assert_non_null(room);
	memset(room, 7, 1000);
	assert_int_equal(buf.len, 0);
	buf.len += 1000;
	assert_null(buf_reserve(&buf, 1));
	assert_true(buf.failed);
	buf_wipe(&buf);
	assert_null(buf.data);
	buf_wipe(&buf); /* of an empty one */
}

static void test_span_reads_what_was_written(void **state)
{
	struct buf buf = {0};
	struct span span;
	char text[8];
	(void)state;

	buf_u8(&buf, 0xf1);
	buf_u16(&buf, 0xf203);
	buf_u32(&buf, 0xf4050607);
	buf_u64(&buf, 0xf8090a0b0c0d0e0f);
	buf_string(&buf, "1234567");
	buf_append(&buf, "rest", 4);
	span = (struct span){buf.data, buf.len, false};
	assert_int_equal(span_u8(&span), 0xf1);
	assert_int_equal(span_u16(&span), 0xf203);
	assert_int_equal(span_u32(&span), 0xf4050607);
	assert_true(span_u64(&span) == 0xf8090a0b0c0d0e0f);
	span_string(&span, text, sizeof(text));
	assert_string_equal(text, "1234567");
	assert_memory_equal(span_bytes(&span, 4), "rest", 4);
	assert_false(span.failed);
	assert_int_equal(span.len, 0);
	assert_int_equal(span_u8(&span), 0);
	assert_true(span.failed);
	buf_done(&buf);
}

static void test_span_past_its_end(void **state)
{
	static const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	(void)state;

	for (size_t len = 0; len <= sizeof(bytes); len++) {
		struct span span = {bytes, len, false};

		span_u8(&span);
		assert_int_equal(span.failed, len < 1);
		span = (struct span){bytes, len, false};
		span_u16(&span);
		assert_int_equal(span.failed, len < 2);
		span = (struct span){bytes, len, false};
		span_u32(&span);
		assert_int_equal(span.failed, len < 4);
		span = (struct span){bytes, len, false};
		span_u64(&span);
		assert_int_equal(span.failed, len < 8);
		span = (struct span){bytes, len, false};
		assert_null(span_bytes(&span, len + 1));
		assert_null(span_bytes(&span, 0)); /* failed stays failed */
		assert_int_equal(span.len, len);
	}
}

static void test_span_string(void **state)
{
	static const struct {
		const char *name;
		size_t len;
		const uint8_t bytes[12];
		bool failed;
		const char *text;
	} rows[] = {
		{"plain", 5, {0, 3, 'a', 'b', 'c'}, false, "abc"},
		{"empty", 2, {0, 0}, false, ""},
		{"as long as there is room",
		 9,
		 {0, 7, '1', '2', '3', '4', '5', '6', '7'},
		 false,
		 "1234567"},
		{"too long", 10, {0, 8, '1', '2', '3', '4', '5', '6', '7', '8'}, true, ""},
		{"a zero inside", 5, {0, 3, 'a', 0, 'c'}, true, ""},
		{"a zero at its end", 5, {0, 3, 'a', 'b', 0}, true, ""},
		{"cut short", 4, {0, 3, 'a', 'b'}, true, ""},
		{"half a length", 1, {0}, true, ""},
		{"a length far past the end", 4, {0xff, 0xff, 'a', 'b'}, true, ""},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span span = {rows[i].bytes, rows[i].len, false};
		char text[8] = "before";

		span_string(&span, text, sizeof(text));
		if (span.failed != rows[i].failed || strcmp(text, rows[i].text) != 0)
			fail_msg("%s: failed is %d, text \"%s\"", rows[i].name, span.failed, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writes_big_endian),
		cmocka_unit_test(test_grows_and_keeps_what_is_there),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_failed_stays_failed),
		cmocka_unit_test(test_string_longer_than_its_length_field),
		cmocka_unit_test(test_consume),
		cmocka_unit_test(test_reserve_then_count),
		cmocka_unit_test(test_span_reads_what_was_written),
		cmocka_unit_test(test_span_past_its_end),
		cmocka_unit_test(test_span_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
