/* data/backlog: who shakes hands waits, and how long beside others. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/backlog.h"

static unsigned put(struct backlog *backlog, const char *from, uint8_t mark, size_t len)
{
	static uint8_t datagram[UDP_DATAGRAM_MAX];
	struct udp_path path = {0};

	assert_true(addr_endpoint_parse(from, 4433, &path.peer));
	memset(datagram, mark, len);
	return backlog_put(backlog, &path, mark, datagram, len);
}

/* The mark of the next one, -1 when there is none. */
static int take(struct backlog *backlog)
{
	struct backlog_datagram *next = backlog_take(backlog);
	int mark;

	if (!next)
		return -1;
	mark = next->bytes[0];
	assert_int_equal(next->socket, mark);
	assert_int_equal(next->bytes[next->len - 1], mark);
	free(next);
	return mark;
}

/* One that comes with one is behind one of those that come with many, wherever it stands. */
static void test_turns(void **state)
{
	struct backlog backlog = {0};
	int at = 0, last = 0, mark;

	(void)state;
	for (uint8_t i = 1; i <= 100; i++)
		assert_int_equal(put(&backlog, i % 2 ? "192.0.2.1:1" : "192.0.2.1:2", i, i), 0);
	assert_int_equal(put(&backlog, "192.0.2.2", 200, 50), 0);
	assert_int_equal(put(&backlog, "[2001:db8::1]", 201, 50), 0);
	for (int taken = 0; (mark = take(&backlog)) >= 0; taken++) {
		at = mark >= 200 ? taken : at;
		assert_true(mark >= 200 || mark == last + 1);
		last = mark >= 200 ? last : mark;
	}
	assert_int_equal(last, 100);
	assert_true(at <= 3);
	assert_int_equal(backlog.bytes, 0);
	backlog_done(&backlog);
}

/* A host has all addresses of its IPv6 network, and still one line; it loses what is its own. */
static void test_longest_line_loses(void **state)
{
	struct backlog backlog = {0};
	unsigned lost = 0, several;
	int kept = 0, mark;
	char from[64];

	(void)state;
	assert_int_equal(put(&backlog, "192.0.2.2", 7, 200), 0);
	assert_int_equal(put(&backlog, "[2001:db8:9::1]", 5, 200), 0);
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(from, sizeof(from), "[2001:db8::%x]", i);
		lost += put(&backlog, from, (uint8_t)(i < 100 ? 1 : 2), 200);
		assert_true(backlog.bytes <= BACKLOG_BYTES);
	}
	assert_int_equal(put(&backlog, "192.0.2.2", 8, 200), 1);
	several = put(&backlog, "192.0.2.3", 9, UDP_DATAGRAM_MAX);
	assert_true(several > 1);
	lost += 1 + several;
	while ((mark = take(&backlog)) >= 0) {
		assert_int_not_equal(mark, 1); /* the oldest */
		kept += mark == 2 ? 1 : 10000;
	}
	assert_int_equal(kept, 40000 + 10000 - (int)lost);
	backlog_done(&backlog);
}

/* What nobody takes is freed: the sanitizer sees to that. */
static void test_done(void **state)
{
	struct backlog backlog = {0};

	(void)state;
	put(&backlog, "192.0.2.1", 1, 10);
	put(&backlog, "192.0.2.9", 1, 10);
	backlog_done(&backlog);
	assert_int_equal(take(&backlog), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_longest_line_loses),
		cmocka_unit_test(test_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
