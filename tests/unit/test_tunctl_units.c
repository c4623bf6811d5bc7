#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../tunctl/field.h"
#include "../../tunctl/units.h"

static void bytes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1536, "1.5 KiB"},
		{102348, "99.9 KiB"},
		{102349, "100 KiB"},
		{1024 * 1023, "1023 KiB"},
		{1024 * 1024 - 1, "1.0 MiB"},
		{123456789, "118 MiB"},
		{UINT64_C(5) << 40, "5.0 TiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	char text[UNITS_TEXT];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(units_bytes(rows[i].bytes, text), rows[i].text);
}

static void durations(void **state)
{
	static const struct {
		int64_t duration_s;
		const char *text;
	} rows[] = {
		{-5, "0 s"},
		{0, "0 s"},
		{59, "59 s"},
		{60, "1 min"},
		{61, "1 min 1 s"},
		{3599, "59 min 59 s"},
		{3600, "1 h"},
		{3659, "1 h"},
		{7980, "2 h 13 min"},
		{86399, "23 h 59 min"},
		{86400, "1 d"},
		{86400 * 3 + 4 * 3600 + 59, "3 d 4 h"},
		{86400 * 10 + 5 * 3600, "10 d"},
		{INT64_MAX, "106751991167300 d"},
	};
	char text[UNITS_TEXT];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(units_duration(rows[i].duration_s, text), rows[i].text);
}

static void how_long_it_took(void **state)
{
	static const struct {
		double took_s;
		const char *text;
	} rows[] = {
		{0, "less than 1 ms"}, {0.0009, "less than 1 ms"}, {0.001, "1 ms"},
		{0.0123, "12 ms"},     {0.9994, "999 ms"},	   {0.9996, "1.0 s"},
		{1.26, "1.3 s"},       {-1, "less than 1 ms"},	   {1e300, "less than 1 ms"},
	};
	char text[UNITS_TEXT];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(units_took(rows[i].took_s, text), rows[i].text);
}

static void durations_given(void **state)
{
	static const struct {
		const char *text;
		int64_t s; /* -1: none */
	} rows[] = {
		{"0s", 0},
		{"90s", 90},
		{"15m", 900},
		{"12h", 43200},
		{"30d", 2592000},
		{"4w", 2419200},
		{"366000d", UNITS_DURATION_MAX_S},
		{"366001d", -1},
		{"", -1},
		{"30", -1},
		{"d", -1},
		{"-3d", -1},
		{" 3d", -1},
		{"3 d", -1},
		{"3dd", -1},
		{"3y", -1},
		{"3D", -1},
		{"0x3d", -1},
		{"99999999999999999999d", -1},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t duration_s = -1;

		if (units_parse_duration(rows[i].text, &duration_s) != (rows[i].s >= 0))
			fail_msg("\"%s\"", rows[i].text);
		assert_int_equal(duration_s, rows[i].s);
	}
}

static void moments(void **state)
{
	time_t noon = 1795262400; /* 2026-11-21 12:00 UTC */
	char text[UNITS_TEXT];
	(void)state;

	assert_string_equal(units_moment(noon - 3, noon, text), "11:59:57");
	assert_string_equal(units_moment(noon - 12 * 3600, noon, text), "00:00:00");
	assert_string_equal(units_moment(noon - 12 * 3600 - 1, noon, text), "2026-11-20 23:59");
	assert_string_equal(units_moment(noon + 12 * 3600, noon, text), "2026-11-22 00:00");
	assert_string_equal(units_day(noon, text), "2026-11-21");
	assert_string_equal(units_moment((time_t)INT64_MAX, noon, text), "?");
}

/* ---- members of an answer ---- */

static void assert_text(char *text, const char *wanted)
{
	assert_string_equal(text, wanted);
	free(text);
}

static void nothing_wild_reaches_the_terminal(void **state)
{
	static const struct {
		const char *name, *text, *plain;
	} rows[] = {
		{"plain", "CN=alice, O=\"Corp\"", "CN=alice, O=\"Corp\""},
		{"an escape", "\x1b[2Jx", "\\x1b[2Jx"},
		{"lines", "a\r\nb\tc", "a\\x0d\\x0ab\\x09c"},
		{"DEL", "a\x7f", "a\\x7f"},
		{"UTF-8", "Zo\xc3\xab", "Zo\\xc3\\xab"},
		{"an 8-bit escape",
		 "\xc2\x9b"
		 "2J",
		 "\\xc2\\x9b2J"},
		{"empty", "", ""},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *object = json_pack("{s:s, s:[s], s:{s:i}}", "text", rows[i].text, "list",
					   rows[i].text, "counts", rows[i].text, 3);
		char counts[64] = "3 ";

		strcat(counts, rows[i].plain);
		print_message("%s\n", rows[i].name);
		assert_text(field_plain(rows[i].text), rows[i].plain);
		assert_text(field_text(object, "text"), rows[i].plain[0] ? rows[i].plain : "-");
		assert_text(field_list(object, "list", ","),
			    rows[i].plain[0] ? rows[i].plain : "-");
		assert_text(field_counts(object, "counts"), counts);
		json_decref(object);
	}
}

static void members(void **state)
{
	json_t *object = json_pack("{s:s, s:n, s:i, s:i, s:[s, s, i], s:{s:i, s:i, s:i}, s:s, s:s}",
				   "name", "alice", "none", "number", 17, "negative", -4, "list",
				   "a", "b", 3, "counts", "one", 1, "zero", 0, "two", 2, "at",
				   "2026-11-21T09:14:03Z", "bad_at", "soon");
	time_t at = 1795252443, ret;
	(void)state;

	assert_true(field_is(object, "name", "alice"));
	assert_false(field_is(object, "none", "alice"));
	assert_true(field_is_there(object, "name"));
	assert_false(field_is_there(object, "none"));
	assert_false(field_is_there(object, "number"));
	assert_text(field_text(object, "none"), "-");
	assert_text(field_text(object, "number"), "-");
	assert_text(field_text(NULL, "name"), "-");
	assert_text(field_list(object, "list", ", "), "a, b");
	assert_text(field_list(object, "name", ", "), "-");
	assert_text(field_list(object, "absent", ", "), "-");
	assert_text(field_counts(object, "counts"), "1 one, 2 two");
	assert_text(field_counts(object, "list"), "");
	assert_int_equal(field_number(object, "number"), 17);
	assert_int_equal(field_number(object, "negative"), 0);
	assert_int_equal(field_number(object, "name"), 0);
	assert_text(field_bytes(object, "number"), "17 B");
	assert_true(field_time(object, "at", &ret) && ret == at);
	assert_false(field_time(object, "bad_at", &ret));
	assert_text(field_moment(object, "at", at + 60), "09:14:03");
	assert_text(field_moment(object, "bad_at", at), "-");
	assert_text(field_since(object, "at", at + 7980), "09:14:03 (2 h 13 min)");
	assert_text(field_since(object, "bad_at", at), "-");
	assert_text(field_until(object, "at", at - 86400), "2026-11-21 (in 1 d)");
	assert_text(field_until(object, "at", at + 86400), "2026-11-21 (1 d ago)");
	assert_text(field_until(object, "none", at), "-");
	json_decref(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes),
		cmocka_unit_test(durations),
		cmocka_unit_test(how_long_it_took),
		cmocka_unit_test(durations_given),
		cmocka_unit_test(moments),
		cmocka_unit_test(nothing_wild_reaches_the_terminal),
		cmocka_unit_test(members),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
