#include "config/config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "config/config_scan.h"
#include "config/config_values.h"

void config_problem(struct config_problems *problems, const char *file, unsigned line,
		    const char *format, ...)
{
	struct config_problem *problem;
	va_list arguments;

	if (problems->count >= CONFIG_PROBLEMS_MAX)
		return;
	problems->items = xalloc_grow(problems->items, problems->count + 1, sizeof(*problem));
	problem = &problems->items[problems->count++];
	*problem = (struct config_problem){.file = xalloc_string(file), .line = line};
	if (problems->count == CONFIG_PROBLEMS_MAX) {
		problem->text = xalloc_string("there may be more problems; mend those above first");
		return;
	}
	va_start(arguments, format);
	problem->text = xalloc_vprint(format, arguments);
	va_end(arguments);
}

void config_problems_done(struct config_problems *problems)
{
	for (size_t i = 0; i < problems->count; i++) {
		free(problems->items[i].file);
		free(problems->items[i].text);
	}
	free(problems->items);
	*problems = (struct config_problems){0};
}

static void free_section(const struct config_section *section, void *base)
{
	size_t count;
	const struct config_option *options = config_table_options(&count);

	for (size_t i = 0; i < count; i++) {
		if (strcmp(options[i].section, section->name) == 0)
			config_values_done(&options[i], (char *)base + options[i].place);
	}
}

void config_free(struct config *config)
{
	size_t count;
	const struct config_section *sections = config_table_sections(&count);

	if (!config)
		return;
	for (size_t i = 0; i < count; i++) {
		if (!sections[i].titled)
			free_section(&sections[i], config);
	}
	for (size_t i = 0; i < config->access_count; i++) {
		struct config_access *block = &config->access[i];
		const char *name = block->is_site ? "site" : "access";

		free_section(config_table_section(name, strlen(name)), block);
		free(block->title);
	}
	free(config->access);
	free(config->path);
	free(config->instance);
	config_scan_marks_free(config->marks, config->mark_count);
	free(config);
}

unsigned config_line(const struct config *config, const char *option)
{
	size_t len = strlen(option);

	while (len > 0) {
		for (size_t i = 0; i < config->mark_count; i++) {
			const struct config_mark *mark = &config->marks[i];

			if (strlen(mark->name) == len && memcmp(mark->name, option, len) == 0)
				return mark->line;
		}
		while (len > 0 && option[--len] != '.')
			;
	}
	return 0;
}
