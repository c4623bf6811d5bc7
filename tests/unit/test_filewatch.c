#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "sys/filewatch.h"

static char directory[] = "/tmp/tund-test-filewatch-XXXXXX";

static char *path_of(const char *name)
{
	return xalloc_print("%s/%s", directory, name);
}

static void run(const char *format, const char *name)
{
	char *path = path_of(name), *command = xalloc_print(format, path, path, path, path);

	assert_int_equal(system(command), 0);
	free(command);
	free(path);
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	char *command = xalloc_print("rm -rf %s", directory);
	int r = system(command);

	(void)state;
	free(command);
	return r;
}

struct row {
	const char *name, *before, *watched, *change; /* commands, in the directory */
	bool noticed;
};

static const struct row rows[] = {
	{"written", "echo 1 >f", "f", "echo 2 >f", true},
	{"another written", "echo 1 >f", "f", "echo 2 >g", false},
	{"read", "echo 1 >f", "f", "cat f >g", false},
	{"renamed over", "echo 1 >f; echo 2 >.f", "f", "mv .f f", true},
	{"renamed away", "echo 1 >f", "f", "mv f g", true},
	{"removed", "echo 1 >f", "f", "rm f", true},
	{"comes", "true", "f", "echo 1 >f", true},
	{"rights", "echo 1 >f", "f", "chmod 600 f", true},
	{"in a directory", "mkdir d", "d", "echo 1 >d/f", true},
	{"out of a directory", "mkdir d; echo 1 >d/f", "d", "rm d/f", true},
	{"directory renamed over", "mkdir d e; echo 1 >d/f", "d/f", "mv d x; mv e d", true},
	{"directory comes", "true", "d/e/f", "mkdir -p d/e; echo 1 >d/e/f", true},
	{"link renamed over", "echo 1 >a; echo 2 >b; ln -s a f; ln -s b .f", "f", "mv -T .f f",
	 true},
	{"written behind a link", "mkdir d; echo 1 >d/a; ln -s d/a f", "f", "echo 2 >d/a", true},
	{"behind an absolute link", "mkdir d; echo 1 >d/a; ln -s $PWD/d/a f", "f", "echo 2 >d/a",
	 true},
	{"a link above swapped",
	 "mkdir 1 2; touch 1/f 2/f; ln -s 1 data; ln -s data/f f; ln -s 2 new", "f",
	 "mv -T new data", true},
	{"written behind a link above", "mkdir 1; touch 1/f; ln -s 1 data; ln -s data/f f", "f",
	 "echo 2 >1/f", true},
	{"a loop of links", "ln -s a b; ln -s b a", "a", "rm a", true},
	{"a link to nowhere comes true", "ln -s d/a f", "f", "mkdir d", true},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct filewatch *watch = filewatch_new();
		char *watched, *before, *change;

		run("mkdir %s", "room");
		before = xalloc_print("cd %%s && { %s; }", row->before);
		change = xalloc_print("cd %%s && { %s; }", row->change);
		run(before, "room");
		watched = xalloc_print("%s/room/%s", directory, row->watched);
		filewatch_set(watch, &watched, 1);
		if (filewatch_take(watch))
			fail_msg("%s: noticed before", row->name);
		run(change, "room");
		if (filewatch_take(watch) != row->noticed)
			fail_msg("%s: %snoticed", row->name, row->noticed ? "not " : "");
		if (filewatch_take(watch))
			fail_msg("%s: noticed twice", row->name);
		free(watched);
		free(before);
		free(change);
		filewatch_free(watch);
		run("rm -r %s", "room");
	}
}

/* What is not watched any more is not noticed; what still is, is. */
static void test_set_again(void **state)
{
	struct filewatch *watch = filewatch_new();
	char *paths[] = {path_of("d/f"), path_of("e/f")};

	(void)state;
	run("mkdir %s", "d");
	run("mkdir %s", "e");
	filewatch_set(watch, paths, 2);
	filewatch_set(watch, paths + 1, 1);
	filewatch_take(watch);
	run("touch %s", "d/f");
	assert_false(filewatch_take(watch));
	run("touch %s", "e/f");
	assert_true(filewatch_take(watch));
	filewatch_set(watch, paths, 0);
	run("touch %s", "e/f");
	assert_false(filewatch_take(watch));
	filewatch_free(watch);
	free(paths[0]);
	free(paths[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_set_again),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
