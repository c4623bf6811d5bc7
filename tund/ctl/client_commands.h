#pragma once
/* What a client answers. */

#include "ctl/ctl.h"

void client_commands_status(struct ctl_request *request, const json_t *message);
void client_commands_sessions(struct ctl_request *request, const json_t *message);
void client_commands_disconnect(struct ctl_request *request, const json_t *message);
