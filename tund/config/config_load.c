#include "config/config_load.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "config/config_check.h"
#include "config/config_parse.h"
#include "config/config_text.h"
#include "config/config_values.h"

enum { INSTANCE_MAX = 64 };

static void free_config(struct config **config)
{
	config_free(*config);
}

static void free_cfg(cfg_t **cfg)
{
	if (*cfg)
		cfg_free(*cfg);
}

/* One file on its way to a configuration. */
struct load {
	struct config *config;
	char *directory;
	struct config_problems *problems;
};

/* A list's default has a blank between entries, any other is one text. */
static void set_fallback(struct load *load, const struct config_option *option, void *place)
{
	enum { ENTRIES_MAX = 8 };
	_cleanup_free_ char *copy = xalloc_string(option->fallback);
	const char *texts[ENTRIES_MAX] = {copy};
	struct config_value value = {
		.option = option,
		.name = option->key,
		.texts = texts,
		.count = 1,
		.file = load->config->path,
		.directory = load->directory,
		.problems = load->problems,
	};

	if (!copy)
		return;
	if (config_table_is_list(option)) {
		char *rest = NULL;

		value.count = 0;
		for (char *entry = strtok_r(copy, " ", &rest); entry && value.count < ENTRIES_MAX;
		     entry = strtok_r(NULL, " ", &rest))
			texts[value.count++] = entry;
	}
	config_values_set(&value, place);
}

/* The option `name` of a section that libconfuse has read, or its default. */
static void set_option(struct load *load, cfg_t *section, const struct config_option *option,
		       const char *name, void *place)
{
	cfg_opt_t *read = cfg_getopt(section, option->key);
	const struct config_mark *mark =
		config_scan_find(load->config->marks, load->config->mark_count, name);
	size_t count = read ? cfg_opt_size(read) : 0;
	_cleanup_free_ const char **texts = xnew_array(const char *, count);
	struct config_value value = {
		.option = option,
		.name = name,
		.mark = mark,
		.texts = texts,
		.count = count,
		.file = load->config->path,
		.directory = load->directory,
		.problems = load->problems,
	};

	for (size_t i = 0; i < count; i++)
		texts[i] = cfg_opt_getnstr(read, (unsigned)i);
	/* Written but dropped by the scan, which has said why: as if it were not written. */
	if (mark && (count > 0 || (config_table_is_list(option) && mark->value_count == 0))) {
		if (config_values_set(&value, place))
			return;
		/* The default keeps one problem from causing others. */
		config_values_done(option, place);
	}
	set_fallback(load, option, place);
}

static void set_section(struct load *load, cfg_t *section, const char *section_name,
			const char *path, void *base)
{
	size_t count;
	const struct config_option *options = config_table_options(&count);

	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *name = NULL;

		if (strcmp(options[i].section, section_name) != 0)
			continue;
		name = xalloc_print("%s.%s", path, options[i].key);
		set_option(load, section, &options[i], name, (char *)base + options[i].place);
	}
}

static void set_block(struct load *load, cfg_t *section, const char *section_name)
{
	struct config *config = load->config;
	const char *title = cfg_title(section);
	_cleanup_free_ char *path = xalloc_print("%s.%s", section_name, title);
	struct config_access *block;

	config->access = xalloc_grow(config->access, config->access_count + 1, sizeof(*block));
	block = &config->access[config->access_count++];
	*block = (struct config_access){
		.title = xalloc_string(title),
		.line = config_line(config, path),
		.is_site = strcmp(section_name, "site") == 0,
	};
	set_section(load, section, section_name, path, block);
}

static void set_values(struct load *load, cfg_t *cfg)
{
	size_t count;
	const struct config_section *sections = config_table_sections(&count);

	for (size_t i = 0; i < count; i++) {
		const char *name = sections[i].name;

		if (!sections[i].titled)
			set_section(load, cfg_getsec(cfg, name), name, name, load->config);
		for (unsigned k = 0; sections[i].titled && k < cfg_size(cfg, name); k++)
			set_block(load, cfg_getnsec(cfg, name, k), name);
	}
}

static bool is_written(const struct config *config, const char *option)
{
	return config_scan_find(config->marks, config->mark_count, option);
}

static void settle_identity(struct load *load, size_t key_count)
{
	struct config *config = load->config;
	struct config_identity *identity = &config->identity;

	if (identity->certificate)
		identity->certificate_is_pem =
			strncmp(identity->certificate, "-----BEGIN", 10) == 0;
	if (!identity->key || !strstr(identity->key, "-----BEGIN"))
		return;
	/* Spelled with escapes it would have passed by the overwriting. */
	if (key_count == 0)
		config_problem(
			load->problems, config->path, config_line(config, "identity.key"),
			"identity.key: the BEGIN line of a key in place must not be split or "
			"escaped");
	explicit_bzero(identity->key, strlen(identity->key));
	free(identity->key);
	identity->key = NULL;
	identity->key_in_place = true;
}

/* A gateway that is dialled by its address is to name that address. (With several gateways each is
 * its own name, which is what NULL stands for.) */
