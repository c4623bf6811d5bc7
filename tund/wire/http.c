#include "wire/http.h"

#include <string.h>
#include <strings.h>

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct http_text text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (!is_token_char(text.at[i]))
			return false;
	}
	return text.len > 0;
}

/* Field values and targets: printable ASCII, space, tab and bytes above 0x7f. */
static bool is_value(struct http_text text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

bool http_text_is(struct http_text text, const char *word)
{
	return text.at && text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

bool http_text_is_nocase(struct http_text text, const char *word)
{
	return text.at && text.len == strlen(word) && strncasecmp(text.at, word, text.len) == 0;
}

bool http_text_number(struct http_text text, unsigned *ret)
{
	unsigned value = 0;

	if (text.len == 0 || text.len > 9)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text.at[i] - '0');
	}
	*ret = value;
	return true;
}

bool http_text_copy(struct http_text text, char *ret, size_t size)
{
	if (text.len >= size)
		return false;
	if (text.len)
		memcpy(ret, text.at, text.len);
	ret[text.len] = '\0';
	return true;
}

/* Cuts the next CRLF-ended line from rest; false when a bare CR or LF is met. */
static bool take_line(struct http_text *rest, struct http_text *line)
{
	const char *end = memchr(rest->at, '\n', rest->len);
	size_t len;

	if (!end || end == rest->at || end[-1] != '\r')
		return false;
	len = (size_t)(end - rest->at) - 1;
	*line = (struct http_text){rest->at, len};
	if (memchr(line->at, '\r', len))
		return false;
	rest->len -= len + 2;
	rest->at = end + 1;
	return true;
}

/* Cuts up to the first space. */
static struct http_text take_word(struct http_text *line)
{
	const char *space = memchr(line->at, ' ', line->len);
	struct http_text word = {line->at, space ? (size_t)(space - line->at) : line->len};

	line->at += word.len + (space ? 1 : 0);
	line->len -= word.len + (space ? 1 : 0);
	return word;
}

static struct http_text trim(struct http_text text)
{
	while (text.len && (*text.at == ' ' || *text.at == '\t')) {
		text.at++;
		text.len--;
	}
	while (text.len && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
		text.len--;
	return text;
}

static enum http_error read_length(struct http_text value, struct http_head *head)
{
	unsigned length;

	if (!http_text_number(value, &length))
		return HTTP_MALFORMED;
	if (head->has_length && head->content_length != length)
		return HTTP_MALFORMED;
	head->has_length = true;
	head->content_length = length;
	return HTTP_OK;
}

/* What the fields say about the message itself. */
static enum http_error read_framing(const struct http_field *field, struct http_head *head)
{
	if (http_text_is_nocase(field->name, "content-length"))
		return read_length(field->value, head);
	if (http_text_is_nocase(field->name, "transfer-encoding")) {
		if (!http_text_is_nocase(field->value, "chunked"))
			return HTTP_MALFORMED;
		head->chunked = true;
	}
	if (http_text_is_nocase(field->name, "connection") &&
	    http_text_is_nocase(field->value, "close"))
		head->close = true;
	return HTTP_OK;
}

static enum http_error read_field(struct http_text line, struct http_head *head)
{
	const char *colon = memchr(line.at, ':', line.len);
	struct http_field field;

	if (!colon)
		return HTTP_MALFORMED;
	field.name = (struct http_text){line.at, (size_t)(colon - line.at)};
	field.value = trim((struct http_text){colon + 1, line.len - field.name.len - 1});
	if (!is_token(field.name) || !is_value(field.value))
		return HTTP_MALFORMED;
	if (head->field_count == (head->status ? HTTP_ANSWER_FIELDS_MAX : HTTP_FIELDS_MAX))
		return HTTP_TOO_LARGE;
	head->fields[head->field_count++] = field;
	return read_framing(&field, head);
}

/* rest: the lines up to and with the empty one. */
static enum http_error read_fields(struct http_text rest, struct http_head *head)
{
	struct http_text line;
	enum http_error error;

