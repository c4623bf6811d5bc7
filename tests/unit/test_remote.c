/* key/remote: TLS 1.3 with a key that another process holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/clock.h"
#include "key/holder.h"
#include "key/remote.h"
#include "key/scheme.h"
#include "sys/child.h"
#include "wire/key_msg.h"

enum { SPKI_ROOM = 2048, EXPORTED = 32 };

/* What the other end does with the requests it gets. */
enum conduct {
	HONEST,
	LATE_THEN_HONEST, /* first a reply to a request that was never made, then the right one */
	REFUSES,
	BREAKS_OFF,
	BABBLES,
	SILENT,
	LIES, /* a signature of the right shape over something else */
};

struct signer {
	EVP_PKEY *key;
	int socket; /* its end */
	enum conduct conduct;
	unsigned requests;
	pthread_t thread;
};

static void reply_with(struct signer *signer, const struct key_msg_reply *reply)
{
	uint8_t packet[KEY_MSG_MAX];
	size_t len = key_msg_reply_write(reply, packet);

	assert_int_not_equal(len, 0);
	assert_int_equal(send(signer->socket, packet, len, MSG_NOSIGNAL), len);
}

static void answer_request(struct signer *signer, const struct key_msg_request *request)
{
	const struct scheme *scheme = scheme_find(request->scheme);
	uint8_t signature[KEY_MSG_SIGNATURE_MAX], tbs[KEY_MSG_TBS_MAX];
	struct key_msg_reply reply = {.id = request->id, .signature = signature};

	assert_non_null(scheme);
	assert_true(scheme_fits(scheme, signer->key));
	assert_true(key_msg_signer(request->tbs, request->tbs_len));
	assert_int_equal(request->generation, 7);
	memcpy(tbs, request->tbs, request->tbs_len);
	if (signer->conduct == LIES)
		tbs[request->tbs_len - 1] ^= 1;
	reply.signature_len = sizeof(signature);
	assert_int_equal(scheme_sign(scheme, signer->key, tbs, request->tbs_len, signature,
				     &reply.signature_len),
			 0);
	if (signer->conduct == LATE_THEN_HONEST) {
		struct key_msg_reply late = reply;

		late.id--;
		late.signature_len = 3;
		reply_with(signer, &late);
	}
	if (signer->conduct == REFUSES)
		reply = (struct key_msg_reply){.id = request->id, .error = EPERM};
	reply_with(signer, &reply);
}

static void *run_signer(void *argument)
{
	struct signer *signer = argument;
	uint8_t packet[KEY_MSG_MAX];
	struct key_msg_request request;
	ssize_t len;

	while ((len = recv(signer->socket, packet, sizeof(packet), 0)) > 0) {
		signer->requests++;
		assert_true(key_msg_request_read(packet, (size_t)len, &request));
		if (signer->conduct == BREAKS_OFF)
			shutdown(signer->socket, SHUT_RDWR);
		else if (signer->conduct == BABBLES)
			assert_int_equal(send(signer->socket, "?", 1, MSG_NOSIGNAL), 1);
		else if (signer->conduct != SILENT)
			answer_request(signer, &request);
	}
	return NULL;
}

/* The asker's end. */
static int start_signer(struct signer *signer, EVP_PKEY *key, enum conduct conduct)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*signer = (struct signer){.key = key, .socket = pair[1], .conduct = conduct};
	assert_int_equal(pthread_create(&signer->thread, NULL, run_signer, signer), 0);
	return pair[0];
}

static void stop_signer(struct signer *signer, int socket)
{
	close(socket);
	pthread_join(signer->thread, NULL);
	close(signer->socket);
}

struct kind {
	const char *name;
	const char *type;
	const char *group;
	unsigned bits;
	const char *sigalg;
};

