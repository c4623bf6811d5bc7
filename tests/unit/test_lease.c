#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "session/lease.h"

static struct addr addr_from(const char *text)
{
	struct addr addr = {0};

	if (text && !addr_parse(text, &addr))
		fail_msg("\"%s\" is no address", text);
	return addr;
}

/* "10.99.0.0/24 fd99::/64" */
static struct prefix_list prefixes_from(const char *text)
{
	struct prefix_list list = {0};
	char *copy = strdup(text), *rest = copy, *word;

	while ((word = strsep(&rest, " "))) {
		struct prefix prefix;

		if (word[0] == '\0')
			continue;
		if (!prefix_parse(word, &prefix, NULL))
			fail_msg("\"%s\" is no prefix", word);
		prefix_list_add(&list, &prefix);
	}
	free(copy);
	return list;
}

static struct lease_pool *make_pool(const char *pools, const char *reserved)
{
	struct prefix_list pool_list = prefixes_from(pools);
	struct prefix_list reserved_list = prefixes_from(reserved);
	struct lease_pool *pool = lease_pool_new(&pool_list, &reserved_list);

	prefix_list_done(&pool_list);
	prefix_list_done(&reserved_list);
	return pool;
}

static void assert_addr(const struct addr *addr, const char *text)
{
	char printed[ADDR_TEXT];

	assert_string_equal(addr_print(addr, printed), text ? text : "none");
}

static struct lease *take_lease(struct lease_pool *pool, const char *key)
{
	struct lease *lease = NULL;

	assert_int_equal(lease_take(pool, key, true, true, &lease), 0);
	assert_string_equal(lease->key, key);
	return lease;
}

static void remember(struct lease_pool *pool, const char *key, const char *v4, const char *v6,
		     int64_t used_at_s)
{
	struct addr addr4 = addr_from(v4), addr6 = addr_from(v6);

	lease_remember(pool, key, &addr4, &addr6, used_at_s);
}

/* Takes until the pool is full and prints what it got: "10.0.0.2 10.0.0.3". */
static void drain_pool(struct lease_pool *pool, unsigned family, char *text, size_t size)
{
	struct lease *lease;
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 0;; i++) {
		char key[16], printed[ADDR_TEXT];

		snprintf(key, sizeof(key), "k%u", i);
		if (lease_take(pool, key, family == 4, family == 6, &lease) < 0)
			return;
		len += (size_t)snprintf(text + len, size - len, "%s%s", i ? " " : "",
					addr_print(family == 4 ? &lease->v4 : &lease->v6, printed));
	}
}

static void what_a_pool_gives(void **state)
{
	static const struct {
		const char *name, *pools, *reserved;
		unsigned family;
		const char *own, *given;
		uint64_t size;
	} rows[] = {
		{"no network, gateway, broadcast", "10.0.0.0/29", "", 4, "10.0.0.1/29",
		 "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6", 5},
		{"/30", "10.0.0.4/30", "", 4, "10.0.0.5/30", "10.0.0.6", 1},
		{"/31 has two hosts", "10.0.0.4/31", "", 4, "10.0.0.4/31", "10.0.0.5", 1},
		{"/32 is the gateway's", "10.0.0.4/32", "", 4, "10.0.0.4/32", "", 0},
		{"IPv6 has no broadcast", "fd00::/126", "", 6, "fd00::1/126", "fd00::2 fd00::3", 2},
		{"/127", "fd00::/127", "", 6, "fd00::/127", "fd00::1", 1},
		{"/128", "fd00::/128", "", 6, "fd00::/128", "", 0},
		{"reserved", "10.0.0.0/29", "10.0.0.2/32 10.0.0.4/31", 4, "10.0.0.1/29",
		 "10.0.0.3 10.0.0.6", 5},
		{"all reserved", "10.0.0.0/29", "10.0.0.0/8", 4, "10.0.0.1/29", "", 5},
		{"one pool after the other", "10.0.0.0/30 fd00::/64 10.1.0.0/30", "", 4,
		 "10.0.0.1/30", "10.0.0.2 10.1.0.2", 2},
		{"a carry", "10.0.0.0/23",
		 "10.0.0.0/25 10.0.0.128/26 10.0.0.192/27 10.0.0.224/28 "
		 "10.0.0.240/29 10.0.0.248/30 10.0.0.252/31 10.0.0.254/32 10.0.1.2/31 10.0.1.4/30 "
		 "10.0.1.8/29 10.0.1.16/28 10.0.1.32/27 10.0.1.64/26 10.0.1.128/25",
		 4, "10.0.0.1/23", "10.0.0.255 10.0.1.0 10.0.1.1", 509},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct lease_pool *pool = make_pool(rows[i].pools, rows[i].reserved);
		struct prefix own;
		char text[256], printed[PREFIX_TEXT];

		assert_true(lease_pool_own(pool, rows[i].family, &own));
		assert_string_equal(prefix_print(&own, printed), rows[i].own);
		if (lease_pool_size(pool, rows[i].family) != rows[i].size)
			fail_msg("%s: size %lu", rows[i].name,
				 (unsigned long)lease_pool_size(pool, rows[i].family));
		drain_pool(pool, rows[i].family, text, sizeof(text));
		if (strcmp(text, rows[i].given) != 0)
			fail_msg("%s: gives %s", rows[i].name, text);
		lease_pool_free(pool);
	}
}

