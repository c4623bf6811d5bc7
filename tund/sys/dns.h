#pragma once
/* Give the tunnel's resolvers to the host, take them back. systemd-resolved over D-Bus (sd-bus),
 * per link: what is set goes with the device. dns.c when libsystemd is there at build time,
 * dns-none.c else. */

#include <stdbool.h>
#include <stddef.h>

#include "base/prefix.h"

struct dns_plan {
	struct prefix_list servers; /* host prefixes */
	/* "corp.example": searched, and resolved through the tunnel; ".": everything is resolved
	 * there. Servers without any domain are asked for everything too, beside the host's own. */
	char **domains;
	size_t domain_count;
};

/* Whether systemd-resolved answers on the system bus. */
bool dns_available(void);
/* SetLinkDNS, SetLinkDomains, SetLinkDefaultRoute; reverted when one is refused. Blocks for 2.5 s
 * at most, the others for 2. 0 or -errno with one line in error. */
int dns_set(unsigned ifindex, const struct dns_plan *plan, char *error, size_t size);
int dns_clear(unsigned ifindex); /* RevertLink */
