#include "config/config_scan.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "config/config_token.h"

/* So that looking a mark up by walking through all of them stays cheap. */
enum { TITLED_MAX = 1000, VALUES_MAX = 4096, TITLE_MAX = 64 };

struct scanner {
	struct config_lexer lex;
	size_t titled_count;
	struct config_scan *scan;
};

/* A section that is being read. */
struct block {
	const struct config_section *section; /* NULL: unknown */
	struct config_token name;
	char *path;	   /* "access.engineering" */
	size_t first_mark; /* of its options */
	bool dropped;
};

#define complain(scanner, where, ...)                                                              \
	config_problem((scanner)->lex.problems, (scanner)->lex.file, where, __VA_ARGS__)

static void keep(struct scanner *scanner)
{
	const struct config_token *token = &scanner->lex.token;

	memcpy(scanner->scan->clean + token->begin, scanner->lex.text + token->begin,
	       token->end - token->begin);
}

static void keep_and_next(struct scanner *scanner)
{
	keep(scanner);
	config_token_next(&scanner->lex);
}

static void drop(struct scanner *scanner, size_t begin, size_t end)
{
	char *clean = scanner->scan->clean;

	for (size_t i = begin; i < end; i++) {
		if (clean[i] != '\n')
			clean[i] = ' ';
	}
}

static struct config_mark *add_mark(struct scanner *scanner, char *name, unsigned line,
				    const struct config_section *section,
				    const struct config_option *option)
{
	struct config_scan *scan = scanner->scan;

	if ((scan->count & (scan->count - 1)) == 0)
		scan->marks = xalloc_grow(scan->marks, scan->count ? 2 * scan->count : 1,
					  sizeof(*scan->marks));
	scan->marks[scan->count] = (struct config_mark){.name = name,
							.line = line,
							.section = section,
							.option = option};
	return &scan->marks[scan->count++];
}

/* To where something may begin again: the first word of a line, or a brace that closes. */
static void recover(struct scanner *scanner)
{
	const struct config_token *token = &scanner->lex.token;

	scanner->lex.broken = true;
	while (token->kind != CONFIG_TOKEN_END && token->kind != CONFIG_TOKEN_CLOSE &&
	       !(token->kind == CONFIG_TOKEN_WORD && token->first))
		config_token_next(&scanner->lex);
}

static void take_text(struct scanner *scanner, struct config_mark *mark)
{
	if (mark && mark->value_count < VALUES_MAX) {
		if (mark->value_count == 0)
			mark->value = scanner->lex.token.begin;
		if ((mark->value_count & (mark->value_count - 1)) == 0)
			mark->value_lines =
				xalloc_grow(mark->value_lines,
					    mark->value_count ? 2 * mark->value_count : 1,
					    sizeof(*mark->value_lines));
		mark->value_lines[mark->value_count++] = scanner->lex.token.line;
	} else if (mark && !scanner->lex.flawed) {
		complain(scanner, scanner->lex.token.line, "%s has more than %d entries",
			 mark->name, VALUES_MAX);
		scanner->lex.flawed = true;
	}
	keep_and_next(scanner);
}

static void refuse_open_list(struct scanner *scanner, const char *name, unsigned line)
{
	bool at_end = scanner->lex.token.kind == CONFIG_TOKEN_END;

	if (scanner->lex.cut_off)
		return;
	complain(scanner, line, "%s: the list that begins here is not closed; a } is missing%s",
		 name, at_end ? " or the file is cut off" : "");
	scanner->lex.cut_off = at_end;
}

/* After "{". false when the list has no end and the scanner has to recover. */
static bool scan_list(struct scanner *scanner, const char *name, struct config_mark *mark)
{
	unsigned line = scanner->lex.token.line;
	bool wants_comma = false, wanted_brace = false;

	keep_and_next(scanner);
	for (;;) {
		if (scanner->lex.token.kind == CONFIG_TOKEN_CLOSE) {
			keep_and_next(scanner);
			return true;
		}
		if (config_token_is_text(&scanner->lex.token)) {
			if (wants_comma && !scanner->lex.flawed) {
				complain(scanner, scanner->lex.token.line,
					 "%s: a comma is missing before this entry, or a } after "
					 "the last",
					 name);
				scanner->lex.flawed = wanted_brace = true;
			}
			take_text(scanner, mark);
			wants_comma = true;
		} else if (scanner->lex.token.kind == CONFIG_TOKEN_COMMA) {
			if (!wants_comma && !scanner->lex.flawed) {
				complain(scanner, scanner->lex.token.line,
					 "%s: an entry is missing before the comma", name);
				scanner->lex.flawed = true;
			}
			keep_and_next(scanner);
			wants_comma = false;
		} else {
			if (!wanted_brace)
				refuse_open_list(scanner, name, line);
			return false;
		}
	}
}

