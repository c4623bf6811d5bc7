#include "data/flow.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum { HANDSHAKE_MTU = 1200 }; /* bytes of a handshake datagram: passes any path */

void flow_table_init(struct flow_table *table)
{
	*table = (struct flow_table){0};
	replica_init(&table->replica);
}

void flow_table_done(struct flow_table *table)
{
	replica_done(&table->replica);
	timers_done(&table->due);
	*table = (struct flow_table){0};
}

/* ---- lookups ---- */

static struct flow_path_key make_key(const struct udp_path *path, unsigned socket)
{
	struct addr peer = addr_of_endpoint(&path->peer);
	struct flow_path_key key = {
		.peer_port = addr_port(&path->peer),
		.socket = (uint16_t)socket,
	};

	memcpy(key.peer, peer.bytes, sizeof(key.peer));
	memcpy(key.local, path->local.bytes, sizeof(key.local));
	return key;
}

struct flow_assoc *flow_by_path(struct flow_table *table, const struct udp_path *path,
				unsigned socket)
{
	struct flow_path_key key = make_key(path, socket);
	struct flow_path *found;

	HASH_FIND(hh, table->paths, &key, sizeof(key), found);
	return found ? found->first : NULL;
}

struct flow *flow_find(struct flow_table *table, uint64_t id)
{
	struct flow *found;

	HASH_FIND(hh, table->flows, &id, sizeof(id), found);
	return found;
}

struct flow *flow_of_session(struct flow_table *table, uint64_t session)
{
	struct replica_entry *entry = replica_find(&table->replica, session);

	return entry ? entry->flows : NULL;
}

struct flow *flow_by_app_id(struct flow_table *table, const uint8_t *app_id)
{
	struct replica_entry *entry = replica_by_app_id(&table->replica, app_id);

	return entry ? entry->here : NULL;
}

struct flow *flow_for_hello(struct flow_table *table, const uint8_t *app_id, int64_t now_us)
{
	struct replica_entry *entry = replica_by_app_id(&table->replica, app_id);

	if (!entry || entry->here)
		return entry ? entry->here : NULL;
	return entry->guest ? entry->guest : flow_new_guest(table, entry, now_us);
}

struct flow *flow_by_inner(struct flow_table *table, unsigned family, const uint8_t *address)
{
	struct replica_entry *entry = replica_by_inner(&table->replica, family, address);

	return entry ? entry->here : NULL;
}

bool flow_owns(const struct flow *flow, unsigned family, const uint8_t *address)
{
	struct addr addr = addr_of_bytes(family, address);

	return prefix_list_contains(&flow->spec.own, &addr);
}

/* ---- awake and asleep ---- */

void flow_wake(struct flow_table *table, struct flow *flow)
{
	timers_cancel(&table->due, &flow->due);
	DL_APPEND2(table->awake, flow, prev_awake, next_awake);
	flow->awake = true;
}

static void leave_awake(struct flow_table *table, struct flow *flow)
{
	if (flow->awake)
		DL_DELETE2(table->awake, flow, prev_awake, next_awake);
	flow->awake = false;
}

void flow_sleep(struct flow_table *table, struct flow *flow, int64_t due_us)
{
	if (flow->active)
		dtls_rest(flow->active->dtls);
	tls_rest(flow->spec.tls);
	leave_awake(table, flow);
	if (due_us != INT64_MAX)
		timers_set(&table->due, &flow->due, due_us);
}

struct flow *flow_wake_due(struct flow_table *table, int64_t now_us)
{
	struct timers_entry *entry = timers_take(&table->due, now_us);
	struct flow *flow;

	if (!entry)
		return NULL;
	flow = (struct flow *)((char *)entry - offsetof(struct flow, due));
	flow_wake(table, flow);
	return flow;
}

/* ---- associations ---- */

