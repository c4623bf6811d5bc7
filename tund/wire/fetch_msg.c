#include "wire/fetch_msg.h"

#include <string.h>

#include "base/buf.h"

enum { V4_BYTES = 4, V6_BYTES = 16 };

/* Names as resolvers take them (many have an underscore), and address literals. */
static bool is_host(const char *host)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-._:%";

	return host[0] && host[strspn(host, allowed)] == '\0';
}

/* One line of plain text: it goes to a log. */
static bool is_line(const char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			return false;
	}
	return true;
}

static bool is_request(const struct fetch_msg_request *request)
{
	return memchr(request->host, 0, sizeof(request->host)) && is_host(request->host);
}

static bool is_reply(const struct fetch_msg_reply *reply)
{
	if (!memchr(reply->error, 0, sizeof(reply->error)) || !is_line(reply->error))
		return false;
	if (reply->count > FETCH_MSG_ADDRESSES_MAX)
		return false;
	return (reply->error[0] == '\0') == (reply->count > 0);
}

static size_t finish_packet(struct buf *buf, uint8_t packet[static FETCH_MSG_MAX])
{
	size_t len = buf->failed ? 0 : buf->len;

	if (len)
		memcpy(packet, buf->data, len);
	buf_done(buf);
	return len;
}

size_t fetch_msg_request_write(const struct fetch_msg_request *request,
			       uint8_t packet[static FETCH_MSG_MAX])
{
	struct buf buf = {.limit = FETCH_MSG_MAX};

	if (!is_request(request))
		return 0;
	buf_u32(&buf, request->id);
	buf_string(&buf, request->host);
	return finish_packet(&buf, packet);
}

bool fetch_msg_request_read(const uint8_t *packet, size_t len, struct fetch_msg_request *ret)
{
	struct span span = {.data = packet, .len = len};
	struct fetch_msg_request request;

	request.id = span_u32(&span);
	span_string(&span, request.host, sizeof(request.host));
	if (span.failed || span.len != 0 || !is_host(request.host))
		return false;
	*ret = request;
	return true;
}

static void write_address(struct buf *buf, const struct addr *address)
{
	size_t len = address->family == 4 ? V4_BYTES : V6_BYTES;

	if (address->family != 4 && address->family != 6)
		buf->failed = true;
	buf_u8(buf, address->family);
	buf_append(buf, address->bytes, len);
}

size_t fetch_msg_reply_write(const struct fetch_msg_reply *reply,
			     uint8_t packet[static FETCH_MSG_MAX])
{
	struct buf buf = {.limit = FETCH_MSG_MAX};

	if (!is_reply(reply))
		return 0;
	buf_u32(&buf, reply->id);
	buf_string(&buf, reply->error);
	buf_u8(&buf, (uint8_t)reply->count);
	for (size_t i = 0; i < reply->count; i++)
		write_address(&buf, &reply->addresses[i]);
	return finish_packet(&buf, packet);
}

static void read_address(struct span *span, struct addr *address)
{
	const uint8_t *bytes;
	size_t len;

	*address = (struct addr){.family = span_u8(span)};
	len = address->family == 4 ? V4_BYTES : V6_BYTES;
	if (address->family != 4 && address->family != 6)
		span->failed = true;
	bytes = span_bytes(span, len);
	if (bytes)
		memcpy(address->bytes, bytes, len);
}

bool fetch_msg_reply_read(const uint8_t *packet, size_t len, struct fetch_msg_reply *ret)
{
	struct span span = {.data = packet, .len = len};
	struct fetch_msg_reply reply;

	reply.id = span_u32(&span);
	span_string(&span, reply.error, sizeof(reply.error));
	reply.count = span_u8(&span);
	if (span.failed || !is_reply(&reply))
		return false;
	for (size_t i = 0; i < reply.count; i++)
		read_address(&span, &reply.addresses[i]);
	if (span.failed || span.len != 0)
		return false;
	*ret = reply;
	return true;
}
