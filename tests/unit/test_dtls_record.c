#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "wire/dtls_record.h"

enum { V1_2 = 0xfefd, V1_0 = 0xfeff, GCM = DTLS_RECORD_AEAD_MIN };

static const char *const error_names[] = {
	[DTLS_RECORD_OK] = "ok",	 [DTLS_RECORD_SHORT] = "short",
	[DTLS_RECORD_TYPE] = "type",	 [DTLS_RECORD_VERSION] = "version",
	[DTLS_RECORD_EPOCH] = "epoch",	 [DTLS_RECORD_LENGTH] = "length",
	[DTLS_RECORD_REPLAY] = "replay",
};

/* One record as the row describes it; type 0 is none. */
struct record_spec {
	uint8_t type;
	uint16_t version, epoch;
	uint32_t sequence;
	uint16_t len; /* as the header says */
	int missing;  /* so many bytes fewer there are; negative: more */
};

static void add_record(struct buf *to, const struct record_spec *spec)
{
	if (!spec->type)
		return;
	buf_u8(to, spec->type);
	buf_u16(to, spec->version);
	buf_u16(to, spec->epoch);
	buf_u16(to, 0);
	buf_u32(to, spec->sequence);
	buf_u16(to, spec->len);
	for (int i = 0; i < spec->len - spec->missing; i++)
		buf_u8(to, 0x5a);
}

/* The bytes in a block of exactly their size. */
static uint8_t *copy_exact(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	return copy;
}

static const struct check_case {
	const char *name;
	struct record_spec first, second;
	enum dtls_record_error error;
} check_cases[] = {
	{"data", {23, V1_2, 1, 200, 100, 0}, {0}, DTLS_RECORD_OK},
	{"data of the least length", {23, V1_2, 1, 200, GCM, 0}, {0}, DTLS_RECORD_OK},
	{"data of the greatest length",
	 {23, V1_2, 1, 200, DTLS_RECORD_MAX, 0},
	 {0},
	 DTLS_RECORD_OK},
	{"alert", {21, V1_2, 1, 200, 26, 0}, {0}, DTLS_RECORD_OK},
	{"handshake", {22, V1_2, 0, 0, 40, 0}, {0}, DTLS_RECORD_OK},
	{"handshake that says 1.0", {22, V1_0, 0, 0, 40, 0}, {0}, DTLS_RECORD_OK},
	{"handshake in epoch 1", {22, V1_2, 1, 0, 40, 0}, {0}, DTLS_RECORD_OK},
	{"change cipher, then Finished",
	 {20, V1_2, 0, 3, 1, 0},
	 {22, V1_2, 1, 0, 40, 0},
	 DTLS_RECORD_OK},

	{"type 19", {19, V1_2, 1, 200, 100, 0}, {0}, DTLS_RECORD_TYPE},
	{"type 24", {24, V1_2, 1, 200, 100, 0}, {0}, DTLS_RECORD_TYPE},
	{"version 1.0 with data", {23, V1_0, 1, 200, 100, 0}, {0}, DTLS_RECORD_VERSION},
	{"version 1.0 in epoch 1", {22, V1_0, 1, 0, 100, 0}, {0}, DTLS_RECORD_VERSION},
	{"version 1.0 with change cipher", {20, V1_0, 0, 0, 1, 0}, {0}, DTLS_RECORD_VERSION},
	{"version of TLS", {23, 0x0303, 1, 200, 100, 0}, {0}, DTLS_RECORD_VERSION},
	{"version 1.3", {23, 0xfefc, 1, 200, 100, 0}, {0}, DTLS_RECORD_VERSION},
	{"longer than its datagram", {23, V1_2, 1, 200, 100, 1}, {0}, DTLS_RECORD_LENGTH},
	{"shorter than its datagram", {23, V1_2, 1, 200, 100, -1}, {0}, DTLS_RECORD_LENGTH},
	{"longer than a record is",
	 {23, V1_2, 1, 200, DTLS_RECORD_MAX + 1, 0},
	 {0},
	 DTLS_RECORD_LENGTH},
	{"data in epoch 0", {23, V1_2, 0, 200, 100, 0}, {0}, DTLS_RECORD_EPOCH},
	{"data in epoch 2", {23, V1_2, 2, 200, 100, 0}, {0}, DTLS_RECORD_EPOCH},
	{"alert in epoch 0", {21, V1_2, 0, 200, 2, 0}, {0}, DTLS_RECORD_EPOCH},
	{"handshake in epoch 2", {22, V1_2, 2, 0, 100, 0}, {0}, DTLS_RECORD_EPOCH},
	{"data below the least", {23, V1_2, 1, 200, GCM - 1, 0}, {0}, DTLS_RECORD_SHORT},
	{"data without bytes", {23, V1_2, 1, 200, 0, 0}, {0}, DTLS_RECORD_SHORT},
	{"alert below the least", {21, V1_2, 1, 200, 2, 0}, {0}, DTLS_RECORD_SHORT},
	{"Finished below the least", {22, V1_2, 1, 0, GCM - 1, 0}, {0}, DTLS_RECORD_SHORT},
	{"seen", {23, V1_2, 1, 99, 100, 0}, {0}, DTLS_RECORD_REPLAY},
	{"alert seen", {21, V1_2, 1, 99, 100, 0}, {0}, DTLS_RECORD_REPLAY},
	{"older than the window", {23, V1_2, 1, 3, 100, 0}, {0}, DTLS_RECORD_REPLAY},
	{"not seen, in the window", {23, V1_2, 1, 98, 100, 0}, {0}, DTLS_RECORD_OK},

	{"data behind data",
	 {23, V1_2, 1, 200, 100, 0},
	 {23, V1_2, 1, 201, 100, 0},
	 DTLS_RECORD_LENGTH},
	{"data behind a handshake",
	 {22, V1_2, 0, 0, 40, 0},
	 {23, V1_2, 1, 200, 100, 0},
	 DTLS_RECORD_EPOCH},
	{"alert behind a handshake",
	 {22, V1_2, 0, 0, 40, 0},
	 {21, V1_2, 0, 1, 2, 0},
	 DTLS_RECORD_EPOCH},
	{"short Finished behind a handshake",
	 {22, V1_2, 0, 0, 40, 0},
	 {22, V1_2, 1, 0, GCM - 1, 0},
	 DTLS_RECORD_SHORT},
	{"epoch 2 behind a handshake",
	 {22, V1_2, 0, 0, 40, 0},
	 {22, V1_2, 2, 0, 40, 0},
	 DTLS_RECORD_EPOCH},
	{"another type behind a handshake",
	 {22, V1_2, 0, 0, 40, 0},
	 {25, V1_2, 0, 0, 40, 0},
	 DTLS_RECORD_TYPE},
	{"a second record cut short",
	 {22, V1_2, 0, 0, 40, 0},
	 {22, V1_2, 0, 1, 40, 1},
	 DTLS_RECORD_LENGTH},
	{"a byte behind a handshake", {22, V1_2, 0, 0, 40, -1}, {0}, DTLS_RECORD_SHORT},
};

