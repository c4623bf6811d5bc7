#pragma once
/* The small languages inside allow, accept and match:
 *
 *   rule      := address [ "/" length ] protocol
 *   protocol  := "any" | "icmp" | ( "tcp" | "udp" ) [ "/" ports ] | number
 *   ports     := port [ "-" port ] { "," port [ "-" port ] }
 *   condition := "cn=" | "o=" | "ou=" | "issuer=" | "dns:" | "email:" | "uri:" | "serial:", then a
 *                value; * matches any run of characters, but in a serial number */

#include "config/config.h"

enum { CONFIG_RULES_PORTS_MAX = 64, CONFIG_RULES_PROBLEM = 400 };

/* false with what is wrong and what would be right in `problem`. The rule's ports are malloc'ed. */
bool config_rules_parse(const char *text, struct config_rule *ret,
			char problem[static CONFIG_RULES_PROBLEM]);
void config_rules_done(struct config_rules *rules);

/* NULL when the condition is well formed, else what would be right. */
const char *config_rules_condition_problem(const char *condition);
