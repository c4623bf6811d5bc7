#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "sys/host.h"

/* Loopback is what every host has. */
static void test_find(void **state)
{
	static const struct {
		const char *within, *except;
		const char *found; /* NULL: nothing */
	} rows[] = {
		{"127.0.0.0/8", "tund0", "127.0.0.1"}, {"127.0.0.1/32", "", "127.0.0.1"},
		{"127.0.0.0/8", "lo", NULL},	       {"127.0.0.2/32", "tund0", NULL},
		{"240.0.0.0/4", "tund0", NULL},	       {"::1/128", "lo", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char interface[IF_NAMESIZE] = "", text[ADDR_TEXT] = "";
		struct prefix within;
		struct addr addr;
		bool found;

		assert_true(prefix_parse(rows[i].within, &within, NULL));
		found = host_find_address(&within, rows[i].except, &addr, interface);
		if (found)
			addr_print(&addr, text);
		if (found != (rows[i].found != NULL) ||
		    (found && (strcmp(text, rows[i].found) != 0 || strcmp(interface, "lo") != 0)))
			fail_msg("%s but %s: %s %s", rows[i].within, rows[i].except, text,
				 interface);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
