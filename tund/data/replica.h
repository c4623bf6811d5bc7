#pragma once
/* What a worker knows of every session of the gateway: which worker carries it, by which inner
 * addresses and App-ID it is found. One a worker; changed only by main's messages and by the moves
 * of its own flows. One thread at a time. */

#include <stdbool.h>
#include <stdint.h>

#include <uthash.h>

#include "base/prefix_map.h"
#include "channel/dtls.h"

struct flow;
struct flow_spec;

struct replica_entry {
	uint64_t session;
	struct flow *flows; /* all of it that this worker has, in any state */
	/* Of the flow that carries it; spec NULL: none does. */
	struct flow_spec *spec; /* here's own, or a copy without channels */
	struct flow *here;	/* NULL: another worker's */
	struct flow *guest;	/* an association that was opened here for another worker's */
	unsigned worker;	/* who has it, unless it is here */
	bool has_app_id;
	uint8_t app_id[DTLS_APP_ID];
	UT_hash_handle hh, hh_app;
};

struct replica {
	struct replica_entry *by_session, *by_app_id;
	struct prefix_map *by_inner;
};

void replica_init(struct replica *replica);
void replica_done(struct replica *replica); /* no flow is left */

struct replica_entry *replica_find(struct replica *replica, uint64_t session);
struct replica_entry *replica_by_inner(struct replica *replica, unsigned family,
				       const uint8_t *address);
struct replica_entry *replica_by_app_id(struct replica *replica, const uint8_t *app_id);

/* The session's entry, made where there is none. */
struct replica_entry *replica_of(struct replica *replica, uint64_t session);
/* This flow carries the session from now on; the one before is in no lookup any more. */
void replica_place_here(struct replica *replica, struct replica_entry *entry, struct flow *flow);
/* Takes spec (no channels in it). */
void replica_place_there(struct replica *replica, struct replica_entry *entry,
			 struct flow_spec *spec, unsigned worker);
/* No flow carries it. */
void replica_vacate(struct replica *replica, struct replica_entry *entry);
/* The inner addresses of who carries it are about to change, and have. */
void replica_leave_inner(struct replica *replica, struct replica_entry *entry);
void replica_enter_inner(struct replica *replica, struct replica_entry *entry);
/* Frees the entry if nothing is left in it. */
void replica_release(struct replica *replica, struct replica_entry *entry);
