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
#include "key/token.h"
#include "sys/child.h"
#include "sys/landlock.h"
#include "sys/privs.h"
#include "sys/sandbox.h"
#include "wire/key_msg.h"

/* The report, one packet: a byte that says which, the generation, then the rest of it. */
enum { REPORT_SPKI = 0, REPORT_ERROR = 1 };

/* What the parent says, one packet: a byte that says which, the generation, then
 *	LOAD   flags; the key's name and the passphrase file's, where the flags say so; their
 *	       descriptors, the key's first
 *	ADOPT  the log's level */
enum { ORDER_LOAD = 1, ORDER_ADOPT = 2 };
enum { HAS_KEY = 1, HAS_PASSPHRASE = 2, HAS_KEY_FD = 4, HAS_PASSPHRASE_FD = 8 };

enum {
	REPORT_MAX = 4096,
	REPORT_HEAD = 5,
	ORDER_MAX = 16 * 1024,
	PATH_MAX_BYTES = 4096,
	ERROR_TEXT = 1024,
	SECURE_HEAP_BYTES =
		64 * 1024, /* guarded, locked, out of core files: OpenSSL's long-lived secrets */
	SECURE_HEAP_UNIT = 32,
	WARNINGS_PER_SECOND = 1,
	PREVIOUS_MAX = 8,
	PREVIOUS_US = 300 * 1000000, /* the most that limits.handshake-timeout can be */
	FREED_BYTE = 0xdd,
	CACHED_MAX = 1032, /* glibc keeps so many freed blocks of up to so many bytes at hand */
	CACHED_BLOCKS = 16,
	CACHED_STEP = 16,
};

struct held {
	uint32_t first, last; /* its generations */
	EVP_PKEY *key;	      /* NULL: none; a PKCS#11 token's is the public half */
	struct token *token;  /* a PKCS#11 token's, else NULL */
	char *uri;	      /* its store URI; NULL: a file's */
	int64_t until_us;     /* previous: how long a handshake may still be under way */
};

struct holder {
	const struct holder_options *options;
	struct library library;
	bool has_token; /* from the start: files and modules can be had then only */
	struct held current;
	struct held candidate;		    /* loaded, not adopted */
	struct held previous[PREVIOUS_MAX]; /* the latest first */
	struct pollfd *fds;		    /* the sockets, then the report */
	size_t socket_count;
	struct rate warnings;
};

static int open_token(struct holder *holder, const struct source *source, struct held *ret,
		      char error[static ERROR_TEXT])
{
	struct token_wanted wanted = {.uri = source->key, .pin_file = source->passphrase_file};
	struct buf pin = {0};
	int r = source_read_pin(source, &pin, error, ERROR_TEXT);

	if (r < 0)
		return r;
	wanted.pin = pin.data;
	wanted.pin_len = pin.len;
	r = token_open(&holder->library, &wanted, &ret->token, error, ERROR_TEXT);
	buf_wipe(&pin);
	if (r < 0)
		return r;
	ret->key = token_public(ret->token);
	EVP_PKEY_up_ref(ret->key);
	return 0;
}

static bool has_p11_kit(struct holder *holder)
{
	char ignored[ERROR_TEXT];

	return library_open(&holder->library, ignored, sizeof(ignored)) == 0;
}

/* A TPM does not say before the first signature what is wrong with a password. */
static void explain_provider(const struct source *source, char error[static ERROR_TEXT])
{
	_cleanup_free_ char *why = xalloc_string(error);

	if (source->passphrase_file)
		snprintf(error, ERROR_TEXT, "%s: %s; is the password in %s right?", source->key,
			 why, source->passphrase_file);
	else
		snprintf(error, ERROR_TEXT,
			 "%s: %s; if the key has a password, name a passphrase-file", source->key,
			 why);
}

/* A URI's key by p11-kit or, for a TPM's and where there is no p11-kit, by OpenSSL's provider. */
static int open_key(struct holder *holder, const struct source *source, struct held *ret,
		    char error[static ERROR_TEXT])
{
	char problem[ERROR_TEXT / 2];
	bool is_file = source->pem ||
		       (source->is_passed ? source->key_fd >= 0 : source_is_file(source->key));
	int r;

	if (is_file || !source_is_pkcs11(source->key) || !has_p11_kit(holder))
		r = source_open(source, &ret->key, error, ERROR_TEXT);
	else
		r = open_token(holder, source, ret, error);
	if (r == 0 && !is_file)
		ret->uri = xalloc_string(source->key);
	if (r == 0 && scheme_key_problem(ret->key, problem, sizeof(problem))) {
		snprintf(error, ERROR_TEXT, "%s", problem);
		r = -EINVAL;
	}
	return r;
}

