#include "config/config_nets.h"

#include <ctype.h>
#include <string.h>

#include "base/xalloc.h"

enum { DNS_NAME_MAX = 253, DNS_LABEL_MAX = 63 };

bool config_nets_is_dns_name(const char *text)
{
	bool is_number = false;

	if (strlen(text) > DNS_NAME_MAX)
		return false;
	for (;;) {
		size_t len = strcspn(text, ".");

		if (len == 0 || len > DNS_LABEL_MAX || text[0] == '-' || text[len - 1] == '-')
			return false;
		is_number = strspn(text, "0123456789") == len;
		for (size_t i = 0; i < len; i++) {
			if (!isalnum((unsigned char)text[i]) && text[i] != '-')
				return false;
		}
		if (text[len] == '\0')
			return !is_number;
		text += len + 1;
	}
}

bool config_nets_host(const struct config_value *value, void *place)
{
	const char *text = value->texts[0];
	struct addr addr;

	if (text[0] && !config_nets_is_dns_name(text) && !addr_parse(text, &addr))
		return config_values_refuse(
			value, 0,
			"is neither a DNS name nor an address; write \"vpn.corp.example\"");
	return config_values_text(value, place);
}

static bool has_before(const struct config_value *value, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		if (strcasecmp(value->texts[i], value->texts[index]) == 0)
			return true;
	}
	return false;
}

bool config_nets_domains(const struct config_value *value, void *place)
{
	bool good = true;

	for (size_t i = 0; i < value->count; i++) {
		const char *text = value->texts[i];

		if (strcmp(text, ".") != 0 && !config_nets_is_dns_name(text))
			good = config_values_refuse(
				value, i,
				"is no domain; write \"corp.example\", or \".\" "
				"for all");
		else
			config_values_add(place, xalloc_string(text));
	}
	return good;
}

static bool is_dial(const char *text)
{
	char host[DNS_NAME_MAX + 2];
	struct addr addr;
	uint16_t port;

	return addr_host_split(text, 443, host, sizeof(host), &port) &&
	       (config_nets_is_dns_name(host) || strchr(host, ':') || addr_parse(host, &addr));
}

bool config_nets_dials(const struct config_value *value, void *place)
{
	bool good = true;

	for (size_t i = 0; i < value->count; i++) {
		if (!is_dial(value->texts[i]))
			good = config_values_refuse(value, i,
						    "is no gateway; write \"name\", \"name:443\", "
						    "\"192.0.2.1:443\" or \"[2001:db8::1]:443\"");
		else if (has_before(value, i))
			good = config_values_refuse(value, i, "stands twice; take one out");
		else
			config_values_add(place, xalloc_string(value->texts[i]));
	}
	return good;
}

bool config_nets_listens(const struct config_value *value, void *place)
{
	struct config_endpoints *ret = place;
	struct endpoint at;
	bool good = true;

	for (size_t i = 0; i < value->count; i++) {
		bool twice = false;

		if (!addr_endpoint_parse(value->texts[i], 443, &at)) {
			good = config_values_refuse(
				value, i,
				"is no address and port; write \"0.0.0.0:443\" or "
				"\"[::]:443\"");
			continue;
		}
		for (size_t k = 0; k < ret->count; k++)
			twice |= addr_endpoint_equal(&at, &ret->items[k]);
		if (twice) {
			good = config_values_refuse(value, i, "stands twice; take one out");
			continue;
		}
		ret->items = xalloc_grow(ret->items, ret->count + 1, sizeof(at));
		ret->items[ret->count++] = at;
	}
	return good;
}

bool config_nets_addresses(const struct config_value *value, void *place)
{
	bool good = true;

	for (size_t i = 0; i < value->count; i++) {
		struct prefix host;
		struct addr addr;

		if (!addr_parse(value->texts[i], &addr)) {
			good = config_values_refuse(value, i,
						    "is no address; write \"10.0.0.53\" or "
						    "\"fd00::53\"");
		} else if (!addr_is_host(&addr)) {
			good = config_values_refuse(
				value, i, "cannot be a host's own address; write one that is");
		} else {
			host = prefix_host(&addr);
			prefix_list_add(place, &host);
		}
	}
	return good;
}

bool config_nets_prefixes(const struct config_value *value, void *place)
{
	char clean_text[PREFIX_TEXT];
	struct prefix prefix, clean;
	bool good = true;

	for (size_t i = 0; i < value->count; i++) {
		if (prefix_parse(value->texts[i], &prefix, &clean))
			prefix_list_add(place, &prefix);
		else if (clean.addr.family)
			good = config_values_refuse(value, i, "has host bits set; write \"%s\"",
						    prefix_print(&clean, clean_text));
		else
			good = config_values_refuse(
				value, i, "is no prefix; write \"10.0.0.0/8\" or \"fd00::/8\"");
	}
	return good;
}

bool config_nets_routes(const struct config_value *value, void *place)
{
	struct config_client *client = place;
	int word = value->count == 1 ? config_values_word("ignore accept", value->texts[0]) : -1;

	if (word >= 0) {
		client->routes_accept = word == 1;
		return true;
	}
	if (value->count == 0)
		return config_values_refuse(
			value, 0, "(an empty list) accepts nothing; write \"ignore\" for that");
	return config_nets_prefixes(value, &client->routes);
}