static void much_of_a_pool_is_reserved(void **state)
{
	struct lease_pool *pool = make_pool("fd00::/64", "fd00::/66 fd00::4000:0:0:2/127");
	struct prefix own;
	(void)state;

	assert_false(lease_pool_own(pool, 4, &own));
	assert_int_equal(lease_pool_size(pool, 4), 0);
	assert_true(lease_pool_size(pool, 6) == INT64_MAX - 1);
	assert_addr(&take_lease(pool, "a")->v6, "fd00::4000:0:0:0");
	assert_addr(&take_lease(pool, "b")->v6, "fd00::4000:0:0:1");
	assert_addr(&take_lease(pool, "c")->v6, "fd00::4000:0:0:4");
	lease_pool_free(pool);
}

static void who_comes_back_gets_the_same(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/24 fd00::/64", "");
	struct lease *alice = take_lease(pool, "alice"), *bob = take_lease(pool, "bob");
	(void)state;

	assert_addr(&alice->v4, "10.0.0.2");
	assert_addr(&alice->v6, "fd00::2");
	assert_int_equal(alice->v6_len, 128);
	assert_addr(&bob->v4, "10.0.0.3");
	lease_release(pool, alice, 100);
	lease_release(pool, bob, 101);
	assert_int_equal(lease_pool_used(pool, 4), 0);
	assert_addr(&take_lease(pool, "carol")->v4, "10.0.0.4");
	bob = take_lease(pool, "bob");
	assert_addr(&bob->v4, "10.0.0.3");
	assert_addr(&bob->v6, "fd00::3");
	assert_addr(&take_lease(pool, "alice")->v4, "10.0.0.2");
	assert_int_equal(lease_pool_used(pool, 4), 3);
	assert_int_equal(lease_pool_used(pool, 6), 3);
	lease_pool_free(pool);
}

static void the_one_released_longest_ago_is_given_away(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/29", "");
	struct lease *leases[5];
	(void)state;

	for (unsigned i = 0; i < 5; i++)
		leases[i] = take_lease(pool, (char[]){(char)('a' + i), '\0'});
	lease_release(pool, leases[3], 10);
	lease_release(pool, leases[1], 20);
	lease_release(pool, leases[4], 5); /* the clock was set back */
	assert_addr(&take_lease(pool, "x")->v4, "10.0.0.5");
	assert_addr(&take_lease(pool, "y")->v4, "10.0.0.3");
	/* d has lost its address, e has not. */
	assert_addr(&take_lease(pool, "e")->v4, "10.0.0.6");
	assert_int_equal(lease_take(pool, "d", true, true, &leases[0]), -ENOSPC);
	assert_int_equal(lease_pool_used(pool, 4), 5);
	lease_pool_free(pool);
}

