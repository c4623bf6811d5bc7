#include "ctl/explain_commands.h"

#include <string.h>

#include "ctl/describe.h"
#include "pki/refusal.h"
#include "wire/ctl_msg.h"

static bool is_id(const char *id)
{
	return id && strlen(id) == REFUSAL_ID_TEXT - 1 &&
	       strspn(id, "0123456789abcdefABCDEF") == REFUSAL_ID_TEXT - 1;
}

static json_t *text_or_null(const char *text)
{
	return text[0] ? describe_text(text) : json_null();
}

static json_t *describe_by(enum refusal_by by)
{
	if (by == REFUSAL_BY_NOBODY)
		return json_null();
	return json_string(by == REFUSAL_BY_US ? "us" : "peer");
}

static json_t *describe_whose(const struct refusal *refusal)
{
	if (!refusal->serial[0])
		return json_null();
	return json_string(refusal->certificate_is_own ? "us" : "peer");
}

static json_t *make_reply(const struct refusal *refusal)
{
	json_t *reply = ctl_msg_reply("explain", CTL_EXIT_DONE);

	json_object_set_new(reply, "handshake_id", json_string(refusal->id));
	json_object_set_new(reply, "refused_at", describe_time(refusal->at));
	json_object_set_new(reply, "refused_by", describe_by(refusal->by));
	json_object_set_new(reply, "reason", json_string(reason_word(refusal->reason)));
	json_object_set_new(reply, "text", describe_text(refusal->text));
	json_object_set_new(reply, "advice", json_string(reason_advice(refusal->reason)));
	json_object_set_new(reply, "gateway", text_or_null(refusal->gateway));
	json_object_set_new(reply, "peer_address", describe_endpoint(&refusal->peer));
	json_object_set_new(reply, "identity", text_or_null(refusal->identity));
	json_object_set_new(reply, "certificate_of", describe_whose(refusal));
	json_object_set_new(reply, "subject", text_or_null(refusal->subject));
	json_object_set_new(reply, "issuer", text_or_null(refusal->issuer));
	json_object_set_new(reply, "serial", text_or_null(refusal->serial));
	return reply;
}

static json_t *explain(const struct refusal_memory *memory, const char *id)
{
	const struct refusal *refusal;

	if (!is_id(id))
		return ctl_msg_error(CTL_EXIT_USAGE,
				     "a handshake's short id is 8 hexadecimal digits, as in "
				     "\"(handshake 1a2b3c4d)\" in the log");
	refusal = refusal_find(memory, id);
	if (!refusal)
		return ctl_msg_error(
			CTL_EXIT_NOT_FOUND,
			"no refused handshake %s is remembered, only the last %d since "
			"this daemon's start; its log has older ones",
			id, REFUSAL_MAX);
	return make_reply(refusal);
}

void explain_commands_gateway(struct ctl_request *request, const json_t *message)
{
	const struct gateway *gateway = ctl_of(request)->options.gateway;

	ctl_answer(request, explain(&gateway->refusals, ctl_msg_string(message, "id")));
}

void explain_commands_client(struct ctl_request *request, const json_t *message)
{
	const struct client *client = ctl_of(request)->options.client;

	ctl_answer(request, explain(&client->refusals, ctl_msg_string(message, "id")));
}
