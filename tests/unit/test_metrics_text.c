#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "wire/metrics_text.h"

static void assert_text(const char *name, const char *json, const char *wanted)
{
	json_t *metrics = json_loads(json, JSON_DECODE_ANY, NULL);
	struct buf text = {0};

	assert_non_null(metrics);
	metrics_text_write(&text, metrics);
	buf_u8(&text, 0);
	if (strcmp((const char *)text.data, wanted) != 0)
		fail_msg("%s:\n%s", name, (const char *)text.data);
	buf_done(&text);
	json_decref(metrics);
}

#define GAUGE(samples)                                                                             \
	"[{\"name\":\"a\",\"type\":\"gauge\",\"help\":\"A.\",\"samples\":" samples "}]"
#define GAUGE_HEAD	"# HELP a A.\n# TYPE a gauge\n"
#define LABELLED(value) GAUGE("[{\"labels\":{\"x\":\"" value "\"},\"value\":1}]")

static void samples(void **state)
{
	static const struct {
		const char *name, *json, *text;
	} rows[] = {
		{"one", GAUGE("[{\"value\":3}]"), GAUGE_HEAD "a 3\n"},
		{"no samples", GAUGE("[]"), GAUGE_HEAD},
		{"nothing", "[]", ""},
		{"two labels", GAUGE("[{\"labels\":{\"x\":\"1\",\"_y2\":\"\"},\"value\":0}]"),
		 GAUGE_HEAD "a{x=\"1\",_y2=\"\"} 0\n"},
		{"empty labels", GAUGE("[{\"labels\":{},\"value\":-1}]"), GAUGE_HEAD "a -1\n"},
		{"a real", GAUGE("[{\"value\":0.5}]"), GAUGE_HEAD "a 0.5\n"},
		{"a large number", GAUGE("[{\"value\":9223372036854775806}]"),
		 GAUGE_HEAD "a 9223372036854775806\n"},
		{"a backslash", LABELLED("a\\\\b"), GAUGE_HEAD "a{x=\"a\\\\b\"} 1\n"},
		{"a quote", LABELLED("a\\\"b"), GAUGE_HEAD "a{x=\"a\\\"b\"} 1\n"},
		{"a newline", LABELLED("a\\nb"), GAUGE_HEAD "a{x=\"a\\nb\"} 1\n"},
		{"a return", LABELLED("a\\rb"), GAUGE_HEAD "a{x=\"a\\\\x0db\"} 1\n"},
		{"an escape", LABELLED("\\u001b[2J\\u007f"),
		 GAUGE_HEAD "a{x=\"\\\\x1b[2J\\\\x7f\"} 1\n"},
		{"no ASCII", LABELLED("\\u00eb"), GAUGE_HEAD "a{x=\"\\\\xc3\\\\xab\"} 1\n"},
		{"braces", LABELLED("}\\u0020{,="), GAUGE_HEAD "a{x=\"} {,=\"} 1\n"},
		{"a histogram",
		 "[{\"name\":\"a\",\"type\":\"histogram\",\"help\":\"A.\",\"samples\":["
		 "{\"part\":\"bucket\",\"labels\":{\"le\":\"0.1\"},\"value\":1},"
		 "{\"part\":\"sum\",\"value\":0.5},{\"part\":\"count\",\"value\":2},"
		 "{\"part\":\"other\",\"value\":3},{\"part\":7,\"value\":4}]}]",
		 "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"0.1\"} 1\na_sum 0.5\na_count 2\na "
		 "4\n"},
		{"a help text",
		 "[{\"name\":\"a\",\"type\":\"counter\",\"help\":\"\\\"\\\\ \\n\","
		 "\"samples\":[]}]",
		 "# HELP a \"\\\\ \\n\n# TYPE a counter\n"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_text(rows[i].name, rows[i].json, rows[i].text);
}

/* Whoever answered us: what is not a metric does not become one. */
static void what_is_no_metric_is_left_out(void **state)
{
	static const struct {
		const char *name, *json, *text;
	} rows[] = {
		{"no array", "{\"name\":\"a\"}", ""},
		{"a number", "7", ""},
		{"items of the wrong kind", "[null,1,\"x\",[],{}]", ""},
		{"no name", "[{\"type\":\"gauge\",\"help\":\"\",\"samples\":[]}]", ""},
		{"an empty name",
		 "[{\"name\":\"\",\"type\":\"gauge\",\"help\":\"\",\"samples\":[]}]", ""},
		{"a digit first",
		 "[{\"name\":\"1a\",\"type\":\"gauge\",\"help\":\"\",\"samples\":[]}]", ""},
		{"a space in it",
		 "[{\"name\":\"a b\",\"type\":\"gauge\",\"help\":\"\",\"samples\":[]}]", ""},
		{"a line in it",
		 "[{\"name\":\"a\\nb\",\"type\":\"gauge\",\"help\":\"\",\"samples\":[]}]", ""},
		{"an unknown type",
		 "[{\"name\":\"a\",\"type\":\"x\",\"help\":\"\",\"samples\":[]}]", ""},
		{"no type", "[{\"name\":\"a\",\"help\":\"\",\"samples\":[]}]", ""},
		{"no help", "[{\"name\":\"a\",\"type\":\"gauge\",\"samples\":[]}]", ""},
		{"samples of the wrong kind", GAUGE("{\"value\":1}"), GAUGE_HEAD},
		{"no value", GAUGE("[{},{\"value\":null},{\"value\":\"1\"},7,null]"), GAUGE_HEAD},
		{"labels of the wrong kind", GAUGE("[{\"labels\":[\"x\"],\"value\":1}]"),
		 GAUGE_HEAD "a 1\n"},
		{"a wrong label",
		 GAUGE("[{\"labels\":{\"1\":\"x\",\"a:b\":\"x\",\"\":\"x\",\"n\":1,\"y\":\"z\"},"
		       "\"value\":1}]"),
		 GAUGE_HEAD "a{y=\"z\"} 1\n"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_text(rows[i].name, rows[i].json, rows[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples),
		cmocka_unit_test(what_is_no_metric_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
