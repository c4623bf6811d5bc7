#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/log.h"
#include "session/store.h"
#include "sys/sandbox.h"

enum { NOW_S = 1800000000, FAR_S = 2000000000 };

/* ---- the disk: SQLite's writes pass through here ---- */

static atomic_int write_error, sync_error; /* errno, or 0 */
static atomic_uint syncs;
static atomic_bool is_dirty; /* something is written that is not on the disk */

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
	if (write_error) {
		errno = write_error;
		return -1;
	}
	is_dirty = true;
	return syscall(SYS_pwrite64, fd, bytes, len, at);
}

int fdatasync(int fd)
{
	if (sync_error) {
		errno = sync_error;
		return -1;
	}
	syncs++;
	is_dirty = false;
	return (int)syscall(SYS_fdatasync, fd);
}

/* ---- a store in a directory of its own ---- */

struct fixture {
	char directory[64];
	uv_loop_t loop;
	struct store *store;
	struct store_state state;
	char error[300];
	int (*enter)(void);
};

struct answer {
	bool is_there;
	int error;
	char text[200];
	bool was_dirty;
	unsigned number; /* which answer it was */
	unsigned *counter;
};

static int try_open(struct fixture *fixture)
{
	return store_start(fixture->directory, &fixture->loop, fixture->enter, &fixture->store,
			   &fixture->state, fixture->error, sizeof(fixture->error));
}

static void open_store(struct fixture *fixture)
{
	int r = try_open(fixture);

	if (r < 0)
		fail_msg("%d: %s", r, fixture->error);
}

static void close_store(struct fixture *fixture)
{
	store_state_done(&fixture->state);
	store_stop(fixture->store);
	fixture->store = NULL;
	uv_run(&fixture->loop, UV_RUN_DEFAULT);
}

static void reopen_store(struct fixture *fixture)
{
	close_store(fixture);
	open_store(fixture);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->directory, "/tmp/tund-test-store-XXXXXX");
	if (!mkdtemp(fixture->directory) || uv_loop_init(&fixture->loop) < 0)
		return -1;
	*state = fixture;
	return 0;
}

static void remove_file(const struct fixture *fixture, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", fixture->directory, name);
	unlink(path);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	write_error = sync_error = 0;
	if (fixture->store)
		close_store(fixture);
	uv_run(&fixture->loop, UV_RUN_DEFAULT);
	uv_loop_close(&fixture->loop);
	remove_file(fixture, "state.db");
	remove_file(fixture, "state.db-wal");
	rmdir(fixture->directory);
	free(fixture);
	return 0;
}

static void take_answer(int error, const char *text, void *user)
{
	struct answer *answer = user;

	answer->is_there = true;
	answer->error = error;
	answer->was_dirty = is_dirty;
	answer->number = answer->counter ? ++*answer->counter : 0;
	snprintf(answer->text, sizeof(answer->text), "%s", text ? text : "");
}

static void wait_answer(struct fixture *fixture, const struct answer *answer)
{
	while (!answer->is_there)
		uv_run(&fixture->loop, UV_RUN_ONCE);
}

static struct store_denied make_denied(unsigned number)
{
	struct store_denied denied = {.denied_at_s = NOW_S};

	memset(denied.denial.issuer_hash, 0xaa, 32);
	snprintf(denied.denial.serial, sizeof(denied.denial.serial), "%x", number);
	memset(denied.denial.spki_hash, (int)(number % 255 + 1), 32);
	snprintf(denied.identity, sizeof(denied.identity), "cn:alice%u", number);
	strcpy(denied.subject, "CN=alice");
	strcpy(denied.issuer, "CN=Corp's \"CA\"");
	strcpy(denied.reason, "stolen; DROP TABLE denied");
	return denied;
}

/* Denies number and waits: 0 or -errno. */
static struct answer deny(struct fixture *fixture, unsigned number)
{
	struct store_denied denied = make_denied(number);
	struct answer answer = {0};

	store_deny(fixture->store, &denied, 1, take_answer, &answer);
	memset(&denied, 0, sizeof(denied)); /* it was copied */
	wait_answer(fixture, &answer);
	return answer;
}

