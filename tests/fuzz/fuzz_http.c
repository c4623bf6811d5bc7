/* wire/http: the head of a request and of a response, cookies, chunks. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct http_text text, const char *from, size_t len)
{
	if (text.at)
		assert(text.at >= from && text.at + text.len <= from + len);
	for (size_t i = 0; i < text.len; i++)
		assert(text.at[i] != '\r' && text.at[i] != '\n' && text.at[i] != '\0');
}

static void check_head(const struct http_head *head, const char *text, size_t len)
{
	char room[64];

	assert(head->field_count <= (head->status ? HTTP_ANSWER_FIELDS_MAX : HTTP_FIELDS_MAX));
	assert(len >= 4 && len <= (head->status ? HTTP_ANSWER_HEAD_MAX : HTTP_HEAD_MAX));
	assert(memcmp(text + len - 4, "\r\n\r\n", 4) == 0);
	for (size_t i = 0; i < head->field_count; i++) {
		unsigned number;

		check_text(head->fields[i].name, text, len);
		check_text(head->fields[i].value, text, len);
		assert(head->fields[i].name.len > 0);
		http_text_number(head->fields[i].value, &number);
		if (http_text_copy(head->fields[i].value, room, sizeof(room)))
			assert(strlen(room) == head->fields[i].value.len);
	}
	check_text(http_cookie(head, "webvpn"), text, len);
	check_text(http_field(head, "host"), text, len);
}

static void check_request(const char *text, size_t size)
{
	struct http_head head;
	size_t len;

	if (http_read_request(text, size, &head, &len) != HTTP_OK)
		return;
	assert(len <= size && !head.chunked && head.content_length <= HTTP_BODY_MAX);
	check_text(head.method, text, len);
	check_text(head.target, text, len);
	check_head(&head, text, len);
}

/* Of exactly its size; whole or not, it never claims more than is there. */
static void check_body(const struct http_head *head, const char *text, size_t size)
{
	for (int ended = 0; ended < 2; ended++) {
		uint8_t *body = malloc(size ? size : 1);
		size_t len;

		assert(body);
		memcpy(body, text, size);
		if (http_read_body(head, body, size, ended, &len) == HTTP_OK)
			assert(len <= size && len <= HTTP_ANSWER_BODY_MAX);
		free(body);
	}
}

static void check_response(const char *text, size_t size)
{
	struct http_head head;
	size_t len;

	if (http_read_response(text, size, &head, &len) != HTTP_OK)
		return;
	assert(http_head_ends(text, size, 0) && http_head_ends(text, len, len - 1));
	check_body(&head, text + len, size - len);
	assert(len <= size && head.status >= 100 && head.status <= 599);
	check_text(head.reason, text, len);
	check_head(&head, text, len);
}

/* What is not complete stays as it came. */
static void check_chunks(const uint8_t *data, size_t size)
{
	uint8_t *body = malloc(size ? size : 1);
	size_t len;

	assert(body);
	memcpy(body, data, size);
	if (http_decode_chunks(body, size, &len) == HTTP_OK)
		assert(len < size);
	else
		assert(memcmp(body, data, size) == 0);
	free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_request((const char *)data, size);
	check_response((const char *)data, size);
	check_chunks(data, size);
	return 0;
}
