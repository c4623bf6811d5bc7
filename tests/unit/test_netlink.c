#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "sys/netlink.h"

#define TUN "tundtest0"

/* Each test has a network namespace of its own: lo, and TUN with its queue open. */
struct world {
	struct netlink *netlink;
	int tun_fd;
};

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

static int open_tun(void)
{
	struct ifreq request = {.ifr_name = TUN};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	request.ifr_flags = IFF_TUN | IFF_NO_PI;
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
	return fd;
}

static int enter_world(void **state)
{
	struct world *world = xnew(struct world);

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	run("ip link set lo up");
	world->tun_fd = open_tun();
	assert_int_equal(netlink_open(&world->netlink), 0);
	*state = world;
	return 0;
}

static int leave_world(void **state)
{
	struct world *world = *state;

	netlink_close(world->netlink);
	close(world->tun_fd);
	free(world);
	return 0;
}

static char *read_command(const char *command)
{
	FILE *pipe = popen(command, "r");
	size_t size = 1 << 20, used;
	char *text = xalloc_zero(1, size);

	assert_non_null(pipe);
	used = fread(text, 1, size - 1, pipe);
	text[used] = '\0';
	pclose(pipe);
	return text;
}

/* All that a plan can touch. Left out: the queueing discipline, which a link gets when it is first
 * up, and the route for IPv6 multicast, which comes and goes with the link on its own time. */
static char *take_snapshot(void)
{
	return read_command(
		"ip -d addr show | grep -v -e '^ *link/' -e forever | sed 's/qdisc [a-z_]*//'; "
		"ip route show table all; ip -6 route show table all | grep -v ff00; "
		"cat /proc/sys/net/ipv4/conf/" TUN "/promote_secondaries "
		"/proc/sys/net/ipv6/conf/" TUN "/addr_gen_mode");
}

/* The lines of one that the other does not have. */
static void print_lines_missing(const char *mark, const char *text, const char *other)
{
	_cleanup_free_ char *copy = xalloc_string(text);
	char *rest = copy, *line;

	while ((line = strsep(&rest, "\n"))) {
		if (!strstr(other, line))
			print_error("%s%s\n", mark, line);
	}
}

/* IPv6 addresses reach the local table a little later. */
static void check_snapshot(const char *name, const char *wanted)
{
	for (int i = 0;; i++) {
		_cleanup_free_ char *now = take_snapshot();

		if (strcmp(now, wanted) == 0)
			return;
		if (i == 50) {
			print_lines_missing("- ", wanted, now);
			print_lines_missing("+ ", now, wanted);
			fail_msg("%s: the state is another", name);
		}
		usleep(20000);
	}
}

/* Whether every line is among what the command prints. */
static void check_lines(const char *name, const char *command, const char *const *lines)
{
	_cleanup_free_ char *text = read_command(command);

	for (size_t i = 0; lines[i]; i++) {
		if (!strstr(text, lines[i]))
			fail_msg("%s: no \"%s\" in\n%s", name, lines[i], text);
	}
}

static void check_absent(const char *name, const char *command, const char *line)
{
	_cleanup_free_ char *text = read_command(command);

	if (strstr(text, line))
		fail_msg("%s: \"%s\" in\n%s", name, line, text);
}

enum { WORDS = 8 };

struct plan_text {
	unsigned mtu;
	const char *addresses[WORDS], *routes[WORDS];
	const char *source4, *source6;
	unsigned metric;
};

static struct netlink_plan plan_of(const struct plan_text *text)
{
	struct netlink_plan plan = {.mtu = text->mtu, .metric = text->metric};
	struct prefix prefix;

	for (size_t i = 0; i < WORDS && text->addresses[i]; i++) {
		assert_true(prefix_parse_host(text->addresses[i], &prefix));
		prefix_list_add(&plan.addresses, &prefix);
	}
	for (size_t i = 0; i < WORDS && text->routes[i]; i++) {
		assert_true(prefix_parse(text->routes[i], &prefix, NULL));
		prefix_list_add(&plan.routes, &prefix);
	}
	if (text->source4)
		assert_true(addr_parse(text->source4, &plan.source4));
	if (text->source6)
		assert_true(addr_parse(text->source6, &plan.source6));
	return plan;
}

