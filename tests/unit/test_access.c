/* data/access: which packets a list of rules lets pass. The device is 10.99.0.7 and fd00::7; behind
 * it are 10.20.0.0/16 and fd20::/48. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_rules.h"
#include "data/access.h"

enum { PACKET_MAX = 256, SYN = 0x02, SYN_ACK = 0x12, ACK = 0x10, RST = 0x04 };
enum { TCP = IP_PROTO_TCP, UDP = IP_PROTO_UDP, ICMP = IP_PROTO_ICMP, ICMP6 = IP_PROTO_ICMPV6 };

#define IN  ACCESS_IN
#define OUT ACCESS_OUT

/* The rows below leave out what is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define DEVICE	"10.99.0.7"
#define DEVICE6 "fd00::7"
#define SERVER	"10.1.0.5"
#define SERVER6 "fd10::5"
#define ROUTER	"10.200.0.1"

/* What a packet says; the kinds of the fields follow from the protocol. */
struct packet_spec {
	const char *from, *to;
	uint8_t protocol;
	uint16_t source, destination; /* TCP, UDP: ports. ICMP: type in source */
	uint8_t flags;
	uint16_t fragment; /* IPv4: flags and offset field. IPv6: that of a fragment header */
	uint16_t cut;	   /* bytes left out at the end */
	/* ICMP errors: what they quote. */
	const char *q_from, *q_to;
	uint8_t q_protocol;
	uint16_t q_source, q_destination;
};

static unsigned family_of(const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, &addr));
	return addr.family;
}

static void put_addr(uint8_t *at, const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, &addr));
	memcpy(at, addr.bytes, addr.family == 4 ? 4 : 16);
}

static size_t put_transport(uint8_t *at, const struct packet_spec *spec)
{
	switch (spec->protocol) {
	case TCP:
		ip_put16(at, spec->source);
		ip_put16(at + 2, spec->destination);
		at[12] = 5 << 4;
		at[13] = spec->flags;
		return IP_TCP_HEADER;
	case UDP:
		ip_put16(at, spec->source);
		ip_put16(at + 2, spec->destination);
		ip_put16(at + 4, IP_UDP_HEADER);
		return IP_UDP_HEADER;
	default:
		at[0] = (uint8_t)spec->source;
		return 8;
	}
}

static size_t put_packet(uint8_t *packet, const struct packet_spec *spec);

static size_t put_payload(uint8_t *at, const struct packet_spec *spec)
{
	size_t len;

	if (spec->fragment & 0x1fff) {
		memset(at, 0xff, 24);
		return 24;
	}
	len = put_transport(at, spec);
	if (spec->q_from)
		len += put_packet(at + len,
				  &(struct packet_spec){.from = spec->q_from,
							.to = spec->q_to,
							.protocol = spec->q_protocol,
							.source = spec->q_source,
							.destination = spec->q_destination});
	return len;
}

static size_t put_v6(uint8_t *packet, const struct packet_spec *spec)
{
	size_t at = IP_V6_HEADER;

	packet[0] = 0x60;
	packet[6] = spec->fragment ? 44 : spec->protocol;
	packet[7] = 64;
	put_addr(packet + 8, spec->from);
	put_addr(packet + 24, spec->to);
	if (spec->fragment) {
		packet[at] = spec->protocol;
		/* Offset in the upper 13 bits, "more" in the lowest. */
		ip_put16(packet + at + 2,
			 (uint16_t)((spec->fragment & 0x1fff) << 3 | (spec->fragment >> 13 & 1)));
		at += 8;
	}
	at += put_payload(packet + at, spec) - spec->cut;
	ip_put16(packet + 4, (uint16_t)(at - IP_V6_HEADER));
	return at;
}

static size_t put_packet(uint8_t *packet, const struct packet_spec *spec)
{
	size_t len;

	if (family_of(spec->from) == 6)
		return put_v6(packet, spec);
	packet[0] = 0x45;
	packet[8] = 64;
	packet[9] = spec->protocol;
	ip_put16(packet + 6, spec->fragment);
	put_addr(packet + 12, spec->from);
	put_addr(packet + 16, spec->to);
	len = IP_V4_HEADER + put_payload(packet + IP_V4_HEADER, spec) - spec->cut;
	ip_put16(packet + 2, (uint16_t)len);
	return len;
}

