#pragma once
/* Scope-bound ownership: _cleanup_(f) runs f(&variable) when the variable goes out of scope, and
 * take() hands the pointer on, leaving NULL behind. */

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

#define take(variable)                                                                             \
	({                                                                                         \
		__auto_type taken_ = (variable);                                                   \
		(variable) = NULL;                                                                 \
		taken_;                                                                            \
	})

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

/* Closes *fd when it is open and marks it closed. */
static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The descriptor's number; the variable no longer owns it. */
static inline int cleanup_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define _cleanup_free_	_cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
