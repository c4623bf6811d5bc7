/* An address that a key holds, or held last, is a place. Places are found by address, the keys they
 * belong to by name. A place in use belongs to a lease; one that is not waits for its key in a
 * queue, oldest first, and goes to somebody else once the pools have no fresh address left. */
#include "session/lease.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

#include "base/addr.h"
#include "base/prefix_map.h"
#include "base/xalloc.h"

/* Addresses remembered of one family. A /64 never runs out, memory would. */
enum { WAITING_MAX = 100000 };

enum { V4, V6, FAMILIES };

struct holder;

struct place {
	struct addr addr; /* family 0: none */
	struct holder *holder;
	bool in_use, is_fixed;
	int64_t released_at_s;
	struct place *prev, *next; /* among those that wait */
	UT_hash_handle hh;	   /* by addr */
};

struct holder {
	struct lease lease;
	bool is_out; /* the lease is taken */
	struct place places[FAMILIES];
	UT_hash_handle hh; /* by lease.key */
};

/* One prefix of the pool. Offsets count from its first address. */
struct range {
	struct prefix prefix;
	uint64_t own, first, last; /* the gateway's; what may be given out, first > last: nothing */
	uint64_t next;		   /* where to look for a fresh one */
	unsigned used;
	bool is_exhausted; /* looked everywhere, and nothing was forgotten since */
};

struct lease_pool {
	struct range *ranges;
	size_t range_count;
	struct prefix_list reserved;
	struct prefix_map *reserved_map; /* to the prefix in the list */
	struct holder *holders;
	struct place *by_addr;
	struct place *waiting[FAMILIES]; /* oldest first */
	unsigned waiting_count[FAMILIES];
};

static unsigned family_index(unsigned family)
{
	return family == 4 ? V4 : V6;
}

/* ---- ranges ---- */

static struct range make_range(const struct prefix *prefix)
{
	struct range range = {.prefix = *prefix, .last = prefix_size(prefix) - 1};

	if (range.last >= 2) {
		range.own = 1; /* 0 is the network, of IPv6 the routers' anycast address */
		if (prefix->addr.family == 4)
			range.last--; /* broadcast */
	}
	range.first = range.own + 1;
	range.next = range.first;
	return range;
}

static struct addr own_address(const struct range *range)
{
	return addr_add(&range->prefix.addr, range->own);
}

static struct range *find_range(const struct lease_pool *pool, const struct addr *addr)
{
	for (size_t i = 0; i < pool->range_count; i++) {
		if (prefix_contains(&pool->ranges[i].prefix, addr))
			return &pool->ranges[i];
	}
	return NULL;
}

static bool has_family(const struct lease_pool *pool, unsigned family)
{
	for (size_t i = 0; i < pool->range_count; i++) {
		if (pool->ranges[i].prefix.addr.family == family)
			return true;
	}
	return false;
}

static uint64_t low_bits(const struct addr *addr)
{
	unsigned bytes = addr_bits(addr) / 8;
	uint64_t value = 0;

	for (unsigned i = bytes > 8 ? bytes - 8 : 0; i < bytes; i++)
		value = value << 8 | addr->bytes[i];
	return value;
}

static uint64_t offset_in(const struct range *range, const struct addr *addr)
{
	return low_bits(addr) - low_bits(&range->prefix.addr);
}

static const struct prefix *find_reserved(const struct lease_pool *pool, const struct addr *addr)
{
	return prefix_map_find(pool->reserved_map, addr->family, addr->bytes);
}

static bool is_own(const struct lease_pool *pool, const struct addr *addr)
{
	const struct range *range = find_range(pool, addr);
	struct addr own;

	if (!range)
		return false;
	own = own_address(range);
	return addr_equal(addr, &own);
}

/* Whether it may be given out by chance. */
static bool is_for_all(const struct lease_pool *pool, const struct addr *addr)
{
	const struct range *range = find_range(pool, addr);
	uint64_t offset;

	if (!range || find_reserved(pool, addr))
		return false;
	offset = offset_in(range, addr);
	return offset >= range->first && offset <= range->last;
}

/* ---- places ---- */

static struct place *find_place(const struct lease_pool *pool, const struct addr *addr)
{
	struct place *place;

	HASH_FIND(hh, pool->by_addr, addr, sizeof(*addr), place);
	return place;
}

