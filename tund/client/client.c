/* States:
 *
 *	WAITING ──time──▶ DIALLING ──connected, network set──▶ UP
 *	   ▲                 │                                  │
 *	   └──refused,───────┘◀──the channel is lost, at once───┘
 *	      no answer
 *
 * While UP a renewal dials beside the tunnel: a new TLS connection, so new keys; the new flow takes
 * over and the old one drains (make before break). Routes stay while the tunnel is being dialled
 * again: what belongs inside does not leave in the clear, and inner connections wait instead of
 * breaking. */
#include "client/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "client/back_off.h"
#include "client/names.h"
#include "client/netconf.h"
#include "key/remote.h"

enum {
	RETRY_REPLACED_MS = 60000,
	RENEWAL_RETRY_MS = 30000,
	STABLE_S = 10,	  /* a tunnel that lasted so long is dialled again at once */
	DPD_S = 30,	  /* where the gateway names none: every one answers */
	GIVE_BACK_S = 60, /* without a gateway for so long, the host gets its network back */
	THE_SESSION = 1,  /* a client has one */
};

static void dial(struct client *client, bool renewal);
static void on_retry(uv_timer_t *timer);

static const char *const state_names[] = {
	[CLIENT_DIALLING] = "connecting",
	[CLIENT_UP] = "up",
	[CLIENT_WAITING] = "waiting",
};

const char *client_state_name(const struct client *client)
{
	if (client->state == CLIENT_WAITING && client->last_refused)
		return "refused";
	return state_names[client->state];
}

static void tell(const struct client *client, enum event_kind kind, enum reason reason,
		 const char *text, const char *handshake_id)
{
	event_post(client->options.events,
		   &(struct event){
			   .kind = kind,
			   .reason = reason,
			   .text = text,
			   .identity = client->config->client.gateways.items[client->gateway],
			   .handshake_id = handshake_id,
		   });
}

static void tell_state(const struct client *client, const char *why)
{
	static const enum event_kind kinds[] = {
		[CLIENT_DIALLING] = EVENT_TUNNEL_CONNECTING,
		[CLIENT_UP] = EVENT_TUNNEL_UP,
		[CLIENT_WAITING] = EVENT_TUNNEL_WAITING,
	};

	/* What was wrong before is no reason to try again. */
	enum reason reason =
		client->state == CLIENT_WAITING || why ? client->last_reason : REASON_NONE;

	if (client->state == CLIENT_WAITING && !why && reason == REASON_NONE)
		why = client->last_error;
	tell(client, kinds[client->state], reason, why, NULL);
}

static void client_enter(struct client *client, enum client_state state, const char *why)
{
	if (client->state == state)
		return;
	log_info("tunnel %s -> %s%s%s", state_names[client->state], state_names[state],
		 why && why[0] ? ": " : "", why ? why : "");
	client->state = state;
	client->since_at = clock_wall();
	tell_state(client, why);
}

/* ---- WAITING ---- */

static void arm(struct client *client, int64_t delay_ms)
{
	client->retry_at_us = clock_now_us() + delay_ms * CLOCK_MS_US;
	uv_timer_start(&client->retry, on_retry, (uint64_t)delay_ms, 0);
}

static void on_withdrawn(int error, const char *text, void *user)
{
	(void)user;
	if (error)
		log_warn("cannot take this host's network back: %s", text);
}

/* A refusal may last, and so may a gateway's absence: the host goes back to what it was without us.
 * For a short while routes stay, so that inner connections wait instead of leaving another way. */
static void withdraw(struct client *client)
{
	struct parent_msg_network nothing = {0};

	if (client->network.addresses.count == 0)
		return;
	parent_msg_network_done(&client->network);
	parent_link_ask_network(client->options.parent, &nothing, on_withdrawn, client);
}

static void forget_cookie(struct client *client)
{
	explicit_bzero(client->cookie, sizeof(client->cookie));
}

