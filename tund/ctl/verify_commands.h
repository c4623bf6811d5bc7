#pragma once
/* The verdict on a certificate that an operator shows: the same routines as at the door. */

#include "ctl/ctl.h"

void verify_commands_gateway(struct ctl_request *request, const json_t *message); /* a device's */
void verify_commands_client(struct ctl_request *request, const json_t *message);  /* a gateway's */
