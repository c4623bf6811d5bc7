/* Every file that is named, and every file of every directory that is named, through one harness:
 * what gcc has in place of libFuzzer. A directory without files is a mistake, so it fails. */

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input in a block of exactly its size, so that a sanitizer sees a read past its end. */
static void run_harness(const struct buf *bytes)
{
	_cleanup_free_ uint8_t *exact = bytes->len ? xalloc_copy(bytes->data, bytes->len) : NULL;

	LLVMFuzzerTestOneInput(exact ? exact : (const uint8_t *)"", bytes->len);
}

static bool replay_file(const char *path)
{
	FILE *file = fopen(path, "re");
	struct buf bytes = {0};
	uint8_t part[4096];
	size_t len;
	bool ok;

	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	while ((len = fread(part, 1, sizeof(part), file)) > 0)
		buf_append(&bytes, part, len);
	ok = !ferror(file);
	fclose(file);
	/* Said first: if the harness ends the process, this names the culprit. */
	fprintf(stderr, "%s, %zu bytes\n", path, bytes.len);
	if (ok)
		run_harness(&bytes);
	buf_done(&bytes);
	return ok;
}

static bool replay_directory(const char *path, size_t *files)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	bool ok = true;

	if (!directory) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	while ((entry = readdir(directory)) != NULL) {
		_cleanup_free_ char *name = xalloc_print("%s/%s", path, entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		ok = replay_file(name) && ok;
		(*files)++;
	}
	closedir(directory);
	return ok;
}

static bool replay(const char *path)
{
	struct stat stat_of;
	size_t files = 0;
	bool ok;

	if (stat(path, &stat_of) != 0 || !S_ISDIR(stat_of.st_mode))
		return replay_file(path);
	ok = replay_directory(path, &files);
	if (files == 0)
		fprintf(stderr, "%s: no files\n", path);
	return ok && files > 0;
}

int main(int argc, char **argv)
{
	bool ok = argc > 1;

	for (int i = 1; i < argc; i++)
		ok = replay(argv[i]) && ok;
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
