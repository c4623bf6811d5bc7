#pragma once
/* Whose certificate is meant: by NAME, --serial or --certificate. */

#include <jansson.h>

#include "arguments.h"

/* The request with its selector, in *ret; or an error, as the daemon would say it. */
json_t *selector_request(const struct arguments *arguments, const char *command, json_t **ret);
/* {"identity", "subject", "issuer", "serial"} of a list, a line each after the word. */
void selector_print(const char *word, const json_t *certificates);
/* "durable after 12 ms", or that it is not and why. */
void selector_print_durable(const json_t *reply);
