#pragma once
/* Links with networks behind them: which block a session is the link of, what it is told, and the
 * routes on the gateway's device, there while the link is up. Main thread. */

#include "gateway/gateway.h"
#include "wire/tunnel_params.h"

/* Among blocks that match one identity: the site's, or NULL. */
const struct config_access *site_of(const struct config_access *const *blocks, size_t count);
/* The fixed address of the family; NULL: none, also of no site. */
const struct addr *site_address(const struct config_access *site, unsigned family);
/* Adds the fixed addresses of every site: nobody else's. */
void site_reserve(const struct config *config, struct prefix_list *reserved);
/* Adds what a site is told in addition to what a device is. */
void site_fill_params(const struct gateway *gateway, const struct config_access *site, bool with6,
		      struct tunnel_params *params);

/* Holds a CONNECT back until the routes to its site are there, and hands it to
 * admission_connect_now then; false: nothing is missing, or it is no site's. */
bool site_hold(struct gateway *gateway, struct handshake_event *event);
/* Sessions or blocks have changed: at the end of this turn the routes follow. */
void site_publish(struct gateway *gateway);
/* What of it could not be routed, and why; NULL: all is. */
const char *site_trouble(const struct gateway *gateway);

void site_start(struct gateway *gateway);
void site_tick(struct gateway *gateway);
void site_stop(struct gateway *gateway);
void site_done(struct gateway *gateway); /* the loop has ended */
