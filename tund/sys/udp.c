#include "sys/udp.h"

#include <errno.h>
#include <string.h>

#include <linux/sock_diag.h>
#include <netinet/udp.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum {
	BUFFER_STRIDE = UDP_DATAGRAM_MAX + 1,
	BATCH_BYTES = 256 * 1024, /* of a batch, by the size of the runs in the last one */
	BATCH_LEAST = BATCH_BYTES / BUFFER_STRIDE,
};

struct control {
	_Alignas(struct cmsghdr)
		uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int))];
};

struct udp_receiver {
	struct mmsghdr messages[UDP_BATCH];
	struct iovec parts[UDP_BATCH];
	struct endpoint peers[UDP_BATCH];
	struct control controls[UDP_BATCH];
	uint8_t *buffers; /* UDP_BATCH times BUFFER_STRIDE bytes, touched as far as they are used */
	unsigned ask;	  /* runs in the next call */
	unsigned used;	  /* messages that the last one may have written to */
};

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Past net.core.{r,w}mem_max where that is allowed; else as far as they let it. */
static void set_buffers(int fd)
{
	if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, UDP_BUFFER_BYTES) < 0)
		set_option(fd, SOL_SOCKET, SO_RCVBUF, UDP_BUFFER_BYTES);
	if (set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, UDP_BUFFER_BYTES) < 0)
		set_option(fd, SOL_SOCKET, SO_SNDBUF, UDP_BUFFER_BYTES);
}

/* With PMTUDISC_DO what is too big is EMSGSIZE instead of fragments, and ICMP lowers the route's
 * MTU. */
static int set_v4_options(int fd)
{
	int error = set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);

	return error < 0 ? error : set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
}

static int set_v6_options(int fd)
{
	int error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);

	if (error < 0)
		return error;
	error = set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	if (error < 0)
		return error;
	return set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
}

/* UDP_SEGMENT is since Linux 4.18, UDP_GRO since 5.0. A device may still refuse a run later. */
static unsigned probe_offloads(int fd)
{
	socklen_t size = sizeof(int);
	unsigned offloads = 0;
	int segment;

	if (getsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, &size) == 0)
		offloads |= UDP_OFFLOAD_GSO;
	if (set_option(fd, SOL_UDP, UDP_GRO, 1) == 0)
		offloads |= UDP_OFFLOAD_GRO;
	return offloads;
}

int udp_open(const struct endpoint *at, bool reuseport, int *ret_fd, unsigned *ret_offloads)
{
	_cleanup_close_ int fd = -1;
	int error;

	fd = socket(at->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	error = at->any.sa_family == AF_INET ? set_v4_options(fd) : set_v6_options(fd);
	if (error == 0 && reuseport)
		error = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (error < 0)
		return error;
	set_buffers(fd);
	if (bind(fd, &at->any, addr_endpoint_len(at)) < 0)
		return -errno;
	*ret_offloads = probe_offloads(fd);
	*ret_fd = cleanup_take_fd(&fd);
	return 0;
}

/* An ICMP error met by a connected socket: the next call reports it, once, whatever that call was.
 * A "fragmentation needed" (EMSGSIZE) has by then been noted in the route. */
static bool is_icmp_error(int error)
{
	return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
	       error == ENOPROTOOPT || error == EMSGSIZE || error == EACCES || error == EPROTO ||
	       error == EOPNOTSUPP || error == EHOSTDOWN || error == ENONET;
}

/* ---- send ---- */

/* CMSG_NXTHDR would need the final length beforehand. The room is struct control's. */
static void append_control(struct msghdr *message, int level, int type, const void *value,
			   size_t size)
{
	struct cmsghdr *control =
		(struct cmsghdr *)((uint8_t *)message->msg_control + message->msg_controllen);

	control->cmsg_level = level;
	control->cmsg_type = type;
	control->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(control), value, size);
	message->msg_controllen += CMSG_SPACE(size);
}

/* The source address, and the segment's length when that is not 0. */
static void write_control(struct msghdr *message, struct control *control,
			  const struct udp_path *path, size_t segment)
{
	struct in_pktinfo v4 = {.ipi_ifindex = (int)path->ifindex};
	struct in6_pktinfo v6 = {.ipi6_ifindex = path->ifindex};
	uint16_t size = (uint16_t)segment;

	memset(control, 0, sizeof(*control));
	message->msg_control = control;
	message->msg_controllen = 0;
	if (path->local.family == 4) {
		memcpy(&v4.ipi_spec_dst, path->local.bytes, 4);
		append_control(message, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4));
	} else if (path->local.family == 6) {
		memcpy(&v6.ipi6_addr, path->local.bytes, 16);
		append_control(message, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
	}
	if (segment)
		append_control(message, SOL_UDP, UDP_SEGMENT, &size, sizeof(size));
}

