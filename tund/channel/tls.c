#include "channel/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <openssl/err.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "channel/lean.h"

enum {
	RECEIVE_BYTES = 64 * 1024,
	HANDSHAKE_OUT_MAX = 512 * 1024,
	ALERT_CERTIFICATE_REQUIRED = 116,
	ALERT_PROTOCOL_VERSION = 70,
};

/* A gateway of ours says that it is one in its CertificateRequest, where whoever does not know an
 * extension passes over it (RFC 8446, 4.3.2), and where nobody on the path can read it. The type is
 * one for private use. */
enum { EXTENSION_TUND = 0xff74 };

static const char label[] = "EXPORTER-openconnect-psk";

/* ---- what connections share ---- */

/* The verdict is ours (pki/verify); OpenSSL's alert follows from the error set here. */
static int on_verify(X509_STORE_CTX *store, void *unused)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *tls = SSL_get_app_data(ssl);
	struct verify_question question = {
		.trust = tls->trust,
		.leaf = X509_STORE_CTX_get0_cert(store),
		.untrusted = X509_STORE_CTX_get0_untrusted(store),
		.role = tls->is_server ? VERIFY_DEVICE : VERIFY_GATEWAY,
		.peer_name = tls->peer_name,
		.at = time(NULL),
	};

	(void)unused;
	verify_done(&tls->verdict);
	tls->verdict = verify_ask(&question);
	tls->asked = true;
	if (tls->verdict.reason == REASON_NONE)
		return 1;
	X509_STORE_CTX_set_error(store, verify_x509_error(tls->verdict.reason));
	return 0;
}

static void on_info(const SSL *ssl, int where, int value)
{
	struct tls *tls = SSL_get_app_data(ssl);

	if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && value >> 8 == SSL3_AL_FATAL)
		tls->alert = value & 0xff;
}

static int write_mark(SSL *ssl, unsigned type, unsigned context, const unsigned char **ret,
		      size_t *ret_len, X509 *cert, size_t depth, int *alert, void *unused)
{
	(void)ssl, (void)type, (void)context, (void)cert, (void)depth, (void)alert, (void)unused;
	*ret = NULL;
	*ret_len = 0;
	return 1;
}

static int read_mark(SSL *ssl, unsigned type, unsigned context, const unsigned char *bytes,
		     size_t len, X509 *cert, size_t depth, int *alert, void *unused)
{
	struct tls *tls = SSL_get_app_data(ssl);

	(void)type, (void)context, (void)bytes, (void)len, (void)cert, (void)depth, (void)alert;
	(void)unused;
	tls->peer_is_tund = true;
	return 1;
}

static const char *last_error(char *buf, size_t size)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	snprintf(buf, size, "%s", reason ? reason : "unknown error");
	return buf;
}

/* The groups of a list that this library knows, in order. */
static int set_groups(SSL_CTX *made, const char *groups, bool hybrid, bool *ret_hybrid)
{
	_cleanup_free_ char *list = xalloc_string(groups);
	_cleanup_free_ char *known = xalloc_zero(strlen(groups) + 32, 1);
	char *rest = list;

	if (hybrid && SSL_CTX_set1_groups_list(made, "X25519MLKEM768") == 1) {
		strcpy(known, "X25519MLKEM768");
		*ret_hybrid = true;
	}
	for (char *name = strsep(&rest, ":"); name; name = strsep(&rest, ":")) {
		if (strcmp(name, "X25519MLKEM768") == 0 && known[0])
			continue;
		if (SSL_CTX_set1_groups_list(made, name) != 1)
			continue;
		if (known[0])
			strcat(known, ":");
		strcat(known, name);
	}
	ERR_clear_error();
	return known[0] && SSL_CTX_set1_groups_list(made, known) == 1 ? 0 : -EINVAL;
}

