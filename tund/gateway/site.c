/* CONNECT ──▶ site_hold ──the parent has set the routes──▶ admission_connect_now
 * opened, away, closed, reload ──▶ site_publish ──end of the turn──▶ the parent is told
 *
 * The parent is always told the whole set, and changes what differs. So a link is routed before its
 * first packet can be answered, and what leaves and comes within one turn, as a session that
 * another of the same site replaces, is not touched. */
#include "gateway/site.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "gateway/admission.h"

enum { RETRY_US = 30 * 1000000 };

/* A CONNECT that waits for its routes. */
struct gateway_site_wait {
	struct gateway_site_wait *next;
	struct gateway *gateway;
	struct handshake_event *event;
};

/* ---- blocks ---- */

const struct config_access *site_of(const struct config_access *const *blocks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (blocks[i]->is_site)
			return blocks[i];
	}
	return NULL;
}

const struct addr *site_address(const struct config_access *site, unsigned family)
{
	for (size_t i = 0; site && i < site->address.count; i++) {
		if (site->address.items[i].addr.family == family)
			return &site->address.items[i].addr;
	}
	return NULL;
}

void site_reserve(const struct config *config, struct prefix_list *reserved)
{
	for (size_t i = 0; i < config->access_count; i++) {
		const struct prefix_list *address = &config->access[i].address;

		for (size_t k = 0; k < address->count; k++)
			prefix_list_add(reserved, &address->items[k]);
	}
}

/* ---- what a site is told ---- */

static bool is_covered(const struct prefix_list *list, const struct prefix *prefix)
{
	for (size_t i = 0; i < list->count; i++) {
		if (prefix_covers(&list->items[i], prefix))
			return true;
	}
	return false;
}

static void drop_covered(struct prefix_list *routes, const struct prefix_list *networks)
{
	size_t kept = 0;

	for (size_t i = 0; i < routes->count; i++) {
		if (!is_covered(networks, &routes->items[i]))
			routes->items[kept++] = routes->items[i];
	}
	routes->count = kept;
}

/* What both have: one of two prefixes that overlap covers the other. */
static void push_overlap(const struct prefix *rule, const struct prefix_list *there, bool with6,
			 struct prefix_list *routes)
{
	for (size_t i = 0; i < there->count; i++) {
		const struct prefix *prefix = &there->items[i];

		if (!prefix_overlaps(rule, prefix) || (prefix->addr.family == 6 && !with6))
			continue;
		if (rule->len > prefix->len)
			prefix = rule;
		if (!is_covered(routes, prefix))
			prefix_list_add(routes, prefix);
	}
}

static void push_reached(const struct config *config, const struct config_access *site,
			 const struct config_rules *rules, bool with6, struct prefix_list *routes)
{
	for (size_t i = 0; i < rules->count; i++) {
		const struct prefix *rule = &rules->items[i].net;

		push_overlap(rule, &config->gateway.pool, with6, routes);
		for (size_t k = 0; k < config->access_count; k++) {
			if (&config->access[k] == site)
				continue;
			push_overlap(rule, &config->access[k].networks, with6, routes);
			push_overlap(rule, &config->access[k].address, with6, routes);
		}
	}
}

static void cut_routes(const struct config_access *site, struct prefix_list *routes)
{
	if (routes->count <= TUNNEL_PARAMS_ROUTES_MAX)
		return;
	log_warn("site \"%s\": only %d of %zu routes can be pushed; let gateway.routes cover the "
		 "other sites with fewer",
		 site->title, TUNNEL_PARAMS_ROUTES_MAX, routes->count);
	routes->count = TUNNEL_PARAMS_ROUTES_MAX;
}

/* Its own networks, never as routes; and routes to what its rules name of devices and other sites:
 * what it may not open may open towards it, and wants an answer. */
void site_fill_params(const struct gateway *gateway, const struct config_access *site, bool with6,
		      struct tunnel_params *params)
{
	for (size_t i = 0; i < site->networks.count; i++) {
		if (site->networks.items[i].addr.family == 4 || with6)
			prefix_list_add(&params->networks, &site->networks.items[i]);
	}
	drop_covered(&params->routes, &site->networks);
	push_reached(gateway->config, site, &site->allow, with6, &params->routes);
	push_reached(gateway->config, site, &site->accept, with6, &params->routes);
	cut_routes(site, &params->routes);
}

/* ---- the routes there should be ---- */

/* Where the links themselves come from must not be routed into one: a site may well have its outer
 * address in a network of its own. */
struct wanted {
	const struct config *config;
	bool *up; /* of each block */
	struct prefix_list outer;
};

static void add_link(struct wanted *wanted, const struct config_access *site,
		     const struct endpoint *peer)
{
	struct addr addr = addr_of_endpoint(peer);
	struct prefix host = prefix_host(&addr);

	wanted->up[site - wanted->config->access] = true;
	prefix_list_add(&wanted->outer, &host);
}

static void add_waiting(const struct gateway *gateway, struct wanted *wanted)
{
	for (struct gateway_site_wait *wait = gateway->sites.waiting; wait; wait = wait->next) {
		const struct config_access *site = admission_site(gateway, wait->event->cert);

		if (site)
			add_link(wanted, site, &wait->event->peer);
	}
}