static struct store_lease make_lease(const char *key, const char *v4, const char *v6)
{
	struct store_lease lease = {.used_at_s = NOW_S};

	snprintf(lease.key, sizeof(lease.key), "%s", key);
	if (v4)
		assert_true(addr_parse(v4, &lease.v4));
	if (v6)
		assert_true(addr_parse(v6, &lease.v6));
	return lease;
}

static struct store_cookie make_cookie(uint8_t number, int64_t expires_at_s)
{
	struct store_cookie cookie = {.expires_at_s = expires_at_s, .identity.kind = IDENTITY_CN};

	memset(cookie.hash, number, sizeof(cookie.hash));
	memset(cookie.identity.root, 0x77, sizeof(cookie.identity.root));
	strcpy(cookie.identity.name, "alice");
	strcpy(cookie.lease_key, "cn:alice@77");
	return cookie;
}

static struct store_seen make_seen(unsigned serial, int64_t at_s, int64_t not_after_s)
{
	struct store_seen seen = {
		.identity.kind = IDENTITY_DNS,
		.first_at_s = at_s,
		.last_at_s = at_s,
		.not_after_s = not_after_s,
	};

	strcpy(seen.identity.name, "berlin.sites.corp.example");
	memset(seen.identity.root, 0x77, sizeof(seen.identity.root));
	memset(seen.key.issuer_hash, 0xaa, 32);
	snprintf(seen.key.serial, sizeof(seen.key.serial), "%x", serial);
	memset(seen.key.spki_hash, 0x55, 32);
	strcpy(seen.subject, "CN=berlin");
	strcpy(seen.issuer, "CN=Corp CA");
	return seen;
}

/* ---- what is kept ---- */

static void everything_comes_back(void **state)
{
	struct fixture *fixture = *state;
	struct store_lease alice = make_lease("cn:alice@77", "10.99.0.2", "fd99::2");
	struct store_lease bob = make_lease("cn:bob@77", NULL, "fd99::3");
	struct store_cookie cookie = make_cookie(1, FAR_S);
	struct store_seen seen = make_seen(0x1f, NOW_S, FAR_S);
	struct store_denied denied = make_denied(7);

	open_store(fixture);
	assert_int_equal(fixture->state.lease_count + fixture->state.cookie_count +
				 fixture->state.denied_count + fixture->state.seen_count,
			 0);
	store_put_lease(fixture->store, &bob);
	alice.used_at_s--;
	store_put_lease(fixture->store, &alice);
	store_put_cookie(fixture->store, &cookie);
	store_put_seen(fixture->store, &seen);
	assert_int_equal(deny(fixture, 7).error, 0);
	reopen_store(fixture);
	assert_int_equal(fixture->state.lease_count, 2);
	/* The one used last comes last. */
	assert_memory_equal(&fixture->state.leases[0], &alice, sizeof(alice));
	assert_memory_equal(&fixture->state.leases[1], &bob, sizeof(bob));
	assert_int_equal(fixture->state.cookie_count, 1);
	assert_memory_equal(&fixture->state.cookies[0], &cookie, sizeof(cookie));
	assert_int_equal(fixture->state.seen_count, 1);
	assert_memory_equal(&fixture->state.seen[0], &seen, sizeof(seen));
	assert_int_equal(fixture->state.denied_count, 1);
	assert_memory_equal(&fixture->state.denied[0], &denied, sizeof(denied));
	assert_null(store_trouble(fixture->store));
}

static void what_is_there_is_replaced(void **state)
{
	struct fixture *fixture = *state;
	struct store_lease lease = make_lease("cn:alice@77", "10.99.0.2", "fd99::2");
	struct store_lease moved = make_lease("cn:alice@77", "10.99.0.9", NULL);
	struct store_seen seen = make_seen(0x1f, NOW_S, FAR_S);
	struct store_cookie cookie = make_cookie(1, FAR_S), later = make_cookie(1, FAR_S + 5);

	open_store(fixture);
	store_put_lease(fixture->store, &lease);
	store_put_lease(fixture->store, &moved);
	store_put_seen(fixture->store, &seen);
	seen.first_at_s = seen.last_at_s = NOW_S + 60;
	store_put_seen(fixture->store, &seen);
	store_put_cookie(fixture->store, &cookie);
	store_put_cookie(fixture->store, &later);
	reopen_store(fixture);
	assert_int_equal(fixture->state.lease_count, 1);
	assert_memory_equal(&fixture->state.leases[0], &moved, sizeof(moved));
	assert_int_equal(fixture->state.seen_count, 1);
	assert_int_equal(fixture->state.seen[0].first_at_s, NOW_S);
	assert_int_equal(fixture->state.seen[0].last_at_s, NOW_S + 60);
	assert_int_equal(fixture->state.cookie_count, 1);
	assert_int_equal(fixture->state.cookies[0].expires_at_s, FAR_S + 5);
}

