#include "config/config_parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "config/config_table.h"

static cfg_opt_t describe_option(const struct config_option *option)
{
	cfg_opt_t text = CFG_STR(option->key, NULL, CFGF_NODEFAULT);
	cfg_opt_t list = CFG_STR_LIST(option->key, NULL, CFGF_NODEFAULT);

	return config_table_is_list(option) ? list : text;
}

/* libconfuse copies what it is given; the caller frees the array. */
static cfg_opt_t *describe_section(const char *section)
{
	const cfg_opt_t end = CFG_END();
	size_t count, used = 0;
	const struct config_option *options = config_table_options(&count);
	cfg_opt_t *ret = xnew_array(cfg_opt_t, count + 1);

	for (size_t i = 0; i < count; i++) {
		if (strcmp(options[i].section, section) == 0)
			ret[used++] = describe_option(&options[i]);
	}
	ret[used] = end;
	return ret;
}

static cfg_t *describe_file(void)
{
	const cfg_opt_t end = CFG_END();
	size_t count;
	const struct config_section *sections = config_table_sections(&count);
	cfg_opt_t *all = xnew_array(cfg_opt_t, count + 1);
	cfg_t *cfg;

	for (size_t i = 0; i < count; i++) {
		cfg_opt_t *options = describe_section(sections[i].name);
		cfg_opt_t plain = CFG_SEC(sections[i].name, options, CFGF_NONE);
		cfg_opt_t titled = CFG_SEC(sections[i].name, options, CFGF_MULTI | CFGF_TITLE);

		all[i] = sections[i].titled ? titled : plain;
	}
	all[count] = end;
	cfg = cfg_init(all, CFGF_NONE);
	for (size_t i = 0; i < count; i++)
		free(all[i].subopts);
	free(all);
	return cfg;
}

/* The default one prints. What is wrong with a file has been said by config_scan. */
static void stay_silent(cfg_t *cfg, const char *format, va_list arguments)
{
	(void)cfg;
	(void)format;
	(void)arguments;
}

cfg_t *config_parse(const char *clean)
{
	cfg_t *cfg = describe_file();

	if (!cfg)
		return NULL;
	cfg_set_error_function(cfg, stay_silent);
	if (cfg_parse_buf(cfg, clean) != CFG_SUCCESS) {
		cfg_free(cfg);
		return NULL;
	}
	return cfg;
}
