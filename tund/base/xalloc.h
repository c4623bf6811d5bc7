#pragma once
/* Allocation that cannot fail: out of memory ends the process with one line. For our own objects
 * only; a length that a peer chose is compared with a limit before it comes here. */

#include <stdarg.h>
#include <stddef.h>

void *xalloc_zero(size_t count, size_t size);
void *xalloc_grow(void *pointer, size_t count, size_t size);
void *xalloc_copy(const void *bytes, size_t len);
char *xalloc_string(const char *text); /* NULL stays NULL */
char *xalloc_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *xalloc_vprint(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

#define xnew(type)		((type *)xalloc_zero(1, sizeof(type)))
#define xnew_array(type, count) ((type *)xalloc_zero((count), sizeof(type)))