/* error: as much as a test wants to look at, or NULL. */
static int apply(struct world *world, const struct plan_text *old, const struct plan_text *new,
		 char *error, size_t size)
{
	struct netlink_plan old_plan = {0}, new_plan = {0};
	char own[256] = "unwritten";
	int r;

	if (old)
		old_plan = plan_of(old);
	if (new)
		new_plan = plan_of(new);
	r = netlink_plan_apply(world->netlink, TUN, old ? &old_plan : NULL, new ? &new_plan : NULL,
			       own, sizeof(own));
	if (r < 0 && !error)
		print_message("%s\n", own);
	if (r == 0)
		assert_string_equal(own, "");
	if (error)
		snprintf(error, size, "%s", own);
	netlink_plan_done(&old_plan);
	netlink_plan_done(&new_plan);
	return r;
}

static const struct plan_text full = {
	.mtu = 1400,
	.addresses = {"10.99.0.1/16", "fd99::1/64"},
	.routes = {"10.0.0.0/8", "192.168.7.0/24", "10.0.0.0/8", "10.99.0.0/16", "fd00::/16",
		   "2001:db8::/32"},
	.source4 = "10.99.0.1",
	.source6 = "fd99::1",
};

static void test_sets_all(void **state)
{
	static const char *const link[] = {"UP", "mtu 1400", "addrgenmode none", NULL};
	static const char *const addresses[] = {"inet 10.99.0.1/16 ", "inet6 fd99::1/64 ", NULL};
	static const char *const routes4[] = {
		"10.0.0.0/8 proto static scope link src 10.99.0.1",
		"192.168.7.0/24 proto static scope link src 10.99.0.1",
		"10.99.0.0/16 proto kernel scope link src 10.99.0.1", NULL};
	static const char *const routes6[] = {"fd00::/16 proto static src fd99::1",
					      "2001:db8::/32 proto static src fd99::1",
					      "fd99::/64 proto kernel", NULL};
	struct world *world = *state;

	assert_int_equal(apply(world, NULL, &full, NULL, 0), 0);
	check_lines("link", "ip -d link show " TUN, link);
	check_lines("addresses", "ip addr show " TUN, addresses);
	check_lines("IPv4", "ip route show dev " TUN, routes4);
	check_lines("IPv6", "ip -6 route show dev " TUN, routes6);
	check_absent("no detection", "ip addr show " TUN, "tentative");
	check_absent("no link-local", "ip addr show " TUN, "fe80");
}

static void test_default_route_goes_in_halves(void **state)
{
	static const struct plan_text all = {.addresses = {"10.99.0.1", "fd99::1"},
					     .routes = {"0.0.0.0/0", "::/0"}};
	static const char *const routes4[] = {"0.0.0.0/1 dev " TUN, "128.0.0.0/1 dev " TUN,
					      "default via 192.0.2.2 dev eth0", NULL};
	static const char *const routes6[] = {"::/1 dev " TUN, "8000::/1 dev " TUN, NULL};
	struct world *world = *state;

	run("ip link add eth0 type veth peer name eth1 && ip link set eth0 up && "
	    "ip addr add 192.0.2.1/24 dev eth0 && ip route add default via 192.0.2.2");
	assert_int_equal(apply(world, NULL, &all, NULL, 0), 0);
	check_lines("IPv4", "ip route", routes4);
	check_lines("IPv6", "ip -6 route", routes6);
	assert_int_equal(apply(world, &all, NULL, NULL, 0), 0);
	check_absent("gone", "ip route", TUN);
}

static void test_nothing_takes_all_away(void **state)
{
	static const struct plan_text empty = {0};
	static const char *const up[] = {",UP", NULL};
	struct world *world = *state;
	_cleanup_free_ char *before = NULL;

	assert_int_equal(apply(world, NULL, &empty, NULL, 0), 0);
	check_lines("an empty plan brings the link up", "ip link show " TUN, up);
	before = take_snapshot();
	assert_int_equal(apply(world, &empty, &full, NULL, 0), 0);
	run("ip link set " TUN " mtu 1500");
	assert_int_equal(apply(world, &full, &empty, NULL, 0), 0);
	check_snapshot("back to empty", before);
	assert_int_equal(apply(world, &empty, &full, NULL, 0), 0);
	assert_int_equal(apply(world, &full, NULL, NULL, 0), 0);
	check_absent("addresses", "ip addr show " TUN, "inet");
	check_absent("routes", "ip route show table all", TUN);
	check_absent("down", "ip link show " TUN, ",UP");
	assert_int_equal(apply(world, NULL, NULL, NULL, 0), 0);
}

