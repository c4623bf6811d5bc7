#include "data/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "data/inbound.h"
#include "data/liveness.h"
#include "data/outbound.h"

enum {
	LINGER_US = 2 * 1000000,
	LINGER_BYTES = 1024 * 1024, /* read and thrown away at most */
	DRAIN_US = 3 * 1000000,
	FOREIGN_US = 60 * 1000000,
};

/* A TLS channel that has said its last word and waits for the peer to close, so that the word
 * arrives: closing with unread input would reset the connection. */
struct worker_lingering {
	struct worker_lingering *next;
	struct tls *tls;
	int64_t until_us;
	size_t bytes;
};

/* ---- events ---- */

static struct worker_event *make_event(enum worker_event_kind kind, const struct flow *flow)
{
	struct worker_event *event = xnew(struct worker_event);

	event->kind = kind;
	if (flow) {
		event->flow = flow->spec.id;
		event->session = flow->spec.session;
		event->traffic = flow->traffic;
		event->over_dtls = flow->over_dtls;
		event->mtu = flow->mtu;
	}
	return event;
}

static void tell(struct worker *worker, struct worker_event *event)
{
	mailbox_post(worker->options.events, &event->message);
}

void worker_event_free(struct worker_event *event)
{
	if (!event)
		return;
	free(event->flows);
	free(event);
}

void worker_tell_transport(struct worker *worker, struct flow *flow)
{
	struct worker_event *event = make_event(WORKER_TRANSPORT, flow);

	if (flow->active)
		snprintf(event->text, sizeof(event->text), "%s", dtls_cipher(flow->active->dtls));
	tell(worker, event);
}

void worker_tell_mtu(struct worker *worker, struct flow *flow)
{
	tell(worker, make_event(WORKER_MTU, flow));
}

void worker_name_foreign(const struct worker *worker, struct flow *flow, const struct ip_view *view)
{
	struct addr from = addr_of_bytes(view->family, view->source);
	struct addr to = addr_of_bytes(view->family, view->destination);
	char source[ADDR_TEXT], destination[ADDR_TEXT];
	int64_t now_us = clock_now_us();

	if (flow->foreign_us && now_us - flow->foreign_us < FOREIGN_US)
		return;
	flow->foreign_us = now_us;
	addr_print(&from, source);
	addr_print(&to, destination);
	if (worker->options.is_client)
		log_info("dropped a packet from %s to %s: the source is neither our inner address "
			 "nor in a network that the gateway says is behind us",
			 source, destination);
	else
		log_warn(
			"session %lu %s: dropped a packet from %s to %s: the source is neither its "
			"inner address nor in its networks",
			(unsigned long)flow->spec.session, flow->spec.name, source, destination);
}

/* ---- TLS channels: when the socket may be written, and their end ---- */

static void on_tcp(uv_poll_t *poll, int status, int events);

static void watch_tcp(struct flow *flow)
{
	int events = UV_READABLE;

	if (tls_wants_write(flow->spec.tls))
		events |= UV_WRITABLE;
	if (events == flow->poll_events)
		return;
	flow->poll_events = events;
	uv_poll_start(flow->poll, events, on_tcp);
}

static void on_tcp(uv_poll_t *poll, int status, int events)
{
	struct flow *flow = poll->data;
	struct worker *worker = flow->worker;

	if (status < 0) /* libuv has stopped watching */
		flow->poll_events = 0;
	if ((events & UV_WRITABLE) && tls_flush(flow->spec.tls) != TLS_AGAIN)
		watch_tcp(flow);
	inbound_tls(worker, flow);
}

void worker_mark_pending(struct worker *worker, struct flow *flow)
{
	if (flow->pending_tls)
		return;
	flow->pending_tls = true;
	flow->next_pending = worker->pending;
	worker->pending = flow;
}

static void flush_pending(struct worker *worker)
{
	while (worker->pending) {
		struct flow *flow = worker->pending;

		worker->pending = flow->next_pending;
		flow->pending_tls = false;
		tls_flush(flow->spec.tls); /* what fails is found by the next read */
		watch_tcp(flow);
	}
}

static void forget_pending(struct worker *worker, struct flow *flow)
{
	struct flow **link = &worker->pending;

	while (*link && *link != flow)
		link = &(*link)->next_pending;
	if (*link)
		*link = flow->next_pending;
}

/* The kernel knows a smaller path than we sealed for: measure it, or step down where the peer's
 * answers tell nothing. */
