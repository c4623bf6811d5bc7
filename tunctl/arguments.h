#pragma once
/* The command line. Options may stand anywhere. */

#include <stdbool.h>

struct arguments {
	const char *socket, *instance; /* NULL: not given */
	bool json, help, version;
	const char *serial, *issuer, *certificate, *reason;
	const char *role, *at;
	const char *not_built; /* what was asked for that there is not yet */
	char **words;	       /* the command's name and what follows it */
	int word_count;
};

/* False when an option is unknown or lacks its value; said on standard error. */
bool arguments_read(int argc, char **argv, struct arguments *ret);
