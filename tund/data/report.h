#pragma once
/* What main asks about all flows of a worker at once: see report.c. */

#include <uv.h>

#include "data/flow.h"

struct worker;
struct report_question;

/* A worker's part; its own file's alone. */
struct report {
	uv_idle_t turn;
	struct report_question *waiting;
	struct worker_event *event; /* being filled; NULL: nothing is asked */
	uint32_t number;	    /* of this one, ever */
	size_t room, ended;	    /* rows; those of flows that have gone */
};

void report_open(struct worker *worker); /* once it has a loop */
/* Answered with WORKER_REPORTED and tag, perhaps before this returns. */
void report_ask(struct worker *worker, void *tag);
/* The flow is about to go, or to leave for another worker: what it has carried so far is this
 * worker's. */
void report_leave(struct worker *worker, struct flow *flow);
/* All that was asked is answered now. */
void report_finish(struct worker *worker);
