#pragma once
/* A file of certificates, PEM or DER, as it is sent to the daemon. */

#include <jansson.h>

#include "base/buf.h"

/* NULL and an array of strings, each one certificate in PEM form, in the file's order; or an error
 * to be shown: unreadable, too large, something else than certificates in it. A file that holds a
 * private key is refused: nothing of it is sent. */
json_t *certificates_read(const char *path, json_t **ret);
/* The same of the file's bytes. */
json_t *certificates_parse(const char *path, const struct buf *file, json_t **ret);
