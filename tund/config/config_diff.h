#pragma once
/* What two readings of one file differ in, by option: "gateway.rekey", "access.engineering.allow",
 * "site.berlin added". What the files that are named hold is not looked at. */

#include <stddef.h>

#include "config/config.h"

struct config_diff {
	char **changed; /* what applies to a running tund */
	size_t changed_count;
	char **restart; /* what does not */
	size_t restart_count;
};

/* The caller frees ret with config_diff_done. Both are of one role. */
void config_diff_find(const struct config *before, const struct config *now,
		      struct config_diff *ret);
/* One more that has changed, if it is not among them. */
void config_diff_add(struct config_diff *diff, const char *name);
/* Gives now the running values of all options that need a restart: it then says what is in force,
 * and the next reading still finds them changed. */
void config_diff_keep(struct config *now, const struct config *running);
/* After config_diff_keep: what of the new cannot be next to what was kept, though it could next to what
 * the file says: an address that two could claim until the restart. */
void config_diff_check(const struct config *now, struct config_problems *problems);
void config_diff_done(struct config_diff *diff);
