#include "wire/metrics_text.h"

#include <stdbool.h>
#include <string.h>

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";

/* extra: what may stand in it besides letters and, not in front, digits. */
static bool is_name(const char *name, const char *extra)
{
	bool is_first = true;

	for (; name && *name; name++, is_first = false) {
		bool is_digit = *name >= '0' && *name <= '9';

		if (is_digit ? is_first : !strchr(letters, *name) && !strchr(extra, *name))
			return false;
	}
	return name && !is_first;
}

static bool is_type(const char *type)
{
	return type && (strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 ||
			strcmp(type, "histogram") == 0);
}

static bool is_part(const char *part)
{
	return strcmp(part, "bucket") == 0 || strcmp(part, "sum") == 0 ||
	       strcmp(part, "count") == 0;
}

/* A label's value stands in quotes, a help text does not. */
static void write_escaped(struct buf *out, const char *text, bool quoted)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '\\')
			buf_print(out, "\\\\");
		else if (c == '\n')
			buf_print(out, "\\n");
		else if (c == '"' && quoted)
			buf_print(out, "\\\"");
		else if (c < 0x20 || c >= 0x7f)
			buf_print(out, "\\\\x%02x", c);
		else
			buf_u8(out, c);
	}
}

static void write_labels(struct buf *out, const json_t *labels)
{
	const char *name, *before = "{";
	json_t *value;

	json_object_foreach((json_t *)labels, name, value)
	{
		if (!is_name(name, "") || !json_is_string(value))
			continue;
		buf_print(out, "%s%s=\"", before, name);
		write_escaped(out, json_string_value(value), true);
		buf_print(out, "\"");
		before = ",";
	}
	if (*before == ',')
		buf_print(out, "}");
}

static void write_sample(struct buf *out, const char *name, const json_t *sample)
{
	const json_t *value = json_object_get(sample, "value");
	const char *part = json_string_value(json_object_get(sample, "part"));

	if (!json_is_number(value) || (part && !is_part(part)))
		return;
	buf_print(out, "%s%s%s", name, part ? "_" : "", part ? part : "");
	write_labels(out, json_object_get(sample, "labels"));
	if (json_is_integer(value))
		buf_print(out, " %lld\n", (long long)json_integer_value(value));
	else
		buf_print(out, " %.17g\n", json_real_value(value));
}

static void write_metric(struct buf *out, const json_t *metric)
{
	const char *name = json_string_value(json_object_get(metric, "name"));
	const char *type = json_string_value(json_object_get(metric, "type"));
	const char *help = json_string_value(json_object_get(metric, "help"));
	const json_t *sample;
	size_t i;

	if (!is_name(name, ":") || !is_type(type) || !help)
		return;
	buf_print(out, "# HELP %s ", name);
	write_escaped(out, help, false);
	buf_print(out, "\n# TYPE %s %s\n", name, type);
	json_array_foreach(json_object_get(metric, "samples"), i, sample)
		write_sample(out, name, sample);
}

void metrics_text_write(struct buf *out, const json_t *metrics)
{
	const json_t *metric;
	size_t i;

	json_array_foreach(metrics, i, metric) write_metric(out, metric);
}
