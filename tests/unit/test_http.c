#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "wire/http.h"

static const char *const error_names[] = {
	[HTTP_OK] = "ok",
	[HTTP_MORE] = "more",
	[HTTP_TOO_LARGE] = "too large",
	[HTTP_MALFORMED] = "malformed",
	[HTTP_VERSION] = "version",
	[HTTP_CHUNKED] = "chunked",
};

/* A copy of exactly its size, so that a sanitizer sees a read past its end. */
static char *copy_exact(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, text, len);
	return copy;
}

typedef enum http_error (*read_fn)(const char *, size_t, struct http_head *, size_t *);

static enum http_error read_exact(read_fn read, const char *text, size_t len)
{
	char *copy = copy_exact(text, len);
	struct http_head head;
	size_t head_len = 0;
	enum http_error error = read(copy, len, &head, &head_len);

	free(copy);
	if (!error)
		assert_true(head_len > 0 && head_len <= len);
	return error;
}

struct head_case {
	const char *name, *text;
	enum http_error error;
};

#define REQUEST(fields) "GET / HTTP/1.1\r\n" fields "\r\n"
static const struct head_case requests[] = {
	{"least", REQUEST(""), HTTP_OK},
	{"with fields", REQUEST("Host: a\r\nX:\r\nY:  b \t\r\n"), HTTP_OK},
	{"bytes behind the head", REQUEST("Host: a\r\n") "body", HTTP_OK},
	{"any token", "!#$%&'*+-.^_`|~09az / HTTP/1.1\r\n\r\n", HTTP_OK},
	{"bytes above 0x7f in a value", REQUEST("X: \xc3\xa4\r\n"), HTTP_OK},
	{"tab in a value", REQUEST("X: a\tb\r\n"), HTTP_OK},
	{"close", REQUEST("Connection: Close\r\n"), HTTP_OK},

	{"nothing", "", HTTP_MORE},
	{"request line only", "GET / HTTP/1.1\r\n", HTTP_MORE},
	{"no empty line", "GET / HTTP/1.1\r\nHost: a\r\n", HTTP_MORE},
	{"half of the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\r", HTTP_MORE},

	{"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", HTTP_MALFORMED},
	{"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", HTTP_MALFORMED},
	{"bare LFs at the end", "GET / HTTP/1.1\r\nHost: a\n\n", HTTP_MALFORMED},
	{"bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", HTTP_MALFORMED},
	{"bare CR in a value", REQUEST("X: a\rb\r\n"), HTTP_MALFORMED},
	{"bare CR in the request line", "GET /\r HTTP/1.1\r\n\r\n", HTTP_MALFORMED},
	{"CR CR LF", REQUEST("X: a\r\r\n"), HTTP_MALFORMED},
	{"an empty line first", "\r\n" REQUEST(""), HTTP_MALFORMED},
	{"folded with a space", REQUEST("X: a\r\n b\r\n"), HTTP_MALFORMED},
	{"folded with a tab", REQUEST("X: a\r\n\tb: c\r\n"), HTTP_MALFORMED},
	{"folded first field", REQUEST(" X: a\r\n"), HTTP_MALFORMED},
	{"blank before the colon", REQUEST("Host : a\r\n"), HTTP_MALFORMED},
	{"no colon", REQUEST("Host\r\n"), HTTP_MALFORMED},
	{"no name", REQUEST(": a\r\n"), HTTP_MALFORMED},
	{"control character in a value", REQUEST("X: a\x01\r\n"), HTTP_MALFORMED},
	{"DEL in a value", REQUEST("X: a\x7f\r\n"), HTTP_MALFORMED},
	{"control character in a name", REQUEST("X\x01: a\r\n"), HTTP_MALFORMED},
	{"byte above 0x7f in a name", REQUEST("X\xc3: a\r\n"), HTTP_MALFORMED},
	{"no method", " / HTTP/1.1\r\n\r\n", HTTP_MALFORMED},
	{"method is no token", "G(T / HTTP/1.1\r\n\r\n", HTTP_MALFORMED},
	{"no target", "GET  HTTP/1.1\r\n\r\n", HTTP_MALFORMED},
	{"control character in the target", "GET /\x01 HTTP/1.1\r\n\r\n", HTTP_MALFORMED},
	{"no version", "GET /\r\n\r\n", HTTP_MALFORMED},
	{"another protocol", "GET / FTP/1.1\r\n\r\n", HTTP_MALFORMED},
	{"TLS hello", "\x16\x03\x01\x02\n\n", HTTP_MALFORMED},
	{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", HTTP_VERSION},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\n", HTTP_VERSION},
	{"behind the version", "GET / HTTP/1.1 \r\n\r\n", HTTP_VERSION},

	{"length", REQUEST("Content-Length: 8192\r\n"), HTTP_OK},
	{"the same length twice", REQUEST("Content-Length: 5\r\ncontent-length: 5\r\n"), HTTP_OK},
	{"two lengths", REQUEST("Content-Length: 5\r\nContent-Length: 6\r\n"), HTTP_MALFORMED},
	{"0 and another length", REQUEST("Content-Length: 0\r\nContent-Length: 6\r\n"),
	 HTTP_MALFORMED},
	{"a list of lengths", REQUEST("Content-Length: 5, 5\r\n"), HTTP_MALFORMED},
	{"negative length", REQUEST("Content-Length: -1\r\n"), HTTP_MALFORMED},
	{"length with a plus", REQUEST("Content-Length: +5\r\n"), HTTP_MALFORMED},
	{"hexadecimal length", REQUEST("Content-Length: 0x5\r\n"), HTTP_MALFORMED},
	{"empty length", REQUEST("Content-Length:\r\n"), HTTP_MALFORMED},
	{"length that overflows", REQUEST("Content-Length: 4294967297\r\n"), HTTP_MALFORMED},
	{"body beyond the limit", REQUEST("Content-Length: 8193\r\n"), HTTP_TOO_LARGE},
	{"chunked", REQUEST("Transfer-Encoding: chunked\r\n"), HTTP_CHUNKED},
	{"chunked in capitals", REQUEST("TRANSFER-ENCODING: CHUNKED\r\n"), HTTP_CHUNKED},
	{"chunked and a length", REQUEST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
	 HTTP_CHUNKED},
	{"another coding", REQUEST("Transfer-Encoding: gzip, chunked\r\n"), HTTP_MALFORMED},
	{"identity", REQUEST("Transfer-Encoding: identity\r\n"), HTTP_MALFORMED},
};

