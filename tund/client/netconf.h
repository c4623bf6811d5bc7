#pragma once
/* What the tunnel asks of this host: addresses, routes and resolvers, as one step that can be
 * undone. Pure decisions; the parent carries them out. */

#include "config/config.h"
#include "wire/parent_msg.h"
#include "wire/tunnel_params.h"

/* outer: every address of the gateways, which must never be routed into the tunnel: carved out, as
 * the networks behind this host are. */
void netconf_plan(const struct config_client *config, const struct tunnel_params *params,
		  const struct prefix_list *outer, unsigned mtu, struct parent_msg_network *ret);
/* Whether a network can be behind this host, as the gateway says: it is not everything, and none of
 * the gateways is in it. */
bool netconf_is_behind(const struct prefix *network, const struct prefix_list *outer);
bool netconf_equal(const struct parent_msg_network *a, const struct parent_msg_network *b);
