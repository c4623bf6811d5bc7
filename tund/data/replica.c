#include "data/replica.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "data/flow.h"

void replica_init(struct replica *replica)
{
	*replica = (struct replica){.by_inner = prefix_map_new()};
}

void replica_done(struct replica *replica)
{
	struct replica_entry *entry, *next;

	HASH_ITER(hh, replica->by_session, entry, next)
	{
		replica_vacate(replica, entry);
		replica_release(replica, entry);
	}
	prefix_map_free(replica->by_inner);
	*replica = (struct replica){0};
}

/* ---- lookups ---- */

struct replica_entry *replica_find(struct replica *replica, uint64_t session)
{
	struct replica_entry *found;

	HASH_FIND(hh, replica->by_session, &session, sizeof(session), found);
	return found;
}

struct replica_entry *replica_by_inner(struct replica *replica, unsigned family,
				       const uint8_t *address)
{
	return prefix_map_find(replica->by_inner, family, address);
}

struct replica_entry *replica_by_app_id(struct replica *replica, const uint8_t *app_id)
{
	struct replica_entry *found;

	HASH_FIND(hh_app, replica->by_app_id, app_id, DTLS_APP_ID, found);
	return found;
}

struct replica_entry *replica_of(struct replica *replica, uint64_t session)
{
	struct replica_entry *entry = replica_find(replica, session);

	if (entry)
		return entry;
	entry = xnew(struct replica_entry);
	entry->session = session;
	HASH_ADD(hh, replica->by_session, session, sizeof(entry->session), entry);
	return entry;
}

void replica_release(struct replica *replica, struct replica_entry *entry)
{
	if (entry->spec || entry->flows)
		return;
	HASH_DEL(replica->by_session, entry);
	free(entry);
}

/* ---- who carries it ---- */

void replica_enter_inner(struct replica *replica, struct replica_entry *entry)
{
	for (size_t i = 0; i < entry->spec->own.count; i++)
		prefix_map_set(replica->by_inner, &entry->spec->own.items[i], entry);
}

void replica_leave_inner(struct replica *replica, struct replica_entry *entry)
{
	for (size_t i = 0; i < entry->spec->own.count; i++)
		prefix_map_remove(replica->by_inner, &entry->spec->own.items[i], entry);
}

static void enter_lookups(struct replica *replica, struct replica_entry *entry)
{
	replica_enter_inner(replica, entry);
	entry->has_app_id = entry->spec->app_id_len == DTLS_APP_ID;
	if (!entry->has_app_id)
		return;
	memcpy(entry->app_id, entry->spec->app_id, DTLS_APP_ID);
	HASH_ADD(hh_app, replica->by_app_id, app_id, DTLS_APP_ID, entry);
}

void replica_vacate(struct replica *replica, struct replica_entry *entry)
{
	if (!entry->spec)
		return;
	replica_leave_inner(replica, entry);
	if (entry->has_app_id)
		HASH_DELETE(hh_app, replica->by_app_id, entry);
	entry->has_app_id = false;
	if (!entry->here) {
		flow_spec_done(entry->spec);
		free(entry->spec);
	}
	entry->spec = NULL;
	entry->here = entry->guest = NULL;
}

void replica_place_here(struct replica *replica, struct replica_entry *entry, struct flow *flow)
{
	replica_vacate(replica, entry);
	entry->spec = &flow->spec;
	entry->here = flow;
	enter_lookups(replica, entry);
}

void replica_place_there(struct replica *replica, struct replica_entry *entry,
			 struct flow_spec *spec, unsigned worker)
{
	replica_vacate(replica, entry);
	entry->spec = xnew(struct flow_spec);
	*entry->spec = *spec;
	*spec = (struct flow_spec){0};
	entry->worker = worker;
	enter_lookups(replica, entry);
}
