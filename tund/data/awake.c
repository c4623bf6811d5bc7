#include "data/awake.h"

enum { REWARD = 4 };

static bool may_look(struct awake *awake, int64_t now_us)
{
	if (!awake->credit && awake->skipped++ < AWAKE_TRY)
		return false;
	awake->skipped = 0;
	return rate_allow(&awake->rate, AWAKE_PER_SECOND, now_us);
}

static void end_look(struct awake *awake, bool found)
{
	unsigned more = awake->credit + REWARD;

	if (found)
		awake->credit = more < AWAKE_CREDIT ? more : AWAKE_CREDIT;
	else if (awake->credit)
		awake->credit--;
	awake->looking = false;
}

bool awake_stays(struct awake *awake, uint64_t carried, int64_t now_us)
{
	uint64_t came = carried - awake->carried;

	awake->carried = carried;
	if (awake->looking && (came || now_us >= awake->until_us))
		end_look(awake, came > 0);
	if (came == 1 && may_look(awake, now_us)) {
		awake->looking = true;
		awake->until_us = now_us + AWAKE_US;
	}
	return awake->looking;
}
