#include "pki/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "pki/crl.h"

enum {
	RSA_BITS_MIN = 2048,
	KEY_STRENGTH_MIN = 128,	      /* bits; what P-256 and Ed25519 have */
	SIGNATURE_STRENGTH_MIN = 112, /* bits; SHA-224 and better */
	PATHS_MAX = 4,		      /* ways up that are tried for one leaf */
};

/* A question on its way to the verdict. */
struct inquiry {
	const struct verify_question *question;
	struct verdict *verdict;
	size_t rank; /* of the finding in the verdict, in find_rank's order */
	X509 *found; /* a reference; whom the finding is about */
};

/* The order of verify.h. */
static const enum reason order[] = {
	REASON_ISSUER_UNKNOWN,	   REASON_PATH_TOO_LONG,  REASON_CERT_DENIED,
	REASON_CERT_REVOKED,	   REASON_SIGNATURE_WEAK, REASON_KEY_WEAK,
	REASON_NAME_CONSTRAINT,	   REASON_NAME_INVALID,	  REASON_PURPOSE_MISMATCH,
	REASON_NAME_MISMATCH,	   REASON_ISSUER_EXPIRED, REASON_CERT_EXPIRED,
	REASON_CERT_NOT_YET_VALID, REASON_CRL_INVALID,	  REASON_CRL_MISSING,
	REASON_CRL_EXPIRED,
};
static const size_t order_count = sizeof(order) / sizeof(order[0]);

/* What OpenSSL finds, at the leaf and at an authority. What is not here is a certificate that
 * OpenSSL holds malformed in one of many ways: purpose-mismatch, in OpenSSL's words. */
static const struct {
	int error;
	enum reason leaf, authority;
} findings[] = {
	{X509_V_ERR_CERT_HAS_EXPIRED, REASON_CERT_EXPIRED, REASON_ISSUER_EXPIRED},
	{X509_V_ERR_CERT_NOT_YET_VALID, REASON_CERT_NOT_YET_VALID, REASON_ISSUER_EXPIRED},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, REASON_ISSUER_UNKNOWN, REASON_ISSUER_UNKNOWN},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, REASON_ISSUER_UNKNOWN,
	 REASON_ISSUER_UNKNOWN},
	{X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, REASON_ISSUER_UNKNOWN, REASON_ISSUER_UNKNOWN},
	{X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, REASON_ISSUER_UNKNOWN, REASON_ISSUER_UNKNOWN},
	{X509_V_ERR_CERT_SIGNATURE_FAILURE, REASON_ISSUER_UNKNOWN, REASON_ISSUER_UNKNOWN},
	{X509_V_ERR_INVALID_CA, REASON_ISSUER_UNKNOWN, REASON_ISSUER_UNKNOWN},
	{X509_V_ERR_CERT_CHAIN_TOO_LONG, REASON_PATH_TOO_LONG, REASON_PATH_TOO_LONG},
	{X509_V_ERR_PATH_LENGTH_EXCEEDED, REASON_PATH_TOO_LONG, REASON_PATH_TOO_LONG},
	{X509_V_ERR_EC_KEY_EXPLICIT_PARAMS, REASON_KEY_WEAK, REASON_KEY_WEAK},
	{X509_V_ERR_PERMITTED_VIOLATION, REASON_NAME_CONSTRAINT, REASON_NAME_CONSTRAINT},
	{X509_V_ERR_EXCLUDED_VIOLATION, REASON_NAME_CONSTRAINT, REASON_NAME_CONSTRAINT},
	{X509_V_ERR_SUBTREE_MINMAX, REASON_NAME_CONSTRAINT, REASON_NAME_CONSTRAINT},
	{X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE, REASON_NAME_CONSTRAINT, REASON_NAME_CONSTRAINT},
	{X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX, REASON_NAME_CONSTRAINT, REASON_NAME_CONSTRAINT},
	{X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, REASON_NAME_CONSTRAINT, REASON_NAME_CONSTRAINT},
};

