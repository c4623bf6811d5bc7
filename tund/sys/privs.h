#pragma once
/* What a process may: user, groups, capabilities (libcap-ng), dumpability. */

#include <stdbool.h>
#include <sys/types.h>

/* Unprivileged for good: groups dropped, uid and gid set, every capability set (effective,
 * permitted, inheritable, bounding, ambient) empty, no new privileges, not dumpable, no core. Also
 * in a user namespace or as an ordinary user, where what cannot be dropped was never held. 0 or
 * -errno. */
int privs_drop_all(uid_t uid, gid_t gid);
/* The parent: uid 0 with CAP_NET_ADMIN and CAP_KILL alone in effective, permitted and bounding; no
 * new privileges; not dumpable. From then on it cannot change uid: children are started before. */
int privs_keep_parent(void);

/* 0, or -ENOENT where there is no such user or group. */
int privs_find_user(const char *name, uid_t *ret_uid, gid_t *ret_gid);
int privs_find_group(const char *name, gid_t *ret_gid);
