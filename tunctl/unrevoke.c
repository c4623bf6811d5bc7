#include "ask.h"
#include "commands.h"
#include "selector.h"

static void render_unrevoke(const json_t *reply)
{
	selector_print("no longer denied", json_object_get(reply, "undenied"));
	selector_print_durable(reply);
}

int unrevoke_main(const struct arguments *arguments)
{
	json_t *request = NULL, *error = selector_request(arguments, "unrevoke", &request);

	return error ? ask_fail(arguments, error)
		     : ask_run(arguments, request, true, render_unrevoke);
}
