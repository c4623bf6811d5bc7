#pragma once
/* The workers, as main sees them: whom a flow is given to, and what all of them are told. */

#include "gateway/gateway.h"

/* 0 or -errno. */
int crew_start(struct gateway *gateway);
/* After the last WORKER_STOPPED. */
void crew_free(struct gateway *gateway);

/* The flow carries its session from now on: to the worker that has the one it replaces, else to the
 * one with the fewest. Takes spec. */
void crew_attach(struct gateway *gateway, struct session *session, struct flow_spec *spec);
/* The session's flow is over, by itself. */
void crew_forget(struct gateway *gateway, struct session *session);
/* Every flow of the session goes, whichever worker has it or is about to; then (may be NULL) waits
 * for all. text NULL: silently. */
void crew_cut(struct gateway *gateway, struct session *session, enum reason reason,
	      const char *text, struct gateway_cut *then);
/* The same for what it may do from now on. Takes spec, of which own and access count. */
void crew_set_rules(struct gateway *gateway, const struct session *session, struct flow_spec *spec,
		    struct gateway_cut *then);
/* The configuration's settings, to all. */
void crew_tune(struct gateway *gateway);
void crew_report(struct gateway *gateway, struct gateway_report *report);
void crew_stop(struct gateway *gateway);

/* A worker has told. */
void crew_take_guest(struct gateway *gateway, const struct worker_event *event);
void crew_take_moved(struct gateway *gateway, const struct worker_event *event);
/* True with the last one. */
bool crew_take_report(struct worker_event *event);
bool crew_take_stopped(struct gateway *gateway);
