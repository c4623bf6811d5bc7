#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/xalloc.h"
#include "certs.h"
#include "data/liveness.h"
#include "sys/tun.h"
#include "wire/ip.h"

#define GATEWAY_NAME "vpn.corp.example"

enum { STEPS = 4, TICK_US = LIVENESS_TICK_MS * 1000 };

/* One of each for the whole program. */
static struct {
	struct certs_pair root, gateway, device;
	struct trust *trust;
	struct tls_setup gateway_setup, device_setup;
} made;

/* ---- what the program is linked to instead ---- */

static int64_t now_us = 1000 * RIG_S;
static void *(*thread_start)(void *);

int64_t __wrap_clock_now_us(void);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *argument);
int __wrap_pthread_join(pthread_t thread, void **result);

int64_t __wrap_clock_now_us(void)
{
	return now_us;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *argument)
{
	(void)thread;
	(void)attributes;
	(void)argument;
	thread_start = start;
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	(void)thread;
	(void)result;
	return 0;
}

/* ---- the program ---- */

static void enter_namespace(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

static void on_problem(const char *file, const char *text, void *user)
{
	(void)user;
	fail_msg("%s: %s", file, text);
}

static void open_setup(struct tls_setup *setup, const struct certs_pair *pair)
{
	struct tls_options options = {.leaf = pair->cert,
				      .key = pair->key,
				      .groups = "X25519:P-256"};
	char error[200] = "";

	if (tls_setup_init(setup, &options, error, sizeof(error)) != 0)
		fail_msg("%s", error);
}

int rig_open_program(void **state)
{
	struct trust_source source = {.file = "root.pem"};
	char *pem;

	(void)state;
	enter_namespace();
	made.root = certs_make(&(struct certs_spec){.subject = "O=Corp/CN=Root",
						    .ca = true,
						    .ku = "critical,keyCertSign,cRLSign"},
			       NULL);
	made.gateway = certs_make(&(struct certs_spec){.subject = "O=Corp/CN=gateway",
						       .ku = "critical,digitalSignature",
						       .eku = "serverAuth",
						       .san = "DNS:" GATEWAY_NAME},
				  &made.root);
	made.device = certs_make(&(struct certs_spec){.subject = "O=Corp/CN=alice",
						      .ku = "critical,digitalSignature",
						      .eku = "clientAuth"},
				 &made.root);
	pem = certs_pem(made.root.cert);
	source.data = (const uint8_t *)pem;
	source.len = strlen(pem);
	made.trust = trust_new(&(struct trust_options){.cas = &source, .ca_count = 1}, on_problem,
			       on_problem, NULL);
	free(pem);
	open_setup(&made.gateway_setup, &made.gateway);
	open_setup(&made.device_setup, &made.device);
	return made.trust ? 0 : -1;
}

int rig_close_program(void **state)
{
	(void)state;
	tls_setup_done(&made.gateway_setup);
	tls_setup_done(&made.device_setup);
	trust_unref(made.trust);
	certs_free(&made.root);
	certs_free(&made.gateway);
	certs_free(&made.device);
	return 0;
}

/* ---- the worker ---- */

static struct endpoint loopback(void)
{
	struct addr addr;

	assert_true(addr_parse("127.0.0.1", &addr));
	return addr_endpoint(&addr, 0);
}

static void on_event(struct mailbox_message *message, void *owner)
{
	struct rig *rig = owner;

	assert_true(rig->event_count < RIG_EVENTS);
	rig->events[rig->event_count++] = (struct worker_event *)message;
}

static int bound_to(int fd, struct endpoint *ret)
{
	socklen_t size = sizeof(*ret);

	*ret = (struct endpoint){0};
	return getsockname(fd, &ret->any, &size);
}

static int open_tun(struct worker_options *options)
{
	int fds[2], bytes = 8 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes,
					    sizeof(bytes)),
				 0);
	options->tun_fd = fds[0];
	return fds[1];
}