static const char *last_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return reason ? reason : "no reason given";
}

static int sign(const struct held *held, const struct scheme *scheme, const uint8_t *tbs,
		size_t tbs_len, uint8_t *signature, size_t *len, char error[static ERROR_TEXT])
{
	if (held->token)
		return token_sign(held->token, scheme, tbs, tbs_len, signature, len, error,
				  ERROR_TEXT);
	if (scheme_sign(scheme, held->key, tbs, tbs_len, signature, len) == 0)
		return 0;
	snprintf(error, ERROR_TEXT, "the key does not sign (scheme 0x%04x): %s", scheme->id,
		 last_reason());
	return -EIO;
}

/* The public half alone, in OpenSSL's own hands: what a token signs, it shall not judge. */
static EVP_PKEY *copy_public(EVP_PKEY *key)
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(key, &der);
	const unsigned char *at = der;
	EVP_PKEY *public = len > 0 ? d2i_PUBKEY_ex(NULL, &at, len, NULL, "provider=default") : NULL;

	OPENSSL_free(der);
	return public;
}

static int try_scheme(const struct held *held, const struct scheme *scheme, EVP_PKEY *public,
		      char error[static ERROR_TEXT])
{
	static const uint8_t message[64];
	uint8_t signature[KEY_MSG_SIGNATURE_MAX];
	size_t len = sizeof(signature);
	int r = sign(held, scheme, message, sizeof(message), signature, &len, error);

	if (r < 0 || scheme_verify(scheme, public, message, sizeof(message), signature, len))
		return r;
	snprintf(error, ERROR_TEXT, "what the key signs is not what TLS 1.3 wants (%s)%s",
		 scheme->name,
		 scheme->is_pss ? ": a salt of another length, as some TPMs make; use a key on "
				  "P-256"
				: "; the public half belongs to another key");
	return -EIO;
}

/* Proves that the key signs, and makes OpenSSL load and seed all that this needs: there are no
 * files and no new modules later. The signatures go nowhere. */
static int try_key(const struct held *held, char error[static ERROR_TEXT])
{
	EVP_PKEY *public = copy_public(held->key);
	int r = 0;

	for (const struct scheme *scheme = scheme_next(NULL, held->key); r == 0 && scheme;
	     scheme = scheme_next(scheme, held->key))
		r = try_scheme(held, scheme, public, error);
	EVP_PKEY_free(public);
	return r;
}

