#pragma once
/* The only source of time. Microseconds since boot, counting suspend, never jumping; and the wall
 * clock where certificates and people need it. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND_US INT64_C(1000000)
#define CLOCK_MS_US	INT64_C(1000)

enum { CLOCK_TEXT = 32 };

int64_t clock_now_us(void);
time_t clock_wall(void);
/* The moment of clock_now_us at which the wall clock, as it goes now, showed so many whole seconds. */
int64_t clock_of_wall_us(time_t at);

/* RFC 3339, UTC, whole seconds; returns buf. */
const char *clock_print(time_t at, char buf[static CLOCK_TEXT]);
/* Takes what clock_print writes, and nothing else. */
bool clock_parse(const char *text, time_t *ret);
