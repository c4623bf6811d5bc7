/* The first line is the verdict; then whom the certificate names, and what it may reach until
 * when. */
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "certificates.h"
#include "commands.h"
#include "field.h"
#include "reply.h"
#include "table.h"
#include "units.h"
#include "wire/ctl_msg.h"

static void print_verdict(const json_t *reply)
{
	_cleanup_free_ char *identity = field_text(reply, "identity");
	_cleanup_free_ char *kind = field_text(reply, "identity_kind");
	_cleanup_free_ char *reason = field_text(reply, "reason");
	_cleanup_free_ char *text = field_text(reply, "text");
	_cleanup_free_ char *role = field_text(reply, "role");
	bool named = field_is_there(reply, "identity");

	if (json_is_true(json_object_get(reply, "accepted")))
		printf("accepted as a %s: %s (%s)\n", role, identity, kind);
	else
		printf("refused as a %s: %s: %s\n", role, reason, text);
	table_entry("advice", field_text(reply, "advice"));
	if (named && !json_is_true(json_object_get(reply, "accepted")))
		table_entry("identity", xalloc_print("%s (%s)", identity, kind));
	table_entry("peer name", field_text(reply, "peer_name"));
}

/* A list's end matters only where it comes before the certificates'. */
static char *describe_until(const json_t *reply)
{
	_cleanup_free_ char *until = field_until(reply, "until_at", clock_wall());

	if (!field_is(reply, "until_reason", "crl-expired"))
		return xalloc_string(until);
	return xalloc_print("%s, unless a revocation list is renewed before", until);
}

static char *describe_link(const json_t *certificate)
{
	_cleanup_free_ char *subject = field_text(certificate, "subject");
	_cleanup_free_ char *serial = field_text(certificate, "serial");
	_cleanup_free_ char *kind = field_text(certificate, "kind");
	_cleanup_free_ char *until = field_until(certificate, "expires_at", clock_wall());

	return xalloc_print("%s, %s, serial %s, until %s", subject, kind, serial, until);
}

static void print_certificates(const json_t *reply)
{
	const json_t *chain = json_object_get(reply, "chain"), *certificate;
	size_t i;

	json_array_foreach(chain, i, certificate)
		table_entry(i == 0 ? "chain" : "", describe_link(certificate));
	if (json_array_size(chain))
		return;
	table_entry("subject", field_text(reply, "subject"));
	table_entry("issuer", field_text(reply, "issuer"));
	table_entry("serial", field_text(reply, "serial"));
}

static void print_block(const json_t *block)
{
	_cleanup_free_ char *kind = field_text(block, "kind");
	_cleanup_free_ char *title = field_text(block, "title");

	printf("%s \"%s\"\n", kind, title);
	reply_list("may open", block, "allow");
	reply_list("may accept", block, "accept");
	reply_list("routes", block, "routes");
	reply_list("networks", block, "networks");
	reply_list("address", block, "addresses");
}

static void print_rest(const json_t *reply)
{
	const json_t *blocks = json_object_get(reply, "blocks"), *block;
	size_t i;

	if (json_is_true(json_object_get(reply, "accepted")))
		table_entry("until", describe_until(reply));
	print_certificates(reply);
	if (json_array_size(blocks))
		reply_list("routes", reply, "routes");
	json_array_foreach(blocks, i, block) print_block(block);
}

static void render_now(const json_t *reply)
{
	print_verdict(reply);
	print_rest(reply);
}

static void render_at(const json_t *reply)
{
	print_verdict(reply);
	table_entry("as of", field_until(reply, "at", clock_wall()));
	print_rest(reply);
}

/* An absolute time, or one from now: "+30d", "-12h". */
static bool read_time(const char *text, time_t now, time_t *ret)
{
	int64_t duration_s;

	if (*text != '+' && *text != '-')
		return clock_parse(text, ret);
	if (!units_parse_duration(text + 1, &duration_s))
		return false;
	*ret = now + (time_t)(*text == '+' ? duration_s : -duration_s);
	return true;
}

static json_t *check_role(const char *role)
{
	if (!role || strcmp(role, "device") == 0 || strcmp(role, "gateway") == 0)
		return NULL;
	return ctl_msg_error(CTL_EXIT_USAGE, "--as takes device or gateway");
}

/* NULL, or an error; ret_at is "" where no time was asked for. */
static json_t *check_time(const char *asked, char ret_at[static CLOCK_TEXT])
{
	time_t at, parsed;

	ret_at[0] = '\0';
	if (!asked)
		return NULL;
	/* The daemon is told a year of four digits only. */
	if (read_time(asked, clock_wall(), &at) && clock_parse(clock_print(at, ret_at), &parsed))
		return NULL;
	return ctl_msg_error(CTL_EXIT_USAGE, "--at takes a time like 2027-01-31T12:00:00Z, or one "
					     "from now like +30d, +12h or -90s");
}

int verify_main(const struct arguments *arguments)
{
	json_t *certificates = NULL, *request, *error = check_role(arguments->role);
	char at[CLOCK_TEXT];

	if (!error)
		error = check_time(arguments->at, at);
	if (!error)
		error = certificates_read(arguments->words[1], &certificates);
	if (error)
		return ask_fail(arguments, error);
	request = json_pack("{s:s, s:o}", "command", "verify", "certificates", certificates);
	if (arguments->role)
		json_object_set_new(request, "role", json_string(arguments->role));
	if (arguments->at)
		json_object_set_new(request, "at", json_string(at));
	return ask_run(arguments, request, false, arguments->at ? render_at : render_now);
}
