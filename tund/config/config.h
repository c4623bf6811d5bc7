#pragma once
/* What one configuration file asks for, by section, checked. Immutable once loaded. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/log.h"
#include "base/prefix.h"

struct config_strings {
	char **items;
	size_t count;
};

enum config_role { CONFIG_GATEWAY, CONFIG_CLIENT };
enum config_duplicate { CONFIG_DUPLICATE_REPLACE, CONFIG_DUPLICATE_REFUSE, CONFIG_DUPLICATE_ALLOW };
enum config_crl_policy { CONFIG_CRL_STRICT, CONFIG_CRL_GRACE, CONFIG_CRL_ADVISORY };
enum config_hello_verify { CONFIG_HELLO_AUTO, CONFIG_HELLO_ON, CONFIG_HELLO_OFF };
enum config_transport { CONFIG_TRANSPORT_AUTO, CONFIG_TRANSPORT_UDP, CONFIG_TRANSPORT_TCP };
enum config_dns { CONFIG_DNS_AUTO, CONFIG_DNS_RESOLVED, CONFIG_DNS_RESOLVCONF, CONFIG_DNS_OFF };
enum config_ocsp { CONFIG_OCSP_OFF, CONFIG_OCSP_TRY, CONFIG_OCSP_REQUIRE };
enum config_pq { CONFIG_PQ_OFF, CONFIG_PQ_PREFER, CONFIG_PQ_REQUIRE };

struct config_endpoints {
	struct endpoint *items;
	size_t count;
};

struct config_gateway {
	struct config_endpoints listen;
	char *interface;
	struct prefix_list pool;
	struct prefix_list routes, exclude;
	struct prefix_list dns; /* host prefixes */
	struct config_strings domains;
	unsigned mtu; /* inner, bytes; 0 is "auto" */
	unsigned max_sessions;
	enum config_duplicate duplicate;
	int64_t idle_timeout_s; /* 0 is never, as for all durations */
	int64_t dpd_s, keepalive_s, rekey_s, cookie_lifetime_s;
	enum config_hello_verify hello_verify;
};

struct config_client {
	struct config_strings gateways; /* "name[:port]" */
	char *interface;
	bool routes_accept;	   /* "accept": all that is pushed */
	struct prefix_list routes; /* not empty: only what lies within these */
	enum config_dns dns;
	bool full_tunnel, fail_closed;
	enum config_transport transport;
	char *proxy;
};

struct config_identity {
	char *certificate; /* absolute path, or the PEM itself when certificate_is_pem */
	bool certificate_is_pem;
	/* Absolute path or store URI. When the key stands in the configuration itself, key_in_place
	 * is set and key is NULL: only the key holder reads it (config_key_in_place). */
	char *key;
	bool key_in_place;
	char *passphrase_file;
	char *token_directory; /* NULL: a token's module opens no files after the start */
};

struct config_trust {
	struct config_strings ca; /* absolute paths of files or directories, or PEM in place */
	struct config_strings crl;
	bool crl_policy_set; /* the file names a policy: a list is then wanted even if none is named
			      */
	enum config_crl_policy crl_policy;
	int64_t crl_grace_s;
	enum config_ocsp ocsp;
	char *peer_name; /* NULL: the host name of the gateway dialled */
};

struct config_crypto {
	char *groups; /* as SSL_CTX_set1_groups_list takes it */
	enum config_pq post_quantum;
};

/* One line of allow or accept: a destination (allow) or source (accept) and what may pass. */
struct config_rule {
	struct prefix net;
	uint8_t protocol; /* IPPROTO_TCP, _UDP, _ICMP (stands for ICMPv6 too), other number; 0 is
			     any */
	bool any_protocol;
	struct config_ports {
		uint16_t first, last;
	} * ports; /* none: all */
	size_t port_count;
};

struct config_rules {
	struct config_rule *items;
	size_t count;
};

/* Networks of one site, and of all with their fixed addresses. */
enum { CONFIG_SITE_NETWORKS_MAX = 100, CONFIG_SITES_PREFIXES_MAX = 1500 };

struct config_access { /* also the rules of a site */
	char *title;
	unsigned line;
	bool is_site;
	struct config_strings match;
	struct config_rules allow, accept;
	struct prefix_list routes;
	struct prefix_list address, networks; /* site only */
};

struct config_limits {
	unsigned handshakes;		/* a second, all sources together */
	unsigned handshakes_per_source; /* a second; a source is an IPv4 address or an IPv6 /64 */
	unsigned pending;		/* connections between accept and CONNECT at one time */
	unsigned pending_per_source;
	int64_t handshake_timeout_s;
};

struct config_renew {
	struct config_strings command; /* an argument vector */
	unsigned before_percent;       /* of the lifetime left */
};

struct config_mark; /* where an option stands, config_scan.h */

/* An optional text that is not written, or "", is NULL. */
struct config {
	char *path; /* absolute */
	char *instance;
	enum config_role role;
	struct config_gateway gateway;
	struct config_client client;
	struct config_identity identity;
	struct config_trust trust;
	struct config_crypto crypto;
	struct config_access *access;
	size_t access_count;
	char *control_socket;		/* absolute; "" never */
	char *observers, *admins;	/* unix groups */
	bool observers_set, admins_set; /* named in the file: a missing group is a problem */
	enum log_level log_level;
	bool log_json;
	struct config_limits limits;
	char *state_directory; /* absolute */
	char *user;
	bool user_set;
	unsigned workers; /* 0 is "auto": one a core */
	bool watch_files;
	char *metrics_listen;
	struct config_renew renew;
	struct config_mark *marks; /* for config_line */
	size_t mark_count;
};

/* One thing that is wrong with a file. */
struct config_problem {
	char *file;
	unsigned line; /* 0: the file as a whole */
	char *text;    /* what is wrong and what would be right, one line */
};

enum { CONFIG_PROBLEMS_MAX = 100 }; /* more are not collected; the last one says so */

struct config_problems {
	struct config_problem *items;
	size_t count;
};

void config_problem(struct config_problems *problems, const char *file, unsigned line,
		    const char *format, ...) __attribute__((format(printf, 4, 5)));
void config_problems_done(struct config_problems *problems);

/* Reads and checks the grammar and everything that follows from the file alone (not the files it
 * names). NULL and at least one problem, or a configuration the caller frees. The bytes of a
 * private key that stands in the file are overwritten in the only buffer they are read into, before
 * anything parses it. */
struct config *config_load(const char *path, struct config_problems *problems);
void config_free(struct config *config);

/* Line at which an option stands, "trust.crl" or "access.engineering.allow"; the section's line, or
 * 0, where it is not written. For problems found later, in the files that are named. */
unsigned config_line(const struct config *config, const char *option);

/* For the key holder alone: the PEM block that stands in the file at path as identity.key.
 * malloc'ed, zero-terminated; the caller wipes and frees it. NULL with one problem. */
char *config_key_in_place(const char *path, struct config_problems *problems);
