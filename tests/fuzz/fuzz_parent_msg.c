/* wire/parent_msg: what the parent reads from an engine that may be anybody's by then, and the
 * reply. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "wire/parent_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_prefixes(const struct prefix_list *list, size_t max)
{
	assert(list->count <= max);
	for (size_t i = 0; i < list->count; i++)
		assert(list->items[i].len <= addr_bits(&list->items[i].addr));
}

static void check_network(const struct parent_msg_network *network)
{
	check_prefixes(&network->addresses, PARENT_MSG_ADDRESSES_MAX);
	check_prefixes(&network->routes, PARENT_MSG_ROUTES_MAX);
	check_prefixes(&network->dns, PARENT_MSG_DNS_MAX);
	assert(network->domain_count <= PARENT_MSG_DOMAINS_MAX);
	for (size_t i = 0; i < network->domain_count; i++)
		assert(strlen(network->domains[i]) < 256);
}

/* What can be read is written the same. */
static void check_request(const uint8_t *data, size_t size)
{
	struct parent_msg_request request;
	struct buf packet = {0};

	if (parent_msg_read_request(data, size, &request)) {
		check_network(&request.network);
		parent_msg_write_request(&packet, &request);
		assert(packet.len == size && memcmp(packet.data, data, size) == 0);
	}
	parent_msg_network_done(&request.network);
	buf_done(&packet);
}

static void check_reply(const uint8_t *data, size_t size)
{
	struct parent_msg_reply reply;
	struct buf packet = {0};

	if (!parent_msg_read_reply(data, size, &reply))
		return;
	parent_msg_write_reply(&packet, &reply);
	assert(packet.len == size && memcmp(packet.data, data, size) == 0);
	buf_done(&packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_request(data, size);
	check_reply(data, size);
	return 0;
}
