/* base/file: what is opened, and what is known of what is not. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static char directory[] = "/tmp/test_file.XXXXXX";

static const char *in_directory(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static const char *make_file(const char *name, mode_t mode)
{
	const char *path = in_directory(name);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_return_code(fd, errno);
	assert_int_equal(write(fd, "12345", 5), 5);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static void test_opens_and_tells(void **state)
{
	const char *path = make_file("plain", 0640);
	struct stat about;
	int fd = file_open(path, &about);
	char bytes[8];

	(void)state;
	assert_return_code(fd, -fd);
	assert_int_equal(about.st_mode, S_IFREG | 0640);
	assert_int_equal(about.st_size, 5);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), 5);
	assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	close(fd);
}

static void test_does_not_wait_for_a_fifo(void **state)
{
	const char *path = in_directory("fifo");
	struct stat about;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = file_open(path, &about);
	assert_return_code(fd, -fd);
	assert_true(S_ISFIFO(about.st_mode));
	close(fd);
}

static void test_knows_nothing_of_what_is_not_there(void **state)
{
	struct stat about;

	(void)state;
	assert_int_equal(file_open(in_directory("nothing"), &about), -ENOENT);
	assert_int_equal(about.st_mode, 0);
}

/* Without privileges: 0 when all is as it should be. */
static int look_from_outside(const char *shut, const char *hidden)
{
	struct stat about;

	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		return 1;
	if (file_open(shut, &about) != -EACCES || about.st_mode != S_IFREG)
		return 2;
	if (file_open(hidden, &about) != -EACCES || about.st_mode != 0)
		return 3;
	return 0;
}

static void test_tells_of_what_keeps_us_out(void **state)
{
	char shut[256], hidden[256];
	int status;
	pid_t pid;

	(void)state;
	snprintf(shut, sizeof(shut), "%s", make_file("shut", 0));
	assert_int_equal(mkdir(in_directory("closed"), 0700), 0);
	snprintf(hidden, sizeof(hidden), "%s", make_file("closed/hidden", 0));
	assert_int_equal(chmod(in_directory("closed"), 0), 0);
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0)
		_exit(look_from_outside(shut, hidden));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(directory) && chmod(directory, 0755) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"closed/hidden", "closed", "shut", "fifo", "plain"};

	(void)state;
	chmod(in_directory("closed"), 0700);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		remove(in_directory(names[i]));
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens_and_tells),
		cmocka_unit_test(test_does_not_wait_for_a_fifo),
		cmocka_unit_test(test_knows_nothing_of_what_is_not_there),
		cmocka_unit_test(test_tells_of_what_keeps_us_out),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
