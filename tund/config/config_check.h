#pragma once
/* What has to hold between options, and what this release cannot do yet. */

#include "config/config.h"

void config_check(const struct config *config, struct config_problems *problems);
