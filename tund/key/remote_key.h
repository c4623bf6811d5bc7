#pragma once
/* The key objects of the provider "tund": the public half, held by a key of another provider,
 * and the socket to whoever holds the private one. */

#include <openssl/core_dispatch.h>
#include <openssl/evp.h>

/* The public half never comes from ourselves. */
#define REMOTE_KEY_ELSEWHERE "provider!=tund"

/* Parameters that make such a key, for EVP_PKEY_fromdata. Other parameters make none, so a peer's
 * key never ends up here. */
#define REMOTE_KEY_PARAM_SPKI	    "tund-spki"	      /* octets, DER SubjectPublicKeyInfo */
#define REMOTE_KEY_PARAM_SOCKET	    "tund-socket"     /* int */
#define REMOTE_KEY_PARAM_GENERATION "tund-generation" /* uint32 */

struct remote_key {
	EVP_PKEY *public; /* NULL until imported */
	int socket;	  /* borrowed */
	uint32_t generation;
};

/* Key management, one table for each type of key. */
extern const OSSL_DISPATCH remote_key_ec[];
extern const OSSL_DISPATCH remote_key_ed25519[];
extern const OSSL_DISPATCH remote_key_rsa[];
