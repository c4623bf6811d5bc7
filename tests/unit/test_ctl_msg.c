#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "wire/ctl_msg.h"

#define NEST_15	 "[[[[[[[[[[[[[[["
#define CLOSE_15 "]]]]]]]]]]]]]]]"

static void check_parsed(const char *name, json_t *message, const char *got, const char *wanted)
{
	if (wanted ? message || !strstr(got, wanted) : !message)
		fail_msg("%s: %s", name, message ? "was accepted" : got);
	json_decref(message);
}

static void requests(void **state)
{
	static const struct {
		const char *name, *line, *error; /* NULL: it is fine */
	} rows[] = {
		{"the least", "{\"command\":\"status\"}", NULL},
		{"arguments", "{\"command\": \"show\", \"what\": \"session\", \"id\": 17}", NULL},
		{"UTF-8", "{\"command\":\"revoke\",\"name\":\"Zo\xc3\xab\"}", NULL},
		{"nothing", "", "not JSON"},
		{"cut", "{\"command\":\"status\"", "not JSON"},
		{"trailing", "{\"command\":\"status\"} {}", "not JSON"},
		{"a list", "[\"status\"]", "not a JSON object"},
		{"a string", "\"status\"", "not JSON"},
		{"no command", "{\"schema\":\"tund.status/1\",\"exit\":0}", "no \"command\""},
		{"a number as command", "{\"command\":1}", "no \"command\""},
		{"twice", "{\"command\":\"status\",\"command\":\"revoke\"}", "duplicate"},
		{"twice, inside", "{\"command\":\"x\",\"a\":{\"b\":1,\"b\":2}}", "duplicate"},
		{"not UTF-8", "{\"command\":\"\xff\xfe\"}", "not JSON"},
		{"a zero", "{\"command\":\"a\\u0000b\"}", "not JSON"},
		{"16 deep", "{\"command\":\"x\",\"a\":" NEST_15 CLOSE_15 "}", NULL},
		{"17 deep", "{\"command\":\"x\",\"a\":[" NEST_15 CLOSE_15 "]}", "too deeply"},
		{"17 deep in objects", "{\"command\":\"x\",\"a\":" NEST_15 "{}" CLOSE_15 "}",
		 "too deeply"},
		{"a terminal's escape", "{\"command\": \x1b[31m}", "\\x1b"},
	};
	char error[200];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *message;

		error[0] = '\0';
		message = ctl_msg_parse(rows[i].line, strlen(rows[i].line), error, sizeof(error));
		check_parsed(rows[i].name, message, error, rows[i].error);
		for (const char *at = error; *at; at++)
			assert_in_range((unsigned char)*at, 0x20, 0x7e);
	}
}

static void replies(void **state)
{
	static const struct {
		const char *name, *line, *error;
	} rows[] = {
		{"done", "{\"schema\":\"tund.status/1\",\"exit\":0}", NULL},
		{"not permitted", "{\"schema\":\"tund.error/1\",\"exit\":5,\"error\":\"x\"}", NULL},
		{"no schema", "{\"command\":\"status\",\"exit\":0}", "no \"schema\""},
		{"no exit", "{\"schema\":\"tund.status/1\"}", "no \"exit\""},
		{"exit of no kind", "{\"schema\":\"tund.status/1\",\"exit\":\"0\"}", "no \"exit\""},
		{"exit too high", "{\"schema\":\"tund.status/1\",\"exit\":6}", "no \"exit\""},
		{"exit below", "{\"schema\":\"tund.status/1\",\"exit\":-1}", "no \"exit\""},
		{"exit and 256", "{\"schema\":\"tund.status/1\",\"exit\":256}", "no \"exit\""},
		{"twice", "{\"schema\":\"a\",\"exit\":0,\"exit\":1}", "duplicate"},
	};
	char error[200];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *message;

		error[0] = '\0';
		message = ctl_msg_parse_reply(rows[i].line, strlen(rows[i].line), error,
					      sizeof(error));
		check_parsed(rows[i].name, message, error, rows[i].error);
	}
}

