#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/netconf.h"

enum { TEXT = 4000, MTU = 1400 };

static void add_all(struct prefix_list *list, const char *texts)
{
	char *copy = strdup(texts ? texts : ""), *rest = copy, *text;

	while ((text = strsep(&rest, " "))) {
		struct prefix prefix;

		if (!*text)
			continue;
		assert_true(prefix_parse(text, &prefix, NULL));
		prefix_list_add(list, &prefix);
	}
	free(copy);
}

static void print_all(const struct prefix_list *list, char text[static TEXT])
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < list->count; i++) {
		char one[PREFIX_TEXT];

		used += (size_t)snprintf(text + used, TEXT - used, "%s%s", i ? " " : "",
					 prefix_print(&list->items[i], one));
	}
}

static bool plan_covers(const struct parent_msg_network *network, const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, &addr));
	return prefix_list_contains(&network->routes, &addr);
}

struct row {
	const char *name;
	bool full_tunnel;
	const char *accepts; /* NULL: all */
	const char *pushed, *exclude, *outer;
	const char *networks;  /* behind us */
	const char *v4, *v6;   /* our addresses; NULL: none */
	const char *routes;    /* exactly these; NULL: not looked at */
	const char *inside[3]; /* addresses that are routed into the tunnel */
	const char *outside[4];
};

#define V4 "10.99.0.7"
#define V6 "fd00::7"

