#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "parent.h"
#include "version.h"

static const char usage[] =
	"usage: tund [--config FILE] [--check] [--foreground] [--version]\n"
	"\n"
	"  --config FILE  one gateway or client (default /etc/tund/tund.conf)\n"
	"  --check        read the file and what it names, say what is wrong, and exit\n"
	"  --foreground   stay in the foreground, which tund always does\n";

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
	{"foreground", no_argument, NULL, 'f'},	  {"version", no_argument, NULL, 'v'},
	{"help", no_argument, NULL, 'h'},	  {0},
};

static void print_problems(const struct config_problems *problems, const char *kind)
{
	for (size_t i = 0; i < problems->count; i++) {
		const struct config_problem *problem = &problems->items[i];

		fprintf(stderr, "%s:%u: %s%s\n", problem->file, problem->line, kind, problem->text);
	}
}

/* The configuration and all that it names; false with what is wrong printed. */
static bool load(const char *path, bool check, struct parent_kit *kit,
		 struct config_problems *warnings)
{
	struct config_problems problems = {0};
	struct config *config = config_load(path, &problems);
	bool failed;

	kit->config = config;
	if (config)
		material_load(config, &problems, warnings, &kit->material);
	if (config)
		parent_find_accounts(kit, &problems, warnings);
	if (config)
		parent_check_pool(config, config->gateway.interface, &problems);
	if (config && check)
		parent_check_key(kit, &problems);
	print_problems(&problems, "");
	failed = problems.count != 0;
	config_problems_done(&problems);
	return !failed;
}

static void log_warnings(const struct config_problems *warnings)
{
	for (size_t i = 0; i < warnings->count; i++)
		log_warn("%s:%u: %s", warnings->items[i].file, warnings->items[i].line,
			 warnings->items[i].text);
}

/* The exit status. */
static int run(const char *path, bool check)
{
	struct config_problems warnings = {0};
	struct parent_kit kit = {.warnings = &warnings};
	int status = 1;

	if (load(path, check, &kit, &warnings)) {
		if (check) {
			print_problems(&warnings, "warning: ");
			status = 0;
		} else {
			if (geteuid() != 0) {
				fputs("tund: must be started as root: it makes a network device "
				      "and then drops "
				      "what it does not need\n",
				      stderr);
				return 1;
			}
			log_setup(kit.config->log_level, kit.config->log_json, "parent");
			log_warnings(&warnings);
			status = parent_run(&kit);
		}
	}
	buf_done(&kit.spki);
	material_done(&kit.material);
	config_free((struct config *)kit.config);
	config_problems_done(&warnings);
	return status;
}

int main(int argc, char **argv)
{
	const char *path = "/etc/tund/tund.conf";
	bool check = false;
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 'k':
			check = true;
			break;
		case 'f':
			break;
		case 'v':
			printf("tund %s\n", TUND_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	return run(path, check);
}
