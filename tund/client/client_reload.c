/* A reload, from the client's side:
 *
 *	prepare  TLS with the new certificate and key
 *	swap     configuration, trust and TLS: in force for the next attempt; the one under way
 *		 finishes with what it began, and its gateway is then asked about once more
 *	ask      the gateway in use: is it still named, does the new trust vouch for it?
 *		   no    it is left, and the others of the list are tried
 *		   yes   the host's network is planned again; a new certificate, new key
 *			 exchange or another transport are used at once, by a renewal beside the
 *			 tunnel, so that nothing is lost */
#include "client/client_reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"

struct client_reload {
	struct client_options options;
	struct tls_setup setup;
	EVP_PKEY *key;
	/* since the swap */
	const struct config *before;
	bool new_certificate;
};

/* ---- prepare ---- */

struct client_reload *client_reload_prepare(const struct client *client,
					    const struct material_renewal *renewal, char *error,
					    size_t size)
{
	struct client_reload *reload = xnew(struct client_reload);

	reload->options = client->options;
	reload->options.config = renewal->config;
	reload->options.trust = renewal->material->trust;
	reload->options.leaf = renewal->material->leaf;
	reload->options.chain = renewal->material->chain;
	reload->options.spki = *renewal->spki;
	reload->options.key_generation = renewal->key_generation;
	if (client_make_setup(&reload->options, &reload->setup, &reload->key, error, size) == 0)
		return reload;
	free(reload);
	return NULL;
}

void client_reload_free(struct client_reload *reload)
{
	if (!reload)
		return;
	tls_setup_done(&reload->setup);
	EVP_PKEY_free(reload->key);
	free(reload);
}

/* ---- swap ---- */

static void tune_worker(struct client *client)
{
	struct worker_order *order = xnew(struct worker_order);

	order->kind = WORKER_TUNE;
	order->transport = client->config->client.transport;
	worker_post(client->worker, order);
}

static void swap_setup(struct client *client, struct client_reload *reload)
{
	struct tls_setup setup = client->setup;
	EVP_PKEY *key = client->key;

	client->setup = reload->setup;
	client->key = reload->key;
	reload->setup = setup;
	reload->key = key;
}

/* The gateway in use, by its name. The first where it is no longer named: ask finds that out. */
static size_t find_gateway(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->client.gateways.count; i++) {
		if (strcmp(config->client.gateways.items[i], name) == 0)
			return i;
	}
	return 0;
}

void client_reload_swap(struct client *client, struct client_reload *reload)
{
	struct trust *old = client->trust;

	reload->before = client->config;
	reload->new_certificate = X509_cmp(client->options.leaf, reload->options.leaf) != 0;
	client->options = reload->options;
	client->config = reload->options.config;
	client->trust = trust_with_denials(reload->options.trust, NULL, 0, old->generation + 1);
	trust_unref(old);
	swap_setup(client, reload);
	tune_worker(client);
}

/* ---- ask ---- */

static bool is_named(const struct config *config, const char *name)
{
	size_t at = find_gateway(config, name);

	return strcmp(config->client.gateways.items[at], name) == 0;
}

static void leave(struct client *client, enum reason reason, struct client_reload_result *ret)
{
	log_warn("leaving %s: %s: %s", ret->gateway, reason_word(reason), ret->text);
	ret->reason = reason;
	client_leave(client, reason, ret->text);
}

/* Why what is new cannot wait for the next renewal; NULL: it can. */
static const char *find_urgent(const struct client *client, const struct client_reload *reload)
{
	const struct config *before = reload->before, *now = client->config;

	if (client->state != CLIENT_UP)
		return "the configuration was read again";
	if (reload->new_certificate)
		return "there is a new certificate";
	if (strcmp(before->crypto.groups, now->crypto.groups) != 0 ||
	    before->crypto.post_quantum != now->crypto.post_quantum)
		return "the key exchange has changed";
	if (before->client.transport != now->client.transport)
		return "the transport has changed";
	return NULL;
}

void client_reload_ask(struct client *client, struct client_reload *reload,
		       struct client_reload_result *ret)
{
	_cleanup_free_ char *name =
		xalloc_string(reload->before->client.gateways.items[client->gateway]);
	bool in_use = client->flow || client->dial || client->pending;
	enum reason reason = REASON_NONE;
	const char *urgent;

	*ret = (struct client_reload_result){0};
	snprintf(ret->gateway, sizeof(ret->gateway), "%s", name);
	client->gateway = find_gateway(client->config, name);
	urgent = find_urgent(client, reload);
	if (in_use && !is_named(client->config, name)) {
		snprintf(ret->text, sizeof(ret->text), "%s is no longer in client.gateway", name);
		leave(client, REASON_DISCONNECTED, ret);
		/* The list anew, from its start. */
		client->gateway = 0;
		client_renew(client, ret->text);
	} else if (client->flow && client->peer_leaf) {
		reason = client_ask_gateway(client, client->peer_leaf, client->peer_chain,
					    ret->text, sizeof(ret->text));
		if (reason != REASON_NONE)
			leave(client, reason, ret);
	}
	client_replan(client, reload->before->client.dns != client->config->client.dns);
	if (ret->reason == REASON_NONE && urgent)
		client_renew(client, urgent);
	client_reload_free(reload);
}
