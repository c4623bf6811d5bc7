#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_load.h"
#include "config/config_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* On a line of the file, or 0 for all of it; one line of ASCII, whatever stands in the file. */
static void check_problem(const struct config_problem *problem, unsigned lines)
{
	if (problem->line > lines || problem->text[0] == '\0')
		abort();
	for (const char *at = problem->text; *at; at++) {
		if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f)
			abort();
	}
	if (strcmp(problem->text, "is not what libconfuse takes for a configuration") == 0)
		abort();
}

/* What is found as a key is one (in text: a file with a zero byte is never asked for its key); what
 * is blanked leaves every line where it was. */
static void check_keys(const char *before, const char *after, size_t size)
{
	char *key = memchr(before, 0, size) ? NULL : config_text_key(before, size, 0);

	if (key && (strncmp(key, "-----BEGIN", 10) != 0 || !strstr(key, "PRIVATE KEY")))
		abort();
	free(key);
	for (size_t i = 0; i < size; i++) {
		if (before[i] != after[i] && (before[i] == '\n' || after[i] != ' '))
			abort();
	}
}

/* A configuration or a problem, never both or neither; and whatever the scan lets through is what
 * libconfuse takes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_problems problems = {0};
	struct config *config;
	char *text = malloc(size + 1), *before = malloc(size + 1);

	if (!text || !before)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	memcpy(before, text, size + 1);
	config = config_load_text("/etc/tund/fuzz.conf", text, size, true, &problems);
	if (!config != (problems.count > 0))
		abort();
	for (size_t i = 0; i < problems.count; i++)
		check_problem(&problems.items[i], config_text_line(before, size));
	check_keys(before, text, size);
	config_free(config);
	config_problems_done(&problems);
	free(text);
	free(before);
	return 0;
}
