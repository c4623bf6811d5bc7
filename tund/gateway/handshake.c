/* One connection from accept to ATTACH:
 *
 *	TLS ──▶ REQUEST ──POST, GET──▶ ASKING ──cookie──▶ REQUEST
 *	 │         └───────CONNECT───▶ ASKING ──session──▶ (all of it is main's: done)
 *	 └──verdict no, bad request, refused by main, too late──▶ REFUSED ──drained──▶ (closed)
 *
 * TLS      the handshake; pki/verify gives the verdict inside it, the key holder signs
 * REQUEST  one HTTP request at a time, strictly: small, no pipelining, a handful in all
 * ASKING   main decides (gateway/admission); nothing is read meanwhile
 * REFUSED  the alert or answer is out, our half is closed, the peer's is drained, bounded: closing
 *          at once would reset the connection and lose what was said
 *
 * A thread runs many connections on its own loop; each has a deadline from accept on. */
#include "gateway/handshake.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <openssl/err.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "key/remote.h"
#include "sys/udp.h"

enum {
	REQUESTS_MAX = 16,
	REQUEST_BYTES = HTTP_HEAD_MAX + HTTP_BODY_MAX,
	DRAIN_BYTES = 256 * 1024,
	DRAIN_US = 2 * 1000000,
	NICE = 10, /* a tenth of what a worker gets when both want all of a core */
};

enum handshake_state { HANDSHAKE_TLS, HANDSHAKE_REQUEST, HANDSHAKE_ASKING, HANDSHAKE_REFUSED };

static const char *const state_names[] = {
	[HANDSHAKE_TLS] = "tls",
	[HANDSHAKE_REQUEST] = "request",
	[HANDSHAKE_ASKING] = "asking",
	[HANDSHAKE_REFUSED] = "refused",
};

/* What a thread's next connection begins with. OpenSSL counts references to what is in it: those
 * under way keep theirs. */
struct handshake_setup {
	struct tls_setup tls;
	EVP_PKEY *key;
	int64_t timeout_us;
};

struct handshake_setups { /* one for each thread */
	size_t count;
	struct handshake_setup of[HANDSHAKE_THREADS_MAX];
};

struct handshake_thread {
	struct handshake_pool *pool;
	pthread_t thread;
	uv_loop_t loop;
	uv_timer_t tick;
	struct mailbox *orders;
	struct handshake_setup setup;
	struct handshake *first; /* all that are under way, but those that main has */
	atomic_uint load;	 /* of them, and of those that are to come */
};

struct handshake_pool {
	struct handshake_pool_options options;
	struct handshake_thread threads[HANDSHAKE_THREADS_MAX];
	atomic_bool hurry;
};

struct handshake {
	struct handshake_thread *thread;
	struct handshake *next, **link; /* in the thread's list */
	enum handshake_state state;
	struct tls *tls; /* NULL while main has it */
	uv_poll_t *poll;
	struct endpoint peer, local;
	char id[TLS_ID_TEXT];
	int64_t deadline_us, hurry_us; /* of the latter only in a hurry */
	struct buf request;
	unsigned requests;
	size_t drained;
	enum reason reason;
	struct identity_cert *cert, *about; /* whom it names; whose fault a refusal is */
	uint64_t generation;
	bool reported;
};

enum order_kind { ORDER_ACCEPT, ORDER_ANSWER, ORDER_ADOPT, ORDER_STOP };

struct order {
	struct mailbox_message message;
	enum order_kind kind;
	int fd;
	struct endpoint peer, local;
	struct trust *trust;
	struct handshake *handshake;
	struct handshake_answer answer;
	struct handshake_setup setup;
};

/* ---- telling main ---- */

static struct handshake_event *make_event(struct handshake *handshake,
					  enum handshake_event_kind kind)
{
	struct handshake_event *event = xnew(struct handshake_event);

