#pragma once
/* The small language in which a crowd is told what to do: see devices.c. One command after the
 * other; each is answered with one line of JSON on standard output once it is done. */

#include "crowd.h"
#include "stream.h"

struct commands;

/* echo: where streams go; family AF_UNSPEC: nowhere. */
struct commands *commands_new(struct crowd *crowd, struct stream *stream,
			      const struct endpoint *echo);
void commands_free(struct commands *commands);
/* Queues what is between ends of lines and semicolons; half a line waits for its rest. */
void commands_add(struct commands *commands, const char *text, size_t len);
/* No more will come: after the last command the crowd's loop is stopped. */
void commands_end(struct commands *commands);
