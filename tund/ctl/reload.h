#pragma once
/* The configuration read again while people work: see reload.c. Main thread. */

#include "ctl/ctl.h"

struct reload;

/* Hears the parent's SIGHUP from here on. */
struct reload *reload_new(struct ctl *ctl);
/* When nobody is left to answer. NULL is fine. */
void reload_free(struct reload *reload);

/* The command. */
void reload_begin(struct ctl_request *request, const json_t *message);