/* Listens to what the kernel announces about addresses and routes. */
static int open_monitor(void)
{
	struct sockaddr_nl local = {.nl_family = AF_NETLINK,
				    .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE |
						 RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE |
						 RTMGRP_LINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&local, sizeof(local)), 0);
	return fd;
}

static unsigned count_changes(int fd, int wanted_type)
{
	_Alignas(struct nlmsghdr) char buf[32768];
	unsigned count = 0;
	ssize_t got;

	while ((got = recv(fd, buf, sizeof(buf), 0)) > 0) {
		unsigned left = (unsigned)got;

		for (struct nlmsghdr *header = (struct nlmsghdr *)buf; NLMSG_OK(header, left);
		     header = NLMSG_NEXT(header, left))
			count += wanted_type == 0 || header->nlmsg_type == wanted_type;
	}
	return count;
}

static void test_same_plan_changes_nothing(void **state)
{
	struct world *world = *state;
	int monitor;

	assert_int_equal(apply(world, NULL, &full, NULL, 0), 0);
	usleep(200000); /* the kernel's own work on IPv6 addresses */
	monitor = open_monitor();
	assert_int_equal(apply(world, &full, &full, NULL, 0), 0);
	assert_int_equal(count_changes(monitor, 0), 0);
	close(monitor);
}

/* Only the differences, and nothing that stays is removed on the way. */
static void test_replace_keeps_what_stays(void **state)
{
	static const struct plan_text before = {.addresses = {"10.99.0.1/16"},
						.routes = {"10.0.0.0/8", "192.168.7.0/24"}};
	static const struct plan_text after = {.addresses = {"10.99.0.1/16"},
					       .routes = {"192.168.8.0/24", "10.0.0.0/8"}};
	static const char *const routes[] = {"10.0.0.0/8", "192.168.8.0/24", NULL};
	struct world *world = *state;
	int monitor;

	assert_int_equal(apply(world, NULL, &before, NULL, 0), 0);
	monitor = open_monitor();
	assert_int_equal(apply(world, &before, &after, NULL, 0), 0);
	assert_int_equal(count_changes(monitor, RTM_DELROUTE), 1);
	check_lines("after", "ip route show dev " TUN, routes);
	check_absent("after", "ip route show dev " TUN, "192.168.7.0");
	close(monitor);
}

/* Without promotion the new address would go with the old one, which was the first of its network.
 */
static void test_new_address_outlives_the_old_one(void **state)
{
	static const struct plan_text before = {.addresses = {"10.99.0.1/16"}};
	static const struct plan_text after = {.addresses = {"10.99.0.2/16"}};
	struct world *world = *state;
	int monitor;

	assert_int_equal(apply(world, NULL, &before, NULL, 0), 0);
	monitor = open_monitor();
	assert_int_equal(apply(world, &before, &after, NULL, 0), 0);
	assert_int_equal(count_changes(monitor, RTM_DELADDR), 1);
	close(monitor);
}

