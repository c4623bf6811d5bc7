#pragma once
/* Durable state in SQLite (WAL, synchronous=FULL, so that a commit is on disk): leases, session
 * cookies (their hashes), certificates seen under each identity, denials. A thread of its own makes
 * all file calls; requests and answers are messages; answers arrive on the main loop in the order
 * of requests. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <uv.h>

#include "base/addr.h"
#include "pki/identity.h"
#include "pki/trust.h"

struct store;

struct store_lease {
	char key[400];
	struct addr v4, v6;
	int64_t used_at_s;
};

struct store_cookie {	  /* a session that may be taken over after a restart */
	uint8_t hash[32]; /* SHA-256 of the cookie */
	struct identity identity;
	char lease_key[400];
	int64_t expires_at_s; /* wall clock */
};

struct store_denied {
	struct trust_denial denial;
	char identity[320]; /* printed, with its kind */
	char subject[512], issuer[512];
	char reason[256]; /* the operator's words */
	int64_t denied_at_s;
};

struct store_seen { /* a certificate that was accepted once */
	struct identity identity;
	struct trust_denial key; /* issuer, serial, public key */
	char subject[512], issuer[512];
	int64_t first_at_s, last_at_s, not_after_s;
};

struct store_state { /* what was there at the start */
	struct store_lease *leases;
	size_t lease_count;
	struct store_cookie *cookies;
	size_t cookie_count;
	struct store_denied *denied;
	size_t denied_count;
	struct store_seen *seen;
	size_t seen_count;
};

/* error: 0 or -errno (EIO, ENOSPC, ...); text: one line or NULL. On the main loop. */
typedef void (*store_done_fn)(int error, const char *text, void *user);

/* Starts the thread, which calls enter (may be NULL; sandboxing) and then opens or makes
 * DIRECTORY/state.db, and waits until what is stored has been read. A file that is not a database,
 * of a newer schema, or of a directory that cannot be written: -errno and one line in error. */
int store_start(const char *directory, uv_loop_t *loop, int (*enter)(void), struct store **ret,
		struct store_state *ret_state, char *error, size_t size);
void store_state_done(struct store_state *state);
/* Finishes what was asked for, ends the thread, closes the handle through the loop. */
void store_stop(struct store *store);

/* Each copies its argument. done may be NULL for those that may be lost (logged by the store, once,
 * and again when it recovers). */
void store_put_lease(struct store *store, const struct store_lease *lease);
void store_put_cookie(struct store *store, const struct store_cookie *cookie);
void store_drop_cookie(struct store *store, const uint8_t hash[static 32]);
void store_put_seen(struct store *store, const struct store_seen *seen);
/* All in one transaction; done once it is on disk (fdatasync) or has failed. */
void store_deny(struct store *store, const struct store_denied *denied, size_t count,
		store_done_fn done, void *user);
void store_undeny(struct store *store, const struct trust_denial *denials, size_t count,
		  store_done_fn done, void *user);
/* Whether the last write failed, with its text: for status. NULL when all is well. Main thread. */
const char *store_trouble(const struct store *store);
