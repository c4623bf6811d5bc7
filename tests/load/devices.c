/* Thousands of devices in one process: real certificates, real TLS and DTLS, no TUN.
 *
 *	devices make --ca CA.crt --ca-key CA.key --count 10000 --out FILE
 *	devices run  --ca CA.crt --certificates FILE --count 10000 --gateway 198.51.100.1:443
 *	             --name vpn.corp.example [options] [COMMANDS]
 *	devices echo --listen 10.50.0.10:7
 *
 * Options of run:
 *	--first N       devices N and on of the file (several processes, one file)
 *	--sources A,B   outer addresses, one device after the other (they must be this host's)
 *	--at-once K     attempts under way, 200
 *	--echo A:P      who sends numbered packets back: "devices echo" inside the network
 *	--tls-only      asks for no association
 *
 * COMMANDS, separated by semicolons, else line by line on standard input. Each is answered with a
 * line of JSON: the crowd since the last "mark", which connect, hold and churn set, too.
 *	connect N|all [SECONDS]           so many are up, or the time (120) is over
 *	back [SECONDS]                    all that shall be up are (again); never gives up on one
 *	hold SECONDS                      nothing but keepalives and probes
 *	churn RATE SECONDS                so many a second lose their connection and come back
 *	traffic N|all RATE SECONDS [BYTES]  RATE packets a second each, sent back by --echo
 *	ping N MS                         one packet each MS milliseconds by each of N, until
 *	ping-end                          which tells of loss, order and round trips
 *	handshakes SECONDS                TLS to Finished and closed again, nobody being connected
 *	drop N|all [silently]             closed without a goodbye; silently: not even by TCP
 *	leave N|all                       with a goodbye, and the cookie forgotten
 *	at-once K, mark, report, addresses
 *
 * A device that was lost or refused comes back by itself, as a tund client would, and with the same
 * waits. "failed" counts those attempts and losses by reason word, or by what the network did. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "certificates.h"
#include "commands.h"
#include "crowd.h"
#include "echo.h"
#include "stream.h"

enum { PROGRESS_MS = 500, SOURCES_MAX = 256, AT_ONCE = 200 };

struct arguments {
	const char *ca, *ca_key, *out, *certificates, *gateway, *name, *sources, *listen, *echo;
	size_t first, count, at_once;
	bool tls_only;
};

struct program {
	struct crowd crowd;
	struct stream stream;
	struct commands *commands;
	uv_timer_t progress;
	uv_poll_t input;
};

static int usage(void)
{
	fprintf(stderr, "usage: devices make|run|echo ...: see tests/load/devices.c\n");
	return 2;
}

static bool read_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{"ca", 1, NULL, 'a'},	    {"ca-key", 1, NULL, 'k'},
		{"out", 1, NULL, 'o'},	    {"certificates", 1, NULL, 'c'},
		{"gateway", 1, NULL, 'g'},  {"name", 1, NULL, 'n'},
		{"sources", 1, NULL, 's'},  {"listen", 1, NULL, 'l'},
		{"echo", 1, NULL, 'e'},	    {"first", 1, NULL, 'f'},
		{"count", 1, NULL, 'N'},    {"at-once", 1, NULL, 'K'},
		{"tls-only", 0, NULL, 't'}, {NULL, 0, NULL, 0},
	};
	int option;

	*ret = (struct arguments){.at_once = AT_ONCE, .count = 1};
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		const char **text = option == 'a'   ? &ret->ca
				    : option == 'k' ? &ret->ca_key
				    : option == 'o' ? &ret->out
				    : option == 'c' ? &ret->certificates
				    : option == 'g' ? &ret->gateway
				    : option == 'n' ? &ret->name
				    : option == 's' ? &ret->sources
				    : option == 'l' ? &ret->listen
				    : option == 'e' ? &ret->echo
						    : NULL;
		size_t *size = option == 'f'   ? &ret->first
			       : option == 'N' ? &ret->count
			       : option == 'K' ? &ret->at_once
					       : NULL;

		if (text)
			*text = optarg;
		else if (size)
			*size = strtoul(optarg, NULL, 10);
		else if (option == 't')
			ret->tls_only = true;
		else
			return false;
	}
	return ret->count > 0;
}

/* ---- run ---- */

static size_t read_sources(const char *text, struct addr sources[static SOURCES_MAX])
{
	char *list = xalloc_string(text ? text : ""), *rest = list, *word;
	size_t count = 0;

	while (count < SOURCES_MAX && (word = strsep(&rest, ","))) {
		if (*word && addr_parse(word, &sources[count]))
			count++;
	}
	free(list);
	return count;
}

