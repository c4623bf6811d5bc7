#pragma once
/* Whom we believe: anchors, intermediates, revocation lists and local denials, as one immutable,
 * counted snapshot that any thread may borrow. A change makes a new snapshot with a higher
 * generation. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <openssl/x509.h>

#include "base/buf.h"
#include "pki/crl_list.h"

enum trust_crl_policy { TRUST_CRL_OFF, TRUST_CRL_STRICT, TRUST_CRL_GRACE, TRUST_CRL_ADVISORY };

enum {
	TRUST_CA_MAX = 1000,  /* certificates in all files together */
	TRUST_CRL_MAX = 1000, /* lists in all files together */
	/* Bytes of one file: a list of 1,000,000 entries with reasons takes 73 MB as PEM. */
	TRUST_FILE_MAX = 128 * 1024 * 1024,
};

struct trust_denial {
	uint8_t issuer_hash[32];
	char serial[65]; /* lower-case hexadecimal */
	uint8_t spki_hash[32];
};

struct trust_ca {
	X509 *cert;
	bool is_root; /* self-signed: an anchor; others only complete chains */
	char *file;
};

struct trust_crl {
	struct crl_list *list; /* shared with other snapshots */
	X509 *issuer;	       /* among the loaded authorities, or NULL */
	bool signature_ok;     /* checked against issuer at load; meaningless without one */
	char *file;
};

struct trust {
	unsigned refs; /* atomic */
	uint64_t generation;
	X509_STORE *store; /* anchors and intermediates; lists are consulted by pki/verify itself */
	struct trust_ca *cas;
	size_t ca_count;
	struct trust_crl *crls;
	size_t crl_count;
	struct trust_denial *denials; /* sorted by issuer_hash, serial */
	uint8_t (*denied_keys)[32];   /* their spki_hash, sorted; denial_count of them */
	size_t denial_count;
	enum trust_crl_policy crl_policy;
	int64_t crl_grace_s;
};

struct trust_source {	  /* one file's bytes, read by whoever may */
	const char *file; /* its name, for messages */
	const uint8_t *data;
	size_t len;
	bool unread; /* it could not be read, which has been told: with keep alone */
};

struct trust_options {
	const struct trust_source *cas, *crls;
	size_t ca_count, crl_count;
	const struct trust_denial *denials;
	size_t denial_count;
	enum trust_crl_policy crl_policy;
	int64_t crl_grace_s;
	uint64_t generation;
	/* The snapshot in force, NULL at the start: a list of it that is newer than those read, by
	 * the number and of the same key, stays, with a warning. keep: a source that is refused is
	 * told and takes nothing away: the lists that previous has from it stay, of authorities all;
	 * a list that is simply no longer there stays until something newer speaks for its
	 * authority, with a warning. */
	const struct trust *previous;
	bool keep;
};

/* For one problem with one source; the text is one line that says what would be right. */
typedef void (*trust_problem_fn)(const char *file, const char *text, void *user);

/* PEM (several blocks, text around them ignored) or DER. A source with nothing usable, a truncated
 * block, a list where a certificate belongs and the reverse, a certificate that is no authority: a
 * problem each, and NULL returned but with keep. Of a source with a problem nothing is taken. No
 * anchor at all: a problem. Warnings (expired authority, expired list, list of an authority that is
 * not loaded, list older than what is in force) go to warn and do not fail. */
struct trust *trust_new(const struct trust_options *options, trust_problem_fn problem,
			trust_problem_fn warn, void *user);
/* The same anchors and lists with other denials and generation. */
struct trust *trust_with_denials(const struct trust *trust, const struct trust_denial *denials,
				 size_t count, uint64_t generation);
struct trust *trust_ref(struct trust *trust);
void trust_unref(struct trust *trust); /* NULL is fine */

bool trust_denies(const struct trust *trust, const uint8_t issuer_hash[static 32],
		  const char *serial, const uint8_t spki_hash[static 32]);
