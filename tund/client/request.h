#pragma once
/* What a client asks a gateway for. */

#include <stdbool.h>

#include "base/addr.h"
#include "base/buf.h"

struct request_tunnel {
	const char *host;     /* the Host field */
	const char *hostname; /* ours, for the gateway's tables */
	const char *cookie;
	unsigned path_mtu; /* of the outer path, 0: not known */
	bool want_dtls;
	const struct addr *held4, *held6; /* what we had before; family 0: nothing */
};

/* POST: who are we, and may we in? */
void request_login(struct buf *out, const char *host);
/* CONNECT. */
void request_connect(struct buf *out, const struct request_tunnel *tunnel);
