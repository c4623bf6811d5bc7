/* org.freedesktop.resolve1(5). resolved forgets what is set on a link when the link goes. It asks
 * polkit about callers without privilege; uid 0 is let through. */

#include "sys/dns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define SERVICE	  "org.freedesktop.resolve1"
#define OBJECT	  "/org/freedesktop/resolve1"
#define INTERFACE "org.freedesktop.resolve1.Manager"

/* For the whole of a set or clear, and to take back a half of one: the parent waits meanwhile. */
#define DEADLINE_US (2 * CLOCK_SECOND_US)
#define REVERT_US   (CLOCK_SECOND_US / 2)

struct resolved {
	sd_bus *bus;
	int64_t deadline_us;
	char *error; /* NULL: nobody wants to know */
	size_t size;
};

static void cleanup_message(sd_bus_message **message)
{
	sd_bus_message_unref(*message);
}

static uint64_t time_left_us(const struct resolved *resolved)
{
	int64_t left_us = resolved->deadline_us - clock_now_us();

	return left_us > 0 ? (uint64_t)left_us : 1; /* 0 would be sd-bus's own 25 s */
}

/* What resolved says may quote what a gateway sent. */
static void explain(const struct resolved *resolved, const char *what, const char *why)
{
	char escaped[256];

	if (!resolved->error)
		return;
	log_escape(why, strlen(why), escaped, sizeof(escaped));
	snprintf(resolved->error, resolved->size, "%s: %s", what, escaped);
}

/* sd_bus_call would wait for the greeting without regard to its timeout. */
static int await_ready(struct resolved *resolved)
{
	int r = 0;

	while (r >= 0 && !sd_bus_is_ready(resolved->bus)) {
		if (clock_now_us() >= resolved->deadline_us)
			return -ETIMEDOUT;
		r = sd_bus_process(resolved->bus, NULL);
		if (r == 0)
			r = sd_bus_wait(resolved->bus, time_left_us(resolved));
	}
	return r < 0 ? r : 0;
}

static void close_bus(struct resolved *resolved)
{
	resolved->bus = sd_bus_close_unref(resolved->bus);
}

/* On the bus that DBUS_SYSTEM_BUS_ADDRESS names, or the system's own. */
static int open_bus(struct resolved *resolved)
{
	int r;

	resolved->deadline_us = clock_now_us() + DEADLINE_US;
	r = sd_bus_open_system(&resolved->bus);
	if (r >= 0)
		r = await_ready(resolved);
	if (r < 0)
		explain(resolved, "cannot reach the system bus; start dbus, or set dns = \"off\"",
			strerror(-r));
	return r < 0 ? r : 0;
}

static int new_call(struct resolved *resolved, const char *method, unsigned ifindex,
		    sd_bus_message **ret)
{
	_cleanup_(cleanup_message) sd_bus_message *call = NULL;
	int r = sd_bus_message_new_method_call(resolved->bus, &call, SERVICE, OBJECT, INTERFACE,
					       method);

	if (r >= 0)
		r = sd_bus_message_append(call, "i", (int)ifindex);
	if (r < 0)
		return r;
	*ret = sd_bus_message_ref(call);
	return 0;
}

static int send_call(struct resolved *resolved, sd_bus_message *call)
{
	sd_bus_error refusal = SD_BUS_ERROR_NULL;
	char what[64];
	int r = sd_bus_call(resolved->bus, call, time_left_us(resolved), &refusal, NULL);

	if (r < 0) {
		snprintf(what, sizeof(what), "systemd-resolved, %s",
			 sd_bus_message_get_member(call));
		explain(resolved, what, refusal.message ? refusal.message : strerror(-r));
	}
	sd_bus_error_free(&refusal);
	return r < 0 ? r : 0;
}

/* r: how filling in the call went. */
static int finish_call(struct resolved *resolved, sd_bus_message *call, int r)
{
	if (r >= 0)
		return send_call(resolved, call);
	explain(resolved, "cannot ask systemd-resolved", strerror(-r));
	return r;
}

