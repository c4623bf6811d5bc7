#include "sys/filewatch.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum {
	LINKS_MAX = 16, /* one behind the other */
	EVENTS = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB |
		 IN_DELETE_SELF | IN_MOVE_SELF,
};

/* Names in a directory; NULL: any. One kernel's watch may serve several. */
struct watched {
	int directory; /* the kernel's number */
	char *name;
};

struct watched_list {
	struct watched *items;
	size_t count;
};

struct filewatch {
	int fd;
	struct watched_list watched;
};

static void list_done(struct watched_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].name);
	free(list->items);
	*list = (struct watched_list){0};
}

static bool list_has(const struct watched_list *list, int directory)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i].directory == directory)
			return true;
	}
	return false;
}

struct filewatch *filewatch_new(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	struct filewatch *watch;

	if (fd < 0)
		return NULL;
	watch = xnew(struct filewatch);
	watch->fd = fd;
	return watch;
}

void filewatch_free(struct filewatch *watch)
{
	if (!watch)
		return;
	list_done(&watch->watched);
	close(watch->fd);
	free(watch);
}

int filewatch_fd(const struct filewatch *watch)
{
	return watch->fd;
}

/* ---- what is to be watched ---- */

/* False where there is no such directory. */
static bool add(struct filewatch *watch, const char *directory, const char *name)
{
	struct watched_list *list = &watch->watched;
	int number = inotify_add_watch(watch->fd, directory, EVENTS | IN_ONLYDIR);

	if (number < 0)
		return false;
	list->items = xalloc_grow(list->items, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = (struct watched){
		.directory = number,
		.name = name ? xalloc_string(name) : NULL,
	};
	return true;
}

/* The last component, in its directory; where that is missing, in the one above, by its name. path
 * is as it was afterwards. */
static void add_name(struct filewatch *watch, char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		return;
	*slash = '\0';
	if (!add(watch, slash == path ? "/" : path, slash + 1))
		add_name(watch, path);
	*slash = '/';
}

static void follow(struct filewatch *watch, const char *path, int links);

/* Where the link leads, and from there on the rest. */
static void follow_link(struct filewatch *watch, const char *link, const char *rest, int links)
{
	char target[PATH_MAX];
	ssize_t len = readlink(link, target, sizeof(target) - 1);
	_cleanup_free_ char *whole = NULL;

	if (len <= 0 || links == LINKS_MAX)
		return;
	target[len] = '\0';
	if (target[0] == '/')
		whole = xalloc_print("%s%s", target, rest);
	else
		whole = xalloc_print("%.*s%s%s", (int)(strrchr(link, '/') + 1 - link), link, target,
				     rest);
	follow(watch, whole, links + 1);
}

static void follow(struct filewatch *watch, const char *path, int links)
{
	_cleanup_free_ char *way = xalloc_string(path);
	struct stat about = {0};

	for (char *end = way; end;) {
		end = strchr(end + 1, '/');
		if (end)
			*end = '\0';
		if (lstat(way, &about) == 0 && S_ISLNK(about.st_mode)) {
			add_name(watch, way);
			follow_link(watch, way, path + strlen(way), links);
			return;
		}
		if (end)
			*end = '/';
	}
	add_name(watch, way);
	if (S_ISDIR(about.st_mode))
		add(watch, way, NULL);
}

void filewatch_set(struct filewatch *watch, char *const *paths, size_t count)
{
	struct watched_list before = watch->watched;

	watch->watched = (struct watched_list){0};
	for (size_t i = 0; i < count; i++)
		follow(watch, paths[i], 0);
	/* Behind the adding: what both have is never without a watch. */
	for (size_t i = 0; i < before.count; i++) {
		if (!list_has(&watch->watched, before.items[i].directory))
			inotify_rm_watch(watch->fd, before.items[i].directory);
	}
	list_done(&before);
}

/* ---- what has happened ---- */

static bool concerns(const struct filewatch *watch, const struct inotify_event *event)
{
	/* Of itself; or the kernel has lost count. */
	if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_Q_OVERFLOW))
		return true;
	for (size_t i = 0; i < watch->watched.count; i++) {
		const struct watched *item = &watch->watched.items[i];

		if (item->directory == event->wd && event->len &&
		    (!item->name || strcmp(item->name, event->name) == 0))
			return true;
	}
	return false;
}

bool filewatch_take(struct filewatch *watch)
{
	_Alignas(struct inotify_event) char room[16 * 1024];
	bool found = false;
	ssize_t len;

	while ((len = read(watch->fd, room, sizeof(room))) > 0) {
		for (const char *at = room; at < room + len;) {
			const struct inotify_event *event = (const struct inotify_event *)at;

			found |= concerns(watch, event);
			at += sizeof(*event) + event->len;
		}
	}
	return found;
}
