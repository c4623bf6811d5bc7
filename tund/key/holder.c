#include "key/holder.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/xalloc.h"
#include "key/scheme.h"
#include "key/source.h"
#include "sys/child.h"
#include "sys/privs.h"
#include "sys/sandbox.h"
#include "wire/key_msg.h"

/* The report, one packet: a byte that says which, then the rest of it. */
enum { REPORT_SPKI = 0, REPORT_ERROR = 1 };

enum {
	REPORT_MAX = 4096,
	ERROR_TEXT = 1024,
	SECURE_HEAP_BYTES =
		64 * 1024, /* guarded, locked, out of core files: OpenSSL's long-lived secrets */
	SECURE_HEAP_UNIT = 32,
	WARNINGS_PER_SECOND = 1,
	FREED_BYTE = 0xdd,
	CACHED_MAX = 1032, /* glibc keeps so many freed blocks of up to so many bytes at hand */
	CACHED_BLOCKS = 16,
	CACHED_STEP = 16,
};

struct holder {
	EVP_PKEY *key;
	struct pollfd *fds; /* the sockets, then the report */
	size_t socket_count;
	struct rate warnings;
};

static int open_key(const struct holder_options *options, EVP_PKEY **ret,
		    char error[static ERROR_TEXT])
{
	const struct source source = {
		.key = options->key,
		.pem = options->pem,
		.passphrase_file = options->passphrase_file,
		.allow_insecure_key = options->allow_insecure_key,
	};

	return source_open(&source, ret, error, ERROR_TEXT);
}

static const char *last_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return reason ? reason : "no reason given";
}

/* Proves that the key signs, and makes OpenSSL load and seed all that this needs: there are no
 * files and no new modules later. The signatures go nowhere. */
static int try_key(EVP_PKEY *key, char error[static ERROR_TEXT])
{
	static const uint8_t message[64];

	for (const struct scheme *scheme = scheme_next(NULL, key); scheme;
	     scheme = scheme_next(scheme, key)) {
		uint8_t signature[KEY_MSG_SIGNATURE_MAX];
		size_t len = sizeof(signature);

		if (scheme_sign(scheme, key, message, sizeof(message), signature, &len) < 0) {
			snprintf(error, ERROR_TEXT, "the key does not sign (scheme 0x%04x): %s",
				 scheme->id, last_reason());
			return -EIO;
		}
	}
	return 0;
}

/* OpenSSL frees some of its copies of a key that it decodes without wiping them. glibc can fill
 * what is freed, but for the blocks that it keeps at hand: those are wiped here, once. */
static void wipe_freed_blocks(void)
{
	void *blocks[CACHED_BLOCKS];

	for (size_t size = CACHED_STEP; size <= CACHED_MAX; size += CACHED_STEP) {
		for (size_t i = 0; i < CACHED_BLOCKS; i++) {
			/* Not zeroed, for calloc does not take those blocks. */
			blocks[i] = xalloc_grow(NULL, size, 1);
			explicit_bzero(blocks[i], malloc_usable_size(blocks[i]));
		}
		for (size_t i = 0; i < CACHED_BLOCKS; i++)
			free(blocks[i]);
	}
}

/* Best effort. Locking what comes later as well would make allocations fail at the limit, so only
 * where there is none. */
static void lock_memory(void)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	int later = setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0 ? MCL_FUTURE : 0;

	if (mlockall(MCL_CURRENT | later))
		log_debug("the key's memory is not locked: %s", strerror(errno));
}

static int close_in(const struct holder_options *options, char error[static ERROR_TEXT])
{
	int r;

	lock_memory();
	r = privs_drop_all(options->uid, options->gid);
	if (r == 0)
		r = child_die_with_parent();
	if (r == 0)
		r = sandbox_load(SANDBOX_KEYS);
	if (r < 0)
		snprintf(error, ERROR_TEXT, "the key holder cannot drop its privileges: %s",
			 strerror(-r));
	return r;
}

static int send_report(int report, uint8_t kind, const void *bytes, size_t len)
{
	uint8_t packet[REPORT_MAX];

	if (len > sizeof(packet) - 1)
		return -EMSGSIZE;
	packet[0] = kind;
	memcpy(packet + 1, bytes, len);
	return child_send(report, packet, len + 1, NULL, 0);
}

static int report_public(int report, EVP_PKEY *key, char error[static ERROR_TEXT])
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(key, &der);
	int r = len > 0 ? send_report(report, REPORT_SPKI, der, (size_t)len) : -EIO;

	if (r < 0)
		snprintf(error, ERROR_TEXT, "the public half of the key cannot be told: %s",
			 strerror(-r));
	OPENSSL_free(der);
	return r;
}

/* 0, or why it may not be signed, or was not. */
static uint16_t sign_request(const struct holder *holder, const struct key_msg_request *request,
			     uint8_t signature[static KEY_MSG_SIGNATURE_MAX], size_t *ret_len)
{
	const struct scheme *scheme = scheme_find(request->scheme);
	size_t len = KEY_MSG_SIGNATURE_MAX;

	if (!key_msg_is_certificate_verify(request->tbs, request->tbs_len))
		return EPERM;
	if (!scheme || !scheme_fits(scheme, holder->key))
		return EPERM;
	if (scheme_sign(scheme, holder->key, request->tbs, request->tbs_len, signature, &len) < 0)
		return EIO;
	*ret_len = len;
	return 0;
}

