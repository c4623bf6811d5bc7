/* One attempt:
 *
 *	NAMES ──▶ RACE ──▶ TLS ──▶ LOGIN ──▶ CONNECT ──▶ done
 *	            ▲        │       (skipped with a cookie, and by a tund at a tund)
 *	            └────────┘ the network failed, not the peer: the next address
 *
 * NAMES    the fetch process resolves; a name that does not resolve now keeps its last addresses
 * RACE     TCP to all addresses, IPv6 and IPv4 in turn, a quarter of a second apart (RFC 8305);
 *          the first to answer wins. Sockets come from the parent
 * TLS      our certificate is shown, the gateway's is judged by pki/verify
 * LOGIN    POST, answered with a cookie
 * CONNECT  answered with what the tunnel is, and with a cookie where there was no login
 *
 * A gateway that closes the connection behind the login's answer is asked for CONNECT on another.
 * In TLS 1.3 a client learns that it was refused only from its first read: an alert, end or reset
 * before any answer means that, and is no reason to try another address. */
#include "client/dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "channel/dtls.h"
#include "client/answer.h"
#include "client/names.h"
#include "client/request.h"
#include "sys/udp.h"

enum {
	ADDRESSES_MAX = 32,
	RACE_STEP_MS = 250,
	TCP_TIMEOUT_MS = 15000,
	TLS_TIMEOUT_MS = 15000,
	ANSWER_MAX = 256 * 1024,
	INFORMATIONAL_MAX = 4,
	OUTER_V4 = 20,
	OUTER_V6 = 40,
	OUTER_UDP = 8,
	CSTP_TYPE = 1,
};

enum dial_state { DIAL_NAMES, DIAL_RACE, DIAL_TLS, DIAL_LOGIN, DIAL_CONNECT };

struct runner { /* one address in the race */
	struct runner *next;
	struct dial *dial;
	struct endpoint to;
	int fd;
	uv_poll_t *poll;
};

struct dial {
	struct dial_options options; /* setup, trust, gateway and peer_name: owned */
	struct tls_setup setup;
	char *gateway, *peer_name;
	void (*done)(struct dial_result *result, void *user);
	void *user;
	enum dial_state state;
	char host[DIAL_HOST_MAX], host_field[DIAL_HOST_MAX + 8];
	uint16_t port;
	struct addr addresses[ADDRESSES_MAX];
	size_t address_count, next_address;
	struct runner *runners;
	uv_timer_t *timer;
	uv_poll_t *poll;
	struct tls *tls;
	struct buf answer;
	size_t head_len; /* of the answer, once it is there */
	size_t scanned;	 /* bytes of it that hold no end of a head */
	unsigned informational;
	char cookie[TUNNEL_PARAMS_COOKIE_MAX];
	struct dial_result result;
	bool resumed;	/* with a cookie of an earlier login */
	bool answered;	/* the gateway has said something on this connection */
	bool logged_in; /* during this attempt */
};

static void run_race(struct dial *dial);

/* ---- the end ---- */

static void drop_runner(struct runner *runner)
{
	loop_close_poll(&runner->poll);
	cleanup_close(&runner->fd);
	parent_link_forget(runner->dial->options.parent, runner);
	free(runner);
}

static void drop_runners(struct dial *dial)
{
	while (dial->runners) {
		struct runner *runner = dial->runners;

		dial->runners = runner->next;
		drop_runner(runner);
	}
}

static void drop_channel(struct dial *dial)
{
	loop_close_poll(&dial->poll);
	tls_free(dial->tls);
	dial->tls = NULL;
	buf_wipe(&dial->answer);
	dial->head_len = dial->scanned = 0;
	dial->answered = false;
}

void dial_cancel(struct dial *dial)
{
	if (!dial)
		return;
	names_forget(dial->options.names, dial);
	drop_runners(dial);
	drop_channel(dial);
	loop_close_timer(&dial->timer);
	prefix_list_done(&dial->result.outer);
	identity_cert_unref(dial->result.about);
	tunnel_params_done(&dial->result.params);
	buf_wipe(&dial->result.early);
	tls_free(dial->result.tls);
	tls_setup_done(&dial->setup);
	trust_unref(dial->options.trust);
	free(dial->gateway);
	free(dial->peer_name);
	explicit_bzero(dial, sizeof(*dial));
	free(dial);
}

static void finish(struct dial *dial)
{
	dial->done(&dial->result, dial->user);
	dial_cancel(dial);
}

