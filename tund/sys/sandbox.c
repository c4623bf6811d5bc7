#include "sys/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <seccomp.h>

/* One allowed call: by its name on x86-64 or aarch64 (one that an architecture lacks is passed
 * over), and, where mask is not 0, only with (argument & mask) == value. Rules for the same call
 * add up. */
struct rule {
	const char *name;
	unsigned argument;
	uint64_t mask, value;
	bool is_own_pid; /* the value is this process's id */
	int error;	 /* not 0: not allowed, but answered with this errno instead of the end */
};

/* The kernel takes these arguments as 32 bits: the upper halves do not count. */
#define IS(n, number)	   .argument = (n), .mask = UINT32_MAX, .value = (uint32_t)(number)
#define OWN_PID(n)	   .argument = (n), .mask = UINT32_MAX, .is_own_pid = true
#define WITH(n, bits)	   .argument = (n), .mask = (uint32_t)(bits), .value = (uint32_t)(bits)
#define WITHOUT(n, bits)   .argument = (n), .mask = (uint32_t)(bits), .value = 0
#define AMONG(n, bits, of) .argument = (n), .mask = (uint32_t)(of), .value = (uint32_t)(bits)

/* How a file may be opened. O_TMPFILE makes one; the bit it shares with O_DIRECTORY does not. */
#define OPEN_MODES (O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))

/* One call a line. */
/* clang-format off */

/* glibc's allocator and locks, time where the vDSO cannot, its abort(), its qsort() (which asks how
 * much memory there is), and the end. */
static const struct rule life[] = {
	{.name = "brk"},
	{.name = "mmap", WITHOUT(2, PROT_EXEC)},
	{.name = "mprotect", WITHOUT(2, PROT_EXEC)},
	{.name = "munmap"},
	{.name = "mremap"},
	{.name = "madvise"},
	{.name = "futex"},
	{.name = "getrandom"},
	{.name = "getpid"},
	{.name = "gettid"},
	{.name = "clock_gettime"},
	{.name = "clock_getres"},
	{.name = "gettimeofday"},
	{.name = "time"},
	{.name = "nanosleep"},
	{.name = "clock_nanosleep"},
	{.name = "restart_syscall"},
	{.name = "sched_yield"},
	{.name = "rt_sigaction"},
	{.name = "rt_sigprocmask"},
	{.name = "rt_sigreturn"},
	{.name = "sigaltstack"},
	{.name = "tgkill", OWN_PID(0)},
	{.name = "sysinfo"},
	{.name = "exit"},
	{.name = "exit_group"},
	{.name = NULL},
};

/* Descriptors that are there already: data in and out, waiting, letting go. */
static const struct rule data[] = {
	{.name = "read"},
	{.name = "readv"},
	{.name = "write"},
	{.name = "writev"},
	{.name = "recvfrom"},
	{.name = "recvmsg"},
	{.name = "sendto"},
	{.name = "sendmsg"},
	{.name = "poll"},
	{.name = "ppoll"},
	{.name = "close"},
	{.name = NULL},
};

/* libuv 1.44: a loop, its wake-ups, non-blocking descriptors. Later ones try io_uring, whose
 * operations pass any filter by; told that the kernel has none, they do without. */
static const struct rule loop[] = {
	{.name = "epoll_create1"},
	{.name = "epoll_ctl"},
	{.name = "epoll_wait"},
	{.name = "epoll_pwait"},
	{.name = "epoll_pwait2"},
	{.name = "eventfd2"},
	{.name = "pipe2"},
	{.name = "timerfd_create"},
	{.name = "timerfd_settime"},
	{.name = "fcntl", IS(1, F_GETFD)},
	{.name = "fcntl", IS(1, F_SETFD)},
	{.name = "fcntl", IS(1, F_GETFL)},
	{.name = "fcntl", IS(1, F_SETFL)},
	{.name = "fcntl", IS(1, F_DUPFD_CLOEXEC)},
	{.name = "dup"},
	{.name = "dup3"},
	{.name = "ioctl", IS(1, FIONBIO)},
	{.name = "ioctl", IS(1, FIOCLEX)},
	{.name = "ioctl", IS(1, FIONREAD)},
	{.name = "io_uring_setup", .error = ENOSYS},
	{.name = NULL},
};

/* Connections: made from sockets that exist, accepted, asked about; datagrams in batches. */
static const struct rule connections[] = {
	{.name = "accept"},
	{.name = "accept4"},
	{.name = "connect"},
	{.name = "shutdown"},
	{.name = "recvmmsg"},
	{.name = "sendmmsg"},
	{.name = "getsockopt"},
	{.name = "setsockopt"},
	{.name = "getsockname"},
	{.name = "getpeername"},
	{.name = NULL},
};

/* New sockets of the families we use: no packet sockets, no kernel crypto, no virtual machines. */
static const struct rule sockets[] = {
	{.name = "socket", IS(0, AF_UNIX)},
	{.name = "socket", IS(0, AF_INET)},
	{.name = "socket", IS(0, AF_INET6)},
	{.name = "socket", IS(0, AF_NETLINK)},
	{.name = "bind"},
	{.name = NULL},
};

