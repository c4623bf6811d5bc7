#pragma once
/* Whether a packet may travel through a tunnel at all, whatever the access rules say: lengths that
 * are true down to the transport header, addresses that one host of some network may have, no way
 * prescribed, no fragment made to deceive a filter. */

#include "wire/ip.h"

/* ip_read, and all of that. *ret is set only where ip_read succeeds. */
enum ip_error ip_check(const uint8_t *packet, size_t len, struct ip_view *ret);