static int open_and_try(struct holder *holder, const struct source *source, struct held *ret,
			char error[static ERROR_TEXT])
{
	int r = open_key(holder, source, ret, error);

	if (r < 0)
		return r;
	r = try_key(ret, error);
	if (r < 0 && ret->uri && !ret->token)
		explain_provider(source, error);
	return r;
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

/* A file's key needs nothing any more; a token's needs its descriptors, and some their files. */
static int load_sandbox(const struct holder *holder, char error[static ERROR_TEXT])
{
	const char *directory = holder->options->token_directory;
	int r;

	if (!holder->current.uri || !directory)
		return sandbox_load(holder->current.uri ? SANDBOX_TOKEN : SANDBOX_KEYS);
	r = landlock_only(directory);
	if (r < 0)
		snprintf(error, ERROR_TEXT, "identity.token-directory %s: %s", directory,
			 r == -EOPNOTSUPP ? "this kernel cannot keep a process to a directory "
					    "(Landlock, Linux 5.13); use a token that needs none"
					  : strerror(-r));
	return r < 0 ? r : sandbox_load(SANDBOX_TOKEN_FILES);
}

static int close_in(const struct holder *holder, char error[static ERROR_TEXT])
{
	const struct holder_options *options = holder->options;
	int r;

	lock_memory();
	error[0] = '\0';
	r = privs_drop_all(options->uid, options->gid);
	if (r == 0)
		r = child_die_with_parent();
	if (r == 0)
		r = load_sandbox(holder, error);
	if (r < 0 && !error[0])
		snprintf(error, ERROR_TEXT, "the key holder cannot drop its privileges: %s",
			 strerror(-r));
	return r;
}

/* A token's module may have needed more than it can have from here on. */
static int try_closed_in(const struct holder *holder, char error[static ERROR_TEXT])
{
	int r = holder->current.uri ? try_key(&holder->current, error) : 0;
	_cleanup_free_ char *why = r < 0 ? xalloc_string(error) : NULL;

	if (r == 0)
		return 0;
	snprintf(error, ERROR_TEXT,
		 "%s: the token signs, but no more once the key holder is closed in as uid %u: a "
		 "token that is made of files needs its directory, named as "
		 "identity.token-directory and belonging to daemon.user",
		 why, (unsigned)holder->options->uid);
	return r;
}

static int send_report(int report, uint8_t kind, uint32_t generation, const void *bytes, size_t len)
{
	struct buf packet = {.limit = REPORT_MAX};
	int r;

	buf_u8(&packet, kind);
	buf_u32(&packet, generation);
	buf_append(&packet, bytes, len);
	r = packet.failed ? -EMSGSIZE : child_send(report, packet.data, packet.len, NULL, 0);
	buf_done(&packet);
	return r;
}

static int report_public(int report, const struct held *held, char error[static ERROR_TEXT])
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(held->key, &der);
	int r = len > 0 ? send_report(report, REPORT_SPKI, held->last, der, (size_t)len) : -EIO;

	if (r < 0)
		snprintf(error, ERROR_TEXT, "the public half of the key cannot be told: %s",
			 strerror(-r));
	OPENSSL_free(der);
	return r;
}

static bool is_of(const struct held *held, uint32_t generation)
{
	return held->key && generation >= held->first && generation <= held->last;
}

static const struct held *find_key(const struct holder *holder, uint32_t generation)
{
	if (is_of(&holder->candidate, generation))
		return &holder->candidate;
	if (is_of(&holder->current, generation))
		return &holder->current;
	for (size_t i = 0; i < PREVIOUS_MAX; i++) {
		if (is_of(&holder->previous[i], generation))
			return &holder->previous[i];
	}
	return NULL;
}

/* USE_REFUSALS: it may be signed. */
static enum use_refusal judge(const struct holder *holder, const struct key_msg_request *request,
			      const struct scheme *scheme, const struct held *held)
{
	enum key_msg_role ours = holder->options->is_client ? KEY_MSG_CLIENT : KEY_MSG_SERVER;
	enum key_msg_role signer = key_msg_signer(request->tbs, request->tbs_len);

	if (signer == KEY_MSG_NOBODY)
		return USE_NO_TLS;
	if (signer != ours)
		return USE_OTHER_ROLE;
	if (!held)
		return USE_REPLACED;
	return scheme && scheme_fits(scheme, held->key) ? USE_REFUSALS : USE_SCHEME;
}

static void warn_of_refusal(struct holder *holder, enum use_refusal refusal, const char *why)
{
	static const char *const texts[USE_REFUSALS] = {
		[USE_MALFORMED] = "what is no request for a signature",
		[USE_NO_TLS] = "what is no CertificateVerify of TLS 1.3",
		[USE_OTHER_ROLE] = "a CertificateVerify of the other role than ours",
		[USE_SCHEME] = "with a scheme that is not this key's",
		[USE_REPLACED] = "with a key that has been replaced",
	};

	if (!rate_allow(&holder->warnings, WARNINGS_PER_SECOND, clock_now_us()))
		return;
	if (refusal == USE_FAILED)
		log_warn("no signature: %s", why);
	else
		log_warn("refused to sign %s", texts[refusal]);
}

