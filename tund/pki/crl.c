#include "pki/crl.h"

#include <stdio.h>

#include <openssl/x509v3.h>

#include "base/clock.h"
#include "pki/identity.h"

/* Collisions cost 112 bits: SHA-224 and better, as for certificates. */
enum { DIGEST_BITS_MIN = 224 };

static bool digest_is_weak(X509_CRL *crl)
{
	int digest, key;
	const EVP_MD *md;

	if (!OBJ_find_sigid_algs(X509_CRL_get_signature_nid(crl), &digest, &key))
		return true;
	/* Ed25519, Ed448 and RSA-PSS name no digest here; the first two have none of their own. */
	if (digest == NID_undef)
		return false;
	md = EVP_get_digestbynid(digest);
	return !md || EVP_MD_get_size(md) * 8 < DIGEST_BITS_MIN;
}

/* A list that leaves certificates out, or speaks for other authorities too, must not be taken for
 * the full one: who is missing from it may well be revoked. */
static const char *find_scope_problem(X509_CRL *crl)
{
	int critical;
	ISSUING_DIST_POINT *scope =
		X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &critical, NULL);
	const char *problem = NULL;

	if (!scope)
		return critical == -1 ? NULL : "its issuingDistributionPoint cannot be read";
	if (scope->indirectCRL > 0)
		problem = "an indirect list; publish one list per authority";
	else if (scope->distpoint || scope->onlyuser > 0 || scope->onlyCA > 0 ||
		 scope->onlyattr > 0 || scope->onlysomereasons)
		problem = "a partitioned list; publish the full list";
	ISSUING_DIST_POINT_free(scope);
	return problem;
}

static const char *find_extension_problem(X509_CRL *crl)
{
	for (int i = 0; i < X509_CRL_get_ext_count(crl); i++) {
		X509_EXTENSION *extension = X509_CRL_get_ext(crl, i);
		int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));

		if (nid == NID_delta_crl)
			return "a delta list; publish the full list";
		if (X509_EXTENSION_get_critical(extension) &&
		    nid != NID_issuing_distribution_point && nid != NID_crl_number &&
		    nid != NID_authority_key_identifier)
			return "an unknown critical extension; publish the list without it";
	}
	return find_scope_problem(crl);
}

static const char *find_entry_problem(X509_REVOKED *entry)
{
	for (int i = 0; i < X509_REVOKED_get_ext_count(entry); i++) {
		X509_EXTENSION *extension = X509_REVOKED_get_ext(entry, i);
		int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));

		if (nid == NID_certificate_issuer)
			return "an indirect list; publish one list per authority";
		if (X509_EXTENSION_get_critical(extension) && nid != NID_crl_reason &&
		    nid != NID_invalidity_date)
			return "an unknown critical extension of an entry; publish the list "
			       "without it";
	}
	return NULL;
}

const char *crl_problem(X509_CRL *crl)
{
	STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl);
	long version = X509_CRL_get_version(crl);
	const char *problem;
	int critical;
	ASN1_INTEGER *number;

	if (version != X509_CRL_VERSION_1 && version != X509_CRL_VERSION_2)
		return "its version is neither 1 nor 2";
	if (!identity_time(X509_CRL_get0_lastUpdate(crl)))
		return "its thisUpdate is no time";
	if (digest_is_weak(crl))
		return "its signature is weak; sign it with SHA-256 or stronger";
	problem = find_extension_problem(crl);
	for (int i = 0; !problem && i < sk_X509_REVOKED_num(entries); i++)
		problem = find_entry_problem(sk_X509_REVOKED_value(entries, i));
	number = X509_CRL_get_ext_d2i(crl, NID_crl_number, &critical, NULL);
	if (!problem && !number && critical != -1)
		problem = "its CRL number cannot be read";
	ASN1_INTEGER_free(number);
	return problem;
}

bool crl_signed_by(X509_CRL *crl, X509 *issuer)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer);

	/* Without a keyUsage all uses are allowed, and all bits come back set. */
	return key && (X509_get_key_usage(issuer) & KU_CRL_SIGN) && X509_CRL_verify(crl, key) == 1;
}

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
	return !is_loaded(trust, issuer) && crl_signed_by(list->crl, issuer);
}

