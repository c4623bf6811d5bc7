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

/* How an authority stands with its lists, which the policy makes something of:
 *
 *             from                       strict   grace    advisory, off
 *   fresh     thisUpdate                 accept   accept   accept
 *   ageing    the last third of the      accept   accept   accept
 *             time to nextUpdate
 *   grace     nextUpdate, for the grace  -        accept   -
 *   expired   nextUpdate, or the grace   refuse   refuse   accept
 *   missing   no list that has begun     refuse   refuse   accept
 *             and is validly signed
 *
 * Authorities publish long before the last list ends, most at half of its time: in the last third
 * one publication at least has not come, and there is time to find out why. A list without
 * nextUpdate stays fresh. */
enum crl_state { CRL_FRESH, CRL_AGEING, CRL_GRACE, CRL_EXPIRED, CRL_MISSING };

enum { CRL_STATES = CRL_MISSING + 1 };

struct crl_freshness {
	enum crl_state state;
	time_t since, until; /* 0: no such moment */
};

/* list: as crl_judge gives it; NULL: missing. */
struct crl_freshness crl_freshness(const struct trust *trust, const struct trust_crl *list,
				   time_t at);
const char *crl_state_name(enum crl_state state);

/* One key has signed both. */
bool crl_same_authority(const struct trust_crl *a, const struct trust_crl *b);
/* Whether a counts rather than b where one authority has signed both. */
bool crl_is_newer(const struct trust_crl *a, const struct trust_crl *b, time_t at);
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
