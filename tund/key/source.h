#pragma once
/* Where a private key comes from: a file, the configuration itself, or a token behind a store URI
 * (RFC 7512 for pkcs11:). Only the key holder calls this. */

#include <stdbool.h>
#include <stddef.h>

#include <openssl/evp.h>

struct source {
	const char *key;	     /* path or store URI; NULL when pem is given */
	const char *pem;	     /* borrowed */
	const char *passphrase_file; /* NULL: none; a token's PIN stands in one as well */
	bool allow_insecure_key;     /* skip the owner and mode check */
};

/* 0 and a key of a kind that we sign with, or -errno with one line in error that says what would be
 * right. Never asks on a terminal, and never prints a PIN that stands in a URI. A provider that the
 * URI needs is loaded into the default library context and stays. */
int source_open(const struct source *source, EVP_PKEY **ret, char *error, size_t size);