/* After "=". false when the scanner has to recover. */
static bool scan_value(struct scanner *scanner, const char *name, struct config_mark *mark)
{
	unsigned line = scanner->lex.token.line;

	if (scanner->lex.token.kind == CONFIG_TOKEN_OPEN) {
		if (mark && !config_table_is_list(mark->option)) {
			complain(scanner, line, "%s takes one value, not a list in braces", name);
			scanner->lex.flawed = true;
			mark = NULL;
		}
		return scan_list(scanner, name, mark);
	}
	if (scanner->lex.token.kind == CONFIG_TOKEN_END)
		return false; /* scan_body says so */
	if (!config_token_is_text(&scanner->lex.token)) {
		complain(scanner, line, "%s: a value is missing after =", name);
		return false;
	}
	take_text(scanner, mark);
	if (scanner->lex.token.kind == CONFIG_TOKEN_ASSIGN) {
		complain(scanner, line, "%s: a value is missing after =", name);
		return false;
	}
	return true;
}

static void refuse_option(struct scanner *scanner, const struct block *block,
			  const struct config_token *name)
{
	const char *key = scanner->lex.text + name->begin;
	size_t len = name->end - name->begin;
	const char *section = block->section->name;
	const char *near = config_table_near(section, key, len);
	const char *elsewhere = config_table_section_of(key, len);
	char quoted[CONFIG_TEXT_QUOTED];

	config_token_quote(&scanner->lex, name, quoted);
	if (elsewhere)
		complain(scanner, name->line, "unknown option %s in %s; it belongs in %s", quoted,
			 section, elsewhere);
	else if (near)
		complain(scanner, name->line, "unknown option %s in %s; did you mean \"%s\"?",
			 quoted, section, near);
	else
		complain(scanner, name->line, "unknown option %s in %s; take it out", quoted,
			 section);
}

/* The mark of a new option, or NULL (and a problem) when it is to be dropped. */
static struct config_mark *enter_option(struct scanner *scanner, const struct block *block,
					const struct config_token *name)
{
	const char *key = scanner->lex.text + name->begin;
	size_t len = name->end - name->begin;
	const struct config_option *option;

	if (!block->section || block->dropped)
		return NULL;
	option = config_table_option(block->section->name, key, len);
	if (!option) {
		refuse_option(scanner, block, name);
		return NULL;
	}
	for (size_t i = block->first_mark; i < scanner->scan->count; i++) {
		const struct config_mark *mark = &scanner->scan->marks[i];

		if (mark->option == option) {
			complain(scanner, name->line, "%s stands twice; it is already on line %u",
				 mark->name, mark->line);
			return NULL;
		}
	}
	return add_mark(scanner, xalloc_print("%s.%s", block->path, option->key), name->line,
			block->section, option);
}

/* At "=". */
static void scan_option(struct scanner *scanner, const struct block *block,
			const struct config_token *name)
{
	struct config_mark *mark = enter_option(scanner, block, name);
	_cleanup_free_ char *label =
		xalloc_print("%s.%.*s", block->path, (int)(name->end - name->begin),
			     scanner->lex.text + name->begin);
	bool whole;

	keep_and_next(scanner);
	whole = scan_value(scanner, label, mark);
	/* The mark stays even when the value does not: the option is not missing. */
	if (!mark || scanner->lex.flawed || !whole)
		drop(scanner, name->begin, scanner->lex.token.begin);
	if (!whole)
		recover(scanner);
	else if (scanner->lex.token.kind == CONFIG_TOKEN_COMMA)
		config_token_next(&scanner->lex); /* between options; libconfuse has none there */
	scanner->lex.flawed = false;
}

/* Over a { ... } that nobody knows, braces and all. */
static void skip_braces(struct scanner *scanner)
{
	unsigned depth = 0;

	do {
		depth += scanner->lex.token.kind == CONFIG_TOKEN_OPEN;
		depth -= scanner->lex.token.kind == CONFIG_TOKEN_CLOSE;
		config_token_next(&scanner->lex);
	} while (depth > 0 && scanner->lex.token.kind != CONFIG_TOKEN_END);
	scanner->lex.flawed = false;
}

/* A name in a section that is not followed by "=". true when it begins the next section, whose name
 * then is *name. */
