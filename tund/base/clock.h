#pragma once
/* The only source of time. Microseconds since boot, counting suspend, never jumping; and the wall
 * clock where certificates and people need it. */

#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND_US INT64_C(1000000)
#define CLOCK_MS_US	INT64_C(1000)

enum { CLOCK_TEXT = 32 };

int64_t clock_now_us(void);
time_t clock_wall(void);

/* RFC 3339, UTC, whole seconds; returns buf. */
const char *clock_print(time_t at, char buf[static CLOCK_TEXT]);
