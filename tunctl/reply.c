#include "reply.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "field.h"
#include "table.h"

void reply_warnings(const json_t *reply)
{
	const json_t *warning;
	size_t i;

	json_array_foreach(json_object_get(reply, "warnings"), i, warning)
	{
		_cleanup_free_ char *text =
			field_plain(json_is_string(warning) ? json_string_value(warning) : "");

		printf("warning: %s\n", text);
	}
}

void reply_list(const char *name, const json_t *object, const char *key)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(object, key), i, item)
		table_entry(i == 0 ? name : "",
			    field_plain(json_is_string(item) ? json_string_value(item) : "?"));
}
