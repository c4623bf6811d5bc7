#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "wire/parent_msg.h"

static uint8_t *copy_exact(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	return copy;
}

static bool read_exact(const struct buf *packet, size_t len, struct parent_msg_request *ret)
{
	uint8_t *copy = copy_exact(packet->data, len);
	bool ok = parent_msg_read_request(copy, len, ret);

	free(copy);
	return ok;
}

static void add(struct prefix_list *list, const char *text)
{
	struct prefix prefix;

	assert_true(prefix_parse_host(text, &prefix));
	prefix_list_add(list, &prefix);
}

static void add_many(struct prefix_list *list, size_t count)
{
	struct addr first;

	assert_true(addr_parse("10.0.0.0", &first));
	for (size_t i = 0; i < count; i++) {
		struct addr addr = addr_add(&first, i);
		struct prefix prefix = prefix_host(&addr);

		prefix_list_add(list, &prefix);
	}
}

static void add_domains(struct parent_msg_network *network, size_t count, const char *name)
{
	network->domains = xnew_array(char *, count + 1);
	while (network->domain_count < count)
		network->domains[network->domain_count++] = xalloc_string(name);
}

static struct parent_msg_request make_network(void)
{
	struct parent_msg_request request = {.id = 0xfedcba98, .kind = PARENT_MSG_NETWORK};
	struct parent_msg_network *network = &request.network;

	network->mtu = 1400;
	add(&network->addresses, "10.99.0.7/16");
	add(&network->addresses, "fd00::7/64");
	add(&network->routes, "0.0.0.0/1");
	add(&network->routes, "fd10::/32");
	add(&network->routes, "::/0");
	assert_true(addr_parse("10.99.0.7", &network->source4));
	add(&network->dns, "10.0.0.53/32");
	add_domains(network, 2, "corp.example");
	network->is_site = true;
	return request;
}

static void assert_same_lists(const struct prefix_list *a, const struct prefix_list *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++)
		assert_true(prefix_equal(&a->items[i], &b->items[i]));
}

static void test_network_round_trip(void **state)
{
	struct parent_msg_request request = make_network(), got;
	struct buf packet = {.limit = PARENT_MSG_MAX};

	(void)state;
	parent_msg_write_request(&packet, &request);
	assert_true(read_exact(&packet, packet.len, &got));
	assert_int_equal(got.id, request.id);
	assert_int_equal(got.kind, PARENT_MSG_NETWORK);
	assert_int_equal(got.network.mtu, 1400);
	assert_same_lists(&got.network.addresses, &request.network.addresses);
	assert_same_lists(&got.network.routes, &request.network.routes);
	assert_same_lists(&got.network.dns, &request.network.dns);
	assert_true(addr_equal(&got.network.source4, &request.network.source4));
	assert_int_equal(got.network.source6.family, 0);
	assert_int_equal(got.network.domain_count, 2);
	assert_string_equal(got.network.domains[1], "corp.example");
	assert_true(got.network.is_site);
	parent_msg_network_done(&got.network);
	parent_msg_network_done(&request.network);
	buf_done(&packet);
}

/* Missing bytes, and one too many. */
static void test_network_cut_anywhere(void **state)
{
	struct parent_msg_request request = make_network(), got;
	struct buf packet = {0};

	(void)state;
	parent_msg_write_request(&packet, &request);
	for (size_t len = 0; len < packet.len; len++) {
		if (read_exact(&packet, len, &got))
			fail_msg("%zu of %zu bytes were enough", len, packet.len);
		parent_msg_network_done(&got.network);
	}
	buf_u8(&packet, 0);
	assert_false(read_exact(&packet, packet.len, &got));
	parent_msg_network_done(&got.network);
	parent_msg_network_done(&request.network);
	buf_done(&packet);
}