static bool is_newer(const struct trust_crl *a, const struct trust_crl *b, time_t at)
{
	bool a_begun = a->this_update <= at, b_begun = b->this_update <= at;
	int order = a->number && b->number ? ASN1_INTEGER_cmp(a->number, b->number) : 0;

	if (a_begun != b_begun)
		return a_begun;
	return order ? order > 0 : a->this_update > b->this_update;
}

/* The list that counts for issuer. Without one, *ret_forged is a list that bears its name and that
 * no known key signed, or NULL. */
static const struct trust_crl *find_list(const struct trust *trust, X509 *issuer, time_t at,
					 const struct trust_crl **ret_forged)
{
	const struct trust_crl *best = NULL, *forged = NULL;

	for (size_t i = 0; i < trust->crl_count; i++) {
		const struct trust_crl *list = &trust->crls[i];

		if (!same_name(X509_CRL_get_issuer(list->crl), issuer))
			continue;
		if (speaks_for(trust, list, issuer)) {
			if (!best || is_newer(list, best, at))
				best = list;
		} else if (!list->issuer || !list->signature_ok) {
			forged = list;
		}
	}
	*ret_forged = forged;
	return best;
}

static const char *print_revocation_reason(X509_REVOKED *entry)
{
	ASN1_ENUMERATED *code = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
	long value = code ? ASN1_ENUMERATED_get(code) : CRL_REASON_NONE;
	static const char *const words[] = {
		[CRL_REASON_UNSPECIFIED] = "unspecified",
		[CRL_REASON_KEY_COMPROMISE] = "keyCompromise",
		[CRL_REASON_CA_COMPROMISE] = "CACompromise",
		[CRL_REASON_AFFILIATION_CHANGED] = "affiliationChanged",
		[CRL_REASON_SUPERSEDED] = "superseded",
		[CRL_REASON_CESSATION_OF_OPERATION] = "cessationOfOperation",
		[CRL_REASON_CERTIFICATE_HOLD] = "certificateHold",
		[CRL_REASON_PRIVILEGE_WITHDRAWN] = "privilegeWithdrawn",
		[CRL_REASON_AA_COMPROMISE] = "AACompromise",
	};

	ASN1_ENUMERATED_free(code);
	if (value < 0 || (size_t)value >= sizeof(words) / sizeof(words[0]) || !words[value])
		return "no reason given";
	return words[value];
}

static bool is_revoked(const struct trust_crl *list, X509 *cert, char *text, size_t size)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	X509_REVOKED *entry = NULL;
	char when[CLOCK_TEXT];

	/* 0: not on it; 2: on it as removeFromCRL. */
	if (X509_CRL_get0_by_serial(list->crl, &entry, (ASN1_INTEGER *)serial) != 1)
		return false;
	clock_print(identity_time(X509_REVOKED_get0_revocationDate(entry)), when);
	snprintf(text, size, "revoked at %s (%s) by the list %s", when,
		 print_revocation_reason(entry), list->file);
	return true;
}

static enum reason judge_list(const struct trust *trust, const struct trust_crl *list,
			      const char *authority, time_t at, char *text, size_t size)
{
	int64_t grace_s = trust->crl_policy == TRUST_CRL_GRACE ? trust->crl_grace_s : 0;
	char when[CLOCK_TEXT];

	if (list->this_update > at) {
		snprintf(text, size, "the revocation list of \"%.160s\" (%s) begins only at %s",
			 authority, list->file, clock_print(list->this_update, when));
		return REASON_CRL_INVALID;
	}
	if (!list->next_update || at - list->next_update <= grace_s)
		return REASON_NONE;
	snprintf(text, size, "the revocation list of \"%.160s\" (%s) was due for renewal at %s",
		 authority, list->file, clock_print(list->next_update, when));
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

	for (size_t i = 0; i < trust->crl_count; i++) {
		X509_CRL *list = trust->crls[i].crl;
		X509_REVOKED *entry = NULL;

		if (X509_NAME_cmp(X509_CRL_get_issuer(list), issuer) == 0 &&
		    X509_CRL_get0_by_serial(list, &entry, (ASN1_INTEGER *)serial) == 1)
			return true;
	}
	return false;
}