static void on_progress(uv_timer_t *timer)
{
	struct program *program = timer->data;
	const struct crowd *crowd = &program->crowd;
	double span_s = (double)(crowd->last_up_us - crowd->first_up_us) / CLOCK_SECOND_US;
	uint64_t failed = 0;

	for (size_t i = 0; i < CROWD_WORDS_MAX; i++)
		failed += crowd->failed[i].count;
	fprintf(stderr, "\r\033[K%zu up, %zu connecting, %zu waiting, %lu failed, %.0f/s",
		crowd_up(crowd), crowd_under_way(crowd), crowd->by_state[DEVICE_WAITING],
		(unsigned long)failed, span_s > 0 ? (double)crowd->ups / span_s : 0.0);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
	struct program *program = poll->data;
	char text[4096];
	ssize_t len = read(STDIN_FILENO, text, sizeof(text));

	(void)status;
	(void)events;
	if (len > 0) {
		commands_add(program->commands, text, (size_t)len);
		return;
	}
	commands_end(program->commands);
	uv_close((uv_handle_t *)poll, NULL);
}

/* What poll cannot wait for (a file) is there in whole. */
static void read_input(struct program *program)
{
	char text[4096];
	ssize_t len;

	if (uv_poll_init(&program->crowd.loop, &program->input, STDIN_FILENO) == 0) {
		program->input.data = program;
		uv_poll_start(&program->input, UV_READABLE, on_input);
		return;
	}
	while ((len = read(STDIN_FILENO, text, sizeof(text))) > 0)
		commands_add(program->commands, text, (size_t)len);
	commands_end(program->commands);
}

static bool read_options(const struct arguments *arguments, struct addr *sources,
			 struct crowd_options *ret, struct endpoint *ret_echo)
{
	*ret = (struct crowd_options){
		.gateway_name = arguments->name,
		.ca = arguments->ca,
		.certificates = arguments->certificates,
		.sources = sources,
		.source_count = read_sources(arguments->sources, sources),
		.first = arguments->first,
		.count = arguments->count,
		.at_once = arguments->at_once,
		.with_dtls = !arguments->tls_only,
	};
	*ret_echo = (struct endpoint){0};
	if (!arguments->gateway || !arguments->name || !arguments->ca || !arguments->certificates) {
		fprintf(stderr, "devices: run needs --gateway, --name, --ca and --certificates\n");
		return false;
	}
	if (!addr_endpoint_parse(arguments->gateway, 443, &ret->gateway) ||
	    (arguments->echo && !addr_endpoint_parse(arguments->echo, 7, ret_echo))) {
		fprintf(stderr, "devices: --gateway and --echo are ADDRESS:PORT\n");
		return false;
	}
	return true;
}

static int run(const struct arguments *arguments, char **words, int count)
{
	static struct program program;
	struct addr sources[SOURCES_MAX];
	struct crowd_options options;
	struct endpoint echo;
	char error[512] = "";

	if (!read_options(arguments, sources, &options, &echo))
		return 2;
	if (!crowd_init(&program.crowd, &options, error, sizeof(error))) {
		fprintf(stderr, "devices: %s\n", error);
		return 1;
	}
	stream_init(&program.stream, &program.crowd);
	program.commands = commands_new(&program.crowd, &program.stream, &echo);
	uv_timer_init(&program.crowd.loop, &program.progress);
	program.progress.data = &program;
	if (isatty(STDERR_FILENO))
		uv_timer_start(&program.progress, on_progress, PROGRESS_MS, PROGRESS_MS);
	for (int i = 0; i < count; i++) {
		commands_add(program.commands, words[i], strlen(words[i]));
		commands_add(program.commands, i + 1 < count ? " " : "\n", 1);
	}
	if (count)
		commands_end(program.commands);
	else
		read_input(&program);
	uv_run(&program.crowd.loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&program.progress, NULL);
	commands_free(program.commands);
	stream_done(&program.stream);
	crowd_done(&program.crowd);
	return 0;
}

int main(int argc, char **argv)
{
	struct arguments arguments;
	char error[512];

	log_setup(LOG_LEVEL_WARN, false, "devices");
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || !read_arguments(argc - 1, argv + 1, &arguments))
		return usage();
	if (strcmp(argv[1], "run") == 0)
		return run(&arguments, argv + 1 + optind, argc - 1 - optind);
	if (strcmp(argv[1], "echo") == 0 && arguments.listen)
		return echo_run(arguments.listen);
	if (strcmp(argv[1], "make") != 0 || !arguments.ca || !arguments.ca_key || !arguments.out)
		return usage();
	if (certificates_make(arguments.ca, arguments.ca_key, arguments.count, arguments.out, error,
			      sizeof(error)))
		return 0;
	fprintf(stderr, "devices: %s\n", error);
	return 1;
}
