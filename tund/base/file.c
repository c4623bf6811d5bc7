#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"

int file_open(const char *path, struct stat *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int error = fd < 0 ? errno : 0;

	*ret = (struct stat){0};
	if (error == EACCES && stat(path, ret) < 0)
		*ret = (struct stat){0};
	if (error == 0 && fstat(fd, ret) < 0)
		error = errno;
	return error ? -error : cleanup_take_fd(&fd);
}