/* Threads, and only threads. clone3 hides its flags from a filter; ENOSYS makes glibc use clone. A
 * new thread names itself; the allocator sizes its arenas by the processors. */
static const struct rule threads[] = {
	{.name = "clone", WITH(0, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)},
	{.name = "clone3", .error = ENOSYS},
	{.name = "set_robust_list"},
	{.name = "rseq"},
	{.name = "prctl", IS(0, PR_SET_NAME)},
	{.name = "sched_getaffinity"},
	{.name = "sched_setaffinity"},
	{.name = "setpriority", IS(0, PRIO_PROCESS)}, /* one that is to yield to others says so */
	{.name = NULL},
};

/* Another filter on top of this one: filters only ever take away. libseccomp asks the kernel what
 * it can do with the same calls. */
static const struct rule tightening[] = {
	{.name = "seccomp"},
	{.name = "prctl", IS(0, PR_SET_NO_NEW_PRIVS)},
	{.name = "prctl", IS(0, PR_SET_SECCOMP)},
	{.name = "prctl", IS(0, PR_GET_SECCOMP)},
	{.name = NULL},
};

/* Files that came as descriptors. fstat() of glibc is newfstatat with an empty path. */
static const struct rule passed_files[] = {
	{.name = "fstat"},
	{.name = "newfstatat", WITH(3, AT_EMPTY_PATH)},
	{.name = "lseek"},
	{.name = "pread64"},
	{.name = NULL},
};

/* Files by name, but not what opens them: look, list, follow. */
static const struct rule named_files[] = {
	{.name = "fstat"},
	{.name = "newfstatat"},
	{.name = "stat"},
	{.name = "lstat"},
	{.name = "statx"},
	{.name = "fstatfs"},
	{.name = "access"},
	{.name = "faccessat"},
	{.name = "faccessat2"},
	{.name = "readlink"},
	{.name = "readlinkat"},
	{.name = "getcwd"},
	{.name = "getdents64"},
	{.name = "lseek"},
	{.name = "pread64"},
	{.name = NULL},
};

/* No file is opened. But when much memory of a thread becomes free (a peer can bring that about),
 * the allocator looks into /proc/sys/vm/overcommit_memory before it gives it back, and does
 * without. */
static const struct rule no_open[] = {
	{.name = "openat", IS(2, O_RDONLY | O_CLOEXEC), .error = ENOSYS},
	{.name = NULL},
};

static const struct rule read_only_open[] = {
	{.name = "openat", AMONG(2, O_RDONLY, OPEN_MODES)},
	{.name = NULL},
};

/* What is read at a reload goes to the engine, and a key that stands in the configuration to the
 * key holder, as memory that has a descriptor. */
static const struct rule handed_memory[] = {
	{.name = "memfd_create"},
	{.name = NULL},
};

/* A configuration is parsed again: libconfuse's lexer asks whether its input is a terminal. */
static const struct rule grammar[] = {
	{.name = "ioctl", IS(1, TCGETS), .error = ENOSYS},
	{.name = NULL},
};

/* Who and where we are: asked by glibc's resolver and by sd-bus. */
static const struct rule self[] = {
	{.name = "getuid"},
	{.name = "geteuid"},
	{.name = "getgid"},
	{.name = "getegid"},
	{.name = "getppid"},
	{.name = "uname"},
	{.name = NULL},
};

/* The resolver loads its modules (nsswitch.conf) when it first needs them: code may be mapped from
 * a file, never what is writable, and nothing becomes code later. */
static const struct rule modules[] = {
	{.name = "mmap", AMONG(2, PROT_EXEC, PROT_EXEC | PROT_WRITE)},
	{.name = "fcntl"},
	{.name = "ioctl", IS(1, FIONREAD)},
	{.name = NULL},
};

/* SQLite: a database and its log, made, locked, written through, shared memory, removed. */
static const struct rule database[] = {
	{.name = "fcntl"},
	{.name = "openat"},
	{.name = "pwrite64"},
	{.name = "fsync"},
	{.name = "fdatasync"},
	{.name = "ftruncate"},
	{.name = "fallocate"},
	{.name = "fchmod"},
	{.name = "fchown"},
	{.name = "geteuid"},
	{.name = "unlink"},
	{.name = "unlinkat"},
	{.name = "rename"},
	{.name = "renameat"},
	{.name = "renameat2"},
	{.name = "flock"},
	{.name = "utimensat"},
	{.name = NULL},
};

/* A token's module in the key holder asks who and where it is, and how its session with pcscd or the
 * TPM's device is doing; what it is handed are descriptors that it opened before. */
static const struct rule token[] = {
	{.name = "fcntl", IS(1, F_GETFL)},
	{.name = "fcntl", IS(1, F_GETFD)},
	{.name = "select"},
	{.name = "pselect6"},
	{.name = "getsockopt"},
	{.name = "shutdown"},
	{.name = NULL},
};

/* A token that is made of files (SoftHSM): they are opened at each use, locked and, at a login,
 * written. Which of them is Landlock's to say. */
