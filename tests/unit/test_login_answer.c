#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "wire/login_answer.h"

static const char *const verdicts[] = {
	[LOGIN_SUCCESS] = "success",	 [LOGIN_REFUSED] = "refused",	  [LOGIN_FORM] = "form",
	[LOGIN_NO_ANSWER] = "no answer", [LOGIN_MALFORMED] = "malformed",
};

/* From a copy of exactly its size, so that a sanitizer sees a read past its end. */
static struct login_answer read_exact(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);
	struct login_answer answer;

	assert_non_null(copy);
	memcpy(copy, text, len);
	login_answer_read(copy, len, &answer);
	free(copy);
	return answer;
}

#define IN(body)   "<config-auth>" body "</config-auth>"
#define AUTH(body) IN("<auth id=\"main\">" body "</auth>")
#define OK	   "<auth id=\"success\"/>"

static const struct answer_case {
	const char *name, *text;
	enum login_verdict verdict;
	const char *said, *token; /* NULL: none */
} cases[] = {
	{"of ocserv",
	 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	 "<config-auth client=\"vpn\" type=\"complete\">\n<version who=\"sg\">0.1(1)</version>\n"
	 "<auth id=\"success\">\n<title>SSL VPN Service</title></auth></config-auth>",
	 LOGIN_SUCCESS, NULL, NULL},
	{"bare", OK, LOGIN_SUCCESS, NULL, NULL},
	{"bare and open", "<auth id=\"success\"></auth>", LOGIN_SUCCESS, NULL, NULL},
	{"blanks", " \r\n<auth\n\tid = \"success\" \n/ >", LOGIN_MALFORMED, NULL, NULL},
	{"blanks allowed", " \r\n<auth\n\tid = \"success\" \n/>\n ", LOGIN_SUCCESS, NULL, NULL},
	{"apostrophes", "<auth id='success'/>", LOGIN_SUCCESS, NULL, NULL},
	{"other attributes", "<auth a='>' id=\"success\" b=\"'\"/>", LOGIN_SUCCESS, NULL, NULL},
	{"message", IN("<auth id=\"success\"><message>Hi</message></auth>"), LOGIN_SUCCESS, "Hi",
	 NULL},
	{"token", IN("<session-token> a= </session-token>" OK), LOGIN_SUCCESS, NULL, "a="},
	{"token inside of auth", IN("<auth id=\"success\"><session-token>a</session-token></auth>"),
	 LOGIN_SUCCESS, NULL, NULL},
	{"token of a refusal", IN("<session-token>a</session-token><auth id=\"main\"/>"),
	 LOGIN_FORM, NULL, NULL},
	{"comments", "<!-- <auth id=\"main\"> --><auth id=\"success\"><!----></auth><!-- x -->",
	 LOGIN_SUCCESS, NULL, NULL},
	{"CDATA is not read", IN(OK "<x><![CDATA[ <error>a</error> ]]></x>"), LOGIN_SUCCESS, NULL,
	 NULL},

	{"error", AUTH("<error id=\"1\">No &lt;way&gt; &amp; &quot;out&apos;</error>"),
	 LOGIN_REFUSED, "No <way> & \\x22out'", NULL},
	{"error beside success", IN(OK "<error>x</error>"), LOGIN_REFUSED, "x", NULL},
	{"empty error", AUTH("<error/>"), LOGIN_REFUSED, NULL, NULL},
	{"error and message", AUTH("<message>m</message><error>e</error>"), LOGIN_REFUSED, "e",
	 NULL},
	{"control characters", AUTH("<error>a\x1b[31m\xc3\xa4</error>"), LOGIN_REFUSED,
	 "a\\x1b[31m\\xc3\\xa4", NULL},
	{"unknown reference", AUTH("<error>&#65;&nope;&</error>"), LOGIN_REFUSED, "&#65;&nope;&",
	 NULL},

	{"form", AUTH("<form method=\"post\"><input/></form>"), LOGIN_FORM, NULL, NULL},
	{"auth without id", IN("<auth/>"), LOGIN_FORM, NULL, NULL},
	{"message of a form", AUTH("<message>Who?</message><form></form>"), LOGIN_FORM, "Who?",
	 NULL},
	{"certificate again", IN("<client-cert-request/>"), LOGIN_FORM, NULL, NULL},
	{"another case", IN("<auth id=\"SUCCESS\"/>"), LOGIN_FORM, NULL, NULL},
	{"longer", IN("<auth id=\"successful\"/>"), LOGIN_FORM, NULL, NULL},
	{"last auth counts", IN(OK "<auth id=\"main\"/>"), LOGIN_FORM, NULL, NULL},

	{"success too deep", IN("<x>" OK "</x>"), LOGIN_NO_ANSWER, NULL, NULL},
	{"success in another document", "<html>" OK "</html>", LOGIN_NO_ANSWER, NULL, NULL},
	{"nothing in it", IN(""), LOGIN_NO_ANSWER, NULL, NULL},
	{"nothing at all", "", LOGIN_NO_ANSWER, NULL, NULL},
	{"success in a comment", "<!-- " OK " -->", LOGIN_NO_ANSWER, NULL, NULL},
	{"success in an attribute", IN("<x y='" OK "'/>"), LOGIN_MALFORMED, NULL, NULL},

	{"text", "id=\"success\"", LOGIN_MALFORMED, NULL, NULL},
	{"text behind", OK "x", LOGIN_MALFORMED, NULL, NULL},
	{"two roots", OK OK, LOGIN_MALFORMED, NULL, NULL},
	{"unfinished", "<config-auth>" OK, LOGIN_MALFORMED, NULL, NULL},
	{"unfinished tag", "<auth id=\"success\"", LOGIN_MALFORMED, NULL, NULL},
	{"unfinished quote", "<auth id=\"success/>", LOGIN_MALFORMED, NULL, NULL},
	{"unfinished comment", OK "<!--", LOGIN_MALFORMED, NULL, NULL},
	{"closed twice", "<auth id=\"success\"/></auth>", LOGIN_MALFORMED, NULL, NULL},
	{"closed crosswise", IN("<a><b></a></b>" OK), LOGIN_MALFORMED, NULL, NULL},
	{"closed by a longer name", IN("<a></ab>" OK), LOGIN_MALFORMED, NULL, NULL},
	{"closed with an attribute", IN("<a></a b=\"\">" OK), LOGIN_MALFORMED, NULL, NULL},
	{"attribute without quotes", "<auth id=success/>", LOGIN_MALFORMED, NULL, NULL},
	{"attribute without value", "<auth id/>", LOGIN_MALFORMED, NULL, NULL},
	{"attribute without name", "<auth =\"success\"/>", LOGIN_MALFORMED, NULL, NULL},
	{"no name", "<>", LOGIN_MALFORMED, NULL, NULL},
	{"no name, closing", "</>", LOGIN_MALFORMED, NULL, NULL},
	{"a name of other characters", "<auth\x80 id=\"success\"/>", LOGIN_MALFORMED, NULL, NULL},
	{"tag within a tag", "<auth <x> id=\"success\"/>", LOGIN_MALFORMED, NULL, NULL},
	{"entities of its own", "<!DOCTYPE a [<!ENTITY x \"y\">]>" OK, LOGIN_MALFORMED, NULL, NULL},
	{"token with a blank", IN("<session-token>a b</session-token>" OK), LOGIN_MALFORMED, NULL,
	 NULL},
	{"token with a line end", IN("<session-token>a\r\nX: b</session-token>" OK),
	 LOGIN_MALFORMED, NULL, NULL},
	{"token with a semicolon", IN("<session-token>a;b</session-token>" OK), LOGIN_MALFORMED,
	 NULL, NULL},
	{"token with a high byte", IN("<session-token>a\x80</session-token>" OK), LOGIN_MALFORMED,
	 NULL, NULL},
};