static void open_worker(struct rig *rig, size_t i, struct worker_options *options)
{
	struct endpoint at = loopback();

	options->events = rig->mailbox;
	options->hello_verify = CONFIG_HELLO_OFF;
	options->socket_count = 1;
	rig->tuns[i] = open_tun(options);
	options->sockets[0].family = 4;
	assert_int_equal(udp_open(&at, false, &options->sockets[0].fd,
				  &options->sockets[0].offloads),
			 0);
	assert_int_equal(bound_to(options->sockets[0].fd, &rig->udp_ats[i]), 0);
}

static struct rig *new_rig(bool is_client, size_t count,
			   void (*change)(struct worker_options *options))
{
	struct worker_options options[RIG_CREW] = {0};
	struct rig *rig = xnew(struct rig);

	uv_loop_init(&rig->loop);
	rig->mailbox = mailbox_new(&rig->loop, on_event, rig);
	for (size_t i = 0; i < count; i++) {
		options[i].is_client = is_client;
		open_worker(rig, i, &options[i]);
		if (change)
			change(&options[i]);
	}
	assert_int_equal(worker_start(options, count, rig->crew), 0);
	rig->count = count;
	rig->worker = rig->crew[0];
	rig->tun = rig->tuns[0];
	rig->udp_at = rig->udp_ats[0];
	rig->run = thread_start;
	/* Only rig_pass ticks. */
	for (size_t i = 0; i < count; i++)
		uv_timer_stop(&rig->crew[i]->tick);
	return rig;
}

struct rig *rig_new(bool is_client, void (*change)(struct worker_options *options))
{
	return new_rig(is_client, 1, change);
}

struct rig *rig_new_crew(size_t count)
{
	return new_rig(false, count, NULL);
}

void rig_step(struct rig *rig)
{
	for (int i = 0; i < STEPS; i++) {
		for (size_t k = 0; k < rig->count; k++)
			uv_run(&rig->crew[k]->loop, UV_RUN_NOWAIT);
	}
	uv_run(&rig->loop, UV_RUN_NOWAIT);
}

void rig_pass(struct rig *rig, int64_t us)
{
	while (us > 0) {
		int64_t step = us < TICK_US ? us : TICK_US;

		now_us += step;
		us -= step;
		for (size_t i = 0; i < rig->count; i++)
			rig->crew[i]->tick.timer_cb(&rig->crew[i]->tick);
		rig_step(rig);
	}
}

int64_t rig_now_us(void)
{
	return now_us;
}

static void post(struct rig *rig, size_t worker, const struct worker_order *order)
{
	struct worker_order *copy = xnew(struct worker_order);

	*copy = *order;
	worker_post(rig->crew[worker], copy);
}

void rig_post_to(struct rig *rig, size_t worker, const struct worker_order *order)
{
	post(rig, worker, order);
	rig_step(rig);
}

void rig_post(struct rig *rig, const struct worker_order *order)
{
	rig_post_to(rig, 0, order);
}

void rig_free(struct rig *rig)
{
	int fds[2 * RIG_CREW], count = 0;

	for (size_t i = 0; i < rig->count; i++) {
		fds[count++] = rig->crew[i]->options.tun_fd;
		fds[count++] = rig->crew[i]->options.sockets[0].fd;
		close(rig->tuns[i]);
		if (rig->stopped)
			continue;
		post(rig, i, &(struct worker_order){.kind = WORKER_STOP});
		rig->run(rig->crew[i]);
	}
	worker_free(rig->crew, rig->count);
	mailbox_free(rig->mailbox);
	uv_run(&rig->loop, UV_RUN_NOWAIT);
	assert_int_equal(uv_loop_close(&rig->loop), 0);
	rig_forget_events(rig);
	while (count > 0)
		close(fds[--count]);
	free(rig);
}

struct worker_event *rig_event(struct rig *rig, enum worker_event_kind kind)
{
	static struct worker_event found;

	uv_run(&rig->loop, UV_RUN_NOWAIT);
	for (size_t i = 0; i < rig->event_count; i++) {
		if (rig->events[i]->kind != kind)
			continue;
		found = *rig->events[i];
		rig->events[i]->kind = UINT8_MAX; /* seen */
		return &found;
	}
	return NULL;
}

