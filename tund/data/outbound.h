#pragma once
/* A packet out: see outbound.c. */

#include "data/worker.h"
#include "wire/cstp.h"

/* TUN is readable: some packets' way to their peers. */
void outbound_run(struct worker *worker);
/* What other workers have handed over by now. */
void outbound_take_handed(struct worker *worker);
/* One packet that did not come from TUN (an ICMP answer to the device itself). len bytes at packet
 * with OFFLOAD_HEADROOM writable before it. */
void outbound_packet(struct worker *worker, struct flow *flow, uint8_t *packet, size_t len);

enum outbound_channel { OUTBOUND_TLS, OUTBOUND_DTLS };

/* A control frame over one channel; payload at most 2048 bytes on TLS, the path's MTU on DTLS. */
void outbound_frame(struct worker *worker, struct flow *flow, enum outbound_channel channel,
		    enum cstp_type type, const uint8_t *payload, size_t len);