/* Each row is a step from one plan to another; then back again, to the very state before. */
static void test_replace_and_back(void **state)
{
	static const struct {
		const char *name;
		struct plan_text before, after;
		const char *routes[WORDS], *addresses[WORDS];
	} rows[] = {
		{"another address of the same network",
		 {.addresses = {"10.99.0.1/16"}, .routes = {"10.0.0.0/8"}, .source4 = "10.99.0.1"},
		 {.addresses = {"10.99.0.2/16"}, .routes = {"10.0.0.0/8"}, .source4 = "10.99.0.2"},
		 {"10.0.0.0/8 proto static scope link src 10.99.0.2", "10.99.0.0/16 proto kernel"},
		 {"10.99.0.2/16"}},
		{"another length",
		 {.addresses = {"10.99.0.1/16", "fd99::1/64"},
		  .routes = {"fd00::/16"},
		  .source6 = "fd99::1"},
		 {.addresses = {"10.99.0.1/24", "fd99::1/48"},
		  .routes = {"fd00::/16"},
		  .source6 = "fd99::1"},
		 {"10.99.0.0/24 proto kernel", "fd99::/48 proto kernel",
		  "fd00::/16 proto static src"},
		 {"10.99.0.1/24", "fd99::1/48"}},
		{"a source comes",
		 {.addresses = {"10.99.0.1", "fd99::1"}, .routes = {"10.0.0.0/8", "fd00::/16"}},
		 {.addresses = {"10.99.0.1", "fd99::1"},
		  .routes = {"10.0.0.0/8", "fd00::/16"},
		  .source4 = "10.99.0.1",
		  .source6 = "fd99::1"},
		 {"10.0.0.0/8 proto static scope link src 10.99.0.1",
		  "fd00::/16 proto static src fd99::1"},
		 {"10.99.0.1/32"}},
		{"a route the address brought is now asked for",
		 {.addresses = {"10.99.0.1/16", "fd99::1/64"}, .routes = {"10.99.0.0/16"}},
		 {.addresses = {"10.98.0.1/16"}, .routes = {"10.99.0.0/16", "fd99::/64"}},
		 {"10.99.0.0/16 proto static", "fd99::/64 proto static",
		  "10.98.0.0/16 proto kernel"},
		 {"10.98.0.1/16"}},
		{"an address brings a route that was asked for",
		 {.addresses = {"10.98.0.1/16"}, .routes = {"10.99.0.0/16"}},
		 {.addresses = {"10.99.0.1/16"}, .routes = {"10.99.0.0/16"}},
		 {"10.99.0.0/16 proto kernel"},
		 {"10.99.0.1/16"}},
		{"the link's MTU", {.mtu = 1400}, {.mtu = 1300}, {NULL}, {"mtu 1300"}},
		{"twice the same address",
		 {.addresses = {"10.99.0.1"}},
		 {.addresses = {"10.99.0.1", "10.99.0.2", "10.99.0.2"}},
		 {NULL},
		 {"10.99.0.2/32"}},
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ char *before = NULL;

		assert_int_equal(apply(world, NULL, &rows[i].before, NULL, 0), 0);
		usleep(100000);
		before = take_snapshot();
		if (apply(world, &rows[i].before, &rows[i].after, NULL, 0) != 0)
			fail_msg("%s", rows[i].name);
		check_lines(rows[i].name, "ip route show dev " TUN "; ip -6 route show dev " TUN,
			    rows[i].routes);
		check_lines(rows[i].name, "ip addr show " TUN, rows[i].addresses);
		assert_int_equal(apply(world, &rows[i].after, &rows[i].before, NULL, 0), 0);
		check_snapshot(rows[i].name, before);
		assert_int_equal(apply(world, &rows[i].before, NULL, NULL, 0), 0);
	}
}

