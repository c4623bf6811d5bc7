#pragma once
/* The document by which a gateway answers a login (OpenConnect protocol, "config-auth"): whether
 * our certificate alone was enough. Of XML it understands elements, attributes, character
 * references and comments; anything that is not well-formed is refused. */

#include <stddef.h>

enum {
	LOGIN_ANSWER_TEXT = 256,
	LOGIN_ANSWER_TOKEN = 256,
	LOGIN_ANSWER_DEPTH = 16, /* elements within each other */
};

enum login_verdict {
	LOGIN_SUCCESS,
	LOGIN_REFUSED,	 /* said tells why */
	LOGIN_FORM,	 /* it wants to be told more than a certificate */
	LOGIN_NO_ANSWER, /* well-formed, but another document */
	LOGIN_MALFORMED,
};

struct login_answer {
	enum login_verdict verdict;
	char said[LOGIN_ANSWER_TEXT];	/* the text of <error>, else of <message>; escaped */
	char token[LOGIN_ANSWER_TOKEN]; /* of <session-token>, "" without; as it came */
};

void login_answer_read(const char *text, size_t len, struct login_answer *ret);
