#pragma once
/* The client role, assembled: dials, sets the host's network, keeps the tunnel up: see client.c. */

#include <uv.h>

#include "base/buf.h"
#include "base/event.h"
#include "client/dial.h"
#include "config/config.h"
#include "data/worker.h"
#include "pki/refusal.h"
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
	const struct event_hook *events;
	int key_socket, fetch;
	uint32_t key_generation;
	int (*enter_engine)(void);
	uv_loop_t *loop;
};

enum client_state { CLIENT_DIALLING, CLIENT_UP, CLIENT_WAITING };

/* Attempts to reach a gateway, renewals among them. */
struct client_counts {
	uint64_t connected, refused[REASON_COUNT], failed[REASON_COUNT];
};

struct client_report {
	struct client *client;
	void (*done)(struct client_report *report, void *user);
	void *user;
	struct counts counts;
	struct flow_traffic traffic; /* of all flows since the start */
	unsigned udp_offloads;
	struct worker_flow_report flow; /* id 0: none */
};

struct client {
	struct client_options options;
	const struct config *config;
	struct trust *trust; /* the snapshot in force */
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
	bool stale;	   /* the attempt under way began before a reload: once more after it */
	bool reset_host;   /* the host's network is to be set even if it is as planned */
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
	bool turned_out; /* the last attempt was refused without a word */
	bool without_v6; /* this host has none: what the gateway pushes of it is left out */
	char tls_version[16], cipher[48], group[32], data_cipher[64];
	X509 *peer_leaf; /* what the gateway showed: to ask again about it */
	STACK_OF(X509) * peer_chain;
	struct identity_cert *peer; /* whom the gateway has proved to be; NULL: never connected */
	struct client_counts counts;
	char unforwarded[PARENT_MSG_TEXT]; /* what this host does not forward, of a site; or "" */
	unsigned mtu;
	char cookie[TUNNEL_PARAMS_COOKIE_MAX];
	/* why it is not up, or was not */
	enum reason last_reason;
	bool last_refused;
	char last_error[DIAL_TEXT], last_id[TLS_ID_TEXT];
	struct refusal_memory refusals;
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
/* Families of the networks behind this host, PARENT_MSG_V4 and _V6; 0: it is no site's. */
unsigned client_site_families(const struct client *client);
/* What the parent has said to parent_link_ask_forwarding. */
void client_take_forwarding(struct client *client, const char *text);
/* Drops the tunnel; it is dialled again at once. */
void client_reconnect(struct client *client);

/* ---- between the files of this folder ---- */

/* TLS with our certificate and key, for the options' configuration. 0, or -EINVAL with one line. */
int client_make_setup(const struct client_options *options, struct tls_setup *ret_setup,
		      EVP_PKEY **ret_key, char *error, size_t size);
/* Whether the trust in force still vouches for a gateway with this certificate. */
enum reason client_ask_gateway(const struct client *client, X509 *leaf, STACK_OF(X509) * chain,
			       char *text, size_t size);
/* Leaves the gateway in use, for this reason, and looks for another. */
void client_leave(struct client *client, enum reason reason, const char *text);
/* Dials at once: beside the tunnel where there is one, in place of the attempt under way. */
void client_renew(struct client *client, const char *why);
/* Sets on the host what the tunnel and the configuration in force ask for, if that is not what is
 * set; again: in any case. */
void client_replan(struct client *client, bool again);
