/* A watcher gets a snapshot, then each event. Every event has the next number since the daemon's
 * start, watched or not, and the snapshot has the number of the last event it contains.
 *
 * Nobody waits for a watcher: what it does not take in time is counted, and once it has taken all
 * that was queued for it one line tells it how many it has missed ("gap", with the number of the
 * last of them). Whoever takes nothing at all for half a minute is disconnected (ctl.c). */
#include "ctl/watch.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "ctl/client_commands.h"
#include "ctl/describe.h"
#include "version.h"
#include "wire/ctl_msg.h"

enum { WATCHERS_MAX = 16 };

struct watcher {
	struct watch *watch;
	struct ctl_request *request;
	struct watcher *next, **link;
	uint64_t missed; /* since it was last told */
};

struct watch {
	struct ctl *ctl;
	uint64_t seq; /* of the last event */
	struct watcher *first;
	size_t count;
};

static json_t *make_line(const struct watch *watch, const char *event)
{
	return json_pack("{s:s, s:I, s:o, s:s}", "schema", "tund.watch/1", "seq",
			 (json_int_t)watch->seq, "at", describe_time(clock_wall()), "event", event);
}

/* ---- the snapshot ---- */

static json_t *list_sessions(const struct gateway *gateway)
{
	json_t *array = json_array();

	for (struct session *session = gateway->sessions.sessions; session;
	     session = session->hh.next) {
		if (session->state == SESSION_OPEN || session->state == SESSION_AWAY)
			json_array_append_new(array, describe_session(session, NULL));
	}
	return array;
}

static json_t *make_snapshot(const struct watch *watch)
{
	const struct ctl_options *options = &watch->ctl->options;
	json_t *line = make_line(watch, "snapshot");

	json_object_set_new(line, "role", json_string(options->gateway ? "gateway" : "client"));
	json_object_set_new(line, "instance", describe_text(options->config->instance));
	json_object_set_new(line, "version", json_string(TUND_VERSION));
	if (options->gateway) {
		json_object_set_new(line, "started_at",
				    describe_time(options->gateway->started_at));
		json_object_set_new(line, "sessions", list_sessions(options->gateway));
	} else {
		json_object_set_new(line, "started_at", describe_time(options->client->started_at));
		json_object_set_new(line, "tunnel", client_commands_tunnel(options->client));
	}
	return line;
}

/* ---- events ---- */

static void set_text(json_t *line, const char *key, const char *text)
{
	if (text && text[0])
		json_object_set_new(line, key, describe_text(text));
}

static void set_session(json_t *line, const struct watch *watch, const struct event *event)
{
	const struct gateway *gateway = watch->ctl->options.gateway;
	const struct session *session =
		event->session ? session_table_find(&gateway->sessions, event->session) : NULL;

	if (session)
		json_object_set_new(line, "session", describe_session(session, NULL));
}

static bool is_of_tunnel(enum event_kind kind)
{
	return kind >= EVENT_TUNNEL_CONNECTING && kind <= EVENT_ATTEMPT_FAILED;
}

static void set_trust(json_t *line, const struct watch *watch)
{
	const struct trust *trust = ctl_trust(watch->ctl);

	json_object_set_new(line, "generation", json_integer((json_int_t)trust->generation));
	json_object_set_new(line, "denials", json_integer((json_int_t)trust->denial_count));
}

static json_t *describe_event(const struct watch *watch, const struct event *event)
{
	json_t *line = make_line(watch, event_name(event->kind));

	set_text(line, "reason", reason_word(event->reason));
	set_text(line, "text", event->text);
	set_text(line, "identity", event->identity);
	set_text(line, "serial", event->serial);
	set_text(line, "handshake_id", event->handshake_id);
	set_text(line, "site", event->site);
	if (event->peer)
		json_object_set_new(line, "peer_address", describe_endpoint(event->peer));
	if (event->networks)
		json_object_set_new(line, "networks", describe_prefixes(event->networks));
	if (event->kind == EVENT_SESSION_CUT)
		json_object_set_new(line, "delay_s",
				    json_real((double)event->delay_us / (double)CLOCK_SECOND_US));
	if (watch->ctl->options.gateway)
		set_session(line, watch, event);
	else if (is_of_tunnel(event->kind))
		json_object_set_new(line, "tunnel",
				    client_commands_tunnel(watch->ctl->options.client));
	if (event->kind == EVENT_TRUST_CHANGED)
		set_trust(line, watch);
	return line;
}

/* After a gap nothing more is tried before the watcher has heard of it. */
static void offer(struct watcher *watcher, const char *line, size_t len)
{
	if (watcher->missed || !ctl_stream_line(watcher->request, line, len))
		watcher->missed++;
}

static void on_event(const struct event *event, void *user)
{
	struct watch *watch = user;
	_cleanup_free_ char *line = NULL;
	json_t *object;
	size_t len;

	watch->seq++;
	if (!watch->first)
		return;
	object = describe_event(watch, event);
	line = ctl_msg_print(object, &len);
	json_decref(object);
	for (struct watcher *watcher = watch->first; watcher; watcher = watcher->next)
		offer(watcher, line, len);
}

/* ---- a watcher ---- */

static void on_room(void *user)
{
	struct watcher *watcher = user;
	_cleanup_free_ char *line = NULL;
	json_t *gap;
	size_t len;

	if (!watcher->missed)
		return;
	gap = make_line(watcher->watch, "gap");
	json_object_set_new(gap, "missed", json_integer((json_int_t)watcher->missed));
	line = ctl_msg_print(gap, &len);
	json_decref(gap);
	watcher->missed = 0;
	ctl_stream_line(watcher->request, line, len);
}

static void on_left(void *user)
{
	struct watcher *watcher = user;

	*watcher->link = watcher->next;
	if (watcher->next)
		watcher->next->link = watcher->link;
	watcher->watch->count--;
	free(watcher);
}

void watch_begin(struct ctl_request *request, const json_t *message)
{
	struct watch *watch = ctl_of(request)->watch;
	struct watcher *watcher;

	(void)message;
	if (watch->count == WATCHERS_MAX) {
		ctl_answer(request, ctl_msg_error(CTL_EXIT_REFUSED,
						  "%d are watching already; end one of them first",
						  WATCHERS_MAX));
		return;
	}
	watcher = xnew(struct watcher);
	*watcher = (struct watcher){watch, request, watch->first, &watch->first, 0};
	if (watch->first)
		watch->first->link = &watcher->next;
	watch->first = watcher;
	watch->count++;
	ctl_stream_begin(request, make_snapshot(watch),
			 &(struct ctl_stream){on_room, on_left, watcher});
}

size_t watch_watchers(const struct watch *watch)
{
	return watch->count;
}

uint64_t watch_events(const struct watch *watch)
{
	return watch->seq;
}

struct watch *watch_start(struct ctl *ctl)
{
	struct watch *watch = xnew(struct watch);

	watch->ctl = ctl;
	*ctl->options.events = (struct event_hook){on_event, watch};
	return watch;
}

void watch_stop(struct watch *watch)
{
	if (!watch)
		return;
	*watch->ctl->options.events = (struct event_hook){0};
	while (watch->first) {
		struct watcher *watcher = watch->first;
		json_t *last = make_line(watch, "stopped");

		json_object_set_new(last, "exit", json_integer(CTL_EXIT_NO_DAEMON));
		ctl_stream_end(watcher->request, last);
		on_left(watcher);
	}
	free(watch);
}
