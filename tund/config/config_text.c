#include "config/config_text.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/xalloc.h"

#define PEM_BEGIN "-----BEGIN"
#define PEM_END	  "-----END"
#define PEM_DASH  "-----"
#define PEM_KEY	  "PRIVATE KEY"

/* One PEM block of a private key: BEGIN line, body, END line. */
struct key_block {
	size_t begin, body, body_end, end;
	bool whole;
};

static size_t find_bytes(const char *bytes, size_t len, size_t from, const char *what)
{
	const char *at = memmem(bytes + from, len - from, what, strlen(what));

	return at ? (size_t)(at - bytes) : len;
}

/* `at` stands behind -----BEGIN or -----END. Returns the offset behind the dashes that close the
 * label when it is a private key's and on one line, else 0. */
static size_t skip_key_label(const char *bytes, size_t len, size_t at)
{
	size_t dash = find_bytes(bytes, len, at, PEM_DASH);

	if (dash == len || memchr(bytes + at, '\n', dash - at) ||
	    !memmem(bytes + at, dash - at, PEM_KEY, strlen(PEM_KEY)))
		return 0;
	return dash + strlen(PEM_DASH);
}

static bool find_key(const char *bytes, size_t len, size_t from, struct key_block *ret)
{
	struct key_block block = {.begin = find_bytes(bytes, len, from, PEM_BEGIN)};

	for (; block.begin < len;
	     block.begin = find_bytes(bytes, len, block.begin + 1, PEM_BEGIN)) {
		block.body = skip_key_label(bytes, len, block.begin + strlen(PEM_BEGIN));
		if (block.body > 0)
			break;
	}
	if (block.begin >= len)
		return false;
	block.body_end = find_bytes(bytes, len, block.body, PEM_END);
	if (block.body_end < len)
		block.end = skip_key_label(bytes, len, block.body_end + strlen(PEM_END));
	block.whole = block.end > 0;
	if (!block.whole)
		block.body_end = block.end = len;
	*ret = block;
	return true;
}

/* Where the overwriting may end: what comments out the END line stays, or the line would be read.
 */
static size_t skip_back_comment(const char *bytes, const struct key_block *block)
{
	size_t at = block->body_end;

	while (block->whole && at > block->body && strchr(" \t#/*", bytes[at - 1]))
		at--;
	return at > block->body && bytes[at - 1] == '\n' ? at : block->body_end;
}

size_t config_text_blank_keys(const char *file, char *bytes, size_t len,
			      struct config_problems *problems)
{
	struct key_block block = {0};
	size_t count = 0;

	for (; find_key(bytes, len, block.end, &block); count++) {
		size_t stop = skip_back_comment(bytes, &block);

		/* Not optimised away: the buffer is parsed afterwards. */
		for (size_t i = block.body; i < stop; i++) {
			if (bytes[i] != '\n')
				bytes[i] = ' ';
		}
		if (!block.whole)
			config_problem(problems, file, config_text_line(bytes, block.begin),
				       "the private key that begins here has no END line; the file "
				       "is cut off, or the line is missing");
	}
	return count;
}

char *config_text_key(const char *bytes, size_t len, size_t from)
{
	struct key_block block;
	size_t used = 0;
	char *pem;

	if (from > len || !find_key(bytes, len, from, &block) || !block.whole)
		return NULL;
	pem = xalloc_zero(block.end - block.begin + 2, 1);
	for (size_t i = block.begin; i < block.end; i++) {
		bool escaped = bytes[i] == '\\' && bytes[i + 1] == 'n';

		pem[used++] = escaped ? '\n' : bytes[i];
		i += escaped;
	}
	pem[used] = '\n';
	return pem;
}

static bool check_file(const char *path, const struct stat *stat, struct config_problems *problems)
{
	if (!S_ISREG(stat->st_mode)) {
		config_problem(problems, path, 0, "is not a regular file; name a file");
		return false;
	}
	if (stat->st_uid != 0 && stat->st_uid != geteuid()) {
		config_problem(
			problems, path, 0,
			"belongs to uid %u; a configuration must belong to root (chown root)",
			stat->st_uid);
		return false;
	}
	if (stat->st_mode & (S_IWGRP | S_IWOTH)) {
		config_problem(problems, path, 0,
			       "has mode %04o: others than its owner may write it; chmod go-w",
			       stat->st_mode & 07777);
		return false;
	}
	if (stat->st_size > CONFIG_TEXT_MAX) {
		config_problem(problems, path, 0, "has %lld bytes; at most %d are read",
			       (long long)stat->st_size, CONFIG_TEXT_MAX);
		return false;
	}
	return true;
}

/* Reads at most size bytes: how many, or -errno. */
static ssize_t read_bytes(int fd, char *bytes, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t got = read(fd, bytes + used, size - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		used += (size_t)got;
	}
	return (ssize_t)used;
}

static bool check_bytes(const char *path, const struct config_text *text, ssize_t got,
			struct config_problems *problems)
{
	const char *zero;

	if (got < 0) {
		config_problem(problems, path, 0, "cannot be read: %s", strerror((int)-got));
		return false;
	}
	if ((size_t)got != text->len) {
		config_problem(problems, path, 0, "was changed while it was read; try again");
		return false;
	}
	zero = memchr(text->bytes, '\0', text->len);
	if (zero) {
		config_problem(problems, path,
			       config_text_line(text->bytes, (size_t)(zero - text->bytes)),
			       "holds a zero byte; a configuration is text");
		return false;
	}
	return true;
}

bool config_text_read(const char *path, struct config_text *ret, struct config_problems *problems)
{
	struct stat about;
	_cleanup_close_ int fd = file_open(path, &about);
	struct config_text text = {0};

	if (about.st_mode && !check_file(path, &about, problems))
		return false;
	if (fd < 0) {
		config_problem(problems, path, 0, "cannot be opened: %s", strerror(-fd));
		return false;
	}
	text.len = (size_t)about.st_size;
	text.closed = (about.st_mode & 077) == 0;
	/* One byte more than there should be, so that growth shows, and one for the zero. */
	text.bytes = xalloc_zero(text.len + 2, 1);
	if (!check_bytes(path, &text, read_bytes(fd, text.bytes, text.len + 1), problems)) {
		explicit_bzero(text.bytes, text.len + 2);
		free(text.bytes);
		return false;
	}
	*ret = text;
	return true;
}

void config_text_copy(const struct config_text *text, struct config_text *ret)
{
	*ret = *text;
	ret->bytes = xalloc_copy(text->bytes, text->len + 1);
}

void config_text_wipe(struct config_text *text)
{
	if (text->bytes)
		explicit_bzero(text->bytes, text->len);
	free(text->bytes);
	*text = (struct config_text){0};
}

unsigned config_text_line(const char *bytes, size_t at)
{
	unsigned line = 1;

	for (size_t i = 0; i < at; i++)
		line += bytes[i] == '\n';
	return line;
}

const char *config_text_quote(const char *text, size_t len, char buf[static CONFIG_TEXT_QUOTED])
{
	enum { SHOWN_MAX = 64 };
	char escaped[4 * SHOWN_MAX + 5];
	bool cut = len > SHOWN_MAX;

	log_escape(text, cut ? SHOWN_MAX : len, escaped, sizeof(escaped));
	snprintf(buf, CONFIG_TEXT_QUOTED, "\"%s%s\"", escaped, cut ? "..." : "");
	return buf;
}
