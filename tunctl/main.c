#include <stdio.h>
#include <string.h>
#include <time.h>

#include "arguments.h"
#include "commands.h"
#include "version.h"
#include "wire/ctl_msg.h"

enum { TAKES_SELECTOR = 1 << 0, TAKES_REASON = 1 << 1, TAKES_ROLE_AND_TIME = 1 << 2 };

/* One row a command. words: how many may follow the name. */
struct command {
	const char *name, *arguments, *about;
	int (*run)(const struct arguments *arguments);
	int words_min, words_max;
	unsigned takes;
};

static const struct command commands[] = {
	{"status", "", "how it goes, warnings first (also without a command)", status_main, 0, 0,
	 0},
	{"sessions", "", "who is connected", sessions_main, 0, 0, 0},
	{"show", "session ID | identity NAME", "everything about one", show_main, 2, 2, 0},
	{"disconnect", "ID | NAME", "drop it; it may come back", disconnect_main, 1, 1, 0},
	{"revoke", "NAME | --serial HEX [--issuer TEXT] | --certificate FILE",
	 "deny it for good and drop its sessions; also --reason TEXT", revoke_main, 0, 1,
	 TAKES_SELECTOR | TAKES_REASON},
	{"unrevoke", "NAME | --serial HEX [--issuer TEXT] | --certificate FILE",
	 "take a denial back", unrevoke_main, 0, 1, TAKES_SELECTOR},
	{"revoked", "", "what is denied here", revoked_main, 0, 0, 0},
	{"explain", "ID", "why the handshake with this short id was refused, and what to do",
	 explain_main, 1, 1, 0},
	{"reload", "", "read the configuration again and apply it to what runs", reload_main, 0, 0,
	 0},
	{"trust", "", "every CA and revocation list, and what they are worth now", trust_main, 0, 0,
	 0},
	{"verify", "FILE [--as device|gateway] [--at TIME]",
	 "what would become of the certificate in the file; TIME is like 2027-01-31T12:00:00Z, or "
	 "+30d",
	 verify_main, 1, 1, TAKES_ROLE_AND_TIME},
	{"watch", "", "what happens, as it happens, until Ctrl-C", watch_main, 0, 0, 0},
	{"metrics", "", "counters and dates in Prometheus' text format", metrics_main, 0, 0, 0},
};

static const char *const not_built[] = {
	"access",
	"confirm",
	"top",
	"doctor",
};

static void print_usage(FILE *out)
{
	fputs("usage: tunctl [-i INSTANCE | -s SOCKET] [-j] [COMMAND ...]\n\n", out);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(out, "  %s%s%s\n        %s\n", commands[i].name,
			commands[i].arguments[0] ? " " : "", commands[i].arguments,
			commands[i].about);
	fputs("\n"
	      "  -i, --instance INSTANCE  the tund of /run/tund/INSTANCE.sock\n"
	      "  -s, --socket SOCKET      the tund that listens there\n"
	      "  -j, --json               print the answer as one JSON object\n"
	      "  -h, --help\n"
	      "      --version\n"
	      "\n"
	      "exit status: 0 done, 1 refused, 2 usage, 3 no daemon, 4 no such session or "
	      "identity,\n"
	      "5 not permitted\n",
	      out);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int refuse_command(const char *name)
{
	for (size_t i = 0; i < sizeof(not_built) / sizeof(*not_built); i++) {
		if (strcmp(not_built[i], name) == 0) {
			fprintf(stderr, "tunctl: `%s` is not built yet\n", name);
			return CTL_EXIT_USAGE;
		}
	}
	fprintf(stderr, "tunctl: there is no command `%s`; see tunctl --help\n", name);
	return CTL_EXIT_USAGE;
}

/* Whether the words and options fit the command. */
static bool fits(const struct command *command, const struct arguments *arguments)
{
	int words = arguments->word_count > 0 ? arguments->word_count - 1 : 0;

	if (words < command->words_min || words > command->words_max)
		return false;
	if (arguments->reason && !(command->takes & TAKES_REASON))
		return false;
	if ((arguments->role || arguments->at) && !(command->takes & TAKES_ROLE_AND_TIME))
		return false;
	return (command->takes & TAKES_SELECTOR) ||
	       !(arguments->serial || arguments->issuer || arguments->certificate);
}

static int run_command(const struct arguments *arguments)
{
	const char *name = arguments->word_count > 0 ? arguments->words[0] : "status";
	const struct command *command = find_command(name);

	if (!command)
		return refuse_command(name);
	if (arguments->not_built) {
		fprintf(stderr, "tunctl: `%s` is not built yet\n", arguments->not_built);
		return CTL_EXIT_USAGE;
	}
	if (!fits(command, arguments)) {
		fprintf(stderr, "usage: tunctl %s%s%s%s\n", command->name,
			command->arguments[0] ? " " : "", command->arguments,
			command->takes & TAKES_REASON ? " [--reason TEXT]" : "");
		return CTL_EXIT_USAGE;
	}
	return command->run(arguments);
}

int main(int argc, char **argv)
{
	struct arguments arguments;

	tzset();
	if (!arguments_read(argc, argv, &arguments)) {
		fputs("see tunctl --help\n", stderr);
		return CTL_EXIT_USAGE;
	}
	if (arguments.version) {
		printf("tunctl %s\n", TUND_VERSION);
		return CTL_EXIT_DONE;
	}
	if (arguments.help) {
		print_usage(stdout);
		return CTL_EXIT_DONE;
	}
	return run_command(&arguments);
}
