#pragma once
/* Files that an operator names. */

#include "base/buf.h"

/* All of it, appended. 0 or -errno; -EFBIG past the buffer's limit. */
int file_read(const char *path, struct buf *ret);
