#pragma once
/* The parent's part of a reload: see parent_reload.c. */

#include "parent.h"

struct parent_reload;

/* The answer to the request id: what was read (wire/bundle.h), closed afterwards by the caller's
 * caller, or -1 with error (negative errno) and its text. */
typedef void (*parent_reload_fn)(void *user, uint32_t id, int fd, int error, const char *text);

/* keys: the socket to the key holder, borrowed. */
struct parent_reload *parent_reload_new(struct parent_kit *kit, int keys, parent_reload_fn done,
					void *user);
void parent_reload_free(struct parent_reload *reload); /* NULL is fine */

/* files_only: what the configuration in force names, and not its own file. done is called, perhaps
 * before this returns. One at a time: -EBUSY for another. */
void parent_reload_ask(struct parent_reload *reload, uint32_t id, bool files_only);
/* The key holder's answer is awaited: then this is its socket, else -1. */
int parent_reload_awaits(const struct parent_reload *reload);
/* The socket is readable, or some time has passed. */
void parent_reload_go_on(struct parent_reload *reload);
/* The engine has put it in force: kit->config is now the new one, the old one is freed. A
 * generation that is not the last one read is passed over. */
void parent_reload_adopt(struct parent_reload *reload, uint32_t generation);

struct parent_paths {
	char **items; /* borrowed from the configuration; the caller frees the array */
	size_t count;
};

/* The files and directories that the configuration names, absolute. */
void parent_reload_list(const struct config *config, struct parent_paths *ret);
