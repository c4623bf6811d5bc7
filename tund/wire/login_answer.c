#include "wire/login_answer.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"

struct piece {
	const char *at;
	size_t len;
};

enum token_kind { TOKEN_OPEN, TOKEN_CLOSE, TOKEN_SINGLE, TOKEN_TEXT, TOKEN_END, TOKEN_BAD };

struct token {
	enum token_kind kind;
	struct piece name;  /* of an element */
	struct piece inner; /* its attributes; or the text */
};

struct reader {
	struct piece rest;
	struct piece open[LOGIN_ANSWER_DEPTH]; /* names, outermost first */
	size_t depth;
	bool has_root, is_form, is_success, has_error, has_message;
	bool bad_token;
	char error[LOGIN_ANSWER_TEXT], message[LOGIN_ANSWER_TEXT];
	char token[LOGIN_ANSWER_TOKEN];
};

static bool piece_is(struct piece piece, const char *word)
{
	return piece.len == strlen(word) && memcmp(piece.at, word, piece.len) == 0;
}

static bool starts_with(struct piece piece, const char *word)
{
	return piece.len >= strlen(word) && memcmp(piece.at, word, strlen(word)) == 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct piece trim(struct piece piece)
{
	while (piece.len && is_blank(*piece.at)) {
		piece.at++;
		piece.len--;
	}
	while (piece.len && is_blank(piece.at[piece.len - 1]))
		piece.len--;
	return piece;
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_' || c == '.' || c == ':';
}

static struct piece take_name(struct piece *from)
{
	struct piece name = {from->at, 0};

	while (name.len < from->len && is_name_char(name.at[name.len]))
		name.len++;
	from->at += name.len;
	from->len -= name.len;
	return name;
}

static void skip(struct piece *from, size_t len)
{
	from->at += len;
	from->len -= len;
}

/* ---- tokens ---- */

/* Up to and with end. */
static bool skip_past(struct reader *reader, const char *end)
{
	const char *found = memmem(reader->rest.at, reader->rest.len, end, strlen(end));

	if (!found)
		return false;
	skip(&reader->rest, (size_t)(found - reader->rest.at) + strlen(end));
	return true;
}

/* Where a tag ends: a ">" outside of quotes; 0 when there is none. */
static size_t find_tag_end(struct piece tag)
{
	char quote = '\0';

	for (size_t i = 1; i < tag.len; i++) {
		char c = tag.at[i];

		if (c == '<') /* not even between quotes */
			return 0;
		if (quote)
			quote = c == quote ? '\0' : quote;
		else if (c == '"' || c == '\'')
			quote = c;
		else if (c == '>')
			return i;
	}
	return 0;
}

static struct token take_tag(struct reader *reader)
{
	size_t end = find_tag_end(reader->rest);
	struct piece inside = {reader->rest.at + 1, end - 1};
	struct token token = {.kind = TOKEN_OPEN};

	if (end < 2)
		return (struct token){.kind = TOKEN_BAD};
	skip(&reader->rest, end + 1);
	if (inside.at[0] == '/') {
		token.kind = TOKEN_CLOSE;
		skip(&inside, 1);
	} else if (inside.at[inside.len - 1] == '/') {
		token.kind = TOKEN_SINGLE;
		inside.len--;
	}
	token.name = take_name(&inside);
	token.inner = trim(inside);
	if (!token.name.len || (inside.len && !is_blank(inside.at[0])) ||
	    (token.kind == TOKEN_CLOSE && token.inner.len))
		token.kind = TOKEN_BAD;
	return token;
}

static struct token take_text(struct reader *reader)
{
	const char *end = memchr(reader->rest.at, '<', reader->rest.len);
	size_t len = end ? (size_t)(end - reader->rest.at) : reader->rest.len;
	struct token token = {.kind = TOKEN_TEXT,
			      .inner = trim((struct piece){reader->rest.at, len})};

	skip(&reader->rest, len);
	return token;
}

/* Past what says nothing here; false when it does not end. */
static bool skip_silent(struct reader *reader)
{
	static const char *const silent[][2] = {{"<!--", "-->"},
						{"<![CDATA[", "]]>"},
						{"<?", "?>"},
						{"<!", ">"}};

	for (size_t i = 0; i < sizeof(silent) / sizeof(*silent); i++) {
		if (!starts_with(reader->rest, silent[i][0]))
			continue;
		if (!skip_past(reader, silent[i][1]))
			return false;
		i = SIZE_MAX; /* and what follows it, from the first row on */
	}
	return true;
}

static struct token next_token(struct reader *reader)
{
	if (!skip_silent(reader))
		return (struct token){.kind = TOKEN_BAD};
	if (reader->rest.len == 0)
		return (struct token){.kind = TOKEN_END};
	return reader->rest.at[0] == '<' ? take_tag(reader) : take_text(reader);
}

/* ---- what they say ---- */

/* The value of an attribute; false when the attributes do not parse. */
static bool find_attribute(struct piece attributes, const char *name, struct piece *ret)
{
	*ret = (struct piece){0};
	while (attributes.len) {
		struct piece found = take_name(&attributes), value;
		const char *end;

		attributes = trim(attributes);
		if (!found.len || attributes.len < 2 || attributes.at[0] != '=')
			return false;
		skip(&attributes, 1);
		attributes = trim(attributes);
		if (attributes.len < 2 || (attributes.at[0] != '"' && attributes.at[0] != '\''))
			return false;
		end = memchr(attributes.at + 1, attributes.at[0], attributes.len - 1);
		if (!end)
			return false;
		value = (struct piece){attributes.at + 1, (size_t)(end - attributes.at) - 1};
		skip(&attributes, value.len + 2);
		attributes = trim(attributes);
		if (piece_is(found, name))
			*ret = value;
	}
	return true;
}

/* "&amp;" and its like at the start of text: how many bytes it takes, 0 when it is none. */
static size_t read_reference(struct piece text, char *ret)
{
	static const struct {
		const char *text;
		char c;
	} known[] = {
		{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (starts_with(text, known[i].text)) {
			*ret = known[i].c;
			return strlen(known[i].text);
		}
	}
	return 0;
}

/* A gateway's words, cut to fit and escaped. */
static void copy_words(struct piece text, char ret[static LOGIN_ANSWER_TEXT])
{
	char plain[LOGIN_ANSWER_TEXT];
	size_t len = 0;

	while (text.len && len < sizeof(plain)) {
		size_t taken = read_reference(text, &plain[len]);

		if (!taken) {
			plain[len] = *text.at;
			taken = 1;
		}
		len++;
		skip(&text, taken);
	}
	log_escape(plain, len, ret, LOGIN_ANSWER_TEXT);
}

/* It goes into a header field of ours: nothing that could end one, or the value. */
static void take_session_token(struct reader *reader, struct piece text)
{
	if (text.len >= sizeof(reader->token))
		reader->bad_token = true;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] <= ' ' || text.at[i] >= 0x7f || strchr(";,&", text.at[i]))
			reader->bad_token = true;
	}
	if (reader->bad_token)
		return;
	memcpy(reader->token, text.at, text.len);
	reader->token[text.len] = '\0';
}