	event->kind = kind;
	event->handshake = handshake;
	event->reason = handshake->reason;
	event->peer = handshake->peer;
	event->local = handshake->local;
	event->generation = handshake->generation;
	memcpy(event->id, handshake->id, sizeof(event->id));
	if (handshake->cert)
		event->cert = identity_cert_ref(handshake->cert);
	return event;
}

static void tell(struct handshake *handshake, struct handshake_event *event)
{
	mailbox_post(handshake->thread->pool->options.events, &event->message);
}

static void tell_ended(struct handshake *handshake, const char *text)
{
	struct handshake_event *event = make_event(handshake, HANDSHAKE_ENDED);
	const struct tls *tls = handshake->tls;

	snprintf(event->text, sizeof(event->text), "%s", text);
	event->by_peer = tls && tls->alert >= 0 && !(tls->asked && tls->verdict.reason);
	if (handshake->about)
		event->about = identity_cert_ref(handshake->about);
	tell(handshake, event);
}

static void free_handshake(struct handshake *handshake)
{
	if (!handshake)
		return;
	tls_free(handshake->tls);
	identity_cert_unref(handshake->cert);
	identity_cert_unref(handshake->about);
	buf_wipe(&handshake->request);
	free(handshake);
}

void handshake_event_free(struct handshake_event *event)
{
	if (!event)
		return;
	if (event->kind == HANDSHAKE_CONNECT)
		free_handshake(event->handshake);
	identity_cert_unref(event->cert);
	identity_cert_unref(event->about);
	tls_free(event->tls);
	explicit_bzero(event, sizeof(*event));
	free(event);
}

/* ---- states ---- */

static void handshake_enter(struct handshake *handshake, enum handshake_state state)
{
	char peer[ADDR_ENDPOINT_TEXT];

	log_debug("handshake %s %s: %s -> %s", handshake->id,
		  addr_endpoint_print(&handshake->peer, peer), state_names[handshake->state],
		  state_names[state]);
	handshake->state = state;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct handshake *handshake)
{
	int events = UV_READABLE;

	if (!handshake->poll)
		return;
	if (tls_wants_write(handshake->tls))
		events |= UV_WRITABLE;
	uv_poll_start(handshake->poll, events, on_poll);
}

static void start_watching(struct handshake *handshake)
{
	handshake->poll = xnew(uv_poll_t);
	uv_poll_init(&handshake->thread->loop, handshake->poll, handshake->tls->fd);
	handshake->poll->data = handshake;
	watch(handshake);
}

static void join_thread(struct handshake *handshake)
{
	struct handshake_thread *thread = handshake->thread;

	handshake->next = thread->first;
	handshake->link = &thread->first;
	if (thread->first)
		thread->first->link = &handshake->next;
	thread->first = handshake;
}

static void leave_thread(struct handshake *handshake)
{
	*handshake->link = handshake->next;
	if (handshake->next)
		handshake->next->link = handshake->link;
	atomic_fetch_sub(&handshake->thread->load, 1);
}

static void close_handshake(struct handshake *handshake)
{
	if (!handshake->reported)
		tell_ended(handshake, "");
	loop_close_poll(&handshake->poll);
	leave_thread(handshake);
	free_handshake(handshake);
}

static const char *who(const struct handshake *handshake, char *buf, size_t size)
{
	char peer[ADDR_ENDPOINT_TEXT];
	const struct identity_cert *cert = handshake->cert;

	addr_endpoint_print(&handshake->peer, peer);
	if (cert && cert->identity.name[0])
		snprintf(buf, size, "%s (%s)", cert->identity.name, peer);
	else
		snprintf(buf, size, "%s", peer);
	return buf;
}

