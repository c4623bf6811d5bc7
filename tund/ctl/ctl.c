#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "ctl/commands.h"
#include "ctl/reload.h"
#include "ctl/watch.h"
#include "wire/ctl_msg.h"

enum {
	CONNECTIONS_MAX = 64,
	READ_SIZE = 4096,
	GROUPS_MAX = 256,
	SILENCE_MS = 60000,	 /* a connection that asks nothing is closed */
	STREAM_MAX = 256 * 1024, /* bytes that wait for the asker of a stream */
	STREAM_STALL_MS = 30000, /* it takes none of them for so long: it is gone */
};

enum role { ROLE_NOBODY, ROLE_OBSERVER, ROLE_ADMIN };

/* One connection: requests one after another, or a stream. */
struct ctl_request {
	struct ctl *ctl;
	struct ctl_request *next, **link;
	int fd;
	uv_poll_t *poll;
	uv_timer_t *silence;
	enum role role;
	struct buf in, out;
	size_t out_at;
	bool waiting; /* for an answer; the socket is not looked at meanwhile */
	struct ctl_pieces pieces;
	bool in_pieces; /* waiting, too */
	struct ctl_stream stream;
	bool is_streaming;
	bool has_taken; /* something, since the silence timer looked last */
	size_t stream_max;
};

