/* key/holder: what the parent reads of a key holder, which has had an operator's files in its
 * hands. */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "key/holder.h"

enum { HEAD = 5 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_report(int socket, const uint8_t *data, size_t size)
{
	struct buf spki = {0};
	uint32_t generation = 0;
	char error[200] = "";
	int r = holder_take_report(socket, &generation, &spki, error, sizeof(error));

	if (r == 0) {
		assert(size > HEAD && spki.len == size - HEAD);
		assert(memcmp(spki.data, data + HEAD, spki.len) == 0);
	} else {
		assert(r < 0 && spki.len == 0 && memchr(error, 0, sizeof(error)));
		assert(error[0] || r == -EKEYREJECTED);
	}
	if (size >= HEAD)
		assert(generation == ((uint32_t)data[1] << 24 | (uint32_t)data[2] << 16 |
				      (uint32_t)data[3] << 8 | data[4]) ||
		       r == -EMSGSIZE);
	buf_done(&spki);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int pair[2];

	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	if (size > 0 && send(pair[0], data, size, 0) == (ssize_t)size)
		check_report(pair[1], data, size);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