/* Says what is in the output, then waits for the peer to close. */
static void refuse(struct handshake *handshake, enum reason reason, const char *text)
{
	char name[IDENTITY_NAME_MAX + ADDR_ENDPOINT_TEXT + 4];

	handshake->reason = reason;
	log_warn("refused %s: %s: %s (handshake %s)", who(handshake, name, sizeof(name)),
		 reason_word(reason), text, handshake->id);
	tell_ended(handshake, text);
	handshake->reported = true;
	handshake_enter(handshake, HANDSHAKE_REFUSED);
	handshake->deadline_us = clock_now_us() + DRAIN_US;
	if (tls_flush(handshake->tls) != TLS_AGAIN)
		tls_shutdown(handshake->tls);
	watch(handshake);
}

/* ---- REQUEST: answers ---- */

static const char *status_text(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 413:
		return "Content Too Large";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Service Unavailable";
	}
}

static void respond_refusal(struct handshake *handshake, unsigned status, enum reason reason,
			    const char *text)
{
	struct buf answer = {0};

	buf_print(
		&answer,
		"HTTP/1.1 %u %s\r\nContent-Length: 0\r\nConnection: close\r\nX-Reason: %s\r\n\r\n",
		status, status_text(status), reason_word(reason));
	tls_write(handshake->tls, answer.data, answer.len);
	buf_done(&answer);
	refuse(handshake, reason, text);
}

/* What makes a client of this protocol go straight to CONNECT. */
static void respond_login(struct handshake *handshake, const char *cookie)
{
	static const char body[] =
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<config-auth client=\"vpn\" type=\"complete\"><auth id=\"success\">"
		"</auth></config-auth>\n";
	struct buf answer = {0};

	buf_print(&answer,
		  "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %zu\r\n"
		  "X-Transcend-Version: 1\r\nSet-Cookie: webvpn=%s; Secure; HttpOnly\r\n"
		  "X-Tund: 1\r\n\r\n%s",
		  sizeof(body) - 1, cookie, body);
	tls_write(handshake->tls, answer.data, answer.len);
	tls_flush(handshake->tls);
	buf_wipe(&answer);
	handshake_enter(handshake, HANDSHAKE_REQUEST);
	watch(handshake);
}

/* ---- REQUEST: one request ---- */

static void ask_login(struct handshake *handshake)
{
	handshake_enter(handshake, HANDSHAKE_ASKING);
	uv_poll_stop(handshake->poll);
	tell(handshake, make_event(handshake, HANDSHAKE_LOGIN));
}

/* All of it goes along, and is main's from here on: a yes makes the TLS object a session's channel, and
 * nobody here needs to hear of it; a no brings both back. */
static void ask_connect(struct handshake *handshake, const struct http_head *head)
{
	struct handshake_event *event = make_event(handshake, HANDSHAKE_CONNECT);
	int mtu = udp_path_mtu(handshake->tls->fd);

	tunnel_params_read_offer(head, &event->offer);
	event->path_mtu = mtu > 0 ? (unsigned)mtu : 0;
	if (event->offer.psk)
		event->has_psk = tls_export_psk(handshake->tls, event->psk) == 0;
	handshake_enter(handshake, HANDSHAKE_ASKING);
	loop_close_poll(&handshake->poll);
	tls_rest(handshake->tls);
	event->tls = take(handshake->tls);
	handshake->request.len = 0;
	leave_thread(handshake);
	tell(handshake, event);
}

static bool is_login(const struct http_head *head)
{
	return http_text_is(head->method, "POST") || http_text_is(head->method, "GET");
}

/* False when the handshake is main's now. */
static bool take_request(struct handshake *handshake, const struct http_head *head)
{
	if (++handshake->requests > REQUESTS_MAX) {
		respond_refusal(handshake, 503, REASON_PROTOCOL_ERROR,
				"too many requests on one connection");
	} else if (is_login(head)) {
		ask_login(handshake);
	} else if (!http_text_is(head->method, "CONNECT")) {
		respond_refusal(handshake, 405, REASON_PROTOCOL_ERROR,
				"a method other than POST, GET and CONNECT");
	} else if (!http_text_is(head->target, "/CSCOSSLC/tunnel")) {
		respond_refusal(handshake, 404, REASON_PROTOCOL_ERROR,
				"CONNECT to something that is not the tunnel");
	} else {
		ask_connect(handshake, head);
		return false;
	}
	if (handshake->state != HANDSHAKE_REFUSED)
		handshake->request.len = 0;
	return true;
}