	for (;;) {
		if (!take_line(&rest, &line))
			return HTTP_MALFORMED;
		if (line.len == 0)
			return rest.len ? HTTP_MALFORMED : HTTP_OK;
		error = read_field(line, head);
		if (error)
			return error;
	}
}

/* The head's extent: everything up to the first empty line, however its lines end. */
static enum http_error find_end(const char *text, size_t len, size_t max, size_t *ret_len)
{
	size_t limit = len < max ? len : max;

	for (size_t i = 1; i < limit; i++) {
		if (text[i] != '\n')
			continue;
		if (text[i - 1] == '\n' || (i >= 3 && text[i - 1] == '\r' && text[i - 2] == '\n')) {
			*ret_len = i + 1;
			return HTTP_OK;
		}
	}
	return len >= max ? HTTP_TOO_LARGE : HTTP_MORE;
}

bool http_head_ends(const char *text, size_t len, size_t from)
{
	size_t unused;

	from = from > 3 ? from - 3 : 0; /* the empty line may have begun before */
	return find_end(text + from, len - from, SIZE_MAX, &unused) == HTTP_OK ||
	       len >= HTTP_ANSWER_HEAD_MAX;
}

enum http_error http_read_request(const char *text, size_t len, struct http_head *ret,
				  size_t *ret_len)
{
	struct http_text rest, line;
	enum http_error error;
	size_t head_len;

	memset(ret, 0, offsetof(struct http_head, fields));
	error = find_end(text, len, HTTP_HEAD_MAX, &head_len);
	if (error)
		return error;
	rest = (struct http_text){text, head_len};
	if (!take_line(&rest, &line))
		return HTTP_MALFORMED;
	ret->method = take_word(&line);
	ret->target = take_word(&line);
	if (!is_token(ret->method) || ret->target.len == 0 || !is_value(ret->target))
		return HTTP_MALFORMED;
	if (!http_text_is(line, "HTTP/1.1"))
		return line.len > 5 && memcmp(line.at, "HTTP/", 5) == 0 ? HTTP_VERSION
									: HTTP_MALFORMED;
	error = read_fields(rest, ret);
	if (error)
		return error;
	if (ret->chunked)
		return HTTP_CHUNKED;
	if (ret->content_length > HTTP_BODY_MAX)
		return HTTP_TOO_LARGE;
	*ret_len = head_len;
	return HTTP_OK;
}

enum http_error http_read_response(const char *text, size_t len, struct http_head *ret,
				   size_t *ret_len)
{
	struct http_text rest, line, status;
	enum http_error error;
	size_t head_len;

	memset(ret, 0, offsetof(struct http_head, fields));
	error = find_end(text, len, HTTP_ANSWER_HEAD_MAX, &head_len);
	if (error)
		return error;
	rest = (struct http_text){text, head_len};
	if (!take_line(&rest, &line))
		return HTTP_MALFORMED;
	if (!http_text_is(take_word(&line), "HTTP/1.1"))
		return HTTP_VERSION;
	status = take_word(&line);
	if (status.len != 3 || !http_text_number(status, &ret->status) || ret->status < 100 ||
	    ret->status > 599 || !is_value(line))
		return HTTP_MALFORMED;
	ret->reason = line;
	error = read_fields(rest, ret);
	if (error)
		return error;
	*ret_len = head_len;
	return HTTP_OK;
}

struct http_text http_field(const struct http_head *head, const char *name)
{
	for (size_t i = 0; i < head->field_count; i++) {
		if (http_text_is_nocase(head->fields[i].name, name))
			return head->fields[i].value;
	}
	return (struct http_text){0};
}

/* "a=1; b=2": the value of name, its end cut at the semicolon. */
static struct http_text find_pair(struct http_text list, const char *name)
{
	size_t name_len = strlen(name);

	while (list.len) {
		const char *semicolon = memchr(list.at, ';', list.len);
		size_t len = semicolon ? (size_t)(semicolon - list.at) : list.len;
		struct http_text pair = trim((struct http_text){list.at, len});

		if (pair.len > name_len && memcmp(pair.at, name, name_len) == 0 &&
		    pair.at[name_len] == '=')
			return (struct http_text){pair.at + name_len + 1, pair.len - name_len - 1};
		list.at += len + (semicolon ? 1 : 0);
		list.len -= len + (semicolon ? 1 : 0);
	}
	return (struct http_text){0};
}

/* "a=1; Path=/": the pair alone; what follows describes it. */
static struct http_text first_pair(struct http_text value)
{
	const char *semicolon = value.len ? memchr(value.at, ';', value.len) : NULL;

