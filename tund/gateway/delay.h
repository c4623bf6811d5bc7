#pragma once
/* How long after trust in a session has ended its last packet can have passed: from the cause to the
 * moment when every worker has acknowledged the cut, a histogram for each cause. */

#include <stdint.h>

#include "base/reason.h"

struct gateway;
struct gateway_cut;
struct session;

enum delay_cause {
	DELAY_REVOKE,  /* the command has come */
	DELAY_FILE,    /* a file has changed: a list, an authority */
	DELAY_RELOAD,  /* the command or the signal has come */
	DELAY_EXPIRED, /* the first certificate of its chain has ended */
	DELAY_CAUSES,
};

enum { DELAY_BOUNDS = 12 };

extern const int64_t delay_bounds_us[DELAY_BOUNDS]; /* rising */

struct delay_histogram {
	uint64_t counts[DELAY_BOUNDS + 1]; /* up to each bound, and not the one before; the rest */
	int64_t sum_us;
};

struct delay_since {
	enum delay_cause cause;
	int64_t us; /* clock_now_us */
};

const char *delay_cause_name(enum delay_cause cause);
void delay_add(struct delay_histogram *histogram, int64_t delay_us);
/* gateway_cut_session, measured, and told to watchers when it is done. */
void delay_cut(struct gateway *gateway, struct session *session, enum reason reason,
	       const char *text, const struct delay_since *since, struct gateway_cut *then);
