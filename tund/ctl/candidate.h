#pragma once
/* The configuration and all that it names, read again: parsed, checked, and not in force. */

#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"
#include "pki/material.h"
#include "sys/parent_link.h"

struct candidate {
	struct config *config;	  /* NULL when there are problems */
	struct material material; /* without denials */
	struct buf spki;	  /* of the key that the key holder has under key_generation */
	uint32_t key_generation;
	struct config_problems problems, warnings;
};

/* done takes the candidate. One at a time: where one is under way already, that is the problem. */
void candidate_ask(struct parent_link *link, const struct config *running,
		   void (*done)(struct candidate *candidate, void *user), void *user);
void candidate_free(struct candidate *candidate); /* NULL is fine */
