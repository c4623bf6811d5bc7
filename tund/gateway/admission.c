/* LOGIN    access? ──▶ a cookie, bound to the identity
 * CONNECT  access? ──▶ the cookie's session, or a new one (who comes without a login, as a tund does,
 *          gets the cookie with the answer) ──▶ duplicate, full? ──▶ lease ──▶
 *          parameters ──▶ the flow goes to a worker, the answer with it as its first record */
#include "gateway/admission.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "gateway/crew.h"
#include "gateway/listener.h"
#include "gateway/revoke.h"
#include "gateway/site.h"
#include "pki/verify.h"
#include "wire/tunnel_params.h"

enum {
	COOKIE_BYTES = 32,
	PENDING_PER_IDENTITY = 8, /* logins that have not become sessions */
	OUTER_V4 = 20,
	OUTER_V6 = 40,
	OUTER_UDP = 8,
	CSTP_TYPE = 1,
	DEFAULT_PATH_MTU = 1500,
	LOGIN_MAX_S = 300,
};

static const char server_name[] = "tund";

static void answer(struct handshake_event *event, unsigned status, enum reason reason,
		   const char *cookie)
{
	struct handshake_answer reply = {.status = status, .reason = reason};

	if (cookie)
		snprintf(reply.cookie, sizeof(reply.cookie), "%s", cookie);
	reply.tls = event->tls;
	event->tls = NULL;
	handshake_answer(event, &reply);
	explicit_bzero(&reply, sizeof(reply));
}

/* ---- who may do what ---- */

static bool block_matches(const struct config_access *block, const struct identity_cert *cert)
{
	for (size_t i = 0; i < block->match.count; i++) {
		if (!identity_matches(cert, block->match.items[i]))
			return false;
	}
	return true;
}

/* A second site among the blocks: to which of the two the networks belong nobody can tell. */
static const struct config_access *find_rival(const struct config_access *const *blocks,
					      size_t count)
{
	const struct config_access *site = site_of(blocks, count);

	for (size_t i = 0; i < count; i++) {
		if (blocks[i]->is_site && blocks[i] != site)
			return blocks[i];
	}
	return NULL;
}

const struct config_access **admission_blocks(const struct gateway *gateway,
					      const struct identity_cert *cert, size_t *ret_count)
{
	const struct config *config = gateway->config;
	const struct config_access **blocks =
		xnew_array(const struct config_access *, config->access_count);

	*ret_count = 0;
	for (size_t i = 0; i < config->access_count; i++) {
		if (block_matches(&config->access[i], cert))
			blocks[(*ret_count)++] = &config->access[i];
	}
	if (find_rival(blocks, *ret_count)) {
		const struct config_access *one = site_of(blocks, *ret_count);
		const struct config_access *other = find_rival(blocks, *ret_count);

		log_warn(
			"%s matches site \"%s\" (line %u) and site \"%s\" (line %u) and is not let "
			"in: a certificate is of one site; let their match differ",
			cert->identity.name, one->title, one->line, other->title, other->line);
		*ret_count = 0;
	}
	return blocks;
}

const struct config_access *admission_site(const struct gateway *gateway,
					   const struct identity_cert *cert)
{
	size_t count;
	const struct config_access **blocks = admission_blocks(gateway, cert, &count);
	const struct config_access *site = site_of(blocks, count);

	free(blocks);
	return site;
}

/* Trust has changed since the handshake's verdict: the question is asked again, where the channel
 * with its chain is at hand (a LOGIN's will be at its CONNECT). */
static enum reason ask_again(const struct gateway *gateway, const struct handshake_event *event)
{
	const struct identity_cert *cert = event->cert;
	struct verdict verdict;
	enum reason reason;

	if (trust_denies(gateway->trust, cert->issuer_hash, cert->serial, cert->spki_hash))
		return REASON_CERT_DENIED;
	if (!event->tls)
		return REASON_NONE;
	verdict = gateway_ask_device(gateway, SSL_get0_peer_certificate(event->tls->ssl),
				     SSL_get_peer_cert_chain(event->tls->ssl));
	reason = verdict.reason;
	verify_done(&verdict);
	return reason;
}