static void add_rules(struct config_rules *rules, const char *texts)
{
	char *copy = strdup(texts), *rest = copy, *text, problem[CONFIG_RULES_PROBLEM];

	while ((text = strsep(&rest, ";"))) {
		if (!*text)
			continue;
		rules->items = realloc(rules->items, (rules->count + 1) * sizeof(*rules->items));
		if (!config_rules_parse(text, &rules->items[rules->count++], problem))
			fail_msg("%s: %s", text, problem);
	}
	free(copy);
}

static void free_rules(struct config_rules *rules)
{
	for (size_t i = 0; i < rules->count; i++)
		free(rules->items[i].ports);
	free(rules->items);
}

static struct access *make_access(const char *allow, const char *accept)
{
	struct config_access block = {0};
	const struct config_access *blocks[] = {&block};
	struct access *access;

	add_rules(&block.allow, allow);
	add_rules(&block.accept, accept);
	access = access_compile(blocks, 1);
	free_rules(&block.allow);
	free_rules(&block.accept);
	return access;
}

static const char *const owns[] = {DEVICE, DEVICE6, "10.20.0.0/16", "fd20::/48"};

static bool ask(const struct access *access, enum access_direction direction,
		const struct packet_spec *spec)
{
	uint8_t bytes[PACKET_MAX] = {0}, *exact;
	size_t len = put_packet(bytes, spec);
	struct ip_view view;
	struct prefix_list own = {0};
	bool passes;

	for (size_t i = 0; i < sizeof(owns) / sizeof(*owns); i++) {
		struct prefix prefix;

		assert_true(prefix_parse(owns[i], &prefix, NULL));
		prefix_list_add(&own, &prefix);
	}
	exact = malloc(len);
	memcpy(exact, bytes, len);
	assert_int_equal(ip_read(exact, len, &view), IP_OK);
	passes = access_allows(access, direction, &own, exact, &view);
	prefix_list_done(&own);
	free(exact);
	return passes;
}

struct row {
	const char *name, *allow, *accept;
	enum access_direction direction;
	struct packet_spec packet;
	bool passes;
};

#define HTTPS "10.1.0.0/16 tcp/443,8000-8100"
#define DNS   "10.1.0.0/16 udp/53"
#define PING  "10.1.0.0/16 icmp"
#define ANY   "10.1.0.0/16 any"
#define SSH   "10.1.0.0/16 tcp/22"
#define V6    "fd10::/32 tcp/443;fd10::/32 icmp"
#define MORE  0x2000