static const struct row rows[] = {
	{.name = "nothing", .v4 = V4, .routes = ""},
	{.name = "as pushed",
	 .v4 = V4,
	 .v6 = V6,
	 .pushed = "10.0.0.0/8 fd10::/32",
	 .outer = "192.0.2.1",
	 .routes = "10.0.0.0/8 fd10::/32"},
	{.name = "no IPv6 address",
	 .v4 = V4,
	 .pushed = "10.0.0.0/8 fd10::/32",
	 .routes = "10.0.0.0/8"},
	{.name = "no IPv4 address",
	 .v6 = V6,
	 .pushed = "10.0.0.0/8 fd10::/32",
	 .routes = "fd10::/32"},
	{.name = "one twice", .v4 = V4, .pushed = "10.0.0.0/8 10.0.0.0/8", .routes = "10.0.0.0/8"},
	{.name = "the default as halves",
	 .v4 = V4,
	 .v6 = V6,
	 .pushed = "0.0.0.0/0 ::/0",
	 .routes = "0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1"},
	{.name = "a full tunnel of both families",
	 .full_tunnel = true,
	 .v4 = V4,
	 .v6 = V6,
	 .pushed = "10.0.0.0/8",
	 .routes = "0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1"},
	{.name = "a full tunnel of IPv4",
	 .full_tunnel = true,
	 .v4 = V4,
	 .routes = "0.0.0.0/1 128.0.0.0/1"},

	{.name = "the gateway inside what is pushed",
	 .v4 = V4,
	 .pushed = "10.0.0.0/30",
	 .outer = "10.0.0.1",
	 .routes = "10.0.0.0/32 10.0.0.2/31"},
	{.name = "the gateway is all that is pushed",
	 .v4 = V4,
	 .pushed = "10.0.0.1/32",
	 .outer = "10.0.0.1",
	 .routes = ""},
	{.name = "several gateways",
	 .v4 = V4,
	 .v6 = V6,
	 .pushed = "10.0.0.0/8 fd10::/32",
	 .outer = "10.1.2.3 10.200.0.1 fd10::1",
	 .inside = {"10.1.2.2", "10.200.0.0", "fd10::2"},
	 .outside = {"10.1.2.3", "10.200.0.1", "fd10::1", "11.0.0.0"}},
	{.name = "the gateway's IPv6 address inside the default",
	 .v4 = V4,
	 .v6 = V6,
	 .pushed = "::/0",
	 .outer = "2001:db8::1",
	 .inside = {"2001:db8::", "2001:db8::2", "8000::1"},
	 .outside = {"2001:db8::1", "192.0.2.1"}},
	{.name = "a full tunnel around the gateway",
	 .full_tunnel = true,
	 .v4 = V4,
	 .v6 = V6,
	 .outer = "192.0.2.1 2001:db8::1",
	 .inside = {"192.0.2.0", "192.0.2.2", "2001:db8::2"},
	 .outside = {"192.0.2.1", "2001:db8::1"}},

	{.name = "excluded",
	 .v4 = V4,
	 .pushed = "10.0.0.0/14",
	 .exclude = "10.1.0.0/16",
	 .routes = "10.0.0.0/16 10.2.0.0/15"},
	{.name = "all is excluded",
	 .v4 = V4,
	 .pushed = "10.1.0.0/24",
	 .exclude = "10.0.0.0/8",
	 .routes = ""},
	{.name = "excluded from a full tunnel",
	 .full_tunnel = true,
	 .v4 = V4,
	 .exclude = "128.0.0.0/1",
	 .routes = "0.0.0.0/1"},
	{.name = "excluded, of another family",
	 .v4 = V4,
	 .pushed = "10.0.0.0/8",
	 .exclude = "::/0",
	 .routes = "10.0.0.0/8"},

	{.name = "around what is behind us",
	 .v4 = V4,
	 .v6 = V6,
	 .pushed = "10.0.0.0/14 fd20::/47",
	 .networks = "10.1.0.0/16 fd20::/48",
	 .routes = "10.0.0.0/16 10.2.0.0/15 fd20:0:1::/48"},
	{.name = "a full tunnel around what is behind us",
	 .full_tunnel = true,
	 .v4 = V4,
	 .networks = "10.20.0.0/16",
	 .inside = {"10.19.255.255", "10.21.0.0", "192.0.2.1"},
	 .outside = {"10.20.0.0", "10.20.255.255"}},

	{.name = "narrowed: within what is accepted",
	 .v4 = V4,
	 .accepts = "10.0.0.0/8",
	 .pushed = "10.1.0.0/16 172.16.0.0/12",
	 .routes = "10.1.0.0/16"},
	{.name = "narrowed: more than is accepted",
	 .v4 = V4,
	 .accepts = "10.1.0.0/16 10.2.0.0/16",
	 .pushed = "10.0.0.0/8",
	 .routes = "10.1.0.0/16 10.2.0.0/16"},
	{.name = "narrowed: the default to a part",
	 .v4 = V4,
	 .accepts = "10.0.0.0/8",
	 .pushed = "0.0.0.0/0 ::/0",
	 .routes = "10.0.0.0/8"},
	{.name = "ignored", .v4 = V4, .accepts = "", .pushed = "10.0.0.0/8", .routes = ""},
	{.name = "narrowed, with the gateway inside",
	 .v4 = V4,
	 .accepts = "10.0.0.0/31",
	 .pushed = "10.0.0.0/8",
	 .outer = "10.0.0.1",
	 .routes = "10.0.0.0/32"},
};

static void make_plan(const struct row *row, struct parent_msg_network *ret)
{
	struct config_client config = {.full_tunnel = row->full_tunnel,
				       .routes_accept = row->accepts == NULL};
	struct tunnel_params params = {.v4_len = 32, .v6_len = 128};
	struct prefix_list outer = {0};

	if (row->v4)
		assert_true(addr_parse(row->v4, &params.v4));
	if (row->v6)
		assert_true(addr_parse(row->v6, &params.v6));
	add_all(&config.routes, row->accepts);
	add_all(&params.routes, row->pushed);
	add_all(&params.exclude, row->exclude);
	add_all(&params.networks, row->networks);
	add_all(&outer, row->outer);
	netconf_plan(&config, &params, &outer, MTU, ret);
	prefix_list_done(&config.routes);
	prefix_list_done(&outer);
	tunnel_params_done(&params);
}

