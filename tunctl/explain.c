/* The first line is what happened and why; then between whom, which certificate is at fault, and
 * what to do. */
#include <stdio.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "commands.h"
#include "field.h"
#include "table.h"

static const char *describe_end(const json_t *reply)
{
	if (field_is(reply, "refused_by", "us"))
		return "refused here";
	return field_is(reply, "refused_by", "peer") ? "refused by the other end" : "broken off";
}

static char *describe_certificate(const json_t *reply)
{
	_cleanup_free_ char *subject = field_text(reply, "subject");
	_cleanup_free_ char *serial = field_text(reply, "serial");

	if (!field_is_there(reply, "serial"))
		return xalloc_string("");
	return xalloc_print("%s, serial %s%s", subject, serial,
			    field_is(reply, "certificate_of", "us") ? ", ours" : "");
}

static void render_explain(const json_t *reply)
{
	_cleanup_free_ char *reason = field_text(reply, "reason");
	_cleanup_free_ char *text = field_text(reply, "text");

	printf("%s: %s: %s\n", describe_end(reply), reason, text);
	table_entry("handshake", field_text(reply, "handshake_id"));
	table_entry("at", field_since(reply, "refused_at", clock_wall()));
	table_entry("gateway", field_text(reply, "gateway"));
	table_entry("peer", field_text(reply, "peer_address"));
	table_entry("identity", field_text(reply, "identity"));
	table_entry("certificate", describe_certificate(reply));
	table_entry("issued by", field_text(reply, "issuer"));
	table_entry("advice", field_text(reply, "advice"));
}

int explain_main(const struct arguments *arguments)
{
	return ask_run(arguments,
		       json_pack("{s:s, s:s}", "command", "explain", "id", arguments->words[1]),
		       false, render_explain);
}