static const struct row rows[] = {
	/* Nothing is allowed that no rule names. */
	{"no rules, in", "", "", IN, {DEVICE, SERVER, TCP, 5000, 443, SYN}, false},
	{"no rules, out", "", "", OUT, {SERVER, DEVICE, TCP, 443, 5000, SYN_ACK}, false},
	{"no rules, ping", "", "", IN, {DEVICE, SERVER, ICMP, 8}, false},
	{"no rules, another protocol", "", "", IN, {DEVICE, SERVER, 47}, false},

	/* allow: the device opens. */
	{"the port", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 443, SYN}, true},
	{"data on", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 443, ACK}, true},
	{"the answer", HTTPS, "", OUT, {SERVER, DEVICE, TCP, 443, 5000, SYN_ACK}, true},
	{"data back", HTTPS, "", OUT, {SERVER, DEVICE, TCP, 443, 5000, ACK}, true},
	{"a reset back", HTTPS, "", OUT, {SERVER, DEVICE, TCP, 443, 5000, RST}, true},
	{"the server opens from its port",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, TCP, 443, 22, SYN},
	 false},
	{"the server opens to the port",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, TCP, 5000, 443, SYN},
	 false},
	{"another port", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 444, SYN}, false},
	{"below a range", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 7999, SYN}, false},
	{"first of a range", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 8000, SYN}, true},
	{"last of a range", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 8100, SYN}, true},
	{"above a range", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 8101, SYN}, false},
	{"its own port does not count",
	 HTTPS,
	 "",
	 IN,
	 {DEVICE, SERVER, TCP, 443, 5000, SYN},
	 false},
	{"another protocol of the port", HTTPS, "", IN, {DEVICE, SERVER, UDP, 5000, 443}, false},
	{"another network", HTTPS, "", IN, {DEVICE, "10.2.0.5", TCP, 5000, 443, SYN}, false},
	{"an answer from another port",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, TCP, 444, 5000, ACK},
	 false},
	{"an answer from another network",
	 HTTPS,
	 "",
	 OUT,
	 {"10.2.0.5", DEVICE, TCP, 443, 5000, ACK},
	 false},
	{"any protocol: TCP", ANY, "", IN, {DEVICE, SERVER, TCP, 5000, 1, SYN}, true},
	{"any protocol: GRE", ANY, "", IN, {DEVICE, SERVER, 47}, true},
	{"any protocol: GRE back", ANY, "", OUT, {SERVER, DEVICE, 47}, true},
	{"any protocol: a server opens", ANY, "", OUT, {SERVER, DEVICE, TCP, 5000, 22, SYN}, false},
	{"a protocol by number", "10.1.0.0/16 47", "", IN, {DEVICE, SERVER, 47}, true},
	{"another number", "10.1.0.0/16 47", "", IN, {DEVICE, SERVER, 50}, false},
	{"the second rule", DNS ";" HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 443, SYN}, true},

	/* accept: the network opens. */
	{"accepted", "", SSH, OUT, {SERVER, DEVICE, TCP, 5000, 22, SYN}, true},
	{"its answer", "", SSH, IN, {DEVICE, SERVER, TCP, 22, 5000, SYN_ACK}, true},
	{"the device opens from that port",
	 "",
	 SSH,
	 IN,
	 {DEVICE, SERVER, TCP, 22, 5000, SYN},
	 false},
	{"the device opens to that port", "", SSH, IN, {DEVICE, SERVER, TCP, 5000, 22, SYN}, false},
	{"accepted from elsewhere", "", SSH, OUT, {"10.2.0.5", DEVICE, TCP, 5000, 22, SYN}, false},
	{"not accepted port", "", SSH, OUT, {SERVER, DEVICE, TCP, 5000, 23, SYN}, false},
	{"another device is a source too",
	 "",
	 "10.99.0.0/16 tcp/22",
	 OUT,
	 {"10.99.0.8", DEVICE, TCP, 5000, 22, SYN},
	 true},
	{"and a destination",
	 "10.99.0.0/16 tcp/22",
	 "",
	 IN,
	 {DEVICE, "10.99.0.8", TCP, 5000, 22, SYN},
	 true},
	{"one that is not named",
	 "10.99.0.8 tcp/22",
	 "",
	 IN,
	 {DEVICE, "10.99.0.9", TCP, 5000, 22, SYN},
	 false},

	/* UDP has no flags: ports tell. */
	{"UDP", DNS, "", IN, {DEVICE, SERVER, UDP, 5000, 53}, true},
	{"UDP answer", DNS, "", OUT, {SERVER, DEVICE, UDP, 53, 5000}, true},
	{"UDP to a port that is open elsewhere",
	 DNS,
	 "",
	 OUT,
	 {SERVER, DEVICE, UDP, 5000, 53},
	 false},
	{"UDP accepted", "", "10.1.0.0/16 udp/161", OUT, {SERVER, DEVICE, UDP, 5000, 161}, true},
	{"UDP accepted, answer",
	 "",
	 "10.1.0.0/16 udp/161",
	 IN,
	 {DEVICE, SERVER, UDP, 161, 5000},
	 true},

	/* Echo. */
	{"ping", PING, "", IN, {DEVICE, SERVER, ICMP, 8}, true},
	{"pong", PING, "", OUT, {SERVER, DEVICE, ICMP, 0}, true},
	{"ping from the other side", PING, "", OUT, {SERVER, DEVICE, ICMP, 8}, false},
	{"ping accepted", "", PING, OUT, {SERVER, DEVICE, ICMP, 8}, true},
	{"its pong", "", PING, IN, {DEVICE, SERVER, ICMP, 0}, true},
	{"ping is no TCP", HTTPS, "", IN, {DEVICE, SERVER, ICMP, 8}, false},
	{"IPv6 ping", V6, "", IN, {DEVICE6, SERVER6, ICMP6, 128}, true},
	{"IPv6 pong", V6, "", OUT, {SERVER6, DEVICE6, ICMP6, 129}, true},
	{"IPv6 ping from the other side", V6, "", OUT, {SERVER6, DEVICE6, ICMP6, 128}, false},
	{"IPv6 redirect", V6, "", OUT, {SERVER6, DEVICE6, ICMP6, 137}, false},

	/* Errors pass by what they quote. */
	{"error about what was let in",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, ICMP, 3, 0, 0, 0, 0, DEVICE, SERVER, TCP, 5000, 443},
	 true},
	{"from a router on the way",
	 HTTPS,
	 "",
	 OUT,
	 {ROUTER, DEVICE, ICMP, 3, 0, 0, 0, 0, DEVICE, SERVER, TCP, 5000, 443},
	 true},
	{"time exceeded",
	 HTTPS,
	 "",
	 OUT,
	 {ROUTER, DEVICE, ICMP, 11, 0, 0, 0, 0, DEVICE, SERVER, TCP, 5000, 443},
	 true},
	{"about another port",
	 HTTPS,
	 "",
	 OUT,
	 {ROUTER, DEVICE, ICMP, 3, 0, 0, 0, 0, DEVICE, SERVER, TCP, 5000, 444},
	 false},
	{"about another's packet",
	 HTTPS,
	 "",
	 OUT,
	 {ROUTER, DEVICE, ICMP, 3, 0, 0, 0, 0, "10.99.0.8", SERVER, TCP, 5000, 443},
	 false},
	{"about an answer",
	 "",
	 SSH,
	 OUT,
	 {ROUTER, DEVICE, ICMP, 3, 0, 0, 0, 0, DEVICE, SERVER, TCP, 22, 5000},
	 true},
	{"by the device, about what it got",
	 "",
	 SSH,
	 IN,
	 {DEVICE, SERVER, ICMP, 3, 0, 0, 0, 0, SERVER, DEVICE, TCP, 5000, 22},
	 true},
	{"by the device, about an answer",
	 DNS,
	 "",
	 IN,
	 {DEVICE, SERVER, ICMP, 3, 0, 0, 0, 0, SERVER, DEVICE, UDP, 53, 5000},
	 true},
	{"by the device, to somebody else",
	 DNS,
	 "",
	 IN,
	 {DEVICE, "10.2.0.5", ICMP, 3, 0, 0, 0, 0, SERVER, DEVICE, UDP, 53, 5000},
	 false},
	{"by the device, about another's",
	 DNS,
	 "",
	 IN,
	 {DEVICE, SERVER, ICMP, 3, 0, 0, 0, 0, SERVER, "10.99.0.8", UDP, 53, 5000},
	 false},
	{"by the device, about what cannot have come",
	 DNS,
	 "",
	 IN,
	 {DEVICE, SERVER, ICMP, 3, 0, 0, 0, 0, SERVER, DEVICE, UDP, 5000, 161},
	 false},
	{"by a router behind the device, about what was for its host",
	 "",
	 SSH,
	 IN,
	 {"10.20.0.1", SERVER, ICMP, 3, 0, 0, 0, 0, SERVER, "10.20.7.9", TCP, 5000, 22},
	 true},
	{"by a router behind the device, about another port",
	 "",
	 SSH,
	 IN,
	 {"10.20.0.1", SERVER, ICMP, 3, 0, 0, 0, 0, SERVER, "10.20.7.9", TCP, 5000, 23},
	 false},
	{"by a router behind the device, about a host that is not",
	 "",
	 SSH,
	 IN,
	 {"10.20.0.1", SERVER, ICMP, 3, 0, 0, 0, 0, SERVER, "10.21.0.1", TCP, 5000, 22},
	 false},
	{"to a host behind the device, about its packet",
	 HTTPS,
	 "",
	 OUT,
	 {ROUTER, "10.20.7.9", ICMP, 3, 0, 0, 0, 0, "10.20.7.9", SERVER, TCP, 5000, 443},
	 true},
	{"to a host behind the device, about another's packet",
	 HTTPS,
	 "",
	 OUT,
	 {ROUTER, "10.20.7.9", ICMP, 3, 0, 0, 0, 0, "10.20.7.8", SERVER, TCP, 5000, 443},
	 false},
	{"IPv6 too big by a router behind the device",
	 "",
	 "fd10::/32 tcp/22",
	 IN,
	 {"fd20::1", SERVER6, ICMP6, 2, 0, 0, 0, 0, SERVER6, "fd20::1:9", TCP, 5000, 22},
	 true},
	{"an error that quotes nothing", ANY, "", OUT, {SERVER, DEVICE, ICMP, 3}, false},
	{"a quotation cut short",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, ICMP, 3, 0, 0, 0, 17, DEVICE, SERVER, TCP, 5000, 443},
	 false},
	{"a quotation of the ports",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, ICMP, 3, 0, 0, 0, 16, DEVICE, SERVER, TCP, 5000, 443},
	 true},
	{"IPv6 too big",
	 V6,
	 "",
	 OUT,
	 {"fd99::1", DEVICE6, ICMP6, 2, 0, 0, 0, 0, DEVICE6, SERVER6, TCP, 5000, 443},
	 true},
	{"IPv6 too big about another port",
	 V6,
	 "",
	 OUT,
	 {"fd99::1", DEVICE6, ICMP6, 2, 0, 0, 0, 0, DEVICE6, SERVER6, TCP, 5000, 444},
	 false},

	/* Fragments. */
	{"first", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 443, ACK, MORE}, true},
	{"first, another port", HTTPS, "", IN, {DEVICE, SERVER, TCP, 5000, 444, ACK, MORE}, false},
	{"later", HTTPS, "", IN, {DEVICE, SERVER, TCP, 0, 0, 0, 100}, true},
	{"later, another protocol", HTTPS, "", IN, {DEVICE, SERVER, UDP, 0, 0, 0, 100}, false},
	{"later, another network", HTTPS, "", IN, {DEVICE, "10.2.0.5", TCP, 0, 0, 0, 100}, false},
	{"later, back", HTTPS, "", OUT, {SERVER, DEVICE, TCP, 0, 0, 0, 100}, true},
	{"later, back, UDP", DNS, "", OUT, {SERVER, DEVICE, UDP, 0, 0, 0, 1}, true},
	{"first back, with its flags",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, TCP, 443, 5000, ACK, MORE},
	 true},
	{"first back, opening", HTTPS, "", OUT, {SERVER, DEVICE, TCP, 443, 22, SYN, MORE}, false},
	{"first back, too small for its flags",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, TCP, 443, 22, 0, MORE, 12},
	 false},
	{"no fragment, too small for its flags",
	 HTTPS,
	 "",
	 OUT,
	 {SERVER, DEVICE, TCP, 443, 22, 0, 0, 7},
	 false},
	{"later back, over the flags", HTTPS, "", OUT, {SERVER, DEVICE, TCP, 0, 0, 0, 1}, false},
	{"later back, behind the flags", HTTPS, "", OUT, {SERVER, DEVICE, TCP, 0, 0, 0, 2}, true},
	{"later part of a pong", PING, "", OUT, {SERVER, DEVICE, ICMP, 0, 0, 0, 100}, true},
	{"IPv6 later part of a pong", V6, "", OUT, {SERVER6, DEVICE6, ICMP6, 0, 0, 0, 100}, true},
	{"IPv6 first", V6, "", IN, {DEVICE6, SERVER6, TCP, 5000, 443, ACK, MORE}, true},
	{"IPv6 first, another port",
	 V6,
	 "",
	 IN,
	 {DEVICE6, SERVER6, TCP, 5000, 444, ACK, MORE},
	 false},
	{"IPv6 first back, too small for its flags",
	 V6,
	 "",
	 OUT,
	 {SERVER6, DEVICE6, TCP, 443, 22, 0, MORE, 12},
	 false},
	{"IPv6 later", V6, "", OUT, {SERVER6, DEVICE6, TCP, 0, 0, 0, 100}, true},

	/* Families. */
	{"IPv6", V6, "", IN, {DEVICE6, SERVER6, TCP, 5000, 443, SYN}, true},
	{"IPv6, another network", V6, "", IN, {DEVICE6, "fd11::5", TCP, 5000, 443, SYN}, false},
	{"IPv6 answer", V6, "", OUT, {SERVER6, DEVICE6, TCP, 443, 5000, SYN_ACK}, true},
	{"a rule for all of IPv4 is none for IPv6",
	 "0.0.0.0/0 any",
	 "",
	 IN,
	 {DEVICE6, SERVER6, TCP, 5000, 443, SYN},
	 false},
	{"a rule for all of IPv6 is none for IPv4",
	 "::/0 any",
	 "",
	 IN,
	 {DEVICE, SERVER, TCP, 5000, 443, SYN},
	 false},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *row = &rows[i];
		struct access *access = make_access(row->allow, row->accept);

		if (ask(access, row->direction, &row->packet) != row->passes)
			fail_msg("%s: %s", row->name, row->passes ? "dropped" : "passed");
		access_free(access);
	}
}

