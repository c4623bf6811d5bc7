#pragma once
/* A BIO over the caller's own bytes: OpenSSL reads what it was lent and writes into a function, so
 * that no SSL object owns a descriptor and a record can be sealed straight into a batch. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/bio.h>

struct bio_port {
	const uint8_t *in; /* borrowed until consumed */
	size_t in_len;
	bool datagrams; /* one read takes the whole input, as a socket of datagrams does */
	bool peek;	/* DTLSv1_listen looks before it reads */
	bool eof;	/* a stream's end: read says 0 instead of "retry" */
	/* Takes len bytes: one call a record. */
	void (*write)(void *user, const uint8_t *bytes, size_t len);
	void *user;
};

/* A BIO on port (borrowed, must outlive it). NULL when out of memory. */
BIO *bio_new(struct bio_port *port);
