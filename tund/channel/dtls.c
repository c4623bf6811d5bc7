#include "channel/dtls.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/xalloc.h"
#include "channel/lean.h"

enum { COOKIE_KEY = 32, COOKIE = 32 };

/* AEAD only. The client's order decides: plain PSK with AES, or, where its processor lacks the
 * instructions for that, ChaCha20 with a Diffie-Hellman exchange. Strangers offer plain PSK alone.
 */
static const char suites[] = "PSK-AES256-GCM-SHA384:PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256:"
			     "ECDHE-PSK-CHACHA20-POLY1305";
static const char suites_plain[] =
	"PSK-AES256-GCM-SHA384:PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256";
static const char suites_without_aes[] =
	"ECDHE-PSK-CHACHA20-POLY1305:PSK-CHACHA20-POLY1305:PSK-AES256-GCM-SHA384:"
	"PSK-AES128-GCM-SHA256";

/* ---- what associations share ---- */

static unsigned on_psk_server(SSL *ssl, const char *identity, unsigned char *psk, unsigned max)
{
	struct dtls *dtls = SSL_get_app_data(ssl);

	(void)identity; /* every known client sends "psk" */
	if (max < DTLS_PSK)
		return 0;
	memcpy(psk, dtls->psk, DTLS_PSK);
	return DTLS_PSK;
}

static unsigned on_psk_client(SSL *ssl, const char *hint, char *identity, unsigned identity_max,
			      unsigned char *psk, unsigned max)
{
	struct dtls *dtls = SSL_get_app_data(ssl);

	(void)hint;
	if (identity_max < 4 || max < DTLS_PSK)
		return 0;
	memcpy(identity, "psk", 4);
	memcpy(psk, dtls->psk, DTLS_PSK);
	return DTLS_PSK;
}

/* A hello's cookie: a MAC over the peer's address, with a key of this thread's lifetime. */
static int make_cookie(SSL *ssl, uint8_t cookie[static COOKIE])
{
	struct dtls *dtls = SSL_get_app_data(ssl);
	const uint8_t *key = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	unsigned len = COOKIE;

	return HMAC(EVP_sha256(), key, COOKIE_KEY, dtls->peer, sizeof(dtls->peer), cookie, &len) !=
	       NULL;
}

static int on_cookie_make(SSL *ssl, unsigned char *cookie, unsigned *len)
{
	*len = COOKIE;
	return make_cookie(ssl, cookie);
}

static int on_cookie_check(SSL *ssl, const unsigned char *cookie, unsigned len)
{
	uint8_t expected[COOKIE];

	return len == COOKIE && make_cookie(ssl, expected) &&
	       CRYPTO_memcmp(cookie, expected, COOKIE) == 0;
}

static SSL_CTX *make_ctx(const SSL_METHOD *method, bool is_client)
{
	SSL_CTX *made = SSL_CTX_new_ex(lean_library(), NULL, method);

	if (!made)
		return NULL;
	SSL_CTX_set_min_proto_version(made, DTLS1_2_VERSION);
	SSL_CTX_set_max_proto_version(made, DTLS1_2_VERSION);
	SSL_CTX_set_options(made, SSL_OP_NO_TICKET | SSL_OP_NO_QUERY_MTU | SSL_OP_NO_RENEGOTIATION |
					  SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(made, 1);
	if (SSL_CTX_set_cipher_list(made, is_client && !cpu_has_aes() ? suites_without_aes
								      : suites) != 1) {
		SSL_CTX_free(made);
		return NULL;
	}
	SSL_CTX_set_psk_server_callback(made, on_psk_server);
	SSL_CTX_set_psk_client_callback(made, on_psk_client);
	return made;
}

int dtls_setup_init(struct dtls_setup *setup)
{
	uint8_t *key = xalloc_zero(COOKIE_KEY, 1);

	*setup = (struct dtls_setup){make_ctx(DTLS_server_method(), false),
				     make_ctx(DTLS_client_method(), true)};
	if (!setup->server || !setup->client || RAND_bytes(key, COOKIE_KEY) != 1) {
		free(key);
		dtls_setup_done(setup);
		return -EIO;
	}
	SSL_CTX_set_app_data(setup->server, key);
	SSL_CTX_set_cookie_generate_cb(setup->server, on_cookie_make);
	SSL_CTX_set_cookie_verify_cb(setup->server, on_cookie_check);
	return 0;
}

void dtls_setup_done(struct dtls_setup *setup)
{
	if (setup->server)
		free(SSL_CTX_get_app_data(setup->server));
	SSL_CTX_free(setup->server);
	SSL_CTX_free(setup->client);
	*setup = (struct dtls_setup){0};
}

/* ---- memory ----
 *
 * Of an association's 68 KiB, 33 are the buffers of one record in each direction, which OpenSSL
 * gives back when asked, and 21 the messages of its handshake, which it keeps in case the peer
 * repeats its last flight. Those are written again from copies before each use, so their pages may
 * go: what is read later is written first. */

/* OpenSSL shows handshake messages where it has them: at the beginning of a piece of the heap with
 * room for the longest, SSL3_RT_MAX_PLAIN_LENGTH (3.x: ssl/statem). */
static void on_handshake_message(int is_sent, int version, int type, const void *bytes, size_t len,
				 SSL *ssl, void *user)
{
	struct dtls *dtls = user;

	(void)version;
	(void)len;
	(void)ssl;
	if (!is_sent && type == SSL3_RT_HANDSHAKE)
		dtls->scratch = (uint8_t *)bytes;
}

static void release_scratch(struct dtls *dtls)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first, end;
	size_t size = dtls->scratch ? malloc_usable_size(dtls->scratch) : 0;

	/* Elsewhere the pages stay. */
	if (size >= SSL3_RT_MAX_PLAIN_LENGTH && OPENSSL_version_major() == 3) {
		first = ((uintptr_t)dtls->scratch + page - 1) & ~(page - 1);
		end = ((uintptr_t)dtls->scratch + size) & ~(page - 1);
		madvise((void *)first, end - first, MADV_DONTNEED);
	}
	dtls->scratch = NULL;
}

