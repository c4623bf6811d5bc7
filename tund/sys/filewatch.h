#pragma once
/* Which of some files may hold something else than before (inotify(7)). A name is watched through
 * its directory, as most who replace a file rename another one over it; symbolic links are watched
 * all along the way, as one above the file may be what is replaced (that is how Kubernetes does it).
 * Of a directory that is named, every entry counts. */

#include <stdbool.h>
#include <stddef.h>

struct filewatch;

struct filewatch *filewatch_new(void); /* NULL with errno: the kernel gives no more of them */
void filewatch_free(struct filewatch *watch);
int filewatch_fd(const struct filewatch *watch); /* readable when there is something to take */
/* Absolute paths, in place of what was watched. Where one leads nowhere, what is there of the way is
 * watched. Again after every change: the ways may be others now. */
void filewatch_set(struct filewatch *watch, char *const *paths, size_t count);
/* Whether a path may hold something else since the last call. Never waits. */
bool filewatch_take(struct filewatch *watch);
