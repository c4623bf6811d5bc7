/* channel/dtls and channel/bio: two ends in one process, datagrams in memory. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "channel/bio.h"
#include "channel/dtls.h"

enum { QUEUE = 64, DATAGRAM = 2048, MTU = 1200, GARBAGE = 100000 };

struct datagram {
	uint8_t bytes[DATAGRAM];
	size_t len;
};

/* What one end has sent and the other has not yet got. */
struct queue {
	struct datagram items[QUEUE];
	size_t count;
};

struct ends {
	struct dtls_setup setup;
	struct dtls *server, *client;
	struct queue from_server, from_client;
};

static const uint8_t app_id[DTLS_APP_ID] = "thirty-two bytes of an App-ID...";
static const uint8_t psk[DTLS_PSK] = "one secret, from the exporter";
static const uint8_t other_psk[DTLS_PSK] = "one secret, from the exporteR";
static const uint8_t peer[18] = {10, 0, 0, 1};

static void on_write(void *user, const uint8_t *bytes, size_t len)
{
	struct queue *queue = user;

	assert_true(queue->count < QUEUE && len <= DATAGRAM);
	memcpy(queue->items[queue->count].bytes, bytes, len);
	queue->items[queue->count++].len = len;
}

static void drop_first(struct queue *queue)
{
	assert_true(queue->count > 0);
	queue->count--;
	memmove(queue->items, queue->items + 1, queue->count * sizeof(queue->items[0]));
}

static void open_ends(struct ends *ends, const uint8_t *server_psk, bool verify)
{
	struct dtls_options options = {.app_id = app_id,
				       .app_id_len = sizeof(app_id),
				       .write = on_write,
				       .peer = peer,
				       .verify_hello = verify,
				       .mtu = MTU};

	assert_int_equal(dtls_setup_init(&ends->setup), 0);
	options.psk = server_psk;
	options.user = &ends->from_server;
	ends->server = dtls_new(&ends->setup, true, &options);
	options.psk = psk;
	options.user = &ends->from_client;
	ends->client = dtls_new(&ends->setup, false, &options);
	assert_non_null(ends->server);
	assert_non_null(ends->client);
}

static struct ends *new_ends(const uint8_t *server_psk, bool verify)
{
	struct ends *ends = calloc(1, sizeof(*ends));

	open_ends(ends, server_psk, verify);
	return ends;
}

static void free_ends(struct ends *ends)
{
	dtls_free(ends->server);
	dtls_free(ends->client);
	dtls_setup_done(&ends->setup);
	free(ends);
}

static void deliver(struct dtls *to, struct queue *queue)
{
	while (queue->count) {
		struct datagram first = queue->items[0];
		struct dtls_record record;

		drop_first(queue);
		if (to->state == DTLS_HANDSHAKING &&
		    dtls_record_check(first.bytes, first.len, to->aead_min, &to->window, &record) ==
			    DTLS_RECORD_OK)
			dtls_handshake(to, first.bytes, first.len);
	}
}

static void shake(struct ends *ends)
{
	dtls_handshake(ends->client, NULL, 0);
	for (int i = 0; i < 10; i++) {
		deliver(ends->server, &ends->from_client);
		deliver(ends->client, &ends->from_server);
	}
}

/* As a worker does: the record filter first. -1 when it or OpenSSL refuses. */
static int open_datagram(struct dtls *dtls, const uint8_t *bytes, size_t len, uint8_t *out,
			 size_t size)
{
	uint8_t *exact = malloc(len ? len : 1);
	struct dtls_record record;
	size_t got = 0;
	int r = -1;

	memcpy(exact, bytes, len);
	if (dtls_record_check(exact, len, dtls->aead_min, &dtls->window, &record) ==
		    DTLS_RECORD_OK &&
	    dtls_open(dtls, exact, len, &record, out, size, &got) == DTLS_OPENED_RECORD)
		r = (int)got;
	free(exact);
	return r;
}

/* Seals a record at one end; it is left as the first of the queue. */
static struct datagram *seal(struct dtls *dtls, struct queue *queue, const char *text)
{
	queue->count = 0;
	assert_true(dtls_seal(dtls, (const uint8_t *)text, strlen(text)));
	assert_int_equal(queue->count, 1);
	return &queue->items[0];
}

static void assert_passes(struct dtls *from, struct queue *queue, struct dtls *to, const char *text)
{
	struct datagram *sealed = seal(from, queue, text);
	uint8_t out[DATAGRAM];

	assert_int_equal(open_datagram(to, sealed->bytes, sealed->len, out, sizeof(out)),
			 strlen(text));
	assert_memory_equal(out, text, strlen(text));
	queue->count = 0;
}