static void fail(struct dial *dial, enum reason reason, bool refused, const char *text)
{
	dial->result.reason = reason;
	dial->result.refused = refused;
	if (text != dial->result.text)
		snprintf(dial->result.text, sizeof(dial->result.text), "%s", text);
	finish(dial);
}

/* The path to this address, or what answers there, is of no use: the next one, if there is any. */
static void give_address_up(struct dial *dial, const char *text)
{
	snprintf(dial->result.text, sizeof(dial->result.text), "%s", text);
	drop_channel(dial);
	uv_timer_stop(dial->timer);
	dial->state = DIAL_RACE;
	run_race(dial);
}

/* ---- LOGIN and CONNECT ---- */

static void on_channel(uv_poll_t *poll, int status, int events);

static void watch(struct dial *dial)
{
	int events = UV_READABLE;

	if (tls_flush(dial->tls) == TLS_AGAIN)
		events |= UV_WRITABLE;
	uv_poll_start(dial->poll, events, on_channel);
}

static void send_request(struct dial *dial, struct buf *request, enum dial_state state)
{
	dial->state = state;
	buf_wipe(&dial->answer);
	dial->head_len = dial->scanned = 0;
	dial->informational = 0;
	dial->answer.limit = ANSWER_MAX;
	tls_write(dial->tls, request->data, request->len);
	buf_wipe(request);
	watch(dial);
}

static void send_login(struct dial *dial)
{
	struct buf request = {0};

	request_login(&request, dial->host_field);
	send_request(dial, &request, DIAL_LOGIN);
}

static void send_connect(struct dial *dial)
{
	struct buf request = {0};
	int mtu = udp_path_mtu(dial->tls->fd);

	dial->result.path_mtu = mtu > 0 ? (unsigned)mtu : 0;
	request_connect(&request, &(struct request_tunnel){
					  .host = dial->host_field,
					  .hostname = dial->options.hostname,
					  .cookie = dial->cookie,
					  .path_mtu = dial->result.path_mtu,
					  .want_dtls = dial->options.want_dtls,
					  .held4 = &dial->options.held4,
					  .held6 = &dial->options.held6,
				  });
	send_request(dial, &request, DIAL_CONNECT);
}

/* Whoever has judged the answer has filled the result. */
static void fail_answer(struct dial *dial)
{
	fail(dial, dial->result.reason, dial->result.refused, dial->result.text);
}

static void fail_broken(struct dial *dial, enum http_error error)
{
	answer_is_broken(error, &dial->result);
	fail_answer(dial);
}

/* The login's connection ends with its answer: CONNECT goes to the same address on another. */
static void dial_again(struct dial *dial)
{
	drop_channel(dial);
	uv_timer_stop(dial->timer);
	dial->addresses[0] = addr_of_endpoint(&dial->result.peer);
	dial->address_count = 1;
	dial->next_address = 0;
	dial->state = DIAL_RACE;
	run_race(dial);
}

/* True: the answer is dealt with. */
static bool take_login(struct dial *dial, const struct http_head *head, bool ended)
{
	uint8_t *body = dial->answer.data + dial->head_len;
	enum http_error error;
	size_t len;

	if (head->status != 200) { /* its body may never come whole */
		answer_is_no(head, false, &dial->result);
		fail_answer(dial);
		return true;
	}
	error = http_read_body(head, body, dial->answer.len - dial->head_len, ended, &len);
	if (error == HTTP_MORE)
		return false;
	if (error) {
		fail_broken(dial, error);
		return true;
	}
	if (!answer_lets_in(head, (char *)body, len, dial->cookie, &dial->result)) {
		fail_answer(dial);
		return true;
	}
	dial->logged_in = true;
	if (ended || head->close)
		dial_again(dial);
	else
		send_connect(dial);
	return true;
}

static bool is_tund(const struct http_head *head)
{
	struct http_text name = http_field(head, "X-CSTP-Server-Name");

	return name.len >= 4 && memcmp(name.at, "tund", 4) == 0;
}

