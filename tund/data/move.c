/* How a flow X goes from worker A to worker B (it lives where its datagrams arrive):
 *
 *	device    hello with X's App-ID to B's socket (the kernel shares out by addresses and ports)
 *	B         knows X from its replica: FLOW_GUEST with a candidate. The App-ID can be replayed
 *	          and proves nothing; Finished does, and then
 *	B ▶ main  WORKER_GUEST. The guest receives already, by the rules in the replica
 *	main ▶ A  WORKER_RELEASE, if X still carries its session and is not on its way elsewhere
 *	A ▶ B     WORKER_ADOPT: channel, spec, luggage. A keeps a shell, whose associations receive
 *	          what was under way, and hands packets for X over to B from now on
 *	B ▶ main  WORKER_MOVED; main tells the others (WORKER_WHERE)
 *
 * What may come between. Mailboxes are first in, first out per sender, and B reads its orders
 * before it takes what a ring or a socket brought, so B has X before the first packet that A hands
 * over. Main's orders about a session go to every worker:
 *
 *	cut       before RELEASE: A has it, B's guest goes, ADOPT never comes
 *	          A has released, B is told before ADOPT comes: X is in no lookup of B, and ADOPT finds
 *	          the farewell: the device hears why, nothing is carried
 *	          B is told after ADOPT: like any flow. So once all have acknowledged, no packet passes
 *	rules     B told before ADOPT: the guest and the replica have them, and win over what X brings
 *	replaced  by Y: what ADOPT brings to B then drains, like a flow that was there
 *	ended     by A before RELEASE: RELEASE finds nothing; main forgets X everywhere
 *	moved on  a third worker's guest has asked: main waits for MOVED, then goes on to the latest
 *	stop      B's mailbox still frees what it gets */
#include "data/move.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "data/inbound.h"
#include "data/liveness.h"

enum {
	SHELL_US = 3 * 1000000,	    /* what was under way on the old path */
	GUEST_US = 12 * 1000000,    /* without an answer, or without the handshake's end */
	ASK_AGAIN_US = 1 * 1000000, /* the device keeps sending here */
	FAREWELL_US = 5 * 1000000,
};

/* ---- B: the guest ---- */

void move_ask(struct worker *worker, struct flow *guest)
{
	guest->asked_us = clock_now_us();
	worker_tell_flow(worker, WORKER_GUEST, guest);
}

bool move_tick_guest(struct worker *worker, struct flow *guest, int64_t now_us)
{
	bool is_wanted = guest->entry->guest == guest;
	int64_t heard_us = guest->active ? guest->active->heard_us : 0;

	if ((!guest->candidate && !guest->active) ||
	    (!guest->candidate && now_us - heard_us > GUEST_US)) {
		worker_drop_guest(worker, guest);
		return false;
	}
	/* Two of one device asked at once, and this is the one that it uses. */
	if (is_wanted && guest->asked_us && heard_us > guest->asked_us &&
	    now_us - guest->asked_us > ASK_AGAIN_US)
		move_ask(worker, guest);
	return true;
}

/* ---- A: it leaves ---- */

static void pack(const struct flow *flow, struct move_luggage *ret)
{
	*ret = (struct move_luggage){
		.tcp = flow->tcp,
		.hello_rate = flow->hello_rate,
		.error_rate = flow->error_rate,
		.mtu = flow->mtu,
		.contested = flow->contested,
		.carried_us = flow->carried_us,
		.foreign_us = flow->foreign_us,
	};
	memcpy(ret->drops, flow->drops, sizeof(ret->drops));
}

void move_release(struct worker *worker, const struct worker_order *order)
{
	struct flow *flow = flow_find(&worker->table, order->flow);
	int64_t now_us = clock_now_us();
	struct worker_order *adopt;

	if (!flow || flow->state != FLOW_OPEN || flow->entry->here != flow)
		return;
	worker_unwatch(worker, flow);
	worker_tell_flow(worker, WORKER_CARRIED, flow);
	report_leave(worker, flow);
	adopt = xnew(struct worker_order);
	adopt->kind = WORKER_ADOPT;
	adopt->flow = order->flow;
	adopt->session = flow->spec.session;
	adopt->luggage = xnew(struct move_luggage);
	pack(flow, adopt->luggage);
	adopt->spec = flow_leave(&worker->table, flow, order->to, now_us, now_us + SHELL_US);
	worker_post(worker->crew[order->to], adopt);
}

