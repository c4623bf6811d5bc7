#pragma once
/* What the key was used for, and what it was not: counted by the key holder in memory that all
 * others can only read. */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "key/scheme.h"

enum use_refusal {
	USE_MALFORMED,	/* no request at all */
	USE_NO_TLS,	/* not what a CertificateVerify signs */
	USE_OTHER_ROLE, /* a client's asked of a gateway, or the other way round */
	USE_SCHEME,	/* none of ours, or of another kind of key */
	USE_REPLACED,	/* no key of this generation (any more) */
	USE_FAILED,	/* the token did not sign */
	USE_REFUSALS,
};

struct use {
	_Atomic uint64_t signatures[SCHEME_MAX]; /* in the order of scheme_at */
	_Atomic uint64_t refused[USE_REFUSALS];
};

/* Two views of one memory, before anything is forked: *ret_counting is for the key holder alone and
 * unmapped everywhere else (use_close); the other can never be made writable. 0 or -errno. */
int use_open(struct use **ret_counting, const struct use **ret_view);
void use_close(struct use *counting);

const char *use_refusal_name(enum use_refusal refusal); /* "other-role" */
