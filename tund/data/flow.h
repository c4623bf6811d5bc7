#pragma once
/* The data half of a connection, owned by one worker: its channels, its access, its counters; and
 * the table by which a packet finds it.
 *
 *	FLOW_OPEN ──replaced by the same session's next flow──▶ FLOW_DRAINING ──quiet, old──▶ freed
 *	    └──────────cut, ended──────────▶ freed at once; its TLS channel lingers to say why
 *
 * An association is one DTLS handshake's result. Of a flow's associations one is active (it sends),
 * at most one is a candidate (handshaking; the App-ID in its hello proves nothing), and older ones
 * only receive until they are freed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>
#include <uv.h>

#include "base/prefix.h"
#include "base/prefix_map.h"
#include "base/rate.h"
#include "base/reason.h"
#include "channel/dtls.h"
#include "channel/tls.h"
#include "data/access.h"
#include "data/batch.h"
#include "data/count.h"

struct flow;

struct flow_path_key { /* no padding: compared as bytes */
	uint8_t peer[16], local[16];
	uint16_t peer_port, socket;
	uint32_t zero;
};

struct flow_path { /* associations of one path, newest first; nearly always one */
	struct flow_path_key key;
	struct flow_assoc *first;
	UT_hash_handle hh;
};

struct flow_assoc {
	struct flow *flow;
	struct dtls *dtls;
	struct batch *batch;
	struct batch_socket *socket;
	struct udp_path path;
	struct flow_path *at;
	struct flow_assoc *next; /* of the same path */
	int64_t started_us, heard_us;
	int64_t retired_us; /* 0, or when another became the active one */
};

/* Whether one channel's peer is alive. */
struct flow_pulse {
	int64_t heard_us, sent_us, probed_us;
	int64_t asking_us;   /* when the first unanswered probe left */
	int64_t rtt_us;	     /* smoothed; 0: not known */
	unsigned unanswered; /* probes since the last answer */
};

/* Finding the largest packet that DTLS carries, by padded DPD requests. */
struct flow_mtu_probe {
	unsigned size;	    /* inner bytes asked for now; 0: not probing */
	unsigned low, high; /* known to pass (or least), not tried or known not to */
	bool answered;	    /* something has passed */
	unsigned tries;
	uint32_t mark;
	int64_t sent_us;
};

struct flow_traffic {
	uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets; /* inner */
};

/* Everything a worker is given; it takes all pointers. */
struct flow_spec {
	uint64_t id, session;
	uint64_t replaces; /* flow of the same session that drains from now on, or 0 */
	char *name;	   /* for the log */
	struct tls *tls;
	struct buf greeting; /* sent first, as one record */
	struct buf early;    /* received already: the first record */
	bool has_dtls;
	uint8_t psk[TLS_PSK];
	uint8_t app_id[DTLS_APP_ID];
	size_t app_id_len;
	struct udp_path path; /* client: where the hello goes */
	struct prefix_list
		own; /* inner addresses and networks behind the device (or, client: ours) */
	struct access *access;
	unsigned mtu;		      /* inner */
	int64_t dpd_us, keepalive_us; /* 0: never */
	int64_t idle_us;
	bool is_site;	   /* a gateway's: it may be silent for as long as it is */
	bool peer_is_tund; /* it echoes padded DPDs, and follows data from channel to channel */
};

enum flow_state { FLOW_OPEN, FLOW_DRAINING };

struct flow {
	struct flow_spec spec;
	enum flow_state state;
	struct flow_assoc *active, *candidate, *older;
	bool over_dtls;	  /* where data goes */
	bool udp_dead;	  /* nothing is heard on the active association */
	bool contested;	  /* more hellos name it than one client sends: addresses are verified first
			   */
	bool pending_tls; /* in the worker's list of channels to flush */
	unsigned mtu;
	struct flow_pulse tcp, udp;
	struct flow_mtu_probe probe;
	struct flow_traffic traffic;
	uint64_t drops[COUNT_MAX - COUNT_FIRST_DROP];
	struct rate hello_rate, error_rate;
	int64_t carried_us;   /* last data in either direction */
	int64_t foreign_us;   /* when a foreign source was last named in the log; 0: never */
	int64_t next_dtls_us; /* client: when to try next */
	int64_t drain_until_us;
	uv_poll_t *poll;
	int poll_events;
	void *worker;
	struct flow *next_pending;
	UT_hash_handle hh, hh_app;
};

struct flow_table {
	struct flow *flows; /* by id */
	struct flow *by_app_id;
	struct flow_path *paths;
	struct prefix_map *by_inner;
};

void flow_table_init(struct flow_table *table);
void flow_table_done(struct flow_table *table); /* empty by now */

/* What no flow has taken; the TLS channel, too. */
void flow_spec_done(struct flow_spec *spec);

/* Takes everything in spec, enters the flow under its inner addresses and App-ID. */
struct flow *flow_new(struct flow_table *table, struct flow_spec *spec, int64_t now_us);
/* Out of every lookup, keys wiped, freed; the TLS channel is handed to the caller. */
struct tls *flow_free(struct flow_table *table, struct flow *flow);
/* Another flow has its addresses now: it only receives until drain_until_us. */
void flow_drain(struct flow_table *table, struct flow *flow, int64_t until_us);

/* Takes own; one owner more of access. In force for the next packet. */
void flow_set_rules(struct flow_table *table, struct flow *flow, struct prefix_list *own,
		    struct access *access);

struct flow *flow_find(struct flow_table *table, uint64_t id);
struct flow *flow_by_inner(struct flow_table *table, unsigned family, const uint8_t *address);
struct flow *flow_by_app_id(struct flow_table *table, const uint8_t *app_id);
/* Newest association of a path, or NULL; others follow by next. socket: the worker's index of it.
 */
struct flow_assoc *flow_by_path(struct flow_table *table, const struct udp_path *path,
				unsigned socket);
/* Whether address is the flow's own or in its networks. */
bool flow_owns(const struct flow *flow, unsigned family, const uint8_t *address);

/* A candidate, in place of the one there was. NULL when OpenSSL fails. */
struct flow_assoc *flow_add_candidate(struct flow_table *table, struct flow *flow,
				      struct dtls_setup *setup, bool is_server, bool verify_hello,
				      const struct udp_path *path, unsigned socket_index,
				      struct batch *batch, struct batch_socket *socket,
				      int64_t now_us);
/* The candidate's handshake is done: it sends from now on, the active one retires. */
void flow_promote(struct flow *flow, int64_t now_us);
void flow_drop_assoc(struct flow_table *table, struct flow_assoc *assoc);
/* Frees associations retired before then_us. */
void flow_drop_retired(struct flow_table *table, struct flow *flow, int64_t then_us);

/* Adds what one flow has carried to a sum. */
void flow_add_traffic(struct flow_traffic *sum, const struct flow_traffic *more);
void flow_count_drop(struct flow *flow, struct counts *counts, enum count why);
