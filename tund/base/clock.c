#include "base/clock.h"

#include <string.h>

int64_t clock_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * CLOCK_SECOND_US + now.tv_nsec / 1000;
}

time_t clock_wall(void)
{
	return time(NULL);
}

const char *clock_print(time_t at, char buf[static CLOCK_TEXT])
{
	struct tm utc;

	/* A year that an int does not hold. */
	if (!gmtime_r(&at, &utc))
		return strcpy(buf, at < 0 ? "long ago" : "never");
	strftime(buf, CLOCK_TEXT, "%Y-%m-%dT%H:%M:%SZ", &utc);
	return buf;
}
