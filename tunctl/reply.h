#pragma once
/* Parts of an answer that several commands print alike. */

#include <jansson.h>

/* "warning: ...", a line each of the array "warnings"; nothing where there is none. */
void reply_warnings(const json_t *reply);
/* A block's entries, one a text of the array under key, the name before the first. */
void reply_list(const char *name, const json_t *object, const char *key);
