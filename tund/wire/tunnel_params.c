#include "wire/tunnel_params.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/xalloc.h"

void tunnel_params_done(struct tunnel_params *params)
{
	prefix_list_done(&params->dns);
	prefix_list_done(&params->routes);
	prefix_list_done(&params->exclude);
	prefix_list_done(&params->networks);
	for (size_t i = 0; i < params->domain_count; i++)
		free(params->domains[i]);
	free(params->domains);
	explicit_bzero(params->app_id, sizeof(params->app_id));
	explicit_bzero(params->cookie, sizeof(params->cookie));
	*params = (struct tunnel_params){0};
}

void tunnel_params_add_domain(struct tunnel_params *params, const char *domain, size_t len)
{
	char *copy = xalloc_zero(len + 1, 1);

	memcpy(copy, domain, len);
	params->domains = xalloc_grow(params->domains, params->domain_count + 1, sizeof(char *));
	params->domains[params->domain_count++] = copy;
}

void tunnel_params_write_offer(struct buf *buf, const struct tunnel_offer *offer, const char *host,
			       const struct addr *held4, const struct addr *held6)
{
	char text[ADDR_TEXT];

	buf_print(buf, "CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n", host,
		  offer->agent);
	if (offer->cookie[0])
		buf_print(buf, "Cookie: webvpn=%s\r\n", offer->cookie);
	buf_print(buf, "X-CSTP-Version: 1\r\n");
	if (offer->hostname[0])
		buf_print(buf, "X-CSTP-Hostname: %s\r\n", offer->hostname);
	if (offer->base_mtu)
		buf_print(buf, "X-CSTP-Base-MTU: %u\r\n", offer->base_mtu);
	if (offer->mtu)
		buf_print(buf, "X-CSTP-MTU: %u\r\n", offer->mtu);
	buf_print(buf, "X-CSTP-Address-Type: %s\r\n",
		  offer->want4 && offer->want6 ? "IPv6,IPv4"
		  : offer->want6	       ? "IPv6"
					       : "IPv4");
	if (held4->family)
		buf_print(buf, "X-CSTP-Address: %s\r\n", addr_print(held4, text));
	if (offer->full6)
		buf_print(buf, "X-CSTP-Full-IPv6-Capability: true\r\n");
	if (held6->family)
		buf_print(buf, "X-CSTP-Address: %s\r\n", addr_print(held6, text));
	if (offer->psk)
		buf_print(buf, "X-DTLS-CipherSuite: PSK-NEGOTIATE\r\n");
	buf_print(buf, "\r\n");
}

/* Whether word stands in a list separated by colons. */
static bool list_has(struct http_text list, const char *word)
{
	size_t word_len = strlen(word);

	for (size_t at = 0; at < list.len;) {
		const char *colon = memchr(list.at + at, ':', list.len - at);
		size_t len = colon ? (size_t)(colon - list.at) - at : list.len - at;

		if (len == word_len && memcmp(list.at + at, word, len) == 0)
			return true;
		at += len + 1;
	}
	return false;
}

static bool text_contains(struct http_text text, const char *word)
{
	return text.at && memmem(text.at, text.len, word, strlen(word)) != NULL;
}

static unsigned read_mtu(struct http_text text, unsigned min)
{
	unsigned mtu;

	if (!http_text_number(text, &mtu) || mtu < min || mtu > TUNNEL_PARAMS_MTU_MAX)
		return 0;
	return mtu;
}

/* A peer's text for tables and logs: cut and escaped. */
static void copy_escaped(struct http_text text, char *ret, size_t size)
{
	log_escape(text.at ? text.at : "", text.len, ret, size);
}

