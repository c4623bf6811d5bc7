/* Start, in this order, each step undone by the process's end:
 *
 *	1  directories, the lock          one tund an instance; a restarted one waits for its
 *	                                  predecessor
 *	2  keys                           opens the key, says its public half, is checked against
 *	                                  our certificate
 *	3  fetch
 *	4  TUN, sockets, control socket   made and bound here, so that nobody else needs the right
 *	5  addresses                      gateway: the first of each pool, on the TUN device
 *	6  engine                         gets the descriptors
 *	7  capabilities, sandbox          CAP_NET_ADMIN for the device, CAP_KILL for children of
 *	                                  another uid
 *	8  serve (parent_serve.c)         until a signal, or until one of the children ends
 *
 * All that is set on the host hangs on the TUN device, which goes with its last descriptor. */
#include "parent.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "engine.h"
#include "key/holder.h"
#include "parent_limits.h"
#include "parent_serve.h"
#include "pki/fetch.h"
#include "sys/child.h"
#include "sys/dns.h"
#include "sys/host.h"
#include "sys/netlink.h"
#include "sys/privs.h"
#include "sys/sandbox.h"
#include "sys/tun.h"
#include "sys/udp.h"

enum {
	PREDECESSOR_US = 3 * 1000000,
	PREDECESSOR_STEP_US = 50000,
	KEY_TIMEOUT_MS = 30000,
	BACKLOG = 65535, /* the kernel cuts it to net.core.somaxconn */
};

/* ---- accounts, before anything is made ---- */

static void find_user(struct parent_kit *kit, struct config_problems *problems,
		      struct config_problems *warnings)
{
	const struct config *config = kit->config;
	unsigned line = config_line(config, "daemon.user");

	if (privs_find_user(config->user, &kit->uid, &kit->gid) == 0)
		return;
	if (!config->user_set && privs_find_user("nobody", &kit->uid, &kit->gid) == 0)
		config_problem(warnings, config->path, line,
			       "there is no user \"%s\", running as nobody; make it with "
			       "useradd --system %s",
			       config->user, config->user);
	else
		config_problem(problems, config->path, line,
			       "daemon.user: there is no user \"%s\"; make it with "
			       "useradd --system %s",
			       config->user, config->user);
}

static gid_t find_group(const struct config *config, const char *option, const char *name,
			bool is_named, struct config_problems *problems)
{
	gid_t gid;

	if (privs_find_group(name, &gid) == 0)
		return gid;
	if (is_named)
		config_problem(problems, config->path, config_line(config, option),
			       "%s: there is no group \"%s\"; make it with groupadd --system %s",
			       option, name, name);
	return (gid_t)-1;
}

void parent_find_accounts(struct parent_kit *kit, struct config_problems *problems,
			  struct config_problems *warnings)
{
	const struct config *config = kit->config;

	find_user(kit, problems, warnings);
	kit->observers = find_group(config, "control.observers", config->observers,
				    config->observers_set, problems);
	kit->admins =
		find_group(config, "control.admins", config->admins, config->admins_set, problems);
}

/* Pool and outer address in one: what goes to the host itself would go into the tunnel. An address
 * that comes later cannot be known here; a pool that the interface has from a run before is
 * ours. */
void parent_check_pool(const struct config *config, const char *interface,
		       struct config_problems *problems)
{
	const struct prefix_list *pool = &config->gateway.pool;
	char other[IF_NAMESIZE], prefix[PREFIX_TEXT], address[ADDR_TEXT];
	struct addr own;

	for (size_t i = 0; config->role == CONFIG_GATEWAY && i < pool->count; i++) {
		if (host_find_address(&pool->items[i], interface, &own, other))
			config_problem(problems, config->path, config_line(config, "gateway.pool"),
				       "gateway.pool: %s holds %s, this host's own address on %s; "
				       "inner and outer addresses must differ",
				       prefix_print(&pool->items[i], prefix),
				       addr_print(&own, address), other);
	}
}

/* ---- 1: directories, the lock ---- */

