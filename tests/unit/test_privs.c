/* sys/privs: what a process may do afterwards, as the kernel tells it in /proc/self/status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cap-ng.h>

#include "sys/privs.h"

enum { NOBODY = 65534 };

#define PARENT_CAPS (UINT64_C(1) << CAP_NET_ADMIN | UINT64_C(1) << CAP_KILL)

/* A process as it stands. */
struct standing {
	int result; /* of the function under test, or 1: what comes before it cannot be done here */
	uint64_t inheritable, permitted, effective, bounding, ambient;
	unsigned uids[4], gids[4], groups;
	int no_new_privileges, is_dumpable;
	rlim_t core;
	bool could_return; /* to uid 0 */
};

static void read_status(struct standing *standing)
{
	FILE *status = fopen("/proc/self/status", "re");
	unsigned *u = standing->uids, *g = standing->gids;
	char line[4096];

	while (status && fgets(line, sizeof(line), status)) {
		sscanf(line, "CapInh: %lx", &standing->inheritable);
		sscanf(line, "CapPrm: %lx", &standing->permitted);
		sscanf(line, "CapEff: %lx", &standing->effective);
		sscanf(line, "CapBnd: %lx", &standing->bounding);
		sscanf(line, "CapAmb: %lx", &standing->ambient);
		sscanf(line, "Uid: %u %u %u %u", &u[0], &u[1], &u[2], &u[3]);
		sscanf(line, "Gid: %u %u %u %u", &g[0], &g[1], &g[2], &g[3]);
		sscanf(line, "NoNewPrivs: %d", &standing->no_new_privileges);
	}
	if (status)
		fclose(status);
}

static void describe_process(struct standing *standing)
{
	struct rlimit core;

	memset(&standing->inheritable, 0xff, 5 * sizeof(uint64_t));
	standing->groups = (unsigned)getgroups(0, NULL);
	standing->is_dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
	getrlimit(RLIMIT_CORE, &core);
	standing->core = core.rlim_max;
	read_status(standing);
	if (standing->uids[0] != 0)
		standing->could_return = setresuid(0, 0, 0) == 0;
}

/* Runs act in a process of its own and tells how that then stands. */
static struct standing stand_after(int (*act)(void))
{
	struct standing standing = {0};
	int channel[2], status;
	pid_t pid;

	assert_int_equal(pipe(channel), 0);
	pid = fork();
	if (pid == 0) {
		standing.result = act();
		describe_process(&standing);
		_exit(write(channel[1], &standing, sizeof(standing)) != sizeof(standing));
	}
	assert_int_equal(read(channel[0], &standing, sizeof(standing)), sizeof(standing));
	close(channel[0]);
	close(channel[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return standing;
}

static bool raise_everything(void)
{
	const struct rlimit core = {4096, 4096};
	const gid_t groups[] = {0, 4, 27};

	capng_get_caps_process();
	return setgroups(3, groups) == 0 && setrlimit(RLIMIT_CORE, &core) == 0 &&
	       capng_updatev(CAPNG_ADD, CAPNG_INHERITABLE | CAPNG_AMBIENT, CAP_NET_RAW,
			     CAP_NET_ADMIN, -1) == 0 &&
	       capng_apply(CAPNG_SELECT_CAPS) == 0 && capng_apply(CAPNG_SELECT_AMBIENT) == 0;
}

static int drop_all(void)
{
	return raise_everything() ? privs_drop_all(NOBODY, NOBODY) : 1;
}

static int drop_all_as_root(void)
{
	return raise_everything() ? privs_drop_all(0, 0) : 1;
}

static int drop_all_as_user(void)
{
	return setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
			       setresuid(NOBODY, NOBODY, NOBODY)
		       ? 1
		       : privs_drop_all(NOBODY, NOBODY);
}

static int become_another_as_user(void)
{
	return setresuid(NOBODY, NOBODY, NOBODY) ? 1 : privs_drop_all(NOBODY - 1, NOBODY);
}

/* Could become another, but would take its groups along. */
static int keep_groups(void)
{
	capng_get_caps_process();
	if (capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SETGID) ||
	    capng_apply(CAPNG_SELECT_CAPS))
		return 1;
	return privs_drop_all(NOBODY, 0);
}

static bool write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");
	bool done = file && fputs(text, file) >= 0;

	return file && fclose(file) == 0 && done;
}

