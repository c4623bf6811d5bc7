/* parent_limits: how many open files an instance needs, and what is done about it. The limit is a
 * process's own: each case has one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "config/config_load.h"
#include "parent_limits.h"

enum { WORKERS = 2 };

static const struct config *load(const char *options)
{
	struct config_problems problems = {0};
	char text[600];
	struct config *config;

	snprintf(text, sizeof(text),
		 "gateway { pool = \"10.99.0.0/16\" %s }\nidentity { certificate = a key = a }\n"
		 "trust { ca = a }\n",
		 options);
	config = config_load_text("/x.conf", text, strlen(text), true, &problems);
	if (!config)
		fail_msg("%s", problems.items[0].text);
	return config;
}

static unsigned long needed(const char *options, size_t workers)
{
	struct config *config = (struct config *)load(options);
	unsigned long count = parent_limits_needed(config, workers);

	config_free(config);
	return count;
}

static void test_needed(void **state)
{
	const char listen2[] = "listen = {\"0.0.0.0:443\", \"[::]:443\"}";
	const char listen1[] = "listen = {\"0.0.0.0:443\"}";
	unsigned long base = needed(listen1, 1);

	(void)state;
	/* 10,000 sessions, 1,000 connections, 1,000 handshakes a second for 5 s. */
	assert_in_range(base, 16000, 16500);
	/* A socket of a listener for each worker, and the loop of one. */
	assert_int_equal(needed(listen2, 1) - base, 2);
	assert_int_equal(needed(listen2, 64) - needed(listen1, 64), 65);
	assert_true(needed(listen1, 64) - base >= 63 * 4);
	/* Of few sessions no more can be ending than there are. */
	assert_int_equal(needed("max-sessions = 20", 1) - needed("max-sessions = 10", 1), 20);
}

/* Of the limits before, what becomes of them: soft and hard are the same then. */
static const struct raising {
	rlim_t soft, hard;
	const char *options;
	bool as_root;
	rlim_t least, most;
} raisings[] = {
	{1024, 5000, "max-sessions = 100", true, 5000, 5000},
	{1024, 5000, "max-sessions = 100", false, 5000, 5000},
	{5000, 5000, "max-sessions = 100", false, 5000, 5000},
	{1024, 4096, "", false, 4096, 4096},
	{1024, 4096, "", true, 65536, 65536},
	{1024, 4096, "max-sessions = 100000", true, 106000, 107000},
};

/* Where this program runs without CAP_SYS_RESOURCE, as in some containers, root is as others are.
 */
static bool may_raise(void)
{
	struct rlimit limit = {1000, 1000}, more = {1001, 1001};
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(setrlimit(RLIMIT_NOFILE, &limit) || setrlimit(RLIMIT_NOFILE, &more));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status == 0;
}

static void raise_in_child(const struct raising *row, int log, int result)
{
	struct parent_kit kit = {.config = load(row->options)};
	struct rlimit limit = {row->soft, row->hard};

	if (dup2(log, STDERR_FILENO) < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0 ||
	    (!row->as_root && setresuid(65534, 65534, 65534) < 0))
		_exit(1);
	log_setup(LOG_LEVEL_WARN, false, "test");
	parent_limits_raise(&kit, WORKERS);
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur != kit.descriptors || limit.rlim_max != kit.descriptors ||
	    write(result, &kit.descriptors, sizeof(kit.descriptors)) < 0)
		_exit(2);
	_exit(0);
}

static void check_raising(const struct raising *row, bool is_able)
{
	bool is_refused = row->most > row->hard && !is_able;
	bool is_warned = is_refused || needed(row->options, WORKERS) > row->most;
	unsigned long limit = 0;
	char said[1000] = "";
	int log[2], result[2], status;
	pid_t pid;

	assert_true(pipe(log) == 0 && pipe(result) == 0);
	pid = fork();
	if (pid == 0)
		raise_in_child(row, log[1], result[1]);
	close(log[1]);
	close(result[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(read(result[0], &limit, sizeof(limit)), sizeof(limit));
	assert_true(read(log[0], said, sizeof(said) - 1) >= 0);
	assert_in_range(limit, is_refused ? row->hard : row->least,
			is_refused ? row->hard : row->most);
	assert_int_equal(strstr(said, "raise LimitNOFILE") != NULL, is_warned);
	close(log[0]);
	close(result[0]);
}

static void test_raise(void **state)
{
	bool is_able = may_raise();

	(void)state;
	for (size_t i = 0; i < sizeof(raisings) / sizeof(*raisings); i++)
		check_raising(&raisings[i], is_able);
}

static const struct asking {
	const char *runs, *wanted;
	unsigned long limit;
	bool is_problem;
} askings[] = {
	{"max-sessions = 100", "max-sessions = 30000", 65536, false},
	{"max-sessions = 100", "max-sessions = 80000", 65536, true},
	/* It is as it was, or better: no reason to refuse what else has changed. */
	{"max-sessions = 80000", "max-sessions = 80000", 65536, false},
	{"max-sessions = 80000", "max-sessions = 70000", 65536, false},
	{"max-sessions = 70000", "max-sessions = 80000", 65536, true},
};

static void test_reload(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(askings) / sizeof(*askings); i++) {
		struct parent_kit kit = {
			.config = load(askings[i].runs),
			.descriptors = askings[i].limit,
			.worker_count = WORKERS,
		};
		struct config *wanted = (struct config *)load(askings[i].wanted);
		struct config_problems problems = {0};

		parent_limits_check(&kit, wanted, &problems);
		assert_int_equal(problems.count, askings[i].is_problem);
		if (problems.count) {
			assert_int_equal(problems.items[0].line, 1);
			assert_non_null(strstr(problems.items[0].text, "the limit is 65536"));
		}
		config_problems_done(&problems);
		config_free(wanted);
		config_free((struct config *)kit.config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_needed),
		cmocka_unit_test(test_raise),
		cmocka_unit_test(test_reload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
