#include "config/config_table.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct config_section sections[] = {
	{"gateway", false, CONFIG_ONLY_GATEWAY, "this instance is a gateway"},
	{"client", false, CONFIG_ONLY_CLIENT, "this instance dials a gateway"},
	{"identity", false, 0, "who we are"},
	{"trust", false, 0, "whom we believe"},
	{"crypto", false, 0, "TLS 1.3 only, AEAD only: there is no weaker way in"},
	{"access", true, CONFIG_ONLY_GATEWAY, "what an identity may reach"},
	{"site", true, CONFIG_ONLY_GATEWAY, "a link with networks behind it"},
	{"control", false, 0, "the socket that tunctl talks to"},
	{"log", false, 0, "what is written to standard error"},
	{"metrics", false, 0, "Prometheus text over HTTP"},
	{"limits", false, 0, "how much the unknown may ask of us"},
	{"state", false, 0, "what outlives a restart"},
	{"daemon", false, 0, "how the processes run"},
	{"renew", false, 0, "renewal of our own certificate"},
};

#define AT(field)    offsetof(struct config, field)
#define BLOCK(field) offsetof(struct config_access, field)
#define ROW(s, k, what, at, otherwise, ...)                                                        \
	{                                                                                          \
		.section = s, .key = k, .kind = what, .place = at, .fallback = otherwise,          \
		.help = __VA_ARGS__                                                                \
	}
#define RANGE(a, b) .min = (a), .max = (b)
#define FOREVER_S   (3650u * 24 * 3600) /* ten years: more is a slip of the finger */

