#pragma once
/* The fetch process: looks up names for the other processes, which may open neither files nor
 * sockets. It holds no secret; what it answers is not believed, only tried. */

#include <sys/types.h>

/* In the child, after fork: drops to uid and gid, sandboxes, then answers one request after another
 * (wire/fetch_msg) until EOF on socket. An address literal is answered as it is. The exit status.
 */
int fetch_run(int socket, uid_t uid, gid_t gid);
