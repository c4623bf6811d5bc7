#include "pki/crl.h"

#include <stdio.h>

#include <openssl/x509v3.h>

#include "base/clock.h"
#include "pki/identity.h"

static bool same_key(X509 *a, X509 *b)
{
	return a == b || EVP_PKEY_eq(X509_get0_pubkey(a), X509_get0_pubkey(b)) == 1;
}

static bool same_name(const X509_NAME *a, X509 *authority)
{
	return X509_NAME_cmp(a, X509_get_subject_name(authority)) == 0;
}

/* Whether the load has already tried issuer's key on the lists of its name. */
static bool is_loaded(const struct trust *trust, X509 *issuer)
{
	for (size_t i = 0; i < trust->ca_count; i++) {
		X509 *ca = trust->cas[i].cert;

		if (same_name(X509_get_subject_name(issuer), ca) && same_key(ca, issuer))
			return true;
	}
	return false;
}

static bool speaks_for(const struct trust *trust, const struct trust_crl *list, X509 *issuer)
{
	if (list->issuer && list->signature_ok && same_key(list->issuer, issuer))
		return true;
	return !is_loaded(trust, issuer) && crl_list_signed_by(list->list, issuer);
}

bool crl_same_authority(const struct trust_crl *a, const struct trust_crl *b)
{
	return a->issuer && a->signature_ok && b->issuer && b->signature_ok &&
	       same_key(a->issuer, b->issuer) && same_name(a->list->issuer, b->issuer);
}

bool crl_is_newer(const struct trust_crl *a, const struct trust_crl *b, time_t at)
{
	const struct crl_list *x = a->list, *y = b->list;
	bool x_begun = x->this_update <= at, y_begun = y->this_update <= at;
	int order = x->number && y->number ? ASN1_INTEGER_cmp(x->number, y->number) : 0;

	if (x_begun != y_begun)
		return x_begun;
	return order ? order > 0 : x->this_update > y->this_update;
}

/* The list that counts for issuer. Without one, *ret_forged is a list that bears its name and that
 * no known key signed, or NULL. */
static const struct trust_crl *find_list(const struct trust *trust, X509 *issuer, time_t at,
					 const struct trust_crl **ret_forged)
{
	const struct trust_crl *best = NULL, *forged = NULL;

	for (size_t i = 0; i < trust->crl_count; i++) {
		const struct trust_crl *list = &trust->crls[i];

		if (!same_name(list->list->issuer, issuer))
			continue;
		if (speaks_for(trust, list, issuer)) {
			if (!best || crl_is_newer(list, best, at))
				best = list;
		} else if (!list->issuer || !list->signature_ok) {
			forged = list;
		}
	}
	*ret_forged = forged;
	return best;
}

static const char *print_revocation_reason(uint8_t reason)
{
	static const char *const words[] = {
		[CRL_REASON_UNSPECIFIED] = "no reason given",
		[CRL_REASON_KEY_COMPROMISE] = "keyCompromise",
		[CRL_REASON_CA_COMPROMISE] = "CACompromise",
		[CRL_REASON_AFFILIATION_CHANGED] = "affiliationChanged",
		[CRL_REASON_SUPERSEDED] = "superseded",
		[CRL_REASON_CESSATION_OF_OPERATION] = "cessationOfOperation",
		[CRL_REASON_CERTIFICATE_HOLD] = "certificateHold",
		[CRL_REASON_PRIVILEGE_WITHDRAWN] = "privilegeWithdrawn",
		[CRL_REASON_AA_COMPROMISE] = "AACompromise",
	};

	if (reason >= sizeof(words) / sizeof(words[0]) || !words[reason])
		return "no reason given";
	return words[reason];
}

static bool is_revoked(const struct trust_crl *list, X509 *cert, char *text, size_t size)
{
	struct serials_entry entry;
	char when[CLOCK_TEXT];

	if (!crl_list_find(list->list, X509_get0_serialNumber(cert), &entry))
		return false;
	snprintf(text, size, "revoked at %s (%s) by the list %s",
		 entry.revoked_at ? clock_print(entry.revoked_at, when) : "an unknown time",
		 print_revocation_reason(entry.reason), list->file);
	return true;
}