static void learn_smaller_path(struct worker *worker)
{
	struct batch *batch = &worker->batch;
	struct worker_socket *socket = (struct worker_socket *)batch->socket;
	struct flow_assoc *assoc = flow_by_path(&worker->table, &batch->path, socket->index);

	batch->too_big = false;
	if (assoc)
		liveness_path_shrank(worker, assoc->flow);
}

void worker_flush(struct worker *worker)
{
	batch_flush(&worker->batch);
	if (worker->batch.too_big)
		learn_smaller_path(worker);
	flush_pending(worker);
}

static void linger(struct worker *worker, struct tls *tls)
{
	struct worker_lingering *entry = xnew(struct worker_lingering);

	tls_flush(tls);
	tls_shutdown(tls);
	*entry = (struct worker_lingering){worker->lingering, tls, clock_now_us() + LINGER_US, 0};
	worker->lingering = entry;
}

static bool is_finished(struct worker *worker, struct worker_lingering *entry, int64_t now_us)
{
	tls_flush(entry->tls);
	for (;;) {
		ssize_t len = read(entry->tls->fd, worker->plain, CSTP_RECORD_MAX);

		if (len > 0)
			entry->bytes += (size_t)len;
		else
			return len == 0 || errno != EAGAIN || now_us >= entry->until_us;
		if (entry->bytes > LINGER_BYTES)
			return true;
	}
}

static void tick_lingering(struct worker *worker, int64_t now_us)
{
	struct worker_lingering **link = &worker->lingering;

	while (*link) {
		struct worker_lingering *entry = *link;

		if (!is_finished(worker, entry, now_us)) {
			link = &entry->next;
			continue;
		}
		*link = entry->next;
		tls_free(entry->tls);
		free(entry);
	}
}

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle);
}

/* Out of everything; the DISCONNECT, where one is to be said, is in the channel's output. */
static void drop_flow(struct worker *worker, struct flow *flow, const char *bye)
{
	struct tls *tls;

	if (bye) {
		uint8_t payload[1 + CSTP_TEXT_MAX];
		size_t len = strnlen(bye, CSTP_TEXT_MAX);

		payload[0] = CSTP_BYE_USER;
		memcpy(payload + 1, bye, len);
		outbound_frame(worker, flow, OUTBOUND_TLS, CSTP_DISCONNECT, payload, len + 1);
	}
	/* The run may hold records of its association. */
	batch_flush(&worker->batch);
	flow_add_traffic(&worker->carried, &flow->traffic);
	forget_pending(worker, flow);
	uv_poll_stop(flow->poll);
	uv_close((uv_handle_t *)flow->poll, on_poll_closed);
	if (worker->current == flow)
		worker->current = NULL;
	tls = flow_free(&worker->table, flow);
	if (bye)
		linger(worker, tls);
	else
		tls_free(tls);
}

void worker_end_flow(struct worker *worker, struct flow *flow, enum reason reason, bool keep,
		     const char *bye, const char *text)
{
	struct worker_event *event = make_event(WORKER_ENDED, flow);

	event->reason = reason;
	event->keep = keep;
	snprintf(event->text, sizeof(event->text), "%s", text);
	drop_flow(worker, flow, bye);
	tell(worker, event);
}

/* ---- orders ---- */

static void replace_flow(struct worker *worker, struct flow *flow, uint64_t id)
{
	struct flow *old = id ? flow_find(&worker->table, id) : NULL;

	if (!old)
		return;
	/* What was learnt about the path and the user still holds. */
	if (old->mtu < flow->mtu)
		flow->mtu = old->mtu;
	flow->carried_us = old->carried_us;
	flow->foreign_us = old->foreign_us;
	flow_drain(&worker->table, old, clock_now_us() + DRAIN_US);
}

static void attach(struct worker *worker, struct worker_order *order)
{
	uint64_t replaces = order->spec.replaces;
	struct flow *flow = flow_new(&worker->table, &order->spec, clock_now_us());

	flow->worker = worker;
	flow->poll = xnew(uv_poll_t);
	uv_poll_init(&worker->loop, flow->poll, flow->spec.tls->fd);
	flow->poll->data = flow;
	replace_flow(worker, flow, replaces);
	if (worker->options.is_client)
		worker->current = flow;
	if (flow->spec.greeting.len)
		tls_write(flow->spec.tls, flow->spec.greeting.data, flow->spec.greeting.len);
	buf_wipe(&flow->spec.greeting);
	tls_flush(flow->spec.tls);
	watch_tcp(flow);
	tell(worker, make_event(WORKER_ATTACHED, flow));
	/* OpenSSL and the input buffer may hold records that came before the hand-over. */
	if ((flow->spec.early.len || tls_has_input(flow->spec.tls)) && !inbound_tls(worker, flow))
		return;
	liveness_tick(worker);
}