/* What X509_V_FLAG_X509_STRICT minds, private authorities often do, and misleads nobody. */
static const int tolerated[] = {
	X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER,
	X509_V_ERR_MISSING_SUBJECT_KEY_IDENTIFIER,
	X509_V_ERR_CA_BCONS_NOT_CRITICAL,
	X509_V_ERR_CA_CERT_MISSING_KEY_USAGE,
	X509_V_ERR_EMPTY_SUBJECT_SAN_NOT_CRITICAL,
};

static size_t find_rank(enum reason reason)
{
	size_t rank = 0;

	while (rank < order_count && order[rank] != reason)
		rank++;
	return rank;
}

/* The finding that comes first in the order is kept, of two of one kind the first. A reason that is
 * not in the order still refuses: an inquiry starts one behind its end. */
static bool outranks(struct inquiry *inquiry, enum reason reason, X509 *cert)
{
	size_t rank = find_rank(reason);

	if (rank >= inquiry->rank)
		return false;
	inquiry->rank = rank;
	inquiry->verdict->reason = reason;
	X509_up_ref(cert);
	X509_free(inquiry->found);
	inquiry->found = cert;
	return true;
}

static void note(struct inquiry *inquiry, enum reason reason, X509 *cert, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void note(struct inquiry *inquiry, enum reason reason, X509 *cert, const char *format, ...)
{
	struct verdict *verdict = inquiry->verdict;
	_cleanup_free_ char *subject = NULL;
	_cleanup_free_ char *issuer = NULL;
	char serial[IDENTITY_SERIAL_MAX + 1] = "?";
	char what[200];
	va_list arguments;

	if (!outranks(inquiry, reason, cert))
		return;
	subject = identity_name_text(X509_get_subject_name(cert));
	issuer = identity_name_text(X509_get_issuer_name(cert));
	identity_serial_text(X509_get0_serialNumber(cert), serial);
	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	snprintf(verdict->text, sizeof(verdict->text),
		 "certificate \"%.120s\" serial %s issued by \"%.120s\" %s", subject, serial,
		 issuer, what);
}

static bool is_tolerated(int error)
{
	for (size_t i = 0; i < sizeof(tolerated) / sizeof(tolerated[0]); i++) {
		if (tolerated[i] == error)
			return true;
	}
	return false;
}

static bool names_loaded(const struct trust *trust, X509 *cert)
{
	for (size_t i = 0; i < trust->ca_count; i++) {
		if (X509_NAME_cmp(X509_get_subject_name(trust->cas[i].cert),
				  X509_get_issuer_name(cert)) == 0)
			return true;
	}
	return false;
}

static const char *explain_unknown(const struct inquiry *inquiry, int error, X509 *cert)
{
	if (error == X509_V_ERR_INVALID_CA)
		return "is no authority, and yet has issued certificates";
	if (names_loaded(inquiry->question->trust, cert))
		return "is not signed by the loaded authority of that name";
	if (X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0)
		return "has signed itself and is not among the loaded authorities";
	return "comes from an authority that is neither loaded nor sent along";
}

static void note_error(struct inquiry *inquiry, int error, int depth, X509 *cert)
{
	enum reason reason = REASON_PURPOSE_MISMATCH;
	char when[CLOCK_TEXT];

	for (size_t i = 0; i < sizeof(findings) / sizeof(findings[0]); i++) {
		if (findings[i].error == error)
			reason = depth ? findings[i].authority : findings[i].leaf;
	}
	if (error == X509_V_ERR_CERT_HAS_EXPIRED)
		note(inquiry, reason, cert, "expired at %s",
		     clock_print(identity_time(X509_get0_notAfter(cert)), when));
	else if (error == X509_V_ERR_CERT_NOT_YET_VALID)
		note(inquiry, reason, cert, "begins only at %s",
		     clock_print(identity_time(X509_get0_notBefore(cert)), when));
	else if (reason == REASON_ISSUER_UNKNOWN)
		note(inquiry, reason, cert, "%s", explain_unknown(inquiry, error, cert));
	else
		note(inquiry, reason, cert, "is not acceptable: %s",
		     X509_verify_cert_error_string(error));
}

/* OpenSSL goes on after an error, so that all of them are seen, but not without a chain up to a
 * root: strangers cost no more signatures than they must. */
static int hear_openssl(int ok, X509_STORE_CTX *building)
{
	struct inquiry *inquiry = X509_STORE_CTX_get_app_data(building);
	int error = X509_STORE_CTX_get_error(building);
	X509 *cert = X509_STORE_CTX_get_current_cert(building);

	if (ok || is_tolerated(error))
		return 1;
	note_error(inquiry, error, X509_STORE_CTX_get_error_depth(building),
		   cert ? cert : inquiry->question->leaf);
	return inquiry->verdict->reason != REASON_ISSUER_UNKNOWN &&
	       error != X509_V_ERR_CERT_CHAIN_TOO_LONG;
}

static void check_key(struct inquiry *inquiry, X509 *cert)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	int kind = key ? EVP_PKEY_get_base_id(key) : NID_undef;
	bool is_rsa = kind == EVP_PKEY_RSA || kind == EVP_PKEY_RSA_PSS;
	const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(cert);

	if (!key)
		note(inquiry, REASON_KEY_WEAK, cert, "has a public key that cannot be used");
	else if (kind == EVP_PKEY_DSA)
		note(inquiry, REASON_KEY_WEAK, cert, "has a DSA key");
	else if (is_rsa && EVP_PKEY_get_bits(key) < RSA_BITS_MIN)
		note(inquiry, REASON_KEY_WEAK, cert, "has an RSA key of only %d bits",
		     EVP_PKEY_get_bits(key));
	else if (!is_rsa && EVP_PKEY_get_security_bits(key) < KEY_STRENGTH_MIN)
		note(inquiry, REASON_KEY_WEAK, cert, "has a key of only %d bits",
		     EVP_PKEY_get_bits(key));
	else if (kind == EVP_PKEY_EC && ASN1_STRING_get0_data(bits)[0] != 4)
		/* Written in another form the same key has another hash, and no denial meets it. */
		note(inquiry, REASON_KEY_WEAK, cert, "has its key written in compressed form");
}

