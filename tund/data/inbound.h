#pragma once
/* A packet in: see inbound.c. */

#include "data/worker.h"

/* A UDP socket is readable. */
void inbound_udp(struct worker *worker, struct worker_socket *socket);
/* One datagram of the backlog; what it is answered with, worker_flush sends. False when none waits. */
bool inbound_shake_hands(struct worker *worker);
/* Writes what has been joined so far. */
void inbound_flush(struct worker *worker);
/* A flow's TLS channel may have something. False when the flow is gone. */
bool inbound_tls(struct worker *worker, struct flow *flow);
