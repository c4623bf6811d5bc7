/* wire/key_msg: what the key holder reads from those who ask, and what they read from it. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "wire/key_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What can be read is written the same. */
static void check_request(const uint8_t *data, size_t size)
{
	uint8_t packet[KEY_MSG_MAX];
	struct key_msg_request request;

	if (!key_msg_request_read(data, size, &request))
		return;
	assert(request.tbs_len > 0 && request.tbs_len <= KEY_MSG_TBS_MAX);
	assert(key_msg_request_write(&request, packet) == size);
	assert(memcmp(packet, data, size) == 0);
	if (key_msg_signer(request.tbs, request.tbs_len))
		assert(request.tbs_len == 130 || request.tbs_len == 146);
}

static void check_reply(const uint8_t *data, size_t size)
{
	uint8_t packet[KEY_MSG_MAX];
	struct key_msg_reply reply;

	if (!key_msg_reply_read(data, size, &reply))
		return;
	assert(reply.signature_len <= KEY_MSG_SIGNATURE_MAX);
	assert(key_msg_reply_write(&reply, packet) == size);
	assert(memcmp(packet, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_request(data, size);
	check_reply(data, size);
	key_msg_signer(data, size);
	return 0;
}