void dtls_rest(struct dtls *dtls)
{
	if (dtls->state != DTLS_OPEN || dtls->is_resting)
		return;
	dtls->is_resting = SSL_free_buffers(dtls->ssl) == 1;
	release_scratch(dtls);
}

/* Before a record is sealed above all: OpenSSL takes its buffer for given there. */
static void rouse(struct dtls *dtls)
{
	dtls->is_resting = SSL_alloc_buffers(dtls->ssl) != 1;
}

/* ---- one association ---- */

/* OpenSSL puts into a hello the id of the session it is asked to resume; so it gets one that never
 * was, with a random key. The version must be the one in use, or the id is silently left out. */
static bool place_app_id(SSL *ssl, const uint8_t *app_id, size_t len)
{
	static const unsigned char suite[2] = {0x00, 0xa8}; /* TLS_PSK_WITH_AES_128_GCM_SHA256 */
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite);
	SSL_SESSION *session = SSL_SESSION_new();
	uint8_t key[48];
	bool ok;

	ok = session && cipher && RAND_bytes(key, sizeof(key)) == 1 &&
	     SSL_SESSION_set1_id(session, app_id, (unsigned)len) == 1 &&
	     SSL_SESSION_set_protocol_version(session, DTLS1_2_VERSION) == 1 &&
	     SSL_SESSION_set_cipher(session, cipher) == 1 &&
	     SSL_SESSION_set1_master_key(session, key, sizeof(key)) == 1 &&
	     SSL_set_session(ssl, session) == 1;
	SSL_SESSION_free(session);
	return ok;
}

static bool prepare(struct dtls *dtls, bool is_server, const struct dtls_options *options)
{
	BIO *bio = bio_new(&dtls->port);

	dtls->ssl = SSL_new(is_server ? dtls->setup->server : dtls->setup->client);
	if (!bio || !dtls->ssl) {
		BIO_free(bio);
		return false;
	}
	SSL_set_bio(dtls->ssl, bio, bio);
	SSL_set_app_data(dtls->ssl, dtls);
	SSL_set_msg_callback_arg(dtls->ssl, dtls);
	SSL_set_msg_callback(dtls->ssl, on_handshake_message);
	SSL_set_mtu(dtls->ssl, (long)options->mtu);
	if (!is_server) {
		SSL_set_connect_state(dtls->ssl);
		if (options->plain_psk && SSL_set_cipher_list(dtls->ssl, suites_plain) != 1)
			return false;
		return place_app_id(dtls->ssl, options->app_id, options->app_id_len);
	}
	SSL_set_accept_state(dtls->ssl);
	dtls->listening = options->verify_hello;
	if (dtls->listening)
		SSL_set_options(dtls->ssl, SSL_OP_COOKIE_EXCHANGE);
	return true;
}

struct dtls *dtls_new(struct dtls_setup *setup, bool is_server, const struct dtls_options *options)
{
	struct dtls *dtls = xnew(struct dtls);

	dtls->setup = setup;
	dtls->aead_min = DTLS_RECORD_AEAD_MIN_CHACHA;
	memcpy(dtls->psk, options->psk, DTLS_PSK);
	if (options->peer)
		memcpy(dtls->peer, options->peer, sizeof(dtls->peer));
	dtls->port = (struct bio_port){.datagrams = true,
				       .write = options->write,
				       .user = options->user};
	if (prepare(dtls, is_server, options))
		return dtls;
	dtls_free(dtls);
	return NULL;
}

