#pragma once
/* Whether a flow's peer is there: see liveness.c. */

#include "data/worker.h"

enum { LIVENESS_TICK_MS = 100 };

/* Every LIVENESS_TICK_MS: all flows that are awake or due. */
void liveness_tick(struct worker *worker);
/* What a flow that has just been attached has to do at once. It may be gone then. */
void liveness_tick_flow(struct worker *worker, struct flow *flow);
/* Anything authentic arrived over the active association. */
void liveness_heard_udp(struct worker *worker, struct flow *flow);
/* A DPD response over DTLS. */
void liveness_take_answer(struct worker *worker, struct flow *flow, const uint8_t *payload,
			  size_t len);
/* A new association is active: how much does its path carry? */
void liveness_start_mtu_probe(struct worker *worker, struct flow *flow);
/* A record was refused for its size. */
void liveness_path_shrank(struct worker *worker, struct flow *flow);