/* TLS 1.3 has no scheme for others (RFC 8446, 4.2.3): such a leaf is of no use to its owner. */
static bool signs_in_tls(EVP_PKEY *key)
{
	static const char *const curves[] = {"prime256v1", "secp384r1", "secp521r1"};
	int kind = EVP_PKEY_get_base_id(key);
	char curve[32] = "";

	if (kind != EVP_PKEY_EC)
		return kind != EVP_PKEY_X25519 && kind != EVP_PKEY_X448;
	EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL);
	for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
		if (strcmp(curves[i], curve) == 0)
			return true;
	}
	return false;
}

static void check_leaf_key(struct inquiry *inquiry, X509 *leaf)
{
	EVP_PKEY *key = X509_get0_pubkey(leaf);

	if (key && !signs_in_tls(key))
		note(inquiry, REASON_KEY_WEAK, leaf, "has a key that TLS 1.3 cannot sign with");
}

static void check_signature(struct inquiry *inquiry, X509 *cert)
{
	int strength = 0;

	if (X509_get_signature_info(cert, NULL, NULL, &strength, NULL) &&
	    strength >= SIGNATURE_STRENGTH_MIN)
		return;
	note(inquiry, REASON_SIGNATURE_WEAK, cert, "is signed with %s",
	     OBJ_nid2ln(X509_get_signature_nid(cert)));
}

static void check_denial(struct inquiry *inquiry, X509 *cert)
{
	const struct trust *trust = inquiry->question->trust;
	uint8_t issuer_hash[32], spki_hash[32];
	char serial[IDENTITY_SERIAL_MAX + 1] = "";

	if (!trust->denial_count)
		return;
	X509_NAME_digest(X509_get_issuer_name(cert), EVP_sha256(), issuer_hash, NULL);
	identity_spki_hash(cert, spki_hash);
	identity_serial_text(X509_get0_serialNumber(cert), serial);
	if (trust_denies(trust, issuer_hash, serial, spki_hash))
		note(inquiry, REASON_CERT_DENIED, cert, "is denied here (tunctl revoked)");
}

