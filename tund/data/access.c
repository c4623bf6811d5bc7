#include "data/access.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum {
	TCP_FLAGS = 13,
	TCP_SYN = 0x02,
	TCP_ACK = 0x10,
	ICMP_HEADER = 8,
	V4_FRAGMENT = 6,
	V4_OFFSET_MASK = 0x1fff,
};

/* One rule: the far address, and a range of the port that the service has. */
struct rule {
	struct prefix net;
	uint8_t protocol;
	bool any_protocol, any_port;
	uint16_t first_port, last_port;
};

struct rules {
	struct rule *items;
	size_t count;
};

struct access {
	_Atomic unsigned refs; /* workers share it */
	bool everything;
	struct rules allow;  /* services in the network, which the device opens */
	struct rules accept; /* services on the device, which the network opens */
};

/* One packet, seen from the network's end. */
struct question {
	unsigned family;
	const uint8_t *far; /* the address on the network's side */
	uint8_t protocol;
	bool has_ports, is_later; /* a later fragment has no ports */
	uint16_t far_port, device_port;
};

static void add_rule(struct rules *rules, const struct config_rule *from,
		     const struct config_ports *ports)
{
	struct rule rule = {
		.net = from->net,
		.protocol = from->protocol,
		.any_protocol = from->any_protocol,
		.any_port = ports == NULL,
	};

	if (ports) {
		rule.first_port = ports->first;
		rule.last_port = ports->last;
	}
	rules->items = xalloc_grow(rules->items, rules->count + 1, sizeof(rule));
	rules->items[rules->count++] = rule;
}

static void add_rules(struct rules *rules, const struct config_rules *from)
{
	for (size_t i = 0; i < from->count; i++) {
		const struct config_rule *rule = &from->items[i];

		if (rule->port_count == 0)
			add_rule(rules, rule, NULL);
		for (size_t k = 0; k < rule->port_count; k++)
			add_rule(rules, rule, &rule->ports[k]);
	}
}

struct access *access_compile(const struct config_access *const *blocks, size_t count)
{
	struct access *access = xnew(struct access);

	access->refs = 1;
	for (size_t i = 0; i < count; i++) {
		add_rules(&access->allow, &blocks[i]->allow);
		add_rules(&access->accept, &blocks[i]->accept);
	}
	return access;
}

struct access *access_everything(void)
{
	struct access *access = xnew(struct access);

	access->refs = 1;
	access->everything = true;
	return access;
}

struct access *access_ref(struct access *access)
{
	access->refs++;
	return access;
}

void access_free(struct access *access)
{
	if (!access || --access->refs)
		return;
	free(access->allow.items);
	free(access->accept.items);
	free(access);
}

static bool same_rule(const struct rule *a, const struct rule *b)
{
	return prefix_equal(&a->net, &b->net) && a->protocol == b->protocol &&
	       a->any_protocol == b->any_protocol && a->any_port == b->any_port &&
	       a->first_port == b->first_port && a->last_port == b->last_port;
}

/* The rule at the same place is nearly always the one. */
static bool holds_all(const struct rules *rules, const struct rules *wanted)
{
	for (size_t i = 0; i < wanted->count; i++) {
		const struct rule *rule = &wanted->items[i];
		size_t k = 0;

		if (i < rules->count && same_rule(&rules->items[i], rule))
			continue;
		while (k < rules->count && !same_rule(&rules->items[k], rule))
			k++;
		if (k == rules->count)
			return false;
	}
	return true;
}

static bool same_rules(const struct rules *a, const struct rules *b)
{
	return holds_all(a, b) && holds_all(b, a);
}

bool access_equal(const struct access *a, const struct access *b)
{
	return a->everything == b->everything && same_rules(&a->allow, &b->allow) &&
	       same_rules(&a->accept, &b->accept);
}

/* ICMP in a rule stands for ICMPv6 too. */
static bool protocol_fits(const struct rule *rule, uint8_t protocol)
{
	return rule->any_protocol || rule->protocol == protocol ||
	       (rule->protocol == IP_PROTO_ICMP && protocol == IP_PROTO_ICMPV6);
}

static bool net_fits(const struct rule *rule, const struct question *question)
{
	struct addr far = addr_of_bytes(question->family, question->far);

	return prefix_contains(&rule->net, &far);
}

/* port: the service's. A later fragment has none and passes where any packet of its protocol may:
 * alone it is of no use. A first one whose ports are cut off passes only where ports do not matter.
 */
static bool rules_match(const struct rules *rules, const struct question *question, uint16_t port)
{
	for (size_t i = 0; i < rules->count; i++) {
		const struct rule *rule = &rules->items[i];

		if (!protocol_fits(rule, question->protocol) || !net_fits(rule, question))
			continue;
		if (rule->any_port || question->is_later ||
		    (question->has_ports && port >= rule->first_port && port <= rule->last_port))
			return true;
	}
	return false;
}

static bool opens(const struct access *access, enum access_direction direction,
		  const struct question *question)
{
	return direction == ACCESS_IN
		       ? rules_match(&access->allow, question, question->far_port)
		       : rules_match(&access->accept, question, question->device_port);
}

