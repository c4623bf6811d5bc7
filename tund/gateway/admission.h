#pragma once
/* What main decides about a verified peer: whether it has access, whether it may be here twice,
 * which session and addresses it gets, and what it is told. */

#include "gateway/gateway.h"

/* Consumes the event. */
void admission_login(struct gateway *gateway, struct handshake_event *event);
void admission_connect(struct gateway *gateway, struct handshake_event *event);
