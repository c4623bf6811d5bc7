/* gateway/crew: main's side of flows that move between workers, with real workers that are driven by
 * hand. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "gateway/crew.h"
#include "rig.h"

enum { A, B, C, CREW };

/* A gateway that is nothing but its workers, and a session of which rig_attach has made the flow. */
struct world {
	struct rig *rig;
	struct gateway gateway;
	struct session *session;
	struct rig_peer *peer;
	size_t flows[CREW];
};

static int make_world(void **state)
{
	struct world *world = xnew(struct world);
	struct identity identity = {.name = "alice"};

	world->rig = rig_new_crew(CREW);
	world->gateway.crew.workers = world->rig->crew;
	world->gateway.crew.count = CREW;
	world->gateway.crew.flows = world->flows;
	world->session = session_table_add(&world->gateway.sessions, &identity);
	world->peer = rig_attach(world->rig, &(struct rig_flow){.session = world->session->id});
	world->session->flow = world->peer->flow;
	world->flows[A] = 1;
	*state = world;
	return 0;
}

static int free_world(void **state)
{
	struct world *world = *state;

	rig_peer_free(world->peer);
	session_table_remove(&world->gateway.sessions, world->session);
	session_table_done(&world->gateway.sessions);
	rig_free(world->rig);
	free(world);
	return 0;
}

static void visit(struct world *world, size_t worker)
{
	rig_roam(world->peer, worker);
	rig_shake(world->peer);
}

/* What workers have told reaches main. True when there was something. */
static bool hear(struct world *world)
{
	struct worker_event *event;

	rig_step(world->rig);
	event = rig_event(world->rig, WORKER_GUEST);
	if (event) {
		crew_take_guest(&world->gateway, event);
		return true;
	}
	event = rig_event(world->rig, WORKER_MOVED);
	if (event)
		crew_take_moved(&world->gateway, event);
	return event != NULL;
}

static bool is_at(struct world *world, size_t worker)
{
	for (size_t i = A; i < CREW; i++) {
		struct flow *flow = rig_flow_at(world->peer, i);

		if ((flow && flow->state == FLOW_OPEN) != (i == worker) ||
		    world->flows[i] != (i == worker))
			return false;
	}
	return world->session->worker == worker && world->session->bound_for == worker;
}

static void test_follows_its_device(void **state)
{
	static const size_t way[] = {B, C, A, C};
	struct world *world = *state;

	for (size_t i = 0; i < 4; i++) {
		visit(world, way[i]);
		while (hear(world))
			;
		assert_true(is_at(world, way[i]));
	}
}

/* Two ask before main has heard of either: it ends with the later one. */
static void test_the_latest_gets_it(void **state)
{
	struct world *world = *state;

	visit(world, B);
	visit(world, C);
	while (hear(world))
		;
	assert_true(is_at(world, C));
}

/* While it is on its way nobody is told to let it go. */
static void test_one_move_at_a_time(void **state)
{
	struct world *world = *state;
	struct worker_event asks = {.kind = WORKER_GUEST, .flow = 1, .session = 1, .worker = C};

	asks.session = world->session->id;
	visit(world, B);
	crew_take_guest(&world->gateway, rig_event(world->rig, WORKER_GUEST));
	crew_take_guest(&world->gateway, &asks);
	assert_int_equal(world->session->bound_for, B);
	rig_step(world->rig);
	crew_take_moved(&world->gateway, rig_event(world->rig, WORKER_MOVED));
	assert_int_equal(world->session->bound_for, C);
	while (hear(world))
		;
	assert_true(is_at(world, C));
}

/* Of a flow that does not carry the session any more nobody takes notice. */
static void test_news_of_old_flows(void **state)
{
	struct world *world = *state;
	struct worker_event event = {.flow = 77, .session = world->session->id, .worker = B};

	crew_take_guest(&world->gateway, &event);
	crew_take_moved(&world->gateway, &event);
	event = (struct worker_event){.flow = 1, .session = 4711, .worker = B};
	crew_take_guest(&world->gateway, &event);
	crew_take_moved(&world->gateway, &event);
	rig_step(world->rig);
	assert_true(is_at(world, A));
}