static enum reason still_welcome(const struct gateway *gateway, const struct handshake_event *event)
{
	enum reason reason = REASON_NONE;
	size_t count;

	if (event->generation != gateway->trust->generation)
		reason = ask_again(gateway, event);
	if (reason != REASON_NONE)
		return reason;
	free(admission_blocks(gateway, event->cert, &count));
	return count ? REASON_NONE : REASON_NO_ACCESS;
}

/* ---- LOGIN ---- */

static void hash_cookie(const char *cookie, uint8_t hash[static SESSION_COOKIE])
{
	EVP_Digest(cookie, strlen(cookie), hash, NULL, EVP_sha256(), NULL);
}

static bool make_cookie(char cookie[static HANDSHAKE_COOKIE_TEXT])
{
	uint8_t bytes[COOKIE_BYTES];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(cookie + 2 * i, 3, "%02x", bytes[i]);
	explicit_bzero(bytes, sizeof(bytes));
	return true;
}

/* The oldest login of an identity that has too many. */
static void trim_pending(struct gateway *gateway, const struct identity *identity)
{
	struct session *session = NULL, *oldest = NULL;
	unsigned count = 0;

	while ((session = session_table_by_identity(&gateway->sessions, identity, session))) {
		if (session->state != SESSION_PENDING)
			continue;
		oldest = oldest ? oldest : session;
		count++;
	}
	if (count >= PENDING_PER_IDENTITY)
		session_table_remove(&gateway->sessions, oldest);
}

/* A login that becomes no session is kept for as long as a cookie, five minutes at most. */
static int64_t login_lifetime_s(const struct gateway *gateway)
{
	int64_t lifetime_s = gateway_cookie_lifetime_s(gateway);

	return lifetime_s < LOGIN_MAX_S ? lifetime_s : LOGIN_MAX_S;
}

static struct session *add_session(struct gateway *gateway, const struct identity_cert *cert,
				   const char *cookie)
{
	struct session *session;
	uint8_t hash[SESSION_COOKIE];

	trim_pending(gateway, &cert->identity);
	session = session_table_add(&gateway->sessions, &cert->identity);
	session_table_give_up_at(&gateway->sessions, session,
				 clock_now_us() + login_lifetime_s(gateway) * CLOCK_SECOND_US);
	hash_cookie(cookie, hash);
	session_table_set_cookie(&gateway->sessions, session, hash);
	/* Its chain comes with its CONNECT; what is known by then is enough to deny it. */
	session->cert = identity_cert_ref((struct identity_cert *)cert);
	return session;
}

void admission_login(struct gateway *gateway, struct handshake_event *event)
{
	enum reason reason = still_welcome(gateway, event);
	char cookie[HANDSHAKE_COOKIE_TEXT];

	if (reason != REASON_NONE) {
		answer(event, 403, reason, NULL);
	} else if (!make_cookie(cookie)) {
		answer(event, 503, REASON_INTERNAL, NULL);
	} else {
		add_session(gateway, event->cert, cookie);
		answer(event, 200, REASON_NONE, cookie);
	}
	explicit_bzero(cookie, sizeof(cookie));
	handshake_event_free(event);
}

/* ---- CONNECT: which session ---- */

/* The session a cookie names, when it belongs to this identity. */
static struct session *find_by_cookie(struct gateway *gateway, const struct handshake_event *event)
{
	uint8_t hash[SESSION_COOKIE];
	struct session *session;

	hash_cookie(event->offer.cookie, hash);
	session = session_table_by_cookie(&gateway->sessions, hash);
	if (!session || !identity_equal(&session->identity, &event->cert->identity))
		return NULL;
	return session;
}

static bool holds_place(const struct session *session)
{
	return session->state == SESSION_OPEN || session->state == SESSION_AWAY;
}

static bool holds_lease(const struct session *session)
{
	return holds_place(session) && session->lease;
}