#define RESPONSE(status, fields) "HTTP/1.1 " status "\r\n" fields "\r\n"
static const struct head_case responses[] = {
	{"least", RESPONSE("200 OK", ""), HTTP_OK},
	{"no reason", RESPONSE("200 ", ""), HTTP_OK},
	{"no blank either", RESPONSE("200", ""), HTTP_OK},
	{"lowest", RESPONSE("100 x", ""), HTTP_OK},
	{"highest", RESPONSE("599 x", ""), HTTP_OK},
	{"chunked", RESPONSE("200 OK", "Transfer-Encoding: chunked\r\n"), HTTP_OK},
	{"long body", RESPONSE("200 OK", "Content-Length: 100000\r\n"), HTTP_OK},
	{"unfinished", "HTTP/1.1 200 OK\r\n", HTTP_MORE},
	{"99", RESPONSE("099 x", ""), HTTP_MALFORMED},
	{"600", RESPONSE("600 x", ""), HTTP_MALFORMED},
	{"four digits", RESPONSE("0200 OK", ""), HTTP_MALFORMED},
	{"two digits", RESPONSE("20 OK", ""), HTTP_MALFORMED},
	{"no status", RESPONSE("OK", ""), HTTP_MALFORMED},
	{"control character in the reason", RESPONSE("200 O\x01K", ""), HTTP_MALFORMED},
	{"bare LF", "HTTP/1.1 200 OK\n\n", HTTP_MALFORMED},
	{"two lengths", RESPONSE("200 OK", "Content-Length: 5\r\nContent-Length: 6\r\n"),
	 HTTP_MALFORMED},
	{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", HTTP_VERSION},
	{"SSH", "SSH-2.0-x\r\n\r\n", HTTP_VERSION},
};

static void run_heads(const struct head_case *rows, size_t count, read_fn read)
{
	for (size_t i = 0; i < count; i++) {
		enum http_error error = read_exact(read, rows[i].text, strlen(rows[i].text));

		if (error != rows[i].error)
			fail_msg("%s: %s instead of %s", rows[i].name, error_names[error],
				 error_names[rows[i].error]);
	}
}

static void test_requests(void **state)
{
	(void)state;
	run_heads(requests, sizeof(requests) / sizeof(*requests), http_read_request);
}

static void test_responses(void **state)
{
	(void)state;
	run_heads(responses, sizeof(responses) / sizeof(*responses), http_read_response);
}

/* What is complete at its end is incomplete at every byte before. */
static void test_cut_anywhere(void **state)
{
	static const char text[] = REQUEST("Host: a\r\nCookie: webvpn=x\r\nContent-Length: 3\r\n");

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_int_equal(read_exact(http_read_request, text, len), HTTP_MORE);
	assert_int_equal(read_exact(http_read_request, text, sizeof(text) - 1), HTTP_OK);
}

/* A zero byte ends nothing. */
static void test_zero_bytes(void **state)
{
	static const char target[] = "GET /\0 HTTP/1.1\r\n\r\n", name[] = REQUEST("X\0: a\r\n"),
			  value[] = REQUEST("X: a\0b\r\n");

	(void)state;
	assert_int_equal(read_exact(http_read_request, target, sizeof(target) - 1), HTTP_MALFORMED);
	assert_int_equal(read_exact(http_read_request, name, sizeof(name) - 1), HTTP_MALFORMED);
	assert_int_equal(read_exact(http_read_request, value, sizeof(value) - 1), HTTP_MALFORMED);
}

/* A head of len bytes, empty line included, with more behind it. */
static struct buf make_head(const char *first, size_t len, size_t more)
{
	struct buf text = {0};

	buf_print(&text, "%s\r\nX: ", first);
	while (text.len + 4 < len)
		buf_append(&text, "a", 1);
	buf_append(&text, "\r\n\r\n", 4);
	for (size_t i = 0; i < more; i++)
		buf_append(&text, "b", 1);
	return text;
}

static void check_head_size(read_fn read, const char *first, size_t max)
{
	const struct {
		size_t len, more, seen;
		enum http_error error;
	} rows[] = {
		{max - 1, 0, max - 1, HTTP_OK},	       {max, 0, max, HTTP_OK},
		{max, 100, max + 100, HTTP_OK},	       {max, 0, max - 1, HTTP_MORE},
		{max + 1, 0, max + 1, HTTP_TOO_LARGE}, {max + 1, 0, max, HTTP_TOO_LARGE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct buf text = make_head(first, rows[i].len, rows[i].more);
		enum http_error error = read_exact(read, (char *)text.data, rows[i].seen);

		if (error != rows[i].error)
			fail_msg("%s, row %zu: %s", first, i, error_names[error]);
		buf_done(&text);
	}
}

static void test_head_size(void **state)
{
	(void)state;
	check_head_size(http_read_request, "GET / HTTP/1.1", HTTP_HEAD_MAX);
	check_head_size(http_read_response, "HTTP/1.1 200 OK", HTTP_ANSWER_HEAD_MAX);
}

static enum http_error read_fields(read_fn read, const char *first, unsigned count)
{
	struct buf text = {0};
	enum http_error error;

	buf_print(&text, "%s\r\n", first);
	for (unsigned i = 0; i < count; i++)
		buf_print(&text, "X%u: %u\r\n", i, i);
	buf_print(&text, "\r\n");
	error = read_exact(read, (char *)text.data, text.len);
	buf_done(&text);
	return error;
}

static void test_number_of_fields(void **state)
{
	static const struct {
		read_fn read;
		const char *first;
		unsigned max;
	} rows[] = {
		{http_read_request, "GET / HTTP/1.1", HTTP_FIELDS_MAX},
		{http_read_response, "HTTP/1.1 200 OK", HTTP_ANSWER_FIELDS_MAX},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(read_fields(rows[i].read, rows[i].first, rows[i].max), HTTP_OK);
		assert_int_equal(read_fields(rows[i].read, rows[i].first, rows[i].max + 1),
				 HTTP_TOO_LARGE);
	}
}

static void test_parts(void **state)
{
	static const char text[] =
		"POST /a%20b?c HTTP/1.1\r\nHost: \t a b \t\r\nEMPTY:\r\nhost: second\r\n"
		"connection: close\r\nContent-Length: 12\r\n\r\nbody";
	struct http_head head;
	size_t len;

	(void)state;
	assert_int_equal(http_read_request(text, sizeof(text) - 1, &head, &len), HTTP_OK);
	assert_int_equal(len, sizeof(text) - 1 - 4);
	assert_true(http_text_is(head.method, "POST"));
	assert_true(http_text_is(head.target, "/a%20b?c"));
	assert_true(http_text_is(http_field(&head, "HOST"), "a b"));
	assert_true(http_text_is(http_field(&head, "Empty"), ""));
	assert_null(http_field(&head, "absent").at);
	assert_false(http_text_is(http_field(&head, "absent"), ""));
	assert_true(head.close && head.has_length && !head.chunked);
	assert_int_equal(head.content_length, 12);
	assert_int_equal(head.field_count, 5);
	assert_false(http_text_is(head.method, "post"));
	assert_true(http_text_is_nocase(head.method, "post"));
	assert_false(http_text_is_nocase(head.method, "pos"));

	assert_int_equal(http_read_response("HTTP/1.1 401 Not you\r\n\r\n", 24, &head, &len),
			 HTTP_OK);
	assert_int_equal(head.status, 401);
	assert_true(http_text_is(head.reason, "Not you"));
	assert_false(head.has_length || head.close || head.chunked);
}

static const struct number_case {
	const char *text;
	int value; /* -1: none */
} number_cases[] = {
	{"0", 0},   {"7", 7},	{"007", 7},	    {"999999999", 999999999},
	{"", -1},   {"-1", -1}, {"1000000000", -1}, {"1a", -1},
	{" 1", -1}, {"1 ", -1}, {"+1", -1},	    {"/", -1},
	{":", -1},
};

static void test_numbers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(number_cases) / sizeof(*number_cases); i++) {
		const struct number_case *row = &number_cases[i];
		struct http_text text = {row->text, strlen(row->text)};
		unsigned value = 0;
		bool ok = http_text_number(text, &value);

		if (ok != (row->value >= 0) || (ok && value != (unsigned)row->value))
			fail_msg("\"%s\": %d, %u", row->text, ok, value);
	}
}

