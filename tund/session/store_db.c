/* Four tables, each row one entry of store.h. Addresses are text, so that an administrator can read
 * the file with sqlite3 once tund is stopped; while it runs nobody else can open it. */
#include "session/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"

enum {
	APPLICATION_ID = 0x74756e64, /* "tund" */
	SCHEMA_VERSION = 1,
	PREDECESSOR_MS = 3000,
};

/* Rows that are kept, the latest ones. */
#define LEASES_MAX	  "100000"
#define SEEN_MAX	  "100000"
#define SEEN_IDENTITY_MAX "50"

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	PUT_LEASE,
	PUT_COOKIE,
	DROP_COOKIE,
	PUT_SEEN,
	BOUND_SEEN,
	DENY,
	UNDENY,
	PURGE_COOKIES,
	PRUNE_LEASES,
	PRUNE_SEEN,
	LOAD_LEASES,
	LOAD_COOKIES,
	LOAD_DENIED,
	LOAD_SEEN,
	STATEMENTS,
};

struct store_db {
	sqlite3 *handle;
	sqlite3_stmt *statements[STATEMENTS];
	int changes_before; /* the transaction */
	char trouble[STORE_DB_TROUBLE];
};

/* locking_mode before journal_mode: with the file locked for ever, the index of the log needs no
 * shared memory. FULL: a commit is on the disk when it returns. journal_mode changes the file, so
 * it comes only when that is known to be ours. */
static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE;"
			       "PRAGMA synchronous = FULL;"
			       "PRAGMA temp_store = MEMORY;"
			       "PRAGMA cell_size_check = ON;"
			       "PRAGMA trusted_schema = OFF;";
static const char journal[] = "PRAGMA journal_mode = WAL";

static const char schema[] =
	"CREATE TABLE leases (key TEXT PRIMARY KEY, v4 TEXT, v6 TEXT, used_at_s INTEGER NOT NULL)"
	"  STRICT, WITHOUT ROWID;"
	"CREATE INDEX leases_used ON leases (used_at_s);"
	"CREATE TABLE cookies (hash BLOB PRIMARY KEY CHECK (length(hash) = 32),"
	"  kind INTEGER NOT NULL, name TEXT NOT NULL,"
	"  root BLOB NOT NULL CHECK (length(root) = 32),"
	"  lease_key TEXT NOT NULL, expires_at_s INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE denied (issuer_hash BLOB NOT NULL CHECK (length(issuer_hash) = 32),"
	"  serial TEXT NOT NULL, spki_hash BLOB NOT NULL CHECK (length(spki_hash) = 32),"
	"  identity TEXT NOT NULL, subject TEXT NOT NULL, issuer TEXT NOT NULL,"
	"  reason TEXT NOT NULL, denied_at_s INTEGER NOT NULL,"
	"  PRIMARY KEY (issuer_hash, serial)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE seen (issuer_hash BLOB NOT NULL CHECK (length(issuer_hash) = 32),"
	"  serial TEXT NOT NULL, spki_hash BLOB NOT NULL CHECK (length(spki_hash) = 32),"
	"  kind INTEGER NOT NULL, name TEXT NOT NULL,"
	"  root BLOB NOT NULL CHECK (length(root) = 32),"
	"  subject TEXT NOT NULL, issuer TEXT NOT NULL, first_at_s INTEGER NOT NULL,"
	"  last_at_s INTEGER NOT NULL, not_after_s INTEGER NOT NULL,"
	"  PRIMARY KEY (issuer_hash, serial)) STRICT;"
	"CREATE INDEX seen_identity ON seen (name, kind, root);";

/* BEGIN IMMEDIATE: what cannot be written fails at once and not in the middle.
 *
 * A denial by its serial alone knows no key: its zeros do not replace the key of an earlier one. Of
 * the certificates seen, those that still could be used are kept longest. */
