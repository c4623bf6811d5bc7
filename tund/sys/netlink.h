#pragma once
/* Addresses, routes and the state of one interface (libnl-route-3). Needs CAP_NET_ADMIN; the parent
 * alone uses it. */

#include <stddef.h>

#include "base/prefix.h"

enum { NETLINK_NAME = 16 };

/* One network can be reached both ways when two gateways are each other's site: by what a gateway
 * routes to the site that has dialled it, and by what the other has pushed to our client. The first
 * is there only while its link is up, so it goes first. */
enum { NETLINK_METRIC_SITE = 20, NETLINK_METRIC_PUSHED = 40 };

/* All that is set on an interface. Everything hangs on it and goes with it. */
struct netlink_plan {
	unsigned mtu; /* bytes; 0 leaves it */
	/* With host bits: "10.99.0.1/16" gives a connected route as well. */
	struct prefix_list addresses;
	struct prefix_list routes;    /* through the interface, scope link, main table */
	unsigned metric;	      /* of the routes; 0: the kernel's default */
	struct addr source4, source6; /* preferred source of the routes; family 0: none */
};

struct netlink;

int netlink_open(struct netlink **ret);
void netlink_close(struct netlink *netlink);

/* Takes the interface from what old (NULL: nothing) set to what new asks for, and up; new NULL: all
 * is taken away and the interface goes down. Additions first, then removals, so that what stays is
 * never missing; what somebody took away meanwhile is set again. All or nothing: when one step
 * fails, those done are undone and error (size bytes) says which and why, with what would be right.
 * An address or route that exists already from somebody else is an error (-EEXIST), not taken over,
 * unless it is the other one of the two ways above.
 * A default route is set as its two halves, so the host's own stays beside it; a route that an
 * address of the plan brings by itself, or that is there twice, is set once. IPv6 addresses are
 * added without duplicate address detection, and the interface gets no link-local one. 0 or -errno.
 */
int netlink_plan_apply(struct netlink *netlink, const char *interface,
		       const struct netlink_plan *old, const struct netlink_plan *new, char *error,
		       size_t size);
void netlink_plan_done(struct netlink_plan *plan);
/* The interface's index, or -errno. */
int netlink_index(struct netlink *netlink, const char *interface);
