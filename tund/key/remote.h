#pragma once
/* An OpenSSL key whose private half lives in the key holder: a built-in provider ("tund") with key
 * management and signatures for EC P-256/P-384, Ed25519 and RSA (PSS), which sends the whole
 * message to be signed over a socket and waits, with a deadline. */

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

/* Adds the provider to the default library context, beside the default one, which stays the one
 * that OpenSSL prefers: this sets the context's default properties. Once, before threads and before
 * the first SSL_CTX; unloaded at exit. 0 or -errno. */
int remote_provider_load(void);

/* A key with the public half spki (DER SubjectPublicKeyInfo), which the key holder has under this
 * generation, that signs through socket (borrowed, a SOCK_SEQPACKET, used by one thread at a time).
 * NULL with OpenSSL's error queue filled. */
EVP_PKEY *remote_key_new(const uint8_t *spki, size_t len, int socket, uint32_t generation);
