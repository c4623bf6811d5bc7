/* Every inner address has one owner: a device of the pool, a site, the gateway, or whoever stands
 * behind the gateway. What two could claim is refused here, before it is routed anywhere. */
#include "config/config_sites.h"

#include "base/cleanup.h"
#include "base/xalloc.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct check {
	const struct config *config;
	struct config_problems *problems;
	const struct config_access *site;
};

static void refuse(const struct check *check, const char *option, const char *text)
{
	_cleanup_free_ char *name = xalloc_print("site.%s.%s", check->site->title, option);

	config_problem(check->problems, check->config->path, config_line(check->config, name),
		       "%s: %s", name, text);
}

#define REFUSE(check, option, ...)                                                                 \
	do {                                                                                       \
		_cleanup_free_ char *text_ = xalloc_print(__VA_ARGS__);                            \
                                                                                                   \
		refuse(check, option, text_);                                                      \
	} while (0)

/* ---- what holds for networks and addresses alike ---- */

static bool has_pool(const struct config *config, unsigned family)
{
	for (size_t i = 0; i < config->gateway.pool.count; i++) {
		if (config->gateway.pool.items[i].addr.family == family)
			return true;
	}
	return false;
}

/* Without an inner address of the family the other end has no source and sets no routes. */
static void check_family(const struct check *check, const char *option, const struct prefix *prefix,
			 const char *text)
{
	unsigned family = prefix->addr.family;

	if (check->config->gateway.pool.count > 0 && !has_pool(check->config, family))
		REFUSE(check, option,
		       "%s is IPv%u and gateway.pool has none; add one, or take it out", text,
		       family);
}

/* [::] and 0.0.0.0 are every address, and none. */
static void check_outer(const struct check *check, const char *option, const struct prefix *prefix,
			const char *text)
{
	const struct config_endpoints *listen = &check->config->gateway.listen;
	char at[ADDR_ENDPOINT_TEXT];

	for (size_t i = 0; i < listen->count; i++) {
		struct addr addr = addr_of_endpoint(&listen->items[i]);

		if (addr_is_host(&addr) && prefix_contains(prefix, &addr))
			REFUSE(check, option,
			       "%s holds the address of gateway.listen \"%s\"; inner and outer "
			       "addresses must differ",
			       text, addr_endpoint_print(&listen->items[i], at));
	}
}

/* ---- networks ---- */

/* Where no host can be, or none behind a router. */
static void check_hosts(const struct check *check, const struct prefix *network, const char *text)
{
	static const char *const never[] = {
		"0.0.0.0/8", "127.0.0.0/8",   "169.254.0.0/16", "224.0.0.0/3",
		"::/96",     "::ffff:0:0/96", "fe80::/10",	"ff00::/8",
	};

	for (size_t i = 0; i < COUNT(never); i++) {
		struct prefix prefix;

		if (!prefix_parse(never[i], &prefix, NULL) || !prefix_overlaps(network, &prefix))
			continue;
		REFUSE(check, "networks",
		       "%s holds addresses that no site's hosts can have (%s); name the networks "
		       "that are behind the site",
		       text, never[i]);
		return;
	}
}

static void check_pools(const struct check *check, const struct prefix *network, const char *text)
{
	const struct prefix_list *pools = &check->config->gateway.pool;
	char pool[PREFIX_TEXT];

	for (size_t i = 0; i < pools->count; i++) {
		if (prefix_overlaps(network, &pools->items[i]))
			REFUSE(check, "networks",
			       "%s overlaps gateway.pool %s, of which the gateway gives addresses "
			       "to devices; take it out, or give the pool other addresses",
			       text, prefix_print(&pools->items[i], pool));
	}
}

/* Those of the blocks before, and those before it in its own. */
static void check_neighbours(const struct check *check, size_t at, const char *text)
{
	const struct prefix *network = &check->site->networks.items[at];
	char other[PREFIX_TEXT];

	for (const struct config_access *site = check->config->access; site <= check->site;
	     site++) {
		size_t count = site == check->site ? at : site->networks.count;

		for (size_t i = 0; i < count; i++) {
			if (prefix_overlaps(&site->networks.items[i], network))
				REFUSE(check, "networks",
				       "%s overlaps %s of site \"%s\" (line %u); a network is "
				       "behind one site, once",
				       text, prefix_print(&site->networks.items[i], other),
				       site->title, site->line);
		}
	}
}