static void add_waiting(struct lease_pool *pool, struct place *place)
{
	unsigned index = family_index(place->addr.family);
	struct place *after = pool->waiting[index] ? pool->waiting[index]->prev : NULL;

	/* From the end, where it nearly always belongs; the first one's prev is the last one. */
	while (after && after->released_at_s > place->released_at_s)
		after = after == pool->waiting[index] ? NULL : after->prev;
	if (!pool->waiting[index])
		DL_APPEND(pool->waiting[index], place);
	else if (after)
		DL_APPEND_ELEM(pool->waiting[index], after, place);
	else
		DL_PREPEND(pool->waiting[index], place);
	pool->waiting_count[index]++;
}

static void drop_waiting(struct lease_pool *pool, struct place *place)
{
	unsigned index = family_index(place->addr.family);

	DL_DELETE(pool->waiting[index], place);
	pool->waiting_count[index]--;
}

/* Frees a holder that has nothing any more. */
static void prune_holder(struct lease_pool *pool, struct holder *holder)
{
	if (holder->is_out || holder->places[V4].addr.family || holder->places[V6].addr.family)
		return;
	HASH_DEL(pool->holders, holder);
	free(holder);
}

/* Takes its address from a place that is not in use. */
static void clear_place(struct lease_pool *pool, struct place *place)
{
	drop_waiting(pool, place);
	HASH_DEL(pool->by_addr, place);
	place->addr = (struct addr){0};
}

/* As above; the address is fresh again, and the holder may go. */
static void forget_place(struct lease_pool *pool, struct place *place)
{
	struct range *range = find_range(pool, &place->addr);

	if (range)
		range->is_exhausted = false;
	clear_place(pool, place);
	prune_holder(pool, place->holder);
}

static void trim_waiting(struct lease_pool *pool)
{
	for (unsigned i = 0; i < FAMILIES; i++) {
		if (pool->waiting_count[i] > WAITING_MAX)
			forget_place(pool, pool->waiting[i]);
	}
}

/* addr is nobody's. */
static void set_place(struct lease_pool *pool, struct holder *holder, const struct addr *addr)
{
	struct place *place = &holder->places[family_index(addr->family)];

	place->addr = *addr;
	place->holder = holder;
	HASH_ADD(hh, pool->by_addr, addr, sizeof(place->addr), place);
}

static void occupy_place(struct lease_pool *pool, struct place *place)
{
	struct range *range = find_range(pool, &place->addr);

	place->in_use = true;
	if (range)
		range->used++;
}

/* What the configuration fixes, or keeps from others, it also remembers. */
static void vacate_place(struct lease_pool *pool, struct place *place, int64_t now_s)
{
	const struct place *first = pool->waiting[family_index(place->addr.family)];
	struct range *range = find_range(pool, &place->addr);

	if (range)
		range->used--;
	/* Who leaves last is last, whatever the clock has done in between. */
	place->released_at_s = now_s;
	if (first && first->prev->released_at_s > now_s)
		place->released_at_s = first->prev->released_at_s;
	place->in_use = false;
	add_waiting(pool, place);
	if (place->is_fixed || !is_for_all(pool, &place->addr))
		forget_place(pool, place);
}

static struct holder *find_holder(const struct lease_pool *pool, const char *key)
{
	struct holder *holder;

	HASH_FIND_STR(pool->holders, key, holder);
	return holder;
}

static struct holder *get_holder(struct lease_pool *pool, const char *key)
{
	struct holder *holder = find_holder(pool, key);

	if (holder)
		return holder;
	holder = xnew(struct holder);
	strncpy(holder->lease.key, key, sizeof(holder->lease.key) - 1);
	HASH_ADD_STR(pool->holders, lease.key, holder);
	return holder;
}

/* ---- the pool ---- */

static void forget_reserved(struct lease_pool *pool, unsigned index)
{
	struct place *place, *next;

	DL_FOREACH_SAFE(pool->waiting[index], place, next)
	{
		if (!is_for_all(pool, &place->addr))
			forget_place(pool, place);
	}
}

struct lease_pool *lease_pool_new(const struct prefix_list *pools,
				  const struct prefix_list *reserved)
{
	struct lease_pool *pool = xnew(struct lease_pool);

	pool->ranges = xnew_array(struct range, pools->count);
	pool->range_count = pools->count;
	for (size_t i = 0; i < pools->count; i++)
		pool->ranges[i] = make_range(&pools->items[i]);
	lease_pool_reserve(pool, reserved);
	return pool;
}

