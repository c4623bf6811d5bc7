/* wire/key_msg: what the key holder is asked, and what it may be asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "wire/key_msg.h"

#define SERVER "TLS 1.3, server CertificateVerify"
#define CLIENT "TLS 1.3, client CertificateVerify"

static const struct {
	const char *name;
	size_t spaces;
	const char *context;
	size_t context_len;
	size_t hash;
	enum key_msg_role signer;
} messages[] = {
	{"server, SHA-256", 64, SERVER, sizeof(SERVER), 32, KEY_MSG_SERVER},
	{"server, SHA-384", 64, SERVER, sizeof(SERVER), 48, KEY_MSG_SERVER},
	{"client, SHA-256", 64, CLIENT, sizeof(CLIENT), 32, KEY_MSG_CLIENT},
	{"client, SHA-384", 64, CLIENT, sizeof(CLIENT), 48, KEY_MSG_CLIENT},
	{"a digest alone", 0, "", 0, 32, KEY_MSG_NOBODY},
	{"a longer digest", 0, "", 0, 64, KEY_MSG_NOBODY},
	{"nothing", 0, "", 0, 0, KEY_MSG_NOBODY},
	{"the head alone", 64, SERVER, sizeof(SERVER), 0, KEY_MSG_NOBODY},
	{"SHA-1", 64, SERVER, sizeof(SERVER), 20, KEY_MSG_NOBODY},
	{"SHA-512", 64, SERVER, sizeof(SERVER), 64, KEY_MSG_NOBODY},
	{"one byte less", 64, SERVER, sizeof(SERVER), 31, KEY_MSG_NOBODY},
	{"one byte more", 64, SERVER, sizeof(SERVER), 49, KEY_MSG_NOBODY},
	{"between the two", 64, SERVER, sizeof(SERVER), 40, KEY_MSG_NOBODY},
	{"a space less", 63, SERVER, sizeof(SERVER), 33, KEY_MSG_NOBODY},
	{"a space more", 65, SERVER, sizeof(SERVER), 31, KEY_MSG_NOBODY},
	{"no padding, right length", 0, SERVER, sizeof(SERVER), 96, KEY_MSG_NOBODY},
	{"another role", 64, "TLS 1.3, other! CertificateVerify", 34, 32, KEY_MSG_NOBODY},
	{"another version", 64, "TLS 1.4, server CertificateVerify", 34, 32, KEY_MSG_NOBODY},
	{"in another case", 64, "TLS 1.3, server certificateverify", 34, 32, KEY_MSG_NOBODY},
	{"no separator", 64, SERVER "!", 34, 32, KEY_MSG_NOBODY},
};

static size_t make_message(size_t i, uint8_t tbs[static 256])
{
	size_t len = messages[i].spaces;

	memset(tbs, ' ', len);
	memcpy(tbs + len, messages[i].context, messages[i].context_len);
	len += messages[i].context_len;
	memset(tbs + len, 0xa5, messages[i].hash);
	return len + messages[i].hash;
}

static void only_a_certificate_verify_is_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		uint8_t tbs[256];
		size_t len = make_message(i, tbs);

		if (key_msg_signer(tbs, len) != messages[i].signer)
			fail_msg("%s", messages[i].name);
	}
}

/* Each byte before the hash matters, none of the hash does. */
static void every_byte_of_the_head_counts(void **state)
{
	uint8_t tbs[256];
	size_t len = make_message(0, tbs);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		bool is_hash = i >= len - 32;

		tbs[i] ^= 0x80;
		assert_int_equal(key_msg_signer(tbs, len),
				 is_hash ? KEY_MSG_SERVER : KEY_MSG_NOBODY);
		tbs[i] ^= 0x80;
	}
}

static void a_request_comes_back(void **state)
{
	uint8_t tbs[KEY_MSG_TBS_MAX], packet[KEY_MSG_MAX];
	const struct key_msg_request sent = {
		.id = UINT64_C(0x0102030405060708),
		.generation = 0xa1b2c3d4,
		.scheme = 0x0403,
		.tbs = tbs,
		.tbs_len = sizeof(tbs),
	};
	struct key_msg_request got;
	size_t len;

	(void)state;
	memset(tbs, 3, sizeof(tbs));
	len = key_msg_request_write(&sent, packet);
	assert_int_equal(len, 16 + sizeof(tbs));
	assert_true(key_msg_request_read(packet, len, &got));
	assert_true(got.id == sent.id);
	assert_int_equal(got.generation, sent.generation);
	assert_int_equal(got.scheme, 0x0403);
	assert_int_equal(got.tbs_len, sizeof(tbs));
	assert_memory_equal(got.tbs, tbs, sizeof(tbs));
	for (size_t cut = 0; cut < len; cut++)
		assert_false(key_msg_request_read(packet, cut, &got));
	assert_false(key_msg_request_read(packet, len + 1, &got));
}

