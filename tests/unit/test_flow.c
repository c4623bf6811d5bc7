#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "data/flow.h"

struct world {
	struct flow_table table;
	struct dtls_setup setup;
	struct batch batch;
	struct batch_socket socket;
	struct counts counts;
};

static int make_world(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	flow_table_init(&world->table);
	batch_init(&world->batch, &world->counts);
	*state = world;
	return dtls_setup_init(&world->setup);
}

static int free_world(void **state)
{
	struct world *world = *state;

	flow_table_done(&world->table);
	batch_done(&world->batch);
	dtls_setup_done(&world->setup);
	free(world);
	return 0;
}

static void find_bytes(const char *text, struct addr *ret)
{
	assert_true(addr_parse(text, ret));
}

static struct flow *by_inner(struct world *world, const char *text)
{
	struct addr addr;

	find_bytes(text, &addr);
	return flow_by_inner(&world->table, addr.family, addr.bytes);
}

static bool owns(const struct flow *flow, const char *text)
{
	struct addr addr;

	find_bytes(text, &addr);
	return flow_owns(flow, addr.family, addr.bytes);
}

/* own: prefixes with a blank between them. mark: fills the App-ID. */
static struct flow *new_flow(struct world *world, uint64_t id, const char *own, uint8_t mark)
{
	struct flow_spec spec = {.id = id, .session = id, .mtu = 1400};
	char *copy = strdup(own), *rest = copy, *text;
	struct flow *flow;

	while ((text = strsep(&rest, " "))) {
		struct prefix prefix;

		assert_true(prefix_parse(text, &prefix, NULL));
		prefix_list_add(&spec.own, &prefix);
	}
	free(copy);
	spec.name = xalloc_string("alice");
	spec.access = access_everything();
	if (mark)
		spec.app_id_len = DTLS_APP_ID;
	memset(spec.app_id, mark, sizeof(spec.app_id));
	buf_print(&spec.greeting, "hello");
	flow = flow_new(&world->table, &spec, 1000);
	/* All that it pointed to is the flow's now. */
	assert_null(spec.name);
	assert_null(spec.access);
	assert_null(spec.own.items);
	assert_null(spec.greeting.data);
	return flow;
}

static struct udp_path path_of(const char *peer, uint16_t port, const char *local)
{
	struct udp_path path = {0};
	struct addr addr;

	find_bytes(peer, &addr);
	path.peer = addr_endpoint(&addr, port);
	if (local)
		find_bytes(local, &path.local);
	return path;
}

static struct flow_assoc *add_assoc(struct world *world, struct flow *flow,
				    const struct udp_path *path, unsigned socket)
{
	return flow_add_candidate(&world->table, flow, &world->setup, true, false, path, socket,
				  &world->batch, &world->socket, 5000);
}

static void test_lookups(void **state)
{
	struct world *world = *state;
	struct flow *a = new_flow(world, 1, "10.99.0.7/32 fd00::7/128", 1);
	struct flow *site = new_flow(world, 2, "10.99.0.8/32 10.50.0.0/16", 2);
	uint8_t app_id[DTLS_APP_ID];

	assert_ptr_equal(flow_find(&world->table, 1), a);
	assert_ptr_equal(flow_find(&world->table, 2), site);
	assert_null(flow_find(&world->table, 3));
	assert_ptr_equal(by_inner(world, "10.99.0.7"), a);
	assert_ptr_equal(by_inner(world, "fd00::7"), a);
	assert_ptr_equal(by_inner(world, "10.50.1.2"), site);
	assert_null(by_inner(world, "10.99.0.9"));
	assert_null(by_inner(world, "fd00::8"));
	assert_true(owns(a, "10.99.0.7") && owns(a, "fd00::7") && owns(site, "10.50.255.255"));
	assert_false(owns(a, "10.99.0.8") || owns(a, "fd00::8") || owns(site, "10.51.0.0"));
	memset(app_id, 2, sizeof(app_id));
	assert_ptr_equal(flow_by_app_id(&world->table, app_id), site);
	app_id[31] = 3;
	assert_null(flow_by_app_id(&world->table, app_id));
	assert_int_equal(a->mtu, 1400);
	assert_null(flow_free(&world->table, a));
	assert_null(by_inner(world, "10.99.0.7"));
	assert_null(flow_find(&world->table, 1));
	flow_free(&world->table, site);
	assert_null(world->table.flows);
	assert_null(world->table.replica.by_app_id);
}