static bool is_in_pool(const struct config *config, const struct prefix *address)
{
	return prefix_list_contains(&config->gateway.pool, &address->addr);
}

static void add_routes(const struct wanted *wanted, const struct config_access *site,
		       struct prefix_list *ret)
{
	for (size_t i = 0; i < site->networks.count; i++)
		prefix_list_carve_all(&site->networks.items[i], &wanted->outer, ret);
	for (size_t i = 0; i < site->address.count; i++) {
		if (!is_in_pool(wanted->config, &site->address.items[i]))
			prefix_list_add(ret, &site->address.items[i]);
	}
}

/* In the configuration's order: the same set is the same list. */
static struct prefix_list find_routes(const struct gateway *gateway)
{
	const struct config *config = gateway->config;
	struct wanted wanted = {.config = config, .up = xnew_array(bool, config->access_count + 1)};
	struct prefix_list routes = {0};

	for (const struct session *session = gateway->sessions.links; session;
	     session = session->next_link) {
		if (session->state == SESSION_OPEN)
			add_link(&wanted, session->site, &session->peer);
	}
	add_waiting(gateway, &wanted);
	for (size_t i = 0; i < config->access_count; i++) {
		if (wanted.up[i])
			add_routes(&wanted, &config->access[i], &routes);
	}
	if (routes.count > PARENT_MSG_ROUTES_MAX) {
		log_warn("only %d of %zu routes to sites are set", PARENT_MSG_ROUTES_MAX,
			 routes.count);
		routes.count = PARENT_MSG_ROUTES_MAX;
	}
	prefix_list_done(&wanted.outer);
	free(wanted.up);
	return routes;
}

/* ---- the parent ---- */

const char *site_trouble(const struct gateway *gateway)
{
	return gateway->sites.trouble[0] ? gateway->sites.trouble : NULL;
}

static void take_trouble(struct gateway *gateway, int error, const char *text)
{
	struct gateway_sites *sites = &gateway->sites;

	if (error && strcmp(sites->trouble, text) != 0)
		log_warn("a network of a site is not routed: %s", text);
	if (!error && sites->trouble[0])
		log_info("all networks of the sites that are up are routed");
	snprintf(sites->trouble, sizeof(sites->trouble), "%s", error ? text : "");
}

static void on_published(int error, const char *text, void *user)
{
	take_trouble(user, error, text);
}

/* False: the parent has been told of the same already. */
static bool ask_routes(struct gateway *gateway, bool again, parent_link_network_fn done, void *user)
{
	struct gateway_sites *sites = &gateway->sites;
	struct prefix_list routes = find_routes(gateway);

	if (!again && prefix_list_equal(&routes, &sites->asked)) {
		prefix_list_done(&routes);
		return false;
	}
	prefix_list_done(&sites->asked);
	sites->asked = routes;
	sites->asked_us = clock_now_us();
	parent_link_ask_routes(gateway->options.parent, &sites->asked, done, user);
	return true;
}

static void on_turn(uv_timer_t *timer)
{
	ask_routes(timer->data, false, on_published, timer->data);
}

void site_publish(struct gateway *gateway)
{
	if (!gateway->stopping)
		uv_timer_start(&gateway->sites.turn, on_turn, 0, 0);
}

void site_tick(struct gateway *gateway)
{
	if (gateway->sites.trouble[0] && clock_now_us() - gateway->sites.asked_us >= RETRY_US)
		ask_routes(gateway, true, on_published, gateway);
}

/* ---- CONNECT ---- */

static void unlink_wait(struct gateway_site_wait *wait)
{
	struct gateway_site_wait **at = &wait->gateway->sites.waiting;

	while (*at != wait)
		at = &(*at)->next;
	*at = wait->next;
}

static void on_routed(int error, const char *text, void *user)
{
	struct gateway_site_wait *wait = user;
	struct gateway *gateway = wait->gateway;

	take_trouble(gateway, error, text);
	unlink_wait(wait);
	if (gateway->stopping)
		handshake_event_free(wait->event);
	else
		admission_connect_now(gateway, wait->event);
	free(wait);
	/* It may have been refused. */
	site_publish(gateway);
}

bool site_hold(struct gateway *gateway, struct handshake_event *event)
{
	struct gateway_site_wait *wait;

	if (!admission_site(gateway, event->cert))
		return false;
	wait = xnew(struct gateway_site_wait);
	*wait = (struct gateway_site_wait){gateway->sites.waiting, gateway, event};
	gateway->sites.waiting = wait;
	if (ask_routes(gateway, false, on_routed, wait))
		return true;
	unlink_wait(wait);
	free(wait);
	return false;
}

/* ---- start and stop ---- */

void site_start(struct gateway *gateway)
{
	uv_timer_init(gateway->options.loop, &gateway->sites.turn);
	gateway->sites.turn.data = gateway;
}

void site_stop(struct gateway *gateway)
{
	uv_close((uv_handle_t *)&gateway->sites.turn, NULL);
}

void site_done(struct gateway *gateway)
{
	while (gateway->sites.waiting) {
		struct gateway_site_wait *wait = gateway->sites.waiting;

		gateway->sites.waiting = wait->next;
		handshake_event_free(wait->event);
		free(wait);
	}
	prefix_list_done(&gateway->sites.asked);
}
