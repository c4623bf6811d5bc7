#pragma once
/* The key holder: a process that holds the private key and signs TLS 1.3 handshakes, nothing else.
 * It opens the key itself, reports the public half, then keeps no file and no network.
 *
 * A reload brings a further key by descriptor, under a generation of its own: 0 is the first key's,
 * each loaded one's is higher. What is loaded is signed with at once, and dropped by the next that
 * is loaded unless it was adopted. What was in force before, a few keys at most, is kept for five
 * minutes, for handshakes under way; a key that is the same as before serves under all its
 * generations.
 *
 * A holder that began with a token keeps its session, and what its module needs afterwards, so it
 * can open further keys of the token, and files' keys. One that began with a file has no way to a
 * token any more: that needs a restart. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/log.h"
#include "key/use.h"

struct holder_options {
	const char *key; /* path or store URI; NULL when pem is given */
	char *pem;	 /* taken, wiped and freed: the key that stood in the configuration */
	const char *passphrase_file; /* NULL: none */
	const char *token_directory; /* NULL: none; what a token's module may open later on */
	bool is_client;	 /* signs as one, and never as a gateway; else the other way round */
	struct use *use; /* what it counts in; NULL: nowhere */
	uid_t uid;	 /* what it becomes once the key is open */
	gid_t gid;
	const int *sockets; /* one SOCK_SEQPACKET each for a thread that signs */
	size_t socket_count;
	int report; /* the parent's: the public half or an error goes here, for the first key and
		     * for each that is loaded; EOF ends the process */
	bool allow_insecure_key; /* never set outside unit tests: skip the owner and mode check */
};

/* In the child, after fork: opens the key and tries it, drops, sandboxes, reports, signs until EOF
 * of the report. The exit status. A key file (and a passphrase file) must belong to root or the
 * caller's euid, and be closed to group and others. */
int holder_run(struct holder_options *options);

/* In the parent: waits at most timeout_ms for the report. 0 and the SubjectPublicKeyInfo (DER) in
 * ret_spki, which the caller frees with buf_done, or -errno with the reason in error, one line:
 * -EKEYREJECTED what the holder said, -ETIMEDOUT, -EPIPE it ended without a word. */
int holder_wait(int report, int timeout_ms, struct buf *ret_spki, char *error, size_t size);

/* In the parent, all without waiting: 0 or -errno. */

struct holder_load {
	uint32_t generation;
	const char *key;	     /* as in holder_options; NULL: it stood in the configuration */
	const char *passphrase_file; /* NULL: none */
	/* Opened and looked at (source_pass), at their start; borrowed. key_fd -1: a token's key. */
	int key_fd, passphrase_fd;
};

/* Its report follows, once. */
int holder_load(int report, const struct holder_load *load);
/* What was loaded under this generation is in force, and this the least that is logged. */
int holder_adopt(int report, uint32_t generation, enum log_level level);
/* After holder_load, when the report is readable: as holder_wait, and the generation. -EAGAIN:
 * nothing yet. */
int holder_take_report(int report, uint32_t *ret_generation, struct buf *ret_spki, char *error,
		       size_t size);
