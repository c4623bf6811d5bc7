#pragma once
/* The last refused handshakes by the short id that both ends log, for `tunctl explain`. Bounded, in
 * memory alone; the oldest are forgotten. Main thread. */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/addr.h"
#include "base/reason.h"
#include "pki/identity.h"

enum {
	REFUSAL_MAX = 1000,
	REFUSAL_ID_TEXT = 9,
	REFUSAL_NAME_TEXT = 512, /* of a longer subject or issuer only the beginning is kept */
};

enum refusal_by { REFUSAL_BY_NOBODY, REFUSAL_BY_US, REFUSAL_BY_PEER };

struct refusal {
	char id[REFUSAL_ID_TEXT];
	time_t at;
	enum refusal_by by; /* NOBODY: it broke off */
	enum reason reason;
	char text[512];
	struct endpoint peer; /* family 0: not known */
	char gateway[256];    /* at a client: the one that was dialled */
	char identity[IDENTITY_NAME_MAX + 1];
	/* The certificate at fault, which may be an authority's; "" in serial: none was seen. */
	bool certificate_is_own;
	char subject[REFUSAL_NAME_TEXT], issuer[REFUSAL_NAME_TEXT];
	char serial[IDENTITY_SERIAL_MAX + 1];
};

struct refusal_memory {
	struct refusal *kept; /* a ring of REFUSAL_MAX; NULL: nothing yet */
	uint64_t count;	      /* since the start */
};

/* The certificate that a refusal is about. */
void refusal_set_certificate(struct refusal *refusal, const struct identity_cert *cert,
			     bool is_own);
/* Copied; one without an id is not, nobody could ask for it. */
void refusal_remember(struct refusal_memory *memory, const struct refusal *refusal);
/* The newest with this id, whatever its case; NULL. */
const struct refusal *refusal_find(const struct refusal_memory *memory, const char *id);
void refusal_done(struct refusal_memory *memory);
