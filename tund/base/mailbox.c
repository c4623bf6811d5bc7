/* An eventfd of our own and not uv_async_t: there the receiver, awake before uv_async_send has
 * returned, spins until it has. On a busy machine a sender of lower priority has just been
 * preempted by the very wake-up: main spent a third of a storm of handshakes like that. */
#include "base/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

struct mailbox {
	uv_poll_t wake;
	int fd; /* the eventfd: there is something */
	pthread_mutex_t lock;
	struct mailbox_message *first, **last; /* under lock */
	_Atomic bool waiting;		       /* there is a first: can be asked without it */
	mailbox_fn receive;
	void *owner;
};

static struct mailbox_message *take_all(struct mailbox *mailbox)
{
	struct mailbox_message *first;

	pthread_mutex_lock(&mailbox->lock);
	first = mailbox->first;
	mailbox->first = NULL;
	mailbox->last = &mailbox->first;
	atomic_store_explicit(&mailbox->waiting, false, memory_order_relaxed);
	pthread_mutex_unlock(&mailbox->lock);
	return first;
}

/* False when there was nothing. */
static bool receive_all(struct mailbox *mailbox)
{
	struct mailbox_message *first = take_all(mailbox), *message = first;

	while (message) {
		struct mailbox_message *next = message->next;

		message->next = NULL;
		mailbox->receive(message, mailbox->owner);
		message = next;
	}
	return first != NULL;
}

static void on_wake(uv_poll_t *wake, int status, int events)
{
	struct mailbox *mailbox = wake->data;
	eventfd_t count;

	(void)status;
	(void)events;
	/* Before the look: what is posted after it wakes us again. */
	eventfd_read(mailbox->fd, &count);
	receive_all(mailbox);
}

struct mailbox *mailbox_new(uv_loop_t *loop, mailbox_fn receive, void *owner)
{
	struct mailbox *mailbox = xnew(struct mailbox);
	int r;

	mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r = mailbox->fd < 0 ? -errno : uv_poll_init(loop, &mailbox->wake, mailbox->fd);
	if (r < 0) {
		log_error("cannot make a mailbox: %s", strerror(-r));
		abort();
	}
	mailbox->wake.data = mailbox;
	pthread_mutex_init(&mailbox->lock, NULL);
	mailbox->last = &mailbox->first;
	mailbox->receive = receive;
	mailbox->owner = owner;
	uv_poll_start(&mailbox->wake, UV_READABLE, on_wake);
	return mailbox;
}

static void on_closed(uv_handle_t *handle)
{
	struct mailbox *mailbox = handle->data;

	close(mailbox->fd);
	pthread_mutex_destroy(&mailbox->lock);
	free(mailbox);
}

void mailbox_free(struct mailbox *mailbox)
{
	if (!mailbox)
		return;
	while (receive_all(mailbox))
		; /* a receiver may have posted the next one */
	uv_close((uv_handle_t *)&mailbox->wake, on_closed);
}

bool mailbox_has(const struct mailbox *mailbox)
{
	return atomic_load_explicit(&mailbox->waiting, memory_order_relaxed);
}

void mailbox_receive(struct mailbox *mailbox)
{
	receive_all(mailbox);
}

const uv_handle_t *mailbox_handle(const struct mailbox *mailbox)
{
	return (const uv_handle_t *)&mailbox->wake;
}

void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message)
{
	bool is_first;

	message->next = NULL;
	pthread_mutex_lock(&mailbox->lock);
	is_first = !mailbox->first;
	*mailbox->last = message;
	mailbox->last = &message->next;
	atomic_store_explicit(&mailbox->waiting, true, memory_order_relaxed);
	pthread_mutex_unlock(&mailbox->lock);
	/* Whoever found it empty wakes the owner, who takes all there is. */
	if (is_first)
		eventfd_write(mailbox->fd, 1);
}
