/* tunctl: a daemon's answer as every command prints it. The first byte chooses the command.
 * Whatever the answer says, what is printed is ASCII in lines. */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../tunctl/arguments.h"
#include "../../tunctl/ask.h"
#include "../../tunctl/certificates.h"
#include "../../tunctl/commands.h"
#include "wire/ctl_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *answer;
static size_t answer_len;

/* In place of tunctl/ask.c: the daemon has answered. */
int ask_run(const struct arguments *arguments, json_t *request, bool changes, ask_render_fn render)
{
	char error[120];
	json_t *reply = ctl_msg_parse_reply((const char *)answer, answer_len, error, sizeof(error));

	(void)changes;
	(void)arguments;
	assert(request);
	json_decref(request);
	if (reply && render)
		render(reply);
	json_decref(reply);
	return 0;
}

/* One line of many, or the last. */
int ask_follow(const struct arguments *arguments, json_t *request, ask_render_fn render)
{
	char error[120];
	bool is_last;
	json_t *line = ctl_msg_parse_stream((const char *)answer, answer_len, &is_last, error,
					    sizeof(error));

	(void)arguments;
	json_decref(request);
	if (line)
		render(line);
	json_decref(line);
	return 0;
}

/* In place of tunctl/certificates.c: there is a file with one. */
json_t *certificates_read(const char *path, json_t **ret)
{
	(void)path;
	*ret = json_pack("[s]", "certificate");
	return NULL;
}

int ask_fail(const struct arguments *arguments, json_t *error)
{
	(void)arguments;
	assert(ctl_msg_string(error, "error"));
	json_decref(error);
	return CTL_EXIT_USAGE;
}

static const struct {
	int (*run)(const struct arguments *arguments);
	const char *words[3];
} commands[] = {
	{status_main, {"status"}},
	{sessions_main, {"sessions"}},
	{show_main, {"show", "session", "17"}},
	{show_main, {"show", "identity", "alice"}},
	{disconnect_main, {"disconnect", "alice"}},
	{revoke_main, {"revoke", "alice"}},
	{unrevoke_main, {"unrevoke", "alice"}},
	{revoked_main, {"revoked"}},
	{trust_main, {"trust"}},
	{verify_main, {"verify", "file"}},
	{watch_main, {"watch"}},
	{metrics_main, {"metrics"}},
	{reload_main, {"reload"}},
	{explain_main, {"explain", "1a2b3c4d"}},
};

static void run_command(size_t which)
{
	char *words[3];
	struct arguments arguments = {.words = words};

	for (; arguments.word_count < 3; arguments.word_count++) {
		const char *word = commands[which].words[arguments.word_count];

		if (!word)
			break;
		words[arguments.word_count] = (char *)word;
	}
	commands[which].run(&arguments);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FILE *out = stdout, *err = stderr;
	char *text = NULL;
	size_t len = 0;

	if (size == 0)
		return 0;
	answer = data + 1;
	answer_len = size - 1;
	setenv("TZ", "UTC", 1);
	stdout = open_memstream(&text, &len);
	assert(stdout);
	stderr = stdout;
	run_command(data[0] % (sizeof(commands) / sizeof(*commands)));
	fclose(stdout);
	stdout = out;
	stderr = err;
	for (size_t i = 0; i < len; i++)
		assert(text[i] == '\n' || ((unsigned char)text[i] >= 0x20 && text[i] != 0x7f &&
					   (unsigned char)text[i] < 0x80));
	free(text);
	return 0;
}
