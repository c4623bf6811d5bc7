#pragma once
/* The client's part of a reload: see client_reload.c. Main thread, in this order, in one turn. */

#include "client/client.h"
#include "pki/material.h"

struct client_reload; /* made ready, not in force */

/* What became of the gateway in use. */
struct client_reload_result {
	enum reason reason; /* NONE: it was not left */
	char text[DIAL_TEXT];
	char gateway[256]; /* the one that was left */
};

/* All that can fail. NULL with one line in error; nothing has changed then. What renewal names is
 * in use until the next reload's ask has returned. */
struct client_reload *client_reload_prepare(const struct client *client,
					    const struct material_renewal *renewal, char *error,
					    size_t size);
void client_reload_free(struct client_reload *reload); /* NULL is fine */
/* In force for the next attempt. The configuration before is still needed by ask. */
void client_reload_swap(struct client *client, struct client_reload *reload);
/* Takes reload. The gateway in use is asked about again, and kept, left or dialled anew. */
void client_reload_ask(struct client *client, struct client_reload *reload,
		       struct client_reload_result *ret);