static void assert_works(struct ends *ends)
{
	assert_passes(ends->client, &ends->from_client, ends->server, "there");
	assert_passes(ends->server, &ends->from_server, ends->client, "and back");
}

/* ---- the handshake ---- */

static void test_hello(void **state)
{
	struct ends *ends = new_ends(psk, false);
	const uint8_t *id;

	(void)state;
	dtls_handshake(ends->client, NULL, 0);
	assert_int_equal(ends->from_client.count, 1);
	assert_true(dtls_record_hello(ends->from_client.items[0].bytes,
				      ends->from_client.items[0].len, &id));
	assert_memory_equal(id, app_id, DTLS_APP_ID);
	free_ends(ends);
}

static void run_handshake(bool verify)
{
	struct ends *ends = new_ends(psk, verify);

	shake(ends);
	assert_int_equal(ends->server->state, DTLS_OPEN);
	assert_int_equal(ends->client->state, DTLS_OPEN);
	assert_int_equal(SSL_session_reused(ends->server->ssl), 0);
	assert_int_equal(SSL_session_reused(ends->client->ssl), 0);
	assert_string_equal(dtls_cipher(ends->server), dtls_cipher(ends->client));
	assert_non_null(strstr(dtls_cipher(ends->server), "PSK"));
	assert_works(ends);
	assert_int_equal(ends->client->sealed, 1);
	assert_int_equal(ends->client->opened, 1);
	free_ends(ends);
}

static void test_handshake(void **state)
{
	(void)state;
	run_handshake(false);
}

static void test_verified_hello(void **state)
{
	(void)state;
	run_handshake(true);
}

/* The second hello has the cookie, and the App-ID again. */
static void test_hello_verify_request(void **state)
{
	struct ends *ends = new_ends(psk, true);
	const uint8_t *id;

	(void)state;
	dtls_handshake(ends->client, NULL, 0);
	deliver(ends->server, &ends->from_client);
	assert_true(ends->server->listening);
	assert_int_equal(ends->from_server.count, 1);
	assert_int_equal(ends->from_server.items[0].bytes[13], 3); /* hello_verify_request */
	assert_true(ends->from_server.items[0].len < 100);
	deliver(ends->client, &ends->from_server);
	assert_true(dtls_record_hello(ends->from_client.items[0].bytes,
				      ends->from_client.items[0].len, &id));
	assert_memory_equal(id, app_id, DTLS_APP_ID);
	deliver(ends->server, &ends->from_client);
	assert_false(ends->server->listening);
	free_ends(ends);
}

/* A cookie is one address's: shown from another it is answered with another. */
static void test_cookie_of_another(void **state)
{
	struct ends *ends = new_ends(psk, true);

	(void)state;
	dtls_handshake(ends->client, NULL, 0);
	deliver(ends->server, &ends->from_client);
	deliver(ends->client, &ends->from_server);
	ends->server->peer[0] ^= 1;
	deliver(ends->server, &ends->from_client);
	assert_true(ends->server->listening);
	assert_int_equal(ends->server->state, DTLS_HANDSHAKING);
	free_ends(ends);
}

static void test_wrong_psk(void **state)
{
	struct ends *ends = new_ends(other_psk, false);

	(void)state;
	shake(ends);
	shake(ends);
	assert_int_not_equal(ends->server->state, DTLS_OPEN);
	assert_int_not_equal(ends->client->state, DTLS_OPEN);
	free_ends(ends);
}

/* Each flight lost once: the timer sends it again. */
static void test_lost_flights(void **state)
{
	struct ends *ends = new_ends(psk, false);
	int64_t wait_us;

	(void)state;
	assert_true(dtls_tick(ends->server) == -1);
	dtls_handshake(ends->client, NULL, 0);
	ends->from_client.count = 0;
	wait_us = dtls_tick(ends->client);
	assert_true(wait_us > 0 && wait_us <= 1000000);
	assert_int_equal(ends->from_client.count, 0);
	usleep((useconds_t)wait_us + 20000);
	dtls_tick(ends->client);
	assert_int_equal(ends->from_client.count, 1);
	deliver(ends->server, &ends->from_client);
	for (int i = 0; i < 10; i++) {
		deliver(ends->client, &ends->from_server);
		deliver(ends->server, &ends->from_client);
	}
	assert_int_equal(ends->server->state, DTLS_OPEN);
	assert_works(ends);
	assert_true(dtls_tick(ends->client) == -1);
	free_ends(ends);
}