static void test_sockets(void **state)
{
	static const struct {
		uint8_t bytes[7];
		size_t len;
		bool ok;
	} rows[] = {
		{{0, 0, 0, 9, 1, 4}, 6, true},	   {{0, 0, 0, 9, 1, 6}, 6, true},
		{{0, 0, 0, 9, 1, 5}, 6, false},	   {{0, 0, 0, 9, 1, 0}, 6, false},
		{{0, 0, 0, 9, 1}, 5, false},	   {{0, 0, 0, 9}, 4, false},
		{{0, 0, 0, 9, 1, 4, 0}, 7, false}, {{0, 0, 0, 9, 0, 4}, 6, false},
		{{0, 0, 0, 9, 3, 4}, 6, false},	   {{0}, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct parent_msg_request got;

		if (parent_msg_read_request(rows[i].bytes, rows[i].len, &got) != rows[i].ok)
			fail_msg("row %zu", i);
		if (rows[i].ok) {
			struct buf packet = {0};

			assert_int_equal(got.id, 9);
			parent_msg_write_request(&packet, &got);
			assert_int_equal(packet.len, rows[i].len);
			assert_memory_equal(packet.data, rows[i].bytes, packet.len);
			buf_done(&packet);
		}
		parent_msg_network_done(&got.network);
	}
}

/* Who asks for a reload names nothing: what is read is the parent's business. */
static void test_reload(void **state)
{
	static const struct {
		const char *name;
		uint8_t bytes[10];
		size_t len;
		bool ok;
	} rows[] = {
		{"reload", {0, 0, 0, 9, 3}, 5, true},
		{"reload of something", {0, 0, 0, 9, 3, 0, 1, '/'}, 8, false},
		{"adopt", {0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xfe}, 9, true},
		{"adopt, cut", {0, 0, 0, 0, 4, 0, 0, 1}, 8, false},
		{"adopt, and more", {0, 0, 0, 0, 4, 0, 0, 1, 0, 0}, 10, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct parent_msg_request got;
		struct buf packet = {0};

		if (parent_msg_read_request(rows[i].bytes, rows[i].len, &got) != rows[i].ok)
			fail_msg("%s", rows[i].name);
		parent_msg_write_request(&packet, &got);
		if (rows[i].ok)
			assert_memory_equal(packet.data, rows[i].bytes, rows[i].len);
		if (rows[i].ok && got.kind == PARENT_MSG_ADOPT)
			assert_int_equal(got.generation, 0xfffffffe);
		parent_msg_network_done(&got.network);
		buf_done(&packet);
	}
}

/* ---- routes and forwarding ---- */

static void test_routes(void **state)
{
	static const size_t counts[] = {0, 1, PARENT_MSG_ROUTES_MAX, PARENT_MSG_ROUTES_MAX + 1};

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		struct parent_msg_request request = {.id = 5, .kind = PARENT_MSG_ROUTES}, got;
		struct buf packet = {.limit = PARENT_MSG_MAX};
		bool ok;

		add_many(&request.network.routes, counts[i]);
		parent_msg_write_request(&packet, &request);
		assert_false(packet.failed);
		ok = read_exact(&packet, packet.len, &got);
		assert_int_equal(ok, counts[i] <= PARENT_MSG_ROUTES_MAX);
		if (ok)
			assert_same_lists(&got.network.routes, &request.network.routes);
		parent_msg_network_done(&got.network);
		if (counts[i] == 1) {
			assert_false(read_exact(&packet, packet.len - 1, &got));
			parent_msg_network_done(&got.network);
		}
		parent_msg_network_done(&request.network);
		buf_done(&packet);
	}
}

static void test_forwarding(void **state)
{
	static const struct {
		uint8_t bytes[7];
		size_t len;
		bool ok;
	} rows[] = {
		{{0, 0, 0, 9, 6, 1}, 6, true},	   {{0, 0, 0, 9, 6, 2}, 6, true},
		{{0, 0, 0, 9, 6, 3}, 6, true},	   {{0, 0, 0, 9, 6, 0}, 6, false},
		{{0, 0, 0, 9, 6, 4}, 6, false},	   {{0, 0, 0, 9, 6}, 5, false},
		{{0, 0, 0, 9, 6, 1, 0}, 7, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct parent_msg_request got;

		if (parent_msg_read_request(rows[i].bytes, rows[i].len, &got) != rows[i].ok)
			fail_msg("row %zu", i);
		if (rows[i].ok)
			assert_int_equal(got.families, rows[i].bytes[5]);
		parent_msg_network_done(&got.network);
	}
}

static const struct limit_case {
	const char *name;
	size_t addresses, routes, dns, domains;
	bool ok;
} limit_cases[] = {
	{"nothing", 0, 0, 0, 0, true},
	{"all that may be", PARENT_MSG_ADDRESSES_MAX, PARENT_MSG_ROUTES_MAX, PARENT_MSG_DNS_MAX,
	 PARENT_MSG_DOMAINS_MAX, true},
	{"addresses", PARENT_MSG_ADDRESSES_MAX + 1, 0, 0, 0, false},
	{"routes", 0, PARENT_MSG_ROUTES_MAX + 1, 0, 0, false},
	{"dns", 0, 0, PARENT_MSG_DNS_MAX + 1, 0, false},
	{"domains", 0, 0, 0, PARENT_MSG_DOMAINS_MAX + 1, false},
};

/* Names of the greatest length: what may be asked for fits a packet. */
static void test_limits(void **state)
{
	char name[256];

	(void)state;
	memset(name, 'a', 255);
	name[255] = '\0';
	for (size_t i = 0; i < sizeof(limit_cases) / sizeof(*limit_cases); i++) {
		const struct limit_case *row = &limit_cases[i];
		struct parent_msg_request request = {.kind = PARENT_MSG_NETWORK}, got;
		struct buf packet = {.limit = PARENT_MSG_MAX};

		add_many(&request.network.addresses, row->addresses);
		add_many(&request.network.routes, row->routes);
		add_many(&request.network.dns, row->dns);
		add_domains(&request.network, row->domains, name);
		parent_msg_write_request(&packet, &request);
		assert_false(packet.failed);
		if (read_exact(&packet, packet.len, &got) != row->ok)
			fail_msg("%s: %d", row->name, !row->ok);
		parent_msg_network_done(&got.network);
		parent_msg_network_done(&request.network);
		buf_done(&packet);
	}
}

/* The first address of a network at this place: id, kind, mtu, number, family, 16 bytes, length. */
enum { FAMILY_AT = 9, LENGTH_AT = 26 };

static const struct byte_case {
	const char *name;
	size_t at;
	uint8_t value;
	bool ok;
} byte_cases[] = {
	{"as it was", FAMILY_AT, 4, true},     {"an address without family", FAMILY_AT, 0, false},
	{"family 5", FAMILY_AT, 5, false},     {"/32", LENGTH_AT, 32, true},
	{"/33 of IPv4", LENGTH_AT, 33, false}, {"/0", LENGTH_AT, 0, true},
};

static void test_prefixes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(byte_cases) / sizeof(*byte_cases); i++) {
		const struct byte_case *row = &byte_cases[i];
		struct parent_msg_request request = make_network(), got;
		struct buf packet = {0};

		parent_msg_write_request(&packet, &request);
		assert_int_equal(packet.data[FAMILY_AT], 4);
		assert_int_equal(packet.data[LENGTH_AT], 16);
		packet.data[row->at] = row->value;
		if (read_exact(&packet, packet.len, &got) != row->ok)
			fail_msg("%s: %d", row->name, !row->ok);
		parent_msg_network_done(&got.network);
		parent_msg_network_done(&request.network);
		buf_done(&packet);
	}
}