static const struct config_option options[] = {
	ROW("gateway", "listen", CONFIG_LISTENS, AT(gateway.listen), "0.0.0.0:443 [::]:443",
	    "TCP for TLS and UDP for DTLS, the same port", .restart = true),
	ROW("gateway", "interface", CONFIG_INTERFACE, AT(gateway.interface), "tund0",
	    "name of the TUN device", .restart = true),
	ROW("gateway", "pool", CONFIG_PREFIXES, AT(gateway.pool), NULL,
	    "inner addresses; the gateway itself takes the first of each", .restart = true),
	ROW("gateway", "routes", CONFIG_PREFIXES, AT(gateway.routes), "", "pushed to every device"),
	ROW("gateway", "exclude", CONFIG_PREFIXES, AT(gateway.exclude), "",
	    "pushed as \"not through the tunnel\""),
	ROW("gateway", "dns", CONFIG_ADDRESSES, AT(gateway.dns), "", "name servers, pushed"),
	ROW("gateway", "domains", CONFIG_DOMAINS, AT(gateway.domains), "",
	    "split DNS; {\".\"} sends every query through the tunnel"),
	ROW("gateway", "mtu", CONFIG_AUTO_NUMBER, AT(gateway.mtu), "auto",
	    "inner, bytes, or \"auto\"", RANGE(576, 9216)),
	ROW("gateway", "max-sessions", CONFIG_NUMBER, AT(gateway.max_sessions), "10000",
	    "one more is told that the gateway is full", RANGE(1, 1000000)),
	ROW("gateway", "duplicate", CONFIG_WORD, AT(gateway.duplicate), "replace",
	    "one certificate in two places", .words = "replace refuse allow"),
	ROW("gateway", "idle-timeout", CONFIG_DURATION, AT(gateway.idle_timeout_s), "0",
	    "without a packet, a session ends after this", RANGE(0, FOREVER_S)),
	ROW("gateway", "dpd", CONFIG_DURATION, AT(gateway.dpd_s), "10s",
	    "a silent peer is asked whether it is there", RANGE(0, FOREVER_S)),
	ROW("gateway", "keepalive", CONFIG_DURATION, AT(gateway.keepalive_s), "30s",
	    "keeps middleboxes from forgetting the flow", RANGE(0, FOREVER_S)),
	ROW("gateway", "rekey", CONFIG_DURATION, AT(gateway.rekey_s), "1h",
	    "fresh keys from a new handshake", RANGE(0, FOREVER_S)),
	ROW("gateway", "cookie-lifetime", CONFIG_DURATION, AT(gateway.cookie_lifetime_s), "5m",
	    "how long a lost session may be taken up again", RANGE(0, FOREVER_S)),
	ROW("gateway", "hello-verify", CONFIG_WORD, AT(gateway.hello_verify), "auto",
	    "DTLS HelloVerifyRequest", .words = "auto on off"),

	ROW("client", "gateway", CONFIG_DIALS, AT(client.gateways), NULL,
	    "tried in turn, addresses raced"),
	ROW("client", "interface", CONFIG_INTERFACE, AT(client.interface), "tund0",
	    "name of the TUN device", .restart = true),
	ROW("client", "routes", CONFIG_ROUTES, AT(client), "accept",
	    "accept, ignore, or a list that narrows what is accepted"),
	ROW("client", "dns", CONFIG_WORD, AT(client.dns), "auto", "who is told the name servers",
	    .words = "auto resolved resolvconf off"),
	ROW("client", "full-tunnel", CONFIG_BOOL, AT(client.full_tunnel), "false",
	    "everything goes through the tunnel"),
	ROW("client", "fail-closed", CONFIG_BOOL, AT(client.fail_closed), "false",
	    "nothing leaves beside the tunnel while it is down"),
	ROW("client", "transport", CONFIG_WORD, AT(client.transport), "auto",
	    "DTLS over UDP, TLS over TCP, or the better", .words = "auto udp tcp"),
	ROW("client", "proxy", CONFIG_TEXT, AT(client.proxy), "", "http://host:port"),

	ROW("identity", "certificate", CONFIG_CERTIFICATE, AT(identity.certificate), NULL,
	    "leaf first, then intermediates; a path, a URI, or PEM in place"),
	ROW("identity", "key", CONFIG_KEY, AT(identity.key), NULL,
	    "a path, a store URI (pkcs11:... handle:...), or PEM in place"),
	ROW("identity", "passphrase-file", CONFIG_PATH, AT(identity.passphrase_file), "",
	    "holds the passphrase or PIN of the key"),
	ROW("identity", "token-directory", CONFIG_PATH, AT(identity.token_directory), "",
	    "the files of a token that is made of files (SoftHSM)", .restart = true),

	ROW("trust", "ca", CONFIG_AUTHORITIES, AT(trust.ca), NULL,
	    "files, directories, or PEM in place"),
	ROW("trust", "crl", CONFIG_LISTS, AT(trust.crl), "", "files, directories, or PEM in place"),
	ROW("trust", "crl-policy", CONFIG_WORD, AT(trust.crl_policy), "strict",
	    "an old or missing list: refuse, refuse after a while, or warn",
	    .words = "strict grace advisory"),
	ROW("trust", "crl-grace", CONFIG_DURATION, AT(trust.crl_grace_s), "3d",
	    "how long \"grace\" believes an old list", RANGE(0, FOREVER_S)),
	ROW("trust", "ocsp", CONFIG_WORD, AT(trust.ocsp), "off", "ask the issuer",
	    .words = "off try require"),
	ROW("trust", "peer-name", CONFIG_HOST, AT(trust.peer_name), "",
	    "what the gateway's certificate must name; else the name that is dialled",
	    .only = CONFIG_ONLY_CLIENT),

	ROW("crypto", "groups", CONFIG_GROUPS, AT(crypto.groups), "X25519:P-256",
	    "key exchange, best first"),
	ROW("crypto", "post-quantum", CONFIG_WORD, AT(crypto.post_quantum), "prefer",
	    "hybrid key exchange where the library has it", .words = "off prefer require"),

	ROW("access", "match", CONFIG_CONDITIONS, BLOCK(match), NULL, "all must hold"),
	ROW("access", "allow", CONFIG_RULES, BLOCK(allow), "", "the device opens"),
	ROW("access", "accept", CONFIG_RULES, BLOCK(accept), "",
	    "the network opens towards the device"),
	ROW("access", "routes", CONFIG_PREFIXES, BLOCK(routes), "", "pushed in addition"),

	ROW("site", "match", CONFIG_CONDITIONS, BLOCK(match), NULL, "all must hold"),
	ROW("site", "address", CONFIG_ADDRESSES, BLOCK(address), "", "fixed inner addresses"),
	ROW("site", "networks", CONFIG_PREFIXES, BLOCK(networks), "",
	    "the only other inner sources it may use; routed to it while it is up"),
	ROW("site", "allow", CONFIG_RULES, BLOCK(allow), "", "the site opens"),
	ROW("site", "accept", CONFIG_RULES, BLOCK(accept), "",
	    "the network opens towards the site"),

	ROW("control", "socket", CONFIG_PATH, AT(control_socket), "", "/run/tund/INSTANCE.sock",
	    .restart = true),
	ROW("control", "observers", CONFIG_ACCOUNT, AT(observers), "tund",
	    "unix group that may look", .restart = true),
	ROW("control", "admins", CONFIG_ACCOUNT, AT(admins), "tundadm",
	    "unix group that may act; root always may", .restart = true),

	ROW("log", "level", CONFIG_WORD, AT(log_level), "info", "the least that is written",
	    .words = "error warn info debug"),
	ROW("log", "format", CONFIG_SWITCH, AT(log_json), "text", "for people or for programs",
	    .words = "text json", .restart = true),

	ROW("metrics", "listen", CONFIG_TEXT, AT(metrics_listen), "", "address:port",
	    .restart = true),

	ROW("limits", "handshakes", CONFIG_NUMBER, AT(limits.handshakes), "1000",
	    "a second, all sources together", RANGE(1, 1000000), .only = CONFIG_ONLY_GATEWAY),
	ROW("limits", "handshakes-per-source", CONFIG_NUMBER, AT(limits.handshakes_per_source),
	    "20", "a second; a source is an IPv4 address or an IPv6 /64", RANGE(1, 1000000),
	    .only = CONFIG_ONLY_GATEWAY),
	ROW("limits", "pending", CONFIG_NUMBER, AT(limits.pending), "1000",
	    "connections that are not yet a session", RANGE(1, 1000000),
	    .only = CONFIG_ONLY_GATEWAY),
	ROW("limits", "pending-per-source", CONFIG_NUMBER, AT(limits.pending_per_source), "100",
	    "the same, of one source", RANGE(1, 1000000), .only = CONFIG_ONLY_GATEWAY),
	ROW("limits", "handshake-timeout", CONFIG_DURATION, AT(limits.handshake_timeout_s), "15s",
	    "from the first byte to the session", RANGE(1, 300)),

	ROW("state", "directory", CONFIG_PATH, AT(state_directory), "", "/var/lib/tund/INSTANCE",
	    .restart = true),

	ROW("daemon", "user", CONFIG_ACCOUNT, AT(user), "tund",
	    "who the engine and the keys run as", .restart = true),
	ROW("daemon", "workers", CONFIG_AUTO_NUMBER, AT(workers), "auto",
	    "threads that carry packets, or \"auto\", one a core; a client has one", RANGE(1, 64),
	    .restart = true),
	ROW("daemon", "watch-files", CONFIG_BOOL, AT(watch_files), "true",
	    "certificates, key, authorities and lists are in force once their files change; else "
	    "at a reload"),

	ROW("renew", "command", CONFIG_TEXTS, AT(renew.command), "", "argument vector, no shell"),
	ROW("renew", "before", CONFIG_PERCENT, AT(renew.before_percent), "33%",
	    "of the lifetime left", RANGE(1, 90)),
};