static void wait_and_retry(struct client *client, bool hopeless)
{
	int64_t delay_ms;

	client->failures++;
	client->gateway = (client->gateway + 1) % client->config->client.gateways.count;
	/* The others of the list are tried at once; a whole round without success is waited for. */
	if (client->failures % client->config->client.gateways.count != 0 &&
	    (!client->last_refused || hopeless))
		delay_ms = 0;
	else
		delay_ms = hopeless ? back_off_early_ms(BACK_OFF_MAX_MS)
				    : back_off_ms(client->failures, client->last_refused);
	client_enter(client, CLIENT_WAITING, NULL);
	if (clock_wall() - client->lost_at >= GIVE_BACK_S)
		withdraw(client);
	arm(client, delay_ms);
}

static enum refusal_by refused_by(const struct dial_result *result)
{
	if (!result->refused)
		return REFUSAL_BY_NOBODY;
	return result->by_us ? REFUSAL_BY_US : REFUSAL_BY_PEER;
}

/* Whose certificate is at fault: what our verdict found, or the gateway's own where trust changed
 * after the verdict; ours when it is the gateway that refuses. */
static struct identity_cert *find_fault(const struct client *client,
					const struct dial_result *result)
{
	if (result->about)
		return identity_cert_ref(result->about);
	if (result->by_us && result->tls)
		return identity_describe(SSL_get0_peer_certificate(result->tls->ssl), NULL);
	if (refused_by(result) == REFUSAL_BY_PEER)
		return identity_describe(client->options.leaf, NULL);
	return NULL;
}

static void remember_refusal(struct client *client, const struct dial_result *result)
{
	struct identity_cert *about = find_fault(client, result);
	struct refusal refusal = {
		.at = clock_wall(),
		.by = refused_by(result),
		.reason = result->reason,
		.peer = result->peer,
	};

	snprintf(refusal.id, sizeof(refusal.id), "%s", result->id);
	snprintf(refusal.text, sizeof(refusal.text), "%s", result->text);
	snprintf(refusal.gateway, sizeof(refusal.gateway), "%s",
		 client->config->client.gateways.items[client->gateway]);
	if (about)
		refusal_set_certificate(&refusal, about, refusal.by == REFUSAL_BY_PEER);
	identity_cert_unref(about);
	refusal_remember(&client->refusals, &refusal);
}

/* The handshake's short id stands in what the user sees: the gateway's log has it too. */
static void remember_failure(struct client *client, const struct dial_result *result)
{
	const char *gateway = client->config->client.gateways.items[client->gateway];

	client->last_reason = result->reason;
	client->last_refused = result->refused;
	snprintf(client->last_id, sizeof(client->last_id), "%s", result->id);
	snprintf(client->last_error, sizeof(client->last_error), "%.400s%s%s", result->text,
		 result->id[0] ? ", handshake " : "", result->id);
	log_warn("%s%s: %s: %.400s%s%s%s", result->by_us ? "refused " : "", gateway,
		 result->refused ? reason_word(result->reason) : "no connection", result->text,
		 result->id[0] ? " (handshake " : "", result->id, result->id[0] ? ")" : "");
	remember_refusal(client, result);
}

/* An attempt that came to nothing; a tunnel's end is none. */
static void count_failure(struct client *client, const struct dial_result *result)
{
	struct client_counts *counts = &client->counts;

	(result->refused ? counts->refused : counts->failed)[result->reason]++;
	tell(client, EVENT_ATTEMPT_FAILED, result->reason, result->text, result->id);
}

/* ---- UP ---- */

static unsigned inner_mtu(const struct dial_result *result)
{
	return dial_inner_mtu(&result->peer, result->path_mtu, result->params.mtu);
}

static void add_own(struct prefix_list *own, const struct addr *addr)
{
	struct prefix host;

	if (!addr->family)
		return;
	host = prefix_host(addr);
	prefix_list_add(own, &host);
}

