#include "samples.h"

#include <stdlib.h>

#include "base/xalloc.h"

enum { FIRST_ROOM = 1024, SAMPLES_MAX = 20 * 1000 * 1000 };

void samples_add(struct samples *samples, int64_t us)
{
	if (samples->count == SAMPLES_MAX)
		return;
	if (samples->count == samples->room) {
		samples->room = samples->room ? 2 * samples->room : FIRST_ROOM;
		samples->items =
			xalloc_grow(samples->items, samples->room, sizeof(*samples->items));
	}
	samples->items[samples->count++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

void samples_clear(struct samples *samples)
{
	samples->count = 0;
}

void samples_done(struct samples *samples)
{
	free(samples->items);
	*samples = (struct samples){0};
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The least that so many per mille are not above. */
static json_t *at_per_mille(const struct samples *samples, size_t per_mille)
{
	size_t rank = (samples->count * per_mille + 999) / 1000;

	if (samples->count == 0)
		return json_null();
	return json_real(samples->items[rank ? rank - 1 : 0] / 1000.0);
}

json_t *samples_json(struct samples *samples)
{
	if (samples->count)
		qsort(samples->items, samples->count, sizeof(*samples->items), compare);
	return json_pack("{s:I, s:o, s:o, s:o, s:o}", "count", (json_int_t)samples->count, "median",
			 at_per_mille(samples, 500), "p90", at_per_mille(samples, 900), "p99",
			 at_per_mille(samples, 990), "max", at_per_mille(samples, 1000));
}