static void a_full_family_takes_nothing(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/30 fd00::/64", "");
	struct lease *lease = NULL, *alice = take_lease(pool, "alice");
	(void)state;

	assert_int_equal(lease_take(pool, "bob", true, true, &lease), -ENOSPC);
	assert_null(lease);
	assert_int_equal(lease_pool_used(pool, 6), 1);
	assert_int_equal(lease_take(pool, "bob", false, true, &lease), 0);
	assert_addr(&lease->v4, NULL);
	lease_release(pool, alice, 1);
	lease_release(pool, lease, 2);
	assert_int_equal(lease_take(pool, "bob", true, true, &lease), 0);
	assert_addr(&lease->v4, "10.0.0.2");
	lease_pool_free(pool);
}

static void errors(void **state)
{
	struct lease_pool *v4 = make_pool("10.0.0.0/29", ""), *v6 = make_pool("fd00::/64", "");
	struct lease *lease = NULL, *other;
	struct addr inside = addr_from("10.0.0.3"), own = addr_from("10.0.0.1");
	struct addr outside = addr_from("192.0.2.9");
	char long_key[LEASE_KEY_MAX + 1];
	(void)state;

	memset(long_key, 'x', LEASE_KEY_MAX);
	long_key[LEASE_KEY_MAX] = '\0';
	assert_int_equal(lease_take(v4, long_key, true, true, &lease), -ENAMETOOLONG);
	assert_int_equal(lease_take_fixed(v4, long_key, &inside, NULL, true, false, &lease),
			 -ENAMETOOLONG);
	assert_int_equal(lease_take(v4, "a", false, true, &lease), -EAFNOSUPPORT);
	assert_int_equal(lease_take(v4, "a", false, false, &lease), -EAFNOSUPPORT);
	assert_int_equal(lease_take(v6, "a", true, false, &lease), -EAFNOSUPPORT);
	assert_int_equal(lease_take_fixed(v4, "a", &inside, NULL, false, true, &lease),
			 -EAFNOSUPPORT);
	assert_int_equal(lease_take_fixed(v4, "a", &own, NULL, true, false, &lease), -EADDRINUSE);
	assert_null(lease);
	assert_int_equal(lease_take(v4, "a", true, true, &lease), 0);
	assert_int_equal(lease_take(v4, "a", true, true, &other), -EEXIST);
	assert_int_equal(lease_take_fixed(v4, "a", &inside, NULL, true, false, &other), -EEXIST);
	assert_int_equal(lease_take_fixed(v4, "b", &lease->v4, NULL, true, false, &other),
			 -EADDRINUSE);
	assert_int_equal(lease_take_fixed(v4, "b", &outside, NULL, true, false, &other), 0);
	assert_int_equal(lease_pool_used(v4, 4), 1);
	long_key[LEASE_KEY_MAX - 1] = '\0';
	assert_int_equal(lease_take(v4, long_key, true, true, &other), 0);
	assert_string_equal(other->key, long_key);
	lease_pool_free(v4);
	lease_pool_free(v6);
	lease_pool_free(NULL);
}

static void fixed_addresses(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/29 fd00::/64", "10.0.0.4/32");
	struct addr v4 = addr_from("10.0.0.4"), held = addr_from("10.0.0.2");
	struct addr v6 = addr_from("fd00::1:4"), elsewhere = addr_from("192.168.7.7");
	struct lease *site, *guest, *lease;
	char given[64];
	(void)state;

	assert_int_equal(lease_take_fixed(pool, "site", &v4, &v6, true, true, &site), 0);
	assert_addr(&site->v4, "10.0.0.4");
	assert_addr(&site->v6, "fd00::1:4");
	assert_int_equal(lease_take_fixed(pool, "other", &v4, NULL, true, false, &lease),
			 -EADDRINUSE);
	assert_int_equal(lease_take_fixed(pool, "other", &elsewhere, NULL, true, false, &lease), 0);
	assert_int_equal(lease_pool_used(pool, 4), 1);
	lease_release(pool, lease, 1);
	lease_release(pool, site, 1);
	/* A fixed address is not remembered: by chance it goes to nobody. */
	guest = take_lease(pool, "site");
	assert_addr(&guest->v4, "10.0.0.2");
	lease_release(pool, guest, 2);
	/* What only waits for its last holder can be fixed for another. */
	assert_int_equal(lease_take_fixed(pool, "other", &held, NULL, true, false, &lease), 0);
	drain_pool(pool, 4, given, sizeof(given));
	assert_string_equal(given, "10.0.0.3 10.0.0.5 10.0.0.6");
	lease_release(pool, lease, 3);
	assert_addr(&take_lease(pool, "x")->v4, "10.0.0.2");
	lease_pool_free(pool);
}