static bool answers(const struct access *access, enum access_direction direction,
		    const struct question *question)
{
	return direction == ACCESS_IN
		       ? rules_match(&access->accept, question, question->device_port)
		       : rules_match(&access->allow, question, question->far_port);
}

static bool is_icmp_error(const struct ip_view *view)
{
	if (view->is_fragment)
		return false;
	if (view->protocol == IP_PROTO_ICMP)
		return view->icmp_type == 3 || view->icmp_type == 11 || view->icmp_type == 12;
	return view->protocol == IP_PROTO_ICMPV6 && view->icmp_type >= 1 && view->icmp_type <= 4;
}

/* A second fragment that could put other TCP flags over those of the first (RFC 1858 section 4). */
static bool overlaps_flags(const uint8_t *packet, const struct ip_view *view)
{
	return view->family == 4 && view->protocol == IP_PROTO_TCP &&
	       (ip_get16(packet + V4_FRAGMENT) & V4_OFFSET_MASK) * 8 <= TCP_FLAGS;
}

/* Whether the packet can only be a question, never an answer: a TCP SYN without ACK, an echo
 * request; or must be taken for one, because its flags are not in it. */
static bool is_opening(const uint8_t *packet, const struct ip_view *view)
{
	if (view->is_later_fragment)
		return overlaps_flags(packet, view);
	if (view->protocol == IP_PROTO_TCP)
		return view->transport + IP_TCP_HEADER > view->len ||
		       (packet[view->transport + TCP_FLAGS] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (view->protocol == IP_PROTO_ICMP)
		return view->icmp_type != 0;
	if (view->protocol == IP_PROTO_ICMPV6)
		return view->icmp_type != 129;
	return false;
}

static struct question ask_about(enum access_direction direction, const struct ip_view *view)
{
	bool in = direction == ACCESS_IN;

	return (struct question){
		.family = view->family,
		.far = in ? view->destination : view->source,
		.protocol = view->protocol,
		.has_ports = view->has_ports,
		.is_later = view->is_later_fragment,
		.far_port = in ? view->destination_port : view->source_port,
		.device_port = in ? view->source_port : view->destination_port,
	};
}

/* The start of the packet that an ICMP error is about, which travelled the other way. */
static bool read_quoted(const uint8_t *packet, const struct ip_view *view, struct ip_view *ret)
{
	size_t at = view->transport + ICMP_HEADER, left, header;
	const uint8_t *quoted = packet + at;

	if (at + IP_V4_HEADER > view->len || quoted[0] >> 4 != view->family)
		return false;
	left = view->len - at;
	header = view->family == 4 ? (size_t)(quoted[0] & 15) * 4 : IP_V6_HEADER;
	if (header < IP_V4_HEADER || left < header + 4)
		return false;
	*ret = (struct ip_view){
		.family = view->family,
		.source = quoted + (view->family == 4 ? 12 : 8),
		.destination = quoted + (view->family == 4 ? 16 : 24),
		.protocol = quoted[view->family == 4 ? 9 : 6],
	};
	ret->has_ports = ret->protocol == IP_PROTO_TCP || ret->protocol == IP_PROTO_UDP;
	ret->source_port = (uint16_t)(quoted[header] << 8 | quoted[header + 1]);
	ret->destination_port = (uint16_t)(quoted[header + 2] << 8 | quoted[header + 3]);
	return true;
}

static bool is_own(const struct prefix_list *own, unsigned family, const uint8_t *address)
{
	struct addr addr = addr_of_bytes(family, address);

	return prefix_list_contains(own, &addr);
}

/* An error passes where the packet it quotes may have passed, from whichever router it comes: in
 * the network, or behind the device. */
static bool error_passes(const struct access *access, enum access_direction direction,
			 const struct prefix_list *own, const uint8_t *packet,
			 const struct ip_view *view)
{
	enum access_direction other = direction == ACCESS_IN ? ACCESS_OUT : ACCESS_IN;
	size_t len = view->family == 4 ? 4 : 16;
	struct question question;
	struct ip_view quoted;

	if (!read_quoted(packet, view, &quoted))
		return false;
	if (!is_own(own, view->family, other == ACCESS_IN ? quoted.source : quoted.destination))
		return false;
	/* It goes to whoever sent what it quotes, not to just anybody. */
	if (memcmp(quoted.source, view->destination, len) != 0)
		return false;
	question = ask_about(other, &quoted);
	return opens(access, other, &question) || answers(access, other, &question);
}

bool access_allows(const struct access *access, enum access_direction direction,
		   const struct prefix_list *own, const uint8_t *packet, const struct ip_view *view)
{
	struct question question;

	if (access->everything)
		return true;
	if (is_icmp_error(view))
		return error_passes(access, direction, own, packet, view);
	question = ask_about(direction, view);
	if (opens(access, direction, &question))
		return true;
	return !is_opening(packet, view) && answers(access, direction, &question);
}
