/* config/config_diff: which options two readings differ in. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "config/config_diff.h"
#include "config/config_load.h"
#include "config/config_table.h"

#define REST "identity { certificate = a.crt key = a.key }\ntrust { ca = ca.crt }\n"
#define IN_TRUST(more)                                                                             \
	"identity { certificate = a.crt key = a.key } trust { ca = ca.crt " more " }\n"
#define POOL	      " pool = '10.99.0.0/16' "
#define GATEWAY(more) "gateway {" POOL more "}\n" REST
#define CLIENT(more)  "client { gateway = vpn " more "}\n" REST
#define WITH(more)    more "\n" GATEWAY("")
#define ACCESS(more)  WITH("access a { match = 'cn=x' " more " }")
#define SITE(more)    WITH("site b { match = 'cn=b' " more " }")

static struct config *load(const char *text)
{
	struct config_problems problems = {0};
	char *copy = xalloc_string(text);
	struct config *config =
		config_load_text("/etc/tund/x.conf", copy, strlen(copy), true, &problems);

	if (problems.count)
		fail_msg("%s: %s", text, problems.items[0].text);
	free(copy);
	return config;
}

/* Names with a blank and a bar between. */
static char *join(char *const *names, size_t count)
{
	struct buf line = {0};

	for (size_t i = 0; i < count; i++)
		buf_print(&line, "%s%s", i ? " | " : "", names[i]);
	buf_append(&line, "", 1);
	return (char *)line.data;
}

static const struct row {
	const char *before, *now, *changed, *restart;
} rows[] = {
	{GATEWAY(""), GATEWAY(""), "", ""},
	{CLIENT(""), CLIENT(""), "", ""},
	/* As it is without being written. */
	{GATEWAY(""), GATEWAY("dpd = 10s"), "", ""},
	/* One of each kind. */
	{GATEWAY(""), GATEWAY("dpd = 11s"), "gateway.dpd", ""},
	{GATEWAY("mtu = 1300"), GATEWAY("mtu = auto"), "gateway.mtu", ""},
	{GATEWAY(""), GATEWAY("max-sessions = 5"), "gateway.max-sessions", ""},
	{GATEWAY(""), GATEWAY("duplicate = refuse"), "gateway.duplicate", ""},
	{GATEWAY(""), GATEWAY("routes = '10.1.0.0/16'"), "gateway.routes", ""},
	{GATEWAY("routes = '10.1.0.0/16'"), GATEWAY("routes = '10.2.0.0/16'"), "gateway.routes",
	 ""},
	{GATEWAY("routes = {'10.1.0.0/16', '10.2.0.0/16'}"),
	 GATEWAY("routes = {'10.1.0.0/16', '10.2.0.0/15'}"), "gateway.routes", ""},
	{GATEWAY("dns = 10.0.0.1"), GATEWAY("dns = 10.0.0.2"), "gateway.dns", ""},
	{GATEWAY("dns = 10.0.0.1"), GATEWAY("dns = 10.0.0.1 domains = a.example"),
	 "gateway.domains", ""},
	{CLIENT(""), CLIENT("full-tunnel = true"), "client.full-tunnel", ""},
	{CLIENT(""), CLIENT("routes = ignore"), "client.routes", ""},
	{CLIENT("routes = '10.0.0.0/8'"), CLIENT("routes = accept"), "client.routes", ""},
	{CLIENT("routes = '10.0.0.0/8'"), CLIENT("routes = '10.0.0.0/9'"), "client.routes", ""},
	{CLIENT(""), "client { gateway = {vpn, vpn2} }\n" REST, "client.gateway", ""},
	{GATEWAY(""), "gateway {" POOL "}\n" IN_TRUST("crl = b.crl"), "trust.crl", ""},
	{GATEWAY(""), "gateway {" POOL "}\n" IN_TRUST("crl-policy = grace"), "trust.crl-policy",
	 ""},
	{GATEWAY(""), "gateway {" POOL "}\n" IN_TRUST("crl-policy = strict"), "trust.crl-policy",
	 ""},
	{CLIENT(""), "client { gateway = vpn }\n" IN_TRUST("peer-name = x"), "trust.peer-name", ""},
	{GATEWAY(""),
	 "gateway {" POOL "}\nidentity { certificate = b.crt key = b.key }\ntrust { ca = ca.crt }",
	 "identity.certificate | identity.key", ""},
	{GATEWAY(""), WITH("crypto { groups = 'X25519' }"), "crypto.groups", ""},
	{GATEWAY(""), WITH("log { level = debug }"), "log.level", ""},
	{GATEWAY(""), WITH("limits { handshakes = 3 handshake-timeout = 3s }"),
	 "limits.handshakes | limits.handshake-timeout", ""},
	/* Those that are made at the start. */
	{GATEWAY(""), "gateway { pool = '10.98.0.0/16' }\n" REST, "", "gateway.pool"},
	{GATEWAY(""), GATEWAY("listen = '0.0.0.0:4443'"), "", "gateway.listen"},
	{GATEWAY("listen = '0.0.0.0:443'"), GATEWAY("listen = '0.0.0.0:4443'"), "",
	 "gateway.listen"},
	{GATEWAY("interface = t1"), GATEWAY("interface = t2 dpd = 3s"), "gateway.dpd",
	 "gateway.interface"},
	{CLIENT(""), CLIENT("interface = t2"), "", "client.interface"},
	{GATEWAY(""), WITH("control { socket = '/x' observers = a admins = b }"), "",
	 "control.socket | control.observers | control.admins"},
	{GATEWAY(""), WITH("state { directory = '/x' }"), "", "state.directory"},
	{GATEWAY(""), WITH("daemon { user = nobody }"), "", "daemon.user"},
	{GATEWAY(""), WITH("daemon { workers = 4 }"), "", "daemon.workers"},
	{GATEWAY(""), WITH("log { format = json }"), "", "log.format"},
	/* Blocks, by their titles. */
	{GATEWAY(""), ACCESS(""), "access.a added", ""},
	{ACCESS(""), GATEWAY(""), "access.a removed", ""},
	{ACCESS(""), SITE(""), "site.b added | access.a removed", ""},
	{ACCESS(""), ACCESS("allow = '10.0.0.0/8 any'"), "access.a.allow", ""},
	{ACCESS("allow = '10.0.0.0/8 any'"), ACCESS("allow = '10.0.0.0/8 tcp'"), "access.a.allow",
	 ""},
	{ACCESS("allow = '10.0.0.0/8 tcp/1-2'"), ACCESS("allow = '10.0.0.0/8 tcp/1-3'"),
	 "access.a.allow", ""},
	{ACCESS("allow = '10.0.0.0/8 tcp/1'"), ACCESS("allow = '10.0.0.0/8 tcp/1,2'"),
	 "access.a.allow", ""},
	{ACCESS("accept = '10.0.0.0/8 any'"), ACCESS("accept = '10.0.0.0/9 any'"),
	 "access.a.accept", ""},
	{ACCESS("routes = '10.0.0.0/8'"), ACCESS("routes = '10.0.0.0/9'"), "access.a.routes", ""},
	{WITH("access a { match = 'cn=x' }"), WITH("access a { match = 'cn=y' }"), "access.a.match",
	 ""},
	{SITE(""), SITE("address = 10.99.0.9 networks = '10.20.0.0/16'"),
	 "site.b.address | site.b.networks", ""},
	/* Their order says nothing. */
	{WITH("access a { match = 'cn=a' }\naccess c { match = 'cn=c' }"),
	 WITH("access c { match = 'cn=c' }\naccess a { match = 'cn=a' }"), "", ""},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct config *before = load(rows[i].before), *now = load(rows[i].now);
		_cleanup_free_ char *changed = NULL, *restart = NULL;
		struct config_diff diff;

		config_diff_find(before, now, &diff);
		changed = join(diff.changed, diff.changed_count);
		restart = join(diff.restart, diff.restart_count);
		if (strcmp(changed, rows[i].changed) != 0 || strcmp(restart, rows[i].restart) != 0)
			fail_msg("%s -> %s: changed %s, restart %s", rows[i].before, rows[i].now,
				 changed, restart);
		config_diff_done(&diff);
		config_free(before);
		config_free(now);
	}
}

