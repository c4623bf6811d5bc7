#pragma once
/* Times of one kind, and what is said of them. */

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

struct samples {
	uint32_t *items; /* microseconds */
	size_t count, room;
};

void samples_add(struct samples *samples, int64_t us);
void samples_clear(struct samples *samples);
void samples_done(struct samples *samples);
/* {"count", "median", "p90", "p99", "max"}, in milliseconds; sorts. Owned by the caller. */
json_t *samples_json(struct samples *samples);
