#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/prefix_map.h"

static struct prefix prefix_from(const char *text)
{
	struct prefix prefix;

	if (!prefix_parse_host(text, &prefix))
		fail_msg("\"%s\" is no prefix", text);
	return prefix;
}

static const char *find(const struct prefix_map *map, const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, &addr));
	return prefix_map_find(map, addr.family, addr.bytes);
}

static void test_longest_match(void **state)
{
	static const char *const entries[] = {
		"0.0.0.0/0",   "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32",     "10.1.2.0/24",
		"128.0.0.0/1", "fd00::/8",   "fd00::/64",   "fd00:0:0:1::/64", "fd00::1/128",
	};
	static const struct {
		const char *addr, *match;
	} rows[] = {
		{"1.1.1.1", "0.0.0.0/0"},
		{"10.2.0.0", "10.0.0.0/8"},
		{"10.1.0.0", "10.1.0.0/16"},
		{"10.1.2.2", "10.1.2.0/24"},
		{"10.1.2.3", "10.1.2.3/32"},
		{"200.0.0.1", "128.0.0.0/1"},
		{"fd00::1", "fd00::1/128"},
		{"fd00::2", "fd00::/64"},
		{"fd00:0:0:1::1", "fd00:0:0:1::/64"},
		{"fd00:0:0:2::1", "fd00::/8"},
		{"fc00::1", NULL},
		{"::1", NULL},
	};
	struct prefix_map *map = prefix_map_new();
	(void)state;

	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct prefix prefix = prefix_from(entries[i]);

		assert_null(prefix_map_set(map, &prefix, (void *)entries[i]));
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *match = find(map, rows[i].addr);

		if (!match != !rows[i].match || (match && strcmp(match, rows[i].match) != 0))
			fail_msg("%s matched %s", rows[i].addr, match ? match : "nothing");
	}
	prefix_map_free(map);
}

static void test_set_replaces_and_remove_wants_the_value(void **state)
{
	struct prefix_map *map = prefix_map_new();
	struct prefix net = prefix_from("10.0.0.0/8"), host = prefix_from("10.0.0.1");
	struct prefix unclean = prefix_from("10.9.9.9/8"), six = prefix_from("a00::/8");
	char a, b;
	(void)state;

	assert_null(prefix_map_set(map, &net, &a));
	assert_null(prefix_map_set(map, &host, &a));
	assert_ptr_equal(prefix_map_set(map, &net, &b), &a);
	assert_ptr_equal(prefix_map_exact(map, &net), &b);
	assert_ptr_equal(prefix_map_exact(map, &unclean), &b); /* host bits do not count */
	assert_null(prefix_map_exact(map, &six));
	assert_false(prefix_map_remove(map, &net, &a));
	assert_false(prefix_map_remove(map, &six, &b));
	assert_false(prefix_map_remove(map, &net, NULL));
	assert_true(prefix_map_remove(map, &unclean, &b));
	assert_null(prefix_map_exact(map, &net));
	assert_false(prefix_map_remove(map, &net, &b));
	assert_ptr_equal(prefix_map_exact(map, &host), &a);
	prefix_map_free(map);
}

/* Two hosts make a fork that has no value of its own: not found, not removed. */
static void test_fork_is_no_entry(void **state)
{
	struct prefix_map *map = prefix_map_new();
	struct prefix zero = prefix_from("10.0.0.0"), one = prefix_from("10.0.0.1");
	struct prefix fork = prefix_from("10.0.0.0/31");
	char a, b;
	(void)state;

	assert_null(prefix_map_set(map, &zero, &a));
	assert_null(prefix_map_set(map, &one, &a));
	assert_null(prefix_map_exact(map, &fork));
	assert_false(prefix_map_remove(map, &fork, NULL));
	assert_null(prefix_map_set(map, &fork, &b));
	assert_true(prefix_map_remove(map, &fork, &b));
	assert_ptr_equal(find(map, "10.0.0.0"), &a);
	assert_ptr_equal(find(map, "10.0.0.1"), &a);
	prefix_map_free(map);
}

