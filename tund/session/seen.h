#pragma once
/* The certificates that were let in, as the store keeps them, for `revoke NAME`: found by issuer and
 * serial. Main thread. */

#include <uthash.h>

#include "session/store.h"

enum { SEEN_MAX = 100000 }; /* as many as the store keeps */

struct seen { /* a store_seen in a third of its size */
	enum identity_kind kind;
	char *name, *subject, *issuer;
	uint8_t root[32];
	struct trust_denial key;
	int64_t first_at_s, last_at_s, not_after_s;
	UT_hash_handle hh;
};

struct seen_table {
	struct seen *first; /* others follow by hh.next, oldest first */
};

void seen_done(struct seen_table *table);
/* Copied; of one that is known only the time. Beyond SEEN_MAX no new one is remembered. */
void seen_remember(struct seen_table *table, const struct store_seen *seen);
struct seen *seen_find(const struct seen_table *table, const struct trust_denial *key);
struct store_seen seen_expand(const struct seen *seen);
