/* sys/sandbox: what each role may do, what ends it, what is answered with "no such call". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>
#include <uv.h>

#include "base/log.h"
#include "sys/landlock.h"
#include "sys/sandbox.h"

enum {
	P = 1 << SANDBOX_PARENT,
	K = 1 << SANDBOX_KEYS,
	F = 1 << SANDBOX_FETCH,
	S = 1 << SANDBOX_STORE,
	E = 1 << SANDBOX_ENGINE,
	T = 1 << SANDBOX_TOKEN,
	TF = 1 << SANDBOX_TOKEN_FILES,
	TOKENS = T | TF, /* where what is not allowed fails */
	ALL = P | K | F | S | E | TOKENS,
	NONE = 0,
	ROLES = SANDBOX_TOKEN_FILES + 1,
	ENDED = 1000, /* and the signal's number */
	WITHOUT_FILTER = 77,
};

static const char *const role_names[] = {"parent", "keys",  "fetch",	       "store",
					 "engine", "token", "token with files"};

typedef bool (*probe_fn)(void);

/* A sanitizer's build has no filter: there is nothing to test then. */
static bool has_filter(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	int mode = 0;

	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "Seccomp: %d", &mode);
	if (status)
		fclose(status);
	return mode == 2;
}

static void skip_without_filter(void)
{
	int status;
	pid_t pid = fork();

	/* With the widest role, which may still open its own status. */
	if (pid == 0)
		_exit(sandbox_load(SANDBOX_STORE) ? 1 : has_filter() ? 0 : WITHOUT_FILTER);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == WITHOUT_FILTER)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? ENDED + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs probe in a process of its own in the role: 0 when it succeeded. */
static int run_probe(enum sandbox_role role, probe_fn probe)
{
	const struct rlimit no_core = {0, 0};
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		if (sandbox_load(role))
			_exit(2);
		_exit(probe() ? 0 : 1);
	}
	return reap(pid);
}

struct call {
	const char *name;
	unsigned allowed;  /* roles that may */
	unsigned answered; /* roles that get ENOSYS */
	long number;
	long arguments[6];
};

