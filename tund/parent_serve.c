/* The parent, once all is made: it serves the engine's few requests, passes SIGHUP on, watches the
 * files that the configuration names, and sees to it that the end of one is the end of all. It
 * waits for nobody. */
#include "parent_serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "parent_reload.h"
#include "session/lease.h"
#include "sys/dns.h"
#include "wire/parent_msg.h"

enum {
	STOP_TIMEOUT_MS = 5000,
	END_US = 50000,		/* how long the end of one child is waited for after another's */
	GATEWAY_TUN_MTU = 1434, /* what DTLS carries on an Ethernet path */
	QUIET_US = 20000,	/* who replaces one file often replaces another */
	CHANGED_MAX_US = 200000,
};

const char *parent_serve_interface(const struct config *config)
{
	return config->role == CONFIG_GATEWAY ? config->gateway.interface : config->client.interface;
}

/* The gateway's own addresses: the first of each pool, on the device, so that the pool is routed
 * there. */
struct netlink_plan parent_serve_plan(struct parent_kit *kit)
{
	struct netlink_plan plan = {.metric = NETLINK_METRIC_SITE};
	const struct config_gateway *config = &kit->config->gateway;
	struct lease_pool *pool = lease_pool_new(&config->pool, &(struct prefix_list){0});

	lease_pool_own(pool, 4, &kit->own4);
	lease_pool_own(pool, 6, &kit->own6);
	lease_pool_free(pool);
	plan.mtu = config->mtu ? config->mtu : GATEWAY_TUN_MTU;
	if (kit->own4.addr.family)
		prefix_list_add(&plan.addresses, &kit->own4);
	if (kit->own6.addr.family)
		prefix_list_add(&plan.addresses, &kit->own6);
	for (size_t i = 0; i < config->pool.count; i++) {
		const struct prefix *prefix = &config->pool.items[i];

		if (!prefix_contains(&kit->own4, &prefix->addr) &&
		    !prefix_contains(&kit->own6, &prefix->addr))
			prefix_list_add(&plan.routes, prefix);
	}
	return plan;
}

static bool reads_one(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char digit = '1';

	return fd < 0 || read(fd, &digit, 1) != 1 || digit == '1';
}

bool parent_serve_forwards(unsigned family)
{
	return reads_one(family == 4 ? "/proc/sys/net/ipv4/ip_forward"
				     : "/proc/sys/net/ipv6/conf/all/forwarding");
}

/* ---- requests ---- */

/* An engine that does not listen is not waited for. */
static void send_reply(const struct parent *parent, uint32_t id, int error, const char *text,
		       const int *fd)
{
	struct parent_msg_reply message = {.id = id, .error = (uint32_t)-error};
	struct buf packet = {0};
	int r;

	snprintf(message.text, sizeof(message.text), "%s", text);
	parent_msg_write_reply(&packet, &message);
	r = child_send(parent->children[CHILD_ENGINE].socket, packet.data, packet.len, fd,
		       fd ? 1 : 0);
	if (r < 0)
		log_warn("cannot answer the engine: %s", strerror(-r));
	buf_done(&packet);
}

static void send_news(const struct parent *parent, enum parent_msg_news news, int64_t since_us)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)since_us);
	send_reply(parent, PARENT_MSG_UNASKED, -(int)news, text, NULL);
}

static void reply(const struct parent *parent, const struct parent_msg_request *request, int error,
		  const char *text, const int *fd)
{
	send_reply(parent, request->id, error, text, fd);
}

static void on_reload(void *user, uint32_t id, int fd, int error, const char *text)
{
	send_reply(user, id, error, text, fd >= 0 ? &fd : NULL);
}

