#pragma once
/* A thread with its own TUN queue, UDP sockets and flows. Everything it is told and everything it
 * tells goes through mailboxes; packets that its TUN queue brought for another worker's flow go
 * through rings (data/handover.h). Nothing else on the packet path is shared.
 *
 *	          ATTACH                      GUEST (to main)         RELEASE
 *	main ───────────▶ flow here ┄┄ hello elsewhere, Finished ┄┄▶ main ──────▶ flow leaves
 *	  └── LEARN ──▶ others' replicas                                            │ ADOPT
 *	  ◀── ENDED, or main's CUT: out of every replica             main ◀─ MOVED ─┴▶ flow there
 *	                                                              └── WHERE ──▶ others' replicas
 *
 * What may come between the steps of a move: data/move.c. */

#include <pthread.h>
#include <stdbool.h>

#include <uv.h>

#include "base/mailbox.h"
#include "config/config.h"
#include "data/awake.h"
#include "data/backlog.h"
#include "data/bulk.h"
#include "data/flow.h"
#include "data/handover.h"
#include "data/offload.h"
#include "data/report.h"

enum {
	WORKER_SOCKETS_MAX = 16,
	WORKER_CREW_MAX = HANDOVER_WORKERS_MAX,
	WORKER_TEXT = 200,
	WORKER_SLOW_US = 10 * 1000, /* from one packet lost on purpose to the next */
};

/* ---- orders, from main ---- */

enum worker_order_kind {
	WORKER_ATTACH,	/* spec */
	WORKER_LEARN,	/* spec, without channels, of a flow that worker `to` has */
	WORKER_WHERE,	/* flow is worker `to`'s now */
	WORKER_FORGET,	/* flow, another worker's, has ended */
	WORKER_RELEASE, /* flow leaves for worker `to` */
	WORKER_ADOPT,	/* from another worker: spec and luggage of flow */
	WORKER_CUT,	/* every flow of a session ends; acknowledged */
	WORKER_RULES,	/* every flow of a session gets spec's access and own; acknowledged */
	WORKER_TUNE,	/* hello_verify, transport, and spec's idle_us for every flow there is */
	WORKER_REPORT,	/* answered with counters */
	WORKER_STOP,	/* every flow ends with reason; then the thread does */
};

struct worker_order {
	struct mailbox_message message;
	enum worker_order_kind kind;
	struct flow_spec spec;
	uint64_t session, flow;
	unsigned to;
	struct move_luggage *luggage; /* ADOPT */
	enum config_hello_verify hello_verify;
	enum config_transport transport;
	enum reason reason;
	bool silent; /* close the channel without a DISCONNECT: the peer shall come back */
	char text[WORKER_TEXT];
	void *tag; /* given back */
};

/* ---- events, to main ---- */

enum worker_event_kind {
	WORKER_ATTACHED,
	WORKER_TRANSPORT, /* over_dtls, cipher */
	WORKER_MTU,	  /* mtu */
	WORKER_ENDED,	  /* a flow ended by itself or by its peer */
	WORKER_GUEST,	  /* its device shakes hands with this worker, that has not got it */
	WORKER_MOVED,	  /* and now has */
	WORKER_CARRIED,	  /* traffic that no report of this worker will show any more */
	WORKER_WAS_CUT,
	WORKER_HAS_RULES,
	WORKER_REPORTED,
	WORKER_STOPPED,
};

struct worker_flow_report {
	uint64_t id, session;
	struct flow_traffic traffic;
	bool is_open; /* false: it only adds to its session's traffic */
	bool over_dtls;
	unsigned mtu;
	int64_t idle_us;
	char cipher[64];
	struct endpoint peer; /* of UDP where it is active */
	uint64_t drops[COUNT_MAX - COUNT_FIRST_DROP];
};

struct worker_event {
	struct mailbox_message message;
	enum worker_event_kind kind;
	unsigned worker; /* who tells */
	uint64_t flow, session;
	enum reason reason;
	bool keep; /* ENDED: the session may be taken up again */
	bool over_dtls;
	unsigned mtu;
	char text[WORKER_TEXT]; /* ENDED: what the peer said; TRANSPORT: the cipher */
	void *tag;
	struct flow_traffic traffic; /* ENDED: the last figures; REPORTED: of all flows ever */
	struct counts counts;	     /* REPORTED, as the next */
	unsigned udp_offloads;	     /* still in use on every socket */
	struct worker_flow_report *flows;
	size_t flow_count;
};

void worker_event_free(struct worker_event *event);

/* ---- the worker ---- */

struct worker_socket {
	struct batch_socket out; /* first: a batch knows its socket by it */
	unsigned family;
	uint16_t index;
	uv_poll_t poll;
	struct udp_receiver *receiver;
	struct udp_run runs[UDP_BATCH];
	struct worker *worker;
};