/* Arguments that do nothing where the call is allowed. O_RDWR below is of a directory. */
static const struct call calls[] = {
	{"execve", NONE, NONE, SYS_execve, {0}},
	{"execveat", NONE, NONE, SYS_execveat, {-1}},
	{"fork", NONE, NONE, SYS_clone, {SIGCHLD}},
	{"vfork", NONE, NONE, SYS_clone, {CLONE_VM | CLONE_VFORK | SIGCHLD}},
	{"clone3", NONE, S | E, SYS_clone3, {0}},
	{"ptrace", NONE, NONE, SYS_ptrace, {-1}},
	{"process_vm_readv", NONE, NONE, SYS_process_vm_readv, {-1}},
	{"process_vm_writev", NONE, NONE, SYS_process_vm_writev, {-1}},
	{"pidfd_getfd", NONE, NONE, SYS_pidfd_getfd, {-1}},
	{"io_uring_setup", NONE, P | S | E, SYS_io_uring_setup, {0}},
	{"io_uring_enter", NONE, NONE, SYS_io_uring_enter, {-1}},
	{"io_uring_register", NONE, NONE, SYS_io_uring_register, {-1}},
	{"bpf", NONE, NONE, SYS_bpf, {-1}},
	{"perf_event_open", NONE, NONE, SYS_perf_event_open, {0}},
	{"userfaultfd", NONE, NONE, SYS_userfaultfd, {-1}},
	{"memfd_create", P, NONE, SYS_memfd_create, {0}},
	{"mount", NONE, NONE, SYS_mount, {0}},
	{"umount2", NONE, NONE, SYS_umount2, {0}},
	{"pivot_root", NONE, NONE, SYS_pivot_root, {0}},
	{"chroot", NONE, NONE, SYS_chroot, {0}},
	{"unshare", NONE, NONE, SYS_unshare, {0}},
	{"setns", NONE, NONE, SYS_setns, {-1}},
	{"init_module", NONE, NONE, SYS_init_module, {0}},
	{"keyctl", NONE, NONE, SYS_keyctl, {-1}},
	{"setuid", NONE, NONE, SYS_setuid, {-1}},
	{"capset", NONE, NONE, SYS_capset, {0}},
	{"personality", NONE, NONE, SYS_personality, {-1}},
	{"prlimit64", NONE, NONE, SYS_prlimit64, {0}},
	{"seccomp", S, NONE, SYS_seccomp, {-1}},
	{"prctl, name", S | E, NONE, SYS_prctl, {PR_SET_NAME, (long)"probe"}},
	{"prctl, dumpable", NONE, NONE, SYS_prctl, {PR_SET_DUMPABLE, 2}},
	{"prctl, dumpable, upper bits", NONE, NONE, SYS_prctl, {PR_SET_DUMPABLE | 1L << 32, 2}},
	{"prctl, death signal", NONE, NONE, SYS_prctl, {PR_SET_PDEATHSIG, 0}},

	{"socket, unix", P | F, NONE, SYS_socket, {AF_UNIX, -1}},
	{"socket, inet", P | F, NONE, SYS_socket, {AF_INET, -1}},
	{"socket, inet6", P | F, NONE, SYS_socket, {AF_INET6, -1}},
	{"socket, netlink", P | F, NONE, SYS_socket, {AF_NETLINK, -1}},
	{"socket, packet", NONE, NONE, SYS_socket, {AF_PACKET, -1}},
	{"socket, alg", NONE, NONE, SYS_socket, {AF_ALG, -1}},
	{"socketpair", NONE, NONE, SYS_socketpair, {-1}},
	{"bind", P | F, NONE, SYS_bind, {-1}},
	{"listen", P, NONE, SYS_listen, {-1}},
	{"connect", P | F | S | E, NONE, SYS_connect, {-1}},
	{"accept4", P | F | S | E, NONE, SYS_accept4, {-1}},
	{"getpeername", P | F | S | E, NONE, SYS_getpeername, {-1}},
	{"recvmmsg", P | F | S | E, NONE, SYS_recvmmsg, {-1}},
	{"sendmmsg", P | F | S | E, NONE, SYS_sendmmsg, {-1}},
	{"recvmsg", ALL, NONE, SYS_recvmsg, {-1}},
	{"sendmsg", ALL, NONE, SYS_sendmsg, {-1}},
	{"sendto", ALL, NONE, SYS_sendto, {-1}},
	{"recvfrom", ALL, NONE, SYS_recvfrom, {-1}},
	{"read", ALL, NONE, SYS_read, {-1}},
	{"write", ALL, NONE, SYS_write, {-1}},
	{"ppoll", ALL, NONE, SYS_ppoll, {-1, 1}},
	{"getrandom", ALL, NONE, SYS_getrandom, {0}},
	{"epoll_create1", P | S | E, NONE, SYS_epoll_create1, {-1}},
	{"eventfd2", P | S | E, NONE, SYS_eventfd2, {0, -1}},
	{"ioctl, FIONREAD", P | F | S | E, NONE, SYS_ioctl, {-1, FIONREAD}},
	{"ioctl, FIONBIO", P | S | E, NONE, SYS_ioctl, {-1, FIONBIO}},
	{"ioctl, TCGETS", NONE, P | S | E, SYS_ioctl, {-1, TCGETS}},
	{"ioctl, TUNSETIFF", P, NONE, SYS_ioctl, {-1, TUNSETIFF}},
	{"ioctl, TIOCSTI", NONE, NONE, SYS_ioctl, {-1, TIOCSTI}},
	{"fcntl, flags", P | F | S | E | TOKENS, NONE, SYS_fcntl, {-1, F_GETFL}},
	{"fcntl, lock", F | S | TF, NONE, SYS_fcntl, {-1, F_SETLK}},
	{"fcntl, owner", F | S, NONE, SYS_fcntl, {-1, F_SETOWN}},

	{"open, read-only", P | F | S | TF, E, SYS_openat, {-1, (long)"x", O_RDONLY | O_CLOEXEC}},
	{"open, inherited", P | F | S | TF, NONE, SYS_openat, {-1, (long)"x", O_RDONLY}},
	{"open, directory", P | F | S | TF, NONE, SYS_openat, {-1, (long)"x", O_DIRECTORY}},
	{"open, read and write", P | S | TF, NONE, SYS_openat, {-1, (long)"x", O_RDWR | O_CLOEXEC}},
	{"open, write", S | TF, NONE, SYS_openat, {-1, (long)"x", O_WRONLY}},
	{"open, create", S | TF, NONE, SYS_openat, {-1, (long)"x", O_CREAT}},
	{"open, create for both", S | TF, NONE, SYS_openat, {-1, (long)"x", O_RDWR | O_CREAT}},
	{"open, truncate", S | TF, NONE, SYS_openat, {-1, (long)"x", O_RDWR | O_TRUNC}},
	{"open, nameless", S | TF, NONE, SYS_openat, {-1, (long)"x", O_RDWR | O_TMPFILE}},
	{"openat2", NONE, NONE, SYS_openat2, {-1}},
	{"open_by_handle_at", NONE, NONE, SYS_open_by_handle_at, {-1}},
	{"stat, by name", P | F | S | TF, NONE, SYS_newfstatat, {-1, (long)"x"}},
	{"stat, descriptor",
	 P | F | S | E | TOKENS,
	 NONE,
	 SYS_newfstatat,
	 {-1, (long)"", 0, AT_EMPTY_PATH}},
	{"pread64", P | F | S | E | TOKENS, NONE, SYS_pread64, {-1}},
	{"pwrite64", S, NONE, SYS_pwrite64, {-1}},
	{"fdatasync", S, NONE, SYS_fdatasync, {-1}},
	{"unlinkat", P | S, NONE, SYS_unlinkat, {-1, (long)"x"}},
	{"renameat", P | S, NONE, SYS_renameat2, {-1, (long)"x", -1, (long)"x"}},
	{"mkdirat", P, NONE, SYS_mkdirat, {-1, (long)"x"}},
	{"linkat", NONE, NONE, SYS_linkat, {-1, (long)"x", -1, (long)"x"}},
	{"symlinkat", NONE, NONE, SYS_symlinkat, {(long)"x", -1, (long)"x"}},
	{"mknodat", NONE, NONE, SYS_mknodat, {-1, (long)"x"}},
	{"fchownat", NONE, NONE, SYS_fchownat, {-1, (long)"x"}},
	{"getdents64", P | F | S | TF, NONE, SYS_getdents64, {-1}},

	{"mmap", ALL, NONE, SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, 0, -1}},
	{"mmap, code", F, NONE, SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, 0, -1}},
	{"mmap, writable code", NONE, NONE, SYS_mmap, {0, 4096, PROT_WRITE | PROT_EXEC, 0, -1}},
	{"mprotect", ALL, NONE, SYS_mprotect, {1, 4096, PROT_READ}},
	{"mprotect, code", NONE, NONE, SYS_mprotect, {1, 4096, PROT_READ | PROT_EXEC}},
	{"pkey_mprotect", NONE, NONE, SYS_pkey_mprotect, {1, 4096, PROT_EXEC, -1}},
	{"kill", P, NONE, SYS_kill, {0, -1}},
	{"tgkill, another", NONE, NONE, SYS_tgkill, {1, 1, -1}},
	{"wait4", P, NONE, SYS_wait4, {-1, 0, -1}},
