#pragma once
/* One revocation list (RFC 5280 5), read once from its DER into what it is asked for: whom it is of,
 * its number and dates, and the set of serials. Immutable and counted once it is sealed. Of a list of
 * 1,000,000 entries with serials of 20 bytes that is 35 MB.
 *
 * Only full lists of one authority are read; see crl_list_read. The signature is checked over the
 * signed bytes, once: with the key that made it the list is settled, and the bytes are not kept. A
 * list that no loaded authority has signed may be of one that only peers send along: it keeps them,
 * so that crl_list_signed_by can try its key. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <openssl/x509.h>

#include "base/buf.h"
#include "pki/serials.h"

struct crl_list {
	unsigned refs; /* atomic */
	X509_NAME *issuer;
	ASN1_INTEGER *number;		 /* NULL: it carries none */
	time_t this_update, next_update; /* next_update 0: none */
	uint8_t hash[32];		 /* SHA-256 of all of it */
	size_t entry_count;		 /* in the list; removeFromCRL is not in the set */
	struct serials serials;
	EVP_PKEY *signer; /* whose signature has been verified; NULL: nobody's yet */
	X509_ALGOR *algorithm;
	ASN1_BIT_STRING *signature;
	struct span signed_bytes; /* borrowed until crl_list_seal; none with a signer */
	bool is_sealed;
};

void crl_list_hash(const uint8_t *der, size_t len, uint8_t ret[static 32]);
/* NULL, and the list in *ret; it borrows der until it is sealed. Else what is wrong with it and what
 * would be right (static text): then *ret is a list of which only the issuer may be looked at, or
 * NULL when it is no whole list at all. */
const char *crl_list_read(const uint8_t *der, size_t len, struct crl_list **ret);
/* The key of issuer signed it, and issuer may sign lists. Its name is not compared. */
bool crl_list_signed_by(const struct crl_list *list, X509 *issuer);
/* The same before the list is sealed, and the list remembers. */
bool crl_list_settle(struct crl_list *list, X509 *issuer);
void crl_list_seal(struct crl_list *list);
/* Whether it revokes that serial number. */
bool crl_list_find(const struct crl_list *list, const ASN1_INTEGER *serial,
		   struct serials_entry *ret);
struct crl_list *crl_list_ref(struct crl_list *list);
void crl_list_unref(struct crl_list *list); /* NULL is fine */
