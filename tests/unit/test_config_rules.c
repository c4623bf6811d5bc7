#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "config/config_rules.h"

/* net, protocol (or any), ports: what the compiled rules will see. */
static void print_rule(const struct config_rule *rule, char *text, size_t size)
{
	char net[PREFIX_TEXT];
	size_t used;

	snprintf(text, size, "%s %s%u", prefix_print(&rule->net, net),
		 rule->any_protocol ? "any" : "", rule->protocol);
	for (size_t i = 0; i < rule->port_count; i++) {
		used = strlen(text);
		snprintf(text + used, size - used, "%c%u-%u", i ? ',' : '/', rule->ports[i].first,
			 rule->ports[i].last);
	}
}

static const struct rule_case {
	const char *text;
	const char *rule;    /* NULL: refused */
	const char *problem; /* part of it */
} rule_cases[] = {
	{"10.10.0.0/16 tcp/22,443,8000-8100", "10.10.0.0/16 6/22-22,443-443,8000-8100", NULL},
	{"10.0.0.53 udp/53", "10.0.0.53/32 17/53-53", NULL},
	{"fd10::/32 any", "fd10::/32 any0", NULL},
	{"10.0.0.0/8 icmp", "10.0.0.0/8 1", NULL},
	{"  10.0.0.0/8 \t tcp ", "10.0.0.0/8 6", NULL},
	{"fd10::1 tcp/1-65535", "fd10::1/128 6/1-65535", NULL},
	{"0.0.0.0/0 47", "0.0.0.0/0 47", NULL},
	{"0.0.0.0/0 255", "0.0.0.0/0 255", NULL},
	{"fd10::/32 58", "fd10::/32 1", NULL},
	{"10.0.0.0/8 6/22", "10.0.0.0/8 6/22-22", NULL},
	{"10.0.0.0/8 tcp/22-22", "10.0.0.0/8 6/22-22", NULL},

	{"", NULL, "an address and a protocol"},
	{"10.0.0.0/8", NULL, "an address and a protocol"},
	{"any", NULL, "an address and a protocol"},
	{"10.0.0.0/8 tcp/22, 443", NULL, "no blanks between ports"},
	{"10.10.1.0/16 tcp/22", NULL, "write \"10.10.0.0/16 tcp/22\""},
	{"10.0.0.1/8 tcp/\x9b"
	 "2J",
	 NULL, "write \"10.0.0.0/8 tcp/\\x9b2J\""},
	{"\xb6 tcp/22", NULL, "\"\\xb6\" is not an address"},
	{"10.0.0.0/8 \xb6", NULL, "unknown protocol \"\\xb6\""},
	{"10.0.0.0/8 tcp/\x7f", NULL, "\"\\x7f\" is not a port"},
	{"fd10::1/64 any", NULL, "write \"fd10::/64 any\""},
	{"10.0.0.0/33 any", NULL, "\"10.0.0.0/33\" is not an address or prefix"},
	{"host any", NULL, "\"host\" is not an address or prefix"},
	{"10.0.0.0/8 sctp", NULL, "unknown protocol \"sctp\""},
	{"10.0.0.0/8 TCP", NULL, "unknown protocol \"TCP\""},
	{"10.0.0.0/8 0", NULL, "unknown protocol \"0\""},
	{"10.0.0.0/8 256", NULL, "unknown protocol \"256\""},
	{"10.0.0.0/8 /22", NULL, "unknown protocol \"\""},
	{"10.0.0.0/8 any/22", NULL, "\"any\" has no ports"},
	{"10.0.0.0/8 icmp/8", NULL, "\"icmp\" has no ports"},
	{"10.0.0.0/8 47/22", NULL, "\"47\" has no ports"},
	{"10.0.0.0/8 tcp/", NULL, "\"\" is not a port"},
	{"10.0.0.0/8 tcp/22,", NULL, "\"\" is not a port"},
	{"10.0.0.0/8 tcp/22,,23", NULL, "\"\" is not a port"},
	{"10.0.0.0/8 tcp/ssh", NULL, "\"ssh\" is not a port"},
	{"10.0.0.0/8 tcp/-1", NULL, "\"-1\" is not a port"},
	{"10.0.0.0/8 tcp/1-", NULL, "\"1-\" is not a range"},
	{"10.0.0.0/8 tcp/1-2-3", NULL, "\"1-2-3\" is not a range"},
	{"10.0.0.0/8 tcp/0", NULL, "port 0"},
	{"10.0.0.0/8 tcp/0-10", NULL, "port 0"},
	{"10.0.0.0/8 tcp/65536", NULL, "\"65536\" is not a port"},
	{"10.0.0.0/8 tcp/1-65536", NULL, "\"1-65536\" is not a range"},
	{"10.0.0.0/8 tcp/000022", NULL, "\"000022\" is not a port"},
	{"10.0.0.0/8 tcp/8100-8000", NULL, "reversed; write 8000-8100"},
};

