#include "ctl/metrics.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "ctl/describe.h"
#include "ctl/watch.h"
#include "pki/crl.h"
#include "version.h"
#include "wire/ctl_msg.h"

/* What the rows are filled from: the state of this moment, and the workers' report. */
struct scrape {
	const struct ctl *ctl;
	const struct gateway *gateway; /* one of the two */
	const struct client *client;
	const struct counts *counts;
	const struct flow_traffic *traffic;
};

/* Takes labels, which may be NULL. */
static void add(json_t *samples, json_t *labels, uint64_t value)
{
	json_t *sample = json_pack("{s:I}", "value", (json_int_t)value);

	if (labels)
		json_object_set_new(sample, "labels", labels);
	json_array_append_new(samples, sample);
}

static json_t *label(const char *name, const char *value)
{
	json_t *labels = json_object();

	json_object_set_new(labels, name, describe_text(value));
	return labels;
}

/* ---- tund itself ---- */

static void fill_build(json_t *samples, const struct scrape *scrape)
{
	json_t *labels = label("instance", scrape->ctl->options.config->instance);

	json_object_set_new(labels, "role", json_string(scrape->gateway ? "gateway" : "client"));
	json_object_set_new(labels, "version", json_string(TUND_VERSION));
	add(samples, labels, 1);
}

static void fill_start(json_t *samples, const struct scrape *scrape)
{
	time_t at = scrape->gateway ? scrape->gateway->started_at : scrape->client->started_at;

	add(samples, NULL, (uint64_t)at);
}

static void fill_watchers(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, watch_watchers(scrape->ctl->watch));
}

static void fill_events(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, watch_events(scrape->ctl->watch));
}

static void fill_state_writable(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, store_trouble(scrape->gateway->store) == NULL);
}

/* ---- sessions ---- */

struct session_kind {
	enum session_state state;
	bool is_site, over_dtls;
};

static bool is_of_kind(const struct session *session, const struct session_kind *kind)
{
	return session->state == kind->state && (session->site != NULL) == kind->is_site &&
	       (session->state != SESSION_OPEN || session->over_dtls == kind->over_dtls);
}

enum { KINDS = 6 };

/* In one walk: there may be ten thousand. */
static void count_kinds(const struct gateway *gateway,
			const struct session_kind kinds[static KINDS], uint64_t ret[static KINDS])
{
	for (struct session *session = gateway->sessions.sessions; session;
	     session = session->hh.next) {
		for (size_t i = 0; i < KINDS; i++)
			ret[i] += is_of_kind(session, &kinds[i]);
	}
}

static const char *transport_of(const struct session_kind *kind)
{
	if (kind->state != SESSION_OPEN)
		return "none";
	return kind->over_dtls ? "dtls" : "tls";
}

static void fill_sessions(json_t *samples, const struct scrape *scrape)
{
	static const struct session_kind kinds[KINDS] = {
		{SESSION_OPEN, false, true},  {SESSION_OPEN, false, false},
		{SESSION_OPEN, true, true},   {SESSION_OPEN, true, false},
		{SESSION_AWAY, false, false}, {SESSION_AWAY, true, false},
	};
	uint64_t counts[KINDS] = {0};

	count_kinds(scrape->gateway, kinds, counts);
	for (size_t i = 0; i < KINDS; i++) {
		json_t *labels = label("state", session_state_name(kinds[i].state));

		json_object_set_new(labels, "role",
				    json_string(kinds[i].is_site ? "site" : "device"));
		json_object_set_new(labels, "transport", json_string(transport_of(&kinds[i])));
		add(samples, labels, counts[i]);
	}
}

static void fill_logins(json_t *samples, const struct scrape *scrape)
{
	uint64_t count = 0;

	for (struct session *session = scrape->gateway->sessions.sessions; session;
	     session = session->hh.next)
		count += session->state == SESSION_PENDING;
	add(samples, NULL, count);
}

static void fill_sessions_max(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, scrape->gateway->config->gateway.max_sessions);
}

static void fill_handshakes_pending(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, scrape->gateway->pending);
}

static void add_result(json_t *samples, const char *result, const char *reason, uint64_t value)
{
	json_t *labels = label("result", result);

	json_object_set_new(labels, "reason", json_string(reason));
	add(samples, labels, value);
}

/* Words that have not happened yet, too: a rate needs a zero to begin from. */
static void add_reasons(json_t *samples, const char *result, const uint64_t counts[REASON_COUNT])
{
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++)
		add_result(samples, result, reason_word((enum reason)i), counts[i]);
}