static void warn_of_failure(struct holder *holder, uint16_t error)
{
	if (!rate_allow(&holder->warnings, WARNINGS_PER_SECOND, clock_now_us()))
		return;
	if (error == EIO)
		log_warn("the key did not sign: %s", last_reason());
	else
		log_warn("refused to sign what no TLS 1.3 handshake with this key asks for");
}

static void answer_packet(struct holder *holder, int socket, const uint8_t *packet, size_t len)
{
	uint8_t signature[KEY_MSG_SIGNATURE_MAX], answer[KEY_MSG_MAX];
	struct key_msg_reply reply = {.error = EBADMSG, .signature = signature};
	struct key_msg_request request;

	if (len <= KEY_MSG_MAX && key_msg_request_read(packet, len, &request)) {
		reply.id = request.id;
		reply.error = sign_request(holder, &request, signature, &reply.signature_len);
	}
	if (reply.error)
		warn_of_failure(holder, reply.error);
	ERR_clear_error();
	len = key_msg_reply_write(&reply, answer);
	/* Who does not take its answers loses them: nobody makes the others wait. */
	send(socket, answer, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One request, so that all who ask come by turns. False when the socket has ended. */
static bool serve_socket(struct holder *holder, int socket)
{
	uint8_t packet[KEY_MSG_MAX];
	ssize_t len = recv(socket, packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);

	if (len < 0)
		return errno == EAGAIN || errno == EINTR;
	if (len == 0)
		return false;
	answer_packet(holder, socket, packet, (size_t)len);
	return true;
}

/* The parent says nothing: anything but its end is passed over. */
static bool has_parent_ended(int report)
{
	char byte;
	ssize_t len = recv(report, &byte, sizeof(byte), MSG_DONTWAIT);

	return len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR);
}

static void serve_until_end(struct holder *holder)
{
	struct pollfd *report = &holder->fds[holder->socket_count];

	for (;;) {
		if (poll(holder->fds, holder->socket_count + 1, -1) < 0)
			continue;
		if (report->revents && has_parent_ended(report->fd))
			return;
		for (struct pollfd *at = holder->fds; at < report; at++) {
			/* A negative descriptor is passed over by poll. */
			if (at->revents && !serve_socket(holder, at->fd))
				at->fd = -1;
		}
	}
}

static void watch_sockets(struct holder *holder, const struct holder_options *options)
{
	holder->socket_count = options->socket_count;
	holder->fds = xnew_array(struct pollfd, options->socket_count + 1);
	for (size_t i = 0; i < options->socket_count; i++)
		holder->fds[i] = (struct pollfd){.fd = options->sockets[i], .events = POLLIN};
	holder->fds[options->socket_count] =
		(struct pollfd){.fd = options->report, .events = POLLIN};
}

static void wipe_text(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(take(*text));
}

int holder_run(struct holder_options *options)
{
	struct holder holder = {0};
	char error[ERROR_TEXT];
	int r;

	mallopt(M_PERTURB, FREED_BYTE);
	CRYPTO_secure_malloc_init(SECURE_HEAP_BYTES, SECURE_HEAP_UNIT);
	r = open_key(options, &holder.key, error);
	wipe_text(&options->pem);
	if (r == 0)
		r = try_key(holder.key, error);
	wipe_freed_blocks();
	if (r == 0)
		r = close_in(options, error);
	if (r == 0)
		r = report_public(options->report, holder.key, error);
	if (r < 0) {
		send_report(options->report, REPORT_ERROR, error, strlen(error));
	} else {
		watch_sockets(&holder, options);
		serve_until_end(&holder);
	}
	EVP_PKEY_free(holder.key);
	free(holder.fds);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int read_report(const uint8_t *packet, size_t len, struct buf *ret_spki, char *error,
		       size_t size)
{
	if (packet[0] == REPORT_SPKI && len > 1) {
		*ret_spki = (struct buf){0};
		buf_append(ret_spki, packet + 1, len - 1);
		return 0;
	}
	snprintf(error, size, "%.*s", (int)(len - 1), (const char *)packet + 1);
	return -EKEYREJECTED;
}

int holder_wait(int report, int timeout_ms, struct buf *ret_spki, char *error, size_t size)
{
	struct pollfd poll_fd = {.fd = report, .events = POLLIN};
	int64_t deadline_us = clock_now_us() + timeout_ms * CLOCK_MS_US;
	uint8_t packet[REPORT_MAX];
	ssize_t len;
	int ready;

	do {
		int64_t left_us = deadline_us - clock_now_us();

		ready = poll(&poll_fd, 1, left_us > 0 ? (int)(left_us / CLOCK_MS_US) : 0);
	} while (ready < 0 && errno == EINTR);
	if (ready <= 0) {
		snprintf(error, size, "the key holder did not open the key within %d ms",
			 timeout_ms);
		return -ETIMEDOUT;
	}
	len = child_receive(report, packet, sizeof(packet), NULL, NULL);
	if (len <= 0) {
		snprintf(error, size, "the key holder ended before it opened the key");
		return len < 0 ? (int)len : -EPIPE;
	}
	return read_report(packet, (size_t)len, ret_spki, error, size);
}