static void enter_path(struct flow_table *table, struct flow_assoc *assoc, unsigned socket)
{
	struct flow_path_key key = make_key(&assoc->path, socket);
	struct flow_path *at;

	HASH_FIND(hh, table->paths, &key, sizeof(key), at);
	if (!at) {
		at = xnew(struct flow_path);
		at->key = key;
		HASH_ADD(hh, table->paths, key, sizeof(key), at);
	}
	assoc->at = at;
	assoc->next = at->first;
	at->first = assoc;
	table->path_changes++;
}

static void leave_path(struct flow_table *table, struct flow_assoc *assoc)
{
	struct flow_path *at = assoc->at;
	struct flow_assoc **link = &at->first;

	table->path_changes++;
	while (*link != assoc)
		link = &(*link)->next;
	*link = assoc->next;
	if (at->first)
		return;
	HASH_DEL(table->paths, at);
	free(at);
}

/* A record of this association, into its worker's batch. */
static void on_record(void *user, const uint8_t *bytes, size_t len)
{
	struct flow_assoc *assoc = user;

	batch_add(assoc->batch, assoc->socket, &assoc->path, bytes, len);
}

void flow_drop_assoc(struct flow_table *table, struct flow_assoc *assoc)
{
	struct flow *flow;

	if (!assoc)
		return;
	flow = assoc->flow;
	if (flow->active == assoc)
		flow->active = NULL;
	if (flow->candidate == assoc)
		flow->candidate = NULL;
	if (flow->older == assoc)
		flow->older = NULL;
	leave_path(table, assoc);
	dtls_free(assoc->dtls);
	free(assoc);
}

struct flow_assoc *flow_add_candidate(struct flow_table *table, struct flow *flow,
				      struct dtls_setup *setup, bool is_server, bool verify_hello,
				      const struct udp_path *path, unsigned socket_index,
				      struct batch *batch, struct batch_socket *socket,
				      int64_t now_us)
{
	struct flow_assoc *assoc = xnew(struct flow_assoc);
	struct addr peer = addr_of_endpoint(&path->peer);
	uint16_t port = addr_port(&path->peer);
	uint8_t peer_bytes[18];

	memcpy(peer_bytes, peer.bytes, 16);
	memcpy(peer_bytes + 16, &port, 2);
	*assoc = (struct flow_assoc){
		.flow = flow,
		.batch = batch,
		.socket = socket,
		.path = *path,
		.started_us = now_us,
		.heard_us = now_us,
	};
	assoc->dtls = dtls_new(setup, is_server,
			       &(struct dtls_options){
				       .psk = flow->spec.psk,
				       .app_id = flow->spec.app_id,
				       .app_id_len = flow->spec.app_id_len,
				       .write = on_record,
				       .user = assoc,
				       .peer = peer_bytes,
				       .verify_hello = verify_hello,
				       .mtu = HANDSHAKE_MTU,
				       .plain_psk = !flow->spec.peer_is_tund,
			       });
	if (!assoc->dtls) {
		free(assoc);
		return NULL;
	}
	flow_drop_assoc(table, flow->candidate);
	flow->candidate = assoc;
	enter_path(table, assoc, socket_index);
	flow_touch(table, flow);
	return assoc;
}

/* The caller has made room in flow->older (flow_drop_retired). */
void flow_promote(struct flow *flow, int64_t now_us)
{
	if (flow->active)
		flow->active->retired_us = now_us;
	flow->older = flow->active;
	flow->active = flow->candidate;
	flow->candidate = NULL;
	flow->udp_dead = false;
	flow->udp = (struct flow_pulse){.heard_us = now_us, .sent_us = now_us};
}

void flow_drop_retired(struct flow_table *table, struct flow *flow, int64_t then_us)
{
	if (flow->older && flow->older->retired_us <= then_us)
		flow_drop_assoc(table, flow->older);
}

/* ---- the flow ---- */

void flow_spec_done(struct flow_spec *spec)
{
	tls_free(spec->tls);
	prefix_list_done(&spec->own);
	access_free(spec->access);
	buf_wipe(&spec->greeting);
	buf_wipe(&spec->early);
	free(spec->name);
	explicit_bzero(spec, sizeof(*spec));
}

