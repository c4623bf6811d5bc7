#include <errno.h>
#include <stdio.h>

#include "sys/dns.h"

bool dns_available(void)
{
	return false;
}

int dns_set(unsigned ifindex, const struct dns_plan *plan, char *error, size_t size)
{
	(void)ifindex;
	(void)plan;
	snprintf(error, size,
		 "built without libsystemd: cannot give DNS servers to systemd-resolved; set "
		 "dns = \"off\"");
	return -ENOTSUP;
}

int dns_clear(unsigned ifindex)
{
	(void)ifindex;
	return -ENOTSUP;
}