void tunnel_params_read_offer(const struct http_head *head, struct tunnel_offer *ret)
{
	struct tunnel_offer offer = {0};
	struct http_text type = http_field(head, "X-CSTP-Address-Type");
	unsigned min;

	if (!http_text_copy(http_cookie(head, "webvpn"), offer.cookie, sizeof(offer.cookie)))
		snprintf(offer.cookie, sizeof(offer.cookie), "(too long)");
	copy_escaped(http_field(head, "User-Agent"), offer.agent, sizeof(offer.agent));
	copy_escaped(http_field(head, "X-CSTP-Hostname"), offer.hostname, sizeof(offer.hostname));
	offer.want4 = !type.at || text_contains(type, "IPv4");
	offer.want6 = text_contains(type, "IPv6");
	offer.full6 = http_text_is(http_field(head, "X-CSTP-Full-IPv6-Capability"), "true");
	offer.psk = list_has(http_field(head, "X-DTLS-CipherSuite"), "PSK-NEGOTIATE");
	min = offer.want6 ? TUNNEL_PARAMS_MTU_MIN_V6 : TUNNEL_PARAMS_MTU_MIN_V4;
	offer.base_mtu = read_mtu(http_field(head, "X-CSTP-Base-MTU"), min);
	offer.mtu = read_mtu(http_field(head, "X-CSTP-MTU"), min);
	*ret = offer;
}

static void write_addresses(struct buf *buf, const struct tunnel_params *params)
{
	char text[ADDR_TEXT];

	if (params->v4.family) {
		uint32_t mask = params->v4_len ? ~UINT32_C(0) << (32 - params->v4_len) : 0;

		buf_print(buf, "X-CSTP-Address: %s\r\n", addr_print(&params->v4, text));
		buf_print(buf, "X-CSTP-Netmask: %u.%u.%u.%u\r\n", mask >> 24, mask >> 16 & 255,
			  mask >> 8 & 255, mask & 255);
	}
	if (!params->v6.family)
		return;
	addr_print(&params->v6, text);
	if (params->full6) {
		buf_print(buf, "X-CSTP-Address-IP6: %s/%u\r\n", text, params->v6_len);
	} else {
		buf_print(buf, "X-CSTP-Address: %s\r\n", text);
		buf_print(buf, "X-CSTP-Netmask: %s/%u\r\n", text, params->v6_len);
	}
}

static void write_routes(struct buf *buf, const char *kind, const struct prefix_list *routes)
{
	char text[PREFIX_TEXT];

	for (size_t i = 0; i < routes->count; i++)
		buf_print(buf, "X-CSTP-Split-%s%s: %s\r\n", kind,
			  routes->items[i].addr.family == 6 ? "-IP6" : "",
			  prefix_print(&routes->items[i], text));
}

static void write_networks(struct buf *buf, const struct prefix_list *networks)
{
	char text[PREFIX_TEXT];

	for (size_t i = 0; i < networks->count; i++)
		buf_print(buf, "X-Tund-Network: %s\r\n", prefix_print(&networks->items[i], text));
}

static void write_names(struct buf *buf, const struct tunnel_params *params)
{
	char text[ADDR_TEXT];

	for (size_t i = 0; i < params->dns.count; i++)
		buf_print(buf, "X-CSTP-DNS: %s\r\n", addr_print(&params->dns.items[i].addr, text));
	if (params->domain_count)
		buf_print(buf, "X-CSTP-Default-Domain: %s\r\n", params->domains[0]);
	for (size_t i = 0; i < params->domain_count; i++)
		buf_print(buf, "X-CSTP-Split-DNS: %s\r\n", params->domains[i]);
	buf_print(buf, "X-CSTP-Tunnel-All-DNS: %s\r\n", params->tunnel_all_dns ? "true" : "false");
}

static void write_dtls(struct buf *buf, const struct tunnel_params *params)
{
	if (!params->has_dtls)
		return;
	if (params->dtls_dpd_s)
		buf_print(buf, "X-DTLS-DPD: %u\r\n", params->dtls_dpd_s);
	buf_print(buf, "X-DTLS-Port: %u\r\n", params->dtls_port);
	if (params->dtls_keepalive_s)
		buf_print(buf, "X-DTLS-Keepalive: %u\r\n", params->dtls_keepalive_s);
	buf_print(buf, "X-DTLS-App-ID: ");
	for (size_t i = 0; i < params->app_id_len; i++)
		buf_print(buf, "%02x", params->app_id[i]);
	buf_print(buf, "\r\nX-DTLS-CipherSuite: PSK-NEGOTIATE\r\n");
}

