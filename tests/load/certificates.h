#pragma once
/* Certificates of many devices in one file: a P-256 leaf and its private key each, issued by a CA
 * of the tests. The keys protect nothing. Per device, big-endian: u16 length and DER of the
 * certificate, then the 32 bytes of the private key. */

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

struct certificate {
	X509 *leaf;
	EVP_PKEY *key;
};

/* Issues count of them, "device-00000" and on, O=Corp. False with one line in error. */
bool certificates_make(const char *ca_path, const char *ca_key_path, size_t count, const char *path,
		       char *error, size_t size);
/* Reads count of them from the first on, into an array that the caller frees with
 * certificates_free. NULL with one line in error. */
struct certificate *certificates_read(const char *path, size_t first, size_t count, char *error,
				      size_t size);
void certificates_free(struct certificate *certificates, size_t count);