/* A server without a hello of ours goes on waiting. */
static void test_garbage_first(void **state)
{
	struct ends *ends = new_ends(psk, true);
	uint8_t garbage[200];

	(void)state;
	memset(garbage, 0x5a, sizeof(garbage));
	for (size_t len = 0; len < sizeof(garbage); len++)
		dtls_handshake(ends->server, garbage, len);
	assert_true(ends->server->listening);
	assert_int_equal(ends->from_server.count, 0);
	shake(ends);
	assert_int_equal(ends->server->state, DTLS_OPEN);
	free_ends(ends);
}

/* ---- records ---- */

static void test_overhead(void **state)
{
	struct ends *ends = new_ends(psk, false);
	struct datagram *sealed;

	(void)state;
	shake(ends);
	sealed = seal(ends->client, &ends->from_client, "0123456789");
	assert_int_equal(sealed->len, 10 + ends->client->overhead);
	if (strstr(dtls_cipher(ends->client), "GCM"))
		assert_int_equal(ends->client->overhead, DTLS_OVERHEAD_GCM);
	free_ends(ends);
}

static void test_replay(void **state)
{
	struct ends *ends = new_ends(psk, false);
	struct datagram first, second;
	uint8_t out[DATAGRAM];

	(void)state;
	shake(ends);
	first = *seal(ends->client, &ends->from_client, "first");
	second = *seal(ends->client, &ends->from_client, "second");
	/* Out of order both pass, once each. */
	assert_int_equal(open_datagram(ends->server, second.bytes, second.len, out, DATAGRAM), 6);
	assert_int_equal(open_datagram(ends->server, first.bytes, first.len, out, DATAGRAM), 5);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(open_datagram(ends->server, first.bytes, first.len, out, DATAGRAM),
				 -1);
		assert_int_equal(open_datagram(ends->server, second.bytes, second.len, out,
					       DATAGRAM),
				 -1);
	}
	assert_works(ends);
	/* Without our filter OpenSSL's own window drops it too. */
	memset(&ends->server->window, 0, sizeof(ends->server->window));
	assert_int_equal(open_datagram(ends->server, first.bytes, first.len, out, DATAGRAM), -1);
	assert_works(ends);
	free_ends(ends);
}

/* One bit of any byte, and any length: dropped, and the true one still passes afterwards. */
static void test_forged(void **state)
{
	struct ends *ends = new_ends(psk, false);
	struct datagram sealed;
	uint8_t out[DATAGRAM];

	(void)state;
	shake(ends);
	sealed = *seal(ends->client, &ends->from_client, "a true record");
	for (size_t i = 0; i < sealed.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			struct datagram forged = sealed;

			forged.bytes[i] ^= (uint8_t)(1 << bit);
			if (open_datagram(ends->server, forged.bytes, forged.len, out, DATAGRAM) >=
			    0)
				fail_msg("byte %zu, bit %d passed", i, bit);
		}
	}
	for (size_t len = 0; len < sealed.len; len++) {
		struct datagram cut = sealed;

		assert_int_equal(open_datagram(ends->server, cut.bytes, len, out, DATAGRAM), -1);
		if (len < DTLS_RECORD_HEADER)
			continue;
		cut.bytes[11] = (uint8_t)((len - DTLS_RECORD_HEADER) >> 8);
		cut.bytes[12] = (uint8_t)(len - DTLS_RECORD_HEADER);
		assert_int_equal(open_datagram(ends->server, cut.bytes, len, out, DATAGRAM), -1);
	}
	assert_int_equal(ends->server->opened, 0);
	assert_int_equal(open_datagram(ends->server, sealed.bytes, sealed.len, out, DATAGRAM), 13);
	assert_works(ends);
	free_ends(ends);
}

static uint32_t next_random(uint32_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	*random ^= *random << 5;
	return *random;
}

/* Bytes at random, most of them behind a header that the filter lets pass. */
static size_t make_garbage(uint8_t *bytes, uint32_t *random)
{
	static const uint8_t types[] = {20, 21, 22, 23, 23, 23};
	size_t len = next_random(random) % 300;
	bool wild = next_random(random) % 8 == 0;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)next_random(random);
	if (wild || len < DTLS_RECORD_HEADER)
		return len;
	bytes[0] = types[next_random(random) % sizeof(types)];
	bytes[1] = 0xfe;
	bytes[2] = 0xfd;
	bytes[3] = 0;
	bytes[4] = next_random(random) % 4 ? 1 : 0;
	memset(bytes + 5, 0, 4);
	bytes[11] = (uint8_t)((len - DTLS_RECORD_HEADER) >> 8);
	bytes[12] = (uint8_t)(len - DTLS_RECORD_HEADER);
	return len;
}