/* ---- B: it is here ---- */

static void unpack(struct flow *flow, const struct move_luggage *luggage)
{
	flow->tcp = luggage->tcp;
	flow->hello_rate = luggage->hello_rate;
	flow->error_rate = luggage->error_rate;
	flow->mtu = luggage->mtu;
	flow->contested |= luggage->contested;
	flow->foreign_us = luggage->foreign_us;
	if (flow->carried_us < luggage->carried_us)
		flow->carried_us = luggage->carried_us;
	for (size_t i = 0; i < COUNT_MAX - COUNT_FIRST_DROP; i++)
		flow->drops[i] += luggage->drops[i];
}

static void settle(struct worker *worker, struct flow *flow, struct worker_order *order)
{
	flow_take_spec(flow, &order->spec);
	flow_settle(&worker->table, flow);
	unpack(flow, order->luggage);
	if (!flow->spec.is_site)
		flow->spec.idle_us = worker->options.idle_us;
	worker->counts.of[COUNT_FLOWS_MOVED]++;
	worker_tell_flow(worker, WORKER_MOVED, flow);
	flow->over_dtls = flow->active != NULL;
	worker_tell_transport(worker, flow);
	if (flow->active)
		liveness_start_mtu_probe(worker, flow);
	worker_watch(worker, flow);
}

static struct move_farewell *take_farewell(struct worker *worker, uint64_t flow)
{
	struct move_farewell **link = &worker->farewells, *found;

	while (*link && (*link)->flow != flow)
		link = &(*link)->next;
	found = *link;
	if (found)
		*link = found->next;
	return found;
}

/* It was cut or replaced while it was under way; the guest, if there is one, goes with it. */
static void end_arrival(struct worker *worker, struct flow *guest, struct worker_order *order)
{
	struct move_farewell *farewell = take_farewell(worker, order->flow);

	if (guest)
		worker_drop_guest(worker, guest);
	worker_say_bye(worker, take(order->spec.tls), farewell ? farewell->bye : NULL);
	free(farewell);
}

/* Its successor has all but what is still under way to it. */
static void drain_arrival(struct worker *worker, struct replica_entry *entry, struct flow *guest,
			  struct worker_order *order)
{
	int64_t now_us = clock_now_us();
	struct flow *flow = guest;

	if (guest)
		flow_take_spec(guest, &order->spec);
	else
		flow = flow_new_stray(&worker->table, entry, &order->spec, now_us);
	flow_drain(&worker->table, flow, now_us + (int64_t)SHELL_US);
	unpack(flow, order->luggage);
	worker_watch(worker, flow);
}

void move_adopt(struct worker *worker, struct worker_order *order)
{
	struct replica_entry *entry = replica_find(&worker->table.replica, order->session);
	struct flow *flow = flow_find(&worker->table, order->flow);
	const struct flow_spec *current = entry ? entry->spec : NULL;

	if (current && current->id == order->flow) {
		if (!flow)
			flow = flow_new_guest(&worker->table, entry, clock_now_us());
		settle(worker, flow, order);
	} else if (current && current->replaces == order->flow) {
		drain_arrival(worker, entry, flow, order);
	} else {
		end_arrival(worker, flow, order);
	}
}

/* ---- B: it was cut before it was here ---- */

void move_bid_farewell(struct worker *worker, const struct replica_entry *entry, const char *bye)
{
	struct move_farewell *farewell;

	if (!entry->guest || !entry->guest->asked_us)
		return;
	farewell = xnew(struct move_farewell);
	farewell->flow = entry->guest->spec.id;
	farewell->until_us = clock_now_us() + (int64_t)FAREWELL_US;
	snprintf(farewell->bye, sizeof(farewell->bye), "%s", bye);
	farewell->next = worker->farewells;
	worker->farewells = farewell;
}

void move_forget_farewells(struct worker *worker, int64_t now_us)
{
	struct move_farewell **link = &worker->farewells;

	while (*link) {
		struct move_farewell *farewell = *link;

		if (now_us < farewell->until_us) {
			link = &farewell->next;
			continue;
		}
		*link = farewell->next;
		free(farewell);
	}
}