static bool scan_stray(struct scanner *scanner, const struct block *block,
		       const struct config_token *name)
{
	const char *text = scanner->lex.text + name->begin;
	char quoted[CONFIG_TEXT_QUOTED];
	bool is_block = scanner->lex.token.kind == CONFIG_TOKEN_OPEN ||
			config_token_is_text(&scanner->lex.token);

	if (is_block && config_table_section(text, name->end - name->begin)) {
		complain(scanner, name->line,
			 "%s begins before %s (line %u) is closed; a } is missing",
			 config_token_quote(&scanner->lex, name, quoted), block->path,
			 block->name.line);
		scanner->lex.broken = true;
		return true;
	}
	if (scanner->lex.token.kind == CONFIG_TOKEN_OPEN) {
		complain(scanner, name->line, "%s: a section within %s; sections do not nest",
			 config_token_quote(&scanner->lex, name, quoted), block->path);
		skip_braces(scanner);
		drop(scanner, name->begin, scanner->lex.token.begin);
		return false;
	}
	if (scanner->lex.token.kind != CONFIG_TOKEN_END)
		complain(scanner, name->line, "= is missing after %s",
			 config_token_quote(&scanner->lex, name, quoted));
	recover(scanner);
	return false;
}

static void refuse_end(struct scanner *scanner, const struct block *block)
{
	if (!scanner->lex.cut_off)
		complain(scanner, scanner->lex.token.line,
			 "the file ends within %s (line %u); a } is missing or the file is cut off",
			 block->path, block->name.line);
	scanner->lex.broken = true;
}

/* After "{", up to and with "}". true when another section begins instead, as above. */
static bool scan_body(struct scanner *scanner, const struct block *block,
		      struct config_token *ret_next)
{
	char quoted[CONFIG_TEXT_QUOTED];

	while (scanner->lex.token.kind != CONFIG_TOKEN_CLOSE) {
		struct config_token name = scanner->lex.token;

		if (name.kind == CONFIG_TOKEN_END) {
			refuse_end(scanner, block);
			return false;
		}
		if (name.kind != CONFIG_TOKEN_WORD) {
			complain(scanner, name.line, "an option of %s belongs here, not %s",
				 block->path, config_token_quote(&scanner->lex, &name, quoted));
			recover(scanner);
			continue;
		}
		keep_and_next(scanner);
		if (scanner->lex.token.kind == CONFIG_TOKEN_ASSIGN) {
			scan_option(scanner, block, &name);
		} else if (scan_stray(scanner, block, &name)) {
			*ret_next = name;
			return true;
		}
	}
	keep_and_next(scanner);
	return false;
}

static bool is_title(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (!isalnum(c) && (!c || !strchr("._- ", c)))
			return false;
	}
	return len > 0 && len <= TITLE_MAX;
}

/* The title, if there is one, and whether it is right for the section. *ret_title is the text
 * without quotes, NULL for none. */
static bool scan_title(struct scanner *scanner, const struct block *block, char **ret_title)
{
	struct config_token title = scanner->lex.token;
	size_t trim = title.kind == CONFIG_TOKEN_STRING;
	const char *name = block->section ? block->section->name : "";
	char quoted[CONFIG_TEXT_QUOTED];

	if (!config_token_is_text(&title) || title.first) {
		if (!block->section || !block->section->titled || title.kind != CONFIG_TOKEN_OPEN)
			return true;
		complain(scanner, title.line, "%s needs a title: %s \"name\" { ... }", name, name);
		return false;
	}
	keep_and_next(scanner);
	if (!block->section)
		return true;
	if (!block->section->titled) {
		complain(scanner, title.line, "%s has no title; take %s out", name,
			 config_token_quote(&scanner->lex, &title, quoted));
		return false;
	}
	if (title.end - title.begin < 2 * trim ||
	    !is_title(scanner->lex.text + title.begin + trim, title.end - title.begin - 2 * trim)) {
		complain(scanner, title.line,
			 "%s is no title; take letters, digits, blanks, . _ and -, at most %d",
			 config_token_quote(&scanner->lex, &title, quoted), TITLE_MAX);
		return false;
	}
	*ret_title = xalloc_print("%.*s", (int)(title.end - title.begin - 2 * trim),
				  scanner->lex.text + title.begin + trim);
	return true;
}

static void refuse_section(struct scanner *scanner, const struct config_token *name)
{
	const char *text = scanner->lex.text + name->begin;
	const char *near = config_table_near(NULL, text, name->end - name->begin);
	char quoted[CONFIG_TEXT_QUOTED];

	config_token_quote(&scanner->lex, name, quoted);
	if (near)
		complain(scanner, name->line, "unknown section %s; did you mean \"%s\"?", quoted,
			 near);
	else
		complain(scanner, name->line, "unknown section %s; take it out", quoted);
}

/* Marks a known section, unless it stands there already or there are too many: false. */
static bool enter_section(struct scanner *scanner, struct block *block)
{
	const struct config_mark *other =
		config_scan_find(scanner->scan->marks, scanner->scan->count, block->path);

	if (other) {
		complain(scanner, block->name.line, "%s stands twice; it is already on line %u",
			 block->path, other->line);
		return false;
	}
	if (block->section->titled && ++scanner->titled_count > TITLED_MAX) {
		complain(scanner, block->name.line,
			 "there are more than %d access and site sections", TITLED_MAX);
		return false;
	}
	add_mark(scanner, xalloc_string(block->path), block->name.line, block->section, NULL);
	return true;
}