static void cut_session(struct worker *worker, const struct worker_order *order)
{
	char bye[CSTP_TEXT_MAX + WORKER_TEXT];
	struct flow *flow, *next;

	snprintf(bye, sizeof(bye), "%s%s%s", reason_word(order->reason), order->text[0] ? ": " : "",
		 order->text);
	HASH_ITER(hh, worker->table.flows, flow, next)
	{
		if (order->kind == WORKER_CUT && flow->spec.session != order->session)
			continue;
		if (flow->state == FLOW_DRAINING || order->silent)
			drop_flow(worker, flow, NULL);
		else
			drop_flow(worker, flow, bye);
	}
}

static void acknowledge(struct worker *worker, enum worker_event_kind kind,
			const struct worker_order *order)
{
	struct worker_event *event = make_event(kind, NULL);

	event->session = order->session;
	event->reason = order->reason;
	event->tag = order->tag;
	tell(worker, event);
}

static void cut(struct worker *worker, const struct worker_order *order)
{
	cut_session(worker, order);
	acknowledge(worker, WORKER_WAS_CUT, order);
}

/* A flow that drains still receives: it gets them, too. */
static void set_rules(struct worker *worker, struct worker_order *order)
{
	struct flow *flow, *next;

	HASH_ITER(hh, worker->table.flows, flow, next)
	{
		struct prefix_list own = {0};

		if (flow->spec.session != order->session)
			continue;
		for (size_t i = 0; i < order->spec.own.count; i++)
			prefix_list_add(&own, &order->spec.own.items[i]);
		flow_set_rules(&worker->table, flow, &own, order->spec.access);
	}
	flow_spec_done(&order->spec);
	acknowledge(worker, WORKER_HAS_RULES, order);
}

static void tune(struct worker *worker, const struct worker_order *order)
{
	struct flow *flow, *next;

	worker->options.hello_verify = order->hello_verify;
	worker->options.transport = order->transport;
	HASH_ITER(hh, worker->table.flows, flow, next)
	flow->spec.idle_us = flow->spec.is_site ? 0 : order->spec.idle_us;
}

static void describe_flow(const struct flow *flow, struct worker_flow_report *ret)
{
	*ret = (struct worker_flow_report){
		.id = flow->spec.id,
		.session = flow->spec.session,
		.traffic = flow->traffic,
		.over_dtls = flow->over_dtls,
		.mtu = flow->mtu,
		.idle_us = clock_now_us() - flow->carried_us,
	};
	memcpy(ret->drops, flow->drops, sizeof(ret->drops));
	if (!flow->active)
		return;
	ret->peer = flow->active->path.peer;
	snprintf(ret->cipher, sizeof(ret->cipher), "%s", dtls_cipher(flow->active->dtls));
}

/* A flow that drains has carried for the one that replaced it. */
static void add_drained(const struct flow *flow, struct worker_event *event)
{
	for (size_t i = 0; i < event->flow_count; i++) {
		if (event->flows[i].session == flow->spec.session)
			flow_add_traffic(&event->flows[i].traffic, &flow->traffic);
	}
}

static void report(struct worker *worker, const struct worker_order *order)
{
	struct worker_event *event = make_event(WORKER_REPORTED, NULL);
	struct flow *flow, *next;

	event->tag = order->tag;
	event->counts = worker->counts;
	event->traffic = worker->carried;
	event->udp_offloads = UDP_OFFLOAD_GSO | UDP_OFFLOAD_GRO;
	for (size_t i = 0; i < worker->options.socket_count; i++)
		event->udp_offloads &= worker->sockets[i].out.offloads;
	event->flows = xnew_array(struct worker_flow_report, HASH_COUNT(worker->table.flows));
	HASH_ITER(hh, worker->table.flows, flow, next)
	{
		flow_add_traffic(&event->traffic, &flow->traffic);
		if (flow->state == FLOW_OPEN)
			describe_flow(flow, &event->flows[event->flow_count++]);
	}
	HASH_ITER(hh, worker->table.flows, flow, next)
	{
		if (flow->state == FLOW_DRAINING)
			add_drained(flow, event);
	}
	tell(worker, event);
}

static void close_handle(uv_handle_t *handle, void *unused)
{
	(void)unused;
	if (!uv_is_closing(handle) && handle->type != UV_ASYNC)
		uv_close(handle, NULL);
}

static void stop(struct worker *worker, struct worker_order *order)
{
	cut_session(worker, order);
	worker->stopped = true;
	uv_walk(&worker->loop, close_handle, NULL);
	uv_stop(&worker->loop);
}