static void take_connect(struct dial *dial, const struct http_head *head)
{
	struct dial_result *result = &dial->result;
	char error[DIAL_TEXT];

	if (head->status != 200) {
		answer_is_no(head, dial->resumed, result);
		fail_answer(dial);
		return;
	}
	if (!tunnel_params_read_answer(head, &result->params, error, sizeof(error))) {
		result->hopeless = true;
		fail(dial, REASON_PROTOCOL_ERROR, true, error);
		return;
	}
	if (!dial->cookie[0] && !answer_gives_cookie(head, dial->cookie, result)) {
		fail_answer(dial);
		return;
	}
	if (tls_export_psk(dial->tls, result->psk) < 0) {
		fail(dial, REASON_INTERNAL, false, "TLS exports no key");
		return;
	}
	loop_close_poll(&dial->poll);
	result->reason = REASON_NONE;
	result->text[0] = '\0';
	result->is_tund = is_tund(head);
	result->tls = take(dial->tls);
	buf_append(&result->early, dial->answer.data + dial->head_len,
		   dial->answer.len - dial->head_len);
	snprintf(result->cookie, sizeof(result->cookie), "%s", dial->cookie);
	finish(dial);
}

/* 100 Continue and its like announce the answer; a few are read past. */
static bool skip_informational(struct dial *dial, const struct http_head *head)
{
	if (head->status >= 200 || head->status == 101 || ++dial->informational > INFORMATIONAL_MAX)
		return false;
	buf_consume(&dial->answer, dial->head_len);
	dial->head_len = dial->scanned = 0;
	return true;
}

static enum http_error read_head(struct dial *dial, struct http_head *head)
{
	const char *text = (const char *)dial->answer.data;
	size_t len = dial->answer.len, max = dial->state == DIAL_LOGIN
						     ? (size_t)HTTP_HEAD_MAX
						     : (size_t)HTTP_ANSWER_HEAD_MAX;
	enum http_error error = HTTP_MORE;

	if (dial->head_len || http_head_ends(text, len, dial->scanned))
		error = http_read_response(text, len, head, &dial->head_len);
	dial->scanned = len;
	if (error == HTTP_MORE ? len >= max : !error && dial->head_len > max)
		return HTTP_TOO_LARGE;
	return error;
}

/* False when more has to come; the dial may be gone after true. ended: nothing more will. */
static bool take_answer(struct dial *dial, bool ended)
{
	struct http_head head;
	enum http_error error;

	do {
		error = read_head(dial, &head);
	} while (!error && skip_informational(dial, &head));
	if (error == HTTP_MORE)
		return false;
	if (error) {
		fail_broken(dial, error);
		return true;
	}
	if (dial->state == DIAL_LOGIN)
		return take_login(dial, &head, ended);
	take_connect(dial, &head);
	return true;
}

/* An end before any answer: we were let in by TLS and then turned out. In TLS 1.3 that is how a
 * refused certificate looks, and some gateways (ocserv) do not even send the alert. */
static void lose_channel(struct dial *dial)
{
	char text[DIAL_TEXT];
	enum reason reason = tls_failure(dial->tls, text, sizeof(text));

	if (dial->tls->alert >= 0 && !dial->answered) {
		fail(dial, reason, true, text);
		return;
	}
	if (dial->answered || dial->logged_in) {
		give_address_up(dial, "the gateway closed the connection in mid-answer");
		return;
	}
	if (dial->tls->peer_is_tund) { /* which says why it refuses */
		give_address_up(dial, "the gateway closed the connection before it answered");
		return;
	}
	dial->result.guessed = true;
	fail(dial, REASON_NO_ACCESS, true,
	     "the gateway closed the connection after a good handshake and without a word: most "
	     "likely it does not accept our certificate (another authority, revoked, unknown to "
	     "it); its log says which");
}

static void end_answer(struct dial *dial)
{
	if (dial->answered && take_answer(dial, true))
		return;
	lose_channel(dial);
}

static void run_answer(struct dial *dial)
{
	for (;;) {
		uint8_t *room = buf_reserve(&dial->answer, TLS_RECORD_MAX);
		enum tls_result result;
		size_t len;

		if (!room) {
			fail_broken(dial, HTTP_TOO_LARGE);
			return;
		}
		result = tls_read(dial->tls, room, TLS_RECORD_MAX, &len);
		if (result == TLS_AGAIN) {
			watch(dial);
			return;
		}
		if (result != TLS_DONE) {
			end_answer(dial);
			return;
		}
		dial->answered = true;
		dial->answer.len += len;
		if (take_answer(dial, false))
			return;
	}
}

/* ---- TLS ---- */

static void fail_tls(struct dial *dial)
{
	char text[DIAL_TEXT];
	enum reason reason = tls_failure(dial->tls, text, sizeof(text));

	/* The alert is in the output; it arrives before the close does. */
	tls_id(dial->tls, dial->result.id);
	dial->result.by_us = dial->tls->asked && dial->tls->verdict.reason;
	if (dial->tls->verdict.about)
		dial->result.about = identity_cert_ref(dial->tls->verdict.about);
	tls_flush(dial->tls);
	tls_shutdown(dial->tls);
	if (dial->tls->asked || dial->tls->alert >= 0)
		fail(dial, reason, true, text);
	else
		give_address_up(dial, text);
}