void lease_pool_reserve(struct lease_pool *pool, const struct prefix_list *reserved)
{
	prefix_map_free(pool->reserved_map);
	prefix_list_done(&pool->reserved);
	pool->reserved_map = prefix_map_new();
	for (size_t i = 0; i < reserved->count; i++)
		prefix_list_add(&pool->reserved, &reserved->items[i]);
	for (size_t i = 0; i < reserved->count; i++)
		prefix_map_set(pool->reserved_map, &pool->reserved.items[i],
			       &pool->reserved.items[i]);
	/* What was reserved may be fresh now, and what is now nobody waits for any more. */
	for (size_t i = 0; i < pool->range_count; i++)
		pool->ranges[i].is_exhausted = false;
	for (unsigned i = 0; i < FAMILIES; i++)
		forget_reserved(pool, i);
}

void lease_pool_free(struct lease_pool *pool)
{
	struct holder *holder, *next;

	if (!pool)
		return;
	HASH_CLEAR(hh, pool->by_addr);
	HASH_ITER(hh, pool->holders, holder, next)
	{
		HASH_DEL(pool->holders, holder);
		free(holder);
	}
	prefix_map_free(pool->reserved_map);
	prefix_list_done(&pool->reserved);
	free(pool->ranges);
	free(pool);
}

bool lease_pool_own(const struct lease_pool *pool, unsigned family, struct prefix *ret)
{
	for (size_t i = 0; i < pool->range_count; i++) {
		const struct range *range = &pool->ranges[i];

		if (range->prefix.addr.family != family)
			continue;
		*ret = (struct prefix){.addr = own_address(range), .len = range->prefix.len};
		return true;
	}
	return false;
}

bool lease_pool_range(const struct lease_pool *pool, size_t index, struct prefix *ret_prefix,
		      unsigned *ret_used, uint64_t *ret_size)
{
	const struct range *range;

	if (index >= pool->range_count)
		return false;
	range = &pool->ranges[index];
	*ret_prefix = range->prefix;
	*ret_used = range->used;
	*ret_size = range->first <= range->last ? range->last - range->first + 1 : 0;
	return true;
}

unsigned lease_pool_used(const struct lease_pool *pool, unsigned family)
{
	unsigned used = 0;

	for (size_t i = 0; i < pool->range_count; i++) {
		if (pool->ranges[i].prefix.addr.family == family)
			used += pool->ranges[i].used;
	}
	return used;
}

uint64_t lease_pool_size(const struct lease_pool *pool, unsigned family)
{
	uint64_t total = 0;
	struct prefix prefix;
	unsigned used;
	uint64_t size;

	for (size_t i = 0; lease_pool_range(pool, i, &prefix, &used, &size); i++) {
		if (prefix.addr.family == family)
			total = total + size < total ? UINT64_MAX : total + size;
	}
	return total;
}

/* ---- what was held last ---- */

static void remember_place(struct lease_pool *pool, const char *key, const struct addr *addr,
			   int64_t used_at_s)
{
	struct holder *holder;
	struct place *place;

	if (!addr || !is_for_all(pool, addr))
		return;
	place = find_place(pool, addr);
	if (place)
		forget_place(pool, place);
	holder = get_holder(pool, key);
	assert(!holder->is_out); /* nothing is taken yet */
	place = &holder->places[family_index(addr->family)];
	if (place->addr.family)
		clear_place(pool, place);
	set_place(pool, holder, addr);
	place->released_at_s = used_at_s;
	add_waiting(pool, place);
	trim_waiting(pool);
}

void lease_remember(struct lease_pool *pool, const char *key, const struct addr *v4,
		    const struct addr *v6, int64_t used_at_s)
{
	if (strlen(key) >= LEASE_KEY_MAX)
		return;
	remember_place(pool, key, v4, used_at_s);
	remember_place(pool, key, v6, used_at_s);
}

/* ---- taking ---- */

/* The offset behind what is reserved around addr. */
static uint64_t skip_reserved(const struct prefix *reserved, const struct addr *addr,
			      uint64_t offset)
{
	uint64_t size = prefix_size(reserved);
	uint64_t left = size - (low_bits(addr) & (size - 1));

	return offset > UINT64_MAX - left ? UINT64_MAX : offset + left;
}

/* A fresh address between two offsets, both included. */
static bool find_fresh(const struct lease_pool *pool, const struct range *range, uint64_t from,
		       uint64_t to, struct addr *ret)
{
	while (from <= to) {
		struct addr addr = addr_add(&range->prefix.addr, from);
		const struct prefix *reserved = find_reserved(pool, &addr);

		if (reserved) {
			from = skip_reserved(reserved, &addr, from);
		} else if (find_place(pool, &addr)) {
			from++;
		} else {
			*ret = addr;
			return true;
		}
	}
	return false;
}