static void attach(struct client *client, struct dial_result *result)
{
	const struct tunnel_params *params = &result->params;
	struct worker_order *order = xnew(struct worker_order);
	struct flow_spec *spec = &order->spec;
	struct addr peer = addr_of_endpoint(&result->peer);

	order->kind = WORKER_ATTACH;
	*spec = (struct flow_spec){
		.id = ++client->next_flow,
		.session = THE_SESSION,
		.replaces = client->flow,
		.name = xalloc_string(client->config->client.gateways.items[client->gateway]),
		.tls = take(result->tls),
		.early = result->early,
		.has_dtls = params->has_dtls,
		.app_id_len = params->app_id_len,
		.mtu = inner_mtu(result),
		.dpd_us = (params->dpd_s ? params->dpd_s : DPD_S) * CLOCK_SECOND_US,
		.keepalive_us = params->keepalive_s * CLOCK_SECOND_US,
		.access = access_everything(),
		.peer_is_tund = result->is_tund,
	};
	memcpy(spec->psk, result->psk, sizeof(spec->psk));
	memcpy(spec->app_id, params->app_id, sizeof(spec->app_id));
	spec->path.peer = addr_endpoint(&peer, params->dtls_port);
	add_own(&spec->own, &params->v4);
	add_own(&spec->own, &params->v6);
	for (size_t i = 0; i < params->networks.count; i++)
		prefix_list_add(&spec->own, &params->networks.items[i]);
	result->early = (struct buf){0};
	client->flow = spec->id;
	worker_post(client->worker, order);
}

static void forget_peer(struct client *client)
{
	X509_free(client->peer_leaf);
	sk_X509_pop_free(client->peer_chain, X509_free);
	identity_cert_unref(client->peer);
}

static void describe(struct client *client, const struct dial_result *result)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(result->tls->ssl);

	forget_peer(client);
	client->peer = identity_cert_ref(result->tls->verdict.cert);
	client->peer_leaf = SSL_get1_peer_certificate(result->tls->ssl);
	client->peer_chain = chain ? X509_chain_up_ref(chain) : NULL;
	snprintf(client->tls_version, sizeof(client->tls_version), "%s", tls_version(result->tls));
	snprintf(client->cipher, sizeof(client->cipher), "%s", tls_cipher(result->tls));
	snprintf(client->group, sizeof(client->group), "%s", tls_group(result->tls));
	snprintf(client->cookie, sizeof(client->cookie), "%s", result->cookie);
}

static void tunnel_done(struct dial_result *tunnel)
{
	tunnel_params_done(&tunnel->params);
	prefix_list_done(&tunnel->outer);
	buf_wipe(&tunnel->early);
	tls_free(tunnel->tls);
	explicit_bzero(tunnel, sizeof(*tunnel));
}

static void log_up(const struct client *client)
{
	const struct tunnel_params *params = &client->tunnel.params;
	char v4[ADDR_TEXT], v6[ADDR_TEXT], peer[ADDR_ENDPOINT_TEXT];

	log_info("tunnel up: %s (%s), address %s%s%s, mtu %u, %zu routes",
		 client->config->client.gateways.items[client->gateway],
		 addr_endpoint_print(&client->tunnel.peer, peer),
		 params->v4.family ? addr_print(&params->v4, v4) : "",
		 params->v4.family && params->v6.family ? " " : "",
		 params->v6.family ? addr_print(&params->v6, v6) : "", client->mtu,
		 client->network.routes.count);
}

unsigned client_site_families(const struct client *client)
{
	const struct prefix_list *networks = &client->tunnel.params.networks;
	unsigned families = 0;

	for (size_t i = 0; i < networks->count; i++)
		families |= networks->items[i].addr.family == 6 ? PARENT_MSG_V6 : PARENT_MSG_V4;
	return families;
}

void client_take_forwarding(struct client *client, const char *text)
{
	if (text[0] && strcmp(client->unforwarded, text) != 0)
		log_warn("%s", text);
	snprintf(client->unforwarded, sizeof(client->unforwarded), "%s", text);
}

static void on_forwarding(int error, const char *text, void *user)
{
	(void)error;
	client_take_forwarding(user, text);
}

static void check_forwarding(struct client *client)
{
	unsigned families = client_site_families(client);

	if (families)
		parent_link_ask_forwarding(client->options.parent, families, on_forwarding, client);
	else
		client->unforwarded[0] = '\0';
}

