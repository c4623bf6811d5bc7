#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"

enum {
	WORDS_MAX = 8,
	LOOK_MS = 10, /* is the command done? */
	SETTLE_US = 1000000,
	PATIENCE_S = 120,
	PACKET_BYTES = 128,
	LINE_MAX_BYTES = 1000,
	CHURN_WAIT_US = 20 * 1000000,
};

struct commands {
	struct crowd *crowd;
	struct stream *stream;
	struct endpoint echo;
	uv_timer_t look;
	struct buf text; /* lines that wait */
	bool ended;
	/* the one under way */
	const struct command *now;
	size_t target;
	int64_t began_us, until_us;
	double rate, owed;
	size_t churned, next;
	bool settling;
};

struct command {
	const char *name;
	int least, most; /* arguments */
	/* NULL, or what is wrong with the arguments. */
	const char *(*begin)(struct commands *commands, char **words, int count);
	bool (*is_done)(struct commands *commands); /* NULL: at once */
	json_t *(*answer)(struct commands *commands);
};

static void say(json_t *answer)
{
	char *text = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(7));

	printf("%s\n", text);
	fflush(stdout);
	free(text);
	json_decref(answer);
}

static double number(const char *word)
{
	return strtod(word, NULL);
}

static size_t devices(const struct commands *commands, const char *word)
{
	size_t count = strcmp(word, "all") == 0 ? commands->crowd->count : (size_t)number(word);

	return count < commands->crowd->count ? count : commands->crowd->count;
}

static void set_time(struct commands *commands, double seconds)
{
	commands->until_us = clock_now_us() + (int64_t)(seconds * (double)CLOCK_SECOND_US);
}

static bool is_late(struct commands *commands)
{
	return clock_now_us() >= commands->until_us;
}

static json_t *report(struct commands *commands)
{
	return crowd_report(commands->crowd);
}

/* ---- connect, back, hold, mark ---- */

static const char *begin_connect(struct commands *commands, char **words, int count)
{
	crowd_mark(commands->crowd);
	crowd_want(commands->crowd, devices(commands, words[0]));
	set_time(commands, count > 1 ? number(words[1]) : PATIENCE_S);
	return NULL;
}

static const char *begin_back(struct commands *commands, char **words, int count)
{
	set_time(commands, count ? number(words[0]) : PATIENCE_S);
	return NULL;
}

static bool is_complete(struct commands *commands)
{
	return crowd_is_complete(commands->crowd) || is_late(commands);
}

static const char *begin_hold(struct commands *commands, char **words, int count)
{
	(void)count;
	crowd_mark(commands->crowd);
	set_time(commands, number(words[0]));
	return NULL;
}

static const char *begin_mark(struct commands *commands, char **words, int count)
{
	(void)words;
	(void)count;
	crowd_mark(commands->crowd);
	return NULL;
}

static const char *begin_nothing(struct commands *commands, char **words, int count)
{
	(void)commands;
	(void)words;
	(void)count;
	return NULL;
}

static const char *begin_at_once(struct commands *commands, char **words, int count)
{
	(void)count;
	commands->crowd->at_once = (size_t)number(words[0]);
	return NULL;
}

/* ---- drop, leave ---- */

static const char *begin_drop(struct commands *commands, char **words, int count)
{
	bool silently = count > 1 && strcmp(words[1], "silently") == 0;

	if (count > 1 && !silently)
		return "the second word may be \"silently\"";
	for (size_t i = 0; i < devices(commands, words[0]); i++)
		crowd_drop(commands->crowd, &commands->crowd->devices[i], silently);
	return NULL;
}

static const char *begin_leave(struct commands *commands, char **words, int count)
{
	(void)count;
	for (size_t i = 0; i < devices(commands, words[0]); i++)
		crowd_leave(commands->crowd, &commands->crowd->devices[i]);
	return NULL;
}

/* ---- churn ---- */

static const char *begin_churn(struct commands *commands, char **words, int count)
{
	(void)count;
	crowd_mark(commands->crowd);
	commands->rate = number(words[0]);
	commands->churned = 0;
	commands->owed = 0;
	commands->began_us = clock_now_us();
	commands->settling = false;
	set_time(commands, number(words[1]));
	return NULL;
}