static void test_garbage(void **state)
{
	struct ends *ends = new_ends(psk, false);
	uint8_t bytes[300], out[DATAGRAM];
	uint32_t random = 20260101;

	(void)state;
	shake(ends);
	for (int i = 0; i < GARBAGE; i++) {
		size_t len = make_garbage(bytes, &random);

		if (open_datagram(ends->server, bytes, len, out, DATAGRAM) >= 0)
			fail_msg("number %d passed", i);
		ends->from_server.count = 0;
	}
	assert_int_equal(ends->server->state, DTLS_OPEN);
	assert_int_equal(ends->server->opened, 0);
	assert_works(ends);
	free_ends(ends);
}

static enum dtls_opened open_any(struct dtls *dtls, const struct datagram *datagram)
{
	struct dtls_record record;
	uint8_t out[DATAGRAM];
	size_t len;

	assert_int_equal(dtls_record_check(datagram->bytes, datagram->len, dtls->aead_min,
					   &dtls->window, &record),
			 DTLS_RECORD_OK);
	return dtls_open(dtls, datagram->bytes, datagram->len, &record, out, sizeof(out), &len);
}

/* ---- memory ---- */

static size_t count_resident(const uint8_t *bytes, size_t pages)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	void *first = (void *)(((uintptr_t)bytes + page - 1) & ~(page - 1));
	unsigned char there[8];
	size_t count = 0;

	assert_int_equal(mincore(first, pages * page, there), 0);
	for (size_t i = 0; i < pages; i++)
		count += there[i] & 1;
	return count;
}

/* Both ends rest again and again; records pass in either direction first. */
static void test_rest(void **state)
{
	struct ends *ends = new_ends(psk, false);
	const uint8_t *scratch;

	(void)state;
	dtls_rest(ends->server); /* not before it is open */
	assert_false(ends->server->is_resting);
	shake(ends);
	scratch = ends->server->scratch;
	assert_non_null(scratch);
	assert_int_equal(count_resident(scratch, 3), 3);
	for (int i = 0; i < 4; i++) {
		dtls_rest(ends->server);
		dtls_rest(ends->client);
		dtls_rest(ends->client);
		assert_true(ends->server->is_resting && ends->client->is_resting);
		if (i % 2 == 0)
			assert_works(ends);
		else
			assert_passes(ends->server, &ends->from_server, ends->client, "first");
		assert_false(ends->client->is_resting);
	}
	assert_int_equal(count_resident(scratch, 3), 0);
	free_ends(ends);
}

/* What is forged wakes an end, and does no more. */
static void test_forged_at_rest(void **state)
{
	struct ends *ends = new_ends(psk, false);
	struct datagram *sealed;
	uint8_t out[DATAGRAM];

	(void)state;
	shake(ends);
	dtls_rest(ends->server);
	sealed = seal(ends->client, &ends->from_client, "there");
	sealed->bytes[sealed->len - 1] ^= 1;
	assert_int_equal(open_datagram(ends->server, sealed->bytes, sealed->len, out, sizeof(out)),
			 -1);
	dtls_rest(ends->server);
	assert_true(ends->server->is_resting);
	assert_works(ends);
	free_ends(ends);
}

/* The server's last flight is lost: it is open and the client is not. The client's flight, sent
 * again, is neither data nor the end, and answered. */
static void lose_last_flight(bool at_rest)
{
	struct ends *ends = new_ends(psk, false);
	int64_t wait_us;

	dtls_handshake(ends->client, NULL, 0);
	deliver(ends->server, &ends->from_client);
	deliver(ends->client, &ends->from_server);
	deliver(ends->server, &ends->from_client);
	assert_int_equal(ends->server->state, DTLS_OPEN);
	assert_int_equal(ends->client->state, DTLS_HANDSHAKING);
	ends->from_server.count = 0;
	if (at_rest)
		dtls_rest(ends->server);
	wait_us = dtls_tick(ends->client);
	assert_true(wait_us > 0);
	usleep((useconds_t)wait_us + 20000);
	dtls_tick(ends->client);
	assert_true(ends->from_client.count > 0);
	while (ends->from_client.count) {
		enum dtls_opened opened = open_any(ends->server, &ends->from_client.items[0]);

		assert_int_not_equal(opened, DTLS_OPENED_RECORD);
		assert_int_not_equal(opened, DTLS_OPENED_CLOSED);
		drop_first(&ends->from_client);
	}
	deliver(ends->client, &ends->from_server);
	assert_int_equal(ends->client->state, DTLS_OPEN);
	assert_works(ends);
	free_ends(ends);
}