static void fill_handshakes(json_t *samples, const struct scrape *scrape)
{
	if (scrape->gateway) {
		add_result(samples, "accepted", "ok", scrape->gateway->counts.accepted);
		add_reasons(samples, "refused", scrape->gateway->counts.refused);
	} else {
		add_result(samples, "accepted", "ok", scrape->client->counts.connected);
		add_reasons(samples, "refused", scrape->client->counts.refused);
		add_reasons(samples, "failed", scrape->client->counts.failed);
	}
}

static void fill_cuts(json_t *samples, const struct scrape *scrape)
{
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++)
		add(samples, label("reason", reason_word((enum reason)i)),
		    scrape->gateway->counts.cut[i]);
}

static void fill_leases(json_t *samples, const struct scrape *scrape, bool sizes)
{
	struct prefix range;
	unsigned used;
	uint64_t size;

	for (size_t i = 0; lease_pool_range(scrape->gateway->leases, i, &range, &used, &size);
	     i++) {
		char text[PREFIX_TEXT];

		add(samples, label("pool", prefix_print(&range, text)), sizes ? size : used);
	}
}

static void fill_leases_used(json_t *samples, const struct scrape *scrape)
{
	fill_leases(samples, scrape, false);
}

static void fill_leases_size(json_t *samples, const struct scrape *scrape)
{
	fill_leases(samples, scrape, true);
}

/* ---- a client's tunnel ---- */

static void fill_tunnel_up(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, scrape->client->state == CLIENT_UP);
}

static void fill_tunnel_info(json_t *samples, const struct scrape *scrape)
{
	const struct client *client = scrape->client;

	add(samples, label("gateway", client->config->client.gateways.items[client->gateway]), 1);
}

static void fill_tunnel_transport(json_t *samples, const struct scrape *scrape)
{
	const struct client *client = scrape->client;
	bool up = client->state == CLIENT_UP;

	add(samples, label("transport", "dtls"), up && client->over_dtls);
	add(samples, label("transport", "tls"), up && !client->over_dtls);
}

static void fill_tunnel_since(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, (uint64_t)scrape->client->since_at);
}

/* ---- traffic ---- */

static void fill_bytes(json_t *samples, const struct scrape *scrape)
{
	add(samples, label("direction", "received"), scrape->traffic->rx_bytes);
	add(samples, label("direction", "sent"), scrape->traffic->tx_bytes);
}

static void fill_packets(json_t *samples, const struct scrape *scrape)
{
	add(samples, label("direction", "received"), scrape->traffic->rx_packets);
	add(samples, label("direction", "sent"), scrape->traffic->tx_packets);
}

static void fill_drops(json_t *samples, const struct scrape *scrape)
{
	for (int i = COUNT_FIRST_DROP; i < COUNT_MAX; i++)
		add(samples, label("reason", count_name((enum count)i)), scrape->counts->of[i]);
}

static void add_part(json_t *samples, const char *part, json_t *labels, json_t *value)
{
	json_array_append_new(samples, json_pack("{s:s, s:o, s:o}", "part", part, "labels", labels,
						 "value", value));
}

/* A bucket holds those below it, too: that is how Prometheus has it. */
static void add_delays(json_t *samples, const char *cause, const struct delay_histogram *delays)
{
	uint64_t count = 0;

	for (int i = 0; i <= DELAY_BOUNDS; i++) {
		json_t *labels = label("cause", cause);
		char bound[32] = "+Inf";

		if (i < DELAY_BOUNDS)
			snprintf(bound, sizeof(bound), "%g",
				 (double)delay_bounds_us[i] / (double)CLOCK_SECOND_US);
		json_object_set_new(labels, "le", json_string(bound));
		count += delays->counts[i];
		add_part(samples, "bucket", labels, json_integer((json_int_t)count));
	}
	add_part(samples, "sum", label("cause", cause),
		 json_real((double)delays->sum_us / (double)CLOCK_SECOND_US));
	add_part(samples, "count", label("cause", cause), json_integer((json_int_t)count));
}

static void fill_delays(json_t *samples, const struct scrape *scrape)
{
	for (int cause = 0; cause < DELAY_CAUSES; cause++)
		add_delays(samples, delay_cause_name((enum delay_cause)cause),
			   &scrape->gateway->delays[cause]);
}

/* ---- the key ---- */

