#pragma once
/* Messages to the thread that runs a loop: any thread posts, the owner is woken and receives them
 * one by one, first in first out per sender. Not on the packet path. */

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

struct mailbox;

/* Embedded first in every message; the receiver frees the message. */
struct mailbox_message {
	struct mailbox_message *next;
};

typedef void (*mailbox_fn)(struct mailbox_message *message, void *owner);

struct mailbox *mailbox_new(uv_loop_t *loop, mailbox_fn receive, void *owner);
/* On the owner's thread, or any once that has ended; nobody posts any more. What was not received
 * goes to receive first; the handle is closed through the loop, which must run once more. */
void mailbox_free(struct mailbox *mailbox);

/* Whether something waits; cheap. Any thread. */
bool mailbox_has(const struct mailbox *mailbox);
/* What has been posted by now, without waiting for the loop's next turn. The owner's thread. */
void mailbox_receive(struct mailbox *mailbox);
/* For who closes all other handles of the loop: this one is closed by mailbox_free alone. */
const uv_handle_t *mailbox_handle(const struct mailbox *mailbox);
/* Takes the message. Any thread. */
void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message);