static void test_check(void **state)
{
	struct dtls_window window = {0};

	(void)state;
	dtls_window_mark(&window, 99);
	for (size_t i = 0; i < sizeof(check_cases) / sizeof(*check_cases); i++) {
		const struct check_case *row = &check_cases[i];
		struct dtls_record record = {.type = 77};
		struct buf made = {0};
		enum dtls_record_error error;
		uint8_t *datagram;

		add_record(&made, &row->first);
		add_record(&made, &row->second);
		datagram = copy_exact(made.data, made.len);
		error = dtls_record_check(datagram, made.len, GCM, &window, &record);
		if (error != row->error)
			fail_msg("%s: %s instead of %s", row->name, error_names[error],
				 error_names[row->error]);
		if (error && record.type != 77)
			fail_msg("%s: the record was touched", row->name);
		if (!error && (record.type != row->first.type || record.len != row->first.len ||
			       record.sequence != row->first.sequence))
			fail_msg("%s: another record was read", row->name);
		free(datagram);
		buf_done(&made);
	}
}

static void test_chacha_least(void **state)
{
	struct record_spec spec = {23, V1_2, 1, 5, DTLS_RECORD_AEAD_MIN_CHACHA, 0};
	struct dtls_window window = {0};
	struct dtls_record record;
	struct buf made = {0};

	(void)state;
	add_record(&made, &spec);
	assert_int_equal(dtls_record_check(made.data, made.len, DTLS_RECORD_AEAD_MIN_CHACHA,
					   &window, &record),
			 DTLS_RECORD_OK);
	assert_int_equal(dtls_record_check(made.data, made.len, GCM, &window, &record),
			 DTLS_RECORD_SHORT);
	buf_done(&made);
}

/* A datagram cut at any byte: too short for a header, or for what the header says. */
static void test_check_cut_anywhere(void **state)
{
	struct record_spec spec = {23, V1_2, 1, 5, 60, 0};
	struct dtls_window window = {0};
	struct dtls_record record;
	struct buf made = {0};

	(void)state;
	add_record(&made, &spec);
	for (size_t len = 0; len < made.len; len++) {
		uint8_t *datagram = copy_exact(made.data, len);

		assert_int_equal(dtls_record_check(datagram, len, GCM, &window, &record),
				 len < DTLS_RECORD_HEADER ? DTLS_RECORD_SHORT : DTLS_RECORD_LENGTH);
		free(datagram);
	}
	buf_done(&made);
}