static void test_copy(void **state)
{
	char room[4] = "zzz";

	(void)state;
	assert_true(http_text_copy((struct http_text){"abc", 3}, room, sizeof(room)));
	assert_string_equal(room, "abc");
	assert_false(http_text_copy((struct http_text){"abcd", 4}, room, sizeof(room)));
	assert_string_equal(room, "abc");
	assert_true(http_text_copy((struct http_text){0}, room, sizeof(room)));
	assert_string_equal(room, "");
}

static const struct cookie_case {
	const char *text, *value; /* NULL: none */
} cookie_cases[] = {
	{REQUEST("Cookie: webvpn=abc\r\n"), "abc"},
	{REQUEST("Cookie: a=1; webvpn=abc; b=2\r\n"), "abc"},
	{REQUEST("Cookie: a=1;webvpn=abc\r\n"), "abc"},
	{REQUEST("Cookie: a=1\r\nCookie: webvpn=abc\r\n"), "abc"},
	{REQUEST("Cookie: webvpn=\r\n"), ""},
	{REQUEST("Cookie: webvpn=a=b\r\n"), "a=b"},
	{REQUEST("Cookie: webvpnc=no; webvpn=abc\r\n"), "abc"},
	{REQUEST("Cookie: xwebvpn=no\r\n"), NULL},
	{REQUEST("Cookie: webvpn\r\n"), NULL},
	{REQUEST("Cookie: WEBVPN=no\r\n"), NULL},
	{REQUEST("Cookie:\r\n"), NULL},
	{REQUEST("Set-Cookie: webvpn=no\r\n"), NULL},
	{REQUEST(""), NULL},
	{RESPONSE("200 OK", "Set-Cookie: webvpn=abc; Secure; HttpOnly\r\n"), "abc"},
	{RESPONSE("200 OK", "Set-Cookie: a=b\r\nSet-Cookie: webvpn=abc\r\n"), "abc"},
	{RESPONSE("200 OK", "Cookie: webvpn=no\r\n"), NULL},
};

