#pragma once
/* Records on their way to one peer, gathered into runs of equal size so that each run is one system
 * call (UDP_SEGMENT). One a worker. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/count.h"
#include "sys/udp.h"

struct batch_socket {
	int fd;
	unsigned offloads;
};

struct batch {
	uint8_t *data; /* UDP_RUN_BYTES + one datagram */
	size_t len, segment, datagrams;
	struct udp_path path;
	struct batch_socket *socket; /* of the run; borrowed */
	bool too_big; /* a run was refused for its size: path and socket are still those */
	struct counts *counts;
};

void batch_init(struct batch *batch, struct counts *counts);
void batch_done(struct batch *batch);
/* Copies one datagram behind the run, which is sent first where it does not fit. */
void batch_add(struct batch *batch, struct batch_socket *socket, const struct udp_path *path,
	       const uint8_t *datagram, size_t len);
void batch_flush(struct batch *batch);