/* By its serial alone the key is not known: that does not wipe out one that is. */
static void a_denied_key_stays_denied(void **state)
{
	struct fixture *fixture = *state;
	struct store_denied by_serial = make_denied(7);
	struct answer answer = {0}, other = {0};
	uint8_t key[32];

	memset(by_serial.denial.spki_hash, 0, 32);
	strcpy(by_serial.reason, "again");
	memset(key, 8, sizeof(key));
	open_store(fixture);
	store_deny(fixture->store, &by_serial, 1, take_answer, &answer);
	wait_answer(fixture, &answer);
	deny(fixture, 7);
	store_deny(fixture->store, &by_serial, 1, take_answer, &other);
	wait_answer(fixture, &other);
	reopen_store(fixture);
	assert_int_equal(fixture->state.denied_count, 1);
	assert_memory_equal(fixture->state.denied[0].denial.spki_hash, key, 32);
	assert_string_equal(fixture->state.denied[0].reason, "again");
}

static void denials_are_taken_back(void **state)
{
	struct fixture *fixture = *state;
	struct store_denied denied[3] = {make_denied(1), make_denied(2), make_denied(3)};
	struct trust_denial gone[3] = {denied[0].denial, denied[2].denial, denied[1].denial};
	struct answer first = {0}, second = {0};
	unsigned counter = 0;

	gone[2].issuer_hash[0] ^= 1; /* another authority's serial 2 */
	first.counter = second.counter = &counter;
	open_store(fixture);
	store_deny(fixture->store, denied, 3, take_answer, &first);
	store_undeny(fixture->store, gone, 3, take_answer, &second);
	wait_answer(fixture, &second);
	assert_int_equal(first.error, 0);
	assert_int_equal(first.number, 1);
	assert_int_equal(second.number, 2);
	reopen_store(fixture);
	assert_int_equal(fixture->state.denied_count, 1);
	assert_string_equal(fixture->state.denied[0].denial.serial, "2");
}

