#include "base/addr.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <net/if.h>

/* inet_pton is strict: four decimal parts without leading zeros, no scope, nothing around it. */
bool addr_parse(const char *text, struct addr *ret)
{
	struct addr addr = {0};

	if (inet_pton(AF_INET, text, addr.bytes) == 1)
		addr.family = 4;
	else if (inet_pton(AF_INET6, text, addr.bytes) == 1)
		addr.family = 6;
	else
		return false;
	*ret = addr;
	return true;
}

const char *addr_print(const struct addr *addr, char buf[static ADDR_TEXT])
{
	if (addr->family == 0)
		snprintf(buf, ADDR_TEXT, "none");
	else
		inet_ntop(addr->family == 4 ? AF_INET : AF_INET6, addr->bytes, buf, ADDR_TEXT);
	return buf;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return addr_compare(a, b) == 0;
}

int addr_compare(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, addr_bits(a) / 8);
}

unsigned addr_bits(const struct addr *addr)
{
	return addr->family == 4 ? 32 : 128;
}

static bool is_host4(const uint8_t bytes[static 4])
{
	static const uint8_t broadcast[4] = {255, 255, 255, 255};

	return bytes[0] != 0 &&				/* this network, RFC 1122 */
	       bytes[0] != 127 &&			/* loopback */
	       !(bytes[0] == 169 && bytes[1] == 254) && /* link-local, RFC 3927 */
	       !(bytes[0] >= 224 && bytes[0] <= 239) && /* multicast */
	       memcmp(bytes, broadcast, sizeof(broadcast)) != 0;
}

/* A v4-mapped address is an API's notation and must not be seen on a wire (RFC 4942, 2.2). */
static bool is_host6(const uint8_t bytes[static 16])
{
	struct in6_addr in6;

	memcpy(&in6, bytes, sizeof(in6));
	return !IN6_IS_ADDR_UNSPECIFIED(&in6) && !IN6_IS_ADDR_LOOPBACK(&in6) &&
	       !IN6_IS_ADDR_LINKLOCAL(&in6) && !IN6_IS_ADDR_MULTICAST(&in6) &&
	       !IN6_IS_ADDR_V4MAPPED(&in6);
}

bool addr_is_host(const struct addr *addr)
{
	if (addr->family == 4)
		return is_host4(addr->bytes);
	return addr->family == 6 && is_host6(addr->bytes);
}

/* Wraps around at the end of the family. */
struct addr addr_add(const struct addr *addr, uint64_t count)
{
	struct addr sum = *addr;

	for (unsigned i = addr_bits(addr) / 8; i-- > 0 && count > 0;) {
		unsigned byte = sum.bytes[i] + (unsigned)(count & 0xff);

		sum.bytes[i] = (uint8_t)byte;
		count = (count >> 8) + (byte >> 8);
	}
	return sum;
}

/* "443"; digits alone, no sign, not 0. */
static bool parse_port(const char *text, uint16_t *ret)
{
	unsigned port = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 5 || text[digits] != '\0')
		return false;
	for (size_t i = 0; i < digits; i++)
		port = port * 10 + (unsigned)(text[i] - '0');
	if (port == 0 || port > UINT16_MAX)
		return false;
	*ret = (uint16_t)port;
	return true;
}

/* What follows the host: nothing, which is the default port if there is one, or ":port". */
static bool parse_port_part(const char *rest, uint16_t default_port, uint16_t *ret)
{
	if (rest[0] == ':')
		return parse_port(rest + 1, ret);
	if (rest[0] != '\0' || default_port == 0)
		return false;
	*ret = default_port;
	return true;
}

/* "fe80::1%eth0", "fe80::1%2", "2001:db8::1". A number needs no system call, a name does. */
static bool parse_scoped6(const char *text, struct sockaddr_in6 *ret)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	char address[ADDR_TEXT];
	size_t len = strcspn(text, "%");
	const char *scope = text + len;

	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (inet_pton(AF_INET6, address, &in6.sin6_addr) != 1)
		return false;
	if (scope[0] == '%') {
		size_t digits = strspn(scope + 1, "0123456789");

		if (digits > 0 && digits < 10 && scope[1 + digits] == '\0')
			sscanf(scope + 1, "%u", &in6.sin6_scope_id);
		else
			in6.sin6_scope_id = if_nametoindex(scope + 1);
		if (in6.sin6_scope_id == 0)
			return false;
	}
	*ret = in6;
	return true;
}

/* The characters of host names, no more: no scheme, path, user or blank gets to the resolver. */
static bool is_name(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (!isalnum(c) && c != '-' && c != '.' && c != '_')
			return false;
	}
	return len > 0;
}

/* Between the brackets there is an IPv6 address, perhaps with a scope; its interface need not exist
 * yet. */