static void test_app_id_lengths(void **state)
{
	struct world *world = *state;
	struct flow *without = new_flow(world, 1, "10.99.0.7/32", 0), *with;
	uint8_t app_id[DTLS_APP_ID] = {0};

	assert_null(flow_by_app_id(&world->table, app_id));
	flow_drain(&world->table, without, 1);
	flow_free(&world->table, without);
	with = new_flow(world, 2, "10.99.0.7/32", 1);
	flow_drain(&world->table, with, 1);
	assert_null(world->table.replica.by_app_id);
	flow_free(&world->table, with);
}

/* Make before break: the next flow takes the addresses, the old one only receives. */
static void test_drain(void **state)
{
	struct world *world = *state;
	struct udp_path path = path_of("192.0.2.1", 4000, "198.51.100.1");
	struct flow *old = new_flow(world, 1, "10.99.0.7/32 fd00::7/128", 1), *next;
	uint8_t app_id[DTLS_APP_ID];

	add_assoc(world, old, &path, 0);
	flow_promote(old, 6000);
	add_assoc(world, old, &path, 0);
	next = new_flow(world, 2, "10.99.0.7/32 fd00::7/128", 2);
	flow_drain(&world->table, old, 9000);
	assert_int_equal(old->state, FLOW_DRAINING);
	assert_true(old->drain_until_us == 9000);
	assert_null(old->candidate);
	assert_non_null(old->active);
	assert_ptr_equal(flow_by_path(&world->table, &path, 0), old->active);
	assert_ptr_equal(by_inner(world, "10.99.0.7"), next);
	assert_ptr_equal(by_inner(world, "fd00::7"), next);
	assert_ptr_equal(flow_find(&world->table, 1), old);
	assert_true(owns(old, "10.99.0.7"));
	memset(app_id, 1, sizeof(app_id));
	assert_null(flow_by_app_id(&world->table, app_id));
	flow_drain(&world->table, old, 99000);
	assert_true(old->drain_until_us == 9000);
	flow_free(&world->table, old);
	assert_ptr_equal(by_inner(world, "10.99.0.7"), next);
	assert_null(flow_by_path(&world->table, &path, 0));
	flow_free(&world->table, next);
	assert_null(world->table.paths);
}

static void leave(struct world *world, struct flow *flow)
{
	struct replica_entry *entry = flow->entry;
	struct flow_spec left = flow_leave(&world->table, flow, 1, 1000, 2000);

	flow_spec_done(&left);
	replica_vacate(&world->table.replica, entry);
}

/* A walk that pauses meets everybody else once, whoever goes or gets a new name meanwhile. */
static void test_walk(void **state)
{
	struct world *world = *state;
	struct flow *a = new_flow(world, 1, "10.99.0.1/32", 1);
	struct flow *b = new_flow(world, 2, "10.99.0.2/32", 2);
	struct flow *c = new_flow(world, 3, "10.99.0.3/32", 3);

	world->table.cursor = b;
	flow_free(&world->table, a);
	assert_ptr_equal(world->table.cursor, b);
	/* The last one stays the last. */
	world->table.cursor = c;
	leave(world, c);
	assert_ptr_equal(world->table.cursor, c);
	/* Another goes behind it. */
	world->table.cursor = b;
	leave(world, b);
	assert_ptr_equal(world->table.cursor, c);
	assert_ptr_equal(c->hh.next, b);
	flow_free(&world->table, c);
	assert_ptr_equal(world->table.cursor, b);
	flow_free(&world->table, b);
	assert_null(world->table.cursor);
}

/* The old one gone before it drained takes nothing of the next one's along. */
static void test_free_after_replacement(void **state)
{
	struct world *world = *state;
	struct flow *old = new_flow(world, 1, "10.99.0.7/32", 1);
	struct flow *next = new_flow(world, 2, "10.99.0.7/32", 2);

	flow_free(&world->table, old);
	assert_ptr_equal(by_inner(world, "10.99.0.7"), next);
	flow_free(&world->table, next);
	assert_null(by_inner(world, "10.99.0.7"));
}