static void a_key_that_becomes_fixed_lets_its_address_go(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/29", "10.0.0.5/32");
	struct addr fixed = addr_from("10.0.0.5");
	struct lease *lease;
	char given[64];
	(void)state;

	lease_release(pool, take_lease(pool, "berlin"), 1);
	assert_int_equal(lease_take_fixed(pool, "berlin", &fixed, NULL, true, false, &lease), 0);
	drain_pool(pool, 4, given, sizeof(given));
	assert_string_equal(given, "10.0.0.3 10.0.0.4 10.0.0.6 10.0.0.2");
	lease_pool_free(pool);
}

static void the_family_that_is_not_fixed_is_of_the_pool(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/29 fd00::/64", "10.0.0.5/32");
	struct addr fixed = addr_from("10.0.0.5");
	struct lease *lease;
	(void)state;

	assert_int_equal(lease_take_fixed(pool, "berlin", &fixed, NULL, true, true, &lease), 0);
	assert_addr(&lease->v4, "10.0.0.5");
	assert_addr(&lease->v6, "fd00::2");
	lease_release(pool, lease, 1);
	/* That one is remembered. */
	assert_addr(&take_lease(pool, "x")->v6, "fd00::3");
	assert_int_equal(lease_take_fixed(pool, "berlin", &fixed, NULL, true, true, &lease), 0);
	assert_addr(&lease->v6, "fd00::2");
	lease_release(pool, lease, 2);
	assert_int_equal(lease_take_fixed(pool, "berlin", &fixed, NULL, false, true, &lease), 0);
	assert_int_equal(lease->v4.family, 0);
	lease_pool_free(pool);
}

static void what_is_reserved_later_comes_back_to_nobody(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/29", "10.0.0.6/32");
	struct prefix_list reserved = prefixes_from("10.0.0.2/32 10.0.0.3/32");
	struct lease *waits, *holds;
	char given[64];
	(void)state;

	waits = take_lease(pool, "waits");
	assert_addr(&waits->v4, "10.0.0.2");
	holds = take_lease(pool, "holds");
	lease_release(pool, waits, 1);
	lease_pool_reserve(pool, &reserved);
	prefix_list_done(&reserved);
	assert_addr(&holds->v4, "10.0.0.3");
	assert_addr(&take_lease(pool, "waits")->v4, "10.0.0.4");
	lease_release(pool, holds, 2);
	assert_addr(&take_lease(pool, "holds")->v4, "10.0.0.5");
	drain_pool(pool, 4, given, sizeof(given));
	assert_string_equal(given, "10.0.0.6");
	lease_pool_free(pool);
}

