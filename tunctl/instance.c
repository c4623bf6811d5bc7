#include "instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "field.h"
#include "wire/ctl_msg.h"

#define RUN_DIRECTORY "/run/tund"

static const char suffix[] = ".sock";

static json_t *set_path(const char *name, const char *end, char *path, size_t size)
{
	const char *directory = strchr(name, '/') ? "" : RUN_DIRECTORY "/";

	if ((size_t)snprintf(path, size, "%s%s%s", directory, name, end) < size)
		return NULL;
	return ctl_msg_error(CTL_EXIT_USAGE, "the socket's path is longer than %zu bytes",
			     size - 1);
}

static bool is_socket(DIR *directory, const char *name)
{
	size_t len = strlen(name);
	struct stat status;

	if (len < sizeof(suffix) || strcmp(name + len - strlen(suffix), suffix) != 0)
		return false;
	return fstatat(dirfd(directory), name, &status, 0) == 0 && S_ISSOCK(status.st_mode);
}

static json_t *refuse_directory(int error)
{
	if (error == EACCES)
		return ctl_msg_error(CTL_EXIT_NOT_PERMITTED, "%s: %s", RUN_DIRECTORY,
				     strerror(error));
	return ctl_msg_error(CTL_EXIT_NO_DAEMON, "no tund is running (no socket in %s)",
			     RUN_DIRECTORY);
}

static json_t *refuse_several(struct buf *names)
{
	_cleanup_(buf_done) struct buf list = *names;

	buf_u8(&list, 0);
	return ctl_msg_error(CTL_EXIT_USAGE, "several tunds are running, say which with -i:%s",
			     (const char *)list.data);
}

/* The name of the only socket; several are listed in the error. One that a killed tund has left
 * behind counts too: to tell would take a connection to each. */
static json_t *find_only(DIR *directory, char *ret_name, size_t size)
{
	struct buf names = {0};
	const struct dirent *entry;
	unsigned count = 0;

	while ((entry = readdir(directory))) {
		_cleanup_free_ char *plain = NULL;

		if (!is_socket(directory, entry->d_name))
			continue;
		snprintf(ret_name, size, "%s", entry->d_name);
		plain = field_plain(entry->d_name);
		plain[strlen(plain) - strlen(suffix)] = '\0';
		buf_print(&names, " %s", plain);
		count++;
	}
	if (count > 1)
		return refuse_several(&names);
	buf_done(&names);
	return count ? NULL : refuse_directory(ENOENT);
}

json_t *instance_find(const struct arguments *arguments, char *path, size_t size)
{
	char name[NAME_MAX + 1];
	DIR *directory;
	json_t *error;

	if (arguments->socket && arguments->instance)
		return ctl_msg_error(CTL_EXIT_USAGE, "-s and -i exclude each other");
	if (arguments->socket)
		return set_path(arguments->socket, "", path, size);
	if (arguments->instance && strchr(arguments->instance, '/'))
		return ctl_msg_error(CTL_EXIT_USAGE, "an instance's name has no slash");
	if (arguments->instance)
		return set_path(arguments->instance, suffix, path, size);
	directory = opendir(RUN_DIRECTORY);
	if (!directory)
		return refuse_directory(errno);
	error = find_only(directory, name, sizeof(name));
	closedir(directory);
	return error ? error : set_path(name, "", path, size);
}
