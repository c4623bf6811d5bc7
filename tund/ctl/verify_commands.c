#include "ctl/verify_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "base/addr.h"
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
	enum verify_role role;
	time_t at;
};

static void sent_done(struct sent *sent)
{
	X509_free(sent->leaf);
	sk_X509_pop_free(sent->untrusted, X509_free);
}

/* NULL, or an error to answer with; so do the others. */
static json_t *read_certificates(const json_t *certificates, struct sent *ret)
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

static const char *const role_names[] = {
	[VERIFY_DEVICE] = "device",
	[VERIFY_GATEWAY] = "gateway",
};

static json_t *read_role(const json_t *role, struct sent *ret)
{
	const char *text = json_string_value(role);

	if (!role)
		return NULL;
	for (int i = VERIFY_DEVICE; text && i <= VERIFY_GATEWAY; i++) {
		if (strcmp(text, role_names[i]) != 0)
			continue;
		ret->role = (enum verify_role)i;
		return NULL;
	}
	return ctl_msg_error(CTL_EXIT_USAGE, "the role is \"device\" or \"gateway\"");
}

static json_t *read_time(const json_t *at, struct sent *ret)
{
	if (!at || (json_is_string(at) && clock_parse(json_string_value(at), &ret->at)))
		return NULL;
	return ctl_msg_error(CTL_EXIT_USAGE, "the time to ask for is like 2027-01-31T12:00:00Z");
}

/* What is not said is the present, and the role of this daemon's peers. */
static json_t *read_sent(const json_t *message, enum verify_role usual, struct sent *ret)
{
	json_t *error;

	ret->role = usual;
	ret->at = clock_wall();
	error = read_role(json_object_get(message, "role"), ret);
	if (!error)
		error = read_time(json_object_get(message, "at"), ret);
	if (!error)
		error = read_certificates(json_object_get(message, "certificates"), ret);
	return error;
}

/* ---- the names that a gateway may have: one of them is enough ---- */

struct names {
	char **items;
	size_t count;
};

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free(names->items);
}

static void add_name(struct names *names, const char *name)
{
	names->items = xalloc_grow(names->items, names->count + 1, sizeof(*names->items));
	names->items[names->count++] = xalloc_string(name);
}

static void add_alternative(struct names *names, const GENERAL_NAME *name)
{
	struct addr addr = {0};
	char text[ADDR_TEXT];

	if (name->type == GEN_DNS) {
		add_name(names, (const char *)ASN1_STRING_get0_data(name->d.dNSName));
	} else if (name->type == GEN_IPADD) {
		int len = ASN1_STRING_length(name->d.iPAddress);

		if (len != 4 && len != 16)
			return;
		addr.family = len == 4 ? 4 : 6;
		memcpy(addr.bytes, ASN1_STRING_get0_data(name->d.iPAddress), (size_t)len);
		add_name(names, addr_print(&addr, text));
	}
}

/* Those that this gateway's own certificate carries: devices look for one of them. */
static void find_own_names(const struct gateway *gateway, struct names *ret)
{
	GENERAL_NAMES *own =
		X509_get_ext_d2i(gateway->options.leaf, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(own); i++)
		add_alternative(ret, sk_GENERAL_NAME_value(own, i));
	GENERAL_NAMES_free(own);
}

/* Of several gateways each has its own. */
static void find_dialled_names(const struct client *client, struct names *ret)
{
	const struct config_strings *gateways = &client->config->client.gateways;
	const char *configured = client->config->trust.peer_name;
	char host[DIAL_HOST_MAX];
	uint16_t port;

	if (configured)
		add_name(ret, configured);
	for (size_t i = 0; !configured && i < gateways->count; i++) {
		addr_host_split(gateways->items[i], DIAL_PORT, host, sizeof(host), &port);
		add_name(ret, host);
	}
}

/* ---- the question ---- */

static struct verdict ask_as(const struct trust *trust, const struct sent *sent, const char *name)
{
	return verify_ask(&(struct verify_question){
		.trust = trust,
		.leaf = sent->leaf,
		.untrusted = sent->untrusted,
		.role = sent->role,
		.peer_name = name,
		.at = sent->at,
	});
}

/* The first name that the certificate carries, or the first, in *ret_name (borrowed; "": there is
 * none). */