static void fill_signatures(json_t *samples, const struct scrape *scrape)
{
	const struct use *use = scrape->ctl->options.key_use;

	for (size_t i = 0; use && i < SCHEME_MAX; i++) {
		json_t *labels = label("scheme", scheme_at(i)->name);

		json_object_set_new(labels, "role",
				    json_string(scrape->gateway ? "gateway" : "client"));
		add(samples, labels, use->signatures[i]);
	}
}

static void fill_key_refusals(json_t *samples, const struct scrape *scrape)
{
	const struct use *use = scrape->ctl->options.key_use;

	for (int i = 0; use && i < USE_REFUSALS; i++)
		add(samples, label("reason", use_refusal_name((enum use_refusal)i)),
		    use->refused[i]);
}

/* ---- certificates and lists ---- */

static json_t *describe_subject(X509 *cert)
{
	_cleanup_free_ char *subject = identity_name_text(X509_get_subject_name(cert));
	char serial[IDENTITY_SERIAL_MAX + 1] = "";
	json_t *labels = label("subject", subject);

	identity_serial_text(X509_get0_serialNumber(cert), serial);
	json_object_set_new(labels, "serial", json_string(serial));
	return labels;
}

static void fill_certificate(json_t *samples, const struct scrape *scrape)
{
	X509 *leaf = ctl_leaf(scrape->ctl);

	add(samples, describe_subject(leaf), (uint64_t)identity_time(X509_get0_notAfter(leaf)));
}

static void fill_authorities(json_t *samples, const struct scrape *scrape)
{
	const struct trust *trust = ctl_trust(scrape->ctl);

	for (size_t i = 0; i < trust->ca_count; i++) {
		const struct trust_ca *ca = &trust->cas[i];
		json_t *labels = describe_subject(ca->cert);

		/* One authority may have two certificates that differ in nothing shown. */
		json_object_set_new(labels, "fingerprint", describe_fingerprint(ca->cert));
		json_object_set_new(labels, "kind",
				    json_string(ca->is_root ? "root" : "intermediate"));
		json_object_set_new(labels, "file", describe_text(ca->file));
		add(samples, labels, (uint64_t)identity_time(X509_get0_notAfter(ca->cert)));
	}
}

static json_t *describe_list_labels(const struct trust_crl *list)
{
	_cleanup_free_ char *issuer = identity_name_text(list->list->issuer);
	json_t *labels = label("issuer", issuer);

	json_object_set_new(labels, "fingerprint", describe_list_fingerprint(list->list));
	json_object_set_new(labels, "file", describe_text(list->file));
	return labels;
}

static void fill_lists(json_t *samples, const struct scrape *scrape)
{
	const struct trust *trust = ctl_trust(scrape->ctl);

	for (size_t i = 0; i < trust->crl_count; i++) {
		const struct trust_crl *list = &trust->crls[i];

		if (list->list->next_update)
			add(samples, describe_list_labels(list), (uint64_t)list->list->next_update);
	}
}

/* One sample a state, of which one is 1: so that an alert can name the state. */
static void add_states(json_t *samples, X509 *cert, enum crl_state state)
{
	for (int i = 0; i < CRL_STATES; i++) {
		json_t *labels = describe_subject(cert);

		json_object_set_new(labels, "fingerprint", describe_fingerprint(cert));
		json_object_set_new(labels, "state", json_string(crl_state_name(i)));
		add(samples, labels, i == (int)state);
	}
}

static void fill_list_states(json_t *samples, const struct scrape *scrape)
{
	const struct trust *trust = ctl_trust(scrape->ctl);
	time_t now = clock_wall();

	for (size_t i = 0; i < trust->ca_count && trust->crl_policy != TRUST_CRL_OFF; i++) {
		const struct trust_crl *list;
		char text[256];

		crl_judge(trust, trust->cas[i].cert, now, &list, text, sizeof(text));
		add_states(samples, trust->cas[i].cert, crl_freshness(trust, list, now).state);
	}
}

static void fill_list_entries(json_t *samples, const struct scrape *scrape)
{
	const struct trust *trust = ctl_trust(scrape->ctl);

	for (size_t i = 0; i < trust->crl_count; i++)
		add(samples, describe_list_labels(&trust->crls[i]),
		    trust->crls[i].list->entry_count);
}

/* Numbers of more than 64 bits, which RFC 5280 allows, are in `tunctl trust` alone. */
static void fill_list_numbers(json_t *samples, const struct scrape *scrape)
{
	const struct trust *trust = ctl_trust(scrape->ctl);

	for (size_t i = 0; i < trust->crl_count; i++) {
		const struct trust_crl *list = &trust->crls[i];
		uint64_t number;

		if (list->list->number && ASN1_STRING_length(list->list->number) <= 8 &&
		    ASN1_INTEGER_get_uint64(&number, list->list->number) == 1)
			add(samples, describe_list_labels(list), number);
	}
}

