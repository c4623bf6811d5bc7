#pragma once
/* Between whoever needs a name's addresses and the fetch process, over SOCK_SEQPACKET: one message
 * is one packet. The answers come from the network, so every field is bounded here.
 *
 * request: u32 id, u16 length, host
 * reply:   u32 id, u16 length, error text, u8 count, then for each address u8 family (4 or 6) and
 * its 4 or 16 bytes */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
	FETCH_MSG_HOST_MAX = 253, /* RFC 1035 section 2.3.4, as text */
	FETCH_MSG_ERROR_MAX = 255,
	FETCH_MSG_ADDRESSES_MAX = 16,
	FETCH_MSG_MAX = 1024,
};

struct fetch_msg_request {
	uint32_t id;			   /* the asker's choice; the reply repeats it */
	char host[FETCH_MSG_HOST_MAX + 1]; /* letters, digits and -._:% */
};

struct fetch_msg_reply {
	uint32_t id;
	char error[FETCH_MSG_ERROR_MAX + 1]; /* "": count addresses, at least one; else none */
	struct addr addresses[FETCH_MSG_ADDRESSES_MAX];
	size_t count;
};

/* Both return the packet's length, 0 for what the other end would not read. */
size_t fetch_msg_request_write(const struct fetch_msg_request *request,
			       uint8_t packet[static FETCH_MSG_MAX]);
size_t fetch_msg_reply_write(const struct fetch_msg_reply *reply,
			     uint8_t packet[static FETCH_MSG_MAX]);
bool fetch_msg_request_read(const uint8_t *packet, size_t len, struct fetch_msg_request *ret);
bool fetch_msg_reply_read(const uint8_t *packet, size_t len, struct fetch_msg_reply *ret);
