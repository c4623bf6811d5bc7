#include "config/config_values.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "config/config_files.h"
#include "config/config_nets.h"
#include "config/config_rules.h"
#include "config/config_text.h"

enum { INTERFACE_MAX = 15, ACCOUNT_MAX = 32 };

static unsigned line_of(const struct config_value *value, size_t index)
{
	if (!value->mark)
		return 0;
	return index < value->mark->value_count ? value->mark->value_lines[index]
						: value->mark->line;
}

bool config_values_refuse(const struct config_value *value, size_t index, const char *format, ...)
{
	char quoted[CONFIG_TEXT_QUOTED], what[CONFIG_RULES_PROBLEM + 64];
	const char *text = index < value->count ? value->texts[index] : "";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	config_problem(value->problems, value->file, line_of(value, index), "%s: %s %s",
		       value->name, config_text_quote(text, strlen(text), quoted), what);
	return false;
}

void config_values_add(struct config_strings *strings, char *text)
{
	strings->items = xalloc_grow(strings->items, strings->count + 1, sizeof(char *));
	strings->items[strings->count++] = text;
}

bool config_values_text(const struct config_value *value, void *place)
{
	const char *text = value->texts[0];

	*(char **)place = text[0] ? xalloc_string(text) : NULL;
	return true;
}

int config_values_word(const char *words, const char *text)
{
	size_t len = strlen(text);

	for (int index = 0; len > 0; index++) {
		size_t word = strcspn(words, " ");

		if (word == len && memcmp(words, text, len) == 0)
			return index;
		if (words[word] == '\0')
			return -1;
		words += word + 1;
	}
	return -1;
}

static bool set_bool(const struct config_value *value, void *place)
{
	int index = config_values_word("false true no yes off on", value->texts[0]);

	if (index < 0)
		return config_values_refuse(value, 0,
					    "is neither true nor false; write one of them");
	*(bool *)place = index % 2 == 1;
	return true;
}

static bool refuse_word(const struct config_value *value)
{
	return config_values_refuse(value, 0, "is not known; write one of: %s",
				    value->option->words);
}

static bool set_word(const struct config_value *value, void *place)
{
	int index = config_values_word(value->option->words, value->texts[0]);

	if (index < 0)
		return refuse_word(value);
	memcpy(place, &index, sizeof(index));
	return true;
}

static bool set_switch(const struct config_value *value, void *place)
{
	int index = config_values_word(value->option->words, value->texts[0]);

	if (index < 0)
		return refuse_word(value);
	*(bool *)place = index == 1;
	return true;
}

/* Digits up to `end`; more than 9 of them are more than any option takes, whatever they say. */
static bool parse_number(const char *text, const char *end, unsigned *ret)
{
	enum { DIGITS_MAX = 9 };
	size_t len = strlen(text) - strlen(end);
	unsigned number = 0;

	if (len == 0 || strspn(text, "0123456789") != len)
		return false;
	for (size_t i = 0; i < len && len <= DIGITS_MAX; i++)
		number = number * 10 + (unsigned)(text[i] - '0');
	*ret = len <= DIGITS_MAX ? number : UINT_MAX;
	return true;
}

static bool set_number(const struct config_value *value, void *place)
{
	const struct config_option *option = value->option;
	unsigned number;

	if (!parse_number(value->texts[0], "", &number))
		return config_values_refuse(value, 0, "is not a number; write %u to %u",
					    option->min, option->max);
	if (number < option->min || number > option->max)
		return config_values_refuse(value, 0, "is out of range; write %u to %u",
					    option->min, option->max);
	*(unsigned *)place = number;
	return true;
}

static bool set_percent(const struct config_value *value, void *place)
{
	const struct config_option *option = value->option;
	unsigned number;

	if (!strchr(value->texts[0], '%') || !parse_number(value->texts[0], "%", &number) ||
	    strchr(value->texts[0], '%')[1] != '\0')
		return config_values_refuse(value, 0,
					    "is not a percentage; write \"%u%%\" to \"%u%%\"",
					    option->min, option->max);
	if (number < option->min || number > option->max)
		return config_values_refuse(value, 0, "is out of range; write \"%u%%\" to \"%u%%\"",
					    option->min, option->max);
	*(unsigned *)place = number;
	return true;
}

static bool set_auto_number(const struct config_value *value, void *place)
{
	unsigned number;

	if (strcmp(value->texts[0], "auto") == 0) {
		*(unsigned *)place = 0;
		return true;
	}
	if (!parse_number(value->texts[0], "", &number) || number < value->option->min ||
	    number > value->option->max)
		return config_values_refuse(value, 0,
					    "does not fit; write \"auto\" or a number, %u to %u",
					    value->option->min, value->option->max);
	*(unsigned *)place = number;
	return true;
}

/* Seconds in a unit's letter; 0 for others. */
static int64_t unit_seconds(char unit)
{
	switch (unit) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 24 * 3600;
	default:
		return 0;
	}
}

static bool set_duration(const struct config_value *value, void *place)
{
	const struct config_option *option = value->option;
	const char *text = value->texts[0];
	size_t len = strlen(text);
	int64_t unit_s = len > 0 ? unit_seconds(text[len - 1]) : 0;
	unsigned number;

	if (strcmp(text, "0") == 0) {
		unit_s = 1;
		number = 0;
	} else if (unit_s == 0 || !parse_number(text, text + len - 1, &number)) {
		return config_values_refuse(value, 0,
					    "is not a duration; write a number with s, m, h or d%s",
					    option->min == 0 ? ", or 0" : "");
	}
	if (number * unit_s < option->min || number * unit_s > option->max)
		return config_values_refuse(value, 0, "is out of range; write %us to %us",
					    option->min, option->max);
	*(int64_t *)place = number * unit_s;
	return true;
}