static void fill_denials(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, ctl_trust(scrape->ctl)->denial_count);
}

static void fill_generation(json_t *samples, const struct scrape *scrape)
{
	add(samples, NULL, ctl_trust(scrape->ctl)->generation);
}

/* ---- the table ---- */

enum { GATEWAY = 1 << 0, CLIENT = 1 << 1, BOTH = GATEWAY | CLIENT };

static const struct row {
	const char *name, *type, *help;
	unsigned roles;
	void (*fill)(json_t *samples, const struct scrape *scrape);
} rows[] = {
	{"tund_build_info", "gauge", "Always 1; what is running, in its labels.", BOTH, fill_build},
	{"tund_start_time_seconds", "gauge", "When this tund started, in seconds since 1970.", BOTH,
	 fill_start},
	{"tund_sessions", "gauge", "Sessions that hold inner addresses; away: without a channel.",
	 GATEWAY, fill_sessions},
	{"tund_sessions_max", "gauge", "gateway.max-sessions.", GATEWAY, fill_sessions_max},
	{"tund_logins_pending", "gauge", "Logins that have not become sessions.", GATEWAY,
	 fill_logins},
	{"tund_handshakes_pending", "gauge", "Connections between accept and CONNECT.", GATEWAY,
	 fill_handshakes_pending},
	{"tund_handshakes_total", "counter",
	 "Handshakes that made or renewed a session, and those that were refused, by the reason's "
	 "word; a client's attempts also fail, where the network did.",
	 BOTH, fill_handshakes},
	{"tund_sessions_cut_total", "counter", "Sessions that stood and were ended by this end.",
	 GATEWAY, fill_cuts},
	{"tund_cut_delay_seconds", "histogram",
	 "From the end of trust in a session to its last packet, by what ended it.", GATEWAY,
	 fill_delays},
	{"tund_leases_used", "gauge", "Inner addresses held, by pool.", GATEWAY, fill_leases_used},
	{"tund_leases_size", "gauge", "Inner addresses there are to give, by pool.", GATEWAY,
	 fill_leases_size},
	{"tund_tunnel_up", "gauge", "1 while the tunnel is up.", CLIENT, fill_tunnel_up},
	{"tund_tunnel_info", "gauge", "Always 1; the gateway in use, or tried, in its label.",
	 CLIENT, fill_tunnel_info},
	{"tund_tunnel_transport", "gauge", "1 for what the tunnel's data goes over now.", CLIENT,
	 fill_tunnel_transport},
	{"tund_tunnel_changed_timestamp_seconds", "gauge", "When the tunnel came up or was lost.",
	 CLIENT, fill_tunnel_since},
	{"tund_bytes_total", "counter", "Bytes of inner packets, from peers and to them.", BOTH,
	 fill_bytes},
	{"tund_packets_total", "counter", "Inner packets, from peers and to them.", BOTH,
	 fill_packets},
	{"tund_drops_total", "counter", "Packets and datagrams that were dropped, by reason.", BOTH,
	 fill_drops},
	{"tund_denied_certificates", "gauge", "Certificates denied here by tunctl revoke.", BOTH,
	 fill_denials},
	{"tund_trust_generation", "gauge", "Grows with every reload and every change of denials.",
	 BOTH, fill_generation},
	{"tund_key_signatures_total", "counter",
	 "Handshakes that the key holder signed, by TLS signature scheme.", BOTH, fill_signatures},
	{"tund_key_refusals_total", "counter",
	 "What the key holder was asked for and did not sign. All but failed and replaced-key is "
	 "what "
	 "no handshake of ours asks for.",
	 BOTH, fill_key_refusals},
	{"tund_certificate_expiry_timestamp_seconds", "gauge", "When our own certificate expires.",
	 BOTH, fill_certificate},
	{"tund_ca_expiry_timestamp_seconds", "gauge", "When a loaded authority expires.", BOTH,
	 fill_authorities},
	{"tund_crl_next_update_timestamp_seconds", "gauge",
	 "When a loaded revocation list is due for renewal.", BOTH, fill_lists},
	{"tund_crl_number", "gauge", "The number of a loaded revocation list.", BOTH,
	 fill_list_numbers},
	{"tund_crl_entries", "gauge", "Certificates on a loaded revocation list.", BOTH,
	 fill_list_entries},
	{"tund_crl_state", "gauge",
	 "1 for the state an authority's revocation list is in: fresh, ageing, grace, expired, "
	 "missing.",
	 BOTH, fill_list_states},
	{"tund_state_writable", "gauge", "0 while the durable state cannot be written.", GATEWAY,
	 fill_state_writable},
	{"tund_watchers", "gauge", "Who runs tunctl watch.", BOTH, fill_watchers},
	{"tund_events_total", "counter", "Events that tunctl watch tells.", BOTH, fill_events},
};

