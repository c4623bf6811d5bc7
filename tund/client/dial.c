/* One attempt:
 *
 *	NAMES ──▶ RACE ──▶ TLS ──▶ LOGIN ──▶ CONNECT ──▶ done
 *	            ▲        │       (skipped with a cookie)
 *	            └────────┘ the network failed, not the peer: the next address
 *
 * NAMES    the fetch process resolves; a name that does not resolve now keeps its last addresses
 * RACE     TCP to all addresses, IPv6 and IPv4 in turn, a quarter of a second apart (RFC 8305);
 *          the first to answer wins. Sockets come from the parent
 * TLS      our certificate is shown, the gateway's is judged by pki/verify
 * LOGIN    POST, answered with a cookie
 * CONNECT  answered with what the tunnel is
 *
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
#include "base/xalloc.h"
#include "client/names.h"
#include "sys/udp.h"
#include "version.h"

enum {
	ADDRESSES_MAX = 32,
	RACE_STEP_MS = 250,
	TCP_TIMEOUT_MS = 15000,
	TLS_TIMEOUT_MS = 15000,
	ANSWER_MAX = 256 * 1024,
	DEFAULT_PORT = 443,
	HOST_MAX = 256,
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
	struct dial_options options;
	void (*done)(struct dial_result *result, void *user);
	void *user;
	enum dial_state state;
	char host[HOST_MAX], host_field[HOST_MAX + 8];
	uint16_t port;
	struct addr addresses[ADDRESSES_MAX];
	size_t address_count, next_address;
	struct runner *runners;
	uv_timer_t *timer;
	uv_poll_t *poll;
	struct tls *tls;
	struct buf answer;
	char cookie[TUNNEL_PARAMS_COOKIE_MAX];
	struct dial_result result;
	bool resumed;  /* with a cookie of an earlier login */
	bool answered; /* the gateway has said something on this connection */
};

static void run_race(struct dial *dial);

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void close_poll(uv_poll_t **poll)
{
	if (!*poll)
		return;
	uv_poll_stop(*poll);
	uv_close((uv_handle_t *)*poll, on_closed);
	*poll = NULL;
}

/* ---- the end ---- */

static void drop_runner(struct runner *runner)
{
	close_poll(&runner->poll);
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
	close_poll(&dial->poll);
	tls_free(dial->tls);
	dial->tls = NULL;
	buf_wipe(&dial->answer);
	dial->answered = false;
}

void dial_cancel(struct dial *dial)
{
	if (!dial)
		return;
	names_forget(dial->options.names, dial);
	drop_runners(dial);
	drop_channel(dial);
	uv_timer_stop(dial->timer);
	uv_close((uv_handle_t *)dial->timer, on_closed);
	prefix_list_done(&dial->result.outer);
	tunnel_params_done(&dial->result.params);
	tls_free(dial->result.tls);
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
	dial->answer.limit = ANSWER_MAX;
	tls_write(dial->tls, request->data, request->len);
	buf_wipe(request);
	watch(dial);
}

static const char agent[] = "OpenConnect VPN Agent (tund) v" TUND_VERSION;

static void send_login(struct dial *dial)
{
	struct buf request = {0}, body = {0};

	buf_print(&body,
		  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		  "<config-auth client=\"vpn\" type=\"init\" aggregate-auth-version=\"2\">"
		  "<version who=\"vpn\">%s</version><device-id>linux-64</device-id>"
		  "<group-access>https://%s/</group-access></config-auth>\n",
		  TUND_VERSION, dial->host_field);
	buf_print(&request,
		  "POST / HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\n"
		  "Accept-Encoding: identity\r\nX-Transcend-Version: 1\r\nX-Aggregate-Auth: 1\r\n"
		  "Content-Type: application/xml; charset=utf-8\r\nContent-Length: %zu\r\n\r\n",
		  dial->host_field, agent, body.len);
	buf_append(&request, body.data, body.len);
	buf_done(&body);
	send_request(dial, &request, DIAL_LOGIN);
}

static void send_connect(struct dial *dial)
{
	struct buf request = {0};
	int mtu = udp_path_mtu(dial->tls->fd);
	struct tunnel_offer offer = {
		.base_mtu = mtu > 0 ? (unsigned)mtu : 0,
		.want4 = true,
		.want6 = true,
		.full6 = true,
		.psk = dial->options.want_dtls,
	};

	dial->result.path_mtu = offer.base_mtu;
	snprintf(offer.agent, sizeof(offer.agent), "%s", agent);
	snprintf(offer.hostname, sizeof(offer.hostname), "%s", dial->options.hostname);
	snprintf(offer.cookie, sizeof(offer.cookie), "%s", dial->cookie);
	tunnel_params_write_offer(&request, &offer, dial->host_field, &dial->options.held4,
				  &dial->options.held6);
	explicit_bzero(&offer, sizeof(offer));
	send_request(dial, &request, DIAL_CONNECT);
}

/* What the gateway calls the reason of an answer that is no yes. */
static void fail_status(struct dial *dial, const struct http_head *head)
{
	struct http_text said = http_field(head, "X-Reason");
	enum reason reason = REASON_PROTOCOL_ERROR;
	char word[64] = "", text[DIAL_TEXT];

	log_escape(said.at ? said.at : "", said.len, word, sizeof(word));
	reason_parse(word, &reason);
	dial->result.cookie_refused = head->status == 401 && dial->resumed;
	snprintf(text, sizeof(text), "refused by the gateway (%u%s%s)", head->status,
		 word[0] ? " " : "", word);
	fail(dial, reason, head->status != 503, text);
}

