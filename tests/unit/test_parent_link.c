/* sys/parent_link: each answer comes to who asked for it, and what nobody waits for is let go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "sys/child.h"
#include "sys/parent_link.h"

struct pair {
	struct parent_link *link;
	int ours, parent;
};

static int make_pair(void **state)
{
	struct pair *pair = xnew(struct pair);
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds))
		return -1;
	pair->ours = fds[0];
	pair->parent = fds[1];
	pair->link = parent_link_new(fds[0]);
	*state = pair;
	return 0;
}

static int drop_pair(void **state)
{
	struct pair *pair = *state;

	parent_link_free(pair->link);
	close(pair->ours);
	if (pair->parent >= 0)
		close(pair->parent);
	free(pair);
	return 0;
}

/* The next request; fails the test when there is none. */
static struct parent_msg_request take_request(const struct pair *pair)
{
	struct parent_msg_request request;
	uint8_t packet[4096];
	ssize_t len = recv(pair->parent, packet, sizeof(packet), 0);

	assert_true(len > 0);
	assert_true(parent_msg_read_request(packet, (size_t)len, &request));
	parent_msg_network_done(&request.network);
	return request;
}

static void answer(const struct pair *pair, uint32_t id, int error, const char *text, int fd)
{
	struct parent_msg_reply reply = {.id = id, .error = (uint32_t)error};
	struct buf packet = {0};

	strcpy(reply.text, text);
	parent_msg_write_reply(&packet, &reply);
	assert_int_equal(child_send(pair->parent, packet.data, packet.len, &fd, fd >= 0), 0);
	buf_done(&packet);
	assert_true(parent_link_take(pair->link));
}

struct heard {
	unsigned count;
	int fd, error;
	char text[64];
};

static void hear(struct heard *heard, int fd, int error, const char *text)
{
	heard->count++;
	heard->fd = fd;
	heard->error = error;
	snprintf(heard->text, sizeof(heard->text), "%s", text);
}

static void on_socket(int fd, int error, void *user)
{
	hear(user, fd, error, "");
}

static void on_network(int error, const char *text, void *user)
{
	hear(user, -1, error, text);
}

/* What a reload gives is malloc'ed. */
static void on_reload(int fd, int error, const char *text, void *user)
{
	struct heard **heard = user;

	hear(*heard, fd, error, text);
	free(heard);
}

static void on_news(enum parent_msg_news news, int64_t since_us, void *user)
{
	assert_int_equal(since_us, news == PARENT_MSG_CHANGED ? INT64_C(12345678901234) : 0);
	hear(user, -1, -(int)news, news == PARENT_MSG_CHANGED ? "changed" : "hangup");
}

static struct heard **wrap(struct heard *heard)
{
	struct heard **user = xnew(struct heard *);

	*user = heard;
	return user;
}

static void a_reload_brings_a_descriptor_or_an_error(void **state)
{
	struct pair *pair = *state;
	struct heard first = {0}, second = {0};
	struct parent_msg_request request;
	int memory = memfd_create("x", MFD_CLOEXEC);

	parent_link_ask_reload(pair->link, on_reload, wrap(&first));
	parent_link_ask_reload(pair->link, on_reload, wrap(&second));
	request = take_request(pair);
	assert_int_equal(request.kind, PARENT_MSG_RELOAD);
	assert_int_not_equal(request.id, PARENT_MSG_UNASKED);
	answer(pair, request.id + 1, EBUSY, "another is under way", -1);
	assert_int_equal(second.error, -EBUSY);
	assert_int_equal(second.fd, -1);
	assert_string_equal(second.text, "another is under way");
	assert_int_equal(first.count, 0);
	answer(pair, request.id, 0, "", memory);
	assert_int_equal(first.count, 1);
	assert_true(first.fd >= 0 && first.error == 0);
	assert_int_equal(close(first.fd), 0);
	close(memory);
}