/* Whatever was done before the step that fails is undone. */
static void test_failure_restores(void **state)
{
	static const struct {
		const char *name, *prepare;
		struct plan_text before, after;
		int result;
		const char *says;
	} rows[] = {
		{"the first step",
		 NULL,
		 {.mtu = 1400, .addresses = {"10.99.0.1/16"}},
		 {.mtu = 70000, .addresses = {"10.99.0.2/16"}},
		 -EINVAL,
		 "cannot set MTU to 70000"},
		{"the last of the routes",
		 NULL,
		 {.mtu = 1400,
		  .addresses = {"10.99.0.1/16"},
		  .routes = {"10.0.0.0/8"},
		  .source4 = "10.99.0.1"},
		 {.mtu = 1300,
		  .addresses = {"10.99.0.2/16", "fd99::1/64"},
		  .routes = {"10.0.0.0/8", "192.168.8.0/24", "fd00::/16", "fd01::/16"},
		  .source4 = "10.99.0.2",
		  .source6 = "fd99::99"},
		 -EINVAL,
		 "cannot set route fd00::/16: Invalid argument; its source must be"},
		{"when the old address is gone already",
		 NULL,
		 {.addresses = {"10.99.0.1/16", "10.99.0.3/16", "fd99::1/64"},
		  .routes = {"10.0.0.0/8", "192.168.8.0/24", "fd00::/16"},
		  .source4 = "10.99.0.1",
		  .source6 = "fd99::1"},
		 {.addresses = {"10.99.0.2/24", "fd99::2/64"},
		  .routes = {"10.0.0.0/8", "192.168.9.0/24", "fd00::/16"},
		  .source4 = "10.99.0.1",
		  .source6 = "fd99::2"},
		 -EINVAL,
		 "cannot set route 10.0.0.0/8"},
		{"a blackhole in the way",
		 "ip route add blackhole 10.20.0.0/16",
		 {.addresses = {"10.99.0.1/16"}, .routes = {"10.10.0.0/16"}},
		 {.addresses = {"10.99.0.1/16"}, .routes = {"10.30.0.0/16", "10.20.0.0/16"}},
		 -EEXIST,
		 "cannot set route 10.20.0.0/16: File exists; somebody else has set it"},
		{"IPv6 is switched off",
		 "echo 1 > /proc/sys/net/ipv6/conf/" TUN "/disable_ipv6",
		 {.addresses = {"10.99.0.1/16"}},
		 {.addresses = {"10.99.0.2/16", "fd99::1/64"}},
		 -EACCES,
		 "IPv6 is switched off on it"},
		{"too small for IPv6",
		 NULL,
		 {.addresses = {"10.99.0.1/16"}},
		 {.mtu = 1279, .addresses = {"10.99.0.1/16", "fd99::1/64"}},
		 -EINVAL,
		 "too small for IPv6; at least 1280"},
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ char *before = NULL;
		char error[256];
		int r;

		if (rows[i].prepare)
			run(rows[i].prepare);
		assert_int_equal(apply(world, NULL, &rows[i].before, NULL, 0), 0);
		usleep(100000);
		before = take_snapshot();
		r = apply(world, &rows[i].before, &rows[i].after, error, sizeof(error));
		if (r != rows[i].result || !strstr(error, rows[i].says))
			fail_msg("%s: %d, %s", rows[i].name, r, error);
		check_snapshot(rows[i].name, before);
		assert_int_equal(apply(world, &rows[i].before, NULL, NULL, 0), 0);
	}
}

static void test_failure_on_a_fresh_link_restores(void **state)
{
	static const struct plan_text bad = {.mtu = 1400,
					     .addresses = {"10.99.0.1/16", "fd99::1/64"},
					     .routes = {"10.0.0.0/8", "fd00::/16"},
					     .source6 = "fd99::99"};
	struct world *world = *state;
	_cleanup_free_ char *before = take_snapshot();
	char error[256];

	assert_int_equal(apply(world, NULL, &bad, error, sizeof(error)), -EINVAL);
	check_snapshot("fresh", before);
	check_absent("down", "ip link show " TUN, ",UP");
}

