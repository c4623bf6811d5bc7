#pragma once
/* Revocation lists of any size, written as DER directly and signed once: OpenSSL would need minutes
 * and gigabytes. */

#include <stddef.h>
#include <stdint.h>

#include "certs.h"

enum { LARGE_LIST_SERIAL = 20 }; /* bytes, the most that RFC 5280 allows */

/* The serial number of one of the entries, or of none with a higher index. */
void large_list_serial(size_t index, uint8_t ret[static LARGE_LIST_SERIAL]);
/* Number 1, from an hour ago to a week ahead, each entry with a reason. malloc'ed. */
uint8_t *large_list_make(size_t entries, const struct certs_pair *issuer, size_t *ret_len);
/* In one block of PEM; malloc'ed. */
char *large_list_pem(const uint8_t *der, size_t len, size_t *ret_len);
