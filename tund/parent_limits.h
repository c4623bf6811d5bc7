#pragma once
/* How many files an instance may have open: every session is one. */

#include "parent.h"

/* What so much as the configuration allows needs, with so many workers. */
unsigned long parent_limits_needed(const struct config *config, size_t workers);
/* At the start, as root: this process's limit, which its children inherit. Says so in the log where
 * it is too low all the same. Sets kit->descriptors. */
void parent_limits_raise(struct parent_kit *kit, size_t workers);
/* A reload can raise nothing: one that asks for more than runs now, and than the limit, is a
 * problem. */
void parent_limits_check(const struct parent_kit *kit, const struct config *wanted,
			 struct config_problems *problems);
