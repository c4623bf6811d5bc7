#pragma once
/* Our own processes: forked from the parent without exec, ended when it ends. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct child {
	const char *name; /* also the process's name; at most 15 bytes */
	pid_t pid;	  /* -1: ended and reaped */
	int socket;	  /* the parent's end of a SOCK_SEQPACKET pair; EOF there ends the child */
};

/* Runs in the child with its end of the pair; its value is the exit status. */
typedef int (*child_fn)(int socket, void *argument);

/* Forks. In the child every descriptor but 0-2, its socket and those in keep (keep_count) is
 * closed, signals are back at their defaults (SIGPIPE ignored), and child_fn runs, then _exit. 0 or
 * -errno. */
int child_start(struct child *child, const char *name, child_fn run, void *argument,
		const int *keep, size_t keep_count);
/* In the child, after its last change of uid: die with the parent (PR_SET_PDEATHSIG SIGKILL), at
 * once when it is already gone. The kernel means the thread that forked: fork from one that stays.
 */
int child_die_with_parent(void);

/* One SOCK_SEQPACKET packet with up to 8 descriptors. send: 0 or -errno. receive: the length, 0 at
 * EOF, -errno; descriptors come close-on-exec, those beyond *fd_count are closed, *fd_count is set.
 */
int child_send(int socket, const void *packet, size_t len, const int *fds, size_t fd_count);
ssize_t child_receive(int socket, void *packet, size_t size, int *fds, size_t *fd_count);
