#include "config/config_check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "config/config_scan.h"
#include "config/config_sites.h"

struct check {
	const struct config *config;
	struct config_problems *problems;
};

#define refuse(check, option, ...)                                                                 \
	config_problem((check)->problems, (check)->config->path,                                   \
		       config_line((check)->config, option), __VA_ARGS__)

static const struct config_mark *find_mark(const struct check *check, const char *name)
{
	return config_scan_find(check->config->marks, check->config->mark_count, name);
}

/* What is not built yet; the issue that builds one takes its line out of check_unbuilt. */
static void refuse_unbuilt(const struct check *check, bool asked, const char *option,
			   const char *value)
{
	if (asked)
		refuse(check, option, "%s%s%s is not built yet; leave it out", option,
		       value ? " = " : "", value ? value : "");
}

static void check_unbuilt(const struct check *check)
{
	const struct config *config = check->config;
	bool has_url = false;

	for (size_t i = 0; i < config->trust.crl.count; i++)
		has_url |= strncmp(config->trust.crl.items[i], "http://", 7) == 0;
	refuse_unbuilt(check, has_url, "trust.crl", "{\"http://...\"}");
	refuse_unbuilt(check, config->trust.ocsp != CONFIG_OCSP_OFF, "trust.ocsp", NULL);
	refuse_unbuilt(check, config->crypto.post_quantum == CONFIG_PQ_REQUIRE,
		       "crypto.post-quantum", "\"require\"");
	refuse_unbuilt(check, config->metrics_listen != NULL, "metrics.listen", NULL);
	refuse_unbuilt(check, config->client.proxy != NULL, "client.proxy", NULL);
	refuse_unbuilt(check, config->client.fail_closed, "client.fail-closed", "true");
	refuse_unbuilt(check, config->client.dns == CONFIG_DNS_RESOLVCONF, "client.dns",
		       "\"resolvconf\"");
	refuse_unbuilt(check, config->renew.command.count > 0, "renew.command", NULL);
	refuse_unbuilt(check, config->renew.before_percent != 33, "renew.before", NULL);
}

static void check_role(const struct check *check)
{
	bool gateway = find_mark(check, "gateway"), client = find_mark(check, "client");

	if (!gateway && !client)
		config_problem(check->problems, check->config->path, 0,
			       "has neither gateway { } nor client { }; write the one that this "
			       "instance is");
	if (gateway && client)
		refuse(check, "client",
		       "client and gateway (line %u) in one file; an instance is one of them, "
		       "write two files",
		       config_line(check->config, "gateway"));
}

static void check_only(const struct check *check)
{
	const struct config *config = check->config;
	enum config_only other =
		config->role == CONFIG_GATEWAY ? CONFIG_ONLY_CLIENT : CONFIG_ONLY_GATEWAY;

	for (size_t i = 0; i < config->mark_count; i++) {
		const struct config_mark *mark = &config->marks[i];
		bool misplaced =
			mark->option ? mark->option->only == other : mark->section->only == other;

		/* The two sections that make the role have been judged. */
		if (!misplaced || strcmp(mark->name, "client") == 0 ||
		    strcmp(mark->name, "gateway") == 0)
			continue;
		config_problem(check->problems, config->path, mark->line,
			       "%s is for a %s, and this is a %s; leave it out", mark->name,
			       other == CONFIG_ONLY_CLIENT ? "client" : "gateway",
			       other == CONFIG_ONLY_CLIENT ? "gateway" : "client");
	}
}

/* Not written, or written without a value. One that is ill-typed has had its problem. */
static bool is_missing(const struct check *check, const char *option, bool empty)
{
	const struct config_mark *mark = find_mark(check, option);

	return !mark || (empty && mark->value_count == 0);
}

static void need(const struct check *check, const char *option, bool empty, const char *example)
{
	if (is_missing(check, option, empty))
		refuse(check, option, "%s is missing; write %s", option, example);
}

static void check_needed(const struct check *check)
{
	const struct config *config = check->config;

	if (config->role == CONFIG_GATEWAY)
		need(check, "gateway.pool", true, "gateway { pool = {\"10.99.0.0/16\"} }");
	else
		need(check, "client.gateway", true,
		     "client { gateway = {\"vpn.corp.example:443\"} }");
	need(check, "identity.certificate", false, "identity { certificate = \"this-host.crt\" }");
	need(check, "identity.key", false, "identity { key = \"this-host.key\" }");
	need(check, "trust.ca", true, "trust { ca = {\"corp-ca.crt\"} }");
}

/* Wide enough for a gateway and a device, and not wider than any plan of addresses. */
static void check_pool_size(const struct check *check, const struct prefix *pool)
{
	bool is_v4 = pool->addr.family == 4;
	unsigned widest = is_v4 ? 8 : 16, narrowest = is_v4 ? 30 : 126;
	struct addr own = addr_add(&pool->addr, 1);
	char text[PREFIX_TEXT];

	prefix_print(pool, text);
	if (pool->len < widest || pool->len > narrowest)
		refuse(check, "gateway.pool",
		       "gateway.pool: %s is too %s; an %s pool is /%u to /%u", text,
		       pool->len < widest ? "large" : "small", is_v4 ? "IPv4" : "IPv6", widest,
		       narrowest);
	else if (!addr_is_host(&own))
		refuse(check, "gateway.pool",
		       "gateway.pool: %s holds no addresses that hosts may have; take private "
		       "ones, "
		       "10.0.0.0/8 or fd00::/8",
		       text);
}