static void go_up(struct client *client, struct dial_result *result)
{
	unsigned rekey_s = result->params.rekey_s;
	bool renewed = client->state == CLIENT_UP;

	client->counts.connected++;
	describe(client, result);
	client->over_dtls = client->over_dtls && client->state == CLIENT_UP &&
			    client->config->client.transport != CONFIG_TRANSPORT_TCP;
	attach(client, result);
	tunnel_done(&client->tunnel);
	client->tunnel = *result;
	*result = (struct dial_result){0};
	client->last_reason = REASON_NONE;
	client->last_refused = client->turned_out = false;
	client->last_error[0] = client->last_id[0] = '\0';
	client_enter(client, CLIENT_UP, NULL);
	if (renewed)
		tell(client, EVENT_TUNNEL_RENEWED, REASON_NONE, NULL, NULL);
	log_up(client);
	check_forwarding(client);
	client_replan(client, false);
	if (client->stale)
		arm(client, 0);
	else if (rekey_s)
		arm(client, back_off_early_ms((int64_t)rekey_s * 1000));
	else
		uv_timer_stop(&client->retry);
}

static void set_network(struct client *client, struct dial_result *result);
static void ask_again(const struct client *client, struct dial_result *result);
static void take_failure(struct client *client, const struct dial_result *result);

/* What the kernel says to an address of a family that this host, or the device, runs without. */
static bool lacks_family(int error)
{
	return error == -EACCES || error == -EAFNOSUPPORT || error == -EOPNOTSUPP;
}

static void on_network(int error, const char *text, void *user)
{
	struct client *client = user;
	struct dial_result *result = take(client->pending);

	if (lacks_family(error) && result->params.v4.family && result->params.v6.family) {
		log_warn("the tunnel carries IPv4 alone: %s", text);
		client->without_v6 = true;
		parent_msg_network_done(&client->pending_network);
		set_network(client, result);
	} else if (error == 0) {
		parent_msg_network_done(&client->network);
		client->network = client->pending_network;
		client->pending_network = (struct parent_msg_network){0};
		ask_again(client, result);
		if (result->reason == REASON_NONE)
			go_up(client, result);
		else
			take_failure(client, result);
		tunnel_done(result);
	} else {
		parent_msg_network_done(&client->pending_network);
		result->reason = REASON_INTERNAL;
		result->refused = false;
		snprintf(result->text, sizeof(result->text), "cannot set this host's network: %s",
			 text);
		remember_failure(client, result);
		count_failure(client, result);
		tunnel_done(result);
		wait_and_retry(client, false);
	}
	free(result);
}

/* A renewal keeps what was measured; the new flow measures again. */
static unsigned planned_mtu(const struct client *client, const struct dial_result *result)
{
	unsigned mtu = inner_mtu(result);

	return client->flow && client->mtu && client->mtu < mtu ? client->mtu : mtu;
}

/* A gateway that has lost our lease: the tunnel goes on with what it gives now, but what runs
 * inside is bound to what it gave before. */
static void tell_change(const struct addr *before, const struct addr *now)
{
	char then_text[ADDR_TEXT], now_text[ADDR_TEXT];

	if (!before->family || !now->family || addr_equal(before, now))
		return;
	log_warn("the gateway gives us %s instead of %s: connections inside the tunnel break",
		 addr_print(now, now_text), addr_print(before, then_text));
}

static void tell_changes(const struct tunnel_params *before, const struct tunnel_params *now)
{
	tell_change(&before->v4, &now->v4);
	tell_change(&before->v6, &now->v6);
}

/* The host's network first: a packet must not come back by a route that is not there yet. */
static void set_network(struct client *client, struct dial_result *result)
{
	struct parent_msg_network network;

	client->mtu = planned_mtu(client, result);
	if (client->mtu < TUNNEL_PARAMS_MTU_MIN_V6 || client->without_v6)
		result->params.v6 = (struct addr){0};
	tell_changes(&client->tunnel.params, &result->params);
	netconf_plan(&client->config->client, &result->params, &client->outer, client->mtu,
		     &network);
	if (netconf_equal(&network, &client->network)) {
		parent_msg_network_done(&network);
		go_up(client, result);
		tunnel_done(result);
		return;
	}
	client->pending = xalloc_copy(result, sizeof(*result));
	*result = (struct dial_result){0};
	client->pending_network = network;
	parent_link_ask_network(client->options.parent, &client->pending_network, on_network,
				client);
}

