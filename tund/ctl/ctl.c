#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ctl/commands.h"
#include "wire/ctl_msg.h"

enum {
	CONNECTIONS_MAX = 64,
	GROUPS_MAX = 256,
	SILENCE_MS = 60000, /* a connection that asks nothing is closed */
};

enum role { ROLE_NOBODY, ROLE_OBSERVER, ROLE_ADMIN };

/* One connection: requests one after another. */
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
};

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void close_request(struct ctl_request *request)
{
	uv_poll_stop(request->poll);
	uv_close((uv_handle_t *)request->poll, on_closed);
	uv_timer_stop(request->silence);
	uv_close((uv_handle_t *)request->silence, on_closed);
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

	if (request->waiting)
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

void ctl_answer(struct ctl_request *request, json_t *reply)
{
	size_t len;
	_cleanup_free_ char *line = ctl_msg_print(reply, &len);

	json_decref(reply);
	request->waiting = false;
	buf_append(&request->out, line, len);
	watch(request);
}

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

static void take_input(struct ctl_request *request)
{
	uint8_t *room = buf_reserve(&request->in, 4096);
	ssize_t len = room ? recv(request->fd, room, 4096, MSG_DONTWAIT) : 0;

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
	if (request->out_at < request->out.len)
		return;
	buf_done(&request->out);
	request->out_at = 0;
	watch(request);
	take_next_line(request);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct ctl_request *request = poll->data;

	if (status < 0)
		close_request(request);
	else if (events & UV_WRITABLE)
		send_output(request);
	else
		take_input(request);
}

static void on_silence(uv_timer_t *timer)
{
	struct ctl_request *request = timer->data;

	if (!request->waiting)
		close_request(request);
}

/* ---- the socket ---- */

static void take_connection(struct ctl *ctl, int fd)
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
	request->role = role_of(ctl, fd);
	request->in.limit = CTL_MSG_REQUEST_MAX;
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

	(void)status;
	(void)events;
	if (fd < 0)
		return;
	if (ctl->connections >= CONNECTIONS_MAX)
		close(fd);
	else
		take_connection(ctl, fd);
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
	while (ctl->first)
		end_request(ctl->first);
	uv_close((uv_handle_t *)&ctl->poll, on_ctl_closed);
}
