#pragma once
/* The engine process: unprivileged, where everything that a peer's bytes can reach happens. */

#include "parent.h"

/* In the child; socket: to the parent. The exit status. */
int engine_run(int socket, void *kit);