static const struct kind kinds[] = {
	{.name = "P-256", .type = "EC", .group = "P-256", .sigalg = "ecdsa_secp256r1_sha256"},
	{.name = "P-384", .type = "EC", .group = "P-384", .sigalg = "ecdsa_secp384r1_sha384"},
	{.name = "Ed25519", .type = "ED25519", .sigalg = "ed25519"},
	{.name = "RSA, SHA-256", .type = "RSA", .bits = 2048, .sigalg = "rsa_pss_rsae_sha256"},
	{.name = "RSA, SHA-384", .type = "RSA", .bits = 2048, .sigalg = "rsa_pss_rsae_sha384"},
	{.name = "RSA, SHA-512", .type = "RSA", .bits = 2048, .sigalg = "rsa_pss_rsae_sha512"},
};

enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

static EVP_PKEY *make_key(const struct kind *kind)
{
	EVP_PKEY *key;

	if (kind->bits)
		key = EVP_PKEY_Q_keygen(NULL, NULL, kind->type, (size_t)kind->bits);
	else if (kind->group)
		key = EVP_PKEY_Q_keygen(NULL, NULL, kind->type, kind->group);
	else
		key = EVP_PKEY_Q_keygen(NULL, NULL, kind->type);
	assert_non_null(key);
	return key;
}

static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	bool has_digest = !EVP_PKEY_is_a(key, "ED25519");

	assert_true(X509_set_version(cert, X509_VERSION_3));
	assert_true(ASN1_INTEGER_set(X509_get_serialNumber(cert), 7));
	assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					       (const unsigned char *)"test", -1, -1, 0));
	assert_true(X509_set_issuer_name(cert, name));
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), -60));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
	assert_true(X509_set_pubkey(cert, key));
	assert_true(X509_sign(cert, key, has_digest ? EVP_sha384() : NULL) > 0);
	return cert;
}

/* One key in both its forms. */
struct identity {
	const struct kind *kind;
	EVP_PKEY *plain, *remote;
	X509 *cert;
	struct signer signer;
	int socket;
};

static void make_identity(struct identity *identity, const struct kind *kind, enum conduct conduct)
{
	uint8_t spki[SPKI_ROOM], *end = spki;
	int len;

	identity->kind = kind;
	identity->plain = make_key(kind);
	identity->cert = make_certificate(identity->plain);
	identity->socket = start_signer(&identity->signer, identity->plain, conduct);
	len = i2d_PUBKEY(identity->plain, &end);
	assert_true(len > 0 && len <= SPKI_ROOM);
	identity->remote = remote_key_new(spki, (size_t)len, identity->socket, 7);
	assert_non_null(identity->remote);
	assert_int_equal(ERR_peek_error(), 0);
}

static void drop_identity(struct identity *identity)
{
	EVP_PKEY_free(identity->remote);
	stop_signer(&identity->signer, identity->socket);
	EVP_PKEY_free(identity->plain);
	X509_free(identity->cert);
}