/* An option that stands outside of all sections; at "=". */
static void refuse_outside(struct scanner *scanner, const struct config_token *name)
{
	const char *key = scanner->lex.text + name->begin;
	const char *section = config_table_section_of(key, name->end - name->begin);
	char quoted[CONFIG_TEXT_QUOTED];

	complain(scanner, name->line, "option %s stands outside of a section; it belongs in %s",
		 config_token_quote(&scanner->lex, name, quoted), section ? section : "one");
	config_token_next(&scanner->lex);
	if (!scan_value(scanner, "the option", NULL))
		recover(scanner);
	drop(scanner, name->begin, scanner->lex.token.begin);
	scanner->lex.flawed = false;
}

/* After the name. true when another section begins before this one is closed. */
static bool scan_section(struct scanner *scanner, const struct config_token *name,
			 struct config_token *ret_next)
{
	struct block block = {.name = *name};
	_cleanup_free_ char *title = NULL;
	_cleanup_free_ char *path = NULL;
	size_t len = name->end - name->begin;
	bool another;

	if (scanner->lex.token.kind == CONFIG_TOKEN_ASSIGN) {
		refuse_outside(scanner, name);
		return false;
	}
	block.section = config_table_section(scanner->lex.text + name->begin, len);
	if (!block.section)
		refuse_section(scanner, name);
	block.dropped =
		!scan_title(scanner, &block, &title) || scanner->lex.flawed || !block.section;
	scanner->lex.flawed = false;
	path = xalloc_print("%.*s%s%s", (int)(len < TITLE_MAX ? len : TITLE_MAX),
			    scanner->lex.text + name->begin, title ? "." : "", title ? title : "");
	block.path = path;
	if (scanner->lex.token.kind != CONFIG_TOKEN_OPEN) {
		complain(scanner, name->line, "{ is missing after %s", path);
		recover(scanner);
		return false;
	}
	if (!block.dropped)
		block.dropped = !enter_section(scanner, &block);
	block.first_mark = scanner->scan->count;
	keep_and_next(scanner);
	another = scan_body(scanner, &block, ret_next);
	if (block.dropped)
		drop(scanner, name->begin, another ? ret_next->begin : scanner->lex.token.begin);
	return another;
}

/* Where a section should begin. A brace too many is often no more than what an earlier problem
 * left. */
static void refuse_top(struct scanner *scanner)
{
	const struct config_token *token = &scanner->lex.token;
	char quoted[CONFIG_TEXT_QUOTED];

	if (token->kind != CONFIG_TOKEN_CLOSE)
		complain(scanner, token->line, "a section belongs here, not %s",
			 config_token_quote(&scanner->lex, token, quoted));
	else if (!scanner->lex.broken)
		complain(scanner, token->line,
			 "this } closes nothing; take it out, or a { is missing "
			 "above");
}

static void scan_file(struct scanner *scanner)
{
	struct config_token name;
	bool have_name = false;

	config_token_next(&scanner->lex);
	while (have_name || scanner->lex.token.kind != CONFIG_TOKEN_END) {
		if (!have_name && scanner->lex.token.kind != CONFIG_TOKEN_WORD) {
			refuse_top(scanner);
			scanner->lex.broken = true;
			config_token_next(&scanner->lex);
			continue;
		}
		if (!have_name) {
			name = scanner->lex.token;
			keep_and_next(scanner);
		}
		have_name = scan_section(scanner, &name, &name);
	}
}

void config_scan(const char *file, const char *text, size_t len, struct config_scan *ret,
		 struct config_problems *problems)
{
	struct config_scan scan = {.clean = xalloc_zero(len + 1, 1)};
	struct scanner scanner = {
		.lex = {.file = file, .text = text, .len = len, .line = 1, .problems = problems},
		.scan = &scan,
	};

	for (size_t i = 0; i < len; i++)
		scan.clean[i] = text[i] == '\n' ? '\n' : ' ';
	scan_file(&scanner);
	scan.broken = scanner.lex.broken;
	*ret = scan;
}

void config_scan_done(struct config_scan *scan)
{
	config_scan_marks_free(scan->marks, scan->count);
	free(scan->clean);
	*scan = (struct config_scan){0};
}

const struct config_mark *config_scan_find(const struct config_mark *marks, size_t count,
					   const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(marks[i].name, name) == 0)
			return &marks[i];
	}
	return NULL;
}

void config_scan_marks_free(struct config_mark *marks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(marks[i].name);
		free(marks[i].value_lines);
	}
	free(marks);
}