static void test_promote(void **state)
{
	struct world *world = *state;
	struct udp_path first = path_of("192.0.2.1", 4000, NULL);
	struct udp_path second = path_of("192.0.2.1", 4001, NULL);
	struct flow *flow = new_flow(world, 1, "10.99.0.7/32", 1);
	struct flow_assoc *a = add_assoc(world, flow, &first, 0), *b;

	assert_ptr_equal(flow->candidate, a);
	assert_null(flow->active);
	flow->udp_dead = true;
	flow_promote(flow, 6000);
	assert_ptr_equal(flow->active, a);
	assert_null(flow->candidate);
	assert_null(flow->older);
	assert_false(flow->udp_dead);
	assert_true(flow->udp.heard_us == 6000);

	b = add_assoc(world, flow, &second, 0);
	assert_ptr_equal(flow->active, a);
	flow_promote(flow, 7000);
	assert_ptr_equal(flow->active, b);
	assert_ptr_equal(flow->older, a);
	assert_true(a->retired_us == 7000);
	assert_ptr_equal(flow_by_path(&world->table, &first, 0), a);
	flow_drop_retired(&world->table, flow, 6999);
	assert_ptr_equal(flow->older, a);
	flow_drop_retired(&world->table, flow, 7000);
	assert_null(flow->older);
	assert_null(flow_by_path(&world->table, &first, 0));
	assert_ptr_equal(flow_by_path(&world->table, &second, 0), b);
	flow_drop_assoc(&world->table, flow->active);
	assert_null(flow->active);
	flow_drop_assoc(&world->table, NULL);
	flow_free(&world->table, flow);
}

static void test_candidate_replaced(void **state)
{
	struct world *world = *state;
	struct udp_path first = path_of("192.0.2.1", 4000, NULL);
	struct udp_path second = path_of("192.0.2.1", 4001, NULL);
	struct flow *flow = new_flow(world, 1, "10.99.0.7/32", 1);
	struct flow_assoc *b;

	add_assoc(world, flow, &first, 0);
	b = add_assoc(world, flow, &second, 0);
	assert_ptr_equal(flow->candidate, b);
	assert_null(flow_by_path(&world->table, &first, 0));
	assert_ptr_equal(flow_by_path(&world->table, &second, 0), b);
	/* From where the last one came. */
	b = add_assoc(world, flow, &second, 0);
	assert_ptr_equal(flow_by_path(&world->table, &second, 0), b);
	assert_null(b->next);
	flow_free(&world->table, flow);
	assert_null(world->table.paths);
}

/* Two clients cannot share a path, but one client's two associations do, and a forged hello's too.
 */
static void test_same_path(void **state)
{
	struct world *world = *state;
	struct udp_path path = path_of("192.0.2.1", 4000, NULL);
	struct flow *one = new_flow(world, 1, "10.99.0.7/32", 1);
	struct flow *two = new_flow(world, 2, "10.99.0.8/32", 2);
	struct flow_assoc *a = add_assoc(world, one, &path, 0);
	struct flow_assoc *b = add_assoc(world, two, &path, 0), *c;

	assert_ptr_equal(flow_by_path(&world->table, &path, 0), b);
	assert_ptr_equal(b->next, a);
	assert_null(a->next);
	flow_promote(one, 6000);
	c = add_assoc(world, one, &path, 0);
	assert_ptr_equal(flow_by_path(&world->table, &path, 0), c);
	assert_ptr_equal(c->next, b);
	assert_ptr_equal(b->next, a);
	flow_free(&world->table, two); /* from the middle */
	assert_ptr_equal(flow_by_path(&world->table, &path, 0), c);
	assert_ptr_equal(c->next, a);
	flow_drop_assoc(&world->table, c); /* the first */
	assert_ptr_equal(flow_by_path(&world->table, &path, 0), a);
	flow_free(&world->table, one); /* the last */
	assert_null(flow_by_path(&world->table, &path, 0));
	assert_null(world->table.paths);
}