static void test_union(void **state)
{
	struct config_access a = {0}, b = {0};
	const struct config_access *blocks[] = {&a, &b};
	struct packet_spec https = {DEVICE, SERVER, TCP, 5000, 443, SYN};
	struct packet_spec dns = {DEVICE, SERVER, UDP, 5000, 53};
	struct access *access;

	(void)state;
	add_rules(&a.allow, HTTPS);
	add_rules(&b.allow, DNS);
	access = access_compile(blocks, 2);
	free_rules(&a.allow);
	free_rules(&b.allow);
	assert_true(ask(access, IN, &https) && ask(access, IN, &dns));
	access_free(access);
	access = access_compile(NULL, 0);
	assert_false(ask(access, IN, &https) || ask(access, IN, &dns));
	access_free(access);
	access_free(NULL);
}

static void test_everything(void **state)
{
	struct access *access = access_everything();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_true(ask(access, rows[i].direction, &rows[i].packet));
	access_free(access);
}

/* What passes counts, not how or in which order it is written. */
static void test_equal(void **state)
{
	static const struct {
		const char *name, *allow, *accept, *other_allow, *other_accept;
		bool equal;
	} pairs[] = {
		{"both empty", "", "", "", "", true},
		{"the same", HTTPS, DNS, HTTPS, DNS, true},
		{"more", HTTPS, "", HTTPS, DNS, false},
		{"less", HTTPS, DNS, HTTPS, "", false},
		{"the other way round", HTTPS, "", "", HTTPS, false},
		{"another port", "10.1.0.0/16 tcp/443", "", "10.1.0.0/16 tcp/444", "", false},
		{"a wider range", "10.1.0.0/16 tcp/1-3", "", "10.1.0.0/16 tcp/1-4", "", false},
		{"another protocol", "10.1.0.0/16 tcp/443", "", "10.1.0.0/16 udp/443", "", false},
		{"any protocol", "10.1.0.0/16 tcp", "", "10.1.0.0/16 any", "", false},
		{"any port", "10.1.0.0/16 tcp/1-65535", "", "10.1.0.0/16 tcp", "", false},
		{"another length", "10.0.0.0/8 any", "", "10.0.0.0/9 any", "", false},
		{"another order of ports", "10.1.0.0/16 tcp/22,443", "", "10.1.0.0/16 tcp/443,22",
		 "", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		struct access *a = make_access(pairs[i].allow, pairs[i].accept);
		struct access *b = make_access(pairs[i].other_allow, pairs[i].other_accept);

		if (access_equal(a, b) != pairs[i].equal || access_equal(b, a) != pairs[i].equal)
			fail_msg("%s", pairs[i].name);
		access_free(a);
		access_free(b);
	}
}

static void test_equal_everything(void **state)
{
	struct access *everything = access_everything(), *nothing = make_access("", "");

	(void)state;
	assert_true(access_equal(everything, everything));
	assert_false(access_equal(everything, nothing));
	access_free(everything);
	access_free(nothing);
}

static void test_owners(void **state)
{
	struct packet_spec https = {DEVICE, SERVER, TCP, 5000, 443, SYN};
	struct access *access = make_access(HTTPS, ""), *other = access_ref(access);

	(void)state;
	access_free(access);
	assert_true(ask(other, IN, &https));
	access_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_union),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_equal_everything),
		cmocka_unit_test(test_owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
