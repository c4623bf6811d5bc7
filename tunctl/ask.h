#pragma once
/* One question to the daemon, and its answer: as it is with --json, else as a person reads it. */

#include <stdbool.h>

#include <jansson.h>

#include "arguments.h"

/* To standard output; the answer is no error. */
typedef void (*ask_render_fn)(const json_t *reply);

/* Takes the request (NULL: it could not be made, an argument was not UTF-8). changes: the daemon is
 * to change something, so it is given longer, and silence leaves doubt. Returns the exit status. */
int ask_run(const struct arguments *arguments, json_t *request, bool changes, ask_render_fn render);
/* The same for an answer of many lines, each rendered as it comes, until its last, or until Ctrl-C
 * or SIGTERM, which is 0. */
int ask_follow(const struct arguments *arguments, json_t *request, ask_render_fn render);
/* Says what is wrong, in JSON if that was asked for; takes the error and returns its exit status.
 */
int ask_fail(const struct arguments *arguments, json_t *error);