static void test_conflicts(void **state)
{
	static const struct {
		const char *name;
		struct plan_text plan;
		const char *says; /* NULL: no conflict */
	} rows[] = {
		{"an address there already",
		 {.addresses = {"192.0.2.1/32"}},
		 "address 192.0.2.1/32 is already on interface eth0; "},
		{"an IPv6 address there already",
		 {.addresses = {"10.99.0.1/16", "2001:db8::1/128"}},
		 "address 2001:db8::1/128 is already on interface eth0; "},
		{"an address there already, of another length",
		 {.addresses = {"10.7.0.1/24"}},
		 "address 10.7.0.1/24 is already on interface " TUN "; "},
		{"a route through another interface",
		 {.routes = {"10.0.0.0/8", "198.51.100.0/24"}},
		 "route 198.51.100.0/24 is already on interface eth0; "},
		{"an IPv6 route through another interface",
		 {.routes = {"2001:db8:1::/48"}},
		 "route 2001:db8:1::/48 is already on interface eth0; "},
		{"another interface's network",
		 {.routes = {"192.0.2.0/24"}},
		 "route 192.0.2.0/24 is already on interface eth0; "},
		{"an address in another interface's network",
		 {.addresses = {"192.0.2.77/24"}},
		 "route 192.0.2.0/24 is already on interface eth0; "},
		{"somebody else's route through the tunnel",
		 {.routes = {"10.8.0.0/16"}},
		 "route 10.8.0.0/16 is already on interface " TUN "; "},
		{"the same host within a wider network is none",
		 {.addresses = {"192.0.2.77/32"}},
		 NULL},
		{"a part of it is none", {.routes = {"192.0.2.128/25", "198.51.0.0/16"}}, NULL},
		{"a link-local address is none", {.addresses = {"fe80::99/64"}}, NULL},
		{"another table's route is none", {.routes = {"203.0.113.0/24"}}, NULL},
		{"what is pushed, where there is a site's",
		 {.routes = {"10.88.0.0/16", "fd88::/16"}, .metric = NETLINK_METRIC_PUSHED},
		 NULL},
		{"a site's, where there is what was pushed",
		 {.routes = {"10.89.0.0/16", "fd89::/16"}, .metric = NETLINK_METRIC_SITE},
		 NULL},
		{"another site's",
		 {.routes = {"10.88.0.0/16"}, .metric = NETLINK_METRIC_SITE},
		 "route 10.88.0.0/16 is already on interface eth0; "},
		{"what somebody else has pushed",
		 {.routes = {"fd89::/16"}, .metric = NETLINK_METRIC_PUSHED},
		 "route fd89::/16 is already on interface eth0; "},
		{"a site's, where there is a plain one",
		 {.routes = {"198.51.100.0/24"}, .metric = NETLINK_METRIC_SITE},
		 "route 198.51.100.0/24 is already on interface eth0; "},
		{"a plain one, where there is a site's",
		 {.routes = {"10.88.0.0/16"}},
		 "route 10.88.0.0/16 is already on interface eth0; "},
		{"a blackhole behind it is none", {.routes = {"10.66.0.0/16", "fd66::/16"}}, NULL},
	};
	struct world *world = *state;

	/* Link-local addresses would come some time later, and change what a snapshot sees. */
	run("ip link add eth0 type veth peer name eth1 && "
	    "ip link set eth0 addrgenmode none up && ip link set eth1 addrgenmode none up && "
	    "ip addr add 192.0.2.1/24 dev eth0 && "
	    "ip addr add 2001:db8::1/64 dev eth0 nodad && "
	    "ip route add 198.51.100.0/24 via 192.0.2.2 metric 50 && "
	    "ip -6 route add 2001:db8:1::/48 dev eth0 metric 50 && "
	    "ip route add 203.0.113.0/24 dev eth0 table 77 && "
	    "ip route add 10.88.0.0/16 dev eth0 metric 20 && "
	    "ip -6 route add fd88::/16 dev eth0 metric 20 && "
	    "ip route add 10.89.0.0/16 dev eth0 metric 40 && "
	    "ip -6 route add fd89::/16 dev eth0 metric 40 && "
	    "ip route add blackhole 10.66.0.0/16 metric 4000 && "
	    "ip -6 route add blackhole fd66::/16 metric 4000 && "
	    "ip link set " TUN " up && ip addr add 10.7.0.1/32 dev " TUN " && "
	    "ip route add 10.8.0.0/16 dev " TUN);
	usleep(300000);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ char *before = take_snapshot();
		char error[256];
		int r = apply(world, NULL, &rows[i].plan, error, sizeof(error));
		static const struct plan_text empty = {0};

		if (r != (rows[i].says ? -EEXIST : 0) ||
		    (rows[i].says && !strstr(error, rows[i].says)))
			fail_msg("%s: %d, %s", rows[i].name, r, error);
		if (rows[i].says)
			check_snapshot(rows[i].name, before);
		else
			assert_int_equal(apply(world, &rows[i].plan, &empty, error, sizeof(error)),
					 0);
	}
}

static void test_another_metric_replaces_the_routes(void **state)
{
	static const struct plan_text plain = {.addresses = {"10.99.0.2"},
					       .routes = {"10.0.0.0/8", "fd00::/16"}};
	static const struct plan_text pushed = {
		.addresses = {"10.99.0.2"},
		.routes = {"10.0.0.0/8", "fd00::/16"},
		.metric = NETLINK_METRIC_PUSHED,
	};
	static const char *const routes[] = {"10.0.0.0/8 proto static scope link metric 40",
					     "fd00::/16 proto static metric 40", NULL};
	struct world *world = *state;
	_cleanup_free_ char *before = NULL;

	assert_int_equal(apply(world, NULL, &plain, NULL, 0), 0);
	before = take_snapshot();
	assert_int_equal(apply(world, &plain, &pushed, NULL, 0), 0);
	check_lines("pushed", "ip route show dev " TUN "; ip -6 route show dev " TUN, routes);
	check_absent("plain", "ip -6 route show dev " TUN, "metric 1024");
	assert_int_equal(apply(world, &pushed, &plain, NULL, 0), 0);
	check_snapshot("plain again", before);
}

