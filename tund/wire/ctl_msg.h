#pragma once
/* The control socket: a request is one line of JSON, the answer one line of JSON, both ended by a
 * newline. {"command": "sessions", ...arguments} -> {"schema": "tund.sessions/1", "exit": 0, ...}
 * or
 * {"schema": "tund.error/1", "exit": 4, "error": "one line"}. "exit" is what tunctl exits with. An
 * answer of many lines ("watch") has it in the last one alone. */

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

enum {
	CTL_MSG_REQUEST_MAX = 64 * 1024,
	CTL_MSG_REPLY_MAX = 64 * 1024 * 1024,

	CTL_EXIT_DONE = 0,
	CTL_EXIT_REFUSED = 1,
	CTL_EXIT_USAGE = 2,
	CTL_EXIT_NO_DAEMON = 3,
	CTL_EXIT_NOT_FOUND = 4,
	CTL_EXIT_NOT_PERMITTED = 5,
};

/* line without its newline. NULL with one line in error: not JSON, no object, no "command", nested
 * more than 16 deep, duplicate keys. */
json_t *ctl_msg_parse(const char *line, size_t len, char *error, size_t size);
/* The same for an answer: no "schema", or no "exit" that is one of the above. */
json_t *ctl_msg_parse_reply(const char *line, size_t len, char *error, size_t size);
/* A line of an answer that has many: the last has an "exit", and only it. *ret_last tells. */
json_t *ctl_msg_parse_stream(const char *line, size_t len, bool *ret_last, char *error,
			     size_t size);
/* malloc'ed, with the newline; *ret_len may be NULL. */
char *ctl_msg_print(const json_t *message, size_t *ret_len);
json_t *ctl_msg_reply(const char *command, int exit_status); /* {"schema", "exit"} */
json_t *ctl_msg_error(int exit_status, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* NULL when absent or not a string. */
const char *ctl_msg_string(const json_t *message, const char *key);
