#pragma once
/* How the benchmark's programs end when they cannot go on: one line on stderr,
 * exit 1. */

#include <stddef.h>
#include <stdint.h>

extern const char *fail_name; /* of the program, set by main */

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A decimal number between the two, or fail. */
uint64_t fail_number(const char *text, uint64_t min, uint64_t max);
/* The same with a fraction. */
double fail_fraction(const char *text, double min, double max);