static void test_routes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *row = &rows[i];
		struct parent_msg_network network;
		char text[TEXT];

		make_plan(row, &network);
		print_all(&network.routes, text);
		if (row->routes && strcmp(text, row->routes) != 0)
			fail_msg("%s: %s", row->name, text);
		for (size_t k = 0; k < 3 && row->inside[k]; k++) {
			if (!plan_covers(&network, row->inside[k]))
				fail_msg("%s: %s is not inside", row->name, row->inside[k]);
		}
		for (size_t k = 0; k < 4 && row->outside[k]; k++) {
			if (plan_covers(&network, row->outside[k]))
				fail_msg("%s: %s is inside", row->name, row->outside[k]);
		}
		assert_true(network.routes.count <= PARENT_MSG_ROUTES_MAX);
		parent_msg_network_done(&network);
	}
}

static void test_addresses(void **state)
{
	struct config_client config = {.routes_accept = true};
	struct tunnel_params params = {.v4_len = 16, .v6_len = 64};
	struct prefix_list outer = {0};
	struct parent_msg_network network;
	char text[TEXT];

	(void)state;
	assert_true(addr_parse(V4, &params.v4) && addr_parse(V6, &params.v6));
	netconf_plan(&config, &params, &outer, MTU, &network);
	print_all(&network.addresses, text);
	assert_string_equal(text, V4 "/16 " V6 "/64");
	assert_int_equal(network.mtu, MTU);
	assert_true(addr_equal(&network.source4, &params.v4));
	assert_true(addr_equal(&network.source6, &params.v6));
	parent_msg_network_done(&network);
}

static const struct dns_case {
	const char *name;
	enum config_dns dns;
	size_t domains;
	bool all;
	size_t servers, names; /* what comes out */
} dns_cases[] = {
	{"as pushed", CONFIG_DNS_AUTO, 2, false, 2, 2},
	{"everything", CONFIG_DNS_AUTO, 2, true, 2, 3},
	{"everything, no domain", CONFIG_DNS_RESOLVED, 0, true, 2, 1},
	{"off", CONFIG_DNS_OFF, 2, true, 0, 0},
	{"as many as may be", CONFIG_DNS_AUTO, TUNNEL_PARAMS_DOMAINS_MAX, false, 2,
	 PARENT_MSG_DOMAINS_MAX},
	{"as many as may be, and everything", CONFIG_DNS_AUTO, TUNNEL_PARAMS_DOMAINS_MAX, true, 2,
	 PARENT_MSG_DOMAINS_MAX},
};

static bool has_name(const struct parent_msg_network *network, const char *name)
{
	for (size_t i = 0; i < network->domain_count; i++) {
		if (strcmp(network->domains[i], name) == 0)
			return true;
	}
	return false;
}

/* What comes out is also what the parent takes. */
static void assert_taken(const struct parent_msg_network *network, const char *name)
{
	struct parent_msg_request request = {.kind = PARENT_MSG_NETWORK, .network = *network}, got;
	struct buf packet = {.limit = PARENT_MSG_MAX};

	parent_msg_write_request(&packet, &request);
	if (!parent_msg_read_request(packet.data, packet.len, &got))
		fail_msg("%s: the parent does not take it", name);
	assert_true(netconf_equal(network, &got.network));
	parent_msg_network_done(&got.network);
	buf_done(&packet);
}

static void test_dns(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(dns_cases) / sizeof(*dns_cases); i++) {
		const struct dns_case *row = &dns_cases[i];
		struct config_client config = {.routes_accept = true, .dns = row->dns};
		struct tunnel_params params = {.tunnel_all_dns = row->all, .v4_len = 32};
		struct prefix_list outer = {0};
		struct parent_msg_network network;

		assert_true(addr_parse(V4, &params.v4));
		add_all(&params.dns, "10.0.0.53 fd00::53");
		for (size_t k = 0; k < row->domains; k++)
			tunnel_params_add_domain(&params, "corp.example", 12);
		netconf_plan(&config, &params, &outer, MTU, &network);
		if (network.dns.count != row->servers || network.domain_count != row->names)
			fail_msg("%s: %zu servers, %zu names", row->name, network.dns.count,
				 network.domain_count);
		assert_int_equal(has_name(&network, "."), row->all && row->names > 0);
		assert_taken(&network, row->name);
		parent_msg_network_done(&network);
		tunnel_params_done(&params);
	}
}