static void test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct answer_case *row = &cases[i];
		struct login_answer got = read_exact(row->text, strlen(row->text));

		if (got.verdict != row->verdict || strcmp(got.said, row->said ? row->said : "") ||
		    strcmp(got.token, row->token ? row->token : ""))
			fail_msg("%s: %s, said \"%s\", token \"%s\"", row->name,
				 verdicts[got.verdict], got.said, got.token);
	}
}

/* What is a success at its end is none at any byte before. */
static void test_cut_anywhere(void **state)
{
	static const char text[] = "<?xml version='1.0'?><!-- a --><config-auth type=\"complete\">"
				   "<session-token>t</session-token><auth id=\"success\"><banner>"
				   "b &amp; c</banner></auth></config-auth>";

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_int_not_equal(read_exact(text, len).verdict, LOGIN_SUCCESS);
	assert_int_equal(read_exact(text, sizeof(text) - 1).verdict, LOGIN_SUCCESS);
}

static void test_zero_byte(void **state)
{
	static const char text[] = "<auth id=\"success\">\0</auth>";

	(void)state;
	assert_int_equal(read_exact(text, sizeof(text) - 1).verdict, LOGIN_MALFORMED);
}

static struct login_answer read_built(struct buf *text)
{
	struct login_answer answer = read_exact((char *)text->data, text->len);

	buf_done(text);
	return answer;
}

static void test_depth(void **state)
{
	(void)state;
	for (int extra = 0; extra < 2; extra++) {
		struct buf text = {0};
		/* config-auth is one, and auth, though closed at once, needs room of its own. */
		int depth = LOGIN_ANSWER_DEPTH - 1 + extra;

		buf_print(&text, "<config-auth>");
		for (int i = 0; i < depth; i++)
			buf_print(&text, "<a%d>", i);
		for (int i = depth - 1; i >= 0; i--)
			buf_print(&text, "</a%d>", i);
		buf_print(&text, OK "</config-auth>");
		assert_int_equal(read_built(&text).verdict,
				 extra ? LOGIN_MALFORMED : LOGIN_SUCCESS);
	}
}

static void test_long_words_are_cut(void **state)
{
	struct buf text = {0};
	struct login_answer got;

	(void)state;
	buf_print(&text, "<auth><error>");
	for (int i = 0; i < 1000; i++)
		buf_print(&text, "&lt;\x01");
	buf_print(&text, "</error></auth>");
	got = read_built(&text);
	assert_int_equal(got.verdict, LOGIN_REFUSED);
	assert_true(strlen(got.said) > 200 && strlen(got.said) < LOGIN_ANSWER_TEXT);
}

static void test_long_token(void **state)
{
	(void)state;
	for (int extra = 0; extra < 2; extra++) {
		struct buf text = {0};
		struct login_answer got;

		buf_print(&text, "<config-auth><session-token>");
		for (int i = 0; i < LOGIN_ANSWER_TOKEN - 1 + extra; i++)
			buf_print(&text, "t");
		buf_print(&text, "</session-token>" OK "</config-auth>");
		got = read_built(&text);
		assert_int_equal(got.verdict, extra ? LOGIN_MALFORMED : LOGIN_SUCCESS);
		assert_int_equal(strlen(got.token), extra ? 0 : LOGIN_ANSWER_TOKEN - 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_zero_byte),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_long_words_are_cut),
		cmocka_unit_test(test_long_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
