#pragma once
/* What CONNECT agrees on: header fields <=> structs. Names and spellings are the OpenConnect
 * protocol's; clients compare those of the answer byte for byte. X-Tund-Network is our own, one a
 * network behind a site: "X-Tund-Network: 10.20.0.0/16". Stock clients pass over names they do not
 * know. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/prefix.h"
#include "wire/dtls_record.h"
#include "wire/http.h"

enum {
	TUNNEL_PARAMS_COOKIE_MAX = 256, /* bytes with the terminating zero */
	TUNNEL_PARAMS_AGENT_MAX = 128,
	TUNNEL_PARAMS_HOSTNAME_MAX = 128,
	TUNNEL_PARAMS_DOMAIN_MAX = 254,
	TUNNEL_PARAMS_ROUTES_MAX = 1000,
	TUNNEL_PARAMS_NETWORKS_MAX = 100,
	TUNNEL_PARAMS_DNS_MAX = 16,
	TUNNEL_PARAMS_DOMAINS_MAX = 64,
	TUNNEL_PARAMS_MTU_MIN_V4 = 576, /* smaller and larger values count as absent */
	TUNNEL_PARAMS_MTU_MIN_V6 = 1280,
	TUNNEL_PARAMS_MTU_MAX = 9216,
};

/* The client's side: the fields of a CONNECT request. */
struct tunnel_offer {
	char cookie[TUNNEL_PARAMS_COOKIE_MAX]; /* "": none */
	char agent[TUNNEL_PARAMS_AGENT_MAX];
	char hostname[TUNNEL_PARAMS_HOSTNAME_MAX];
	unsigned
		base_mtu; /* of the path, bytes of the outer packet; 0: not said or out of bounds */
	unsigned mtu;	  /* inner; 0 likewise */
	bool want4, want6;
	bool full6; /* understands X-CSTP-Address-IP6 */
	bool psk;   /* offers PSK-NEGOTIATE */
};

/* The gateway's side: the fields of its answer. */
struct tunnel_params {
	struct addr v4, v6; /* family 0: none */
	uint8_t v4_len, v6_len;
	bool full6;
	unsigned mtu, base_mtu;
	struct prefix_list dns; /* host prefixes */
	char **domains;
	size_t domain_count;
	bool tunnel_all_dns;
	struct prefix_list routes, exclude;
	struct prefix_list networks; /* behind the client, which is a site's */
	unsigned dpd_s, keepalive_s, rekey_s, idle_timeout_s, session_timeout_s; /* 0: none */
	bool has_dtls;
	uint16_t dtls_port;
	uint8_t app_id[DTLS_APP_ID];
	size_t app_id_len;
	char cookie[TUNNEL_PARAMS_COOKIE_MAX]; /* for who came without one; "": none */
	unsigned dtls_dpd_s, dtls_keepalive_s;
};

void tunnel_params_done(struct tunnel_params *params);
void tunnel_params_add_domain(struct tunnel_params *params, const char *domain, size_t len);

/* Appends a whole CONNECT request. host: the Host field; addresses: those held before (family 0:
 * none). */
void tunnel_params_write_offer(struct buf *buf, const struct tunnel_offer *offer, const char *host,
			       const struct addr *held4, const struct addr *held6);
/* The offer in a request's fields; what is absent, unknown or out of bounds is left at its zero. */
void tunnel_params_read_offer(const struct http_head *head, struct tunnel_offer *ret);
/* Appends the whole answer, "HTTP/1.1 200 CONNECTED" to the empty line. */
void tunnel_params_write_answer(struct buf *buf, const struct tunnel_params *params,
				const char *server);
/* Reads an answer. False with one line in error (a gateway's words are escaped) when there is no
 * address, no MTU, or a field that does not parse. Routes with host bits are taken as their prefix.
 * The caller frees with tunnel_params_done, also after false. */
bool tunnel_params_read_answer(const struct http_head *head, struct tunnel_params *ret, char *error,
			       size_t size);
