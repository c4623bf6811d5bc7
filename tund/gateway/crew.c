/* Which worker has a session's flow, from main's side. session->worker has it; session->bound_for is
 * where it goes, the same while it stays; session->wanted is the latest worker to ask for it, and
 * the next to get it when it has arrived.
 *
 *	crew_attach ──▶ worker = bound_for = wanted
 *	WORKER_GUEST ──▶ wanted ──nothing under way──▶ bound_for, RELEASE ──WORKER_MOVED──▶ worker
 *
 * What is said of a flow that does not carry its session any more counts for nothing. */
#include "gateway/crew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "gateway/cut.h"

/* ---- start and end ---- */

static struct worker_options options_of(const struct gateway *gateway, size_t index)
{
	const struct gateway_options *options = &gateway->options;
	struct worker_options worker = {
		.tun_fd = options->tun_fds[index],
		.tun_offloads = options->tun_offloads,
		.socket_count = options->listener_count,
		.hello_verify = gateway->config->gateway.hello_verify,
		.idle_us = gateway->config->gateway.idle_timeout_s * CLOCK_SECOND_US,
		.events = gateway->worker_events,
	};

	for (size_t i = 0; i < options->listener_count; i++) {
		const struct gateway_socket *socket = &options->listeners[i];

		worker.sockets[i].fd = socket->udp[index];
		worker.sockets[i].offloads = socket->udp_offloads;
		worker.sockets[i].family = socket->at.any.sa_family == AF_INET6 ? 6 : 4;
	}
	return worker;
}

int crew_start(struct gateway *gateway)
{
	size_t count = gateway->options.worker_count;
	_cleanup_free_ struct worker_options *options = xnew_array(struct worker_options, count);

	for (size_t i = 0; i < count; i++)
		options[i] = options_of(gateway, i);
	gateway->crew.count = count;
	gateway->crew.workers = xnew_array(struct worker *, count);
	gateway->crew.flows = xnew_array(size_t, count);
	return worker_start(options, count, gateway->crew.workers);
}

void crew_free(struct gateway *gateway)
{
	worker_free(gateway->crew.workers, gateway->crew.count);
	free(gateway->crew.workers);
	free(gateway->crew.flows);
}

/* ---- orders ---- */

static struct worker_order *make_order(enum worker_order_kind kind, const struct session *session)
{
	struct worker_order *order = xnew(struct worker_order);

	order->kind = kind;
	order->session = session->id;
	order->flow = session->flow;
	return order;
}

static void post(struct gateway *gateway, size_t worker, struct worker_order *order)
{
	worker_post(gateway->crew.workers[worker], order);
}

/* To all but one; what the order owns is copied for each. */
static void post_others(struct gateway *gateway, size_t but, const struct worker_order *order)
{
	for (size_t i = 0; i < gateway->crew.count; i++) {
		struct worker_order *copy;

		if (i == but)
			continue;
		copy = xnew(struct worker_order);
		*copy = *order;
		copy->spec = flow_spec_copy(&order->spec);
		post(gateway, i, copy);
	}
}

/* ---- who has which flow ---- */

static size_t find_idlest(const struct gateway *gateway)
{
	size_t idlest = 0;

	for (size_t i = 1; i < gateway->crew.count; i++) {
		if (gateway->crew.flows[i] < gateway->crew.flows[idlest])
			idlest = i;
	}
	return idlest;
}

static void leave_worker(struct gateway *gateway, struct session *session)
{
	if (session->flow)
		gateway->crew.flows[session->worker]--;
	session->flow = 0;
}

/* The others know it before its device can have heard of it, and may turn to any of them. */
void crew_attach(struct gateway *gateway, struct session *session, struct flow_spec *spec)
{
	unsigned to = session->flow ? session->bound_for : (unsigned)find_idlest(gateway);
	struct worker_order *order = make_order(WORKER_LEARN, session);

	leave_worker(gateway, session);
	session->flow = spec->id;
	session->worker = session->bound_for = session->wanted = to;
	gateway->crew.flows[to]++;
	order->to = to;
	order->spec = *spec;
	explicit_bzero(spec, sizeof(*spec));
	post_others(gateway, to, order);
	order->kind = WORKER_ATTACH;
	post(gateway, to, order);
}

void crew_forget(struct gateway *gateway, struct session *session)
{
	struct worker_order order = {
		.kind = WORKER_FORGET,
		.session = session->id,
		.flow = session->flow,
	};

	leave_worker(gateway, session);
	post_others(gateway, gateway->crew.count, &order);
}

static void go_on(struct gateway *gateway, struct session *session)
{
	struct worker_order *order;

	if (session->worker != session->bound_for || session->wanted == session->worker)
		return;
	session->bound_for = session->wanted;
	order = make_order(WORKER_RELEASE, session);
	order->to = session->bound_for;
	post(gateway, session->worker, order);
}

