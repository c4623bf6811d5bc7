#pragma once
/* The grammar of a configuration file, in one pass that goes on after a problem: where each option
 * stands, what nobody knows, what stands twice, and whether the file is whole. libconfuse reads the
 * values afterwards; it accepts a file that ends within a section, stops at the first problem,
 * takes no comment inside a list, no comma between options, and puts environment variables into
 * strings.
 *
 *   file    := { section }
 *   section := name [ title ] "{" { option [ "," ] } "}"
 *   option  := name "=" ( text | "{" [ text { "," text } [ "," ] ] "}" )
 *   text    := "..." | '...' | word
 *
 * Comments are # and // to the end of the line, and slash-star. Only PEM may span lines. */

#include <stdbool.h>
#include <stddef.h>

#include "config/config_table.h"

struct config_mark {
	char *name; /* "trust", "trust.crl", "access.engineering", "access.engineering.allow" */
	unsigned line;
	const struct config_section *section;
	const struct config_option *option; /* NULL: the section itself */
	size_t value;			    /* offset in the text of the first value; 0: none */
	unsigned *value_lines;
	size_t value_count;
};

struct config_scan {
	struct config_mark *marks;
	size_t count;
	char *clean; /* what is left for libconfuse: no comments, nothing that was a problem; same
			lines */
	bool broken; /* the grammar is: clean is not worth parsing */
};

void config_scan(const char *file, const char *text, size_t len, struct config_scan *ret,
		 struct config_problems *problems);
void config_scan_done(struct config_scan *scan);

const struct config_mark *config_scan_find(const struct config_mark *marks, size_t count,
					   const char *name);
void config_scan_marks_free(struct config_mark *marks, size_t count);