static void test_last_flight_lost(void **state)
{
	(void)state;
	lose_last_flight(false);
	lose_last_flight(true);
}

static void test_close(void **state)
{
	struct ends *ends = new_ends(psk, false);
	struct datagram sealed;

	(void)state;
	shake(ends);
	ends->from_client.count = 0;
	SSL_shutdown(ends->client->ssl);
	assert_int_equal(ends->from_client.count, 1);
	sealed = ends->from_client.items[0];
	/* Not by anybody else. */
	sealed.bytes[sealed.len - 1] ^= 1;
	assert_int_equal(open_any(ends->server, &sealed), DTLS_OPENED_FORGED);
	assert_passes(ends->server, &ends->from_server, ends->client, "still there");
	sealed.bytes[sealed.len - 1] ^= 1;
	assert_int_equal(open_any(ends->server, &sealed), DTLS_OPENED_CLOSED);
	free_ends(ends);
}

/* Another association with the same key does not open this one's records. */
static void test_other_association(void **state)
{
	struct ends *ends = new_ends(psk, false), *other = new_ends(psk, false);
	struct datagram *sealed;
	uint8_t out[DATAGRAM];

	(void)state;
	shake(ends);
	shake(other);
	sealed = seal(ends->client, &ends->from_client, "mine");
	assert_int_equal(open_datagram(other->server, sealed->bytes, sealed->len, out, DATAGRAM),
			 -1);
	assert_works(other);
	free_ends(ends);
	free_ends(other);
	dtls_free(NULL);
}

/* ---- the BIO alone ---- */

static void test_bio(void **state)
{
	static const struct {
		const char *name;
		bool datagrams, eof;
		int first, second; /* what two reads of 4 bytes out of 6 return */
	} rows[] = {
		{"a stream", false, false, 4, 2},
		{"a stream at its end", false, true, 4, 2},
		{"a datagram", true, false, 4, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct queue sent = {.count = 0};
		struct bio_port port = {.in = (const uint8_t *)"abcdef",
					.in_len = 6,
					.datagrams = rows[i].datagrams,
					.eof = rows[i].eof,
					.write = on_write,
					.user = &sent};
		BIO *bio = bio_new(&port);
		char out[4];

		assert_int_equal(BIO_pending(bio), 6);
		assert_int_equal(BIO_read(bio, out, 4), rows[i].first);
		assert_memory_equal(out, "abcd", 4);
		assert_int_equal(BIO_read(bio, out, 4), rows[i].second);
		assert_int_equal(BIO_read(bio, out, 4), rows[i].eof ? 0 : -1);
		assert_int_equal(BIO_should_retry(bio) != 0, !rows[i].eof);
		assert_int_equal(BIO_write(bio, "xyz", 3), 3);
		assert_int_equal(sent.count, 1);
		assert_int_equal(sent.items[0].len, 3);
		BIO_free(bio);
	}
}

static void test_bio_peek(void **state)
{
	struct bio_port port = {.in = (const uint8_t *)"ab", .in_len = 2, .datagrams = true};
	BIO *bio = bio_new(&port);
	char out[4];

	(void)state;
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_PEEK_MODE, 1, NULL);
	assert_int_equal(BIO_read(bio, out, 4), 2);
	assert_int_equal(BIO_read(bio, out, 4), 2);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_PEEK_MODE, 0, NULL);
	assert_int_equal(BIO_read(bio, out, 4), 2);
	assert_int_equal(BIO_read(bio, out, 4), -1);
	BIO_free(bio);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_verified_hello),
		cmocka_unit_test(test_hello_verify_request),
		cmocka_unit_test(test_cookie_of_another),
		cmocka_unit_test(test_wrong_psk),
		cmocka_unit_test(test_lost_flights),
		cmocka_unit_test(test_garbage_first),
		cmocka_unit_test(test_overhead),
		cmocka_unit_test(test_replay),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_forged_at_rest),
		cmocka_unit_test(test_last_flight_lost),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_other_association),
		cmocka_unit_test(test_bio),
		cmocka_unit_test(test_bio_peek),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
