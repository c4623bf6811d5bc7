#pragma once
/* Numbers as people read them. Each writes into buf and returns it. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define UNITS_DURATION_MAX_S (1000 * INT64_C(366) * 86400)

enum { UNITS_TEXT = 40 };

const char *units_bytes(uint64_t bytes, char buf[static UNITS_TEXT]); /* "12.3 MiB" */
/* "59 s", "5 min 12 s", "2 h 13 min", "3 d 4 h", "90 d"; a time that has not come yet is 0 s. */
const char *units_duration(int64_t duration_s, char buf[static UNITS_TEXT]);
const char *units_took(double took_s, char buf[static UNITS_TEXT]); /* "12 ms", "1.3 s" */
/* Local time: "09:14:03" on the day of now, else "2026-11-20 09:14". */
const char *units_moment(time_t at, time_t now, char buf[static UNITS_TEXT]);
const char *units_day(time_t at, char buf[static UNITS_TEXT]); /* "2026-11-20" */

/* "90s", "15m", "12h", "30d", "4w". */
bool units_parse_duration(const char *text, int64_t *ret_s);
