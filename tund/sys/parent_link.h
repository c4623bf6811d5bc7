#pragma once
/* Asking the parent process, and the fetch process, without waiting: each question has a callback.
 * Main thread. */

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "wire/parent_msg.h"

struct parent_link;

/* fd: a TCP socket the callee now owns, or -1 with error (negative errno). */
typedef void (*parent_link_socket_fn)(int fd, int error, void *user);
typedef void (*parent_link_network_fn)(int error, const char *text, void *user);

struct parent_link *parent_link_new(int socket);
void parent_link_free(struct parent_link *link); /* open questions are forgotten */

void parent_link_ask_socket(struct parent_link *link, unsigned family, parent_link_socket_fn done,
			    void *user);
void parent_link_ask_network(struct parent_link *link, const struct parent_msg_network *network,
			     parent_link_network_fn done, void *user);
/* Forgets what user has asked; a socket that still comes is closed. */
void parent_link_forget(struct parent_link *link, const void *user);
/* The socket is readable. False at the parent's end. */
bool parent_link_take(struct parent_link *link);
