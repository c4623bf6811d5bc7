/* wire/fetch_msg: names in, addresses out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "wire/fetch_msg.h"

static const struct {
	const char *host;
	size_t extra; /* letters more, to pass the limit */
	bool is_one;
} hosts[] = {
	{"vpn.corp.example", 0, true},
	{"localhost", 0, true},
	{"_sip-1.Corp.EXAMPLE.", 0, true},
	{"192.0.2.1", 0, true},
	{"2001:db8::1", 0, true},
	{"fe80::1%eth0", 0, true},
	{"", 0, false},
	{"two words", 0, false},
	{"line\n", 0, false},
	{"tab\t", 0, false},
	{"slash/", 0, false},
	{"[::1]", 0, false},
	{"caf\xc3\xa9", 0, false},
	{"x", 252, true},
	{"x", 253, false},
};

/* The packet by hand, as a peer would that checks nothing. */
static size_t make_request(const char *host, size_t extra, uint8_t packet[static FETCH_MSG_MAX])
{
	size_t len = strlen(host);

	memcpy(packet, (uint8_t[]){1, 2, 3, 4}, 4);
	packet[4] = (uint8_t)((len + extra) >> 8);
	packet[5] = (uint8_t)(len + extra);
	memcpy(packet + 6, host, len);
	memset(packet + 6 + len, 'a', extra);
	return 6 + len + extra;
}

static void a_request_names_a_host(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		uint8_t packet[FETCH_MSG_MAX], written[FETCH_MSG_MAX];
		size_t len = make_request(hosts[i].host, hosts[i].extra, packet);
		struct fetch_msg_request request;
		bool is_one = fetch_msg_request_read(packet, len, &request);

		if (is_one != hosts[i].is_one)
			fail_msg("%s", hosts[i].host);
		if (!is_one) {
			struct fetch_msg_request bad = {.id = 1};

			snprintf(bad.host, sizeof(bad.host), "%s", hosts[i].host);
			if (!hosts[i].extra)
				assert_int_equal(fetch_msg_request_write(&bad, written), 0);
			continue;
		}
		assert_int_equal(request.id, 0x01020304);
		assert_int_equal(strlen(request.host), strlen(hosts[i].host) + hosts[i].extra);
		assert_int_equal(fetch_msg_request_write(&request, written), len);
		assert_memory_equal(written, packet, len);
		assert_false(fetch_msg_request_read(packet, len - 1, &request));
		assert_false(fetch_msg_request_read(packet, len + 1, &request));
	}
}

static void a_zero_in_a_name_is_refused(void **state)
{
	uint8_t packet[FETCH_MSG_MAX];
	size_t len = make_request("good.example", 0, packet);
	struct fetch_msg_request request;

	(void)state;
	packet[10] = 0;
	assert_false(fetch_msg_request_read(packet, len, &request));
	memset(request.host, 'x', sizeof(request.host));
	assert_int_equal(fetch_msg_request_write(&request, packet), 0);
}

static struct addr address(const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, &addr));
	return addr;
}

static void addresses_come_back_in_order(void **state)
{
	struct fetch_msg_reply sent = {.id = 9, .count = FETCH_MSG_ADDRESSES_MAX}, got;
	uint8_t packet[FETCH_MSG_MAX];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sent.count; i++)
		sent.addresses[i] = address(i % 2 ? "2001:db8::5" : "192.0.2.7");
	len = fetch_msg_reply_write(&sent, packet);
	assert_int_equal(len, 4 + 2 + 1 + 8 * 5 + 8 * 17);
	assert_true(fetch_msg_reply_read(packet, len, &got));
	assert_int_equal(got.id, 9);
	assert_string_equal(got.error, "");
	assert_int_equal(got.count, sent.count);
	for (size_t i = 0; i < sent.count; i++)
		assert_true(addr_equal(&got.addresses[i], &sent.addresses[i]));
	for (size_t cut = 0; cut < len; cut++)
		assert_false(fetch_msg_reply_read(packet, cut, &got));
	assert_false(fetch_msg_reply_read(packet, len + 1, &got));
}

