/* A reload, from the gateway's side:
 *
 *	prepare  TLS contexts with the new certificate and key, one a thread
 *	swap     configuration, trust (with our denials, a higher generation), TLS, the workers'
 *		 settings: handshakes under way finish with what they began, and are asked again
 *		 by admission, because the generation has changed
 *	ask      each session about the new trust, then the new blocks:
 *		   refused            its flows are cut, or its place is taken if it is away
 *		   other rules        its flows get them, in turn with its packets: none is lost
 *		   a second of a site is cut, too
 *		   the same as before nothing is touched
 *
 * All in one turn of the loop, but for the certificates of sessions that no list mentions: a
 * signature or two each, so that of ten thousand a few are asked about in each turn, and others wait
 * for none of it.
 *
 * What is pushed (routes, resolvers, times, MTU) waits for the session's next CONNECT: the protocol
 * has no word for it before. */
#include "gateway/gateway_reload.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "gateway/admission.h"
#include "gateway/crew.h"
#include "gateway/cut.h"
#include "gateway/revoke.h"
#include "gateway/site.h"
#include "pki/crl.h"
#include "pki/verify.h"

enum { TURN_US = 3000 };

struct gateway_reload {
	struct gateway_options options;
	struct handshake_setups *setups;
};

/* ---- prepare ---- */

struct gateway_reload *gateway_reload_prepare(const struct gateway *gateway,
					      const struct material_renewal *renewal, char *error,
					      size_t size)
{
	struct gateway_reload *reload = xnew(struct gateway_reload);
	struct handshake_pool_options pool;

	reload->options = gateway->options;
	reload->options.config = renewal->config;
	reload->options.trust = renewal->material->trust;
	reload->options.leaf = renewal->material->leaf;
	reload->options.chain = renewal->material->chain;
	reload->options.spki = *renewal->spki;
	reload->options.key_generation = renewal->key_generation;
	pool = gateway_handshake_options(&reload->options, gateway->handshake_events);
	reload->setups = handshake_setups_new(gateway->handshakes, &pool, error, size);
	if (reload->setups)
		return reload;
	free(reload);
	return NULL;
}

void gateway_reload_free(struct gateway_reload *reload)
{
	if (!reload)
		return;
	handshake_setups_free(reload->setups);
	free(reload);
}

/* ---- swap ---- */

static void reserve_addresses(struct gateway *gateway)
{
	struct prefix_list reserved = {0};

	gateway_find_reserved(&gateway->options, &reserved);
	lease_pool_reserve(gateway->leases, &reserved);
	prefix_list_done(&reserved);
}

void gateway_reload_swap(struct gateway *gateway, struct gateway_reload *reload)
{
	gateway->options = reload->options;
	gateway->config = reload->options.config;
	reserve_addresses(gateway);
	revoke_adopt(gateway, reload->options.trust);
	handshake_pool_adopt(gateway->handshakes, take(reload->setups));
	crew_tune(gateway);
	gateway_reload_free(reload);
}

/* ---- ask ---- */

struct gateway_asking {
	struct gateway *gateway;
	struct gateway_reload_result *result;
	struct gateway_cut *pending; /* what workers have not acknowledged */
	struct delay_since since;
	uint64_t *ids; /* sessions whose certificates are still to be asked about */
	size_t id_count, at;
	uv_timer_t turn;
};

static void add_entry(struct gateway_reload_session **list, size_t *count,
		      const struct session *session, enum reason reason)
{
	struct gateway_reload_session *entry;

	*list = xalloc_grow(*list, *count + 1, sizeof(**list));
	entry = &(*list)[(*count)++];
	*entry = (struct gateway_reload_session){
		.id = session->id,
		.peer = session->peer,
		.reason = reason,
	};
	snprintf(entry->identity, sizeof(entry->identity), "%s", session_name(session));
}

/* With the chain it came with; a session that has only logged in shows its own at CONNECT. */
static enum reason ask_trust(struct gateway *gateway, struct session *session, char *text,
			     size_t size)
{
	const struct identity_cert *cert = session->cert;
	struct verdict verdict;
	enum reason reason;

	snprintf(text, size, "the certificate is denied here");
	if (trust_denies(gateway->trust, cert->issuer_hash, cert->serial, cert->spki_hash))
		return REASON_CERT_DENIED;
	if (!session->leaf)
		return REASON_NONE;
	verdict = gateway_ask_device(gateway, session->leaf, session->untrusted);
	reason = verdict.reason;
	snprintf(text, size, "%s", verdict.text);
	/* Another chain may stand behind it now, with another end. */
	if (reason == REASON_NONE)
		session_table_expire_at(&gateway->sessions, session, verdict.cert->expires_at);
	verify_done(&verdict);
	return reason;
}

static void refuse(struct gateway_asking *asking, struct session *session, enum reason reason,
		   const char *text)
{
	struct gateway *gateway = asking->gateway;
	struct gateway_reload_result *result = asking->result;

	if (session->state == SESSION_PENDING) {
		session_table_remove(&gateway->sessions, session);
		return;
	}
	log_warn("session %lu %s: cut by the reload: %s: %s", (unsigned long)session->id,
		 session_name(session), reason_word(reason), text);
	add_entry(&result->cut, &result->cut_count, session, reason);
	delay_cut(gateway, session, reason, reason_advice(reason), &asking->since, asking->pending);
}

static bool same_rules(const struct flow_spec *a, const struct flow_spec *b)
{
	return access_equal(a->access, b->access) && prefix_list_equal(&a->own, &b->own);
}

