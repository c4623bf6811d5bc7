#pragma once
/* Things as JSON, the same in every answer. */

#include <jansson.h>

#include "ctl/ctl.h"

/* A string that may hold any byte: escaped where JSON would refuse it. */
json_t *describe_text(const char *text);
json_t *describe_time(time_t at); /* RFC 3339; null for 0 */
json_t *describe_addr(const struct addr *addr);
json_t *describe_endpoint(const struct endpoint *at);
json_t *describe_prefixes(const struct prefix_list *list);
/* The first 16 hexadecimal digits of the SHA-256 of all of it. */
json_t *describe_fingerprint(X509 *cert);
json_t *describe_list_fingerprint(const struct crl_list *list);
json_t *describe_certificate(X509 *leaf);		  /* {"subject", "serial", "expires_at"} */
json_t *describe_rules(const struct config_rules *rules); /* "10.0.0.0/8 tcp/22,80-90" */
json_t *describe_policy(enum trust_crl_policy policy);	  /* as in trust.crl-policy; "off" */
json_t *describe_drops(const uint64_t drops[COUNT_MAX - COUNT_FIRST_DROP]); /* those not 0 */
json_t *describe_counters(const struct counts *counts);			    /* all but drops */
json_t *describe_offloads(unsigned tun, unsigned udp);
void describe_warnings(const struct ctl *ctl, json_t *reply);
/* flow: may be NULL. */
json_t *describe_session(const struct session *session, const struct worker_flow_report *flow);