/* The next that is up loses its connection without a word and comes back with its cookie. */
static void churn_one(struct commands *commands)
{
	struct crowd *crowd = commands->crowd;

	for (size_t i = 0; i < crowd->count; i++) {
		struct device *device = &crowd->devices[commands->next++ % crowd->count];

		if (device->state != DEVICE_UP || !device->wanted)
			continue;
		device_drop(device, false);
		commands->churned++;
		return;
	}
}

static bool is_churned(struct commands *commands)
{
	int64_t now_us = clock_now_us();

	if (commands->settling)
		return is_complete(commands);
	commands->owed += commands->rate * (double)(now_us - commands->began_us) / CLOCK_SECOND_US;
	commands->began_us = now_us;
	for (; commands->owed >= 1; commands->owed -= 1)
		churn_one(commands);
	if (is_late(commands)) {
		commands->settling = true;
		commands->until_us = now_us + CHURN_WAIT_US;
	}
	return false;
}

static json_t *report_churn(struct commands *commands)
{
	json_t *answer = report(commands);

	json_object_set_new(answer, "churned", json_integer((json_int_t)commands->churned));
	return answer;
}

/* ---- traffic, ping ---- */

static const char *begin_traffic(struct commands *commands, char **words, int count)
{
	struct stream_options options = {
		.echo = commands->echo,
		.devices = devices(commands, words[0]),
		.size = count > 3 ? (size_t)number(words[3]) : PACKET_BYTES,
	};

	if (commands->echo.any.sa_family != AF_INET)
		return "--echo names nobody who would answer";
	options.rate = number(words[1]) * (double)options.devices;
	stream_start(commands->stream, &options);
	commands->settling = false;
	set_time(commands, number(words[2]));
	return NULL;
}

static bool is_stream_done(struct commands *commands)
{
	if (!is_late(commands))
		return false;
	if (commands->settling)
		return true;
	commands->settling = true;
	stream_stop(commands->stream);
	commands->until_us += SETTLE_US;
	return false;
}

static json_t *report_stream(struct commands *commands)
{
	return stream_report(commands->stream);
}

/* In the background, until "ping-end". */
static const char *begin_ping(struct commands *commands, char **words, int count)
{
	struct stream_options options = {
		.echo = commands->echo,
		.devices = devices(commands, words[0]),
		.size = PACKET_BYTES,
	};

	(void)count;
	if (commands->echo.any.sa_family != AF_INET)
		return "--echo names nobody who would answer";
	if (number(words[1]) <= 0)
		return "the second word is an interval in milliseconds";
	options.rate = 1000 / number(words[1]) * (double)options.devices;
	stream_start(commands->stream, &options);
	return NULL;
}

static const char *begin_ping_end(struct commands *commands, char **words, int count)
{
	(void)words;
	(void)count;
	stream_stop(commands->stream);
	commands->until_us = clock_now_us() + SETTLE_US;
	return NULL;
}

/* ---- handshakes ---- */

static const char *begin_handshakes(struct commands *commands, char **words, int count)
{
	struct crowd *crowd = commands->crowd;

	(void)count;
	if (crowd->wanted)
		return "needs a crowd of which nobody is connected: drop all";
	crowd_mark(crowd);
	crowd->world.only_handshakes = true;
	crowd_want(crowd, crowd->count);
	commands->began_us = clock_now_us();
	set_time(commands, number(words[0]));
	return NULL;
}

static json_t *report_handshakes(struct commands *commands)
{
	struct crowd *crowd = commands->crowd;
	double seconds = (double)(clock_now_us() - commands->began_us) / CLOCK_SECOND_US;
	json_t *answer = report(commands);

	json_object_set_new(answer, "seconds", json_real(seconds));
	json_object_set_new(answer, "handshakes_per_s",
			    json_real((double)crowd->world.counts.handshakes / seconds));
	for (size_t i = 0; i < crowd->count; i++)
		crowd_drop(crowd, &crowd->devices[i], false);
	crowd->world.only_handshakes = false;
	return answer;
}

/* ---- addresses ---- */

static json_t *print_addr(const struct addr *addr)
{
	char text[ADDR_TEXT];

	return addr->family ? json_string(addr_print(addr, text)) : json_null();
}