static void take_words(struct reader *reader, struct piece text)
{
	struct piece in = reader->depth ? reader->open[reader->depth - 1] : (struct piece){0};

	if (!in.len || !text.len)
		return;
	if (piece_is(in, "error"))
		copy_words(text, reader->error);
	else if (piece_is(in, "message"))
		copy_words(text, reader->message);
	else if (piece_is(in, "session-token") && reader->depth == 2)
		take_session_token(reader, text);
}

/* <auth> counts as the root, or right below <config-auth>. */
static bool take_element(struct reader *reader, const struct token *token)
{
	bool is_auth = piece_is(token->name, "auth");
	struct piece id;

	if (!find_attribute(token->inner, "id", &id))
		return false;
	if (reader->depth == 0) {
		if (reader->has_root)
			return false;
		reader->has_root = is_auth || piece_is(token->name, "config-auth");
		if (!reader->has_root)
			return true;
	}
	if (is_auth && (reader->depth == 0 ||
			(reader->depth == 1 && piece_is(reader->open[0], "config-auth")))) {
		reader->is_success = piece_is(id, "success");
		reader->is_form = !reader->is_success;
	}
	if (piece_is(token->name, "form") || piece_is(token->name, "client-cert-request"))
		reader->is_form = true;
	if (piece_is(token->name, "error"))
		reader->has_error = true;
	return true;
}

static bool open_element(struct reader *reader, const struct token *token)
{
	if (!take_element(reader, token) || reader->depth == LOGIN_ANSWER_DEPTH)
		return false;
	if (token->kind == TOKEN_OPEN)
		reader->open[reader->depth++] = token->name;
	return true;
}

static bool close_element(struct reader *reader, const struct token *token)
{
	struct piece open;

	if (reader->depth == 0)
		return false;
	open = reader->open[--reader->depth];
	return open.len == token->name.len && memcmp(open.at, token->name.at, open.len) == 0;
}

/* False when it is not well-formed. */
static bool read_document(struct reader *reader)
{
	for (;;) {
		struct token token = next_token(reader);

		switch (token.kind) {
		case TOKEN_OPEN:
		case TOKEN_SINGLE:
			if (!open_element(reader, &token))
				return false;
			break;
		case TOKEN_CLOSE:
			if (!close_element(reader, &token))
				return false;
			break;
		case TOKEN_TEXT:
			if (token.inner.len && reader->depth == 0)
				return false;
			take_words(reader, token.inner);
			break;
		case TOKEN_END:
			return reader->depth == 0;
		case TOKEN_BAD:
			return false;
		}
	}
}

static enum login_verdict judge(const struct reader *reader)
{
	if (!reader->has_root)
		return LOGIN_NO_ANSWER;
	if (reader->has_error)
		return LOGIN_REFUSED;
	if (reader->is_success)
		return reader->bad_token ? LOGIN_MALFORMED : LOGIN_SUCCESS;
	if (reader->is_form)
		return LOGIN_FORM;
	return LOGIN_NO_ANSWER;
}

void login_answer_read(const char *text, size_t len, struct login_answer *ret)
{
	struct reader reader = {.rest = {text, len}};

	*ret = (struct login_answer){.verdict = LOGIN_MALFORMED};
	if (memchr(text, '\0', len) || !read_document(&reader)) {
		explicit_bzero(&reader, sizeof(reader));
		return;
	}
	ret->verdict = judge(&reader);
	memcpy(ret->said, reader.error[0] ? reader.error : reader.message, sizeof(ret->said));
	if (ret->verdict == LOGIN_SUCCESS)
		memcpy(ret->token, reader.token, sizeof(ret->token));
	explicit_bzero(&reader, sizeof(reader));
}
