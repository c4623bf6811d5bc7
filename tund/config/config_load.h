#pragma once
/* The part of config_load that needs no file, for tests and the fuzzer. */

#include "config/config.h"

/* path: absolute, for the instance's name, relative paths and problems. The len bytes at text are
 * followed by a zero; private keys in them are overwritten. closed: nobody but the owner may read
 * the file. As config_load. */
struct config *config_load_text(const char *path, char *text, size_t len, bool closed,
				struct config_problems *problems);