/* The text of <error> in an answer that lets nobody in, for the user. */
static void fail_login(struct dial *dial, const char *body, size_t len)
{
	static const char open[] = "<error>";
	const char *start = memmem(body, len, open, sizeof(open) - 1);
	char said[200] = "", text[DIAL_TEXT];

	if (start) {
		const char *end;

		start += sizeof(open) - 1;
		end = memchr(start, '<', len - (size_t)(start - body));
		if (end)
			log_escape(start, (size_t)(end - start), said, sizeof(said));
	}
	snprintf(text, sizeof(text), "the gateway did not let us in with our certificate%s%s",
		 said[0] ? ": " : "", said);
	fail(dial, REASON_NO_ACCESS, true, text);
}

/* Whole: with its length, in chunks, or up to the connection's end. */
static bool body_is_whole(struct dial *dial, const struct http_head *head, size_t head_len,
			  size_t *ret_len)
{
	uint8_t *body = dial->answer.data + head_len;
	size_t len = dial->answer.len - head_len;

	if (head->chunked)
		return http_decode_chunks(body, len, ret_len) == HTTP_OK;
	*ret_len = head->content_length;
	return len >= head->content_length;
}

/* len: of the body, chunks already joined. */
static void take_login(struct dial *dial, const struct http_head *head, size_t head_len, size_t len)
{
	const char *body = (const char *)dial->answer.data + head_len;

	if (head->status != 200) {
		fail_status(dial, head);
		return;
	}
	if (!memmem(body, len, "id=\"success\"", 12) ||
	    !http_text_copy(http_cookie(head, "webvpn"), dial->cookie, sizeof(dial->cookie))) {
		fail_login(dial, body, len);
		return;
	}
	if (!dial->cookie[0]) {
		fail_login(dial, body, len);
		return;
	}
	send_connect(dial);
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
		fail_status(dial, head);
		return;
	}
	if (!tunnel_params_read_answer(head, &result->params, error, sizeof(error))) {
		fail(dial, REASON_PROTOCOL_ERROR, true, error);
		return;
	}
	if (tls_export_psk(dial->tls, result->psk) < 0) {
		fail(dial, REASON_INTERNAL, false, "TLS exports no key");
		return;
	}
	close_poll(&dial->poll);
	result->reason = REASON_NONE;
	result->is_tund = is_tund(head);
	result->tls = take(dial->tls);
	snprintf(result->cookie, sizeof(result->cookie), "%s", dial->cookie);
	finish(dial);
}

/* False when more has to come; the dial may be gone after true. */
static bool take_answer(struct dial *dial)
{
	struct http_head head;
	size_t head_len, len, before = dial->answer.len;
	enum dial_state state = dial->state;
	enum http_error error =
		http_read_response((const char *)dial->answer.data, before, &head, &head_len);

	if (error == HTTP_MORE)
		return false;
	if (error) {
		fail(dial, REASON_PROTOCOL_ERROR, true,
		     "what answers there does not speak HTTP/1.1 as a gateway does");
		return true;
	}
	if (state == DIAL_CONNECT) {
		take_connect(dial, &head);
		return true;
	}
	if (!body_is_whole(dial, &head, head_len, &len))
		return false;
	take_login(dial, &head, head_len, len);
	return true;
}

/* An end before any answer: we were let in by TLS and then turned out. */
static void lose_channel(struct dial *dial)
{
	char text[DIAL_TEXT];
	enum reason reason = tls_failure(dial->tls, text, sizeof(text));

	if (dial->answered) {
		give_address_up(dial, "the gateway closed the connection in mid-answer");
		return;
	}
	if (dial->tls->alert < 0)
		snprintf(text, sizeof(text),
			 "the gateway closed the connection after the handshake: most likely it "
			 "does not accept our certificate");
	fail(dial, reason, true, text);
}

static void run_answer(struct dial *dial)
{
	for (;;) {
		uint8_t *room = buf_reserve(&dial->answer, TLS_RECORD_MAX);
		enum tls_result result;
		size_t len;

		if (!room) {
			fail(dial, REASON_PROTOCOL_ERROR, true, "the gateway's answer has no end");
			return;
		}
		result = tls_read(dial->tls, room, TLS_RECORD_MAX, &len);
		if (result == TLS_AGAIN) {
			watch(dial);
			return;
		}
		if (result != TLS_DONE) {
			lose_channel(dial);
			return;
		}
		dial->answered = true;
		dial->answer.len += len;
		if (take_answer(dial))
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
	if (dial->cookie[0])
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
	close_poll(&winner->poll);
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

struct dial *dial_start(const struct dial_options *options,
			void (*done)(struct dial_result *result, void *user), void *user)
{
	struct dial *dial = xnew(struct dial);
	bool is_v6;

	dial->options = *options;
	dial->done = done;
	dial->user = user;
	dial->timer = xnew(uv_timer_t);
	uv_timer_init(options->loop, dial->timer);
	dial->timer->data = dial;
	if (options->cookie)
		snprintf(dial->cookie, sizeof(dial->cookie), "%s", options->cookie);
	dial->resumed = dial->cookie[0] != '\0';
	addr_host_split(options->gateway, DEFAULT_PORT, dial->host, sizeof(dial->host),
			&dial->port);
	is_v6 = strchr(dial->host, ':') != NULL;
	snprintf(dial->host_field, sizeof(dial->host_field), "%s%s%s", is_v6 ? "[" : "", dial->host,
		 is_v6 ? "]" : "");
	if (dial->port != DEFAULT_PORT) {
		size_t len = strlen(dial->host_field);

		snprintf(dial->host_field + len, sizeof(dial->host_field) - len, ":%u", dial->port);
	}
	names_ask(options->names, dial->host, on_names, dial);
	return dial;
}
