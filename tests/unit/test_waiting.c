#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/waiting.h"

enum { PLACES = 2000, LINES = 500 };

struct world {
	struct waiting_room room;
	struct waiting_line lines[LINES];
	struct waiting_place places[PLACES];
	size_t used;
};

static int open_world(void **state)
{
	*state = calloc(1, sizeof(struct world));
	return *state == NULL;
}

static int close_world(void **state)
{
	struct world *world = *state;

	waiting_done(&world->room);
	free(world);
	return 0;
}

static struct waiting_place *add(struct world *world, size_t line)
{
	struct waiting_place *place = &world->places[world->used];

	place->since_us = (int64_t)world->used++;
	waiting_add(&world->room, &world->lines[line], place);
	return place;
}

static size_t line_of(const struct world *world, const struct waiting_place *place)
{
	assert_non_null(place);
	return (size_t)(place->line - world->lines);
}

static void turns_go_round_the_sources_whoever_came_first(void **state)
{
	struct world *world = *state;

	for (int i = 0; i < 100; i++)
		add(world, 0);
	add(world, 1);
	add(world, 2);
	add(world, 2);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 0);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 1);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 2);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 0);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 2);
	for (int i = 0; i < 98; i++)
		assert_int_equal(line_of(world, waiting_take(&world->room)), 0);
	assert_null(waiting_take(&world->room));
	assert_int_equal(world->room.count, 0);
}

static void a_newcomer_is_behind_those_of_other_sources_who_wait_for_their_first_turn(void **state)
{
	struct world *world = *state;

	add(world, 0);
	add(world, 1);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 0);
	add(world, 2);
	add(world, 0);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 1);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 2);
	assert_int_equal(line_of(world, waiting_take(&world->room)), 0);
}

static void of_one_source_the_oldest_goes_first(void **state)
{
	struct world *world = *state;
	struct waiting_place *first = add(world, 3), *second = add(world, 3);

	assert_ptr_equal(waiting_take(&world->room), first);
	assert_ptr_equal(waiting_take(&world->room), second);
}

static void the_newest_of_the_longest_line_makes_room_for_a_shorter_one(void **state)
{
	struct world *world = *state;
	struct waiting_place *newest = NULL;

	for (int i = 0; i < 4; i++)
		newest = add(world, 0);
	add(world, 1);
	assert_ptr_equal(waiting_take_excess(&world->room, 1), newest);
	assert_int_equal(world->lines[0].count, 3);
	assert_non_null(waiting_take_excess(&world->room, 2));
	assert_non_null(waiting_take_excess(&world->room, 1));
	/* As long as the newcomer's own would be: it is nobody's turn to go. */
	assert_null(waiting_take_excess(&world->room, 1));
	assert_int_equal(world->room.count, 2);
}

static void only_who_has_waited_too_long_is_late_and_the_oldest_first(void **state)
{
	struct world *world = *state;
	struct waiting_place *a = add(world, 0), *b = add(world, 1), *c = add(world, 0);

	assert_null(waiting_take_late(&world->room, 0));
	assert_ptr_equal(waiting_take_late(&world->room, 2), a);
	assert_ptr_equal(waiting_take_late(&world->room, 2), b);
	assert_null(waiting_take_late(&world->room, 2));
	assert_ptr_equal(waiting_take(&world->room), c);
	assert_null(waiting_take_late(&world->room, INT64_MAX));
}

static size_t count_longest(const struct world *world)
{
	size_t longest = 0;

	for (size_t i = 0; i < LINES; i++)
		longest = world->lines[i].count > longest ? world->lines[i].count : longest;
	return longest;
}

static void after_any_calls_the_room_knows_how_many_wait_and_the_longest_line(void **state)
{
	struct world *world = *state;
	size_t count = 0;

	srand(1);
	while (world->used < PLACES) {
		int64_t since_us = rand() % (int64_t)(world->used + 1) / 4;

		switch (rand() % 6) {
		case 0:
			count -= waiting_take(&world->room) != NULL;
			break;
		case 1:
			count -= waiting_take_excess(&world->room, (size_t)rand() % 8) != NULL;
			break;
		case 2:
			count -= waiting_take_late(&world->room, since_us) != NULL;
			break;
		default:
			add(world, (size_t)rand() % (rand() % 4 ? 8 : LINES));
			count++;
			break;
		}
		assert_int_equal(world->room.count, count);
		assert_int_equal(world->room.longest, count_longest(world));
	}
	for (; count; count--)
		assert_non_null(waiting_take(&world->room));
	assert_null(waiting_take(&world->room));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(turns_go_round_the_sources_whoever_came_first),
		TEST(a_newcomer_is_behind_those_of_other_sources_who_wait_for_their_first_turn),
		TEST(of_one_source_the_oldest_goes_first),
		TEST(the_newest_of_the_longest_line_makes_room_for_a_shorter_one),
		TEST(only_who_has_waited_too_long_is_late_and_the_oldest_first),
		TEST(after_any_calls_the_room_knows_how_many_wait_and_the_longest_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
