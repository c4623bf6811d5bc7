#pragma once
/* From the texts of one option to its field, with a problem for each text that is not of its kind.
 */

#include "config/config_scan.h"

struct config_value {
	const struct config_option *option;
	const char *name;		/* "access.engineering.allow", for problems */
	const struct config_mark *mark; /* lines; NULL: the default is converted */
	const char *const *texts;
	size_t count;
	const char *file;
	const char *directory; /* what relative paths are relative to */
	struct config_problems *problems;
};

/* Fills the field at `place`, which was zero. false with problems; what was right may be in the
 * field already. */
bool config_values_set(const struct config_value *value, void *place);
void config_values_done(const struct config_option *option, void *place);

/* What the kinds are written with. Reports text `index`, quoted, followed by what is wrong with it;
 * false. */
bool config_values_refuse(const struct config_value *value, size_t index, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The index of text in words, which have one blank between; -1. */
int config_values_word(const char *words, const char *text);
void config_values_add(struct config_strings *strings, char *text); /* text is taken */
bool config_values_text(const struct config_value *value, void *place);