static void refuse_request(struct handshake *handshake, enum http_error error)
{
	switch (error) {
	case HTTP_TOO_LARGE:
		respond_refusal(handshake, 413, REASON_PROTOCOL_ERROR, "a request beyond limits");
		break;
	case HTTP_VERSION:
		respond_refusal(handshake, 505, REASON_PROTOCOL_ERROR, "not HTTP/1.1");
		break;
	default:
		respond_refusal(handshake, 400, REASON_PROTOCOL_ERROR, "a malformed request");
		break;
	}
}

/* What has been received so far: a whole request, or part of one. False when the handshake is main's
 * now. */
static bool look_at_request(struct handshake *handshake)
{
	struct buf *request = &handshake->request;
	struct http_head head;
	size_t head_len, len;
	enum http_error error =
		http_read_request((const char *)request->data, request->len, &head, &head_len);

	if (error == HTTP_MORE)
		return true;
	if (error) {
		refuse_request(handshake, error);
		return true;
	}
	len = head_len + head.content_length;
	if (request->len < len)
		return true;
	if (request->len > len) { /* nothing may follow before the answer */
		refuse_request(handshake, HTTP_MALFORMED);
		return true;
	}
	return take_request(handshake, &head);
}

/* The peer went away: no news, unless it had been let in and refused us. */
static void lose_peer(struct handshake *handshake)
{
	char text[HANDSHAKE_TEXT], name[IDENTITY_NAME_MAX + ADDR_ENDPOINT_TEXT + 4];

	if (handshake->tls->alert >= 0) {
		handshake->reason = tls_failure(handshake->tls, text, sizeof(text));
		log_warn("%s left: %s (handshake %s)", who(handshake, name, sizeof(name)), text,
			 handshake->id);
		tell_ended(handshake, text);
		handshake->reported = true;
	}
	close_handshake(handshake);
}

static void run_request(struct handshake *handshake)
{
	while (handshake->state == HANDSHAKE_REQUEST) {
		uint8_t *room = buf_reserve(&handshake->request, TLS_RECORD_MAX);
		enum tls_result result;
		size_t len;

		if (!room) {
			refuse_request(handshake, HTTP_TOO_LARGE);
			return;
		}
		result = tls_read(handshake->tls, room, TLS_RECORD_MAX, &len);
		if (result == TLS_AGAIN)
			break;
		if (result != TLS_DONE) {
			lose_peer(handshake);
			return;
		}
		handshake->request.len += len;
		if (!look_at_request(handshake))
			return;
	}
	if (handshake->state == HANDSHAKE_REQUEST) {
		tls_flush(handshake->tls);
		watch(handshake);
	}
}

/* ---- TLS ---- */

static void log_accepted(const struct handshake *handshake)
{
	const struct identity_cert *cert = handshake->cert;
	char peer[ADDR_ENDPOINT_TEXT];

	log_info("accepted %s \"%s\" serial %s from %s, %s %s %s (handshake %s)",
		 cert->identity.name, cert->subject, cert->serial,
		 addr_endpoint_print(&handshake->peer, peer), tls_version(handshake->tls),
		 tls_cipher(handshake->tls), tls_group(handshake->tls), handshake->id);
}

static void take_cert(struct handshake *handshake)
{
	struct verdict *verdict = &handshake->tls->verdict;

	if (verdict->cert && !handshake->cert)
		handshake->cert = identity_cert_ref(verdict->cert);
	if (verdict->about && !handshake->about)
		handshake->about = identity_cert_ref(verdict->about);
	handshake->generation = handshake->tls->trust->generation;
	tls_id(handshake->tls, handshake->id);
}

