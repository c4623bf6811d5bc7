#pragma once
/* Sends every datagram back to where it came from, in batches: the network's end of a stream. */

/* Until it is killed; says "ready" on standard output. 1 with a line on standard error. */
int echo_run(const char *at);
