#pragma once
/* The data half of a connection, owned by one worker: its channels, its access, its counters; and
 * the table by which a packet finds it.
 *
 *	FLOW_OPEN ──replaced by the same session's next flow──▶ FLOW_DRAINING ──quiet, old──▶ freed
 *	   ▲└──────────cut, ended──────────▶ freed at once; its TLS channel lingers to say why
 *	   │└──────────moved to another worker, where the guest becomes it: its associations stay
 *	   │           behind in a shell, FLOW_DRAINING, with an id of the worker's own
 *	FLOW_GUEST     associations of a flow that another worker has, and no channel; see data/move.h
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
#include "base/rate.h"
#include "base/reason.h"
#include "base/timers.h"
#include "channel/dtls.h"
#include "channel/tls.h"
#include "data/access.h"
#include "data/batch.h"
#include "data/count.h"
#include "data/replica.h"

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
	struct rate hello_rate;	 /* of those that repeat its own */
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

/* Set in the id of a shell, which main does not know. */
#define FLOW_SHELL (UINT64_C(1) << 63)

enum flow_state { FLOW_OPEN, FLOW_DRAINING, FLOW_GUEST };

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
	bool is_new; /* attached, and not yet watched */
	struct flow *prev_new, *next_new;
	/* Awake: it carries or changes, and is looked at every tick. Asleep: its buffers are released,
	 * and it is looked at again when something is due. */
	bool awake, touched;	 /* touched: something went on since the last look */
	struct timers_entry due; /* set while asleep */
	struct flow *prev_awake, *next_awake;
	struct replica_entry *entry; /* its session's */
	struct flow *next_of_session;
	uint32_t report; /* the last that has it, as its row */
	size_t report_row;
	int64_t asked_us; /* a guest: when main was last told that it has shaken hands; 0: not yet
			   */
	UT_hash_handle hh;
};

struct flow_table {
	struct flow *flows; /* by id */
	struct flow
		*cursor; /* of a walk that goes on from turn to turn: the next one, who may go or
				be renamed meanwhile; NULL: its end */
	struct flow *awake;
	struct timers due; /* those asleep */
	struct flow_path *paths;
	struct replica replica;
	uint64_t shells;       /* ever */
	uint64_t path_changes; /* what flow_by_path said may have changed since */
};

void flow_table_init(struct flow_table *table);
void flow_table_done(struct flow_table *table); /* empty by now */

/* What no flow has taken; the TLS channel, too. */
void flow_spec_done(struct flow_spec *spec);
/* All but the channel and what is to be sent or was received on it. */
struct flow_spec flow_spec_copy(const struct flow_spec *spec);

/* Takes everything in spec, enters the flow under its inner addresses and App-ID. */
struct flow *flow_new(struct flow_table *table, struct flow_spec *spec, int64_t now_us);
/* Out of every lookup, keys wiped, freed; the TLS channel is handed to the caller. */
struct tls *flow_free(struct flow_table *table, struct flow *flow);
/* Another flow has its addresses now: it only receives until drain_until_us. */
void flow_drain(struct flow_table *table, struct flow *flow, int64_t until_us);
/* For an entry whose flow another worker has; that must not have one already. */
struct flow *flow_new_guest(struct flow_table *table, struct replica_entry *entry, int64_t now_us);
/* The flow is another worker's now, who gets the spec that is returned. What stays is a shell that
 * drains until until_us, and a guest, where the device has begun a handshake here again. */
struct flow_spec flow_leave(struct flow_table *table, struct flow *flow, unsigned worker,
			    int64_t now_us, int64_t until_us);
/* The guest gets what the flow was. Takes spec but for its rules: main's last word on them may have
 * passed it on its way, and the guest has that. */
void flow_take_spec(struct flow *guest, struct flow_spec *spec);
/* A guest that has got its spec carries its session from now on. */
void flow_settle(struct flow_table *table, struct flow *guest);
/* What came too late, for another flow carries the session already: nothing finds it. Takes spec,
 * but for its rules, which are those of the one that does. */
struct flow *flow_new_stray(struct flow_table *table, struct replica_entry *entry,
			    struct flow_spec *spec, int64_t now_us);

/* Takes own; one owner more of access. In force for the next packet. */
void flow_set_rules(struct flow_table *table, struct flow *flow, struct prefix_list *own,
		    struct access *access);
/* The same for all that this worker has of a session, and for what it knows of it. */
void flow_set_session_rules(struct flow_table *table, uint64_t session,
			    const struct prefix_list *own, struct access *access);

/* Something goes on, or is due earlier than before: wakes it. */
static inline void flow_touch(struct flow_table *table, struct flow *flow);
void flow_wake(struct flow_table *table, struct flow *flow);
/* Releases what only a flow that carries needs; to be looked at again at due_us, INT64_MAX: when it
 * is touched. */
void flow_sleep(struct flow_table *table, struct flow *flow, int64_t due_us);
/* One that sleeps and is due by now; it is awake then. NULL: none is. */
struct flow *flow_wake_due(struct flow_table *table, int64_t now_us);

struct flow *flow_find(struct flow_table *table, uint64_t id);
/* The newest of a session, or NULL; others follow by next_of_session. */
struct flow *flow_of_session(struct flow_table *table, uint64_t session);
struct flow *flow_by_inner(struct flow_table *table, unsigned family, const uint8_t *address);
struct flow *flow_by_app_id(struct flow_table *table, const uint8_t *app_id);
/* Whose association a hello is to open: the flow, or a guest for it where another worker has it.
 * NULL: nobody has this App-ID. */
struct flow *flow_for_hello(struct flow_table *table, const uint8_t *app_id, int64_t now_us);
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

static inline void flow_touch(struct flow_table *table, struct flow *flow)
{
	flow->touched = true;
	if (!flow->awake)
		flow_wake(table, flow);
}
