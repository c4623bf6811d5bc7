#include "wire/key_msg.h"

#include <string.h>

#include "base/buf.h"

enum { PADDING = 64 };

/* Moves what was written into the packet. */
static size_t finish_packet(struct buf *buf, uint8_t packet[static KEY_MSG_MAX])
{
	size_t len = buf->failed ? 0 : buf->len;

	if (len)
		memcpy(packet, buf->data, len);
	buf_done(buf);
	return len;
}

size_t key_msg_request_write(const struct key_msg_request *request,
			     uint8_t packet[static KEY_MSG_MAX])
{
	struct buf buf = {.limit = KEY_MSG_MAX};

	if (request->tbs_len == 0 || request->tbs_len > KEY_MSG_TBS_MAX)
		return 0;
	buf_u64(&buf, request->id);
	buf_u32(&buf, request->generation);
	buf_u16(&buf, request->scheme);
	buf_u16(&buf, (uint16_t)request->tbs_len);
	buf_append(&buf, request->tbs, request->tbs_len);
	return finish_packet(&buf, packet);
}

size_t key_msg_reply_write(const struct key_msg_reply *reply, uint8_t packet[static KEY_MSG_MAX])
{
	struct buf buf = {.limit = KEY_MSG_MAX};

	if (reply->signature_len > KEY_MSG_SIGNATURE_MAX ||
	    (reply->error == 0) == (reply->signature_len == 0))
		return 0;
	buf_u64(&buf, reply->id);
	buf_u16(&buf, reply->error);
	buf_u16(&buf, (uint16_t)reply->signature_len);
	buf_append(&buf, reply->signature, reply->signature_len);
	return finish_packet(&buf, packet);
}

bool key_msg_request_read(const uint8_t *packet, size_t len, struct key_msg_request *ret)
{
	struct span span = {.data = packet, .len = len};
	struct key_msg_request request;

	request.id = span_u64(&span);
	request.generation = span_u32(&span);
	request.scheme = span_u16(&span);
	request.tbs_len = span_u16(&span);
	request.tbs = span_bytes(&span, request.tbs_len);
	if (span.failed || span.len != 0)
		return false;
	if (request.tbs_len == 0 || request.tbs_len > KEY_MSG_TBS_MAX)
		return false;
	*ret = request;
	return true;
}

bool key_msg_reply_read(const uint8_t *packet, size_t len, struct key_msg_reply *ret)
{
	struct span span = {.data = packet, .len = len};
	struct key_msg_reply reply;

	reply.id = span_u64(&span);
	reply.error = span_u16(&span);
	reply.signature_len = span_u16(&span);
	reply.signature = span_bytes(&span, reply.signature_len);
	if (span.failed || span.len != 0 || reply.signature_len > KEY_MSG_SIGNATURE_MAX)
		return false;
	if ((reply.error == 0) == (reply.signature_len == 0))
		return false;
	*ret = reply;
	return true;
}

enum key_msg_role key_msg_signer(const uint8_t *tbs, size_t len)
{
	/* With their terminating zeros, which are the separator. */
	static const char server[] = "TLS 1.3, server CertificateVerify";
	static const char client[] = "TLS 1.3, client CertificateVerify";
	const size_t head = PADDING + sizeof(server);

	_Static_assert(sizeof(server) == sizeof(client), "the roles' strings are equally long");
	if (len != head + 32 && len != head + 48)
		return KEY_MSG_NOBODY;
	for (size_t i = 0; i < PADDING; i++) {
		if (tbs[i] != ' ')
			return KEY_MSG_NOBODY;
	}
	if (memcmp(tbs + PADDING, server, sizeof(server)) == 0)
		return KEY_MSG_SERVER;
	return memcmp(tbs + PADDING, client, sizeof(client)) == 0 ? KEY_MSG_CLIENT : KEY_MSG_NOBODY;
}
