#pragma once
/* Why a handshake was refused, by the short id that both ends log. */

#include "ctl/ctl.h"

void explain_commands_gateway(struct ctl_request *request, const json_t *message);
void explain_commands_client(struct ctl_request *request, const json_t *message);
