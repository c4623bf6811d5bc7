#pragma once
/* An address prefix, and sets of them. */

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

enum { PREFIX_TEXT = ADDR_TEXT + 4 };

struct prefix {
	struct addr addr; /* host bits are zero, unless prefix_parse_host made it */
	uint8_t len;
};

struct prefix_list {
	struct prefix *items;
	size_t count;
};

/* "10.0.0.0/8", "fd00::/8", or an address, which is its host prefix. Host bits that are set are an
 * error: *ret_clean (may be NULL) then is the prefix that was probably meant, and false returned
 * with ret_clean->addr.family not 0. */
bool prefix_parse(const char *text, struct prefix *ret, struct prefix *ret_clean);
/* An interface's address with its prefix length: "10.99.0.1/16". Host bits stay. */
bool prefix_parse_host(const char *text, struct prefix *ret);
const char *prefix_print(const struct prefix *prefix, char buf[static PREFIX_TEXT]);
bool prefix_equal(const struct prefix *a, const struct prefix *b);
bool prefix_contains(const struct prefix *prefix, const struct addr *addr);
bool prefix_covers(const struct prefix *outer, const struct prefix *inner);
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);
struct prefix prefix_of(const struct addr *addr, unsigned len); /* clears host bits */
struct prefix prefix_host(const struct addr *addr);		/* /32 or /128 */
/* How many addresses it has, 2^63 at most. */
uint64_t prefix_size(const struct prefix *prefix);

void prefix_list_add(struct prefix_list *list, const struct prefix *prefix);
void prefix_list_done(struct prefix_list *list);
bool prefix_list_contains(const struct prefix_list *list, const struct addr *addr);
/* The same prefixes in the same order. */
bool prefix_list_equal(const struct prefix_list *a, const struct prefix_list *b);
/* Adds to ret the fewest prefixes that cover `from` without `hole`; `from` itself where they do not
 * overlap, nothing where the hole covers it. Ascending. */
void prefix_list_carve(const struct prefix *from, const struct prefix *hole,
		       struct prefix_list *ret);
/* As above with every hole taken out. */
void prefix_list_carve_all(const struct prefix *from, const struct prefix_list *holes,
			   struct prefix_list *ret);
