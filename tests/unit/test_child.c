/* sys/child: what a child starts with, when it ends, and packets with descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/child.h"

enum { NOBODY = 65534, FDS_WATCHED = 64, ENDED = 1000 };

/* What a child finds; sent to the test as one packet. */
struct found {
	char name[16];
	bool is_blocking; /* a signal */
	bool is_default, is_pipe_ignored;
	bool open[FDS_WATCHED];
	int socket;
};

static void act_on_signal(int number)
{
	(void)number;
}

static int reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? ENDED + WTERMSIG(status) : WEXITSTATUS(status);
}

static int tell_what_is_found(int socket, void *argument)
{
	struct found found = {.socket = socket};
	struct sigaction action;
	sigset_t blocked;

	(void)argument;
	prctl(PR_GET_NAME, found.name, 0, 0, 0);
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	found.is_blocking = !sigisemptyset(&blocked);
	sigaction(SIGUSR1, NULL, &action);
	found.is_default = action.sa_handler == SIG_DFL;
	sigaction(SIGPIPE, NULL, &action);
	found.is_pipe_ignored = action.sa_handler == SIG_IGN;
	for (int fd = 0; fd < FDS_WATCHED; fd++)
		found.open[fd] = fcntl(fd, F_GETFD) >= 0;
	return child_send(socket, &found, sizeof(found), NULL, 0) ? 1 : 23;
}

static int open_at(int fd)
{
	int got = open("/dev/null", O_RDONLY | O_CLOEXEC), there = dup2(got, fd);

	assert_int_equal(there, fd);
	close(got);
	return there;
}

static void a_child_starts_clean(void **state)
{
	const int keep[] = {open_at(50), open_at(40), -1, open_at(41)};
	const int others[] = {open_at(39), open_at(42), open_at(49), open_at(51)};
	struct child child;
	struct found found;
	sigset_t some, before;

	(void)state;
	signal(SIGUSR1, act_on_signal);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR2);
	sigprocmask(SIG_BLOCK, &some, &before);
	assert_int_equal(child_start(&child, "tund-probe", tell_what_is_found, NULL, keep, 4), 0);
	assert_int_equal(child_receive(child.socket, &found, sizeof(found), NULL, NULL),
			 sizeof(found));
	assert_string_equal(child.name, "tund-probe");
	assert_string_equal(found.name, "tund-probe");
	assert_false(found.is_blocking);
	assert_true(found.is_default);
	assert_true(found.is_pipe_ignored);
	for (int fd = 0; fd < FDS_WATCHED; fd++) {
		bool is_kept = fd <= 2 || fd == found.socket || fd == 40 || fd == 41 || fd == 50;

		if (found.open[fd] != is_kept)
			print_error("descriptor %d\n", fd);
		assert_int_equal(found.open[fd], is_kept);
	}
	assert_int_equal(child_receive(child.socket, &found, sizeof(found), NULL, NULL), 0);
	assert_int_equal(reap(child.pid), 23);

	/* The parent has its mask and its dispositions still. */
	sigprocmask(SIG_SETMASK, &before, &some);
	assert_int_equal(sigismember(&some, SIGUSR2), 1);
	assert_int_equal(sigismember(&some, SIGUSR1), 0);
	assert_ptr_equal(signal(SIGUSR1, SIG_DFL), act_on_signal);
	close(child.socket);
	for (int i = 0; i < 4; i++) {
		close(others[i]);
		close(keep[i]);
	}
}

static void a_name_must_fit(void **state)
{
	struct child child = {.pid = 7};

	(void)state;
	assert_int_equal(child_start(&child, "sixteen-letters!", tell_what_is_found, NULL, NULL, 0),
			 -EINVAL);
	assert_int_equal(child.pid, 7);
}

static int wait_for_end(int socket, void *argument)
{
	char byte;

	(void)argument;
	return child_receive(socket, &byte, 1, NULL, NULL) == 0 ? 5 : 6;
}

static void the_parents_end_closing_is_eof(void **state)
{
	struct child child;

	(void)state;
	assert_int_equal(child_start(&child, "probe", wait_for_end, NULL, NULL, 0), 0);
	close(child.socket);
	assert_int_equal(reap(child.pid), 5);
}

/* Three processes: the test, a parent that ends, and its child. The child holds the write end of
 * `life`, so that the test sees its end; whoever survives says so. */
struct trial {
	bool asks_late; /* after its parent has ended */
	int life;
};

static int outlive_parent(int socket, void *argument)
{
	const struct trial *trial = argument;
	pid_t parent = getppid();

	(void)socket;
	if (setresuid(NOBODY, NOBODY, NOBODY))
		return 1;
	if (!trial->asks_late && child_die_with_parent())
		return 1;
	if (write(trial->life, "r", 1) != 1)
		return 1;
	if (trial->asks_late) {
		while (getppid() == parent)
			usleep(1000);
		child_die_with_parent();
	}
	poll(NULL, 0, 3000);
	return write(trial->life, "s", 1) != 1;
}

