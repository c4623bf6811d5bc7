#include "client/back_off.h"

#include <openssl/rand.h>

/* 0 to most. */
static int64_t draw(int64_t most)
{
	uint32_t chance = 0;

	RAND_bytes((unsigned char *)&chance, sizeof(chance));
	return (int64_t)((double)most * chance / UINT32_MAX);
}

int64_t back_off_ms(unsigned failures, bool by_refusal)
{
	int64_t delay_ms = by_refusal ? BACK_OFF_REFUSED_MS : BACK_OFF_FIRST_MS;

	for (unsigned i = 1; i < failures && delay_ms < BACK_OFF_MAX_MS; i++)
		delay_ms *= 2;
	if (delay_ms > BACK_OFF_MAX_MS)
		delay_ms = BACK_OFF_MAX_MS;
	return delay_ms - draw(delay_ms / 4);
}

int64_t back_off_early_ms(int64_t due_ms)
{
	return due_ms - draw(due_ms / 10);
}
