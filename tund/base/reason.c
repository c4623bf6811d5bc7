#include "base/reason.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *word, *advice;
} reasons[REASON_COUNT] = {
	[REASON_NONE] = {"", ""},
	[REASON_CERT_MISSING] = {"cert-missing",
				 "set identity.certificate and identity.key at the refused end"},
	[REASON_CERT_EXPIRED] = {"cert-expired", "issue a new certificate, or set the clock right"},
	[REASON_CERT_NOT_YET_VALID] = {"cert-not-yet-valid",
				       "wait until it begins, or set the clock right"},
	[REASON_CERT_REVOKED] = {"cert-revoked",
				 "it was revoked, by the authority or at the gateway; ask the "
				 "administrator for a new certificate with a new key"},
	[REASON_CERT_DENIED] = {"cert-denied", "denied by tunctl revoke; a new certificate with a "
					       "new key, or tunctl unrevoke, lets it in"},
	[REASON_ISSUER_UNKNOWN] = {"issuer-unknown",
				   "trust.ca lacks the certificate authority, or the peer does "
				   "not send its intermediates"},
	[REASON_ISSUER_EXPIRED] = {"issuer-expired",
				   "a certificate authority's own certificate has expired; renew "
				   "it and publish it in trust.ca"},
	[REASON_PATH_TOO_LONG] = {"path-too-long",
				  "an authority forbids so many intermediates below itself"},
	[REASON_PURPOSE_MISMATCH] = {"purpose-mismatch",
				     "issue the certificate for its role: clientAuth for a device "
				     "or site, serverAuth for a gateway"},
	[REASON_NAME_MISMATCH] = {"name-mismatch",
				  "trust.peer-name must be a DNS name in the gateway's "
				  "certificate"},
	[REASON_NAME_CONSTRAINT] = {"name-constraint",
				    "the authority may not issue certificates for this name"},
	[REASON_NAME_INVALID] = {"name-invalid",
				 "the certificate names nobody usable; issue it with a plain URI, "
				 "DNS name, email address or CN"},
	[REASON_SIGNATURE_WEAK] = {"signature-weak", "issue it with SHA-256 or stronger"},
	[REASON_KEY_WEAK] = {"key-weak", "use P-256, Ed25519 or RSA of at least 2048 bits"},
	[REASON_CRL_MISSING] = {"crl-missing", "name a list of every issuing authority in "
					       "trust.crl, or relax trust.crl-policy"},
	[REASON_CRL_EXPIRED] = {"crl-expired", "publish a fresh list, or relax trust.crl-policy"},
	[REASON_CRL_INVALID] = {"crl-invalid",
				"the list is not signed by the authority it speaks for; fetch it "
				"again from the authority"},
	[REASON_OCSP_UNAVAILABLE] = {"ocsp-unavailable", "check the responder"},
	[REASON_NO_ACCESS] = {"no-access",
			      "let the identity in at the gateway: in a tund, by an access or site "
			      "block that matches it"},
	[REASON_DUPLICATE_IDENTITY] = {"duplicate-identity",
				       "the identity is connected elsewhere; disconnect it there, "
				       "or change gateway.duplicate"},
	[REASON_VERSION_TOO_OLD] = {"version-too-old", "the peer must speak TLS 1.3"},
	[REASON_PQ_REQUIRED] = {"pq-required", "the peer must offer a hybrid key exchange"},
	[REASON_RATE_LIMITED] = {"rate-limited", "wait a moment, or raise limits"},
	[REASON_FULL] = {"full", "raise gateway.max-sessions or widen gateway.pool"},
	[REASON_HANDSHAKE_TIMEOUT] = {"handshake-timeout",
				      "the peer fell silent while connecting; check the path"},
	[REASON_PROTOCOL_ERROR] = {"protocol-error", "the peer does not speak this protocol"},
	[REASON_PEER_TIMEOUT] = {"peer-timeout", "the peer fell silent; check the path"},
	[REASON_IDLE_TIMEOUT] = {"idle-timeout", "nothing was carried for gateway.idle-timeout"},
	[REASON_REVOKED] = {"revoked", "the certificate was revoked while it was in use"},
	[REASON_EXPIRED] = {"expired", "the certificate expired while it was in use"},
	[REASON_REPLACED] = {"replaced", "the same identity connected again from elsewhere"},
	[REASON_DISCONNECTED] = {"disconnected", "ended by the user or the administrator"},
	[REASON_SHUTDOWN] = {"shutdown", "the other end is stopping or restarting"},
	[REASON_INTERNAL] = {"internal", "a fault of tund itself; see its log"},
};

const char *reason_word(enum reason reason)
{
	return reasons[reason].word;
}

const char *reason_advice(enum reason reason)
{
	return reasons[reason].advice;
}

bool reason_parse(const char *word, enum reason *ret)
{
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		if (strcmp(reasons[i].word, word) == 0) {
			*ret = (enum reason)i;
			return true;
		}
	}
	return false;
}