static void settle_peer_name(struct config *config)
{
	char host[ADDR_TEXT];
	struct addr addr;
	uint16_t port;

	if (config->trust.peer_name || config->client.gateways.count != 1)
		return;
	if (addr_host_split(config->client.gateways.items[0], 443, host, sizeof(host), &port) &&
	    addr_parse(host, &addr))
		config->trust.peer_name = xalloc_string(host);
}

static void settle(struct load *load, size_t key_count)
{
	struct config *config = load->config;

	config->role = is_written(config, "client") ? CONFIG_CLIENT : CONFIG_GATEWAY;
	settle_identity(load, key_count);
	if (config->role == CONFIG_CLIENT)
		settle_peer_name(config);
	config->trust.crl_policy_set = is_written(config, "trust.crl-policy");
	config->observers_set = is_written(config, "control.observers");
	config->admins_set = is_written(config, "control.admins");
	config->user_set = is_written(config, "daemon.user");
	if (!config->control_socket)
		config->control_socket = xalloc_print("/run/tund/%s.sock", config->instance);
	if (!config->state_directory)
		config->state_directory = xalloc_print("/var/lib/tund/%s", config->instance);
}

/* The file's name without ".conf". */
static char *name_instance(const char *path, struct config_problems *problems)
{
	const char *slash = strrchr(path, '/');
	char *name = xalloc_string(slash ? slash + 1 : path);
	size_t len = strlen(name);
	bool good;

	if (len > 5 && strcmp(name + len - 5, ".conf") == 0)
		name[len -= 5] = '\0';
	good = len > 0 && len <= INSTANCE_MAX && name[0] != '.';
	for (size_t i = 0; i < len && good; i++)
		good = isalnum((unsigned char)name[i]) || strchr("._-", name[i]);
	if (!good)
		config_problem(problems, path, 0,
			       "the file's name without .conf is the instance's; take letters, "
			       "digits, . _ and -, at most %d, no . first",
			       INSTANCE_MAX);
	return name;
}

/* Grammar, then values, then what they say together. */
static void read_text(struct load *load, const char *text, size_t len, size_t key_count)
{
	struct config *config = load->config;
	_cleanup_(free_cfg) cfg_t *cfg = NULL;
	struct config_scan scan;

	config_scan(config->path, text, len, &scan, load->problems);
	config->marks = take(scan.marks);
	config->mark_count = scan.count;
	scan.count = 0;
	if (!scan.broken) {
		cfg = config_parse(scan.clean);
		if (!cfg)
			config_problem(load->problems, config->path, 0,
				       "is not what libconfuse takes for a configuration");
	}
	config_scan_done(&scan);
	if (!cfg)
		return;
	set_values(load, cfg);
	settle(load, key_count);
	config_check(config, load->problems);
}

/* By line, those of one line as they were found: values are converted section by section. */
static void sort_problems(struct config_problems *problems, size_t from)
{
	for (size_t i = from + 1; i < problems->count; i++) {
		struct config_problem problem = problems->items[i];
		size_t k = i;

		for (; k > from && problems->items[k - 1].line > problem.line; k--)
			problems->items[k] = problems->items[k - 1];
		problems->items[k] = problem;
	}
}

struct config *config_load_text(const char *path, char *text, size_t len, bool closed,
				struct config_problems *problems)
{
	_cleanup_(free_config) struct config *config = xnew(struct config);
	_cleanup_free_ char *directory = xalloc_string(path);
	struct load load = {.config = config, .directory = directory, .problems = problems};
	size_t before = problems->count, told;
	size_t key_count;
	char *slash = strrchr(directory, '/');
	bool is_whole;

	if (slash)
		*slash = '\0';
	config->path = xalloc_string(path);
	config->instance = name_instance(path, problems);
	told = problems->count;
	key_count = config_text_blank_keys(path, text, len, problems);
	is_whole = problems->count == told;
	if (key_count > 0 && !closed)
		config_problem(problems, path, 0,
			       "holds a private key and others than its owner may read it; chmod "
			       "go-rwx, and take the key for known");
	if (memchr(text, '\0', len))
		config_problem(problems, path, 0, "holds a zero byte; a configuration is text");
	else if (is_whole) /* else it is overwritten to its end: more problems would mislead */
		read_text(&load, text, len, key_count);
	sort_problems(problems, before);
	return problems->count == before ? take(config) : NULL;
}

static char *make_absolute(const char *path)
{
	_cleanup_free_ char *here = NULL;

	if (path[0] == '/')
		return xalloc_string(path);
	here = getcwd(NULL, 0);
	return xalloc_print("%s/%s", here ? here : "", path);
}

struct config *config_load(const char *path, struct config_problems *problems)
{
	_cleanup_free_ char *absolute = make_absolute(path);
	struct config_text text;
	struct config *config;

	if (!config_text_read(absolute, &text, problems))
		return NULL;
	config = config_load_text(absolute, text.bytes, text.len, text.closed, problems);
	config_text_wipe(&text);
	return config;
}
