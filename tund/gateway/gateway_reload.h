#pragma once
/* The gateway's part of a reload: see gateway_reload.c. Main thread, in this order, in one turn;
 * one at a time. */

#include "gateway/gateway.h"
#include "pki/material.h"

struct gateway_reload; /* made ready, not in force */

struct gateway_reload_session {
	uint64_t id;
	char identity[IDENTITY_NAME_MAX + 1];
	struct endpoint peer;
	enum reason reason; /* NONE: it stays */
};

struct gateway_reload_result {
	struct gateway_reload_session *cut, *changed; /* changed: its rights */
	size_t cut_count, changed_count;
	void (*done)(struct gateway_reload_result *result, void *user);
	void *user;
};

/* All that can fail. NULL with one line in error; nothing has changed then. What renewal names is
 * in use until the next reload's ask has returned. */
struct gateway_reload *gateway_reload_prepare(const struct gateway *gateway,
					      const struct material_renewal *renewal, char *error,
					      size_t size);
void gateway_reload_free(struct gateway_reload *reload); /* NULL is fine */
/* Takes reload: in force for whoever comes from now on. The sessions' blocks are still those of the
 * configuration before. */
void gateway_reload_swap(struct gateway *gateway, struct gateway_reload *reload);
/* Every session: when this returns, none stands on the configuration before. since: what the cuts'
 * delays are measured from. done is called later, once all certificates have been asked about, or
 * another asking has taken this one's place, and no worker goes by the old rules any more; it frees
 * with gateway_reload_result_free. */
void gateway_reload_ask(struct gateway *gateway, const struct delay_since *since,
			void (*done)(struct gateway_reload_result *result, void *user), void *user);
/* Nobody is asked any more; done is still called. */
void gateway_reload_stop(struct gateway *gateway);
void gateway_reload_result_free(struct gateway_reload_result *result);
