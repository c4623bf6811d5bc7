#pragma once
/* Why a peer is refused or dropped: one stable word each, the same in the log, in JSON, in metrics
 * and, as far as the protocol lets it, at the other end. */

#include <stdbool.h>

enum reason {
	REASON_NONE, /* not refused */
	REASON_CERT_MISSING,
	REASON_CERT_EXPIRED,
	REASON_CERT_NOT_YET_VALID,
	REASON_CERT_REVOKED,
	REASON_CERT_DENIED,
	REASON_ISSUER_UNKNOWN,
	REASON_ISSUER_EXPIRED,
	REASON_PATH_TOO_LONG,
	REASON_PURPOSE_MISMATCH,
	REASON_NAME_MISMATCH,
	REASON_NAME_CONSTRAINT,
	REASON_NAME_INVALID,
	REASON_SIGNATURE_WEAK,
	REASON_KEY_WEAK,
	REASON_CRL_MISSING,
	REASON_CRL_EXPIRED,
	REASON_CRL_INVALID,
	REASON_OCSP_UNAVAILABLE,
	REASON_NO_ACCESS,
	REASON_DUPLICATE_IDENTITY,
	REASON_VERSION_TOO_OLD,
	REASON_PQ_REQUIRED,
	REASON_RATE_LIMITED,
	REASON_FULL,
	REASON_HANDSHAKE_TIMEOUT,
	REASON_PROTOCOL_ERROR,
	REASON_PEER_TIMEOUT,
	REASON_IDLE_TIMEOUT,
	REASON_REVOKED,
	REASON_EXPIRED,
	REASON_REPLACED,
	REASON_DISCONNECTED,
	REASON_SHUTDOWN,
	REASON_INTERNAL,
	REASON_COUNT,
};

const char *reason_word(enum reason reason); /* "cert-expired"; "" for REASON_NONE */
bool reason_parse(const char *word, enum reason *ret);
/* What the person at this end should do about it, one sentence. */
const char *reason_advice(enum reason reason);
