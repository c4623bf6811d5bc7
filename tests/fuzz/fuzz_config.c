#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A configuration or a problem, never both or neither; and whatever the scan lets through is what
 * libconfuse takes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_problems problems = {0};
	struct config *config;
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	config = config_load_text("/etc/tund/fuzz.conf", text, size, true, &problems);
	if (!config != (problems.count > 0))
		abort();
	for (size_t i = 0; i < problems.count; i++) {
		if (strcmp(problems.items[i].text,
			   "is not what libconfuse takes for a configuration") == 0)
			abort();
	}
	config_free(config);
	config_problems_done(&problems);
	free(text);
	return 0;
}
