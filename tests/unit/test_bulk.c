#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "data/bulk.h"
#include "rig.h"
#include "wire/ip.h"

#define OTHER "10.50.0.11"

/* A packet as TUN gives it. super: of several segments. */
struct given {
	const char *name, *source;
	uint16_t port; /* the source's */
	uint8_t protocol;
	bool super, fragment, waits;
};

static size_t make(const struct given *given, struct bulk_packet *room)
{
	size_t len =
		given->protocol == IP_PROTO_TCP
			? rig_tcp_packet(given->source, RIG_DEVICE, 0x10, 0, 1, 800, room->bytes)
			: rig_udp_packet(given->source, RIG_DEVICE, 800, room->bytes);

	ip_put16(room->bytes + 20, given->port);
	if (given->fragment)
		ip_put16(room->bytes + 6, 100);
	room->header = (struct tun_header){
		.gso_type = given->super ? TUN_GSO_TCPV4 : TUN_GSO_NONE,
	};
	return len;
}

static bool give(struct bulk *bulk, const struct given *given)
{
	size_t len = make(given, bulk_room(bulk));
	bool waits = bulk_holds(bulk, len);

	if (waits)
		assert_null(bulk_put(bulk));
	return waits;
}

static void test_who_waits(void **state)
{
	static const struct given rows[] = {
		{"small, and nothing waits", RIG_CORP, 1, IP_PROTO_TCP, false, false, false},
		{"super", RIG_CORP, 1, IP_PROTO_TCP, true, false, true},
		{"of the same stream", RIG_CORP, 1, IP_PROTO_TCP, false, false, true},
		{"another port", RIG_CORP, 2, IP_PROTO_TCP, false, false, false},
		{"another protocol", RIG_CORP, 1, IP_PROTO_UDP, false, false, false},
		{"another host", OTHER, 1, IP_PROTO_TCP, false, false, false},
		{"its hosts' fragment", RIG_CORP, 9, IP_PROTO_TCP, false, true, true},
		{"behind the fragment", RIG_CORP, 7, IP_PROTO_TCP, false, false, true},
		{"other hosts' fragment", OTHER, 9, IP_PROTO_TCP, false, true, false},
		{"super of another stream", OTHER, 3, IP_PROTO_TCP, true, false, true},
		{"of that stream", OTHER, 3, IP_PROTO_TCP, false, false, true},
	};
	struct bulk bulk = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (give(&bulk, &rows[i]) != rows[i].waits)
			fail_msg("%s", rows[i].name);
	}
	bulk_done(&bulk);
}

/* In the order in which they came, each whole; what has gone is forgotten. */
static void test_order(void **state)
{
	struct given super = {"", RIG_CORP, 1, IP_PROTO_TCP, true, false, true}, small = super;
	struct bulk bulk = {0};
	size_t sum = 0;

	(void)state;
	small.super = false;
	for (int round = 0; round < 3; round++) {
		assert_null(bulk_first(&bulk));
		assert_false(give(&bulk, &small));
		for (uint16_t i = 0; i < BULK_MAX; i++) {
			super.port = i;
			assert_true(give(&bulk, &super));
			sum += bulk_first(&bulk)->len;
			assert_int_equal(bulk.bytes, sum);
		}
		for (uint16_t i = 0; i < BULK_MAX; i++) {
			assert_int_equal(ip_get16(bulk_first(&bulk)->bytes + 20), i);
			sum -= bulk_first(&bulk)->len;
			bulk_drop_first(&bulk);
			assert_int_equal(bulk.bytes, sum);
			assert_int_equal(bulk.count, BULK_MAX - 1 - i);
		}
	}
	bulk_done(&bulk);
}

/* Destinations by letter, as they come, and as they go: taken off the front, or lost. */
static size_t make_for(char destination, struct bulk_packet *room)
{
	char address[] = "10.99.0.?";

	address[8] = (char)('1' + (destination - 'a'));
	room->header = (struct tun_header){.gso_type = TUN_GSO_UDP_L4};
	return rig_udp_packet(RIG_CORP, address, 800, room->bytes);
}

static char letter_of(const struct bulk_packet *packet)
{
	return (char)('a' + packet->bytes[19] - 1);
}

