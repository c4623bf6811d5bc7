/* One device:
 *
 *	OFF ──▶ TCP ──▶ TLS ──▶ LOGIN ──▶ CONNECT ──▶ DTLS ──▶ UP
 *	 ▲       │       │       (skipped, as the gateway is a  │
 *	 │       │       │        tund)                         │
 *	 │       └───────┴──────────┴─────────┴──▶ WAITING ◀────┘ lost, refused
 *	 └──dropped, left, or TLS ──▶ LEAVING when only a handshake is wanted
 *
 * Times and the order of things are a tund client's, and so are its waits (client/back_off) and what
 * it asks for (client/request): an attempt may take 15 s; a session that had lasted ten seconds is
 * dialled again at once. */
#include "device.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "client/answer.h"
#include "client/back_off.h"
#include "client/request.h"
#include "sys/udp.h"

enum {
	ATTEMPT_US = 15 * 1000000,
	STABLE_US = 10 * 1000000,
	ASSOCIATION_US = 4500000, /* it may take, then another is tried */
	ASSOCIATION_RETRY_US = 5 * 1000000,
	DEAD_PROBES = 4,
	ANSWER_MAX = 256 * 1024,
	ASSOCIATION_MTU = 1200,
	DPD_S = 30,
	RECORD_MAX = CSTP_RECORD_MAX + CSTP_HEADER,
};

static const char refused[] = "connection-refused", reset[] = "connection-reset",
		  closed[] = "connection-closed", timed_out[] = "timeout",
		  unreachable[] = "unreachable";

static void on_tcp(uv_poll_t *poll, int status, int events);
static void on_udp(uv_poll_t *poll, int status, int events);

void device_init(struct device *device, struct device_world *world, uint32_t number,
		 const struct certificate *certificate, const struct addr *source)
{
	*device = (struct device){
		.world = world,
		.number = number,
		.certificate = certificate,
		.source = *source,
		.fd = -1,
		.udp_fd = -1,
	};
}

static void device_enter(struct device *device, enum device_state state)
{
	enum device_state before = device->state;

	device->state = state;
	device->world->entered(device, before);
}

bool device_is_under_way(const struct device *device)
{
	return device->state >= DEVICE_TCP && device->state <= DEVICE_DTLS;
}

bool device_has_moved(const struct device *device)
{
	return (device->was_v4.family && device->v4.family &&
		!addr_equal(&device->was_v4, &device->v4)) ||
	       (device->was_v6.family && device->v6.family &&
		!addr_equal(&device->was_v6, &device->v6));
}

/* ---- the end of an attempt or a session ---- */

static void close_association(struct device *device)
{
	loop_close_poll(&device->udp_poll);
	cleanup_close(&device->udp_fd);
	dtls_free(take(device->dtls));
}

static void close_all(struct device *device)
{
	close_association(device);
	loop_close_poll(&device->tcp_poll);
	device->tcp_events = 0;
	tls_free(take(device->tls));
	cleanup_close(&device->fd);
	buf_wipe(&device->answer);
	device->scanned = 0;
}

static void fail(struct device *device, const char *why, bool by_refusal)
{
	int64_t now_us = clock_now_us();
	bool was_stable = device->state == DEVICE_UP && now_us - device->up_us >= STABLE_US;

	close_all(device);
	if (was_stable && !by_refusal)
		device->failures = 0;
	else
		device->failures++;
	device->retry_at_us = now_us;
	if (device->failures)
		device->retry_at_us += back_off_ms(device->failures, by_refusal) * CLOCK_MS_US;
	device->world->failed(device, why);
	device_enter(device, DEVICE_WAITING);
}

static const char *word_of_errno(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return refused;
	case ECONNRESET:
	case EPIPE:
		return reset;
	case ETIMEDOUT:
		return timed_out;
	default:
		return unreachable;
	}
}

/* The channel has ended or failed: an alert says why, else it was the network. */
static void fail_channel(struct device *device)
{
	const struct tls *tls = device->tls;
	char text[512];

	if (tls->alert >= 0 || (tls->asked && tls->verdict.reason)) {
		enum reason reason = tls_failure(tls, text, sizeof(text));

		fail(device, reason_word(reason), true);
	} else if (tls->socket_error) {
		fail(device, word_of_errno(tls->socket_error), false);
	} else {
		fail(device, closed, false);
	}
}

