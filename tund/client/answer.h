#pragma once
/* What a gateway's HTTP answer means for an attempt: who let us in, who said no, and whether trying
 * again soon makes sense. Pure decisions; dial.c acts on them. */

#include <stdbool.h>

#include "client/dial.h"
#include "wire/http.h"

/* An answer that is no HTTP of a gateway's. */
void answer_is_broken(enum http_error error, struct dial_result *result);
/* A status other than 200. resumed: the request was a CONNECT with the cookie of an earlier login.
 */
void answer_is_no(const struct http_head *head, bool resumed, struct dial_result *result);
/* Of a CONNECT that no login came before. False: it gives no cookie that can be used. */
bool answer_gives_cookie(const struct http_head *head, char cookie[static TUNNEL_PARAMS_COOKIE_MAX],
			 struct dial_result *result);
/* The whole answer of a login with status 200. True: we are in, with a cookie. */
bool answer_lets_in(const struct http_head *head, const char *body, size_t len,
		    char cookie[static TUNNEL_PARAMS_COOKIE_MAX], struct dial_result *result);