static int count_rows(const struct fixture *fixture, const char *table)
{
	char path[128], *query;
	sqlite3 *database;
	sqlite3_stmt *statement;
	int count;

	snprintf(path, sizeof(path), "%s/state.db", fixture->directory);
	assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
	query = sqlite3_mprintf("SELECT count(*) FROM %s", table);
	assert_int_equal(sqlite3_prepare_v2(database, query, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	count = sqlite3_column_int(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_free(query);
	sqlite3_close(database);
	return count;
}

static void old_cookies_go(void **state)
{
	struct fixture *fixture = *state;
	struct store_cookie past = make_cookie(1, clock_wall()), gone = make_cookie(2, FAR_S);
	struct store_cookie kept = make_cookie(3, clock_wall() + 100);

	open_store(fixture);
	store_put_cookie(fixture->store, &past);
	store_put_cookie(fixture->store, &gone);
	store_put_cookie(fixture->store, &kept);
	store_drop_cookie(fixture->store, gone.hash);
	reopen_store(fixture);
	assert_int_equal(fixture->state.cookie_count, 1);
	assert_memory_equal(fixture->state.cookies[0].hash, kept.hash, 32);
	close_store(fixture);
	assert_int_equal(count_rows(fixture, "cookies"), 1);
}

/* Of what one identity has shown, those that could come back are kept. */
static void certificates_of_one_identity_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct store_seen expired = make_seen(1000, NOW_S + 999, clock_wall() - 1);
	struct store_seen other = make_seen(2000, 1, FAR_S);

	strcpy(other.identity.name, "hamburg.sites.corp.example");
	open_store(fixture);
	store_put_seen(fixture->store, &other);
	store_put_seen(fixture->store, &expired);
	for (unsigned i = 0; i < 52; i++) {
		struct store_seen seen = make_seen(i, NOW_S + i, FAR_S);

		store_put_seen(fixture->store, &seen);
	}
	reopen_store(fixture);
	assert_int_equal(fixture->state.seen_count, 51);
	assert_string_equal(fixture->state.seen[0].identity.name, other.identity.name);
	assert_string_equal(fixture->state.seen[1].key.serial, "2");
	assert_string_equal(fixture->state.seen[50].key.serial, "33");
}

static void the_file_is_private(void **state)
{
	struct fixture *fixture = *state;
	static const char *const names[] = {"state.db", "state.db-wal"};

	open_store(fixture);
	deny(fixture, 1);
	for (unsigned i = 0; i < 2; i++) {
		char path[128];
		struct stat status;

		snprintf(path, sizeof(path), "%s/%s", fixture->directory, names[i]);
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode & 07777, 0600);
	}
}

static void count_answer(int error, const char *text, void *user)
{
	(void)text;
	assert_int_equal(error, 0);
	++*(unsigned *)user;
}

static void stopping_finishes_what_was_asked_for(void **state)
{
	struct fixture *fixture = *state;
	unsigned answers = 0;

	open_store(fixture);
	for (unsigned i = 0; i < 500; i++) {
		struct store_denied denied = make_denied(i);
		struct store_lease lease = make_lease("k", "10.99.0.2", NULL);

		snprintf(lease.key, sizeof(lease.key), "k%u", i);
		store_put_lease(fixture->store, &lease);
		if (i % 10 == 0)
			store_deny(fixture->store, &denied, 1, count_answer, &answers);
		else
			store_deny(fixture->store, &denied, 1, NULL, NULL);
	}
	close_store(fixture);
	assert_int_equal(answers, 50);
	open_store(fixture);
	assert_int_equal(fixture->state.denied_count, 500);
	assert_int_equal(fixture->state.lease_count, 500);
}

struct late {
	struct fixture *fixture;
	struct answer answer;
};

static void ask_late(int error, const char *text, void *user)
{
	struct late *late = user;
	struct store_denied denied = make_denied(9);

	(void)error;
	(void)text;
	store_deny(late->fixture->store, &denied, 1, take_answer, &late->answer);
}

static void who_asks_a_stopped_store_hears_so(void **state)
{
	struct late late = {.fixture = *state};
	struct store_denied denied = make_denied(1);

	open_store(late.fixture);
	store_deny(late.fixture->store, &denied, 1, ask_late, &late);
	close_store(late.fixture);
	assert_true(late.answer.is_there);
	assert_int_equal(late.answer.error, -ECANCELED);
}

/* ---- the disk ---- */

static void a_denial_is_on_the_disk_before_the_answer(void **state)
{
	struct fixture *fixture = *state;

	open_store(fixture);
	for (unsigned i = 0; i < 20; i++) {
		unsigned before = syncs;
		struct answer answer = deny(fixture, i);

		assert_int_equal(answer.error, 0);
		assert_false(answer.was_dirty);
		assert_true(syncs > before);
	}
}

static unsigned count_lines(int fd, const char *word)
{
	char text[65536];
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
	unsigned count = 0;

	assert_true(len >= 0);
	text[len] = '\0';
	for (const char *at = text; (at = strstr(at, word)); at++)
		count++;
	return count;
}

static void check_trouble(struct fixture *fixture, int error)
{
	struct store_lease lease = make_lease("lost", "10.99.0.2", NULL);

	for (unsigned i = 10; i < 15; i++) {
		struct answer answer;

		store_put_lease(fixture->store, &lease);
		answer = deny(fixture, i);
		assert_int_equal(answer.error, -error);
		assert_string_equal(answer.text, strerror(error));
		assert_string_equal(store_trouble(fixture->store), strerror(error));
	}
}

/* A success with nothing to write does not show that writing works. */
static void change_nothing(struct fixture *fixture)
{
	struct trust_denial unknown = {.serial = "dead"};
	struct answer answer = {0};

	store_undeny(fixture->store, &unknown, 1, take_answer, &answer);
	wait_answer(fixture, &answer);
	assert_int_equal(answer.error, 0);
	assert_non_null(store_trouble(fixture->store));
}

static void a_failing_disk(void **state)
{
	static const struct {
		const char *name;
		atomic_int *where;
		int error;
	} rows[] = {
		{"full", &write_error, ENOSPC},
		{"broken", &write_error, EIO},
		{"broken when it syncs", &sync_error, EIO},
	};
	struct fixture *fixture = *state;
	unsigned number = 100;

	open_store(fixture);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int log = memfd_create("log", MFD_CLOEXEC), before = dup(STDERR_FILENO);

		print_message("%s\n", rows[i].name);
		deny(fixture, number++);
		dup2(log, STDERR_FILENO);
		*rows[i].where = rows[i].error;
		check_trouble(fixture, rows[i].error);
		*rows[i].where = 0;
		change_nothing(fixture);
		assert_int_equal(deny(fixture, number).error, 0);
		number++;
		dup2(before, STDERR_FILENO);
		close(before);
		assert_null(store_trouble(fixture->store));
		assert_int_equal(count_lines(log, "cannot write"), 1);
		assert_int_equal(count_lines(log, "can be written again"), 1);
		close(log);
	}
	reopen_store(fixture);
	assert_int_equal(fixture->state.denied_count, number - 100);
	assert_int_equal(fixture->state.lease_count, 0);
}

