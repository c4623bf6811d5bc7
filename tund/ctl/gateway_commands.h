#pragma once
/* What a gateway answers. */

#include "ctl/ctl.h"

void gateway_commands_status(struct ctl_request *request, const json_t *message);
void gateway_commands_sessions(struct ctl_request *request, const json_t *message);
void gateway_commands_show(struct ctl_request *request, const json_t *message);
void gateway_commands_disconnect(struct ctl_request *request, const json_t *message);
