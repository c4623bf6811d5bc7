#include "client/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "wire/fetch_msg.h"

enum { TIMEOUT_MS = 10000 };

struct lookup {
	struct lookup *next;
	struct names *names;
	uint32_t id;
	names_fn done;
	void *user;
	uv_timer_t *timeout;
};

struct names {
	uv_loop_t *loop;
	uv_poll_t *poll;
	int socket;
	uint32_t last_id;
	struct lookup *lookups;
};

static void drop_lookup(struct lookup *lookup)
{
	struct lookup **at = &lookup->names->lookups;

	while (*at != lookup)
		at = &(*at)->next;
	*at = lookup->next;
	loop_close_timer(&lookup->timeout);
	free(lookup);
}

/* The lookup goes first: done may ask again. */
static void answer(struct lookup *lookup, const struct addr *addresses, size_t count,
		   const char *error)
{
	names_fn done = lookup->done;
	void *user = lookup->user;

	drop_lookup(lookup);
	done(addresses, count, error, user);
}

static void on_timeout(uv_timer_t *timer)
{
	answer(timer->data, NULL, 0, "no name server answers");
}

static struct lookup *find_lookup(const struct names *names, uint32_t id)
{
	struct lookup *lookup = names->lookups;

	while (lookup && lookup->id != id)
		lookup = lookup->next;
	return lookup;
}

static void on_reply(uv_poll_t *poll, int status, int events)
{
	struct names *names = poll->data;
	struct fetch_msg_reply reply;
	uint8_t packet[FETCH_MSG_MAX];
	ssize_t len = recv(names->socket, packet, sizeof(packet), MSG_DONTWAIT);
	struct lookup *lookup;

	(void)status;
	(void)events;
	if (len <= 0) {
		if (len == 0 || errno != EAGAIN)
			uv_poll_stop(poll); /* its end ends the parent, and so us */
		return;
	}
	if (!fetch_msg_reply_read(packet, (size_t)len, &reply))
		return;
	lookup = find_lookup(names, reply.id);
	if (lookup)
		answer(lookup, reply.addresses, reply.count, reply.error);
}

struct names *names_new(uv_loop_t *loop, int socket)
{
	struct names *names = xnew(struct names);

	names->loop = loop;
	names->socket = socket;
	names->poll = xnew(uv_poll_t);
	uv_poll_init(loop, names->poll, socket);
	names->poll->data = names;
	uv_poll_start(names->poll, UV_READABLE, on_reply);
	return names;
}

void names_free(struct names *names)
{
	if (!names)
		return;
	while (names->lookups)
		drop_lookup(names->lookups);
	loop_close_poll(&names->poll);
	free(names);
}

void names_ask(struct names *names, const char *host, names_fn done, void *user)
{
	struct lookup *lookup = xnew(struct lookup);
	struct fetch_msg_request request = {.id = ++names->last_id};
	uint8_t packet[FETCH_MSG_MAX];
	size_t len;

	lookup->names = names;
	lookup->id = request.id;
	lookup->done = done;
	lookup->user = user;
	lookup->next = names->lookups;
	names->lookups = lookup;
	lookup->timeout = xnew(uv_timer_t);
	uv_timer_init(names->loop, lookup->timeout);
	lookup->timeout->data = lookup;
	uv_timer_start(lookup->timeout, on_timeout, TIMEOUT_MS, 0);
	snprintf(request.host, sizeof(request.host), "%s", host);
	len = fetch_msg_request_write(&request, packet);
	/* What cannot be asked is answered by the time-out. */
	if (len && send(names->socket, packet, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return;
	uv_timer_start(lookup->timeout, on_timeout, 0, 0);
}

void names_forget(struct names *names, const void *user)
{
	struct lookup *lookup = names->lookups;

	while (lookup) {
		struct lookup *next = lookup->next;

		if (lookup->user == user)
			drop_lookup(lookup);
		lookup = next;
	}
}
