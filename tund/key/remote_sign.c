#include "key/remote_sign.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <openssl/rsa.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "key/remote_key.h"
#include "key/scheme.h"
#include "wire/key_msg.h"

enum { TIMEOUT_MS = 5000 };

#define ENTRY(id, function)                                                                        \
	{                                                                                          \
		(id), (void (*)(void))(function)                                                   \
	}

struct signing {
	const struct remote_key *key; /* borrowed: OpenSSL holds it as long as us */
	const struct scheme *scheme;  /* NULL until digest_sign_init */
	int padding;
	bool is_salt_digest;
};

static void *new_signing(void *provider, const char *properties)
{
	(void)provider;
	(void)properties;
	return xnew(struct signing);
}

static void free_signing(void *signing)
{
	free(signing);
}

static bool read_padding(const OSSL_PARAM *param, int *ret)
{
	const char *word;

	if (param->data_type == OSSL_PARAM_INTEGER)
		return OSSL_PARAM_get_int(param, ret);
	if (!OSSL_PARAM_get_utf8_string_ptr(param, &word))
		return false;
	*ret = strcmp(word, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0 ? RSA_PKCS1_PSS_PADDING : 0;
	return true;
}

static bool read_salt(const OSSL_PARAM *param, bool *ret_is_digest)
{
	const char *word;
	int len;

	if (OSSL_PARAM_get_utf8_string_ptr(param, &word))
		*ret_is_digest = strcmp(word, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0;
	else if (OSSL_PARAM_get_int(param, &len))
		*ret_is_digest = len == RSA_PSS_SALTLEN_DIGEST;
	else
		return false;
	return true;
}

static int set_params(void *context, const OSSL_PARAM params[])
{
	const OSSL_PARAM *padding = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
	const OSSL_PARAM *salt = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
	struct signing *signing = context;

	if (padding && !read_padding(padding, &signing->padding))
		return 0;
	if (salt && !read_salt(salt, &signing->is_salt_digest))
		return 0;
	return 1;
}

static const OSSL_PARAM *settable_params(void *context, void *provider)
{
	static const OSSL_PARAM types[] = {
		OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)context;
	(void)provider;
	return types;
}

static int init_signing(void *context, const char *digest, void *keydata, const OSSL_PARAM params[])
{
	struct signing *signing = context;

	if (keydata)
		signing->key = keydata;
	if (!signing->key)
		return 0;
	signing->scheme = scheme_of_key(signing->key->public, digest);
	if (!signing->scheme)
		return 0;
	return params ? set_params(signing, params) : 1;
}

/* One reply, at most until deadline. The packet's length or -errno. */
static ssize_t await_packet(int socket, int64_t deadline_us, uint8_t packet[static KEY_MSG_MAX])
{
	struct pollfd poll_fd = {.fd = socket, .events = POLLIN};
	ssize_t len;

	for (;;) {
		int64_t left_us = deadline_us - clock_now_us();
		int n = left_us > 0 ? poll(&poll_fd, 1, (int)(left_us / CLOCK_MS_US) + 1) : 0;

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ETIMEDOUT;
		if (n > 0)
			break;
	}
	len = recv(socket, packet, KEY_MSG_MAX, MSG_DONTWAIT);
	if (len < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return len == 0 ? -EPIPE : len;
}

/* A reply to an earlier request that was given up (its id differs) may still be under way. */
static int await_reply(int socket, uint64_t id, uint8_t packet[static KEY_MSG_MAX],
		       struct key_msg_reply *ret)
{
	int64_t deadline_us = clock_now_us() + TIMEOUT_MS * CLOCK_MS_US;

	for (;;) {
		ssize_t len = await_packet(socket, deadline_us, packet);

		if (len < 0)
			return (int)len;
		if (len == 0)
			continue;
		if (!key_msg_reply_read(packet, (size_t)len, ret))
			return -EBADMSG;
		if (ret->id == id)
			return ret->error ? -(int)ret->error : 0;
	}
}

static int ask_holder(const struct signing *signing, const uint8_t *tbs, size_t tbs_len,
		      uint8_t packet[static KEY_MSG_MAX], struct key_msg_reply *ret)
{
	const struct key_msg_request request = {
		.id = (uint64_t)clock_now_us(),
		.generation = signing->key->generation,
		.scheme = signing->scheme->id,
		.tbs = tbs,
		.tbs_len = tbs_len,
	};
	size_t len = key_msg_request_write(&request, packet);
	ssize_t sent;

	if (len == 0)
		return -EMSGSIZE;
	sent = send(signing->key->socket, packet, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return -errno;
	return await_reply(signing->key->socket, request.id, packet, ret);
}

static int sign(void *context, unsigned char *signature, size_t *len, size_t size,
		const unsigned char *tbs, size_t tbs_len)
{
	const struct signing *signing = context;
	uint8_t packet[KEY_MSG_MAX];
	struct key_msg_reply reply;
	int r;

	if (!signing->scheme)
		return 0;
	if (signing->scheme->is_pss &&
	    (signing->padding != RSA_PKCS1_PSS_PADDING || !signing->is_salt_digest))
		return 0;
	if (!signature) {
		*len = (size_t)EVP_PKEY_get_size(signing->key->public);
		return 1;
	}
	r = ask_holder(signing, tbs, tbs_len, packet, &reply);
	if (r < 0) {
		/* Not as an error of the system: SSL_get_error would take it for the connection's.
		 */
		ERR_raise_data(ERR_LIB_PROV, PROV_R_FAILED_TO_SIGN, "the key holder: %s",
			       strerror(-r));
		return 0;
	}
	if (reply.signature_len > size)
		return 0;
	memcpy(signature, reply.signature, reply.signature_len);
	*len = reply.signature_len;
	return 1;
}

const OSSL_DISPATCH remote_sign_functions[] = {
	ENTRY(OSSL_FUNC_SIGNATURE_NEWCTX, new_signing),
	ENTRY(OSSL_FUNC_SIGNATURE_FREECTX, free_signing),
	ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, init_signing),
	ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, sign),
	ENTRY(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, set_params),
	ENTRY(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, settable_params),
	{0, NULL},
};