/* The workers' counters of data/count.h, each a metric: tund_NAME_total. */
static const char *const counter_help[COUNT_FIRST_DROP] = {
	[COUNT_TUN_READS] = "Reads from the TUN device.",
	[COUNT_TUN_WRITES] = "Writes to the TUN device.",
	[COUNT_TUN_SUPER_RX] = "Packets of several segments read from the TUN device.",
	[COUNT_TUN_SUPER_TX] = "Packets of several segments written to the TUN device.",
	[COUNT_UDP_SENDS] = "System calls that sent datagrams.",
	[COUNT_UDP_DATAGRAMS_TX] = "Datagrams sent.",
	[COUNT_UDP_GSO_TX] = "Sends of more than one datagram.",
	[COUNT_UDP_RECEIVES] = "System calls that received datagrams.",
	[COUNT_UDP_DATAGRAMS_RX] = "Datagrams received.",
	[COUNT_UDP_GRO_RX] = "Receives of more than one datagram.",
	[COUNT_TLS_RECORDS_TX] = "Data records sent over TLS.",
	[COUNT_TLS_RECORDS_RX] = "Data records received over TLS.",
	[COUNT_DTLS_ASSOCIATIONS] = "DTLS handshakes that were finished.",
	[COUNT_MSS_CLAMPED] = "TCP handshakes whose segment size was lowered.",
	[COUNT_TOO_BIG_SENT] = "ICMP messages sent that a packet is too big.",
	[COUNT_HANDED_OVER] = "Packets that another worker's TUN queue brought.",
	[COUNT_FLOWS_MOVED] = "Flows that followed their device's datagrams to another worker.",
};

static void add_metric(json_t *metrics, const char *name, const char *type, const char *help,
		       json_t *samples)
{
	json_array_append_new(metrics, json_pack("{s:s, s:s, s:s, s:o}", "name", name, "type", type,
						 "help", help, "samples", samples));
}

static void add_counters(json_t *metrics, const struct scrape *scrape)
{
	for (int i = 0; i < COUNT_FIRST_DROP; i++) {
		json_t *samples = json_array();
		char name[80];

		snprintf(name, sizeof(name), "tund_%s_total", count_name((enum count)i));
		add(samples, NULL, scrape->counts->of[i]);
		add_metric(metrics, name, "counter",
			   counter_help[i] ? counter_help[i] : count_name((enum count)i), samples);
	}
}

static json_t *describe_metrics(const struct scrape *scrape)
{
	json_t *metrics = json_array();

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		json_t *samples;

		if (!(rows[i].roles & (scrape->gateway ? GATEWAY : CLIENT)))
			continue;
		samples = json_array();
		rows[i].fill(samples, scrape);
		add_metric(metrics, rows[i].name, rows[i].type, rows[i].help, samples);
	}
	add_counters(metrics, scrape);
	return metrics;
}

static void answer(struct ctl_request *request, const struct scrape *scrape)
{
	json_t *reply = ctl_msg_reply("metrics", CTL_EXIT_DONE);

	json_object_set_new(reply, "metrics", describe_metrics(scrape));
	ctl_answer(request, reply);
}

static void answer_gateway(struct gateway_report *report, void *user)
{
	answer(user, &(struct scrape){
			     .ctl = ctl_of(user),
			     .gateway = report->gateway,
			     .counts = &report->counts,
			     .traffic = &report->traffic,
		     });
	gateway_report_free(report);
}

void metrics_gateway(struct ctl_request *request, const json_t *message)
{
	(void)message;
	gateway_ask_report(ctl_of(request)->options.gateway, answer_gateway, request);
}

static void answer_client(struct client_report *report, void *user)
{
	answer(user, &(struct scrape){
			     .ctl = ctl_of(user),
			     .client = report->client,
			     .counts = &report->counts,
			     .traffic = &report->traffic,
		     });
	client_report_free(report);
}

void metrics_client(struct ctl_request *request, const json_t *message)
{
	(void)message;
	client_ask_report(ctl_of(request)->options.client, answer_client, request);
}