static void fail_tls(struct handshake *handshake)
{
	char text[HANDSHAKE_TEXT];
	enum reason reason;

	reason = tls_failure(handshake->tls, text, sizeof(text));
	take_cert(handshake);
	refuse(handshake, reason, text);
}

static void run_tls(struct handshake *handshake)
{
	enum tls_result result = tls_handshake(handshake->tls);

	switch (result) {
	case TLS_AGAIN:
		if (tls_flush(handshake->tls) == TLS_FAILED)
			close_handshake(handshake);
		else
			watch(handshake);
		return;
	case TLS_CLOSED:
		if (handshake->tls->asked || handshake->tls->alert >= 0) {
			fail_tls(handshake);
			return;
		}
		close_handshake(handshake);
		return;
	case TLS_FAILED:
		fail_tls(handshake);
		return;
	case TLS_DONE:
		break;
	}
	take_cert(handshake);
	log_accepted(handshake);
	handshake_enter(handshake, HANDSHAKE_REQUEST);
	handshake->request.limit = REQUEST_BYTES + TLS_RECORD_MAX;
	tls_flush(handshake->tls);
	run_request(handshake);
}

/* ---- REFUSED ---- */

static void run_refused(struct handshake *handshake)
{
	uint8_t rest[4096];

	if (tls_wants_write(handshake->tls) && tls_flush(handshake->tls) != TLS_AGAIN)
		tls_shutdown(handshake->tls);
	for (;;) {
		ssize_t len = recv(handshake->tls->fd, rest, sizeof(rest), 0);

		if (len < 0 && errno == EAGAIN)
			break;
		handshake->drained += len > 0 ? (size_t)len : 0;
		if (len <= 0 || handshake->drained > DRAIN_BYTES) {
			close_handshake(handshake);
			return;
		}
	}
	watch(handshake);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct handshake *handshake = poll->data;

	(void)status;
	if ((events & UV_WRITABLE) && tls_flush(handshake->tls) == TLS_AGAIN)
		return;
	switch (handshake->state) {
	case HANDSHAKE_TLS:
		run_tls(handshake);
		break;
	case HANDSHAKE_REQUEST:
		run_request(handshake);
		break;
	case HANDSHAKE_ASKING:
		break;
	case HANDSHAKE_REFUSED:
		run_refused(handshake);
		break;
	}
}

/* ---- orders and deadlines ---- */

static void take_connection(struct handshake_thread *thread, struct order *order)
{
	struct handshake *handshake = xnew(struct handshake);

	handshake->thread = thread;
	handshake->peer = order->peer;
	handshake->local = order->local;
	handshake->hurry_us = clock_now_us() + HANDSHAKE_HURRY_US;
	handshake->deadline_us = clock_now_us() + thread->setup.timeout_us;
	join_thread(handshake);
	handshake->tls = tls_new(&thread->setup.tls, true, order->fd, order->trust, NULL);
	trust_unref(order->trust);
	if (!handshake->tls) {
		handshake->reason = REASON_INTERNAL;
		close_handshake(handshake);
		return;
	}
	start_watching(handshake);
	run_tls(handshake);
}

static const char *text_of_refusal(enum reason reason)
{
	switch (reason) {
	case REASON_NO_ACCESS:
		return "no access or site block matches the identity";
	case REASON_FULL:
		return "no session or address is free";
	case REASON_DUPLICATE_IDENTITY:
		return "the identity is connected already";
	case REASON_PROTOCOL_ERROR:
		return "the cookie names no session of this identity";
	default:
		return reason_advice(reason);
	}
}

static void take_answer(struct handshake *handshake, struct handshake_answer *answer)
{
	if (answer->tls) {
		join_thread(handshake);
		atomic_fetch_add(&handshake->thread->load, 1);
		handshake->tls = take(answer->tls);
		start_watching(handshake);
	}
	if (answer->status == 200)
		respond_login(handshake, answer->cookie);
	else
		respond_refusal(handshake, answer->status, answer->reason,
				text_of_refusal(answer->reason));
}

