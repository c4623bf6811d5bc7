#pragma once
/* The corpus: certificates and chains, each a little different from a good one, with the verdict that
 * is right. Who adds a case adds a row to rows.c.
 *
 * The same word has to come from pki/verify (verdicts.c), from tunctl verify and from real handshakes
 * with a gateway and with a client (tests/net/test_certs.py). */

#include <stddef.h>

#include "certs.h"

/* How the leaf hangs together with the root that is loaded. */
enum rows_shape {
	BELOW,	      /* row->depth authorities between, all sent along in order */
	NOT_SENT,     /* the same, and none is sent */
	REVERSED,     /* the same, the uppermost is sent first */
	WITH_ROOT,    /* the same, and the root is sent too */
	WITH_OTHERS,  /* the same, between authorities that have nothing to do with it */
	ALONE,	      /* has signed itself */
	OF_STRANGER,  /* its root, which is sent along, is not loaded */
	OF_NAMESAKE,  /* a root of the loaded one's name with another key */
	THE_ROOT,     /* the leaf is the loaded root itself */
	AN_AUTHORITY, /* the leaf is an intermediate authority itself */
	BELOW_A_LEAF, /* what has signed it is somebody's good leaf */
	CROSS_SIGNED, /* the authority's key is certified by a stranger, sent first, and by the root */
	CROSS_AND_ROOT, /* the same, and the stranger's root behind them */
	NAMESAKE_FIRST, /* another of the authority's name, with another key, is sent first */
	CROSS_ONLY,	/* the authority's key is certified by a stranger alone */
	ROOT_CROSSED, /* the loaded root's key is certified by a stranger as well, and that is sent */
	LOOP,	      /* two authorities that have certified each other, and nobody else them */
	LOOP_AND_ROOT,	 /* the same, sent first, and the root has certified one of them, too */
	EXPIRED_AND_NEW, /* the authority's old certificate has expired, sent before its new one */
	SELF_ISSUED,	 /* the authority has its issuer's very name, and a key of its own */
};

struct rows_row {
	const char *name;	      /* of the case */
	const char *device, *gateway; /* the verdict in that role: "ok", or a reason's word */
	struct certs_spec leaf;	      /* what is not said is good for both roles */
	enum rows_shape shape;
	unsigned depth;
	const struct certs_spec
		*root; /* NULL: the corpus's own. Loaded, whatever is wrong with it */
	const struct certs_spec *sub; /* every authority between; given, depth is at least 1 */

	/* What a real peer meets where TLS decides before any verifier is asked, and why. */
	const char *tls_device, *tls_gateway, *why;
};

extern const struct rows_row rows[];
extern const size_t rows_count;

#define ROWS_GATEWAY_NAME "vpn.corp.example"
/* Is on the corpus's revocation list; so is an authority's, below. */
#define ROWS_REVOKED	 0x666u
#define ROWS_SUB_REVOKED 0x667u
/* In the place of a verdict: it is no certificate that OpenSSL can read. */
#define ROWS_UNREADABLE "unreadable"
