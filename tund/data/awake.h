#pragma once
/* Whether a client's worker waits for the next packet awake. Falling asleep, being woken, and cold
 * caches behind it cost more than the way to a gateway nearby and back: who has carried a lone
 * packet looks a little longer for what comes next, where that has come so soon lately. Where it
 * has not, as on most ways through the Internet, this costs nothing. */

#include <stdbool.h>
#include <stdint.h>

#include "base/rate.h"

enum {
	AWAKE_US = 100,		 /* the longest look */
	AWAKE_PER_SECOND = 1000, /* looks: a tenth of the time at most */
	AWAKE_TRY = 64, /* lone packets without a look, then one to see whether that has changed */
	AWAKE_CREDIT = 64, /* looks in vain until there are no more, at most */
};

struct awake {
	uint64_t carried;
	unsigned credit, skipped; /* looks; lone packets since the last one, without credit */
	bool looking;
	int64_t until_us;
	struct rate rate;
};

/* Before the worker would sleep: how many packets it has carried by now, either way. Whether it is
 * to look again at once. */
bool awake_stays(struct awake *awake, uint64_t carried, int64_t now_us);
