#pragma once
/* The host's own addresses, as the kernel knows them now. */

#include <net/if.h>

#include "base/prefix.h"

/* An address of the host that lies within the prefix, and the interface that has it; `except` names
 * an interface that does not count. false when there is none, or the kernel does not tell. */
bool host_find_address(const struct prefix *within, const char *except, struct addr *ret,
		       char interface[static IF_NAMESIZE]);
