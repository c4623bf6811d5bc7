/* A preloaded library that makes this kernel look older, or its queues full, to tund and the
 * processes it forks. OLD_KERNEL holds words:
 *
 *	tso uso          TUNSETOFFLOAD refuses these bits: EINVAL, as for any it does not know
 *	multiqueue       TUNSETIFF passes IFF_MULTI_QUEUE over (before Linux 3.8), so that a second
 *	                 queue is EBUSY
 *	queues           a second queue is E2BIG
 *	gso              no UDP_SEGMENT (before 4.18): ENOPROTOOPT; as control data it is passed
 *	                 over, and the run is one datagram, too long for any path
 *	gso-device       UDP_SEGMENT is there, but sending with it EIO: the device has no checksum
 *	                 offload (before 6.11)
 *	gso-path         and EINVAL: the path or the number of segments does not suit it
 *	gro              no UDP_GRO (before 5.0): ENOPROTOOPT
 *	WHAT:ERROR:N/M   of every N calls, M in a row fail like that. WHAT: udp-send, udp-receive,
 *	                 tun-write, tun-read, tcp-send, tcp-receive; ERROR: EAGAIN, ENOBUFS, ENOMEM
 *
 * A descriptor is known by the call that made it, so that nothing is asked of the kernel that a
 * sandbox might not allow, and it keeps its number across fork. */

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define TUN_F_USO 0x60 /* both families; Debian 12's headers lack the names */

/* The next library's function of that name. */
#define NEXT(name)                                                                                 \
	static __typeof__(name) *next;                                                             \
	if (!next)                                                                                 \
	*(void **)&next = dlsym(RTLD_NEXT, #name)

enum kind { OTHER, TUN, UDP, TCP };
enum way { OUT, IN };

enum { FDS_MAX = 65536 };

static struct {
	unsigned tun_bits;
	bool no_multiqueue, one_queue, no_gso, no_gro;
	int gso_error; /* 0: none */
} lacks;

static struct failure {
	int error;
	unsigned every, burst;
	atomic_uint calls;
} failures[4][2]; /* by kind and way */

static _Atomic(unsigned char) kinds[FDS_MAX];

/* ---- OLD_KERNEL ---- */

static _Noreturn void complain(const char *word)
{
	fprintf(stderr, "OLD_KERNEL: what is \"%s\"?\n", word);
	abort();
}

static int error_named(const char *name)
{
	static const struct {
		const char *name;
		int error;
	} errors[] = {{"EAGAIN", EAGAIN}, {"ENOBUFS", ENOBUFS}, {"ENOMEM", ENOMEM}};

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].error;
	complain(name);
}

static void set_failure(const char *word)
{
	static const char *const names[4][2] = {
		[TUN] = {"tun-write", "tun-read"},
		[UDP] = {"udp-send", "udp-receive"},
		[TCP] = {"tcp-send", "tcp-receive"},
	};
	char what[16], error[16];
	unsigned every, burst;

	if (sscanf(word, "%15[^:]:%15[^:]:%u/%u", what, error, &every, &burst) != 4 || every == 0)
		complain(word);
	for (int kind = TUN; kind <= TCP; kind++) {
		for (int way = OUT; way <= IN; way++) {
			if (strcmp(names[kind][way], what) != 0)
				continue;
			failures[kind][way].error = error_named(error);
			failures[kind][way].every = every;
			failures[kind][way].burst = burst;
			return;
		}
	}
	complain(word);
}

static void set_word(const char *word)
{
	if (strcmp(word, "tso") == 0)
		lacks.tun_bits |= TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	else if (strcmp(word, "uso") == 0)
		lacks.tun_bits |= TUN_F_USO;
	else if (strcmp(word, "multiqueue") == 0)
		lacks.no_multiqueue = true;
	else if (strcmp(word, "queues") == 0)
		lacks.one_queue = true;
	else if (strcmp(word, "gso") == 0)
		lacks.no_gso = true;
	else if (strcmp(word, "gso-device") == 0)
		lacks.gso_error = EIO;
	else if (strcmp(word, "gso-path") == 0)
		lacks.gso_error = EINVAL;
	else if (strcmp(word, "gro") == 0)
		lacks.no_gro = true;
	else
		set_failure(word);
}

static __attribute__((constructor)) void read_environment(void)
{
	const char *words = getenv("OLD_KERNEL");
	char copy[512], *rest = copy;

	if (!words)
		return;
	snprintf(copy, sizeof(copy), "%s", words);
	for (char *word = strsep(&rest, " "); word; word = strsep(&rest, " "))
		if (*word)
			set_word(word);
}

/* ---- what a descriptor is ---- */

static enum kind kind_of(int fd)
{
	return fd >= 0 && fd < FDS_MAX ? kinds[fd] : OTHER;
}