const struct config_section *config_table_sections(size_t *ret_count)
{
	*ret_count = COUNT(sections);
	return sections;
}

const struct config_option *config_table_options(size_t *ret_count)
{
	*ret_count = COUNT(options);
	return options;
}

bool config_table_is_list(const struct config_option *option)
{
	return option->kind >= CONFIG_TEXTS;
}

static bool same(const char *word, const char *name, size_t len)
{
	return strlen(word) == len && memcmp(word, name, len) == 0;
}

const struct config_section *config_table_section(const char *name, size_t len)
{
	for (size_t i = 0; i < COUNT(sections); i++) {
		if (same(sections[i].name, name, len))
			return &sections[i];
	}
	return NULL;
}

const struct config_option *config_table_option(const char *section, const char *key, size_t len)
{
	for (size_t i = 0; i < COUNT(options); i++) {
		if (strcmp(options[i].section, section) == 0 && same(options[i].key, key, len))
			return &options[i];
	}
	return NULL;
}

const char *config_table_section_of(const char *key, size_t len)
{
	for (size_t i = 0; i < COUNT(options); i++) {
		if (same(options[i].key, key, len))
			return options[i].section;
	}
	return NULL;
}

enum { NAME_MAX_BYTES = 31 };

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Insertions, deletions and replacements that make one word of the other (Levenshtein). */
static unsigned distance(const char *word, const char *name, size_t len)
{
	unsigned row[NAME_MAX_BYTES + 1];

	for (size_t k = 0; k <= len; k++)
		row[k] = (unsigned)k;
	for (size_t i = 0; word[i]; i++) {
		unsigned corner = row[0];

		row[0] = (unsigned)i + 1;
		for (size_t k = 1; k <= len; k++) {
			unsigned replaced = corner + (word[i] != name[k - 1]);

			corner = row[k];
			row[k] = least(row[k] + 1, row[k - 1] + 1, replaced);
		}
	}
	return row[len];
}

/* Better than *best (which starts as the largest distance that is still near)? */
static bool is_nearer(const char *word, const char *name, size_t len, unsigned *best)
{
	unsigned away = distance(word, name, len);

	if (away >= *best)
		return false;
	*best = away;
	return true;
}

const char *config_table_near(const char *section, const char *name, size_t len)
{
	unsigned best = len < 4 ? 2 : len < 8 ? 3 : 4;
	const char *near = NULL;

	if (len > NAME_MAX_BYTES)
		return NULL;
	for (size_t i = 0; !section && i < COUNT(sections); i++) {
		if (is_nearer(sections[i].name, name, len, &best))
			near = sections[i].name;
	}
	for (size_t i = 0; section && i < COUNT(options); i++) {
		if (strcmp(options[i].section, section) == 0 &&
		    is_nearer(options[i].key, name, len, &best))
			near = options[i].key;
	}
	return near;
}
