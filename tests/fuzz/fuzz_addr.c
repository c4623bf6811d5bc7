/* base/addr, base/prefix: what stands in configurations, in a gateway's answer and in the database.
 * The first line is read; a second one is a hole to be carved out of it. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/addr.h"
#include "base/prefix.h"

enum { LINE = 300 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_addr(const char *text)
{
	struct addr addr, again;
	struct prefix host;
	char printed[ADDR_TEXT];

	if (!addr_parse(text, &addr))
		return;
	assert(addr.family == 4 || addr.family == 6);
	for (size_t i = addr_bits(&addr) / 8; i < sizeof(addr.bytes); i++)
		assert(addr.bytes[i] == 0);
	assert(addr_parse(addr_print(&addr, printed), &again) && addr_equal(&addr, &again));
	assert(prefix_parse(text, &host, NULL) && host.len == addr_bits(&addr));
}

static bool read_prefix(const char *text, struct prefix *ret)
{
	struct prefix clean = {0}, again, host;
	char printed[PREFIX_TEXT];

	if (prefix_parse_host(text, &host)) {
		assert(host.len <= addr_bits(&host.addr));
		assert(prefix_contains(&host, &host.addr));
	}
	if (!prefix_parse(text, ret, &clean)) {
		if (clean.addr.family)
			assert(prefix_parse(prefix_print(&clean, printed), &again, NULL) &&
			       prefix_equal(&clean, &again));
		return false;
	}
	again = prefix_of(&ret->addr, ret->len);
	assert(ret->len <= addr_bits(&ret->addr) && prefix_equal(ret, &again));
	assert(prefix_parse(prefix_print(ret, printed), &again, NULL) && prefix_equal(ret, &again));
	assert(prefix_parse_host(text, &host) && prefix_equal(&host, ret));
	return true;
}

/* What is left holds nothing of the hole, stays within, and is all of the rest. */
static void check_carved(const struct prefix *from, const struct prefix *hole)
{
	struct prefix_list left = {0};
	uint64_t size = 0;

	prefix_list_carve(from, hole, &left);
	for (size_t i = 0; i < left.count; i++) {
		assert(prefix_covers(from, &left.items[i]));
		assert(!prefix_overlaps(&left.items[i], hole) || !prefix_overlaps(from, hole));
		assert(i == 0 || addr_compare(&left.items[i - 1].addr, &left.items[i].addr) < 0);
		size += prefix_size(&left.items[i]);
	}
	if (prefix_covers(hole, from))
		assert(left.count == 0);
	else if (prefix_size(from) < UINT64_C(1) << 62)
		assert(size ==
		       prefix_size(from) - (prefix_covers(from, hole) ? prefix_size(hole) : 0));
	prefix_list_done(&left);
}

static void check_endpoint(const char *text)
{
	struct endpoint at, again;
	char host[LINE], small[8], printed[ADDR_ENDPOINT_TEXT];
	uint16_t port = 0, other = 0;
	bool split = addr_host_split(text, 443, host, sizeof(host), &port);

	if (split) {
		assert(port != 0 && host[0] && strlen(host) <= strlen(text));
		assert(strcspn(host, " /@[]\r\n\t\"'\\") == strlen(host));
		assert(addr_host_split(text, 443, small, sizeof(small), &other) ==
		       (strlen(host) < sizeof(small)));
	}
	if (!addr_endpoint_parse(text, 443, &at))
		return;
	assert(split && addr_port(&at) == port && addr_of_endpoint(&at).family != 0);
	addr_endpoint_print(&at, printed);
	assert(addr_endpoint_parse(printed, 0, &again) && addr_endpoint_equal(&at, &again));
}

static void copy_line(const uint8_t *data, size_t size, char text[static LINE])
{
	size_t len = size < LINE - 1 ? size : LINE - 1;

	memcpy(text, data, len);
	text[len] = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	size_t first = end ? (size_t)(end - data) : size;
	char text[LINE], second[LINE];
	struct prefix from, hole;

	copy_line(data, first, text);
	check_addr(text);
	check_endpoint(text);
	if (!read_prefix(text, &from) || !end)
		return 0;
	copy_line(end + 1, size - first - 1, second);
	if (read_prefix(second, &hole))
		check_carved(&from, &hole);
	return 0;
}
