#pragma once
/* Operators' commands, one row each. */

#include <stdbool.h>

#include "ctl/ctl.h"

typedef void (*commands_fn)(struct ctl_request *request, const json_t *message);

struct commands_row {
	const char *name;
	bool changes;		     /* only for administrators */
	commands_fn gateway, client; /* NULL: that role does not have it */
};

/* NULL for no or an unknown name. */
const struct commands_row *commands_find(const char *name);
