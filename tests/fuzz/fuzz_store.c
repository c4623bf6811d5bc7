/* session/store_db: a file that is to be the database. What can be loaded is of the shape that
 * store.h promises, and what was written into it can be loaded again. */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session/store_db.h"

enum { NOW_S = 1000000000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char directory[] = "/dev/shm/tund-fuzz-store-XXXXXX";

static void remove_files(void)
{
	static const char *const names[] = {"", "-wal", "-shm", "-journal"};
	char path[80];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/state.db%s", directory, names[i]);
		unlink(path);
	}
}

static void remove_directory(void)
{
	remove_files();
	rmdir(directory);
}

static void write_database(const uint8_t *data, size_t size)
{
	static bool made;
	char path[80];
	int fd;

	if (!made) {
		assert(mkdtemp(directory) && atexit(remove_directory) == 0);
		made = true;
	}
	remove_files();
	snprintf(path, sizeof(path), "%s/state.db", directory);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

static void check_line(const char *text)
{
	assert(text[0]);
	for (; *text; text++)
		assert((unsigned char)*text >= 0x20 && (unsigned char)*text < 0x7f);
}

#define IS_TEXT(array) (memchr(array, 0, sizeof(array)) != NULL)

static void check_identity(const struct identity *identity)
{
	assert(identity->kind >= IDENTITY_URI && identity->kind <= IDENTITY_CN);
	assert(IS_TEXT(identity->name));
}

static void check_state(const struct store_state *state)
{
	for (size_t i = 0; i < state->lease_count; i++) {
		const struct store_lease *lease = &state->leases[i];

		assert(IS_TEXT(lease->key));
		assert(lease->v4.family == 0 || lease->v4.family == 4);
		assert(lease->v6.family == 0 || lease->v6.family == 6);
	}
	for (size_t i = 0; i < state->cookie_count; i++) {
		check_identity(&state->cookies[i].identity);
		assert(IS_TEXT(state->cookies[i].lease_key));
		assert(state->cookies[i].expires_at_s > NOW_S);
	}
	for (size_t i = 0; i < state->denied_count; i++) {
		const struct store_denied *denied = &state->denied[i];

		assert(IS_TEXT(denied->denial.serial) && IS_TEXT(denied->identity));
		assert(IS_TEXT(denied->subject) && IS_TEXT(denied->issuer));
		assert(IS_TEXT(denied->reason));
	}
	for (size_t i = 0; i < state->seen_count; i++) {
		check_identity(&state->seen[i].identity);
		assert(IS_TEXT(state->seen[i].key.serial));
		assert(IS_TEXT(state->seen[i].subject) && IS_TEXT(state->seen[i].issuer));
	}
}

/* Into a database that may be damaged: it says so, or the row is there. */
static void write_lease(struct store_db *db)
{
	struct store_lease lease = {.key = "fuzz\tlease", .used_at_s = NOW_S};
	struct store_state state;
	bool changed, found = false;
	size_t i;

	assert(addr_parse("10.99.0.7", &lease.v4));
	if (store_db_begin(db) < 0)
		return;
	if (store_db_put_lease(db, &lease) < 0) {
		store_db_rollback(db);
		return;
	}
	if (store_db_commit(db, &changed) < 0 || store_db_load(db, NOW_S, &state) < 0)
		return;
	for (i = 0; i < state.lease_count; i++)
		found |= strcmp(state.leases[i].key, lease.key) == 0;
	assert(found);
	store_state_done(&state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store_db *db = NULL;
	struct store_state state;
	char error[400] = "";

	write_database(data, size);
	if (store_db_open(directory, &db, error, sizeof(error)) < 0) {
		assert(!db);
		check_line(error);
		return 0;
	}
	if (store_db_load(db, NOW_S, &state) == 0) {
		check_state(&state);
		store_state_done(&state);
		write_lease(db);
	} else {
		check_line(store_db_trouble(db));
	}
	store_db_close(db);
	return 0;
}