static bool is_bracketed6(const char *text, size_t len)
{
	char address[ADDR_TEXT];
	struct in6_addr in6;
	const char *scope = memchr(text, '%', len);
	size_t address_len = scope ? (size_t)(scope - text) : len;

	if (address_len >= sizeof(address))
		return false;
	if (scope && !is_name(scope + 1, len - address_len - 1))
		return false;
	memcpy(address, text, address_len);
	address[address_len] = '\0';
	return inet_pton(AF_INET6, address, &in6) == 1;
}

/* An IPv6 address without brackets is refused: whether its last group is a port cannot be told. A
 * name that does not fit is refused rather than cut to another name. */
bool addr_host_split(const char *text, uint16_t default_port, char *host, size_t size,
		     uint16_t *ret_port)
{
	bool bracketed = text[0] == '[';
	const char *begin = text + bracketed;
	size_t len = strcspn(begin, bracketed ? "]" : ":");
	const char *rest = begin + len;
	uint16_t port;

	if (bracketed ? rest[0] != ']' || !is_bracketed6(begin, len) : !is_name(begin, len))
		return false;
	if (len >= size || !parse_port_part(rest + bracketed, default_port, &port))
		return false;
	memcpy(host, begin, len);
	host[len] = '\0';
	*ret_port = port;
	return true;
}

bool addr_endpoint_parse(const char *text, uint16_t default_port, struct endpoint *ret)
{
	char host[ADDR_ENDPOINT_TEXT];
	struct sockaddr_in6 in6;
	struct addr addr;
	uint16_t port;

	if (!addr_host_split(text, default_port, host, sizeof(host), &port))
		return false;
	if (addr_parse(host, &addr)) {
		*ret = addr_endpoint(&addr, port);
		return true;
	}
	if (!parse_scoped6(host, &in6))
		return false;
	in6.sin6_port = htons(port);
	*ret = (struct endpoint){.in6 = in6};
	return true;
}

/* The scope as a number: its name would take a system call that a sandbox forbids. */
const char *addr_endpoint_print(const struct endpoint *at, char buf[static ADDR_ENDPOINT_TEXT])
{
	char text[ADDR_TEXT];

	if (at->any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &at->in.sin_addr, text, sizeof(text));
		snprintf(buf, ADDR_ENDPOINT_TEXT, "%s:%u", text, addr_port(at));
	} else if (at->any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &at->in6.sin6_addr, text, sizeof(text));
		if (at->in6.sin6_scope_id)
			snprintf(buf, ADDR_ENDPOINT_TEXT, "[%s%%%u]:%u", text,
				 at->in6.sin6_scope_id, addr_port(at));
		else
			snprintf(buf, ADDR_ENDPOINT_TEXT, "[%s]:%u", text, addr_port(at));
	} else {
		snprintf(buf, ADDR_ENDPOINT_TEXT, "none");
	}
	return buf;
}

struct endpoint addr_endpoint(const struct addr *addr, uint16_t port)
{
	struct endpoint at = {0};

	if (addr->family == 4) {
		at.in.sin_family = AF_INET;
		at.in.sin_port = htons(port);
		memcpy(&at.in.sin_addr, addr->bytes, 4);
	} else if (addr->family == 6) {
		at.in6.sin6_family = AF_INET6;
		at.in6.sin6_port = htons(port);
		memcpy(&at.in6.sin6_addr, addr->bytes, 16);
	}
	return at;
}

struct addr addr_of_bytes(unsigned family, const uint8_t *bytes)
{
	struct addr addr = {.family = (uint8_t)family};

	memcpy(addr.bytes, bytes, addr_bits(&addr) / 8);
	return addr;
}

struct addr addr_of_endpoint(const struct endpoint *at)
{
	struct addr addr = {0};

	if (at->any.sa_family == AF_INET) {
		addr.family = 4;
		memcpy(addr.bytes, &at->in.sin_addr, 4);
	} else if (at->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&at->in6.sin6_addr)) {
		addr.family = 4;
		memcpy(addr.bytes, at->in6.sin6_addr.s6_addr + 12, 4);
	} else if (at->any.sa_family == AF_INET6) {
		addr.family = 6;
		memcpy(addr.bytes, &at->in6.sin6_addr, 16);
	}
	return addr;
}

uint16_t addr_port(const struct endpoint *at)
{
	if (at->any.sa_family == AF_INET)
		return ntohs(at->in.sin_port);
	return at->any.sa_family == AF_INET6 ? ntohs(at->in6.sin6_port) : 0;
}

socklen_t addr_endpoint_len(const struct endpoint *at)
{
	return at->any.sa_family == AF_INET6 ? sizeof(at->in6) : sizeof(at->in);
}

bool addr_endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	if (a->any.sa_family != b->any.sa_family || addr_port(a) != addr_port(b))
		return false;
	if (a->any.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	if (a->any.sa_family != AF_INET6)
		return true;
	return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr) &&
	       a->in6.sin6_scope_id == b->in6.sin6_scope_id;
}
