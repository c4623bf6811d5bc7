#include "arguments.h"

#include <getopt.h>
#include <stddef.h>

enum { SERIAL = 256, ISSUER, CERTIFICATE, REASON, AS, AT, DRY_RUN, CONFIRM };

/* All of them for every command, so that -j may stand at the end; main says which fit. */
static const struct option options[] = {
	{"instance", required_argument, NULL, 'i'},
	{"socket", required_argument, NULL, 's'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"serial", required_argument, NULL, SERIAL},
	{"issuer", required_argument, NULL, ISSUER},
	{"certificate", required_argument, NULL, CERTIFICATE},
	{"reason", required_argument, NULL, REASON},
	{"as", required_argument, NULL, AS},
	{"at", required_argument, NULL, AT},
	{"dry-run", no_argument, NULL, DRY_RUN},
	{"confirm", required_argument, NULL, CONFIRM},
	{0},
};

static bool take_option(int option, const char *value, struct arguments *arguments)
{
	switch (option) {
	case 'i':
		arguments->instance = value;
		return true;
	case 's':
		arguments->socket = value;
		return true;
	case 'j':
		return arguments->json = true;
	case 'h':
		return arguments->help = true;
	case 'V':
		return arguments->version = true;
	case SERIAL:
		arguments->serial = value;
		return true;
	case ISSUER:
		arguments->issuer = value;
		return true;
	case CERTIFICATE:
		arguments->certificate = value;
		return true;
	case REASON:
		arguments->reason = value;
		return true;
	case AS:
		arguments->role = value;
		return true;
	case AT:
		arguments->at = value;
		return true;
	case DRY_RUN:
		arguments->not_built = "reload --dry-run";
		return true;
	case CONFIRM:
		arguments->not_built = "reload --confirm";
		return true;
	default:
		return false;
	}
}

bool arguments_read(int argc, char **argv, struct arguments *ret)
{
	struct arguments arguments = {0};
	int option;

	while ((option = getopt_long(argc, argv, "i:s:jh", options, NULL)) != -1) {
		if (!take_option(option, optarg, &arguments))
			return false;
	}
	arguments.words = argv + optind;
	arguments.word_count = argc - optind;
	*ret = arguments;
	return true;
}
