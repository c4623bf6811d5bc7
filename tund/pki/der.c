#include "pki/der.h"

#include <string.h>

/* Longer lengths than of four bytes are not read: no file is as large. */
enum { LENGTH_BYTES_MAX = 4 };

static size_t read_length(struct span *from)
{
	uint8_t first = span_u8(from);
	size_t count = first & 0x7f, len = 0;

	if (first < 0x80)
		return first;
	if (count == 0 || count > LENGTH_BYTES_MAX || count > from->len || from->data[0] == 0) {
		from->failed = true;
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		len = len << 8 | span_u8(from);
	if (len < 0x80)
		from->failed = true;
	return len;
}

bool der_is(const struct span *from, uint8_t tag)
{
	return !from->failed && from->len > 0 && from->data[0] == tag;
}

struct span der_read(struct span *from, uint8_t tag)
{
	struct span content = {.failed = true};
	size_t len;

	if (!der_is(from, tag)) {
		from->failed = true;
		return content;
	}
	span_u8(from);
	len = read_length(from);
	content.data = from->failed ? NULL : span_bytes(from, len);
	content.failed = from->failed;
	content.len = from->failed ? 0 : len;
	return content;
}

struct span der_read_whole(struct span *from, uint8_t tag)
{
	const uint8_t *start = from->data;
	struct span content = der_read(from, tag);

	if (content.failed)
		return content;
	return (struct span){.data = start, .len = (size_t)(content.data + content.len - start)};
}

struct span der_read_integer(struct span *from, uint8_t tag)
{
	struct span content = der_read(from, tag);
	bool is_padded = content.len > 1 && ((content.data[0] == 0x00 && content.data[1] < 0x80) ||
					     (content.data[0] == 0xff && content.data[1] >= 0x80));

	if (content.len == 0 || is_padded)
		from->failed = content.failed = true;
	return content;
}

struct span der_read_oid(struct span *from)
{
	struct span content = der_read(from, DER_OID);
	/* Each number ends with a byte below 80 and begins with none of its zeros. */
	bool is_whole = content.len > 0 && content.data[content.len - 1] < 0x80;

	for (size_t i = 0; i < content.len; i++) {
		if (content.data[i] == 0x80 && (i == 0 || content.data[i - 1] < 0x80))
			is_whole = false;
	}
	if (!is_whole)
		from->failed = content.failed = true;
	return content;
}

/* ---- times ---- */

static unsigned read_digits(const uint8_t *at, size_t count)
{
	unsigned value = 0;

	for (size_t i = 0; i < count; i++)
		value = value * 10 + (unsigned)(at[i] - '0');
	return value;
}

/* Days from 1970-01-01 in the Gregorian calendar. A year begins in March here, so that the leap day
 * is its last. */
static int64_t count_days(unsigned year, unsigned month, unsigned day)
{
	int64_t y = (int64_t)year - (month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	unsigned year_of_era = (unsigned)(y - era * 400);
	unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + (int64_t)year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - 719468;
}

static unsigned days_of(unsigned year, unsigned month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && is_leap ? 29 : days[month - 1];
}

/* MMDDHHMMSSZ of that year. */
static time_t make_time(unsigned year, const uint8_t *rest)
{
	unsigned month = read_digits(rest, 2), day = read_digits(rest + 2, 2);
	unsigned hour = read_digits(rest + 4, 2), minute = read_digits(rest + 6, 2);
	unsigned second = read_digits(rest + 8, 2);

	if (month < 1 || month > 12 || day < 1 || day > days_of(year, month) || hour > 23 ||
	    minute > 59 || second > 59)
		return 0;
	return (time_t)(count_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second);
}

static bool is_digits_and_z(const struct span *content)
{
	for (size_t i = 0; i + 1 < content->len; i++) {
		if (content->data[i] < '0' || content->data[i] > '9')
			return false;
	}
	return content->data[content->len - 1] == 'Z';
}

void der_read_time(struct span *from, time_t *ret)
{
	enum { UTC_LEN = 13, GENERALIZED_LEN = 15 };
	bool is_short = der_is(from, DER_UTC_TIME);
	struct span content = der_read(from, is_short ? DER_UTC_TIME : DER_GENERALIZED_TIME);
	unsigned year;

	*ret = 0;
	if (content.len == 0)
		from->failed = true;
	if (from->failed || content.len != (is_short ? UTC_LEN : GENERALIZED_LEN) ||
	    !is_digits_and_z(&content))
		return;
	year = read_digits(content.data, is_short ? 2 : 4);
	if (is_short)
		year += year < 50 ? 2000 : 1900;
	*ret = make_time(year, content.data + (is_short ? 2 : 4));
}
