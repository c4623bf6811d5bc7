#pragma once
/* From accept to ATTACH: see handshake.c. */

#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "channel/tls.h"
#include "wire/tunnel_params.h"

enum {
	HANDSHAKE_THREADS_MAX = 16,
	HANDSHAKE_TEXT = 512,
	HANDSHAKE_COOKIE_TEXT = 65,
	HANDSHAKE_HURRY_US = 2 * 1000000,
};

struct handshake;
struct handshake_pool;
struct handshake_setups;

/* ---- events, to main: each is answered with handshake_answer, but ENDED, and a CONNECT that became a
 * session ---- */

enum handshake_event_kind {
	HANDSHAKE_LOGIN,   /* POST or GET: is this identity let in, and with which cookie? */
	HANDSHAKE_CONNECT, /* make it a session; main owns tls unless it hands it back */
	HANDSHAKE_ENDED,   /* a connection is over that never became a session; reason NONE: it left
			    */
};

struct handshake_event {
	struct mailbox_message message;
	enum handshake_event_kind kind;
	struct handshake *handshake; /* opaque: given back with the answer; CONNECT's is main's */
	enum reason reason;
	char text[HANDSHAKE_TEXT]; /* ENDED: why, for the operator; "" when it just left */
	struct endpoint peer, local;
	char id[TLS_ID_TEXT];
	struct identity_cert *cert; /* a reference; NULL: it did not get so far */
	uint64_t generation;	    /* of the trust that the verdict was reached by */
	/* ENDED */
	bool by_peer;		     /* it is the peer that refused us */
	struct identity_cert *about; /* a reference; whose fault the verdict was; may be NULL */
	/* CONNECT */
	struct tls *tls;
	struct tunnel_offer offer;
	bool has_psk;
	uint8_t psk[TLS_PSK];
	unsigned path_mtu;			/* of the TCP connection; 0 unknown */
	char new_cookie[HANDSHAKE_COOKIE_TEXT]; /* main's: made for who came without one */
};

/* Frees what the event still owns. */
void handshake_event_free(struct handshake_event *event);

struct handshake_answer {
	unsigned status; /* 200, 401, 403, 503 */
	enum reason reason;
	char cookie[HANDSHAKE_COOKIE_TEXT]; /* LOGIN with 200 */
	struct tls *tls;		    /* CONNECT: taken back */
};

/* ---- the pool ---- */

struct handshake_pool_options {
	size_t threads;
	const int *key_sockets; /* one a thread, to the key holder; borrowed */
	const uint8_t *spki;
	size_t spki_len;
	uint32_t key_generation;
	X509 *leaf;
	STACK_OF(X509) * chain;
	const char *groups;
	bool hybrid;
	int64_t timeout_us;
	struct mailbox *events;
};

/* 0 or -errno with one line in error. */
int handshake_pool_start(const struct handshake_pool_options *options, struct handshake_pool **ret,
			 char *error, size_t size);
/* For handshake_pool_adopt: options, of which threads, key_sockets and events are left as they are,
 * made ready for every thread of the pool. NULL with one line in error. */
struct handshake_setups *handshake_setups_new(struct handshake_pool *pool,
					      const struct handshake_pool_options *options,
					      char *error, size_t size);
void handshake_setups_free(struct handshake_setups *setups); /* NULL is fine */
/* Takes setups: in force for the next connection. Those under way finish with what they began. */
void handshake_pool_adopt(struct handshake_pool *pool, struct handshake_setups *setups);
/* Takes fd: an accepted, non-blocking connection. trust is referenced. */
void handshake_pool_accept(struct handshake_pool *pool, int fd, const struct endpoint *peer,
			   const struct endpoint *local, struct trust *trust);
/* While it is so, whoever does not get on with it is given up after HANDSHAKE_HURRY_US: in a crowd a
 * place is not for those that stall. Any thread. */
void handshake_pool_hurry(struct handshake_pool *pool, bool hurry);
/* The event's handshake goes back to its thread. */
void handshake_answer(struct handshake_event *event, const struct handshake_answer *answer);
/* Closes what is under way; every ENDED comes before this returns. A CONNECT that main holds goes with
 * its event. */
void handshake_pool_stop(struct handshake_pool *pool);