static void on_order(struct mailbox_message *message, void *owner)
{
	struct worker_order *order = (struct worker_order *)message;
	struct worker *worker = owner;

	switch (order->kind) {
	case WORKER_ATTACH:
		if (worker->stopped)
			flow_spec_done(&order->spec);
		else
			attach(worker, order);
		break;
	case WORKER_CUT:
		cut(worker, order);
		break;
	case WORKER_RULES:
		set_rules(worker, order);
		break;
	case WORKER_TUNE:
		tune(worker, order);
		break;
	case WORKER_REPORT:
		report(worker, order);
		break;
	case WORKER_STOP:
		stop(worker, order);
		break;
	}
	free(order);
}

/* ---- the thread ---- */

static void on_tun(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	outbound_run(poll->data);
}

static void on_udp(uv_poll_t *poll, int status, int events)
{
	struct worker_socket *socket = poll->data;

	(void)status;
	(void)events;
	inbound_udp(socket->worker, socket);
}

static void on_tick(uv_timer_t *timer)
{
	struct worker *worker = timer->data;

	liveness_tick(worker);
	tick_lingering(worker, clock_now_us());
}

static void open_sockets(struct worker *worker)
{
	for (size_t i = 0; i < worker->options.socket_count; i++) {
		struct worker_socket *socket = &worker->sockets[i];

		socket->out.fd = worker->options.sockets[i].fd;
		socket->out.offloads = worker->options.sockets[i].offloads;
		socket->family = worker->options.sockets[i].family;
		socket->index = (uint16_t)i;
		socket->worker = worker;
		socket->receiver = udp_receiver_new();
		uv_poll_init(&worker->loop, &socket->poll, socket->out.fd);
		socket->poll.data = socket;
		uv_poll_start(&socket->poll, UV_READABLE, on_udp);
	}
}

static void *run(void *argument)
{
	struct worker *worker = argument;
	struct worker_event *event;

	uv_run(&worker->loop, UV_RUN_DEFAULT);
	/* What still lingered has had its time: the process is ending. */
	tick_lingering(worker, INT64_MAX);
	event = make_event(WORKER_STOPPED, NULL);
	tell(worker, event);
	return NULL;
}

static void open_loop(struct worker *worker)
{
	uv_loop_init(&worker->loop);
	worker->orders = mailbox_new(&worker->loop, on_order, worker);
	uv_poll_init(&worker->loop, &worker->tun_poll, worker->options.tun_fd);
	worker->tun_poll.data = worker;
	uv_poll_start(&worker->tun_poll, UV_READABLE, on_tun);
	uv_timer_init(&worker->loop, &worker->tick);
	worker->tick.data = worker;
	uv_timer_start(&worker->tick, on_tick, LIVENESS_TICK_MS, LIVENESS_TICK_MS);
	open_sockets(worker);
}

int worker_start(const struct worker_options *options, struct worker **ret)
{
	struct worker *worker = xnew(struct worker);
	int r;

	worker->options = *options;
	if (dtls_setup_init(&worker->dtls) < 0) {
		free(worker);
		return -EIO;
	}
	flow_table_init(&worker->table);
	batch_init(&worker->batch, &worker->counts);
	worker->tun_packet =
		(uint8_t *)xalloc_zero(1, OFFLOAD_HEADROOM + TUN_PACKET_MAX) + OFFLOAD_HEADROOM;
	worker->plain = xalloc_zero(1, CSTP_RECORD_MAX);
	worker->join_packet = xalloc_zero(1, OFFLOAD_JOIN_MAX + CSTP_RECORD_MAX);
	worker->join.packet = worker->join_packet;
	open_loop(worker);
	r = -pthread_create(&worker->thread, NULL, run, worker);
	if (r == 0)
		*ret = worker;
	return r;
}

void worker_post(struct worker *worker, struct worker_order *order)
{
	mailbox_post(worker->orders, &order->message);
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	pthread_join(worker->thread, NULL);
	/* Main posts until here: only now is the mailbox nobody else's. What waits in it is
	 * acknowledged, and the loop runs once more to close it. */
	mailbox_free(worker->orders);
	uv_run(&worker->loop, UV_RUN_NOWAIT);
	for (size_t i = 0; i < worker->options.socket_count; i++)
		udp_receiver_free(worker->sockets[i].receiver);
	uv_loop_close(&worker->loop);
	dtls_setup_done(&worker->dtls);
	flow_table_done(&worker->table);
	batch_done(&worker->batch);
	free(worker->tun_packet - OFFLOAD_HEADROOM);
	free(worker->plain);
	free(worker->join_packet);
	free(worker);
}
