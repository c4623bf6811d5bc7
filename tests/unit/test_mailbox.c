#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/mailbox.h"
#include "base/xalloc.h"

enum { SENDERS = 4, PER_SENDER = 5000 };

struct note {
	struct mailbox_message message;
	unsigned sender, number;
};

struct owner {
	struct mailbox *mailbox;
	pthread_t thread;
	unsigned received, next[SENDERS];
	unsigned stop_after; /* closes the mailbox after so many; 0 never */
};

static void post_note(struct mailbox *mailbox, unsigned sender, unsigned number)
{
	struct note *note = xnew(struct note);

	note->sender = sender;
	note->number = number;
	mailbox_post(mailbox, &note->message);
}

static void receive_note(struct mailbox_message *message, void *arg)
{
	struct owner *owner = arg;
	struct note *note = (struct note *)message;

	assert_true(pthread_equal(pthread_self(), owner->thread));
	assert_null(message->next);
	assert_int_equal(note->number, owner->next[note->sender]++);
	free(note);
	if (++owner->received == owner->stop_after) {
		mailbox_free(owner->mailbox);
		owner->mailbox = NULL;
	}
}

struct sender {
	struct mailbox *mailbox;
	unsigned number;
	pthread_t thread;
};

static void *send_all(void *arg)
{
	struct sender *sender = arg;

	for (unsigned i = 0; i < PER_SENDER; i++)
		post_note(sender->mailbox, sender->number, i);
	return NULL;
}

static void test_first_in_first_out_per_sender(void **state)
{
	struct owner owner = {.thread = pthread_self(), .stop_after = SENDERS * PER_SENDER};
	struct sender senders[SENDERS];
	uv_loop_t loop;
	(void)state;

	uv_loop_init(&loop);
	owner.mailbox = mailbox_new(&loop, receive_note, &owner);
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){owner.mailbox, i, 0};
		assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]),
				 0);
	}
	/* Ends when the last message has closed the only handle. */
	uv_run(&loop, UV_RUN_DEFAULT);
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	assert_int_equal(owner.received, SENDERS * PER_SENDER);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_free_delivers_the_rest(void **state)
{
	struct owner owner = {.thread = pthread_self()};
	uv_loop_t loop;
	(void)state;

	uv_loop_init(&loop);
	owner.mailbox = mailbox_new(&loop, receive_note, &owner);
	post_note(owner.mailbox, 0, 0);
	post_note(owner.mailbox, 0, 1);
	assert_int_equal(owner.received, 0);
	mailbox_free(owner.mailbox);
	assert_int_equal(owner.received, 2);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	mailbox_free(NULL);
}

/* Posts the next one until the last. */
static void receive_and_post(struct mailbox_message *message, void *arg)
{
	struct owner *owner = arg;
	struct note *note = (struct note *)message;
	unsigned number = note->number;

	free(note);
	owner->received++;
	if (number < 3)
		post_note(owner->mailbox, 0, number + 1);
	else
		owner->stop_after = 1;
}

static void test_receiver_may_post(void **state)
{
	struct owner owner = {.thread = pthread_self()};
	uv_loop_t loop;
	(void)state;

	uv_loop_init(&loop);
	owner.mailbox = mailbox_new(&loop, receive_and_post, &owner);
	post_note(owner.mailbox, 0, 0);
	while (!owner.stop_after)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(owner.received, 4);
	post_note(owner.mailbox, 0, 0);
	mailbox_free(owner.mailbox); /* what is posted while the rest is received, too */
	assert_int_equal(owner.received, 8);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_in_first_out_per_sender),
		cmocka_unit_test(test_free_delivers_the_rest),
		cmocka_unit_test(test_receiver_may_post),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