static void close_request(struct ctl_request *request)
{
	if (request->is_streaming)
		request->stream.left(request->stream.user);
	if (request->in_pieces)
		request->pieces.done(request->pieces.user);
	loop_close_poll(&request->poll);
	loop_close_timer(&request->silence);
	*request->link = request->next;
	if (request->next)
		request->next->link = request->link;
	close(request->fd);
	buf_done(&request->in);
	buf_done(&request->out);
	request->ctl->connections--;
	free(request);
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void watch(struct ctl_request *request)
{
	bool has_output = request->out_at < request->out.len;

	if (request->is_streaming)
		uv_poll_start(request->poll, UV_READABLE | (has_output ? UV_WRITABLE : 0),
			      on_ready);
	else if (request->in_pieces)
		uv_poll_start(request->poll, UV_WRITABLE, on_ready);
	else if (request->waiting)
		uv_poll_stop(request->poll);
	else
		uv_poll_start(request->poll, has_output ? UV_WRITABLE : UV_READABLE, on_ready);
}

/* ---- who asks ---- */

static bool is_member(int fd, gid_t wanted)
{
	gid_t groups[GROUPS_MAX];
	socklen_t len = sizeof(groups);

	if (wanted == (gid_t)-1 || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(*groups); i++) {
		if (groups[i] == wanted)
			return true;
	}
	return false;
}

/* By the kernel's word about the peer, never by what it says. */
static enum role role_of(const struct ctl *ctl, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return ROLE_NOBODY;
	if (peer.uid == 0 || peer.gid == ctl->options.admins || is_member(fd, ctl->options.admins))
		return ROLE_ADMIN;
	if (peer.gid == ctl->options.observers || is_member(fd, ctl->options.observers))
		return ROLE_OBSERVER;
	return ROLE_NOBODY;
}

/* ---- a request ---- */

struct ctl *ctl_of(struct ctl_request *request)
{
	return request->ctl;
}

const struct trust *ctl_trust(const struct ctl *ctl)
{
	return ctl->options.gateway ? ctl->options.gateway->trust : ctl->options.client->trust;
}

X509 *ctl_leaf(const struct ctl *ctl)
{
	return ctl->options.gateway ? ctl->options.gateway->options.leaf
				    : ctl->options.client->options.leaf;
}

void ctl_answer(struct ctl_request *request, json_t *reply)
{
	size_t len;
	_cleanup_free_ char *line = ctl_msg_print(reply, &len);

	json_decref(reply);
	request->waiting = false;
	buf_append(&request->out, line, len);
	watch(request);
}

static void give_piece(struct ctl_request *request)
{
	if (!request->pieces.next(&request->out, request->pieces.user)) {
		request->pieces.done(request->pieces.user);
		request->in_pieces = request->waiting = false;
	}
	watch(request);
}

void ctl_answer_pieces(struct ctl_request *request, const struct ctl_pieces *pieces)
{
	request->pieces = *pieces;
	request->in_pieces = request->has_taken = true;
	give_piece(request);
}

/* ---- streams ---- */

void ctl_stream_begin(struct ctl_request *request, json_t *first, const struct ctl_stream *stream)
{
	request->stream = *stream;
	request->is_streaming = true;
	request->has_taken = true;
	uv_timer_set_repeat(request->silence, STREAM_STALL_MS);
	uv_timer_again(request->silence);
	ctl_answer(request, first);
	/* The first line may be long, and what follows on its heels shall not suffer for it. */
	request->stream_max = request->out.len - request->out_at + STREAM_MAX;
}

bool ctl_stream_line(struct ctl_request *request, const char *line, size_t len)
{
	if (request->out.len - request->out_at + len > request->stream_max)
		return false;
	if (request->out_at > request->out.len / 2) {
		buf_consume(&request->out, request->out_at);
		request->out_at = 0;
	}
	buf_append(&request->out, line, len);
	watch(request);
	return true;
}

void ctl_stream_end(struct ctl_request *request, json_t *last)
{
	request->is_streaming = false;
	uv_timer_set_repeat(request->silence, SILENCE_MS);
	ctl_answer(request, last);
}

/* The asker of a stream has nothing more to say: whatever comes is its end. */
static bool hears_end(struct ctl_request *request)
{
	char byte;

	return recv(request->fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

/* ---- commands ---- */

static void run_command(struct ctl_request *request, const json_t *message)
{
	const struct commands_row *row = commands_find(ctl_msg_string(message, "command"));
	const struct ctl_options *options = &request->ctl->options;

	if (!row) {
		ctl_answer(request, ctl_msg_error(CTL_EXIT_USAGE, "this tund has no such command"));
	} else if (request->role < (row->changes ? ROLE_ADMIN : ROLE_OBSERVER)) {
		ctl_answer(request,
			   ctl_msg_error(CTL_EXIT_NOT_PERMITTED,
					 "not permitted; be root or a member of the group %s",
					 row->changes ? options->config->admins
						      : options->config->observers));
	} else if (options->gateway ? !row->gateway : !row->client) {
		ctl_answer(request, ctl_msg_error(CTL_EXIT_USAGE, "a %s has no such command",
						  options->gateway ? "gateway" : "client"));
	} else {
		(options->gateway ? row->gateway : row->client)(request, message);
	}
}

/* One line, without its newline. */
static void take_line(struct ctl_request *request, const char *line, size_t len)
{
	char error[200];
	json_t *message = ctl_msg_parse(line, len, error, sizeof(error));

	request->waiting = true;
	watch(request);
	if (message)
		run_command(request, message);
	else
		ctl_answer(request, ctl_msg_error(CTL_EXIT_USAGE, "%s", error));
	json_decref(message);
}

/* The first whole line of what has come in, if there is one. */
static void take_next_line(struct ctl_request *request)
{
	const char *end =
		memchr(request->in.data ? request->in.data : (uint8_t *)"", '\n', request->in.len);
	_cleanup_free_ char *line = NULL;
	size_t len;

	if (!end)
		return;
	len = (size_t)(end - (const char *)request->in.data);
	line = xalloc_copy(request->in.data, len + 1);
	buf_consume(&request->in, len + 1);
	uv_timer_again(request->silence);
	take_line(request, line, len);
}

/* The last word to an asker: one try, for nobody waits for it. */
static void refuse_asker(int fd, const char *text)
{
	size_t len;
	json_t *error = ctl_msg_error(CTL_EXIT_REFUSED, "%s", text);
	_cleanup_free_ char *line = ctl_msg_print(error, &len);

	json_decref(error);
	send(fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void take_input(struct ctl_request *request)
{
	uint8_t *room = buf_reserve(&request->in, READ_SIZE);
	ssize_t len = room ? recv(request->fd, room, READ_SIZE, MSG_DONTWAIT) : 0;

	if (!room)
		refuse_asker(request->fd, "the request is longer than tund takes");
	if (len < 0 && errno == EAGAIN)
		return;
	if (len <= 0) {
		close_request(request);
		return;
	}
	request->in.len += (size_t)len;
	take_next_line(request);
}

/* What the asker has sent meanwhile is looked at once it has its answer. */
static void send_output(struct ctl_request *request)
{
	ssize_t sent = send(request->fd, request->out.data + request->out_at,
			    request->out.len - request->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0 && errno != EAGAIN) {
		close_request(request);
		return;
	}
	request->out_at += sent > 0 ? (size_t)sent : 0;
	request->has_taken |= sent > 0;
	if (request->out_at < request->out.len)
		return;
	buf_done(&request->out);
	request->out_at = 0;
	request->stream_max = STREAM_MAX;
	if (request->in_pieces) {
		give_piece(request);
		return;
	}
	watch(request);
	if (request->is_streaming)
		request->stream.has_room(request->stream.user);
	else
		take_next_line(request);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct ctl_request *request = poll->data;

	if (status < 0 || (request->is_streaming && (events & UV_READABLE) && hears_end(request)))
		close_request(request);
	else if (events & UV_WRITABLE)
		send_output(request);
	else if (!request->is_streaming)
		take_input(request);
}

static void on_silence(uv_timer_t *timer)
{
	struct ctl_request *request = timer->data;
	bool is_stuck = request->out_at < request->out.len && !request->has_taken;

	request->has_taken = false;
	if (request->is_streaming || request->in_pieces ? is_stuck : !request->waiting)
		close_request(request);
}

/* ---- the socket ---- */

/* Closes the oldest connection that asks nothing now, of those who may do least, if they may do no
 * more than the newcomer: observers do not keep an administrator out, nor cut one off. */
static bool make_room(struct ctl *ctl, enum role role)
{
	struct ctl_request *oldest = NULL;

	for (struct ctl_request *at = ctl->first; at; at = at->next) {
		if (!at->waiting && !at->is_streaming && at->role <= role &&
		    (!oldest || at->role <= oldest->role))
			oldest = at;
	}
	if (oldest)
		close_request(oldest);
	return oldest;
}

static void take_connection(struct ctl *ctl, int fd, enum role role)
{
	struct ctl_request *request = xnew(struct ctl_request);

	ctl->connections++;
	request->ctl = ctl;
	request->next = ctl->first;
	request->link = &ctl->first;
	if (ctl->first)
		ctl->first->link = &request->next;
	ctl->first = request;
	request->fd = fd;
	request->role = role;
	request->in.limit = CTL_MSG_REQUEST_MAX + READ_SIZE;
	request->out.limit = CTL_MSG_REPLY_MAX;
	request->poll = xnew(uv_poll_t);
	uv_poll_init(ctl->options.loop, request->poll, fd);
	request->poll->data = request;
	request->silence = xnew(uv_timer_t);
	uv_timer_init(ctl->options.loop, request->silence);
	request->silence->data = request;
	uv_timer_start(request->silence, on_silence, SILENCE_MS, SILENCE_MS);
	watch(request);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct ctl *ctl = poll->data;
	int fd = accept4(ctl->options.listen, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	enum role role;

	(void)status;
	(void)events;
	if (fd < 0)
		return;
	role = role_of(ctl, fd);
	if (ctl->connections >= CONNECTIONS_MAX && !make_room(ctl, role)) {
		refuse_asker(fd, "too many connections to the control socket");
		close(fd);
	} else {
		take_connection(ctl, fd, role);
	}
}

void ctl_prepare(void)
{
	json_object_seed(0);
}

struct ctl *ctl_start(const struct ctl_options *options)
{
	struct ctl *ctl = xnew(struct ctl);

	ctl->options = *options;
	uv_poll_init(options->loop, &ctl->poll, options->listen);
	ctl->poll.data = ctl;
	uv_poll_start(&ctl->poll, UV_READABLE, on_connection);
	ctl->watch = watch_start(ctl);
	ctl->reload = reload_new(ctl);
	return ctl;
}

static void on_ctl_closed(uv_handle_t *poll)
{
	free(poll->data);
}

/* Answers that came with the end get one try: whoever asked shall know. */
static void end_request(struct ctl_request *request)
{
	if (request->out_at < request->out.len)
		send(request->fd, request->out.data + request->out_at,
		     request->out.len - request->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
	close_request(request);
}

void ctl_free(struct ctl *ctl)
{
	if (!ctl)
		return;
	watch_stop(ctl->watch);
	reload_free(ctl->reload);
	while (ctl->first)
		end_request(ctl->first);
	uv_close((uv_handle_t *)&ctl->poll, on_ctl_closed);
}