static void run_tls(struct dial *dial)
{
	switch (tls_handshake(dial->tls)) {
	case TLS_AGAIN:
		watch(dial);
		return;
	case TLS_CLOSED:
	case TLS_FAILED:
		fail_tls(dial);
		return;
	case TLS_DONE:
		break;
	}
	tls_id(dial->tls, dial->result.id);
	log_info("connected to %s: %s %s %s, gateway \"%s\" (handshake %s)", dial->options.gateway,
		 tls_version(dial->tls), tls_cipher(dial->tls), tls_group(dial->tls),
		 dial->tls->verdict.cert ? dial->tls->verdict.cert->subject : "", dial->result.id);
	if (dial->cookie[0] || dial->tls->peer_is_tund)
		send_connect(dial);
	else
		send_login(dial);
}

static void on_channel(uv_poll_t *poll, int status, int events)
{
	struct dial *dial = poll->data;

	(void)status;
	(void)events;
	if (dial->state == DIAL_TLS)
		run_tls(dial);
	else
		run_answer(dial);
}

static void on_tls_timeout(uv_timer_t *timer)
{
	struct dial *dial = timer->data;

	give_address_up(dial, dial->state == DIAL_TLS
				      ? "the gateway fell silent during the TLS handshake"
				      : "the gateway fell silent while we logged in");
}

static void win_race(struct dial *dial, struct runner *winner)
{
	const struct dial_options *options = &dial->options;
	int fd = cleanup_take_fd(&winner->fd), on = 1;

	dial->result.peer = winner->to;
	loop_close_poll(&winner->poll);
	drop_runners(dial);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	dial->tls = tls_new(options->setup, false, fd, options->trust,
			    options->peer_name ? options->peer_name : dial->host);
	if (!dial->tls) {
		fail(dial, REASON_INTERNAL, false, "out of memory");
		return;
	}
	dial->state = DIAL_TLS;
	dial->poll = xnew(uv_poll_t);
	uv_poll_init(options->loop, dial->poll, fd);
	dial->poll->data = dial;
	uv_timer_start(dial->timer, on_tls_timeout, TLS_TIMEOUT_MS, 0);
	run_tls(dial);
}

/* ---- RACE ---- */

static void lose_runner(struct runner *runner, int error)
{
	struct dial *dial = runner->dial;
	struct runner **at = &dial->runners;
	char to[ADDR_ENDPOINT_TEXT];

	snprintf(dial->result.text, sizeof(dial->result.text), "%s: %s",
		 addr_endpoint_print(&runner->to, to), strerror(error));
	while (*at != runner)
		at = &(*at)->next;
	*at = runner->next;
	drop_runner(runner);
	run_race(dial);
}