struct worker_options {
	bool is_client;
	int tun_fd; /* borrowed, as the sockets */
	unsigned tun_offloads;
	struct worker_udp {
		int fd;
		unsigned offloads, family;
	} sockets[WORKER_SOCKETS_MAX];
	size_t socket_count;
	enum config_hello_verify hello_verify;
	enum config_transport transport;
	int64_t idle_us; /* of flows that come from another worker */
	struct mailbox *events;
};

struct worker {
	struct worker_options options;
	unsigned index;
	struct worker **crew; /* all, by index */
	size_t crew_count;
	pthread_t thread;
	uv_loop_t loop;
	struct mailbox *orders;
	struct handover_inbox *inbox; /* NULL: there is one worker */
	uint64_t handed;	      /* to whom since they were told last: a bit each */
	size_t handed_bytes;
	uv_async_t knock; /* the inbox has something */
	struct awake awake;
	uv_idle_t no_sleep; /* runs while it stays awake */
	uv_prepare_t before_sleep;
	uv_check_t after_sleep;
	bool stopped; /* orders may still come, as long as main has not heard of it */
	uv_poll_t tun_poll;
	uv_idle_t rest;	 /* of the bulk */
	uv_idle_t spare; /* runs while there is what can wait: newcomers, the backlog */
	int64_t turn_us; /* since when TLS channels have had this turn of the loop; 0: not yet */
	uv_timer_t tick;
	struct worker_socket sockets[WORKER_SOCKETS_MAX];
	struct dtls_setup dtls;
	struct flow_table table;
	struct flow *current; /* client: where everything goes */
	struct flow *pending; /* TLS channels to flush after the batch */
	struct flow *newcomers;
	struct backlog backlog; /* a gateway's */
	struct worker_lingering *lingering;
	struct move_farewell *farewells;
	struct batch batch;
	struct bulk bulk;
	bool sparse;	 /* TUN gave no more than one packet when last asked */
	bool lose_piece; /* of the super-packet at hand, so that its stream slows down */
	bool lose_next;	 /* the same, of the batch that came in */
	int64_t bulk_lost_us, lost_us; /* when that was last so */
	struct offload_join join;
	struct flow *joining; /* whose packets the join holds, while it holds any */
	int64_t now_us;	      /* one reading of the clock for everything that a wake-up brings */
	uint8_t *plain;	      /* one record opened */
	uint8_t *join_packet;
	struct rate hello_rate; /* all flows: beyond it, hellos are verified ("auto") */
	struct counts counts;
	struct flow_traffic carried; /* by flows that are gone */
	struct report report;
};

/* Starts the threads of workers that know each other; ret has room for count. 0 or -errno. */
int worker_start(const struct worker_options *options, size_t count, struct worker **ret);
/* Takes the order. Any thread. */
void worker_post(struct worker *worker, struct worker_order *order);
/* After WORKER_STOPPED of all. */
void worker_free(struct worker **crew, size_t count);

/* ---- for the other files of this folder, on the worker's thread ---- */

/* Reads what it has been told by now. What others have sent or handed over may rest on that. No flow
 * or association that was found before may be used behind it. */
void worker_take_orders(struct worker *worker);
/* The packet is for a flow of another worker. */
void worker_hand_over(struct worker *worker, unsigned to, const struct tun_header *header,
		      const uint8_t *packet, size_t len);
/* Behind a batch of those. */
void worker_publish(struct worker *worker);
/* There is something that can wait until packets have been served. */
void worker_spare_time(struct worker *worker);
/* Whether outbound_run is to be called again though TUN has nothing new. */
void worker_come_back(struct worker *worker, bool soon);

/* The flow is over: out of the lookups, told to main. bye: the DISCONNECT's text, NULL for none. */
void worker_end_flow(struct worker *worker, struct flow *flow, enum reason reason, bool keep,
		     const char *bye, const char *text);
/* Names in the log the source of a packet that was dropped as foreign, at most once a minute. */
void worker_name_foreign(const struct worker *worker, struct flow *flow,
			 const struct ip_view *view);
/* An event that is about a flow and no more. */
void worker_tell_flow(struct worker *worker, enum worker_event_kind kind, const struct flow *flow);
void worker_tell_transport(struct worker *worker, struct flow *flow);
void worker_tell_mtu(struct worker *worker, struct flow *flow);
/* The flow's TLS channel is in the loop, and what it has is sent and read; out of the loop. */
void worker_watch(struct worker *worker, struct flow *flow);
void worker_unwatch(struct worker *worker, struct flow *flow);
/* A guest is not needed any more. */
void worker_drop_guest(struct worker *worker, struct flow *guest);
/* The end of a channel that no flow has: takes it; bye NULL: without a word. */
void worker_say_bye(struct worker *worker, struct tls *tls, const char *bye);
/* The flow's TLS channel has something to send: flushed when the batch is. */
void worker_mark_pending(struct worker *worker, struct flow *flow);
/* Sends all that has been gathered: UDP run, TLS channels, joined packet. */
void worker_flush(struct worker *worker);
