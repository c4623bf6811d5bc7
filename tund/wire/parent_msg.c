#include "wire/parent_msg.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

void parent_msg_network_done(struct parent_msg_network *network)
{
	prefix_list_done(&network->addresses);
	prefix_list_done(&network->routes);
	prefix_list_done(&network->dns);
	for (size_t i = 0; i < network->domain_count; i++)
		free(network->domains[i]);
	free(network->domains);
	*network = (struct parent_msg_network){0};
}

static void write_addr(struct buf *buf, const struct addr *addr)
{
	buf_u8(buf, addr->family);
	buf_append(buf, addr->bytes, sizeof(addr->bytes));
}

static void read_addr(struct span *span, struct addr *ret)
{
	const uint8_t *bytes;

	ret->family = span_u8(span);
	bytes = span_bytes(span, sizeof(ret->bytes));
	if (bytes)
		memcpy(ret->bytes, bytes, sizeof(ret->bytes));
	if (ret->family != 0 && ret->family != 4 && ret->family != 6)
		span->failed = true;
}

static void write_prefixes(struct buf *buf, const struct prefix_list *list)
{
	buf_u16(buf, (uint16_t)list->count);
	for (size_t i = 0; i < list->count; i++) {
		write_addr(buf, &list->items[i].addr);
		buf_u8(buf, list->items[i].len);
	}
}

static void read_prefixes(struct span *span, struct prefix_list *list, size_t max)
{
	size_t count = span_u16(span);

	if (count > max)
		span->failed = true;
	for (size_t i = 0; i < count && !span->failed; i++) {
		struct prefix prefix = {0};

		read_addr(span, &prefix.addr);
		prefix.len = span_u8(span);
		if (prefix.addr.family == 0 || prefix.len > addr_bits(&prefix.addr))
			span->failed = true;
		else
			prefix_list_add(list, &prefix);
	}
}

static void write_network(struct buf *buf, const struct parent_msg_network *network)
{
	buf_u16(buf, (uint16_t)network->mtu);
	write_prefixes(buf, &network->addresses);
	write_prefixes(buf, &network->routes);
	write_addr(buf, &network->source4);
	write_addr(buf, &network->source6);
	write_prefixes(buf, &network->dns);
	buf_u16(buf, (uint16_t)network->domain_count);
	for (size_t i = 0; i < network->domain_count; i++)
		buf_string(buf, network->domains[i]);
	buf_u8(buf, network->is_site);
}

static void read_domains(struct span *span, struct parent_msg_network *network)
{
	size_t count = span_u16(span);

	if (count > PARENT_MSG_DOMAINS_MAX) {
		span->failed = true;
		return;
	}
	network->domains = xnew_array(char *, count);
	for (size_t i = 0; i < count && !span->failed; i++) {
		char name[256];

		span_string(span, name, sizeof(name));
		network->domains[network->domain_count++] = xalloc_string(name);
	}
}

static void read_network(struct span *span, struct parent_msg_network *network)
{
	uint8_t is_site;

	network->mtu = span_u16(span);
	read_prefixes(span, &network->addresses, PARENT_MSG_ADDRESSES_MAX);
	read_prefixes(span, &network->routes, PARENT_MSG_ROUTES_MAX);
	read_addr(span, &network->source4);
	read_addr(span, &network->source6);
	read_prefixes(span, &network->dns, PARENT_MSG_DNS_MAX);
	read_domains(span, network);
	is_site = span_u8(span);
	if (is_site > 1)
		span->failed = true;
	network->is_site = is_site == 1;
}

void parent_msg_write_request(struct buf *buf, const struct parent_msg_request *request)
{
	buf_u32(buf, request->id);
	buf_u8(buf, (uint8_t)request->kind);
	switch (request->kind) {
	case PARENT_MSG_TCP_SOCKET:
		buf_u8(buf, request->family);
		break;
	case PARENT_MSG_NETWORK:
		write_network(buf, &request->network);
		break;
	case PARENT_MSG_RELOAD:
	case PARENT_MSG_FILES:
		break;
	case PARENT_MSG_ADOPT:
		buf_u32(buf, request->generation);
		break;
	case PARENT_MSG_ROUTES:
		write_prefixes(buf, &request->network.routes);
		break;
	case PARENT_MSG_FORWARDING:
		buf_u8(buf, request->families);
		break;
	}
}

bool parent_msg_read_request(const uint8_t *packet, size_t len, struct parent_msg_request *ret)
{
	struct span span = {packet, len, false};

	*ret = (struct parent_msg_request){0};
	ret->id = span_u32(&span);
	ret->kind = span_u8(&span);
	switch (ret->kind) {
	case PARENT_MSG_TCP_SOCKET:
		ret->family = span_u8(&span);
		if (ret->family != 4 && ret->family != 6)
			span.failed = true;
		break;
	case PARENT_MSG_NETWORK:
		read_network(&span, &ret->network);
		break;
	case PARENT_MSG_RELOAD:
	case PARENT_MSG_FILES:
		break;
	case PARENT_MSG_ADOPT:
		ret->generation = span_u32(&span);
		break;
	case PARENT_MSG_ROUTES:
		read_prefixes(&span, &ret->network.routes, PARENT_MSG_ROUTES_MAX);
		break;
	case PARENT_MSG_FORWARDING:
		ret->families = span_u8(&span);
		if (ret->families == 0 || ret->families > (PARENT_MSG_V4 | PARENT_MSG_V6))
			span.failed = true;
		break;
	default:
		return false;
	}
	return !span.failed && span.len == 0;
}

void parent_msg_write_reply(struct buf *buf, const struct parent_msg_reply *reply)
{
	buf_u32(buf, reply->id);
	buf_u32(buf, reply->error);
	buf_string(buf, reply->text);
}

bool parent_msg_read_reply(const uint8_t *packet, size_t len, struct parent_msg_reply *ret)
{
	struct span span = {packet, len, false};
	struct parent_msg_reply reply;

	reply.id = span_u32(&span);
	reply.error = span_u32(&span);
	span_string(&span, reply.text, sizeof(reply.text));
	if (span.failed || span.len)
		return false;
	*ret = reply;
	return true;
}