static SSL_CTX *make_end(bool server, const struct identity *own, bool is_remote,
			 const struct identity *peer)
{
	SSL_CTX *end = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	char sigalgs[64];

	assert_true(SSL_CTX_set_min_proto_version(end, TLS1_3_VERSION));
	snprintf(sigalgs, sizeof(sigalgs), "%s:%s", own->kind->sigalg, peer->kind->sigalg);
	assert_true(SSL_CTX_set1_sigalgs_list(end, sigalgs));
	assert_int_equal(SSL_CTX_use_certificate(end, own->cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(end, is_remote ? own->remote : own->plain), 1);
	assert_int_equal(SSL_CTX_check_private_key(end), 1);
	assert_int_equal(ERR_peek_error(), 0);
	assert_true(X509_STORE_add_cert(SSL_CTX_get_cert_store(end), peer->cert));
	SSL_CTX_set_verify(end, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return end;
}

static bool shake_hands(SSL *server, SSL *client)
{
	BIO *a, *b;

	assert_true(BIO_new_bio_pair(&a, 0, &b, 0));
	SSL_set_bio(server, a, a);
	SSL_set_bio(client, b, b);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (int i = 0; i < 20; i++) {
		int rc = SSL_do_handshake(client), rs = SSL_do_handshake(server);

		if (rc == 1 && rs == 1)
			return true;
		if ((rc != 1 && SSL_get_error(client, rc) == SSL_ERROR_SSL) ||
		    (rs != 1 && SSL_get_error(server, rs) == SSL_ERROR_SSL))
			return false;
	}
	return false;
}

static void export_secret(SSL *ssl, uint8_t secret[static EXPORTED])
{
	assert_int_equal(SSL_export_keying_material(ssl, secret, EXPORTED, "EXPORTER-test", 13,
						    NULL, 0, 0),
			 1);
}

static bool connect_ends(struct identity *server, bool server_remote, struct identity *client,
			 bool client_remote)
{
	SSL_CTX *server_end = make_end(true, server, server_remote, client);
	SSL_CTX *client_end = make_end(false, client, client_remote, server);
	SSL *s = SSL_new(server_end), *c = SSL_new(client_end);
	bool done = shake_hands(s, c);

	if (done) {
		uint8_t ours[EXPORTED], theirs[EXPORTED];

		export_secret(s, ours);
		export_secret(c, theirs);
		assert_memory_equal(ours, theirs, EXPORTED);
		assert_int_equal(SSL_get_verify_result(s), X509_V_OK);
		assert_int_equal(SSL_get_verify_result(c), X509_V_OK);
	}
	SSL_free(s);
	SSL_free(c);
	SSL_CTX_free(server_end);
	SSL_CTX_free(client_end);
	return done;
}

static void handshakes_work_in_both_roles(void **state)
{
	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		struct identity server, client;

		print_message("  %s\n", kinds[i].name);
		make_identity(&server, &kinds[i], HONEST);
		make_identity(&client, &kinds[KIND_COUNT - 1 - i], HONEST);
		assert_true(connect_ends(&server, true, &client, false));
		assert_true(connect_ends(&server, false, &client, true));
		assert_true(connect_ends(&server, true, &client, true));
		drop_identity(&server);
		drop_identity(&client);
		assert_int_equal(server.signer.requests, 2);
		assert_int_equal(client.signer.requests, 2);
		assert_int_equal(ERR_peek_error(), 0);
	}
}

static const struct {
	const char *name;
	enum conduct conduct;
	bool works;
	int error; /* named in OpenSSL's queue; 0: not looked at */
} conducts[] = {
	{"a late reply to another request", LATE_THEN_HONEST, true, 0},
	{"a refusal", REFUSES, false, EPERM},
	{"the end of the socket", BREAKS_OFF, false, EPIPE},
	{"no reply at all, only bytes", BABBLES, false, EBADMSG},
	{"silence", SILENT, false, ETIMEDOUT},
	{"a signature over something else", LIES, false, 0},
};

static bool queue_has(int error)
{
	const char *text;
	bool found = false;

	while (ERR_get_error_all(NULL, NULL, NULL, &text, NULL))
		found = found || strstr(text, strerror(error));
	return found;
}

static void what_the_holder_does_decides(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(conducts) / sizeof(conducts[0]); i++) {
		struct identity server, client;
		int64_t start_us = clock_now_us(), took_us;

		print_message("  %s\n", conducts[i].name);
		make_identity(&server, &kinds[0], conducts[i].conduct);
		make_identity(&client, &kinds[2], HONEST);
		assert_int_equal(connect_ends(&server, true, &client, false), conducts[i].works);
		took_us = clock_now_us() - start_us;
		if (conducts[i].error)
			assert_true(queue_has(conducts[i].error));
		/* 5 s, and not for ever. */
		assert_true(took_us < 8 * CLOCK_SECOND_US);
		assert_true(conducts[i].conduct != SILENT || took_us > 4 * CLOCK_SECOND_US);
		ERR_clear_error();
		drop_identity(&server);
		drop_identity(&client);
	}
}