static void nothing_is_expected_of_an_adoption(void **state)
{
	struct pair *pair = *state;
	struct parent_msg_request request;

	parent_link_adopt(pair->link, 0xfedcba98);
	request = take_request(pair);
	assert_int_equal(request.kind, PARENT_MSG_ADOPT);
	assert_int_equal(request.generation, 0xfedcba98);
}

static void news_are_heard_unasked(void **state)
{
	struct pair *pair = *state;
	struct heard asked = {0}, heard = {0};

	/* Before anybody listens. */
	answer(pair, PARENT_MSG_UNASKED, PARENT_MSG_HANGUP, "", -1);
	parent_link_on_news(pair->link, on_news, &heard);
	parent_link_ask_network(pair->link, &(struct parent_msg_network){0}, on_network, &asked);
	answer(pair, PARENT_MSG_UNASKED, PARENT_MSG_HANGUP, "", -1);
	answer(pair, PARENT_MSG_UNASKED, PARENT_MSG_HANGUP, "", -1);
	assert_int_equal(heard.count, 2);
	assert_string_equal(heard.text, "hangup");
	answer(pair, PARENT_MSG_UNASKED, PARENT_MSG_CHANGED, "12345678901234", -1);
	assert_int_equal(heard.count, 3);
	assert_string_equal(heard.text, "changed");
	assert_int_equal(asked.count, 0);
	answer(pair, take_request(pair).id, EPERM, "no", -1);
	assert_int_equal(asked.error, -EPERM);
	assert_int_equal(heard.count, 3);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void what_is_forgotten_or_never_asked_is_closed(void **state)
{
	struct pair *pair = *state;
	struct heard heard = {0};
	int before = dup(pair->ours), next;
	uint32_t id;

	parent_link_ask_socket(pair->link, 4, on_socket, &heard);
	id = take_request(pair).id;
	parent_link_forget(pair->link, &heard);
	/* The next number that is free is the one that comes. */
	next = dup(pair->ours);
	close(next);
	answer(pair, id, 0, "", before);
	assert_int_equal(heard.count, 0);
	assert_false(is_open(next));
	answer(pair, id, 0, "", before);
	answer(pair, 12345, 0, "", before);
	assert_false(is_open(next));
	close(before);
}

static void an_answer_comes_once(void **state)
{
	struct pair *pair = *state;
	struct heard heard = {0};
	uint32_t id;

	parent_link_ask_socket(pair->link, 6, on_socket, &heard);
	id = take_request(pair).id;
	answer(pair, id, EAFNOSUPPORT, "", -1);
	answer(pair, id, 0, "", -1);
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.error, -EAFNOSUPPORT);
}

/* Freed with a reload open: a leak checker sees what is not. */
static void open_questions_are_forgotten_with_the_link(void **state)
{
	struct pair *pair = *state;
	struct heard heard = {0};

	parent_link_ask_reload(pair->link, on_reload, wrap(&heard));
	parent_link_ask_socket(pair->link, 4, on_socket, &heard);
	parent_link_free(pair->link);
	assert_int_equal(heard.count, 0);
	pair->link = parent_link_new(pair->ours);
}

static void what_is_no_reply_is_passed_over_and_the_end_is_said(void **state)
{
	struct pair *pair = *state;

	assert_true(parent_link_take(pair->link));
	assert_int_equal(send(pair->parent, "x", 1, 0), 1);
	assert_true(parent_link_take(pair->link));
	close(pair->parent);
	pair->parent = -1;
	assert_false(parent_link_take(pair->link));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_pair, drop_pair)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_reload_brings_a_descriptor_or_an_error),
		TEST(nothing_is_expected_of_an_adoption),
		TEST(news_are_heard_unasked),
		TEST(what_is_forgotten_or_never_asked_is_closed),
		TEST(an_answer_comes_once),
		TEST(open_questions_are_forgotten_with_the_link),
		TEST(what_is_no_reply_is_passed_over_and_the_end_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
