#pragma once
/* The configuration and all that it names, read again: parsed, checked, and not in force. Or, after a
 * file has changed, what the configuration in force names: there, what is wrong stays as it is. */

#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"
#include "pki/material.h"
#include "sys/parent_link.h"

struct candidate {
	struct config *config;	  /* NULL when there are problems, or of files alone */
	struct material material; /* without denials; there with problems, too, of files alone */
	struct buf spki;	  /* of the key that the key holder has under key_generation */
	uint32_t key_generation;
	bool key_stays; /* the one in force, which has been adopted */
	struct config_problems problems, warnings;
};

/* What is in force when it has been read, borrowed for the time of the call. */
struct candidate_basis {
	const struct config *config;
	struct material material;
	const struct buf *spki;
	uint32_t key_generation;
};

/* done takes the candidate. One at a time: where one is under way already, that is the problem. */
void candidate_ask(struct parent_link *link, const struct config *running,
		   void (*basis)(struct candidate_basis *ret, void *user),
		   void (*done)(struct candidate *candidate, void *user), void *user);
/* Of files alone. Where the parent fails, the candidate has no material, and a problem. */
void candidate_ask_files(struct parent_link *link, const struct config *running,
			 void (*basis)(struct candidate_basis *ret, void *user),
			 void (*done)(struct candidate *candidate, void *user), void *user);
void candidate_free(struct candidate *candidate); /* NULL is fine */
