#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "client/answer.h"

static struct http_head read_head(const char *text)
{
	struct http_head head;
	size_t len;

	assert_int_equal(http_read_response(text, strlen(text), &head, &len), HTTP_OK);
	return head;
}

static const struct no_case {
	const char *text; /* behind "HTTP/1.1 " */
	bool resumed;
	enum reason reason;
	bool refused, hopeless, cookie_refused;
	const char *says;
} no_cases[] = {
	{"401 Who", false, REASON_NO_ACCESS, true, false, false, "(401)"},
	{"401 Who", true, REASON_NO_ACCESS, true, false, true, "(401)"},
	{"403 No", false, REASON_NO_ACCESS, true, false, false, "(403)"},
	{"403 No\r\nX-Reason: no-access", false, REASON_NO_ACCESS, true, false, false,
	 "(403 no-access)"},
	{"403 No\r\nX-Reason: cert-denied", true, REASON_CERT_DENIED, true, false, false,
	 "(403 cert-denied)"},
	{"403 No\r\nX-Reason: a\xff b", false, REASON_NO_ACCESS, true, false, false,
	 "(403 a\\xff b)"},
	{"404 Where", false, REASON_PROTOCOL_ERROR, true, true, false, "client.gateway"},
	{"405 What", false, REASON_PROTOCOL_ERROR, true, false, false, "(405)"},
	{"204 Nothing", false, REASON_PROTOCOL_ERROR, true, false, false, "(204)"},
	{"408 Slow", false, REASON_PROTOCOL_ERROR, false, false, false, "(408)"},
	{"429 Often", false, REASON_RATE_LIMITED, false, false, false, "(429)"},
	{"500 Oops", false, REASON_PROTOCOL_ERROR, false, false, false, "(500)"},
	{"503 Busy", true, REASON_RATE_LIMITED, false, false, false, "(503)"},
	{"503 Busy\r\nX-Reason: full", false, REASON_FULL, false, false, false, "(503 full)"},
	{"302 There\r\nLocation: https://x/", false, REASON_PROTOCOL_ERROR, true, true, false,
	 "\"https://x/\" (302)"},
	{"308 There", false, REASON_PROTOCOL_ERROR, true, true, false, "\"\" (308)"},
};

static void test_no(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(no_cases) / sizeof(*no_cases); i++) {
		const struct no_case *row = &no_cases[i];
		struct dial_result got = {0};
		struct http_head head;
		char text[200];

		snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n\r\n", row->text);
		head = read_head(text);
		answer_is_no(&head, row->resumed, &got);
		if (got.reason != row->reason || got.refused != row->refused ||
		    got.hopeless != row->hopeless || got.cookie_refused != row->cookie_refused ||
		    !strstr(got.text, row->says))
			fail_msg("%s: %s %d %d %d \"%s\"", row->text, reason_word(got.reason),
				 got.refused, got.hopeless, got.cookie_refused, got.text);
	}
}

static void test_broken(void **state)
{
	static const enum http_error errors[] = {HTTP_TOO_LARGE, HTTP_MALFORMED, HTTP_VERSION};

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		struct dial_result got = {0};

		answer_is_broken(errors[i], &got);
		assert_int_equal(got.reason, REASON_PROTOCOL_ERROR);
		assert_true(got.refused && got.hopeless);
		assert_non_null(strstr(got.text, errors[i] == HTTP_TOO_LARGE ? "larger" : "HTTP"));
	}
}

#define SUCCESS	   "<auth id=\"success\"/>"
#define SET(value) "Set-Cookie: webvpn=" value "\r\n"

static const struct in_case {
	const char *fields, *body, *cookie; /* NULL: not in */
	enum reason reason;
	bool hopeless;
	const char *says;
} in_cases[] = {
	{SET("a=="), SUCCESS, "a==", REASON_NONE, false, ""},
	{SET("a"), "<config-auth><session-token>b</session-token>" SUCCESS "</config-auth>", "a",
	 REASON_NONE, false, ""},
	{"", "<config-auth><session-token>b</session-token>" SUCCESS "</config-auth>", "b",
	 REASON_NONE, false, ""},
	{"", SUCCESS, NULL, REASON_PROTOCOL_ERROR, false, "no cookie"},
	{SET("; Secure"), SUCCESS, NULL, REASON_PROTOCOL_ERROR, false, "no cookie"},
	{SET("a"), "<auth><error>You \x7f</error></auth>", NULL, REASON_NO_ACCESS, false,
	 "with our certificate: You \\x7f"},
	{SET("a"), "<auth><error/></auth>", NULL, REASON_NO_ACCESS, false, "with our certificate"},
	{SET("a"), "<auth><message>Name?</message></auth>", NULL, REASON_NO_ACCESS, false,
	 "a form: Name?"},
	{SET("a"), "<html/>", NULL, REASON_PROTOCOL_ERROR, true, "client.gateway"},
	{SET("a"), SUCCESS "<", NULL, REASON_PROTOCOL_ERROR, true, "client.gateway"},
};

static void test_in(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(in_cases) / sizeof(*in_cases); i++) {
		const struct in_case *row = &in_cases[i];
		char cookie[TUNNEL_PARAMS_COOKIE_MAX] = "", text[200];
		struct dial_result got = {0};
		struct http_head head;
		bool in;

		snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%s\r\n", row->fields);
		head = read_head(text);
		in = answer_lets_in(&head, row->body, strlen(row->body), cookie, &got);
		if (in != (row->cookie != NULL) || (in && strcmp(cookie, row->cookie) != 0) ||
		    got.reason != row->reason || got.refused == in ||
		    got.hopeless != row->hopeless || !strstr(got.text, row->says))
			fail_msg("row %zu: %d \"%s\" %s \"%s\"", i, in, cookie,
				 reason_word(got.reason), got.text);
	}
}

/* Of a CONNECT that no login came before. */
static void test_gives_cookie(void **state)
{
	static const struct {
		const char *fields, *cookie; /* NULL: none */
	} rows[] = {
		{SET("a=="), "a=="},
		{SET("a; Secure; HttpOnly"), "a"},
		{"", NULL},
		{SET("; Secure"), NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char cookie[TUNNEL_PARAMS_COOKIE_MAX] = "", text[200];
		struct dial_result got = {0};
		struct http_head head;

		snprintf(text, sizeof(text), "HTTP/1.1 200 CONNECTED\r\n%s\r\n", rows[i].fields);
		head = read_head(text);
		assert_int_equal(answer_gives_cookie(&head, cookie, &got), rows[i].cookie != NULL);
		assert_string_equal(cookie, rows[i].cookie ? rows[i].cookie : "");
		assert_int_equal(got.refused, rows[i].cookie == NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_gives_cookie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
