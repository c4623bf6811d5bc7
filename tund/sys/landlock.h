#pragma once
/* Which files a process may still open (Landlock, Linux 5.13 and later). */

/* From now on this process and what it starts open, make and remove files below this directory only,
 * and nothing anywhere else. Needs no-new-privileges or root. 0, or -errno: -EOPNOTSUPP where the
 * kernel has no Landlock, or not switched on. */
int landlock_only(const char *directory);
