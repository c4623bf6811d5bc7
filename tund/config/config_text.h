#pragma once
/* The bytes of a configuration file, before anything looks at what they mean: who may have written
 * them, how many there may be, and private keys out of sight. */

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

enum {
	CONFIG_TEXT_MAX = 1024 * 1024,
	CONFIG_TEXT_QUOTED = 272, /* what config_text_quote may write */
};

struct config_text {
	char *bytes; /* zero-terminated, no zero within */
	size_t len;
	bool closed; /* nobody but the owner may read the file */
};

/* Reads a regular file that belongs to root or the caller and that nobody else may write. The bytes
 * are read into one buffer that is never moved. false with one problem. */
bool config_text_read(const char *path, struct config_text *ret, struct config_problems *problems);
void config_text_copy(const struct config_text *text, struct config_text *ret);
void config_text_wipe(struct config_text *text); /* zeroes, then frees */

/* Overwrites the body of every "-----BEGIN ... PRIVATE KEY-----" in place; the lines stay. Returns
 * how many there are. One that does not end is overwritten to the end of the text, and is a
 * problem. */
size_t config_text_blank_keys(const char *file, char *bytes, size_t len,
			      struct config_problems *problems);
/* The first private key at or after offset `from`, as PEM with its two lines around it; \n written
 * as an escape becomes a newline. malloc'ed; NULL when there is none that is whole. */
char *config_text_key(const char *bytes, size_t len, size_t from);

unsigned config_text_line(const char *bytes, size_t at); /* of the byte at offset `at`, from 1 */
/* The text in double quotes, escaped, cut when long. Returns buf. */
const char *config_text_quote(const char *text, size_t len, char buf[static CONFIG_TEXT_QUOTED]);
