#pragma once
/* A TUN queue with the virtio header, and which offloads the kernel grants (<linux/if_tun.h>,
 * <linux/virtio_net.h>). Debian 12's headers lack the UDP names; they stand here and are probed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TUN_OFFLOAD_CSUM 0x01U
#define TUN_OFFLOAD_TSO4 0x02U
#define TUN_OFFLOAD_TSO6 0x04U
#define TUN_OFFLOAD_ECN	 0x08U /* TSO of packets with CWR */
#define TUN_OFFLOAD_USO4 0x20U /* Linux 6.2 */
#define TUN_OFFLOAD_USO6 0x40U

enum {
	TUN_GSO_NONE = 0,
	TUN_GSO_TCPV4 = 1,
	TUN_GSO_TCPV6 = 4,
	TUN_GSO_UDP_L4 = 5, /* Linux 6.2 */
	TUN_GSO_ECN = 0x80,
	TUN_CSUM_NEEDED = 1, /* flags */
	TUN_CSUM_VALID = 2,
	TUN_PACKET_MAX = 65535, /* bytes of one read or write, header not counted */
};

/* struct virtio_net_hdr, in host order. */
struct tun_header {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len; /* not to be trusted from the kernel: it may be the whole packet */
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

_Static_assert(sizeof(struct tun_header) == 10, "virtio_net_hdr has 10 bytes");

/* Opens one queue of a TUN device, making the device with the first: IFF_NO_PI, IFF_VNET_HDR,
 * IFF_MULTI_QUEUE, non-blocking, not persistent: the device goes with its last queue. Asks for the
 * offloads and finds which are granted. -EBUSY where the name is taken by something that is not
 * ours, -EINVAL for a bad name. Needs CAP_NET_ADMIN. */
int tun_open(const char *name, int *ret_fd, unsigned *ret_offloads);
/* One more queue of a device that tun_open made; offloads are the device's, so they are as they
 * were. -ENODEV when the device is gone. */
int tun_open_queue(const char *name, int *ret_fd);

/* One packet; the header is taken off. Its length, -EAGAIN when there is none, or -errno. */
ssize_t tun_read(int fd, struct tun_header *ret_header, void *packet, size_t size);
/* 0 or -errno. */
int tun_write(int fd, const struct tun_header *header, const void *packet, size_t len);
