#include "sys/host.h"

#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"

/* family 0 for what is neither IPv4 nor IPv6: packet sockets stand in the same list. */
static struct addr read_address(const struct ifaddrs *entry)
{
	struct endpoint at = {0};

	if (!entry->ifa_addr)
		return (struct addr){0};
	if (entry->ifa_addr->sa_family == AF_INET)
		memcpy(&at.in, entry->ifa_addr, sizeof(at.in));
	else if (entry->ifa_addr->sa_family == AF_INET6)
		memcpy(&at.in6, entry->ifa_addr, sizeof(at.in6));
	return addr_of_endpoint(&at);
}

bool host_find_address(const struct prefix *within, const char *except, struct addr *ret,
		       char interface[static IF_NAMESIZE])
{
	struct ifaddrs *all;
	bool found = false;

	if (getifaddrs(&all) < 0)
		return false;
	for (const struct ifaddrs *entry = all; entry && !found; entry = entry->ifa_next) {
		struct addr addr = read_address(entry);

		if (strcmp(entry->ifa_name, except) == 0 || addr.family != within->addr.family ||
		    !prefix_contains(within, &addr))
			continue;
		*ret = addr;
		snprintf(interface, IF_NAMESIZE, "%s", entry->ifa_name);
		found = true;
	}
	freeifaddrs(all);
	return found;
}