/* ---- DIALLING ---- */

static bool is_known(const struct prefix_list *list, const struct prefix *prefix)
{
	for (size_t i = 0; i < list->count; i++) {
		if (prefix_equal(&list->items[i], prefix))
			return true;
	}
	return false;
}

static void remember_outer(struct client *client, const struct prefix_list *outer)
{
	for (size_t i = 0; i < outer->count && client->outer.count < 64; i++) {
		if (!is_known(&client->outer, &outer->items[i]))
			prefix_list_add(&client->outer, &outer->items[i]);
	}
}

static void take_failure(struct client *client, const struct dial_result *result)
{
	if (result->cookie_refused) {
		/* The session is over; once more without its cookie, at once. */
		forget_cookie(client);
		if (client->flow)
			arm(client, RENEWAL_RETRY_MS);
		else
			dial(client, false);
		return;
	}
	remember_failure(client, result);
	count_failure(client, result);
	if (client->flow) {
		arm(client, RENEWAL_RETRY_MS);
		return;
	}
	/* A gateway that is being restarted can look like one that refuses us: once. */
	if (result->refused && (!result->guessed || client->turned_out))
		withdraw(client);
	client->turned_out = result->guessed;
	wait_and_retry(client, result->hopeless);
}

enum reason client_ask_gateway(const struct client *client, X509 *leaf, STACK_OF(X509) * chain,
			       char *text, size_t size)
{
	char host[DIAL_HOST_MAX];
	uint16_t port;
	struct verdict verdict;
	enum reason reason;

	addr_host_split(client->config->client.gateways.items[client->gateway], DIAL_PORT, host,
			sizeof(host), &port);
	verdict = verify_ask(&(struct verify_question){
		.trust = client->trust,
		.leaf = leaf,
		.untrusted = chain,
		.role = VERIFY_GATEWAY,
		.peer_name =
			client->config->trust.peer_name ? client->config->trust.peer_name : host,
		.at = clock_wall(),
	});
	reason = verdict.reason;
	snprintf(text, size, "%s", verdict.text);
	verify_done(&verdict);
	return reason;
}

/* Trust has changed since the handshake's verdict. */
static void ask_again(const struct client *client, struct dial_result *result)
{
	if (result->reason != REASON_NONE || result->tls->trust == client->trust)
		return;
	result->reason = client_ask_gateway(client, SSL_get0_peer_certificate(result->tls->ssl),
					    SSL_get_peer_cert_chain(result->tls->ssl), result->text,
					    sizeof(result->text));
	result->refused = result->by_us = result->reason != REASON_NONE;
}

/* What is behind us, as the gateway sees it. */
static void judge_networks(const struct client *client, struct prefix_list *networks)
{
	size_t kept = 0;
	char text[PREFIX_TEXT];

	for (size_t i = 0; i < networks->count; i++) {
		const struct prefix *network = &networks->items[i];

		if (netconf_is_behind(network, &client->outer))
			networks->items[kept++] = *network;
		else
			log_warn("the gateway takes %s for a network behind this host, which "
				 "cannot be: it %s; passed over",
				 prefix_print(network, text),
				 network->len ? "holds the gateway's own address"
					      : "is everything");
	}
	networks->count = kept;
}

static void on_dialled(struct dial_result *result, void *user)
{
	struct client *client = user;

	client->dial = NULL;
	ask_again(client, result);
	remember_outer(client, &result->outer);
	judge_networks(client, &result->params.networks);
	if (result->reason != REASON_NONE)
		take_failure(client, result);
	else
		set_network(client, result);
}

