#pragma once
/* UDP in batches: many datagrams a system call (UDP_SEGMENT out, UDP_GRO in, recvmmsg), with the
 * local address each arrived at or leaves from (IP_PKTINFO, IPV6_PKTINFO). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"

enum {
	UDP_DATAGRAM_MAX = 65535,
	UDP_RUN_SEGMENTS = 64, /* datagrams in one send; UDP_MAX_SEGMENTS of older kernels */
	UDP_RUN_BYTES = 65000, /* bytes in one send, below 65535 less the headers */
	UDP_BATCH = 32,	       /* GRO runs in one receive */
	UDP_BUFFER_BYTES = 4 * 1024 * 1024,
};

#define UDP_OFFLOAD_GSO 0x1U
#define UDP_OFFLOAD_GRO 0x2U

/* One end of a path: who, and the local address (family 0: the kernel chooses). */
struct udp_path {
	struct endpoint peer;
	struct addr local;
	unsigned ifindex; /* of a link-local peer or local address, else 0 */
};

/* A run of datagrams of one peer: segment bytes each, the last may be shorter. */
struct udp_run {
	struct udp_path path;
	uint8_t *data;
	size_t len, segment;
};

/* Makes a bound, non-blocking, close-on-exec socket: V6ONLY for IPv6, SO_REUSEPORT when asked,
 * packet info on, never fragmented with the path MTU learned from ICMP (PMTUDISC_DO), buffers
 * forced to UDP_BUFFER_BYTES (SO_*BUFFORCE, plain SO_*BUF without CAP_NET_ADMIN), GRO on.
 * ret_offloads says what the kernel grants. at with port 0 and the unspecified address makes a
 * client's socket. */
int udp_open(const struct endpoint *at, bool reuseport, int *ret_fd, unsigned *ret_offloads);

/* Sends len bytes as datagrams of segment bytes (one datagram when len <= segment), in runs of at
 * most UDP_RUN_SEGMENTS and UDP_RUN_BYTES. Without GSO, or where the device refuses it (EIO,
 * EINVAL: remembered by clearing UDP_OFFLOAD_GSO in *offloads), sendmmsg of single datagrams. A
 * peer of family AF_UNSPEC is the one the socket is connected to. 0; -EAGAIN, -ENOBUFS when the
 * socket is full (nothing or a part was sent); -EMSGSIZE too big for the path; -errno else.
 * *ret_sent, how many datagrams went out, is always set. */
int udp_send(int fd, unsigned *offloads, const struct udp_path *path, const uint8_t *data,
	     size_t len, size_t segment, size_t *ret_sent);

/* Receives runs into the receiver's buffers, where they stay until the next call: up to UDP_BATCH
 * small ones, fewer of big ones, so that what is received together stays in the processor's cache.
 * How many, 0 when there is nothing, or -errno (ECONNREFUSED and friends are swallowed). Empty
 * datagrams and those cut short, they or what the kernel says of them, are swallowed too. */
struct udp_receiver; /* the mmsghdr, iovec and control space; one a socket and thread */
struct udp_receiver *udp_receiver_new(void);
void udp_receiver_free(struct udp_receiver *receiver);
int udp_receive(struct udp_receiver *receiver, int fd, struct udp_run runs[static UDP_BATCH]);

/* Bytes of memory that what has come and is not yet received takes. */
size_t udp_waiting(int fd);

/* The kernel's path MTU towards a peer, in bytes of the IP packet, or -errno (a fresh connected
 * socket cannot be made in the engine: asked of a connected socket, TCP or UDP, that exists). */
int udp_path_mtu(int connected_fd);
