#include "ask.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "field.h"
#include "instance.h"
#include "wire/ctl_msg.h"

/* A change waits for workers and for the disk. */
enum { LOOK_S = 15, CHANGE_S = 30, READ_SIZE = 65536 };

struct exchange {
	const char *path;
	bool changes;
	int fd;
	int64_t deadline_us;
};

static unsigned timeout_s(const struct exchange *exchange)
{
	return exchange->changes ? CHANGE_S : LOOK_S;
}

/* ---- what can go wrong ---- */

static json_t *refuse_connect(const struct exchange *exchange, int error)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		return ctl_msg_error(CTL_EXIT_NO_DAEMON,
				     "no tund is running (nobody listens on %s)", exchange->path);
	case EACCES:
	case EPERM:
		return ctl_msg_error(CTL_EXIT_NOT_PERMITTED,
				     "not permitted: %s; be root or a member of its group",
				     exchange->path);
	default:
		return ctl_msg_error(CTL_EXIT_NO_DAEMON, "%s: %s", exchange->path, strerror(error));
	}
}

/* Once a change was asked for, silence is no answer to whether it was made. */
static json_t *refuse_answer(const struct exchange *exchange, const char *what)
{
	return ctl_msg_error(CTL_EXIT_NO_DAEMON, "%s%s", what,
			     exchange->changes ? "; whether it was done is not known" : "");
}

static json_t *refuse_silence(const struct exchange *exchange)
{
	char text[64];

	snprintf(text, sizeof(text), "tund does not answer (%u s)", timeout_s(exchange));
	return refuse_answer(exchange, text);
}

/* ---- the exchange: each step returns NULL, or what went wrong ---- */

