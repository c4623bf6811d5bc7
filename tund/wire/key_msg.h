#pragma once
/* Between a thread that shakes hands and the key holder, over SOCK_SEQPACKET: one message is one
 * packet. The request carries the whole message that is to be signed, never a digest, so that the
 * key holder can refuse whatever is not a TLS 1.3 CertificateVerify (RFC 8446 section 4.4.3). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	KEY_MSG_TBS_MAX = 64 + 33 + 1 + 64, /* padding, context string, zero, SHA-512 at most */
	KEY_MSG_SIGNATURE_MAX = 1024,
	KEY_MSG_MAX = 2048,
};

struct key_msg_request {
	uint64_t id; /* the asker's choice; the reply repeats it, so that one that comes too late is
			known */
	uint32_t generation; /* of the key: 0 the first, one more with each reload */
	uint16_t scheme;     /* TLS SignatureScheme, e.g. 0x0403 ecdsa_secp256r1_sha256 */
	const uint8_t *tbs;  /* borrowed from the packet */
	size_t tbs_len;
};

struct key_msg_reply {
	uint64_t id;
	uint16_t error; /* 0, or an errno: EPERM what may not be signed, EIO the token failed,
			 * ENOKEY no key of this generation (any more), EBADMSG no request at all
			 * (id is then 0) */
	const uint8_t *signature;
	size_t signature_len;
};

/* Both return the packet's length, 0 when it does not fit. A reply has a signature or an error. */
size_t key_msg_request_write(const struct key_msg_request *request,
			     uint8_t packet[static KEY_MSG_MAX]);
size_t key_msg_reply_write(const struct key_msg_reply *reply, uint8_t packet[static KEY_MSG_MAX]);
bool key_msg_request_read(const uint8_t *packet, size_t len, struct key_msg_request *ret);
bool key_msg_reply_read(const uint8_t *packet, size_t len, struct key_msg_reply *ret);

/* Whose CertificateVerify tbs is, that is 64 spaces, the role's context string, a zero byte, and a
 * transcript hash of 32 or 48 bytes; KEY_MSG_NOBODY where it is none. */
enum key_msg_role { KEY_MSG_NOBODY, KEY_MSG_SERVER, KEY_MSG_CLIENT };
enum key_msg_role key_msg_signer(const uint8_t *tbs, size_t len);