/* Nothing leaves: in repair mode the kernel forgets a connection without a word. */
static void silence(const struct device *device)
{
	int on = 1;

	if (device->tls)
		setsockopt(device->tls->fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
}

void device_drop(struct device *device, bool silently)
{
	if (silently)
		silence(device);
	close_all(device);
	device->failures = 0;
	device_enter(device, DEVICE_OFF);
}

/* ---- sending ---- */

static void watch(struct device *device)
{
	int events = UV_READABLE;

	if (device->tls && tls_flush(device->tls) == TLS_AGAIN)
		events |= UV_WRITABLE;
	if (events == device->tcp_events)
		return;
	device->tcp_events = events;
	uv_poll_start(device->tcp_poll, events, on_tcp);
}

static void send_tls(struct device *device, enum cstp_type type, const uint8_t *payload, size_t len)
{
	uint8_t frame[RECORD_MAX];

	if (len > CSTP_RECORD_MAX - CSTP_HEADER)
		return;
	cstp_write_header(frame, (uint8_t)type, len);
	if (len)
		memcpy(frame + CSTP_HEADER, payload, len);
	tls_write(device->tls, frame, CSTP_HEADER + len);
	device->world->counts.records_tx++;
	device->tcp.sent_us = clock_now_us();
	watch(device);
}

static void send_dtls(struct device *device, enum cstp_type type, const uint8_t *payload,
		      size_t len)
{
	uint8_t frame[1 + TUNNEL_PARAMS_MTU_MAX];

	if (len > TUNNEL_PARAMS_MTU_MAX)
		return;
	frame[0] = (uint8_t)type;
	if (len)
		memcpy(frame + 1, payload, len);
	dtls_seal(device->dtls, frame, 1 + len);
	device->udp.sent_us = clock_now_us();
}

static bool has_association(const struct device *device)
{
	return device->dtls && device->dtls->state == DTLS_OPEN;
}

bool device_send(struct device *device, const uint8_t *packet, size_t len)
{
	if (device->state != DEVICE_UP)
		return false;
	if (has_association(device))
		send_dtls(device, CSTP_DATA, packet, len);
	else
		send_tls(device, CSTP_DATA, packet, len);
	return true;
}

void device_leave(struct device *device)
{
	uint8_t bye[] = {CSTP_BYE_USER};

	if (device->state == DEVICE_UP)
		send_tls(device, CSTP_DISCONNECT, bye, sizeof(bye));
	device->cookie[0] = '\0';
	device_drop(device, false);
}

/* ---- UP: frames ---- */

/* The gateway has ended the session: its text begins with the reason's word. */
static void take_bye(struct device *device, const struct cstp_frame *frame)
{
	char word[40] = "";
	size_t len = frame->len ? frame->len - 1 : 0;
	enum reason reason;

	if (len >= sizeof(word))
		len = sizeof(word) - 1;
	if (len)
		memcpy(word, frame->payload + 1, len);
	word[strcspn(word, ": ")] = '\0';
	if (!reason_parse(word, &reason))
		reason = REASON_DISCONNECTED;
	device->cookie[0] = '\0';
	fail(device, reason_word(reason), true);
}

/* False when the session is gone. */
static bool take_frame(struct device *device, const struct cstp_frame *frame, bool over_dtls)
{
	struct device_world *world = device->world;

	switch (frame->type) {
	case CSTP_DATA:
		if (frame->len)
			world->packet(device, frame->payload, frame->len);
		return true;
	case CSTP_DPD_REQUEST:
		world->counts.probes_rx++;
		(over_dtls ? send_dtls : send_tls)(device, CSTP_DPD_RESPONSE, frame->payload,
						   frame->len);
		return true;
	case CSTP_DPD_RESPONSE:
		world->counts.answers_rx++;
		(over_dtls ? &device->udp : &device->tcp)->unanswered = 0;
		return true;
	case CSTP_DISCONNECT:
	case CSTP_TERMINATE:
		if (over_dtls)
			return true;
		take_bye(device, frame);
		return false;
	default:
		return true;
	}
}

/* False when the session is gone. */
static bool take_record(struct device *device, const uint8_t *record, size_t len)
{
	struct cstp_frame frame;

	device->world->counts.records_rx++;
	device->tcp.heard_us = clock_now_us();
	if (cstp_read_record(record, len, &frame))
		return take_frame(device, &frame, false);
	device->world->counts.unreadable++;
	fail(device, "protocol-error", true);
	return false;
}

static void run_up(struct device *device)
{
	uint8_t record[RECORD_MAX];

	for (;;) {
		size_t len;
		enum tls_result result = tls_read(device->tls, record, sizeof(record), &len);

		if (result == TLS_AGAIN)
			break;
		if (result != TLS_DONE) {
			fail_channel(device);
			return;
		}
		if (!take_record(device, record, len))
			return;
	}
	watch(device);
}

/* ---- DTLS ---- */

static void on_record(void *user, const uint8_t *bytes, size_t len)
{
	struct device *device = user;

	device->world->counts.datagrams_tx++;
	/* What a full socket does not take is lost, as on any path. */
	if (send(device->udp_fd, bytes, len, MSG_NOSIGNAL) < 0)
		errno = 0;
}

/* As a client does: the largest packet once, to see that the path carries it. */
static void probe_mtu(struct device *device)
{
	uint8_t padding[TUNNEL_PARAMS_MTU_MAX] = {0};

	send_dtls(device, CSTP_DPD_REQUEST, padding, device->mtu);
}

static void go_up(struct device *device)
{
	device->up_us = clock_now_us();
	device->failures = 0;
	device_enter(device, DEVICE_UP);
}

static void shake_hands(struct device *device, const uint8_t *datagram, size_t len)
{
	dtls_handshake(device->dtls, datagram, len);
	if (device->dtls->state == DTLS_FAILED) {
		close_association(device);
	} else if (device->dtls->state == DTLS_OPEN) {
		int64_t now_us = clock_now_us();

		device->world->counts.associations++;
		device->udp = (struct device_pulse){now_us, now_us, now_us, 0, 0};
		probe_mtu(device);
		if (device->state == DEVICE_DTLS)
			go_up(device);
	}
}

static void take_datagram(struct device *device, const uint8_t *datagram, size_t len)
{
	uint8_t plain[RECORD_MAX];
	struct dtls_record record;
	struct cstp_frame frame;
	size_t plain_len;

	device->world->counts.datagrams_rx++;
	if (device->dtls->state != DTLS_OPEN) {
		shake_hands(device, datagram, len);
		return;
	}
	if (dtls_record_check(datagram, len, device->dtls->aead_min, &device->dtls->window,
			      &record)) {
		device->world->counts.forged++;
		return;
	}
	if (dtls_open(device->dtls, datagram, len, &record, plain, sizeof(plain), &plain_len) !=
	    DTLS_OPENED_RECORD)
		return;
	device->udp.heard_us = clock_now_us();
	if (cstp_read_datagram(plain, plain_len, &frame))
		take_frame(device, &frame, true);
	else
		device->world->counts.unreadable++;
}

static void on_udp(uv_poll_t *poll, int status, int events)
{
	struct device *device = poll->data;
	uint8_t datagram[DTLS_RECORD_MAX];

	(void)status;
	(void)events;
	while (device->dtls) {
		ssize_t len = recv(device->udp_fd, datagram, sizeof(datagram), 0);

		if (len < 0 && errno == ECONNREFUSED)
			continue;
		if (len < 0)
			return;
		take_datagram(device, datagram, (size_t)len);
	}
}

/* A bound, connected socket. -1 with errno. */
static int open_socket(const struct device *device, int type, const struct endpoint *to)
{
	_cleanup_close_ int fd = socket(to->any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return -1;
	if (device->source.family) {
		struct endpoint from = addr_endpoint(&device->source, 0);

		/* The port is chosen at connect, by the whole pair. */
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(fd, &from.any, addr_endpoint_len(&from)) < 0)
			return -1;
	}
	if (connect(fd, &to->any, addr_endpoint_len(to)) < 0 && errno != EINPROGRESS)
		return -1;
	return cleanup_take_fd(&fd);
}

static void start_association(struct device *device, int64_t now_us)
{
	struct addr gateway = addr_of_endpoint(&device->world->gateway);
	struct endpoint to = addr_endpoint(&gateway, device->dtls_port);

	device->association_us = now_us;
	device->next_association_us = now_us + ASSOCIATION_RETRY_US;
	device->udp_fd = open_socket(device, SOCK_DGRAM, &to);
	if (device->udp_fd < 0)
		return;
	device->dtls = dtls_new(&device->world->dtls, false,
				&(struct dtls_options){
					.psk = device->psk,
					.app_id = device->app_id,
					.app_id_len = device->app_id_len,
					.write = on_record,
					.user = device,
					.mtu = ASSOCIATION_MTU,
				});
	if (!device->dtls) {
		close_association(device);
		return;
	}
	device->udp_poll = xnew(uv_poll_t);
	uv_poll_init(device->world->loop, device->udp_poll, device->udp_fd);
	device->udp_poll->data = device;
	uv_poll_start(device->udp_poll, UV_READABLE, on_udp);
	dtls_handshake(device->dtls, NULL, 0);
}

/* ---- LOGIN and CONNECT ---- */

static void send_request(struct device *device, struct buf *request, enum device_state state)
{
	device_enter(device, state);
	device->answer.len = device->scanned = 0;
	device->answer.limit = ANSWER_MAX;
	tls_write(device->tls, request->data, request->len);
	buf_wipe(request);
	watch(device);
}

static void send_login(struct device *device)
{
	struct buf request = {0};

	request_login(&request, device->world->host);
	device->world->counts.logins++;
	send_request(device, &request, DEVICE_LOGIN);
}

static unsigned path_mtu(const struct device *device)
{
	int mtu = udp_path_mtu(device->tls->fd);

	return mtu > 0 ? (unsigned)mtu : 0;
}

static void send_connect(struct device *device)
{
	struct buf request = {0};
	char hostname[32];

	snprintf(hostname, sizeof(hostname), "device-%05u", device->number);
	request_connect(&request, &(struct request_tunnel){
					  .host = device->world->host,
					  .hostname = hostname,
					  .cookie = device->cookie,
					  .path_mtu = path_mtu(device),
					  .want_dtls = device->world->with_dtls,
					  .held4 = &device->v4,
					  .held6 = &device->v6,
				  });
	send_request(device, &request, DEVICE_CONNECT);
}

static void fail_refused(struct device *device, const struct dial_result *result)
{
	if (result->cookie_refused) {
		device->cookie[0] = '\0';
		fail(device, "cookie-refused", false);
		device->retry_at_us = 0; /* once more without it, at once */
		return;
	}
	fail(device, reason_word(result->reason), result->refused);
}

/* True: dealt with. */
static bool take_login(struct device *device, const struct http_head *head, size_t head_len)
{
	uint8_t *body = device->answer.data + head_len;
	struct dial_result result = {0};
	enum http_error error;
	size_t len;

	if (head->status != 200) {
		answer_is_no(head, false, &result);
		fail_refused(device, &result);
		return true;
	}
	error = http_read_body(head, body, device->answer.len - head_len, false, &len);
	if (error == HTTP_MORE)
		return false;
	if (error || !answer_lets_in(head, (char *)body, len, device->cookie, &result))
		fail(device, "protocol-error", true);
	else
		send_connect(device);
	return true;
}

static bool take_params(struct device *device, struct tunnel_params *params)
{
	int64_t now_us = clock_now_us();

	device->v4 = params->v4;
	device->v6 = params->v6;
	device->mtu = dial_inner_mtu(&device->world->gateway, path_mtu(device), params->mtu);
	device->dpd_us = (params->dpd_s ? params->dpd_s : DPD_S) * CLOCK_SECOND_US;
	device->keepalive_us = params->keepalive_s * CLOCK_SECOND_US;
	device->dtls_port = params->dtls_port;
	device->app_id_len = params->app_id_len;
	memcpy(device->app_id, params->app_id, sizeof(device->app_id));
	device->tcp = device->udp = (struct device_pulse){now_us, now_us, now_us, 0, 0};
	return tls_export_psk(device->tls, device->psk) == 0;
}

/* The session stands; what came behind the answer is its first record. */
static void take_connect(struct device *device, const struct http_head *head, size_t head_len)
{
	struct tunnel_params params;
	struct dial_result result = {0};
	bool has_dtls, ok;
	char error[256];

	if (head->status != 200) {
		answer_is_no(head, device->resumed, &result);
		fail_refused(device, &result);
		return;
	}
	ok = tunnel_params_read_answer(head, &params, error, sizeof(error)) &&
	     take_params(device, &params);
	has_dtls = params.has_dtls;
	tunnel_params_done(&params);
	if (!ok || (!device->cookie[0] && !answer_gives_cookie(head, device->cookie, &result))) {
		fail(device, "protocol-error", true);
		return;
	}
	device->world->counts.connects++;
	device->world->counts.resumed += device->resumed;
	if (device->world->with_dtls && has_dtls) {
		device_enter(device, DEVICE_DTLS);
		start_association(device, clock_now_us());
	} else {
		go_up(device);
	}
	if (device->answer.len > head_len &&
	    !take_record(device, device->answer.data + head_len, device->answer.len - head_len))
		return;
	buf_wipe(&device->answer);
	run_up(device);
}

/* False when more has to come. */
static bool take_answer(struct device *device)
{
	const char *text = (const char *)device->answer.data;
	struct http_head head;
	enum http_error error;
	size_t head_len;

	if (!http_head_ends(text, device->answer.len, device->scanned)) {
		device->scanned = device->answer.len;
		return false;
	}
	error = http_read_response(text, device->answer.len, &head, &head_len);
	if (error) {
		fail(device, "protocol-error", true);
		return true;
	}
	if (device->state == DEVICE_LOGIN)
		return take_login(device, &head, head_len);
	take_connect(device, &head, head_len);
	return true;
}

static void run_answer(struct device *device)
{
	for (;;) {
		uint8_t *room = buf_reserve(&device->answer, TLS_RECORD_MAX);
		enum tls_result result;
		size_t len;

		if (!room) {
			fail(device, "protocol-error", true);
			return;
		}
		result = tls_read(device->tls, room, TLS_RECORD_MAX, &len);
		if (result == TLS_AGAIN) {
			watch(device);
			return;
		}
		if (result != TLS_DONE) {
			fail_channel(device);
			return;
		}
		device->answered = true;
		device->answer.len += len;
		if (take_answer(device))
			return;
	}
}

/* ---- TCP and TLS ---- */

/* The gateway's end tells that it has taken our Finished: a refusal would come as an alert. */
static void run_leaving(struct device *device)
{
	uint8_t rest[256];
	size_t len;
	enum tls_result result = tls_read(device->tls, rest, sizeof(rest), &len);

	if (result == TLS_AGAIN)
		return;
	if (result != TLS_CLOSED || device->tls->alert >= 0 || device->tls->socket_error) {
		fail_channel(device);
		return;
	}
	device->world->counts.handshakes++;
	device->failures = 0;
	close_all(device);
	device_enter(device, DEVICE_OFF);
}

static void run_tls(struct device *device)
{
	switch (tls_handshake(device->tls)) {
	case TLS_AGAIN:
		watch(device);
		return;
	case TLS_CLOSED:
	case TLS_FAILED:
		tls_flush(device->tls);
		tls_shutdown(device->tls);
		fail_channel(device);
		return;
	case TLS_DONE:
		break;
	}
	verify_done(&device->tls->verdict);
	SSL_certs_clear(device->tls->ssl);
	if (device->world->only_handshakes) {
		device_enter(device, DEVICE_LEAVING);
		watch(device);
		tls_shutdown(device->tls);
		return;
	}
	device->world->counts.handshakes++;
	device->resumed = device->cookie[0] != '\0';
	if (device->resumed || device->tls->peer_is_tund)
		send_connect(device);
	else
		send_login(device);
}

static bool make_channel(struct device *device)
{
	struct device_world *world = device->world;

	device->tls = tls_new(&world->tls, false, cleanup_take_fd(&device->fd), world->trust,
			      world->gateway_name);
	return device->tls &&
	       SSL_use_certificate(device->tls->ssl, device->certificate->leaf) == 1 &&
	       SSL_use_PrivateKey(device->tls->ssl, device->certificate->key) == 1;
}

static void run_tcp(struct device *device)
{
	int error = 0, on = 1;
	socklen_t len = sizeof(error);

	getsockopt(device->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		fail(device, word_of_errno(error), false);
		return;
	}
	setsockopt(device->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!make_channel(device)) {
		fail(device, "internal", false);
		return;
	}
	device_enter(device, DEVICE_TLS);
	run_tls(device);
}

static void on_tcp(uv_poll_t *poll, int status, int events)
{
	struct device *device = poll->data;

	(void)status;
	(void)events;
	switch (device->state) {
	case DEVICE_TCP:
		run_tcp(device);
		break;
	case DEVICE_TLS:
		run_tls(device);
		break;
	case DEVICE_LEAVING:
		run_leaving(device);
		break;
	case DEVICE_LOGIN:
	case DEVICE_CONNECT:
		run_answer(device);
		break;
	case DEVICE_DTLS:
	case DEVICE_UP:
		run_up(device);
		break;
	default:
		break;
	}
}

void device_start(struct device *device)
{
	device->started_us = clock_now_us();
	device->deadline_us = device->started_us + ATTEMPT_US;
	device->answered = false;
	device->fd = open_socket(device, SOCK_STREAM, &device->world->gateway);
	if (device->fd < 0) {
		fail(device, word_of_errno(errno), false);
		return;
	}
	device_enter(device, DEVICE_TCP);
	device->tcp_poll = xnew(uv_poll_t);
	uv_poll_init(device->world->loop, device->tcp_poll, device->fd);
	device->tcp_poll->data = device;
	device->tcp_events = UV_WRITABLE;
	uv_poll_start(device->tcp_poll, UV_WRITABLE, on_tcp);
}

/* ---- time ---- */

static void probe(struct device *device, bool over_dtls, int64_t now_us)
{
	struct device_pulse *pulse = over_dtls ? &device->udp : &device->tcp;

	if (pulse->unanswered++ == 0)
		pulse->asking_us = now_us;
	pulse->probed_us = now_us;
	device->world->counts.probes_tx++;
	(over_dtls ? send_dtls : send_tls)(device, CSTP_DPD_REQUEST, NULL, 0);
}

static void keep_alive(struct device *device, bool over_dtls, int64_t now_us)
{
	struct device_pulse *pulse = over_dtls ? &device->udp : &device->tcp;

	if (!device->keepalive_us || now_us - pulse->sent_us < device->keepalive_us)
		return;
	device->world->counts.keepalives_tx++;
	(over_dtls ? send_dtls : send_tls)(device, CSTP_KEEPALIVE, NULL, 0);
}

/* An idle client's: a probe each dpd, repeated twice as fast; after two dpd a new association. */
static void tick_udp(struct device *device, int64_t now_us)
{
	struct device_pulse *pulse = &device->udp;
	int64_t every = pulse->unanswered ? device->dpd_us / 2 : device->dpd_us;

	if (pulse->unanswered >= DEAD_PROBES && now_us - pulse->asking_us >= 2 * device->dpd_us) {
		close_association(device);
		device_enter(device, DEVICE_DTLS);
		device->next_association_us = now_us;
		return;
	}
	if (now_us - pulse->probed_us >= every)
		probe(device, true, now_us);
	keep_alive(device, true, now_us);
}

/* False when the session is gone. */
static bool tick_tls(struct device *device, int64_t now_us)
{
	int64_t silent = now_us - device->tcp.heard_us;

	if (silent > 2 * device->dpd_us) {
		fail(device, reason_word(REASON_PEER_TIMEOUT), false);
		return false;
	}
	if (silent >= device->dpd_us && now_us - device->tcp.probed_us >= device->dpd_us / 2)
		probe(device, false, now_us);
	keep_alive(device, false, now_us);
	return true;
}

static void tick_association(struct device *device, int64_t now_us)
{
	if (device->dtls && now_us - device->association_us > ASSOCIATION_US)
		close_association(device);
	if (device->dtls) {
		dtls_tick(device->dtls);
		if (device->dtls->state == DTLS_FAILED)
			close_association(device);
	}
	if (!device->dtls && now_us >= device->next_association_us)
		start_association(device, now_us);
}

void device_tick(struct device *device, int64_t now_us)
{
	switch (device->state) {
	case DEVICE_TCP:
	case DEVICE_TLS:
	case DEVICE_LEAVING:
	case DEVICE_LOGIN:
	case DEVICE_CONNECT:
		if (now_us > device->deadline_us)
			fail(device, timed_out, false);
		break;
	case DEVICE_DTLS:
		if (tick_tls(device, now_us))
			tick_association(device, now_us);
		break;
	case DEVICE_UP:
		if (tick_tls(device, now_us) && has_association(device))
			tick_udp(device, now_us);
		break;
	default:
		break;
	}
}
