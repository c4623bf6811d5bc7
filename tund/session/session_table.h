#pragma once
/* All sessions, found by id, cookie and identity. Main thread. */

#include <stddef.h>

#include "session/session.h"

struct session_table {
	struct session *sessions;  /* by id, oldest first */
	struct session *by_cookie; /* by hash */
	struct session *by_name;   /* the oldest of a name; others follow by next_of_name */
	struct session *links;	   /* of sites; others follow by next_link */
	struct timers late;	   /* microseconds of clock_now_us */
	struct timers expiring;	   /* seconds of the wall clock */
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
/* The oldest session of a name, of whatever kind and root, or NULL. */
struct session *session_table_by_name(const struct session_table *table, const char *name);
/* The next session of an identity after `after` (NULL: the first). */
struct session *session_table_by_identity(const struct session_table *table,
					  const struct identity *identity, struct session *after);

/* site NULL: it is none's link any more. */
void session_table_set_site(struct session_table *table, struct session *session,
			    const struct config_access *site);
/* PENDING or AWAY: it is given up then, unless it is open by that time. */
void session_table_give_up_at(struct session_table *table, struct session *session,
			      int64_t until_us);
/* The certificate that it stands on, or an authority of it, ends then. */
void session_table_expire_at(struct session_table *table, struct session *session, time_t at);
/* One that is due by now, each once; NULL: none is. */
struct session *session_table_take_late(struct session_table *table, int64_t now_us);
struct session *session_table_take_expired(struct session_table *table, time_t now);
void session_table_done(struct session_table *table); /* with all sessions */
