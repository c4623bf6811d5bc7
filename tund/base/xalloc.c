#include "base/xalloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static void *or_die(void *pointer)
{
	if (!pointer) {
		log_error("out of memory");
		abort();
	}
	return pointer;
}

void *xalloc_zero(size_t count, size_t size)
{
	return or_die(calloc(count ? count : 1, size ? size : 1));
}

void *xalloc_grow(void *pointer, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		return or_die(NULL);
	return or_die(realloc(pointer, bytes ? bytes : 1));
}

void *xalloc_copy(const void *bytes, size_t len)
{
	void *copy = or_die(malloc(len ? len : 1));

	if (len)
		memcpy(copy, bytes, len);
	return copy;
}

char *xalloc_string(const char *text)
{
	return text ? xalloc_copy(text, strlen(text) + 1) : NULL;
}

char *xalloc_vprint(const char *format, va_list arguments)
{
	char *text = NULL;

	if (vasprintf(&text, format, arguments) < 0)
		or_die(NULL);
	return text;
}

char *xalloc_print(const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	text = xalloc_vprint(format, arguments);
	va_end(arguments);
	return text;
}
