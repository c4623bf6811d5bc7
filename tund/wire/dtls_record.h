#pragma once
/* What can be known of a DTLS 1.2 datagram (RFC 6347) before it is decrypted. OpenSSL drops every
 * forgery in the same silent way, so this counts and drops first; a short AEAD record must never
 * reach an established association (CVE-2026-75806). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DTLS_RECORD_HEADER = 13,
	DTLS_RECORD_AEAD_MIN = 8 + 16, /* explicit nonce and tag of GCM; ChaCha20-Poly1305 has 16 */
	DTLS_RECORD_AEAD_MIN_CHACHA = 16,
	DTLS_RECORD_PLAIN_MAX = 16384,
	DTLS_RECORD_MAX = DTLS_RECORD_PLAIN_MAX + 256,
	DTLS_APP_ID = 32,

	DTLS_TYPE_CHANGE_CIPHER = 20,
	DTLS_TYPE_ALERT = 21,
	DTLS_TYPE_HANDSHAKE = 22,
	DTLS_TYPE_DATA = 23,
};

enum dtls_record_error {
	DTLS_RECORD_OK,
	DTLS_RECORD_SHORT,   /* fewer bytes than a header, or than an encrypted record can have */
	DTLS_RECORD_TYPE,    /* none of 20..23 */
	DTLS_RECORD_VERSION, /* not DTLS 1.2 (a first hello may say 1.0) */
	DTLS_RECORD_EPOCH,   /* not the epoch in use */
	DTLS_RECORD_LENGTH,  /* runs past the datagram, too long, or followed by something else */
	DTLS_RECORD_REPLAY,  /* seen before, or older than the window */
};

struct dtls_record {
	uint8_t type;
	uint16_t epoch;
	uint64_t sequence;
	size_t len; /* of the fragment behind the header */
};

/* Sequence numbers of one epoch that were opened: the newest and a bit for each of the 64 up to it.
 */
struct dtls_window {
	uint64_t next; /* newest + 1; 0: nothing yet */
	uint64_t bits;
};

/* Reads the first record of a datagram. */
enum dtls_record_error dtls_record_read(const uint8_t *datagram, size_t len,
					struct dtls_record *ret);
/* Whether a datagram may go to the association: every record's form; application data and alerts
 * alone in their datagram, in epoch 1, long enough, not in the window; handshake records of epoch 0
 * and 1 pass, for retransmitted flights. *ret is the first record. */
enum dtls_record_error dtls_record_check(const uint8_t *datagram, size_t len, size_t aead_min,
					 const struct dtls_window *window, struct dtls_record *ret);
/* After the record was opened, and only then: it is authentic. */
void dtls_window_mark(struct dtls_window *window, uint64_t sequence);
bool dtls_window_fresh(const struct dtls_window *window, uint64_t sequence);

/* Whether the datagram is a whole, unfragmented ClientHello whose session id (the App-ID) has
 * exactly DTLS_APP_ID bytes; *ret borrows. */
bool dtls_record_hello(const uint8_t *datagram, size_t len, const uint8_t **ret_app_id);
