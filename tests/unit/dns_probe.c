/* Calls sys/dns.h once, for tests/net/test_dns_resolved.py:
 *   dns_probe available
 *   dns_probe IFINDEX set SERVERS DOMAIN...     SERVERS: "10.0.0.53,fd00::53", or "" for none
 *   dns_probe IFINDEX clear
 * Exit status 0 or 1, with -errno and the error on standard error. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/dns.h"

static int set(unsigned ifindex, char *servers, char **domains, size_t domain_count)
{
	struct dns_plan plan = {.domains = domains, .domain_count = domain_count};
	char error[512] = "", *word;
	int r;

	while ((word = strsep(&servers, ","))) {
		struct prefix server;

		if (word[0] && !prefix_parse(word, &server, NULL))
			return 2;
		if (word[0])
			prefix_list_add(&plan.servers, &server);
	}
	r = dns_set(ifindex, &plan, error, sizeof(error));
	if (r < 0)
		fprintf(stderr, "%d %s\n", r, error);
	prefix_list_done(&plan.servers);
	return r < 0;
}

static int clear(unsigned ifindex)
{
	int r = dns_clear(ifindex);

	if (r < 0)
		fprintf(stderr, "%d\n", r);
	return r < 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "available") == 0)
		return !dns_available();
	if (argc >= 4 && strcmp(argv[2], "set") == 0)
		return set((unsigned)atoi(argv[1]), argv[3], argv + 4, (size_t)argc - 4);
	if (argc == 3 && strcmp(argv[2], "clear") == 0)
		return clear((unsigned)atoi(argv[1]));
	return 2;
}
