#include "units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const char *units_bytes(uint64_t bytes, char buf[static UNITS_TEXT])
{
	static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	unsigned unit = 0;

	if (bytes < 1024) {
		snprintf(buf, UNITS_TEXT, "%u B", (unsigned)bytes);
		return buf;
	}
	/* What would be rounded to 1024 is one of the next. */
	for (; value >= 1023.5 && unit < 5; unit++)
		value /= 1024;
	snprintf(buf, UNITS_TEXT, value < 99.95 ? "%.1f %s" : "%.0f %s", value, names[unit]);
	return buf;
}

const char *units_duration(int64_t duration_s, char buf[static UNITS_TEXT])
{
	static const struct {
		int64_t size_s;
		const char *name;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	unsigned i = 0;
	int64_t rest_s;
	int len;

	if (duration_s < 0)
		duration_s = 0;
	while (i < 3 && duration_s < units[i].size_s)
		i++;
	len = snprintf(buf, UNITS_TEXT, "%ld %s", (long)(duration_s / units[i].size_s),
		       units[i].name);
	rest_s = duration_s % units[i].size_s;
	/* The next smaller unit too, unless it says nothing. */
	if (i < 3 && rest_s >= units[i + 1].size_s && duration_s < 10 * units[0].size_s)
		snprintf(buf + len, UNITS_TEXT - (size_t)len, " %ld %s",
			 (long)(rest_s / units[i + 1].size_s), units[i + 1].name);
	return buf;
}

const char *units_took(double took_s, char buf[static UNITS_TEXT])
{
	if (!(took_s >= 0 && took_s < 1e6))
		took_s = 0;
	if (took_s < 0.00095)
		snprintf(buf, UNITS_TEXT, "less than 1 ms");
	else if (took_s < 0.9995)
		snprintf(buf, UNITS_TEXT, "%.0f ms", took_s * 1000);
	else
		snprintf(buf, UNITS_TEXT, "%.1f s", took_s);
	return buf;
}

const char *units_day(time_t at, char buf[static UNITS_TEXT])
{
	struct tm local;

	if (!localtime_r(&at, &local) || strftime(buf, UNITS_TEXT, "%F", &local) == 0)
		snprintf(buf, UNITS_TEXT, "?");
	return buf;
}

const char *units_moment(time_t at, time_t now, char buf[static UNITS_TEXT])
{
	char today[UNITS_TEXT];
	struct tm local;

	if (strcmp(units_day(at, buf), "?") == 0)
		return buf;
	localtime_r(&at, &local);
	strftime(buf, UNITS_TEXT, strcmp(buf, units_day(now, today)) == 0 ? "%H:%M:%S" : "%F %H:%M",
		 &local);
	return buf;
}

bool units_parse_duration(const char *text, int64_t *ret_s)
{
	static const struct {
		char unit;
		int64_t s;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
	char *end;
	long number;

	if (*text < '0' || *text > '9')
		return false;
	number = strtol(text, &end, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (*end != units[i].unit || end[1] || number > UNITS_DURATION_MAX_S / units[i].s)
			continue;
		*ret_s = number * units[i].s;
		return true;
	}
	return false;
}
