#include "config/config_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <netinet/in.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "config/config_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RULE_FORM    "write \"10.0.0.0/8 tcp/22,443\", ... udp/53, ... icmp or ... any"

static bool refuse(char *problem, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(char *problem, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, CONFIG_RULES_PROBLEM, format, arguments);
	va_end(arguments);
	return false;
}

/* Digits alone, 0..65535; false otherwise. */
static bool parse_port(const char *text, size_t len, unsigned *ret)
{
	unsigned port = 0;

	if (len == 0 || len > 5 || strspn(text, "0123456789") < len)
		return false;
	for (size_t i = 0; i < len; i++)
		port = port * 10 + (unsigned)(text[i] - '0');
	*ret = port;
	return port <= UINT16_MAX;
}

static bool parse_range(const char *text, size_t len, struct config_ports *ret, char *problem)
{
	const char *dash = memchr(text, '-', len);
	size_t first_len = dash ? (size_t)(dash - text) : len;
	char quoted[CONFIG_TEXT_QUOTED];
	unsigned first, last;

	config_text_quote(text, len, quoted);
	if (!parse_port(text, first_len, &first))
		return refuse(problem, "%s is not a port; write 1 to 65535, or 8000-8100", quoted);
	last = first;
	if (dash && !parse_port(dash + 1, len - first_len - 1, &last))
		return refuse(problem, "%s is not a range of ports; write 8000-8100", quoted);
	if (first == 0 || last == 0)
		return refuse(problem,
			      "port 0 is no port; write 1 to 65535, or leave the ports out "
			      "for all");
	if (first > last)
		return refuse(problem, "the range %s is reversed; write %u-%u", quoted, last,
			      first);
	ret->first = (uint16_t)first;
	ret->last = (uint16_t)last;
	return true;
}

static bool parse_ports(const char *text, struct config_rule *rule, char *problem)
{
	struct config_ports range;

	for (;;) {
		size_t len = strcspn(text, ",");

		if (rule->port_count == CONFIG_RULES_PORTS_MAX)
			return refuse(problem, "more than %d ports; write ranges or another rule",
				      CONFIG_RULES_PORTS_MAX);
		if (!parse_range(text, len, &range, problem))
			return false;
		rule->ports = xalloc_grow(rule->ports, rule->port_count + 1, sizeof(range));
		rule->ports[rule->port_count++] = range;
		if (text[len] == '\0')
			return true;
		text += len + 1;
	}
}

/* "47": as the IP header numbers it. 0 stands for any protocol elsewhere, so nobody may mean it. */
static bool parse_protocol_number(const char *text, size_t len, uint8_t *ret)
{
	unsigned number;

	if (len > 3 || !parse_port(text, len, &number) || number == 0 || number > UINT8_MAX)
		return false;
	*ret = number == IPPROTO_ICMPV6 ? IPPROTO_ICMP : (uint8_t)number;
	return true;
}

static bool parse_protocol(const char *text, struct config_rule *rule, char *problem)
{
	static const struct {
		const char *word;
		uint8_t number;
	} words[] = {{"any", 0},
		     {"tcp", IPPROTO_TCP},
		     {"udp", IPPROTO_UDP},
		     {"icmp", IPPROTO_ICMP}};
	size_t len = strcspn(text, "/");
	char quoted[CONFIG_TEXT_QUOTED];
	bool known = parse_protocol_number(text, len, &rule->protocol);

	for (size_t i = 0; i < COUNT(words); i++) {
		if (strlen(words[i].word) != len || memcmp(words[i].word, text, len) != 0)
			continue;
		known = true;
		rule->protocol = words[i].number;
		rule->any_protocol = words[i].number == 0;
	}
	config_text_quote(text, len, quoted);
	if (!known)
		return refuse(problem,
			      "unknown protocol %s; take tcp, udp, icmp, any, or a number 1 to 255",
			      quoted);
	if (text[len] == '\0')
		return true;
	if (rule->protocol != IPPROTO_TCP && rule->protocol != IPPROTO_UDP)
		return refuse(problem, "%s has no ports; take tcp or udp, or leave the ports out",
			      quoted);
	return parse_ports(text + len + 1, rule, problem);
}

/* rest: what follows it, for the remedy. */
static bool parse_net(const char *text, const char *rest, struct prefix *ret, char *problem)
{
	enum { REST_MAX = 100 };
	struct prefix clean;
	char quoted[CONFIG_TEXT_QUOTED], clean_text[PREFIX_TEXT], rest_text[4 * REST_MAX + 1];

	if (prefix_parse(text, ret, &clean))
		return true;
	config_text_quote(text, strlen(text), quoted);
	if (!clean.addr.family)
		return refuse(problem, "%s is not an address or prefix; " RULE_FORM, quoted);
	log_escape(rest, strlen(rest), rest_text, sizeof(rest_text));
	return refuse(problem, "%s has host bits set; write \"%s %s\"", quoted,
		      prefix_print(&clean, clean_text),
		      strlen(rest) < REST_MAX ? rest_text : "...");
}

bool config_rules_parse(const char *text, struct config_rule *ret,
			char problem[static CONFIG_RULES_PROBLEM])
{
	static const char blanks[] = " \t";
	_cleanup_free_ char *copy = xalloc_string(text);
	char *rest = NULL;
	char *net = strtok_r(copy, blanks, &rest);
	char *what = strtok_r(NULL, blanks, &rest);
	struct config_rule rule = {0};

	if (!net || !what)
		return refuse(problem, "a rule is an address and a protocol; " RULE_FORM);
	if (strtok_r(NULL, blanks, &rest))
		return refuse(problem, "more than an address and a protocol; one rule an entry, "
				       "no blanks between ports");
	if (!parse_net(net, what, &rule.net, problem) || !parse_protocol(what, &rule, problem)) {
		free(rule.ports);
		return false;
	}
	*ret = rule;
	return true;
}

void config_rules_done(struct config_rules *rules)
{
	for (size_t i = 0; i < rules->count; i++)
		free(rules->items[i].ports);
	free(rules->items);
	*rules = (struct config_rules){0};
}

static bool is_serial(const char *value)
{
	return value[strspn(value, "0123456789abcdefABCDEF:")] == '\0' &&
	       value[strspn(value, ":")] != '\0';
}

const char *config_rules_condition_problem(const char *condition)
{
	static const struct {
		const char *word;
		char mark;
	} kinds[] = {{"cn", '='},  {"o", '='},	   {"ou", '='},	 {"issuer", '='},
		     {"dns", ':'}, {"email", ':'}, {"uri", ':'}, {"serial", ':'}};
	size_t len = strcspn(condition, "=:");
	size_t i = 0;

	while (i < COUNT(kinds) &&
	       (strlen(kinds[i].word) != len || strncasecmp(condition, kinds[i].word, len) != 0))
		i++;
	if (i == COUNT(kinds))
		return "a condition begins with cn= o= ou= issuer= dns: email: uri: or serial:";
	if (condition[len] != kinds[i].mark)
		return kinds[i].mark == '=' ? "write = after cn, o, ou and issuer"
					    : "write : after dns, email, uri and serial";
	if (condition[len + 1] == '\0')
		return "a value is missing; * stands for any";
	if (strcmp(kinds[i].word, "serial") == 0 && !is_serial(condition + len + 1))
		return "a serial number is written in hexadecimal digits, without *";
	return NULL;
}