/* Root of its own namespace, which has one uid and no setgroups. */
static int drop_all_in_namespace(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ||
	    unshare(CLONE_NEWUSER))
		return 1;
	if (!write_file("/proc/self/setgroups", "deny") ||
	    !write_file("/proc/self/uid_map", "0 65534 1") ||
	    !write_file("/proc/self/gid_map", "0 65534 1"))
		return 1;
	return privs_drop_all(0, 0);
}

static int keep_parent(void)
{
	return raise_everything() ? privs_keep_parent() : 1;
}

static int keep_parent_as_user(void)
{
	return setresuid(NOBODY, NOBODY, NOBODY) ? 1 : privs_keep_parent();
}

static int keep_parent_then_drop(void)
{
	return privs_keep_parent() ? 1 : privs_drop_all(NOBODY, NOBODY);
}

static const struct {
	const char *name;
	int (*act)(void);
	int result;
	unsigned uid;
	uint64_t caps, bounding;
	bool keeps_bounding;
} cases[] = {
	{"root becomes nobody", drop_all, 0, NOBODY, 0, 0, false},
	{"root stays root", drop_all_as_root, 0, 0, 0, 0, false},
	{"an ordinary user", drop_all_as_user, 0, NOBODY, 0, 0, true},
	{"root of a namespace", drop_all_in_namespace, 0, 0, 0, 0, false},
	{"the parent", keep_parent, 0, 0, PARENT_CAPS, PARENT_CAPS, false},
};

static void only_what_was_meant_is_left(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct standing left = stand_after(cases[i].act);

		print_message("  %s%s\n", cases[i].name, left.result == 1 ? ": not here" : "");
		if (left.result == 1)
			continue;
		assert_int_equal(left.result, cases[i].result);
		for (int j = 0; j < 4; j++) {
			assert_int_equal(left.uids[j], cases[i].uid);
			assert_int_equal(left.gids[j], cases[i].uid);
		}
		assert_int_equal(left.permitted, cases[i].caps);
		assert_int_equal(left.effective, cases[i].caps);
		assert_int_equal(left.inheritable, 0);
		assert_int_equal(left.ambient, 0);
		if (!cases[i].keeps_bounding)
			assert_int_equal(left.bounding, cases[i].bounding);
		assert_int_equal(left.no_new_privileges, 1);
		assert_int_equal(left.is_dumpable, 0);
		assert_int_equal(left.core, 0);
		assert_false(left.could_return);
	}
}

static void groups_go(void **state)
{
	(void)state;
	assert_int_equal(stand_after(drop_all).groups, 0);
	assert_int_equal(stand_after(drop_all_as_root).groups, 0);
}

static void what_cannot_be_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(stand_after(become_another_as_user).result, -EPERM);
	assert_int_equal(stand_after(keep_groups).result, -EPERM);
	assert_true(stand_after(keep_parent_as_user).result < 0);
	assert_int_equal(stand_after(keep_parent_then_drop).result, -EPERM);
}

/* CAP_KILL: without it a child that has changed its uid is out of reach. */
static int end_child_of_another_user(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setresuid(NOBODY, NOBODY, NOBODY))
			_exit(1);
		for (;;)
			pause();
	}
	while (privs_keep_parent() == 0 && kill(pid, SIGKILL) == 0) {
		if (waitpid(pid, &status, 0) == pid)
			return WIFSIGNALED(status) ? 0 : -ECHILD;
	}
	return -errno;
}

static void the_parent_can_end_its_children(void **state)
{
	(void)state;
	assert_int_equal(stand_after(end_child_of_another_user).result, 0);
}

static void users_and_groups_are_found_by_name(void **state)
{
	uid_t uid = 7;
	gid_t gid = 7;

	(void)state;
	assert_int_equal(privs_find_user("no-such-user", &uid, &gid), -ENOENT);
	assert_int_equal(privs_find_group("no-such-group", &gid), -ENOENT);
	assert_int_equal(uid, 7);
	assert_int_equal(gid, 7);
	assert_int_equal(privs_find_user("root", &uid, &gid), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(gid, 0);
	gid = 7;
	assert_int_equal(privs_find_group("root", &gid), 0);
	assert_int_equal(gid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_was_meant_is_left),
		cmocka_unit_test(groups_go),
		cmocka_unit_test(what_cannot_be_is_an_error),
		cmocka_unit_test(the_parent_can_end_its_children),
		cmocka_unit_test(users_and_groups_are_found_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
