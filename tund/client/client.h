#pragma once
/* The client role, assembled: dials, sets the host's network, keeps the tunnel up: see client.c. */

#include <uv.h>

#include "base/buf.h"
#include "client/dial.h"
#include "config/config.h"
#include "data/worker.h"
#include "pki/trust.h"
#include "sys/parent_link.h"

struct client_options {
	const struct config *config;
	struct trust *trust;
	X509 *leaf;
	STACK_OF(X509) * chain;
	struct buf spki;
	int tun_fd;
	unsigned tun_offloads;
	struct worker_udp sockets[WORKER_SOCKETS_MAX];
	size_t socket_count;
	const char *hostname;	    /* this host's */
	struct parent_link *parent; /* the engine's */
	int key_socket, fetch;
	int (*enter_engine)(void);
	uv_loop_t *loop;
};

enum client_state { CLIENT_DIALLING, CLIENT_UP, CLIENT_WAITING };

struct client_report {
	struct client *client;
	void (*done)(struct client_report *report, void *user);
	void *user;
	struct counts counts;
	unsigned udp_offloads;
	struct worker_flow_report flow; /* id 0: none */
};

struct client {
	struct client_options options;
	const struct config *config;
	struct tls_setup setup;
	EVP_PKEY *key;
	struct names *names;
	struct mailbox *worker_events;
	struct worker *worker;
	enum client_state state;
	time_t since_at, started_at;
	time_t lost_at;	   /* the last tunnel's end */
	struct dial *dial; /* the attempt under way; while UP: a renewal */
	uv_timer_t retry;  /* WAITING: the next attempt. UP: the next renewal */
	int64_t retry_at_us;
	unsigned failures; /* attempts in a row */
	size_t gateway;	   /* index of the one in use or tried */
	struct prefix_list
		outer; /* addresses of all gateways ever resolved: never into the tunnel */
	/* the tunnel */
	struct dial_result tunnel;	   /* its tls is the worker's */
	struct parent_msg_network network; /* what is set on the host */
	struct dial_result *pending;	   /* connected; the host's network is being set */
	struct parent_msg_network pending_network;
	uint64_t flow, next_flow;
	struct flow_traffic carried; /* by flows that have ended since it came up */
	bool over_dtls;
	char tls_version[16], cipher[48], group[32], data_cipher[64];
	unsigned mtu;
	char cookie[TUNNEL_PARAMS_COOKIE_MAX];
	/* why it is not up, or was not */
	enum reason last_reason;
	bool last_refused;
	char last_error[DIAL_TEXT], last_id[TLS_ID_TEXT];
	bool stopping;
	void (*stopped)(void *user);
	void *stopped_user;
};

int client_start(const struct client_options *options, struct client **ret, char *error,
		 size_t size);
/* Says goodbye, ends the worker, then calls stopped. The host's network goes with the device. */
void client_stop(struct client *client, void (*stopped)(void *user), void *user);
void client_free(struct client *client);

const char *client_state_name(const struct client *client);
/* Asks the worker for counters; done frees the report with client_report_free. */
void client_ask_report(struct client *client, void (*done)(struct client_report *, void *),
		       void *user);
void client_report_free(struct client_report *report);
/* Drops the tunnel; it is dialled again at once. */
void client_reconnect(struct client *client);