void tunnel_params_write_answer(struct buf *buf, const struct tunnel_params *params,
				const char *server)
{
	buf_print(buf, "HTTP/1.1 200 CONNECTED\r\nX-CSTP-Version: 1\r\n");
	buf_print(buf, "X-CSTP-Server-Name: %s\r\n", server);
	if (params->cookie[0])
		buf_print(buf, "Set-Cookie: webvpn=%s; Secure; HttpOnly\r\n", params->cookie);
	if (params->dpd_s)
		buf_print(buf, "X-CSTP-DPD: %u\r\n", params->dpd_s);
	write_addresses(buf, params);
	write_names(buf, params);
	write_routes(buf, "Include", &params->routes);
	write_routes(buf, "Exclude", &params->exclude);
	write_networks(buf, &params->networks);
	if (params->keepalive_s)
		buf_print(buf, "X-CSTP-Keepalive: %u\r\n", params->keepalive_s);
	if (params->idle_timeout_s)
		buf_print(buf, "X-CSTP-Idle-Timeout: %u\r\n", params->idle_timeout_s);
	else
		buf_print(buf, "X-CSTP-Idle-Timeout: none\r\n");
	if (params->rekey_s)
		buf_print(buf, "X-CSTP-Rekey-Time: %u\r\nX-CSTP-Rekey-Method: new-tunnel\r\n",
			  params->rekey_s);
	else
		buf_print(buf, "X-CSTP-Rekey-Method: none\r\n");
	if (params->session_timeout_s)
		buf_print(buf, "X-CSTP-Session-Timeout: %u\r\n", params->session_timeout_s);
	else
		buf_print(buf, "X-CSTP-Session-Timeout: none\r\n");
	write_dtls(buf, params);
	buf_print(buf, "X-CSTP-Base-MTU: %u\r\n", params->base_mtu);
	buf_print(buf, "X-CSTP-MTU: %u\r\n\r\n", params->mtu);
}

/* A seconds field: "none", absence and 0 are 0. */
static bool read_seconds(struct http_text text, unsigned *ret)
{
	if (!text.at || http_text_is_nocase(text, "none"))
		return true;
	return http_text_number(text, ret);
}

static bool read_address(struct http_text value, struct tunnel_params *params)
{
	char text[ADDR_TEXT];
	struct addr addr;

	if (!http_text_copy(value, text, sizeof(text)) || !addr_parse(text, &addr) ||
	    !addr_is_host(&addr))
		return false;
	if (addr.family == 4) {
		params->v4 = addr;
		params->v4_len = params->v4_len ? params->v4_len : 32;
	} else {
		params->v6 = addr;
		params->v6_len = params->v6_len ? params->v6_len : 128;
	}
	return true;
}

/* "addr/len" with its host bits. */
static bool read_address6(struct http_text value, struct tunnel_params *params)
{
	char text[PREFIX_TEXT];
	struct prefix prefix;

	if (!http_text_copy(value, text, sizeof(text)) || !prefix_parse_host(text, &prefix) ||
	    prefix.addr.family != 6 || !addr_is_host(&prefix.addr))
		return false;
	params->v6 = prefix.addr;
	params->v6_len = prefix.len;
	return true;
}

/* "255.255.0.0" to 16; -1 when it is no contiguous mask. */
static int mask_length(const char *text)
{
	struct addr mask;
	uint32_t bits;

	if (!addr_parse(text, &mask) || mask.family != 4)
		return -1;
	bits = (uint32_t)mask.bytes[0] << 24 | (uint32_t)mask.bytes[1] << 16 |
	       (uint32_t)mask.bytes[2] << 8 | mask.bytes[3];
	if (bits & (~bits >> 1))
		return -1;
	return __builtin_popcount(bits);
}

