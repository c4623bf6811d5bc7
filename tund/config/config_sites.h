#pragma once
/* What site blocks may ask for, next to each other and to the gateway. Between the files of this
 * folder. */

#include "config/config.h"

void config_sites_check(const struct config *config, struct config_problems *problems);