/* What somebody took away comes back with the next change, and what is gone need not be removed. */
static void test_gaps_are_filled(void **state)
{
	static const struct plan_text less = {.addresses = {"10.99.0.1/16"}};
	static const char *const lines[] = {"10.0.0.0/8 proto static", "fd00::/16 proto static",
					    NULL};
	struct world *world = *state;

	assert_int_equal(apply(world, NULL, &full, NULL, 0), 0);
	run("ip link set " TUN " down && ip addr flush dev " TUN);
	assert_int_equal(apply(world, &full, &full, NULL, 0), 0);
	check_lines("filled", "ip route show dev " TUN "; ip -6 route show dev " TUN, lines);
	run("ip route del 10.0.0.0/8 dev " TUN " && ip -6 addr flush dev " TUN);
	assert_int_equal(apply(world, &full, &less, NULL, 0), 0);
	check_absent("removed", "ip -6 route show dev " TUN, "fd00");
}

static void test_many_routes(void **state)
{
	struct world *world = *state;
	struct netlink_plan plan = {0};
	struct prefix prefix;
	char error[256];
	_cleanup_free_ char *count = NULL;

	assert_true(prefix_parse("10.0.0.0/24", &prefix, NULL));
	for (unsigned i = 0; i < 1000; i++) {
		prefix_list_add(&plan.routes, &prefix);
		prefix.addr = addr_add(&prefix.addr, 512);
	}
	assert_int_equal(netlink_plan_apply(world->netlink, TUN, NULL, &plan, error, sizeof(error)),
			 0);
	count = read_command("ip route show dev " TUN " | wc -l");
	assert_int_equal(atoi(count), 1000);
	netlink_plan_done(&plan);
}

static void test_interface_names(void **state)
{
	static const struct {
		const char *name;
		int index; /* 0: any */
	} rows[] = {
		{"lo", 1},
		{TUN, 0},
		{"nothere", -ENODEV},
		{"", -ENODEV},
		{"longer-than-an-interface-name", -ENODEV},
	};
	static const struct netlink_plan empty;
	struct world *world = *state;
	char error[256];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int index = netlink_index(world->netlink, rows[i].name);

		if (rows[i].index ? index != rows[i].index : index <= 0)
			fail_msg("\"%s\": %d", rows[i].name, index);
	}
	assert_int_equal(netlink_plan_apply(world->netlink, "nothere", NULL, &empty, error,
					    sizeof(error)),
			 -ENODEV);
	assert_string_equal(error, "interface nothere: No such device");
	netlink_close(NULL);
}

static void keep_capabilities(uint32_t mask)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{.effective = mask, .permitted = mask}};

	if (syscall(SYS_capset, &header, data) != 0)
		_exit(99);
}

/* In a child: the exit status is what apply returned, negated. */
static int apply_with_capabilities(struct world *world, uint32_t mask, const char *says)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		char error[256] = "";
		int r;

		keep_capabilities(mask);
		netlink_close(world->netlink);
		if (netlink_open(&world->netlink) < 0)
			_exit(98);
		r = apply(world, NULL, &full, error, sizeof(error));
		_exit(strstr(error, says) ? -r : 97);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_needs_cap_net_admin_alone(void **state)
{
	struct world *world = *state;

	assert_int_equal(apply_with_capabilities(world, 0, "tund needs CAP_NET_ADMIN"), EPERM);
	assert_int_equal(apply_with_capabilities(world, 1u << CAP_NET_ADMIN, ""), 0);
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, enter_world, leave_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_world(test_sets_all),
		in_world(test_default_route_goes_in_halves),
		in_world(test_nothing_takes_all_away),
		in_world(test_same_plan_changes_nothing),
		in_world(test_replace_keeps_what_stays),
		in_world(test_new_address_outlives_the_old_one),
		in_world(test_replace_and_back),
		in_world(test_failure_restores),
		in_world(test_failure_on_a_fresh_link_restores),
		in_world(test_conflicts),
		in_world(test_another_metric_replaces_the_routes),
		in_world(test_gaps_are_filled),
		in_world(test_many_routes),
		in_world(test_interface_names),
		in_world(test_needs_cap_net_admin_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
