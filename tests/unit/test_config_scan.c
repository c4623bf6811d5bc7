#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "config/config_parse.h"
#include "config/config_scan.h"

enum { PROBLEMS_MAX = 5 };

/* "LINE: text" of each problem, one a line. */
static char *print_problems(const struct config_problems *problems)
{
	struct buf text = {0};

	for (size_t i = 0; i < problems->count; i++)
		buf_print(&text, "%u: %s\n", problems->items[i].line, problems->items[i].text);
	buf_append(&text, "", 1);
	return (char *)text.data;
}

static const struct problem_case {
	const char *name, *text;
	const char *problems[PROBLEMS_MAX]; /* how each begins */
	bool broken;
} problem_cases[] = {
	{"empty", "", {NULL}, false},
	{"blanks and comments", " \t\r\n# a\n// b\n/* c\n */", {NULL}, false},
	{"a section", "log { level = info }", {NULL}, false},
	{"quotes", "log { level = \"info\" format = 'text' }", {NULL}, false},
	{"commas between options", "log { level = info, format = text, }", {NULL}, false},
	{"comment in a list",
	 "trust { ca = { # one\n \"a\", /* two */ 'b', // end\n } }",
	 {NULL},
	 false},
	{"brace in a text", "trust { ca = {\"}\", '{'} }", {NULL}, false},
	{"quote in a comment", "# \"\nlog { } // '", {NULL}, false},
	{"escapes", "trust { ca = {\"\\\\ \\\" \\n \\t\", '\\' \\\\ \\x'} }", {NULL}, false},
	{"dollar brace in single quotes", "trust { ca = '${HOME}' }", {NULL}, false},
	{"PEM over lines", "trust { ca = \"\n  -----BEGIN X-----\n\"\n}", {NULL}, false},

	{"unknown section",
	 "log { }\ngatway { a = 1 }\nfoo { }",
	 {"2: unknown section \"gatway\"; did you mean \"gateway\"?",
	  "3: unknown section \"foo\"; take it out"},
	 false},
	{"unknown titled section",
	 "acces \"x\" { match = {} }",
	 {"1: unknown section \"acces\"; did you mean \"access\"?"},
	 false},
	{"unknown option",
	 "log {\n levle = info\n\n xyzzy = { a, b }\n pool = x }",
	 {"2: unknown option \"levle\" in log; did you mean \"level\"?",
	  "4: unknown option \"xyzzy\" in log; take it out",
	  "5: unknown option \"pool\" in log; it belongs in gateway"},
	 false},
	{"option twice",
	 "log {\n level = info\n level = warn }",
	 {"3: log.level stands twice; it is already on line 2"},
	 false},
	{"section twice",
	 "log { }\nlog { level = info }",
	 {"2: log stands twice; it is already on line 1"},
	 false},
	{"title twice",
	 "access a { }\naccess b { }\naccess \"a\" { }\nsite a { }",
	 {"3: access.a stands twice; it is already on line 1"},
	 false},
	{"a title is no option",
	 "access a { }\naccess a.match { }\naccess a { match = x }",
	 {"3: access.a stands twice"},
	 false},
	{"no title", "access { }", {"1: access needs a title"}, false},
	{"needless title", "log x { }", {"1: log has no title; take \"x\" out"}, false},
	{"bad titles",
	 "access \"\" { }\naccess 'a/b' { }\naccess \"a\\\\\" { }",
	 {"1: \"\" is no title", "2: \"a/b\" is no title", "3: \"a\\x5c\\x5c\" is no title"},
	 false},
	{"outside",
	 "level = info\nfoo = { a }\nlog { }",
	 {"1: option \"level\" stands outside of a section; it belongs in log",
	  "2: option \"foo\" stands outside of a section; it belongs in one"},
	 false},
	{"nested",
	 "log {\n foo { level = { info } }\n level = x\n level = y }",
	 {"2: \"foo\": a section within log; sections do not nest", "4: log.level stands twice"},
	 false},
	{"one value", "log {\n level = { info } }", {"2: log.level takes one value"}, false},
	{"no comma",
	 "trust { ca = {\n\"a\"\n\"b\" } }",
	 {"3: trust.ca: a comma is missing"},
	 false},
	{"two commas",
	 "trust { ca = {\"a\",\n,\"b\" } }",
	 {"2: trust.ca: an entry is missing"},
	 false},
	{"first comma", "trust { ca = {,} }", {"1: trust.ca: an entry is missing"}, false},
	{"environment",
	 "trust { ca = \"a${HOME}\" }\nlog { level = '$' level = x }",
	 {"1: ${ in double quotes", "2: log.level stands twice"},
	 false},
	{"unfinished environment",
	 "trust { ca = \"a${\" crl = \"}\" }",
	 {"1: ${ in double quotes"},
	 false},
	{"escaped zero", "trust { ca = {\"a\\0b\"} }", {"1: \"\\x5c0\" in double quotes"}, false},
	{"octal, hexadecimal",
	 "trust { ca = {\"\\101\", \"\\x41\", \"\\e\"} }",
	 {"1: \"\\x5c1\" in", "1: \"\\x5cx\" in", "1: \"\\x5ce\" in"},
	 false},
	{"control character",
	 "trust { ca = \"a\001b\" }\nlog { level = 'a\rb' }",
	 {"1: a control character (0x01)", "2: a control character (0x0d)"},
	 false},
	{"comment within a word",
	 "trust { ca = http://host }",
	 {"1: a comment begins within", "1: the file ends within trust"},
	 true},

	{"environment outside of quotes",
	 "trust {\n ca = ${HOME}\n}",
	 {"2: unexpected \"$\""},
	 true},
	{"no value", "log {\n level =\n}", {"3: log.level: a value is missing after ="}, true},
	{"no value, next option",
	 "log {\n level =\n format = text }",
	 {"3: log.level: a value is missing after ="},
	 true},
	{"no =", "log {\n level info\n format = text }", {"2: = is missing after \"level\""}, true},
	{"append", "trust {\n ca += { \"a\" } }", {"2: += is not known"}, true},
	{"function",
	 "log {\n include(\"x\")\n}",
	 {"2: there are no functions, and no include: a configuration is one file",
	  "2: = is missing", "2: unexpected \")\""},
	 true},
	{"no brace",
	 "log\nlevel = info\n}",
	 {"1: { is missing after log", "2: option \"level\" stands outside"},
	 true},
	{"surplus brace", "log { }\n}\n}", {"2: this } closes nothing"}, true},
	{"missing brace before a section",
	 "log {\n level = info\ntrust {\n ca = x\n}\n",
	 {"3: \"trust\" begins before log (line 1) is closed"},
	 true},
	{"missing brace before a titled section",
	 "log {\n level = info\naccess \"a\" {\n}\n",
	 {"3: \"access\" begins before log (line 1) is closed"},
	 true},
	{"missing brace of a list",
	 "trust {\n ca = { \"a\",\n crl = { \"b\" }\n}\n",
	 {"2: trust.ca: the list that begins here is not closed"},
	 true},
	{"missing brace of a list before an option",
	 "trust {\n ca = { \"a\"\n crl = \"b\"\n}\n",
	 {"3: trust.ca: a comma is missing before this entry, or a } after the last"},
	 true},
	{"end after =", "log {\n level =", {"2: the file ends within log (line 1)"}, true},
	{"end after an option's name", "log {\n level", {"2: the file ends within log"}, true},
	{"missing brace at the end",
	 "log {\n level = info\n",
	 {"3: the file ends within log (line 1)"},
	 true},
	{"end in a list",
	 "trust {\n ca = { \"a\",\n",
	 {"2: trust.ca: the list that begins here is not closed; a } is missing or the file is "
	  "cut"},
	 true},
	{"end after a name", "log", {"1: { is missing after log"}, true},
	{"end in a comment",
	 "log { }\n/* a\n b",
	 {"2: the comment that begins here does not end"},
	 true},
	{"text without its end",
	 "trust {\n ca = \"a\n crl = \"b\"\n}",
	 {"2: the text that begins here is not closed on its line; a \" is missing"},
	 true},
	{"quote alone",
	 "trust {\n ca = \"\n crl = \"b\"\n}",
	 {"2: the text that begins here is not closed on its line"},
	 true},
	{"end in a text",
	 "trust {\n ca = 'a",
	 {"2: the text that begins here is not closed; a ' is missing or the file is cut off"},
	 true},
	{"end in PEM",
	 "trust {\n ca = \"-----BEGIN X-----\nabc",
	 {"2: the text that begins here is not closed; a \" is missing or the file is cut off"},
	 true},
	{"stray text",
	 "log { \"a\"\n level = info }",
	 {"1: an option of log belongs here, not \"a\""},
	 true},
	{"stray comma", "log { , }", {"1: an option of log belongs here, not \",\""}, true},
	{"stray top", "= log { }", {"1: a section belongs here, not \"=\""}, true},
	{"include",
	 "include(\"x\")\nlog { }",
	 {"1: there are no functions, and no include: a configuration is one file",
	  "1: unknown section \"include\"; take it out", "1: unexpected \")\"",
	  "1: { is missing after include"},
	 true},
	{"byte order mark",
	 "\xef\xbb\xbflog { }",
	 {"1: a byte order mark; save the file as UTF-8 without one, or ASCII"},
	 true},
	{"byte order mark in the middle",
	 "log { }\n\xef\xbb\xbftrust { }",
	 {"2: a byte order mark"},
	 true},
	{"lines of CRLF", "log {\r\n level = info # a\r\n}\r\n# b\r\n", {NULL}, false},
	{"a problem in lines of CRLF",
	 "log {\r\n\r\n levle = info\r\n}\r\n",
	 {"3: unknown option \"levle\""},
	 false},
	{"lines of CR",
	 "log {\r level = info\r}\r",
	 {"1: a carriage return that ends no line; save the file with line ends of LF or CRLF"},
	 true},
	{"a comment that a CR does not end",
	 "log { }\n# a\rtrust { ca = x }\n",
	 {"2: a carriage return that ends no line"},
	 true},
	{"a CR at the end", "log { }\r", {"1: a carriage return that ends no line"}, true},
	{"quotes of a word processor",
	 "log {\n level = \xe2\x80\x9cinfo\xe2\x80\x9d\n}",
	 {"2: unexpected \"\\xe2\\x80\\x9c\", which is not ASCII; quotes are \" and '",
	  "2: unexpected \"\\xe2\\x80\\x9d\", which is not ASCII"},
	 true},
	{"a blank that does not break",
	 "log {\n level\xc2\xa0= info\n}",
	 {"2: unexpected \"\\xc2\\xa0\", which is not ASCII"},
	 true},
	{"a vertical tab", "log {\v}", {"1: unexpected \"\\x0b\""}, true},
	{"a semicolon", "log { level = info; }", {"1: unexpected \";\""}, true},
	{"a colon", "log { level : info }", {"1: = is missing after \"level\""}, true},
	{"a colon in the name", "log { level: info }", {"1: = is missing after \"level:\""}, true},
	{"two =", "log { level == info }", {"1: log.level: a value is missing after ="}, true},
	{"brackets",
	 "[log]\nlevel = info",
	 {"1: unknown section \"[log]\"", "1: { is missing after [log]",
	  "2: option \"level\" stands outside of a section; it belongs in log"},
	 true},
	{"a JSON object",
	 "{\"log\": {\"level\": \"info\"}}",
	 {"1: a section belongs here, not \"{\"", "1: a section belongs here, not \"log\"",
	  "1: unknown section \":\"", "1: an option of : belongs here, not \"level\""},
	 true},
	{"environment in a title",
	 "access \"${HOME}\" { match = x }",
	 {"1: ${ in double quotes", "1: \"${HOME}\" is no title"},
	 false},
	{"environment in a name",
	 "log {\n ${HOME} = info }",
	 {"2: unexpected \"$\"", "2: an option of log belongs here, not \"{\"",
	  "2: a section belongs here, not \"=\"", "2: unknown section \"info\"",
	  "2: { is missing after info"},
	 true},
	{"a section in a list",
	 "trust { ca = { log { } } }",
	 {"1: trust.ca: the list that begins here is not closed"},
	 true},
};