static const char *const sql[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[PUT_LEASE] = "INSERT INTO leases VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET"
		      " v4 = excluded.v4, v6 = excluded.v6, used_at_s = excluded.used_at_s",
	[PUT_COOKIE] = "INSERT OR REPLACE INTO cookies VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[DROP_COOKIE] = "DELETE FROM cookies WHERE hash = ?1",
	[PUT_SEEN] = "INSERT INTO seen VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
		     " ON CONFLICT DO UPDATE SET spki_hash = excluded.spki_hash,"
		     " kind = excluded.kind, name = excluded.name, root = excluded.root,"
		     " subject = excluded.subject, issuer = excluded.issuer,"
		     " last_at_s = excluded.last_at_s, not_after_s = excluded.not_after_s",
	[BOUND_SEEN] = "DELETE FROM seen WHERE rowid IN (SELECT rowid FROM seen"
		       " WHERE name = ?1 AND kind = ?2 AND root = ?3"
		       " ORDER BY not_after_s < ?4, last_at_s DESC, rowid DESC"
		       " LIMIT -1 OFFSET " SEEN_IDENTITY_MAX ")",
	[DENY] = "INSERT INTO denied VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
		 " ON CONFLICT DO UPDATE SET spki_hash = iif(excluded.spki_hash = zeroblob(32),"
		 " spki_hash, excluded.spki_hash), identity = excluded.identity,"
		 " subject = excluded.subject, issuer = excluded.issuer, reason = excluded.reason",
	[UNDENY] = "DELETE FROM denied WHERE issuer_hash = ?1 AND serial = ?2",
	[PURGE_COOKIES] = "DELETE FROM cookies WHERE expires_at_s <= ?1",
	[PRUNE_LEASES] = "DELETE FROM leases WHERE key IN (SELECT key FROM leases"
			 " ORDER BY used_at_s DESC LIMIT -1 OFFSET " LEASES_MAX ")",
	[PRUNE_SEEN] = "DELETE FROM seen WHERE rowid IN (SELECT rowid FROM seen"
		       " ORDER BY not_after_s < ?1, last_at_s DESC, rowid DESC"
		       " LIMIT -1 OFFSET " SEEN_MAX ")",
	[LOAD_LEASES] = "SELECT key, v4, v6, used_at_s FROM leases ORDER BY used_at_s",
	[LOAD_COOKIES] = "SELECT hash, kind, name, root, lease_key, expires_at_s FROM cookies"
			 " WHERE expires_at_s > ?1 ORDER BY expires_at_s",
	[LOAD_DENIED] = "SELECT issuer_hash, serial, spki_hash, identity, subject, issuer, reason,"
			" denied_at_s FROM denied ORDER BY denied_at_s, issuer_hash, serial",
	[LOAD_SEEN] = "SELECT issuer_hash, serial, spki_hash, kind, name, root, subject, issuer,"
		      " first_at_s, last_at_s, not_after_s FROM seen ORDER BY first_at_s, rowid",
};

/* ---- errors ---- */

/* The low byte is the kind, what is above it (extended codes) which call it was. SQLite keeps the
 * system's errno for what it opens, not for what it writes: EIO has to do there. */
static int result_errno(sqlite3 *handle, int result)
{
	int system = handle ? sqlite3_system_errno(handle) : 0;

	switch (result & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		return -EBADMSG;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		return system > 0 ? -system : -EIO;
	default:
		return -EIO;
	}
}

static void keep_trouble(struct store_db *db, const char *text)
{
	log_escape(text, strlen(text), db->trouble, sizeof(db->trouble));
}

/* Keeps the text, returns the number. Where the system had a word, it says more than SQLite's. */
static int fail(struct store_db *db, int result)
{
	int error = result_errno(db->handle, result);
	bool is_io = (result & 0xff) == SQLITE_IOERR || (result & 0xff) == SQLITE_FULL ||
		     (result & 0xff) == SQLITE_CANTOPEN;

	/* SQLite quotes what stands in a damaged file. */
	if (is_io)
		snprintf(db->trouble, sizeof(db->trouble), "%s", strerror(-error));
	else
		keep_trouble(db, sqlite3_errmsg(db->handle));
	return error;
}

const char *store_db_trouble(const struct store_db *db)
{
	return db->trouble;
}

/* ---- statements ---- */