static void check_pools(const struct check *check)
{
	const struct prefix_list *pool = &check->config->gateway.pool;
	char one[PREFIX_TEXT], other[PREFIX_TEXT];

	for (size_t i = 0; i < pool->count; i++) {
		check_pool_size(check, &pool->items[i]);
		for (size_t k = 0; k < i; k++) {
			if (prefix_overlaps(&pool->items[i], &pool->items[k]))
				refuse(check, "gateway.pool",
				       "gateway.pool: %s and %s overlap; take one of them out",
				       prefix_print(&pool->items[k], one),
				       prefix_print(&pool->items[i], other));
		}
	}
}

static void check_listens(const struct check *check)
{
	const struct config_gateway *gateway = &check->config->gateway;
	const struct config_mark *mark = find_mark(check, "gateway.listen");
	char text[ADDR_ENDPOINT_TEXT];

	if (mark && mark->value_count == 0)
		refuse(check, "gateway.listen",
		       "gateway.listen is empty, so there is no way in; leave it out for port 443 "
		       "of all addresses");
	for (size_t i = 0; i < gateway->listen.count; i++) {
		struct addr addr = addr_of_endpoint(&gateway->listen.items[i]);

		/* [::] and 0.0.0.0 are every address, and none. */
		if (addr_is_host(&addr) && prefix_list_contains(&gateway->pool, &addr))
			refuse(check, "gateway.pool",
			       "gateway.pool holds the address of gateway.listen \"%s\"; inner and "
			       "outer addresses must differ",
			       addr_endpoint_print(&gateway->listen.items[i], text));
	}
}

static void check_pushed(const struct check *check)
{
	const struct config_gateway *gateway = &check->config->gateway;
	char route[PREFIX_TEXT], hole[PREFIX_TEXT];

	for (size_t i = 0; i < gateway->routes.count; i++) {
		for (size_t k = 0; k < gateway->exclude.count; k++) {
			if (prefix_covers(&gateway->exclude.items[k], &gateway->routes.items[i]))
				refuse(check, "gateway.exclude",
				       "gateway.exclude: %s leaves nothing of gateway.routes %s; "
				       "take "
				       "one of them out",
				       prefix_print(&gateway->exclude.items[k], hole),
				       prefix_print(&gateway->routes.items[i], route));
		}
	}
	if (gateway->domains.count > 0 && is_missing(check, "gateway.dns", true))
		refuse(check, "gateway.domains",
		       "gateway.domains without gateway.dns: nobody to ask; write dns = "
		       "{\"10.0.0.53\"}");
}

static void check_mtu(const struct check *check)
{
	const struct config_gateway *gateway = &check->config->gateway;
	bool has_v6 = false;

	for (size_t i = 0; i < gateway->pool.count; i++)
		has_v6 |= gateway->pool.items[i].addr.family == 6;
	if (has_v6 && gateway->mtu != 0 && gateway->mtu < 1280)
		refuse(check, "gateway.mtu",
		       "gateway.mtu: IPv6 needs 1280 bytes and gateway.pool has IPv6; write 1280 "
		       "or "
		       "more, or \"auto\"");
}

static void check_blocks(const struct check *check)
{
	const struct config *config = check->config;

	for (size_t i = 0; i < config->access_count; i++) {
		const struct config_access *block = &config->access[i];
		_cleanup_free_ char *match =
			xalloc_print("%s.%s.match", block->is_site ? "site" : "access",
				     block->title);

		if (is_missing(check, match, true))
			refuse(check, match,
			       "%s is missing or empty; say whom the block is for, match = "
			       "{\"ou=...\"}, "
			       "or {\"cn=*\"} for everybody with a CN",
			       match);
	}
}

static void check_gateway(const struct check *check)
{
	check_pools(check);
	check_listens(check);
	check_pushed(check);
	check_mtu(check);
	check_blocks(check);
	config_sites_check(check->config, check->problems);
}

static void check_client(const struct check *check)
{
	const struct config_client *client = &check->config->client;
	bool ignores = !client->routes_accept && client->routes.count == 0;

	if (client->full_tunnel && ignores)
		refuse(check, "client.full-tunnel",
		       "client.full-tunnel wants every route and client.routes ignores them; write "
		       "routes = \"accept\"");
}

static void check_paths(const struct check *check)
{
	const struct config *config = check->config;

	if (strlen(config->control_socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		refuse(check, "control.socket",
		       "control.socket is %zu bytes with its directory; a unix socket takes at "
		       "most "
		       "%zu",
		       strlen(config->control_socket),
		       sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	if (config->user && strcmp(config->user, "root") == 0)
		refuse(check, "daemon.user",
		       "daemon.user is root; name an account that may nothing else");
}

void config_check(const struct config *config, struct config_problems *problems)
{
	struct check check = {.config = config, .problems = problems};

	check_role(&check);
	if (!find_mark(&check, "gateway") != !find_mark(&check, "client")) {
		check_only(&check);
		check_needed(&check);
		if (config->role == CONFIG_GATEWAY)
			check_gateway(&check);
		else
			check_client(&check);
	}
	check_paths(&check);
	check_unbuilt(&check);
}