static bool may_wait(const struct parent *parent)
{
	if (clock_now_us() >= parent->deadline_us)
		return false;
	usleep(PREDECESSOR_STEP_US);
	return true;
}

/* Makes what is missing of a path. */
static int make_directory(const char *path, mode_t mode)
{
	_cleanup_free_ char *copy = xalloc_string(path);

	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(copy, mode) < 0 && errno != EEXIST ? -errno : 0;
}

/* The directory becomes the engine's user's. A slip must not give the system's own away. */
static int give_directory(const char *path, uid_t uid, gid_t gid)
{
	static const char *const system[] = {
		"/",	"/bin",	 "/boot", "/dev",     "/etc",	       "/home",	    "/lib",
		"/opt", "/proc", "/root", "/run",     "/sbin",	       "/srv",	    "/sys",
		"/tmp", "/usr",	 "/var",  "/var/lib", "/var/lib/tund", "/run/tund", "/etc/tund",
	};

	for (size_t i = 0; i < sizeof(system) / sizeof(*system); i++) {
		if (strcmp(path, system[i]) == 0)
			return -EPERM;
	}
	return chown(path, uid, gid) == 0 ? 0 : -errno;
}

static void own_file(const char *directory, const char *name, uid_t uid, gid_t gid)
{
	_cleanup_free_ char *path = xalloc_print("%s/%s", directory, name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat about;

	/* Left by a run as another user. A link to somebody else's file is not taken over. */
	if (fd >= 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_nlink == 1 &&
	    fchown(fd, uid, gid) < 0)
		log_warn("%s: %s", path, strerror(errno));
}

static int take_lock(struct parent *parent)
{
	const char *directory = parent->kit->config->state_directory;
	_cleanup_free_ char *path = xalloc_print("%s/lock", directory);

	parent->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (parent->lock < 0) {
		log_error("%s: %s", path, strerror(errno));
		return -errno;
	}
	while (flock(parent->lock, LOCK_EX | LOCK_NB) < 0) {
		if (may_wait(parent))
			continue;
		log_error("%s is locked: a tund with this state directory is running; stop it, or "
			  "give this one its own state.directory",
			  path);
		return -EBUSY;
	}
	return 0;
}

/* Cores that the process may run on. */
static size_t count_cores(void)
{
	cpu_set_t cores;

	if (sched_getaffinity(0, sizeof(cores), &cores) < 0)
		return 1;
	return (size_t)CPU_COUNT(&cores);
}

/* A client has one flow. */
static size_t wanted_workers(const struct config *config)
{
	size_t count = config->workers ? config->workers : count_cores();

	if (config->role == CONFIG_CLIENT)
		return 1;
	return count < PARENT_WORKERS_MAX ? count : PARENT_WORKERS_MAX;
}

static int prepare(struct parent *parent)
{
	struct parent_kit *kit = parent->kit;
	const char *directory = kit->config->state_directory;
	int r = make_directory(directory, 0700);

	parent_limits_raise(kit, wanted_workers(kit->config));
	if (r == 0)
		r = give_directory(directory, kit->uid, kit->gid);
	if (r < 0) {
		log_error("%s:%u: state.directory %s: %s%s", kit->config->path,
			  config_line(kit->config, "state.directory"), directory, strerror(-r),
			  r == -EPERM ? "; it is not tund's alone: name one of its own" : "");
		return r;
	}
	r = take_lock(parent);
	if (r < 0)
		return r;
	own_file(directory, "state.db", kit->uid, kit->gid);
	own_file(directory, "state.db-wal", kit->uid, kit->gid);
	own_file(directory, "state.db-shm", kit->uid, kit->gid);
	return 0;
}

/* ---- 2, 3: keys and fetch ---- */

struct keys_job {
	const struct parent_kit *kit;
	int sockets[PARENT_KEYS_MAX];
	struct use *use;
};

static int run_keys(int socket, void *argument)
{
	struct keys_job *job = argument;
	const struct config *config = job->kit->config;
	struct config_problems problems = {0};
	struct holder_options options = {
		.key = config->identity.key,
		.passphrase_file = config->identity.passphrase_file,
		.token_directory = config->identity.token_directory,
		.is_client = config->role == CONFIG_CLIENT,
		.use = job->use,
		.uid = job->kit->uid,
		.gid = job->kit->gid,
		.sockets = job->sockets,
		.socket_count = job->kit->key_socket_count,
		.report = socket,
	};

	log_setup(config->log_level, config->log_json, "keys");
	if (config->identity.key_in_place) {
		options.key = NULL;
		options.pem = config_key_in_place(config->path, &problems);
		if (!options.pem) {
			log_error("%s: the key in place cannot be read any more", config->path);
			return 1;
		}
	}
	return holder_run(&options);
}

static int run_fetch(int socket, void *argument)
{
	const struct parent_kit *kit = argument;

	log_setup(kit->config->log_level, kit->config->log_json, "fetch");
	return fetch_run(socket, kit->uid, kit->gid);
}

/* One for each of the gateway's handshake threads, of which there are as many as cores. */
static size_t count_key_sockets(const struct config *config)
{
	size_t count = config->role == CONFIG_GATEWAY ? count_cores() : 1;

	return count < PARENT_KEYS_MAX ? count : PARENT_KEYS_MAX;
}

static int make_key_sockets(struct parent_kit *kit, struct keys_job *job)
{
	kit->key_socket_count = count_key_sockets(kit->config);
	for (size_t i = 0; i < kit->key_socket_count; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		kit->key_sockets[i] = pair[0];
		job->sockets[i] = pair[1];
	}
	return 0;
}

static int start_keys(struct parent_kit *kit, struct child *child, char *error, size_t size)
{
	struct keys_job job = {.kit = kit};
	int r = make_key_sockets(kit, &job);
	int counted = use_open(&job.use, &kit->key_use);

	/* All else works. */
	if (counted < 0)
		log_warn("what the key is used for is not counted: %s", strerror(-counted));
	if (r == 0)
		r = child_start(child, "tund-keys", run_keys, &job, job.sockets,
				kit->key_socket_count);
	for (size_t i = 0; i < kit->key_socket_count; i++)
		cleanup_close(&job.sockets[i]);
	use_close(job.use);
	if (r < 0) {
		snprintf(error, size, "cannot start the key holder: %s", strerror(-r));
		return r;
	}
	return holder_wait(child->socket, KEY_TIMEOUT_MS, &kit->spki, error, size);
}

void parent_check_key(struct parent_kit *kit, struct config_problems *problems)
{
	const struct config *config = kit->config;
	struct child child = {.pid = -1, .socket = -1};
	char error[512];

	if (start_keys(kit, &child, error, sizeof(error)) < 0)
		config_problem(problems, config->path, config_line(config, "identity.key"),
			       "identity.key: %s", error);
	else if (kit->material.leaf && !material_key_fits(&kit->material, &kit->spki))
		config_problem(problems, config->path, config_line(config, "identity.key"),
			       "identity.key: %s", MATERIAL_KEY_MISMATCH);
	cleanup_close(&child.socket);
	if (child.pid > 0)
		waitpid(child.pid, NULL, 0);
}

static int start_keys_and_fetch(struct parent *parent)
{
	struct parent_kit *kit = parent->kit;
	const struct config *config = kit->config;
	char error[512];
	int r = start_keys(kit, &parent->children[CHILD_KEYS], error, sizeof(error));

	if (r < 0 || !material_key_fits(&kit->material, &kit->spki)) {
		log_error("%s:%u: identity.key: %s", config->path,
			  config_line(config, "identity.key"),
			  r < 0 ? error : MATERIAL_KEY_MISMATCH);
		return -EINVAL;
	}
	r = child_start(&parent->children[CHILD_FETCH], "tund-fetch", run_fetch, kit, NULL, 0);
	if (r < 0)
		log_error("cannot start the fetch process: %s", strerror(-r));
	kit->fetch = parent->children[CHILD_FETCH].socket;
	return r;
}

/* ---- 4: TUN and sockets ---- */

static const char *role_name(const struct config *config)
{
	return config->role == CONFIG_GATEWAY ? "gateway" : "client";
}

static void go_on_with_fewer(struct parent_kit *kit, size_t wanted, const char *why, int error)
{
	if (error == 0)
		return;
	log_warn("%zu of %zu workers: %s: %s", kit->worker_count, wanted, why, strerror(-error));
}

/* As many queues as there are to be workers. A kernel without them, or short of them, is no reason
 * not to start. */
static void open_queues(struct parent_kit *kit, const char *name)
{
	size_t wanted = wanted_workers(kit->config);
	int r = 0;

	for (kit->worker_count = 1; r == 0 && kit->worker_count < wanted;) {
		r = tun_open_queue(name, &kit->tuns[kit->worker_count]);
		if (r == 0)
			kit->worker_count++;
	}
	go_on_with_fewer(kit, wanted, "this kernel gives the TUN device no more queues", r);
}

static int open_tun(struct parent *parent)
{
	struct parent_kit *kit = parent->kit;
	const char *name = parent_serve_interface(kit->config), *role = role_name(kit->config);
	char option[40];
	unsigned line;
	int r;

	snprintf(option, sizeof(option), "%s.interface", role);
	line = config_line(kit->config, option);
	do {
		r = tun_open(name, &kit->tuns[0], &kit->tun_offloads);
	} while (r == -EBUSY && may_wait(parent));
	if (r == -EBUSY)
		log_error("%s:%u: an interface %s exists already; choose another %s",
			  kit->config->path, line, name, option);
	else if (r < 0)
		log_error("%s:%u: cannot make the TUN interface %s: %s", kit->config->path, line,
			  name, strerror(-r));
	else
		open_queues(kit, name);
	return r;
}

static int open_tcp(const struct endpoint *at)
{
	_cleanup_close_ int fd =
		socket(at->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (at->any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, &at->any, addr_endpoint_len(at)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return cleanup_take_fd(&fd);
}

static struct parent_port make_port(const struct endpoint *at)
{
	struct parent_port port = {.at = *at, .tcp = -1};

	for (size_t i = 0; i < PARENT_WORKERS_MAX; i++)
		port.udp[i] = -1;
	return port;
}

/* Another program that shares the port, a tund even, would take a part of our datagrams: alone
 * first. */
static int check_port_free(const struct endpoint *at)
{
	unsigned offloads;
	int fd, r = udp_open(at, false, &fd, &offloads);

	if (r == 0)
		close(fd);
	return r;
}

/* A socket for each worker; the kernel shares the peers out. */
static int open_udp(struct parent_kit *kit, struct parent_port *port)
{
	size_t wanted = kit->worker_count, count = 0;
	int r = wanted > 1 ? check_port_free(&port->at) : 0;

	while (r == 0 && count < wanted) {
		r = udp_open(&port->at, wanted > 1, &port->udp[count], &port->udp_offloads);
		if (r == 0)
			count++;
	}
	if (count == 0)
		return r;
	kit->worker_count = count;
	go_on_with_fewer(kit, wanted, "no more UDP sockets for one port", r);
	return 0;
}

static int open_port(struct parent *parent, const struct endpoint *at)
{
	struct parent_kit *kit = parent->kit;
	struct parent_port *port = &kit->ports[kit->port_count];
	char text[ADDR_ENDPOINT_TEXT];
	int r;

	if (kit->port_count == PARENT_PORTS_MAX) {
		log_error("%s:%u: gateway.listen: more than %d addresses", kit->config->path,
			  config_line(kit->config, "gateway.listen"), PARENT_PORTS_MAX);
		return -E2BIG;
	}
	*port = make_port(at);
	do {
		port->tcp = open_tcp(at);
		r = port->tcp < 0 ? port->tcp : open_udp(kit, port);
		if (r < 0)
			cleanup_close(&port->tcp);
	} while (r == -EADDRINUSE && may_wait(parent));
	if (r == 0) {
		kit->port_count++;
		return 0;
	}
	addr_endpoint_print(at, text);
	log_error("%s:%u: gateway.listen: %s: %s%s", kit->config->path,
		  config_line(kit->config, "gateway.listen"), text, strerror(-r),
		  r == -EADDRINUSE ? "; stop what holds the port, or listen elsewhere" : "");
	return r;
}

/* A client's: one UDP socket a family, of any port. A host without the family has one less. */
static int open_client_sockets(struct parent_kit *kit)
{
	static const int families[] = {AF_INET, AF_INET6};

	for (size_t i = 0; i < 2; i++) {
		struct endpoint any = {0};
		struct parent_port *port = &kit->ports[kit->port_count];

		any.any.sa_family = (sa_family_t)families[i];
		*port = make_port(&any);
		if (udp_open(&any, false, &port->udp[0], &port->udp_offloads) == 0)
			kit->port_count++;
	}
	return kit->port_count ? 0 : -EAFNOSUPPORT;
}

/* Where a later address had fewer: nobody would read these, and the kernel would still fill them.
 */
static void close_surplus(struct parent_kit *kit)
{
	for (size_t i = kit->worker_count; i < PARENT_WORKERS_MAX; i++) {
		cleanup_close(&kit->tuns[i]);
		for (size_t k = 0; k < kit->port_count; k++)
			cleanup_close(&kit->ports[k].udp[i]);
	}
}

static int open_sockets(struct parent *parent)
{
	const struct config *config = parent->kit->config;

	if (config->role == CONFIG_CLIENT)
		return open_client_sockets(parent->kit);
	for (size_t i = 0; i < config->gateway.listen.count; i++) {
		int r = open_port(parent, &config->gateway.listen.items[i]);

		if (r < 0)
			return r;
	}
	close_surplus(parent->kit);
	return 0;
}

/* What stands there may be removed; a file that is named by mistake may not. */
static bool is_socket_or_absent(const char *path)
{
	struct stat about;

	return lstat(path, &about) < 0 || S_ISSOCK(about.st_mode);
}

static bool is_answered(const struct sockaddr_un *at)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0;
}

/* Anyone may connect; who may ask what is decided by the peer's credentials. */
static int open_control(struct parent *parent)
{
	const char *path = parent->kit->config->control_socket;
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	_cleanup_free_ char *directory = xalloc_string(path);
	char *slash = strrchr(directory, '/');
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(at.sun_path)) {
		log_error("control.socket: %s: longer than %zu bytes", path,
			  sizeof(at.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	strcpy(at.sun_path, path);
	if (slash && slash != directory) {
		*slash = '\0';
		make_directory(directory, 0755);
	}
	while (is_answered(&at)) {
		if (may_wait(parent))
			continue;
		log_error("control.socket: %s: another tund answers there", path);
		return -EADDRINUSE;
	}
	if (!is_socket_or_absent(path)) {
		log_error("%s:%u: control.socket: %s is there, and not a socket; name another path",
			  parent->kit->config->path,
			  config_line(parent->kit->config, "control.socket"), path);
		return -EEXIST;
	}
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		log_error("control.socket: %s: %s", path, strerror(errno));
		return -errno;
	}
	parent->has_socket = true;
	if (chmod(path, 0666) < 0 || listen(fd, 64) < 0) {
		log_error("control.socket: %s: %s", path, strerror(errno));
		return -errno;
	}
	parent->kit->control = cleanup_take_fd(&fd);
	return 0;
}

/* ---- 5: addresses ---- */

static int set_addresses(struct parent *parent)
{
	struct parent_kit *kit = parent->kit;
	char error[512];
	int r = netlink_open(&parent->netlink);

	if (r < 0) {
		log_error("cannot open netlink: %s", strerror(-r));
		return r;
	}
	if (kit->config->role == CONFIG_CLIENT)
		return 0; /* the device stays down until there is a tunnel */
	parent->plan = parent_serve_plan(kit);
	r = netlink_plan_apply(parent->netlink, parent_serve_interface(kit->config), NULL,
			       &parent->plan, error, sizeof(error));
	if (r < 0)
		log_error("%s", error);
	return r;
}

static void warn_of_forwarding(const struct parent_kit *kit)
{
	if (kit->config->role != CONFIG_GATEWAY)
		return;
	if (kit->own4.addr.family && !parent_serve_forwards(4))
		log_warn("this host does not forward IPv4: devices will reach the gateway alone; "
			 "sysctl net.ipv4.ip_forward=1");
	if (kit->own6.addr.family && !parent_serve_forwards(6))
		log_warn("this host does not forward IPv6: devices will reach the gateway alone; "
			 "sysctl net.ipv6.conf.all.forwarding=1");
}

/* ---- 6: the engine ---- */

static void close_kit(struct parent_kit *kit)
{
	cleanup_close(&kit->control);
	cleanup_close(&kit->fetch);
	kit->worker_count = 0;
	close_surplus(kit);
	for (size_t i = 0; i < kit->port_count; i++)
		cleanup_close(&kit->ports[i].tcp);
	for (size_t i = 0; i < kit->key_socket_count; i++)
		cleanup_close(&kit->key_sockets[i]);
}

static int start_engine(struct parent *parent)
{
	struct parent_kit *kit = parent->kit;
	int keep[8 + PARENT_KEYS_MAX + PARENT_WORKERS_MAX +
		 PARENT_PORTS_MAX * (PARENT_WORKERS_MAX + 1)];
	size_t count = 0;
	int r;

	keep[count++] = kit->control;
	keep[count++] = kit->fetch;
	for (size_t i = 0; i < kit->worker_count; i++)
		keep[count++] = kit->tuns[i];
	for (size_t i = 0; i < kit->port_count; i++) {
		if (kit->ports[i].tcp >= 0)
			keep[count++] = kit->ports[i].tcp;
		for (size_t k = 0; k < kit->worker_count; k++)
			keep[count++] = kit->ports[i].udp[k];
	}
	for (size_t i = 0; i < kit->key_socket_count; i++)
		keep[count++] = kit->key_sockets[i];
	r = child_start(&parent->children[CHILD_ENGINE], "tund-engine", engine_run, kit, keep,
			count);
	if (r < 0)
		log_error("cannot start the engine: %s", strerror(-r));
	close_kit(kit);
	parent->children[CHILD_FETCH].socket = -1; /* the engine's now: fetch ends with it */
	return r;
}

/* ---- 7 and the end ---- */

static void end_child(struct child *child)
{
	if (child->pid <= 0)
		return;
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	child->pid = -1;
}

static int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* 7 */
static int drop(void)
{
	int r = privs_keep_parent();

	if (r < 0) {
		log_error("cannot drop capabilities: %s; tund must be started as root",
			  strerror(-r));
		return r;
	}
	r = sandbox_load(SANDBOX_PARENT);
	if (r < 0)
		log_error("cannot load the sandbox: %s", strerror(-r));
	return r;
}

static int start(struct parent *parent)
{
	static int (*const steps[])(struct parent *) = {
		prepare, start_keys_and_fetch, open_tun, open_sockets, open_control, set_addresses,
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		int r = steps[i](parent);

		if (r < 0)
			return r;
	}
	warn_of_forwarding(parent->kit);
	return start_engine(parent);
}

int parent_run(struct parent_kit *kit)
{
	struct parent parent = {
		.kit = kit,
		.lock = -1,
		.deadline_us = clock_now_us() + PREDECESSOR_US,
	};
	int signals = block_signals(), status = 1;

	gethostname(kit->hostname, sizeof(kit->hostname) - 1);
	kit->control = kit->fetch = -1;
	for (size_t i = 0; i < PARENT_WORKERS_MAX; i++)
		kit->tuns[i] = -1;
	for (int i = 0; i < CHILD_COUNT; i++)
		parent.children[i] = (struct child){.pid = -1, .socket = -1};
	if (start(&parent) == 0 && drop() == 0)
		status = parent_serve(&parent, signals);
	for (int i = CHILD_COUNT - 1; i >= 0; i--)
		end_child(&parent.children[i]);
	if (parent.has_dns)
		dns_clear((unsigned)netlink_index(parent.netlink,
						  parent_serve_interface(kit->config)));
	netlink_plan_done(&parent.plan);
	netlink_close(parent.netlink);
	if (parent.has_socket)
		unlink(kit->config->control_socket);
	return status;
}
