#include "ctl/trust_commands.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "ctl/describe.h"
#include "pki/crl.h"
#include "wire/ctl_msg.h"

/* The last tenth of a certificate's life is time to renew it. */
enum { LATE_PART = 10 };

struct survey { /* one answer on its way */
	const struct ctl *ctl;
	const struct trust *trust;
	time_t now;
	json_t *warnings;
	size_t *dependents; /* sessions, one for each authority */
};

static void warn(struct survey *survey, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void warn(struct survey *survey, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	text = xalloc_vprint(format, arguments);
	va_end(arguments);
	json_array_append_new(survey->warnings, describe_text(text));
}

static bool is_late(const struct survey *survey, time_t from, time_t until)
{
	return until - survey->now < (until - from) / LATE_PART;
}

/* ---- who depends on whom ---- */

static bool stands_on(const struct identity_cert *cert, const uint8_t key[static 32])
{
	for (size_t i = 0; cert && i < cert->authority_count; i++) {
		if (memcmp(cert->authorities[i], key, 32) == 0)
			return true;
	}
	return false;
}

static size_t count_gateway(const struct gateway *gateway, const uint8_t key[static 32])
{
	size_t count = 0;

	for (struct session *session = gateway->sessions.sessions; session;
	     session = session->hh.next) {
		if (session->state != SESSION_OPEN && session->state != SESSION_AWAY)
			continue;
		/* One that was restored from the state has shown no chain yet. */
		count += session->cert ? stands_on(session->cert, key)
				       : memcmp(session->identity.root, key, 32) == 0;
	}
	return count;
}

static size_t count_client(const struct client *client, const uint8_t key[static 32])
{
	return client->state == CLIENT_UP && stands_on(client->peer, key);
}

static void count_dependents(struct survey *survey)
{
	const struct ctl_options *options = &survey->ctl->options;

	survey->dependents = xnew_array(size_t, survey->trust->ca_count);
	for (size_t i = 0; i < survey->trust->ca_count; i++) {
		uint8_t key[32];

		identity_spki_hash(survey->trust->cas[i].cert, key);
		survey->dependents[i] = options->gateway ? count_gateway(options->gateway, key)
							 : count_client(options->client, key);
	}
}

static size_t dependents_of(const struct survey *survey, const X509 *authority)
{
	for (size_t i = 0; i < survey->trust->ca_count; i++) {
		if (survey->trust->cas[i].cert == authority)
			return survey->dependents[i];
	}
	return 0;
}

/* ---- what lists are worth ---- */

/* Of several lists of one authority only the newest speaks. */
static bool is_in_force(const struct survey *survey, const struct trust_crl *list)
{
	const struct trust_crl *counts;
	char text[256];

	crl_judge(survey->trust, list->issuer, survey->now, &counts, text, sizeof(text));
	return counts == list;
}

static const char *list_state(const struct survey *survey, const struct trust_crl *list)
{
	if (!list->issuer)
		return "unknown-issuer";
	if (!list->signature_ok)
		return "forged";
	if (!is_in_force(survey, list))
		return "superseded";
	if (list->list->this_update > survey->now)
		return "not-begun";
	return crl_state_name(crl_freshness(survey->trust, list, survey->now).state);
}

static json_t *describe_number(const ASN1_INTEGER *number)
{
	char *text = number ? i2s_ASN1_INTEGER(NULL, number) : NULL;
	json_t *string = text ? describe_text(text) : json_null();

	OPENSSL_free(text);
	return string;
}

static void warn_of_list(struct survey *survey, const struct trust_crl *list, const char *issuer,
			 const char *state)
{
	char when[CLOCK_TEXT];

	if (strcmp(state, "unknown-issuer") == 0)
		warn(survey, "the list of %s (%s): trust.ca does not name that authority", issuer,
		     list->file);
	else if (strcmp(state, "forged") == 0)
		warn(survey,
		     "the list of %s (%s) is not signed by that authority and revokes nothing; "
		     "fetch it again",
		     issuer, list->file);
	else if (strcmp(state, crl_state_name(CRL_AGEING)) == 0)
		warn(survey, "the list of %s (%s) is due for renewal at %s", issuer, list->file,
		     clock_print(list->list->next_update, when));
}

static json_t *describe_list(struct survey *survey, const struct trust_crl *list)
{
	_cleanup_free_ char *issuer = identity_name_text(list->list->issuer);
	const char *state = list_state(survey, list);

	warn_of_list(survey, list, issuer, state);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:s, s:I}", "issuer",
			 describe_text(issuer), "file", describe_text(list->file), "fingerprint",
			 describe_list_fingerprint(list->list), "number",
			 describe_number(list->list->number), "this_update_at",
			 describe_time(list->list->this_update), "next_update_at",
			 describe_time(list->list->next_update), "entries",
			 (json_int_t)list->list->entry_count, "state", state, "sessions",
			 (json_int_t)(list->issuer && list->signature_ok
					      ? dependents_of(survey, list->issuer)
					      : 0));
}

/* ---- authorities ---- */

static const char *authority_state(const struct survey *survey, X509 *cert)
{
	if (identity_time(X509_get0_notBefore(cert)) > survey->now)
		return "not-yet-valid";
	if (identity_time(X509_get0_notAfter(cert)) < survey->now)
		return "expired";
	return "valid";
}

