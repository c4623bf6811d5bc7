#include <string.h>

#include "config/config_scan.h"
#include "config/config_text.h"

static bool begins_pem(const char *value)
{
	return strncmp(value + strspn(value, "\"' \t\r\n"), "-----BEGIN", 10) == 0;
}

/* The key itself from `text`; where it stands is looked up in a copy without it. */
static char *find_key(const char *path, const struct config_text *text,
		      struct config_problems *problems)
{
	struct config_text copy;
	struct config_problems ignored = {0};
	struct config_scan scan;
	const struct config_mark *mark;
	char *pem = NULL;

	config_text_copy(text, &copy);
	config_text_blank_keys(path, copy.bytes, copy.len, &ignored);
	config_scan(path, copy.bytes, copy.len, &scan, &ignored);
	config_text_wipe(&copy);
	mark = config_scan_find(scan.marks, scan.count, "identity.key");
	if (mark && mark->value > 0 && begins_pem(text->bytes + mark->value))
		pem = config_text_key(text->bytes, text->len, mark->value);
	if (!pem)
		config_problem(problems, path, mark ? mark->line : 0,
			       "identity.key holds no private key in place; the file was changed");
	config_scan_done(&scan);
	config_problems_done(&ignored);
	return pem;
}

char *config_key_in_place(const char *path, struct config_problems *problems)
{
	struct config_text text;
	char *pem = NULL;

	if (!config_text_read(path, &text, problems))
		return NULL;
	if (text.closed)
		pem = find_key(path, &text, problems);
	else
		config_problem(problems, path, 0,
			       "holds a private key and others than its owner may read it; chmod "
			       "go-rwx");
	config_text_wipe(&text);
	return pem;
}