static bool as_expected(const struct problem_case *row, const struct config_problems *problems)
{
	size_t i;

	for (i = 0; i < PROBLEMS_MAX && row->problems[i]; i++) {
		char text[600];

		if (i >= problems->count)
			return false;
		snprintf(text, sizeof(text), "%u: %s", problems->items[i].line,
			 problems->items[i].text);
		if (strncmp(text, row->problems[i], strlen(row->problems[i])) != 0)
			return false;
	}
	return i == problems->count;
}

static void test_problems(void **state)
{
	size_t failures = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(problem_cases) / sizeof(problem_cases[0]); i++) {
		const struct problem_case *row = &problem_cases[i];
		struct config_problems problems = {0};
		struct config_scan scan;
		char *text;

		config_scan("x.conf", row->text, strlen(row->text), &scan, &problems);
		text = print_problems(&problems);
		if (!as_expected(row, &problems) || scan.broken != row->broken) {
			print_error("%s (%s):\n%s", row->name, scan.broken ? "broken" : "whole",
				    text);
			failures++;
		}
		/* What was let through is what libconfuse takes. */
		if (!scan.broken) {
			cfg_t *cfg = config_parse(scan.clean);

			if (!cfg) {
				print_error("%s: libconfuse refuses \"%s\"\n", row->name,
					    scan.clean);
				failures++;
			} else {
				cfg_free(cfg);
			}
		}
		free(text);
		config_scan_done(&scan);
		config_problems_done(&problems);
	}
	assert_int_equal(failures, 0);
}

