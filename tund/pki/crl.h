#pragma once
/* Revocation lists: which are usable at all, which one speaks for an authority, and what the policy
 * makes of it.
 *
 * Of the validly signed lists of one authority the newest that has begun counts alone: highest CRL
 * number, else latest thisUpdate. A certificate on that list is revoked under every policy, however
 * long the list is overdue and whatever revocation date the entry bears (a date to come is the
 * authority's word all the same; an entry removeFromCRL is none). Only then the policy asks:
 *
 *             no list       past nextUpdate               forged, or not begun
 *   strict    crl-missing   crl-expired                   crl-invalid
 *   grace     crl-missing   crl-expired after the grace   crl-invalid
 *   advisory  -             -                             -
 *   off       -             -                             -                                    */

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include <openssl/x509.h>

#include "base/reason.h"
#include "pki/trust.h"

/* NULL when this kind of list can be judged, else what would be right (static text). */
const char *crl_problem(X509_CRL *crl);
/* issuer's key signed it, and issuer may sign lists. Its name is not compared. */
bool crl_signed_by(X509_CRL *crl, X509 *issuer);
/* Whether a loaded list in its issuer's name has it, be that list the one that counts or not: for
 * whom to ask about first. */
bool crl_mentions(const struct trust *trust, X509 *cert);
/* The list that counts for an authority, NULL where there is none, and what the policy makes of
 * that for what the authority has issued: REASON_CRL_* with a text, or REASON_NONE. */
enum reason crl_judge(const struct trust *trust, X509 *issuer, time_t at,
		      const struct trust_crl **ret, char *text, size_t size);
/* REASON_CERT_REVOKED, REASON_CRL_*, or REASON_NONE; cert's signature by issuer has been verified.
 * The text, of at most size bytes, tells all but which certificate is meant. */
enum reason crl_check(const struct trust *trust, X509 *cert, X509 *issuer, time_t at, char *text,
		      size_t size);