/* [[number, v4, v6, v4 at the last mark, v6 at the last mark], ...] */
static json_t *report_addresses(struct commands *commands)
{
	json_t *list = json_array();

	for (size_t i = 0; i < commands->crowd->count; i++) {
		const struct device *device = &commands->crowd->devices[i];

		json_array_append_new(list,
				      json_pack("[I, o, o, o, o]", (json_int_t)device->number,
						print_addr(&device->v4), print_addr(&device->v6),
						print_addr(&device->was_v4),
						print_addr(&device->was_v6)));
	}
	return json_pack("{s:o}", "addresses", list);
}

/* ---- one after the other ---- */

static const struct command table[] = {
	{"connect", 1, 2, begin_connect, is_complete, report},
	{"back", 0, 1, begin_back, is_complete, report},
	{"hold", 1, 1, begin_hold, is_late, report},
	{"churn", 2, 2, begin_churn, is_churned, report_churn},
	{"traffic", 3, 4, begin_traffic, is_stream_done, report_stream},
	{"ping", 2, 2, begin_ping, NULL, report},
	{"ping-end", 0, 0, begin_ping_end, is_late, report_stream},
	{"handshakes", 1, 1, begin_handshakes, is_late, report_handshakes},
	{"drop", 1, 2, begin_drop, NULL, report},
	{"leave", 1, 1, begin_leave, NULL, report},
	{"mark", 0, 0, begin_mark, NULL, report},
	{"at-once", 1, 1, begin_at_once, NULL, report},
	{"report", 0, 0, begin_nothing, NULL, report},
	{"addresses", 0, 0, begin_nothing, NULL, report_addresses},
};

static void complain(const char *name, const char *text)
{
	say(json_pack("{s:s, s:s}", "command", name, "error", text));
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	}
	return NULL;
}

static void begin(struct commands *commands, char *line)
{
	char *words[WORDS_MAX + 1], *rest = line, *word;
	const struct command *command;
	const char *error;
	int count = 0;

	while (count < WORDS_MAX && (word = strsep(&rest, " \t\r"))) {
		if (*word)
			words[count++] = word;
	}
	if (count == 0 || words[0][0] == '#')
		return;
	command = find(words[0]);
	if (!command) {
		complain(words[0], "no such command");
		return;
	}
	if (count - 1 < command->least || count - 1 > command->most) {
		complain(words[0], "too few or too many words behind it");
		return;
	}
	error = command->begin(commands, words + 1, count - 1);
	if (error)
		complain(words[0], error);
	else
		commands->now = command;
}

static void finish(struct commands *commands)
{
	const struct command *command = commands->now;
	json_t *answer = command->answer(commands);

	commands->now = NULL;
	json_object_set_new(answer, "command", json_string(command->name));
	say(answer);
}

/* The next line or what is up to a semicolon. False: there is none that is whole. */
static bool take_line(struct commands *commands, char line[static LINE_MAX_BYTES])
{
	struct buf *text = &commands->text;
	size_t len = 0;

	while (len < text->len && text->data[len] != '\n' && text->data[len] != ';')
		len++;
	if (text->len == 0 || (len == text->len && !commands->ended))
		return false;
	snprintf(line, LINE_MAX_BYTES, "%.*s", (int)len, (char *)text->data);
	buf_consume(text, len < text->len ? len + 1 : len);
	return true;
}

static void run(struct commands *commands)
{
	char line[LINE_MAX_BYTES];

	for (;;) {
		if (commands->now && commands->now->is_done && !commands->now->is_done(commands))
			return;
		if (commands->now)
			finish(commands);
		if (!take_line(commands, line))
			break;
		begin(commands, line);
	}
	if (commands->ended)
		uv_stop(&commands->crowd->loop);
}

static void on_look(uv_timer_t *timer)
{
	run(timer->data);
}

void commands_add(struct commands *commands, const char *text, size_t len)
{
	buf_append(&commands->text, text, len);
}

void commands_end(struct commands *commands)
{
	commands->ended = true;
}

struct commands *commands_new(struct crowd *crowd, struct stream *stream,
			      const struct endpoint *echo)
{
	struct commands *commands = xnew(struct commands);

	commands->crowd = crowd;
	commands->stream = stream;
	commands->echo = *echo;
	uv_timer_init(&crowd->loop, &commands->look);
	commands->look.data = commands;
	uv_timer_start(&commands->look, on_look, LOOK_MS, LOOK_MS);
	return commands;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void commands_free(struct commands *commands)
{
	buf_done(&commands->text);
	uv_close((uv_handle_t *)&commands->look, on_closed);
}