static void setup_done(struct handshake_setup *setup)
{
	tls_setup_done(&setup->tls);
	EVP_PKEY_free(setup->key);
	*setup = (struct handshake_setup){0};
}

static void adopt_setup(struct handshake_thread *thread, const struct handshake_setup *setup)
{
	setup_done(&thread->setup);
	thread->setup = *setup;
}

static void close_handle(uv_handle_t *handle, void *orders)
{
	if (!uv_is_closing(handle) && handle != mailbox_handle(orders))
		uv_close(handle, NULL);
}

static void stop_thread(struct handshake_thread *thread)
{
	while (thread->first)
		close_handshake(thread->first);
	uv_walk(&thread->loop, close_handle, thread->orders);
	uv_stop(&thread->loop);
}

static void on_order(struct mailbox_message *message, void *owner)
{
	struct order *order = (struct order *)message;

	switch (order->kind) {
	case ORDER_ACCEPT:
		take_connection(owner, order);
		break;
	case ORDER_ANSWER:
		take_answer(order->handshake, &order->answer);
		break;
	case ORDER_ADOPT:
		adopt_setup(owner, &order->setup);
		break;
	case ORDER_STOP:
		stop_thread(owner);
		break;
	}
	explicit_bzero(order, sizeof(*order));
	free(order);
}

static bool is_late(const struct handshake *handshake, int64_t now_us)
{
	if (handshake->state == HANDSHAKE_ASKING)
		return false;
	if (now_us > handshake->deadline_us)
		return true;
	return handshake->state != HANDSHAKE_REFUSED && now_us > handshake->hurry_us &&
	       atomic_load(&handshake->thread->pool->hurry);
}

static void on_tick(uv_timer_t *timer)
{
	struct handshake_thread *thread = timer->data;
	struct handshake *handshake = thread->first;
	int64_t now_us = clock_now_us();

	while (handshake) {
		struct handshake *next = handshake->next;

		if (is_late(handshake, now_us) && handshake->state == HANDSHAKE_REFUSED)
			close_handshake(handshake);
		else if (is_late(handshake, now_us))
			refuse(handshake, REASON_HANDSHAKE_TIMEOUT,
			       "it did not finish connecting in time");
		handshake = next;
	}
}

/* ---- the pool ---- */

/* Packets of those who are connected go first: a storm gets what they leave. On Linux a thread has a
 * priority of its own. */
static void *run(void *argument)
{
	struct handshake_thread *thread = argument;

	if (setpriority(PRIO_PROCESS, 0, NICE) < 0)
		log_debug("handshakes keep the priority of packets: %s", strerror(errno));
	uv_run(&thread->loop, UV_RUN_DEFAULT);
	return NULL;
}

static int setup_init(struct handshake_setup *setup, const struct handshake_pool_options *options,
		      int key_socket, char *error, size_t size)
{
	struct tls_options tls = {
		.leaf = options->leaf,
		.chain = options->chain,
		.groups = options->groups,
		.hybrid = options->hybrid,
	};

	*setup = (struct handshake_setup){.timeout_us = options->timeout_us};
	setup->key = remote_key_new(options->spki, options->spki_len, key_socket,
				    options->key_generation);
	tls.key = setup->key;
	if (!setup->key) {
		snprintf(error, size, "the key holder's key cannot be used: %s",
			 ERR_reason_error_string(ERR_peek_last_error()));
		return -EINVAL;
	}
	if (tls_setup_init(&setup->tls, &tls, error, size) == 0)
		return 0;
	setup_done(setup);
	return -EINVAL;
}

static int open_thread(struct handshake_thread *thread, int key_socket, char *error, size_t size)
{
	int r = setup_init(&thread->setup, &thread->pool->options, key_socket, error, size);

	if (r < 0)
		return r;
	uv_loop_init(&thread->loop);
	thread->orders = mailbox_new(&thread->loop, on_order, thread);
	uv_timer_init(&thread->loop, &thread->tick);
	thread->tick.data = thread;
	uv_timer_start(&thread->tick, on_tick, 250, 250);
	return -pthread_create(&thread->thread, NULL, run, thread);
}

