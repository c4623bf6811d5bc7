/* wire/fetch_msg: what the fetch process reads, and what is read from it. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "wire/fetch_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What can be read is written the same. */
static void check_request(const uint8_t *data, size_t size)
{
	uint8_t packet[FETCH_MSG_MAX];
	struct fetch_msg_request request;

	if (!fetch_msg_request_read(data, size, &request))
		return;
	assert(strlen(request.host) > 0 && strlen(request.host) <= FETCH_MSG_HOST_MAX);
	assert(fetch_msg_request_write(&request, packet) == size);
	assert(memcmp(packet, data, size) == 0);
}

static void check_reply(const uint8_t *data, size_t size)
{
	uint8_t packet[FETCH_MSG_MAX];
	struct fetch_msg_reply reply;

	if (!fetch_msg_reply_read(data, size, &reply))
		return;
	assert(reply.count <= FETCH_MSG_ADDRESSES_MAX);
	assert((reply.count == 0) == (reply.error[0] != '\0'));
	assert(fetch_msg_reply_write(&reply, packet) == size);
	assert(memcmp(packet, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_request(data, size);
	check_reply(data, size);
	return 0;
}
