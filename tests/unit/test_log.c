#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

/* What log_write sends to standard error, caught in a pipe. */
struct capture {
	int read_fd, saved_fd;
};

static struct capture capture_begin(void)
{
	struct capture capture;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	capture.saved_fd = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	capture.read_fd = fds[0];
	return capture;
}

static void capture_end(struct capture *capture, char *text, size_t size)
{
	size_t used = 0;
	ssize_t got;

	dup2(capture->saved_fd, STDERR_FILENO);
	close(capture->saved_fd);
	while ((got = read(capture->read_fd, text + used, size - 1 - used)) > 0)
		used += (size_t)got;
	close(capture->read_fd);
	text[used] = '\0';
}

static void test_level_words(void **state)
{
	static const struct {
		const char *word;
		int level; /* -1: refused */
	} rows[] = {
		{"error", LOG_LEVEL_ERROR},
		{"warn", LOG_LEVEL_WARN},
		{"info", LOG_LEVEL_INFO},
		{"debug", LOG_LEVEL_DEBUG},
		{"warning", -1},
		{"Error", -1},
		{"", -1},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum log_level level = LOG_LEVEL_ERROR;
		bool parsed = log_level_parse(rows[i].word, &level);

		if (parsed != (rows[i].level >= 0) || (parsed && (int)level != rows[i].level))
			fail_msg("\"%s\" parsed: %d", rows[i].word, parsed);
	}
}

static void test_escape(void **state)
{
	static const struct {
		const char *text;
		size_t len, size;
		const char *escaped;
	} rows[] = {
		{"plain text /.:-", 15, 64, "plain text /.:-"},
		{"a\nb", 3, 64, "a\\x0ab"},
		{"\x1b[31m", 5, 64, "\\x1b[31m"},
		{"\"\\", 2, 64, "\\x22\\x5c"},
		{"\xc3\xa9\x7f", 3, 64, "\\xc3\\xa9\\x7f"},
		{"a\0b", 3, 64, "a\\x00b"},
		{"abcdefgh", 8, 8, "abcd"}, /* room is kept for an escape */
		{"abc\n", 4, 8, "abc\\x0a"},
		{"abcd\n", 5, 8, "abcd"},
		{"abc", 3, 1, ""},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char buf[64];

		memset(buf, '#', sizeof(buf));
		assert_ptr_equal(log_escape(rows[i].text, rows[i].len, buf, rows[i].size), buf);
		if (strcmp(buf, rows[i].escaped) != 0)
			fail_msg("row %zu: \"%s\"", i, buf);
		if (rows[i].size < sizeof(buf))
			assert_int_equal(buf[rows[i].size], '#');
	}
}

static void test_level_decides(void **state)
{
	char text[1024];
	struct capture capture = capture_begin();
	(void)state;

	log_setup(LOG_LEVEL_WARN, false, "testing");
	log_error("one");
	log_warn("two");
	log_info("three");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("four %d", 4);
	capture_end(&capture, text, sizeof(text));
	assert_non_null(strstr(text, "Z error testing: one\n"));
	assert_non_null(strstr(text, "Z warn  testing: two\n"));
	assert_null(strstr(text, "three"));
	assert_non_null(strstr(text, "Z debug testing: four 4\n"));
}

static void test_one_event_is_one_line(void **state)
{
	static const struct {
		bool json;
		const char *message, *end;
	} rows[] = {
		{false, "plain", " info  t: plain\n"},
		{false, "two\nlines\r\x1b", " info  t: two\\x0alines\\x0d\\x1b\n"},
		{false, "caf\xc3\xa9 \"q\"", " info  t: caf\xc3\xa9 \"q\"\n"},
		{true, "plain", "\"level\":\"info\",\"process\":\"t\",\"message\":\"plain\"}\n"},
		{true, "a\"b\\c", "\"message\":\"a\\\"b\\\\c\"}\n"},
		{true, "two\nlines", "\"message\":\"two\\\\x0alines\"}\n"},
		{true, "caf\xc3", "\"message\":\"caf\\\\xc3\"}\n"}, /* cut UTF-8 is no JSON */
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct capture capture = capture_begin();
		char text[1024];
		size_t end_len = strlen(rows[i].end);

		log_setup(LOG_LEVEL_INFO, rows[i].json, "t");
		log_info("%s", rows[i].message);
		capture_end(&capture, text, sizeof(text));
		if (strlen(text) < end_len ||
		    strcmp(text + strlen(text) - end_len, rows[i].end) != 0)
			fail_msg("row %zu: %s", i, text);
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	}
}

/* However long and full of escapes a message is, the line ends and JSON closes. */
static void test_long_message_is_cut_whole(void **state)
{
	static const char fills[] = {'x', '"', '\n', '\\'};
	(void)state;

	for (size_t i = 0; i < 2 * sizeof(fills); i++) {
		bool json = i % 2;
		struct capture capture = capture_begin();
		char message[6000], text[8192];

		memset(message, fills[i / 2], sizeof(message) - 1);
		message[sizeof(message) - 1] = '\0';
		log_setup(LOG_LEVEL_INFO, json, "t");
		log_info("%s", message);
		capture_end(&capture, text, sizeof(text));
		assert_in_range(strlen(text), 1500, 4096);
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
		if (json)
			assert_string_equal(text + strlen(text) - 3, "\"}\n");
	}
}

static void test_closed_standard_error_is_survived(void **state)
{
	int saved = dup(STDERR_FILENO);
	(void)state;

	close(STDERR_FILENO);
	log_setup(LOG_LEVEL_INFO, false, "t");
	log_info("into the void");
	dup2(saved, STDERR_FILENO);
	close(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_level_words),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_level_decides),
		cmocka_unit_test(test_one_event_is_one_line),
		cmocka_unit_test(test_long_message_is_cut_whole),
		cmocka_unit_test(test_closed_standard_error_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
