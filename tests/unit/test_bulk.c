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

enum {
	MANY = 100,
	BIG_MAX = BULK_ROOM_MAX / TUN_PACKET_MAX, /* that have room */
};

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
		bulk_put(bulk);
	assert_null(bulk_lose(bulk));
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
		for (uint16_t i = 0; i < MANY; i++) {
			super.port = i;
			assert_true(give(&bulk, &super));
			sum += bulk_first(&bulk)->len;
			assert_int_equal(bulk.bytes, sum);
		}
		for (uint16_t i = 0; i < MANY; i++) {
			assert_int_equal(ip_get16(bulk_first(&bulk)->bytes + 20), i);
			sum -= bulk_first(&bulk)->len;
			bulk_drop_first(&bulk);
			assert_int_equal(bulk.bytes, sum);
			assert_int_equal(bulk.count, MANY - 1 - i);
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

static void put_of(struct bulk *bulk, char destination, size_t len, char **lost)
{
	const struct bulk_packet *gone;

	assert_true(bulk_holds(bulk, make_for(destination, bulk_room(bulk))));
	if (len)
		bulk_room(bulk)->len = len;
	bulk_put(bulk);
	while ((gone = bulk_lose(bulk)))
		*(*lost)++ = letter_of(gone);
}

static void put_for(struct bulk *bulk, char destination, char **lost)
{
	put_of(bulk, destination, 0, lost);
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
	static const size_t len = BULK_ROOM_SMALL + 1;
	struct bulk bulk = {0};
	char lost[8] = "", *next = lost;

	(void)state;
	for (int i = 0; i < BIG_MAX - 2; i++)
		put_of(&bulk, 'a', len, &next);
	put_of(&bulk, 'b', len, &next);
	put_of(&bulk, 'b', len, &next);
	assert_string_equal(lost, "");
	put_of(&bulk, 'b', len, &next);
	put_of(&bulk, 'c', len, &next);
	put_of(&bulk, 'a', len, &next);
	assert_string_equal(lost, "aaa");
	assert_int_equal(bulk.count, BIG_MAX);
	assert_int_equal(bulk.bytes, BIG_MAX * len);
	assert_int_equal(letter_of(bulk_first(&bulk)), 'a');
	while (bulk.count)
		bulk_drop_first(&bulk);
	/* What was lost is not held against it. */
	put_for(&bulk, 'a', &next);
	put_for(&bulk, 'b', &next);
	assert_int_equal(letter_of(bulk_first(&bulk)), 'a');
	bulk_done(&bulk);
}

/* Many small ones lose to themselves: few big ones beside them have their places. */
static void test_too_many_small(void **state)
{
	struct bulk bulk = {0};
	char lost[256] = "", *next = lost;

	(void)state;
	for (int i = 0; i < BULK_ROOM_MAX / BULK_ROOM_SMALL; i++)
		put_for(&bulk, 'a', &next);
	assert_string_equal(lost, "");
	for (int i = 0; i < 4; i++) {
		put_of(&bulk, 'b', TUN_PACKET_MAX, &next);
		put_for(&bulk, 'a', &next);
	}
	assert_true(strlen(lost) >= 4 * TUN_PACKET_MAX / BULK_ROOM_SMALL);
	assert_int_equal(strspn(lost, "a"), strlen(lost));
	bulk_done(&bulk);
}

/* Bytes are limited where room is not. */
static void test_too_many_bytes(void **state)
{
	struct bulk bulk = {0};
	char lost[8] = "", *next = lost;

	(void)state;
	for (int i = 0; i < BULK_BYTES_MAX / TUN_PACKET_MAX; i++)
		put_of(&bulk, 'a', TUN_PACKET_MAX, &next);
	assert_string_equal(lost, "");
	assert_true(bulk.room < BULK_ROOM_MAX);
	put_of(&bulk, 'a', TUN_PACKET_MAX, &next);
	assert_string_equal(lost, "a");
	bulk_done(&bulk);
}

/* Single packets behind a super-packet of their stream: as many as a kernel's queue holds. */
static void test_single_ones(void **state)
{
	enum { QUEUE = 500 };
	struct given super = {"", RIG_CORP, 1, IP_PROTO_TCP, true, false, true}, single = super;
	struct bulk bulk = {0};

	(void)state;
	single.super = false;
	assert_true(give(&bulk, &super));
	for (int i = 0; i < QUEUE; i++)
		assert_true(give(&bulk, &single));
	assert_int_equal(bulk.count, 1 + QUEUE);
	bulk_done(&bulk);
}

/* When a stream should be slower: its lane has most of what waits, and that is much. */
static void test_is_too_much(void **state)
{
	struct bulk bulk = {0};
	char *next = NULL;
	size_t len;

	(void)state;
	assert_false(bulk_is_too_much(&bulk, 0));
	for (int i = 0; i < MANY; i++)
		put_for(&bulk, 'a', &next);
	len = bulk.bytes / MANY;
	assert_true(bulk_is_too_much(&bulk, MANY * len));
	assert_false(bulk_is_too_much(&bulk, MANY * len + 1));
	put_for(&bulk, 'b', &next);
	bulk_drop_first(&bulk);
	assert_int_equal(letter_of(bulk_first(&bulk)), 'b');
	assert_false(bulk_is_too_much(&bulk, MANY * len));
	bulk_drop_first(&bulk);
	assert_true(bulk_is_too_much(&bulk, (MANY - 1) * len));
	bulk_done(&bulk);
	/* Few bytes in much room. */
	for (int i = 0; i < BIG_MAX / 2 + 1; i++) {
		assert_false(bulk_is_too_much(&bulk, BULK_BYTES_MAX));
		put_of(&bulk, 'a', BULK_ROOM_SMALL + 1, &next);
	}
	assert_true(bulk_is_too_much(&bulk, BULK_BYTES_MAX));
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
		cmocka_unit_test(test_too_many_small), cmocka_unit_test(test_too_many_bytes),
		cmocka_unit_test(test_single_ones),    cmocka_unit_test(test_is_too_much),
		cmocka_unit_test(test_unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
