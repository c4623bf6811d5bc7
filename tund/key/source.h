#pragma once
/* Where a private key comes from: a file, the configuration itself, or a token behind a store URI
 * (RFC 7512 for pkcs11:). Only the key holder opens one; what it may no longer open by name comes
 * as descriptors, from a parent that has looked at the files. */

#include <stdbool.h>
#include <stddef.h>

#include <openssl/evp.h>

#include "base/buf.h"

struct source {
	const char *key;	     /* path or store URI; NULL when pem is given */
	const char *pem;	     /* borrowed */
	const char *passphrase_file; /* NULL: none; a token's PIN stands in one as well */
	bool allow_insecure_key;     /* skip the owner and mode check */
	bool is_passed;		     /* key and passphrase_file are names only; what they hold: */
	/* Borrowed, at their start; key_fd -1: on a token; passphrase_fd -1: none. */
	int key_fd, passphrase_fd;
};

/* 0 and a key of a kind that we sign with, or -errno with one line in error that says what would be
 * right. Never asks on a terminal, and never prints a PIN that stands in a URI. A provider that the
 * URI needs is loaded into the default library context and stays. */
int source_open(const struct source *source, EVP_PKEY **ret, char *error, size_t size);

/* Whether key, a path or store URI, is a file's, or a PKCS#11 token's. */
bool source_is_file(const char *key);
bool source_is_pkcs11(const char *key);
/* The first line of passphrase_file, for who opens the key by other means; empty when none is named.
 * The caller wipes it. 0, or -errno with the errors of source_open. */
int source_read_pin(const struct source *source, struct buf *ret, char *error, size_t size);
/* For the parent: the files of a key and its passphrase opened, not read, with the checks and the
 * errors of source_open. *ret_key is -1 where there is no file to open: in place, or on a token,
 * and *ret_passphrase where none is named; a token's PIN is passed as well. The caller closes both. */
int source_pass(const struct source *source, int *ret_key, int *ret_passphrase, char *error,
		size_t size);
