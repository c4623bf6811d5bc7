#pragma once
/* One device without a TUN: a real handshake, login, CONNECT and association, keepalives, probes
 * and answers, and coming back as a tund client does (client/dial.c, client/client.c and
 * data/liveness.c are what it follows). It keeps its cookie. See device.c for the states. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/addr.h"
#include "base/buf.h"
#include "channel/dtls.h"
#include "channel/tls.h"
#include "wire/cstp.h"
#include "wire/tunnel_params.h"

#include "certificates.h"

enum device_state {
	DEVICE_OFF,
	DEVICE_WAITING, /* for its next attempt */
	DEVICE_TCP,
	DEVICE_TLS,
	DEVICE_LEAVING, /* only a handshake was wanted: until the gateway has closed, too */
	DEVICE_LOGIN,
	DEVICE_CONNECT,
	DEVICE_DTLS, /* connected; the association is not there yet */
	DEVICE_UP,
	DEVICE_STATES,
};

struct device_counts {
	uint64_t handshakes, logins, connects, resumed, associations;
	uint64_t bytes_rx, records_rx, records_tx, datagrams_rx, datagrams_tx;
	uint64_t keepalives_tx, probes_tx, probes_rx, answers_rx, forged, unreadable;
};

struct device;

/* What all devices of a loop share. Outlives them. */
struct device_world {
	uv_loop_t *loop;
	struct tls_setup tls;
	struct dtls_setup dtls;
	struct trust *trust;
	struct endpoint gateway;
	const char *gateway_name;
	const char *host; /* the Host field */
	bool with_dtls;
	bool only_handshakes; /* TLS to its end, then close */
	struct device_counts counts;
	void *user, *packet_user; /* for the three below */
	/* The state has changed. */
	void (*entered)(struct device *device, enum device_state before);
	/* An attempt or a session came to nothing; why is static text: a word of base/reason or
	 * one for the network. */
	void (*failed)(struct device *device, const char *why);
	/* An inner packet, borrowed. */
	void (*packet)(struct device *device, const uint8_t *packet, size_t len);
};

struct device_pulse {
	int64_t heard_us, sent_us, probed_us, asking_us;
	unsigned unanswered; /* probes */
};

struct device {
	struct device_world *world;
	struct device *next_ready; /* the crowd's queue */
	const struct certificate *certificate;
	uint32_t number;
	enum device_state state;
	bool queued, wanted;
	bool resumed;  /* this attempt names a cookie */
	bool answered; /* the gateway has said something on this connection */
	bool is_v6_seen;
	unsigned failures;
	struct addr source; /* outer; family 0: the kernel chooses */

	int fd; /* until tls owns it */
	struct tls *tls;
	uv_poll_t *tcp_poll;
	int tcp_events;
	struct buf answer;
	size_t scanned;

	int udp_fd;
	uv_poll_t *udp_poll;
	struct dtls *dtls;

	char cookie[TUNNEL_PARAMS_COOKIE_MAX];
	struct addr v4, v6;	    /* inner, now */
	struct addr was_v4, was_v6; /* at the last mark; family 0: none */
	uint8_t psk[TLS_PSK], app_id[DTLS_APP_ID];
	size_t app_id_len;
	uint16_t dtls_port;
	unsigned mtu;
	int64_t dpd_us, keepalive_us;
	struct device_pulse tcp, udp;

	int64_t started_us, up_us; /* this attempt; when it was up */
	int64_t deadline_us, retry_at_us, association_us, next_association_us;
	uint64_t sent, back; /* numbered packets (stream.c) */
	uint64_t next_number;
};

void device_init(struct device *device, struct device_world *world, uint32_t number,
		 const struct certificate *certificate, const struct addr *source);
/* OFF or WAITING: an attempt begins. */
void device_start(struct device *device);
/* Whatever it is: OFF. silently: as if its power had failed, not even a FIN is sent (TCP_REPAIR:
 * CAP_NET_ADMIN). The cookie stays. */
void device_drop(struct device *device, bool silently);
/* UP: says goodbye, for good; the cookie is forgotten. */
void device_leave(struct device *device);
/* Time passes: deadlines, probes, keepalives, retransmission. A few times a second. */
void device_tick(struct device *device, int64_t now_us);
/* Sends one inner packet; OFFLOAD_HEADROOM is not needed: it is copied. False when it is not up. */
bool device_send(struct device *device, const uint8_t *packet, size_t len);
bool device_is_under_way(const struct device *device);
/* Has addresses, and others than at the last mark. */
bool device_has_moved(const struct device *device);