static sqlite3_stmt *get_statement(struct store_db *db, enum statement which)
{
	sqlite3_stmt *statement = db->statements[which];

	sqlite3_reset(statement);
	return statement;
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
	sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

static void bind_hash(sqlite3_stmt *statement, int at, const uint8_t hash[static 32])
{
	sqlite3_bind_blob(statement, at, hash, 32, SQLITE_STATIC);
}

/* What is bound is the caller's: it is let go once the statement is through. */
static int run_statement(struct store_db *db, sqlite3_stmt *statement)
{
	int result = sqlite3_step(statement), r = 0;

	if (result != SQLITE_DONE && result != SQLITE_ROW)
		r = fail(db, result);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

static int run_plain(struct store_db *db, enum statement which)
{
	return run_statement(db, get_statement(db, which));
}

static int run_at(struct store_db *db, enum statement which, int64_t now_s)
{
	sqlite3_stmt *statement = get_statement(db, which);

	sqlite3_bind_int64(statement, 1, now_s);
	return run_statement(db, statement);
}

int store_db_begin(struct store_db *db)
{
	db->changes_before = sqlite3_total_changes(db->handle);
	return run_plain(db, BEGIN);
}

int store_db_commit(struct store_db *db, bool *ret_changed)
{
	int r = run_plain(db, COMMIT);

	if (r < 0) {
		store_db_rollback(db);
		return r;
	}
	*ret_changed = sqlite3_total_changes(db->handle) != db->changes_before;
	return 0;
}

void store_db_rollback(struct store_db *db)
{
	/* Some errors roll back by themselves. */
	if (sqlite3_get_autocommit(db->handle))
		return;
	sqlite3_step(get_statement(db, ROLLBACK));
	sqlite3_reset(db->statements[ROLLBACK]);
}

int store_db_put_lease(struct store_db *db, const struct store_lease *lease)
{
	sqlite3_stmt *statement = get_statement(db, PUT_LEASE);
	char v4[ADDR_TEXT], v6[ADDR_TEXT];

	bind_text(statement, 1, lease->key);
	bind_text(statement, 2, lease->v4.family ? addr_print(&lease->v4, v4) : NULL);
	bind_text(statement, 3, lease->v6.family ? addr_print(&lease->v6, v6) : NULL);
	sqlite3_bind_int64(statement, 4, lease->used_at_s);
	return run_statement(db, statement);
}

static void bind_identity(sqlite3_stmt *statement, int at, const struct identity *identity)
{
	sqlite3_bind_int(statement, at, (int)identity->kind);
	bind_text(statement, at + 1, identity->name);
	bind_hash(statement, at + 2, identity->root);
}

int store_db_put_cookie(struct store_db *db, const struct store_cookie *cookie)
{
	sqlite3_stmt *statement = get_statement(db, PUT_COOKIE);

	bind_hash(statement, 1, cookie->hash);
	bind_identity(statement, 2, &cookie->identity);
	bind_text(statement, 5, cookie->lease_key);
	sqlite3_bind_int64(statement, 6, cookie->expires_at_s);
	return run_statement(db, statement);
}

int store_db_drop_cookie(struct store_db *db, const uint8_t hash[static 32])
{
	sqlite3_stmt *statement = get_statement(db, DROP_COOKIE);

	bind_hash(statement, 1, hash);
	return run_statement(db, statement);
}

static void bind_denial(sqlite3_stmt *statement, const struct trust_denial *denial)
{
	bind_hash(statement, 1, denial->issuer_hash);
	bind_text(statement, 2, denial->serial);
	bind_hash(statement, 3, denial->spki_hash);
}

/* Keeps the certificates of one identity within bounds. */
static int bound_seen(struct store_db *db, const struct identity *identity, int64_t now_s)
{
	sqlite3_stmt *statement = get_statement(db, BOUND_SEEN);

	bind_text(statement, 1, identity->name);
	sqlite3_bind_int(statement, 2, (int)identity->kind);
	bind_hash(statement, 3, identity->root);
	sqlite3_bind_int64(statement, 4, now_s);
	return run_statement(db, statement);
}

int store_db_put_seen(struct store_db *db, const struct store_seen *seen, int64_t now_s)
{
	sqlite3_stmt *statement = get_statement(db, PUT_SEEN);
	int r;

	bind_denial(statement, &seen->key);
	bind_identity(statement, 4, &seen->identity);
	bind_text(statement, 7, seen->subject);
	bind_text(statement, 8, seen->issuer);
	sqlite3_bind_int64(statement, 9, seen->first_at_s);
	sqlite3_bind_int64(statement, 10, seen->last_at_s);
	sqlite3_bind_int64(statement, 11, seen->not_after_s);
	r = run_statement(db, statement);
	return r < 0 ? r : bound_seen(db, &seen->identity, now_s);
}

int store_db_deny(struct store_db *db, const struct store_denied *denied)
{
	sqlite3_stmt *statement = get_statement(db, DENY);

	bind_denial(statement, &denied->denial);
	bind_text(statement, 4, denied->identity);
	bind_text(statement, 5, denied->subject);
	bind_text(statement, 6, denied->issuer);
	bind_text(statement, 7, denied->reason);
	sqlite3_bind_int64(statement, 8, denied->denied_at_s);
	return run_statement(db, statement);
}

int store_db_undeny(struct store_db *db, const struct trust_denial *denial)
{
	sqlite3_stmt *statement = get_statement(db, UNDENY);

	bind_hash(statement, 1, denial->issuer_hash);
	bind_text(statement, 2, denial->serial);
	return run_statement(db, statement);
}

int store_db_prune(struct store_db *db, int64_t now_s)
{
	int r = run_at(db, PURGE_COOKIES, now_s);

	if (r == 0)
		r = run_plain(db, PRUNE_LEASES);
	if (r == 0)
		r = run_at(db, PRUNE_SEEN, now_s);
	return r;
}

/* ---- opening ---- */

/* Before SQLite makes it: nobody else is to read it, and its log takes the mode over. */
static int make_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int get_number(struct store_db *db, const char *query, int *ret)
{
	sqlite3_stmt *statement = NULL;
	int result = sqlite3_prepare_v2(db->handle, query, -1, &statement, NULL), r = 0;

	if (result == SQLITE_OK)
		result = sqlite3_step(statement);
	if (result == SQLITE_ROW)
		*ret = sqlite3_column_int(statement, 0);
	else
		r = fail(db, result);
	sqlite3_finalize(statement);
	return r;
}

static int run_script(struct store_db *db, const char *script)
{
	int result = sqlite3_exec(db->handle, script, NULL, NULL, NULL);

	return result == SQLITE_OK ? 0 : fail(db, result);
}

static int make_schema(struct store_db *db)
{
	_cleanup_free_ char *marks =
		xalloc_print("PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
			     SCHEMA_VERSION);
	int r = run_script(db, schema);

	return r < 0 ? r : run_script(db, marks);
}

/* What the tables and indexes of a database are, as one text; NULL when that cannot be read. */
static char *print_schema(sqlite3 *handle)
{
	static const char query[] = "SELECT group_concat(sql, ';') FROM"
				    " (SELECT sql FROM sqlite_schema ORDER BY name, sql)";
	sqlite3_stmt *statement = NULL;
	char *text = NULL;

	if (sqlite3_prepare_v2(handle, query, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0))
		text = xalloc_string((const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	return text;
}

/* Whether the tables are those that we make, which an empty database in memory knows. */
static bool has_our_schema(struct store_db *db)
{
	_cleanup_free_ char *have = print_schema(db->handle);
	_cleanup_free_ char *want = NULL;
	sqlite3 *model = NULL;

	if (sqlite3_open(":memory:", &model) == SQLITE_OK &&
	    sqlite3_exec(model, schema, NULL, NULL, NULL) == SQLITE_OK)
		want = print_schema(model);
	sqlite3_close(model);
	return have && want && strcmp(have, want) == 0;
}

/* What is damaged may take a denial and not find it again: tables that are not ours, pages and
 * indexes that contradict each other. */
static int check_whole(struct store_db *db)
{
	static const char heading[] = "*** in database main ***\n";
	sqlite3_stmt *statement = NULL;
	const char *said = NULL;
	int r = 0;

	if (!has_our_schema(db)) {
		snprintf(db->trouble, sizeof(db->trouble), "its tables are not as tund makes them");
		return -EBADMSG;
	}
	if (sqlite3_prepare_v2(db->handle, "PRAGMA integrity_check(1)", -1, &statement, NULL) ==
		    SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		said = (const char *)sqlite3_column_text(statement, 0);
	if (!said || strcmp(said, "ok") != 0) {
		_cleanup_free_ char *text = NULL;

		if (said && strncmp(said, heading, strlen(heading)) == 0)
			said += strlen(heading);
		text = xalloc_print("damaged: %s", said ? said : sqlite3_errmsg(db->handle));
		keep_trouble(db, text);
		r = -EBADMSG;
	}
	sqlite3_finalize(statement);
	return r;
}

/* A schema of another version is neither read nor converted: that comes with the second version.
 * A new database is empty; anything else must say that it is ours. */
static int check_schema(struct store_db *db)
{
	int application = 0, version = 0, tables = 0, r;

	r = get_number(db, "PRAGMA application_id", &application);
	if (r == 0)
		r = get_number(db, "PRAGMA user_version", &version);
	if (r == 0)
		r = get_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (r < 0)
		return r;
	if (application == 0 && version == 0 && tables == 0)
		return make_schema(db);
	if (application != APPLICATION_ID) {
		snprintf(db->trouble, sizeof(db->trouble), "a database, but not tund's");
		return -EBADMSG;
	}
	if (version != SCHEMA_VERSION) {
		snprintf(db->trouble, sizeof(db->trouble),
			 "made by another tund (its schema is %d, this one knows %d)", version,
			 SCHEMA_VERSION);
		return -EOPNOTSUPP;
	}
	return check_whole(db);
}

/* All or nothing, and nobody else in between. */
static int set_up_schema(struct store_db *db)
{
	int r = run_script(db, "BEGIN IMMEDIATE");

	if (r == 0)
		r = check_schema(db);
	if (r == 0)
		r = run_script(db, "COMMIT");
	if (r < 0 && !sqlite3_get_autocommit(db->handle))
		sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

static int prepare_statements(struct store_db *db)
{
	for (int i = 0; i < STATEMENTS; i++) {
		int result = sqlite3_prepare_v3(db->handle, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
						&db->statements[i], NULL);

		if (result != SQLITE_OK)
			return fail(db, result);
	}
	return 0;
}

static int set_up(struct store_db *db, const char *path)
{
	int r = make_file(path);
	int result;

	if (r < 0) {
		snprintf(db->trouble, sizeof(db->trouble), "%s", strerror(-r));
		return r;
	}
	result = sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
				 NULL);
	if (result != SQLITE_OK)
		return fail(db, result);
	sqlite3_extended_result_codes(db->handle, 1);
	sqlite3_busy_timeout(db->handle, PREDECESSOR_MS);
	r = run_script(db, settings);
	if (r == 0)
		r = set_up_schema(db);
	if (r == 0)
		r = run_script(db, journal);
	if (r == 0)
		r = prepare_statements(db);
	return r;
}

int store_db_open(const char *directory, struct store_db **ret, char *error, size_t size)
{
	_cleanup_free_ char *path = xalloc_print("%s/state.db", directory);
	struct store_db *db = xnew(struct store_db);
	int r = set_up(db, path);

	if (r < 0) {
		snprintf(error, size, "%s: %s", path,
			 r == -EBUSY ? "in use by another tund" : db->trouble);
		store_db_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

void store_db_close(struct store_db *db)
{
	if (!db)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(db->statements[i]);
	sqlite3_close(db->handle);
	free(db);
}

/* ---- loading ---- */

static bool read_text(sqlite3_stmt *row, int column, char *ret, size_t size)
{
	const char *text = (const char *)sqlite3_column_text(row, column);

	if (!text || (size_t)sqlite3_column_bytes(row, column) >= size ||
	    strlen(text) != (size_t)sqlite3_column_bytes(row, column))
		return false;
	memcpy(ret, text, strlen(text) + 1);
	return true;
}

static bool read_hash(sqlite3_stmt *row, int column, uint8_t ret[static 32])
{
	const void *bytes = sqlite3_column_blob(row, column);

	if (!bytes || sqlite3_column_bytes(row, column) != 32)
		return false;
	memcpy(ret, bytes, 32);
	return true;
}

/* NULL is no address. */
static bool read_addr(sqlite3_stmt *row, int column, unsigned family, struct addr *ret)
{
	char text[ADDR_TEXT];

	if (sqlite3_column_type(row, column) == SQLITE_NULL)
		return true;
	return read_text(row, column, text, sizeof(text)) && addr_parse(text, ret) &&
	       ret->family == family;
}

static bool read_identity(sqlite3_stmt *row, int column, struct identity *ret)
{
	int kind = sqlite3_column_int(row, column);

	if (kind < IDENTITY_URI || kind > IDENTITY_CN)
		return false;
	ret->kind = (enum identity_kind)kind;
	return read_text(row, column + 1, ret->name, sizeof(ret->name)) &&
	       read_hash(row, column + 2, ret->root);
}

static bool read_denial(sqlite3_stmt *row, struct trust_denial *ret)
{
	return read_hash(row, 0, ret->issuer_hash) &&
	       read_text(row, 1, ret->serial, sizeof(ret->serial)) &&
	       read_hash(row, 2, ret->spki_hash);
}

static bool read_lease(sqlite3_stmt *row, void *entry)
{
	struct store_lease *lease = entry;

	lease->used_at_s = sqlite3_column_int64(row, 3);
	return read_text(row, 0, lease->key, sizeof(lease->key)) &&
	       read_addr(row, 1, 4, &lease->v4) && read_addr(row, 2, 6, &lease->v6);
}

static bool read_cookie(sqlite3_stmt *row, void *entry)
{
	struct store_cookie *cookie = entry;

	cookie->expires_at_s = sqlite3_column_int64(row, 5);
	return read_hash(row, 0, cookie->hash) && read_identity(row, 1, &cookie->identity) &&
	       read_text(row, 4, cookie->lease_key, sizeof(cookie->lease_key));
}

static bool read_denied(sqlite3_stmt *row, void *entry)
{
	struct store_denied *denied = entry;

	denied->denied_at_s = sqlite3_column_int64(row, 7);
	return read_denial(row, &denied->denial) &&
	       read_text(row, 3, denied->identity, sizeof(denied->identity)) &&
	       read_text(row, 4, denied->subject, sizeof(denied->subject)) &&
	       read_text(row, 5, denied->issuer, sizeof(denied->issuer)) &&
	       read_text(row, 6, denied->reason, sizeof(denied->reason));
}

static bool read_seen(sqlite3_stmt *row, void *entry)
{
	struct store_seen *seen = entry;

	seen->first_at_s = sqlite3_column_int64(row, 8);
	seen->last_at_s = sqlite3_column_int64(row, 9);
	seen->not_after_s = sqlite3_column_int64(row, 10);
	return read_denial(row, &seen->key) && read_identity(row, 3, &seen->identity) &&
	       read_text(row, 6, seen->subject, sizeof(seen->subject)) &&
	       read_text(row, 7, seen->issuer, sizeof(seen->issuer));
}

struct rows {
	void *entries;
	size_t count;
};

/* An entry longer than its place, or of another shape, was not written by us. */
static int load_rows(struct store_db *db, enum statement load,
		     bool (*read_entry)(sqlite3_stmt *row, void *entry), size_t entry_size,
		     struct rows *ret)
{
	sqlite3_stmt *row = db->statements[load];
	size_t cap = 0;
	int result;

	while ((result = sqlite3_step(row)) == SQLITE_ROW) {
		char *entry;

		if (ret->count == cap) {
			cap = cap ? 2 * cap : 16;
			ret->entries = xalloc_grow(ret->entries, cap, entry_size);
		}
		entry = (char *)ret->entries + ret->count * entry_size;
		memset(entry, 0, entry_size);
		if (!read_entry(row, entry)) {
			snprintf(db->trouble, sizeof(db->trouble), "holds a malformed entry");
			sqlite3_reset(row);
			return -EBADMSG;
		}
		ret->count++;
	}
	sqlite3_reset(row);
	return result == SQLITE_DONE ? 0 : fail(db, result);
}

static int load_all(struct store_db *db, int64_t now_s, struct store_state *state)
{
	struct rows leases = {0}, cookies = {0}, denied = {0}, seen = {0};
	int r;

	sqlite3_bind_int64(get_statement(db, LOAD_COOKIES), 1, now_s);
	r = load_rows(db, LOAD_LEASES, read_lease, sizeof(*state->leases), &leases);
	if (r == 0)
		r = load_rows(db, LOAD_COOKIES, read_cookie, sizeof(*state->cookies), &cookies);
	if (r == 0)
		r = load_rows(db, LOAD_DENIED, read_denied, sizeof(*state->denied), &denied);
	if (r == 0)
		r = load_rows(db, LOAD_SEEN, read_seen, sizeof(*state->seen), &seen);
	*state = (struct store_state){
		.leases = leases.entries,
		.lease_count = leases.count,
		.cookies = cookies.entries,
		.cookie_count = cookies.count,
		.denied = denied.entries,
		.denied_count = denied.count,
		.seen = seen.entries,
		.seen_count = seen.count,
	};
	return r;
}

int store_db_load(struct store_db *db, int64_t now_s, struct store_state *ret)
{
	struct store_state state;
	int r = load_all(db, now_s, &state);

	if (r < 0)
		store_state_done(&state);
	else
		*ret = state;
	return r;
}