static const struct rule token_files[] = {
	{.name = "openat"},
	{.name = "fcntl", IS(1, F_SETLK)},
	{.name = "fcntl", IS(1, F_SETLKW)},
	{.name = "fcntl", IS(1, F_SETFD)},
	{.name = "flock"},
	{.name = "ftruncate"},
	{.name = NULL},
};

/* Listening, and the TUN device: opened for reading and writing, which are the ioctls of
 * <linux/if_tun.h> that make, shape and ask. Interfaces are found by name and number. */
static const struct rule devices[] = {
	{.name = "listen"},
	{.name = "openat", AMONG(2, O_RDWR, OPEN_MODES)},
	{.name = "ioctl", IS(1, TUNSETIFF)},
	{.name = "ioctl", IS(1, TUNGETIFF)},
	{.name = "ioctl", IS(1, TUNSETOFFLOAD)},
	{.name = "ioctl", IS(1, TUNGETFEATURES)},
	{.name = "ioctl", IS(1, TUNSETVNETHDRSZ)},
	{.name = "ioctl", IS(1, TUNGETVNETHDRSZ)},
	{.name = "ioctl", IS(1, TUNSETQUEUE)},
	{.name = "ioctl", IS(1, SIOCGIFINDEX)},
	{.name = "ioctl", IS(1, SIOCGIFNAME)},
	{.name = NULL},
};

/* Our children: their end, and ours on request. */
static const struct rule children[] = {
	{.name = "kill"},
	{.name = "wait4"},
	{.name = "waitid"},
	{.name = "signalfd4"},
	{.name = "rt_sigtimedwait"},
	{.name = "rt_sigpending"},
	{.name = NULL},
};

/* Sockets of our own in /run, with their modes, and their removal; files that are to be watched. */
static const struct rule run_directory[] = {
	{.name = "umask"},
	{.name = "chmod"},
	{.name = "fchmod"},
	{.name = "fchmodat"},
	{.name = "mkdir"},
	{.name = "mkdirat"},
	{.name = "unlink"},
	{.name = "unlinkat"},
	{.name = "rename"},
	{.name = "renameat"},
	{.name = "renameat2"},
	{.name = "flock"},
	{.name = "inotify_init1"},
	{.name = "inotify_add_watch"},
	{.name = "inotify_rm_watch"},
	{.name = NULL},
};

/* clang-format on */

enum { GROUPS_MAX = 14 };

static const struct rule *const roles[][GROUPS_MAX] = {
	[SANDBOX_PARENT] = {life, data, loop, connections, sockets, named_files, read_only_open,
			    self, devices, children, run_directory, handed_memory, grammar},
	[SANDBOX_KEYS] = {life, data},
	[SANDBOX_FETCH] = {life, data, connections, sockets, named_files, read_only_open, self,
			   modules},
	[SANDBOX_STORE] = {life, data, loop, connections, threads, tightening, named_files,
			   database, grammar},
	[SANDBOX_ENGINE] = {life, data, loop, connections, threads, passed_files, no_open, grammar},
	[SANDBOX_TOKEN] = {life, data, passed_files, self, token},
	[SANDBOX_TOKEN_FILES] = {life, data, named_files, self, token, token_files},
};

static int add_rule(scmp_filter_ctx filter, const struct rule *rule)
{
	const struct scmp_arg_cmp compare = {
		.arg = rule->argument,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = rule->mask,
		.datum_b = rule->is_own_pid ? (uint64_t)getpid() : rule->value,
	};
	uint32_t action = rule->error ? SCMP_ACT_ERRNO((uint32_t)rule->error) : SCMP_ACT_ALLOW;
	int number = seccomp_syscall_resolve_name(rule->name);

	if (number == __NR_SCMP_ERROR)
		return -ENOSYS; /* misspelt, or newer than libseccomp */
	if (number < 0)
		return 0; /* of the other architecture */
	return seccomp_rule_add_array(filter, action, number, rule->mask ? 1 : 0, &compare);
}

static int add_groups(scmp_filter_ctx filter, const struct rule *const *groups)
{
	for (; *groups; groups++) {
		for (const struct rule *rule = *groups; rule->name; rule++) {
			int r = add_rule(filter, rule);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* A token's module is not ours to correct: what it tries beyond its calls fails, and the daemon goes
 * on. */
static uint32_t other_calls(enum sandbox_role role)
{
	if (role == SANDBOX_TOKEN || role == SANDBOX_TOKEN_FILES)
		return SCMP_ACT_ERRNO(EPERM);
	return SCMP_ACT_KILL_PROCESS;
}

int sandbox_load(enum sandbox_role role)
{
	scmp_filter_ctx filter;
	int r;

	/* Printing a time, so the first line of log, would otherwise look for the zone's file. */
	tzset();
	filter = seccomp_init(other_calls(role));
	if (!filter)
		return -ENOMEM;
	/* Calls of another architecture (x32, i386) have other numbers. */
	r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0)
		r = add_groups(filter, roles[role]);
	/* A search tree instead of a list: the packet path pays for every comparison. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}