static SSL_CTX *make_ctx(const SSL_METHOD *method, const struct tls_options *options,
			 bool *ret_hybrid, char *error, size_t size)
{
	SSL_CTX *made = SSL_CTX_new_ex(lean_library(), NULL, method);
	char why[256];

	if (!made)
		return NULL;
	SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION);
	SSL_CTX_set_options(made, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
					  SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_num_tickets(made, 0);
	SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_max_early_data(made, 0);
	SSL_CTX_set_verify(made, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(made, on_verify, NULL);
	SSL_CTX_set_info_callback(made, on_info);
	SSL_CTX_add_custom_ext(made, EXTENSION_TUND,
			       SSL_EXT_TLS_ONLY | SSL_EXT_TLS1_3_ONLY |
				       SSL_EXT_TLS1_3_CERTIFICATE_REQUEST,
			       write_mark, NULL, NULL, read_mark, NULL);
	ERR_clear_error();
	if (SSL_CTX_use_certificate(made, options->leaf) == 1 &&
	    (!options->chain || SSL_CTX_set1_chain(made, options->chain) == 1) &&
	    SSL_CTX_use_PrivateKey(made, options->key) == 1 &&
	    set_groups(made, options->groups, options->hybrid, ret_hybrid) == 0)
		return made;
	snprintf(error, size, "cannot set up TLS: %s", last_error(why, sizeof(why)));
	SSL_CTX_free(made);
	return NULL;
}

int tls_setup_init(struct tls_setup *setup, const struct tls_options *options, char *error,
		   size_t size)
{
	*setup = (struct tls_setup){0};
	setup->server = make_ctx(TLS_server_method(), options, &setup->has_hybrid, error, size);
	setup->client = make_ctx(TLS_client_method(), options, &setup->has_hybrid, error, size);
	if (setup->server && setup->client)
		return 0;
	tls_setup_done(setup);
	return -EINVAL;
}

struct tls_setup tls_setup_ref(const struct tls_setup *setup)
{
	SSL_CTX_up_ref(setup->server);
	SSL_CTX_up_ref(setup->client);
	return *setup;
}

void tls_setup_done(struct tls_setup *setup)
{
	SSL_CTX_free(setup->server);
	SSL_CTX_free(setup->client);
	*setup = (struct tls_setup){0};
}

/* ---- one connection ---- */

static void on_sealed(void *user, const uint8_t *bytes, size_t len)
{
	struct tls *tls = user;

	buf_append(&tls->out, bytes, len);
}

struct tls *tls_new(struct tls_setup *setup, bool is_server, int fd, struct trust *trust,
		    const char *peer_name)
{
	struct tls *tls = xnew(struct tls);
	BIO *bio;

	tls->fd = fd;
	tls->alert = -1;
	tls->is_server = is_server;
	tls->trust = trust_ref(trust);
	tls->peer_name = peer_name;
	tls->out.limit = TLS_OUT_MAX;
	tls->port = (struct bio_port){.write = on_sealed, .user = tls};
	tls->ssl = SSL_new(is_server ? setup->server : setup->client);
	bio = bio_new(&tls->port);
	if (!tls->ssl || !bio) {
		BIO_free(bio);
		tls_free(tls);
		return NULL;
	}
	BIO_up_ref(bio);
	SSL_set_bio(tls->ssl, bio, bio);
	BIO_free(bio);
	SSL_set_app_data(tls->ssl, tls);
	if (is_server) {
		SSL_set_accept_state(tls->ssl);
	} else {
		struct addr literal;

		SSL_set_connect_state(tls->ssl);
		if (peer_name && !addr_parse(peer_name, &literal))
			SSL_set_tlsext_host_name(tls->ssl, peer_name);
	}
	return tls;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl);
	if (tls->fd >= 0)
		close(tls->fd);
	buf_wipe(&tls->in);
	buf_done(&tls->out);
	trust_unref(tls->trust);
	verify_done(&tls->verdict);
	free(tls);
}

/* Receives once. True when there is more for OpenSSL to look at (the end of the stream counts). */
static bool receive_more(struct tls *tls)
{
	uint8_t *room;
	ssize_t len;

	if (tls->eof || tls->paused)
		return false;
	tls->in.len = 0;
	room = buf_reserve(&tls->in, RECEIVE_BYTES);
	len = recv(tls->fd, room, RECEIVE_BYTES, 0);
	if (len < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return false;
		tls->socket_error = errno;
		tls->eof = tls->port.eof = true;
		return true;
	}
	if (len == 0)
		tls->eof = tls->port.eof = true;
	tls->in.len = (size_t)len;
	tls->port.in = tls->in.data;
	tls->port.in_len = (size_t)len;
	return true;
}

static enum tls_result judge(struct tls *tls, int r)
{
	switch (SSL_get_error(tls->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return TLS_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	case SSL_ERROR_SYSCALL:
		return tls->eof ? TLS_CLOSED : TLS_FAILED;
	default:
		return TLS_FAILED;
	}
}

enum tls_result tls_handshake(struct tls *tls)
{
	enum tls_result result;

