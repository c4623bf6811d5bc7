#pragma once
/* Longest-prefix match: prefix -> pointer (borrowed). One thread at a time. */

#include <stdbool.h>

#include "base/prefix.h"

struct prefix_map;

struct prefix_map *prefix_map_new(void);
void prefix_map_free(struct prefix_map *map);
/* The value that stood at exactly this prefix before, or NULL. */
void *prefix_map_set(struct prefix_map *map, const struct prefix *prefix, void *value);
/* Removes the entry at exactly this prefix if its value is `value`; true when it was. */
bool prefix_map_remove(struct prefix_map *map, const struct prefix *prefix, const void *value);
/* bytes: 4 for family 4, 16 for family 6, network order. NULL where nothing matches. */
void *prefix_map_find(const struct prefix_map *map, unsigned family, const uint8_t *bytes);
void *prefix_map_exact(const struct prefix_map *map, const struct prefix *prefix);