/* Without a list of algorithms of our own: OpenSSL's defaults find the one that the key has. */
static void defaults_find_the_scheme(void **state)
{
	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		struct identity server;
		SSL_CTX *server_end, *client_end;
		SSL *s, *c;

		make_identity(&server, &kinds[i], HONEST);
		server_end = SSL_CTX_new(TLS_server_method());
		client_end = SSL_CTX_new(TLS_client_method());
		assert_int_equal(SSL_CTX_use_certificate(server_end, server.cert), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(server_end, server.remote), 1);
		s = SSL_new(server_end);
		c = SSL_new(client_end);
		assert_true(shake_hands(s, c));
		SSL_free(s);
		SSL_free(c);
		SSL_CTX_free(server_end);
		SSL_CTX_free(client_end);
		drop_identity(&server);
		assert_int_equal(server.signer.requests, 1);
	}
}

static const char *provider_of(EVP_PKEY *key)
{
	return OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key));
}

static void everybody_elses_keys_stay_where_they_are(void **state)
{
	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		struct identity identity;

		make_identity(&identity, &kinds[i], HONEST);
		assert_string_equal(provider_of(identity.remote), "tund");
		assert_string_equal(provider_of(identity.plain), "default");
		assert_string_equal(provider_of(X509_get0_pubkey(identity.cert)), "default");
		assert_int_equal(X509_verify(identity.cert, identity.plain), 1);
		drop_identity(&identity);
	}
}

static void a_key_matches_its_certificate_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		struct identity ours, other;

		make_identity(&ours, &kinds[i], HONEST);
		make_identity(&other, &kinds[i], HONEST);
		assert_int_equal(X509_check_private_key(ours.cert, ours.remote), 1);
		assert_int_equal(X509_check_private_key(other.cert, ours.remote), 0);
		assert_int_equal(EVP_PKEY_eq(ours.remote, ours.plain), 1);
		assert_int_equal(EVP_PKEY_eq(ours.plain, ours.remote), 1);
		assert_int_equal(EVP_PKEY_eq(ours.remote, other.remote), 0);
		assert_int_equal(EVP_PKEY_get_bits(ours.remote), EVP_PKEY_get_bits(ours.plain));
		assert_int_equal(EVP_PKEY_get_security_bits(ours.remote),
				 EVP_PKEY_get_security_bits(ours.plain));
		ERR_clear_error();
		drop_identity(&ours);
		drop_identity(&other);
	}
}

/* Only what a handshake asks for: nothing else even reaches the holder. */
static void nothing_else_is_done_with_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		unsigned char *der = NULL;
		uint8_t digest[32] = {0}, signature[KEY_MSG_SIGNATURE_MAX];
		size_t len = sizeof(signature);
		struct identity identity;
		EVP_MD_CTX *md = EVP_MD_CTX_new();
		EVP_PKEY_CTX *signing;

		make_identity(&identity, &kinds[i], HONEST);
		signing = EVP_PKEY_CTX_new_from_pkey(NULL, identity.remote, NULL);
		assert_non_null(signing);
		assert_true(EVP_PKEY_sign_init(signing) <= 0);
		assert_true(EVP_PKEY_decrypt_init(signing) <= 0);
		assert_true(i2d_PrivateKey(identity.remote, &der) <= 0);
		/* SHA-1; and SHA-256 with PKCS#1 padding, which is RSA's default. */
		if (!EVP_PKEY_is_a(identity.remote, "ED25519"))
			assert_true(EVP_DigestSignInit_ex(md, NULL, "SHA1", NULL, NULL,
							  identity.remote, NULL) <= 0);
		if (EVP_PKEY_is_a(identity.remote, "RSA")) {
			EVP_MD_CTX_reset(md);
			assert_true(EVP_DigestSignInit_ex(md, NULL, "SHA256", NULL, NULL,
							  identity.remote, NULL) > 0);
			assert_true(EVP_DigestSign(md, signature, &len, digest, 32) <= 0);
		}
		EVP_MD_CTX_free(md);
		EVP_PKEY_CTX_free(signing);
		ERR_clear_error();
		drop_identity(&identity);
		assert_int_equal(identity.signer.requests, 0);
	}
}