static struct verdict ask_all(const struct trust *trust, const struct sent *sent,
			      const struct names *names, const char **ret_name)
{
	struct verdict verdict;

	for (size_t i = 0; i < names->count; i++) {
		*ret_name = names->items[i];
		verdict = ask_as(trust, sent, *ret_name);
		if (verdict.reason != REASON_NAME_MISMATCH)
			return verdict;
		verify_done(&verdict);
	}
	*ret_name = names->count ? names->items[0] : "";
	return ask_as(trust, sent, *ret_name);
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
		if (!list || !list->list->next_update)
			continue;
		end = list->list->next_update;
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

static json_t *make_reply(const struct sent *sent, const struct trust *trust,
			  const struct verdict *verdict)
{
	bool accepted = verdict->reason == REASON_NONE;
	json_t *reply = ctl_msg_reply("verify", accepted ? CTL_EXIT_DONE : CTL_EXIT_REFUSED);
	char at[CLOCK_TEXT];

	json_object_set_new(reply, "accepted", json_boolean(accepted));
	json_object_set_new(reply, "reason",
			    json_string(accepted ? "ok" : reason_word(verdict->reason)));
	json_object_set_new(reply, "text", describe_text(verdict->text));
	json_object_set_new(reply, "advice", json_string(reason_advice(verdict->reason)));
	json_object_set_new(reply, "role", json_string(role_names[sent->role]));
	json_object_set_new(reply, "at", json_string(clock_print(sent->at, at)));
	set_identity(reply, verdict->cert);
	json_object_set_new(reply, "chain", describe_chain(verdict->chain));
	set_until(reply, trust, verdict, sent->at);
	return reply;
}

static json_t *answer_gateway(const struct trust *trust, const struct sent *sent,
			      const struct names *names)
{
	const char *name;
	struct verdict verdict = ask_all(trust, sent, names, &name);
	json_t *reply = make_reply(sent, trust, &verdict);

	json_object_set_new(reply, "peer_name", describe_text(name));
	verify_done(&verdict);
	return reply;
}

/* ---- asked at a gateway ---- */

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

static json_t *answer_device(const struct gateway *gateway, const struct sent *sent)
{
	_cleanup_free_ const struct config_access **blocks = NULL;
	struct verdict verdict = ask_as(gateway->trust, sent, NULL);
	size_t count = 0;
	json_t *reply;

	if (verdict.reason == REASON_NONE) {
		blocks = admission_blocks(gateway, verdict.cert, &count);
		if (count == 0) {
			verdict.reason = REASON_NO_ACCESS;
			snprintf(verdict.text, sizeof(verdict.text),
				 "no access or site block matches the identity");
		}
	}
	reply = make_reply(sent, gateway->trust, &verdict);
	json_object_set_new(reply, "blocks", describe_blocks(blocks, count));
	json_object_set_new(reply, "routes", describe_prefixes(&gateway->config->gateway.routes));
	verify_done(&verdict);
	return reply;
}

void verify_commands_gateway(struct ctl_request *request, const json_t *message)
{
	const struct gateway *gateway = ctl_of(request)->options.gateway;
	_cleanup_(sent_done) struct sent sent = {0};
	_cleanup_(names_done) struct names names = {0};
	json_t *error = read_sent(message, VERIFY_DEVICE, &sent);

	if (error) {
		ctl_answer(request, error);
	} else if (sent.role == VERIFY_DEVICE) {
		ctl_answer(request, answer_device(gateway, &sent));
	} else {
		find_own_names(gateway, &names);
		ctl_answer(request, answer_gateway(gateway->trust, &sent, &names));
	}
}

/* ---- asked at a client: what a device may reach is the gateway's to say ---- */

void verify_commands_client(struct ctl_request *request, const json_t *message)
{
	const struct client *client = ctl_of(request)->options.client;
	_cleanup_(sent_done) struct sent sent = {0};
	_cleanup_(names_done) struct names names = {0};
	json_t *error = read_sent(message, VERIFY_GATEWAY, &sent);

	if (error) {
		ctl_answer(request, error);
	} else if (sent.role == VERIFY_DEVICE) {
		struct verdict verdict = ask_as(client->trust, &sent, NULL);

		ctl_answer(request, make_reply(&sent, client->trust, &verdict));
		verify_done(&verdict);
	} else {
		find_dialled_names(client, &names);
		ctl_answer(request, answer_gateway(client->trust, &sent, &names));
	}
}
