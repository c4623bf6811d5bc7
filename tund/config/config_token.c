#include "config/config_token.h"

#include <ctype.h>
#include <string.h>

#define complain(lexer, where, ...)                                                                \
	config_problem((lexer)->problems, (lexer)->file, where, __VA_ARGS__)

static bool is_one_of(char c, const char *bytes)
{
	return c && strchr(bytes, c);
}

static bool starts(const struct config_lexer *lexer, const char *with)
{
	size_t len = strlen(with);

	return lexer->len - lexer->at >= len && memcmp(lexer->text + lexer->at, with, len) == 0;
}

/* One that ends no line: a comment would go on to the end of the file, unseen. */
static void check_return(struct config_lexer *lexer)
{
	if (lexer->text[lexer->at] != '\r' || starts(lexer, "\r\n") || lexer->has_return)
		return;
	complain(lexer, lexer->line,
		 "a carriage return that ends no line; save the file with line ends of LF or CRLF");
	lexer->broken = lexer->has_return = true;
}

static void skip_line(struct config_lexer *lexer)
{
	for (; lexer->at < lexer->len && lexer->text[lexer->at] != '\n'; lexer->at++)
		check_return(lexer);
}

static void skip_star_comment(struct config_lexer *lexer)
{
	unsigned line = lexer->line;
	const char *begin = lexer->text + lexer->at;
	const char *end = memmem(begin + 2, lexer->len - lexer->at - 2, "*/", 2);
	size_t stop = end ? (size_t)(end + 2 - lexer->text) : lexer->len;

	if (!end) {
		complain(lexer, line,
			 "the comment that begins here does not end; */ is missing "
			 "or the file is cut off");
		lexer->broken = lexer->cut_off = true;
	}
	for (; lexer->at < stop; lexer->at++)
		lexer->line += lexer->text[lexer->at] == '\n';
}

/* Blanks, line ends and comments. */
static void skip_space(struct config_lexer *lexer)
{
	for (;;) {
		char c = lexer->at < lexer->len ? lexer->text[lexer->at] : '\0';

		if (c == '#' || starts(lexer, "//")) {
			skip_line(lexer);
		} else if (starts(lexer, "/*")) {
			skip_star_comment(lexer);
		} else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
			check_return(lexer);
			lexer->line += c == '\n';
			lexer->at++;
		} else {
			return;
		}
	}
}

/* Never false for what libconfuse would end an unquoted text at. */
static bool is_word_byte(char c)
{
	return isalnum((unsigned char)c) || is_one_of(c, "_-.:/@%[]~");
}

static void read_word(struct config_lexer *lexer)
{
	while (lexer->at < lexer->len && is_word_byte(lexer->text[lexer->at]) &&
	       !starts(lexer, "//") && !starts(lexer, "/*"))
		lexer->at++;
	if (starts(lexer, "//") || starts(lexer, "/*")) {
		complain(lexer, lexer->line,
			 "a comment begins within a word; put the value in quotes, or a blank "
			 "before the comment");
		lexer->flawed = true;
	}
}

/* After a backslash in double quotes. libconfuse knows more, among them \0, which would cut the
 * text. */
static void check_escape(struct config_lexer *lexer)
{
	char c = lexer->at + 1 < lexer->len ? lexer->text[lexer->at + 1] : '\0';
	char quoted[CONFIG_TEXT_QUOTED];

	if (is_one_of(c, "\\\"nt"))
		return;
	config_text_quote(lexer->text + lexer->at, c ? 2 : 1, quoted);
	complain(lexer, lexer->line,
		 "%s in double quotes; only \\\\ \\\" \\n and \\t are escapes there", quoted);
	lexer->flawed = true;
}

static void check_string_byte(struct config_lexer *lexer, char quote)
{
	char c = lexer->text[lexer->at];
	bool is_line_end = c == '\n' || starts(lexer, "\r\n");

	if ((unsigned char)c < 0x20 && c != '\t' && !is_line_end) {
		complain(lexer, lexer->line, "a control character (0x%02x) in a text",
			 (unsigned char)c);
		lexer->flawed = true;
	}
	if (quote == '"' && starts(lexer, "${")) {
		complain(lexer, lexer->line,
			 "${ in double quotes: a configuration does not depend on the environment; "
			 "write the value itself, or '...' for the two characters");
		lexer->flawed = true;
	}
	if (quote == '"' && c == '\\')
		check_escape(lexer);
}

/* Whether a text that holds nothing but blanks up to here may have begun on an earlier line. */
static bool may_begin(const struct config_lexer *lexer, bool spans)
{
	return !spans || starts(lexer, "-----BEGIN");
}

/* To behind the closing quote: true. A quote that is missing would otherwise swallow half the file,
 * so the line's end ends a text that is not PEM. */