static struct prefix_list copy_prefixes(const struct prefix_list *list)
{
	struct prefix_list copy = {0};

	for (size_t i = 0; i < list->count; i++)
		prefix_list_add(&copy, &list->items[i]);
	return copy;
}

struct flow_spec flow_spec_copy(const struct flow_spec *spec)
{
	struct flow_spec copy = *spec;

	copy.tls = NULL;
	copy.greeting = copy.early = (struct buf){0};
	copy.name = spec->name ? xalloc_string(spec->name) : NULL;
	copy.own = copy_prefixes(&spec->own);
	copy.access = spec->access ? access_ref(spec->access) : NULL;
	return copy;
}

/* Takes spec. */
static struct flow *add_flow(struct flow_table *table, struct replica_entry *entry,
			     struct flow_spec *spec, int64_t now_us)
{
	struct flow *flow = xnew(struct flow);

	flow->spec = *spec;
	*spec = (struct flow_spec){0};
	flow->mtu = flow->spec.mtu;
	flow->tcp = (struct flow_pulse){.heard_us = now_us, .sent_us = now_us};
	flow->carried_us = now_us;
	flow->entry = entry;
	flow->next_of_session = entry->flows;
	entry->flows = flow;
	HASH_ADD(hh, table->flows, spec.id, sizeof(flow->spec.id), flow);
	flow_touch(table, flow);
	return flow;
}

struct flow *flow_new(struct flow_table *table, struct flow_spec *spec, int64_t now_us)
{
	struct replica_entry *entry = replica_of(&table->replica, spec->session);
	struct flow *flow = add_flow(table, entry, spec, now_us);

	replica_place_here(&table->replica, entry, flow);
	return flow;
}

static void leave_lookups(struct flow_table *table, struct flow *flow)
{
	if (flow->entry->here == flow)
		replica_vacate(&table->replica, flow->entry);
	if (flow->entry->guest == flow)
		flow->entry->guest = NULL;
}

void flow_drain(struct flow_table *table, struct flow *flow, int64_t until_us)
{
	if (flow->state == FLOW_DRAINING)
		return;
	leave_lookups(table, flow);
	flow_drop_assoc(table, flow->candidate);
	flow->state = FLOW_DRAINING;
	flow->drain_until_us = until_us;
	flow_touch(table, flow);
}

void flow_set_rules(struct flow_table *table, struct flow *flow, struct prefix_list *own,
		    struct access *access)
{
	struct access *old = flow->spec.access;
	bool is_found = flow->entry->here == flow;

	if (is_found)
		replica_leave_inner(&table->replica, flow->entry);
	prefix_list_done(&flow->spec.own);
	flow->spec.own = *own;
	*own = (struct prefix_list){0};
	if (is_found)
		replica_enter_inner(&table->replica, flow->entry);
	flow->spec.access = access_ref(access);
	access_free(old);
}

/* Of a flow that another worker has. */
static void set_known_rules(struct flow_table *table, struct replica_entry *entry,
			    const struct prefix_list *own, struct access *access)
{
	replica_leave_inner(&table->replica, entry);
	prefix_list_done(&entry->spec->own);
	entry->spec->own = copy_prefixes(own);
	replica_enter_inner(&table->replica, entry);
	access_free(entry->spec->access);
	entry->spec->access = access_ref(access);
}

void flow_set_session_rules(struct flow_table *table, uint64_t session,
			    const struct prefix_list *own, struct access *access)
{
	struct replica_entry *entry = replica_find(&table->replica, session);

	if (!entry)
		return;
	if (entry->spec && !entry->here)
		set_known_rules(table, entry, own, access);
	for (struct flow *flow = entry->flows; flow; flow = flow->next_of_session) {
		struct prefix_list copy = copy_prefixes(own);

		flow_set_rules(table, flow, &copy, access);
	}
}

static void leave_session(struct flow_table *table, struct flow *flow)
{
	struct flow **link = &flow->entry->flows;

	while (*link != flow)
		link = &(*link)->next_of_session;
	*link = flow->next_of_session;
	replica_release(&table->replica, flow->entry);
}