static void check_lists(struct inquiry *inquiry, X509 *cert, X509 *issuer)
{
	char text[sizeof(inquiry->verdict->text)];
	enum reason reason = crl_check(inquiry->question->trust, cert, issuer,
				       inquiry->question->at, text, sizeof(text));

	if (reason == REASON_CERT_REVOKED)
		note(inquiry, reason, cert, "was %s", text);
	else if (reason != REASON_NONE && outranks(inquiry, reason, cert))
		memcpy(inquiry->verdict->text, text, sizeof(text));
}

static uint32_t find_purpose(enum verify_role role)
{
	return role == VERIFY_GATEWAY ? XKU_SSL_SERVER : XKU_SSL_CLIENT;
}

static const char *print_purpose(enum verify_role role)
{
	return role == VERIFY_GATEWAY ? "serverAuth" : "clientAuth";
}

static void check_authority_purpose(struct inquiry *inquiry, X509 *cert)
{
	enum verify_role role = inquiry->question->role;

	if (!(X509_get_extended_key_usage(cert) & (find_purpose(role) | XKU_ANYEKU)))
		note(inquiry, REASON_PURPOSE_MISMATCH, cert, "may not vouch for %s",
		     print_purpose(role));
}

static void check_leaf_purpose(struct inquiry *inquiry, X509 *leaf)
{
	enum verify_role role = inquiry->question->role;
	bool has_purposes = X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE;

	if (X509_check_ca(leaf))
		note(inquiry, REASON_PURPOSE_MISMATCH, leaf, "is an authority's own, not a peer's");
	else if (!has_purposes || !(X509_get_extended_key_usage(leaf) & find_purpose(role)))
		note(inquiry, REASON_PURPOSE_MISMATCH, leaf, "is not issued for %s",
		     print_purpose(role));
	else if (!(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE))
		note(inquiry, REASON_PURPOSE_MISMATCH, leaf,
		     "may not make digital signatures (keyUsage)");
}

/* The common name never counts; * stands for one whole label. */
static bool carries_name(X509 *leaf, const char *name)
{
	unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
	size_t len = strlen(name);
	struct addr addr;

	if (addr_parse(name, &addr))
		return X509_check_ip(leaf, addr.bytes, addr.family == 4 ? 4 : 16, 0) == 1;
	if (len > 1 && name[len - 1] == '.')
		len--;
	/* OpenSSL takes a dot in front for "any name below". */
	return name[0] != '.' && X509_check_host(leaf, name, len, flags, NULL) == 1;
}

static void check_name(struct inquiry *inquiry, X509 *leaf)
{
	const char *name = inquiry->question->peer_name;

	if (inquiry->question->role != VERIFY_GATEWAY || inquiry->question->any_name)
		return;
	if (!name || !carries_name(leaf, name))
		note(inquiry, REASON_NAME_MISMATCH, leaf, "does not carry the name \"%.120s\"",
		     name ? name : "");
}

static void check_identity(struct inquiry *inquiry, X509 *leaf, X509 *root)
{
	char text[160];
	enum reason reason = identity_read(leaf, root, &inquiry->verdict->cert, text, sizeof(text));

	if (reason != REASON_NONE)
		note(inquiry, reason, leaf, "names nobody: %s", text);
}

/* So that it can be told later who depends on which authority. */
static void note_authorities(struct identity_cert *cert, STACK_OF(X509) * chain)
{
	size_t count = (size_t)sk_X509_num(chain) - 1;

	cert->authorities = xalloc_zero(count + 1, sizeof(*cert->authorities));
	cert->authority_count = count;
	for (size_t i = 0; i < count; i++)
		identity_spki_hash(sk_X509_value(chain, (int)i + 1), cert->authorities[i]);
}