static bool read_string_bytes(struct config_lexer *lexer, char quote)
{
	bool is_blank = true, is_pem = false, spans = false;

	for (; lexer->at < lexer->len; lexer->at++) {
		char c = lexer->text[lexer->at];

		if (c == quote) {
			lexer->at++;
			return true;
		}
		if (is_blank && !isspace((unsigned char)c)) {
			if (!may_begin(lexer, spans))
				return false;
			is_pem = starts(lexer, "-----BEGIN");
			is_blank = false;
		}
		if (c == '\n' && !is_blank && !is_pem)
			return false;
		check_string_byte(lexer, quote);
		lexer->line += c == '\n';
		spans |= c == '\n';
		if (c == '\\' && starts(lexer, quote == '"' ? "\\\"" : "\\'"))
			lexer->at++;
		else if (starts(lexer, "\\\\"))
			lexer->at++;
	}
	return false;
}

static void read_string(struct config_lexer *lexer)
{
	unsigned line = lexer->line;
	char quote = lexer->text[lexer->at++];

	if (read_string_bytes(lexer, quote))
		return;
	lexer->broken = true;
	lexer->cut_off = lexer->at >= lexer->len;
	if (!lexer->cut_off)
		complain(lexer, line,
			 "the text that begins here is not closed on its line; a %c is missing",
			 quote);
	else
		complain(lexer, line,
			 "the text that begins here is not closed; a %c is missing or the file is "
			 "cut off",
			 quote);
}

/* What looks like a configuration elsewhere and is none here: how many bytes of it to pass over,
 * and why; 0 for others. */
static size_t find_foreign(const struct config_lexer *lexer, const char **ret_why)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *why;
	} foreign[] = {
		{"+=", 1, "+= is not known; write = and the whole list"},
		{"\xef\xbb\xbf", 3,
		 "a byte order mark; save the file as UTF-8 without one, or ASCII"},
		{"(", 1, "there are no functions, and no include: a configuration is one file"},
	};

	for (size_t i = 0; i < sizeof(foreign) / sizeof(*foreign); i++) {
		if (starts(lexer, foreign[i].bytes)) {
			*ret_why = foreign[i].why;
			return foreign[i].len;
		}
	}
	return 0;
}

static bool may_be_mark(char c)
{
	return is_word_byte(c) || isspace((unsigned char)c) || is_one_of(c, "#\"'{}=,");
}

static void refuse_bytes(struct config_lexer *lexer)
{
	char quoted[CONFIG_TEXT_QUOTED];
	const char *why;
	size_t begin = lexer->at, len = find_foreign(lexer, &why);
	bool is_ascii = (unsigned char)lexer->text[begin] < 0x80;

	lexer->broken = true;
	if (len > 0) {
		complain(lexer, lexer->line, "%s", why);
		lexer->at += len;
		return;
	}
	/* A run of them is one problem. */
	lexer->at++;
	while (lexer->at < lexer->len && !may_be_mark(lexer->text[lexer->at]))
		lexer->at++;
	config_text_quote(lexer->text + begin, is_ascii ? 1 : lexer->at - begin, quoted);
	complain(lexer, lexer->line,
		 is_ascii ? "unexpected %s; texts with such characters need quotes"
			  : "unexpected %s, which is not ASCII; quotes are \" and ', blanks are "
			    "plain",
		 quoted);
}

static enum config_token_kind read_token(struct config_lexer *lexer)
{
	static const char marks[] = "{}=,";
	char c = lexer->text[lexer->at];
	const char *mark = strchr(marks, c);

	if (c == '"' || c == '\'') {
		read_string(lexer);
		return CONFIG_TOKEN_STRING;
	}
	if (is_word_byte(c)) {
		read_word(lexer);
		return CONFIG_TOKEN_WORD;
	}
	lexer->at++;
	return CONFIG_TOKEN_OPEN + (enum config_token_kind)(mark - marks);
}

void config_token_next(struct config_lexer *lexer)
{
	unsigned last_line = lexer->line;

	if (lexer->problems->count >= CONFIG_PROBLEMS_MAX) {
		lexer->at = lexer->len; /* nobody reads more */
		lexer->broken = true;
	}
	skip_space(lexer);
	while (lexer->at < lexer->len && !is_word_byte(lexer->text[lexer->at]) &&
	       !is_one_of(lexer->text[lexer->at], "\"'{}=,")) {
		refuse_bytes(lexer);
		skip_space(lexer);
	}
	lexer->token = (struct config_token){
		.begin = lexer->at,
		.line = lexer->line,
		.first = lexer->line > last_line || lexer->at == 0,
	};
	lexer->token.kind = lexer->at < lexer->len ? read_token(lexer) : CONFIG_TOKEN_END;
	lexer->token.end = lexer->at;
}

const char *config_token_quote(const struct config_lexer *lexer, const struct config_token *token,
			       char buf[static CONFIG_TEXT_QUOTED])
{
	size_t trim = token->kind == CONFIG_TOKEN_STRING;
	size_t len = token->end - token->begin;

	return config_text_quote(lexer->text + token->begin + trim,
				 len > 2 * trim ? len - 2 * trim : 0, buf);
}

bool config_token_is_text(const struct config_token *token)
{
	return token->kind == CONFIG_TOKEN_WORD || token->kind == CONFIG_TOKEN_STRING;
}
