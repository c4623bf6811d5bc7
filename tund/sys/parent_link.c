#include "sys/parent_link.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "sys/child.h"

struct question {
	struct question *next;
	uint32_t id;
	parent_link_socket_fn on_socket;
	parent_link_network_fn on_network;
	parent_link_reload_fn on_reload;
	void *user;
};

struct parent_link {
	int socket;
	uint32_t last_id;
	struct question *questions;
	parent_link_news_fn on_news;
	void *news_user;
};

struct parent_link *parent_link_new(int socket)
{
	struct parent_link *link = xnew(struct parent_link);

	link->socket = socket;
	return link;
}

void parent_link_free(struct parent_link *link)
{
	if (!link)
		return;
	while (link->questions) {
		struct question *question = link->questions;

		link->questions = question->next;
		if (question->on_reload)
			free(question->user);
		free(question);
	}
	free(link);
}

static struct question *add_question(struct parent_link *link, void *user)
{
	struct question *question = xnew(struct question);

	if (++link->last_id == PARENT_MSG_UNASKED)
		link->last_id++;
	question->id = link->last_id;
	question->user = user;
	question->next = link->questions;
	link->questions = question;
	return question;
}

static void send_request(struct parent_link *link, struct parent_msg_request *request,
			 const struct question *question)
{
	struct buf packet = {0};

	request->id = question ? question->id : 0;
	parent_msg_write_request(&packet, request);
	/* When the parent is gone its end of the socket says so. */
	child_send(link->socket, packet.data, packet.len, NULL, 0);
	buf_done(&packet);
}

void parent_link_ask_socket(struct parent_link *link, unsigned family, parent_link_socket_fn done,
			    void *user)
{
	struct parent_msg_request request = {.kind = PARENT_MSG_TCP_SOCKET,
					     .family = (uint8_t)family};
	struct question *question = add_question(link, user);

	question->on_socket = done;
	send_request(link, &request, question);
}

void parent_link_ask_network(struct parent_link *link, const struct parent_msg_network *network,
			     parent_link_network_fn done, void *user)
{
	struct parent_msg_request request = {.kind = PARENT_MSG_NETWORK, .network = *network};
	struct question *question = add_question(link, user);

	question->on_network = done;
	send_request(link, &request, question);
}

void parent_link_ask_routes(struct parent_link *link, const struct prefix_list *routes,
			    parent_link_network_fn done, void *user)
{
	struct parent_msg_request request = {.kind = PARENT_MSG_ROUTES, .network.routes = *routes};
	struct question *question = add_question(link, user);

	question->on_network = done;
	send_request(link, &request, question);
}

void parent_link_ask_forwarding(struct parent_link *link, unsigned families,
				parent_link_network_fn done, void *user)
{
	struct parent_msg_request request = {.kind = PARENT_MSG_FORWARDING,
					     .families = (uint8_t)families};
	struct question *question = add_question(link, user);

	question->on_network = done;
	send_request(link, &request, question);
}

static void ask_bundle(struct parent_link *link, enum parent_msg_kind kind,
		       parent_link_reload_fn done, void *user)
{
	struct parent_msg_request request = {.kind = kind};
	struct question *question = add_question(link, user);

	question->on_reload = done;
	send_request(link, &request, question);
}

void parent_link_ask_reload(struct parent_link *link, parent_link_reload_fn done, void *user)
{
	ask_bundle(link, PARENT_MSG_RELOAD, done, user);
}

void parent_link_ask_files(struct parent_link *link, parent_link_reload_fn done, void *user)
{
	ask_bundle(link, PARENT_MSG_FILES, done, user);
}

void parent_link_adopt(struct parent_link *link, uint32_t generation)
{
	struct parent_msg_request request = {.kind = PARENT_MSG_ADOPT, .generation = generation};

	send_request(link, &request, NULL);
}

void parent_link_on_news(struct parent_link *link, parent_link_news_fn fn, void *user)
{
	link->on_news = fn;
	link->news_user = user;
}

void parent_link_forget(struct parent_link *link, const void *user)
{
	for (struct question *question = link->questions; question; question = question->next) {
		if (question->user != user)
			continue;
		question->on_socket = NULL;
		question->on_network = NULL;
	}
}

static struct question *take_question(struct parent_link *link, uint32_t id)
{
	struct question **at = &link->questions;
	struct question *found;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	found = *at;
	if (found)
		*at = found->next;
	return found;
}

bool parent_link_take(struct parent_link *link)
{
	_cleanup_free_ struct question *question = NULL;
	_cleanup_close_ int fd = -1;
	struct parent_msg_reply reply;
	uint8_t packet[1024];
	size_t fd_count = 1;
	ssize_t len = child_receive(link->socket, packet, sizeof(packet), &fd, &fd_count);

	if (len == -EAGAIN || len == -EINTR)
		return true;
	if (len <= 0)
		return false;
	if (!parent_msg_read_reply(packet, (size_t)len, &reply))
		return true;
	if (reply.id == PARENT_MSG_UNASKED) {
		if (link->on_news)
			link->on_news(reply.error, strtoll(reply.text, NULL, 10), link->news_user);
		return true;
	}
	question = take_question(link, reply.id);
	if (question && question->on_socket)
		question->on_socket(cleanup_take_fd(&fd), -(int)reply.error, question->user);
	else if (question && question->on_network)
		question->on_network(-(int)reply.error, reply.text, question->user);
	else if (question && question->on_reload)
		question->on_reload(cleanup_take_fd(&fd), -(int)reply.error, reply.text,
				    question->user);
	return true;
}