static void test_cookies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cookie_cases) / sizeof(*cookie_cases); i++) {
		const struct cookie_case *row = &cookie_cases[i];
		bool is_response = strncmp(row->text, "HTTP/", 5) == 0;
		struct http_text value;
		struct http_head head;
		size_t len;

		assert_int_equal((is_response ? http_read_response
					      : http_read_request)(row->text, strlen(row->text),
								   &head, &len),
				 HTTP_OK);
		value = http_cookie(&head, "webvpn");
		if ((value.at != NULL) != (row->value != NULL) ||
		    (row->value && !http_text_is(value, row->value)))
			fail_msg("%s: \"%.*s\"", row->text, (int)value.len,
				 value.at ? value.at : "");
	}
}

static const struct chunk_case {
	const char *name, *text, *body; /* NULL: none */
	enum http_error error;
} chunk_cases[] = {
	{"none", "0\r\n\r\n", "", HTTP_OK},
	{"one", "5\r\nhello\r\n0\r\n\r\n", "hello", HTTP_OK},
	{"two", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", HTTP_OK},
	{"hexadecimal in both cases", "a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n",
	 "0123456789abcdefghij", HTTP_OK},
	{"leading zeros", "0005\r\nhello\r\n000000\r\n\r\n", "hello", HTTP_OK},
	{"line ends in the data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", HTTP_OK},
	{"more behind", "1\r\na\r\n0\r\n\r\nHTTP", "a", HTTP_OK},
	{"bare LF", "5\nhello\r\n0\r\n\r\n", NULL, HTTP_MALFORMED},
	{"no size", "\r\nhello", NULL, HTTP_MALFORMED},
	{"no digit", "g\r\nhello", NULL, HTTP_MALFORMED},
	{"negative", "-5\r\nhello", NULL, HTTP_MALFORMED},
	{"an extension", "5;a=b\r\nhello\r\n0\r\n\r\n", NULL, HTTP_MALFORMED},
	{"too many digits", "0000005\r\nhello\r\n0\r\n\r\n", NULL, HTTP_MALFORMED},
	{"data longer than said", "4\r\nhello\r\n0\r\n\r\n", NULL, HTTP_MALFORMED},
	{"trailers", "0\r\nX: a\r\n\r\n", NULL, HTTP_MALFORMED},
	{"the second one malformed", "1\r\na\r\nx\r\n0\r\n\r\n", NULL, HTTP_MALFORMED},
	{"16 MiB to come", "ffffff\r\na", NULL, HTTP_MORE},
};

static void test_chunks(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(chunk_cases) / sizeof(*chunk_cases); i++) {
		const struct chunk_case *row = &chunk_cases[i];
		uint8_t *body = (uint8_t *)copy_exact(row->text, strlen(row->text));
		size_t len = 0;
		enum http_error error = http_decode_chunks(body, strlen(row->text), &len);

		if (error != row->error)
			fail_msg("%s: %s", row->name, error_names[error]);
		if (row->body && (len != strlen(row->body) || memcmp(body, row->body, len) != 0))
			fail_msg("%s: \"%.*s\"", row->name, (int)len, (char *)body);
		free(body);
	}
}