/* Old and new rules are both compiled: what counts is what passes, not how it is written. */
static void ask_rules(struct gateway_asking *asking, struct session *session)
{
	struct gateway_reload_result *result = asking->result;
	struct flow_spec before = {0}, after = {0};
	const struct config_access *site = session->site;

	admission_rules(session, &before);
	admission_stand(asking->gateway, session);
	if (session->block_count == 0) {
		/* Whose link ends. */
		session_table_set_site(&asking->gateway->sessions, session, site);
		refuse(asking, session, REASON_NO_ACCESS,
		       "no access or site block matches the identity any more");
		flow_spec_done(&before);
		return;
	}
	admission_rules(session, &after);
	if (!same_rules(&before, &after)) {
		log_info("session %lu %s: its rights have changed", (unsigned long)session->id,
			 session_name(session));
		add_entry(&result->changed, &result->changed_count, session, REASON_NONE);
		gateway_tell_session(asking->gateway, EVENT_SESSION_CHANGED, session, REASON_NONE,
				     "by a reload");
		if (session->state == SESSION_OPEN)
			crew_set_rules(asking->gateway, session, &after, asking->pending);
	}
	flow_spec_done(&before);
	flow_spec_done(&after);
}

/* False when it is refused. */
static bool ask_certificate(struct gateway_asking *asking, struct session *session)
{
	char text[sizeof(((struct verdict *)0)->text)] = "";
	enum reason reason = ask_trust(asking->gateway, session, text, sizeof(text));

	if (reason != REASON_NONE)
		refuse(asking, session, reason, text);
	return reason == REASON_NONE;
}

static bool is_urgent(const struct gateway *gateway, const struct session *session)
{
	const struct identity_cert *cert = session->cert;

	return trust_denies(gateway->trust, cert->issuer_hash, cert->serial, cert->spki_hash) ||
	       (session->leaf && crl_mentions(gateway->trust, session->leaf));
}

/* At once: who is denied or on a list, and the rules. The rest of its certificate's checks costs
 * signatures. */
static void ask_session(struct gateway_asking *asking, struct session *session)
{
	/* Restored from the store: it shows what it has when it comes. */
	if (!session->cert)
		return;
	if (is_urgent(asking->gateway, session)) {
		if (!ask_certificate(asking, session))
			return;
	} else if (session->leaf) {
		asking->ids[asking->id_count++] = session->id;
	}
	if (session->state != SESSION_PENDING)
		ask_rules(asking, session);
}

/* Whether the site's link is rather that one: it is up, or was there first. */
static bool gives_way(const struct session *session, const struct session *other)
{
	if (other == session || other->site != session->site)
		return false;
	if (other->state != session->state)
		return other->state == SESSION_OPEN;
	return other->id < session->id;
}

/* Blocks that match more than before may have made two sessions the links of one site, whose networks
 * can be routed to one. */
static void settle_site(struct gateway_asking *asking, struct session *session)
{
	if (!session->site)
		return;
	for (const struct session *other = asking->gateway->sessions.links; other;
	     other = other->next_link) {
		if (!gives_way(session, other))
			continue;
		/* Whose link does not end. */
		session_table_set_site(&asking->gateway->sessions, session, NULL);
		refuse(asking, session, REASON_DUPLICATE_IDENTITY,
		       "another session is the link of its site");
		return;
	}
}

/* ---- ask: certificates, a few a turn ---- */

static void on_turn_closed(uv_handle_t *turn)
{
	struct gateway_asking *asking = turn->data;

	free(asking->ids);
	free(asking);
}

static void finish_asking(struct gateway_asking *asking)
{
	asking->gateway->asking = NULL;
	site_publish(asking->gateway);
	cut_done(asking->pending);
	uv_close((uv_handle_t *)&asking->turn, on_turn_closed);
}

static void on_turn(uv_timer_t *turn)
{
	struct gateway_asking *asking = turn->data;
	int64_t until_us = clock_now_us() + TURN_US;

	while (asking->at < asking->id_count && clock_now_us() < until_us) {
		uint64_t id = asking->ids[asking->at++];
		struct session *session = session_table_find(&asking->gateway->sessions, id);

		if (session && session->cert)
			ask_certificate(asking, session);
	}
	if (asking->at == asking->id_count)
		finish_asking(asking);
}

void gateway_reload_stop(struct gateway *gateway)
{
	if (gateway->asking)
		finish_asking(gateway->asking);
}

static void on_settled(void *user)
{
	struct gateway_reload_result *result = user;

	result->done(result, result->user);
}

void gateway_reload_ask(struct gateway *gateway, const struct delay_since *since,
			void (*done)(struct gateway_reload_result *result, void *user), void *user)
{
	struct gateway_asking *asking = xnew(struct gateway_asking);
	struct session *session, *next;

	/* Everybody is asked now: who has not been yet need not be asked by the earlier one. */
	gateway_reload_stop(gateway);
	asking->gateway = gateway;
	asking->since = *since;
	asking->result = xnew(struct gateway_reload_result);
	asking->result->done = done;
	asking->result->user = user;
	asking->pending = cut_new(on_settled, asking->result);
	asking->ids = xnew_array(uint64_t, HASH_COUNT(gateway->sessions.sessions) + 1);
	HASH_ITER(hh, gateway->sessions.sessions, session, next)
	ask_session(asking, session);
	for (session = gateway->sessions.links; session; session = next) {
		next = session->next_link;
		settle_site(asking, session);
	}
	site_publish(gateway);
	gateway->asking = asking;
	uv_timer_init(gateway->options.loop, &asking->turn);
	asking->turn.data = asking;
	uv_timer_start(&asking->turn, on_turn, 0, 1);
}

void gateway_reload_result_free(struct gateway_reload_result *result)
{
	if (!result)
		return;
	free(result->cut);
	free(result->changed);
	free(result);
}
