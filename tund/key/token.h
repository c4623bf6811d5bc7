#pragma once
/* A private key on a PKCS#11 token, named by a URI (RFC 7512): found, logged in to, signed with.
 *
 * A PIN that the token has called wrong is never tried again, and the last try before a token locks
 * is left to a person. A token that goes away is looked for again at the next signature, at most
 * once a second; only the same key is taken. */

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "key/library.h"
#include "key/scheme.h"

struct token;

struct token_wanted {
	const char *uri;
	const uint8_t *pin;   /* copied into memory that is locked and wiped */
	size_t pin_len;	      /* 0: none */
	const char *pin_file; /* its name, for messages; NULL: none */
};

/* Opens a session, logs in and finds the one private key that the URI means, and its public half:
 * beside it, in a public key or certificate of the same id, or in the private key's own attributes.
 * 0, or -errno with one line that says what would be right. library is borrowed for as long. */
int token_open(struct library *library, const struct token_wanted *wanted, struct token **ret,
	       char *error, size_t size);
void token_free(struct token *token);

/* One more owner, for whom the key is the same. */
struct token *token_ref(struct token *token);
EVP_PKEY *token_public(const struct token *token); /* borrowed */

/* Signs tbs. *len is the room on entry and the signature's length on return, in TLS's form. 0, or
 * -EIO with one line in error. */
int token_sign(struct token *token, const struct scheme *scheme, const uint8_t *tbs, size_t tbs_len,
	       uint8_t *signature, size_t *len, char *error, size_t size);