	for (;;) {
		int r;

		ERR_clear_error();
		r = SSL_do_handshake(tls->ssl);
		if (r == 1) {
			tls->peer_name = NULL;
			return TLS_DONE;
		}
		result = judge(tls, r);
		if (tls->out.len - tls->out_at > HANDSHAKE_OUT_MAX)
			return TLS_FAILED;
		if (result != TLS_AGAIN || !receive_more(tls))
			return result;
	}
}

enum tls_result tls_read(struct tls *tls, uint8_t *out, size_t size, size_t *ret_len)
{
	for (;;) {
		enum tls_result result;
		int r;

		ERR_clear_error();
		r = SSL_read_ex(tls->ssl, out, size, ret_len);
		if (r == 1)
			return TLS_DONE;
		result = judge(tls, r);
		if (result != TLS_AGAIN || !receive_more(tls)) {
			tls->port.in_len = 0; /* of a channel that has ended */
			buf_done(&tls->in);   /* an idle channel keeps no buffer */
			return result;
		}
	}
}

bool tls_write(struct tls *tls, const void *bytes, size_t len)
{
	size_t written;

	if (tls->out.len - tls->out_at + len + 256 > TLS_OUT_MAX)
		return false;
	if (tls->out_at) {
		buf_consume(&tls->out, tls->out_at);
		tls->out_at = 0;
	}
	ERR_clear_error();
	return SSL_write_ex(tls->ssl, bytes, len, &written) == 1 && !tls->out.failed;
}

enum tls_result tls_flush(struct tls *tls)
{
	while (tls->out_at < tls->out.len) {
		ssize_t sent = send(tls->fd, tls->out.data + tls->out_at,
				    tls->out.len - tls->out_at, MSG_NOSIGNAL);

		/* ENOBUFS: the kernel is short of memory at this moment. */
		if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
			return TLS_AGAIN;
		if (sent < 0) {
			/* Nothing more can be sent; what has come in can still be read, to its end.
			 */
			tls->socket_error = errno;
			buf_done(&tls->out);
			tls->out_at = 0;
			return TLS_FAILED;
		}
		tls->out_at += (size_t)sent;
	}
	buf_done(&tls->out);
	tls->out_at = 0;
	return TLS_DONE;
}

bool tls_wants_write(const struct tls *tls)
{
	return tls->out_at < tls->out.len;
}

bool tls_is_full(const struct tls *tls)
{
	return tls->out.len - tls->out_at > TLS_OUT_FULL;
}

bool tls_has_input(const struct tls *tls)
{
	return tls->port.in_len > 0 || SSL_has_pending(tls->ssl);
}

void tls_rest(struct tls *tls)
{
	if (tls->port.in_len == 0)
		buf_done(&tls->in);
	SSL_free_buffers(tls->ssl);
}

void tls_shutdown(struct tls *tls)
{
	shutdown(tls->fd, SHUT_WR);
}

/* ---- what it agreed on ---- */

void tls_id(const struct tls *tls, char id[static TLS_ID_TEXT])
{
	uint8_t randoms[2 * SSL3_RANDOM_SIZE], hash[EVP_MAX_MD_SIZE];

	SSL_get_client_random(tls->ssl, randoms, SSL3_RANDOM_SIZE);
	SSL_get_server_random(tls->ssl, randoms + SSL3_RANDOM_SIZE, SSL3_RANDOM_SIZE);
	EVP_Digest(randoms, sizeof(randoms), hash, NULL, EVP_sha256(), NULL);
	snprintf(id, TLS_ID_TEXT, "%02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
}

int tls_export_psk(struct tls *tls, uint8_t psk[static TLS_PSK])
{
	return SSL_export_keying_material(tls->ssl, psk, TLS_PSK, label, sizeof(label) - 1, NULL, 0,
					  0) == 1
		       ? 0
		       : -EIO;
}

const char *tls_version(const struct tls *tls)
{
	return SSL_get_version(tls->ssl);
}

const char *tls_cipher(const struct tls *tls)
{
	return SSL_get_cipher_name(tls->ssl);
}

const char *tls_group(const struct tls *tls)
{
	const char *name = SSL_group_to_name(tls->ssl, (int)SSL_get_negotiated_group(tls->ssl));

	return name ? name : "unknown";
}

/* The refused end's view of an alert. */
static enum reason failure_of_alert(const struct tls *tls, char *text, size_t size)
{
	enum reason reason = verify_reason_of_alert(tls->alert);

	snprintf(text, size, "refused by the %s (alert %s)", tls->is_server ? "client" : "gateway",
		 verify_alert_name(tls->alert));
	return reason ? reason : REASON_PROTOCOL_ERROR;
}

enum reason tls_failure(const struct tls *tls, char *text, size_t size)
{
	unsigned long error = ERR_peek_error();
	char why[256];

	if (tls->asked && tls->verdict.reason) {
		snprintf(text, size, "%s", tls->verdict.text);
		return tls->verdict.reason;
	}
	if (tls->alert >= 0)
		return failure_of_alert(tls, text, size);
	switch (ERR_GET_REASON(error)) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		snprintf(text, size, "the peer sent no certificate");
		return REASON_CERT_MISSING;
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
		snprintf(text, size, "the peer does not offer TLS 1.3");
		return REASON_VERSION_TOO_OLD;
	case SSL_R_WRONG_VERSION_NUMBER: /* of a record: none that TLS ever had */
	case SSL_R_HTTP_REQUEST:
		snprintf(text, size, "the peer does not speak TLS on this port");
		return REASON_PROTOCOL_ERROR;
	default:
		break;
	}
	if (tls->socket_error)
		snprintf(text, size, "%s", strerror(tls->socket_error));
	else if (tls->eof && !error)
		snprintf(text, size, "the peer closed the connection");
	else
		snprintf(text, size, "TLS: %s", last_error(why, sizeof(why)));
	return REASON_PROTOCOL_ERROR;
}
