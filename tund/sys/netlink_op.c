#include "sys/netlink_op.h"

#include <errno.h>
#include <string.h>

#include <linux/if_addr.h>
#include <linux/ip.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/route.h>

#include "base/cleanup.h"

enum { DEFAULT_METRIC6 = 1024 }; /* the kernel's IP6_RT_PRIO_USER */

static void cleanup_addr(struct nl_addr **addr)
{
	nl_addr_put(*addr);
}

static void cleanup_rtnl_addr(struct rtnl_addr **addr)
{
	rtnl_addr_put(*addr);
}

static void cleanup_rtnl_route(struct rtnl_route **route)
{
	rtnl_route_put(*route);
}

static void cleanup_link(struct rtnl_link **link)
{
	rtnl_link_put(*link);
}

/* Called for the answer to a request, while libnl reads it. libnl's own codes make ESRCH and ENOENT
 * one, and ENETUNREACH an unspecific failure. */
static int keep_error(struct sockaddr_nl *from, struct nlmsgerr *message, void *arg)
{
	struct netlink *netlink = arg;

	(void)from;
	netlink->kernel_error = message->error;
	return -NLE_FAILURE;
}

/* 0 or -errno for what a libnl call returned: the kernel's own where it answered. */
static int take_result(struct netlink *netlink, int r)
{
	int kernel_error = netlink->kernel_error;

	netlink->kernel_error = 0;
	if (r >= 0)
		return 0;
	if (kernel_error)
		return kernel_error;
	switch (-r) {
	case NLE_NODEV:
	case NLE_OBJ_NOTFOUND:
		return -ENODEV;
	case NLE_PERM:
		return -EPERM;
	case NLE_OPNOTSUPP:
		return -EOPNOTSUPP;
	case NLE_DUMP_INTR:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

int netlink_op_open(struct netlink *netlink)
{
	int r;

	netlink->sock = nl_socket_alloc();
	if (!netlink->sock)
		return -ENOMEM;
	r = nl_connect(netlink->sock, NETLINK_ROUTE);
	if (r < 0)
		return take_result(netlink, r);
	return take_result(netlink, nl_socket_modify_err_cb(netlink->sock, NL_CB_CUSTOM, keep_error,
							    netlink));
}

void netlink_op_close(struct netlink *netlink)
{
	nl_socket_free(netlink->sock);
	netlink->sock = NULL;
}

int netlink_op_link(struct netlink *netlink, const char *interface, struct netlink_op_link *ret)
{
	_cleanup_(cleanup_link) struct rtnl_link *link = NULL;
	struct netlink_op_link found = {.promote_secondaries = -1, .gen_mode = -1};
	uint32_t promote;
	uint8_t mode;
	int r;

	if (strlen(interface) == 0 || strlen(interface) >= NETLINK_NAME)
		return -ENODEV;
	r = take_result(netlink, rtnl_link_get_kernel(netlink->sock, 0, interface, &link));
	if (r < 0)
		return r;
	found.index = rtnl_link_get_ifindex(link);
	found.mtu = rtnl_link_get_mtu(link);
	found.up = rtnl_link_get_flags(link) & IFF_UP;
	if (rtnl_link_inet_get_conf(link, IPV4_DEVCONF_PROMOTE_SECONDARIES, &promote) == 0)
		found.promote_secondaries = promote != 0;
	if (rtnl_link_inet6_get_addr_gen_mode(link, &mode) == 0)
		found.gen_mode = mode;
	*ret = found;
	return 0;
}

int netlink_op_set(struct netlink *netlink, int index, enum netlink_op_attribute attribute,
		   unsigned value)
{
	_cleanup_(cleanup_link) struct rtnl_link *target = rtnl_link_alloc();
	_cleanup_(cleanup_link) struct rtnl_link *wanted = rtnl_link_alloc();
	int r = 0;

	if (!target || !wanted)
		return -ENOMEM;
	/* Of the link as it is only the index is needed: the kernel takes the flags under their
	 * mask. */
	rtnl_link_set_ifindex(target, index);
	if (attribute == NETLINK_OP_MTU)
		rtnl_link_set_mtu(wanted, value);
	else if (attribute == NETLINK_OP_PROMOTE_SECONDARIES)
		r = rtnl_link_inet_set_conf(wanted, IPV4_DEVCONF_PROMOTE_SECONDARIES, value);
	else if (attribute == NETLINK_OP_GEN_MODE)
		r = rtnl_link_inet6_set_addr_gen_mode(wanted, (uint8_t)value);
	else if (value)
		rtnl_link_set_flags(wanted, IFF_UP);
	else
		rtnl_link_unset_flags(wanted, IFF_UP);
	if (r >= 0)
		r = rtnl_link_change(netlink->sock, target, wanted, 0);
	return take_result(netlink, r);
}

static int af_of(const struct addr *addr)
{
	return addr->family == 4 ? AF_INET : AF_INET6;
}

static struct nl_addr *new_nl_addr(const struct prefix *prefix)
{
	struct nl_addr *addr = nl_addr_build(af_of(&prefix->addr), prefix->addr.bytes,
					     addr_bits(&prefix->addr) / 8);

	if (addr)
		nl_addr_set_prefixlen(addr, prefix->len);
	return addr;
}

int netlink_op_address(struct netlink *netlink, int index, const struct prefix *prefix,
		       enum netlink_op_mode mode)
{
	_cleanup_(cleanup_rtnl_addr) struct rtnl_addr *address = rtnl_addr_alloc();
	_cleanup_(cleanup_addr) struct nl_addr *local = new_nl_addr(prefix);
	int r;

	if (!address || !local)
		return -ENOMEM;
	rtnl_addr_set_ifindex(address, index);
	rtnl_addr_set_local(address, local);
	/* Nobody else is on the link to be asked, and a tentative address can be no route's source.
	 */
	if (prefix->addr.family == 6)
		rtnl_addr_set_flags(address, IFA_F_NODAD);
	/* The kernel finds an IPv4 address by length as well, an IPv6 one without. */
	if (mode == NETLINK_OP_REMOVE)
		r = rtnl_addr_delete(netlink->sock, address, 0);
	else
		r = rtnl_addr_add(netlink->sock, address,
				  mode == NETLINK_OP_ADD ? NLM_F_EXCL : NLM_F_REPLACE);
	return take_result(netlink, r);
}

/* The protocol keeps it apart from the routes that addresses bring (RTPROT_KERNEL), also when it is
 * removed. */
static struct rtnl_route *new_route(int index, const struct prefix *prefix,
				    const struct netlink_op_way *way)
{
	const struct addr *source = &way->source;
	_cleanup_(cleanup_rtnl_route) struct rtnl_route *route = rtnl_route_alloc();
	_cleanup_(cleanup_addr) struct nl_addr *dst = new_nl_addr(prefix);
	_cleanup_(cleanup_addr) struct nl_addr *from = NULL;
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();

	if (source->family) {
		struct prefix host = prefix_host(source);

		from = new_nl_addr(&host);
	}
	if (!route || !dst || !hop || (source->family && !from)) {
		rtnl_route_nh_free(hop);
		return NULL;
	}
	rtnl_route_set_family(route, (uint8_t)af_of(&prefix->addr));
	rtnl_route_set_table(route, RT_TABLE_MAIN);
	rtnl_route_set_protocol(route, RTPROT_STATIC);
	rtnl_route_set_scope(route, RT_SCOPE_LINK);
	rtnl_route_set_type(route, RTN_UNICAST);
	/* Without one a removal takes the first of any metric. */
	if (way->metric || prefix->addr.family == 6)
		rtnl_route_set_priority(route, way->metric ? way->metric : DEFAULT_METRIC6);
	rtnl_route_set_dst(route, dst);
	if (from)
		rtnl_route_set_pref_src(route, from);
	rtnl_route_nh_set_ifindex(hop, index);
	rtnl_route_add_nexthop(route, hop);
	return take(route);
}

int netlink_op_route(struct netlink *netlink, int index, const struct prefix *prefix,
		     const struct netlink_op_way *way, enum netlink_op_mode mode)
{
	_cleanup_(cleanup_rtnl_route) struct rtnl_route *route = new_route(index, prefix, way);
	int r;

	if (!route)
		return -ENOMEM;
	if (mode == NETLINK_OP_REMOVE)
		r = rtnl_route_delete(netlink->sock, route, 0);
	else
		r = rtnl_route_add(netlink->sock, route,
				   mode == NETLINK_OP_ADD ? NLM_F_EXCL : NLM_F_REPLACE);
	return take_result(netlink, r);
}

/* False for what is neither IPv4 nor IPv6. A default route's address may be empty. */
static bool read_nl_addr(struct nl_addr *from, int family, struct prefix *ret)
{
	struct prefix prefix = {0};
	size_t len;

	if (!from || (family != AF_INET && family != AF_INET6))
		return false;
	prefix.addr.family = family == AF_INET ? 4 : 6;
	prefix.len = (uint8_t)nl_addr_get_prefixlen(from);
	len = nl_addr_get_len(from);
	if (len > addr_bits(&prefix.addr) / 8)
		return false;
	memcpy(prefix.addr.bytes, nl_addr_get_binary_addr(from), len);
	*ret = prefix;
	return true;
}

struct walk {
	netlink_op_fn see;
	void *arg;
};

static void walk_address(struct nl_object *object, void *arg)
{
	struct rtnl_addr *address = (struct rtnl_addr *)object;
	struct walk *walk = arg;
	struct netlink_op_seen seen = {.index = rtnl_addr_get_ifindex(address)};

	if (!read_nl_addr(rtnl_addr_get_local(address), rtnl_addr_get_family(address),
			  &seen.prefix))
		return;
	seen.prefix.len = (uint8_t)rtnl_addr_get_prefixlen(address);
	walk->see(&seen, walk->arg);
}

/* An unreachable or blackhole route leads nowhere, a cloned one is the kernel's note of a path's
 * MTU. Of several next hops the first speaks for all. */
static void walk_route(struct nl_object *object, void *arg)
{
	struct rtnl_route *route = (struct rtnl_route *)object;
	struct walk *walk = arg;
	struct netlink_op_seen seen = {.from_kernel =
					       rtnl_route_get_protocol(route) == RTPROT_KERNEL};

	if (rtnl_route_get_table(route) != RT_TABLE_MAIN ||
	    rtnl_route_get_type(route) != RTN_UNICAST ||
	    rtnl_route_get_flags(route) & RTM_F_CLONED || rtnl_route_get_nnexthops(route) < 1 ||
	    !read_nl_addr(rtnl_route_get_dst(route), rtnl_route_get_family(route), &seen.prefix))
		return;
	seen.metric = rtnl_route_get_priority(route);
	seen.index = rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, 0));
	walk->see(&seen, walk->arg);
}

