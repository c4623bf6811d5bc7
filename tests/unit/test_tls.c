/* channel/tls: two ends in one process over a socket pair. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "certs.h"
#include "channel/tls.h"

#define GATEWAY_NAME "vpn.corp.example"
#define GROUPS	     "X25519:P-256"

struct world {
	struct certs_pair root, gateway, device, expired, other_root, stranger;
	struct trust *trust; /* root alone */
};

static struct certs_pair make_leaf(const char *subject, const char *eku, const char *san,
				   bool expired, const struct certs_pair *issuer)
{
	return certs_make(&(struct certs_spec){.subject = subject,
					       .ku = "critical,digitalSignature",
					       .eku = eku,
					       .san = san,
					       .from_s = expired ? -9 * CERTS_DAY_S : 0,
					       .until_s = expired ? -2 * CERTS_DAY_S : 0},
			  issuer);
}

static struct certs_pair make_root(const char *subject)
{
	return certs_make(&(struct certs_spec){.subject = subject,
					       .ca = true,
					       .ku = "critical,keyCertSign,cRLSign"},
			  NULL);
}

static void on_problem(const char *file, const char *text, void *user)
{
	(void)user;
	fprintf(stderr, "%s: %s\n", file, text);
}

static int make_world(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct trust_source source = {.file = "root.pem"};
	char *pem;

	world->root = make_root("O=Corp/CN=Root");
	world->other_root = make_root("O=Other/CN=Root");
	world->gateway = make_leaf("O=Corp/CN=gateway", "serverAuth", "DNS:" GATEWAY_NAME, false,
				   &world->root);
	world->device = make_leaf("O=Corp/CN=alice", "clientAuth", NULL, false, &world->root);
	world->expired = make_leaf("O=Corp/CN=bob", "clientAuth", NULL, true, &world->root);
	world->stranger =
		make_leaf("O=Other/CN=eve", "clientAuth", NULL, false, &world->other_root);
	pem = certs_pem(world->root.cert);
	source.data = (const uint8_t *)pem;
	source.len = strlen(pem);
	world->trust = trust_new(&(struct trust_options){.cas = &source, .ca_count = 1}, on_problem,
				 on_problem, NULL);
	free(pem);
	*state = world;
	return world->trust ? 0 : -1;
}

static int free_world(void **state)
{
	struct world *world = *state;

	certs_free(&world->root);
	certs_free(&world->other_root);
	certs_free(&world->gateway);
	certs_free(&world->device);
	certs_free(&world->expired);
	certs_free(&world->stranger);
	trust_unref(world->trust);
	free(world);
	return 0;
}

/* ---- two ends ---- */

struct ends {
	struct tls_setup gateway_setup, device_setup;
	struct tls *gateway, *device;
	enum tls_result gateway_result, device_result;
};

static void open_setup(struct tls_setup *setup, const struct certs_pair *pair)
{
	struct tls_options options = {.leaf = pair->cert, .key = pair->key, .groups = GROUPS};
	char error[200] = "";

	if (tls_setup_init(setup, &options, error, sizeof(error)) != 0)
		fail_msg("%s", error);
}

static void open_ends(struct ends *ends, struct world *world, const struct certs_pair *device,
		      const char *name)
{
	int fds[2];

	*ends = (struct ends){.gateway_result = TLS_AGAIN, .device_result = TLS_AGAIN};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	open_setup(&ends->gateway_setup, &world->gateway);
	open_setup(&ends->device_setup, device);
	ends->gateway = tls_new(&ends->gateway_setup, true, fds[0], world->trust, NULL);
	ends->device = tls_new(&ends->device_setup, false, fds[1], world->trust, name);
	assert_non_null(ends->gateway);
	assert_non_null(ends->device);
}

static void close_ends(struct ends *ends)
{
	tls_free(ends->gateway);
	tls_free(ends->device);
	tls_setup_done(&ends->gateway_setup);
	tls_setup_done(&ends->device_setup);
}

static void step(struct tls *tls, enum tls_result *result)
{
	if (*result == TLS_AGAIN)
		*result = tls_handshake(tls);
	tls_flush(tls);
}

static void shake(struct ends *ends)
{
	for (int i = 0; i < 20; i++) {
		step(ends->device, &ends->device_result);
		step(ends->gateway, &ends->gateway_result);
	}
}

/* ---- good ones ---- */