/* chain: the leaf first, an anchor last. */
static void check_chain(struct inquiry *inquiry, STACK_OF(X509) * chain)
{
	int root = sk_X509_num(chain) - 1;
	X509 *leaf = sk_X509_value(chain, 0);
	time_t expires_at = identity_time(X509_get0_notAfter(leaf));

	for (int i = 0; i <= root; i++) {
		X509 *cert = sk_X509_value(chain, i);
		time_t not_after = identity_time(X509_get0_notAfter(cert));

		if (not_after < expires_at)
			expires_at = not_after;
		check_key(inquiry, cert);
		if (i > 0)
			check_authority_purpose(inquiry, cert);
		if (i == root)
			break;
		check_signature(inquiry, cert);
		check_denial(inquiry, cert);
		check_lists(inquiry, cert, sk_X509_value(chain, i + 1));
	}
	check_leaf_key(inquiry, leaf);
	check_leaf_purpose(inquiry, leaf);
	check_name(inquiry, leaf);
	check_identity(inquiry, leaf, sk_X509_value(chain, root));
	inquiry->verdict->chain = X509_chain_up_ref(chain);
	if (!inquiry->verdict->cert)
		return;
	inquiry->verdict->cert->expires_at = expires_at;
	note_authorities(inquiry->verdict->cert, chain);
}

/* Whether there is a chain up to an anchor, whatever else is wrong with it. */
static bool build_chain(struct inquiry *inquiry, X509_STORE_CTX *building,
			STACK_OF(X509) * untrusted)
{
	const struct verify_question *question = inquiry->question;
	X509_VERIFY_PARAM *param;

	if (!building ||
	    !X509_STORE_CTX_init(building, question->trust->store, question->leaf, untrusted))
		return false;
	param = X509_STORE_CTX_get0_param(building);
	X509_VERIFY_PARAM_set_time(param, question->at);
	X509_VERIFY_PARAM_set_depth(param, VERIFY_INTERMEDIATES_MAX);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	X509_STORE_CTX_set_app_data(building, inquiry);
	X509_STORE_CTX_set_verify_cb(building, hear_openssl);
	return X509_verify_cert(building) == 1;
}

static int find_sent(STACK_OF(X509) * untrusted, X509 *cert)
{
	int at = sk_X509_num(untrusted) - 1;

	while (at >= 0 && sk_X509_value(untrusted, at) != cert)
		at--;
	return at;
}

static bool has_alternative(STACK_OF(X509) * untrusted, X509 *cert)
{
	for (int i = 0; i < sk_X509_num(untrusted); i++) {
		X509 *other = sk_X509_value(untrusted, i);

		if (X509_NAME_cmp(X509_get_subject_name(other), X509_get_subject_name(cert)) == 0 &&
		    X509_cmp(other, cert) != 0)
			return true;
	}
	return false;
}

/* An authority that several have certified is sent along several times, and OpenSSL follows only the
 * first that fits. Where that has led to nobody, it is left out: the next one may lead to a root.
 * False: there is no other way. */
static bool leave_dead_end(STACK_OF(X509) * untrusted, STACK_OF(X509) * chain)
{
	for (int i = sk_X509_num(chain) - 1; i > 0; i--) {
		X509 *cert = sk_X509_value(chain, i);
		int at = find_sent(untrusted, cert);

		if (at < 0 || !has_alternative(untrusted, cert))
			continue;
		sk_X509_delete(untrusted, at);
		return true;
	}
	return false;
}

/* OpenSSL gives up without a word about a public key that its context cannot read. */
static void check_keys(struct inquiry *inquiry, STACK_OF(X509) * chain)
{
	for (int i = 0; i < sk_X509_num(chain); i++)
		check_key(inquiry, sk_X509_value(chain, i));
}

/* False when it is worth while to try again, with what is left of untrusted. */
static bool follow_path(struct inquiry *inquiry, STACK_OF(X509) * untrusted)
{
	X509_STORE_CTX *building = X509_STORE_CTX_new();
	bool decided = true;

	inquiry->verdict->reason = REASON_INTERNAL;
	inquiry->rank = order_count + 1;
	X509_free(take(inquiry->found));
	if (build_chain(inquiry, building, untrusted)) {
		check_chain(inquiry, X509_STORE_CTX_get0_chain(building));
		if (inquiry->rank > order_count)
			inquiry->verdict->reason = REASON_NONE;
	} else if (inquiry->rank > order_count) {
		check_keys(inquiry, X509_STORE_CTX_get0_chain(building));
	} else if (inquiry->verdict->reason == REASON_ISSUER_UNKNOWN) {
		decided = !leave_dead_end(untrusted, X509_STORE_CTX_get0_chain(building));
	}
	X509_STORE_CTX_free(building);
	return decided;
}

