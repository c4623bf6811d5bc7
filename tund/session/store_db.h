#pragma once
/* The database behind the store: schema, statements, transactions. Blocks; the store's thread alone
 * calls it. Functions return 0 or -errno; the text of the last failure is kept. */

#include "session/store.h"

enum { STORE_DB_TROUBLE = 160 }; /* bytes of a text */

struct store_db;

/* Opens or makes DIRECTORY/state.db and takes it for itself: a predecessor gets 3 seconds to end.
 */
int store_db_open(const char *directory, struct store_db **ret, char *error, size_t size);
void store_db_close(struct store_db *db); /* NULL is fine */
/* Everything but cookies whose time has passed. */
int store_db_load(struct store_db *db, int64_t now_s, struct store_state *ret);

int store_db_begin(struct store_db *db);
/* On failure nothing of the transaction stays. *ret_changed: whether there was anything to write.
 */
int store_db_commit(struct store_db *db, bool *ret_changed);
void store_db_rollback(struct store_db *db);
const char *store_db_trouble(const struct store_db *db); /* one line */

int store_db_put_lease(struct store_db *db, const struct store_lease *lease);
int store_db_put_cookie(struct store_db *db, const struct store_cookie *cookie);
int store_db_drop_cookie(struct store_db *db, const uint8_t hash[static 32]);
int store_db_put_seen(struct store_db *db, const struct store_seen *seen, int64_t now_s);
int store_db_deny(struct store_db *db, const struct store_denied *denied);
int store_db_undeny(struct store_db *db, const struct trust_denial *denial);
/* Drops cookies whose time has passed, and the oldest of what has grown beyond its bounds. */
int store_db_prune(struct store_db *db, int64_t now_s);
