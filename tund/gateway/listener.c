/* ACCEPT ──a source's own limits, room for it?──▶ WAITING ──its turn, a place, the rate──▶ HANDSHAKE
 *
 * Every connection is accepted at once, whoever it is from: what waits in the kernel would be served
 * first come, first served, and a source that floods would be before all others. What all sources
 * together may have at a time is shared out here instead (waiting). */
#include "gateway/listener.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/xalloc.h"

enum {
	ACCEPTS_PER_RUN = 256,
	SOURCES_MAX = 100000,
	QUIET_US = 60 * 1000000,
	TURNS_MS = 10,
};

struct gateway_listener {
	uv_poll_t poll;
	struct gateway *gateway;
	int fd;
	bool is_paused; /* no descriptor was left */
	struct gateway_listener *next;
};

/* One IPv4 address, or one IPv6 /64: what a single machine may choose freely counts as one. */
struct gateway_source {
	struct addr key;
	struct rate rate;
	size_t pending; /* waiting, and in their handshake */
	struct waiting_line line;
	int64_t seen_us;
	UT_hash_handle hh;
};

static struct addr source_of(const struct endpoint *peer)
{
	struct addr addr = addr_of_endpoint(peer);

	if (addr.family == 6)
		memset(addr.bytes + 8, 0, 8);
	return addr;
}

static struct gateway_source *find_source(struct gateway *gateway, const struct endpoint *peer)
{
	struct addr key = source_of(peer);
	struct gateway_source *source;

	HASH_FIND(hh, gateway->sources, &key, sizeof(key), source);
	return source;
}

static struct gateway_source *add_source(struct gateway *gateway, const struct endpoint *peer)
{
	struct gateway_source *source = find_source(gateway, peer);

	if (source || HASH_COUNT(gateway->sources) >= SOURCES_MAX)
		return source;
	source = xnew(struct gateway_source);
	source->key = source_of(peer);
	HASH_ADD(hh, gateway->sources, key, sizeof(source->key), source);
	return source;
}

/* NULL when there are too many sources to tell apart: the limits of all together still hold. */
static bool is_allowed(const struct gateway *gateway, struct gateway_source *source)
{
	const struct config_limits *limits = &gateway->config->limits;

	if (!source)
		return true;
	source->seen_us = clock_now_us();
	return source->pending < limits->pending_per_source &&
	       rate_allow(&source->rate, limits->handshakes_per_source, source->seen_us);
}

static void turn_away(struct gateway *gateway, int fd, const struct endpoint *peer)
{
	char text[ADDR_ENDPOINT_TEXT], why[80];

	close(fd);
	gateway->counts.refused[REASON_RATE_LIMITED]++;
	/* One a second is told: what is too much must not become work for main. */
	if (!rate_allow(&gateway->turned_away_log, 1, clock_now_us()))
		return;
	snprintf(why, sizeof(why), "too many connections, %lu turned away so far",
		 (unsigned long)gateway->counts.refused[REASON_RATE_LIMITED]);
	log_warn("refused %s: %s: %s", addr_endpoint_print(peer, text),
		 reason_word(REASON_RATE_LIMITED), why);
	event_post(gateway->options.events, &(struct event){
						    .kind = EVENT_HANDSHAKE_REFUSED,
						    .reason = REASON_RATE_LIMITED,
						    .text = why,
						    .peer = peer,
					    });
}

/* ---- turns ---- */

/* So many are in their handshake at a time; the rest of what may be pending waits. */
static size_t places(const struct gateway *gateway)
{
	size_t pending = gateway->config->limits.pending;

	return pending - pending / 4;
}

static void forget(struct gateway *gateway, const struct endpoint *peer)
{
	struct gateway_source *source = find_source(gateway, peer);

	if (gateway->pending)
		gateway->pending--;
	if (source && source->pending)
		source->pending--;
}

