#pragma once
/* One attempt to reach a gateway, from its name to the answer of CONNECT: see dial.c. */

#include <uv.h>

#include "base/prefix.h"
#include "channel/tls.h"
#include "sys/parent_link.h"
#include "wire/tunnel_params.h"

struct names;

enum { DIAL_TEXT = 512, DIAL_PORT = 443 /* where none is named */, DIAL_HOST_MAX = 256 };

/* An attempt finishes with what it began, whatever a reload changes meanwhile: it keeps the setup,
 * the trust and the names of its own. */
struct dial_options {
	uv_loop_t *loop;
	struct tls_setup *setup;
	struct trust *trust;
	struct parent_link *parent;
	struct names *names;
	const char *gateway;   /* "name[:port]" */
	const char *peer_name; /* NULL: the gateway's name */
	const char *cookie;    /* of the session to take up; NULL or "": a new one */
	const char *hostname;  /* ours, for the gateway's tables; borrowed */
	struct addr held4, held6;
	bool want_dtls;
	const struct prefix_list
		*last_outer; /* addresses to use when the name does not resolve now */
};

struct dial_result {
	enum reason reason;   /* NONE: connected */
	char text[DIAL_TEXT]; /* why not */
	bool refused;	      /* the gateway, or our own check of it, said no: not the network */
	bool by_us;	      /* it was our check */
	bool cookie_refused;  /* 401: once more without it */
	bool guessed;	      /* refused without a word: it might have been the network */
	bool hopeless;	      /* will be so the next time, too */
	char id[TLS_ID_TEXT]; /* of the handshake, "" when there was none */
	struct identity_cert *about; /* owned; by_us: whose fault it was; may be NULL */
	struct prefix_list outer;    /* all addresses of the gateway's name */
	struct endpoint peer;
	/* connected */
	struct tls *tls;
	struct tunnel_params params;
	struct buf early; /* what came behind the answer in its last record: the first of CSTP */
	char cookie[TUNNEL_PARAMS_COOKIE_MAX];
	uint8_t psk[TLS_PSK];
	bool is_tund;
	unsigned path_mtu;
};

struct dial;

/* done is called once, never before dial_start returns; it takes what it wants out of result, the
 * rest is freed. */
struct dial *dial_start(const struct dial_options *options,
			void (*done)(struct dial_result *result, void *user), void *user);
/* Ends it without calling done. NULL is fine. */
void dial_cancel(struct dial *dial);
/* What an inner packet may have: as much as the gateway offers, or less where a record of it would
 * not fit the path (0: it is not known). Bytes. */
unsigned dial_inner_mtu(const struct endpoint *peer, unsigned path_mtu, unsigned offered);
