#pragma once
/* A flow goes from one worker to another, because its device's datagrams now arrive there: see
 * move.c. */

#include "data/worker.h"
#include "wire/cstp.h"

/* What goes along with a flow, beside its spec. */
struct move_luggage {
	struct flow_pulse tcp;
	struct rate hello_rate, error_rate;
	unsigned mtu;
	bool contested;
	int64_t carried_us, foreign_us;
	uint64_t drops[COUNT_MAX - COUNT_FIRST_DROP];
};

/* The bye of a flow that was cut while it was on its way here. */
struct move_farewell {
	struct move_farewell *next;
	uint64_t flow;
	int64_t until_us;
	char bye[CSTP_TEXT_MAX];
};

/* A guest's association has shaken hands. */
void move_ask(struct worker *worker, struct flow *guest);
/* What liveness does for other flows. False when the guest is gone. */
bool move_tick_guest(struct worker *worker, struct flow *guest, int64_t now_us);

/* ---- orders ---- */

/* WORKER_RELEASE: the flow leaves for order->to. */
void move_release(struct worker *worker, const struct worker_order *order);
/* WORKER_ADOPT, from another worker: it is here. Takes what is in the order. */
void move_adopt(struct worker *worker, struct worker_order *order);
/* The session is being cut: if its flow is on its way here, it is to hear why. */
void move_bid_farewell(struct worker *worker, const struct replica_entry *entry, const char *bye);
void move_forget_farewells(struct worker *worker, int64_t now_us);
