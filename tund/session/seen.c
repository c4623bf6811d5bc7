#include "session/seen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* Issuer and serial stand side by side; what follows the serial's end is no part of it. */
static size_t key_len(const struct trust_denial *key)
{
	return offsetof(struct trust_denial, serial) + strlen(key->serial);
}

struct seen *seen_find(const struct seen_table *table, const struct trust_denial *key)
{
	struct seen *found;

	HASH_FIND(hh, table->first, key, key_len(key), found);
	return found;
}

static struct seen *make_seen(const struct store_seen *from)
{
	struct seen *seen = xnew(struct seen);

	seen->kind = from->identity.kind;
	seen->name = xalloc_string(from->identity.name);
	seen->subject = xalloc_string(from->subject);
	seen->issuer = xalloc_string(from->issuer);
	memcpy(seen->root, from->identity.root, sizeof(seen->root));
	seen->key = from->key;
	seen->first_at_s = from->first_at_s;
	seen->last_at_s = from->last_at_s;
	seen->not_after_s = from->not_after_s;
	return seen;
}

static void free_seen(struct seen *seen)
{
	free(seen->name);
	free(seen->subject);
	free(seen->issuer);
	free(seen);
}

void seen_remember(struct seen_table *table, const struct store_seen *from)
{
	struct seen *known = seen_find(table, &from->key), *seen;

	if (known) {
		known->last_at_s = from->last_at_s;
	} else if (HASH_COUNT(table->first) < SEEN_MAX) {
		seen = make_seen(from);
		HASH_ADD_KEYPTR(hh, table->first, &seen->key, key_len(&seen->key), seen);
	}
}

struct store_seen seen_expand(const struct seen *seen)
{
	struct store_seen expanded = {
		.identity = {.kind = seen->kind},
		.key = seen->key,
		.first_at_s = seen->first_at_s,
		.last_at_s = seen->last_at_s,
		.not_after_s = seen->not_after_s,
	};

	snprintf(expanded.identity.name, sizeof(expanded.identity.name), "%s", seen->name);
	memcpy(expanded.identity.root, seen->root, sizeof(seen->root));
	snprintf(expanded.subject, sizeof(expanded.subject), "%s", seen->subject);
	snprintf(expanded.issuer, sizeof(expanded.issuer), "%s", seen->issuer);
	return expanded;
}

void seen_done(struct seen_table *table)
{
	struct seen *seen, *next;

	HASH_ITER(hh, table->first, seen, next)
	{
		HASH_DEL(table->first, seen);
		free_seen(seen);
	}
}
