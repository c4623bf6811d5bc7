/* wire/ctl_msg: a line of the control socket is read as a request and as an answer. What was read
 * can be written, in one line of ASCII, and read again. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctl_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef json_t *(*parse_fn)(const char *line, size_t len, char *error, size_t size);

static void check_line(const char *line, size_t len)
{
	assert(len > 0 && strlen(line) == len && line[len - 1] == '\n');
	for (size_t i = 0; i + 1 < len; i++)
		assert((unsigned char)line[i] >= 0x20 && (unsigned char)line[i] <= 0x7f);
}

static void check_error(const char *error)
{
	assert(error[0]);
	for (; *error; error++)
		assert((unsigned char)*error >= 0x20 && (unsigned char)*error <= 0x7e);
}

static void check_message(parse_fn parse, const uint8_t *data, size_t size)
{
	char error[120] = "";
	json_t *message = parse((const char *)data, size, error, sizeof(error)), *again;
	char *line, *same;
	size_t len;

	if (!message) {
		check_error(error);
		return;
	}
	line = ctl_msg_print(message, &len);
	check_line(line, len);
	again = parse(line, len - 1, error, sizeof(error));
	/* A line may have grown past its limit: what takes one byte is written as six. */
	if (again) {
		same = ctl_msg_print(again, NULL);
		assert(strcmp(same, line) == 0);
		free(same);
	} else {
		assert(len > CTL_MSG_REQUEST_MAX);
	}
	free(line);
	json_decref(message);
	json_decref(again);
}

static json_t *parse_stream(const char *line, size_t len, char *error, size_t size)
{
	bool is_last = false;
	json_t *message = ctl_msg_parse_stream(line, len, &is_last, error, size);

	/* What is an answer of one line is the last of many, and the reverse. */
	if (message) {
		char why[120];
		json_t *reply = ctl_msg_parse_reply(line, len, why, sizeof(why));

		assert((reply != NULL) == is_last);
		assert(is_last == (json_object_get(message, "exit") != NULL));
		json_decref(reply);
	}
	return message;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);
	char text[64];
	json_t *error;

	memcpy(exact, data, size);
	check_message(ctl_msg_parse, exact, size);
	check_message(ctl_msg_parse_reply, exact, size);
	check_message(parse_stream, exact, size);
	memcpy(text, data, size < sizeof(text) ? size : sizeof(text) - 1);
	text[size < sizeof(text) ? size : sizeof(text) - 1] = '\0';
	error = ctl_msg_error(CTL_EXIT_REFUSED, "%s", text);
	assert(ctl_msg_string(error, "error"));
	json_decref(error);
	free(exact);
	return 0;
}
