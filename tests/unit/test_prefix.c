#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/prefix.h"

static struct prefix prefix_from(const char *text)
{
	struct prefix prefix;

	if (!prefix_parse_host(text, &prefix))
		fail_msg("\"%s\" is no prefix", text);
	return prefix;
}

static void test_parse(void **state)
{
	static const struct {
		const char *text, *printed; /* NULL: refused */
		const char *clean;	    /* what was probably meant */
	} rows[] = {
		{"10.0.0.0/8", "10.0.0.0/8", NULL},
		{"10.1.2.3", "10.1.2.3/32", NULL},
		{"0.0.0.0/0", "0.0.0.0/0", NULL},
		{"10.1.2.3/32", "10.1.2.3/32", NULL},
		{"fd00::/8", "fd00::/8", NULL},
		{"2001:db8::1", "2001:db8::1/128", NULL},
		{"::/0", "::/0", NULL},
		{"10.1.2.3/8", NULL, "10.0.0.0/8"},
		{"10.0.0.1/31", NULL, "10.0.0.0/31"},
		{"fd00::1/64", NULL, "fd00::/64"},
		{"128.0.0.0/0", NULL, "0.0.0.0/0"},
		{"10.0.0.0/33", NULL, NULL},
		{"fd00::/129", NULL, NULL},
		{"10.0.0.0/", NULL, NULL},
		{"10.0.0.0/08", NULL, NULL},
		{"10.0.0.0/+8", NULL, NULL},
		{"10.0.0.0/8 ", NULL, NULL},
		{"10.0.0.0/8/8", NULL, NULL},
		{"10.0.0.0/0000000000000000000000008", NULL, NULL},
		{"10.0.0.0/4294967304", NULL, NULL},
		{"/8", NULL, NULL},
		{"", NULL, NULL},
		{"10/8", NULL, NULL},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/64", NULL, NULL},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix prefix = {.len = 200}, clean = {.len = 200};
		char text[PREFIX_TEXT];
		bool parsed = prefix_parse(rows[i].text, &prefix, &clean);

		if (parsed != (rows[i].printed != NULL))
			fail_msg("\"%s\" parsed: %d", rows[i].text, parsed);
		if (parsed)
			assert_string_equal(prefix_print(&prefix, text), rows[i].printed);
		else
			assert_int_equal(prefix.len, 200);
		if ((clean.addr.family != 0) != (rows[i].clean != NULL))
			fail_msg("\"%s\" was probably meant: %d", rows[i].text, clean.addr.family);
		if (rows[i].clean)
			assert_string_equal(prefix_print(&clean, text), rows[i].clean);
		assert_int_equal(prefix_parse(rows[i].text, &prefix, NULL), parsed);
	}
}

static void test_parse_host_keeps_host_bits(void **state)
{
	static const struct {
		const char *text, *printed;
	} rows[] = {
		{"10.99.0.1/16", "10.99.0.1/16"},
		{"10.99.0.1", "10.99.0.1/32"},
		{"fd00::1/64", "fd00::1/64"},
		{"10.99.0.1/33", NULL},
		{"10.99.0/16", NULL},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix prefix;
		char text[PREFIX_TEXT];
		bool parsed = prefix_parse_host(rows[i].text, &prefix);

		if (parsed != (rows[i].printed != NULL))
			fail_msg("\"%s\" parsed: %d", rows[i].text, parsed);
		if (parsed)
			assert_string_equal(prefix_print(&prefix, text), rows[i].printed);
	}
}

static void test_relations(void **state)
{
	static const struct {
		const char *a, *b;
		bool equal, a_covers_b, overlaps;
	} rows[] = {
		{"10.0.0.0/8", "10.0.0.0/8", true, true, true},
		{"10.0.0.0/8", "10.1.0.0/16", false, true, true},
		{"10.1.0.0/16", "10.0.0.0/8", false, false, true},
		{"10.0.0.0/8", "11.0.0.0/8", false, false, false},
		{"10.0.0.0/9", "10.128.0.0/9", false, false, false},
		{"10.0.0.0/9", "10.127.255.255", false, true, true},
		{"0.0.0.0/0", "255.255.255.255", false, true, true},
		{"0.0.0.0/0", "::/0", false, false, false},
		{"::/0", "10.0.0.0/8", false, false, false},
		{"fd00::/8", "fd00::/9", false, true, true},
		{"fd00::/127", "fd00::1", false, true, true},
		{"fd00::/127", "fd00::2", false, false, false},
		{"::", "0.0.0.0", false, false, false},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix a = prefix_from(rows[i].a), b = prefix_from(rows[i].b);

		if (prefix_equal(&a, &b) != rows[i].equal ||
		    prefix_covers(&a, &b) != rows[i].a_covers_b ||
		    prefix_overlaps(&a, &b) != rows[i].overlaps ||
		    prefix_overlaps(&b, &a) != rows[i].overlaps)
			fail_msg("%s and %s", rows[i].a, rows[i].b);
	}
}

