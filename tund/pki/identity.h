#pragma once
/* Whom a certificate names. First SAN URI, else DNS name, else email address, else the CN, under
 * the root that vouches for it. Certificate text is a peer's: names with NUL, control characters,
 * bytes that are not ASCII (in SANs), more than IDENTITY_NAME_MAX bytes, and several CNs are
 * refused. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <openssl/x509.h>

#include "base/reason.h"

enum {
	IDENTITY_NAME_MAX = 255,
	IDENTITY_SERIAL_MAX = 64, /* hexadecimal digits */
	IDENTITY_VALUES_MAX = 32, /* of one kind; a certificate with more is refused */
};

enum identity_kind { IDENTITY_URI, IDENTITY_DNS, IDENTITY_EMAIL, IDENTITY_CN };

/* Enough to tell two identities apart, to look one up and to keep it in a table. */
struct identity {
	enum identity_kind kind;
	char name[IDENTITY_NAME_MAX + 1]; /* DNS names and domains of email in lower case */
	uint8_t root[32];		  /* SHA-256 of the root's SubjectPublicKeyInfo */
};

struct identity_values {
	char **items;
	size_t count;
};

/* What is read from a certificate once it has been verified; immutable, counted, any thread. */
struct identity_cert {
	unsigned refs; /* atomic; identity_cert_ref and _unref */
	struct identity identity;
	char *subject;			      /* RFC 2253, escaped, one line */
	char *issuer;			      /* RFC 2253, escaped */
	char serial[IDENTITY_SERIAL_MAX + 1]; /* lower-case hexadecimal, no leading zeros */
	uint8_t issuer_hash[32];	      /* SHA-256 of the issuer name's DER */
	uint8_t spki_hash[32];		      /* SHA-256 of SubjectPublicKeyInfo */
	uint8_t cert_hash[32];		      /* SHA-256 of the certificate */
	time_t not_before, not_after;	      /* of the leaf */
	time_t expires_at;		      /* earliest notAfter of the chain */
	/* SHA-256 of the SubjectPublicKeyInfo of those above it, the root last; only of a verified
	 * chain (pki/verify). */
	uint8_t (*authorities)[32];
	size_t authority_count;
	struct identity_values cn, o, ou, dns, email, uri;
	struct identity_values issuer_cn;
};

bool identity_equal(const struct identity *a, const struct identity *b);
const char *identity_kind_name(enum identity_kind kind); /* "uri", "dns", "email", "cn" */

/* root: the anchor of the verified chain. REASON_NONE and *ret, or the reason with a text of at
 * most size bytes. */
enum reason identity_read(X509 *leaf, X509 *root, struct identity_cert **ret, char *text,
			  size_t size);
/* As much as can be read, never NULL: for telling whom we refuse. identity.name is "" when nothing
 * usable names the peer; without a root identity.root is zero and equals no verified identity's. */
struct identity_cert *identity_describe(X509 *leaf, X509 *root);
struct identity_cert *identity_cert_ref(struct identity_cert *cert);
void identity_cert_unref(struct identity_cert *cert); /* NULL is fine */

/* One condition of an access block: "cn=alice", "ou=Eng*", "dns:*.corp.example", "email:", "uri:",
 * "serial:HEX", "issuer=CN". Kinds are case-insensitive, values compared without case for dns,
 * email and issuer; * matches any run of characters. */
bool identity_matches(const struct identity_cert *cert, const char *condition);
/* NULL when condition is well formed, else what would be right (static text). */
const char *identity_condition_problem(const char *condition);

/* RFC 2253, printable ASCII only, malloc'ed. A name of more than 4096 bytes is only counted. */
char *identity_name_text(const X509_NAME *name);
/* Lower-case hexadecimal without leading zeros; false when negative or longer than
 * IDENTITY_SERIAL_MAX digits. */
bool identity_serial_text(const ASN1_INTEGER *serial, char ret[static IDENTITY_SERIAL_MAX + 1]);
/* SHA-256 of the certificate's SubjectPublicKeyInfo. */
void identity_spki_hash(X509 *cert, uint8_t ret[static 32]);
time_t identity_time(const ASN1_TIME *at); /* 0 when it is no time */
