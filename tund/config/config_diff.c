/* By the table: each kind of option is compared in its own way, what is copied is only what options
 * that need a restart are made of. */
#include "config/config_diff.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "config/config_sites.h"
#include "config/config_table.h"
#include "config/config_values.h"

/* ---- one option ---- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_texts(const struct config_strings *a, const struct config_strings *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++)
		same = strcmp(a->items[i], b->items[i]) == 0;
	return same;
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
	struct addr x = addr_of_endpoint(a), y = addr_of_endpoint(b);

	return addr_equal(&x, &y) && addr_port(a) == addr_port(b);
}

static bool same_endpoints(const struct config_endpoints *a, const struct config_endpoints *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++)
		same = same_endpoint(&a->items[i], &b->items[i]);
	return same;
}

static bool same_rule(const struct config_rule *a, const struct config_rule *b)
{
	bool same = prefix_equal(&a->net, &b->net) && a->protocol == b->protocol &&
		    a->any_protocol == b->any_protocol && a->port_count == b->port_count;

	for (size_t i = 0; same && i < a->port_count; i++)
		same = a->ports[i].first == b->ports[i].first &&
		       a->ports[i].last == b->ports[i].last;
	return same;
}

static bool same_rules(const struct config_rules *a, const struct config_rules *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++)
		same = same_rule(&a->items[i], &b->items[i]);
	return same;
}

static bool same_routes(const struct config_client *a, const struct config_client *b)
{
	return a->routes_accept == b->routes_accept && prefix_list_equal(&a->routes, &b->routes);
}

static bool same_value(const struct config_option *option, const void *a, const void *b)
{
	switch (option->kind) {
	case CONFIG_TEXT:
	case CONFIG_PATH:
	case CONFIG_CERTIFICATE:
	case CONFIG_KEY:
	case CONFIG_INTERFACE:
	case CONFIG_ACCOUNT:
	case CONFIG_HOST:
	case CONFIG_GROUPS:
		return same_text(*(char *const *)a, *(char *const *)b);
	case CONFIG_BOOL:
	case CONFIG_SWITCH:
		return *(const bool *)a == *(const bool *)b;
	case CONFIG_WORD: /* every enum of config.h is of an int's size */
	case CONFIG_NUMBER:
	case CONFIG_PERCENT:
	case CONFIG_AUTO_NUMBER:
		return *(const unsigned *)a == *(const unsigned *)b;
	case CONFIG_DURATION:
		return *(const int64_t *)a == *(const int64_t *)b;
	case CONFIG_TEXTS:
	case CONFIG_AUTHORITIES:
	case CONFIG_LISTS:
	case CONFIG_DOMAINS:
	case CONFIG_DIALS:
	case CONFIG_CONDITIONS:
		return same_texts(a, b);
	case CONFIG_LISTENS:
		return same_endpoints(a, b);
	case CONFIG_ADDRESSES:
	case CONFIG_PREFIXES:
		return prefix_list_equal(a, b);
	case CONFIG_ROUTES:
		return same_routes(a, b);
	case CONFIG_RULES:
		return same_rules(a, b);
	case CONFIG_KINDS:
		break;
	}
	assert(!"a kind without a comparison");
	return false;
}

/* ---- the lists ---- */

static void add_name(char ***list, size_t *count, const char *name)
{
	for (size_t i = 0; i < *count; i++) {
		if (strcmp((*list)[i], name) == 0)
			return;
	}
	*list = xalloc_grow(*list, *count + 1, sizeof(**list));
	(*list)[(*count)++] = xalloc_string(name);
}

void config_diff_add(struct config_diff *diff, const char *name)
{
	add_name(&diff->changed, &diff->changed_count, name);
}

static void add_option(struct config_diff *diff, const struct config_option *option,
		       const char *section)
{
	_cleanup_free_ char *name = xalloc_print("%s.%s", section, option->key);

	if (option->restart)
		add_name(&diff->restart, &diff->restart_count, name);
	else
		config_diff_add(diff, name);
}

void config_diff_done(struct config_diff *diff)
{
	for (size_t i = 0; i < diff->changed_count; i++)
		free(diff->changed[i]);
	for (size_t i = 0; i < diff->restart_count; i++)
		free(diff->restart[i]);
	free(diff->changed);
	free(diff->restart);
	*diff = (struct config_diff){0};
}

/* ---- sections ---- */

