#pragma once
/* All sessions, found by id, cookie and identity. Main thread. */

#include <stddef.h>

#include "session/session.h"

struct session_table {
	struct session *sessions;  /* by id, oldest first */
	struct session *by_cookie; /* by hash */
	uint64_t next_id;
	size_t open; /* in state OPEN or AWAY */
};

struct session *session_table_add(struct session_table *table, const struct identity *identity);
/* Out of the table, freed; its lease has been released. */
void session_table_remove(struct session_table *table, struct session *session);
void session_table_set_cookie(struct session_table *table, struct session *session,
			      const uint8_t hash[static SESSION_COOKIE]);

struct session *session_table_find(const struct session_table *table, uint64_t id);
struct session *session_table_by_cookie(const struct session_table *table,
					const uint8_t hash[static SESSION_COOKIE]);
/* The next session of an identity after `after` (NULL: the first). */
struct session *session_table_by_identity(const struct session_table *table,
					  const struct identity *identity, struct session *after);
