#pragma once
/* The data channel: DTLS 1.2 with a pre-shared key from the TLS exporter, the App-ID in the hello's
 * session id. One association; a flow has an active one and at most one candidate. Reads datagrams
 * it is lent, writes records through a function. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "channel/bio.h"
#include "wire/dtls_record.h"

enum {
	DTLS_PSK = 32,
	DTLS_OVERHEAD_GCM = 13 + 8 + 16, /* bytes a record adds */
	/* Records on one key: from the first on a client makes a new association; more than the
	 * second a gateway lets nobody use. */
	DTLS_REKEY_RECORDS = 1 << 23,
	DTLS_RECORDS_MAX = (1 << 24) - (1 << 20),
};

/* Shared by all associations of one thread. */
struct dtls_setup {
	SSL_CTX *server, *client;
};

enum dtls_state { DTLS_HANDSHAKING, DTLS_OPEN, DTLS_FAILED };

struct dtls {
	SSL *ssl;
	struct bio_port port;
	enum dtls_state state;
	bool is_resting; /* its record buffers are released */
	bool listening;	 /* waits for a hello with our cookie (HelloVerifyRequest) */
	uint8_t psk[DTLS_PSK];
	struct dtls_window window;
	uint64_t sealed; /* records, our direction */
	uint64_t opened;
	size_t aead_min, overhead;
	uint8_t *scratch; /* OpenSSL's, of the handshake; NULL: not known, or released */
	uint8_t peer[18]; /* address and port: what a HelloVerifyRequest's cookie is bound to */
	struct dtls_setup *setup;
};

enum dtls_opened {
	DTLS_OPENED_NONE,   /* a handshake message or a warning */
	DTLS_OPENED_RECORD, /* application data */
	DTLS_OPENED_FORGED, /* did not authenticate, or came in the clear */
	DTLS_OPENED_CLOSED, /* the peer's close_notify or fatal alert */
};

/* write: every record or flight goes there, one call a datagram. 0 or -EIO. */
int dtls_setup_init(struct dtls_setup *setup);
void dtls_setup_done(struct dtls_setup *setup);

struct dtls_options {
	const uint8_t *psk;    /* DTLS_PSK bytes, copied */
	const uint8_t *app_id; /* client: goes into the hello; at most 32 bytes */
	size_t app_id_len;
	void (*write)(void *user, const uint8_t *bytes, size_t len);
	void *user;
	const uint8_t *peer; /* 18 bytes, server */
	bool verify_hello;   /* server: answer the first hello with a HelloVerifyRequest */
	unsigned mtu;	     /* bytes of UDP payload a handshake datagram may have */
	bool plain_psk;	     /* client: offer no suite with a Diffie-Hellman exchange */
};

struct dtls *dtls_new(struct dtls_setup *setup, bool is_server, const struct dtls_options *options);
void dtls_free(struct dtls *dtls); /* wipes the keys; sends nothing */

/* Client: sends the hello. Either: answers a datagram while DTLS_HANDSHAKING. The state tells. */
void dtls_handshake(struct dtls *dtls, const uint8_t *datagram, size_t len);
/* One datagram that dtls_record_check has passed. DTLS_OPENED_RECORD: *ret_len bytes in out. */
enum dtls_opened dtls_open(struct dtls *dtls, const uint8_t *datagram, size_t len,
			   const struct dtls_record *record, uint8_t *out, size_t size,
			   size_t *ret_len);
/* One record from plain (type byte first). False when OpenSSL failed. */
bool dtls_seal(struct dtls *dtls, const uint8_t *plain, size_t len);
/* Gives back the memory that records pass through, two thirds of an association's; the next record
 * in either direction takes it again. Nothing happens while a handshake is under way. */
void dtls_rest(struct dtls *dtls);
/* Retransmits a flight that is due. Microseconds until the next is, -1 for none. */
int64_t dtls_tick(struct dtls *dtls);
const char *dtls_cipher(const struct dtls *dtls);
