#include "base/rate.h"

#include "base/clock.h"

bool rate_allow(struct rate *rate, unsigned per_second, int64_t now_us)
{
	double gained;

	if (per_second == 0)
		return true;
	if (rate->filled_at_us == 0) {
		rate->tokens = per_second;
	} else {
		gained = (double)(now_us - rate->filled_at_us) * per_second / CLOCK_SECOND_US;
		rate->tokens += gained > 0 ? gained : 0;
		if (rate->tokens > per_second)
			rate->tokens = per_second;
	}
	rate->filled_at_us = now_us;
	if (rate->tokens < 1)
		return false;
	rate->tokens -= 1;
	return true;
}
