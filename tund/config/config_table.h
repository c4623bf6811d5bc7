#pragma once
/* Every section and every option that a configuration file may hold: one row each. A new option is
 * one row here and one field in config.h. */

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

/* What an option's text becomes; config_values.c has one row for each. */
enum config_kind {
	CONFIG_TEXT,	    /* char * */
	CONFIG_PATH,	    /* char *, absolute */
	CONFIG_CERTIFICATE, /* char *: path, store URI or PEM */
	CONFIG_KEY,	    /* char *: path, store URI or (blanked) PEM */
	CONFIG_BOOL,	    /* bool */
	CONFIG_WORD,	    /* an enum, numbered as in words */
	CONFIG_SWITCH,	    /* bool, written as one of two words, false first */
	CONFIG_NUMBER,	    /* unsigned, min..max */
	CONFIG_PERCENT,	    /* unsigned, min..max */
	CONFIG_AUTO_NUMBER, /* unsigned, min..max or "auto", which is 0 */
	CONFIG_DURATION,    /* int64_t in seconds, min..max */
	CONFIG_INTERFACE,   /* char * */
	CONFIG_ACCOUNT,	    /* char *: a unix user or group */
	CONFIG_HOST,	    /* char *: DNS name or address */
	CONFIG_GROUPS,	    /* char *: words with colons between */
	/* From here on a list of texts is taken, above exactly one. */
	CONFIG_TEXTS,	    /* struct config_strings */
	CONFIG_AUTHORITIES, /* struct config_strings: paths or PEM */
	CONFIG_LISTS,	    /* struct config_strings: paths, PEM or URLs */
	CONFIG_DOMAINS,	    /* struct config_strings: DNS names or "." */
	CONFIG_DIALS,	    /* struct config_strings: "name[:port]" */
	CONFIG_LISTENS,	    /* struct config_endpoints */
	CONFIG_ADDRESSES,   /* struct prefix_list of host prefixes */
	CONFIG_PREFIXES,    /* struct prefix_list */
	CONFIG_ROUTES,	    /* struct config_client: routes_accept, routes */
	CONFIG_CONDITIONS,  /* struct config_strings */
	CONFIG_RULES,	    /* struct config_rules */
	CONFIG_KINDS,
};

enum config_only { CONFIG_ONLY_NOBODY, CONFIG_ONLY_GATEWAY, CONFIG_ONLY_CLIENT };

struct config_section {
	const char *name;
	bool titled; /* may stand several times, each with its own title */
	enum config_only only;
	const char *help;
};

struct config_option {
	const char *section, *key;
	enum config_kind kind;
	size_t place; /* offset in struct config; of a titled section in struct config_access */
	const char
		*fallback; /* default as in a file, list entries with a space between; NULL: none */
	const char *help;
	const char *words; /* CONFIG_WORD and CONFIG_SWITCH, a space between */
	unsigned min, max;
	enum config_only only;
	bool restart; /* a reload only names it: what hangs on it is made at the start */
};

/* Both in the order of the samples; the count goes to *ret_count. */
const struct config_section *config_table_sections(size_t *ret_count);
const struct config_option *config_table_options(size_t *ret_count);

bool config_table_is_list(const struct config_option *option);

/* By the len bytes at name. NULL when there is none. */
const struct config_section *config_table_section(const char *name, size_t len);
const struct config_option *config_table_option(const char *section, const char *key, size_t len);
/* A section whose options include this key; NULL when there is none. */
const char *config_table_section_of(const char *key, size_t len);
/* The section, or (section given) the section's option, spelled most like name; NULL when none is
 * near enough to be meant. */
const char *config_table_near(const char *section, const char *name, size_t len);