static enum reason settle_duplicate(struct gateway *gateway, struct session *other,
				    enum config_duplicate rule)
{
	if (other->state == SESSION_AWAY && rule != CONFIG_DUPLICATE_ALLOW)
		gateway_close_session(gateway, other, REASON_REPLACED);
	else if (rule == CONFIG_DUPLICATE_REFUSE)
		return REASON_DUPLICATE_IDENTITY;
	else if (rule == CONFIG_DUPLICATE_REPLACE)
		gateway_cut_session(gateway, other, REASON_REPLACED,
				    "connected again from elsewhere", NULL);
	return REASON_NONE;
}

/* Others of the same identity or site, when this session is about to take addresses. A site is in
 * one place: its networks can be routed to one. */
static enum reason settle_duplicates(struct gateway *gateway, struct session *session,
				     const struct config_access *site)
{
	enum config_duplicate rule = gateway->config->gateway.duplicate;
	struct session_table *table = &gateway->sessions;
	enum reason reason = REASON_NONE;
	struct session *other, *next;

	if (site && rule == CONFIG_DUPLICATE_ALLOW)
		rule = CONFIG_DUPLICATE_REPLACE;
	other = session_table_by_identity(table, &session->identity, NULL);
	for (; other && reason == REASON_NONE; other = next) {
		next = session_table_by_identity(table, &session->identity, other);
		if (other != session && holds_lease(other))
			reason = settle_duplicate(gateway, other, rule);
	}
	for (other = site ? table->links : NULL; other && reason == REASON_NONE; other = next) {
		next = other->next_link;
		if (other != session && other->site == site && holds_lease(other))
			reason = settle_duplicate(gateway, other, rule);
	}
	return reason;
}

/* ---- CONNECT: addresses ---- */

static bool holds_address(const struct session *session, const struct addr *addr)
{
	return addr && holds_lease(session) &&
	       (addr_equal(&session->lease->v4, addr) || addr_equal(&session->lease->v6, addr));
}

/* Who got them before they became the site's, by a reload, comes back with others. */
static void free_fixed(struct gateway *gateway, const struct session *session,
		       const struct config_access *site)
{
	struct session *other, *next;

	HASH_ITER(hh, gateway->sessions.sessions, other, next)
	{
		if (other == session || (!holds_address(other, site_address(site, 4)) &&
					 !holds_address(other, site_address(site, 6))))
			continue;
		log_info("session %lu %s: its address is now that of site \"%s\"",
			 (unsigned long)other->id, session_name(other), site->title);
		gateway_cut_session(gateway, other, REASON_DISCONNECTED,
				    "its address is now a site's; another is given", NULL);
	}
}

/* The second place of one identity gets a key, and so addresses, of its own. */
static int take_lease(struct gateway *gateway, struct session *session,
		      const struct config_access *site, const struct tunnel_offer *offer)
{
	char key[LEASE_KEY_MAX], numbered[LEASE_KEY_MAX + 16];
	int r = -EEXIST;

	session_lease_key(&session->identity, key);
	for (unsigned place = 1; r == -EEXIST && place <= 1000; place++) {
		if (place == 1)
			snprintf(numbered, sizeof(numbered), "%s", key);
		else
			snprintf(numbered, sizeof(numbered), "%s#%u", key, place);
		numbered[LEASE_KEY_MAX - 1] = '\0';
		r = lease_take_fixed(gateway->leases, numbered, site_address(site, 4),
				     site_address(site, 6), offer->want4, offer->want6,
				     &session->lease);
	}
	return r;
}

static bool fits(const struct addr *held, const struct addr *fixed)
{
	return !fixed || !held->family || addr_equal(held, fixed);
}

/* What a session of before a restart or a reload holds may not be what is fixed for it now. */
static bool lease_fits(const struct session *session, const struct config_access *site)
{
	return fits(&session->lease->v4, site_address(site, 4)) &&
	       fits(&session->lease->v6, site_address(site, 6));
}

static void return_lease(struct gateway *gateway, struct session *session)
{
	lease_release(gateway->leases, session->lease, clock_wall());
	session->lease = NULL;
	gateway->sessions.open--;
}

static void remember_lease(struct gateway *gateway, const struct session *session)
{
	struct store_lease lease = {
		.v4 = session->lease->v4,
		.v6 = session->lease->v6,
		.used_at_s = clock_wall(),
	};

	snprintf(lease.key, sizeof(lease.key), "%s", session->lease->key);
	store_put_lease(gateway->store, &lease);
}

