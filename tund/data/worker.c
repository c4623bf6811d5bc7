#include "data/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "data/inbound.h"
#include "data/liveness.h"
#include "data/move.h"
#include "data/outbound.h"

enum {
	LINGER_US = 2 * 1000000,
	LINGER_BYTES = 1024 * 1024, /* read and thrown away at most */
	DRAIN_US = 3 * 1000000,
	FOREIGN_US = 60 * 1000000,
	SPARE_US = 1000, /* for what can wait, between one look at packets and the next */
	PUBLISH_BYTES = 128 * 1024, /* handed over in the midst of a batch: somebody may begin */
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

static struct worker_event *make_event(const struct worker *worker, enum worker_event_kind kind,
				       const struct flow *flow)
{
	struct worker_event *event = xnew(struct worker_event);

	event->kind = kind;
	event->worker = worker->index;
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
	struct worker_event *event = make_event(worker, WORKER_TRANSPORT, flow);

	if (flow->active)
		snprintf(event->text, sizeof(event->text), "%s", dtls_cipher(flow->active->dtls));
	tell(worker, event);
}

void worker_tell_flow(struct worker *worker, enum worker_event_kind kind, const struct flow *flow)
{
	tell(worker, make_event(worker, kind, flow));
}

void worker_tell_mtu(struct worker *worker, struct flow *flow)
{
	worker_tell_flow(worker, WORKER_MTU, flow);
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

	if (!flow->poll) /* a newcomer */
		return;
	if (tls_wants_write(flow->spec.tls))
		events |= UV_WRITABLE;
	if (events == flow->poll_events)
		return;
	flow->poll_events = events;
	uv_poll_start(flow->poll, events, on_tcp);
}

/* Thousands of channels may have been closed at once: packets do not wait for all of them. */
static void serve_packets(struct worker *worker)
{
	int64_t now_us = clock_now_us();

	if (worker->turn_us == 0)
		worker->turn_us = now_us;
	if (now_us - worker->turn_us < SPARE_US)
		return;
	for (size_t i = 0; i < worker->options.socket_count && !worker->stopped; i++)
		inbound_udp(worker, &worker->sockets[i]);
	if (!worker->stopped)
		outbound_run(worker);
	if (!worker->stopped && worker->inbox)
		outbound_take_handed(worker);
	worker->turn_us = clock_now_us();
}

static void on_tcp(uv_poll_t *poll, int status, int events)
{
	struct flow *flow = poll->data;
	struct worker *worker = flow->worker;

	serve_packets(worker);
	if (uv_is_closing((uv_handle_t *)poll)) /* an order has come, and the flow is gone */
		return;
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

static void leave_newcomers(struct worker *worker, struct flow *flow)
{
	if (flow->is_new)
		DL_DELETE2(worker->newcomers, flow, prev_new, next_new);
	flow->is_new = false;
}

static void forget_pending(struct worker *worker, struct flow *flow)
{
	struct flow **link = &worker->pending;

	while (*link && *link != flow)
		link = &(*link)->next_pending;
	if (*link)
		*link = flow->next_pending;
	flow->pending_tls = false;
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

void worker_say_bye(struct worker *worker, struct tls *tls, const char *bye)
{
	uint8_t frame[CSTP_HEADER + 1 + CSTP_TEXT_MAX];
	size_t len;

	if (!tls || !bye) {
		tls_free(tls);
		return;
	}
	len = strnlen(bye, CSTP_TEXT_MAX);
	cstp_write_header(frame, CSTP_DISCONNECT, len + 1);
	frame[CSTP_HEADER] = CSTP_BYE_USER;
	memcpy(frame + CSTP_HEADER + 1, bye, len);
	tls_write(tls, frame, CSTP_HEADER + 1 + len);
	worker->counts.of[COUNT_TLS_RECORDS_TX]++;
	linger(worker, tls);
}

/* ---- flows come and go ---- */

void worker_unwatch(struct worker *worker, struct flow *flow)
{
	forget_pending(worker, flow);
	leave_newcomers(worker, flow);
	loop_close_poll(&flow->poll);
	flow->poll_events = 0;
}

void worker_watch(struct worker *worker, struct flow *flow)
{
	flow->worker = worker;
	flow->poll = xnew(uv_poll_t);
	uv_poll_init(&worker->loop, flow->poll, flow->spec.tls->fd);
	flow->poll->data = flow;
	tls_flush(flow->spec.tls);
	watch_tcp(flow);
	/* OpenSSL and the input buffer may hold records that came before the hand-over. */
	if (flow->spec.early.len || tls_has_input(flow->spec.tls))
		inbound_tls(worker, flow);
}

/* Out of everything; bye, where it is to be said, behind all that the channel has to send. */
static void drop_flow(struct worker *worker, struct flow *flow, const char *bye)
{
	/* The run may hold records of its association. */
	batch_flush(&worker->batch);
	report_leave(worker, flow);
	worker_unwatch(worker, flow);
	if (worker->current == flow)
		worker->current = NULL;
	worker_say_bye(worker, flow_free(&worker->table, flow), bye);
}

void worker_drop_guest(struct worker *worker, struct flow *guest)
{
	worker_tell_flow(worker, WORKER_CARRIED, guest);
	drop_flow(worker, guest, NULL);
}

void worker_end_flow(struct worker *worker, struct flow *flow, enum reason reason, bool keep,
		     const char *bye, const char *text)
{
	/* Main knows nothing of shells but what they have carried. */
	struct worker_event *event =
		make_event(worker, flow->spec.id & FLOW_SHELL ? WORKER_CARRIED : WORKER_ENDED,
			   flow);

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

/* Of the flow that a new one replaces: a guest that has not shaken hands never will. */
static void drop_idle_guest(struct worker *worker, uint64_t session)
{
	struct replica_entry *entry = replica_find(&worker->table.replica, session);

	if (entry && entry->guest && !entry->guest->asked_us)
		worker_drop_guest(worker, entry->guest);
}

static void attach(struct worker *worker, struct worker_order *order)
{
	uint64_t replaces = order->spec.replaces;
	struct flow *flow;

	drop_idle_guest(worker, order->spec.session);
	flow = flow_new(&worker->table, &order->spec, clock_now_us());
	replace_flow(worker, flow, replaces);
	if (worker->options.is_client)
		worker->current = flow;
	if (flow->spec.greeting.len)
		tls_write(flow->spec.tls, flow->spec.greeting.data, flow->spec.greeting.len);
	buf_wipe(&flow->spec.greeting);
	worker_tell_flow(worker, WORKER_ATTACHED, flow);
	flow->is_new = true;
	DL_APPEND2(worker->newcomers, flow, prev_new, next_new);
	worker_spare_time(worker);
}

/* What the kernel does for a newcomer costs more than all that attach does. False: there is none. */
static bool greet_newcomer(struct worker *worker)
{
	struct flow *flow = worker->newcomers;
	uint64_t id;

	if (!flow)
		return false;
	id = flow->spec.id;
	leave_newcomers(worker, flow);
	worker_watch(worker, flow);
	flow = flow_find(&worker->table, id);
	if (flow)
		liveness_tick_flow(worker, flow);
	return true;
}

/* ---- what other workers have ---- */

static void learn(struct worker *worker, struct worker_order *order)
{
	uint64_t replaces = order->spec.replaces;
	struct replica_entry *entry;
	struct flow *old;

	drop_idle_guest(worker, order->spec.session);
	entry = replica_of(&worker->table.replica, order->spec.session);
	replica_place_there(&worker->table.replica, entry, &order->spec, order->to);
	old = replaces ? flow_find(&worker->table, replaces) : NULL;
	if (old && old->state == FLOW_OPEN)
		flow_drain(&worker->table, old, clock_now_us() + (int64_t)DRAIN_US);
}

/* The session's entry, if the flow that the order is about still carries it, and from elsewhere. */
static struct replica_entry *find_elsewhere(struct worker *worker, const struct worker_order *order)
{
	struct replica_entry *entry = replica_find(&worker->table.replica, order->session);

	if (!entry || !entry->spec || entry->here || entry->spec->id != order->flow)
		return NULL;
	return entry;
}

static void learn_where(struct worker *worker, const struct worker_order *order)
{
	struct replica_entry *entry = find_elsewhere(worker, order);

	if (entry)
		entry->worker = order->to;
}

static void forget(struct worker *worker, const struct worker_order *order)
{
	struct replica_entry *entry = find_elsewhere(worker, order);
	struct flow *guest = entry ? entry->guest : NULL;

	if (!entry)
		return;
	replica_vacate(&worker->table.replica, entry);
	if (guest)
		worker_drop_guest(worker, guest);
	else
		replica_release(&worker->table.replica, entry);
}

/* ---- cuts ---- */

static void print_bye(const struct worker_order *order, char *bye, size_t size)
{
	snprintf(bye, size, "%s%s%s", reason_word(order->reason), order->text[0] ? ": " : "",
		 order->text);
}

/* A guest and what drains go without a word. */
static void cut_flow(struct worker *worker, struct flow *flow, const struct worker_order *order,
		     const char *bye)
{
	drop_flow(worker, flow, flow->state == FLOW_OPEN && !order->silent ? bye : NULL);
}

static void cut_session(struct worker *worker, const struct worker_order *order)
{
	struct replica_entry *entry = replica_find(&worker->table.replica, order->session);
	char bye[CSTP_TEXT_MAX + WORKER_TEXT];
	struct flow *flow, *next;

	if (!entry)
		return;
	print_bye(order, bye, sizeof(bye));
	if (!order->silent)
		move_bid_farewell(worker, entry, bye);
	flow = entry->flows;
	replica_vacate(&worker->table.replica, entry);
	if (!flow)
		replica_release(&worker->table.replica, entry);
	for (; flow; flow = next) {
		next = flow->next_of_session;
		cut_flow(worker, flow, order, bye);
	}
}

static void cut_all(struct worker *worker, const struct worker_order *order)
{
	char bye[CSTP_TEXT_MAX + WORKER_TEXT];
	struct flow *flow, *next;

	print_bye(order, bye, sizeof(bye));
	HASH_ITER(hh, worker->table.flows, flow, next)
	cut_flow(worker, flow, order, bye);
}

static void acknowledge(struct worker *worker, enum worker_event_kind kind,
			const struct worker_order *order)
{
	struct worker_event *event = make_event(worker, kind, NULL);

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
	flow_set_session_rules(&worker->table, order->session, &order->spec.own,
			       order->spec.access);
	acknowledge(worker, WORKER_HAS_RULES, order);
}

static void tune(struct worker *worker, const struct worker_order *order)
{
	struct flow *flow, *next;

	worker->options.hello_verify = order->hello_verify;
	worker->options.transport = order->transport;
	worker->options.idle_us = order->spec.idle_us;
	HASH_ITER(hh, worker->table.flows, flow, next)
	{
		flow->spec.idle_us = flow->spec.is_site ? 0 : order->spec.idle_us;
		flow_touch(&worker->table, flow);
	}
}

static void close_handle(uv_handle_t *handle, void *orders)
{
	if (!uv_is_closing(handle) && handle->type != UV_ASYNC && handle != mailbox_handle(orders))
		uv_close(handle, NULL);
}

static void stop(struct worker *worker, struct worker_order *order)
{
	report_finish(worker);
	cut_all(worker, order);
	worker->stopped = true;
	uv_walk(&worker->loop, close_handle, worker->orders);
	uv_stop(&worker->loop);
}

static void on_order(struct mailbox_message *message, void *owner)
{
	struct worker_order *order = (struct worker_order *)message;
	struct worker *worker = owner;

	switch (order->kind) {
	case WORKER_ATTACH:
		if (!worker->stopped)
			attach(worker, order);
		break;
	case WORKER_LEARN:
		learn(worker, order);
		break;
	case WORKER_WHERE:
		learn_where(worker, order);
		break;
	case WORKER_FORGET:
		forget(worker, order);
		break;
	case WORKER_RELEASE:
		move_release(worker, order);
		break;
	case WORKER_ADOPT:
		if (!worker->stopped)
			move_adopt(worker, order);
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
		report_ask(worker, order->tag);
		break;
	case WORKER_STOP:
		stop(worker, order);
		break;
	}
	flow_spec_done(&order->spec);
	free(order->luggage);
	free(order);
}

void worker_take_orders(struct worker *worker)
{
	if (!mailbox_has(worker->orders))
		return;
	/* What an order forbids may have been let through before it, but must not follow it. */
	inbound_flush(worker);
	mailbox_receive(worker->orders);
}

/* ---- packets to and from the others ---- */

void worker_hand_over(struct worker *worker, unsigned to, const struct tun_header *header,
		      const uint8_t *packet, size_t len)
{
	if (!handover_put(worker->crew[to]->inbox, worker->index, header, packet, len)) {
		worker->counts.of[COUNT_DROP_HANDOVER_FULL] += offload_pieces(header, packet, len);
		return;
	}
	worker->counts.of[COUNT_HANDED_OVER]++;
	worker->handed |= UINT64_C(1) << to;
	worker->handed_bytes += len;
	if (worker->handed_bytes > PUBLISH_BYTES)
		worker_publish(worker);
}

void worker_publish(struct worker *worker)
{
	for (unsigned to = 0; worker->handed; to++, worker->handed >>= 1) {
		if (worker->handed & 1)
			handover_publish(worker->crew[to]->inbox, worker->index);
	}
	worker->handed_bytes = 0;
}

static void on_inbox(void *user)
{
	struct worker *worker = user;

	uv_async_send(&worker->knock);
}

static void on_knock(uv_async_t *knock)
{
	(void)knock; /* after_sleep takes what there is */
}

static void on_no_sleep(uv_idle_t *no_sleep)
{
	(void)no_sleep; /* that it runs is all: the loop does not wait */
}

static void look_for_more(struct worker *worker)
{
	const uint64_t *counts = worker->counts.of;
	/* What is joined counts twice: it is never alone. */
	uint64_t carried = counts[COUNT_TUN_READS] + counts[COUNT_TUN_SUPER_RX] +
			   counts[COUNT_TUN_WRITES] + counts[COUNT_TUN_SUPER_TX];

	if (!worker->stopped && awake_stays(&worker->awake, carried, clock_now_us()))
		uv_idle_start(&worker->no_sleep, on_no_sleep);
	else
		uv_idle_stop(&worker->no_sleep);
}

static void on_before_sleep(uv_prepare_t *prepare)
{
	struct worker *worker = prepare->data;

	worker->turn_us = 0;
	if (worker->options.is_client)
		look_for_more(worker);
	if (!worker->inbox || handover_may_sleep(worker->inbox))
		return;
	outbound_take_handed(worker);
	if (!handover_may_sleep(worker->inbox))
		uv_async_send(&worker->knock); /* the sockets have their turn first */
}

static void on_after_sleep(uv_check_t *check)
{
	struct worker *worker = check->data;

	handover_wake_up(worker->inbox);
	outbound_take_handed(worker);
}

static void open_inbox(struct worker *worker)
{
	worker->inbox = handover_new(worker->crew_count, on_inbox, worker);
	uv_async_init(&worker->loop, &worker->knock, on_knock);
	uv_check_init(&worker->loop, &worker->after_sleep);
	worker->after_sleep.data = worker;
	uv_check_start(&worker->after_sleep, on_after_sleep);
}

/* ---- the thread ---- */

static void on_tun(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	outbound_run(poll->data);
}

static void on_rest(uv_idle_t *rest)
{
	outbound_run(rest->data);
}

void worker_come_back(struct worker *worker, bool soon)
{
	if (soon && !worker->stopped)
		uv_idle_start(&worker->rest, on_rest);
	else
		uv_idle_stop(&worker->rest);
}

/* Packets have had their turn. The new ones and who shakes hands get theirs by turns. */
static void on_spare(uv_idle_t *spare)
{
	struct worker *worker = spare->data;
	int64_t until_us = clock_now_us() + SPARE_US;
	bool more;

	do {
		more = greet_newcomer(worker);
		more |= inbound_shake_hands(worker);
	} while (more && clock_now_us() < until_us);
	inbound_flush(worker);
	worker_flush(worker);
	if (!more)
		uv_idle_stop(spare);
}

void worker_spare_time(struct worker *worker)
{
	if (!worker->stopped)
		uv_idle_start(&worker->spare, on_spare);
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
	move_forget_farewells(worker, clock_now_us());
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
	event = make_event(worker, WORKER_STOPPED, NULL);
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
	uv_idle_init(&worker->loop, &worker->rest);
	worker->rest.data = worker;
	uv_timer_init(&worker->loop, &worker->tick);
	worker->tick.data = worker;
	uv_timer_start(&worker->tick, on_tick, LIVENESS_TICK_MS, LIVENESS_TICK_MS);
	report_open(worker);
	uv_idle_init(&worker->loop, &worker->spare);
	worker->spare.data = worker;
	uv_idle_init(&worker->loop, &worker->no_sleep);
	uv_prepare_init(&worker->loop, &worker->before_sleep);
	worker->before_sleep.data = worker;
	uv_prepare_start(&worker->before_sleep, on_before_sleep);
	open_sockets(worker);
	if (worker->crew_count > 1)
		open_inbox(worker);
}

static struct worker *make_worker(const struct worker_options *options)
{
	struct worker *worker = xnew(struct worker);

	worker->options = *options;
	if (dtls_setup_init(&worker->dtls) < 0) {
		free(worker);
		return NULL;
	}
	flow_table_init(&worker->table);
	batch_init(&worker->batch, &worker->counts);
	worker->plain = xalloc_zero(1, CSTP_RECORD_MAX);
	worker->join_packet = xalloc_zero(1, OFFLOAD_JOIN_MAX + CSTP_RECORD_MAX);
	worker->join.packet = worker->join_packet;
	return worker;
}

int worker_start(const struct worker_options *options, size_t count, struct worker **ret)
{
	struct worker **crew = xnew_array(struct worker *, count);
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		crew[i] = make_worker(&options[i]);
		if (!crew[i])
			return -EIO; /* the process ends: nothing is taken apart */
		crew[i]->index = (unsigned)i;
		crew[i]->crew = crew;
		crew[i]->crew_count = count;
		open_loop(crew[i]);
		ret[i] = crew[i];
	}
	for (size_t i = 0; i < count && r == 0; i++)
		r = -pthread_create(&crew[i]->thread, NULL, run, crew[i]);
	return r;
}

void worker_post(struct worker *worker, struct worker_order *order)
{
	mailbox_post(worker->orders, &order->message);
}

static void close_mailbox(struct worker *worker)
{
	mailbox_free(worker->orders);
	if (worker->inbox)
		uv_close((uv_handle_t *)&worker->knock, NULL);
	uv_run(&worker->loop, UV_RUN_NOWAIT);
}

static void free_worker(struct worker *worker)
{
	for (size_t i = 0; i < worker->options.socket_count; i++)
		udp_receiver_free(worker->sockets[i].receiver);
	uv_loop_close(&worker->loop);
	dtls_setup_done(&worker->dtls);
	flow_table_done(&worker->table);
	batch_done(&worker->batch);
	handover_free(worker->inbox);
	move_forget_farewells(worker, INT64_MAX);
	bulk_done(&worker->bulk);
	backlog_done(&worker->backlog);
	free(worker->plain);
	free(worker->join_packet);
	free(worker);
}

void worker_free(struct worker **workers, size_t count)
{
	struct worker **crew = count ? workers[0]->crew : NULL;

	for (size_t i = 0; i < count; i++)
		pthread_join(workers[i]->thread, NULL);
	/* Main and the others post until here: only now is a mailbox nobody else's. What waits in
	 * it is acknowledged, and the loop runs once more to close it. */
	for (size_t i = 0; i < count; i++)
		close_mailbox(workers[i]);
	for (size_t i = 0; i < count; i++)
		free_worker(workers[i]);
	free(crew);
}
