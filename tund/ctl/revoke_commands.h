#pragma once
/* revoke, unrevoke, revoked. */

#include "ctl/ctl.h"

void revoke_commands_revoke(struct ctl_request *request, const json_t *message);
void revoke_commands_unrevoke(struct ctl_request *request, const json_t *message);
void revoke_commands_revoked(struct ctl_request *request, const json_t *message);