static void dial(struct client *client, bool renewal)
{
	struct dial_options options = {
		.loop = client->options.loop,
		.setup = &client->setup,
		.trust = client->trust,
		.parent = client->options.parent,
		.names = client->names,
		.gateway = client->config->client.gateways.items[client->gateway],
		.peer_name = client->config->trust.peer_name,
		.cookie = client->cookie,
		.hostname = client->options.hostname,
		.held4 = client->tunnel.params.v4,
		.held6 = client->tunnel.params.v6,
		.want_dtls = client->config->client.transport != CONFIG_TRANSPORT_TCP,
		.last_outer = &client->outer,
	};

	if (client->dial || client->pending || client->stopping)
		return;
	client->stale = false;
	if (!renewal) {
		client->without_v6 = false; /* it may have been switched on meanwhile */
		client_enter(client, CLIENT_DIALLING, NULL);
	}
	client->dial = dial_start(&options, on_dialled, client);
}

static void on_retry(uv_timer_t *timer)
{
	struct client *client = timer->data;

	dial(client, client->state == CLIENT_UP);
}

/* ---- what the worker tells ---- */

/* The gateway has ended the session. Whether it lets us in anew decides; but not at once where that could only
 * make two devices with one certificate throw each other out in turns. */
static void end_session(struct client *client, struct dial_result *lost)
{
	forget_cookie(client);
	if (lost->reason == REASON_DISCONNECTED && (client->dial || client->pending)) {
		/* A gateway may say goodbye to the connection that our renewal takes over from. */
		client_enter(client, CLIENT_DIALLING, lost->text);
		return;
	}
	lost->refused = true;
	remember_failure(client, lost);
	switch (lost->reason) {
	case REASON_REVOKED:
	case REASON_EXPIRED:
	case REASON_SHUTDOWN:
		client_enter(client, CLIENT_DIALLING, lost->text);
		dial(client, false);
		return;
	default:
		break;
	}
	dial_cancel(take(client->dial));
	client_enter(client, CLIENT_WAITING, lost->text);
	arm(client, lost->reason == REASON_REPLACED ? RETRY_REPLACED_MS : back_off_ms(1, true));
}

/* Some gateways (ocserv) end a session without a word, whatever the cause. */
static const char *describe_end(const struct worker_event *event)
{
	if (event->text[0])
		return event->text;
	return event->reason == REASON_DISCONNECTED
		       ? "the gateway ended the session, without a reason"
		       : reason_word(event->reason);
}

/* The session may be taken up again with the cookie, or it is over. */
static void take_ended(struct client *client, const struct worker_event *event)
{
	struct dial_result lost = {.reason = event->reason};

	flow_add_traffic(&client->carried, &event->traffic);
	if (event->flow != client->flow || client->stopping)
		return;
	client->flow = 0;
	client->over_dtls = false;
	snprintf(lost.text, sizeof(lost.text), "%s", describe_end(event));
	client->lost_at = clock_wall();
	uv_timer_stop(&client->retry);
	if (!event->keep) {
		end_session(client, &lost);
		return;
	}
	log_info("the gateway's channel was lost: %s", lost.text);
	if (client->lost_at - client->since_at >= STABLE_S || client->state != CLIENT_UP) {
		client->failures = 0;
		client_enter(client, CLIENT_DIALLING, lost.text);
		dial(client, false);
		return;
	}
	/* It did not last: whatever ends it is given time. */
	dial_cancel(take(client->dial));
	snprintf(client->last_error, sizeof(client->last_error), "%s", lost.text);
	wait_and_retry(client, false);
}

static void take_transport(struct client *client, const struct worker_event *event)
{
	if (event->flow != client->flow)
		return;
	client->over_dtls = event->over_dtls;
	snprintf(client->data_cipher, sizeof(client->data_cipher), "%.*s",
		 (int)sizeof(client->data_cipher) - 1, event->text);
	log_info("data goes over %s", event->over_dtls ? "DTLS" : "TLS");
	tell(client, EVENT_TUNNEL_TRANSPORT, REASON_NONE, event->over_dtls ? "DTLS" : "TLS", NULL);
}

static void on_mtu_set(int error, const char *text, void *user)
{
	(void)user;
	if (error)
		log_warn("cannot set the interface's MTU: %s", text);
}

static void take_mtu(struct client *client, const struct worker_event *event)
{
	if (event->flow != client->flow || event->mtu == client->mtu || client->pending)
		return;
	log_info("the path carries packets of %u bytes", event->mtu);
	client->mtu = client->network.mtu = event->mtu;
	parent_link_ask_network(client->options.parent, &client->network, on_mtu_set, client);
}