static enum reason take_place(struct gateway *gateway, struct session *session,
			      const struct config_access *site, const struct tunnel_offer *offer)
{
	enum reason reason = settle_duplicates(gateway, session, site);
	int r;

	if (reason != REASON_NONE)
		return reason;
	if (gateway->sessions.open >= gateway->config->gateway.max_sessions)
		return REASON_FULL;
	r = take_lease(gateway, session, site, offer);
	if (r == -EADDRINUSE) {
		free_fixed(gateway, session, site);
		r = take_lease(gateway, session, site, offer);
	}
	if (r < 0)
		return REASON_FULL;
	gateway->sessions.open++;
	remember_lease(gateway, session);
	return REASON_NONE;
}

/* ---- CONNECT: what the peer is told ---- */

/* Bytes of an inner packet that a DTLS record of the path carries. */
static unsigned inner_mtu(const struct gateway *gateway, const struct handshake_event *event)
{
	const struct addr peer = addr_of_endpoint(&event->peer);
	unsigned path = event->path_mtu ? event->path_mtu : DEFAULT_PATH_MTU, inner;

	if (event->offer.base_mtu && event->offer.base_mtu < path)
		path = event->offer.base_mtu;
	if (path > TUNNEL_PARAMS_MTU_MAX)
		path = TUNNEL_PARAMS_MTU_MAX;
	inner = path - (peer.family == 6 ? OUTER_V6 : OUTER_V4) - OUTER_UDP - DTLS_OVERHEAD_GCM -
		CSTP_TYPE;
	if (gateway->config->gateway.mtu && gateway->config->gateway.mtu < inner)
		inner = gateway->config->gateway.mtu;
	return inner > TUNNEL_PARAMS_MTU_MIN_V4 ? inner : TUNNEL_PARAMS_MTU_MIN_V4;
}

static void add_prefixes(struct prefix_list *to, const struct prefix_list *from, bool with6)
{
	for (size_t i = 0; i < from->count; i++) {
		if (from->items[i].addr.family == 4 || with6)
			prefix_list_add(to, &from->items[i]);
	}
}

static void push_names(const struct config_gateway *config, struct tunnel_params *params,
		       bool with6)
{
	add_prefixes(&params->dns, &config->dns, with6);
	for (size_t i = 0; i < config->domains.count; i++) {
		const char *domain = config->domains.items[i];

		if (strcmp(domain, ".") == 0)
			params->tunnel_all_dns = true;
		else
			tunnel_params_add_domain(params, domain, strlen(domain));
	}
}

static void push_routes(const struct gateway *gateway, const struct session *session,
			struct tunnel_params *params, bool with6)
{
	const struct config_gateway *config = &gateway->config->gateway;

	add_prefixes(&params->routes, &config->routes, with6);
	add_prefixes(&params->exclude, &config->exclude, with6);
	for (size_t i = 0; i < session->block_count; i++)
		add_prefixes(&params->routes, &session->blocks[i]->routes, with6);
	if (session->site)
		site_fill_params(gateway, session->site, with6, params);
}

static void fill_params(const struct gateway *gateway, const struct session *session,
			const struct handshake_event *event, struct tunnel_params *params)
{
	const struct config_gateway *config = &gateway->config->gateway;
	bool with6 = session->lease->v6.family != 0 && event->offer.want6 &&
		     session->mtu >= TUNNEL_PARAMS_MTU_MIN_V6;
	const struct addr peer = addr_of_endpoint(&event->peer);

	*params = (struct tunnel_params){
		.v4 = session->lease->v4,
		.v4_len = 32,
		.v6 = with6 ? session->lease->v6 : (struct addr){0},
		.v6_len = (uint8_t)session->lease->v6_len,
		.full6 = event->offer.full6,
		.mtu = session->mtu,
		.base_mtu = session->mtu + (peer.family == 6 ? OUTER_V6 : OUTER_V4) + OUTER_UDP +
			    DTLS_OVERHEAD_GCM + CSTP_TYPE,
		.dpd_s = (unsigned)config->dpd_s,
		.keepalive_s = (unsigned)config->keepalive_s,
		.rekey_s = (unsigned)config->rekey_s,
		.idle_timeout_s = session->site ? 0 : (unsigned)config->idle_timeout_s,
		.has_dtls = event->has_psk,
		.dtls_port = addr_port(&event->local),
		.app_id_len = event->has_psk ? DTLS_APP_ID : 0,
		.dtls_dpd_s = (unsigned)config->dpd_s,
		.dtls_keepalive_s = (unsigned)config->keepalive_s,
	};
	push_names(config, params, with6);
	push_routes(gateway, session, params, with6);
	RAND_bytes(params->app_id, DTLS_APP_ID);
	snprintf(params->cookie, sizeof(params->cookie), "%s", event->new_cookie);
}

