#include "session/session_table.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/xalloc.h"

/* ---- by name ---- */

struct session *session_table_by_name(const struct session_table *table, const char *name)
{
	struct session *found;

	HASH_FIND(hh_name, table->by_name, name, strlen(name), found);
	return found;
}

/* Behind the others of its name: these are few, 8 logins and places that were allowed. */
static void enter_name(struct session_table *table, struct session *session)
{
	const char *name = session->identity.name;
	struct session *last = session_table_by_name(table, name);

	if (!last) {
		HASH_ADD_KEYPTR(hh_name, table->by_name, name, strlen(name), session);
		return;
	}
	while (last->next_of_name)
		last = last->next_of_name;
	last->next_of_name = session;
}

static void leave_name(struct session_table *table, struct session *session)
{
	struct session *first = session_table_by_name(table, session->identity.name);
	struct session *next = session->next_of_name;

	if (first == session) {
		HASH_DELETE(hh_name, table->by_name, session);
		if (next)
			HASH_ADD_KEYPTR(hh_name, table->by_name, next->identity.name,
					strlen(next->identity.name), next);
		return;
	}
	while (first->next_of_name != session)
		first = first->next_of_name;
	first->next_of_name = next;
}

struct session *session_table_by_identity(const struct session_table *table,
					  const struct identity *identity, struct session *after)
{
	struct session *session =
		after ? after->next_of_name : session_table_by_name(table, identity->name);

	while (session && !identity_equal(&session->identity, identity))
		session = session->next_of_name;
	return session;
}

/* ---- all of them ---- */

struct session *session_table_add(struct session_table *table, const struct identity *identity)
{
	struct session *session = xnew(struct session);

	session->id = ++table->next_id;
	session->identity = *identity;
	HASH_ADD(hh, table->sessions, id, sizeof(session->id), session);
	enter_name(table, session);
	return session;
}

void session_table_remove(struct session_table *table, struct session *session)
{
	if (session->has_cookie)
		HASH_DELETE(hh_cookie, table->by_cookie, session);
	session_table_set_site(table, session, NULL);
	timers_cancel(&table->late, &session->late);
	timers_cancel(&table->expiring, &session->expiry);
	leave_name(table, session);
	HASH_DEL(table->sessions, session);
	identity_cert_unref(session->cert);
	X509_free(session->leaf);
	sk_X509_pop_free(session->untrusted, X509_free);
	free(session->blocks);
	explicit_bzero(session, sizeof(*session));
	free(session);
}

void session_table_set_cookie(struct session_table *table, struct session *session,
			      const uint8_t hash[static SESSION_COOKIE])
{
	memcpy(session->cookie_hash, hash, SESSION_COOKIE);
	session->has_cookie = true;
	HASH_ADD(hh_cookie, table->by_cookie, cookie_hash, SESSION_COOKIE, session);
}

struct session *session_table_find(const struct session_table *table, uint64_t id)
{
	struct session *found;

	HASH_FIND(hh, table->sessions, &id, sizeof(id), found);
	return found;
}

struct session *session_table_by_cookie(const struct session_table *table,
					const uint8_t hash[static SESSION_COOKIE])
{
	struct session *found;

	HASH_FIND(hh_cookie, table->by_cookie, hash, SESSION_COOKIE, found);
	return found;
}

void session_table_done(struct session_table *table)
{
	struct session *session, *next;

	HASH_ITER(hh, table->sessions, session, next)
	session_table_remove(table, session);
	timers_done(&table->late);
	timers_done(&table->expiring);
}

/* ---- links of sites ---- */

void session_table_set_site(struct session_table *table, struct session *session,
			    const struct config_access *site)
{
	if (session->site && !site)
		DL_DELETE2(table->links, session, prev_link, next_link);
	else if (!session->site && site)
		DL_APPEND2(table->links, session, prev_link, next_link);
	session->site = site;
}

/* ---- what ends by itself ---- */

void session_table_give_up_at(struct session_table *table, struct session *session,
			      int64_t until_us)
{
	session->until_us = until_us;
	timers_set(&table->late, &session->late, until_us);
}

void session_table_expire_at(struct session_table *table, struct session *session, time_t at)
{
	session->expires_at = at;
	timers_set(&table->expiring, &session->expiry, at);
}

struct session *session_table_take_late(struct session_table *table, int64_t now_us)
{
	struct timers_entry *entry = timers_take(&table->late, now_us);

	return entry ? (struct session *)((char *)entry - offsetof(struct session, late)) : NULL;
}

struct session *session_table_take_expired(struct session_table *table, time_t now)
{
	struct timers_entry *entry = timers_take(&table->expiring, now);

	return entry ? (struct session *)((char *)entry - offsetof(struct session, expiry)) : NULL;
}
