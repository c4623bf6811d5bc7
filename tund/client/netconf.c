#include "client/netconf.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* What is pushed, cut down to what is accepted here. */
static void add_accepted(const struct config_client *config, const struct prefix *pushed,
			 struct prefix_list *ret)
{
	if (config->routes_accept) {
		prefix_list_add(ret, pushed);
		return;
	}
	for (size_t i = 0; i < config->routes.count; i++) {
		const struct prefix *within = &config->routes.items[i];

		if (prefix_covers(within, pushed))
			prefix_list_add(ret, pushed);
		else if (prefix_covers(pushed, within))
			prefix_list_add(ret, within);
	}
}

/* A default route as two halves: the host's own stays, and comes back by itself. */
static void add_halves(unsigned family, struct prefix_list *ret)
{
	struct prefix half = {.addr = {.family = (uint8_t)family}, .len = 1};

	prefix_list_add(ret, &half);
	half.addr.bytes[0] = 0x80;
	prefix_list_add(ret, &half);
}

static void wanted_routes(const struct config_client *config, const struct tunnel_params *params,
			  struct prefix_list *ret)
{
	if (config->full_tunnel) {
		if (params->v4.family)
			add_halves(4, ret);
		if (params->v6.family)
			add_halves(6, ret);
		return;
	}
	for (size_t i = 0; i < params->routes.count; i++)
		add_accepted(config, &params->routes.items[i], ret);
}

static bool has_family(const struct tunnel_params *params, unsigned family)
{
	return family == 6 ? params->v6.family != 0 : params->v4.family != 0;
}

static bool is_listed(const struct prefix_list *list, const struct prefix *prefix)
{
	for (size_t i = 0; i < list->count; i++) {
		if (prefix_equal(&list->items[i], prefix))
			return true;
	}
	return false;
}

static void add_carved(const struct prefix *wanted, const struct prefix_list *holes,
		       struct prefix_list *ret)
{
	struct prefix_list pieces = {0};

	prefix_list_carve_all(wanted, holes, &pieces);
	for (size_t i = 0; i < pieces.count && ret->count < PARENT_MSG_ROUTES_MAX; i++) {
		if (!is_listed(ret, &pieces.items[i]))
			prefix_list_add(ret, &pieces.items[i]);
	}
	prefix_list_done(&pieces);
}

static void add_routes(const struct prefix_list *wanted, const struct tunnel_params *params,
		       const struct prefix_list *holes, struct prefix_list *ret)
{
	for (size_t i = 0; i < wanted->count && ret->count < PARENT_MSG_ROUTES_MAX; i++) {
		const struct prefix *prefix = &wanted->items[i];
		struct prefix_list halves = {0}, before = {wanted->items, i};

		if (!has_family(params, prefix->addr.family) || is_listed(&before, prefix))
			continue;
		if (prefix->len == 0)
			add_halves(prefix->addr.family, &halves);
		else
			prefix_list_add(&halves, prefix);
		for (size_t k = 0; k < halves.count; k++)
			add_carved(&halves.items[k], holes, ret);
		prefix_list_done(&halves);
	}
}

static void add_all(struct prefix_list *to, const struct prefix_list *from, size_t max)
{
	for (size_t i = 0; i < from->count && to->count < max; i++)
		prefix_list_add(to, &from->items[i]);
}

void netconf_plan(const struct config_client *config, const struct tunnel_params *params,
		  const struct prefix_list *outer, unsigned mtu, struct parent_msg_network *ret)
{
	struct prefix_list wanted = {0}, holes = {0};
	struct prefix v4 = {params->v4, params->v4_len}, v6 = {params->v6, params->v6_len};

	*ret = (struct parent_msg_network){
		.mtu = mtu,
		.source4 = params->v4,
		.source6 = params->v6,
		.is_site = params->networks.count > 0,
	};
	if (v4.addr.family)
		prefix_list_add(&ret->addresses, &v4);
	if (v6.addr.family)
		prefix_list_add(&ret->addresses, &v6);
	wanted_routes(config, params, &wanted);
	add_all(&holes, outer, SIZE_MAX);
	add_all(&holes, &params->exclude, SIZE_MAX);
	add_all(&holes, &params->networks, SIZE_MAX);
	add_routes(&wanted, params, &holes, &ret->routes);
	prefix_list_done(&wanted);
	prefix_list_done(&holes);
	if (config->dns == CONFIG_DNS_OFF)
		return;
	add_all(&ret->dns, &params->dns, PARENT_MSG_DNS_MAX);
	ret->domains = xnew_array(char *, params->domain_count + 1);
	if (params->tunnel_all_dns)
		ret->domains[ret->domain_count++] = xalloc_string(".");
	for (size_t i = 0; i < params->domain_count; i++) {
		if (ret->domain_count < PARENT_MSG_DOMAINS_MAX)
			ret->domains[ret->domain_count++] = xalloc_string(params->domains[i]);
	}
}

bool netconf_is_behind(const struct prefix *network, const struct prefix_list *outer)
{
	for (size_t i = 0; i < outer->count; i++) {
		if (prefix_overlaps(network, &outer->items[i]))
			return false;
	}
	return network->len > 0;
}

bool netconf_equal(const struct parent_msg_network *a, const struct parent_msg_network *b)
{
	if (a->mtu != b->mtu || a->is_site != b->is_site || a->domain_count != b->domain_count ||
	    !prefix_list_equal(&a->addresses, &b->addresses) ||
	    !prefix_list_equal(&a->routes, &b->routes) || !prefix_list_equal(&a->dns, &b->dns))
		return false;
	for (size_t i = 0; i < a->domain_count; i++) {
		if (strcmp(a->domains[i], b->domains[i]) != 0)
			return false;
	}
	return true;
}
