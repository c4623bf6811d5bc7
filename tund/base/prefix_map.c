#include "base/prefix_map.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* A path-compressed binary trie per family. A node stands for a prefix; below it are only prefixes
 * that it covers, those whose next bit is 0 in child[0], the others in child[1]. A node without a
 * value is a fork and has both children. An IPv4 key sits in the upper half of `hi`. The masks are
 * kept, so that a step of a lookup is two ANDs and a node is one cache line long. */
struct node {
	uint64_t hi, lo, mask_hi, mask_lo;
	struct node *child[2];
	void *value; /* borrowed; NULL in a fork */
	unsigned len;
};

struct prefix_map {
	struct node *root4, *root6;
};

struct key {
	uint64_t hi, lo;
};

static uint64_t mask_of(unsigned len)
{
	return len == 0 ? 0 : ~UINT64_C(0) << (64 - len);
}

static struct key load_key(unsigned family, const uint8_t *bytes)
{
	struct key key = {0};
	uint32_t be32;

	if (family == 4) {
		memcpy(&be32, bytes, sizeof(be32));
		key.hi = (uint64_t)be32toh(be32) << 32;
	} else {
		memcpy(&key, bytes, sizeof(key));
		key.hi = be64toh(key.hi);
		key.lo = be64toh(key.lo);
	}
	return key;
}

static bool covers_key(const struct node *node, struct key key)
{
	return (((node->hi ^ key.hi) & node->mask_hi) | ((node->lo ^ key.lo) & node->mask_lo)) == 0;
}

static unsigned bit_at(struct key key, unsigned at)
{
	return (at < 64 ? key.hi >> (63 - at) : key.lo >> (127 - at)) & 1;
}

/* How many bits from the top are the same, 128 at most. */
static unsigned shared_bits(struct key a, struct key b)
{
	if (a.hi != b.hi)
		return (unsigned)__builtin_clzll(a.hi ^ b.hi);
	if (a.lo != b.lo)
		return 64 + (unsigned)__builtin_clzll(a.lo ^ b.lo);
	return 128;
}

static struct node *new_node(struct key key, unsigned len, void *value)
{
	struct node *node = xnew(struct node);

	node->mask_hi = mask_of(len < 64 ? len : 64);
	node->mask_lo = len > 64 ? mask_of(len - 64) : 0;
	node->hi = key.hi & node->mask_hi;
	node->lo = key.lo & node->mask_lo;
	node->value = value;
	node->len = len;
	return node;
}

static struct node **root_of(struct prefix_map *map, unsigned family)
{
	return family == 4 ? &map->root4 : &map->root6;
}

struct prefix_map *prefix_map_new(void)
{
	return xnew(struct prefix_map);
}

/* As deep as the prefixes are long, 129 at most. */
static void free_nodes(struct node *node)
{
	if (!node)
		return;
	free_nodes(node->child[0]);
	free_nodes(node->child[1]);
	free(node);
}

void prefix_map_free(struct prefix_map *map)
{
	if (!map)
		return;
	free_nodes(map->root4);
	free_nodes(map->root6);
	free(map);
}

/* Puts the prefix where *link is, above or beside the node that is there. */
static void insert_at(struct node **link, struct key key, unsigned len, void *value)
{
	struct node *below = *link, *fork, *leaf = new_node(key, len, value);
	unsigned shared;

	*link = leaf;
	if (!below)
		return;
	shared = shared_bits(key, (struct key){below->hi, below->lo});
	if (shared >= len) {
		leaf->child[bit_at((struct key){below->hi, below->lo}, len)] = below;
		return;
	}
	fork = new_node(key, shared, NULL);
	fork->child[bit_at(key, shared)] = leaf;
	fork->child[!bit_at(key, shared)] = below;
	*link = fork;
}

void *prefix_map_set(struct prefix_map *map, const struct prefix *prefix, void *value)
{
	struct node **link = root_of(map, prefix->addr.family);
	struct prefix clean = prefix_of(&prefix->addr, prefix->len);
	struct key key = load_key(prefix->addr.family, clean.addr.bytes);

	assert(value);
	while (*link && (*link)->len < clean.len && covers_key(*link, key))
		link = &(*link)->child[bit_at(key, (*link)->len)];
	if (*link && (*link)->len == clean.len && covers_key(*link, key)) {
		void *before = (*link)->value;

		(*link)->value = value;
		return before;
	}
	insert_at(link, key, clean.len, value);
	return NULL;
}

/* Puts a node's only child, or nothing, in its place. */
static void splice_out(struct node **link)
{
	struct node *node = *link;

	*link = node->child[0] ? node->child[0] : node->child[1];
	free(node);
}

bool prefix_map_remove(struct prefix_map *map, const struct prefix *prefix, const void *value)
{
	struct node **link = root_of(map, prefix->addr.family), **above = NULL;
	struct prefix clean = prefix_of(&prefix->addr, prefix->len);
	struct key key = load_key(prefix->addr.family, clean.addr.bytes);
	struct node *node;

	while (*link && (*link)->len < clean.len && covers_key(*link, key)) {
		above = link;
		link = &(*link)->child[bit_at(key, (*link)->len)];
	}
	node = *link;
	if (!node || node->len != clean.len || !covers_key(node, key) || !value ||
	    node->value != value)
		return false;
	node->value = NULL;
	if (node->child[0] && node->child[1])
		return true;
	splice_out(link);
	/* A fork that lost one side is no fork any more. */
	if (!*link && above && !(*above)->value)
		splice_out(above);
	return true;
}

void *prefix_map_find(const struct prefix_map *map, unsigned family, const uint8_t *bytes)
{
	const struct node *node = family == 4 ? map->root4 : map->root6;
	unsigned bits = family == 4 ? 32 : 128;
	struct key key = load_key(family, bytes);
	void *best = NULL;

	while (node && covers_key(node, key)) {
		if (node->value)
			best = node->value;
		if (node->len == bits)
			break;
		node = node->child[bit_at(key, node->len)];
	}
	return best;
}

void *prefix_map_exact(const struct prefix_map *map, const struct prefix *prefix)
{
	const struct node *node = prefix->addr.family == 4 ? map->root4 : map->root6;
	struct prefix clean = prefix_of(&prefix->addr, prefix->len);
	struct key key = load_key(prefix->addr.family, clean.addr.bytes);

	while (node && node->len < clean.len && covers_key(node, key))
		node = node->child[bit_at(key, node->len)];
	if (!node || node->len != clean.len || !covers_key(node, key))
		return NULL;
	return node->value;
}
