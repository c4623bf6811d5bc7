#pragma once
/* The TLS ports: accepts, and turns away before any cryptography who comes too often. */

#include "gateway/gateway.h"

void listener_start(struct gateway *gateway);
void listener_stop(struct gateway *gateway);
/* A connection of this peer has left the handshake. */
void listener_forget(struct gateway *gateway, const struct endpoint *peer);
/* Forgets sources that have been quiet. */
void listener_tick(struct gateway *gateway);
