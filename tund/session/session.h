#pragma once
/* The control half of a connection: who it is, which addresses it holds, what state it is in.
 * Belongs to the main thread.
 *
 *	PENDING ──CONNECT──▶ OPEN ◀──the cookie's owner returns──┐
 *	   │                  ├──the channel is lost──▶ AWAY ────┘
 *	   └──too late──▶ CLOSED ◀──cut, ended, gone too long──┘
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <openssl/x509.h>
#include <uthash.h>

#include "base/addr.h"
#include "base/reason.h"
#include "base/timers.h"
#include "config/config.h"
#include "pki/identity.h"
#include "session/lease.h"

enum { SESSION_COOKIE = 32, SESSION_TEXT = 96, SESSION_ID_TEXT = 9 };

enum session_state {
	SESSION_PENDING, /* has logged in and holds nothing yet */
	SESSION_OPEN,
	SESSION_AWAY, /* its lease is kept until away_until_us */
	SESSION_CLOSED,
};

struct session {
	uint64_t id;
	enum session_state state;
	struct identity identity;
	struct identity_cert *cert; /* NULL: restored from the store, not seen since */
	X509 *leaf;		    /* to ask again about when trust changes */
	STACK_OF(X509) * untrusted;
	struct lease *lease;
	uint8_t cookie_hash[SESSION_COOKIE]; /* SHA-256 */
	bool has_cookie;
	uint64_t flow;			    /* the current one, 0: none */
	unsigned worker, bound_for, wanted; /* who has that, who is to get it: see gateway/crew.c */
	const struct config_access **blocks;
	size_t block_count;
	/* Of the blocks: it is a link of that site; or NULL. Set by session_table_set_site. */
	const struct config_access *site;
	struct endpoint peer;
	char agent[SESSION_TEXT + 32], tls_version[16], cipher[48], group[32], data_cipher[64];
	char handshake_id[SESSION_ID_TEXT];
	bool over_dtls;
	unsigned mtu;
	uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets; /* of flows that have ended */
	time_t connected_at, expires_at;
	int64_t until_us; /* PENDING, AWAY: when it is given up; see session_table_give_up_at */
	struct timers_entry late, expiry;
	struct session *next_of_name;
	struct session *prev_link, *next_link; /* of the links of sites */
	UT_hash_handle hh, hh_cookie, hh_name;
};

const char *session_state_name(enum session_state state);
/* Changes the state and logs it; why may be NULL. */
void session_enter(struct session *session, enum session_state state, const char *why);
/* Name for people and logs: the identity's. */
const char *session_name(const struct session *session);
/* What leases and stickiness hang on: "cn:alice@<root>". */
void session_lease_key(const struct identity *identity, char key[static LEASE_KEY_MAX]);
/* The certificate that it now stands on; both are referenced. When it ends, session_table_expire_at
 * is told. */
void session_set_cert(struct session *session, struct identity_cert *cert, X509 *leaf,
		      STACK_OF(X509) * untrusted);
