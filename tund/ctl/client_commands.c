#include "ctl/client_commands.h"

#include "base/clock.h"
#include "ctl/describe.h"
#include "version.h"
#include "wire/ctl_msg.h"

static json_t *text_or_null(bool there, const char *text)
{
	return there && text[0] ? describe_text(text) : json_null();
}

static void set_tunnel(json_t *reply, const struct client *client)
{
	bool up = client->state == CLIENT_UP;
	const struct parent_msg_network *network = &client->network;
	json_t *addresses = json_array();

	for (size_t i = 0; up && i < network->addresses.count; i++)
		json_array_append_new(addresses, describe_addr(&network->addresses.items[i].addr));
	json_object_set_new(reply, "gateway_address",
			    up ? describe_endpoint(&client->tunnel.peer) : json_null());
	json_object_set_new(reply, "transport",
			    up ? json_string(client->over_dtls ? "dtls" : "tls") : json_null());
	json_object_set_new(reply, "inner_addresses", addresses);
	json_object_set_new(reply, "mtu", up ? json_integer(client->mtu) : json_null());
	json_object_set_new(reply, "routes", describe_prefixes(&network->routes));
	json_object_set_new(reply, "networks", describe_prefixes(&client->tunnel.params.networks));
	json_object_set_new(reply, "dns", describe_prefixes(&network->dns));
	json_object_set_new(reply, "tls_version", text_or_null(up, client->tls_version));
	json_object_set_new(reply, "cipher", text_or_null(up, client->cipher));
	json_object_set_new(reply, "group", text_or_null(up, client->group));
	json_object_set_new(reply, "data_cipher",
			    text_or_null(up && client->over_dtls, client->data_cipher));
}

json_t *client_commands_tunnel(const struct client *client)
{
	json_t *tunnel = json_pack("{s:s, s:o, s:s}", "state", client_state_name(client),
				   "since_at", describe_time(client->since_at), "gateway",
				   client->config->client.gateways.items[client->gateway]);

	set_tunnel(tunnel, client);
	return tunnel;
}

static void set_trouble(json_t *reply, const struct client *client)
{
	bool down = client->state != CLIENT_UP;
	int64_t left_us = client->retry_at_us - clock_now_us();
	const char *word = reason_word(client->last_reason);

	json_object_set_new(reply, "last_reason", text_or_null(true, word));
	json_object_set_new(reply, "last_error", text_or_null(true, client->last_error));
	json_object_set_new(reply, "advice",
			    text_or_null(down, reason_advice(client->last_reason)));
	json_object_set_new(reply, "handshake_id", text_or_null(true, client->last_id));
	json_object_set_new(reply, "next_attempt_in_s",
			    client->state == CLIENT_WAITING && left_us > 0
				    ? json_integer((left_us + CLOCK_SECOND_US - 1) /
						   CLOCK_SECOND_US)
				    : json_null());
}

static void set_traffic(json_t *reply, const struct client_report *report)
{
	const struct flow_traffic *traffic = &report->flow.traffic;

	json_object_set_new(reply, "rx_bytes", json_integer((json_int_t)traffic->rx_bytes));
	json_object_set_new(reply, "tx_bytes", json_integer((json_int_t)traffic->tx_bytes));
	json_object_set_new(reply, "rx_packets", json_integer((json_int_t)traffic->rx_packets));
	json_object_set_new(reply, "tx_packets", json_integer((json_int_t)traffic->tx_packets));
	json_object_set_new(reply, "drops", describe_drops(report->counts.of + COUNT_FIRST_DROP));
	json_object_set_new(reply, "counters", describe_counters(&report->counts));
}

static void add_unforwarded(const struct client *client, json_t *reply)
{
	if (client->state == CLIENT_UP && client->unforwarded[0])
		json_array_insert_new(json_object_get(reply, "warnings"), 0,
				      describe_text(client->unforwarded));
}

static void answer_status(struct client_report *report, void *user)
{
	struct ctl_request *request = user;
	const struct client *client = report->client;
	const struct client_options *options = &client->options;
	json_t *reply = ctl_msg_reply("status", CTL_EXIT_DONE);

	json_object_update_new(
		reply,
		json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:s, s:o}", "role", "client",
			  "instance", client->config->instance, "version", TUND_VERSION, "state",
			  client_state_name(client), "since_at", describe_time(client->since_at),
			  "interface", client->config->client.interface, "certificate",
			  describe_certificate(options->leaf), "gateway",
			  client->config->client.gateways.items[client->gateway], "offloads",
			  describe_offloads(options->tun_offloads, report->udp_offloads)));
	set_tunnel(reply, client);
	set_trouble(reply, client);
	set_traffic(reply, report);
	describe_warnings(ctl_of(request), reply);
	add_unforwarded(client, reply);
	client_report_free(report);
	ctl_answer(request, reply);
}

/* Whether this host forwards may have changed since the tunnel came up. */
static void on_forwarding(int error, const char *text, void *user)
{
	struct client *client = ctl_of(user)->options.client;

	(void)error;
	client_take_forwarding(client, text);
	client_ask_report(client, answer_status, user);
}

void client_commands_status(struct ctl_request *request, const json_t *message)
{
	struct client *client = ctl_of(request)->options.client;
	unsigned families = client_site_families(client);

	(void)message;
	if (families)
		parent_link_ask_forwarding(client->options.parent, families, on_forwarding,
					   request);
	else
		client_ask_report(client, answer_status, request);
}

/* A client's one session, in the gateway's form as far as it is known here. */
static void answer_sessions(struct client_report *report, void *user)
{
	const struct client *client = report->client;
	const struct flow_traffic *traffic = &report->flow.traffic;
	json_t *reply = ctl_msg_reply("sessions", CTL_EXIT_DONE), *array = json_array();

	if (client->state == CLIENT_UP && client->tunnel.params.mtu) {
		json_t *object = json_pack(
			"{s:i, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:I, s:o, s:I, s:I, s:I, "
			"s:I}",
			"id", 1, "identity", client->config->client.gateways.items[client->gateway],
			"state", "open", "role", "gateway", "peer_address",
			describe_endpoint(&client->tunnel.peer), "transport",
			client->over_dtls ? "dtls" : "tls", "tls_version", client->tls_version,
			"cipher", client->cipher, "group", client->group, "mtu",
			(json_int_t)client->mtu, "connected_at", describe_time(client->since_at),
			"rx_bytes", (json_int_t)traffic->rx_bytes, "tx_bytes",
			(json_int_t)traffic->tx_bytes, "rx_packets",
			(json_int_t)traffic->rx_packets, "tx_packets",
			(json_int_t)traffic->tx_packets);

		set_tunnel(object, client);
		json_object_set_new(object, "groups", json_array());
		json_array_append_new(array, object);
	}
	json_object_set_new(reply, "sessions", array);
	client_report_free(report);
	ctl_answer(user, reply);
}

void client_commands_sessions(struct ctl_request *request, const json_t *message)
{
	(void)message;
	client_ask_report(ctl_of(request)->options.client, answer_sessions, request);
}

/* Drops the tunnel; it is dialled again at once. */
void client_commands_disconnect(struct ctl_request *request, const json_t *message)
{
	struct client *client = ctl_of(request)->options.client;
	json_t *reply;

	(void)message;
	if (!client->flow) {
		ctl_answer(request,
			   ctl_msg_error(CTL_EXIT_NOT_FOUND, "there is no tunnel to drop"));
		return;
	}
	client_reconnect(client);
	reply = ctl_msg_reply("disconnect", CTL_EXIT_DONE);
	json_object_set_new(reply, "cut", json_array());
	ctl_answer(request, reply);
}
