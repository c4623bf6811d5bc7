#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "base/event.h"

static void hear(const struct event *event, void *user)
{
	*(uint64_t *)user += event->session;
}

static void who_listens_hears_and_nobody_need_listen(void **state)
{
	uint64_t heard = 0;
	struct event_hook hook = {0};
	const struct event event = {.kind = EVENT_SESSION_OPENED, .session = 17};
	(void)state;

	event_post(NULL, &event);
	event_post(&hook, &event);
	assert_int_equal(heard, 0);
	hook = (struct event_hook){hear, &heard};
	event_post(&hook, &event);
	assert_int_equal(heard, 17);
}

static void every_kind_has_a_name_of_its_own(void **state)
{
	(void)state;

	for (int i = 0; i < EVENT_KINDS; i++) {
		const char *name = event_name((enum event_kind)i);

		assert_non_null(name);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(name, event_name((enum event_kind)j));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_listens_hears_and_nobody_need_listen),
		cmocka_unit_test(every_kind_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
