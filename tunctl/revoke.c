#include <stdio.h>

#include "ask.h"
#include "base/cleanup.h"
#include "commands.h"
#include "field.h"
#include "selector.h"

static void print_cut(const json_t *session)
{
	_cleanup_free_ char *identity = field_text(session, "identity");
	_cleanup_free_ char *peer = field_text(session, "peer_address");

	printf("cut session %lu of %s, from %s\n", (unsigned long)field_number(session, "id"),
	       identity, peer);
}

static void render_revoke(const json_t *reply)
{
	const json_t *cut = json_object_get(reply, "cut"), *session;
	size_t i;

	selector_print("denied", json_object_get(reply, "denied"));
	json_array_foreach(cut, i, session) print_cut(session);
	if (json_array_size(cut) == 0)
		puts("no session to cut");
	selector_print_durable(reply);
}

int revoke_main(const struct arguments *arguments)
{
	json_t *request = NULL, *error = selector_request(arguments, "revoke", &request);

	return error ? ask_fail(arguments, error)
		     : ask_run(arguments, request, true, render_revoke);
}