void dtls_free(struct dtls *dtls)
{
	if (!dtls)
		return;
	SSL_free(dtls->ssl);
	explicit_bzero(dtls, sizeof(*dtls));
	free(dtls);
}

/* A resumed session would be one that never was: an attack. */
static void settle(struct dtls *dtls)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(dtls->ssl);
	bool is_gcm = cipher && strstr(SSL_CIPHER_get_name(cipher), "GCM");

	dtls->aead_min = is_gcm ? DTLS_RECORD_AEAD_MIN : DTLS_RECORD_AEAD_MIN_CHACHA;
	dtls->overhead = DTLS_RECORD_HEADER + dtls->aead_min;
	dtls->state = SSL_session_reused(dtls->ssl) ? DTLS_FAILED : DTLS_OPEN;
	SSL_set_msg_callback(dtls->ssl, NULL);
}

void dtls_handshake(struct dtls *dtls, const uint8_t *datagram, size_t len)
{
	int r;

	dtls->port.in = datagram;
	dtls->port.in_len = len;
	ERR_clear_error();
	if (dtls->listening) {
		BIO_ADDR *ignored = BIO_ADDR_new();

		r = ignored ? DTLSv1_listen(dtls->ssl, ignored) : -1;
		BIO_ADDR_free(ignored);
		if (r <= 0) {
			dtls->port.in_len = 0;
			return;
		}
		dtls->listening = false;
	}
	r = SSL_do_handshake(dtls->ssl);
	dtls->port.in_len = 0;
	if (r == 1)
		settle(dtls);
	else if (SSL_get_error(dtls->ssl, r) != SSL_ERROR_WANT_READ)
		dtls->state = DTLS_FAILED;
}

/* OpenSSL shows a message only once its record has been authenticated, or when it answers one. */
static void on_message(int is_sent, int version, int type, const void *bytes, size_t len, SSL *ssl,
		       void *user)
{
	bool *was_authentic = user;

	(void)is_sent;
	(void)version;
	(void)bytes;
	(void)len;
	(void)ssl;
	if (type != SSL3_RT_HEADER && type != SSL3_RT_INNER_CONTENT_TYPE)
		*was_authentic = true;
}

/* Not by SSL_get_error: that goes by the thread's queue of errors, which may be somebody else's, and
 * clearing it before each record costs as much as ten of the record's checks. */
static enum dtls_opened judge_silence(SSL *ssl, bool was_authentic)
{
	bool wants_more = SSL_want_read(ssl);

	ERR_clear_error();
	if (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN)
		return DTLS_OPENED_CLOSED;
	return wants_more && was_authentic ? DTLS_OPENED_NONE : DTLS_OPENED_FORGED;
}

enum dtls_opened dtls_open(struct dtls *dtls, const uint8_t *datagram, size_t len,
			   const struct dtls_record *record, uint8_t *out, size_t size,
			   size_t *ret_len)
{
	bool was_authentic = false;
	int r;

	if (dtls->is_resting)
		rouse(dtls);
	dtls->port.in = datagram;
	dtls->port.in_len = len;
	if (record->type != DTLS_TYPE_DATA) {
		SSL_set_msg_callback_arg(dtls->ssl, &was_authentic);
		SSL_set_msg_callback(dtls->ssl, on_message);
	}
	r = SSL_read_ex(dtls->ssl, out, size, ret_len);
	dtls->port.in_len = 0;
	if (record->type != DTLS_TYPE_DATA)
		SSL_set_msg_callback(dtls->ssl, NULL);
	if (r != 1)
		return judge_silence(dtls->ssl, was_authentic);
	dtls_window_mark(&dtls->window, record->sequence);
	dtls->opened++;
	return DTLS_OPENED_RECORD;
}

bool dtls_seal(struct dtls *dtls, const uint8_t *plain, size_t len)
{
	size_t written;

	if (dtls->is_resting)
		rouse(dtls);
	if (dtls->is_resting || SSL_write_ex(dtls->ssl, plain, len, &written) != 1)
		return false;
	dtls->sealed++;
	return true;
}

int64_t dtls_tick(struct dtls *dtls)
{
	struct timeval left;

	if (dtls->state != DTLS_HANDSHAKING || dtls->listening)
		return -1;
	ERR_clear_error();
	if (DTLSv1_handle_timeout(dtls->ssl) < 0)
		dtls->state = DTLS_FAILED;
	if (!DTLSv1_get_timeout(dtls->ssl, &left))
		return -1;
	return (int64_t)left.tv_sec * CLOCK_SECOND_US + left.tv_usec;
}

const char *dtls_cipher(const struct dtls *dtls)
{
	return SSL_get_cipher_name(dtls->ssl);
}
