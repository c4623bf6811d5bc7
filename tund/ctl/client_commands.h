#pragma once
/* What a client answers. */

#include "ctl/ctl.h"

/* The tunnel in a few words, whether it is up or not. */
json_t *client_commands_tunnel(const struct client *client);

void client_commands_status(struct ctl_request *request, const json_t *message);
void client_commands_sessions(struct ctl_request *request, const json_t *message);
void client_commands_disconnect(struct ctl_request *request, const json_t *message);