/* As it arrives: each attempt but the last says "more" and leaves the bytes for the next. */
static void test_chunks_byte_by_byte(void **state)
{
	static const char text[] = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
	uint8_t body[sizeof(text)];
	size_t got = 0;

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		assert_int_equal(http_decode_chunks(body, len, &got), HTTP_MORE);
		body[len] = (uint8_t)text[len];
	}
	assert_int_equal(http_decode_chunks(body, sizeof(text) - 1, &got), HTTP_OK);
	assert_int_equal(got, 11);
	assert_memory_equal(body, "hello world", 11);
}

static const struct set_cookie_case {
	const char *fields, *value; /* NULL: none */
} set_cookie_cases[] = {
	{"Set-Cookie: webvpn=a; Secure; HttpOnly\r\n", "a"},
	{"set-cookie: webvpn=a==\r\n", "a=="},
	{"Set-Cookie: webvpn=a\r\nSet-Cookie: webvpn=b\r\n", "b"},
	{"Set-Cookie: webvpn=a\r\nSet-Cookie: webvpn=; expires=x\r\n", "a"},
	{"Set-Cookie: webvpn=; expires=x\r\nSet-Cookie: webvpn=b\r\n", "b"},
	{"Set-Cookie: webvpncontext=c\r\nSet-Cookie: webvpnc=d\r\n", NULL},
	{"Set-Cookie: x=1; webvpn=a\r\n", NULL},
	{"Set-Cookie: WEBVPN=a\r\n", NULL},
	{"Set-Cookie: webvpn\r\n", NULL},
	{"Set-Cookie:\r\n", NULL},
	{"Set-Cookie: ;webvpn=a\r\n", NULL},
	{"Cookie: webvpn=a\r\n", NULL},
};

static void test_set_cookies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(set_cookie_cases) / sizeof(*set_cookie_cases); i++) {
		const struct set_cookie_case *row = &set_cookie_cases[i];
		struct buf text = {0};
		struct http_text value;
		struct http_head head;
		size_t len;

		buf_print(&text, "HTTP/1.1 200 OK\r\n%s\r\n", row->fields);
		assert_int_equal(http_read_response((char *)text.data, text.len, &head, &len),
				 HTTP_OK);
		value = http_cookie(&head, "webvpn");
		if (row->value ? !http_text_is(value, row->value) : value.at != NULL)
			fail_msg("%s: \"%.*s\"", row->fields, (int)value.len,
				 value.at ? value.at : "");
		buf_done(&text);
	}
}