/* OpenSSL looks for nobody's issuer when it cannot read the extensions; say so instead. */
static bool is_malformed(X509 *leaf)
{
	return X509_get_extension_flags(leaf) & EXFLAG_INVALID;
}

static void judge(struct inquiry *inquiry)
{
	X509 *leaf = inquiry->question->leaf;
	STACK_OF(X509) * untrusted;

	if (is_malformed(leaf)) {
		check_identity(inquiry, leaf, NULL);
		note(inquiry, REASON_PURPOSE_MISMATCH, leaf, "has malformed extensions");
		return;
	}
	untrusted = sk_X509_dup(inquiry->question->untrusted);
	for (int i = 0; i < PATHS_MAX && !follow_path(inquiry, untrusted); i++)
		;
	sk_X509_free(untrusted);
}

static struct identity_cert *describe_found(const struct inquiry *inquiry)
{
	return inquiry->found ? identity_describe(inquiry->found, NULL) : NULL;
}

struct verdict verify_ask(const struct verify_question *question)
{
	struct verdict verdict = {.reason = REASON_INTERNAL, .text = "could not be verified"};
	struct inquiry inquiry = {
		.question = question,
		.verdict = &verdict,
		.rank = order_count + 1,
	};

	if (!question->leaf) {
		verdict.reason = REASON_CERT_MISSING;
		snprintf(verdict.text, sizeof(verdict.text), "no certificate was presented");
		return verdict;
	}
	/* We are called in the middle of handshakes: SSL_get_error must not see what failed here.
	 */
	ERR_set_mark();
	judge(&inquiry);
	if (!verdict.cert)
		verdict.cert = identity_describe(question->leaf, NULL);
	verdict.about = describe_found(&inquiry);
	X509_free(inquiry.found);
	ERR_pop_to_mark();
	if (verdict.reason == REASON_NONE)
		verdict.text[0] = '\0';
	return verdict;
}

void verify_done(struct verdict *verdict)
{
	identity_cert_unref(take(verdict->cert));
	identity_cert_unref(take(verdict->about));
	sk_X509_pop_free(take(verdict->chain), X509_free);
}

/* OpenSSL makes an alert of an X509_V_ERR_*; what its table does not hold becomes
 * certificate_unknown. Alerts that name one cause at the other end are sent for that cause alone,
 * bad_certificate when the certificate must be replaced, certificate_unknown when it is not its
 * fault. */
int verify_x509_error(enum reason reason)
{
	switch (reason) {
	case REASON_NONE:
		return X509_V_OK;
	case REASON_CERT_EXPIRED: /* certificate_expired */
		return X509_V_ERR_CERT_HAS_EXPIRED;
	case REASON_CERT_REVOKED: /* certificate_revoked */
	case REASON_CERT_DENIED:
		return X509_V_ERR_CERT_REVOKED;
	case REASON_ISSUER_UNKNOWN: /* unknown_ca */
		return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
	case REASON_PURPOSE_MISMATCH: /* unsupported_certificate */
		return X509_V_ERR_INVALID_PURPOSE;
	case REASON_CERT_NOT_YET_VALID: /* bad_certificate */
		return X509_V_ERR_CERT_NOT_YET_VALID;
	case REASON_NAME_MISMATCH:
		return X509_V_ERR_HOSTNAME_MISMATCH;
	case REASON_PATH_TOO_LONG:
	case REASON_NAME_CONSTRAINT:
	case REASON_NAME_INVALID:
		return X509_V_ERR_CERT_REJECTED;
	case REASON_SIGNATURE_WEAK:
		return X509_V_ERR_CA_MD_TOO_WEAK;
	case REASON_KEY_WEAK:
		return X509_V_ERR_EE_KEY_TOO_SMALL;
	case REASON_ISSUER_EXPIRED: /* certificate_unknown */
	case REASON_CRL_MISSING:
	case REASON_CRL_EXPIRED:
	case REASON_CRL_INVALID:
	case REASON_OCSP_UNAVAILABLE:
		return X509_V_ERR_CRL_PATH_VALIDATION_ERROR;
	case REASON_INTERNAL: /* internal_error */
		return X509_V_ERR_UNSPECIFIED;
	default: /* handshake_failure */
		return X509_V_ERR_APPLICATION_VERIFICATION;
	}
}

