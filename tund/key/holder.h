#pragma once
/* The key holder: a process that holds the private key and signs TLS 1.3 handshakes, nothing else.
 * It opens the key itself, reports the public half once, then keeps no file and no network. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

struct holder_options {
	const char *key; /* path or store URI; NULL when pem is given */
	char *pem;	 /* taken, wiped and freed: the key that stood in the configuration */
	const char *passphrase_file; /* NULL: none */
	uid_t uid;		     /* what it becomes once the key is open */
	gid_t gid;
	const int *sockets; /* one SOCK_SEQPACKET each for a thread that signs */
	size_t socket_count;
	int report; /* the public half or an error goes here once, then it is kept as the parent's
		     * end: EOF ends the process */
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
