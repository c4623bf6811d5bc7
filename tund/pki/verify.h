#pragma once
/* One question, one verdict: may this certificate, with these intermediates, act in this role? The
 * same routine at the handshake, for live sessions when trust changes, and for the operator.
 *
 * All checks are made, and of what they find the first of this list is the verdict, so that the
 * same question always gets the same answer and the one that helps the operator most:
 *
 *   issuer-unknown       no loaded root vouches for it: nothing else it says can be believed
 *   path-too-long
 *   cert-denied          somebody has decided against it: no repair of the certificate helps
 *   cert-revoked
 *   signature-weak       the authority must issue it anew, differently
 *   key-weak
 *   name-constraint
 *   name-invalid
 *   purpose-mismatch
 *   name-mismatch
 *   issuer-expired       time cures: renew the authority, then the certificate, or set the clock
 *   cert-expired
 *   cert-not-yet-valid
 *   crl-invalid          the certificate is in order, the lists are not
 *   crl-missing
 *   crl-expired
 *
 * Denials and lists are consulted for every certificate below the root; the policy is in pki/crl.h.
 * Where an authority was sent along with several certificates, the way to a root is looked for through
 * each, a few times. A leaf's key must be one that TLS 1.3 can sign with.
 * An extended key usage of an authority limits what is below it (anyExtendedKeyUsage does not); in
 * the leaf it must name the role itself. */

#include <time.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/reason.h"
#include "pki/identity.h"
#include "pki/trust.h"

enum { VERIFY_INTERMEDIATES_MAX = 10 };

enum verify_role {
	VERIFY_DEVICE,	/* a device or a site: clientAuth */
	VERIFY_GATEWAY, /* serverAuth, and peer_name among its DNS names */
};

struct verify_question {
	const struct trust *trust;
	X509 *leaf;
	STACK_OF(X509) * untrusted; /* what the peer sent; may be NULL */
	enum verify_role role;
	const char *peer_name; /* VERIFY_GATEWAY; a DNS name, or an IP address literal */
	bool any_name;	       /* it is our own: nobody has asked for a name */
	time_t at;
};

struct verdict {
	enum reason reason; /* REASON_NONE: yes */
	char text[512];	    /* for the operator: which certificate, which check, what was found */
	struct identity_cert
		*cert; /* owned; NULL when refused before the certificate could be read.
			* Present, as far as it could be read, for many refusals too. */
	struct identity_cert *about; /* owned; whose fault it is: the leaf, or one above it. NULL:
				      * nobody's */
	STACK_OF(X509) * chain;	     /* owned; the leaf first, the root last; NULL: there is none */
};

/* The verdict; the caller calls verify_done on it. */
struct verdict verify_ask(const struct verify_question *question);
void verify_done(struct verdict *verdict);

/* X509_V_ERR_* that makes OpenSSL 3.0 send the alert which names the reason best
 * (certificate_expired, certificate_revoked, unknown_ca, unsupported_certificate, bad_certificate,
 * access_denied...). */
int verify_x509_error(enum reason reason);
/* What the refused end can know: the word an alert (TLS AlertDescription) names, as seen by the end
 * whose certificate was refused; REASON_NONE when the alert names none. */
enum reason verify_reason_of_alert(int alert);
const char *verify_alert_name(
	int alert); /* "certificate_expired"; "alert 99" never: unknown -> "unknown" */