static void take_report(struct worker_event *event)
{
	struct client_report *report = event->tag;
	struct flow_traffic carried = report->client->carried;

	report->counts = event->counts;
	report->traffic = event->traffic;
	report->udp_offloads = event->udp_offloads;
	/* A flow that drains has carried for the one that replaced it. */
	for (size_t i = 0; i < event->flow_count; i++) {
		flow_add_traffic(&carried, &event->flows[i].traffic);
		if (event->flows[i].id == report->client->flow)
			report->flow = event->flows[i];
	}
	report->flow.traffic = carried;
	report->done(report, report->user);
}

static void on_worker_event(struct mailbox_message *message, void *owner)
{
	struct worker_event *event = (struct worker_event *)message;
	struct client *client = owner;

	switch (event->kind) {
	case WORKER_ATTACHED:
	case WORKER_WAS_CUT:
	case WORKER_HAS_RULES:
	case WORKER_GUEST: /* these three: there is one worker */
	case WORKER_MOVED:
	case WORKER_CARRIED:
		break;
	case WORKER_TRANSPORT:
		take_transport(client, event);
		break;
	case WORKER_MTU:
		take_mtu(client, event);
		break;
	case WORKER_ENDED:
		take_ended(client, event);
		break;
	case WORKER_REPORTED:
		take_report(event);
		break;
	case WORKER_STOPPED:
		client->stopped(client->stopped_user);
		break;
	}
	worker_event_free(event);
}

void client_ask_report(struct client *client, void (*done)(struct client_report *, void *),
		       void *user)
{
	struct client_report *report = xnew(struct client_report);
	struct worker_order *order = xnew(struct worker_order);

	*report = (struct client_report){.client = client, .done = done, .user = user};
	order->kind = WORKER_REPORT;
	order->tag = report;
	worker_post(client->worker, order);
}

void client_report_free(struct client_report *report)
{
	free(report);
}

static void cut_flow(struct client *client, const char *text)
{
	struct worker_order *order = xnew(struct worker_order);

	order->kind = WORKER_CUT;
	order->session = THE_SESSION;
	order->reason = REASON_DISCONNECTED;
	snprintf(order->text, sizeof(order->text), "%s", text);
	worker_post(client->worker, order);
	client->flow = 0;
	client->over_dtls = false;
	forget_cookie(client);
	uv_timer_stop(&client->retry);
}

void client_reconnect(struct client *client)
{
	if (!client->flow)
		return;
	cut_flow(client, "the user asked for a new connection");
	dial_cancel(take(client->dial));
	client_enter(client, CLIENT_DIALLING, "the user asked for it");
	dial(client, false);
}

/* ---- reload ---- */

void client_leave(struct client *client, enum reason reason, const char *text)
{
	struct dial_result lost = {.reason = reason};

	/* Routes stay for as long as the next gateway takes, unless it is trust that is missing. */
	lost.refused = lost.by_us = reason != REASON_DISCONNECTED;
	snprintf(lost.text, sizeof(lost.text), "%s", text);
	cut_flow(client, "the client's configuration does not allow this gateway any more");
	dial_cancel(take(client->dial));
	client->lost_at = clock_wall();
	remember_failure(client, &lost);
	if (lost.refused)
		withdraw(client);
	wait_and_retry(client, false);
}

void client_renew(struct client *client, const char *why)
{
	if (client->stopping)
		return;
	if (client->dial || client->pending) {
		client->stale = true;
		return;
	}
	log_info("connecting %s: %s", client->state == CLIENT_UP ? "anew" : "at once", why);
	uv_timer_stop(&client->retry);
	dial(client, client->state == CLIENT_UP);
}

static void on_replanned(int error, const char *text, void *user)
{
	struct client *client = user;

	if (!error)
		return;
	log_warn("cannot change this host's network: %s", text);
	client->reset_host = true; /* what is planned is not what is set */
}