/* title: NULL for a section that has none. a and b: what the options' places count from. */
static void compare_section(const char *section, const char *title, const void *a, const void *b,
			    struct config_diff *diff)
{
	size_t count;
	const struct config_option *options = config_table_options(&count);
	_cleanup_free_ char *name =
		title ? xalloc_print("%s.%s", section, title) : xalloc_string(section);

	for (size_t i = 0; i < count; i++) {
		const struct config_option *option = &options[i];

		if (strcmp(option->section, section) == 0 &&
		    !same_value(option, (const char *)a + option->place,
				(const char *)b + option->place))
			add_option(diff, option, name);
	}
}

static const char *section_of(const struct config_access *block)
{
	return block->is_site ? "site" : "access";
}

static const struct config_access *find_block(const struct config *config,
					      const struct config_access *like)
{
	for (size_t i = 0; i < config->access_count; i++) {
		const struct config_access *block = &config->access[i];

		if (block->is_site == like->is_site && strcmp(block->title, like->title) == 0)
			return block;
	}
	return NULL;
}

/* The blocks of one that the other has not. */
static void compare_titles(const struct config *config, const struct config *other,
			   const char *what, struct config_diff *diff)
{
	for (size_t i = 0; i < config->access_count; i++) {
		const struct config_access *block = &config->access[i];
		_cleanup_free_ char *name =
			xalloc_print("%s.%s %s", section_of(block), block->title, what);

		if (!find_block(other, block))
			config_diff_add(diff, name);
	}
}

static void compare_blocks(const struct config *before, const struct config *now,
			   struct config_diff *diff)
{
	for (size_t i = 0; i < now->access_count; i++) {
		const struct config_access *block = &now->access[i];
		const struct config_access *old = find_block(before, block);

		if (old)
			compare_section(section_of(block), block->title, old, block, diff);
	}
	compare_titles(now, before, "added", diff);
	compare_titles(before, now, "removed", diff);
}

void config_diff_find(const struct config *before, const struct config *now,
		      struct config_diff *ret)
{
	size_t count;
	const struct config_section *sections = config_table_sections(&count);

	*ret = (struct config_diff){0};
	for (size_t i = 0; i < count; i++) {
		if (!sections[i].titled)
			compare_section(sections[i].name, NULL, before, now, ret);
	}
	compare_blocks(before, now, ret);
	/* Written as what it is without being written, it asks for lists where none are named. */
	if (before->trust.crl_policy_set != now->trust.crl_policy_set)
		config_diff_add(ret, "trust.crl-policy");
}

/* ---- what is in force ---- */

static void copy_value(const struct config_option *option, void *to, const void *from)
{
	config_values_done(option, to);
	switch (option->kind) {
	case CONFIG_TEXT:
	case CONFIG_PATH:
	case CONFIG_INTERFACE:
	case CONFIG_ACCOUNT: {
		const char *text = *(char *const *)from;

		*(char **)to = text ? xalloc_string(text) : NULL;
		return;
	}
	case CONFIG_SWITCH:
		*(bool *)to = *(const bool *)from;
		return;
	case CONFIG_AUTO_NUMBER:
		*(unsigned *)to = *(const unsigned *)from;
		return;
	case CONFIG_LISTENS: {
		const struct config_endpoints *list = from;

		*(struct config_endpoints *)to = (struct config_endpoints){
			xalloc_copy(list->items, list->count * sizeof(*list->items)),
			list->count,
		};
		return;
	}
	case CONFIG_PREFIXES: {
		const struct prefix_list *list = from;

		*(struct prefix_list *)to = (struct prefix_list){0};
		for (size_t i = 0; i < list->count; i++)
			prefix_list_add(to, &list->items[i]);
		return;
	}
	default:
		assert(!"a kind that no option that needs a restart has had so far");
	}
}

void config_diff_keep(struct config *now, const struct config *running)
{
	size_t count;
	const struct config_option *options = config_table_options(&count);

	for (size_t i = 0; i < count; i++) {
		if (options[i].restart)
			copy_value(&options[i], (char *)now + options[i].place,
				   (const char *)running + options[i].place);
	}
	now->observers_set = running->observers_set;
	now->admins_set = running->admins_set;
	now->user_set = running->user_set;
}

void config_diff_check(const struct config *now, struct config_problems *problems)
{
	size_t before = problems->count;

	if (now->role != CONFIG_GATEWAY)
		return;
	config_sites_check(now, problems);
	if (problems->count > before)
		config_problem(problems, now->path, config_line(now, "gateway.pool"),
			       "gateway.pool and gateway.listen stay as they are until a restart, "
			       "and the sites do not fit them; restart, or change the sites later");
}