static struct session *find_carried(const struct gateway *gateway, const struct worker_event *event)
{
	struct session *session = session_table_find(&gateway->sessions, event->session);

	return session && session->flow == event->flow ? session : NULL;
}

void crew_take_guest(struct gateway *gateway, const struct worker_event *event)
{
	struct session *session = find_carried(gateway, event);

	if (!session)
		return;
	session->wanted = event->worker;
	go_on(gateway, session);
}

void crew_take_moved(struct gateway *gateway, const struct worker_event *event)
{
	struct session *session = find_carried(gateway, event);

	if (!session)
		return;
	gateway->crew.flows[session->worker]--;
	gateway->crew.flows[event->worker]++;
	session->worker = session->bound_for = event->worker;
	post_others(gateway, event->worker,
		    &(struct worker_order){.kind = WORKER_WHERE,
					   .session = session->id,
					   .flow = session->flow,
					   .to = event->worker});
	go_on(gateway, session);
}

/* ---- to all ---- */

void crew_cut(struct gateway *gateway, struct session *session, enum reason reason,
	      const char *text, struct gateway_cut *then)
{
	struct worker_order order = {
		.kind = WORKER_CUT,
		.session = session->id,
		.reason = reason,
		.silent = text == NULL,
		.tag = then,
	};

	snprintf(order.text, sizeof(order.text), "%s", text ? text : "");
	for (size_t i = 0; then && i < gateway->crew.count; i++)
		cut_expect(then);
	leave_worker(gateway, session);
	post_others(gateway, gateway->crew.count, &order);
}

void crew_set_rules(struct gateway *gateway, const struct session *session, struct flow_spec *spec,
		    struct gateway_cut *then)
{
	struct worker_order order = {
		.kind = WORKER_RULES,
		.session = session->id,
		.spec = *spec,
		.tag = then,
	};

	for (size_t i = 0; i < gateway->crew.count; i++)
		cut_expect(then);
	post_others(gateway, gateway->crew.count, &order);
	flow_spec_done(spec);
}

void crew_tune(struct gateway *gateway)
{
	const struct config_gateway *config = &gateway->config->gateway;
	struct worker_order order = {
		.kind = WORKER_TUNE,
		.hello_verify = config->hello_verify,
		.spec.idle_us = config->idle_timeout_s * CLOCK_SECOND_US,
	};

	post_others(gateway, gateway->crew.count, &order);
}

void crew_stop(struct gateway *gateway)
{
	/* Without a DISCONNECT: clients reconnect, to this gateway when it is back or to another.
	 */
	struct worker_order order = {
		.kind = WORKER_STOP,
		.reason = REASON_SHUTDOWN,
		.silent = true,
	};

	post_others(gateway, gateway->crew.count, &order);
}

bool crew_take_stopped(struct gateway *gateway)
{
	return ++gateway->crew.stopped == gateway->crew.count;
}

/* ---- reports ---- */

void crew_report(struct gateway *gateway, struct gateway_report *report)
{
	struct worker_order order = {.kind = WORKER_REPORT, .tag = report};

	report->waiting = gateway->crew.count;
	report->udp_offloads = ~0U;
	post_others(gateway, gateway->crew.count, &order);
}

static void add_event(struct gateway_report *report, const struct worker_event *event)
{
	for (int i = 0; i < COUNT_MAX; i++)
		report->counts.of[i] += event->counts.of[i];
	flow_add_traffic(&report->traffic, &event->traffic);
	report->udp_offloads &= event->udp_offloads;
	report->flows = xalloc_grow(report->flows, report->flow_count + event->flow_count,
				    sizeof(*report->flows));
	if (event->flow_count)
		memcpy(report->flows + report->flow_count, event->flows,
		       event->flow_count * sizeof(*report->flows));
	report->flow_count += event->flow_count;
}

/* A session's latest open flow comes first. */
static int compare_flows(const void *a, const void *b)
{
	const struct worker_flow_report *left = a, *right = b;

	if (left->session != right->session)
		return left->session < right->session ? -1 : 1;
	if (left->is_open != right->is_open)
		return left->is_open ? -1 : 1;
	return left->id > right->id ? -1 : left->id < right->id;
}

/* One row a session, by session: what drains or has been left behind carries for the one that is
 * open. */
static void fold_flows(struct gateway_report *report)
{
	struct worker_flow_report *flows = report->flows;
	size_t count = 0;

	if (report->flow_count)
		qsort(flows, report->flow_count, sizeof(*flows), compare_flows);
	for (size_t i = 0; i < report->flow_count; i++) {
		if (count && flows[count - 1].session == flows[i].session)
			flow_add_traffic(&flows[count - 1].traffic, &flows[i].traffic);
		else
			flows[count++] = flows[i];
	}
	report->flow_count = count;
}

bool crew_take_report(struct worker_event *event)
{
	struct gateway_report *report = event->tag;

	add_event(report, event);
	if (--report->waiting)
		return false;
	fold_flows(report);
	return true;
}
