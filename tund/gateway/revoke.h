#pragma once
/* Taking trust away from those who have it: see revoke.c. */

#include "gateway/gateway.h"

/* Which certificates are meant: one of name, certificate, serial (with issuer where several could
 * be). */
struct revoke_selector {
	const char *name; /* an identity's, or "kind:name" */
	const char *serial, *issuer;
	X509 *certificate;
};

struct revoke_cut { /* a session that was cut */
	uint64_t id;
	char identity[IDENTITY_NAME_MAX + 1];
	struct endpoint peer;
};

struct revoke_result {
	struct store_denied *denied; /* or taken back */
	size_t denied_count;
	struct revoke_cut *cut;
	size_t cut_count;
	int64_t took_us; /* from the order to the answer */
	int error;	 /* 0: durable */
	char text[256];	 /* why not */
	int64_t started_us;
	struct gateway *gateway;
	void (*done)(struct revoke_result *result, void *user);
	void *user;
};

/* 0: done is called later, and frees with revoke_result_free. -ENOENT nothing is meant, -EINVAL
 * several could be, with one line in error. */
int revoke_deny(struct gateway *gateway, const struct revoke_selector *selector, const char *reason,
		void (*done)(struct revoke_result *, void *), void *user, char *error, size_t size);
int revoke_undeny(struct gateway *gateway, const struct revoke_selector *selector,
		  void (*done)(struct revoke_result *, void *), void *user, char *error,
		  size_t size);
void revoke_result_free(struct revoke_result *result);

/* The store's denials, into the trust in force. */
void revoke_load(struct gateway *gateway);
/* base, which has no denials, becomes the trust in force, with ours and a higher generation. */
void revoke_adopt(struct gateway *gateway, const struct trust *base);
/* A certificate was let in: `revoke NAME` will mean it. */
void revoke_remember_seen(struct gateway *gateway, const struct identity_cert *cert);
/* Sessions whose certificate has expired by now. */
void revoke_expired(struct gateway *gateway);