static void test_handshake(void **state)
{
	struct ends ends;
	char gateway_id[TLS_ID_TEXT], device_id[TLS_ID_TEXT];
	uint8_t gateway_psk[TLS_PSK] = {1}, device_psk[TLS_PSK] = {2};

	open_ends(&ends, *state, &((struct world *)*state)->device, GATEWAY_NAME);
	shake(&ends);
	assert_int_equal(ends.gateway_result, TLS_DONE);
	assert_int_equal(ends.device_result, TLS_DONE);
	assert_string_equal(tls_version(ends.gateway), "TLSv1.3");
	assert_string_equal(tls_group(ends.gateway), "x25519");
	assert_string_equal(tls_cipher(ends.gateway), tls_cipher(ends.device));
	assert_true(ends.gateway->asked && ends.device->asked);
	assert_int_equal(ends.gateway->verdict.reason, REASON_NONE);
	assert_int_equal(ends.device->verdict.reason, REASON_NONE);
	assert_string_equal(ends.gateway->verdict.cert->identity.name, "alice");
	assert_string_equal(ends.device->verdict.cert->identity.name, GATEWAY_NAME);
	assert_int_equal(ends.gateway->alert, -1);
	assert_true(ends.device->peer_is_tund);
	assert_false(ends.gateway->peer_is_tund);
	tls_id(ends.gateway, gateway_id);
	tls_id(ends.device, device_id);
	assert_string_equal(gateway_id, device_id);
	assert_int_equal(strspn(gateway_id, "0123456789abcdef"), TLS_ID_TEXT - 1);
	assert_int_equal(tls_export_psk(ends.gateway, gateway_psk), 0);
	assert_int_equal(tls_export_psk(ends.device, device_psk), 0);
	assert_memory_equal(gateway_psk, device_psk, TLS_PSK);
	assert_int_equal(SSL_session_reused(ends.gateway->ssl), 0);
	close_ends(&ends);
}

/* Another handshake, other keys. */
static void test_keys_differ(void **state)
{
	uint8_t psk[2][TLS_PSK];

	for (int i = 0; i < 2; i++) {
		struct ends ends;

		open_ends(&ends, *state, &((struct world *)*state)->device, GATEWAY_NAME);
		shake(&ends);
		assert_int_equal(tls_export_psk(ends.device, psk[i]), 0);
		close_ends(&ends);
	}
	assert_memory_not_equal(psk[0], psk[1], TLS_PSK);
}

static void test_records(void **state)
{
	static uint8_t sent[TLS_RECORD_MAX], got[TLS_RECORD_MAX];
	static const size_t lengths[] = {1, 8, 1400, TLS_RECORD_MAX};
	struct ends ends;
	size_t len;

	open_ends(&ends, *state, &((struct world *)*state)->device, GATEWAY_NAME);
	shake(&ends);
	memset(sent, 0x5a, sizeof(sent));
	assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_AGAIN);
	/* Several records on their way at once come out one by one. */
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
		assert_true(tls_write(ends.gateway, sent, lengths[i]));
	assert_true(tls_wants_write(ends.gateway));
	assert_int_equal(tls_flush(ends.gateway), TLS_DONE);
	assert_false(tls_wants_write(ends.gateway));
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_DONE);
		assert_int_equal(len, lengths[i]);
		assert_memory_equal(got, sent, len);
	}
	assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_AGAIN);
	assert_false(tls_has_input(ends.device));
	tls_shutdown(ends.gateway);
	assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_CLOSED);
	close_ends(&ends);
}

/* A peer that does not read: the output grows to its limit and no further. */
static void test_full(void **state)
{
	static uint8_t record[TLS_RECORD_MAX], got[TLS_RECORD_MAX];
	size_t written = 0, read = 0, len;
	struct ends ends;

	open_ends(&ends, *state, &((struct world *)*state)->device, GATEWAY_NAME);
	shake(&ends);
	while (tls_write(ends.gateway, record, sizeof(record))) {
		written++;
		tls_flush(ends.gateway);
		assert_true(written < 10000);
	}
	assert_true(tls_is_full(ends.gateway));
	assert_true(ends.gateway->out.len - ends.gateway->out_at <= TLS_OUT_MAX);
	while (read < written) {
		if (tls_read(ends.device, got, sizeof(got), &len) == TLS_DONE)
			read++;
		else
			assert_int_not_equal(tls_flush(ends.gateway), TLS_FAILED);
	}
	assert_false(tls_is_full(ends.gateway));
	assert_int_equal(tls_flush(ends.gateway), TLS_DONE);
	assert_true(tls_write(ends.gateway, record, sizeof(record)));
	close_ends(&ends);
}

/* What is released is only what nobody needs: not a record of which half has come, nor those that
 * were received with the one that was read. */
