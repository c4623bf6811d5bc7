#pragma once
/* The tokens of a configuration file. What libconfuse would take for the same token is taken, less
 * what would surprise: its environment variables, its escapes that cut a text, texts over several
 * lines. */

#include <stdbool.h>
#include <stddef.h>

#include "config/config_text.h"

enum config_token_kind {
	CONFIG_TOKEN_END,
	CONFIG_TOKEN_WORD,
	CONFIG_TOKEN_STRING,
	CONFIG_TOKEN_OPEN,
	CONFIG_TOKEN_CLOSE,
	CONFIG_TOKEN_ASSIGN,
	CONFIG_TOKEN_COMMA,
};

struct config_token {
	enum config_token_kind kind;
	size_t begin, end; /* offsets; a string's with its quotes */
	unsigned line;
	bool first; /* on its line */
};

struct config_lexer {
	const char *file, *text;
	size_t len, at;
	unsigned line;
	struct config_token token; /* the one that was read last */
	bool flawed;		   /* a token was a problem, but is one; the caller clears it */
	bool broken;		   /* what follows may be no more than the consequence */
	bool cut_off;		   /* a problem has said that the file's end is missing */
	bool has_return;	   /* a problem has told of carriage returns alone */
	struct config_problems *problems;
};

void config_token_next(struct config_lexer *lexer);
bool config_token_is_text(const struct config_token *token);
/* The token for a problem's text; returns buf. */
const char *config_token_quote(const struct config_lexer *lexer, const struct config_token *token,
			       char buf[static CONFIG_TEXT_QUOTED]);
