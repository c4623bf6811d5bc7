#include "base/prefix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

static bool bit_at(const struct addr *addr, unsigned at)
{
	return addr->bytes[at / 8] >> (7 - at % 8) & 1;
}

/* "24" up to max; no sign, no leading zero. */
static bool parse_len(const char *text, unsigned max, uint8_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	unsigned len = 0;

	if (digits == 0 || digits > 3 || text[digits] != '\0' || (text[0] == '0' && digits > 1))
		return false;
	for (size_t i = 0; i < digits; i++)
		len = len * 10 + (unsigned)(text[i] - '0');
	if (len > max)
		return false;
	*ret = (uint8_t)len;
	return true;
}

bool prefix_parse_host(const char *text, struct prefix *ret)
{
	char address[ADDR_TEXT];
	size_t address_len = strcspn(text, "/");
	struct prefix prefix;

	if (address_len >= sizeof(address))
		return false;
	memcpy(address, text, address_len);
	address[address_len] = '\0';
	if (!addr_parse(address, &prefix.addr))
		return false;
	if (text[address_len] == '\0')
		prefix.len = (uint8_t)addr_bits(&prefix.addr);
	else if (!parse_len(text + address_len + 1, addr_bits(&prefix.addr), &prefix.len))
		return false;
	*ret = prefix;
	return true;
}

bool prefix_parse(const char *text, struct prefix *ret, struct prefix *ret_clean)
{
	struct prefix prefix, clean;

	if (ret_clean)
		*ret_clean = (struct prefix){0};
	if (!prefix_parse_host(text, &prefix))
		return false;
	clean = prefix_of(&prefix.addr, prefix.len);
	if (!prefix_equal(&prefix, &clean)) {
		if (ret_clean)
			*ret_clean = clean;
		return false;
	}
	*ret = prefix;
	return true;
}

const char *prefix_print(const struct prefix *prefix, char buf[static PREFIX_TEXT])
{
	char text[ADDR_TEXT];

	snprintf(buf, PREFIX_TEXT, "%s/%u", addr_print(&prefix->addr, text), prefix->len);
	return buf;
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return a->len == b->len && addr_equal(&a->addr, &b->addr);
}

/* Whole bytes first, then the bits of the next one. */
bool prefix_contains(const struct prefix *prefix, const struct addr *addr)
{
	unsigned whole = prefix->len / 8, rest = prefix->len % 8;
	uint8_t differing;

	if (prefix->addr.family != addr->family ||
	    memcmp(prefix->addr.bytes, addr->bytes, whole) != 0)
		return false;
	if (rest == 0)
		return true;
	differing = prefix->addr.bytes[whole] ^ addr->bytes[whole];
	return differing >> (8 - rest) == 0;
}

bool prefix_covers(const struct prefix *outer, const struct prefix *inner)
{
	return outer->len <= inner->len && prefix_contains(outer, &inner->addr);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	return prefix_covers(a, b) || prefix_covers(b, a);
}

struct prefix prefix_of(const struct addr *addr, unsigned len)
{
	unsigned bits = addr_bits(addr);
	struct prefix prefix = {.addr = *addr};
	unsigned whole;

	if (len >= bits)
		len = bits;
	prefix.len = (uint8_t)len;
	whole = len / 8;
	if (len % 8)
		prefix.addr.bytes[whole++] &= (uint8_t)(0xff << (8 - len % 8));
	memset(prefix.addr.bytes + whole, 0, sizeof(prefix.addr.bytes) - whole);
	return prefix;
}

struct prefix prefix_host(const struct addr *addr)
{
	return prefix_of(addr, addr_bits(addr));
}

uint64_t prefix_size(const struct prefix *prefix)
{
	unsigned host_bits = addr_bits(&prefix->addr) - prefix->len;

	return UINT64_C(1) << (host_bits < 63 ? host_bits : 63);
}

/* Grown one by one: the list has no capacity of its own, and may come from elsewhere. */
void prefix_list_add(struct prefix_list *list, const struct prefix *prefix)
{
	struct prefix added = *prefix; /* it may be one of the list's own */

	list->items = xalloc_grow(list->items, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = added;
}

void prefix_list_done(struct prefix_list *list)
{
	free(list->items);
	*list = (struct prefix_list){0};
}

bool prefix_list_contains(const struct prefix_list *list, const struct addr *addr)
{
	for (size_t i = 0; i < list->count; i++) {
		if (prefix_contains(&list->items[i], addr))
			return true;
	}
	return false;
}

bool prefix_list_equal(const struct prefix_list *a, const struct prefix_list *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++)
		same = prefix_equal(&a->items[i], &b->items[i]);
	return same;
}

/* The other half of the hole's ancestor that is one bit shorter than len. */
static struct prefix sibling_at(const struct prefix *hole, unsigned len)
{
	struct prefix sibling = prefix_of(&hole->addr, len);

	sibling.addr.bytes[(len - 1) / 8] ^= (uint8_t)(0x80 >> ((len - 1) % 8));
	return sibling;
}

/* On the way down from `from` to the hole, what is left are the halves not taken: those below the
 * hole come in the order of the way down, those above it in the reverse. */
void prefix_list_carve(const struct prefix *from, const struct prefix *hole,
		       struct prefix_list *ret)
{
	struct prefix left;

	if (!prefix_overlaps(from, hole)) {
		prefix_list_add(ret, from);
		return;
	}
	for (unsigned len = from->len + 1u; len <= hole->len; len++) {
		if (bit_at(&hole->addr, len - 1)) {
			left = sibling_at(hole, len);
			prefix_list_add(ret, &left);
		}
	}
	for (unsigned len = hole->len; len > from->len; len--) {
		if (!bit_at(&hole->addr, len - 1)) {
			left = sibling_at(hole, len);
			prefix_list_add(ret, &left);
		}
	}
}

static void carve_half(const struct prefix *half, const struct prefix *holes, size_t count,
		       struct prefix_list *ret);

/* holes: of those, what overlaps `from`. By halves until one has no hole, or is one: whatever holes a
 * gateway pushes, the work grows with their bits and not with the pieces. */
static void carve_among(const struct prefix *from, const struct prefix *holes, size_t count,
			struct prefix_list *ret)
{
	struct prefix whole = prefix_of(&from->addr, from->len), half;

	if (count == 0) {
		prefix_list_add(ret, from);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (holes[i].len <= from->len)
			return;
	}
	half = prefix_of(&whole.addr, from->len + 1u);
	carve_half(&half, holes, count, ret);
	half = sibling_at(&half, half.len);
	carve_half(&half, holes, count, ret);
}

static void carve_half(const struct prefix *half, const struct prefix *holes, size_t count,
		       struct prefix_list *ret)
{
	struct prefix *within = xnew_array(struct prefix, count);
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (prefix_overlaps(half, &holes[i]))
			within[kept++] = holes[i];
	}
	carve_among(half, within, kept, ret);
	free(within);
}

void prefix_list_carve_all(const struct prefix *from, const struct prefix_list *holes,
			   struct prefix_list *ret)
{
	carve_half(from, holes->items, holes->count, ret);
}
