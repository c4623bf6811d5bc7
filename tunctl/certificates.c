#include "certificates.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "file.h"
#include "wire/ctl_msg.h"

enum { FILE_MAX = 48 * 1024, BASE64_LINE = 64 };

static const char begin_mark[] = "-----BEGIN ", end_mark[] = "-----END ", dashes[] = "-----";

/* ---- PEM ---- */

struct block { /* borrowed */
	const char *begin, *label;
	size_t len, label_len; /* of all of it, from BEGIN to the dashes behind END */
};

/* The next block from *at on, which moves behind it. False: there is none. A block that does not
 * end has len 0. */
static bool find_block(const char **at, const char *end, struct block *ret)
{
	const char *begin = memmem(*at, (size_t)(end - *at), begin_mark, strlen(begin_mark));
	const char *label = begin ? begin + strlen(begin_mark) : end;
	const char *label_end = memmem(label, (size_t)(end - label), dashes, strlen(dashes));
	const char *close;

	if (!begin)
		return false;
	*ret = (struct block){begin, label, 0, label_end ? (size_t)(label_end - label) : 0};
	*at = end;
	if (!label_end)
		return true;
	label_end += strlen(dashes);
	close = memmem(label_end, (size_t)(end - label_end), end_mark, strlen(end_mark));
	close = close ? close + strlen(end_mark) : NULL;
	close = close ? memmem(close, (size_t)(end - close), dashes, strlen(dashes)) : NULL;
	if (!close)
		return true;
	*at = close + strlen(dashes);
	ret->len = (size_t)(*at - begin);
	return true;
}

static bool is_labelled(const struct block *block, const char *label)
{
	return block->label_len == strlen(label) &&
	       memcmp(block->label, label, block->label_len) == 0;
}

static json_t *refuse_block(const char *path, const struct block *block)
{
	int len = block->label_len < 40 ? (int)block->label_len : 40;

	if (block->len == 0)
		return ctl_msg_error(CTL_EXIT_USAGE, "%s: a block in it does not end", path);
	return ctl_msg_error(CTL_EXIT_USAGE, "%s: a block \"%.*s\" where only certificates belong",
			     path, len, block->label);
}

static json_t *parse_pem(const char *path, const struct buf *file, json_t *certificates)
{
	const char *at = (const char *)file->data, *end = at + file->len;
	struct block block;

	while (find_block(&at, end, &block)) {
		json_t *text = NULL;

		if (block.len == 0 || !is_labelled(&block, "CERTIFICATE"))
			return refuse_block(path, &block);
		if (!memchr(block.begin, 0, block.len))
			text = json_sprintf("%.*s\n", (int)block.len, block.begin);
		if (!text)
			return ctl_msg_error(CTL_EXIT_USAGE, "%s: a damaged certificate", path);
		json_array_append_new(certificates, text);
	}
	return NULL;
}

/* ---- DER ---- */

/* The inside of a DER element with this tag, at the front of *inner; false: it is none. */
static bool enter(struct span *inner, uint8_t tag)
{
	uint8_t len;

	if (span_u8(inner) != tag || inner->failed)
		return false;
	len = span_u8(inner);
	if (len & 0x80)
		span_bytes(inner, len & 0x7f);
	return !inner->failed;
}

/* A certificate begins with two sequences and its version, or its serial number where it has none;
 * keys and their envelopes do not. */
static bool is_certificate(const struct buf *file)
{
	struct span inner = {.data = file->data, .len = file->len};
	uint8_t tag;

	if (!enter(&inner, 0x30) || !enter(&inner, 0x30))
		return false;
	tag = span_u8(&inner);
	return !inner.failed && (tag == 0xa0 || tag == 0x02);
}

static void append_base64(struct buf *out, const uint8_t *bytes, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		size_t rest = len - i;
		uint32_t group = (uint32_t)bytes[i] << 16 |
				 (rest > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
				 (rest > 2 ? bytes[i + 2] : 0);

		buf_u8(out, (uint8_t)digits[group >> 18]);
		buf_u8(out, (uint8_t)digits[group >> 12 & 63]);
		buf_u8(out, rest > 1 ? (uint8_t)digits[group >> 6 & 63] : '=');
		buf_u8(out, rest > 2 ? (uint8_t)digits[group & 63] : '=');
		if ((i / 3 + 1) % (BASE64_LINE / 4) == 0)
			buf_u8(out, '\n');
	}
}

static void parse_der(const struct buf *file, json_t *certificates)
{
	_cleanup_(buf_done) struct buf pem = {0};

	buf_print(&pem, "-----BEGIN CERTIFICATE-----\n");
	append_base64(&pem, file->data, file->len);
	buf_print(&pem, "\n-----END CERTIFICATE-----\n");
	json_array_append_new(certificates, json_stringn((const char *)pem.data, pem.len));
}

/* ---- a file ---- */

static json_t *parse(const char *path, const struct buf *file, json_t *certificates)
{
	json_t *error;

	if (file->len && memmem(file->data, file->len, "PRIVATE KEY", 11))
		return ctl_msg_error(CTL_EXIT_USAGE,
				     "%s: a private key is in it, so nothing was sent; put the "
				     "certificate into a file of its own",
				     path);
	if (is_certificate(file)) {
		parse_der(file, certificates);
		return NULL;
	}
	error = file->len ? parse_pem(path, file, certificates) : NULL;
	if (error || json_array_size(certificates))
		return error;
	return ctl_msg_error(CTL_EXIT_USAGE, "%s: no certificate in it, neither PEM nor DER", path);
}

json_t *certificates_parse(const char *path, const struct buf *file, json_t **ret)
{
	json_t *certificates = json_array(), *error = parse(path, file, certificates);

	if (error)
		json_decref(certificates);
	else
		*ret = certificates;
	return error;
}

json_t *certificates_read(const char *path, json_t **ret)
{
	_cleanup_(buf_wipe) struct buf file = {.limit = FILE_MAX + 4096};
	int r = file_read(path, &file);

	if (r < 0)
		return ctl_msg_error(CTL_EXIT_USAGE, "%s: %s", path, strerror(-r));
	return certificates_parse(path, &file, ret);
}