/* A new flow goes where the one it replaces is or is about to be, else where there are fewest. */
static void test_attach(void **state)
{
	struct world *world = *state;
	struct flow_spec spec = {.id = 2, .replaces = 1, .name = xalloc_string("alice")};

	world->session->bound_for = C;
	assert_int_equal(world->flows[A], 1);
	world->rig->crew[C]->stopped = true; /* there is no channel to attach */
	crew_attach(&world->gateway, world->session, &spec);
	assert_null(spec.name);
	assert_int_equal(world->session->flow, 2);
	assert_int_equal(world->session->worker, C);
	assert_int_equal(world->flows[A], 0);
	assert_int_equal(world->flows[C], 1);
	crew_forget(&world->gateway, world->session);
	assert_int_equal(world->flows[C], 0);
	assert_int_equal(world->session->flow, 0);
	world->flows[A] = world->flows[C] = 5;
	world->rig->crew[B]->stopped = true;
	spec = (struct flow_spec){.id = 3};
	crew_attach(&world->gateway, world->session, &spec);
	assert_int_equal(world->session->worker, B);
	rig_step(world->rig);
	world->rig->crew[B]->stopped = world->rig->crew[C]->stopped = false;
}

/* One row a session: its open flow's, with what else carries for it. */
static void test_reports(void **state)
{
	static struct worker_flow_report first[] = {
		{.id = 5, .session = 2, .is_open = true, .traffic = {.rx_packets = 10}},
		{.id = 9, .session = 1, .traffic = {.rx_packets = 1}},
	};
	static struct worker_flow_report second[] = {
		{.id = 4, .session = 2, .traffic = {.rx_packets = 100}},
		{.id = 3, .session = 1, .is_open = true, .traffic = {.rx_packets = 2}},
		{.id = 7, .session = 3, .traffic = {.rx_packets = 7}},
	};
	struct gateway_report report = {.waiting = 2, .udp_offloads = 3};
	struct worker_event events[] = {
		{.tag = &report, .flows = first, .flow_count = 2, .udp_offloads = 3},
		{.tag = &report, .flows = second, .flow_count = 3, .udp_offloads = 1},
	};
	struct session session = {.id = 1, .flow = 3};

	(void)state;
	events[0].counts.of[COUNT_TUN_READS] = 5;
	events[1].counts.of[COUNT_TUN_READS] = 6;
	events[0].traffic.tx_bytes = 50;
	events[1].traffic.tx_bytes = 60;
	assert_false(crew_take_report(&events[0]));
	assert_true(crew_take_report(&events[1]));
	assert_int_equal(report.counts.of[COUNT_TUN_READS], 11);
	assert_int_equal(report.traffic.tx_bytes, 110);
	assert_int_equal(report.udp_offloads, 1);
	assert_int_equal(gateway_report_of(&report, &session)->traffic.rx_packets, 3);
	session = (struct session){.id = 2, .flow = 5};
	assert_int_equal(gateway_report_of(&report, &session)->traffic.rx_packets, 110);
	session = (struct session){.id = 2, .flow = 4};
	assert_null(gateway_report_of(&report, &session));
	session = (struct session){.id = 3, .flow = 7}; /* it is on its way */
	assert_null(gateway_report_of(&report, &session));
	session = (struct session){.id = 4, .flow = 1};
	assert_null(gateway_report_of(&report, &session));
	free(report.flows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_follows_its_device, make_world, free_world),
		cmocka_unit_test_setup_teardown(test_the_latest_gets_it, make_world, free_world),
		cmocka_unit_test_setup_teardown(test_one_move_at_a_time, make_world, free_world),
		cmocka_unit_test_setup_teardown(test_news_of_old_flows, make_world, free_world),
		cmocka_unit_test_setup_teardown(test_attach, make_world, free_world),
		cmocka_unit_test(test_reports),
	};

	return cmocka_run_group_tests(tests, rig_open_program, rig_close_program);
}