void client_replan(struct client *client, bool again)
{
	struct parent_msg_network network;

	client->reset_host |= again;
	if (client->state != CLIENT_UP || client->pending || client->stopping)
		return;
	netconf_plan(&client->config->client, &client->tunnel.params, &client->outer, client->mtu,
		     &network);
	if (!client->reset_host && netconf_equal(&network, &client->network)) {
		parent_msg_network_done(&network);
		return;
	}
	client->reset_host = false;
	parent_msg_network_done(&client->network);
	client->network = network;
	parent_link_ask_network(client->options.parent, &client->network, on_replanned, client);
}

/* ---- start and stop ---- */

static int start_worker(struct client *client)
{
	const struct client_options *options = &client->options;
	struct worker_options worker = {
		.is_client = true,
		.tun_fd = options->tun_fd,
		.tun_offloads = options->tun_offloads,
		.socket_count = options->socket_count,
		.transport = client->config->client.transport,
		.events = client->worker_events,
	};

	memcpy(worker.sockets, options->sockets, sizeof(worker.sockets));
	return worker_start(&worker, 1, &client->worker);
}

int client_make_setup(const struct client_options *options, struct tls_setup *ret_setup,
		      EVP_PKEY **ret_key, char *error, size_t size)
{
	struct tls_options tls = {
		.leaf = options->leaf,
		.chain = options->chain,
		.groups = options->config->crypto.groups,
		.hybrid = options->config->crypto.post_quantum != CONFIG_PQ_OFF,
	};

	tls.key = remote_key_new(options->spki.data, options->spki.len, options->key_socket,
				 options->key_generation);
	if (!tls.key) {
		snprintf(error, size, "the key holder's key cannot be used: %s",
			 ERR_reason_error_string(ERR_peek_last_error()));
		return -EINVAL;
	}
	if (tls_setup_init(ret_setup, &tls, error, size) < 0) {
		EVP_PKEY_free(tls.key);
		return -EINVAL;
	}
	*ret_key = tls.key;
	return 0;
}

int client_start(const struct client_options *options, struct client **ret, char *error,
		 size_t size)
{
	struct client *client = xnew(struct client);
	int r = options->enter_engine ? options->enter_engine() : 0;

	if (r < 0) {
		snprintf(error, size, "cannot load the sandbox: %s", strerror(-r));
		return r;
	}
	client->options = *options;
	client->config = options->config;
	client->trust = trust_ref(options->trust);
	client->state = CLIENT_WAITING;
	client->started_at = client->since_at = clock_wall();
	client->names = names_new(options->loop, options->fetch);
	client->worker_events = mailbox_new(options->loop, on_worker_event, client);
	uv_timer_init(options->loop, &client->retry);
	client->retry.data = client;
	r = start_worker(client);
	if (r < 0) {
		snprintf(error, size, "cannot start a worker: %s", strerror(-r));
		return r;
	}
	r = client_make_setup(options, &client->setup, &client->key, error, size);
	if (r < 0)
		return r;
	dial(client, false);
	*ret = client;
	return 0;
}

void client_stop(struct client *client, void (*stopped)(void *user), void *user)
{
	struct worker_order *order = xnew(struct worker_order);

	client->stopping = true;
	client->stopped = stopped;
	client->stopped_user = user;
	dial_cancel(take(client->dial));
	uv_close((uv_handle_t *)&client->retry, NULL);
	order->kind = WORKER_STOP;
	order->reason = REASON_DISCONNECTED;
	snprintf(order->text, sizeof(order->text), "the user ended it");
	worker_post(client->worker, order);
}

void client_free(struct client *client)
{
	if (!client)
		return;
	worker_free(&client->worker, 1);
	mailbox_free(client->worker_events);
	names_free(client->names);
	tunnel_done(&client->tunnel);
	if (client->pending)
		tunnel_done(client->pending);
	free(client->pending);
	parent_msg_network_done(&client->network);
	parent_msg_network_done(&client->pending_network);
	prefix_list_done(&client->outer);
	tls_setup_done(&client->setup);
	EVP_PKEY_free(client->key);
	trust_unref(client->trust);
	forget_peer(client);
	forget_cookie(client);
	refusal_done(&client->refusals);
	free(client);
}