/* a(iay): family, address */
static int append_servers(sd_bus_message *call, const struct prefix_list *servers)
{
	int r = sd_bus_message_open_container(call, 'a', "(iay)");

	for (size_t i = 0; r >= 0 && i < servers->count; i++) {
		const struct addr *addr = &servers->items[i].addr;

		r = sd_bus_message_open_container(call, 'r', "iay");
		if (r >= 0)
			r = sd_bus_message_append(call, "i",
						  addr->family == 4 ? AF_INET : AF_INET6);
		if (r >= 0)
			r = sd_bus_message_append_array(call, 'y', addr->bytes,
							addr_bits(addr) / 8);
		if (r >= 0)
			r = sd_bus_message_close_container(call);
	}
	return r < 0 ? r : sd_bus_message_close_container(call);
}

/* The name that every name ends in. */
static bool is_root(const char *domain)
{
	return strcmp(domain, ".") == 0;
}

/* a(sb): domain, whether it only routes queries and is not searched. The root is not searched. */
static int append_domains(sd_bus_message *call, const struct dns_plan *plan)
{
	int r = sd_bus_message_open_container(call, 'a', "(sb)");

	for (size_t i = 0; r >= 0 && i < plan->domain_count; i++)
		r = sd_bus_message_append(call, "(sb)", plan->domains[i],
					  (int)is_root(plan->domains[i]));
	return r < 0 ? r : sd_bus_message_close_container(call);
}

/* Without domains the servers would never be asked, unless for everything. */
static bool is_for_everything(const struct dns_plan *plan)
{
	for (size_t i = 0; i < plan->domain_count; i++) {
		if (is_root(plan->domains[i]))
			return true;
	}
	return plan->domain_count == 0 && plan->servers.count > 0;
}

static int set_servers(struct resolved *resolved, unsigned ifindex, const struct dns_plan *plan)
{
	_cleanup_(cleanup_message) sd_bus_message *call = NULL;
	int r = new_call(resolved, "SetLinkDNS", ifindex, &call);

	if (r >= 0)
		r = append_servers(call, &plan->servers);
	return finish_call(resolved, call, r);
}

static int set_domains(struct resolved *resolved, unsigned ifindex, const struct dns_plan *plan)
{
	_cleanup_(cleanup_message) sd_bus_message *call = NULL;
	int r = new_call(resolved, "SetLinkDomains", ifindex, &call);

	if (r >= 0)
		r = append_domains(call, plan);
	return finish_call(resolved, call, r);
}

static int set_default_route(struct resolved *resolved, unsigned ifindex,
			     const struct dns_plan *plan)
{
	_cleanup_(cleanup_message) sd_bus_message *call = NULL;
	int r = new_call(resolved, "SetLinkDefaultRoute", ifindex, &call);

	if (r >= 0)
		r = sd_bus_message_append(call, "b", (int)is_for_everything(plan));
	return finish_call(resolved, call, r);
}

/* All three settings at once. */
static int revert(struct resolved *resolved, unsigned ifindex)
{
	_cleanup_(cleanup_message) sd_bus_message *call = NULL;
	int r = new_call(resolved, "RevertLink", ifindex, &call);

	return finish_call(resolved, call, r);
}

/* A ping has the bus start resolved where that is how it comes up. */
bool dns_available(void)
{
	struct resolved resolved = {0};
	int r = open_bus(&resolved);
	_cleanup_(cleanup_message) sd_bus_message *ping = NULL;

	if (r == 0)
		r = sd_bus_message_new_method_call(resolved.bus, &ping, SERVICE, OBJECT,
						   "org.freedesktop.DBus.Peer", "Ping");
	if (r >= 0)
		r = send_call(&resolved, ping);
	close_bus(&resolved);
	return r >= 0;
}

int dns_set(unsigned ifindex, const struct dns_plan *plan, char *error, size_t size)
{
	struct resolved resolved = {.error = error, .size = size};
	int r = open_bus(&resolved);

	if (r == 0) {
		r = set_servers(&resolved, ifindex, plan);
		if (r == 0)
			r = set_domains(&resolved, ifindex, plan);
		if (r == 0)
			r = set_default_route(&resolved, ifindex, plan);
		resolved.error = NULL;
		resolved.deadline_us = clock_now_us() + REVERT_US;
		if (r < 0)
			revert(&resolved, ifindex);
	}
	close_bus(&resolved);
	return r;
}

int dns_clear(unsigned ifindex)
{
	struct resolved resolved = {0};
	int r = open_bus(&resolved);

	if (r == 0)
		r = revert(&resolved, ifindex);
	close_bus(&resolved);
	return r;
}