static const struct path_case {
	const char *name, *peer;
	uint16_t port;
	const char *local;
	unsigned socket;
	bool found;
} path_cases[] = {
	{"the same", "192.0.2.1", 4000, "198.51.100.1", 3, true},
	{"another peer", "192.0.2.2", 4000, "198.51.100.1", 3, false},
	{"another port", "192.0.2.1", 4001, "198.51.100.1", 3, false},
	{"another local address", "192.0.2.1", 4000, "198.51.100.2", 3, false},
	{"no local address", "192.0.2.1", 4000, NULL, 3, false},
	{"another socket", "192.0.2.1", 4000, "198.51.100.1", 2, false},
	{"IPv6", "2001:db8::1", 4000, "2001:db8::2", 3, false},
};

static void test_paths(void **state)
{
	struct world *world = *state;
	struct udp_path path = path_of("192.0.2.1", 4000, "198.51.100.1");
	struct flow *flow = new_flow(world, 1, "10.99.0.7/32", 1);

	add_assoc(world, flow, &path, 3);
	for (size_t i = 0; i < sizeof(path_cases) / sizeof(*path_cases); i++) {
		const struct path_case *row = &path_cases[i];
		struct udp_path other = path_of(row->peer, row->port, row->local);

		if ((flow_by_path(&world->table, &other, row->socket) != NULL) != row->found)
			fail_msg("%s", row->name);
	}
	flow_free(&world->table, flow);
}

static void test_drops(void **state)
{
	struct world *world = *state;
	struct flow *flow = new_flow(world, 1, "10.99.0.7/32", 1);
	struct counts counts = {0};

	flow_count_drop(flow, &counts, COUNT_DROP_MALFORMED);
	flow_count_drop(flow, &counts, COUNT_DROP_FRAME);
	flow_count_drop(flow, &counts, COUNT_DROP_FRAME);
	flow_count_drop(NULL, &counts, COUNT_DROP_FRAME);
	assert_int_equal(counts.of[COUNT_DROP_MALFORMED], 1);
	assert_int_equal(counts.of[COUNT_DROP_FRAME], 3);
	assert_int_equal(flow->drops[0], 1);
	assert_int_equal(flow->drops[COUNT_DROP_FRAME - COUNT_FIRST_DROP], 2);
	flow_free(&world->table, flow);
}

static struct prefix_list one_prefix(const char *text)
{
	struct prefix_list list = {0};
	struct prefix prefix;

	assert_true(prefix_parse(text, &prefix, NULL));
	prefix_list_add(&list, &prefix);
	return list;
}

/* Found by what it owns now, and by that alone. */
static void test_rules(void **state)
{
	struct world *world = *state;
	struct flow *flow = new_flow(world, 1, "10.99.0.7/32 10.20.0.0/16", 1);
	struct prefix_list own = one_prefix("10.30.0.0/16");
	struct access *access = access_compile(NULL, 0);

	flow_set_rules(&world->table, flow, &own, access);
	assert_int_equal(own.count, 0);
	assert_ptr_equal(flow->spec.access, access);
	assert_ptr_equal(by_inner(world, "10.30.1.1"), flow);
	assert_null(by_inner(world, "10.20.1.1"));
	assert_null(by_inner(world, "10.99.0.7"));
	assert_true(owns(flow, "10.30.1.1"));
	assert_false(owns(flow, "10.99.0.7"));
	access_free(access);
	flow_free(&world->table, flow);
	assert_null(by_inner(world, "10.30.1.1"));
}

/* Its successor is found, whatever it owns. */
static void test_rules_of_a_draining_flow(void **state)
{
	struct world *world = *state;
	struct flow *old = new_flow(world, 1, "10.99.0.7/32", 1);
	struct flow *flow = new_flow(world, 2, "10.99.0.7/32", 2);
	struct prefix_list own = one_prefix("10.99.0.7/32");
	struct access *access = access_compile(NULL, 0);

	flow_drain(&world->table, old, 1);
	flow_set_rules(&world->table, old, &own, access);
	assert_ptr_equal(by_inner(world, "10.99.0.7"), flow);
	assert_ptr_equal(old->spec.access, access);
	access_free(access);
	flow_free(&world->table, old);
	assert_ptr_equal(by_inner(world, "10.99.0.7"), flow);
	flow_free(&world->table, flow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_app_id_lengths),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_free_after_replacement),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_promote),
		cmocka_unit_test(test_candidate_replaced),
		cmocka_unit_test(test_same_path),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_drops),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_rules_of_a_draining_flow),
	};

	return cmocka_run_group_tests(tests, make_world, free_world);
}
