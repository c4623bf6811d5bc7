/* A plan is applied in these steps, each noted when it is done, so that a failure undoes them in
 * reverse:
 *
 *   1. look at the link as it is; check the new plan; look for what others have set
 * (find_conflicts)
 *   2. the link's attributes, then up: a link that is down takes no routes (prepare_link)
 *   3. addresses, then routes, which may name one as their source (add_...)
 *   4. what only the old plan has, in the opposite order (remove_...)
 *   5. what the kernel took along with an address (fill_gaps) */

#include "sys/netlink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/if_link.h>
#include <net/if.h>

#include "base/prefix_map.h"
#include "base/xalloc.h"
#include "sys/netlink_op.h"

enum {
	DUMP_TRIES = 5,
	MTU_IPV6 = 1280, /* RFC 8200; below it the kernel takes IPv6 off the interface */
};

enum step_kind { STEP_LINK, STEP_ADDRESS, STEP_ROUTE };

struct state {
	unsigned value; /* of the attribute; for an address or a route whether it is there */
	struct netlink_op_way way;
};

struct step {
	enum step_kind kind;
	enum netlink_op_attribute attribute;
	struct prefix prefix;
	struct state before, after;
};

/* One netlink_plan_apply. */
struct change {
	struct netlink *netlink;
	const char *interface;
	struct netlink_op_link link; /* as it was */
	const struct netlink_plan *old, *new;
	struct prefix_list old_routes, new_routes;
	bool removed_address6;
	struct step *steps; /* done, in this order */
	size_t count;
	char *error;
	size_t size;
};

int netlink_open(struct netlink **ret)
{
	struct netlink *netlink = xnew(struct netlink);
	int r = netlink_op_open(netlink);

	if (r < 0) {
		netlink_close(netlink);
		return r;
	}
	*ret = netlink;
	return 0;
}

void netlink_close(struct netlink *netlink)
{
	if (!netlink)
		return;
	netlink_op_close(netlink);
	free(netlink);
}

void netlink_plan_done(struct netlink_plan *plan)
{
	prefix_list_done(&plan->addresses);
	prefix_list_done(&plan->routes);
	*plan = (struct netlink_plan){0};
}

int netlink_index(struct netlink *netlink, const char *interface)
{
	struct netlink_op_link link;
	int r = netlink_op_link(netlink, interface, &link);

	return r < 0 ? r : link.index;
}

/* Lists are short: a device has few addresses and some dozen routes. */
static bool has_prefix(const struct prefix_list *list, const struct prefix *prefix)
{
	for (size_t i = 0; i < list->count; i++) {
		if (prefix_equal(&list->items[i], prefix))
			return true;
	}
	return false;
}

/* Whether one of the plan's addresses brings this route with it. */
static bool is_connected(const struct netlink_plan *plan, const struct prefix *route)
{
	for (size_t i = 0; i < plan->addresses.count; i++) {
		const struct prefix *address = &plan->addresses.items[i];
		struct prefix network = prefix_of(&address->addr, address->len);

		if (prefix_equal(&network, route))
			return true;
	}
	return false;
}

static void add_route_once(const struct netlink_plan *plan, const struct prefix *route,
			   struct prefix_list *list)
{
	if (!is_connected(plan, route) && !has_prefix(list, route))
		prefix_list_add(list, route);
}

/* The routes to be set one by one. A default route goes in two halves: they win over the host's
 * own, which stays. */
static void list_routes(const struct netlink_plan *plan, struct prefix_list *ret)
{
	for (size_t i = 0; i < plan->routes.count; i++) {
		struct prefix route = plan->routes.items[i];

		if (route.len > 0) {
			add_route_once(plan, &route, ret);
			continue;
		}
		route.len = 1;
		add_route_once(plan, &route, ret);
		route.addr.bytes[0] = 0x80;
		add_route_once(plan, &route, ret);
	}
}