static void test_sequence_has_48_bits(void **state)
{
	static const uint8_t bytes[] = {23, 0xfe, 0xfd, 0, 1, 1, 2, 3, 4, 5, 6, 0, 0};
	struct dtls_record record;

	(void)state;
	assert_int_equal(dtls_record_read(bytes, sizeof(bytes), &record), DTLS_RECORD_OK);
	assert_true(record.sequence == UINT64_C(0x010203040506));
	assert_int_equal(record.epoch, 1);
	assert_int_equal(record.len, 0);
}

/* ---- the window ---- */

#define TOP ((UINT64_C(1) << 48) - 1)

static const struct window_case {
	const char *name;
	uint64_t marks[4];
	size_t count;
	uint64_t sequence;
	bool fresh;
} window_cases[] = {
	{"nothing yet, 0", {0}, 0, 0, true},
	{"nothing yet, a late one", {0}, 0, 1000, true},
	{"0 again", {0}, 1, 0, false},
	{"1 after 0", {0}, 1, 1, true},
	{"0 after 1", {1}, 1, 0, true},
	{"0 after 0 and 1", {0, 1}, 2, 0, false},
	{"0 after 63: the oldest that can be told", {63}, 1, 0, true},
	{"0 again after 63", {0, 63}, 2, 0, false},
	{"0 after 64: too old", {64}, 1, 0, false},
	{"1 after 64", {64}, 1, 1, true},
	{"1 again after 64", {1, 64}, 2, 1, false},
	{"1 after 65: too old", {65}, 1, 1, false},
	{"2 after 65", {65}, 1, 2, true},
	{"65 after 65", {65}, 1, 65, false},
	{"a step of 63 keeps the last one", {10, 73}, 2, 10, false},
	{"a step of 64 forgets it", {10, 74}, 2, 11, true},
	{"after a step of 64 it is too old", {10, 74}, 2, 10, false},
	{"after a step of 65 too", {10, 75}, 2, 10, false},
	{"nothing is left after a big step", {10, 1000}, 2, 999, true},
	{"an old one does not move the window", {100, 90}, 2, 37, true},
	{"an old one is marked", {100, 90}, 2, 90, false},
	{"marking one too old changes nothing", {100, 36, 37}, 3, 38, true},
	{"marking one too old marks no other", {100, 35}, 2, 99, true},
	{"out of order", {5, 3, 4}, 3, 4, false},
	{"out of order, the missing one", {5, 3}, 2, 4, true},
	{"the last there is", {TOP - 1}, 1, TOP, true},
	{"the last again", {TOP}, 1, TOP, false},
	{"the first after the last", {TOP}, 1, 0, false},
	{"64 before the last", {TOP}, 1, TOP - 64, false},
	{"63 before the last", {TOP}, 1, TOP - 63, true},
};

static void test_window(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(window_cases) / sizeof(*window_cases); i++) {
		const struct window_case *row = &window_cases[i];
		struct dtls_window window = {0};

		for (size_t k = 0; k < row->count; k++)
			dtls_window_mark(&window, row->marks[k]);
		if (dtls_window_fresh(&window, row->sequence) != row->fresh)
			fail_msg("%s: %sfresh", row->name, row->fresh ? "not " : "");
	}
}

/* Against a table that remembers everything. */
static void test_window_at_random(void **state)
{
	enum { RANGE = 400, STEPS = 20000 };
	bool seen[RANGE] = {false};
	struct dtls_window window = {0};
	uint32_t random = 1;
	int newest = -1, base = 0;

	(void)state;
	for (int i = 0; i < STEPS; i++) {
		int sequence;
		bool fresh;

		random = random * 1103515245 + 12345;
		sequence = base + (int)(random >> 16) % 80;
		if (sequence >= RANGE)
			break;
		fresh = sequence > newest || (newest - sequence < 64 && !seen[sequence]);
		assert_int_equal(dtls_window_fresh(&window, (uint64_t)sequence), fresh);
		dtls_window_mark(&window, (uint64_t)sequence);
		seen[sequence] = true;
		newest = sequence > newest ? sequence : newest;
		base += i % 50 == 0;
	}
	assert_true(newest > 300);
}

/* ---- the hello ---- */