static void end_after_starting(struct trial *trial, int ready)
{
	struct child child;
	char byte;

	/* As a daemon: in a session of its own. */
	setsid();
	if (child_start(&child, "probe", outlive_parent, trial, &trial->life, 1))
		_exit(1);
	close(trial->life);
	if (read(ready, &byte, 1) != 1)
		_exit(1);
	_exit(0);
}

static void a_child_dies_with_its_parent(void **state)
{
	(void)state;
	for (int late = 0; late < 2; late++) {
		struct trial trial = {.asks_late = late};
		int life[2];
		char byte;
		pid_t parent;

		assert_int_equal(pipe2(life, O_CLOEXEC), 0);
		trial.life = life[1];
		parent = fork();
		if (parent == 0)
			end_after_starting(&trial, life[0]);
		close(life[1]);
		assert_int_equal(reap(parent), 0);
		/* The end of the last writer, without the word of a survivor. */
		assert_int_equal(read(life[0], &byte, 1), 0);
		close(life[0]);
	}
}

static int die_with_living_parent(int socket, void *argument)
{
	(void)socket;
	(void)argument;
	return child_die_with_parent() ? 1 : 9;
}

static void a_child_of_a_living_parent_lives(void **state)
{
	struct child child;

	(void)state;
	assert_int_equal(child_start(&child, "probe", die_with_living_parent, NULL, NULL, 0), 0);
	assert_int_equal(reap(child.pid), 9);
	close(child.socket);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static unsigned count_open(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += is_open(fd);
	return count;
}

static const struct {
	const char *name;
	size_t len, fds, room, fd_room;
	ssize_t result;
	size_t got;
} packets[] = {
	{"bytes", 5, 0, 16, 8, 5, 0},
	{"one descriptor", 5, 1, 16, 8, 5, 1},
	{"eight descriptors", 5, 8, 16, 8, 5, 8},
	{"more than wanted", 5, 3, 16, 2, 5, 2},
	{"none wanted", 5, 3, 16, 0, 5, 0},
	{"just room", 16, 1, 16, 1, 16, 1},
	{"too long", 17, 2, 16, 8, -EMSGSIZE, 99},
};

static void packets_bring_descriptors(void **state)
{
	int fds[8], pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	for (size_t i = 0; i < 8; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
		size_t fd_count = packets[i].result < 0 ? 8 : packets[i].fd_room;
		char sent[32] = "0123456789abcdef0123456789", got[32];
		unsigned before = count_open();
		int received[8];

		print_message("  %s\n", packets[i].name);
		assert_int_equal(child_send(pair[0], sent, packets[i].len, fds, packets[i].fds), 0);
		assert_int_equal(child_receive(pair[1], got, packets[i].room, received, &fd_count),
				 packets[i].result);
		if (packets[i].result < 0) {
			assert_int_equal(fd_count, 8);
			assert_int_equal(count_open(), before);
			continue;
		}
		assert_memory_equal(got, sent, packets[i].len);
		assert_int_equal(fd_count, packets[i].got);
		assert_int_equal(count_open(), before + packets[i].got);
		for (size_t j = 0; j < fd_count; j++) {
			assert_int_equal(fcntl(received[j], F_GETFD), FD_CLOEXEC);
			close(received[j]);
		}
	}
	for (size_t i = 0; i < 8; i++)
		close(fds[i]);
	close(pair[0]);
	close(pair[1]);
}

static void nobody_wants_descriptors(void **state)
{
	unsigned before;
	char byte;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	before = count_open();
	assert_int_equal(child_send(pair[0], "x", 1, pair, 2), 0);
	assert_int_equal(child_receive(pair[1], &byte, 1, NULL, NULL), 1);
	assert_int_equal(count_open(), before);

	/* What cannot be sent is said, and a peer that is gone raises no signal. */
	assert_int_equal(child_send(pair[0], "x", 0, NULL, 0), -EINVAL);
	assert_int_equal(child_send(pair[0], "x", 1, pair, 9), -EINVAL);
	close(pair[1]);
	assert_int_equal(child_send(pair[0], "x", 1, NULL, 0), -EPIPE);
	assert_int_equal(child_receive(pair[0], &byte, 1, NULL, NULL), 0);
	close(pair[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_starts_clean),
		cmocka_unit_test(a_name_must_fit),
		cmocka_unit_test(the_parents_end_closing_is_eof),
		cmocka_unit_test(a_child_dies_with_its_parent),
		cmocka_unit_test(a_child_of_a_living_parent_lives),
		cmocka_unit_test(packets_bring_descriptors),
		cmocka_unit_test(nobody_wants_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