#ifdef __x86_64__
	{"getpid of x32", NONE, NONE, 0x40000000 + SYS_getpid, {0}},
#endif
};

/* What happens: the call's errno (0 for none), or ENDED and a signal. */
static int run_call(enum sandbox_role role, const struct call *call)
{
	const long *a = call->arguments;
	pid_t pid = fork();

	if (pid == 0) {
		if (sandbox_load(role))
			_exit(255);
		_exit(syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]) < 0 ? errno : 0);
	}
	return reap(pid);
}

static bool is_denial(enum sandbox_role role, int result)
{
	return result == ENDED + SIGSYS || (TOKENS & 1U << role && result == EPERM);
}

static void check_call(enum sandbox_role role, const struct call *call)
{
	bool is_allowed = call->allowed & 1U << role, is_answered = call->answered & 1U << role;
	int result = run_call(role, call);
	bool is_right = is_answered  ? result == ENOSYS
			: is_allowed ? result != ENOSYS && result < 255 && !is_denial(role, result)
				     : is_denial(role, result);

	if (!is_right)
		print_error("%s, %s: %d\n", role_names[role], call->name, result);
	assert_true(is_right);
}

static void each_role_makes_its_calls_and_no_others(void **state)
{
	(void)state;
	skip_without_filter();
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		for (int role = 0; role < ROLES; role++)
			check_call((enum sandbox_role)role, &calls[i]);
	}
}

static int compare_bytes(const void *a, const void *b)
{
	return memcmp(a, b, 1);
}