/* Of an answer of many lines only the last has an "exit". */
static void streams(void **state)
{
	static const struct {
		const char *name, *line;
		bool is_last;
		const char *error;
	} rows[] = {
		{"an event", "{\"schema\":\"tund.watch/1\",\"seq\":1}", false, NULL},
		{"the last", "{\"schema\":\"tund.watch/1\",\"exit\":3}", true, NULL},
		{"an error", "{\"schema\":\"tund.error/1\",\"exit\":1}", true, NULL},
		{"no schema", "{\"seq\":1}", false, "no \"schema\""},
		{"exit of no kind", "{\"schema\":\"x\",\"exit\":null}", true, "no \"exit\""},
		{"exit too high", "{\"schema\":\"x\",\"exit\":6}", true, "no \"exit\""},
		{"cut", "{\"schema\":\"x\"", false, "not JSON"},
		{"nothing", "", false, "not JSON"},
	};
	char error[200];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool is_last = !rows[i].is_last;
		json_t *message;

		error[0] = '\0';
		message = ctl_msg_parse_stream(rows[i].line, strlen(rows[i].line), &is_last, error,
					       sizeof(error));
		if (message && is_last != rows[i].is_last)
			fail_msg("%s: %s", rows[i].name, is_last ? "is the last" : "is not");
		check_parsed(rows[i].name, message, error, rows[i].error);
	}
}

/* A request ends at its limit, an answer may go on. */
static void lengths(void **state)
{
	static const char head[] = "{\"command\":\"x\",\"schema\":\"x\",\"exit\":0}";
	size_t len = CTL_MSG_REQUEST_MAX + 1;
	char *line = malloc(len), error[200];
	json_t *message;
	(void)state;

	memset(line, ' ', len);
	memcpy(line, head, sizeof(head) - 1);
	message = ctl_msg_parse(line, len - 1, error, sizeof(error));
	assert_non_null(message);
	json_decref(message);
	assert_null(ctl_msg_parse(line, len, error, sizeof(error)));
	assert_string_equal(error, "too long");
	message = ctl_msg_parse_reply(line, len, error, sizeof(error));
	assert_non_null(message);
	json_decref(message);
	/* It ends where it is said to end, not at a zero. */
	assert_null(ctl_msg_parse(head, sizeof(head) - 2, error, sizeof(error)));
	free(line);
}

static void assert_printed(json_t *message, const char *wanted)
{
	size_t len;
	char *line = ctl_msg_print(message, &len);

	assert_string_equal(line, wanted);
	assert_int_equal(len, strlen(wanted));
	free(line);
	json_decref(message);
}

static void what_is_printed(void **state)
{
	json_t *reply = ctl_msg_reply("sessions", CTL_EXIT_DONE), *loop = json_object();
	(void)state;

	json_object_set_new(reply, "sessions", json_array());
	json_object_set_new(reply, "took_s", json_real(0.0123));
	json_object_set_new(reply, "name", json_string("Zo\xc3\xab\n\x1b"));
	assert_printed(reply, "{\"schema\":\"tund.sessions/1\",\"exit\":0,\"sessions\":[],"
			      "\"took_s\":0.0123,\"name\":\"Zo\\u00EB\\n\\u001B\"}\n");
	json_object_set_new(loop, "inner", json_object());
	json_object_set(json_object_get(loop, "inner"), "outer", loop);
	json_incref(loop);
	assert_printed(loop, "{\"schema\":\"tund.error/1\",\"exit\":1,"
			     "\"error\":\"the answer cannot be written\"}\n");
	json_object_clear(json_object_get(loop, "inner"));
	json_decref(loop);
}

static void errors(void **state)
{
	static const struct {
		const char *name, *text, *wanted;
	} rows[] = {
		{"plain", "there is no session \"17\"", "there is no session \"17\""},
		{"UTF-8", "Zo\xc3\xab", "Zo\xc3\xab"},
		{"not UTF-8", "a\xff", "a\\xff"},
		{"two lines", "a\nb", "a\\x0ab"},
		{"DEL", "a\x7f", "a\\x7f"},
		{"an escape", "\x1b[2J", "\\x1b[2J"},
		{"empty", "", ""},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *message = ctl_msg_error(CTL_EXIT_NOT_FOUND, "%s", rows[i].text);

		assert_string_equal(ctl_msg_string(message, "schema"), "tund.error/1");
		assert_int_equal(json_integer_value(json_object_get(message, "exit")), 4);
		if (strcmp(ctl_msg_string(message, "error"), rows[i].wanted) != 0)
			fail_msg("%s: %s", rows[i].name, ctl_msg_string(message, "error"));
		json_decref(message);
	}
}

static void members(void **state)
{
	json_t *message = json_pack("{s:s, s:i, s:n}", "name", "alice", "id", 17, "none");
	(void)state;

	assert_string_equal(ctl_msg_string(message, "name"), "alice");
	assert_null(ctl_msg_string(message, "id"));
	assert_null(ctl_msg_string(message, "none"));
	assert_null(ctl_msg_string(message, "absent"));
	json_decref(message);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),	   cmocka_unit_test(replies),
		cmocka_unit_test(streams),	   cmocka_unit_test(lengths),
		cmocka_unit_test(what_is_printed), cmocka_unit_test(errors),
		cmocka_unit_test(members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
