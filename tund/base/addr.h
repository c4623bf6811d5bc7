#pragma once
/* An IPv4 or IPv6 address, and one with a port as the kernel takes it. */

#include <stdbool.h>
#include <stdint.h>

#include <netinet/in.h>
#include <sys/socket.h>

enum {
	ADDR_TEXT = 46,		 /* INET6_ADDRSTRLEN */
	ADDR_ENDPOINT_TEXT = 72, /* "[v6%scope]:port" */
};

struct addr {
	uint8_t family;	   /* 4 or 6; 0 is no address */
	uint8_t bytes[16]; /* network order; an IPv4 address uses the first 4, the rest is zero */
};

struct endpoint {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

bool addr_parse(const char *text, struct addr *ret);
struct addr addr_of_bytes(unsigned family, const uint8_t *bytes); /* 4 or 16, network order */
const char *addr_print(const struct addr *addr, char buf[static ADDR_TEXT]);
bool addr_equal(const struct addr *a, const struct addr *b);
int addr_compare(const struct addr *a, const struct addr *b); /* family, then bytes */
unsigned addr_bits(const struct addr *addr);		      /* 32 or 128 */
/* Whether it can be one host's own: not multicast, unspecified, loopback, link-local, broadcast. */
bool addr_is_host(const struct addr *addr);
/* The address count further (count may be large; carries through all bytes). */
struct addr addr_add(const struct addr *addr, uint64_t count);

/* "192.0.2.1:443", "[2001:db8::1]:443"; the port may be left out when default_port is not 0. */
bool addr_endpoint_parse(const char *text, uint16_t default_port, struct endpoint *ret);
/* "name:port", "name", "[v6]:port", "v4"; splits without resolving. false also for a name
 * that does not fit in size. */
bool addr_host_split(const char *text, uint16_t default_port, char *host, size_t size,
		     uint16_t *ret_port);
const char *addr_endpoint_print(const struct endpoint *at, char buf[static ADDR_ENDPOINT_TEXT]);
struct endpoint addr_endpoint(const struct addr *addr, uint16_t port);
struct addr addr_of_endpoint(const struct endpoint *at); /* a v4-mapped address as IPv4 */
uint16_t addr_port(const struct endpoint *at);
socklen_t addr_endpoint_len(const struct endpoint *at);
bool addr_endpoint_equal(const struct endpoint *a, const struct endpoint *b);