/* Small, large, grown, sorted with a buffer from the heap. */
static bool use_memory(void)
{
	char *small = malloc(100), *large = malloc(64 << 20);
	bool done;

	if (!small || !large)
		return false;
	memset(large, 7, 64 << 20);
	large = realloc(large, 80 << 20);
	done = large && large[1000] == 7;
	if (done)
		qsort(large, 100000, 1, compare_bytes);
	free(small);
	free(large);
	return done;
}

static bool write_log(void)
{
	log_error("a line from inside");
	return true;
}

static bool use_secure_random(void)
{
	unsigned char bytes[32] = {0}, zero[32] = {0};

	return getentropy(bytes, sizeof(bytes)) == 0 && memcmp(bytes, zero, sizeof(bytes)) != 0;
}

/* So much in small pieces that the thread's own heap grows, and shrinks when they are free. */
static bool use_heap(void)
{
	enum { PIECES = 100, PIECE = 100000 };
	char *pieces[PIECES];
	bool done = true;

	for (size_t i = 0; i < PIECES; i++) {
		pieces[i] = malloc(PIECE);
		done = done && pieces[i];
		if (pieces[i])
			memset(pieces[i], 7, PIECE);
	}
	for (size_t i = PIECES; i-- > 0;)
		free(pieces[i]);
	return done;
}

static void *use_thread(void *argument)
{
	pthread_setname_np(pthread_self(), "probe");
	*(bool *)argument = use_heap() && use_memory();
	return NULL;
}

static bool start_thread(void)
{
	bool done = false;
	pthread_t thread;

	return pthread_create(&thread, NULL, use_thread, &done) == 0 &&
	       pthread_join(thread, NULL) == 0 && done;
}

static bool resolve_name(void)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	bool done = getaddrinfo("localhost", NULL, &hints, &found) == 0;

	if (found)
		freeaddrinfo(found);
	return done;
}

static void wake_up(uv_async_t *wake)
{
	uv_close((uv_handle_t *)wake, NULL);
}

static void wake_other(uv_timer_t *timer)
{
	uv_async_send(timer->data);
	uv_close((uv_handle_t *)timer, NULL);
}

static bool run_loop(void)
{
	uv_loop_t loop;
	uv_async_t wake;
	uv_timer_t timer = {.data = &wake};

	return uv_loop_init(&loop) == 0 && uv_async_init(&loop, &wake, wake_up) == 0 &&
	       uv_timer_init(&loop, &timer) == 0 && uv_timer_start(&timer, wake_other, 1, 0) == 0 &&
	       uv_run(&loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(&loop) == 0;
}

static bool use_database(void)
{
	char file[64], extra[80];
	sqlite3 *database = NULL;
	bool done;

	snprintf(file, sizeof(file), "/tmp/tund-test-sandbox-%d.db", (int)getpid());
	done = sqlite3_open(file, &database) == SQLITE_OK &&
	       sqlite3_exec(database,
			    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			    "CREATE TABLE t (a, b); BEGIN; INSERT INTO t VALUES (1, 'x');"
			    "COMMIT; SELECT * FROM t ORDER BY b; PRAGMA wal_checkpoint(TRUNCATE);"
			    "VACUUM;",
			    NULL, NULL, NULL) == SQLITE_OK;
	done = sqlite3_close(database) == SQLITE_OK && done;
	done = unlink(file) == 0 && done;
	for (int i = 0; i < 2; i++) {
		snprintf(extra, sizeof(extra), "%s-%s", file, i ? "wal" : "shm");
		unlink(extra);
	}
	return done;
}

static const struct {
	const char *name;
	unsigned allowed;
	probe_fn probe;
} works[] = {
	{"memory", ALL, use_memory},
	{"a log line", ALL, write_log},
	{"randomness", ALL, use_secure_random},
	{"a thread", S | E, start_thread},
	{"a loop", P | S | E, run_loop},
	{"a name", F, resolve_name},
	{"a database", S, use_database},
};

static void what_a_role_is_for_works(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		for (int role = 0; role < ROLES; role++) {
			int result;

			if (!(works[i].allowed & 1U << role))
				continue;
			result = run_probe((enum sandbox_role)role, works[i].probe);
			if (result != 0)
				print_error("%s, %s: %d\n", role_names[role], works[i].name,
					    result);
			assert_int_equal(result, 0);
		}
	}
}

/* ---- a token's files ---- */

enum { IN_DIRECTORY = 1 << 0, ELSEWHERE = 1 << 1, MADE = 1 << 2, LISTED = 1 << 3, SOCKET = 1 << 4 };

