#include "ctl/describe.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "sys/tun.h"
#include "sys/udp.h"

json_t *describe_text(const char *text)
{
	json_t *string = json_string(text ? text : "");
	char escaped[2048];

	if (string)
		return string;
	return json_string(log_escape(text, strlen(text), escaped, sizeof(escaped)));
}

json_t *describe_time(time_t at)
{
	char text[CLOCK_TEXT];

	return at ? json_string(clock_print(at, text)) : json_null();
}

json_t *describe_addr(const struct addr *addr)
{
	char text[ADDR_TEXT];

	return json_string(addr_print(addr, text));
}

json_t *describe_endpoint(const struct endpoint *at)
{
	char text[ADDR_ENDPOINT_TEXT];

	if (at->any.sa_family == AF_UNSPEC)
		return json_null();
	return json_string(addr_endpoint_print(at, text));
}

json_t *describe_prefixes(const struct prefix_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++) {
		char text[PREFIX_TEXT];

		json_array_append_new(array, json_string(prefix_print(&list->items[i], text)));
	}
	return array;
}

static json_t *describe_hash(const uint8_t *hash)
{
	char text[17];

	for (size_t i = 0; i < 8; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
	return json_string(text);
}

json_t *describe_fingerprint(X509 *cert)
{
	uint8_t hash[EVP_MAX_MD_SIZE] = {0};

	X509_digest(cert, EVP_sha256(), hash, NULL);
	return describe_hash(hash);
}

json_t *describe_list_fingerprint(const struct crl_list *list)
{
	return describe_hash(list->hash);
}

json_t *describe_certificate(X509 *leaf)
{
	_cleanup_free_ char *subject = identity_name_text(X509_get_subject_name(leaf));
	char serial[IDENTITY_SERIAL_MAX + 1] = "";

	identity_serial_text(X509_get0_serialNumber(leaf), serial);
	return json_pack("{s:o, s:s, s:o}", "subject", describe_text(subject), "serial", serial,
			 "expires_at", describe_time(identity_time(X509_get0_notAfter(leaf))));
}

static const char *protocol_name(const struct config_rule *rule, char *buf, size_t size)
{
	switch (rule->protocol) {
	case IP_PROTO_TCP:
		return "tcp";
	case IP_PROTO_UDP:
		return "udp";
	case IP_PROTO_ICMP:
		return "icmp";
	default:
		snprintf(buf, size, "%u", rule->protocol);
		return buf;
	}
}

static json_t *describe_rule(const struct config_rule *rule)
{
	char net[PREFIX_TEXT], protocol[16];
	struct buf text = {0};
	json_t *string;

	buf_print(&text, "%s %s", prefix_print(&rule->net, net),
		  rule->any_protocol ? "any" : protocol_name(rule, protocol, sizeof(protocol)));
	for (size_t i = 0; i < rule->port_count; i++) {
		buf_print(&text, "%s%u", i ? "," : "/", rule->ports[i].first);
		if (rule->ports[i].last != rule->ports[i].first)
			buf_print(&text, "-%u", rule->ports[i].last);
	}
	string = json_stringn((const char *)text.data, text.len);
	buf_done(&text);
	return string;
}

json_t *describe_rules(const struct config_rules *rules)
{
	json_t *array = json_array();

	for (size_t i = 0; i < rules->count; i++)
		json_array_append_new(array, describe_rule(&rules->items[i]));
	return array;
}

json_t *describe_policy(enum trust_crl_policy policy)
{
	static const char *const names[] = {
		[TRUST_CRL_OFF] = "off",
		[TRUST_CRL_STRICT] = "strict",
		[TRUST_CRL_GRACE] = "grace",
		[TRUST_CRL_ADVISORY] = "advisory",
	};

	return json_string(names[policy]);
}

json_t *describe_drops(const uint64_t drops[COUNT_MAX - COUNT_FIRST_DROP])
{
	json_t *object = json_object();

	for (int i = COUNT_FIRST_DROP; i < COUNT_MAX; i++) {
		uint64_t value = drops[i - COUNT_FIRST_DROP];

		if (value)
			json_object_set_new(object, count_name((enum count)i),
					    json_integer((json_int_t)value));
	}
	return object;
}

json_t *describe_counters(const struct counts *counts)
{
	json_t *object = json_object();

	for (int i = 0; i < COUNT_FIRST_DROP; i++)
		json_object_set_new(object, count_name((enum count)i),
				    json_integer((json_int_t)counts->of[i]));
	return object;
}

struct offload_name {
	unsigned flag;
	const char *name;
};

static json_t *name_flags(const struct offload_name *names, size_t count, unsigned flags)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		if (flags & names[i].flag)
			json_array_append_new(array, json_string(names[i].name));
	}
	return array;
}