static enum reason judge_list(const struct trust *trust, const struct trust_crl *list,
			      const char *authority, time_t at, char *text, size_t size)
{
	int64_t grace_s = trust->crl_policy == TRUST_CRL_GRACE ? trust->crl_grace_s : 0;
	char when[CLOCK_TEXT];

	if (list->list->this_update > at) {
		snprintf(text, size, "the revocation list of \"%.160s\" (%s) begins only at %s",
			 authority, list->file, clock_print(list->list->this_update, when));
		return REASON_CRL_INVALID;
	}
	if (!list->list->next_update || at - list->list->next_update <= grace_s)
		return REASON_NONE;
	snprintf(text, size, "the revocation list of \"%.160s\" (%s) was due for renewal at %s",
		 authority, list->file, clock_print(list->list->next_update, when));
	return REASON_CRL_EXPIRED;
}

static enum reason judge_absence(const struct trust_crl *forged, const char *authority, char *text,
				 size_t size)
{
	if (forged) {
		snprintf(text, size,
			 "the revocation list of \"%.160s\" (%s) is not signed by that authority",
			 authority, forged->file);
		return REASON_CRL_INVALID;
	}
	snprintf(text, size, "there is no revocation list of \"%.160s\"", authority);
	return REASON_CRL_MISSING;
}

enum reason crl_judge(const struct trust *trust, X509 *issuer, time_t at,
		      const struct trust_crl **ret, char *text, size_t size)
{
	const struct trust_crl *forged;
	const struct trust_crl *list = *ret = find_list(trust, issuer, at, &forged);
	enum reason reason;
	char *authority;

	if (trust->crl_policy == TRUST_CRL_OFF || trust->crl_policy == TRUST_CRL_ADVISORY)
		return REASON_NONE;
	authority = identity_name_text(X509_get_subject_name(issuer));
	reason = list ? judge_list(trust, list, authority, at, text, size)
		      : judge_absence(forged, authority, text, size);
	free(authority);
	return reason;
}

/* Seconds of a list's life that it counts as fresh. */
static int64_t fresh_part(const struct crl_list *list)
{
	return (list->next_update - list->this_update) * 2 / 3;
}

struct crl_freshness crl_freshness(const struct trust *trust, const struct trust_crl *list,
				   time_t at)
{
	bool has_grace = trust->crl_policy == TRUST_CRL_GRACE;
	const struct crl_list *read = list ? list->list : NULL;
	time_t ageing, due, end;

	if (!read || read->this_update > at)
		return (struct crl_freshness){CRL_MISSING, 0, read ? read->this_update : 0};
	due = read->next_update;
	if (!due)
		return (struct crl_freshness){CRL_FRESH, read->this_update, 0};
	ageing = read->this_update + fresh_part(read);
	end = due + (has_grace ? trust->crl_grace_s : 0);
	if (at < ageing)
		return (struct crl_freshness){CRL_FRESH, read->this_update, ageing};
	if (at <= due)
		return (struct crl_freshness){CRL_AGEING, ageing, due};
	if (at <= end)
		return (struct crl_freshness){CRL_GRACE, due, end};
	return (struct crl_freshness){CRL_EXPIRED, end, 0};
}

const char *crl_state_name(enum crl_state state)
{
	static const char *const names[CRL_STATES] = {
		[CRL_FRESH] = "fresh",	   [CRL_AGEING] = "ageing",   [CRL_GRACE] = "grace",
		[CRL_EXPIRED] = "expired", [CRL_MISSING] = "missing",
	};

	return names[state];
}

enum reason crl_check(const struct trust *trust, X509 *cert, X509 *issuer, time_t at, char *text,
		      size_t size)
{
	const struct trust_crl *list;
	enum reason reason = crl_judge(trust, issuer, at, &list, text, size);

	if (list && is_revoked(list, cert, text, size))
		return REASON_CERT_REVOKED;
	return reason;
}

bool crl_mentions(const struct trust *trust, X509 *cert)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	const X509_NAME *issuer = X509_get_issuer_name(cert);
	struct serials_entry entry;

	for (size_t i = 0; i < trust->crl_count; i++) {
		const struct crl_list *list = trust->crls[i].list;

		if (X509_NAME_cmp(list->issuer, issuer) == 0 && crl_list_find(list, serial, &entry))
			return true;
	}
	return false;
}