static void count_use(_Atomic uint64_t *count)
{
	atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

/* The errno that the one who asked is told. */
static uint16_t refuse(struct holder *holder, enum use_refusal refusal, const char *why)
{
	static const uint16_t errors[USE_REFUSALS] = {
		[USE_MALFORMED] = EBADMSG, [USE_NO_TLS] = EPERM,    [USE_OTHER_ROLE] = EPERM,
		[USE_SCHEME] = EPERM,	   [USE_REPLACED] = ENOKEY, [USE_FAILED] = EIO,
	};

	if (holder->options->use)
		count_use(&holder->options->use->refused[refusal]);
	warn_of_refusal(holder, refusal, why);
	return errors[refusal];
}

/* 0, or why it may not be signed, or was not. */
static uint16_t sign_request(struct holder *holder, const struct key_msg_request *request,
			     uint8_t signature[static KEY_MSG_SIGNATURE_MAX], size_t *ret_len)
{
	const struct scheme *scheme = scheme_find(request->scheme);
	const struct held *held = find_key(holder, request->generation);
	enum use_refusal refusal = judge(holder, request, scheme, held);
	size_t len = KEY_MSG_SIGNATURE_MAX;
	char why[ERROR_TEXT];

	if (refusal != USE_REFUSALS)
		return refuse(holder, refusal, NULL);
	if (sign(held, scheme, request->tbs, request->tbs_len, signature, &len, why) < 0)
		return refuse(holder, USE_FAILED, why);
	if (holder->options->use)
		count_use(&holder->options->use->signatures[scheme_index(scheme)]);
	*ret_len = len;
	return 0;
}

static void answer_packet(struct holder *holder, int socket, const uint8_t *packet, size_t len)
{
	uint8_t signature[KEY_MSG_SIGNATURE_MAX], answer[KEY_MSG_MAX];
	struct key_msg_reply reply = {.signature = signature};
	struct key_msg_request request;

	if (len <= KEY_MSG_MAX && key_msg_request_read(packet, len, &request)) {
		reply.id = request.id;
		reply.error = sign_request(holder, &request, signature, &reply.signature_len);
	} else {
		reply.error = refuse(holder, USE_MALFORMED, NULL);
	}
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

/* ---- further keys ---- */

static void wipe_text(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(take(*text));
}

static void drop_key(struct held *held)
{
	EVP_PKEY_free(held->key);
	token_free(held->token);
	wipe_text(&held->uri);
	*held = (struct held){0};
}

/* The key of the same URI is taken on as it is, without a login that could fail. */
static bool take_on(const struct holder *holder, const char *uri, struct held *held)
{
	const struct held *current = &holder->current;

	if (!current->uri || strcmp(uri, current->uri) != 0)
		return false;
	EVP_PKEY_up_ref(current->key);
	held->key = current->key;
	held->token = current->token ? token_ref(current->token) : NULL;
	held->uri = xalloc_string(uri);
	return true;
}

static int load_key(struct holder *holder, const struct holder_load *load, struct held *held,
		    char error[static ERROR_TEXT])
{
	const struct source source = {
		.key = load->key,
		.passphrase_file = load->passphrase_file,
		.is_passed = true,
		.key_fd = load->key_fd,
		.passphrase_fd = load->passphrase_fd,
	};
	int r;

	if (load->key_fd < 0 && !holder->has_token) {
		snprintf(error, ERROR_TEXT,
			 "a token is reached from the start alone, and this one began with a key "
			 "in a file; restart tund");
		return -EOPNOTSUPP;
	}
	if (load->key_fd < 0 && load->key && take_on(holder, load->key, held))
		return 0;
	r = open_and_try(holder, &source, held, error);
	wipe_freed_blocks();
	return r;
}

static void take_load(struct holder *holder, int report, const struct holder_load *load)
{
	char error[ERROR_TEXT];
	struct held held = {.first = load->generation, .last = load->generation};
	int r = -EINVAL;

	drop_key(&holder->candidate);
	if (load->generation <= holder->current.last)
		snprintf(error, sizeof(error), "generation %u is not a new one", load->generation);
	else
		r = load_key(holder, load, &held, error);
	if (r == 0)
		r = report_public(report, &held, error);
	ERR_clear_error();
	if (r == 0) {
		holder->candidate = held;
		return;
	}
	drop_key(&held);
	send_report(report, REPORT_ERROR, load->generation, error, strlen(error));
}

static void replace_current(struct holder *holder)
{
	struct held *previous = holder->previous;

	drop_key(&previous[PREVIOUS_MAX - 1]);
	memmove(previous + 1, previous, (PREVIOUS_MAX - 1) * sizeof(*previous));
	previous[0] = holder->current;
	previous[0].until_us = clock_now_us() + PREVIOUS_US;
}

static void adopt(struct holder *holder, uint32_t generation)
{
	struct held *candidate = &holder->candidate;

	if (!candidate->key || candidate->last != generation)
		return;
	/* Who began under an earlier generation of the same key need not be let down. */
	if (EVP_PKEY_eq(candidate->key, holder->current.key) == 1) {
		candidate->first = holder->current.first;
		drop_key(&holder->current);
	} else {
		replace_current(holder);
	}
	holder->current = *candidate;
	*candidate = (struct held){0};
	/* What was freed is wiped, but not where glibc keeps it at hand. */
	wipe_freed_blocks();
}

/* How long until there is one more to drop, in ms; -1: there is none. */
static int drop_previous(struct holder *holder)
{
	int64_t now_us = clock_now_us();
	int wait_ms = -1;

	/* The latest has the longest to go. */
	for (size_t i = PREVIOUS_MAX; i-- > 0;) {
		struct held *previous = &holder->previous[i];

		if (previous->key && previous->until_us <= now_us)
			drop_key(previous);
		else if (previous->key && wait_ms < 0)
			wait_ms = (int)((previous->until_us - now_us) / CLOCK_MS_US) + 1;
	}
	return wait_ms;
}

static const char *read_name(struct span *span, unsigned flags, unsigned flag,
			     char name[static PATH_MAX_BYTES])
{
	if (!(flags & flag))
		return NULL;
	span_string(span, name, PATH_MAX_BYTES);
	return name;
}

static void read_load(struct holder *holder, int report, uint32_t generation, struct span *span,
		      const int *fds, size_t fd_count)
{
	char key[PATH_MAX_BYTES], passphrase[PATH_MAX_BYTES];
	struct holder_load load = {.generation = generation, .key_fd = -1, .passphrase_fd = -1};
	unsigned flags = span_u8(span);
	size_t used = 0;

	load.key = read_name(span, flags, HAS_KEY, key);
	load.passphrase_file = read_name(span, flags, HAS_PASSPHRASE, passphrase);
	if ((flags & HAS_KEY_FD) && used < fd_count)
		load.key_fd = fds[used++];
	if ((flags & HAS_PASSPHRASE_FD) && used < fd_count)
		load.passphrase_fd = fds[used++];
	if (!span->failed)
		take_load(holder, report, &load);
}

static void read_order(struct holder *holder, int report, struct span *span, const int *fds,
		       size_t fd_count)
{
	uint8_t order = span_u8(span);
	uint32_t generation = span_u32(span);

	if (order == ORDER_LOAD)
		read_load(holder, report, generation, span, fds, fd_count);
	if (order == ORDER_ADOPT && !span->failed) {
		adopt(holder, generation);
		log_set_level(span_u8(span));
	}
}

/* False at the parent's end. */
static bool serve_parent(struct holder *holder, int report)
{
	uint8_t packet[ORDER_MAX];
	int fds[2] = {-1, -1};
	size_t fd_count = 2;
	ssize_t len = child_receive(report, packet, sizeof(packet), fds, &fd_count);
	struct span span = {.data = packet, .len = len > 0 ? (size_t)len : 0};

	if (len <= 0)
		return len == -EAGAIN || len == -EINTR || len == -EMSGSIZE;
	read_order(holder, report, &span, fds, fd_count);
	for (size_t i = 0; i < fd_count; i++)
		cleanup_close(&fds[i]);
	return true;
}

static void serve_until_end(struct holder *holder)
{
	struct pollfd *report = &holder->fds[holder->socket_count];

	for (;;) {
		if (poll(holder->fds, holder->socket_count + 1, drop_previous(holder)) < 0)
			continue;
		if (report->revents && !serve_parent(holder, report->fd))
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

static int open_first(struct holder *holder, struct holder_options *options,
		      char error[static ERROR_TEXT])
{
	const struct source source = {
		.key = options->key,
		.pem = options->pem,
		.passphrase_file = options->passphrase_file,
		.allow_insecure_key = options->allow_insecure_key,
		.key_fd = -1,
		.passphrase_fd = -1,
	};
	int r = open_and_try(holder, &source, &holder->current, error);

	wipe_text(&options->pem);
	holder->has_token = holder->current.uri != NULL;
	wipe_freed_blocks();
	if (r == 0)
		r = close_in(holder, error);
	if (r == 0)
		r = try_closed_in(holder, error);
	return r == 0 ? report_public(options->report, &holder->current, error) : r;
}

int holder_run(struct holder_options *options)
{
	struct holder holder = {.options = options};
	char error[ERROR_TEXT];
	int r;

	mallopt(M_PERTURB, FREED_BYTE);
	CRYPTO_secure_malloc_init(SECURE_HEAP_BYTES, SECURE_HEAP_UNIT);
	r = open_first(&holder, options, error);
	ERR_clear_error();
	if (r < 0) {
		send_report(options->report, REPORT_ERROR, 0, error, strlen(error));
	} else {
		watch_sockets(&holder, options);
		serve_until_end(&holder);
	}
	drop_key(&holder.candidate);
	for (size_t i = 0; i < PREVIOUS_MAX; i++)
		drop_key(&holder.previous[i]);
	drop_key(&holder.current);
	free(holder.fds);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- in the parent ---- */

static int read_report(const uint8_t *packet, size_t len, uint32_t *ret_generation,
		       struct buf *ret_spki, char *error, size_t size)
{
	struct span span = {packet, len, false};
	uint8_t kind = span_u8(&span);

	*ret_generation = span_u32(&span);
	if (kind == REPORT_SPKI && !span.failed && span.len > 0) {
		*ret_spki = (struct buf){0};
		buf_append(ret_spki, span.data, span.len);
		return 0;
	}
	snprintf(error, size, "%.*s", (int)span.len, (const char *)span.data);
	return -EKEYREJECTED;
}

static int end_of_holder(ssize_t len, char *error, size_t size)
{
	snprintf(error, size, "the key holder ended before it opened the key");
	return len < 0 ? (int)len : -EPIPE;
}

int holder_take_report(int report, uint32_t *ret_generation, struct buf *ret_spki, char *error,
		       size_t size)
{
	uint8_t packet[REPORT_MAX];
	ssize_t len = child_receive(report, packet, sizeof(packet), NULL, NULL);

	if (len == -EAGAIN)
		return -EAGAIN;
	return len <= 0 ? end_of_holder(len, error, size)
			: read_report(packet, (size_t)len, ret_generation, ret_spki, error, size);
}

int holder_load(int report, const struct holder_load *load)
{
	unsigned flags = (load->key ? HAS_KEY : 0) | (load->passphrase_file ? HAS_PASSPHRASE : 0) |
			 (load->key_fd >= 0 ? HAS_KEY_FD : 0) |
			 (load->passphrase_fd >= 0 ? HAS_PASSPHRASE_FD : 0);
	struct buf packet = {.limit = ORDER_MAX};
	int fds[2], r;
	size_t fd_count = 0;

	if (load->key_fd >= 0)
		fds[fd_count++] = load->key_fd;
	if (load->passphrase_fd >= 0)
		fds[fd_count++] = load->passphrase_fd;
	buf_u8(&packet, ORDER_LOAD);
	buf_u32(&packet, load->generation);
	buf_u8(&packet, (uint8_t)flags);
	if (load->key)
		buf_string(&packet, load->key);
	if (load->passphrase_file)
		buf_string(&packet, load->passphrase_file);
	r = packet.failed ? -ENAMETOOLONG
			  : child_send(report, packet.data, packet.len, fds, fd_count);
	buf_done(&packet);
	return r;
}

int holder_adopt(int report, uint32_t generation, enum log_level level)
{
	struct buf packet = {.limit = ORDER_MAX};
	int r;

	buf_u8(&packet, ORDER_ADOPT);
	buf_u32(&packet, generation);
	buf_u8(&packet, (uint8_t)level);
	r = child_send(report, packet.data, packet.len, NULL, 0);
	buf_done(&packet);
	return r;
}

int holder_wait(int report, int timeout_ms, struct buf *ret_spki, char *error, size_t size)
{
	struct pollfd poll_fd = {.fd = report, .events = POLLIN};
	int64_t deadline_us = clock_now_us() + timeout_ms * CLOCK_MS_US;
	uint32_t generation;
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
	return holder_take_report(report, &generation, ret_spki, error, size);
}