json_t *describe_offloads(unsigned tun, unsigned udp)
{
	static const struct offload_name tun_names[] = {
		{TUN_OFFLOAD_CSUM, "csum"}, {TUN_OFFLOAD_TSO4, "tso4"}, {TUN_OFFLOAD_TSO6, "tso6"},
		{TUN_OFFLOAD_USO4, "uso4"}, {TUN_OFFLOAD_USO6, "uso6"},
	};
	static const struct offload_name udp_names[] = {
		{UDP_OFFLOAD_GSO, "gso"},
		{UDP_OFFLOAD_GRO, "gro"},
	};

	return json_pack("{s:o, s:o}", "tun",
			 name_flags(tun_names, sizeof(tun_names) / sizeof(*tun_names), tun), "udp",
			 name_flags(udp_names, sizeof(udp_names) / sizeof(*udp_names), udp));
}

static void add_lines(json_t *array, const struct config_problems *problems)
{
	for (size_t i = 0; problems && i < problems->count; i++) {
		_cleanup_free_ char *line =
			xalloc_print("%s:%u: %s", problems->items[i].file, problems->items[i].line,
				     problems->items[i].text);

		json_array_append_new(array, describe_text(line));
	}
}

void describe_warnings(const struct ctl *ctl, json_t *reply)
{
	json_t *array = json_array();

	add_lines(array, ctl->options.troubles);
	add_lines(array, ctl->options.warnings);
	json_object_set_new(reply, "warnings", array);
}

static json_t *describe_addresses(const struct lease *lease)
{
	json_t *array = json_array();

	if (lease && lease->v4.family)
		json_array_append_new(array, describe_addr(&lease->v4));
	if (lease && lease->v6.family)
		json_array_append_new(array, describe_addr(&lease->v6));
	return array;
}

static json_t *describe_blocks(const struct session *session)
{
	json_t *array = json_array();

	for (size_t i = 0; i < session->block_count; i++)
		json_array_append_new(array, describe_text(session->blocks[i]->title));
	return array;
}

/* Of the flow, and of those it has replaced. */
static void set_traffic(json_t *object, const struct session *session,
			const struct worker_flow_report *flow)
{
	static const struct worker_flow_report none;
	const struct flow_traffic *now = flow ? &flow->traffic : &none.traffic;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"rx_bytes", session->rx_bytes + now->rx_bytes},
		{"tx_bytes", session->tx_bytes + now->tx_bytes},
		{"rx_packets", session->rx_packets + now->rx_packets},
		{"tx_packets", session->tx_packets + now->tx_packets},
		{"idle_s", flow ? (uint64_t)(flow->idle_us / CLOCK_SECOND_US) : 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		json_object_set_new(object, rows[i].name, json_integer((json_int_t)rows[i].value));
}

static json_t *optional_text(const char *text)
{
	return text && text[0] ? describe_text(text) : json_null();
}

json_t *describe_session(const struct session *session, const struct worker_flow_report *flow)
{
	const struct identity_cert *cert = session->cert;
	bool dtls = flow ? flow->over_dtls : session->over_dtls;
	json_t *object =
		json_pack("{s:I, s:o, s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:s}", "id",
			  (json_int_t)session->id, "identity", describe_text(session_name(session)),
			  "identity_kind", identity_kind_name(session->identity.kind), "subject",
			  optional_text(cert ? cert->subject : NULL), "serial",
			  optional_text(cert ? cert->serial : NULL), "groups",
			  describe_blocks(session), "state", session_state_name(session->state),
			  "role", session->site ? "site" : "device", "peer_address",
			  describe_endpoint(&session->peer), "inner_addresses",
			  describe_addresses(session->lease), "transport", dtls ? "dtls" : "tls");

	json_object_set_new(object, "tls_version", optional_text(session->tls_version));
	json_object_set_new(object, "cipher", optional_text(session->cipher));
	json_object_set_new(object, "group", optional_text(session->group));
	json_object_set_new(object, "data_cipher",
			    optional_text(dtls ? session->data_cipher : NULL));
	json_object_set_new(object, "mtu", json_integer(flow ? flow->mtu : session->mtu));
	json_object_set_new(object, "connected_at", describe_time(session->connected_at));
	json_object_set_new(object, "expires_at", describe_time(session->expires_at));
	json_object_set_new(object, "agent", optional_text(session->agent));
	json_object_set_new(object, "networks",
			    session->site ? describe_prefixes(&session->site->networks)
					  : json_array());
	set_traffic(object, session, flow);
	return object;
}
