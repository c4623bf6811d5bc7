#include "sys/privs.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cap-ng.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum { ENTRY_BYTES = 1024 * 1024 }; /* a group with very many members */

#define PARENT_SETS (CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET)

/* Empties libcap-ng's idea of the sets; the process's own change with capng_apply. The answer says
 * whether the bounding set can be narrowed at all: an ordinary user cannot, and needs not, as
 * no_new_privs keeps it from ever gaining what stands there. */
static int begin_sets(bool *ret_can_bound)
{
	if (capng_get_caps_process())
		return -EIO;
	*ret_can_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_ALL);
	return 0;
}

static int apply_sets(capng_select_t sets)
{
	errno = 0;
	if (capng_apply(sets))
		return errno ? -errno : -EPERM;
	return 0;
}

/* After the last change of uid and capabilities: the kernel resets dumpability at each. */
static int close_process(void)
{
	const struct rlimit none = {0, 0};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	if (setrlimit(RLIMIT_CORE, &none))
		return -errno;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return -errno;
	return 0;
}

/* Who stays who it is may be unable to drop its groups (an ordinary user, a user namespace without
 * setgroups); whoever becomes another must. */
static int drop_groups(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) == 0)
		return 0;
	if (errno == EPERM && uid == geteuid() && gid == getegid())
		return 0;
	return -errno;
}

static int change_user(uid_t uid, gid_t gid)
{
	int r = drop_groups(uid, gid);

	if (r < 0)
		return r;
	if (setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return -errno;
	return 0;
}

int privs_drop_all(uid_t uid, gid_t gid)
{
	bool can_bound;
	int r = begin_sets(&can_bound);

	/* Bounding first: it needs CAP_SETPCAP, which does not outlive the change of uid. */
	if (r == 0 && can_bound)
		r = apply_sets(CAPNG_SELECT_BOUNDS);
	if (r == 0)
		r = change_user(uid, gid);
	if (r == 0)
		r = apply_sets(CAPNG_SELECT_CAPS);
	if (r == 0)
		r = apply_sets(CAPNG_SELECT_AMBIENT);
	return r < 0 ? r : close_process();
}

int privs_keep_parent(void)
{
	bool can_bound;
	int r = begin_sets(&can_bound);

	if (r < 0)
		return r;
	if (capng_updatev(CAPNG_ADD, PARENT_SETS, CAP_NET_ADMIN, CAP_KILL, -1))
		return -EIO;
	if (can_bound)
		r = apply_sets(CAPNG_SELECT_BOUNDS);
	if (r == 0)
		r = apply_sets(CAPNG_SELECT_CAPS);
	if (r == 0)
		r = apply_sets(CAPNG_SELECT_AMBIENT);
	return r < 0 ? r : close_process();
}

int privs_find_user(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
	_cleanup_free_ char *buffer = xalloc_zero(1, ENTRY_BYTES);
	struct passwd entry, *found = NULL;

	if (getpwnam_r(name, &entry, buffer, ENTRY_BYTES, &found) || !found)
		return -ENOENT;
	*ret_uid = entry.pw_uid;
	*ret_gid = entry.pw_gid;
	return 0;
}

int privs_find_group(const char *name, gid_t *ret_gid)
{
	_cleanup_free_ char *buffer = xalloc_zero(1, ENTRY_BYTES);
	struct group entry, *found = NULL;

	if (getgrnam_r(name, &entry, buffer, ENTRY_BYTES, &found) || !found)
		return -ENOENT;
	*ret_gid = entry.gr_gid;
	return 0;
}
