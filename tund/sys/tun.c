#include "sys/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "base/cleanup.h"

/* As the kernel's dev_valid_name, and no '%': TUNSETIFF takes "tun%d" for a pattern. */
static bool is_valid_name(const char *name)
{
	size_t len = strnlen(name, IFNAMSIZ);

	return len > 0 && len < IFNAMSIZ && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	       strcspn(name, "/:% \t\n\v\f\r") == len;
}

/* The flags must be the device's own for every queue, else TUNSETIFF says EINVAL. */
static int attach_queue(const char *name, short flags, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int header_size = sizeof(struct tun_header);
	struct ifreq request = {
		.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE | flags),
	};

	if (!is_valid_name(name))
		return -EINVAL;
	memcpy(request.ifr_name, name, strlen(name));
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return -errno;
	/* What it is by default; a queue attached later finds the device's value. Byte order is the
	 * host's as long as TUNSETVNETLE and TUNSETVNETBE are left alone. */
	if (ioctl(fd, TUNSETVNETHDRSZ, &header_size) < 0)
		return -errno;
	*ret_fd = cleanup_take_fd(&fd);
	return 0;
}

/* The kernel refuses a set with an unknown bit as a whole, and one of USO4 and USO6 without the
 * other. */
static unsigned grant_offloads(int fd)
{
	static const unsigned sets[] = {
		TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6 | TUN_OFFLOAD_ECN |
			TUN_OFFLOAD_USO4 | TUN_OFFLOAD_USO6,
		TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6 | TUN_OFFLOAD_ECN,
		TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6,
		TUN_OFFLOAD_CSUM,
	};

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)sets[i]) == 0)
			return sets[i];
	return 0;
}

int tun_open(const char *name, int *ret_fd, unsigned *ret_offloads)
{
	/* Without EXCL a device of another process, or a persistent one, would be joined. */
	int error = attach_queue(name, (short)IFF_TUN_EXCL, ret_fd);

	if (error < 0)
		return error;
	*ret_offloads = grant_offloads(*ret_fd);
	return 0;
}

int tun_open_queue(const char *name, int *ret_fd)
{
	/* TUNSETIFF would make the device anew. */
	if (is_valid_name(name) && if_nametoindex(name) == 0)
		return -ENODEV;
	return attach_queue(name, 0, ret_fd);
}

/* A packet that is bigger than size is cut without a word; its IP length then gives it away. */
ssize_t tun_read(int fd, struct tun_header *ret_header, void *packet, size_t size)
{
	struct tun_header header;
	struct iovec parts[] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = packet, .iov_len = size},
	};
	ssize_t len = readv(fd, parts, 2);

	if (len < 0)
		return -errno;
	if ((size_t)len < sizeof(header))
		return -EIO;
	*ret_header = header;
	return len - (ssize_t)sizeof(header);
}

/* A header that contradicts its packet is EINVAL, an interface that is down EIO. */
int tun_write(int fd, const struct tun_header *header, const void *packet, size_t len)
{
	struct iovec parts[] = {
		{.iov_base = (void *)header, .iov_len = sizeof(*header)},
		{.iov_base = (void *)packet, .iov_len = len},
	};
	ssize_t written = writev(fd, parts, 2);

	if (written < 0)
		return -errno;
	return (size_t)written == sizeof(*header) + len ? 0 : -EIO;
}