static json_t *connect_socket(struct exchange *exchange)
{
	const struct timeval limit = {.tv_sec = timeout_s(exchange)};
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, exchange->path, strlen(exchange->path));
	exchange->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* A full backlog keeps connect waiting, a daemon that does not read keeps send. */
	if (exchange->fd < 0 ||
	    setsockopt(exchange->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(exchange->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == EAGAIN ? refuse_silence(exchange) : refuse_connect(exchange, errno);
	return NULL;
}

static json_t *send_request(const struct exchange *exchange, const json_t *request)
{
	size_t len, sent = 0;
	_cleanup_free_ char *line = ctl_msg_print(request, &len);

	if (len - 1 > CTL_MSG_REQUEST_MAX)
		return ctl_msg_error(CTL_EXIT_USAGE, "more than tund takes (%d bytes)",
				     CTL_MSG_REQUEST_MAX);
	while (sent < len) {
		ssize_t n = send(exchange->fd, line + sent, len - sent, MSG_NOSIGNAL);

		/* Who closes early may have said why: it is read next. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return NULL;
		if (n < 0 && errno == EAGAIN)
			return refuse_silence(exchange);
		if (n < 0 && errno != EINTR)
			return refuse_answer(exchange, strerror(errno));
		sent += n > 0 ? (size_t)n : 0;
	}
	return NULL;
}

static json_t *wait_readable(const struct exchange *exchange)
{
	struct pollfd poll_fd = {.fd = exchange->fd, .events = POLLIN};
	int64_t left_ms;
	int r;

	do {
		left_ms = (exchange->deadline_us - clock_now_us()) / CLOCK_MS_US;
		r = poll(&poll_fd, 1, left_ms > 0 ? (int)left_ms : 0);
	} while (r < 0 && errno == EINTR);
	return r == 0 ? refuse_silence(exchange) : NULL;
}

static json_t *refuse_end(const struct exchange *exchange, size_t len)
{
	char text[80];

	if (len == 0)
		return refuse_answer(exchange, "tund has closed the connection without an answer");
	snprintf(text, sizeof(text), "tund's answer was cut off after %zu bytes", len);
	return refuse_answer(exchange, text);
}

/* The deadline is one for all of it: an answer that trickles in does not hold us for ever.
 * Up to the newline, which is not counted in ret_len. */
static json_t *read_line(const struct exchange *exchange, struct buf *line, size_t *ret_len)
{
	for (;;) {
		uint8_t *room = buf_reserve(line, READ_SIZE), *end;
		json_t *error = room ? wait_readable(exchange) : NULL;
		ssize_t n;

		if (!room)
			return refuse_answer(exchange, "tund's answer is too long");
		if (error)
			return error;
		n = read(exchange->fd, room, READ_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return refuse_end(exchange, line->len);
		line->len += (size_t)n;
		end = memchr(room, '\n', (size_t)n);
		if (end) {
			*ret_len = (size_t)(end - line->data);
			return NULL;
		}
	}
}

/* The answer, or an error in its place. */
static json_t *read_reply(const struct exchange *exchange)
{
	_cleanup_(buf_done) struct buf line = {.limit = CTL_MSG_REPLY_MAX};
	char why[120], text[200];
	size_t len = 0;
	json_t *reply = read_line(exchange, &line, &len);

	if (reply)
		return reply;
	reply = ctl_msg_parse_reply((const char *)line.data, len, why, sizeof(why));
	if (reply)
		return reply;
	snprintf(text, sizeof(text), "tund's answer cannot be understood: %s", why);
	return refuse_answer(exchange, text);
}

static json_t *ask_daemon(struct exchange *exchange, const json_t *request)
{
	json_t *error;

	exchange->deadline_us = clock_now_us() + timeout_s(exchange) * CLOCK_SECOND_US;
	error = connect_socket(exchange);
	if (!error)
		error = send_request(exchange, request);
	return error ? error : read_reply(exchange);
}

static json_t *exchange_with(const struct arguments *arguments, const json_t *request, bool changes)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct exchange exchange = {.path = path, .changes = changes, .fd = -1};
	json_t *reply;

	if (!request)
		return ctl_msg_error(CTL_EXIT_USAGE, "the arguments are not UTF-8");
	reply = instance_find(arguments, path, sizeof(path));
	if (!reply)
		reply = ask_daemon(&exchange, request);
	cleanup_close(&exchange.fd);
	return reply;
}

/* ---- the answer ---- */

/* The whole object, ASCII alone: DEL is the one control character that JSON leaves as it is. */
static void print_json(const json_t *reply, size_t layout)
{
	_cleanup_free_ char *text =
		json_dumps(reply, layout | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));

	for (const char *at = text; at && *at; at++) {
		if (*at == 0x7f)
			fputs("\\u007f", stdout);
		else
			putchar(*at);
	}
	putchar('\n');
}

static void print_error(const json_t *reply)
{
	_cleanup_free_ char *text = field_text(reply, "error");

	fprintf(stderr, "tunctl: %s\n", text);
}

static void show_reply(const struct arguments *arguments, const json_t *reply, ask_render_fn render)
{
	if (arguments->json)
		print_json(reply, JSON_INDENT(2));
	else if (!render || strncmp(ctl_msg_string(reply, "schema"), "tund.error/", 11) == 0)
		print_error(reply);
	else
		render(reply);
}

static bool flush_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	fprintf(stderr, "tunctl: cannot write: %s\n", strerror(errno));
	return false;
}

static int finish(const struct arguments *arguments, json_t *reply, ask_render_fn render)
{
	int status = (int)json_integer_value(json_object_get(reply, "exit"));

	show_reply(arguments, reply, render);
	json_decref(reply);
	if (flush_output())
		return status;
	return status ? status : CTL_EXIT_REFUSED;
}

int ask_run(const struct arguments *arguments, json_t *request, bool changes, ask_render_fn render)
{
	json_t *reply = exchange_with(arguments, request, changes);

	json_decref(request);
	return finish(arguments, reply, render);
}

/* ---- an answer of many lines ---- */

struct stream {
	struct exchange exchange;
	const struct arguments *arguments;
	ask_render_fn render;
	struct buf in;
	int signals; /* SIGINT and SIGTERM, as a descriptor */
	bool ended;  /* by one of them */
	int status;
};

static void catch_signals(struct stream *stream)
{
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGTERM);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	stream->signals = signalfd(-1, &wanted, SFD_CLOEXEC);
}

/* Only the first line has to come soon. */
static json_t *read_stream(struct stream *stream, bool is_first)
{
	struct pollfd fds[] = {
		{.fd = stream->exchange.fd, .events = POLLIN},
		{.fd = stream->signals, .events = POLLIN},
	};
	uint8_t *room = buf_reserve(&stream->in, READ_SIZE);
	ssize_t n;
	int r;

	if (!room)
		return refuse_answer(&stream->exchange, "tund's answer is too long");
	r = poll(fds, 2, is_first ? LOOK_S * 1000 : -1);
	if (r == 0)
		return refuse_silence(&stream->exchange);
	stream->ended = fds[1].revents != 0;
	if (r < 0 || stream->ended || !fds[0].revents)
		return NULL;
	n = read(stream->exchange.fd, room, READ_SIZE);
	if (n > 0)
		stream->in.len += (size_t)n;
	if (n > 0 || (n < 0 && errno == EINTR))
		return NULL;
	return is_first ? refuse_end(&stream->exchange, stream->in.len)
			: ctl_msg_error(CTL_EXIT_NO_DAEMON, "tund has closed the connection");
}

static void show_line(const struct stream *stream, const json_t *line)
{
	if (stream->arguments->json)
		print_json(line, JSON_COMPACT);
	else
		show_reply(stream->arguments, line, stream->render);
}

/* Says what is wrong as one more line; takes the error. */
static void end_with(struct stream *stream, json_t *error)
{
	stream->status = (int)json_integer_value(json_object_get(error, "exit"));
	show_line(stream, error);
	json_decref(error);
	flush_output();
}

/* False: it was the last. */
static bool take_line(struct stream *stream, const char *text, size_t len)
{
	char why[120], error[200];
	bool is_last = true;
	json_t *line = ctl_msg_parse_stream(text, len, &is_last, why, sizeof(why));

	if (!line) {
		snprintf(error, sizeof(error), "tund's answer cannot be understood: %s", why);
		line = ctl_msg_error(CTL_EXIT_NO_DAEMON, "%s", error);
		is_last = true;
	}
	if (is_last)
		stream->status = (int)json_integer_value(json_object_get(line, "exit"));
	show_line(stream, line);
	json_decref(line);
	if (flush_output())
		return !is_last;
	stream->status = stream->status ? stream->status : CTL_EXIT_REFUSED;
	return false;
}

/* NULL, or what went wrong with the connection. */
static json_t *follow_lines(struct stream *stream)
{
	bool is_first = true;

	while (!stream->ended) {
		uint8_t *end =
			stream->in.len ? memchr(stream->in.data, '\n', stream->in.len) : NULL;
		size_t len = end ? (size_t)(end - stream->in.data) : 0;
		json_t *error;

		if (!end) {
			error = read_stream(stream, is_first);
			if (error)
				return error;
			continue;
		}
		is_first = false;
		if (!take_line(stream, (const char *)stream->in.data, len))
			return NULL;
		buf_consume(&stream->in, len + 1);
	}
	return NULL;
}

int ask_follow(const struct arguments *arguments, json_t *request, ask_render_fn render)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct stream stream = {
		.exchange = {.path = path, .fd = -1},
		.arguments = arguments,
		.render = render,
		.in = {.limit = CTL_MSG_REPLY_MAX},
	};
	json_t *error = instance_find(arguments, path, sizeof(path));

	catch_signals(&stream);
	if (!error)
		error = connect_socket(&stream.exchange);
	if (!error)
		error = send_request(&stream.exchange, request);
	if (!error)
		error = follow_lines(&stream);
	json_decref(request);
	cleanup_close(&stream.exchange.fd);
	cleanup_close(&stream.signals);
	buf_done(&stream.in);
	if (error)
		end_with(&stream, error);
	return stream.status;
}

int ask_fail(const struct arguments *arguments, json_t *error)
{
	return finish(arguments, error, NULL);
}