/* TLS 1.3's alerts (RFC 8446, 6.2), and the reason where one stands for exactly one. */
static const struct {
	int alert;
	const char *name;
	enum reason reason;
} alerts[] = {
	{SSL3_AD_CLOSE_NOTIFY, "close_notify", REASON_NONE},
	{SSL3_AD_UNEXPECTED_MESSAGE, "unexpected_message", REASON_NONE},
	{SSL3_AD_BAD_RECORD_MAC, "bad_record_mac", REASON_NONE},
	{TLS1_AD_RECORD_OVERFLOW, "record_overflow", REASON_NONE},
	{SSL3_AD_HANDSHAKE_FAILURE, "handshake_failure", REASON_NONE},
	{SSL3_AD_BAD_CERTIFICATE, "bad_certificate", REASON_NONE},
	{SSL3_AD_UNSUPPORTED_CERTIFICATE, "unsupported_certificate", REASON_PURPOSE_MISMATCH},
	{SSL3_AD_CERTIFICATE_REVOKED, "certificate_revoked", REASON_CERT_REVOKED},
	{SSL3_AD_CERTIFICATE_EXPIRED, "certificate_expired", REASON_CERT_EXPIRED},
	{SSL3_AD_CERTIFICATE_UNKNOWN, "certificate_unknown", REASON_NONE},
	{SSL3_AD_ILLEGAL_PARAMETER, "illegal_parameter", REASON_NONE},
	{TLS1_AD_UNKNOWN_CA, "unknown_ca", REASON_ISSUER_UNKNOWN},
	{TLS1_AD_ACCESS_DENIED, "access_denied", REASON_NONE},
	{TLS1_AD_DECODE_ERROR, "decode_error", REASON_NONE},
	{TLS1_AD_DECRYPT_ERROR, "decrypt_error", REASON_NONE},
	{TLS1_AD_PROTOCOL_VERSION, "protocol_version", REASON_VERSION_TOO_OLD},
	{TLS1_AD_INSUFFICIENT_SECURITY, "insufficient_security", REASON_NONE},
	{TLS1_AD_INTERNAL_ERROR, "internal_error", REASON_NONE},
	{TLS1_AD_INAPPROPRIATE_FALLBACK, "inappropriate_fallback", REASON_NONE},
	{TLS1_AD_USER_CANCELLED, "user_canceled", REASON_NONE},
	{TLS13_AD_MISSING_EXTENSION, "missing_extension", REASON_NONE},
	{TLS1_AD_UNSUPPORTED_EXTENSION, "unsupported_extension", REASON_NONE},
	{TLS1_AD_UNRECOGNIZED_NAME, "unrecognized_name", REASON_NONE},
	{TLS1_AD_BAD_CERTIFICATE_STATUS_RESPONSE, "bad_certificate_status_response", REASON_NONE},
	{TLS1_AD_UNKNOWN_PSK_IDENTITY, "unknown_psk_identity", REASON_NONE},
	{TLS13_AD_CERTIFICATE_REQUIRED, "certificate_required", REASON_CERT_MISSING},
	{TLS1_AD_NO_APPLICATION_PROTOCOL, "no_application_protocol", REASON_NONE},
};

enum reason verify_reason_of_alert(int alert)
{
	for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
		if (alerts[i].alert == alert)
			return alerts[i].reason;
	}
	return REASON_NONE;
}

const char *verify_alert_name(int alert)
{
	for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
		if (alerts[i].alert == alert)
			return alerts[i].name;
	}
	return "unknown";
}
