#include "data/flow.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum { HANDSHAKE_MTU = 1200 }; /* bytes of a handshake datagram: passes any path */

void flow_table_init(struct flow_table *table)
{
	*table = (struct flow_table){.by_inner = prefix_map_new()};
}

void flow_table_done(struct flow_table *table)
{
	prefix_map_free(table->by_inner);
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

struct flow *flow_by_app_id(struct flow_table *table, const uint8_t *app_id)
{
	struct flow *found;

	HASH_FIND(hh_app, table->by_app_id, app_id, DTLS_APP_ID, found);
	return found;
}

struct flow *flow_by_inner(struct flow_table *table, unsigned family, const uint8_t *address)
{
	return prefix_map_find(table->by_inner, family, address);
}

bool flow_owns(const struct flow *flow, unsigned family, const uint8_t *address)
{
	struct addr addr = addr_of_bytes(family, address);

	return prefix_list_contains(&flow->spec.own, &addr);
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
}

static void leave_path(struct flow_table *table, struct flow_assoc *assoc)
{
	struct flow_path *at = assoc->at;
	struct flow_assoc **link = &at->first;

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

static void enter_inner(struct flow_table *table, struct flow *flow)
{
	for (size_t i = 0; i < flow->spec.own.count; i++)
		prefix_map_set(table->by_inner, &flow->spec.own.items[i], flow);
}

static void leave_inner(struct flow_table *table, struct flow *flow)
{
	for (size_t i = 0; i < flow->spec.own.count; i++)
		prefix_map_remove(table->by_inner, &flow->spec.own.items[i], flow);
}

static void enter_lookups(struct flow_table *table, struct flow *flow)
{
	enter_inner(table, flow);
	if (flow->spec.app_id_len == DTLS_APP_ID)
		HASH_ADD_KEYPTR(hh_app, table->by_app_id, flow->spec.app_id, DTLS_APP_ID, flow);
}

static void leave_lookups(struct flow_table *table, struct flow *flow)
{
	leave_inner(table, flow);
	if (flow->state == FLOW_OPEN && flow->spec.app_id_len == DTLS_APP_ID)
		HASH_DELETE(hh_app, table->by_app_id, flow);
}

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

struct flow *flow_new(struct flow_table *table, struct flow_spec *spec, int64_t now_us)
{
	struct flow *flow = xnew(struct flow);

	flow->spec = *spec;
	*spec = (struct flow_spec){0};
	flow->mtu = flow->spec.mtu;
	flow->tcp = (struct flow_pulse){.heard_us = now_us, .sent_us = now_us};
	flow->carried_us = now_us;
	HASH_ADD(hh, table->flows, spec.id, sizeof(flow->spec.id), flow);
	enter_lookups(table, flow);
	return flow;
}

void flow_drain(struct flow_table *table, struct flow *flow, int64_t until_us)
{
	if (flow->state == FLOW_DRAINING)
		return;
	leave_lookups(table, flow);
	flow_drop_assoc(table, flow->candidate);
	flow->state = FLOW_DRAINING;
	flow->drain_until_us = until_us;
}

void flow_set_rules(struct flow_table *table, struct flow *flow, struct prefix_list *own,
		    struct access *access)
{
	struct access *old = flow->spec.access;

	if (flow->state == FLOW_OPEN)
		leave_inner(table, flow);
	prefix_list_done(&flow->spec.own);
	flow->spec.own = *own;
	*own = (struct prefix_list){0};
	if (flow->state == FLOW_OPEN)
		enter_inner(table, flow);
	flow->spec.access = access_ref(access);
	access_free(old);
}

struct tls *flow_free(struct flow_table *table, struct flow *flow)
{
	struct tls *tls;

	leave_lookups(table, flow);
	flow_drop_assoc(table, flow->candidate);
	flow_drop_assoc(table, flow->active);
	flow_drop_assoc(table, flow->older);
	HASH_DEL(table->flows, flow);
	tls = take(flow->spec.tls);
	flow_spec_done(&flow->spec);
	explicit_bzero(flow, sizeof(*flow));
	free(flow);
	return tls;
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