/* A gateway starts on a full disk: it can still read whom it denies. */
static void starting_on_a_full_disk(void **state)
{
	struct fixture *fixture = *state;
	struct store_cookie past = make_cookie(1, clock_wall());

	open_store(fixture);
	store_put_cookie(fixture->store, &past);
	deny(fixture, 1);
	close_store(fixture);
	write_error = ENOSPC;
	open_store(fixture);
	assert_int_equal(fixture->state.denied_count, 1);
	assert_int_equal(fixture->state.cookie_count, 0);
	uv_run(&fixture->loop, UV_RUN_NOWAIT);
	assert_non_null(store_trouble(fixture->store));
	write_error = 0;
	assert_int_equal(deny(fixture, 2).error, 0);
	assert_null(store_trouble(fixture->store));
}

/* In a child of its own. */
static void expect(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s\n", what);
	_exit(1);
}

static void fill_disk(const char *path)
{
	static const char block[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	expect(fd >= 0, "no filler");
	while (write(fd, block, sizeof(block)) > 0)
		;
	close(fd);
}

static void use_small_disk(struct fixture *fixture)
{
	char filler[128];
	unsigned number = 0, denied = 0;

	snprintf(filler, sizeof(filler), "%s/filler", fixture->directory);
	expect(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0,
	       "no mount namespace");
	expect(mount("none", fixture->directory, "tmpfs", 0, "size=512k") == 0, "no tmpfs");
	expect(try_open(fixture) == 0, fixture->error);
	for (unsigned round = 0; round < 3; round++) {
		int error;

		fill_disk(filler);
		while ((error = deny(fixture, number++).error) == 0)
			denied++;
		expect(error == -ENOSPC, "full, and not ENOSPC");
		expect(store_trouble(fixture->store) != NULL, "full, and no trouble");
		expect(unlink(filler) == 0, "no filler to remove");
		expect(deny(fixture, number++).error == 0, "not full, and an error");
		expect(store_trouble(fixture->store) == NULL, "not full, and trouble");
		denied++;
	}
	/* Reads back whole while there is no room at all. */
	fill_disk(filler);
	close_store(fixture);
	expect(try_open(fixture) == 0, fixture->error);
	expect(fixture->state.denied_count == denied, "denials are missing, or too many");
	unlink(filler);
	close_store(fixture);
	expect(count_rows(fixture, "pragma_integrity_check WHERE integrity_check = 'ok'") == 1,
	       "damaged");
}

static int wait_child(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void a_small_disk_fills_up(void **state)
{
	pid_t child = fork();

	if (child == 0) {
		log_set_level(LOG_LEVEL_ERROR);
		use_small_disk(*state);
		_exit(0);
	}
	assert_int_equal(wait_child(child), 0);
}

/* ---- ends without warning ---- */

static void pass_on(int error, const char *text, void *user)
{
	unsigned *passed = user;
	unsigned number = passed[0]++;

	(void)text;
	expect(error == 0 && write((int)passed[1], &number, sizeof(number)) == sizeof(number),
	       "cannot pass on");
}

/* Denies as quickly as it can and says which denials were acknowledged. */
static _Noreturn void deny_for_ever(struct fixture *fixture, int out)
{
	unsigned passed[2] = {0, (unsigned)out};

	expect(try_open(fixture) == 0, fixture->error);
	passed[0] = (unsigned)fixture->state.denied_count;
	for (unsigned number = passed[0];; number++) {
		struct store_denied denied = make_denied(number);
		struct store_lease lease = make_lease("k", "10.99.0.2", "fd99::2");

		snprintf(lease.key, sizeof(lease.key), "k%u", number);
		store_put_lease(fixture->store, &lease);
		store_deny(fixture->store, &denied, 1, pass_on, passed);
		while (number - passed[0] > 8)
			uv_run(&fixture->loop, UV_RUN_ONCE);
	}
}

static unsigned kill_in_the_middle(struct fixture *fixture, useconds_t after_us)
{
	unsigned number, last = 0;
	int pipe_fds[2];
	pid_t child;

	assert_int_equal(pipe(pipe_fds), 0);
	child = fork();
	if (child == 0)
		deny_for_ever(fixture, pipe_fds[1]);
	close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &last, sizeof(last)), sizeof(last));
	usleep(after_us);
	kill(child, SIGKILL);
	while (read(pipe_fds[0], &number, sizeof(number)) == sizeof(number))
		last = number;
	close(pipe_fds[0]);
	assert_true(WIFSIGNALED(wait_child(child)));
	return last;
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned round = 0; round < 10; round++) {
		unsigned last = kill_in_the_middle(fixture, 1000 + 3000 * round);

		open_store(fixture);
		/* They are numbered without gaps, and one write may be through without its answer.
		 */
		assert_in_range(fixture->state.denied_count, last + 1, last + 10);
		for (unsigned i = 0; i < fixture->state.denied_count; i++) {
			struct store_denied denied = make_denied(i);
			bool found = false;

			for (unsigned j = 0; j < fixture->state.denied_count && !found; j++)
				found = memcmp(&denied, &fixture->state.denied[j],
					       sizeof(denied)) == 0;
			assert_true(found);
		}
		close_store(fixture);
	}
	assert_int_equal(count_rows(fixture, "pragma_integrity_check WHERE integrity_check = 'ok'"),
			 1);
}