static void serve_socket(struct parent *parent, const struct parent_msg_request *request)
{
	_cleanup_close_ int fd = socket(request->family == 6 ? AF_INET6 : AF_INET,
					SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		reply(parent, request, -errno, strerror(errno), NULL);
	else
		reply(parent, request, 0, "", &fd);
}

static void set_dns(struct parent *parent, const struct parent_msg_network *network)
{
	struct dns_plan plan = {network->dns, network->domains, network->domain_count};
	enum config_dns method = parent->kit->config->client.dns;
	int index = netlink_index(parent->netlink, parent_serve_interface(parent->kit->config));
	char error[256];

	if (index < 0)
		return;
	/* Off since a reload: what was set before goes. */
	if (network->dns.count == 0 || method == CONFIG_DNS_OFF) {
		if (parent->has_dns)
			dns_clear((unsigned)index);
		parent->has_dns = false;
		return;
	}
	if (!dns_available()) {
		log_warn("the gateway names %zu DNS servers, but systemd-resolved does not run "
			 "here: names are resolved as before",
			 network->dns.count);
		return;
	}
	parent->has_dns = dns_set((unsigned)index, &plan, error, sizeof(error)) == 0;
	if (!parent->has_dns)
		log_warn("cannot give the tunnel's DNS servers to systemd-resolved: %s", error);
}

/* Takes what network holds into a plan of its own. */
static struct netlink_plan make_plan(struct parent_msg_network *network)
{
	struct netlink_plan plan = {
		.mtu = network->mtu,
		.addresses = network->addresses,
		.routes = network->routes,
		.source4 = network->source4,
		.source6 = network->source6,
		.metric = network->is_site ? NETLINK_METRIC_PUSHED : 0,
	};

	network->addresses = network->routes = (struct prefix_list){0};
	return plan;
}

static void serve_network(struct parent *parent, struct parent_msg_request *request)
{
	struct netlink_plan plan = make_plan(&request->network);
	const struct config *config = parent->kit->config;
	char error[PARENT_MSG_TEXT] = "";
	int r = -EPERM;

	/* Without an address there is nothing to keep the device up for. */
	if (config->role == CONFIG_CLIENT)
		r = netlink_plan_apply(parent->netlink, parent_serve_interface(config),
				       &parent->plan, plan.addresses.count ? &plan : NULL, error,
				       sizeof(error));

	if (r < 0) {
		netlink_plan_done(&plan);
	} else {
		netlink_plan_done(&parent->plan);
		parent->plan = plan;
		set_dns(parent, &request->network);
	}
	reply(parent, request, r, error, NULL);
}

/* Whether the configuration gives it to a site: the engine cannot have anything else routed. */
static bool is_of_site(const struct config *config, const struct prefix *route)
{
	for (size_t i = 0; i < config->access_count; i++) {
		const struct config_access *site = &config->access[i];

		for (size_t k = 0; k < site->networks.count; k++) {
			if (prefix_covers(&site->networks.items[k], route))
				return true;
		}
		for (size_t k = 0; k < site->address.count; k++) {
			if (prefix_equal(&site->address.items[k], route))
				return true;
		}
	}
	return false;
}

static bool are_of_sites(const struct config *config, const struct prefix_list *routes)
{
	for (size_t i = 0; i < routes->count; i++) {
		if (!is_of_site(config, &routes->items[i]))
			return false;
	}
	return config->role == CONFIG_GATEWAY;
}

/* From what is set to what is there for the gateway itself and these routes. */
static int set_site_routes(struct parent *parent, const struct prefix_list *routes, char *error,
			   size_t size)
{
	struct netlink_plan plan = parent_serve_plan(parent->kit);
	int r;

	for (size_t i = 0; i < routes->count; i++)
		prefix_list_add(&plan.routes, &routes->items[i]);
	r = netlink_plan_apply(parent->netlink, parent->kit->config->gateway.interface,
			       &parent->plan, &plan, error, size);
	if (r < 0) {
		netlink_plan_done(&plan);
		return r;
	}
	netlink_plan_done(&parent->plan);
	parent->plan = plan;
	return 0;
}

static bool is_set(const struct parent *parent, const struct prefix *route)
{
	for (size_t i = 0; i < parent->plan.routes.count; i++) {
		if (prefix_equal(&parent->plan.routes.items[i], route))
			return true;
	}
	return false;
}

/* What cannot be set must not keep the others down: first what is to stay, then the new ones, each
 * for itself. */
static void set_each_route(struct parent *parent, const struct prefix_list *routes)
{
	struct prefix_list good = {0};
	char ignored[PARENT_MSG_TEXT];

	for (size_t i = 0; i < routes->count; i++) {
		if (is_set(parent, &routes->items[i]))
			prefix_list_add(&good, &routes->items[i]);
	}
	set_site_routes(parent, &good, ignored, sizeof(ignored));
	for (size_t i = 0; i < routes->count; i++) {
		if (is_set(parent, &routes->items[i]))
			continue;
		prefix_list_add(&good, &routes->items[i]);
		if (set_site_routes(parent, &good, ignored, sizeof(ignored)) < 0)
			good.count--;
	}
	prefix_list_done(&good);
}

static void serve_routes(struct parent *parent, const struct parent_msg_request *request)
{
	const struct prefix_list *routes = &request->network.routes;
	char error[PARENT_MSG_TEXT] = "no site has these networks";
	int r = -EPERM;

	if (are_of_sites(parent->kit->config, routes)) {
		r = set_site_routes(parent, routes, error, sizeof(error));
		if (r < 0)
			set_each_route(parent, routes);
	}
	reply(parent, request, r, error, NULL);
}

static void serve_forwarding(struct parent *parent, const struct parent_msg_request *request)
{
	bool no4 = (request->families & PARENT_MSG_V4) && !parent_serve_forwards(4);
	bool no6 = (request->families & PARENT_MSG_V6) && !parent_serve_forwards(6);
	char text[PARENT_MSG_TEXT] = "";

	if (no4 || no6)
		snprintf(text, sizeof(text),
			 "this host does not forward %s, so the networks behind it are cut off; "
			 "sysctl%s%s",
			 no4 && no6 ? "IPv4 and IPv6"
			 : no4	    ? "IPv4"
				    : "IPv6",
			 no4 ? " net.ipv4.ip_forward=1" : "",
			 no6 ? " net.ipv6.conf.all.forwarding=1" : "");
	reply(parent, request, 0, text, NULL);
}

/* ---- files ---- */

static void watch_files(struct parent *parent)
{
	struct parent_paths paths;

	if (!parent->files)
		return;
	parent_reload_list(parent->kit->config, &paths);
	if (!parent->kit->config->watch_files)
		paths.count = 0;
	filewatch_set(parent->files, paths.items, paths.count);
	free(paths.items);
}

static void open_watch(struct parent *parent)
{
	parent->files = filewatch_new();
	if (!parent->files)
		log_warn("changed files are found by a reload alone: %s", strerror(errno));
	watch_files(parent);
}

static void note_change(struct parent *parent)
{
	int64_t now_us = clock_now_us();

	if (!filewatch_take(parent->files))
		return;
	if (!parent->changed_us)
		parent->changed_us = now_us;
	parent->quiet_us = now_us + QUIET_US;
	if (parent->quiet_us > parent->changed_us + CHANGED_MAX_US)
		parent->quiet_us = parent->changed_us + CHANGED_MAX_US;
}

/* The ways to the files are looked at again before anybody reads them. */
static void tell_change(struct parent *parent)
{
	if (!parent->changed_us || clock_now_us() < parent->quiet_us)
		return;
	watch_files(parent);
	send_news(parent, PARENT_MSG_CHANGED, parent->changed_us);
	parent->changed_us = 0;
}

static void adopt(struct parent *parent, uint32_t generation)
{
	parent_reload_adopt(parent->reload, generation);
	watch_files(parent);
}

/* False at the engine's end. */
static bool serve_request(struct parent *parent)
{
	_cleanup_free_ uint8_t *packet = xalloc_zero(1, PARENT_MSG_MAX);
	struct parent_msg_request request;
	size_t fd_count = 0;
	ssize_t len = child_receive(parent->children[CHILD_ENGINE].socket, packet, PARENT_MSG_MAX,
				    NULL, &fd_count);

	if (len <= 0)
		return len == -EAGAIN || len == -EINTR;
	if (!parent_msg_read_request(packet, (size_t)len, &request))
		log_error("the engine sent a request that does not parse");
	else if (request.kind == PARENT_MSG_RELOAD)
		parent_reload_ask(parent->reload, request.id, false);
	else if (request.kind == PARENT_MSG_FILES)
		parent_reload_ask(parent->reload, request.id, true);
	else if (request.kind == PARENT_MSG_ADOPT)
		adopt(parent, request.generation);
	else if (request.kind == PARENT_MSG_TCP_SOCKET)
		serve_socket(parent, &request);
	else if (request.kind == PARENT_MSG_ROUTES)
		serve_routes(parent, &request);
	else if (request.kind == PARENT_MSG_FORWARDING)
		serve_forwarding(parent, &request);
	else
		serve_network(parent, &request);
	parent_msg_network_done(&request.network);
	return true;
}

/* ---- signals and the end ---- */

/* An engine that ends with 1 has said why. */
static void describe_end(const struct child *child, bool is_engine, int status)
{
	if (WIFSIGNALED(status))
		log_error("%s was ended by signal %d (%s)", child->name, WTERMSIG(status),
			  strsignal(WTERMSIG(status)));
	else if (!is_engine || WEXITSTATUS(status) != EXIT_FAILURE)
		log_error("%s ended with status %d", child->name, WEXITSTATUS(status));
}

/* True when a child has ended; *ret_status is the exit status that follows. The engine is asked
 * first, and given a moment: its end ends fetch. */
static bool reap(struct parent *parent, bool stopping, int *ret_status)
{
	usleep(END_US);
	for (int i = CHILD_ENGINE; i >= 0; i--) {
		struct child *child = &parent->children[i];
		int status;

		if (child->pid <= 0 || waitpid(child->pid, &status, WNOHANG) != child->pid)
			continue;
		child->pid = -1;
		*ret_status = i == CHILD_ENGINE && stopping && WIFEXITED(status)
				      ? WEXITSTATUS(status)
				      : 1;
		if (*ret_status)
			describe_end(child, i == CHILD_ENGINE, status);
		return true;
	}
	return false;
}

/* Whether a child has ended. */
static bool take_signal(struct parent *parent, int signals, bool *stopping)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return false;
	if (info.ssi_signo == SIGHUP && !*stopping)
		send_news(parent, PARENT_MSG_HANGUP, clock_now_us());
	if (info.ssi_signo != SIGTERM && info.ssi_signo != SIGINT)
		return info.ssi_signo == SIGCHLD;
	*stopping = true;
	parent->deadline_us = clock_now_us() + STOP_TIMEOUT_MS * CLOCK_MS_US;
	kill(parent->children[CHILD_ENGINE].pid, SIGTERM);
	return false;
}

