#pragma once
/* Sessions as a table, for whoever lists some. */

#include <jansson.h>

void sessions_print(const json_t *sessions);