static void an_error_comes_back(void **state)
{
	struct fetch_msg_reply sent = {.id = 9, .error = "Name or service not known"}, got;
	uint8_t packet[FETCH_MSG_MAX];
	size_t len = fetch_msg_reply_write(&sent, packet);

	(void)state;
	assert_true(fetch_msg_reply_read(packet, len, &got));
	assert_string_equal(got.error, sent.error);
	assert_int_equal(got.count, 0);
}

static const struct {
	const char *name;
	uint8_t packet[400];
	size_t len;
	bool is_one;
} replies[] = {
	{"one address", {0, 0, 0, 1, 0, 0, 1, 4, 192, 0, 2, 1}, 12, true},
	{"an error", {0, 0, 0, 1, 0, 2, 'n', 'o', 0}, 9, true},
	{"neither", {0, 0, 0, 1, 0, 0, 0}, 7, false},
	{"both", {0, 0, 0, 1, 0, 2, 'n', 'o', 1, 4, 192, 0, 2, 1}, 14, false},
	{"family 5", {0, 0, 0, 1, 0, 0, 1, 5, 192, 0, 2, 1}, 12, false},
	{"family 0", {0, 0, 0, 1, 0, 0, 1, 0, 192, 0, 2, 1}, 12, false},
	{"family 6 with 4 bytes", {0, 0, 0, 1, 0, 0, 1, 6, 192, 0, 2, 1}, 12, false},
	{"a line break in the error", {0, 0, 0, 1, 0, 2, 'n', '\n', 0}, 9, false},
	{"an escape in the error", {0, 0, 0, 1, 0, 2, 'n', 27, 0}, 9, false},
	{"not ASCII in the error", {0, 0, 0, 1, 0, 2, 'n', 0xe9, 0}, 9, false},
	{"a zero in the error", {0, 0, 0, 1, 0, 2, 'n', 0, 0}, 9, false},
	{"17 addresses", {0, 0, 0, 1, 0, 0, 17}, 7, false},
};

static void replies_are_held_to_their_form(void **state)
{
	struct fetch_msg_reply reply;

	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		if (fetch_msg_reply_read(replies[i].packet, replies[i].len, &reply) !=
		    replies[i].is_one)
			fail_msg("%s", replies[i].name);
	}
}

/* Seventeen addresses that are all there: only the limit refuses them. */
static void there_are_sixteen_addresses_at_most(void **state)
{
	uint8_t packet[FETCH_MSG_MAX] = {0, 0, 0, 1, 0, 0, 17};
	struct fetch_msg_reply reply = {.count = 17};

	(void)state;
	for (size_t i = 0; i < 17; i++)
		packet[7 + 5 * i] = 4;
	assert_false(fetch_msg_reply_read(packet, 7 + 5 * 17, &reply));
	packet[6] = 16;
	assert_true(fetch_msg_reply_read(packet, 7 + 5 * 16, &reply));
	reply.count = 17;
	assert_int_equal(fetch_msg_reply_write(&reply, packet), 0);
}

static void what_would_not_be_read_is_not_written(void **state)
{
	uint8_t packet[FETCH_MSG_MAX];
	struct fetch_msg_reply reply = {.error = "two\nlines"};

	(void)state;
	assert_int_equal(fetch_msg_reply_write(&reply, packet), 0);
	reply = (struct fetch_msg_reply){.count = 0};
	assert_int_equal(fetch_msg_reply_write(&reply, packet), 0);
	reply = (struct fetch_msg_reply){.count = 1, .addresses = {{.family = 5}}};
	assert_int_equal(fetch_msg_reply_write(&reply, packet), 0);
	memset(reply.error, 'x', sizeof(reply.error));
	reply.count = 0;
	assert_int_equal(fetch_msg_reply_write(&reply, packet), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_names_a_host),
		cmocka_unit_test(a_zero_in_a_name_is_refused),
		cmocka_unit_test(addresses_come_back_in_order),
		cmocka_unit_test(an_error_comes_back),
		cmocka_unit_test(replies_are_held_to_their_form),
		cmocka_unit_test(there_are_sixteen_addresses_at_most),
		cmocka_unit_test(what_would_not_be_read_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
