#include "field.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "units.h"

static void append_plain(struct buf *buf, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c < 0x7f)
			buf_u8(buf, c);
		else
			buf_print(buf, "\\x%02x", c);
	}
}

/* The bytes as a string of their own. */
static char *finish_text(struct buf *buf)
{
	buf_u8(buf, 0);
	return (char *)buf->data;
}

char *field_plain(const char *text)
{
	struct buf buf = {0};

	append_plain(&buf, text);
	return finish_text(&buf);
}

static const char *get_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

bool field_is(const json_t *object, const char *key, const char *text)
{
	return strcmp(get_string(object, key), text) == 0;
}

bool field_is_there(const json_t *object, const char *key)
{
	return get_string(object, key)[0] != '\0';
}

char *field_text(const json_t *object, const char *key)
{
	return field_is_there(object, key) ? field_plain(get_string(object, key))
					   : xalloc_string("-");
}

char *field_list(const json_t *object, const char *key, const char *separator)
{
	struct buf buf = {0};
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(object, key), i, item)
	{
		if (!json_is_string(item))
			continue;
		if (buf.len)
			buf_print(&buf, "%s", separator);
		append_plain(&buf, json_string_value(item));
	}
	if (buf.len == 0)
		buf_print(&buf, "-");
	return finish_text(&buf);
}

char *field_counts(const json_t *object, const char *key)
{
	struct buf buf = {0};
	const char *name;
	json_t *count;

	json_object_foreach(json_object_get(object, key), name, count)
	{
		if (json_integer_value(count) <= 0)
			continue;
		buf_print(&buf, "%s%lld ", buf.len ? ", " : "",
			  (long long)json_integer_value(count));
		append_plain(&buf, name);
	}
	return finish_text(&buf);
}

uint64_t field_number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0;
}

bool field_time(const json_t *object, const char *key, time_t *ret)
{
	return clock_parse(get_string(object, key), ret);
}

char *field_bytes(const json_t *object, const char *key)
{
	char text[UNITS_TEXT];

	return xalloc_string(units_bytes(field_number(object, key), text));
}

char *field_moment(const json_t *object, const char *key, time_t now)
{
	char moment[UNITS_TEXT];
	time_t at;

	return xalloc_string(field_time(object, key, &at) ? units_moment(at, now, moment) : "-");
}

char *field_since(const json_t *object, const char *key, time_t now)
{
	char moment[UNITS_TEXT], ago[UNITS_TEXT];
	time_t at;

	if (!field_time(object, key, &at))
		return xalloc_string("-");
	return xalloc_print("%s (%s)", units_moment(at, now, moment),
			    units_duration(now - at, ago));
}

char *field_until(const json_t *object, const char *key, time_t now)
{
	char day[UNITS_TEXT], left[UNITS_TEXT];
	time_t at;

	if (!field_time(object, key, &at))
		return xalloc_string("-");
	units_day(at, day);
	if (at <= now)
		return xalloc_print("%s (%s ago)", day, units_duration(now - at, left));
	return xalloc_print("%s (in %s)", day, units_duration(at - now, left));
}
