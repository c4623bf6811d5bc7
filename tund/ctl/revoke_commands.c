#include "ctl/revoke_commands.h"

#include <errno.h>

#include "base/clock.h"
#include "ctl/describe.h"
#include "ctl/pem.h"
#include "gateway/revoke.h"
#include "wire/ctl_msg.h"

/* ---- what is meant ---- */

/* False when it has been answered. The caller frees ret->certificate. */
static bool read_selector(struct ctl_request *request, const json_t *message,
			  struct revoke_selector *ret)
{
	const char *pem = ctl_msg_string(message, "certificate");

	*ret = (struct revoke_selector){
		.name = ctl_msg_string(message, "name"),
		.serial = ctl_msg_string(message, "serial"),
		.issuer = ctl_msg_string(message, "issuer"),
	};
	if ((ret->name != NULL) + (ret->serial != NULL) + (pem != NULL) != 1) {
		ctl_answer(request, ctl_msg_error(CTL_EXIT_USAGE,
						  "say which: a name, --serial or --certificate"));
		return false;
	}
	if (!pem)
		return true;
	ret->certificate = pem_certificate(pem);
	if (!ret->certificate)
		ctl_answer(request, ctl_msg_error(CTL_EXIT_USAGE,
						  "the file holds no certificate in PEM form"));
	return ret->certificate != NULL;
}

static int exit_of(int error)
{
	return error == -ENOENT ? CTL_EXIT_NOT_FOUND : CTL_EXIT_USAGE;
}

/* ---- answers ---- */

static json_t *describe_denied(const struct store_denied *denied)
{
	return json_pack("{s:o, s:o, s:o, s:s}", "identity", describe_text(denied->identity),
			 "subject", describe_text(denied->subject), "issuer",
			 describe_text(denied->issuer), "serial", denied->denial.serial);
}

static json_t *describe_all(const struct store_denied *denied, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, describe_denied(&denied[i]));
	return array;
}

static json_t *describe_cut(const struct revoke_result *result)
{
	json_t *array = json_array();

	for (size_t i = 0; i < result->cut_count; i++) {
		const struct revoke_cut *cut = &result->cut[i];

		json_array_append_new(array,
				      json_pack("{s:I, s:o, s:o}", "id", (json_int_t)cut->id,
						"identity", describe_text(cut->identity),
						"peer_address", describe_endpoint(&cut->peer)));
	}
	return array;
}

static void set_durable(json_t *reply, const struct revoke_result *result)
{
	json_object_set_new(reply, "durable", json_boolean(result->error == 0));
	json_object_set_new(reply, "took_s",
			    json_real((double)result->took_us / (double)CLOCK_SECOND_US));
	if (result->error)
		json_object_set_new(reply, "error", describe_text(result->text));
}

static void answer_revoke(struct revoke_result *result, void *user)
{
	json_t *reply = ctl_msg_reply("revoke", result->error ? CTL_EXIT_REFUSED : CTL_EXIT_DONE);

	json_object_set_new(reply, "denied", describe_all(result->denied, result->denied_count));
	json_object_set_new(reply, "cut", describe_cut(result));
	set_durable(reply, result);
	revoke_result_free(result);
	ctl_answer(user, reply);
}

static void answer_unrevoke(struct revoke_result *result, void *user)
{
	json_t *reply = ctl_msg_reply("unrevoke", result->error ? CTL_EXIT_REFUSED : CTL_EXIT_DONE);

	json_object_set_new(reply, "undenied", describe_all(result->denied, result->denied_count));
	set_durable(reply, result);
	revoke_result_free(result);
	ctl_answer(user, reply);
}

void revoke_commands_revoke(struct ctl_request *request, const json_t *message)
{
	struct revoke_selector selector;
	char error[300];
	int r;

	if (!read_selector(request, message, &selector))
		return;
	r = revoke_deny(ctl_of(request)->options.gateway, &selector,
			ctl_msg_string(message, "reason"), answer_revoke, request, error,
			sizeof(error));
	if (r < 0)
		ctl_answer(request, ctl_msg_error(exit_of(r), "%s", error));
	X509_free(selector.certificate);
}

void revoke_commands_unrevoke(struct ctl_request *request, const json_t *message)
{
	struct revoke_selector selector;
	char error[300];
	int r;

	if (!read_selector(request, message, &selector))
		return;
	r = revoke_undeny(ctl_of(request)->options.gateway, &selector, answer_unrevoke, request,
			  error, sizeof(error));
	if (r < 0)
		ctl_answer(request, ctl_msg_error(exit_of(r), "%s", error));
	X509_free(selector.certificate);
}

void revoke_commands_revoked(struct ctl_request *request, const json_t *message)
{
	const struct gateway *gateway = ctl_of(request)->options.gateway;
	json_t *reply = ctl_msg_reply("revoked", CTL_EXIT_DONE), *array = json_array();

	(void)message;
	for (size_t i = 0; i < gateway->denied_count; i++) {
		json_t *object = describe_denied(&gateway->denied[i]);

		json_object_set_new(object, "reason", describe_text(gateway->denied[i].reason));
		json_object_set_new(object, "denied_at",
				    describe_time(gateway->denied[i].denied_at_s));
		json_array_append_new(array, object);
	}
	json_object_set_new(reply, "revoked", array);
	ctl_answer(request, reply);
}
