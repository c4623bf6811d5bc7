#pragma once
/* A worker that is driven by hand, and the peers at the far end of its flows. One thread, a clock
 * that stands still until a test moves it, real sockets: the TUN queue is a socket pair, UDP goes
 * over the loopback of a network namespace of the program's own, TLS over a socket pair. The
 * program is linked so that the worker's thread is never started (see meson.build). */

#include "channel/dtls.h"
#include "channel/tls.h"
#include "data/worker.h"
#include "wire/cstp.h"

enum { RIG_PACKET = 70000, RIG_EVENTS = 4096, RIG_MTU = 1400, RIG_CREW = 4 };

#define RIG_S  INT64_C(1000000) /* microseconds */
#define RIG_MS INT64_C(1000)

/* Inner addresses of the only ends that most tests need. */
#define RIG_DEVICE "10.99.0.7"
#define RIG_CORP   "10.50.0.10"

struct rig {
	struct worker *worker; /* the first, the only one but in a crew */
	struct worker *crew[RIG_CREW];
	size_t count;
	struct mailbox *mailbox;
	uv_loop_t loop; /* of main */
	struct worker_event *events[RIG_EVENTS];
	size_t event_count;
	int tun;		/* the kernel's end, of the first as the next is */
	struct endpoint udp_at; /* the worker's socket */
	int tuns[RIG_CREW];
	struct endpoint udp_ats[RIG_CREW];
	void *(*run)(void *); /* the worker's thread, not started */
	bool stopped;
};

/* What a flow is to be like; 0 and NULL: as most tests want it. */
struct rig_flow {
	uint64_t id, session, replaces; /* session: id, or what it replaces */
	const char *own;		/* prefixes, a blank between them; RIG_DEVICE */
	struct access *access;		/* taken; everything */
	int64_t dpd_us, keepalive_us, idle_us;
	unsigned mtu;
	const char *greeting, *early;
	bool no_dtls, peer_is_stranger;
	bool waits; /* the worker has the order, but has had no turn since */
};

struct rig_peer {
	struct rig *rig;
	uint64_t flow;
	struct tls *tls;
	uint8_t psk[DTLS_PSK], app_id[DTLS_APP_ID];
	int udp; /* its own socket, connected to the worker's */
	struct endpoint udp_at;
	struct dtls_setup setup;
	struct dtls *dtls;
	bool mute; /* what it would send over UDP is lost */
	size_t sent;
	uint8_t last[RIG_PACKET]; /* the datagram it has sent last */
	size_t last_len;
};

/* Enters a namespace, makes certificates: a group's setup and teardown. */
int rig_open_program(void **state);
int rig_close_program(void **state);

/* change: of the options as they are by default. */
struct rig *rig_new(bool is_client, void (*change)(struct worker_options *options));
/* A gateway's workers that know each other. What is not said to be another's is the first one's. */
struct rig *rig_new_crew(size_t count);
void rig_free(struct rig *rig);
/* Lets the worker do what there is to do. */
void rig_step(struct rig *rig);
/* Time passes, in ticks of the worker's timer. */
void rig_pass(struct rig *rig, int64_t us);
int64_t rig_now_us(void);
void rig_post(struct rig *rig, const struct worker_order *order);
void rig_post_to(struct rig *rig, size_t worker, const struct worker_order *order);

/* The oldest event of a kind, not to be freed; NULL when there is none. It is not found again. */
struct worker_event *rig_event(struct rig *rig, enum worker_event_kind kind);
void rig_forget_events(struct rig *rig);
uint64_t rig_count(const struct rig *rig, enum count count); /* of all workers */
struct flow *rig_flow_of(struct rig_peer *peer);
struct flow *rig_flow_at(struct rig_peer *peer, size_t worker);

/* A TLS connection with both ends up, the worker's end attached. */
struct rig_peer *rig_attach(struct rig *rig, const struct rig_flow *flow);
void rig_peer_free(struct rig_peer *peer);
/* It has another address now, whose datagrams arrive at that worker. */
void rig_roam(struct rig_peer *peer, size_t worker);
/* One TLS record; the worker has taken it in when it returns. */
void rig_write(struct rig_peer *peer, const void *bytes, size_t len);
void rig_send(struct rig_peer *peer, enum cstp_type type, const void *payload, size_t len);
/* The next record from the worker into out. -1: none, -2: closed. */
ssize_t rig_read(struct rig_peer *peer, uint8_t out[static CSTP_RECORD_MAX]);
/* The next frame of a type, others are skipped. Its payload's length, or -1. */
ssize_t rig_frame(struct rig_peer *peer, enum cstp_type type, uint8_t out[static CSTP_RECORD_MAX]);

/* DTLS: hello to Finished, as a client or (the worker is a client's) as a gateway. Goes on with an
 * end that is open and in its handshake. */
void rig_shake(struct rig_peer *peer);
/* A fresh end, that has sent nothing. */
void rig_open_dtls(struct rig_peer *peer);
void rig_send_udp(struct rig_peer *peer, enum cstp_type type, const void *payload, size_t len);
/* Bytes as they are, by the peer's socket or by another. */
void rig_datagram(struct rig *rig, int udp, const void *bytes, size_t len);
int rig_socket(struct rig *rig, struct endpoint *ret_at);
/* Takes in what has come: handshake messages are answered. The next record's type and payload into
 * out: the payload's length, or -1. */
ssize_t rig_read_udp(struct rig_peer *peer, uint8_t *ret_type, uint8_t out[static RIG_PACKET]);
ssize_t rig_frame_udp(struct rig_peer *peer, enum cstp_type type, uint8_t out[static RIG_PACKET]);

/* Nothing but that network, in any protocol. For rig_flow's or an order's spec. */
struct access *rig_allow(const char *net);

/* What the worker has written to TUN: its length, or -1. */
ssize_t rig_read_tun(struct rig *rig, struct tun_header *ret_header,
		     uint8_t out[static RIG_PACKET]);
ssize_t rig_read_tun_of(struct rig *rig, size_t worker, uint8_t out[static RIG_PACKET]);
void rig_write_tun_of(struct rig *rig, size_t worker, const uint8_t *packet, size_t len);
void rig_write_tun(struct rig *rig, const struct tun_header *header, const uint8_t *packet,
		   size_t len);

/* IPv4 or IPv6 as the addresses are; right checksums. Length into out. */
size_t rig_udp_packet(const char *source, const char *destination, size_t payload, uint8_t *out);
/* flags as in the header; mss 0: no option. */
size_t rig_tcp_packet(const char *source, const char *destination, uint8_t flags, uint16_t mss,
		      uint32_t sequence, size_t payload, uint8_t *out);
