#include "base/mailbox.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/xalloc.h"

struct mailbox {
	uv_async_t wake;
	pthread_mutex_t lock;
	struct mailbox_message *first, **last; /* under lock */
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

static void on_wake(uv_async_t *wake)
{
	receive_all(wake->data);
}

struct mailbox *mailbox_new(uv_loop_t *loop, mailbox_fn receive, void *owner)
{
	struct mailbox *mailbox = xnew(struct mailbox);
	int r = uv_async_init(loop, &mailbox->wake, on_wake);

	if (r < 0) {
		log_error("cannot make a mailbox: %s", uv_strerror(r));
		abort();
	}
	mailbox->wake.data = mailbox;
	pthread_mutex_init(&mailbox->lock, NULL);
	mailbox->last = &mailbox->first;
	mailbox->receive = receive;
	mailbox->owner = owner;
	return mailbox;
}

static void on_closed(uv_handle_t *handle)
{
	struct mailbox *mailbox = handle->data;

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

void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message)
{
	message->next = NULL;
	pthread_mutex_lock(&mailbox->lock);
	*mailbox->last = message;
	mailbox->last = &message->next;
	pthread_mutex_unlock(&mailbox->lock);
	uv_async_send(&mailbox->wake);
}
