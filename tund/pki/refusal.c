#include "pki/refusal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

void refusal_set_certificate(struct refusal *refusal, const struct identity_cert *cert, bool is_own)
{
	refusal->certificate_is_own = is_own;
	snprintf(refusal->subject, sizeof(refusal->subject), "%s", cert->subject);
	snprintf(refusal->issuer, sizeof(refusal->issuer), "%s", cert->issuer);
	/* One that is negative or too long cannot be written. */
	snprintf(refusal->serial, sizeof(refusal->serial), "%s",
		 cert->serial[0] ? cert->serial : "?");
}

void refusal_remember(struct refusal_memory *memory, const struct refusal *refusal)
{
	if (!refusal->id[0])
		return;
	if (!memory->kept)
		memory->kept = xalloc_zero(REFUSAL_MAX, sizeof(*memory->kept));
	memory->kept[memory->count++ % REFUSAL_MAX] = *refusal;
}

const struct refusal *refusal_find(const struct refusal_memory *memory, const char *id)
{
	for (uint64_t back = 1; back <= memory->count && back <= REFUSAL_MAX; back++) {
		const struct refusal *refusal = &memory->kept[(memory->count - back) % REFUSAL_MAX];

		if (strcasecmp(refusal->id, id) == 0)
			return refusal;
	}
	return NULL;
}

void refusal_done(struct refusal_memory *memory)
{
	free(take(memory->kept));
	memory->count = 0;
}