static struct netlink_op_way way_of(const struct netlink_plan *plan, const struct prefix *route)
{
	return (struct netlink_op_way){
		.source = route->addr.family == 4 ? plan->source4 : plan->source6,
		.metric = plan->metric,
	};
}

/* Whether the plan sets this route as the other one does, but perhaps for its source. */
static bool keeps_route(const struct change *change, const struct prefix_list *routes,
			const struct prefix *route)
{
	bool same_metric = change->old->metric == change->new->metric;

	return same_metric && has_prefix(routes, route);
}

struct claims {
	struct change *change;
	struct prefix_map *routes; /* prefix -> itself */
	bool refused;
};

static void refuse_claim(struct claims *claims, const char *what, const struct prefix *prefix,
			 int index, const char *remedy)
{
	struct change *change = claims->change;
	char text[PREFIX_TEXT], name[IF_NAMESIZE] = "?";

	claims->refused = true;
	if_indextoname((unsigned)index, name);
	snprintf(change->error, change->size, "%s %s is already on interface %s; %s", what,
		 prefix_print(prefix, text), name, remedy);
}

static void look_at_address(const struct netlink_op_seen *seen, void *arg)
{
	struct claims *claims = arg;
	struct change *change = claims->change;
	const struct prefix_list *old = &change->old->addresses, *new = &change->new->addresses;

	if (claims->refused ||
	    (seen->index == change->link.index && has_prefix(old, &seen->prefix)))
		return;
	for (size_t i = 0; i < new->count; i++) {
		if (!addr_equal(&new->items[i].addr, &seen->prefix.addr) ||
		    has_prefix(old, &new->items[i]))
			continue;
		refuse_claim(claims, "address", &new->items[i], seen->index,
			     "remove it there, or give the tunnel another network");
		return;
	}
}

static bool is_way(unsigned metric)
{
	return metric == NETLINK_METRIC_SITE || metric == NETLINK_METRIC_PUSHED;
}

/* What is no plain route (a blackhole of higher metric behind the tunnel's) may well be meant. */
static void look_at_route(const struct netlink_op_seen *seen, void *arg)
{
	struct claims *claims = arg;
	struct change *change = claims->change;
	const struct prefix *wanted = prefix_map_exact(claims->routes, &seen->prefix);

	if (!wanted || claims->refused)
		return;
	if (seen->index == change->link.index &&
	    (seen->from_kernel || has_prefix(&change->old_routes, wanted)))
		return;
	if (seen->metric != change->new->metric && is_way(seen->metric) &&
	    is_way(change->new->metric))
		return;
	refuse_claim(claims, "route", wanted, seen->index,
		     "remove it there, or leave it out of the tunnel's routes");
}