/* A new name puts a flow behind all others, too. */
static void leave_walk(struct flow_table *table, const struct flow *flow, bool renamed)
{
	if (table->cursor == flow && (flow->hh.next || !renamed))
		table->cursor = flow->hh.next;
}

struct tls *flow_free(struct flow_table *table, struct flow *flow)
{
	struct tls *tls;

	leave_lookups(table, flow);
	flow_drop_assoc(table, flow->candidate);
	flow_drop_assoc(table, flow->active);
	flow_drop_assoc(table, flow->older);
	timers_cancel(&table->due, &flow->due);
	leave_awake(table, flow);
	leave_session(table, flow);
	leave_walk(table, flow, false);
	HASH_DEL(table->flows, flow);
	tls = take(flow->spec.tls);
	flow_spec_done(&flow->spec);
	explicit_bzero(flow, sizeof(*flow));
	free(flow);
	return tls;
}

/* ---- from worker to worker ---- */

struct flow *flow_new_guest(struct flow_table *table, struct replica_entry *entry, int64_t now_us)
{
	struct flow_spec spec = flow_spec_copy(entry->spec);
	struct flow *flow = add_flow(table, entry, &spec, now_us);

	flow->state = FLOW_GUEST;
	entry->guest = flow;
	return flow;
}

/* The shell needs an id of its own: the flow may come back. */
static void rename_shell(struct flow_table *table, struct flow *flow)
{
	leave_walk(table, flow, true);
	HASH_DEL(table->flows, flow);
	flow->spec.id = FLOW_SHELL | ++table->shells;
	HASH_ADD(hh, table->flows, spec.id, sizeof(flow->spec.id), flow);
}

struct flow_spec flow_leave(struct flow_table *table, struct flow *flow, unsigned worker,
			    int64_t now_us, int64_t until_us)
{
	struct flow_spec shell = flow_spec_copy(&flow->spec);
	struct flow_spec known = flow_spec_copy(&flow->spec), leaving;
	struct flow_assoc *candidate = take(flow->candidate);

	replica_place_there(&table->replica, flow->entry, &known, worker);
	flow_drain(table, flow, until_us);
	leaving = flow->spec;
	flow->spec = shell;
	flow->traffic = (struct flow_traffic){0};
	rename_shell(table, flow);
	if (candidate) {
		candidate->flow = flow_new_guest(table, flow->entry, now_us);
		candidate->flow->candidate = candidate;
	}
	return leaving;
}

static void replace_rules(struct flow_spec *spec, struct prefix_list own, struct access *access)
{
	prefix_list_done(&spec->own);
	access_free(spec->access);
	spec->own = own;
	spec->access = access;
}

void flow_take_spec(struct flow *guest, struct flow_spec *spec)
{
	replace_rules(spec, guest->spec.own, take(guest->spec.access));
	guest->spec.own = (struct prefix_list){0};
	flow_spec_done(&guest->spec);
	guest->spec = *spec;
	*spec = (struct flow_spec){0};
}

void flow_settle(struct flow_table *table, struct flow *guest)
{
	guest->state = FLOW_OPEN;
	replica_place_here(&table->replica, guest->entry, guest);
}

struct flow *flow_new_stray(struct flow_table *table, struct replica_entry *entry,
			    struct flow_spec *spec, int64_t now_us)
{
	replace_rules(spec, copy_prefixes(&entry->spec->own), access_ref(entry->spec->access));
	return add_flow(table, entry, spec, now_us);
}

void flow_add_traffic(struct flow_traffic *sum, const struct flow_traffic *more)
{
	sum->rx_bytes += more->rx_bytes;
	sum->tx_bytes += more->tx_bytes;
	sum->rx_packets += more->rx_packets;
	sum->tx_packets += more->tx_packets;
}

void flow_count_drop(struct flow *flow, struct counts *counts, enum count why)
{
	counts->of[why]++;
	if (flow)
		flow->drops[why - COUNT_FIRST_DROP]++;
}