static void start_handshake(struct gateway *gateway, struct waiting_place *place)
{
	struct endpoint local = {0};
	socklen_t len = sizeof(local);
	int on = 1;

	setsockopt(place->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	getsockname(place->fd, &local.any, &len);
	handshake_pool_accept(gateway->handshakes, place->fd, &place->peer, &local, gateway->trust);
	free(place);
}

static void drop_place(struct gateway *gateway, struct waiting_place *place)
{
	forget(gateway, &place->peer);
	turn_away(gateway, place->fd, &place->peer);
	free(place);
}

static void on_turns(uv_timer_t *timer);

static void give_turns(struct gateway *gateway)
{
	const struct config_limits *limits = &gateway->config->limits;
	struct waiting_room *room = &gateway->waiting;

	while (room->count && gateway->pending - room->count < places(gateway) &&
	       rate_allow(&gateway->all_sources, limits->handshakes, clock_now_us()))
		start_handshake(gateway, waiting_take(room));
	handshake_pool_hurry(gateway->handshakes,
			     gateway->pending - room->count > places(gateway) / 2);
	if (room->count && !uv_is_active((uv_handle_t *)&gateway->turns))
		uv_timer_start(&gateway->turns, on_turns, TURNS_MS, 0);
}

/* Who has waited for a third of the time that all of it may take comes again, later, of its own
 * accord: it would not be through in time. */
static void on_turns(uv_timer_t *timer)
{
	struct gateway *gateway = timer->data;
	int64_t patience_us = gateway->config->limits.handshake_timeout_s * CLOCK_SECOND_US / 3;
	struct waiting_place *late;

	while ((late = waiting_take_late(&gateway->waiting, clock_now_us() - patience_us)))
		drop_place(gateway, late);
	give_turns(gateway);
}

/* True: there is one place more, though perhaps at the cost of another that waits. */
static bool make_room(struct gateway *gateway, const struct waiting_line *line)
{
	struct waiting_place *excess;

	if (gateway->pending < gateway->config->limits.pending)
		return true;
	excess = waiting_take_excess(&gateway->waiting, line->count + 1);
	if (!excess)
		return false;
	drop_place(gateway, excess);
	return true;
}

static void take_connection(struct gateway *gateway, int fd, const struct endpoint *peer)
{
	struct gateway_source *source = add_source(gateway, peer);
	struct waiting_line *line = source ? &source->line : &gateway->strangers;
	struct waiting_place *place;

	if (!is_allowed(gateway, source) || !make_room(gateway, line)) {
		turn_away(gateway, fd, peer);
		return;
	}
	place = xnew(struct waiting_place);
	place->fd = fd;
	place->peer = *peer;
	place->since_us = clock_now_us();
	gateway->pending++;
	if (source)
		source->pending++;
	waiting_add(&gateway->waiting, line, place);
	give_turns(gateway);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct gateway_listener *listener = poll->data;

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPTS_PER_RUN; i++) {
		struct endpoint peer = {0};
		socklen_t len = sizeof(peer);
		int fd = accept4(listener->fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			/* Out of descriptors: until the next tick, not as fast as poll calls. */
			listener->is_paused = errno == EMFILE || errno == ENFILE;
			if (!listener->is_paused)
				return;
			uv_poll_stop(poll);
			if (rate_allow(&listener->gateway->turned_away_log, 1, clock_now_us()))
				log_warn("no descriptor is left for a connection; raise the limit "
					 "of open files");
			return;
		}
		take_connection(listener->gateway, fd, &peer);
	}
}

void listener_start(struct gateway *gateway)
{
	uv_timer_init(gateway->options.loop, &gateway->turns);
	gateway->turns.data = gateway;
	for (size_t i = 0; i < gateway->options.listener_count; i++) {
		struct gateway_listener *listener = xnew(struct gateway_listener);

		listener->gateway = gateway;
		listener->fd = gateway->options.listeners[i].tcp;
		listener->next = gateway->listeners;
		gateway->listeners = listener;
		uv_poll_init(gateway->options.loop, &listener->poll, listener->fd);
		listener->poll.data = listener;
		uv_poll_start(&listener->poll, UV_READABLE, on_connection);
	}
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void listener_stop(struct gateway *gateway)
{
	struct gateway_source *source, *next;
	struct waiting_place *place;

	while ((place = waiting_take(&gateway->waiting))) {
		close(place->fd);
		free(place);
	}
	waiting_done(&gateway->waiting);
	uv_close((uv_handle_t *)&gateway->turns, NULL);
	while (gateway->listeners) {
		struct gateway_listener *listener = gateway->listeners;

		gateway->listeners = listener->next;
		uv_close((uv_handle_t *)&listener->poll, on_closed);
	}
	HASH_ITER(hh, gateway->sources, source, next)
	{
		HASH_DEL(gateway->sources, source);
		free(source);
	}
}

void listener_forget(struct gateway *gateway, const struct endpoint *peer)
{
	forget(gateway, peer);
	if (!gateway->stopping)
		give_turns(gateway);
}

void listener_tick(struct gateway *gateway)
{
	int64_t quiet_since = clock_now_us() - QUIET_US;
	struct gateway_source *source, *next;

	for (struct gateway_listener *listener = gateway->listeners; listener;
	     listener = listener->next) {
		if (listener->is_paused)
			uv_poll_start(&listener->poll, UV_READABLE, on_connection);
		listener->is_paused = false;
	}
	HASH_ITER(hh, gateway->sources, source, next)
	{
		if (source->pending || source->seen_us > quiet_since)
			continue;
		HASH_DEL(gateway->sources, source);
		free(source);
	}
}