static void what_is_remembered(void **state)
{
	static const struct {
		const char *name, *v4, *v6, *then4, *then6;
	} rows[] = {
		{"both", "10.0.0.9", "fd00::9", "10.0.0.9", "fd00::9"},
		{"one family", NULL, "fd00::9", "10.0.0.2", "fd00::9"},
		{"outside", "10.0.1.9", "fd01::9", "10.0.0.2", "fd00::2"},
		{"the network's", "10.0.0.0", "fd00::", "10.0.0.2", "fd00::2"},
		{"the gateway's", "10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2"},
		{"broadcast", "10.0.0.255", "fd00::ffff", "10.0.0.2", "fd00::ffff"},
		{"reserved", "10.0.0.77", "fd00::77", "10.0.0.2", "fd00::2"},
		{"the highest", "10.0.0.254", "fd00::7fff:ffff:ffff:ffff", "10.0.0.254",
		 "fd00::7fff:ffff:ffff:ffff"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct lease_pool *pool =
			make_pool("10.0.0.0/24 fd00::/64", "10.0.0.77/32 fd00::77/128");
		struct lease *lease;

		remember(pool, "alice", rows[i].v4, rows[i].v6, 7);
		lease = take_lease(pool, "alice");
		print_message("%s\n", rows[i].name);
		assert_addr(&lease->v4, rows[i].then4);
		assert_addr(&lease->v6, rows[i].then6);
		lease_pool_free(pool);
	}
}

static void later_memories_overwrite(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/29 fd00::/64", "");
	struct lease *lease;
	(void)state;

	remember(pool, "alice", "10.0.0.2", "fd00::2", 10);
	remember(pool, "bob", "10.0.0.2", NULL, 20);
	remember(pool, "carol", "10.0.0.4", NULL, 5);
	remember(pool, "carol", "10.0.0.5", NULL, 30);
	remember(pool, "dave", "10.0.0.6", NULL, 1); /* not in the order of time */
	assert_addr(&take_lease(pool, "bob")->v4, "10.0.0.2");
	lease = take_lease(pool, "alice");
	assert_addr(&lease->v4, "10.0.0.3");
	assert_addr(&lease->v6, "fd00::2");
	assert_addr(&take_lease(pool, "new")->v4, "10.0.0.4");
	/* Only what is remembered is left: the one unused for longest. */
	assert_addr(&take_lease(pool, "newer")->v4, "10.0.0.6");
	assert_addr(&take_lease(pool, "newest")->v4, "10.0.0.5");
	lease_pool_free(pool);
}

static void each_prefix_of_the_pool(void **state)
{
	struct lease_pool *pool = make_pool("10.0.0.0/30 fd00::/126 10.1.0.0/16", "");
	static const struct {
		const char *prefix;
		unsigned used;
		uint64_t size;
	} rows[] = {{"10.0.0.0/30", 1, 1}, {"fd00::/126", 2, 2}, {"10.1.0.0/16", 1, 65533}};
	struct prefix prefix;
	unsigned used;
	uint64_t size;
	char printed[PREFIX_TEXT];
	(void)state;

	take_lease(pool, "a");
	take_lease(pool, "b");
	for (size_t i = 0; i < 3; i++) {
		assert_true(lease_pool_range(pool, i, &prefix, &used, &size));
		assert_string_equal(prefix_print(&prefix, printed), rows[i].prefix);
		assert_int_equal(used, rows[i].used);
		assert_int_equal(size, rows[i].size);
	}
	assert_false(lease_pool_range(pool, 3, &prefix, &used, &size));
	assert_int_equal(lease_pool_size(pool, 4), 65534);
	lease_pool_free(pool);
}

/* ---- any order of taking and releasing ---- */

enum { KEYS = 40, STEPS = 20000 };

static struct lease *held[KEYS];

static void check_leases(const struct lease_pool *pool, const struct prefix_list *pools,
			 const struct prefix_list *reserved)
{
	unsigned count4 = 0, count6 = 0;

	for (unsigned i = 0; i < KEYS; i++) {
		if (!held[i])
			continue;
		count4 += held[i]->v4.family == 4;
		count6 += held[i]->v6.family == 6;
		for (unsigned j = 0; j < i; j++) {
			if (!held[j])
				continue;
			assert_false(held[i]->v4.family && addr_equal(&held[i]->v4, &held[j]->v4));
			assert_false(held[i]->v6.family && addr_equal(&held[i]->v6, &held[j]->v6));
		}
		if (held[i]->v4.family && i >= 4) {
			assert_true(prefix_list_contains(pools, &held[i]->v4));
			assert_false(prefix_list_contains(reserved, &held[i]->v4));
		}
	}
	assert_int_equal(lease_pool_used(pool, 4), count4);
	assert_int_equal(lease_pool_used(pool, 6), count6);
}

static int take_some(struct lease_pool *pool, unsigned number)
{
	char key[16], text[32];
	struct addr v4;

	snprintf(key, sizeof(key), "k%u", number);
	if (number >= 4)
		return lease_take(pool, key, rand() % 4 > 0, rand() % 4 > 0, &held[number]);
	snprintf(text, sizeof(text), "10.0.0.%u", 2 + number);
	v4 = addr_from(text);
	return lease_take_fixed(pool, key, &v4, NULL, true, false, &held[number]);
}

static void never_twice_the_same(void **state)
{
	static const char pools[] = "10.0.0.0/28 fd00::/123 10.0.1.0/29";
	static const char outside_chance[] = "10.0.0.2/31 10.0.0.4/31";
	(void)state;

	for (unsigned seed = 1; seed <= 3; seed++) {
		struct lease_pool *pool = make_pool(pools, outside_chance);
		struct prefix_list pool_list = prefixes_from(pools);
		struct prefix_list reserved_list = prefixes_from(outside_chance);
		unsigned full = 0;

		srand(seed);
		memset(held, 0, sizeof(held));
		for (unsigned step = 0; step < STEPS; step++) {
			unsigned number = (unsigned)rand() % KEYS;

			if (held[number]) {
				lease_release(pool, held[number], step);
				held[number] = NULL;
			} else {
				int r = take_some(pool, number);

				full += r == -ENOSPC;
				assert_true(r == 0 || r == -ENOSPC || r == -EAFNOSUPPORT);
			}
			check_leases(pool, &pool_list, &reserved_list);
		}
		assert_true(full > 0);
		lease_pool_free(pool);
		prefix_list_done(&pool_list);
		prefix_list_done(&reserved_list);
	}
}

/* 10000 sessions come and go in a /16 whose other addresses are all remembered: every newcomer
 * takes the oldest one. Looking through the pool each time would take minutes. */
static void large_pools_are_quick(void **state)
{
	enum { SESSIONS = 10000, REMEMBERED = 65533 };
	static struct lease *leases[SESSIONS];
	struct lease_pool *pool = make_pool("10.99.0.0/16 fd99::/64", "");
	struct addr first = addr_from("10.99.0.2"), first6 = addr_from("fd99::2");
	int64_t started_us = clock_now_us();
	char key[32];
	(void)state;

	for (unsigned i = 0; i < REMEMBERED; i++) {
		struct addr v4 = addr_add(&first, i), v6 = addr_add(&first6, i);

		snprintf(key, sizeof(key), "old%u", i);
		lease_remember(pool, key, &v4, &v6, i);
	}
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < SESSIONS; i++) {
			snprintf(key, sizeof(key), "new%u-%u", round, i);
			leases[i] = take_lease(pool, key);
		}
		for (unsigned i = 0; i < SESSIONS; i++)
			lease_release(pool, leases[i], REMEMBERED + i);
	}
	assert_true(clock_now_us() - started_us < 10 * CLOCK_SECOND_US);
	assert_addr(&take_lease(pool, "old65532")->v4, "10.99.255.254");
	lease_pool_free(pool);
}

