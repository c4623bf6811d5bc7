#pragma once
/* The head of an HTTP/1.1 message (RFC 9112), strictly: CRLF line ends only, no folding, no bare CR
 * or LF, no transfer codings. Fields borrow from the text they were read from. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	HTTP_HEAD_MAX = 16 * 1024, /* bytes up to and with the empty line */
	HTTP_BODY_MAX = 8 * 1024,
	HTTP_FIELDS_MAX = 100,		   /* of a request */
	HTTP_ANSWER_HEAD_MAX = 128 * 1024, /* a gateway may push many routes */
	HTTP_ANSWER_BODY_MAX = 32 * 1024,
	HTTP_ANSWER_FIELDS_MAX = 1280, /* more than tunnel_params_write_answer can write */
};

struct http_text {
	const char *at;
	size_t len;
};

struct http_field {
	struct http_text name, value;
};

struct http_head {
	struct http_text method, target; /* of a request */
	unsigned status;		 /* of a response: 100..599 */
	struct http_text reason;
	size_t content_length; /* 0 when there is no such field */
	bool has_length, chunked, close;
	size_t field_count;
	struct http_field fields[HTTP_ANSWER_FIELDS_MAX]; /* set as far as field_count */
};

enum http_error {
	HTTP_OK,
	HTTP_MORE,	/* the head is not complete yet */
	HTTP_TOO_LARGE, /* head, number of fields, or body beyond the limits above */
	HTTP_MALFORMED,
	HTTP_VERSION, /* not HTTP/1.1 */
	HTTP_CHUNKED, /* a request with a transfer coding */
};

/* Reads the head at the start of text. HTTP_OK: *ret_len is its length, empty line included; else *ret
 * is of no use. */
enum http_error http_read_request(const char *text, size_t len, struct http_head *ret,
				  size_t *ret_len);
enum http_error http_read_response(const char *text, size_t len, struct http_head *ret,
				   size_t *ret_len);

/* Whether text holds a whole head, or so much that it never will. from: bytes looked at before, so
 * that a head in small pieces is not read again for each. */
bool http_head_ends(const char *text, size_t len, size_t from);

bool http_text_is(struct http_text text, const char *word);	   /* byte for byte */
bool http_text_is_nocase(struct http_text text, const char *word); /* ASCII case ignored */
/* First field of that name, in any case; NULL at when absent. */
struct http_text http_field(const struct http_head *head, const char *name);
/* A plain decimal number of at most nine digits. */
bool http_text_number(struct http_text text, unsigned *ret);
/* Copies at most size - 1 bytes; false when it does not fit. */
bool http_text_copy(struct http_text text, char *ret, size_t size);
/* The value of a cookie: the first in the Cookie fields of a request; in a response the last
 * Set-Cookie that gives it a value. at NULL when absent. */
struct http_text http_cookie(const struct http_head *head, const char *name);
/* The body of a response, len bytes of it so far: by its length, its chunks (joined in place), or,
 * without either, up to the connection's end (ended). HTTP_OK with its length; HTTP_MORE;
 * HTTP_TOO_LARGE beyond HTTP_ANSWER_BODY_MAX; HTTP_MALFORMED. */
enum http_error http_read_body(const struct http_head *head, uint8_t *body, size_t len, bool ended,
			       size_t *ret_len);
/* Body of a chunked response: decodes in place what is complete. HTTP_OK with the length,
 * HTTP_MORE, or an error. */
enum http_error http_decode_chunks(uint8_t *body, size_t len, size_t *ret_len);
