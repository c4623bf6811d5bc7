#pragma once
/* A token bucket: so many events a second, with a burst of one second's worth. */

#include <stdbool.h>
#include <stdint.h>

struct rate {
	double tokens;
	int64_t filled_at_us;
};

/* True when one more event is within per_second; 0 means no limit. A zeroed struct starts full. */
bool rate_allow(struct rate *rate, unsigned per_second, int64_t now_us);