static int parse_address(struct nl_msg *message, void *arg)
{
	nl_msg_parse(message, walk_address, arg);
	return NL_OK;
}

static int parse_route(struct nl_msg *message, void *arg)
{
	nl_msg_parse(message, walk_route, arg);
	return NL_OK;
}

/* Message by message, without a cache: a router may have a million routes. nl_socket_get_cb takes a
 * reference; the clone keeps the callback away from other requests. */
static int dump(struct netlink *netlink, int type, int family, nl_recvmsg_msg_cb_t see, void *arg)
{
	struct nl_cb *own = nl_socket_get_cb(netlink->sock), *cb = nl_cb_clone(own);
	int r;

	nl_cb_put(own);
	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, see, arg);
	r = nl_rtgen_request(netlink->sock, type, family, NLM_F_DUMP);
	if (r >= 0)
		r = nl_recvmsgs(netlink->sock, cb);
	nl_cb_put(cb);
	return take_result(netlink, r);
}

int netlink_op_each_address(struct netlink *netlink, netlink_op_fn see, void *arg)
{
	struct walk walk = {see, arg};

	return dump(netlink, RTM_GETADDR, AF_UNSPEC, parse_address, &walk);
}

int netlink_op_each_route(struct netlink *netlink, netlink_op_fn see, void *arg)
{
	struct walk walk = {see, arg};
	int r = dump(netlink, RTM_GETROUTE, AF_INET, parse_route, &walk);

	return r < 0 ? r : dump(netlink, RTM_GETROUTE, AF_INET6, parse_route, &walk);
}
