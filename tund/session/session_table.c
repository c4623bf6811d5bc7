#include "session/session_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

struct session *session_table_add(struct session_table *table, const struct identity *identity)
{
	struct session *session = xnew(struct session);

	session->id = ++table->next_id;
	session->identity = *identity;
	HASH_ADD(hh, table->sessions, id, sizeof(session->id), session);
	return session;
}

void session_table_remove(struct session_table *table, struct session *session)
{
	if (session->has_cookie)
		HASH_DELETE(hh_cookie, table->by_cookie, session);
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

struct session *session_table_by_identity(const struct session_table *table,
					  const struct identity *identity, struct session *after)
{
	struct session *session = after ? after->hh.next : table->sessions;

	while (session && !identity_equal(&session->identity, identity))
		session = session->hh.next;
	return session;
}
