#pragma once
/* Single requests to the kernel about one interface, in our own types; netlink.c makes plans of
 * them. All return 0 or the kernel's -errno. */

#include <stdbool.h>

#include "sys/netlink.h"

struct nl_sock;

struct netlink {
	struct nl_sock *sock;
	int kernel_error; /* -errno of the last refusal; libnl's own codes keep less */
};

struct netlink_op_link {
	int index;
	unsigned mtu; /* bytes */
	bool up;
	int promote_secondaries; /* 0, 1; -1: not to be had */
	int gen_mode;		 /* IN6_ADDR_GEN_MODE_...; -1: not to be had */
};

enum netlink_op_attribute {
	NETLINK_OP_MTU,
	NETLINK_OP_UP,
	NETLINK_OP_PROMOTE_SECONDARIES,
	NETLINK_OP_GEN_MODE,
};

enum netlink_op_mode { NETLINK_OP_ADD, NETLINK_OP_REPLACE, NETLINK_OP_REMOVE };

int netlink_op_open(struct netlink *netlink); /* zeroed; stays where it is until closed */
void netlink_op_close(struct netlink *netlink);

int netlink_op_link(struct netlink *netlink, const char *interface, struct netlink_op_link *ret);
int netlink_op_set(struct netlink *netlink, int index, enum netlink_op_attribute attribute,
		   unsigned value);
int netlink_op_address(struct netlink *netlink, int index, const struct prefix *address,
		       enum netlink_op_mode mode);
struct netlink_op_way {
	struct addr source; /* family 0: none */
	unsigned metric;    /* 0: the kernel's default */
};

/* Of the main table, scope link. */
int netlink_op_route(struct netlink *netlink, int index, const struct prefix *route,
		     const struct netlink_op_way *way, enum netlink_op_mode mode);

struct netlink_op_seen {
	struct prefix prefix; /* an address keeps its host bits */
	int index;	      /* of its interface */
	bool from_kernel;     /* a route that an address brought */
	unsigned metric;      /* of a route */
};

typedef void (*netlink_op_fn)(const struct netlink_op_seen *seen, void *arg);

/* Every address of the host; every unicast route of the main table. -EAGAIN: something changed
 * meanwhile, ask again. */
int netlink_op_each_address(struct netlink *netlink, netlink_op_fn see, void *arg);
int netlink_op_each_route(struct netlink *netlink, netlink_op_fn see, void *arg);