static void test_domain_too_long(void **state)
{
	struct parent_msg_request request = {.kind = PARENT_MSG_NETWORK}, got;
	struct buf packet = {0};
	char name[257];

	(void)state;
	memset(name, 'a', 256);
	name[256] = '\0';
	add_domains(&request.network, 1, name);
	parent_msg_write_request(&packet, &request);
	assert_false(read_exact(&packet, packet.len, &got));
	parent_msg_network_done(&got.network);
	parent_msg_network_done(&request.network);
	buf_done(&packet);
}

static void test_replies(void **state)
{
	struct parent_msg_reply reply = {.id = 7, .error = 13, .text = "no"}, got = {.id = 1};
	struct buf packet = {0};

	(void)state;
	memset(reply.text, 'x', PARENT_MSG_TEXT - 1);
	parent_msg_write_reply(&packet, &reply);
	for (size_t len = 0; len < packet.len; len++) {
		uint8_t *copy = copy_exact(packet.data, len);

		assert_false(parent_msg_read_reply(copy, len, &got));
		free(copy);
	}
	assert_int_equal(got.id, 1);
	assert_true(parent_msg_read_reply(packet.data, packet.len, &got));
	assert_int_equal(got.id, 7);
	assert_int_equal(got.error, 13);
	assert_string_equal(got.text, reply.text);
	buf_u8(&packet, 'x');
	assert_false(parent_msg_read_reply(packet.data, packet.len, &got));
	/* One byte more than there is room for, and a zero in the text. */
	packet.data[8] = PARENT_MSG_TEXT >> 8;
	packet.data[9] = PARENT_MSG_TEXT & 255;
	assert_false(parent_msg_read_reply(packet.data, packet.len, &got));
	buf_done(&packet);
	assert_false(parent_msg_read_reply((const uint8_t *)"\0\0\0\1\0\0\0\2\0\2a\0", 12, &got));
	assert_true(parent_msg_read_reply((const uint8_t *)"\0\0\0\1\0\0\0\2\0\2ab", 12, &got));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_network_round_trip),
		cmocka_unit_test(test_network_cut_anywhere),
		cmocka_unit_test(test_sockets),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_forwarding),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_domain_too_long),
		cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