/* msg_control NULL where there is none: the kernel then skips its parser. */
static struct msghdr make_message(const struct udp_path *path, struct control *control,
				  size_t segment)
{
	struct msghdr message = {0};

	if (path->peer.any.sa_family != AF_UNSPEC) {
		message.msg_name = (void *)&path->peer.any;
		message.msg_namelen = addr_endpoint_len(&path->peer);
	}
	write_control(&message, control, path, segment);
	if (message.msg_controllen == 0)
		message.msg_control = NULL;
	return message;
}

/* One datagram, or with segment a run of them. The kernel takes a run whole or not at all. */
static int send_run(int fd, const struct udp_path *path, const uint8_t *data, size_t len,
		    size_t segment)
{
	struct control control;
	struct msghdr message = make_message(path, &control, segment);
	struct iovec part = {.iov_base = (void *)data, .iov_len = len};

	message.msg_iov = &part;
	message.msg_iovlen = 1;
	if (sendmsg(fd, &message, 0) >= 0)
		return 0;
	return is_icmp_error(errno) && sendmsg(fd, &message, 0) >= 0 ? 0 : -errno;
}

/* At most UDP_RUN_SEGMENTS datagrams. *ret_sent counts on. sendmmsg stops at the first that fails
 * and says why only when called again from there. */
static int send_singles(int fd, const struct udp_path *path, const uint8_t *data, size_t len,
			size_t segment, size_t *ret_sent)
{
	struct mmsghdr messages[UDP_RUN_SEGMENTS];
	struct iovec parts[UDP_RUN_SEGMENTS];
	struct control control;
	struct msghdr message = make_message(path, &control, 0);
	unsigned count = 0, done = 0;
	bool retried = false;
	int sent;

	for (size_t at = 0; at < len && count < UDP_RUN_SEGMENTS; at += segment, count++) {
		parts[count] = (struct iovec){
			.iov_base = (void *)(data + at),
			.iov_len = len - at < segment ? len - at : segment,
		};
		messages[count] = (struct mmsghdr){.msg_hdr = message};
		messages[count].msg_hdr.msg_iov = &parts[count];
		messages[count].msg_hdr.msg_iovlen = 1;
	}
	while (done < count) {
		sent = sendmmsg(fd, messages + done, count - done, 0);
		if (sent < 0 && (retried || !is_icmp_error(errno)))
			return -errno;
		retried = sent < 0;
		if (sent > 0) {
			done += (unsigned)sent;
			*ret_sent += (size_t)sent;
		}
	}
	return 0;
}

/* One run: of at most UDP_RUN_SEGMENTS datagrams and UDP_RUN_BYTES, or one datagram. */
static int send_part(int fd, unsigned *offloads, const struct udp_path *path, const uint8_t *data,
		     size_t len, size_t segment, size_t *ret_sent)
{
	bool single = len <= segment;
	bool refused = false;
	int error;

	if (single || (*offloads & UDP_OFFLOAD_GSO)) {
		error = send_run(fd, path, data, len, single ? 0 : segment);
		if (error == 0)
			*ret_sent += single ? 1 : (len + segment - 1) / segment;
		refused = !single && (error == -EIO || error == -EINVAL);
		if (!refused)
			return error;
	}
	/* EINVAL is also a source address that is not ours and, in older kernels, a segment too big
	 * for the path. Only singles that go out where the run did not prove that it was GSO. */
	error = send_singles(fd, path, data, len, segment, ret_sent);
	if (error == 0 && refused)
		*offloads &= ~UDP_OFFLOAD_GSO;
	return error;
}

int udp_send(int fd, unsigned *offloads, const struct udp_path *path, const uint8_t *data,
	     size_t len, size_t segment, size_t *ret_sent)
{
	size_t part = segment, at = 0, next;
	int error;

	*ret_sent = 0;
	if (len > segment && segment == 0)
		return -EINVAL;
	if (len > segment && segment < UDP_RUN_BYTES / UDP_RUN_SEGMENTS)
		part = segment * UDP_RUN_SEGMENTS;
	else if (len > segment && segment < UDP_RUN_BYTES)
		part = UDP_RUN_BYTES / segment * segment;
	do {
		next = len - at < part ? len - at : part;
		error = send_part(fd, offloads, path, data + at, next, segment, ret_sent);
		at += next;
	} while (error == 0 && at < len);
	return error;
}

/* ---- receive ---- */

struct udp_receiver *udp_receiver_new(void)
{
	struct udp_receiver *receiver = xnew(struct udp_receiver);

	receiver->buffers = xalloc_zero(UDP_BATCH, BUFFER_STRIDE);
	receiver->ask = receiver->used = UDP_BATCH;
	for (size_t i = 0; i < UDP_BATCH; i++) {
		receiver->parts[i] = (struct iovec){
			.iov_base = receiver->buffers + i * BUFFER_STRIDE,
			.iov_len = UDP_DATAGRAM_MAX,
		};
		receiver->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &receiver->peers[i],
			.msg_iov = &receiver->parts[i],
			.msg_iovlen = 1,
			.msg_control = &receiver->controls[i],
		};
	}
	return receiver;
}

