/* The first line answers. A client: is it up, since when, to whom, over what; if not, why, and what
 * to do about it. A gateway: warnings, then how many it serves. */
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "commands.h"
#include "field.h"
#include "reply.h"
#include "table.h"
#include "units.h"

static char *describe_certificate(const json_t *reply)
{
	const json_t *certificate = json_object_get(reply, "certificate");
	_cleanup_free_ char *subject = field_text(certificate, "subject");
	_cleanup_free_ char *serial = field_text(certificate, "serial");
	_cleanup_free_ char *until = field_until(certificate, "expires_at", clock_wall());

	if (!certificate)
		return xalloc_string("-");
	return xalloc_print("%s, serial %s, until %s", subject, serial, until);
}

static char *describe_program(const json_t *reply)
{
	_cleanup_free_ char *instance = field_text(reply, "instance");
	_cleanup_free_ char *version = field_text(reply, "version");

	return xalloc_print("%s, tund %s", instance, version);
}

/* ---- a client ---- */

/* As people know it: the gateway's name; the port only when it is not the usual one. */
static char *describe_gateway(const json_t *reply)
{
	char *name = field_text(reply, "gateway");
	size_t len = strlen(name);

	if (len > 4 && strcmp(name + len - 4, ":443") == 0)
		name[len - 4] = '\0';
	return name;
}

static const char *transport_name(const json_t *reply)
{
	if (field_is(reply, "transport", "dtls"))
		return "DTLS";
	return field_is(reply, "transport", "tls") ? "TLS" : "?";
}

static void print_up(const json_t *reply)
{
	_cleanup_free_ char *since = field_since(reply, "since_at", clock_wall());
	_cleanup_free_ char *gateway = describe_gateway(reply);

	printf("up since %s, to %s over %s\n", since, gateway, transport_name(reply));
}

/* Why it is not connected. The stable word is what the manual and the administrator go by. */
static char *describe_cause(const json_t *reply)
{
	_cleanup_free_ char *gateway = describe_gateway(reply);
	_cleanup_free_ char *error = field_text(reply, "last_error");
	_cleanup_free_ char *reason = field_text(reply, "last_reason");
	bool has_error = field_is_there(reply, "last_error");

	if (has_error && field_is_there(reply, "last_reason") && !strstr(error, reason))
		return xalloc_print("%s (%s)", error, reason);
	if (has_error)
		return xalloc_string(error);
	if (field_is_there(reply, "last_reason"))
		return xalloc_string(reason);
	if (field_is(reply, "state", "connecting"))
		return xalloc_print("connecting to %s", gateway);
	return field_text(reply, "state");
}

static void print_not_up(const json_t *reply)
{
	_cleanup_free_ char *cause = describe_cause(reply);
	_cleanup_free_ char *advice = field_text(reply, "advice");
	/* A gateway may have said it already, when it cut us off. */
	bool is_new = field_is_there(reply, "advice") && !strstr(cause, advice);

	printf("not connected: %s%s%s\n", cause, is_new ? "; " : "", is_new ? advice : "");
}

static char *describe_attempt(const json_t *reply)
{
	uint64_t next_s = field_number(reply, "next_attempt_in_s");
	_cleanup_free_ char *gateway = describe_gateway(reply);
	char text[UNITS_TEXT];

	if (field_is(reply, "state", "connecting"))
		return xalloc_print("now, to %s", gateway);
	if (next_s == 0)
		return xalloc_string("-");
	return xalloc_print("in %s, to %s", units_duration((int64_t)next_s, text), gateway);
}

static char *describe_handshake(const json_t *reply)
{
	_cleanup_free_ char *id = field_text(reply, "handshake_id");

	if (!field_is_there(reply, "handshake_id"))
		return xalloc_string("-");
	return xalloc_print("%s (the gateway's log has it under the same id)", id);
}

static char *describe_endpoints(const json_t *reply)
{
	_cleanup_free_ char *gateway = field_text(reply, "gateway");
	_cleanup_free_ char *address = field_text(reply, "gateway_address");

	if (!field_is_there(reply, "gateway_address") || strcmp(gateway, address) == 0)
		return xalloc_string(gateway);
	return xalloc_print("%s, %s", gateway, address);
}

static char *describe_protection(const json_t *reply)
{
	_cleanup_free_ char *version = field_text(reply, "tls_version");
	_cleanup_free_ char *cipher = field_text(reply, "cipher");
	_cleanup_free_ char *group = field_text(reply, "group");

	if (!field_is_there(reply, "tls_version"))
		return xalloc_string("-");
	return xalloc_print("%s, %s, %s", version, cipher, group);
}

static char *describe_traffic(const json_t *reply)
{
	_cleanup_free_ char *rx = field_bytes(reply, "rx_bytes");
	_cleanup_free_ char *tx = field_bytes(reply, "tx_bytes");

	return xalloc_print("%s received (%lu packets), %s sent (%lu packets)", rx,
			    (unsigned long)field_number(reply, "rx_packets"), tx,
			    (unsigned long)field_number(reply, "tx_packets"));
}

