#include "selector.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "field.h"
#include "file.h"
#include "units.h"
#include "wire/ctl_msg.h"

enum { FILE_MAX = 64 * 1024 };

static const char begin_mark[] = "-----BEGIN CERTIFICATE-----";
static const char end_mark[] = "-----END CERTIFICATE-----";

/* ---- the file ---- */

/* The first certificate alone: what else is in the file (a chain, a key) is none of the daemon's
 * business. *ret is NULL before. */
static json_t *cut_certificate(const char *path, const struct buf *file, json_t **ret)
{
	const char *begin = memmem(file->data, file->len, begin_mark, strlen(begin_mark));
	size_t left = begin ? file->len - (size_t)(begin - (const char *)file->data) : 0;
	const char *end = begin ? memmem(begin, left, end_mark, strlen(end_mark)) : NULL;
	size_t len;

	if (!end)
		return ctl_msg_error(CTL_EXIT_USAGE, "%s: no certificate in PEM form", path);
	len = (size_t)(end - begin) + strlen(end_mark);
	if (!memchr(begin, 0, len))
		*ret = json_sprintf("%.*s\n", (int)len, begin);
	return *ret ? NULL : ctl_msg_error(CTL_EXIT_USAGE, "%s: a damaged certificate", path);
}

static json_t *read_certificate(const char *path, json_t **ret)
{
	_cleanup_(buf_done) struct buf file = {.limit = FILE_MAX + 4096};
	int r = file_read(path, &file);

	if (r < 0)
		return ctl_msg_error(CTL_EXIT_USAGE, "%s: %s", path, strerror(-r));
	return cut_certificate(path, &file, ret);
}

/* ---- the request ---- */

static json_t *name_selector(const struct arguments *arguments, json_t *request)
{
	json_t *certificate = NULL, *error = NULL;

	if (arguments->word_count > 1)
		json_object_set_new(request, "name", json_string(arguments->words[1]));
	if (arguments->serial)
		json_object_set_new(request, "serial", json_string(arguments->serial));
	if (arguments->issuer)
		json_object_set_new(request, "issuer", json_string(arguments->issuer));
	if (arguments->reason)
		json_object_set_new(request, "reason", json_string(arguments->reason));
	if (arguments->certificate)
		error = read_certificate(arguments->certificate, &certificate);
	if (certificate)
		json_object_set_new(request, "certificate", certificate);
	return error;
}

/* An argument that is not UTF-8 has no JSON. */
static bool is_complete(const struct arguments *arguments, const json_t *request)
{
	size_t given = 1u + (arguments->word_count > 1) + (arguments->serial != NULL) +
		       (arguments->issuer != NULL) + (arguments->reason != NULL) +
		       (arguments->certificate != NULL);

	return json_object_size(request) == given;
}

json_t *selector_request(const struct arguments *arguments, const char *command, json_t **ret)
{
	int ways = (arguments->word_count > 1) + (arguments->serial != NULL) +
		   (arguments->certificate != NULL);
	json_t *request, *error;

	if (ways != 1)
		return ctl_msg_error(CTL_EXIT_USAGE,
				     "say whose, in one way: NAME, --serial or --certificate");
	if (arguments->issuer && !arguments->serial)
		return ctl_msg_error(CTL_EXIT_USAGE, "--issuer goes with --serial");
	request = json_pack("{s:s}", "command", command);
	error = name_selector(arguments, request);
	if (!error && !is_complete(arguments, request))
		error = ctl_msg_error(CTL_EXIT_USAGE, "the arguments are not UTF-8");
	if (error)
		json_decref(request);
	else
		*ret = request;
	return error;
}

/* ---- the answer ---- */

void selector_print(const char *word, const json_t *certificates)
{
	const json_t *certificate;
	size_t i;

	json_array_foreach(certificates, i, certificate)
	{
		_cleanup_free_ char *identity = field_text(certificate, "identity");
		_cleanup_free_ char *subject = field_text(certificate, "subject");
		_cleanup_free_ char *issuer = field_text(certificate, "issuer");
		_cleanup_free_ char *serial = field_text(certificate, "serial");

		printf("%s %s: %s, serial %s, issued by %s\n", word, identity, subject, serial,
		       issuer);
	}
}

void selector_print_durable(const json_t *reply)
{
	const json_t *durable = json_object_get(reply, "durable");
	_cleanup_free_ char *error = field_text(reply, "error");
	char took[UNITS_TEXT];

	if (json_is_true(durable))
		printf("durable after %s\n",
		       units_took(json_number_value(json_object_get(reply, "took_s")), took));
	else if (json_is_false(durable))
		printf("NOT durable: %s; in force until tund restarts, so mend this and run it "
		       "again\n",
		       error);
}