static void test_of_and_size(void **state)
{
	static const struct {
		const char *addr;
		unsigned len;
		const char *prefix;
		uint64_t size;
	} rows[] = {
		{"10.255.255.255", 0, "0.0.0.0/0", UINT64_C(1) << 32},
		{"10.255.255.255", 8, "10.0.0.0/8", 1 << 24},
		{"10.255.255.255", 9, "10.128.0.0/9", 1 << 23},
		{"10.255.255.255", 31, "10.255.255.254/31", 2},
		{"10.255.255.255", 32, "10.255.255.255/32", 1},
		{"10.255.255.255", 99, "10.255.255.255/32", 1},
		{"fd00::ffff", 65, "fd00::/65", UINT64_C(1) << 63},
		{"fd00::ffff", 66, "fd00::/66", UINT64_C(1) << 62},
		{"fd00::ffff", 0, "::/0", UINT64_C(1) << 63},
		{"fd00::ffff", 128, "fd00::ffff/128", 1},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix host = prefix_from(rows[i].addr), prefix;
		char text[PREFIX_TEXT];

		prefix = prefix_of(&host.addr, rows[i].len);
		assert_string_equal(prefix_print(&prefix, text), rows[i].prefix);
		if (prefix_size(&prefix) != rows[i].size)
			fail_msg("the size of %s", rows[i].prefix);
		prefix = prefix_host(&host.addr);
		assert_true(prefix_equal(&prefix, &host));
	}
}

static void test_lists_that_are_equal(void **state)
{
	struct prefix_list a = {0}, b = {0};
	struct prefix ten = prefix_from("10.0.0.0/8"), half = prefix_from("10.0.0.0/9");
	(void)state;

	assert_true(prefix_list_equal(&a, &b));
	prefix_list_add(&a, &ten);
	prefix_list_add(&a, &half);
	prefix_list_add(&b, &ten);
	assert_false(prefix_list_equal(&a, &b));
	assert_false(prefix_list_equal(&b, &a));
	prefix_list_add(&b, &ten);
	assert_false(prefix_list_equal(&a, &b));
	b.items[1] = half;
	assert_true(prefix_list_equal(&a, &b));
	b.items[0] = half;
	b.items[1] = ten;
	assert_false(prefix_list_equal(&a, &b)); /* another order */
	prefix_list_done(&a);
	prefix_list_done(&b);
}

static void test_list(void **state)
{
	struct prefix_list list = {0};
	struct prefix ten = prefix_from("10.0.0.0/8"), six = prefix_from("fd00::/64");
	struct prefix inside = prefix_from("10.9.9.9"), inside6 = prefix_from("fd00::9");
	struct prefix outside = prefix_from("11.0.0.1");
	(void)state;

	assert_false(prefix_list_contains(&list, &inside.addr));
	prefix_list_add(&list, &ten);
	prefix_list_add(&list, &six);
	for (size_t i = 0; i < 100; i++)
		prefix_list_add(&list, &list.items[0]); /* one of its own */
	assert_int_equal(list.count, 102);
	assert_true(prefix_equal(&list.items[101], &ten));
	assert_true(prefix_list_contains(&list, &inside.addr));
	assert_true(prefix_list_contains(&list, &inside6.addr));
	assert_false(prefix_list_contains(&list, &outside.addr));
	prefix_list_done(&list);
	assert_int_equal(list.count, 0);
	assert_null(list.items);
}

/* A universe of 32 addresses, 10.0.0.32/27, and the set of those inside as bits. */
enum { UNIVERSE_LEN = 27, UNIVERSE = 32 };

static struct prefix block_at(unsigned at, unsigned len)
{
	struct addr addr = {.family = 4, .bytes = {10, 0, 0, (uint8_t)(UNIVERSE + at)}};

	return prefix_of(&addr, len);
}

static uint32_t members_of(const struct prefix *prefix)
{
	uint32_t members = 0;

	for (unsigned i = 0; i < UNIVERSE; i++) {
		struct prefix host = block_at(i, 32);

		if (prefix_contains(prefix, &host.addr))
			members |= UINT32_C(1) << i;
	}
	return members;
}

/* How many aligned blocks the set needs: a block that is full is one, else its halves are asked. */
static size_t fewest(uint32_t members, unsigned at, unsigned size)
{
	uint32_t block = (uint32_t)(((UINT64_C(1) << size) - 1) << at);

	if ((members & block) == 0)
		return 0;
	if ((members & block) == block)
		return 1;
	return fewest(members, at, size / 2) + fewest(members, at + size / 2, size / 2);
}

