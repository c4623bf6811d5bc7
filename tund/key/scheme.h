#pragma once
/* The TLS 1.3 signature schemes (RFC 8446 section 4.2.3) that our keys may sign with, each with the
 * one kind of key that fits it. Provider and key holder read the same table. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

enum { SCHEME_MAX = 6 };

struct scheme {
	uint16_t id;
	const char *name;   /* as RFC 8446 has it */
	const char *type;   /* OpenSSL's name of the key type */
	const char *group;  /* NULL unless the type is EC */
	const char *digest; /* NULL: the scheme has its own */
	bool is_pss;	    /* with a salt as long as the digest, MGF1 over the same digest */
};

const struct scheme *scheme_find(uint16_t id); /* NULL: not one of ours */
/* Those there are, in a fixed order. */
const struct scheme *scheme_at(size_t index);
size_t scheme_index(const struct scheme *scheme);
bool scheme_fits(const struct scheme *scheme, EVP_PKEY *key);
/* The scheme that this key and digest make (digest NULL or "" for none); NULL where there is none.
 */
const struct scheme *scheme_of_key(EVP_PKEY *key, const char *digest);
/* The schemes that fit the key, one by one; start with NULL. NULL after the last. */
const struct scheme *scheme_next(const struct scheme *previous, EVP_PKEY *key);

/* Why this key can be no identity of ours: NULL when it can, else what it is and what would be
 * right (text, at most size bytes). */
const char *scheme_key_problem(EVP_PKEY *key, char *text, size_t size);

/* Whether signature is this key's (its public half does) over tbs, as a peer will check it. */
bool scheme_verify(const struct scheme *scheme, EVP_PKEY *key, const uint8_t *tbs, size_t tbs_len,
		   const uint8_t *signature, size_t len);
/* Signs tbs. *len is the room on entry and the signature's length on return. 0, or -EIO with
 * OpenSSL's error queue filled. */
int scheme_sign(const struct scheme *scheme, EVP_PKEY *key, const uint8_t *tbs, size_t tbs_len,
		uint8_t *signature, size_t *len);
