#pragma once
/* From the engine to the parent, over SOCK_SEQPACKET: what only the parent may do. One packet a
 * message; a reply carries the request's number and may bring a descriptor. The parent believes
 * nothing it reads: every field is bounded here. Unasked it says only that there is news. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/prefix.h"

enum {
	PARENT_MSG_MAX = 60 * 1024,
	PARENT_MSG_ADDRESSES_MAX = 8,
	PARENT_MSG_ROUTES_MAX = 2000,
	PARENT_MSG_DNS_MAX = 16,
	PARENT_MSG_DOMAINS_MAX = 64,
	PARENT_MSG_TEXT = 512,
	PARENT_MSG_V4 = 1,
	PARENT_MSG_V6 = 2,
	/* A reply with this id, which no request has: news, in its error; since when, in its text:
	 * clock_now_us, decimal. */
	PARENT_MSG_UNASKED = 0,
};

enum parent_msg_news {
	PARENT_MSG_HANGUP = 0,	/* SIGHUP */
	PARENT_MSG_CHANGED = 1, /* a file that the configuration names may hold something else */
};

enum parent_msg_kind {
	PARENT_MSG_TCP_SOCKET = 1, /* a TCP socket of the family; comes with the reply */
	PARENT_MSG_NETWORK = 2,	   /* the interface's whole configuration, empty to take it back */
	PARENT_MSG_RELOAD = 3, /* the configuration read again; comes with the reply (bundle.h) */
	PARENT_MSG_ADOPT = 4,  /* what was read under this generation is in force; no reply */
	PARENT_MSG_ROUTES = 5, /* a gateway's: all that its sites have that are up */
	/* Whether this host forwards; the reply's text says what does not. */
	PARENT_MSG_FORWARDING = 6,
	PARENT_MSG_FILES = 7, /* what the configuration in force names, read again: as RELOAD */
};

struct parent_msg_network {
	unsigned mtu;
	struct prefix_list addresses, routes;
	struct addr source4, source6;
	struct prefix_list dns;
	char **domains;
	size_t domain_count;
	bool is_site; /* networks are behind this host: another way there may go before the routes */
};

struct parent_msg_request {
	uint32_t id;
	enum parent_msg_kind kind;
	uint8_t family;			   /* TCP_SOCKET: 4 or 6 */
	uint8_t families;		   /* FORWARDING: PARENT_MSG_V4, _V6, or both */
	uint32_t generation;		   /* ADOPT */
	struct parent_msg_network network; /* of ROUTES the routes alone */
};

struct parent_msg_reply {
	uint32_t id;
	uint32_t error; /* 0 or an errno */
	char text[PARENT_MSG_TEXT];
};

void parent_msg_network_done(struct parent_msg_network *network);
void parent_msg_write_request(struct buf *buf, const struct parent_msg_request *request);
/* The caller frees ret->network with parent_msg_network_done, also after false. */
bool parent_msg_read_request(const uint8_t *packet, size_t len, struct parent_msg_request *ret);
void parent_msg_write_reply(struct buf *buf, const struct parent_msg_reply *reply);
bool parent_msg_read_reply(const uint8_t *packet, size_t len, struct parent_msg_reply *ret);
