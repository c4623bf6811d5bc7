#include "wire/ctl_msg.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"

enum { DEPTH_MAX = 16 };

static bool is_deeper(const json_t *value, unsigned levels)
{
	const char *key;
	json_t *member;
	size_t i;

	if (!json_is_object(value) && !json_is_array(value))
		return false;
	if (levels == 0)
		return true;
	json_array_foreach(value, i, member)
	{
		if (is_deeper(member, levels - 1))
			return true;
	}
	json_object_foreach((json_t *)value, key, member)
	{
		if (is_deeper(member, levels - 1))
			return true;
	}
	return false;
}

static json_t *refuse(json_t *message, char *error, size_t size, const char *why)
{
	json_decref(message);
	snprintf(error, size, "%s", why);
	return NULL;
}

/* The parser's texts quote what they choke on. */
static json_t *refuse_text(const json_error_t *why, char *error, size_t size)
{
	char text[4 * JSON_ERROR_TEXT_LENGTH + 1];

	log_escape(why->text, strlen(why->text), text, sizeof(text));
	snprintf(error, size, "not JSON, at byte %d: %s", why->position, text);
	return NULL;
}

static json_t *parse_object(const char *line, size_t len, size_t len_max, char *error, size_t size)
{
	json_error_t why;
	json_t *message;

	if (len > len_max)
		return refuse(NULL, error, size, "too long");
	message = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (!message)
		return refuse_text(&why, error, size);
	if (!json_is_object(message))
		return refuse(message, error, size, "not a JSON object");
	if (is_deeper(message, DEPTH_MAX))
		return refuse(message, error, size, "nested too deeply");
	return message;
}

json_t *ctl_msg_parse(const char *line, size_t len, char *error, size_t size)
{
	json_t *message = parse_object(line, len, CTL_MSG_REQUEST_MAX, error, size);

	if (message && !ctl_msg_string(message, "command"))
		return refuse(message, error, size, "no \"command\"");
	return message;
}

json_t *ctl_msg_parse_stream(const char *line, size_t len, bool *ret_last, char *error, size_t size)
{
	json_t *message = parse_object(line, len, CTL_MSG_REPLY_MAX, error, size);
	const json_t *status;

	if (!message)
		return NULL;
	if (!ctl_msg_string(message, "schema"))
		return refuse(message, error, size, "no \"schema\"");
	status = json_object_get(message, "exit");
	*ret_last = status != NULL;
	if (status && (!json_is_integer(status) || json_integer_value(status) < CTL_EXIT_DONE ||
		       json_integer_value(status) > CTL_EXIT_NOT_PERMITTED))
		return refuse(message, error, size, "no \"exit\" that means anything");
	return message;
}

json_t *ctl_msg_parse_reply(const char *line, size_t len, char *error, size_t size)
{
	bool is_last;
	json_t *message = ctl_msg_parse_stream(line, len, &is_last, error, size);

	if (message && !is_last)
		return refuse(message, error, size, "no \"exit\"");
	return message;
}

/* What cannot be dumped is our own doing (an object within itself); the peer still hears something.
 */
static char *dump_message(const json_t *message)
{
	/* ASCII alone, so that no terminal and no log on the way minds. */
	char *line = json_dumps(message, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));

	return line ? line
		    : xalloc_string("{\"schema\":\"tund.error/1\",\"exit\":1,"
				    "\"error\":\"the answer cannot be written\"}");
}

char *ctl_msg_print(const json_t *message, size_t *ret_len)
{
	char *line = dump_message(message);
	size_t len = strlen(line);

	line = xalloc_grow(line, len + 2, 1);
	line[len] = '\n';
	line[len + 1] = '\0';
	if (ret_len)
		*ret_len = len + 1;
	return line;
}

json_t *ctl_msg_reply(const char *command, int exit_status)
{
	return json_pack("{s:o, s:i}", "schema", json_sprintf("tund.%s/1", command), "exit",
			 exit_status);
}

static bool is_one_line(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

/* Text of any origin as a string: escaped where it is not UTF-8, or more than a line. */
static json_t *line_string(const char *text)
{
	json_t *string = is_one_line(text) ? json_string(text) : NULL;
	_cleanup_free_ char *escaped = NULL;
	size_t size = 4 * strlen(text) + 5;

	if (string)
		return string;
	escaped = xalloc_zero(size, 1);
	return json_string(log_escape(text, strlen(text), escaped, size));
}

json_t *ctl_msg_error(int exit_status, const char *format, ...)
{
	json_t *message = ctl_msg_reply("error", exit_status);
	_cleanup_free_ char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	text = xalloc_vprint(format, arguments);
	va_end(arguments);
	json_object_set_new(message, "error", line_string(text));
	return message;
}

const char *ctl_msg_string(const json_t *message, const char *key)
{
	return json_string_value(json_object_get(message, key));
}