static void test_rest(void **state)
{
	struct ends ends;
	uint8_t got[100];
	size_t len, half;

	open_ends(&ends, *state, &((struct world *)*state)->device, GATEWAY_NAME);
	shake(&ends);
	tls_rest(ends.gateway);
	tls_rest(ends.device);
	assert_null(ends.device->in.data);
	for (int i = 0; i < 3; i++)
		assert_true(tls_write(ends.gateway, "abc", 3));
	half = ends.gateway->out.len / 2; /* within the second */
	assert_int_equal(send(ends.gateway->fd, ends.gateway->out.data, half, 0), half);
	ends.gateway->out_at = half;
	assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_DONE);
	tls_rest(ends.device);
	assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_AGAIN);
	tls_rest(ends.device);
	assert_null(ends.device->in.data);
	assert_int_equal(tls_flush(ends.gateway), TLS_DONE);
	tls_rest(ends.gateway);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_DONE);
		assert_memory_equal(got, "abc", 3);
		tls_rest(ends.device);
	}
	assert_null(ends.device->in.data);
	assert_true(tls_write(ends.device, "back", 4));
	assert_int_equal(tls_flush(ends.device), TLS_DONE);
	assert_int_equal(tls_read(ends.gateway, got, sizeof(got), &len), TLS_DONE);
	assert_int_equal(len, 4);
	close_ends(&ends);
}

/* What comes behind the end is not read, nor kept for reading. */
static void test_behind_the_end(void **state)
{
	struct ends ends;
	uint8_t got[100];
	size_t len;

	open_ends(&ends, *state, &((struct world *)*state)->device, GATEWAY_NAME);
	shake(&ends);
	SSL_shutdown(ends.gateway->ssl);
	buf_append(&ends.gateway->out, "more that is no record", 22);
	assert_int_equal(tls_flush(ends.gateway), TLS_DONE);
	assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_CLOSED);
	assert_false(tls_has_input(ends.device));
	assert_int_equal(tls_read(ends.device, got, sizeof(got), &len), TLS_CLOSED);
	close_ends(&ends);
}

/* ---- refusals ---- */

/* The refused end learns why: at once by the alert, which in TLS 1.3 a client meets when it reads.
 */
static enum reason read_refusal(struct tls *tls, enum tls_result result)
{
	char text[300];
	uint8_t got[100];
	size_t len;

	if (result == TLS_DONE)
		result = tls_read(tls, got, sizeof(got), &len);
	assert_int_equal(result, TLS_FAILED);
	return tls_failure(tls, text, sizeof(text));
}

static const struct refusal_case {
	const char *name;
	size_t device; /* offset of the pair in struct world */
	const char *gateway_name;
	bool by_device; /* else by the gateway */
	enum reason reason, seen;
	int alert;
} refusal_cases[] = {
	{"expired", offsetof(struct world, expired), GATEWAY_NAME, false, REASON_CERT_EXPIRED,
	 REASON_CERT_EXPIRED, SSL_AD_CERTIFICATE_EXPIRED},
	{"a stranger", offsetof(struct world, stranger), GATEWAY_NAME, false, REASON_ISSUER_UNKNOWN,
	 REASON_ISSUER_UNKNOWN, SSL_AD_UNKNOWN_CA},
	{"a gateway as a device", offsetof(struct world, gateway), GATEWAY_NAME, false,
	 REASON_PURPOSE_MISMATCH, REASON_PURPOSE_MISMATCH, SSL_AD_UNSUPPORTED_CERTIFICATE},
	{"another name", offsetof(struct world, device), "other.corp.example", true,
	 REASON_NAME_MISMATCH, REASON_NONE, -2},
};

static void test_refusals(void **state)
{
	for (size_t i = 0; i < sizeof(refusal_cases) / sizeof(*refusal_cases); i++) {
		const struct refusal_case *row = &refusal_cases[i];
		const struct certs_pair *device = (void *)((char *)*state + row->device);
		struct tls *refusing, *refused;
		struct ends ends;
		char text[300];
		enum reason seen;

		open_ends(&ends, *state, device, row->gateway_name);
		shake(&ends);
		refusing = row->by_device ? ends.device : ends.gateway;
		refused = row->by_device ? ends.gateway : ends.device;
		if ((row->by_device ? ends.device_result : ends.gateway_result) != TLS_FAILED)
			fail_msg("%s: let in", row->name);
		if (tls_failure(refusing, text, sizeof(text)) != row->reason)
			fail_msg("%s: %s", row->name, text);
		seen = read_refusal(refused,
				    row->by_device ? ends.gateway_result : ends.device_result);
		if (row->alert != -2 && (refused->alert != row->alert || seen != row->seen))
			fail_msg("%s: alert %d, %s", row->name, refused->alert, reason_word(seen));
		if (refused->alert < 0)
			fail_msg("%s: no alert came", row->name);
		close_ends(&ends);
	}
}

/* A client of OpenSSL's own, without our settings. */
static SSL_CTX *plain_client(int version, const struct certs_pair *pair)
{
	SSL_CTX *made = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_min_proto_version(made, version);
	SSL_CTX_set_max_proto_version(made, version);
	if (pair) {
		SSL_CTX_use_certificate(made, pair->cert);
		SSL_CTX_use_PrivateKey(made, pair->key);
	}
	return made;
}

