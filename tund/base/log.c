#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static struct {
	atomic_int level;
	bool json;
	const char *tag;
} settings = {.level = LOG_LEVEL_INFO, .tag = "tund"};

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_setup(enum log_level level, bool json, const char *tag)
{
	atomic_store(&settings.level, level);
	settings.json = json;
	settings.tag = tag;
}

void log_set_level(enum log_level level)
{
	atomic_store(&settings.level, level);
}

bool log_level_parse(const char *word, enum log_level *ret)
{
	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
		if (strcmp(word, level_names[i]) == 0) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

const char *log_escape(const char *text, size_t len, char *buf, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < len && used + 5 <= size; i++) {
		unsigned char c = (unsigned char)text[i];

		if (is_plain(c))
			buf[used++] = (char)c;
		else
			used += (size_t)snprintf(buf + used, 5, "\\x%02x", c);
	}
	if (size)
		buf[used] = '\0';
	return buf;
}

/* One event stays one line, and JSON stays valid whatever bytes a message holds. */
static const char *escape_message(const char *message, char *buf, size_t size)
{
	size_t used = 0;

	for (const char *at = message; *at && used + 7 < size; at++) {
		unsigned char c = (unsigned char)*at;

		if (c < 0x20 || c == 0x7f || (settings.json && c > 0x7f))
			used += (size_t)snprintf(buf + used, 7,
						 settings.json ? "\\\\x%02x" : "\\x%02x", c);
		else if (settings.json && (c == '"' || c == '\\'))
			used += (size_t)snprintf(buf + used, 7, "\\%c", c);
		else
			buf[used++] = (char)c;
	}
	buf[used] = '\0';
	return buf;
}

/* The whole line, newline included; returns its length. */
static size_t format_line(char *line, size_t size, enum log_level level, const char *message)
{
	char escaped[LINE_MAX_BYTES], when[40];
	struct timespec now;
	struct tm utc;
	int len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
	escape_message(message, escaped, sizeof(escaped));
	if (settings.json)
		len = snprintf(line, size,
			       "{\"at\":\"%s.%03ldZ\",\"level\":\"%s\",\"process\":\"%s\","
			       "\"message\":\"%s\"}\n",
			       when, now.tv_nsec / 1000000, level_names[level], settings.tag,
			       escaped);
	else
		len = snprintf(line, size, "%s.%03ldZ %-5s %s: %s\n", when, now.tv_nsec / 1000000,
			       level_names[level], settings.tag, escaped);
	if ((size_t)len >= size) {
		len = (int)size - 1;
		line[len - 1] = '\n';
	}
	return (size_t)len;
}

void log_write(enum log_level level, const char *format, ...)
{
	char message[LINE_MAX_BYTES];
	char line[2 * LINE_MAX_BYTES];
	va_list arguments;
	size_t len;

	if ((int)level > atomic_load(&settings.level))
		return;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	len = format_line(line, sizeof(line), level, message);
	/* A full or closed standard error must not stop the daemon. */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}
