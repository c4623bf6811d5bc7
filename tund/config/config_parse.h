#pragma once
/* libconfuse, told about the table. Every value is read as text: what a text means is
 * config_values.c's business. libconfuse's lexer has global state: one thread at a time. */

#include <confuse.h>

/* clean: what config_scan left, zero-terminated. NULL when libconfuse refuses it all the same (a
 * bug of ours), which prints nothing. Freed with cfg_free. */
cfg_t *config_parse(const char *clean);
