#include "ctl/commands.h"

#include <string.h>

#include "ctl/client_commands.h"
#include "ctl/explain_commands.h"
#include "ctl/gateway_commands.h"
#include "ctl/metrics.h"
#include "ctl/reload.h"
#include "ctl/revoke_commands.h"
#include "ctl/trust_commands.h"
#include "ctl/verify_commands.h"
#include "ctl/watch.h"

static const struct commands_row rows[] = {
	{"status", false, gateway_commands_status, client_commands_status},
	{"sessions", false, gateway_commands_sessions, client_commands_sessions},
	{"show", false, gateway_commands_show, NULL},
	{"disconnect", true, gateway_commands_disconnect, client_commands_disconnect},
	{"revoke", true, revoke_commands_revoke, NULL},
	{"unrevoke", true, revoke_commands_unrevoke, NULL},
	{"revoked", false, revoke_commands_revoked, NULL},
	{"explain", false, explain_commands_gateway, explain_commands_client},
	{"trust", false, trust_commands_trust, trust_commands_trust},
	{"verify", false, verify_commands_gateway, verify_commands_client},
	{"reload", true, reload_begin, reload_begin},
	{"watch", false, watch_begin, watch_begin},
	{"metrics", false, metrics_gateway, metrics_client},
};

const struct commands_row *commands_find(const char *name)
{
	for (size_t i = 0; name && i < sizeof(rows) / sizeof(*rows); i++) {
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	}
	return NULL;
}
