#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"

int file_read(const char *path, struct buf *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		uint8_t *room = buf_reserve(ret, 4096);
		ssize_t n = room ? read(fd, room, 4096) : 0;

		if (!room)
			return -EFBIG;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		ret->len += n > 0 ? (size_t)n : 0;
	}
}