static bool read_netmask(struct http_text value, struct tunnel_params *params)
{
	char text[PREFIX_TEXT];
	int len;

	if (memchr(value.at, ':', value.len))
		return read_address6(value, params);
	if (!http_text_copy(value, text, sizeof(text)))
		return false;
	len = mask_length(text);
	if (len < 0)
		return false;
	params->v4_len = (uint8_t)len;
	return true;
}

/* "net/len", "net/mask" or a lone address. */
static bool read_route(struct http_text value, struct prefix_list *routes)
{
	char text[2 * ADDR_TEXT];
	struct prefix prefix;
	char *slash;

	if (routes->count >= TUNNEL_PARAMS_ROUTES_MAX || !http_text_copy(value, text, sizeof(text)))
		return false;
	slash = strchr(text, '/');
	if (slash && strchr(slash, '.')) {
		int len = mask_length(slash + 1);

		if (len < 0)
			return false;
		snprintf(slash, sizeof(text) - (size_t)(slash - text), "/%d", len);
	}
	if (!prefix_parse_host(text, &prefix))
		return false;
	prefix = prefix_of(&prefix.addr, prefix.len);
	prefix_list_add(routes, &prefix);
	return true;
}

static bool read_dns(struct http_text value, struct tunnel_params *params)
{
	char text[ADDR_TEXT];
	struct addr addr;
	struct prefix host;

	if (!http_text_copy(value, text, sizeof(text)) || !addr_parse(text, &addr))
		return false;
	host = prefix_host(&addr);
	if (params->dns.count < TUNNEL_PARAMS_DNS_MAX)
		prefix_list_add(&params->dns, &host);
	return true;
}

static bool is_domain(struct http_text text)
{
	if (text.len == 0 || text.len > TUNNEL_PARAMS_DOMAIN_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '.' || c == '_'))
			return false;
	}
	return true;
}

static bool read_domain(struct http_text value, struct tunnel_params *params)
{
	if (!is_domain(value))
		return false;
	if (params->domain_count < TUNNEL_PARAMS_DOMAINS_MAX)
		tunnel_params_add_domain(params, value.at, value.len);
	return true;
}

static bool read_app_id(struct http_text value, struct tunnel_params *params)
{
	if (value.len == 0 || value.len % 2 || value.len > 2 * sizeof(params->app_id))
		return false;
	for (size_t i = 0; i < value.len; i += 2) {
		char pair[3] = {value.at[i], value.at[i + 1], '\0'};
		char *end;

		params->app_id[i / 2] = (uint8_t)strtoul(pair, &end, 16);
		if (end != pair + 2 || !isxdigit((unsigned char)pair[0]))
			return false;
	}
	params->app_id_len = value.len / 2;
	return true;
}

static bool read_include(struct http_text value, struct tunnel_params *params)
{
	return read_route(value, &params->routes);
}

static bool read_exclude(struct http_text value, struct tunnel_params *params)
{
	return read_route(value, &params->exclude);
}

static bool read_network(struct http_text value, struct tunnel_params *params)
{
	return params->networks.count < TUNNEL_PARAMS_NETWORKS_MAX &&
	       read_route(value, &params->networks);
}

static bool read_tunnel_all(struct http_text value, struct tunnel_params *params)
{
	params->tunnel_all_dns = http_text_is_nocase(value, "true");
	return true;
}