static void warn_of_authority(struct survey *survey, X509 *cert, const char *subject,
			      const char *state)
{
	time_t from = identity_time(X509_get0_notBefore(cert));
	time_t until = identity_time(X509_get0_notAfter(cert));
	char when[CLOCK_TEXT];

	if (strcmp(state, "expired") == 0)
		warn(survey,
		     "authority %s expired at %s: all it has issued is refused "
		     "(issuer-expired)",
		     subject, clock_print(until, when));
	else if (strcmp(state, "not-yet-valid") == 0)
		warn(survey,
		     "authority %s begins only at %s: all it has issued is refused until then",
		     subject, clock_print(from, when));
	else if (is_late(survey, from, until))
		warn(survey, "authority %s expires at %s; renew it before", subject,
		     clock_print(until, when));
}

/* What the policy does with what an authority has issued, for the state of its list. */
static const char *list_effect(const struct survey *survey, enum reason reason,
			       enum crl_state state)
{
	if (survey->trust->crl_policy == TRUST_CRL_OFF)
		return "off";
	if (reason != REASON_NONE)
		return "refused";
	if (state == CRL_FRESH || state == CRL_AGEING)
		return "ok";
	return state == CRL_GRACE ? "grace" : "ignored";
}

static void warn_of_effect(struct survey *survey, const char *subject, enum crl_state state,
			   const char *effect)
{
	bool in_grace = strcmp(effect, "grace") == 0;

	if (in_grace || strcmp(effect, "ignored") == 0)
		warn(survey, "the list of %s is %s; the policy lets that pass%s", subject,
		     in_grace ? "past its end" : crl_state_name(state),
		     in_grace ? " for a while" : "");
}

/* The list that counts for an authority; list NULL: there is none. */
static json_t *describe_counting_list(const struct trust_crl *list)
{
	const struct crl_list *read = list ? list->list : NULL;

	return json_pack("{s:o, s:o, s:o, s:o}", "number",
			 describe_number(read ? read->number : NULL), "entries",
			 read ? json_integer((json_int_t)read->entry_count) : json_null(),
			 "next_update_at", describe_time(read ? read->next_update : 0), "file",
			 list ? describe_text(list->file) : json_null());
}

/* Why there is none that counts, though there is a list. */
static json_t *describe_trouble(const struct survey *survey, const struct trust_crl *list,
				enum reason reason)
{
	if (list && list->list->this_update > survey->now)
		return json_string("not-begun");
	return !list && reason == REASON_CRL_INVALID ? json_string("forged") : json_null();
}

static json_t *describe_authority_list(struct survey *survey, X509 *cert, const char *subject)
{
	const struct trust_crl *list;
	char text[400] = "";
	enum reason reason = crl_judge(survey->trust, cert, survey->now, &list, text, sizeof(text));
	struct crl_freshness freshness = crl_freshness(survey->trust, list, survey->now);
	const char *effect = list_effect(survey, reason, freshness.state);
	json_t *object = describe_counting_list(list);

	if (reason != REASON_NONE)
		warn(survey, "all that %s has issued is refused (%s): %s; %s", subject,
		     reason_word(reason), text, reason_advice(reason));
	warn_of_effect(survey, subject, freshness.state, effect);
	json_object_update_new(
		object,
		json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:o}", "state",
			  crl_state_name(freshness.state), "trouble",
			  describe_trouble(survey, list, reason), "effect", effect, "reason",
			  reason == REASON_NONE ? json_null() : json_string(reason_word(reason)),
			  "since_at", describe_time(freshness.since), "until_at",
			  describe_time(freshness.until), "grace_until_at",
			  describe_time(freshness.state == CRL_GRACE ? freshness.until : 0)));
	return object;
}

static json_t *describe_authority(struct survey *survey, const struct trust_ca *ca)
{
	_cleanup_free_ char *subject = identity_name_text(X509_get_subject_name(ca->cert));
	const char *state = authority_state(survey, ca->cert);
	json_t *object = describe_certificate(ca->cert);

	warn_of_authority(survey, ca->cert, subject, state);
	json_object_update_new(
		object,
		json_pack("{s:s, s:o, s:o, s:o, s:s, s:o, s:I}", "kind",
			  ca->is_root ? "root" : "intermediate", "fingerprint",
			  describe_fingerprint(ca->cert), "file", describe_text(ca->file),
			  "begins_at", describe_time(identity_time(X509_get0_notBefore(ca->cert))),
			  "state", state, "list",
			  describe_authority_list(survey, ca->cert, subject), "sessions",
			  (json_int_t)dependents_of(survey, ca->cert)));
	return object;
}

void trust_commands_trust(struct ctl_request *request, const json_t *message)
{
	const struct ctl *ctl = ctl_of(request);
	struct survey survey = {
		.ctl = ctl,
		.trust = ctl_trust(ctl),
		.now = clock_wall(),
		.warnings = json_array(),
	};
	json_t *reply = ctl_msg_reply("trust", CTL_EXIT_DONE);
	json_t *authorities = json_array(), *lists = json_array();

	(void)message;
	count_dependents(&survey);
	for (size_t i = 0; i < survey.trust->ca_count; i++)
		json_array_append_new(authorities,
				      describe_authority(&survey, &survey.trust->cas[i]));
	for (size_t i = 0; i < survey.trust->crl_count; i++)
		json_array_append_new(lists, describe_list(&survey, &survey.trust->crls[i]));
	free(survey.dependents);
	json_object_update_new(reply,
			       json_pack("{s:o, s:o, s:I, s:I, s:I, s:o, s:o}", "warnings",
					 survey.warnings, "crl_policy",
					 describe_policy(survey.trust->crl_policy), "crl_grace_s",
					 (json_int_t)survey.trust->crl_grace_s, "generation",
					 (json_int_t)survey.trust->generation, "denials",
					 (json_int_t)survey.trust->denial_count, "authorities",
					 authorities, "lists", lists));
	ctl_answer(request, reply);
}
