#include <stdio.h>

#include "ask.h"
#include "base/cleanup.h"
#include "commands.h"
#include "field.h"
#include "reply.h"

/* As `tund --check` prints them. */
static void print_problem(const json_t *problem)
{
	_cleanup_free_ char *file = field_text(problem, "file");
	_cleanup_free_ char *text = field_text(problem, "text");

	fprintf(stderr, "%s:%lu: %s\n", file, (unsigned long)field_number(problem, "line"), text);
}

static void print_names(const json_t *reply, const char *key, const char *title)
{
	_cleanup_free_ char *names = NULL;

	if (json_array_size(json_object_get(reply, key)) == 0)
		return;
	names = field_list(reply, key, ", ");
	printf("%s: %s\n", title, names);
}

static void print_cut(const json_t *session)
{
	_cleanup_free_ char *identity = field_text(session, "identity");
	_cleanup_free_ char *peer = field_text(session, "peer_address");
	_cleanup_free_ char *reason = field_text(session, "reason");

	printf("cut session %lu of %s, from %s: %s\n", (unsigned long)field_number(session, "id"),
	       identity, peer, reason);
}

static void print_changed(const json_t *session)
{
	_cleanup_free_ char *identity = field_text(session, "identity");

	printf("changed the rights of session %lu of %s\n",
	       (unsigned long)field_number(session, "id"), identity);
}

static void print_left(const json_t *left)
{
	_cleanup_free_ char *gateway = field_text(left, "gateway");
	_cleanup_free_ char *reason = field_text(left, "reason");
	_cleanup_free_ char *text = field_text(left, "text");

	printf("left %s: %s: %s\n", gateway, reason, text);
}

static void render_applied(const json_t *reply)
{
	const json_t *session, *left = json_object_get(reply, "left");
	size_t i;

	if (json_array_size(json_object_get(reply, "changed")) == 0)
		puts("nothing has changed");
	print_names(reply, "changed", "changed");
	print_names(reply, "restart", "needs a restart");
	json_array_foreach(json_object_get(reply, "cut"), i, session) print_cut(session);
	json_array_foreach(json_object_get(reply, "rights_changed"), i, session)
		print_changed(session);
	if (json_is_object(left))
		print_left(left);
	reply_warnings(reply);
}

static void render_reload(const json_t *reply)
{
	const json_t *problem;
	size_t i;

	if (json_is_true(json_object_get(reply, "applied")))
		render_applied(reply);
	json_array_foreach(json_object_get(reply, "problems"), i, problem) print_problem(problem);
}

int reload_main(const struct arguments *arguments)
{
	return ask_run(arguments, json_pack("{s:s}", "command", "reload"), true, render_reload);
}