/* Disjoint, ascending, exactly these members, and as few as can be. */
static void check_carved(const struct prefix_list *list, uint32_t members)
{
	uint32_t seen = 0;

	for (size_t i = 0; i < list->count; i++) {
		uint32_t own = members_of(&list->items[i]);
		struct prefix clean = prefix_of(&list->items[i].addr, list->items[i].len);

		assert_true(list->items[i].len >= UNIVERSE_LEN);
		assert_true(prefix_equal(&clean, &list->items[i]));
		assert_int_equal(seen & own, 0);
		seen |= own;
		if (i > 0)
			assert_true(addr_compare(&list->items[i - 1].addr, &list->items[i].addr) <
				    0);
	}
	assert_int_equal(seen, members);
	assert_int_equal(list->count, fewest(members, 0, UNIVERSE));
}

/* Every block of the universe; calls f for each, with what is carved already. */
#define for_each_block(block)                                                                      \
	for (unsigned len_##block = UNIVERSE_LEN; len_##block <= 32; len_##block++)                \
		for (unsigned at_##block = 0; at_##block < UNIVERSE;                               \
		     at_##block += 1u << (32 - len_##block))                                       \
			for (struct prefix block = block_at(at_##block, len_##block),              \
					   *once_##block = &block;                                 \
			     once_##block; once_##block = NULL)

static void test_carve_every_hole_from_every_block(void **state)
{
	unsigned cases = 0;
	(void)state;

	for_each_block(from)
	{
		for_each_block(hole)
		{
			struct prefix_list list = {0};

			prefix_list_carve(&from, &hole, &list);
			check_carved(&list, members_of(&from) & ~members_of(&hole));
			prefix_list_done(&list);
			cases++;
		}
	}
	assert_int_equal(cases, 63 * 63);
}

static void test_carve_all_pairs_of_holes(void **state)
{
	struct prefix whole = block_at(0, UNIVERSE_LEN);
	(void)state;

	for_each_block(a)
	{
		for_each_block(b)
		{
			struct prefix pair[] = {a, b};
			struct prefix_list holes = {pair, 2}, list = {0};

			prefix_list_carve_all(&whole, &holes, &list);
			check_carved(&list, ~(members_of(&a) | members_of(&b)));
			prefix_list_done(&list);
		}
	}
}

static void test_carve_appends(void **state)
{
	struct prefix first = prefix_from("192.0.2.0/24"), from = prefix_from("10.0.0.0/8");
	struct prefix larger = prefix_from("0.0.0.0/0"), hole = prefix_from("10.128.0.0/9");
	struct prefix other = prefix_from("::/0");
	struct prefix_list list = {0}, no_holes = {0};
	(void)state;

	prefix_list_add(&list, &first);
	prefix_list_carve(&from, &larger, &list);
	assert_int_equal(list.count, 1);
	prefix_list_carve(&from, &hole, &list);
	assert_int_equal(list.count, 2);
	prefix_list_carve(&from, &other, &list); /* the other family is no hole */
	assert_int_equal(list.count, 3);
	prefix_list_carve_all(&from, &no_holes, &list);
	assert_int_equal(list.count, 4);
	assert_true(prefix_equal(&list.items[0], &first));
	assert_true(prefix_equal(&list.items[2], &from));
	assert_true(prefix_equal(&list.items[3], &from));
	prefix_list_done(&list);
}

/* The gateway's own address out of everything. */
static void test_carve_one_address_out_of_all(void **state)
{
	static const struct {
		const char *from, *hole, *first, *last;
		size_t count;
	} rows[] = {
		{"0.0.0.0/0", "203.0.113.1", "0.0.0.0/1", "224.0.0.0/3", 32},
		{"::/0", "2001:db8::1", "::/3", "8000::/1", 128},
		{"::/0", "::", "::1/128", "8000::/1", 128},
		{"0.0.0.0/0", "255.255.255.255", "0.0.0.0/1", "255.255.255.254/32", 32},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix from = prefix_from(rows[i].from), hole = prefix_from(rows[i].hole);
		struct prefix_list list = {0};
		char text[PREFIX_TEXT];

		prefix_list_carve(&from, &hole, &list);
		assert_int_equal(list.count, rows[i].count);
		assert_string_equal(prefix_print(&list.items[0], text), rows[i].first);
		assert_string_equal(prefix_print(&list.items[list.count - 1], text), rows[i].last);
		assert_false(prefix_list_contains(&list, &hole.addr));
		prefix_list_done(&list);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_host_keeps_host_bits),
		cmocka_unit_test(test_relations),
		cmocka_unit_test(test_of_and_size),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_lists_that_are_equal),
		cmocka_unit_test(test_carve_every_hole_from_every_block),
		cmocka_unit_test(test_carve_all_pairs_of_holes),
		cmocka_unit_test(test_carve_appends),
		cmocka_unit_test(test_carve_one_address_out_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