static void check_networks(const struct check *check)
{
	const struct prefix_list *networks = &check->site->networks;
	char text[PREFIX_TEXT];

	if (networks->count > CONFIG_SITE_NETWORKS_MAX) {
		REFUSE(check, "networks", "more than %d networks; write larger ones",
		       CONFIG_SITE_NETWORKS_MAX);
		return;
	}
	for (size_t i = 0; i < networks->count; i++) {
		const struct prefix *network = &networks->items[i];

		prefix_print(network, text);
		check_family(check, "networks", network, text);
		check_hosts(check, network, text);
		check_pools(check, network, text);
		check_outer(check, "networks", network, text);
		check_neighbours(check, i, text);
	}
}

/* ---- fixed addresses ---- */

/* The first two of a pool, and the last of an IPv4 one, are nobody's. */
static void check_place(const struct check *check, const struct addr *addr, const char *text)
{
	const struct prefix_list *pools = &check->config->gateway.pool;

	for (size_t i = 0; i < pools->count; i++) {
		const struct prefix *pool = &pools->items[i];
		struct addr own = addr_add(&pool->addr, 1);
		struct addr last = addr_add(&pool->addr, prefix_size(pool) - 1);
		const char *whose = NULL;

		if (addr_equal(addr, &own))
			whose = "the gateway's own";
		else if (addr_equal(addr, &pool->addr))
			whose = "the network's";
		else if (addr->family == 4 && addr_equal(addr, &last))
			whose = "for broadcasts";
		if (whose)
			REFUSE(check, "address", "%s is %s; take another of the pool", text, whose);
	}
}

static void check_takers(const struct check *check, size_t at, const char *text)
{
	const struct addr *addr = &check->site->address.items[at].addr;

	for (const struct config_access *site = check->config->access; site <= check->site;
	     site++) {
		size_t count = site == check->site ? at : site->address.count;

		for (size_t i = 0; i < count; i++) {
			const struct addr *other = &site->address.items[i].addr;

			if (site == check->site && other->family == addr->family)
				REFUSE(check, "address",
				       "%s is the second of IPv%u; a link has one address of a "
				       "family",
				       text, addr->family);
			else if (addr_equal(other, addr))
				REFUSE(check, "address",
				       "%s is also that of site \"%s\" (line %u); take another",
				       text, site->title, site->line);
		}
	}
}

static void check_behind(const struct check *check, const struct addr *addr, const char *text)
{
	const struct config *config = check->config;

	for (size_t i = 0; i < config->access_count; i++) {
		const struct config_access *site = &config->access[i];

		if (prefix_list_contains(&site->networks, addr))
			REFUSE(check, "address",
			       "%s is in the networks of site \"%s\" (line %u); the link's own "
			       "address is of no network behind one, take one of the pool",
			       text, site->title, site->line);
	}
}

static void check_addresses(const struct check *check)
{
	const struct prefix_list *addresses = &check->site->address;
	char text[ADDR_TEXT];

	for (size_t i = 0; i < addresses->count; i++) {
		const struct prefix *address = &addresses->items[i];

		addr_print(&address->addr, text);
		check_family(check, "address", address, text);
		check_place(check, &address->addr, text);
		check_outer(check, "address", address, text);
		check_takers(check, i, text);
		check_behind(check, &address->addr, text);
	}
}

void config_sites_check(const struct config *config, struct config_problems *problems)
{
	struct check check = {.config = config, .problems = problems};
	size_t total = 0;

	for (size_t i = 0; i < config->access_count; i++) {
		check.site = &config->access[i];
		if (!check.site->is_site)
			continue;
		check_networks(&check);
		check_addresses(&check);
		total += check.site->networks.count + check.site->address.count;
		if (total > CONFIG_SITES_PREFIXES_MAX) {
			REFUSE(&check, "networks",
			       "with this block the sites have more than %d networks together; "
			       "write larger ones",
			       CONFIG_SITES_PREFIXES_MAX);
			return;
		}
	}
}