void udp_receiver_free(struct udp_receiver *receiver)
{
	if (!receiver)
		return;
	free(receiver->buffers);
	free(receiver);
}

/* The value's bytes when control is that option and whole. */
static bool read_option(struct cmsghdr *control, int level, int type, void *ret, size_t size)
{
	if (control->cmsg_level != level || control->cmsg_type != type ||
	    control->cmsg_len < CMSG_LEN(size))
		return false;
	memcpy(ret, CMSG_DATA(control), size);
	return true;
}

/* The only addresses that mean nothing without an interface. Naming one for others would pin the
 * answer to it, and routing could no longer choose. */
static bool is_link_local(const struct addr *addr)
{
	return addr->family == 6 && addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

/* UDP_GRO comes with what the kernel joined only: without it the message is one datagram. */
static void read_control(struct cmsghdr *control, struct udp_run *run)
{
	struct addr peer = addr_of_endpoint(&run->path.peer);
	struct in6_pktinfo v6;
	struct in_pktinfo v4;
	int segment;

	if (read_option(control, SOL_UDP, UDP_GRO, &segment, sizeof(segment))) {
		if (segment > 0 && (size_t)segment < run->len)
			run->segment = (size_t)segment;
	} else if (read_option(control, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4))) {
		/* spec_dst, not addr: of a broadcast it is the address to answer from. */
		run->path.local = (struct addr){.family = 4};
		memcpy(run->path.local.bytes, &v4.ipi_spec_dst, 4);
	} else if (read_option(control, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6))) {
		run->path.local = (struct addr){.family = 6};
		memcpy(run->path.local.bytes, &v6.ipi6_addr, 16);
		if (is_link_local(&run->path.local) || is_link_local(&peer))
			run->path.ifindex = v6.ipi6_ifindex;
	}
}

/* False: nothing in it for anyone, or its segments cannot be told apart any more. */
static bool read_message(struct udp_receiver *receiver, size_t i, struct udp_run *ret)
{
	struct msghdr *message = &receiver->messages[i].msg_hdr;
	struct udp_run run = {
		.path.peer = receiver->peers[i],
		.data = receiver->parts[i].iov_base,
		.len = receiver->messages[i].msg_len,
		.segment = receiver->messages[i].msg_len,
	};

	if (run.len == 0 || (message->msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return false;
	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
	     control = CMSG_NXTHDR(message, control))
		read_control(control, &run);
	*ret = run;
	return true;
}

/* recvmmsg past the ICMP errors that are waiting; there may be one a datagram sent. */
static int receive_batch(struct udp_receiver *receiver, int fd)
{
	int count;

	/* The last call wrote what it used into these; the others are left alone, and out of the
	 * cache: an idle tunnel's datagrams come singly. */
	for (size_t i = 0; i < receiver->used; i++) {
		receiver->messages[i].msg_hdr.msg_namelen = sizeof(receiver->peers[i]);
		receiver->messages[i].msg_hdr.msg_controllen = sizeof(receiver->controls[i]);
	}
	for (unsigned tries = 0; tries < UDP_BATCH; tries++) {
		count = recvmmsg(fd, receiver->messages, receiver->ask, MSG_DONTWAIT, NULL);
		receiver->used = count > 0 ? (unsigned)count : 1;
		if (count >= 0)
			return count;
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR && !is_icmp_error(errno))
			return -errno;
	}
	return 0;
}

static unsigned fit_batch(size_t run_bytes)
{
	size_t fitting = BATCH_BYTES / (run_bytes + 1);

	if (fitting < BATCH_LEAST)
		return BATCH_LEAST;
	return fitting < UDP_BATCH ? (unsigned)fitting : UDP_BATCH;
}

int udp_receive(struct udp_receiver *receiver, int fd, struct udp_run runs[static UDP_BATCH])
{
	int count = receive_batch(receiver, fd), kept = 0;
	size_t bytes = 0;

	for (int i = 0; i < count; i++) {
		bytes += receiver->messages[i].msg_len;
		if (read_message(receiver, (size_t)i, &runs[kept]))
			kept++;
	}
	if (bytes)
		receiver->ask = fit_batch(bytes / (size_t)count);
	return count < 0 ? count : kept;
}

size_t udp_waiting(int fd)
{
	uint32_t figures[SK_MEMINFO_VARS] = {0};
	socklen_t size = sizeof(figures);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, figures, &size);
	return figures[SK_MEMINFO_RMEM_ALLOC];
}

int udp_path_mtu(int connected_fd)
{
	socklen_t size = sizeof(int);
	int domain, mtu, error;

	if (getsockopt(connected_fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
		return -errno;
	if (domain != AF_INET && domain != AF_INET6)
		return -EAFNOSUPPORT;
	size = sizeof(int);
	error = domain == AF_INET ? getsockopt(connected_fd, IPPROTO_IP, IP_MTU, &mtu, &size)
				  : getsockopt(connected_fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &size);
	return error < 0 ? -errno : mtu;
}
