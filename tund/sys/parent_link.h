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
/* fd: what was read (wire/bundle.h), which the callee now owns, or -1 with error and its text. */
typedef void (*parent_link_reload_fn)(int fd, int error, const char *text, void *user);
/* since_us: when what it is about began. */
typedef void (*parent_link_news_fn)(enum parent_msg_news news, int64_t since_us, void *user);

struct parent_link *parent_link_new(int socket);
void parent_link_free(struct parent_link *link); /* open questions are forgotten */

void parent_link_ask_socket(struct parent_link *link, unsigned family, parent_link_socket_fn done,
			    void *user);
void parent_link_ask_network(struct parent_link *link, const struct parent_msg_network *network,
			     parent_link_network_fn done, void *user);
/* What the gateway's sites have that are up: all of it, in place of what was said before. Error and
 * text: what of it could not be routed; the rest is. */
void parent_link_ask_routes(struct parent_link *link, const struct prefix_list *routes,
			    parent_link_network_fn done, void *user);
/* families: PARENT_MSG_V4, _V6. No error; text: which of them this host does not forward, or "". */
void parent_link_ask_forwarding(struct parent_link *link, unsigned families,
				parent_link_network_fn done, void *user);
/* The configuration and all that it names, read again; or what the one in force names, alone. -EBUSY while another is under way. user is
 * malloc'ed: done frees it, or the link where no answer comes any more. */
void parent_link_ask_reload(struct parent_link *link, parent_link_reload_fn done, void *user);
void parent_link_ask_files(struct parent_link *link, parent_link_reload_fn done, void *user);
/* What was read under this key generation is in force: the parent goes by it as well. */
void parent_link_adopt(struct parent_link *link, uint32_t generation);
/* fn hears from now on what the parent says unasked. */
void parent_link_on_news(struct parent_link *link, parent_link_news_fn fn, void *user);
/* Forgets what user has asked; a socket that still comes is closed. */
void parent_link_forget(struct parent_link *link, const void *user);
/* The socket is readable. False at the parent's end. */
bool parent_link_take(struct parent_link *link);
