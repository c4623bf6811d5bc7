#include "base/clock.h"

#include <string.h>

int64_t clock_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * CLOCK_SECOND_US + now.tv_nsec / 1000;
}

int64_t clock_of_wall_us(time_t at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return clock_now_us() - (now.tv_sec - at) * CLOCK_SECOND_US - now.tv_nsec / 1000;
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

bool clock_parse(const char *text, time_t *ret)
{
	struct tm parts = {0};
	char printed[CLOCK_TEXT];
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts);
	time_t at;

	if (!end || *end != '\0')
		return false;
	at = timegm(&parts);
	/* strptime takes February 30 and a second 60. */
	if (strcmp(clock_print(at, printed), text) != 0)
		return false;
	*ret = at;
	return true;
}