static void test_clean(void **state)
{
	static const char text[] = "log { # a\n level = info, /* b\n */ foo = {1, 2}\n"
				   " level = 'x'\n format = \"te#t\" }\nnolog { a = 1 }\nlog { }";
	static const char clean[] = "log {    \n level = info      \n                \n"
				    "            \n format = \"te#t\" }\n               \n       ";
	struct config_problems problems = {0};
	struct config_scan scan;

	(void)state;
	config_scan("x.conf", text, strlen(text), &scan, &problems);
	assert_string_equal(scan.clean, clean);
	assert_int_equal(problems.count, 4);
	config_scan_done(&scan);
	config_problems_done(&problems);
}

static void test_marks(void **state)
{
	static const char text[] = "\ntrust {\n crl = {\n'a', # x\n\n'b' }\n}\naccess \"a b\" {\n\n"
				   "allow = { } }";
	struct config_problems problems = {0};
	struct config_scan scan;
	const struct config_mark *mark;

	(void)state;
	config_scan("x.conf", text, strlen(text), &scan, &problems);
	assert_int_equal(problems.count, 0);
	assert_int_equal(scan.count, 4);
	mark = config_scan_find(scan.marks, scan.count, "trust.crl");
	assert_non_null(mark);
	assert_int_equal(mark->line, 3);
	assert_int_equal(mark->value_count, 2);
	assert_int_equal(mark->value_lines[0], 4);
	assert_int_equal(mark->value_lines[1], 6);
	assert_memory_equal(text + mark->value, "'a'", 3);
	mark = config_scan_find(scan.marks, scan.count, "access.a b.allow");
	assert_non_null(mark);
	assert_int_equal(mark->line, 10);
	assert_int_equal(mark->value_count, 0);
	assert_null(config_scan_find(scan.marks, scan.count, "trust.ca"));
	config_scan_done(&scan);
	config_problems_done(&problems);
}