/* Not "." and "..", which are directories, nor "all" and "default", whose settings are everybody's;
 * no
 * %, which the kernel would replace by a number. */
static bool is_interface(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > INTERFACE_MAX || config_values_word(". .. all default", text) >= 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
			return false;
	}
	return true;
}

static bool set_interface(const struct config_value *value, void *place)
{
	if (!is_interface(value->texts[0]))
		return config_values_refuse(
			value, 0,
			"is no interface name; take letters, digits, . _ and -, at most %d",
			INTERFACE_MAX);
	return config_values_text(value, place);
}

static bool set_account(const struct config_value *value, void *place)
{
	const char *text = value->texts[0];
	size_t len = strlen(text);
	bool good = len > 0 && len <= ACCOUNT_MAX &&
		    (isalpha((unsigned char)text[0]) || text[0] == '_');

	for (size_t i = 0; i < len && good; i++)
		good = isalnum((unsigned char)text[i]) || strchr("._-", text[i]);
	if (!good)
		return config_values_refuse(
			value, 0, "is no name of a unix user or group; write one, not a number");
	return config_values_text(value, place);
}

static bool set_groups(const struct config_value *value, void *place)
{
	const char *text = value->texts[0];
	size_t len = strlen(text);
	bool good = len > 0 && len <= 255 && !strstr(text, "::") && text[0] != ':' &&
		    text[len - 1] != ':';

	for (size_t i = 0; i < len && good; i++)
		good = isalnum((unsigned char)text[i]) || strchr(":-_", text[i]);
	if (!good)
		return config_values_refuse(value, 0,
					    "is no list of groups; write \"X25519:P-256\"");
	return config_values_text(value, place);
}

static bool set_texts(const struct config_value *value, void *place)
{
	for (size_t i = 0; i < value->count; i++)
		config_values_add(place, xalloc_string(value->texts[i]));
	return true;
}

static bool set_conditions(const struct config_value *value, void *place)
{
	bool good = true;

	for (size_t i = 0; i < value->count; i++) {
		const char *problem = config_rules_condition_problem(value->texts[i]);

		if (problem)
			good = config_values_refuse(value, i, "is no condition: %s", problem);
		else
			config_values_add(place, xalloc_string(value->texts[i]));
	}
	return good;
}

static bool set_rules(const struct config_value *value, void *place)
{
	struct config_rules *ret = place;
	char problem[CONFIG_RULES_PROBLEM];
	struct config_rule rule;
	bool good = true;

	for (size_t i = 0; i < value->count; i++) {
		if (!config_rules_parse(value->texts[i], &rule, problem)) {
			good = config_values_refuse(value, i, "is no rule: %s", problem);
			continue;
		}
		ret->items = xalloc_grow(ret->items, ret->count + 1, sizeof(rule));
		ret->items[ret->count++] = rule;
	}
	return good;
}

static void free_text(void *place)
{
	free(*(char **)place);
	*(char **)place = NULL;
}

static void free_nothing(void *place)
{
	(void)place;
}

static void free_strings(void *place)
{
	struct config_strings *strings = place;

	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct config_strings){0};
}

static void free_endpoints(void *place)
{
	struct config_endpoints *endpoints = place;

	free(endpoints->items);
	*endpoints = (struct config_endpoints){0};
}

static void free_prefixes(void *place)
{
	prefix_list_done(place);
}

static void free_routes(void *place)
{
	prefix_list_done(&((struct config_client *)place)->routes);
}

static void free_rules(void *place)
{
	config_rules_done(place);
}

static const struct {
	bool (*set)(const struct config_value *value, void *place);
	void (*done)(void *place);
} kinds[CONFIG_KINDS] = {
	[CONFIG_TEXT] = {config_values_text, free_text},
	[CONFIG_PATH] = {config_files_path, free_text},
	[CONFIG_CERTIFICATE] = {config_files_certificate, free_text},
	[CONFIG_KEY] = {config_files_key, free_text},
	[CONFIG_BOOL] = {set_bool, free_nothing},
	[CONFIG_WORD] = {set_word, free_nothing},
	[CONFIG_SWITCH] = {set_switch, free_nothing},
	[CONFIG_NUMBER] = {set_number, free_nothing},
	[CONFIG_PERCENT] = {set_percent, free_nothing},
	[CONFIG_AUTO_NUMBER] = {set_auto_number, free_nothing},
	[CONFIG_DURATION] = {set_duration, free_nothing},
	[CONFIG_INTERFACE] = {set_interface, free_text},
	[CONFIG_ACCOUNT] = {set_account, free_text},
	[CONFIG_HOST] = {config_nets_host, free_text},
	[CONFIG_GROUPS] = {set_groups, free_text},
	[CONFIG_TEXTS] = {set_texts, free_strings},
	[CONFIG_AUTHORITIES] = {config_files_authorities, free_strings},
	[CONFIG_LISTS] = {config_files_lists, free_strings},
	[CONFIG_DOMAINS] = {config_nets_domains, free_strings},
	[CONFIG_DIALS] = {config_nets_dials, free_strings},
	[CONFIG_LISTENS] = {config_nets_listens, free_endpoints},
	[CONFIG_ADDRESSES] = {config_nets_addresses, free_prefixes},
	[CONFIG_PREFIXES] = {config_nets_prefixes, free_prefixes},
	[CONFIG_ROUTES] = {config_nets_routes, free_routes},
	[CONFIG_CONDITIONS] = {set_conditions, free_strings},
	[CONFIG_RULES] = {set_rules, free_rules},
};

bool config_values_set(const struct config_value *value, void *place)
{
	return kinds[value->option->kind].set(value, place);
}

void config_values_done(const struct config_option *option, void *place)
{
	kinds[option->kind].done(place);
}
