#pragma once
/* The control channel: TLS 1.3 with a certificate at both ends, no resumption, no early data. Works
 * on its own buffers and a non-blocking socket, so that the same object serves a handshake thread
 * and then a worker. One thread at a time. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "base/buf.h"
#include "channel/bio.h"
#include "pki/verify.h"

enum {
	TLS_PSK = 32,
	TLS_ID_TEXT = 9, /* 8 hexadecimal digits */
	TLS_OUT_MAX =
		4 * 1024 * 1024,   /* bytes that wait for the socket; beyond, packets are dropped */
	TLS_OUT_FULL = 256 * 1024, /* tls_is_full from here on */
	TLS_RECORD_MAX = 16384,
};

enum tls_result { TLS_DONE, TLS_AGAIN, TLS_CLOSED, TLS_FAILED };

/* What every connection of one thread shares. */
struct tls_setup {
	SSL_CTX *server, *client;
	bool has_hybrid; /* a post-quantum group is on offer */
};

struct tls_options {
	X509 *leaf;
	STACK_OF(X509) * chain; /* below the root; may be NULL */
	EVP_PKEY *key;
	const char *groups; /* colon-separated; those the library lacks are left out */
	bool hybrid;	    /* put X25519MLKEM768 first where the library has it */
};

/* 0, or -EINVAL with one line in error. */
int tls_setup_init(struct tls_setup *setup, const struct tls_options *options, char *error,
		   size_t size);
/* One more owner of the same: both call tls_setup_done. */
struct tls_setup tls_setup_ref(const struct tls_setup *setup);
void tls_setup_done(struct tls_setup *setup);

struct tls {
	SSL *ssl;
	int fd; /* owned */
	struct bio_port port;
	struct buf in, out; /* as received and not yet read; sealed and not yet sent */
	size_t in_at, out_at;
	bool is_server, eof;
	bool paused;	     /* nothing more is received: what is there is read first */
	int socket_error;    /* errno of the socket, 0 */
	int alert;	     /* the fatal alert the peer sent, or -1 */
	struct trust *trust; /* by which the peer is judged */
	const char
		*peer_name; /* client: the name asked for; borrowed until the handshake is done */
	struct verdict verdict;
	bool asked;	   /* the verdict has been reached */
	bool peer_is_tund; /* client: the gateway has said so in its handshake */
};

/* Takes fd (connected, non-blocking); a reference to trust is taken. NULL when out of memory. */
struct tls *tls_new(struct tls_setup *setup, bool is_server, int fd, struct trust *trust,
		    const char *peer_name);
void tls_free(struct tls *tls); /* closes the socket as it is */

enum tls_result tls_handshake(struct tls *tls);
/* One record at most. TLS_CLOSED: the peer's end, with or without close_notify. */
enum tls_result tls_read(struct tls *tls, uint8_t *out, size_t size, size_t *ret_len);
/* Seals one record into the output. False when it does not fit or the channel has failed. */
bool tls_write(struct tls *tls, const void *bytes, size_t len);
/* Sends what waits. TLS_AGAIN when some is left. */
enum tls_result tls_flush(struct tls *tls);
bool tls_wants_write(const struct tls *tls);
bool tls_is_full(const struct tls *tls);
/* Whether tls_read may find something without the socket becoming readable. */
bool tls_has_input(const struct tls *tls);
/* Gives back the memory that records pass through; what has come in and is not read yet stays. */
void tls_rest(struct tls *tls);
/* Half-close: nothing will be sent any more. */
void tls_shutdown(struct tls *tls);

void tls_id(const struct tls *tls, char id[static TLS_ID_TEXT]);
/* RFC 8446 section 7.5, label "EXPORTER-openconnect-psk", no context. 0 or -EIO. */
int tls_export_psk(struct tls *tls, uint8_t psk[static TLS_PSK]);
const char *tls_version(const struct tls *tls);
const char *tls_cipher(const struct tls *tls);
const char *tls_group(const struct tls *tls); /* "X25519"; static text of OpenSSL */
/* Why the handshake failed, for the operator; and the reason word for it. */
enum reason tls_failure(const struct tls *tls, char *text, size_t size);