static char *describe_mtu(const json_t *reply)
{
	uint64_t mtu = field_number(reply, "mtu");

	return mtu ? xalloc_print("%lu", (unsigned long)mtu) : xalloc_string("-");
}

static void print_tunnel(const json_t *reply)
{
	table_entry("gateway", describe_endpoints(reply));
	table_entry("addresses", field_list(reply, "inner_addresses", ", "));
	if (json_array_size(json_object_get(reply, "networks")) > 0)
		table_entry("networks", field_list(reply, "networks", ", "));
	table_entry("routes", field_list(reply, "routes", ", "));
	table_entry("dns", field_list(reply, "dns", ", "));
	table_entry("mtu", describe_mtu(reply));
	table_entry("control", describe_protection(reply));
	table_entry("data", field_text(reply, "data_cipher"));
	table_entry("traffic", describe_traffic(reply));
}

static void print_attempts(const json_t *reply)
{
	table_entry("next attempt", describe_attempt(reply));
	table_entry("handshake", describe_handshake(reply));
}

static void render_client(const json_t *reply)
{
	bool is_up = field_is(reply, "state", "up");

	if (is_up)
		print_up(reply);
	else
		print_not_up(reply);
	reply_warnings(reply);
	if (is_up)
		print_tunnel(reply);
	else
		print_attempts(reply);
	table_entry("dropped", field_counts(reply, "drops"));
	table_entry("interface", field_text(reply, "interface"));
	table_entry("certificate", describe_certificate(reply));
	table_entry("instance", describe_program(reply));
}

/* ---- a gateway ---- */

static void print_running(const json_t *reply)
{
	_cleanup_free_ char *since = field_since(reply, "started_at", clock_wall());
	_cleanup_free_ char *instance = field_text(reply, "instance");
	uint64_t sessions = field_number(reply, "sessions");

	printf("gateway %s: running since %s, %lu of at most %lu sessions", instance, since,
	       (unsigned long)sessions, (unsigned long)field_number(reply, "max_sessions"));
	if (sessions)
		printf(": %lu over DTLS, %lu over TLS",
		       (unsigned long)field_number(reply, "sessions_dtls"),
		       (unsigned long)field_number(reply, "sessions_tls"));
	putchar('\n');
}

/* How many are left is worth a number only where they can run out. */
static char *describe_pool(const json_t *pool)
{
	_cleanup_free_ char *prefix = field_text(pool, "prefix");
	unsigned long used = field_number(pool, "used"), size = field_number(pool, "size");

	if (size > UINT32_MAX)
		return xalloc_print("%s, %lu in use", prefix, used);
	return xalloc_print("%s, %lu of %lu in use", prefix, used, size);
}

static void print_pools(const json_t *reply)
{
	const json_t *pool;
	size_t i;

	json_array_foreach(json_object_get(reply, "pools"), i, pool)
		table_entry(i == 0 ? "pool" : "", describe_pool(pool));
}

static char *describe_offloads(const json_t *reply)
{
	const json_t *offloads = json_object_get(reply, "offloads");
	_cleanup_free_ char *tun = field_list(offloads, "tun", " ");
	_cleanup_free_ char *udp = field_list(offloads, "udp", " ");

	return xalloc_print("tun %s, udp %s", strcmp(tun, "-") == 0 ? "none" : tun,
			    strcmp(udp, "-") == 0 ? "none" : udp);
}

static char *describe_handshakes(const json_t *reply)
{
	const json_t *handshakes = json_object_get(reply, "handshakes");
	_cleanup_free_ char *refused = field_counts(handshakes, "refused");

	return xalloc_print("%lu accepted%s%s", (unsigned long)field_number(handshakes, "accepted"),
			    refused[0] ? ", refused: " : "", refused);
}

static char *describe_workers(const json_t *reply)
{
	return xalloc_print("%lu", (unsigned long)field_number(reply, "workers"));
}

static void render_gateway(const json_t *reply)
{
	reply_warnings(reply);
	print_running(reply);
	table_entry("listens on", field_list(reply, "listen", ", "));
	print_pools(reply);
	table_entry("handshakes", describe_handshakes(reply));
	table_entry("dropped", field_counts(reply, "drops"));
	table_entry("interface", field_text(reply, "interface"));
	table_entry("workers", describe_workers(reply));
	table_entry("offloads", describe_offloads(reply));
	table_entry("certificate", describe_certificate(reply));
	table_entry("crl policy", field_text(reply, "crl_policy"));
	table_entry("version", field_text(reply, "version"));
}

static void render_status(const json_t *reply)
{
	if (field_is(reply, "role", "client"))
		render_client(reply);
	else
		render_gateway(reply);
}

int status_main(const struct arguments *arguments)
{
	return ask_run(arguments, json_pack("{s:s}", "command", "status"), false, render_status);
}