/* Memory is bounded though a /64 is not. */
static void what_nobody_asked_for_in_ages_is_forgotten(void **state)
{
	struct lease_pool *pool = make_pool("fd99::/64", "");
	char key[32];
	(void)state;

	for (unsigned i = 0; i < 100010; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		lease_release(pool, take_lease(pool, key), i);
	}
	assert_addr(&take_lease(pool, "k10")->v6, "fd99::c");
	assert_addr(&take_lease(pool, "k9")->v6, "fd99::1:86ac");
	lease_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_pool_gives),
		cmocka_unit_test(much_of_a_pool_is_reserved),
		cmocka_unit_test(who_comes_back_gets_the_same),
		cmocka_unit_test(the_one_released_longest_ago_is_given_away),
		cmocka_unit_test(a_full_family_takes_nothing),
		cmocka_unit_test(errors),
		cmocka_unit_test(fixed_addresses),
		cmocka_unit_test(a_key_that_becomes_fixed_lets_its_address_go),
		cmocka_unit_test(the_family_that_is_not_fixed_is_of_the_pool),
		cmocka_unit_test(what_is_reserved_later_comes_back_to_nobody),
		cmocka_unit_test(what_is_remembered),
		cmocka_unit_test(later_memories_overwrite),
		cmocka_unit_test(each_prefix_of_the_pool),
		cmocka_unit_test(never_twice_the_same),
		cmocka_unit_test(large_pools_are_quick),
		cmocka_unit_test(what_nobody_asked_for_in_ages_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