void rig_forget_events(struct rig *rig)
{
	for (size_t i = 0; i < rig->event_count; i++)
		worker_event_free(rig->events[i]);
	rig->event_count = 0;
}

uint64_t rig_count(const struct rig *rig, enum count count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < rig->count; i++)
		sum += rig->crew[i]->counts.of[count];
	return sum;
}

/* ---- a peer, on TLS ---- */

static void shake_tls(struct tls *ours, struct tls *theirs)
{
	enum tls_result results[2] = {TLS_AGAIN, TLS_AGAIN};
	struct tls *ends[2] = {ours, theirs};

	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < 2; k++) {
			if (results[k] == TLS_AGAIN)
				results[k] = tls_handshake(ends[k]);
			tls_flush(ends[k]);
		}
	}
	assert_int_equal(results[0], TLS_DONE);
	assert_int_equal(results[1], TLS_DONE);
}

static void read_prefixes(const char *text, struct prefix_list *ret)
{
	char *copy = strdup(text), *rest = copy, *word;

	while ((word = strsep(&rest, " "))) {
		struct prefix prefix;

		assert_true(prefix_parse(word, &prefix, NULL));
		prefix_list_add(ret, &prefix);
	}
	free(copy);
}

static void make_spec(struct rig_peer *peer, const struct rig_flow *flow, struct tls *tls,
		      struct flow_spec *ret)
{
	*ret = (struct flow_spec){
		.id = flow->id ? flow->id : 1,
		.session = flow->session    ? flow->session
			   : flow->replaces ? flow->replaces
					    : 1,
		.replaces = flow->replaces,
		.name = xalloc_string("alice"),
		.tls = tls,
		.has_dtls = !flow->no_dtls,
		.app_id_len = DTLS_APP_ID,
		.path.peer = peer->udp_at,
		.access = flow->access ? flow->access : access_everything(),
		.mtu = flow->mtu ? flow->mtu : RIG_MTU,
		.dpd_us = flow->dpd_us,
		.keepalive_us = flow->keepalive_us,
		.idle_us = flow->idle_us,
		.peer_is_tund = !flow->peer_is_stranger,
	};
	memset(peer->app_id, (int)ret->id, DTLS_APP_ID);
	memcpy(ret->app_id, peer->app_id, DTLS_APP_ID);
	assert_int_equal(tls_export_psk(tls, ret->psk), 0);
	memcpy(peer->psk, ret->psk, DTLS_PSK);
	read_prefixes(flow->own ? flow->own : RIG_DEVICE "/32", &ret->own);
	if (flow->greeting)
		buf_print(&ret->greeting, "%s", flow->greeting);
	if (flow->early)
		buf_print(&ret->early, "%s", flow->early);
}

static int connect_to(const struct endpoint *worker, struct endpoint *ret_at)
{
	struct endpoint at = loopback(), bound;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, &at.any, addr_endpoint_len(&at)), 0);
	assert_int_equal(bound_to(fd, &bound), 0);
	assert_int_equal(connect(fd, &worker->any, addr_endpoint_len(worker)), 0);
	if (ret_at)
		*ret_at = bound;
	return fd;
}

int rig_socket(struct rig *rig, struct endpoint *ret_at)
{
	return connect_to(&rig->udp_at, ret_at);
}

void rig_roam(struct rig_peer *peer, size_t worker)
{
	close(peer->udp);
	peer->udp = connect_to(&peer->rig->udp_ats[worker], &peer->udp_at);
}

struct rig_peer *rig_attach(struct rig *rig, const struct rig_flow *flow)
{
	bool is_client = rig->worker->options.is_client;
	struct tls_setup *ours = is_client ? &made.device_setup : &made.gateway_setup;
	struct tls_setup *theirs = is_client ? &made.gateway_setup : &made.device_setup;
	struct rig_peer *peer = xnew(struct rig_peer);
	struct worker_order order = {.kind = WORKER_ATTACH};
	struct tls *tls;
	int fds[2];