/* Every option that is found changed and needs a restart is as before once it is kept, and still
 * found the next time. */
static void test_keep(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct config *before = load(rows[i].before), *now = load(rows[i].now);
		struct config *again = load(rows[i].now);
		_cleanup_free_ char *restart = NULL;
		struct config_diff diff;

		config_diff_keep(now, before);
		config_diff_find(before, now, &diff);
		assert_int_equal(diff.restart_count, 0);
		config_diff_done(&diff);
		config_free(before);
		config_diff_find(now, again, &diff);
		restart = join(diff.restart, diff.restart_count);
		assert_string_equal(restart, rows[i].restart);
		assert_int_equal(diff.changed_count, 0);
		config_diff_done(&diff);
		config_free(now);
		config_free(again);
	}
}

/* A kind without a comparison, or without a copy where it needs a restart, would end here. */
static void test_every_option(void **state)
{
	struct config *gateway = load(SITE("")), *client = load(CLIENT(""));
	struct config *other = load(SITE("")), *other_client = load(CLIENT(""));
	struct config_diff diff;

	(void)state;
	config_diff_find(gateway, client, &diff);
	assert_true(diff.changed_count > 0);
	config_diff_done(&diff);
	config_diff_keep(other, gateway);
	config_diff_keep(other_client, client);
	config_free(gateway);
	config_free(client);
	config_free(other);
	config_free(other_client);
}

static void test_add(void **state)
{
	struct config_diff diff = {0};

	(void)state;
	config_diff_add(&diff, "trust.crl");
	config_diff_add(&diff, "trust.ca");
	config_diff_add(&diff, "trust.crl");
	assert_int_equal(diff.changed_count, 2);
	assert_string_equal(diff.changed[1], "trust.ca");
	config_diff_done(&diff);
	assert_int_equal(diff.changed_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_keep),
		cmocka_unit_test(test_every_option),
		cmocka_unit_test(test_add),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