/* count times what; the scan has to end in a moment, whatever is repeated. */
static size_t scan_many(const char *begin, const char *what, size_t count, bool number)
{
	struct config_problems problems = {0};
	struct config_scan scan;
	struct buf text = {0};
	size_t found;

	buf_print(&text, "%s", begin);
	for (size_t i = 0; i < count; i++) {
		buf_append(&text, what, strlen(what));
		if (number)
			buf_print(&text, "%zu { }\n", i);
	}
	config_scan("x.conf", (char *)text.data, text.len, &scan, &problems);
	found = problems.count;
	config_scan_done(&scan);
	config_problems_done(&problems);
	buf_done(&text);
	return found;
}

static void test_limits(void **state)
{
	(void)state;
	assert_int_equal(scan_many("", "access a", 1000, true), 0);
	assert_int_equal(scan_many("", "access a", 1001, true), 1);
	assert_int_equal(scan_many("trust { ca = {", "a,", 4096, false), 1);
	assert_int_equal(scan_many("trust { ca = {", "a,", 5000, false), 2);
	assert_int_equal(scan_many("", "}", 1000000, false), 1);
	assert_int_equal(scan_many("", "{", 1000000, false), CONFIG_PROBLEMS_MAX);
	assert_int_equal(scan_many("", "\"", 1000001, false), CONFIG_PROBLEMS_MAX);
	assert_int_equal(scan_many("log { x ", "{", 1000000, false), 2);
	assert_int_equal(scan_many("log { level = \"", "\n", 1000000, false), 1);
	assert_int_equal(scan_many("", "\v", 1000, false), CONFIG_PROBLEMS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_problems),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