	peer->rig = rig;
	peer->flow = flow->id ? flow->id : 1;
	peer->udp = rig_socket(rig, &peer->udp_at);
	assert_int_equal(dtls_setup_init(&peer->setup), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	tls = tls_new(ours, !is_client, fds[0], made.trust, is_client ? GATEWAY_NAME : NULL);
	peer->tls = tls_new(theirs, is_client, fds[1], made.trust, is_client ? NULL : GATEWAY_NAME);
	shake_tls(tls, peer->tls);
	make_spec(peer, flow, tls, &order.spec);
	for (size_t i = 1; i < rig->count; i++)
		post(rig, i,
		     &(struct worker_order){.kind = WORKER_LEARN,
					    .session = order.spec.session,
					    .spec = flow_spec_copy(&order.spec)});
	post(rig, 0, &order);
	if (!flow->waits)
		rig_step(rig);
	return peer;
}

void rig_peer_free(struct rig_peer *peer)
{
	tls_free(peer->tls);
	dtls_free(peer->dtls);
	dtls_setup_done(&peer->setup);
	close(peer->udp);
	free(peer);
}

struct flow *rig_flow_of(struct rig_peer *peer)
{
	return rig_flow_at(peer, 0);
}

struct flow *rig_flow_at(struct rig_peer *peer, size_t worker)
{
	return flow_find(&peer->rig->crew[worker]->table, peer->flow);
}

void rig_write(struct rig_peer *peer, const void *bytes, size_t len)
{
	assert_true(tls_write(peer->tls, bytes, len));
	while (tls_flush(peer->tls) == TLS_AGAIN)
		rig_step(peer->rig);
	rig_step(peer->rig);
}

void rig_send(struct rig_peer *peer, enum cstp_type type, const void *payload, size_t len)
{
	uint8_t record[CSTP_RECORD_MAX];

	assert_true(len + CSTP_HEADER <= sizeof(record));
	cstp_write_header(record, (uint8_t)type, len);
	if (len)
		memcpy(record + CSTP_HEADER, payload, len);
	rig_write(peer, record, len + CSTP_HEADER);
}

ssize_t rig_read(struct rig_peer *peer, uint8_t out[static CSTP_RECORD_MAX])
{
	enum tls_result result;
	size_t len;

	rig_step(peer->rig);
	result = tls_read(peer->tls, out, CSTP_RECORD_MAX, &len);
	if (result == TLS_DONE)
		return (ssize_t)len;
	return result == TLS_AGAIN ? -1 : -2;
}

ssize_t rig_frame(struct rig_peer *peer, enum cstp_type type, uint8_t out[static CSTP_RECORD_MAX])
{
	uint8_t record[CSTP_RECORD_MAX];
	struct cstp_frame frame;
	ssize_t len;

	while ((len = rig_read(peer, record)) >= 0) {
		assert_true(cstp_read_record(record, (size_t)len, &frame));
		if (frame.type != type)
			continue;
		memcpy(out, frame.payload, frame.len);
		return (ssize_t)frame.len;
	}
	return -1;
}

/* ---- a peer, on UDP ---- */

void rig_datagram(struct rig *rig, int udp, const void *bytes, size_t len)
{
	assert_int_equal(send(udp, bytes, len, 0), (ssize_t)len);
	rig_step(rig);
}

static void on_record(void *user, const uint8_t *bytes, size_t len)
{
	struct rig_peer *peer = user;

	assert_true(len <= sizeof(peer->last));
	memcpy(peer->last, bytes, len);
	peer->last_len = len;
	peer->sent++;
	if (!peer->mute)
		assert_int_equal(send(peer->udp, bytes, len, 0), (ssize_t)len);
}

void rig_open_dtls(struct rig_peer *peer)
{
	static const uint8_t address[18] = {127, 0, 0, 1};

	dtls_free(peer->dtls);
	peer->sent = 0;
	peer->dtls = dtls_new(&peer->setup, peer->rig->worker->options.is_client,
			      &(struct dtls_options){
				      .psk = peer->psk,
				      .app_id = peer->app_id,
				      .app_id_len = DTLS_APP_ID,
				      .write = on_record,
				      .user = peer,
				      .peer = address,
				      .mtu = 1200,
			      });
	assert_non_null(peer->dtls);
}

/* A handshake message goes in, true; a record of data is left in out. */
static bool take_datagram(struct rig_peer *peer, const uint8_t *datagram, size_t len,
			  uint8_t out[static RIG_PACKET], ssize_t *ret_len)
{
	struct dtls_record record;
	size_t plain;

	*ret_len = -1;
	if (!peer->dtls || dtls_record_check(datagram, len, peer->dtls->aead_min,
					     &peer->dtls->window, &record) != DTLS_RECORD_OK)
		return true;
	if (peer->dtls->state == DTLS_HANDSHAKING) {
		dtls_handshake(peer->dtls, datagram, len);
		rig_step(peer->rig);
		return true;
	}
	if (dtls_open(peer->dtls, datagram, len, &record, out, RIG_PACKET, &plain) !=
	    DTLS_OPENED_RECORD)
		return true;
	*ret_len = (ssize_t)plain;
	return false;
}

ssize_t rig_read_udp(struct rig_peer *peer, uint8_t *ret_type, uint8_t out[static RIG_PACKET])
{
	static uint8_t datagram[RIG_PACKET];
	ssize_t len, plain;

	rig_step(peer->rig);
	while ((len = recv(peer->udp, datagram, sizeof(datagram), 0)) >= 0) {
		if (take_datagram(peer, datagram, (size_t)len, out, &plain))
			continue;
		assert_true(plain > 0);
		*ret_type = out[0];
		memmove(out, out + 1, (size_t)plain - 1);
		return plain - 1;
	}
	return -1;
}

ssize_t rig_frame_udp(struct rig_peer *peer, enum cstp_type type, uint8_t out[static RIG_PACKET])
{
	uint8_t got;
	ssize_t len;

	while ((len = rig_read_udp(peer, &got, out)) >= 0) {
		if (got == type)
			return len;
	}
	return -1;
}

/* Not one datagram more than it needs: the next are the test's. */
void rig_shake(struct rig_peer *peer)
{
	static uint8_t datagram[RIG_PACKET], unused[RIG_PACKET];
	ssize_t len, plain;

	if (!peer->dtls || peer->dtls->state != DTLS_HANDSHAKING)
		rig_open_dtls(peer);
	if (!peer->rig->worker->options.is_client && !peer->sent)
		dtls_handshake(peer->dtls, NULL, 0);
	rig_step(peer->rig);
	while (peer->dtls->state == DTLS_HANDSHAKING &&
	       (len = recv(peer->udp, datagram, sizeof(datagram), 0)) >= 0)
		take_datagram(peer, datagram, (size_t)len, unused, &plain);
	assert_int_equal(peer->dtls->state, DTLS_OPEN);
	rig_step(peer->rig);
}

void rig_send_udp(struct rig_peer *peer, enum cstp_type type, const void *payload, size_t len)
{
	static uint8_t plain[RIG_PACKET];

	plain[0] = (uint8_t)type;
	if (len)
		memcpy(plain + 1, payload, len);
	assert_true(dtls_seal(peer->dtls, plain, len + 1));
	rig_step(peer->rig);
}

/* ---- TUN ---- */

ssize_t rig_read_tun_of(struct rig *rig, size_t worker, uint8_t out[static RIG_PACKET])
{
	struct tun_header header;
	ssize_t len = tun_read(rig->tuns[worker], &header, out, RIG_PACKET);

	return len < 0 ? -1 : len;
}

void rig_write_tun_of(struct rig *rig, size_t worker, const uint8_t *packet, size_t len)
{
	static const struct tun_header plain;

	assert_int_equal(tun_write(rig->tuns[worker], &plain, packet, len), 0);
	rig_step(rig);
}

ssize_t rig_read_tun(struct rig *rig, struct tun_header *ret_header, uint8_t out[static RIG_PACKET])
{
	struct tun_header header;
	ssize_t len = tun_read(rig->tun, &header, out, RIG_PACKET);

	if (ret_header)
		*ret_header = header;
	return len < 0 ? -1 : len;
}

void rig_write_tun(struct rig *rig, const struct tun_header *header, const uint8_t *packet,
		   size_t len)
{
	static const struct tun_header plain;

	assert_int_equal(tun_write(rig->tun, header ? header : &plain, packet, len), 0);
	rig_step(rig);
}

/* ---- rules ---- */

struct access *rig_allow(const char *net)
{
	struct config_rule rule = {.any_protocol = true};
	struct config_access block = {.allow = {.items = &rule, .count = 1}};
	const struct config_access *blocks[] = {&block};