/* Goes round once, from where the last one was found. */
static bool pick_from_range(const struct lease_pool *pool, struct range *range, struct addr *ret)
{
	if (range->is_exhausted || range->first > range->last)
		return false;
	if (!find_fresh(pool, range, range->next, range->last, ret) &&
	    !find_fresh(pool, range, range->first, range->next - 1, ret)) {
		range->is_exhausted = true;
		return false;
	}
	range->next = offset_in(range, ret) + 1;
	if (range->next > range->last)
		range->next = range->first;
	return true;
}

/* The address that key is to have: its last one, a fresh one, or the one released longest ago. */
static int pick_address(struct lease_pool *pool, const struct holder *holder, unsigned index,
			struct addr *ret)
{
	unsigned family = index == V4 ? 4 : 6;

	if (holder && holder->places[index].addr.family) {
		*ret = holder->places[index].addr;
		return 0;
	}
	for (size_t i = 0; i < pool->range_count; i++) {
		struct range *range = &pool->ranges[i];

		if (range->prefix.addr.family == family && pick_from_range(pool, range, ret))
			return 0;
	}
	if (!pool->waiting[index])
		return -ENOSPC;
	*ret = pool->waiting[index]->addr;
	return 0;
}

/* Gives addr, which no lease holds, to a holder that is out. */
static struct place *give_address(struct lease_pool *pool, struct holder *holder,
				  const struct addr *addr)
{
	struct place *mine = &holder->places[family_index(addr->family)];
	struct place *place = find_place(pool, addr);

	if (place) {
		clear_place(pool, place);
		prune_holder(pool, place->holder);
	}
	if (mine->addr.family) /* it had another, which is fresh now */
		forget_place(pool, mine);
	set_place(pool, holder, addr);
	mine->is_fixed = false;
	occupy_place(pool, mine);
	return mine;
}

static struct lease *hand_out(struct holder *holder)
{
	struct lease *lease = &holder->lease;
	const struct place *places = holder->places;

	lease->v4 = places[V4].in_use ? places[V4].addr : (struct addr){0};
	lease->v6 = places[V6].in_use ? places[V6].addr : (struct addr){0};
	lease->v6_len = lease->v6.family ? 128 : 0;
	return lease;
}

static int check_fixed(const struct lease_pool *pool, const struct addr *addr)
{
	const struct place *place = find_place(pool, addr);

	return (place && place->in_use) || is_own(pool, addr) ? -EADDRINUSE : 0;
}

static int pick(struct lease_pool *pool, const struct holder *holder, unsigned index,
		const struct addr *fixed, struct addr *ret)
{
	if (!fixed)
		return pick_address(pool, holder, index, ret);
	*ret = *fixed;
	return check_fixed(pool, fixed);
}

int lease_take_fixed(struct lease_pool *pool, const char *key, const struct addr *fixed4,
		     const struct addr *fixed6, bool want4, bool want6, struct lease **ret)
{
	const struct addr *fixed[FAMILIES] = {fixed4, fixed6};
	bool wanted[FAMILIES] = {want4 && (fixed4 || has_family(pool, 4)),
				 want6 && (fixed6 || has_family(pool, 6))};
	struct holder *holder = find_holder(pool, key);
	struct addr picked[FAMILIES];

	if (strlen(key) >= LEASE_KEY_MAX)
		return -ENAMETOOLONG;
	if (holder && holder->is_out)
		return -EEXIST;
	if (!wanted[V4] && !wanted[V6])
		return -EAFNOSUPPORT;
	for (unsigned i = 0; i < FAMILIES; i++) {
		int r = wanted[i] ? pick(pool, holder, i, fixed[i], &picked[i]) : 0;

		if (r < 0)
			return r;
	}
	holder = get_holder(pool, key);
	holder->is_out = true;
	for (unsigned i = 0; i < FAMILIES; i++) {
		if (wanted[i])
			give_address(pool, holder, &picked[i])->is_fixed = fixed[i] != NULL;
	}
	*ret = hand_out(holder);
	return 0;
}

int lease_take(struct lease_pool *pool, const char *key, bool want4, bool want6, struct lease **ret)
{
	return lease_take_fixed(pool, key, NULL, NULL, want4, want6, ret);
}

void lease_release(struct lease_pool *pool, struct lease *lease, int64_t now_s)
{
	struct holder *holder = find_holder(pool, lease->key);

	for (unsigned i = 0; i < FAMILIES; i++) {
		if (holder->places[i].in_use)
			vacate_place(pool, &holder->places[i], now_s);
	}
	holder->is_out = false;
	trim_waiting(pool);
	prune_holder(pool, holder);
}
