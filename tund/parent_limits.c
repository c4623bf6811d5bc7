#include "parent_limits.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"

enum {
	ENOUGH = 65536,	  /* where root has to raise the limit: room for a reload, too */
	CONTROL = 64,	  /* operators' connections */
	OTHER = 64,	  /* log, lock, database, sockets between the processes */
	THREAD = 8,	  /* a loop and what wakes it, a TUN queue or a way to the keys */
	ENDING_S = 3 + 2, /* what was replaced drains, what was ended waits for its peer */
};

static unsigned long min(unsigned long a, unsigned long b)
{
	return a < b ? a : b;
}

unsigned long parent_limits_needed(const struct config *config, size_t workers)
{
	const struct config_gateway *gateway = &config->gateway;
	const struct config_limits *limits = &config->limits;
	unsigned long threads = workers + PARENT_KEYS_MAX, ending;

	if (config->role == CONFIG_CLIENT)
		return OTHER + CONTROL + THREAD;
	ending = min((unsigned long)limits->handshakes * ENDING_S, gateway->max_sessions);
	return OTHER + CONTROL + threads * THREAD + (workers + 1) * gateway->listen.count +
	       gateway->max_sessions + limits->pending + ending;
}

static bool set_limit(rlim_t limit)
{
	return setrlimit(RLIMIT_NOFILE, &(struct rlimit){limit, limit}) == 0;
}

/* A shell's limit of 1024 would be the gateway's. All that the administrator grants is taken at
 * once, for a reload may ask for more sessions when nobody here may raise anything any more. Where
 * that is less than gateway.max-sessions needs, which is the administrator's word as well, root
 * raises it, or hears of it. */
void parent_limits_raise(struct parent_kit *kit, size_t workers)
{
	const struct config *config = kit->config;
	unsigned long needed = parent_limits_needed(config, workers);
	rlim_t enough = needed > ENOUGH ? needed : ENOUGH;
	struct rlimit limit = {0};

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < needed && set_limit(enough))
		limit.rlim_cur = enough;
	else if (limit.rlim_cur < limit.rlim_max && set_limit(limit.rlim_max))
		limit.rlim_cur = limit.rlim_max;
	else if (limit.rlim_cur < limit.rlim_max)
		log_warn("cannot raise the limit of open files: %s", strerror(errno));
	kit->descriptors = limit.rlim_cur;
	if (limit.rlim_cur < needed)
		log_warn("%s:%u: gateway.max-sessions %u needs %lu open files and the limit is "
			 "%lu: not all will find a place; raise LimitNOFILE, or lower "
			 "max-sessions",
			 config->path, config_line(config, "gateway.max-sessions"),
			 config->gateway.max_sessions, needed, kit->descriptors);
}

void parent_limits_check(const struct parent_kit *kit, const struct config *wanted,
			 struct config_problems *problems)
{
	unsigned long needed = parent_limits_needed(wanted, kit->worker_count);

	if (needed <= kit->descriptors ||
	    needed <= parent_limits_needed(kit->config, kit->worker_count))
		return;
	config_problem(problems, wanted->path, config_line(wanted, "gateway.max-sessions"),
		       "gateway.max-sessions: %u need %lu open files and the limit is %lu; raise "
		       "LimitNOFILE and restart, or ask for fewer",
		       wanted->gateway.max_sessions, needed, kit->descriptors);
}