int handshake_pool_start(const struct handshake_pool_options *options, struct handshake_pool **ret,
			 char *error, size_t size)
{
	struct handshake_pool *pool = xnew(struct handshake_pool);

	pool->options = *options;
	for (size_t i = 0; i < options->threads; i++) {
		int r;

		pool->threads[i].pool = pool;
		r = open_thread(&pool->threads[i], options->key_sockets[i], error, size);
		if (r < 0)
			return r;
	}
	*ret = pool;
	return 0;
}

struct handshake_setups *handshake_setups_new(struct handshake_pool *pool,
					      const struct handshake_pool_options *options,
					      char *error, size_t size)
{
	struct handshake_setups *setups = xnew(struct handshake_setups);

	for (; setups->count < pool->options.threads; setups->count++) {
		if (setup_init(&setups->of[setups->count], options,
			       pool->options.key_sockets[setups->count], error, size) < 0) {
			handshake_setups_free(setups);
			return NULL;
		}
	}
	return setups;
}

void handshake_setups_free(struct handshake_setups *setups)
{
	if (!setups)
		return;
	for (size_t i = 0; i < setups->count; i++)
		setup_done(&setups->of[i]);
	free(setups);
}

void handshake_pool_adopt(struct handshake_pool *pool, struct handshake_setups *setups)
{
	for (size_t i = 0; i < setups->count; i++) {
		struct order *order = xnew(struct order);

		order->kind = ORDER_ADOPT;
		order->setup = setups->of[i];
		mailbox_post(pool->threads[i].orders, &order->message);
	}
	free(setups);
}

/* The first of those with the least to do: what comes one by one finds the caches warm. */
static struct handshake_thread *find_idlest(struct handshake_pool *pool)
{
	struct handshake_thread *idlest = &pool->threads[0];

	for (size_t i = 1; i < pool->options.threads; i++) {
		if (atomic_load(&pool->threads[i].load) < atomic_load(&idlest->load))
			idlest = &pool->threads[i];
	}
	return idlest;
}

void handshake_pool_accept(struct handshake_pool *pool, int fd, const struct endpoint *peer,
			   const struct endpoint *local, struct trust *trust)
{
	struct handshake_thread *thread = find_idlest(pool);
	struct order *order = xnew(struct order);

	atomic_fetch_add(&thread->load, 1);
	order->kind = ORDER_ACCEPT;
	order->fd = fd;
	order->peer = *peer;
	order->local = *local;
	order->trust = trust_ref(trust);
	mailbox_post(thread->orders, &order->message);
}

void handshake_pool_hurry(struct handshake_pool *pool, bool hurry)
{
	atomic_store(&pool->hurry, hurry);
}

void handshake_answer(struct handshake_event *event, const struct handshake_answer *answer)
{
	struct handshake *handshake = take(event->handshake);
	struct order *order = xnew(struct order);

	order->kind = ORDER_ANSWER;
	order->handshake = handshake;
	order->answer = *answer;
	mailbox_post(handshake->thread->orders, &order->message);
}

void handshake_pool_stop(struct handshake_pool *pool)
{
	if (!pool)
		return;
	for (size_t i = 0; i < pool->options.threads; i++) {
		struct order *order = xnew(struct order);

		order->kind = ORDER_STOP;
		mailbox_post(pool->threads[i].orders, &order->message);
		pthread_join(pool->threads[i].thread, NULL);
		/* Not by the thread itself: its last order may be in its hands before mailbox_post
		 * has returned. */
		mailbox_free(pool->threads[i].orders);
		uv_run(&pool->threads[i].loop, UV_RUN_NOWAIT);
		uv_loop_close(&pool->threads[i].loop);
		setup_done(&pool->threads[i].setup);
	}
	free(pool);
}
