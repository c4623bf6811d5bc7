#pragma once
/* Which tund is meant: the socket that was named, the instance that was named, or the only one. */

#include <stddef.h>

#include <jansson.h>

#include "arguments.h"

/* NULL and the path in path, or what is wrong, as the daemon would say it (tund.error/1). */
json_t *instance_find(const struct arguments *arguments, char *path, size_t size);