static const struct {
	const char *name;
	uint16_t error;
	size_t len;
	bool fits;
} replies[] = {
	{"a signature", 0, 70, true},
	{"the longest", 0, KEY_MSG_SIGNATURE_MAX, true},
	{"one byte too long", 0, KEY_MSG_SIGNATURE_MAX + 1, false},
	{"a refusal", EPERM, 0, true},
	{"neither", 0, 0, false},
	{"both", EPERM, 70, false},
};

static void a_reply_is_a_signature_or_an_error(void **state)
{
	uint8_t signature[KEY_MSG_SIGNATURE_MAX + 1], packet[KEY_MSG_MAX];

	(void)state;
	memset(signature, 9, sizeof(signature));
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		const struct key_msg_reply sent = {
			.id = 77,
			.error = replies[i].error,
			.signature = signature,
			.signature_len = replies[i].len,
		};
		struct key_msg_reply got;
		size_t len = key_msg_reply_write(&sent, packet);

		assert_int_equal(len, replies[i].fits ? 12 + replies[i].len : 0);
		if (!len)
			continue;
		assert_true(key_msg_reply_read(packet, len, &got));
		assert_int_equal(got.id, 77);
		assert_int_equal(got.error, replies[i].error);
		assert_int_equal(got.signature_len, replies[i].len);
		assert_memory_equal(got.signature, signature, replies[i].len);
		assert_false(key_msg_reply_read(packet, len - 1, &got));
		assert_false(key_msg_reply_read(packet, len + 1, &got));
	}
}

/* A request: id, generation, scheme, length. A reply: id, error, length. The bytes that follow are
 * there. */
static const struct {
	const char *name;
	uint8_t head[16];
	size_t len;
	bool is_request, is_reply;
} packets[] = {
	{"a request", {[7] = 1, [11] = 2, [12] = 4, 3, 0, 1}, 17, true, false},
	{"nothing to be signed", {[7] = 1, [12] = 4, 3, 0, 0}, 16, false, false},
	{"a request's length lies", {[7] = 1, [12] = 4, 3, 0, 2}, 17, false, false},
	{"longest to be signed", {[7] = 1, [12] = 4, 3, 0, 162}, 178, true, false},
	{"a byte beyond", {[7] = 1, [12] = 4, 3, 0, 163}, 179, false, false},
	{"a request of old, without generation", {[7] = 1, 4, 3, 0, 1}, 13, false, false},
	{"empty, no error", {[7] = 1}, 12, false, false},
	{"empty, an error", {[7] = 1, 0, 1}, 12, false, true},
	{"no error, one byte", {[7] = 1, [11] = 1}, 13, false, true},
	{"a reply's length lies", {[7] = 1, [11] = 2}, 13, false, false},
	{"longest signature", {[7] = 1, [10] = 4}, 1036, false, true},
	{"a byte beyond that", {[7] = 1, [10] = 4, 1}, 1037, false, false},
};

static void lengths_are_held_to_their_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
		uint8_t packet[KEY_MSG_MAX] = {0};
		struct key_msg_request request;
		struct key_msg_reply reply;

		memcpy(packet, packets[i].head, sizeof(packets[i].head));
		if (key_msg_request_read(packet, packets[i].len, &request) !=
			    packets[i].is_request ||
		    key_msg_reply_read(packet, packets[i].len, &reply) != packets[i].is_reply)
			fail_msg("%s", packets[i].name);
	}
}

static void what_is_too_long_is_not_written(void **state)
{
	uint8_t tbs[KEY_MSG_TBS_MAX + 1] = {0}, packet[KEY_MSG_MAX];
	struct key_msg_request request = {.scheme = 1, .tbs = tbs, .tbs_len = sizeof(tbs)};

	(void)state;
	assert_int_equal(key_msg_request_write(&request, packet), 0);
	request.tbs_len = 0;
	assert_int_equal(key_msg_request_write(&request, packet), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_certificate_verify_is_one),
		cmocka_unit_test(every_byte_of_the_head_counts),
		cmocka_unit_test(a_request_comes_back),
		cmocka_unit_test(a_reply_is_a_signature_or_an_error),
		cmocka_unit_test(lengths_are_held_to_their_limits),
		cmocka_unit_test(what_is_too_long_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
