#include "ctl/verify_commands.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "ctl/describe.h"
#include "ctl/pem.h"
#include "gateway/admission.h"
#include "pki/crl.h"
#include "pki/verify.h"
#include "wire/ctl_msg.h"

enum {
	SENT_MAX = 32, /* as many as fit into a request, nearly */
};

/* ---- what was sent ---- */

struct sent {
	X509 *leaf;
	STACK_OF(X509) * untrusted;
};

static void sent_done(struct sent *sent)
{
	X509_free(sent->leaf);
	sk_X509_pop_free(sent->untrusted, X509_free);
}

/* NULL, or an error to answer with. */
static json_t *read_sent(const json_t *certificates, struct sent *ret)
{
	size_t count = json_array_size(certificates), i;
	const json_t *item;

	if (count == 0 || count > SENT_MAX)
		return ctl_msg_error(CTL_EXIT_USAGE,
				     "send 1 to %d certificates in PEM form, the leaf first",
				     SENT_MAX);
	ret->untrusted = sk_X509_new_null();
	json_array_foreach(certificates, i, item)
	{
		X509 *certificate =
			json_is_string(item) ? pem_certificate(json_string_value(item)) : NULL;

		if (!certificate)
			return ctl_msg_error(CTL_EXIT_USAGE,
					     "certificate %zu of %zu is damaged; send each as one "
					     "block in PEM form",
					     i + 1, count);
		if (i == 0)
			ret->leaf = certificate;
		else
			sk_X509_push(ret->untrusted, certificate);
	}
	return NULL;
}

/* ---- the answer ---- */

static const char *kind_of(int depth, int count)
{
	if (depth == 0)
		return "leaf";
	return depth == count - 1 ? "root" : "intermediate";
}

static json_t *describe_chain(STACK_OF(X509) * chain)
{
	json_t *array = json_array();
	int count = sk_X509_num(chain);

	for (int i = 0; i < count; i++) {
		X509 *cert = sk_X509_value(chain, i);
		json_t *object = describe_certificate(cert);

		json_object_set_new(object, "kind", json_string(kind_of(i, count)));
		json_object_set_new(object, "fingerprint", describe_fingerprint(cert));
		json_array_append_new(array, object);
	}
	return array;
}

/* When the first list that the verdict rests on stops being good enough, 0: none does. */
static time_t lists_until(const struct trust *trust, STACK_OF(X509) * chain, time_t at)
{
	time_t until = 0;

	if (trust->crl_policy != TRUST_CRL_STRICT && trust->crl_policy != TRUST_CRL_GRACE)
		return 0;
	for (int i = 1; i < sk_X509_num(chain); i++) {
		const struct trust_crl *list;
		char text[256];
		time_t end;

		crl_judge(trust, sk_X509_value(chain, i), at, &list, text, sizeof(text));
		if (!list || !list->next_update)
			continue;
		end = list->next_update;
		if (trust->crl_policy == TRUST_CRL_GRACE)
			end += trust->crl_grace_s;
		if (!until || end < until)
			until = end;
	}
	return until;
}

static void set_until(json_t *reply, const struct trust *trust, const struct verdict *verdict,
		      time_t at)
{
	time_t expires_at = verdict->cert ? verdict->cert->expires_at : 0;
	time_t lists_at = verdict->chain ? lists_until(trust, verdict->chain, at) : 0;
	bool list_first = lists_at && lists_at < expires_at;

	json_object_set_new(reply, "expires_at", describe_time(expires_at));
	json_object_set_new(reply, "lists_until_at", describe_time(lists_at));
	json_object_set_new(reply, "until_at", describe_time(list_first ? lists_at : expires_at));
	json_object_set_new(reply, "until_reason",
			    json_string(list_first ? "crl-expired" : "expired"));
}

static void set_identity(json_t *reply, const struct identity_cert *cert)
{
	bool named = cert && cert->identity.name[0];

	json_object_set_new(reply, "identity",
			    named ? describe_text(cert->identity.name) : json_null());
	json_object_set_new(reply, "identity_kind",
			    named ? json_string(identity_kind_name(cert->identity.kind))
				  : json_null());
	json_object_set_new(reply, "subject", cert ? describe_text(cert->subject) : json_null());
	json_object_set_new(reply, "issuer", cert ? describe_text(cert->issuer) : json_null());
	json_object_set_new(reply, "serial", cert ? json_string(cert->serial) : json_null());
}

