#pragma once
/* Waiting until the workers have done what was ordered: flows cut, or given other rules. */

#include <stddef.h>

struct gateway_cut;

/* done is called once, after cut_done and as many cut_acknowledge as there were cut_expect; then it
 * is freed. */
struct gateway_cut *cut_new(void (*done)(void *user), void *user);
void cut_expect(struct gateway_cut *cut);
void cut_acknowledge(struct gateway_cut *cut);
/* Nothing more will be expected. */
void cut_done(struct gateway_cut *cut);