static void test_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rule_cases) / sizeof(rule_cases[0]); i++) {
		const struct rule_case *row = &rule_cases[i];
		char problem[CONFIG_RULES_PROBLEM] = "", text[200];
		struct config_rule rule;
		bool good = config_rules_parse(row->text, &rule, problem);

		if (good)
			print_rule(&rule, text, sizeof(text));
		if (good != (row->rule != NULL) || (good && strcmp(text, row->rule) != 0) ||
		    (!good && !strstr(problem, row->problem)))
			fail_msg("\"%s\": got %s", row->text, good ? text : problem);
		if (good)
			free(rule.ports);
	}
}

static void test_number_of_ports(void **state)
{
	char problem[CONFIG_RULES_PROBLEM];
	struct config_rule rule;
	struct buf text = {0};

	(void)state;
	buf_print(&text, "10.0.0.0/8 udp/1");
	for (int i = 2; i <= CONFIG_RULES_PORTS_MAX; i++)
		buf_print(&text, ",%d", i);
	buf_append(&text, "", 1);
	assert_true(config_rules_parse((char *)text.data, &rule, problem));
	assert_int_equal(rule.port_count, CONFIG_RULES_PORTS_MAX);
	free(rule.ports);
	text.len--;
	buf_append(&text, ",65535", 7);
	assert_false(config_rules_parse((char *)text.data, &rule, problem));
	assert_non_null(strstr(problem, "more than"));
	buf_done(&text);
}

static const struct condition_case {
	const char *text;
	const char *problem; /* NULL: none */
} condition_cases[] = {
	{"cn=alice", NULL},
	{"o=Corp", NULL},
	{"ou=Eng*", NULL},
	{"OU=Engineering", NULL},
	{"issuer=Corp CA", NULL},
	{"dns:*.corp.example", NULL},
	{"email:*@corp.example", NULL},
	{"uri:spiffe://corp/*", NULL},
	{"serial:01:aF", NULL},
	{"cn==", NULL},
	{"", "begins with"},
	{"*", "begins with"},
	{"l=Berlin", "begins with"},
	{"alice", "begins with"},
	{" cn=alice", "begins with"},
	{"cn:alice", "write = after"},
	{"issuer:x", "write = after"},
	{"dns=x", "write : after"},
	{"serial=1", "write : after"},
	{"cn=", "a value is missing"},
	{"dns:", "a value is missing"},
	{"serial:0x1", "hexadecimal"},
	{"serial:1*", "hexadecimal"},
	{"serial::", "hexadecimal"},
};

static void test_conditions(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(condition_cases) / sizeof(condition_cases[0]); i++) {
		const struct condition_case *row = &condition_cases[i];
		const char *problem = config_rules_condition_problem(row->text);

		if (!problem != !row->problem || (problem && !strstr(problem, row->problem)))
			fail_msg("\"%s\": got %s", row->text, problem ? problem : "no problem");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_number_of_ports),
		cmocka_unit_test(test_conditions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
