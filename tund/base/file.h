#pragma once
/* Files that must belong to whom they should, and be what they should, before a byte is read. */

#include <sys/stat.h>

/* Opens to read, without waiting for anybody (a FIFO would). The descriptor, or -errno. *ret says
 * whose it is and what: also when it is just that which keeps us out, as it does root without its
 * privileges, so that the caller can name it. Where nothing is known, st_mode is 0. */
int file_open(const char *path, struct stat *ret);