/* ---- CONNECT: the session stands ---- */

static void describe(struct session *session, const struct handshake_event *event)
{
	session->peer = event->peer;
	session->over_dtls = false;
	session->data_cipher[0] = '\0';
	snprintf(session->agent, sizeof(session->agent), "%s", event->offer.agent);
	snprintf(session->tls_version, sizeof(session->tls_version), "%s", tls_version(event->tls));
	snprintf(session->cipher, sizeof(session->cipher), "%s", tls_cipher(event->tls));
	snprintf(session->group, sizeof(session->group), "%s", tls_group(event->tls));
	snprintf(session->handshake_id, sizeof(session->handshake_id), "%s", event->id);
}

void admission_stand(struct gateway *gateway, struct session *session)
{
	free(session->blocks);
	session->blocks = admission_blocks(gateway, session->cert, &session->block_count);
	session_table_set_site(&gateway->sessions, session,
			       site_of(session->blocks, session->block_count));
}

static void stand_on_cert(struct gateway *gateway, struct session *session,
			  const struct handshake_event *event)
{
	X509 *leaf = SSL_get0_peer_certificate(event->tls->ssl);

	session_set_cert(session, event->cert, leaf, SSL_get_peer_cert_chain(event->tls->ssl));
	session_table_expire_at(&gateway->sessions, session, event->cert->expires_at);
	admission_stand(gateway, session);
	revoke_remember_seen(gateway, event->cert);
}

static void add_own(struct prefix_list *own, const struct addr *addr)
{
	struct prefix host;

	if (!addr->family)
		return;
	host = prefix_host(addr);
	prefix_list_add(own, &host);
}

void admission_rules(const struct session *session, struct flow_spec *spec)
{
	add_own(&spec->own, &session->lease->v4);
	add_own(&spec->own, &session->lease->v6);
	for (size_t i = 0; session->site && i < session->site->networks.count; i++)
		prefix_list_add(&spec->own, &session->site->networks.items[i]);
	spec->access = access_compile(session->blocks, session->block_count);
}

/* A tund says so in its agent, which decides only how liveness is probed. */
static bool is_tund(const char *agent)
{
	return strstr(agent, "(tund)") != NULL;
}

static void attach_flow(struct gateway *gateway, struct session *session,
			struct handshake_event *event, const struct tunnel_params *params)
{
	const struct config_gateway *config = &gateway->config->gateway;
	struct flow_spec spec = {
		.id = ++gateway->next_flow,
		.session = session->id,
		.replaces = session->flow,
		.name = xalloc_string(session_name(session)),
		.tls = event->tls,
		.has_dtls = event->has_psk,
		.app_id_len = params->app_id_len,
		.mtu = session->mtu,
		.dpd_us = config->dpd_s * CLOCK_SECOND_US,
		.keepalive_us = config->keepalive_s * CLOCK_SECOND_US,
		.is_site = session->site != NULL,
		.idle_us = session->site ? 0 : config->idle_timeout_s * CLOCK_SECOND_US,
		.peer_is_tund = is_tund(event->offer.agent),
	};
	event->tls = NULL;
	memcpy(spec.psk, event->psk, sizeof(spec.psk));
	memcpy(spec.app_id, params->app_id, sizeof(spec.app_id));
	tunnel_params_write_answer(&spec.greeting, params, server_name);
	admission_rules(session, &spec);
	crew_attach(gateway, session, &spec);
}

