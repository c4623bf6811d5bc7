#pragma once
/* One event, one line, on standard error. The only mutable global of the program is the log's
 * settings. Lines are written with one write(2), so threads and processes do not mix.
 *
 *   error  we cannot do our work      warn   we go on, someone should look
 *   info   an operator's story        debug  a developer's story, free of secrets */

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Called once before threads start; tag names the process ("engine", "keys", ...) and is borrowed
 * for ever. */
void log_setup(enum log_level level, bool json, const char *tag);
void log_set_level(enum log_level level);
bool log_level_parse(const char *word, enum log_level *ret);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Escapes text that a peer chose: control characters, quotes, backslashes and bytes that are not
 * ASCII become \xHH. Writes at most size bytes with the terminating zero; returns buf. */
const char *log_escape(const char *text, size_t len, char *buf, size_t size);
