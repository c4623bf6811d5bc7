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
#include "gateway/cut.h"
#include "gateway/revoke.h"
#include "gateway/site.h"
#include "pki/verify.h"

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

static void tune_worker(struct gateway *gateway)
{
	const struct config_gateway *config = &gateway->config->gateway;
	struct worker_order *order = xnew(struct worker_order);

	order->kind = WORKER_TUNE;
	order->hello_verify = config->hello_verify;
	order->spec.idle_us = config->idle_timeout_s * CLOCK_SECOND_US;
	worker_post(gateway->worker, order);
}

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
	tune_worker(gateway);
	gateway_reload_free(reload);
}

/* ---- ask ---- */

struct asking {
	struct gateway *gateway;
	struct gateway_reload_result *result;
	struct gateway_cut *pending; /* what workers have not acknowledged */
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
static enum reason ask_trust(const struct gateway *gateway, struct session *session, char *text,
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
	verdict = verify_ask(&(struct verify_question){
		.trust = gateway->trust,
		.leaf = session->leaf,
		.untrusted = session->untrusted,
		.role = VERIFY_DEVICE,
		.at = clock_wall(),
	});
	reason = verdict.reason;
	snprintf(text, size, "%s", verdict.text);
	/* Another chain may stand behind it now, with another end. */
	if (reason == REASON_NONE)
		session->expires_at = verdict.cert->expires_at;
	verify_done(&verdict);
	return reason;
}

static void refuse(struct asking *asking, struct session *session, enum reason reason,
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
	gateway_cut_session(gateway, session, reason, reason_advice(reason), asking->pending);
}

/* Takes spec. */
static void order_rules(struct asking *asking, const struct session *session,
			struct flow_spec *spec)
{
	struct worker_order *order = xnew(struct worker_order);

	order->kind = WORKER_RULES;
	order->session = session->id;
	order->spec = *spec;
	order->spec.tls = NULL;
	*spec = (struct flow_spec){0};
	order->tag = asking->pending;
	cut_expect(asking->pending);
	worker_post(asking->gateway->worker, order);
}

static bool same_rules(const struct flow_spec *a, const struct flow_spec *b)
{
	return access_equal(a->access, b->access) && prefix_list_equal(&a->own, &b->own);
}

/* Old and new rules are both compiled: what counts is what passes, not how it is written. */
static void ask_rules(struct asking *asking, struct session *session)
{
	struct gateway_reload_result *result = asking->result;
	struct flow_spec before = {0}, after = {0};
	const struct config_access *site = session->site;

	admission_rules(session, &before);
	admission_stand(asking->gateway, session);
	if (session->block_count == 0) {
		session->site = site; /* whose link ends */
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
			order_rules(asking, session, &after);
	}
	flow_spec_done(&before);
	flow_spec_done(&after);
}

static void ask_session(struct asking *asking, struct session *session)
{
	char text[sizeof(((struct verdict *)0)->text)] = "";
	enum reason reason;

	/* Restored from the store: it shows what it has when it comes. */
	if (!session->cert)
		return;
	reason = ask_trust(asking->gateway, session, text, sizeof(text));
	if (reason != REASON_NONE)
		refuse(asking, session, reason, text);
	else if (session->state != SESSION_PENDING)
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
static void settle_site(struct asking *asking, struct session *session)
{
	struct session *sessions = asking->gateway->sessions.sessions;

	if (!session->site)
		return;
	for (const struct session *other = sessions; other; other = other->hh.next) {
		if (!gives_way(session, other))
			continue;
		session->site = NULL; /* whose link does not end */
		refuse(asking, session, REASON_DUPLICATE_IDENTITY,
		       "another session is the link of its site");
		return;
	}
}

static void on_settled(void *user)
{
	struct gateway_reload_result *result = user;

	result->done(result, result->user);
}

void gateway_reload_ask(struct gateway *gateway,
			void (*done)(struct gateway_reload_result *result, void *user), void *user)
{
	struct asking asking = {.gateway = gateway, .result = xnew(struct gateway_reload_result)};
	struct session *session, *next;

	asking.result->done = done;
	asking.result->user = user;
	asking.pending = cut_new(on_settled, asking.result);
	HASH_ITER(hh, gateway->sessions.sessions, session, next)
	ask_session(&asking, session);
	HASH_ITER(hh, gateway->sessions.sessions, session, next)
	settle_site(&asking, session);
	site_publish(gateway);
	cut_done(asking.pending);
}

void gateway_reload_result_free(struct gateway_reload_result *result)
{
	if (!result)
		return;
	free(result->cut);
	free(result->changed);
	free(result);
}