static int remember(int fd, enum kind kind)
{
	if (fd >= 0 && fd < FDS_MAX)
		kinds[fd] = (unsigned char)kind;
	return fd;
}

int socket(int domain, int type, int protocol)
{
	bool inet = domain == AF_INET || domain == AF_INET6;
	int base = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	enum kind kind = OTHER;

	NEXT(socket);
	if (inet && base == SOCK_DGRAM)
		kind = UDP;
	else if (inet && base == SOCK_STREAM)
		kind = TCP;
	return remember(next(domain, type, protocol), kind);
}

int accept4(int fd, struct sockaddr *peer, socklen_t *size, int flags)
{
	NEXT(accept4);
	return remember(next(fd, peer, size, flags), kind_of(fd));
}

int close(int fd)
{
	NEXT(close);
	remember(fd, OTHER);
	return next(fd);
}

/* ---- what an older kernel lacks ---- */

static int fail(int error)
{
	errno = error;
	return -1;
}

static int attach_queue(int fd, struct ifreq *request, int (*next)(int, unsigned long, ...))
{
	static char attached[IFNAMSIZ];
	int r;

	if (lacks.one_queue && strncmp(attached, request->ifr_name, IFNAMSIZ) == 0)
		return fail(E2BIG);
	if (lacks.no_multiqueue)
		request->ifr_flags &= (short)~IFF_MULTI_QUEUE;
	r = next(fd, TUNSETIFF, request);
	if (r < 0)
		return r;
	memcpy(attached, request->ifr_name, IFNAMSIZ);
	remember(fd, TUN);
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	NEXT(ioctl);
	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (request == TUNSETIFF)
		return attach_queue(fd, argument, next);
	if (request == TUNSETOFFLOAD && ((unsigned long)argument & lacks.tun_bits))
		return fail(EINVAL);
	return next(fd, request, argument);
}

static bool is_unknown_option(int level, int option)
{
	return level == SOL_UDP &&
	       ((lacks.no_gso && option == UDP_SEGMENT) || (lacks.no_gro && option == UDP_GRO));
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	NEXT(getsockopt);
	return is_unknown_option(level, option) ? fail(ENOPROTOOPT)
						: next(fd, level, option, value, size);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
	NEXT(setsockopt);
	return is_unknown_option(level, option) ? fail(ENOPROTOOPT)
						: next(fd, level, option, value, size);
}

/* 0: a run may be sent. */
static int error_of_run(const struct msghdr *message)
{
	int error = lacks.no_gso ? EMSGSIZE : lacks.gso_error;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); error && part;
	     part = CMSG_NXTHDR((struct msghdr *)message, part))
		if (part->cmsg_level == SOL_UDP && part->cmsg_type == UDP_SEGMENT)
			return error;
	return 0;
}

/* ---- full queues ---- */

/* Whether this call fails; errno says how. */
static bool is_full(int fd, enum way way)
{
	struct failure *failure = &failures[kind_of(fd)][way];

	if (failure->every == 0)
		return false;
	errno = failure->error;
	return atomic_fetch_add(&failure->calls, 1) % failure->every >=
	       failure->every - failure->burst;
}

ssize_t read(int fd, void *bytes, size_t size)
{
	NEXT(read);
	return is_full(fd, IN) ? -1 : next(fd, bytes, size);
}

ssize_t readv(int fd, const struct iovec *parts, int count)
{
	NEXT(readv);
	return is_full(fd, IN) ? -1 : next(fd, parts, count);
}

ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
	NEXT(recv);
	return is_full(fd, IN) ? -1 : next(fd, bytes, size, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	NEXT(recvmsg);
	return is_full(fd, IN) ? -1 : next(fd, message, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	NEXT(recvmmsg);
	return is_full(fd, IN) ? -1 : next(fd, messages, count, flags, timeout);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	NEXT(write);
	return is_full(fd, OUT) ? -1 : next(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	NEXT(writev);
	return is_full(fd, OUT) ? -1 : next(fd, parts, count);
}

/* A stream's socket that is nearly full takes a part. */
ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
	NEXT(send);
	if (failures[kind_of(fd)][OUT].every && size > 1)
		size = (size + 1) / 2;
	return is_full(fd, OUT) ? -1 : next(fd, bytes, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	int error = kind_of(fd) == UDP ? error_of_run(message) : 0;

	NEXT(sendmsg);
	if (error)
		return fail(error);
	return is_full(fd, OUT) ? -1 : next(fd, message, flags);
}

/* Stops in front of the first that fails, as the kernel does. */
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	unsigned ready;

	NEXT(sendmmsg);
	for (ready = 0; ready < count; ready++) {
		int error = error_of_run(&messages[ready].msg_hdr);

		if (error)
			errno = error;
		if (error || is_full(fd, OUT))
			break;
	}
	return ready == 0 ? -1 : next(fd, messages, ready, flags);
}