static int poll_for_ms(const struct parent *parent, bool stopping)
{
	if (stopping)
		return 100;
	if (parent->changed_us)
		return (int)(QUIET_US / CLOCK_MS_US);
	return parent_reload_awaits(parent->reload) >= 0 ? 1000 : -1;
}

static int serve(struct parent *parent, int signals)
{
	struct pollfd fds[] = {
		{signals, POLLIN, 0},
		{parent->children[CHILD_ENGINE].socket, POLLIN, 0},
		{-1, POLLIN, 0},
		{parent->files ? filewatch_fd(parent->files) : -1, POLLIN, 0},
	};
	bool stopping = false;
	int status = 1;

	for (;;) {
		fds[2].fd = parent_reload_awaits(parent->reload);
		if (poll(fds, 4, poll_for_ms(parent, stopping)) < 0 && errno != EINTR)
			return 1;
		if (fds[0].revents && take_signal(parent, signals, &stopping) &&
		    reap(parent, stopping, &status))
			return status;
		if (fds[1].revents && !serve_request(parent))
			fds[1].fd = -1; /* its end is seen by SIGCHLD */
		if (fds[3].revents)
			note_change(parent);
		tell_change(parent);
		parent_reload_go_on(parent->reload);
		if (stopping && clock_now_us() > parent->deadline_us) {
			log_error("the engine did not stop in time");
			return 1;
		}
	}
}

static void stop_waiting(int socket)
{
	fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
}

/* Our ends alone: nobody makes the parent wait. */
int parent_serve(struct parent *parent, int signals)
{
	int status;

	stop_waiting(parent->children[CHILD_ENGINE].socket);
	stop_waiting(parent->children[CHILD_KEYS].socket);
	parent->reload = parent_reload_new(parent->kit, parent->children[CHILD_KEYS].socket,
					   on_reload, parent);
	open_watch(parent);
	status = serve(parent, signals);
	filewatch_free(parent->files);
	parent_reload_free(parent->reload);
	return status;
}
