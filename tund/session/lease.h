#pragma once
/* Which inner addresses an identity holds. Sticky: who comes back gets the same ones as long as
 * nobody else needs them; when a pool runs out of fresh addresses, the one released longest ago is
 * given away. */

#include <stdbool.h>
#include <stdint.h>

#include "base/prefix.h"

enum { LEASE_KEY_MAX = 400 };

struct lease_pool;

struct lease {
	char key[LEASE_KEY_MAX]; /* whom it is for: identity_key(), plus "#2" for a second place */
	struct addr v4, v6;	 /* family 0: none of that family */
	unsigned v6_len;	 /* prefix length told to the device: 128 */
};

/* pools: at most one prefix a family is used first, more are used in turn when it is full. The
 * first address of each is the gateway's own (and the network and broadcast addresses of IPv4 are
 * not given out). reserved: never given out by chance (fixed addresses of sites, the gateway's
 * outer addresses). */
struct lease_pool *lease_pool_new(const struct prefix_list *pools,
				  const struct prefix_list *reserved);
void lease_pool_free(struct lease_pool *pool);
/* In place of what was reserved before. Who holds one of them keeps it. */
void lease_pool_reserve(struct lease_pool *pool, const struct prefix_list *reserved);
/* The gateway's own address in the pool of that family, with the pool's length; false: no such
 * pool. */
bool lease_pool_own(const struct lease_pool *pool, unsigned family, struct prefix *ret);

/* What a key held last, from the durable state, before anything is taken. Later ones overwrite.
 * Addresses outside the pools are ignored. */
void lease_remember(struct lease_pool *pool, const char *key, const struct addr *v4,
		    const struct addr *v6, int64_t used_at_s);

/* 0; -ENOSPC when a wanted family's pools are full (nothing is taken); -EEXIST when the key holds a
 * lease already. A family without a pool is left out; -EAFNOSUPPORT when none is left. The lease
 * belongs to the pool until released. */
int lease_take(struct lease_pool *pool, const char *key, bool want4, bool want6,
	       struct lease **ret);
/* As above, but of a family with a fixed address (NULL: none) that one, whether in a pool or not.
 * -EADDRINUSE when another lease holds it. */
int lease_take_fixed(struct lease_pool *pool, const char *key, const struct addr *fixed4,
		     const struct addr *fixed6, bool want4, bool want6, struct lease **ret);
void lease_release(struct lease_pool *pool, struct lease *lease, int64_t now_s);
unsigned lease_pool_used(const struct lease_pool *pool, unsigned family);
uint64_t lease_pool_size(const struct lease_pool *pool, unsigned family);
/* One of the prefixes, in their order: how many of its addresses are held, and how many there are
 * to give out. False past the last one. */
bool lease_pool_range(const struct lease_pool *pool, size_t index, struct prefix *ret_prefix,
		      unsigned *ret_used, uint64_t *ret_size);