/* ---- what cannot be opened ---- */

static void make_garbage(struct fixture *fixture, const char *path)
{
	FILE *file = fopen(path, "we");

	(void)fixture;
	for (unsigned i = 0; i < 2000; i++)
		fprintf(file, "This is no database. ");
	fclose(file);
}

static void run_sql(const char *path, const char *script)
{
	sqlite3 *database;

	assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
	assert_int_equal(sqlite3_exec(database, script, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(database);
}

static void make_strangers(struct fixture *fixture, const char *path)
{
	(void)fixture;
	run_sql(path, "CREATE TABLE bookmarks (url TEXT)");
}

static void make_newer(struct fixture *fixture, const char *path)
{
	open_store(fixture);
	close_store(fixture);
	run_sql(path, "PRAGMA user_version = 2");
}

static void make_marked(struct fixture *fixture, const char *path)
{
	open_store(fixture);
	close_store(fixture);
	run_sql(path, "PRAGMA application_id = 1");
}

static void lose_table(struct fixture *fixture, const char *path)
{
	open_store(fixture);
	close_store(fixture);
	run_sql(path, "DROP TABLE denied");
}

static void lengthen_serial(struct fixture *fixture, const char *path)
{
	open_store(fixture);
	deny(fixture, 1);
	close_store(fixture);
	run_sql(path, "UPDATE denied SET serial = hex(zeroblob(100))");
}

static void spoil_address(struct fixture *fixture, const char *path)
{
	struct store_lease lease = make_lease("k", "10.99.0.2", NULL);

	open_store(fixture);
	store_put_lease(fixture->store, &lease);
	close_store(fixture);
	run_sql(path, "UPDATE leases SET v4 = 'fd99::2'");
}

static void spoil_kind(struct fixture *fixture, const char *path)
{
	struct store_cookie cookie = make_cookie(1, FAR_S);

	open_store(fixture);
	store_put_cookie(fixture->store, &cookie);
	close_store(fixture);
	run_sql(path, "UPDATE cookies SET kind = 4");
}

static void spoil_zero(struct fixture *fixture, const char *path)
{
	struct store_seen seen = make_seen(1, NOW_S, FAR_S);

	open_store(fixture);
	store_put_seen(fixture->store, &seen);
	close_store(fixture);
	run_sql(path, "UPDATE seen SET name = 'alice' || char(0) || 'x'");
}

static void spoil_page(struct fixture *fixture, const char *path)
{
	int fd;

	open_store(fixture);
	deny(fixture, 1);
	close_store(fixture);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	for (int page = 1; page < 20; page++)
		assert_int_equal(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 4096 * page), 8);
	close(fd);
}

static void add_trigger(struct fixture *fixture, const char *path)
{
	open_store(fixture);
	close_store(fixture);
	run_sql(path, "CREATE TRIGGER t AFTER INSERT ON denied BEGIN DELETE FROM denied; END");
}

/* An index with another's pages: what is looked up by it would not be found. */
static void mix_indexes(struct fixture *fixture, const char *path)
{
	struct store_seen seen = make_seen(1, NOW_S, FAR_S);

	open_store(fixture);
	store_put_seen(fixture->store, &seen);
	close_store(fixture);
	run_sql(path, "PRAGMA writable_schema = ON;"
		      "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema"
		      " WHERE name = 'leases_used') WHERE name = 'seen_identity'");
}

/* SQLite's message quotes it. */
static void break_schema(struct fixture *fixture, const char *path)
{
	open_store(fixture);
	close_store(fixture);
	run_sql(path, "PRAGMA writable_schema = ON;"
		      "UPDATE sqlite_schema SET name = 'a' || char(10) || 'b', sql = 'CREATE'"
		      " WHERE name = 'leases_used'");
}

static void make_directory(struct fixture *fixture, const char *path)
{
	(void)fixture;
	assert_int_equal(mkdir(path, 0700), 0);
}

static void make_link(struct fixture *fixture, const char *path)
{
	(void)fixture;
	assert_int_equal(symlink("/etc/passwd", path), 0);
}

static void remove_directory(struct fixture *fixture, const char *path)
{
	(void)path;
	assert_int_equal(rmdir(fixture->directory), 0);
}

static void fill_before(struct fixture *fixture, const char *path)
{
	(void)fixture;
	(void)path;
	write_error = ENOSPC;
}

static int refuse_to_enter(void)
{
	return -EPERM;
}

static void confine_badly(struct fixture *fixture, const char *path)
{
	(void)path;
	fixture->enter = refuse_to_enter;
}

static void what_cannot_be_opened(void **state)
{
	static const struct {
		const char *name;
		void (*make)(struct fixture *, const char *path);
		int error;
		const char *text;
	} rows[] = {
		{"garbage", make_garbage, -EBADMSG, "file is not a database"},
		{"somebody's database", make_strangers, -EBADMSG, "a database, but not tund's"},
		{"marked as another's", make_marked, -EBADMSG, "a database, but not tund's"},
		{"newer", make_newer, -EOPNOTSUPP, "its schema is 2, this one knows 1"},
		{"a table is missing", lose_table, -EBADMSG,
		 "its tables are not as tund makes them"},
		{"a serial too long", lengthen_serial, -EBADMSG, "malformed entry"},
		{"an address of another family", spoil_address, -EBADMSG, "malformed entry"},
		{"a kind unheard of", spoil_kind, -EBADMSG, "malformed entry"},
		{"a zero in a name", spoil_zero, -EBADMSG, "malformed entry"},
		{"a trigger", add_trigger, -EBADMSG, "its tables are not as tund makes them"},
		{"an index of other rows", mix_indexes, -EBADMSG, "damaged: 2nd reference to page"},
		{"a schema that is none", break_schema, -EBADMSG, "schema (a\\x0ab)"},
		{"a damaged page", spoil_page, -EBADMSG, "damaged: "},
		{"a directory", make_directory, -EISDIR, "Is a directory"},
		{"a link", make_link, -ELOOP, "symbolic link"},
		{"no directory", remove_directory, -ENOENT, "No such file or directory"},
		{"no room for a new one", fill_before, -ENOSPC, "No space left"},
		{"not confined", confine_badly, -EPERM, "cannot confine the store"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture *fixture = NULL;
		char path[128];
		int r;

		print_message("%s\n", rows[i].name);
		assert_int_equal(setup((void **)&fixture), 0);
		snprintf(path, sizeof(path), "%s/state.db", fixture->directory);
		rows[i].make(fixture, path);
		r = try_open(fixture);
		if (r != rows[i].error || !strstr(fixture->error, rows[i].text) ||
		    strchr(fixture->error, '\n'))
			fail_msg("%d: %s", r, fixture->error);
		rmdir(path);
		teardown((void **)&fixture);
	}
}

static void hold_for(struct fixture *fixture, int ready, useconds_t us)
{
	expect(try_open(fixture) == 0, fixture->error);
	expect(write(ready, "", 1) == 1, "cannot tell");
	usleep(us);
	_exit(0);
}

static void a_predecessor_is_waited_for(void **state)
{
	static const struct {
		useconds_t held_us;
		int result;
	} rows[] = {{500000, 0}, {20000000, -EBUSY}};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 2; i++) {
		int ready[2];
		char byte;
		pid_t child;

		assert_int_equal(pipe(ready), 0);
		child = fork();
		if (child == 0)
			hold_for(fixture, ready[1], rows[i].held_us);
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		close(ready[0]);
		assert_int_equal(try_open(fixture), rows[i].result);
		if (rows[i].result == 0)
			close_store(fixture);
		kill(child, SIGKILL);
		wait_child(child);
	}
	assert_non_null(strstr(fixture->error, "in use by another tund"));
}

/* ---- confined ---- */

static int enter_sandbox(void)
{
	return sandbox_load(SANDBOX_STORE);
}

static void use_confined(struct fixture *fixture)
{
	fixture->enter = enter_sandbox;
	expect(try_open(fixture) == 0, fixture->error);
	/* Enough for several passes from the log into the file. */
	for (unsigned i = 0; i < 3000; i++) {
		struct store_seen seen = make_seen(i, NOW_S + i, FAR_S);
		struct store_lease lease = make_lease("k", "10.99.0.2", NULL);

		snprintf(seen.identity.name, sizeof(seen.identity.name), "n%u", i);
		snprintf(lease.key, sizeof(lease.key), "k%u", i);
		store_put_seen(fixture->store, &seen);
		store_put_lease(fixture->store, &lease);
		if (i % 100 == 0)
			expect(deny(fixture, i).error == 0, "cannot deny");
	}
	close_store(fixture);
	expect(try_open(fixture) == 0, fixture->error);
	expect(fixture->state.seen_count == 3000, "not all there");
	close_store(fixture);
}

static void it_works_within_its_sandbox(void **state)
{
	pid_t child = fork();

	if (child == 0) {
		use_confined(*state);
		_exit(0);
	}
	assert_int_equal(wait_child(child), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_comes_back),
		TEST(what_is_there_is_replaced),
		TEST(a_denied_key_stays_denied),
		TEST(denials_are_taken_back),
		TEST(old_cookies_go),
		TEST(certificates_of_one_identity_are_bounded),
		TEST(the_file_is_private),
		TEST(stopping_finishes_what_was_asked_for),
		TEST(who_asks_a_stopped_store_hears_so),
		TEST(a_denial_is_on_the_disk_before_the_answer),
		TEST(a_failing_disk),
		TEST(starting_on_a_full_disk),
		TEST(a_small_disk_fills_up),
		TEST(what_was_acknowledged_survives_a_kill),
		cmocka_unit_test(what_cannot_be_opened),
		TEST(a_predecessor_is_waited_for),
		TEST(it_works_within_its_sandbox),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