static bool is_link_local6(const struct addr *addr)
{
	return addr->family == 6 && addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

/* What the change would add: its routes, and the networks of its addresses. Every interface has the
 * link-local network. */
static void claim_routes(const struct change *change, struct prefix_list *ret)
{
	for (size_t i = 0; i < change->new->addresses.count; i++) {
		const struct prefix *address = &change->new->addresses.items[i];
		struct prefix network = prefix_of(&address->addr, address->len);

		if (!is_link_local6(&address->addr) &&
		    !has_prefix(&change->old->addresses, address) &&
		    address->len < addr_bits(&address->addr))
			prefix_list_add(ret, &network);
	}
	for (size_t i = 0; i < change->new_routes.count; i++) {
		if (!has_prefix(&change->old_routes, &change->new_routes.items[i]))
			prefix_list_add(ret, &change->new_routes.items[i]);
	}
}

/* Two interfaces may well have the same address, and a route of another metric is no error to the
 * kernel either: so both are looked for. The same route of the same metric it would refuse. */
static int find_conflicts(struct change *change)
{
	struct claims claims = {.change = change, .routes = prefix_map_new()};
	struct prefix_list claimed = {0};
	int r = -EAGAIN;

	claim_routes(change, &claimed);
	for (size_t i = 0; i < claimed.count; i++)
		prefix_map_set(claims.routes, &claimed.items[i], &claimed.items[i]);
	for (int i = 0; r == -EAGAIN && i < DUMP_TRIES; i++) {
		r = netlink_op_each_address(change->netlink, look_at_address, &claims);
		if (r == 0)
			r = netlink_op_each_route(change->netlink, look_at_route, &claims);
	}
	prefix_map_free(claims.routes);
	prefix_list_done(&claimed);
	if (claims.refused)
		return -EEXIST;
	if (r < 0)
		snprintf(change->error, change->size,
			 "cannot read the host's addresses and routes: %s", strerror(-r));
	return r;
}

static int set_state(const struct change *change, const struct step *step, const struct state *from,
		     const struct state *to)
{
	enum netlink_op_mode mode = from->value ? NETLINK_OP_REPLACE : NETLINK_OP_ADD;
	int index = change->link.index;

	if (step->kind == STEP_LINK)
		return netlink_op_set(change->netlink, index, step->attribute, to->value);
	if (!to->value)
		mode = NETLINK_OP_REMOVE;
	if (step->kind == STEP_ADDRESS)
		return netlink_op_address(change->netlink, index, &step->prefix, mode);
	return netlink_op_route(change->netlink, index, &step->prefix,
				to->value ? &to->way : &from->way, mode);
}

static const char *find_remedy(const struct step *step, int r)
{
	bool is_six = step->prefix.addr.family == 6;

	if (r == -EPERM)
		return "; tund needs CAP_NET_ADMIN";
	if (r == -EEXIST)
		return "; somebody else has set it: remove it there";
	if (r == -EACCES && is_six)
		return "; IPv6 is switched off on it: set its disable_ipv6 to 0, or leave IPv6 out";
	if ((r == -EOPNOTSUPP || r == -EAFNOSUPPORT) && is_six)
		return "; this kernel runs without IPv6: leave IPv6 out";
	if (r == -EINVAL && step->kind == STEP_ROUTE && step->after.way.source.family)
		return "; its source must be an address of this host";
	return "";
}

static const char *describe_step(const struct step *step, char *text, size_t size)
{
	static const char *const attributes[] = {
		[NETLINK_OP_MTU] = "MTU",
		[NETLINK_OP_UP] = "up",
		[NETLINK_OP_PROMOTE_SECONDARIES] = "promote_secondaries",
		[NETLINK_OP_GEN_MODE] = "addrgenmode",
	};
	char prefix[PREFIX_TEXT];

	if (step->kind == STEP_LINK)
		snprintf(text, size, "set %s to %u", attributes[step->attribute],
			 step->after.value);
	else
		snprintf(text, size, "%s %s %s", step->after.value ? "set" : "remove",
			 step->kind == STEP_ADDRESS ? "address" : "route",
			 prefix_print(&step->prefix, prefix));
	return text;
}

/* Does one step and notes it for undo. When it cannot be done, the error says why. */
static int do_step(struct change *change, const struct step *step)
{
	int r = set_state(change, step, &step->before, &step->after);
	char text[PREFIX_TEXT + 32];

	if (r < 0) {
		snprintf(change->error, change->size, "interface %s: cannot %s: %s%s",
			 change->interface, describe_step(step, text, sizeof(text)), strerror(-r),
			 find_remedy(step, r));
		return r;
	}
	change->steps = xalloc_grow(change->steps, change->count + 1, sizeof(*change->steps));
	change->steps[change->count++] = *step;
	return 0;
}

/* A link's attribute, unless it is so already or not to be had (before is -1). */
static int do_link_step(struct change *change, enum netlink_op_attribute attribute, int before,
			unsigned after)
{
	struct step step = {.kind = STEP_LINK,
			    .attribute = attribute,
			    .before.value = (unsigned)before,
			    .after.value = after};

	return before < 0 || (unsigned)before == after ? 0 : do_step(change, &step);
}

static int do_address_step(struct change *change, const struct prefix *address, bool present)
{
	struct step step = {.kind = STEP_ADDRESS,
			    .prefix = *address,
			    .before.value = !present,
			    .after.value = present};

	return do_step(change, &step);
}

/* Link-local addresses would have the kernel send router solicitations through the tunnel. Without
 * promotion the IPv4 addresses of a network go together with the first of them. */
static int prepare_link(struct change *change)
{
	const struct netlink_op_link *link = &change->link;
	int r = do_link_step(change, NETLINK_OP_PROMOTE_SECONDARIES, link->promote_secondaries, 1);

	if (r == 0 && change->new->mtu)
		r = do_link_step(change, NETLINK_OP_MTU, (int)link->mtu, change->new->mtu);
	if (r == 0)
		r = do_link_step(change, NETLINK_OP_GEN_MODE, link->gen_mode,
				 IN6_ADDR_GEN_MODE_NONE);
	return r < 0 ? r : do_link_step(change, NETLINK_OP_UP, link->up, 1);
}

/* A removal that finds nothing has come to its end; it is not noted, so undo does not bring it
 * back. */
static bool is_gone_already(int r)
{
	return r == -ESRCH || r == -EADDRNOTAVAIL || r == -ENOENT;
}

static int remove_address(struct change *change, const struct prefix *address)
{
	int r = do_address_step(change, address, false);

	change->removed_address6 |= address->addr.family == 6;
	return is_gone_already(r) ? 0 : r;
}

/* The kernel keys IPv6 addresses without their length, so one that changes it goes first. */
static int make_room6(struct change *change, const struct prefix *address)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < change->old->addresses.count; i++) {
		const struct prefix *old = &change->old->addresses.items[i];

		if (old->addr.family == 6 && old->len != address->len &&
		    addr_equal(&old->addr, &address->addr))
			r = remove_address(change, old);
	}
	return r;
}