static void test_free_accepts_null(void **state)
{
	(void)state;
	prefix_map_free(NULL);
}

/* The naive model: a list of entries, walked as a whole. */
enum { MODEL_MAX = 400 };

struct model {
	struct prefix prefixes[MODEL_MAX];
	void *values[MODEL_MAX];
	size_t count;
};

static size_t model_at(const struct model *model, const struct prefix *prefix)
{
	size_t i = 0;

	while (i < model->count && !prefix_equal(&model->prefixes[i], prefix))
		i++;
	return i;
}

static void *model_find(const struct model *model, const struct addr *addr)
{
	void *best = NULL;
	int best_len = -1;

	for (size_t i = 0; i < model->count; i++) {
		if (model->prefixes[i].len > best_len &&
		    prefix_contains(&model->prefixes[i], addr)) {
			best_len = model->prefixes[i].len;
			best = model->values[i];
		}
	}
	return best;
}

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33);
}

/* Only the bits in the mask vary, at each byte, so that prefixes meet often. */
static struct addr random_addr(uint64_t *seed, unsigned family, uint8_t mask)
{
	struct addr addr = {.family = (uint8_t)family};

	for (unsigned i = 0; i < addr_bits(&addr) / 8; i++)
		addr.bytes[i] = (uint8_t)next_random(seed) & mask;
	return addr;
}

static void change_both(struct prefix_map *map, struct model *model, const struct prefix *prefix,
			void *value, bool remove)
{
	size_t at = model_at(model, prefix);
	void *before = at < model->count ? model->values[at] : NULL;

	assert_ptr_equal(prefix_map_exact(map, prefix), before);
	if (remove) {
		assert_int_equal(prefix_map_remove(map, prefix, before), before != NULL);
		if (before) {
			model->count--;
			model->prefixes[at] = model->prefixes[model->count];
			model->values[at] = model->values[model->count];
		}
		return;
	}
	if (!before && model->count == MODEL_MAX)
		return;
	assert_ptr_equal(prefix_map_set(map, prefix, value), before);
	model->prefixes[at] = *prefix;
	model->values[at] = value;
	model->count += !before;
}

static void test_against_the_model(void **state)
{
	static const struct {
		unsigned family;
		uint8_t mask;
	} rows[] = {{4, 0x01}, {4, 0x81}, {4, 0xff}, {6, 0x01}, {6, 0x80}, {6, 0xff}};
	static char values[64];
	(void)state;

	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct prefix_map *map = prefix_map_new();
		struct model model = {.count = 0};
		uint64_t seed = 42 + r;

		for (unsigned step = 0; step < 6000; step++) {
			struct addr addr = random_addr(&seed, rows[r].family, rows[r].mask);
			unsigned len = next_random(&seed) % (addr_bits(&addr) + 1);
			struct prefix prefix = prefix_of(&addr, len);
			/* Grows first, then shrinks; an entry to remove is mostly one that is
			 * there. */
			bool remove = next_random(&seed) % 10 < (step < 3000 ? 3 : 8);

			if (remove && model.count > 0 && next_random(&seed) % 4)
				prefix = model.prefixes[next_random(&seed) % model.count];
			change_both(map, &model, &prefix, &values[next_random(&seed) % 64], remove);
			for (unsigned i = 0; i < 3; i++) {
				addr = random_addr(&seed, rows[r].family, rows[r].mask);
				assert_ptr_equal(prefix_map_find(map, rows[r].family, addr.bytes),
						 model_find(&model, &addr));
			}
		}
		while (model.count > 0) {
			struct prefix last = model.prefixes[model.count - 1];

			change_both(map, &model, &last, NULL, true);
		}
		prefix_map_free(map);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_longest_match),
		cmocka_unit_test(test_set_replaces_and_remove_wants_the_value),
		cmocka_unit_test(test_fork_is_no_entry),
		cmocka_unit_test(test_free_accepts_null),
		cmocka_unit_test(test_against_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