static void on_runner(uv_poll_t *poll, int status, int events)
{
	struct runner *runner = poll->data;
	int error = 0;
	socklen_t len = sizeof(error);

	(void)status;
	(void)events;
	getsockopt(runner->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		lose_runner(runner, error);
	else
		win_race(runner->dial, runner);
}

static void on_socket(int fd, int error, void *user)
{
	struct runner *runner = user;
	int timeout_ms = TCP_TIMEOUT_MS;

	if (fd < 0) {
		lose_runner(runner, error ? -error : EIO);
		return;
	}
	runner->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	if (connect(fd, &runner->to.any, addr_endpoint_len(&runner->to)) < 0 &&
	    errno != EINPROGRESS) {
		lose_runner(runner, errno);
		return;
	}
	runner->poll = xnew(uv_poll_t);
	uv_poll_init(runner->dial->options.loop, runner->poll, fd);
	runner->poll->data = runner;
	uv_poll_start(runner->poll, UV_WRITABLE, on_runner);
}

static void on_race_step(uv_timer_t *timer)
{
	struct dial *dial = timer->data;

	if (dial->next_address < dial->address_count)
		run_race(dial);
	else if (dial->state == DIAL_RACE) /* the last one's time is over too */
		fail(dial, REASON_PEER_TIMEOUT, false,
		     dial->result.text[0] ? dial->result.text : "no address of it answers");
}

/* Starts the next address; ends when there is none and nobody runs any more. */
static void run_race(struct dial *dial)
{
	struct runner *runner;

	if (dial->next_address >= dial->address_count) {
		if (dial->runners)
			return;
		fail(dial, REASON_PEER_TIMEOUT, false, dial->result.text);
		return;
	}
	runner = xnew(struct runner);
	runner->dial = dial;
	runner->fd = -1;
	runner->to = addr_endpoint(&dial->addresses[dial->next_address++], dial->port);
	runner->next = dial->runners;
	dial->runners = runner;
	parent_link_ask_socket(dial->options.parent, addr_of_endpoint(&runner->to).family,
			       on_socket, runner);
	uv_timer_start(dial->timer, on_race_step,
		       dial->next_address < dial->address_count ? RACE_STEP_MS : TCP_TIMEOUT_MS, 0);
}

/* ---- NAMES ---- */

/* IPv6 first, then in turn, as long as there are both. */
static void order_addresses(struct dial *dial, const struct addr *addresses, size_t count)
{
	size_t at[2] = {0, 0};

	for (unsigned turn = 0; dial->address_count < ADDRESSES_MAX; turn++) {
		size_t *next = &at[turn % 2];
		uint8_t family = turn % 2 ? 4 : 6;

		while (*next < count && addresses[*next].family != family)
			(*next)++;
		if (*next < count)
			dial->addresses[dial->address_count++] = addresses[(*next)++];
		else if (at[(turn + 1) % 2] >= count && turn > 0)
			return;
	}
}

static void on_names(const struct addr *addresses, size_t count, const char *error, void *user)
{
	struct dial *dial = user;
	const struct prefix_list *last = dial->options.last_outer;
	char text[DIAL_TEXT];

	order_addresses(dial, addresses, count);
	for (size_t i = 0; count == 0 && last && i < last->count && i < ADDRESSES_MAX; i++)
		dial->addresses[dial->address_count++] = last->items[i].addr;
	if (dial->address_count == 0) {
		snprintf(text, sizeof(text), "cannot resolve %s: %s", dial->host, error);
		fail(dial, REASON_PEER_TIMEOUT, false, text);
		return;
	}
	for (size_t i = 0; i < dial->address_count; i++) {
		struct prefix host = prefix_host(&dial->addresses[i]);

		prefix_list_add(&dial->result.outer, &host);
	}
	dial->state = DIAL_RACE;
	run_race(dial);
}

static void own_options(struct dial *dial, const struct dial_options *options)
{
	dial->options = *options;
	dial->setup = tls_setup_ref(options->setup);
	dial->options.setup = &dial->setup;
	trust_ref(options->trust);
	dial->gateway = xalloc_string(options->gateway);
	dial->options.gateway = dial->gateway;
	if (options->peer_name)
		dial->peer_name = xalloc_string(options->peer_name);
	dial->options.peer_name = dial->peer_name;
}

struct dial *dial_start(const struct dial_options *options,
			void (*done)(struct dial_result *result, void *user), void *user)
{
	struct dial *dial = xnew(struct dial);
	bool is_v6;

	own_options(dial, options);
	dial->done = done;
	dial->user = user;
	dial->timer = xnew(uv_timer_t);
	uv_timer_init(options->loop, dial->timer);
	dial->timer->data = dial;
	if (options->cookie)
		snprintf(dial->cookie, sizeof(dial->cookie), "%s", options->cookie);
	dial->resumed = dial->cookie[0] != '\0';
	addr_host_split(options->gateway, DIAL_PORT, dial->host, sizeof(dial->host), &dial->port);
	is_v6 = strchr(dial->host, ':') != NULL;
	snprintf(dial->host_field, sizeof(dial->host_field), "%s%s%s", is_v6 ? "[" : "", dial->host,
		 is_v6 ? "]" : "");
	if (dial->port != DIAL_PORT) {
		size_t len = strlen(dial->host_field);

		snprintf(dial->host_field + len, sizeof(dial->host_field) - len, ":%u", dial->port);
	}
	names_ask(options->names, dial->host, on_names, dial);
	return dial;
}

unsigned dial_inner_mtu(const struct endpoint *peer, unsigned path_mtu, unsigned offered)
{
	unsigned outer = (addr_of_endpoint(peer).family == 6 ? OUTER_V6 : OUTER_V4) + OUTER_UDP +
			 DTLS_OVERHEAD_GCM + CSTP_TYPE;
	unsigned ours = path_mtu > outer ? path_mtu - outer : offered;

	return ours < offered ? ours : offered;
}