/* A list from a configuration or a gateway may name one twice. */
static bool is_repeated(const struct prefix_list *list, size_t at)
{
	struct prefix_list before = {list->items, at};

	return has_prefix(&before, &list->items[at]);
}

static int add_addresses(struct change *change)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < change->new->addresses.count; i++) {
		const struct prefix *address = &change->new->addresses.items[i];

		if (has_prefix(&change->old->addresses, address) ||
		    is_repeated(&change->new->addresses, i))
			continue;
		r = make_room6(change, address);
		if (r == 0)
			r = do_address_step(change, address, true);
	}
	return r;
}

static int add_routes(struct change *change)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < change->new_routes.count; i++) {
		const struct prefix *route = &change->new_routes.items[i];
		struct step step = {.kind = STEP_ROUTE, .prefix = *route};
		bool is_new = !keeps_route(change, &change->old_routes, route);

		step.before.value = !is_new;
		step.before.way = way_of(change->old, route);
		step.after.value = 1;
		step.after.way = way_of(change->new, route);
		if (!is_new && addr_equal(&step.before.way.source, &step.after.way.source))
			continue;
		r = do_step(change, &step);
		/* An address that is about to go still brings it; it is added at the end. */
		if (r == -EEXIST && is_connected(change->old, route))
			r = 0;
	}
	return r;
}

static int remove_routes(struct change *change)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < change->old_routes.count; i++) {
		const struct prefix *route = &change->old_routes.items[i];
		struct step step = {.kind = STEP_ROUTE, .prefix = *route, .before.value = 1};

		if (keeps_route(change, &change->new_routes, route))
			continue;
		step.before.way = way_of(change->old, route);
		r = do_step(change, &step);
		if (is_gone_already(r))
			r = 0;
	}
	return r;
}

/* The last first: undone, they come back in their order, which makes the first of a network its
 * primary one. */
