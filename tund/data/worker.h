#pragma once
/* A thread with its own TUN queue, UDP sockets and flows. Everything it is told and everything it
 * tells goes through mailboxes; nothing on the packet path is shared. */

#include <pthread.h>
#include <stdbool.h>

#include <uv.h>

#include "base/mailbox.h"
#include "config/config.h"
#include "data/flow.h"
#include "data/offload.h"

enum { WORKER_SOCKETS_MAX = 16, WORKER_TEXT = 200 };

/* ---- orders, from main ---- */

enum worker_order_kind {
	WORKER_ATTACH, /* spec */
	WORKER_CUT,    /* every flow of a session ends; acknowledged */
	WORKER_RULES,  /* every flow of a session gets spec's access and own; acknowledged */
	WORKER_TUNE,   /* hello_verify, transport, and spec's idle_us for every flow there is */
	WORKER_REPORT, /* answered with counters */
	WORKER_STOP,   /* every flow ends with reason; then the thread does */
};

struct worker_order {
	struct mailbox_message message;
	enum worker_order_kind kind;
	struct flow_spec spec;
	uint64_t session;
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
	WORKER_WAS_CUT,
	WORKER_HAS_RULES,
	WORKER_REPORTED,
	WORKER_STOPPED,
};

struct worker_flow_report {
	uint64_t id, session;
	struct flow_traffic traffic;
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
	struct mailbox *events;
};

struct worker {
	struct worker_options options;
	pthread_t thread;
	uv_loop_t loop;
	struct mailbox *orders;
	bool stopped; /* orders may still come, as long as main has not heard of it */
	uv_poll_t tun_poll;
	uv_timer_t tick;
	struct worker_socket sockets[WORKER_SOCKETS_MAX];
	struct dtls_setup dtls;
	struct flow_table table;
	struct flow *current; /* client: where everything goes */
	struct flow *pending; /* TLS channels to flush after the batch */
	struct worker_lingering *lingering;
	struct batch batch;
	struct offload_join join;
	uint8_t *tun_packet; /* OFFLOAD_HEADROOM before it */
	uint8_t *plain;	     /* one record opened */
	uint8_t *join_packet;
	struct rate hello_rate; /* all flows: beyond it, hellos are verified ("auto") */
	struct counts counts;
	struct flow_traffic carried; /* by flows that are gone */
};

/* Starts the thread. 0 or -errno. */
int worker_start(const struct worker_options *options, struct worker **ret);
/* Takes the order. Any thread. */
void worker_post(struct worker *worker, struct worker_order *order);
/* After WORKER_STOPPED. */
void worker_free(struct worker *worker);

/* ---- for outbound, inbound and liveness, on the worker's thread ---- */

/* The flow is over: out of the lookups, told to main. bye: the DISCONNECT's text, NULL for none. */
void worker_end_flow(struct worker *worker, struct flow *flow, enum reason reason, bool keep,
		     const char *bye, const char *text);
/* Names in the log the source of a packet that was dropped as foreign, at most once a minute. */
void worker_name_foreign(const struct worker *worker, struct flow *flow,
			 const struct ip_view *view);
void worker_tell_transport(struct worker *worker, struct flow *flow);
void worker_tell_mtu(struct worker *worker, struct flow *flow);
/* The flow's TLS channel has something to send: flushed when the batch is. */
void worker_mark_pending(struct worker *worker, struct flow *flow);
/* Sends all that has been gathered: UDP run, TLS channels, joined packet. */
void worker_flush(struct worker *worker);
