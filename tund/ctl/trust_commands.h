#pragma once
/* Whom we believe now, and what the policy makes of it. */

#include "ctl/ctl.h"

void trust_commands_trust(struct ctl_request *request, const json_t *message);