static bool can_open(const char *directory, const char *name, int flags)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* In a process that may open what is below `own`: what it can. */
static int try_files(const char *own, const char *other)
{
	int done = 0;

	if (landlock_only(own) || sandbox_load(SANDBOX_TOKEN_FILES))
		return 255;
	done |= can_open(own, "object", O_RDWR) ? IN_DIRECTORY : 0;
	done |= can_open(other, "object", O_RDONLY) || can_open("/etc", "passwd", O_RDONLY) ||
				can_open(own, "../../etc/passwd", O_RDONLY)
			? ELSEWHERE
			: 0;
	done |= can_open(own, "lock", O_WRONLY | O_CREAT) ? MADE : 0;
	done |= can_open(own, ".", O_RDONLY | O_DIRECTORY) ? LISTED : 0;
	done |= socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || socket(AF_INET, SOCK_STREAM, 0) >= 0
			? SOCKET
			: 0;
	return done;
}

static void a_token_has_its_directory_and_nothing_else(void **state)
{
	char own[] = "/tmp/tund-test-token-XXXXXX", other[] = "/tmp/tund-test-token-XXXXXX";
	char command[128];
	pid_t pid;

	(void)state;
	skip_without_filter();
	assert_non_null(mkdtemp(own));
	assert_non_null(mkdtemp(other));
	snprintf(command, sizeof(command), "touch %s/object %s/object", own, other);
	assert_int_equal(system(command), 0);
	pid = fork();
	if (pid == 0)
		_exit(try_files(own, other));
	assert_int_equal(reap(pid), IN_DIRECTORY | MADE | LISTED);
	snprintf(command, sizeof(command), "rm -r %s %s", own, other);
	assert_int_equal(system(command), 0);
}

static void a_directory_that_is_none_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(landlock_only("/nowhere"), -ENOENT);
	assert_int_equal(landlock_only("/etc/passwd"), -ENOTDIR);
}

static bool end_by_abort(void)
{
	abort();
}

/* A failed assertion must look like one, not like a forbidden call. */
static void abort_is_an_abort(void **state)
{
	(void)state;
	for (int role = 0; role < ROLES; role++)
		assert_int_equal(run_probe((enum sandbox_role)role, end_by_abort), ENDED + SIGABRT);
}

static void *open_when_told(void *argument)
{
	char byte;
	int fd;

	if (read(*(int *)argument, &byte, 1) != 1)
		return NULL;
	fd = open("/dev/null", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd >= 0 ? argument : NULL;
}

/* The store's thread goes on opening files when the engine no longer can. */
static bool load_engine_over_store(void)
{
	void *opened = NULL;
	pthread_t store;
	int told[2];

	if (pipe2(told, O_CLOEXEC) || pthread_create(&store, NULL, open_when_told, &told[0]) ||
	    sandbox_load(SANDBOX_ENGINE) || write(told[1], "!", 1) != 1 ||
	    pthread_join(store, &opened) || !opened || !start_thread())
		return false;
	return true;
}

static bool open_after_engine_over_store(void)
{
	if (load_engine_over_store())
		open("/dev/null", O_RDWR | O_CLOEXEC);
	return true;
}

static void engine_loads_on_top_of_store(void **state)
{
	(void)state;
	assert_int_equal(run_probe(SANDBOX_STORE, load_engine_over_store), 0);
	skip_without_filter();
	assert_int_equal(run_probe(SANDBOX_STORE, open_after_engine_over_store), ENDED + SIGSYS);
}

static bool has_no_new_privileges(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

static void no_new_privileges_are_set(void **state)
{
	pid_t pid = fork();

	(void)state;
	/* As somebody who could not load a filter without it. PR_GET is not allowed afterwards. */
	if (pid == 0) {
		if (setresuid(65534, 65534, 65534) || sandbox_load(SANDBOX_STORE))
			_exit(1);
		_exit(has_filter() || has_no_new_privileges() ? 0 : 2);
	}
	assert_int_equal(reap(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_role_makes_its_calls_and_no_others),
		cmocka_unit_test(what_a_role_is_for_works),
		cmocka_unit_test(a_token_has_its_directory_and_nothing_else),
		cmocka_unit_test(a_directory_that_is_none_is_an_error),
		cmocka_unit_test(abort_is_an_abort),
		cmocka_unit_test(engine_loads_on_top_of_store),
		cmocka_unit_test(no_new_privileges_are_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