/* Fields that may come several times, in the order they stand. */
static const struct {
	const char *name;
	bool (*read)(struct http_text value, struct tunnel_params *params);
} answer_fields[] = {
	{"X-CSTP-Netmask", read_netmask},
	{"X-CSTP-Address", read_address},
	{"X-CSTP-Address-IP6", read_address6},
	{"X-CSTP-DNS", read_dns},
	{"X-CSTP-DNS-IP6", read_dns},
	{"X-CSTP-Split-DNS", read_domain},
	{"X-CSTP-Split-Include", read_include},
	{"X-CSTP-Split-Include-IP6", read_include},
	{"X-CSTP-Split-Exclude", read_exclude},
	{"X-CSTP-Split-Exclude-IP6", read_exclude},
	{"X-CSTP-Tunnel-All-DNS", read_tunnel_all},
	{"X-DTLS-App-ID", read_app_id},
	{"X-Tund-Network", read_network},
};

static bool read_repeated(const struct http_head *head, struct tunnel_params *params, char *error,
			  size_t size)
{
	for (size_t k = 0; k < sizeof(answer_fields) / sizeof(*answer_fields); k++) {
		for (size_t i = 0; i < head->field_count; i++) {
			const struct http_field *field = &head->fields[i];
			char shown[100];

			if (!http_text_is_nocase(field->name, answer_fields[k].name) ||
			    answer_fields[k].read(field->value, params))
				continue;
			snprintf(error, size, "the gateway sent %s: \"%s\", which does not parse",
				 answer_fields[k].name,
				 log_escape(field->value.at, field->value.len, shown,
					    sizeof(shown)));
			return false;
		}
	}
	return true;
}

static bool read_timers(const struct http_head *head, struct tunnel_params *params)
{
	unsigned rekey = 0;
	bool ok = read_seconds(http_field(head, "X-CSTP-DPD"), &params->dpd_s) &&
		  read_seconds(http_field(head, "X-CSTP-Keepalive"), &params->keepalive_s) &&
		  read_seconds(http_field(head, "X-CSTP-Idle-Timeout"), &params->idle_timeout_s) &&
		  read_seconds(http_field(head, "X-CSTP-Session-Timeout"),
			       &params->session_timeout_s) &&
		  read_seconds(http_field(head, "X-CSTP-Rekey-Time"), &rekey) &&
		  read_seconds(http_field(head, "X-DTLS-DPD"), &params->dtls_dpd_s) &&
		  read_seconds(http_field(head, "X-DTLS-Keepalive"), &params->dtls_keepalive_s);

	if (!http_text_is_nocase(http_field(head, "X-CSTP-Rekey-Method"), "none"))
		params->rekey_s = rekey;
	return ok;
}

static void read_dtls(const struct http_head *head, struct tunnel_params *params)
{
	unsigned port;

	params->has_dtls = http_text_number(http_field(head, "X-DTLS-Port"), &port) && port > 0 &&
			   port < 65536 && params->app_id_len > 0 &&
			   http_text_is(http_field(head, "X-DTLS-CipherSuite"), "PSK-NEGOTIATE");
	if (params->has_dtls)
		params->dtls_port = (uint16_t)port;
}

bool tunnel_params_read_answer(const struct http_head *head, struct tunnel_params *ret, char *error,
			       size_t size)
{
	struct tunnel_params *params = ret;
	struct http_text mtu = http_field(head, "X-CSTP-MTU");

	*params = (struct tunnel_params){.full6 = true};
	if (!read_repeated(head, params, error, size))
		return false;
	if (!read_timers(head, params)) {
		snprintf(error, size, "the gateway sent a timer that is not a number of seconds");
		return false;
	}
	read_dtls(head, params);
	params->mtu = read_mtu(mtu, TUNNEL_PARAMS_MTU_MIN_V4);
	params->base_mtu = read_mtu(http_field(head, "X-CSTP-Base-MTU"), TUNNEL_PARAMS_MTU_MIN_V4);
	if (!params->mtu) {
		snprintf(error, size, "the gateway sent no usable MTU");
		return false;
	}
	if (params->mtu < TUNNEL_PARAMS_MTU_MIN_V6)
		params->v6 = (struct addr){0};
	if (!params->v4.family && !params->v6.family) {
		snprintf(error, size, "the gateway assigned no address that fits its MTU");
		return false;
	}
	return true;
}