static const struct plain_case {
	const char *name;
	int version;
	bool has_cert;
	enum reason reason;
	int alert;
} plain_cases[] = {
	{"TLS 1.3", TLS1_3_VERSION, true, REASON_NONE, -1},
	{"TLS 1.2", TLS1_2_VERSION, true, REASON_VERSION_TOO_OLD, SSL_AD_PROTOCOL_VERSION},
	{"no certificate", TLS1_3_VERSION, false, REASON_CERT_MISSING,
	 TLS13_AD_CERTIFICATE_REQUIRED},
};

static int alert_seen(SSL *ssl, SSL_CTX *made)
{
	(void)made;
	return (int)(intptr_t)SSL_get_app_data(ssl) - 1;
}

static void on_alert(const SSL *ssl, int where, int value)
{
	if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT)
		SSL_set_app_data((SSL *)ssl, (void *)(intptr_t)((value & 0xff) + 1));
}

static void test_plain_clients(void **state)
{
	struct world *world = *state;

	for (size_t i = 0; i < sizeof(plain_cases) / sizeof(*plain_cases); i++) {
		const struct plain_case *row = &plain_cases[i];
		SSL_CTX *made = plain_client(row->version, row->has_cert ? &world->device : NULL);
		SSL *ssl = SSL_new(made);
		enum tls_result result = TLS_AGAIN;
		enum reason reason = REASON_NONE;
		struct ends ends;
		char text[300], byte;

		SSL_set_info_callback(ssl, on_alert);
		open_ends(&ends, world, &world->device, GATEWAY_NAME);
		SSL_set_fd(ssl, ends.device->fd);
		SSL_set_connect_state(ssl);
		for (int k = 0; k < 10; k++) {
			SSL_do_handshake(ssl);
			if (result == TLS_AGAIN)
				result = tls_handshake(ends.gateway);
			if (result == TLS_FAILED && !reason)
				reason = tls_failure(ends.gateway, text, sizeof(text));
			tls_flush(ends.gateway);
		}
		SSL_read(ssl, &byte, 1);
		if (reason != row->reason || alert_seen(ssl, made) != row->alert ||
		    (result == TLS_DONE) != (row->reason == REASON_NONE))
			fail_msg("%s: %s, alert %d", row->name, reason_word(reason),
				 alert_seen(ssl, made));
		SSL_free(ssl);
		SSL_CTX_free(made);
		close_ends(&ends);
	}
}

/* Bytes that are no TLS, and an end in the middle. */
static void test_garbage(void **state)
{
	static const struct {
		const char *bytes;
		enum tls_result result;
		enum reason reason;
	} rows[] = {
		{"", TLS_CLOSED, REASON_PROTOCOL_ERROR},
		{"GET / HTTP/1.1\r\n\r\n", TLS_FAILED, REASON_PROTOCOL_ERROR},
		{"\x16\x03\x01", TLS_CLOSED, REASON_PROTOCOL_ERROR},
		{"SSH-2.0-OpenSSH_9\r\n", TLS_FAILED, REASON_PROTOCOL_ERROR},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct ends ends;
		char text[300] = "";

		open_ends(&ends, *state, &((struct world *)*state)->device, GATEWAY_NAME);
		assert_int_equal(write(ends.device->fd, rows[i].bytes, strlen(rows[i].bytes)),
				 strlen(rows[i].bytes));
		tls_shutdown(ends.device);
		assert_int_equal(tls_handshake(ends.gateway), rows[i].result);
		assert_int_equal(tls_failure(ends.gateway, text, sizeof(text)), rows[i].reason);
		assert_true(text[0]);
		close_ends(&ends);
	}
}

static void test_groups(void **state)
{
	struct world *world = *state;
	struct tls_options options = {.leaf = world->gateway.cert, .key = world->gateway.key};
	struct tls_setup setup;
	char error[200];

	options.groups = "no-such-group:P-256";
	assert_int_equal(tls_setup_init(&setup, &options, error, sizeof(error)), 0);
	tls_setup_done(&setup);
	options.groups = "no-such-group";
	assert_true(tls_setup_init(&setup, &options, error, sizeof(error)) < 0);
	options.groups = GROUPS;
	options.key = world->device.key;
	assert_true(tls_setup_init(&setup, &options, error, sizeof(error)) < 0);
	assert_true(error[0]);
	tls_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake),      cmocka_unit_test(test_keys_differ),
		cmocka_unit_test(test_records),	       cmocka_unit_test(test_full),
		cmocka_unit_test(test_behind_the_end), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_plain_clients),  cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_groups),	       cmocka_unit_test(test_rest),
	};

	return cmocka_run_group_tests(tests, make_world, free_world);
}