static void test_behind(void **state)
{
	static const struct {
		const char *network;
		bool behind;
	} cases[] = {
		{"10.20.0.0/16", true}, {"fd20::/48", true},	  {"0.0.0.0/0", false},
		{"::/0", false},	{"192.0.2.0/24", false},  {"192.0.2.1/32", false},
		{"192.0.2.2/32", true}, {"2001:db8::/32", false},
	};
	struct prefix_list outer = {0};
	struct prefix network;

	(void)state;
	add_all(&outer, "192.0.2.1 2001:db8::1");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_true(prefix_parse(cases[i].network, &network, NULL));
		if (netconf_is_behind(&network, &outer) != cases[i].behind)
			fail_msg("%s", cases[i].network);
	}
	/* Everything, also where no gateway is of that family. */
	assert_true(prefix_parse("0.0.0.0/0", &network, NULL));
	prefix_list_done(&outer);
	assert_false(netconf_is_behind(&network, &outer));
}

static void test_equal(void **state)
{
	static const struct row plain = {.v4 = V4, .v6 = V6, .pushed = "10.0.0.0/8 fd10::/32"};
	static const struct row others[] = {
		{.v4 = "10.99.0.8", .v6 = V6, .pushed = "10.0.0.0/8 fd10::/32"},
		{.v4 = V4, .v6 = "fd00::8", .pushed = "10.0.0.0/8 fd10::/32"},
		{.v4 = V4, .pushed = "10.0.0.0/8 fd10::/32"},
		{.v4 = V4, .v6 = V6, .pushed = "10.0.0.0/8 fd11::/32"},
		{.v4 = V4, .v6 = V6, .pushed = "10.0.0.0/8"},
		{.v4 = V4,
		 .v6 = V6,
		 .pushed = "10.0.0.0/8 fd10::/32",
		 .networks = "192.168.9.0/24"},
	};
	struct parent_msg_network a, b;

	(void)state;
	make_plan(&plain, &a);
	make_plan(&plain, &b);
	assert_true(netconf_equal(&a, &b));
	b.mtu++;
	assert_false(netconf_equal(&a, &b));
	b.mtu--;
	add_all(&b.dns, "10.0.0.53");
	assert_false(netconf_equal(&a, &b));
	parent_msg_network_done(&b);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		make_plan(&others[i], &b);
		assert_false(netconf_equal(&a, &b));
		parent_msg_network_done(&b);
	}
	parent_msg_network_done(&a);
}

/* As many routes and exclusions as an answer holds, each route around each exclusion: work of moments,
 * though the pieces would be millions. */
static void test_a_flood_of_routes(void **state)
{
	enum { EACH = 590, SECONDS_MAX = 20 };
	struct config_client config = {.routes_accept = true};
	struct tunnel_params params = {.v6_len = 128};
	struct prefix_list outer = {0};
	struct parent_msg_network network;
	clock_t start = clock();
	(void)state;

	assert_true(addr_parse("fd99::2", &params.v6));
	for (unsigned i = 0; i < EACH; i++) {
		struct addr far = {.family = 6, .bytes = {0x20}};
		struct prefix route = prefix_of(&far, 3 + i % 60), hole;

		far.bytes[8 + i % 6] = (uint8_t)i;
		far.bytes[14] = (uint8_t)(i >> 8);
		far.bytes[15] = (uint8_t)i;
		hole = prefix_host(&far);
		prefix_list_add(&params.routes, &route);
		prefix_list_add(&params.exclude, &hole);
	}
	netconf_plan(&config, &params, &outer, MTU, &network);
	assert_int_equal(network.routes.count, PARENT_MSG_ROUTES_MAX);
	assert_true((clock() - start) / CLOCKS_PER_SEC < SECONDS_MAX);
	parent_msg_network_done(&network);
	tunnel_params_done(&params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes), cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_dns),    cmocka_unit_test(test_behind),
		cmocka_unit_test(test_equal),  cmocka_unit_test(test_a_flood_of_routes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