/* However it is cut, the end of a head is seen with its last byte, and never before. */
static void test_head_ends(void **state)
{
	static const char *const heads[] = {"HTTP/1.1 200 OK\r\nX: a\r\n\r\n",
					    "HTTP/1.1 200 OK\n\n", "a\r\n\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		size_t whole = strlen(heads[i]);

		for (size_t len = 0; len <= whole; len++) {
			for (size_t from = 0; from < len; from++)
				assert_int_equal(http_head_ends(heads[i], len, from), len == whole);
		}
	}
}

static void test_head_never_ends(void **state)
{
	struct buf text = make_head("HTTP/1.1 200 OK", HTTP_ANSWER_HEAD_MAX + 4, 0);

	(void)state;
	assert_false(http_head_ends((char *)text.data, HTTP_ANSWER_HEAD_MAX - 1, 0));
	assert_true(http_head_ends((char *)text.data, HTTP_ANSWER_HEAD_MAX, 0));
	buf_done(&text);
}

#define LENGTH(n) .has_length = true, .content_length = (n)
static const struct body_case {
	const char *name;
	struct http_head head;
	const char *body;
	bool ended;
	enum http_error error;
	size_t len;
} body_cases[] = {
	{"whole", {LENGTH(3)}, "abc", false, HTTP_OK, 3},
	{"more than whole", {LENGTH(3)}, "abcd", false, HTTP_OK, 3},
	{"not whole", {LENGTH(3)}, "ab", false, HTTP_MORE, 0},
	{"cut", {LENGTH(3)}, "ab", true, HTTP_MORE, 0},
	{"none", {LENGTH(0)}, "", false, HTTP_OK, 0},
	{"largest", {LENGTH(HTTP_ANSWER_BODY_MAX)}, "a", false, HTTP_MORE, 0},
	{"too large", {LENGTH(HTTP_ANSWER_BODY_MAX + 1)}, "a", false, HTTP_TOO_LARGE, 0},
	{"up to the end", {.close = true}, "abc", true, HTTP_OK, 3},
	{"not at the end", {.close = true}, "abc", false, HTTP_MORE, 0},
	{"nothing up to the end", {.close = false}, "", true, HTTP_OK, 0},
	{"chunks", {.chunked = true}, "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", false, HTTP_OK, 3},
	{"chunks win", {LENGTH(99), .chunked = true}, "1\r\na\r\n0\r\n\r\n", false, HTTP_OK, 1},
	{"chunks to come", {.chunked = true}, "1\r\na\r\n", false, HTTP_MORE, 0},
	{"no chunk", {.chunked = true}, "abc", false, HTTP_MORE, 0},
	{"broken chunk", {.chunked = true}, "x\r\n", false, HTTP_MALFORMED, 0},
};

static void test_bodies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(body_cases) / sizeof(*body_cases); i++) {
		const struct body_case *row = &body_cases[i];
		size_t size = strlen(row->body), len = 0;
		uint8_t *body = (uint8_t *)copy_exact(row->body, size);
		enum http_error error = http_read_body(&row->head, body, size, row->ended, &len);

		if (error != row->error || (!error && len != row->len))
			fail_msg("%s: %s, %zu", row->name, error_names[error], len);
		free(body);
	}
}

/* Neither with chunks nor without a length does it grow for ever. */
static void test_endless_bodies(void **state)
{
	static uint8_t body[HTTP_ANSWER_BODY_MAX + 1];
	struct http_head until_end = {0}, chunked = {.chunked = true};
	size_t len;

	(void)state;
	memset(body, '1', sizeof(body));
	assert_int_equal(http_read_body(&until_end, body, sizeof(body) - 1, false, &len),
			 HTTP_MORE);
	assert_int_equal(http_read_body(&until_end, body, sizeof(body), true, &len),
			 HTTP_TOO_LARGE);
	memcpy(body, "fffff\r\n", 7);
	assert_int_equal(http_read_body(&chunked, body, sizeof(body) - 1, false, &len), HTTP_MORE);
	assert_int_equal(http_read_body(&chunked, body, sizeof(body), false, &len), HTTP_TOO_LARGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_zero_bytes),
		cmocka_unit_test(test_head_size),
		cmocka_unit_test(test_number_of_fields),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_set_cookies),
		cmocka_unit_test(test_head_ends),
		cmocka_unit_test(test_head_never_ends),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_endless_bodies),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_chunks_byte_by_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