struct hello_spec {
	unsigned id_len, cookie_len;
	uint8_t record_type, message_type;
	uint16_t epoch, version;
	int body_more;	    /* the message says so much more than it has */
	uint32_t offset;    /* of the fragment */
	int fragment_fewer; /* the fragment says so much less than the message */
};

static void put24(struct buf *to, uint32_t value)
{
	buf_u8(to, (uint8_t)(value >> 16));
	buf_u16(to, (uint16_t)value);
}

static void put_run(struct buf *to, uint8_t byte, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_u8(to, byte);
}

static struct buf make_hello(const struct hello_spec *spec)
{
	uint32_t body = 2 + 32 + 1 + spec->id_len + 1 + spec->cookie_len + 4 + 2;
	uint32_t said = body + (uint32_t)spec->body_more;
	struct buf hello = {0};

	buf_u8(&hello, spec->record_type ? spec->record_type : 22);
	buf_u16(&hello, spec->version ? spec->version : V1_0);
	buf_u16(&hello, spec->epoch);
	buf_u16(&hello, 0);
	buf_u32(&hello, 0);
	buf_u16(&hello, (uint16_t)(12 + body));
	buf_u8(&hello, spec->message_type ? spec->message_type : 1);
	put24(&hello, said);
	buf_u16(&hello, 0);
	put24(&hello, spec->offset);
	put24(&hello, said - (uint32_t)spec->fragment_fewer);
	buf_u16(&hello, V1_2);
	put_run(&hello, 0x11, 32);
	buf_u8(&hello, (uint8_t)spec->id_len);
	put_run(&hello, 0x22, spec->id_len);
	buf_u8(&hello, (uint8_t)spec->cookie_len);
	put_run(&hello, 0x33, spec->cookie_len);
	buf_u16(&hello, 2);
	buf_u16(&hello, 0x00a9);
	buf_u16(&hello, 0x0100);
	return hello;
}

static const struct hello_case {
	const char *name;
	struct hello_spec spec;
	bool ok;
} hello_cases[] = {
	{"id of 32 bytes", {.id_len = 32}, true},
	{"with a cookie", {.id_len = 32, .cookie_len = 32}, true},
	{"record of version 1.2", {.id_len = 32, .version = V1_2}, true},
	{"id of 31 bytes", {.id_len = 31, .cookie_len = 32}, false},
	{"id of 33 bytes", {.id_len = 33}, false},
	{"no id", {.id_len = 0, .cookie_len = 64}, false},
	{"another message", {.id_len = 32, .message_type = 2}, false},
	{"another record", {.id_len = 32, .record_type = 23, .version = V1_2}, false},
	{"epoch 1", {.id_len = 32, .version = V1_2, .epoch = 1}, false},
	{"longer than its record", {.id_len = 32, .body_more = 1}, false},
	{"shorter than its record", {.id_len = 32, .body_more = -1}, false},
	{"first fragment", {.id_len = 32, .fragment_fewer = 1}, false},
	{"later fragment", {.id_len = 32, .offset = 1}, false},
};

static void test_hello(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(hello_cases) / sizeof(*hello_cases); i++) {
		const struct hello_case *row = &hello_cases[i];
		struct buf hello = make_hello(&row->spec);
		uint8_t *datagram = copy_exact(hello.data, hello.len);
		const uint8_t *id = NULL;
		bool ok = dtls_record_hello(datagram, hello.len, &id);

		if (ok != row->ok)
			fail_msg("%s: %d", row->name, ok);
		if (ok)
			assert_ptr_equal(id, datagram + 13 + 12 + 2 + 32 + 1);
		if (ok && (id[0] != 0x22 || id[31] != 0x22))
			fail_msg("%s: other bytes", row->name);
		free(datagram);
		buf_done(&hello);
	}
}

static void test_hello_cut_anywhere(void **state)
{
	struct hello_spec spec = {.id_len = 32};
	struct buf hello = make_hello(&spec);
	const uint8_t *id;

	(void)state;
	for (size_t len = 0; len < hello.len; len++) {
		uint8_t *datagram = copy_exact(hello.data, len);

		assert_false(dtls_record_hello(datagram, len, &id));
		/* And with a record that ends there. */
		if (len >= DTLS_RECORD_HEADER) {
			datagram[11] = (uint8_t)((len - DTLS_RECORD_HEADER) >> 8);
			datagram[12] = (uint8_t)(len - DTLS_RECORD_HEADER);
			assert_false(dtls_record_hello(datagram, len, &id));
		}
		free(datagram);
	}
	buf_done(&hello);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_chacha_least),
		cmocka_unit_test(test_check_cut_anywhere),
		cmocka_unit_test(test_sequence_has_48_bits),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_window_at_random),
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_hello_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
