#pragma once
/* The gateway role, assembled: what the engine's main thread owns. Every function here runs there.
 */

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/buf.h"
#include "base/event.h"
#include "config/config.h"
#include "data/worker.h"
#include "gateway/delay.h"
#include "gateway/handshake.h"
#include "gateway/waiting.h"
#include "pki/refusal.h"
#include "pki/trust.h"
#include "pki/verify.h"
#include "session/seen.h"
#include "session/session_table.h"
#include "session/store.h"
#include "sys/parent_link.h"

enum { GATEWAY_LISTENERS_MAX = WORKER_SOCKETS_MAX };

/* What the parent hands over; descriptors stay the caller's. */
struct gateway_options {
	const struct config *config;
	struct trust *trust; /* without denials yet; referenced */
	X509 *leaf;
	STACK_OF(X509) * chain;
	struct buf spki;
	uint32_t key_generation;
	size_t worker_count;
	int tun_fds[WORKER_CREW_MAX]; /* a queue for each */
	unsigned tun_offloads;
	size_t listener_count;
	struct gateway_socket {
		struct endpoint at;
		int tcp, udp[WORKER_CREW_MAX];
		unsigned udp_offloads;
	} listeners[GATEWAY_LISTENERS_MAX];
	const int *key_sockets;
	size_t key_socket_count;
	struct prefix own4, own6;   /* the gateway's inner addresses; family 0: none */
	struct parent_link *parent; /* the engine's */
	const struct event_hook *events;
	int (*enter_store)(void);
	int (*enter_engine)(void); /* once the store's thread runs, before others start */
	uv_loop_t *loop;
};

struct gateway_asking;
struct gateway_listener;
struct gateway_source;

struct gateway_counts {
	uint64_t accepted, refused[REASON_COUNT];
	uint64_t cut[REASON_COUNT]; /* sessions that stood, ended from here */
};

/* What the parent was told about networks behind sites: see site.c. */
struct gateway_sites {
	struct prefix_list asked;
	int64_t asked_us;
	struct gateway_site_wait *waiting;
	uv_timer_t turn;
	char trouble[PARENT_MSG_TEXT]; /* "": none */
};

/* A command that waits for every worker's acknowledgement of a cut. */
struct gateway_cut;

/* A command that waits for every worker's counters. */
struct gateway_report {
	struct gateway *gateway;
	void (*done)(struct gateway_report *report, void *user);
	void *user;
	size_t waiting;
	struct counts counts;
	struct flow_traffic traffic; /* of all flows since the start */
	unsigned udp_offloads;
	struct worker_flow_report *flows; /* one a session, by its id */
	size_t flow_count;
};

struct gateway {
	struct gateway_options options;
	const struct config *config;
	struct trust *trust; /* the snapshot in force */
	struct store *store;
	struct lease_pool *leases;
	struct session_table sessions;
	struct mailbox *worker_events, *handshake_events;
	struct gateway_crew { /* crew.h */
		struct worker **workers;
		size_t *flows; /* how many each carries */
		size_t count, stopped;
	} crew;
	struct handshake_pool *handshakes;
	struct gateway_listener *listeners;
	struct gateway_source *sources; /* per-source limits */
	size_t pending;			/* connections that wait or are in their handshake */
	struct waiting_room waiting;	/* of them those that wait */
	struct waiting_line strangers;	/* in it: sources that cannot be told apart */
	uv_timer_t turns;
	struct rate all_sources, turned_away_log;
	struct gateway_sites sites;
	struct gateway_asking *asking; /* NULL: no reload is asking sessions */
	uv_timer_t tick;
	struct gateway_counts counts;
	struct delay_histogram delays[DELAY_CAUSES];
	struct refusal_memory refusals;
	struct store_denied *denied; /* what is denied, with its words */
	size_t denied_count;
	struct seen_table seen;
	uint64_t next_flow;
	time_t started_at;
	bool stopping;
	void (*stopped)(void *user);
	void *stopped_user;
};

/* 0, or -errno with one line in error. */
int gateway_start(const struct gateway_options *options, struct gateway **ret, char *error,
		  size_t size);
/* Tells the sessions that they may come back, ends the threads, then calls stopped. */
void gateway_stop(struct gateway *gateway, void (*stopped)(void *user), void *user);
void gateway_free(struct gateway *gateway);

/* Asks the workers for their counters; report is freed by gateway_report_free in done. */
void gateway_ask_report(struct gateway *gateway, void (*done)(struct gateway_report *, void *),
			void *user);
void gateway_report_free(struct gateway_report *report);
const struct worker_flow_report *gateway_report_of(const struct gateway_report *report,
						   const struct session *session);

/* ---- between the files of this folder ---- */

/* For whoever watches: what happened to a session, and why (either may be missing). */
void gateway_tell_session(const struct gateway *gateway, enum event_kind kind,
			  const struct session *session, enum reason reason, const char *text);
/* The session is over: its flows cut, out of the table, lease released, cookie forgotten. */
void gateway_close_session(struct gateway *gateway, struct session *session, enum reason reason);
/* The same, with a text for the peer, and counted as cut from here. then (may be NULL) is told when
 * no worker carries for it any more. */
void gateway_cut_session(struct gateway *gateway, struct session *session, enum reason reason,
			 const char *text, struct gateway_cut *then);
/* Adds the addresses that no device gets by chance: the gateway's outer ones, and those of
 * sites. */
void gateway_find_reserved(const struct gateway_options *options, struct prefix_list *reserved);
/* How the handshake threads begin a connection. */
struct handshake_pool_options gateway_handshake_options(const struct gateway_options *options,
							struct mailbox *events);
/* What a device's certificate is worth to the trust of now, with the chain it came with (may be NULL).
 * The caller ends with verify_done. */
struct verdict gateway_ask_device(const struct gateway *gateway, X509 *leaf,
				  STACK_OF(X509) * untrusted);
/* How long a cookie outlives its connection; an administrator's "never" is ten years. */
int64_t gateway_cookie_lifetime_s(const struct gateway *gateway);
void gateway_remember_cookie(struct gateway *gateway, const struct session *session,
			     int64_t lifetime_s);
