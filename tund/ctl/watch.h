#pragma once
/* Events as they happen, for any number of watchers up to a limit: see watch.c. */

#include "ctl/ctl.h"

struct watch;

/* Hears ctl->options.events from here on. */
struct watch *watch_start(struct ctl *ctl);
/* Tells the watchers that it ends. NULL is fine. */
void watch_stop(struct watch *watch);

size_t watch_watchers(const struct watch *watch);
uint64_t watch_events(const struct watch *watch); /* since the start: the last one's number */

/* The command. */
void watch_begin(struct ctl_request *request, const json_t *message);