static void put_for(struct bulk *bulk, char destination, char **lost)
{
	const struct bulk_packet *gone;

	assert_true(bulk_holds(bulk, make_for(destination, bulk_room(bulk))));
	gone = bulk_put(bulk);
	if (gone)
		*(*lost)++ = letter_of(gone);
}

/* '.' takes one off. */
static void test_turns(void **state)
{
	static const struct {
		const char *name, *given, *taken;
	} rows[] = {
		{"one", "aaa...", "aaa"},
		{"a late one is next but for the one that was first", "aaaaab......", "abaaaa"},
		{"by turns", "aaabbb......", "ababab"},
		{"no credit for silence", "aaaa....aabbb.....", "aaaaababb"},
		{"nor for one at a time", "aaaa.b.b.b.b.a...", "abababab"},
		{"three", "aabbcc......", "abcabc"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char taken[32] = "", *next = taken, *lost = NULL;
		struct bulk bulk = {0};

		for (const char *c = rows[i].given; *c; c++) {
			if (*c != '.') {
				put_for(&bulk, *c, &lost);
				continue;
			}
			*next++ = letter_of(bulk_first(&bulk));
			bulk_drop_first(&bulk);
		}
		if (strcmp(taken, rows[i].taken) != 0)
			fail_msg("%s: %s", rows[i].name, taken);
		bulk_done(&bulk);
	}
}

/* Who fills it loses, the newest first, whoever comes. */
static void test_too_many(void **state)
{
	struct bulk bulk = {0};
	char lost[8] = "", *next = lost;

	(void)state;
	for (int i = 0; i < BULK_MAX - 2; i++)
		put_for(&bulk, 'a', &next);
	assert_true(bulk_is_most(bulk.first));
	put_for(&bulk, 'b', &next);
	put_for(&bulk, 'b', &next);
	assert_string_equal(lost, "");
	put_for(&bulk, 'b', &next);
	put_for(&bulk, 'c', &next);
	put_for(&bulk, 'a', &next);
	assert_string_equal(lost, "aaa");
	assert_int_equal(bulk.count, BULK_MAX);
	assert_int_equal(bulk.bytes, BULK_MAX * bulk.first->len);
	assert_int_equal(letter_of(bulk.first), 'a');
	assert_true(bulk_is_most(bulk.first));
	bulk_drop_first(&bulk);
	assert_int_equal(letter_of(bulk.first), 'b');
	assert_false(bulk_is_most(bulk.first));
	while (bulk.count)
		bulk_drop_first(&bulk);
	/* What was lost is not held against it. */
	put_for(&bulk, 'a', &next);
	put_for(&bulk, 'b', &next);
	assert_int_equal(letter_of(bulk.first), 'a');
	bulk_done(&bulk);
}

/* Many small ones lose to themselves: few big ones beside them have their places. */
static void test_too_many_small(void **state)
{
	struct bulk bulk = {0};
	char lost[64] = "", *next = lost;

	(void)state;
	for (int i = 0; i < BULK_MAX - 2; i++)
		put_for(&bulk, 'a', &next);
	for (int i = 0; i < 4; i++) {
		assert_true(bulk_holds(&bulk, make_for('b', bulk_room(&bulk))));
		bulk_room(&bulk)->len = TUN_PACKET_MAX;
		if (bulk_put(&bulk))
			*next++ = letter_of(bulk_room(&bulk));
		put_for(&bulk, 'a', &next);
	}
	assert_string_equal(lost, "aaaaaa");
	bulk_done(&bulk);
}

/* It is for others to say what is wrong with it. */
static void test_unreadable(void **state)
{
	struct given super = {"", RIG_CORP, 1, IP_PROTO_TCP, true, false, true};
	struct bulk bulk = {0};

	(void)state;
	assert_true(give(&bulk, &super));
	make(&super, bulk_room(&bulk));
	assert_false(bulk_holds(&bulk, 3));
	bulk_done(&bulk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_waits),      cmocka_unit_test(test_order),
		cmocka_unit_test(test_turns),	       cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_too_many_small), cmocka_unit_test(test_unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
