/* A row of every flow, for main. To look at ten thousand flows takes milliseconds, most of them
 * waiting for memory, and packets do not wait for that: a slice of the flows, then a turn of the
 * loop.
 *
 *	ask ──▶ begin ──▶ slice ──turn──▶ slice ... ──▶ end ──▶ (whoever asked meanwhile: begin)
 *
 * Between slices flows come, and are in it; go, and are taken out again: what a flow has carried
 * on this worker counts once, in its row or with those that are gone, and never goes back from one
 * report to the next. */
#include "data/report.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "data/worker.h"

enum { SLICE = 64 /* flows: a tenth of a millisecond */ };

struct report_question {
	struct report_question *next;
	void *tag;
};

/* ---- rows ---- */

static void describe_flow(const struct flow *flow, int64_t now_us, struct worker_flow_report *ret)
{
	*ret = (struct worker_flow_report){
		.id = flow->spec.id,
		.session = flow->spec.session,
		.traffic = flow->traffic,
		.over_dtls = flow->over_dtls,
		.is_open = flow->state == FLOW_OPEN,
		.mtu = flow->mtu,
		.idle_us = now_us - flow->carried_us,
	};
	memcpy(ret->drops, flow->drops, sizeof(ret->drops));
	if (!flow->active)
		return;
	ret->peer = flow->active->path.peer;
	snprintf(ret->cipher, sizeof(ret->cipher), "%s", dtls_cipher(flow->active->dtls));
}

static struct worker_flow_report *add_row(struct report *report)
{
	struct worker_event *event = report->event;

	if (event->flow_count == report->room) {
		report->room = 2 * report->room + SLICE;
		event->flows =
			xalloc_grow(event->flows, report->room, sizeof(struct worker_flow_report));
	}
	return &event->flows[event->flow_count++];
}

static void add_flow(struct report *report, struct flow *flow, int64_t now_us)
{
	struct worker_flow_report *row;

	row = add_row(report);
	describe_flow(flow, now_us, row);
	flow_add_traffic(&report->event->traffic, &row->traffic);
	flow->report = report->number;
	flow->report_row = report->event->flow_count - 1;
}

static void take_away(struct flow_traffic *sum, const struct flow_traffic *less)
{
	sum->rx_bytes -= less->rx_bytes;
	sum->tx_bytes -= less->tx_bytes;
	sum->rx_packets -= less->rx_packets;
	sum->tx_packets -= less->tx_packets;
}

void report_leave(struct worker *worker, struct flow *flow)
{
	struct report *report = &worker->report;
	struct worker_flow_report *row;

	flow_add_traffic(&worker->carried, &flow->traffic);
	if (!report->event || flow->report != report->number)
		return;
	row = &report->event->flows[flow->report_row];
	take_away(&report->event->traffic, &row->traffic);
	row->id = 0;
	flow->report = 0;
	report->ended++;
}

static void drop_ended(struct report *report)
{
	struct worker_event *event = report->event;
	size_t kept = 0;

	for (size_t i = 0; report->ended && i < event->flow_count; i++) {
		if (event->flows[i].id)
			event->flows[kept++] = event->flows[i];
	}
	event->flow_count -= report->ended;
}

/* ---- from question to answer ---- */

static void begin(struct worker *worker)
{
	struct report *report = &worker->report;
	struct report_question *question = report->waiting;
	struct worker_event *event = xnew(struct worker_event);

	report->waiting = question->next;
	event->kind = WORKER_REPORTED;
	event->worker = worker->index;
	event->tag = question->tag;
	free(question);
	report->event = event;
	report->number++;
	report->room = report->ended = 0;
	worker->table.cursor = worker->table.flows;
}

static void end(struct worker *worker)
{
	struct report *report = &worker->report;
	struct worker_event *event = report->event;

	drop_ended(report);
	report->event = NULL;
	flow_add_traffic(&event->traffic, &worker->carried);
	event->counts = worker->counts;
	event->udp_offloads = UDP_OFFLOAD_GSO | UDP_OFFLOAD_GRO;
	for (size_t i = 0; i < worker->options.socket_count; i++)
		event->udp_offloads &= worker->sockets[i].out.offloads;
	mailbox_post(worker->options.events, &event->message);
}

/* Of the one under way, so many flows more; the next begins behind it. */
static void go_on(struct worker *worker, size_t count)
{
	struct report *report = &worker->report;
	struct flow_table *table = &worker->table;
	int64_t now_us = clock_now_us();

	for (; table->cursor && count > 0; count--) {
		struct flow *flow = table->cursor;

		table->cursor = flow->hh.next;
		add_flow(report, flow, now_us);
	}
	if (table->cursor)
		return;
	end(worker);
	if (report->waiting)
		begin(worker);
}

static void on_turn(uv_idle_t *turn)
{
	struct worker *worker = turn->data;

	go_on(worker, SLICE);
	if (!worker->report.event)
		uv_idle_stop(turn);
}

void report_open(struct worker *worker)
{
	uv_idle_init(&worker->loop, &worker->report.turn);
	worker->report.turn.data = worker;
}

void report_ask(struct worker *worker, void *tag)
{
	struct report *report = &worker->report;
	struct report_question *question = xnew(struct report_question), **link = &report->waiting;

	question->tag = tag;
	while (*link)
		link = &(*link)->next;
	*link = question;
	if (report->event)
		return;
	begin(worker);
	go_on(worker, SLICE);
	if (report->event)
		uv_idle_start(&report->turn, on_turn);
}

void report_finish(struct worker *worker)
{
	while (worker->report.event)
		go_on(worker, SIZE_MAX);
}