static void keys_that_we_do_not_sign_with_are_not_made(void **state)
{
	static const struct kind others[] = {
		{.name = "P-521", .type = "EC", .group = "P-521"},
		{.name = "Ed448", .type = "ED448"},
		{.name = "X25519", .type = "X25519"},
	};
	uint8_t spki[SPKI_ROOM + 4096] = {0x30, 0x82, 0x20, 0};

	(void)state;
	assert_null(remote_key_new(spki, 0, 0, 0));
	assert_null(remote_key_new(spki, SPKI_ROOM, 0, 0));
	assert_null(remote_key_new(spki, sizeof(spki), 0, 0));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		EVP_PKEY *key = make_key(&others[i]);
		uint8_t *end = spki;
		int len = i2d_PUBKEY(key, &end);

		ERR_clear_error();
		assert_null(remote_key_new(spki, (size_t)len, 0, 0));
		assert_int_not_equal(ERR_peek_error(), 0);
		EVP_PKEY_free(key);
	}
	ERR_clear_error();
}

/* The real holder, in its own process, for both ends. */
struct holding {
	struct holder_options options;
	struct child child;
	char path[64];
	int ours, theirs;
};

static int run_holder(int socket, void *argument)
{
	struct holder_options *options = argument;

	options->report = socket;
	return holder_run(options);
}

static EVP_PKEY *start_holding(struct holding *holding, EVP_PKEY *key, bool is_client)
{
	char error[256];
	struct buf spki;
	EVP_PKEY *remote;
	int fd, pair[2];
	FILE *file;

	snprintf(holding->path, sizeof(holding->path), "/tmp/tund-test-remote-XXXXXX");
	fd = mkstemp(holding->path);
	file = fdopen(fd, "w");
	assert_non_null(file);
	assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	holding->ours = pair[0];
	holding->theirs = pair[1];
	holding->options = (struct holder_options){
		.key = holding->path,
		.is_client = is_client,
		.uid = 65534,
		.gid = 65534,
		.sockets = &holding->theirs,
		.socket_count = 1,
	};
	assert_int_equal(child_start(&holding->child, "keys", run_holder, &holding->options,
				     &holding->theirs, 1),
			 0);
	close(holding->theirs);
	assert_int_equal(holder_wait(holding->child.socket, 10000, &spki, error, sizeof(error)), 0);
	unlink(holding->path);
	remote = remote_key_new(spki.data, spki.len, holding->ours, 0);
	buf_done(&spki);
	return remote;
}

static void stop_holding(struct holding *holding)
{
	int status;

	close(holding->child.socket);
	close(holding->ours);
	assert_int_equal(waitpid(holding->child.pid, &status, 0), holding->child.pid);
	assert_int_equal(status, 0);
}

static void handshakes_work_with_the_holder(void **state)
{
	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		struct identity server = {.kind = &kinds[i]};
		struct identity client = {.kind = &kinds[(i + 1) % KIND_COUNT]};
		struct holding holdings[2];

		print_message("  %s\n", kinds[i].name);
		server.plain = make_key(server.kind);
		client.plain = make_key(client.kind);
		server.cert = make_certificate(server.plain);
		client.cert = make_certificate(client.plain);
		server.remote = start_holding(&holdings[0], server.plain, false);
		client.remote = start_holding(&holdings[1], client.plain, true);
		for (int round = 0; round < 3; round++)
			assert_true(connect_ends(&server, true, &client, true));
		for (int j = 0; j < 2; j++) {
			struct identity *identity = j ? &client : &server;

			EVP_PKEY_free(identity->remote);
			EVP_PKEY_free(identity->plain);
			X509_free(identity->cert);
			stop_holding(&holdings[j]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshakes_work_in_both_roles),
		cmocka_unit_test(handshakes_work_with_the_holder),
		cmocka_unit_test(defaults_find_the_scheme),
		cmocka_unit_test(what_the_holder_does_decides),
		cmocka_unit_test(everybody_elses_keys_stay_where_they_are),
		cmocka_unit_test(a_key_matches_its_certificate_alone),
		cmocka_unit_test(nothing_else_is_done_with_it),
		cmocka_unit_test(keys_that_we_do_not_sign_with_are_not_made),
	};

	if (remote_provider_load())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
