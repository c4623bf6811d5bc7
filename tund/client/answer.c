#include "client/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "wire/login_answer.h"

enum { SHOWN = 160 }; /* of a gateway's words */

static void refuse(struct dial_result *result, enum reason reason, const char *text)
{
	result->reason = reason;
	result->refused = true;
	snprintf(result->text, sizeof(result->text), "%s", text);
}

void answer_is_broken(enum http_error error, struct dial_result *result)
{
	result->hopeless = true;
	if (error == HTTP_TOO_LARGE)
		refuse(result, REASON_PROTOCOL_ERROR,
		       "the gateway's answer is larger than tund takes from one");
	else
		refuse(result, REASON_PROTOCOL_ERROR,
		       "what answers there does not speak HTTP/1.1 as a gateway does: is it the "
		       "right name and port in client.gateway?");
}

static const char *show(struct http_text text, char *buf, size_t size)
{
	return log_escape(text.at ? text.at : "", text.len, buf, size);
}

static void name_redirect(const struct http_head *head, struct dial_result *result)
{
	char shown[SHOWN], text[DIAL_TEXT];

	snprintf(text, sizeof(text),
		 "the gateway sends us on to \"%s\" (%u), which tund does not follow: if that is "
		 "the right one, name it in client.gateway",
		 show(http_field(head, "Location"), shown, sizeof(shown)), head->status);
	refuse(result, REASON_PROTOCOL_ERROR, text);
	result->hopeless = true;
}

static enum reason reason_of_status(unsigned status)
{
	switch (status) {
	case 401:
	case 403:
		return REASON_NO_ACCESS;
	case 429:
	case 503:
		return REASON_RATE_LIMITED;
	default:
		return REASON_PROTOCOL_ERROR;
	}
}

/* 408, 429 and all of the fives may have passed when we come again. */
static bool may_pass(unsigned status)
{
	return status >= 500 || status == 408 || status == 429;
}

void answer_is_no(const struct http_head *head, bool resumed, struct dial_result *result)
{
	enum reason reason = reason_of_status(head->status);
	char said[SHOWN], text[DIAL_TEXT];

	if (head->status >= 300 && head->status < 400) {
		name_redirect(head, result);
		return;
	}
	show(http_field(head, "X-Reason"), said, sizeof(said));
	reason_parse(said, &reason);
	snprintf(text, sizeof(text), "refused by the gateway (%u%s%s)%s", head->status,
		 said[0] ? " " : "", said,
		 head->status == 404 ? ": no gateway of this protocol answers under this name and "
				       "port; see client.gateway"
				     : "");
	refuse(result, reason, text);
	result->refused = !may_pass(head->status);
	result->hopeless = head->status == 404;
	result->cookie_refused = head->status == 401 && resumed;
}

static void name_refusal(const struct login_answer *answer, struct dial_result *result)
{
	char text[DIAL_TEXT];

	snprintf(text, sizeof(text), "the gateway did not let us in with our certificate%s%s",
		 answer->said[0] ? ": " : "", answer->said);
	refuse(result, REASON_NO_ACCESS, text);
}

static void name_form(const struct login_answer *answer, struct dial_result *result)
{
	char text[DIAL_TEXT];

	snprintf(
		text, sizeof(text),
		"the gateway asks for more than our certificate (a form%s%s), and tund has nothing "
		"else: it must let certificates in alone",
		answer->said[0] ? ": " : "", answer->said);
	refuse(result, REASON_NO_ACCESS, text);
}

/* Of Set-Cookie, or of the document. */
static bool take_cookie(const struct http_head *head, const struct login_answer *answer,
			char cookie[static TUNNEL_PARAMS_COOKIE_MAX])
{
	struct http_text set = http_cookie(head, "webvpn");

	if (!set.at)
		set = (struct http_text){answer->token, strlen(answer->token)};
	return set.len && http_text_copy(set, cookie, TUNNEL_PARAMS_COOKIE_MAX);
}

static void refuse_without_cookie(struct dial_result *result)
{
	refuse(result, REASON_PROTOCOL_ERROR,
	       "the gateway let us in but gave no cookie that can be used");
}

bool answer_gives_cookie(const struct http_head *head, char cookie[static TUNNEL_PARAMS_COOKIE_MAX],
			 struct dial_result *result)
{
	if (take_cookie(head, &(struct login_answer){0}, cookie))
		return true;
	refuse_without_cookie(result);
	return false;
}

bool answer_lets_in(const struct http_head *head, const char *body, size_t len,
		    char cookie[static TUNNEL_PARAMS_COOKIE_MAX], struct dial_result *result)
{
	struct login_answer answer;
	bool in = false;

	login_answer_read(body, len, &answer);
	switch (answer.verdict) {
	case LOGIN_SUCCESS:
		in = take_cookie(head, &answer, cookie);
		if (!in)
			refuse_without_cookie(result);
		break;
	case LOGIN_REFUSED:
		name_refusal(&answer, result);
		break;
	case LOGIN_FORM:
		name_form(&answer, result);
		break;
	case LOGIN_NO_ANSWER:
	case LOGIN_MALFORMED:
		refuse(result, REASON_PROTOCOL_ERROR,
		       "the answer to our login is not one of this protocol: is it the right name "
		       "and port in client.gateway?");
		result->hopeless = true;
		break;
	}
	explicit_bzero(&answer, sizeof(answer));
	return in;
}