	assert_true(prefix_parse(net, &rule.net, NULL));
	return access_compile(blocks, 1);
}

/* ---- packets ---- */

/* The IP header; where the transport goes. */
static size_t write_ip(const char *source, const char *destination, uint8_t protocol,
		       size_t payload, uint8_t *out)
{
	struct addr from, to;
	size_t at;

	assert_true(addr_parse(source, &from) && addr_parse(destination, &to));
	at = from.family == 4 ? IP_V4_HEADER : IP_V6_HEADER;
	memset(out, 0, at);
	if (from.family == 4) {
		out[0] = 0x45;
		ip_put16(out + 2, (uint16_t)(at + payload));
		ip_put16(out + 6, 0x4000); /* don't fragment */
		out[8] = 64;
		out[9] = protocol;
		memcpy(out + 12, from.bytes, 4);
		memcpy(out + 16, to.bytes, 4);
		ip_set_v4_checksum(out);
	} else {
		out[0] = 0x60;
		ip_put16(out + 4, (uint16_t)payload);
		out[6] = protocol;
		out[7] = 64;
		memcpy(out + 8, from.bytes, 16);
		memcpy(out + 24, to.bytes, 16);
	}
	return at;
}

static size_t finish_packet(uint8_t *out, size_t at, size_t len, uint8_t protocol, size_t field)
{
	bool v4 = at == IP_V4_HEADER;
	uint64_t sum = ip_sum_pseudo(v4 ? 4 : 6, out + (v4 ? 12 : 8), out + (v4 ? 16 : 24),
				     protocol, (uint32_t)(len - at));

	ip_put_sum(out + at + field, (uint16_t)~ip_sum_fold(ip_sum(out + at, len - at, sum)));
	return len;
}

size_t rig_udp_packet(const char *source, const char *destination, size_t payload, uint8_t *out)
{
	size_t len = IP_UDP_HEADER + payload;
	size_t at = write_ip(source, destination, IP_PROTO_UDP, len, out);

	memset(out + at, 0x5a, len);
	ip_put16(out + at, 1234);
	ip_put16(out + at + 2, 53);
	ip_put16(out + at + 4, (uint16_t)len);
	ip_put16(out + at + 6, 0);
	return finish_packet(out, at, at + len, IP_PROTO_UDP, 6);
}

size_t rig_tcp_packet(const char *source, const char *destination, uint8_t flags, uint16_t mss,
		      uint32_t sequence, size_t payload, uint8_t *out)
{
	size_t header = IP_TCP_HEADER + (mss ? 4 : 0), len = header + payload;
	size_t at = write_ip(source, destination, IP_PROTO_TCP, len, out);
	uint8_t *tcp = out + at;

	memset(tcp, 0, header);
	memset(tcp + header, 0x5a, payload);
	ip_put16(tcp, 40000);
	ip_put16(tcp + 2, 80);
	ip_put32(tcp + 4, sequence);
	ip_put32(tcp + 8, 77);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = flags;
	ip_put16(tcp + 14, 1000);
	if (mss) {
		tcp[20] = 2;
		tcp[21] = 4;
		ip_put16(tcp + 22, mss);
	}
	return finish_packet(out, at, at + len, IP_PROTO_TCP, 16);
}