	if (semicolon)
		value.len = (size_t)(semicolon - value.at);
	return value;
}

static struct http_text find_set_cookie(const struct http_head *head, const char *name)
{
	struct http_text last = {0};

	for (size_t i = 0; i < head->field_count; i++) {
		struct http_text found;

		if (!http_text_is_nocase(head->fields[i].name, "set-cookie"))
			continue;
		found = find_pair(first_pair(head->fields[i].value), name);
		if (found.len)
			last = found;
	}
	return last;
}

struct http_text http_cookie(const struct http_head *head, const char *name)
{
	if (head->status)
		return find_set_cookie(head, name);
	for (size_t i = 0; i < head->field_count; i++) {
		struct http_text found = {0};

		if (http_text_is_nocase(head->fields[i].name, "cookie"))
			found = find_pair(head->fields[i].value, name);
		if (found.at)
			return found;
	}
	return (struct http_text){0};
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "1a\r\n": the size, and how many bytes the line has; 0 when it is not complete, -1 when
 * malformed. */
static int read_chunk_size(const uint8_t *at, size_t len, size_t *ret_size)
{
	size_t size = 0, i = 0;

	for (; i < len && i < 6 && hex_digit(at[i]) >= 0; i++)
		size = size * 16 + (size_t)hex_digit(at[i]);
	if (i + 2 > len)
		return 0;
	if (i == 0 || at[i] != '\r' || at[i + 1] != '\n')
		return -1;
	*ret_size = size;
	return (int)i + 2;
}

/* The chunk at the start: how many bytes it takes, and where its data stands in it. */
static enum http_error read_chunk(const uint8_t *at, size_t len, size_t *ret_data, size_t *ret_size,
				  size_t *ret_len)
{
	size_t size;
	int line = read_chunk_size(at, len, &size);
	const uint8_t *end;

	if (line < 0)
		return HTTP_MALFORMED;
	if (line == 0 || len - (size_t)line < size + 2)
		return HTTP_MORE;
	end = at + line + size;
	if (end[0] != '\r' || end[1] != '\n')
		return HTTP_MALFORMED;
	*ret_data = (size_t)line;
	*ret_size = size;
	*ret_len = (size_t)line + size + 2;
	return HTTP_OK;
}

/* Whether all chunks are there, up to the empty one. */
static enum http_error check_chunks(const uint8_t *body, size_t len)
{
	size_t data, size = 1, chunk;

	for (size_t from = 0; size; from += chunk) {
		enum http_error error = read_chunk(body + from, len - from, &data, &size, &chunk);

		if (error)
			return error;
	}
	return HTTP_OK;
}

/* Looks first and moves then: a body that is not complete stays as it came, for the next attempt.
 */
enum http_error http_decode_chunks(uint8_t *body, size_t len, size_t *ret_len)
{
	size_t to = 0, data, size = 1, chunk;
	enum http_error error = check_chunks(body, len);

	if (error)
		return error;
	for (size_t from = 0; size; from += chunk) {
		read_chunk(body + from, len - from, &data, &size, &chunk);
		memmove(body + to, body + from + data, size);
		to += size;
	}
	*ret_len = to;
	return HTTP_OK;
}

enum http_error http_read_body(const struct http_head *head, uint8_t *body, size_t len, bool ended,
			       size_t *ret_len)
{
	enum http_error error;

	if (head->chunked) {
		error = http_decode_chunks(body, len, ret_len);
		return error == HTTP_MORE && len > HTTP_ANSWER_BODY_MAX ? HTTP_TOO_LARGE : error;
	}
	*ret_len = head->has_length ? head->content_length : len;
	if (*ret_len > HTTP_ANSWER_BODY_MAX)
		return HTTP_TOO_LARGE;
	if (head->has_length)
		return len >= head->content_length ? HTTP_OK : HTTP_MORE;
	return ended ? HTTP_OK : HTTP_MORE;
}