static void log_open(const struct session *session)
{
	char v4[ADDR_TEXT], v6[ADDR_TEXT], peer[ADDR_ENDPOINT_TEXT];
	const struct lease *lease = session->lease;

	log_info("session %lu %s: open from %s, address %s%s%s, mtu %u%s%s%s (handshake %s)",
		 (unsigned long)session->id, session_name(session),
		 addr_endpoint_print(&session->peer, peer),
		 lease->v4.family ? addr_print(&lease->v4, v4) : "",
		 lease->v4.family && lease->v6.family ? " " : "",
		 lease->v6.family ? addr_print(&lease->v6, v6) : "", session->mtu,
		 session->site ? ", the link of site \"" : "",
		 session->site ? session->site->title : "", session->site ? "\"" : "",
		 session->handshake_id);
}

/* What its opening is to whoever watches. */
static enum event_kind opening_kind(const struct session *session)
{
	switch (session->state) {
	case SESSION_OPEN:
		return EVENT_SESSION_RENEWED;
	case SESSION_AWAY:
		return EVENT_SESSION_BACK;
	default:
		return EVENT_SESSION_OPENED;
	}
}

static void open_session(struct gateway *gateway, struct session *session,
			 struct handshake_event *event)
{
	struct tunnel_params params;
	enum event_kind kind;

	if (session->state == SESSION_PENDING || !session->connected_at)
		session->connected_at = clock_wall();
	session->mtu = inner_mtu(gateway, event);
	describe(session, event);
	stand_on_cert(gateway, session, event);
	fill_params(gateway, session, event, &params);
	attach_flow(gateway, session, event, &params);
	tunnel_params_done(&params);
	kind = opening_kind(session);
	session_enter(session, SESSION_OPEN, NULL);
	gateway_remember_cookie(gateway, session, 0);
	gateway->counts.accepted++;
	log_open(session);
	if (session->site)
		site_publish(gateway);
	gateway_tell_session(gateway, kind, session, REASON_NONE, NULL);
}

static unsigned status_of(enum reason reason)
{
	switch (reason) {
	case REASON_NO_ACCESS:
	case REASON_CERT_DENIED:
		return 403;
	case REASON_PROTOCOL_ERROR:
		return 401;
	default:
		return 503;
	}
}

static enum reason admit(struct gateway *gateway, struct handshake_event *event,
			 struct session **ret)
{
	enum reason reason = still_welcome(gateway, event);
	const struct config_access *site;
	struct session *session;

	if (reason != REASON_NONE)
		return reason;
	site = admission_site(gateway, event->cert);
	if (event->offer.cookie[0]) {
		session = find_by_cookie(gateway, event);
		if (!session)
			return REASON_PROTOCOL_ERROR;
	} else {
		if (!make_cookie(event->new_cookie))
			return REASON_INTERNAL;
		session = add_session(gateway, event->cert, event->new_cookie);
	}
	if (holds_lease(session) && !lease_fits(session, site))
		return_lease(gateway, session);
	if (!session->lease)
		reason = take_place(gateway, session, site, &event->offer);
	else if (site) /* from before a restart it has its place, but another may be the link now */
		reason = settle_duplicates(gateway, session, site);
	if (reason == REASON_NONE)
		*ret = session;
	else if (holds_place(session))
		gateway_close_session(gateway, session, reason);
	else if (!event->offer.cookie[0]) /* nobody could ever name it */
		session_table_remove(&gateway->sessions, session);
	return reason;
}

void admission_connect(struct gateway *gateway, struct handshake_event *event)
{
	if (!site_hold(gateway, event))
		admission_connect_now(gateway, event);
}

void admission_connect_now(struct gateway *gateway, struct handshake_event *event)
{
	struct session *session = NULL;
	enum reason reason = admit(gateway, event, &session);

	if (reason != REASON_NONE) {
		answer(event, status_of(reason), reason, NULL);
	} else {
		open_session(gateway, session, event);
		listener_forget(gateway, &event->peer);
	}
	handshake_event_free(event);
}
