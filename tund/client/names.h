#pragma once
/* Names to addresses, asked of the fetch process. Main thread. */

#include <stddef.h>

#include <uv.h>

#include "base/addr.h"

struct names;

/* count 0: error says why. */
typedef void (*names_fn)(const struct addr *addresses, size_t count, const char *error, void *user);

struct names *names_new(uv_loop_t *loop, int socket);
void names_free(struct names *names);
/* done is called later, unless names_forget comes first. */
void names_ask(struct names *names, const char *host, names_fn done, void *user);
void names_forget(struct names *names, const void *user);
