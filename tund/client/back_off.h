#pragma once
/* When a client tries again. A quarter of every wait is chance, so that ten thousand that have lost one
 * gateway do not come back in step. */

#include <stdbool.h>
#include <stdint.h>

enum {
	BACK_OFF_FIRST_MS = 1000,
	BACK_OFF_REFUSED_MS = 5000, /* the first; a refusal will not have changed in a second */
	BACK_OFF_MAX_MS = 60000,
};

/* Behind so many attempts in a row that came to nothing, at least one: doubling from the first wait
 * up to a minute, less up to a quarter of it by chance. */
int64_t back_off_ms(unsigned failures, bool by_refusal);
/* Something is due every so often for everybody: this time, less up to a tenth by chance. */
int64_t back_off_early_ms(int64_t due_ms);
