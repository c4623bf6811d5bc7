#include "sys/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum {
	FDS_MAX = 8,
	NAME_BYTES = 16, /* what the kernel keeps, terminating zero included */
};

static int compare_fds(const void *a, const void *b)
{
	const int *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

/* Closes all descriptors from 3 up but those listed; sorts the list. */
static int close_others(int *kept, size_t count)
{
	unsigned from = STDERR_FILENO + 1;

	qsort(kept, count, sizeof(kept[0]), compare_fds);
	for (size_t i = 0; i < count; i++) {
		unsigned fd = (unsigned)kept[i];

		if (kept[i] < 0 || fd < from)
			continue;
		if (fd > from && close_range(from, fd - 1, 0))
			return -errno;
		from = fd + 1;
	}
	return close_range(from, ~0U, 0) ? -errno : 0;
}

static int keep_only(int socket, const int *keep, size_t keep_count)
{
	_cleanup_free_ int *kept = xnew_array(int, keep_count + 1);

	if (keep_count)
		memcpy(kept, keep, keep_count * sizeof(kept[0]));
	kept[keep_count] = socket;
	return close_others(kept, keep_count + 1);
}

static void reset_signals(void)
{
	sigset_t none;

	/* Those that cannot be changed (SIGKILL, SIGSTOP, glibc's own two) refuse, which is fine.
	 */
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Signals stay blocked from before the fork until they are back at their defaults: what the parent
 * does on one would otherwise happen here, e.g. a write into the pipe of its loop. */
static _Noreturn void run_child(const char *name, int socket, child_fn run, void *argument,
				const int *keep, size_t keep_count)
{
	reset_signals();
	prctl(PR_SET_NAME, name, 0, 0, 0);
	if (keep_only(socket, keep, keep_count) < 0)
		_exit(EXIT_FAILURE);
	_exit(run(socket, argument));
}

int child_start(struct child *child, const char *name, child_fn run, void *argument,
		const int *keep, size_t keep_count)
{
	sigset_t all, before;
	int pair[2], r;
	pid_t pid;

	if (strlen(name) >= NAME_BYTES)
		return -EINVAL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		run_child(name, pair[1], run, argument, keep, keep_count);
	r = pid < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	*child = (struct child){.name = name, .pid = pid, .socket = pair[0]};
	return 0;
}

int child_die_with_parent(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return -errno;
	/* Too late for a parent that has gone: init or a subreaper stands in its place, and lives
	 * in another session. (The number alone does not tell: in a container we are init's
	 * children.) */
	if (getsid(getppid()) != getsid(0))
		raise(SIGKILL);
	return 0;
}

int child_send(int socket, const void *packet, size_t len, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = {0};
	struct iovec piece = {.iov_base = (void *)packet, .iov_len = len};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

	/* An empty packet would look like EOF. */
	if (len == 0 || fd_count > FDS_MAX)
		return -EINVAL;
	if (fd_count) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, fd_count * sizeof(int));
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	}
	while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Copies the first `room` descriptors of the message out and closes the rest; how many were copied.
 */
static size_t take_fds(struct msghdr *message, int *fds, size_t room)
{
	size_t taken = 0;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
	     part = CMSG_NXTHDR(message, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
			if (taken < room)
				fds[taken++] = fd;
			else
				close(fd);
		}
	}
	return taken;
}

ssize_t child_receive(int socket, void *packet, size_t size, int *fds, size_t *fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec piece = {.iov_base = packet, .iov_len = size};
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	size_t taken;
	ssize_t len;

	do
		len = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return -errno;
	taken = take_fds(&message, fds, fds && fd_count ? *fd_count : 0);
	/* Half a message is none: its descriptors go as well. */
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		for (size_t i = 0; i < taken; i++)
			close(fds[i]);
		return -EMSGSIZE;
	}
	if (fd_count)
		*fd_count = taken;
	return len;
}
