#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "config/config_table.h"
#include "config/config_values.h"

/* A sample beside this file's folder, zero-terminated. */
static char *read_sample(const char *name)
{
	char *path = xalloc_print("%.*sconf/%s",
				  (int)(strlen(__FILE__) - strlen("tests/unit/") -
					strlen("test_config_table.c")),
				  __FILE__, name);
	FILE *file = fopen(path, "r");
	char *text = xalloc_zero(1, 65536);

	if (!file)
		fail_msg("%s cannot be opened", path);
	assert_true(fread(text, 1, 65535, file) > 0);
	fclose(file);
	free(path);
	return text;
}

static void test_rows(void **state)
{
	size_t count;
	const struct config_option *options = config_table_options(&count);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		const struct config_option *row = &options[i];

		assert_non_null(config_table_section(row->section, strlen(row->section)));
		assert_ptr_equal(config_table_option(row->section, row->key, strlen(row->key)),
				 row);
		assert_true(row->kind < CONFIG_KINDS);
		assert_true(row->help && row->help[0] && !strchr(row->help, '\n'));
		if (row->kind == CONFIG_WORD || row->kind == CONFIG_SWITCH)
			assert_true(config_values_word(row->words, row->fallback) >= 0);
		if (row->kind == CONFIG_NUMBER || row->kind == CONFIG_DURATION ||
		    row->kind == CONFIG_PERCENT || row->kind == CONFIG_AUTO_NUMBER)
			assert_true(row->min < row->max);
	}
}

static const struct near_case {
	const char *section, *name, *near;
} near_cases[] = {
	{NULL, "gatway", "gateway"},
	{NULL, "gateways", "gateway"},
	{NULL, "acess", "access"},
	{NULL, "lg", "log"},
	{NULL, "xyzzy", NULL},
	{NULL, "", NULL},
	{"gateway", "pol", "pool"},
	{"gateway", "idle_timeout", "idle-timeout"},
	{"gateway", "max-session", "max-sessions"},
	{"gateway", "crl", NULL},
	{"trust", "crl-polcy", "crl-policy"},
	{"trust", "an-option-that-is-longer-than-any-of-ours", NULL},
};

static void test_near(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(near_cases) / sizeof(near_cases[0]); i++) {
		const struct near_case *row = &near_cases[i];
		const char *near = config_table_near(row->section, row->name, strlen(row->name));

		if (!near != !row->near || (near && strcmp(near, row->near) != 0))
			fail_msg("%s: %s", row->name, near ? near : "none");
	}
}

static void test_find(void **state)
{
	(void)state;
	assert_non_null(config_table_section("log", 3));
	assert_null(config_table_section("log", 2));
	assert_null(config_table_section("logs", 4));
	assert_non_null(config_table_option("trust", "crl", 3));
	assert_non_null(config_table_option("trust", "crl-grace", 9));
	assert_null(config_table_option("log", "crl", 3));
	assert_string_equal(config_table_section_of("crl", 3), "trust");
	assert_null(config_table_section_of("cr", 2));
}

/* One option of a sample: what its line sets, and what the comment above it says. */
struct sample_line {
	bool found, commented, tells_default;
	char value[200];
};

/* "{\"a\", \"b\"}" as "a b", which is how the table writes defaults. */
static void strip_value(const char *from, char *to, size_t size)
{
	size_t used = 0;

	for (; *from && *from != '\n' && used + 1 < size; from++) {
		if (!strchr("{}\",", *from) && (used > 0 || *from != ' '))
			to[used++] = *from;
	}
	to[used] = '\0';
}

/* The option in the sample; a section may be commented out as a whole. */
static struct sample_line find_line(const char *text, const char *section, const char *key)
{
	struct sample_line line = {0};
	bool inside = false;

	for (const char *at = text; at && *at; at = strchr(at, '\n')) {
		char name[40] = "";
		const char *begin = at + strspn(at, "\n# ");
		const char *end = strchr(at + 1, '\n');
		const char *brace = strchr(begin, '{');

		at += *at == '\n';
		sscanf(begin, "%39[a-z-]", name);
		if (name[0] && brace && end && brace + 1 == end && !strchr("#", *at)) {
			inside = strcmp(name, section) == 0;
		} else if (strncmp(at, "# site ", 7) == 0) {
			inside = strcmp("site", section) == 0;
		} else if (inside && strcmp(name, key) == 0 &&
			   begin[strlen(key) + strspn(begin + strlen(key), " ")] == '=') {
			line.found = true;
			strip_value(strchr(begin, '=') + 1, line.value, sizeof(line.value));
			return line;
		} else if (begin[0] && strchr(at, '#') && strchr(at, '#') < begin) {
			line.commented = true;
			line.tells_default |=
				end && (memmem(at, (size_t)(end - at), "Default", 7) ||
					memmem(at, (size_t)(end - at), "Needed", 6));
			continue;
		}
		line.commented = line.tells_default = false;
	}
	return line;
}

static void check_sample(const char *file, enum config_only other)
{
	char *text = read_sample(file);
	size_t count, failures = 0;
	const struct config_option *options = config_table_options(&count);

	for (size_t i = 0; i < count; i++) {
		const struct config_option *row = &options[i];
		struct sample_line line;

		if (row->only == other ||
		    config_table_section(row->section, strlen(row->section))->only == other)
			continue;
		line = find_line(text, row->section, row->key);
		if (line.found && line.commented &&
		    (line.tells_default ||
		     (row->fallback && strcmp(line.value, row->fallback) == 0)))
			continue;
		print_error("%s: %s.%s: %s\n", file, row->section, row->key,
			    !line.found	      ? "is not there"
			    : !line.commented ? "is not explained"
					      : "neither shows nor tells its default");
		failures++;
	}
	free(text);
	assert_int_equal(failures, 0);
}

static void test_samples(void **state)
{
	(void)state;
	check_sample("gateway.conf", CONFIG_ONLY_CLIENT);
	check_sample("laptop.conf", CONFIG_ONLY_GATEWAY);
}

/* What a default says is of its option's kind. */
static void test_fallbacks(void **state)
{
	size_t count;
	const struct config_option *options = config_table_options(&count);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		struct config_problems problems = {0};
		struct config place = {0};
		char *copy = xalloc_string(options[i].fallback), *rest = NULL;
		const char *texts[8] = {copy};
		struct config_value value = {.option = &options[i],
					     .name = options[i].key,
					     .texts = texts,
					     .count = 1,
					     .file = "x",
					     .directory = "/etc",
					     .problems = &problems};

		if (!copy)
			continue;
		if (config_table_is_list(&options[i])) {
			value.count = 0;
			for (char *entry = strtok_r(copy, " ", &rest); entry;
			     entry = strtok_r(NULL, " ", &rest))
				texts[value.count++] = entry;
		}
		if (!config_values_set(&value, &place) || problems.count > 0)
			fail_msg("%s.%s", options[i].section, options[i].key);
		config_values_done(&options[i], &place);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),	  cmocka_unit_test(test_near),
		cmocka_unit_test(test_find),	  cmocka_unit_test(test_samples),
		cmocka_unit_test(test_fallbacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