static json_t *make_reply(const char *role, const struct trust *trust,
			  const struct verdict *verdict, time_t at)
{
	bool accepted = verdict->reason == REASON_NONE;
	json_t *reply = ctl_msg_reply("verify", accepted ? CTL_EXIT_DONE : CTL_EXIT_REFUSED);

	json_object_set_new(reply, "accepted", json_boolean(accepted));
	json_object_set_new(reply, "reason",
			    json_string(accepted ? "ok" : reason_word(verdict->reason)));
	json_object_set_new(reply, "text", describe_text(verdict->text));
	json_object_set_new(reply, "advice", json_string(reason_advice(verdict->reason)));
	json_object_set_new(reply, "role", json_string(role));
	json_object_set_new(reply, "at", describe_time(at));
	set_identity(reply, verdict->cert);
	json_object_set_new(reply, "chain", describe_chain(verdict->chain));
	set_until(reply, trust, verdict, at);
	return reply;
}

/* ---- a gateway's question ---- */

static json_t *describe_block(const struct config_access *block)
{
	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "title",
			 describe_text(block->title), "kind", block->is_site ? "site" : "access",
			 "allow", describe_rules(&block->allow), "accept",
			 describe_rules(&block->accept), "routes",
			 describe_prefixes(&block->routes), "networks",
			 describe_prefixes(&block->networks), "addresses",
			 describe_prefixes(&block->address));
}

static json_t *describe_blocks(const struct config_access *const *blocks, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, describe_block(blocks[i]));
	return array;
}

void verify_commands_gateway(struct ctl_request *request, const json_t *message)
{
	const struct gateway *gateway = ctl_of(request)->options.gateway;
	_cleanup_(sent_done) struct sent sent = {0};
	json_t *error = read_sent(json_object_get(message, "certificates"), &sent), *reply;
	_cleanup_free_ const struct config_access **blocks = NULL;
	time_t now = clock_wall();
	struct verdict verdict;
	size_t count = 0;

	if (error) {
		ctl_answer(request, error);
		return;
	}
	verdict = verify_ask(&(struct verify_question){
		.trust = gateway->trust,
		.leaf = sent.leaf,
		.untrusted = sent.untrusted,
		.role = VERIFY_DEVICE,
		.at = now,
	});
	if (verdict.reason == REASON_NONE) {
		blocks = admission_blocks(gateway, verdict.cert, &count);
		if (count == 0) {
			verdict.reason = REASON_NO_ACCESS;
			snprintf(verdict.text, sizeof(verdict.text),
				 "no access or site block matches the identity");
		}
	}
	reply = make_reply("device", gateway->trust, &verdict, now);
	json_object_set_new(reply, "blocks", describe_blocks(blocks, count));
	json_object_set_new(reply, "routes", describe_prefixes(&gateway->config->gateway.routes));
	verify_done(&verdict);
	ctl_answer(request, reply);
}

/* ---- a client's ---- */

static struct verdict ask_as(const struct client *client, const struct sent *sent, const char *name,
			     time_t at)
{
	return verify_ask(&(struct verify_question){
		.trust = client->trust,
		.leaf = sent->leaf,
		.untrusted = sent->untrusted,
		.role = VERIFY_GATEWAY,
		.peer_name = name,
		.at = at,
	});
}

/* Of several gateways each has its own name: the first that the certificate carries, or the first.
 * ret_name is of at least size bytes. */
static struct verdict ask_all(const struct client *client, const struct sent *sent, time_t at,
			      char *ret_name, size_t size)
{
	const struct config_strings *gateways = &client->config->client.gateways;
	const char *configured = client->config->trust.peer_name;
	struct verdict verdict;
	uint16_t port;

	snprintf(ret_name, size, "%s", configured ? configured : "");
	if (configured)
		return ask_as(client, sent, configured, at);
	for (size_t i = 0; i < gateways->count; i++) {
		addr_host_split(gateways->items[i], DIAL_PORT, ret_name, size, &port);
		verdict = ask_as(client, sent, ret_name, at);
		if (verdict.reason != REASON_NAME_MISMATCH)
			return verdict;
		verify_done(&verdict);
	}
	addr_host_split(gateways->items[0], DIAL_PORT, ret_name, size, &port);
	return ask_as(client, sent, ret_name, at);
}

void verify_commands_client(struct ctl_request *request, const json_t *message)
{
	const struct client *client = ctl_of(request)->options.client;
	_cleanup_(sent_done) struct sent sent = {0};
	json_t *error = read_sent(json_object_get(message, "certificates"), &sent), *reply;
	time_t now = clock_wall();
	struct verdict verdict;
	char name[DIAL_HOST_MAX];

	if (error) {
		ctl_answer(request, error);
		return;
	}
	verdict = ask_all(client, &sent, now, name, sizeof(name));
	reply = make_reply("gateway", client->trust, &verdict, now);
	json_object_set_new(reply, "peer_name", describe_text(name));
	verify_done(&verdict);
	ctl_answer(request, reply);
}