static int remove_addresses(struct change *change)
{
	int r = 0;

	for (size_t i = change->old->addresses.count; r == 0 && i-- > 0;) {
		if (!has_prefix(&change->new->addresses, &change->old->addresses.items[i]))
			r = remove_address(change, &change->old->addresses.items[i]);
	}
	return r;
}

/* An address that goes takes routes along: its network's, and those with it as their source (of
 * IPv6 routes only the source). And somebody may have taken away what we had set. So all that is
 * wanted is asked for again. */
static int fill_gaps(struct change *change)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < change->new->addresses.count; i++) {
		r = do_address_step(change, &change->new->addresses.items[i], true);
		if (r == -EEXIST)
			r = 0;
	}
	for (size_t i = 0; r == 0 && i < change->new_routes.count; i++) {
		const struct prefix *route = &change->new_routes.items[i];
		struct step step = {.kind = STEP_ROUTE, .prefix = *route, .after.value = 1};

		step.after.way = way_of(change->new, route);
		step.before.way = step.after.way;
		step.before.value = change->removed_address6 && route->addr.family == 6;
		r = do_step(change, &step);
		if (r == -EEXIST)
			r = 0;
	}
	return r;
}

/* Additions first, so that what stays is never missing. */
static int change_to_plan(struct change *change)
{
	static int (*const parts[])(struct change *) = {
		prepare_link, add_addresses, add_routes, remove_routes, remove_addresses, fill_gaps,
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
		r = parts[i](change);
	return r;
}

/* The link's attributes stay: what they were before the first plan is not known any more. */
static int change_to_nothing(struct change *change)
{
	int r = remove_routes(change);

	if (r == 0)
		r = remove_addresses(change);
	return r < 0 ? r : do_link_step(change, NETLINK_OP_UP, change->link.up, 0);
}

/* In reverse. What the kernel took along on its own is then asked for as the old plan has it. */
static void undo_steps(struct change *change)
{
	struct change back = *change;

	while (change->count > 0) {
		const struct step *step = &change->steps[--change->count];

		set_state(change, step, &step->after, &step->before);
	}
	back.new = change->old;
	back.new_routes = change->old_routes;
	back.steps = NULL;
	back.count = 0;
	back.size = 0;
	fill_gaps(&back);
	free(back.steps);
}

/* The kernel would refuse the address only after the MTU has taken all IPv6 off the link. */
static int check_plan(struct change *change)
{
	unsigned mtu = change->new->mtu ? change->new->mtu : change->link.mtu;

	for (size_t i = 0; i < change->new->addresses.count; i++) {
		if (change->new->addresses.items[i].addr.family == 6 && mtu < MTU_IPV6) {
			snprintf(change->error, change->size,
				 "interface %s: an MTU of %u bytes is too small for IPv6; at least "
				 "%d are needed, or leave IPv6 out",
				 change->interface, mtu, MTU_IPV6);
			return -EINVAL;
		}
	}
	return 0;
}

int netlink_plan_apply(struct netlink *netlink, const char *interface,
		       const struct netlink_plan *old, const struct netlink_plan *new, char *error,
		       size_t size)
{
	static const struct netlink_plan nothing;
	struct change change = {.netlink = netlink,
				.interface = interface,
				.old = old ? old : &nothing,
				.new = new ? new : &nothing,
				.error = error,
				.size = size};
	int r = netlink_op_link(netlink, interface, &change.link);

	if (r < 0) {
		snprintf(error, size, "interface %s: %s", interface, strerror(-r));
		return r;
	}
	list_routes(change.old, &change.old_routes);
	list_routes(change.new, &change.new_routes);
	r = check_plan(&change);
	if (r == 0)
		r = find_conflicts(&change);
	if (r == 0) {
		r = new ? change_to_plan(&change) : change_to_nothing(&change);
		if (r < 0)
			undo_steps(&change);
		else
			snprintf(error, size, "%s", ""); /* of a step that did not matter */
	}
	free(change.steps);
	prefix_list_done(&change.old_routes);
	prefix_list_done(&change.new_routes);
	return r;
}
