#include <stdio.h>

#include "ask.h"
#include "base/cleanup.h"
#include "commands.h"
#include "field.h"

static void print_cut(const json_t *session)
{
	_cleanup_free_ char *identity = field_text(session, "identity");
	_cleanup_free_ char *peer = field_text(session, "peer_address");

	printf("dropped session %lu of %s, from %s\n", (unsigned long)field_number(session, "id"),
	       identity, peer);
}

/* A client has one tunnel and lists none. */
static void render_disconnect(const json_t *reply)
{
	const json_t *cut = json_object_get(reply, "cut"), *session;
	size_t i;

	if (json_array_size(cut) == 0)
		puts("the tunnel was dropped; it is being dialled again");
	json_array_foreach(cut, i, session) print_cut(session);
}

int disconnect_main(const struct arguments *arguments)
{
	return ask_run(arguments,
		       json_pack("{s:s, s:s}", "command", "disconnect", "target",
				 arguments->words[1]),
		       true, render_disconnect);
}
