#pragma once
/* Members of the daemon's answer, as they may be shown. What a certificate or a peer has chosen is
 * in there: control characters and bytes that are not ASCII never reach the terminal as they are.
 * The texts returned are malloc'ed. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>

char *field_plain(const char *text); /* "\x1b[2J" becomes "\\x1b[2J" */

bool field_is(const json_t *object, const char *key, const char *text);
bool field_is_there(const json_t *object, const char *key); /* a string, and not empty */
/* "-" where there is none, so that the columns of a table can be counted. */
char *field_text(const json_t *object, const char *key);
char *field_list(const json_t *object, const char *key, const char *separator);
/* {"cert-expired": 3, "no-access": 2} as "3 cert-expired, 2 no-access"; "" when all are 0. */
char *field_counts(const json_t *object, const char *key);
uint64_t field_number(const json_t *object, const char *key); /* 0 when absent or negative */
bool field_time(const json_t *object, const char *key, time_t *ret);
char *field_bytes(const json_t *object, const char *key);
char *field_moment(const json_t *object, const char *key, time_t now); /* as units_moment */
/* "09:14:03 (2 h 13 min)": when it was and how long ago. */
char *field_since(const json_t *object, const char *key, time_t now);
/* "2027-02-19 (in 90 d)", "2026-11-01 (20 d ago)". */
char *field_until(const json_t *object, const char *key, time_t now);
