#include "key/use.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

int use_open(struct use **ret_counting, const struct use **ret_view)
{
	_cleanup_close_ int fd = memfd_create("key-use", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *counting, *view;

	if (fd < 0 || ftruncate(fd, sizeof(struct use)) < 0)
		return -errno;
	counting = mmap(NULL, sizeof(struct use), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counting == MAP_FAILED)
		return -errno;
	/* What is mapped writable stays so; nothing else becomes it, not by mprotect either. */
	if (fcntl(fd, F_ADD_SEALS,
		  F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
		munmap(counting, sizeof(struct use));
		return -errno;
	}
	view = mmap(NULL, sizeof(struct use), PROT_READ, MAP_SHARED, fd, 0);
	if (view == MAP_FAILED) {
		munmap(counting, sizeof(struct use));
		return -errno;
	}
	*ret_counting = counting;
	*ret_view = view;
	return 0;
}

void use_close(struct use *counting)
{
	if (counting)
		munmap(counting, sizeof(*counting));
}

const char *use_refusal_name(enum use_refusal refusal)
{
	static const char *const names[USE_REFUSALS] = {
		[USE_MALFORMED] = "malformed",	 [USE_NO_TLS] = "no-certificate-verify",
		[USE_OTHER_ROLE] = "other-role", [USE_SCHEME] = "scheme",
		[USE_REPLACED] = "replaced-key", [USE_FAILED] = "failed",
	};

	return names[refusal];
}
