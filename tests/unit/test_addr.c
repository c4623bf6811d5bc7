#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/addr.h"

static void test_parse_and_print(void **state)
{
	static const struct {
		const char *text;
		unsigned family; /* 0: refused */
		const char *printed;
	} rows[] = {
		{"192.0.2.1", 4, "192.0.2.1"},
		{"0.0.0.0", 4, "0.0.0.0"},
		{"255.255.255.255", 4, "255.255.255.255"},
		{"2001:DB8:0:0::1", 6, "2001:db8::1"},
		{"::", 6, "::"},
		{"::ffff:192.0.2.1", 6, "::ffff:192.0.2.1"},
		{"", 0, NULL},
		{"192.0.2", 0, NULL},
		{"192.0.2.256", 0, NULL},
		{"192.0.2.01", 0, NULL},
		{"192.0.2.1 ", 0, NULL},
		{"2001:db8::1%1", 0, NULL},
		{"2001:db8:::1", 0, NULL},
		{"[::1]", 0, NULL},
		{"localhost", 0, NULL},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr addr = {.family = 9};
		char text[ADDR_TEXT];
		bool parsed = addr_parse(rows[i].text, &addr);

		if (parsed != (rows[i].family != 0))
			fail_msg("\"%s\" parsed: %d", rows[i].text, parsed);
		assert_int_equal(addr.family, parsed ? rows[i].family : 9);
		if (parsed)
			assert_string_equal(addr_print(&addr, text), rows[i].printed);
	}
}

static void test_parse_leaves_the_rest_zero(void **state)
{
	static const uint8_t zero[12];
	struct addr addr;
	(void)state;

	memset(&addr, 0xff, sizeof(addr));
	assert_true(addr_parse("192.0.2.1", &addr));
	assert_memory_equal(addr.bytes + 4, zero, sizeof(zero));
}

static struct addr addr_of(const char *text)
{
	struct addr addr = {0};

	if (text[0] && !addr_parse(text, &addr))
		fail_msg("\"%s\" is no address", text);
	return addr;
}

static void test_no_address_prints(void **state)
{
	struct addr none = {0};
	struct endpoint nowhere = {0};
	char text[ADDR_TEXT], endpoint_text[ADDR_ENDPOINT_TEXT];
	(void)state;

	assert_string_equal(addr_print(&none, text), "none");
	assert_string_equal(addr_endpoint_print(&nowhere, endpoint_text), "none");
}

static void test_compare(void **state)
{
	static const struct {
		const char *a, *b;
		int sign;
	} rows[] = {
		{"192.0.2.1", "192.0.2.1", 0},
		{"192.0.2.1", "192.0.2.2", -1},
		{"192.0.2.1", "192.0.10.0", -1},
		{"255.0.0.0", "::", -1}, /* the family first */
		{"2001:db8::1", "2001:db8::1", 0},
		{"2001:db8::ff", "2001:db8::1", 1},
		{"::ffff:192.0.2.1", "192.0.2.1", 1},
		{"", "0.0.0.0", -1},
		{"", "", 0},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr a = addr_of(rows[i].a), b = addr_of(rows[i].b);
		int order = addr_compare(&a, &b), back = addr_compare(&b, &a);

		if ((order > 0) - (order < 0) != rows[i].sign ||
		    (back > 0) - (back < 0) != -rows[i].sign)
			fail_msg("%s against %s: %d, back %d", rows[i].a, rows[i].b, order, back);
		assert_int_equal(addr_equal(&a, &b), rows[i].sign == 0);
	}
}

static void test_bits(void **state)
{
	struct addr v4 = addr_of("192.0.2.1"), v6 = addr_of("2001:db8::1");
	(void)state;

	assert_int_equal(addr_bits(&v4), 32);
	assert_int_equal(addr_bits(&v6), 128);
}

static void test_of_bytes(void **state)
{
	static const uint8_t bytes[16] = {0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, 0xff, 0xff,
					  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
	struct addr v4 = addr_of_bytes(4, bytes), v6 = addr_of_bytes(6, bytes);
	struct addr same4 = addr_of("32.1.13.184"),
		    same6 = addr_of("2001:db8:ffff:ffff:ffff:ffff:ffff:ff01");
	(void)state;

	assert_memory_equal(&v4, &same4, sizeof(v4)); /* nothing behind the first four */
	assert_memory_equal(&v6, &same6, sizeof(v6));
}

static void test_is_host(void **state)
{
	static const struct {
		const char *text;
		bool host;
	} rows[] = {
		{"192.0.2.1", true},
		{"10.0.0.1", true},
		{"100.64.0.1", true},
		{"240.0.0.1", true},
		{"169.253.255.255", true},
		{"223.255.255.255", true},
		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"127.0.0.1", false},
		{"127.255.255.255", false},
		{"169.254.0.1", false},
		{"224.0.0.1", false},
		{"239.255.255.255", false},
		{"255.255.255.255", false},
		{"255.255.255.254", true},
		{"2001:db8::1", true},
		{"fd00::1", true},
		{"::2", true},
		{"fec0::1", true},
		{"::", false},
		{"::1", false},
		{"fe80::1", false},
		{"febf::1", false},
		{"ff02::1", false},
		{"::ffff:192.0.2.1", false},
		{"", false},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr addr = addr_of(rows[i].text);

		if (addr_is_host(&addr) != rows[i].host)
			fail_msg("\"%s\" as a host", rows[i].text);
	}
}

static void test_add(void **state)
{
	static const struct {
		const char *from;
		uint64_t count;
		const char *sum;
	} rows[] = {
		{"10.0.0.0", 0, "10.0.0.0"},
		{"10.0.0.0", 1, "10.0.0.1"},
		{"10.0.0.255", 1, "10.0.1.0"},
		{"10.0.255.255", 1, "10.1.0.0"},
		{"10.0.0.200", 100, "10.0.1.44"},
		{"10.0.0.0", 0x00ffffff, "10.255.255.255"},
		{"255.255.255.255", 1, "0.0.0.0"},
		{"10.0.0.0", UINT64_C(1) << 32, "10.0.0.0"},
		{"2001:db8::", UINT64_MAX, "2001:db8::ffff:ffff:ffff:ffff"},
		{"2001:db8::ffff:ffff:ffff:ffff", 1, "2001:db8:0:1::"},
		{"2001:db8::ffff:ffff:ffff:ffff", UINT64_MAX, "2001:db8:0:1:ffff:ffff:ffff:fffe"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 2, "::1"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr from = addr_of(rows[i].from), sum = addr_add(&from, rows[i].count);
		char text[ADDR_TEXT];

		if (strcmp(addr_print(&sum, text), rows[i].sum) != 0)
			fail_msg("%s + %llu = %s", rows[i].from, (unsigned long long)rows[i].count,
				 text);
	}
}

static void test_endpoint_parse(void **state)
{
	static const struct {
		const char *text;
		uint16_t default_port;
		const char *printed; /* NULL: refused */
	} rows[] = {
		{"192.0.2.1:443", 0, "192.0.2.1:443"},
		{"192.0.2.1", 443, "192.0.2.1:443"},
		{"192.0.2.1:8443", 443, "192.0.2.1:8443"},
		{"[2001:db8::1]:443", 0, "[2001:db8::1]:443"},
		{"[2001:db8::1]", 443, "[2001:db8::1]:443"},
		{"[::]:65535", 0, "[::]:65535"},
		{"[fe80::1%7]:443", 0, "[fe80::1%7]:443"},
		{"[fe80::1%lo]:443", 0, "[fe80::1%1]:443"},
		{"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%999999999]:65535", 0,
		 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%999999999]:65535"},
		{"192.0.2.1", 0, NULL},
		{"[2001:db8::1]", 0, NULL},
		{"192.0.2.1:", 443, NULL},
		{"192.0.2.1:0", 443, NULL},
		{"192.0.2.1:65536", 443, NULL},
		{"192.0.2.1:000443", 443, NULL},
		{"192.0.2.1:+443", 443, NULL},
		{"192.0.2.1:443x", 443, NULL},
		{"192.0.2.1:4 3", 443, NULL},
		{"2001:db8::1", 443, NULL}, /* is the last group a port? */
		{"2001:db8::1:443", 0, NULL},
		{"[2001:db8::1", 443, NULL},
		{"[2001:db8::1]443", 443, NULL},
		{"[192.0.2.1]:443", 0, NULL},
		{"[fe80::1%]:443", 0, NULL},
		{"[fe80::1%0]:443", 0, NULL},
		{"[fe80::1%no-such-if]:443", 0, NULL},
		{"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]:443", 0, NULL},
		{"example.com:443", 0, NULL},
		{"", 443, NULL},
		{":443", 443, NULL},
		{"[]:443", 443, NULL},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct endpoint at = {0};
		char text[ADDR_ENDPOINT_TEXT];
		bool parsed = addr_endpoint_parse(rows[i].text, rows[i].default_port, &at);

		if (parsed != (rows[i].printed != NULL))
			fail_msg("\"%s\" parsed: %d", rows[i].text, parsed);
		if (!parsed)
			assert_int_equal(at.any.sa_family, AF_UNSPEC);
		else if (strcmp(addr_endpoint_print(&at, text), rows[i].printed) != 0)
			fail_msg("\"%s\" printed %s", rows[i].text, text);
	}
}

static void test_host_split(void **state)
{
	static const struct {
		const char *text;
		uint16_t default_port;
		const char *host; /* NULL: refused */
		unsigned port;
	} rows[] = {
		{"vpn.example:443", 0, "vpn.example", 443},
		{"vpn.example", 443, "vpn.example", 443},
		{"a_b-c.example.:1", 443, "a_b-c.example.", 1},
		{"192.0.2.1", 443, "192.0.2.1", 443},
		{"[2001:db8::1]:8443", 443, "2001:db8::1", 8443},
		{"[fe80::1%wlan0]", 443, "fe80::1%wlan0", 443},
		{"123456789012345678901234567890x", 443, "123456789012345678901234567890x", 443},
		{"123456789012345678901234567890xy", 443, NULL, 0}, /* longer than there is room */
		{"vpn.example", 0, NULL, 0},
		{"vpn.example:", 443, NULL, 0},
		{"vpn.example:https", 443, NULL, 0},
		{"https://vpn.example", 443, NULL, 0},
		{"vpn.example/path", 443, NULL, 0},
		{"user@vpn.example", 443, NULL, 0},
		{"vpn example", 443, NULL, 0},
		{"vpn.example\n", 443, NULL, 0},
		{"2001:db8::1", 443, NULL, 0},
		{"[vpn.example]:443", 443, NULL, 0},
		{"[fe80::1%a]b]", 443, NULL, 0},
		{"[fe80::1%a b]", 443, NULL, 0},
		{"", 443, NULL, 0},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char host[32] = "before";
		uint16_t port = 7;
		bool split = addr_host_split(rows[i].text, rows[i].default_port, host, sizeof(host),
					     &port);

		if (split != (rows[i].host != NULL))
			fail_msg("\"%s\" split: %d", rows[i].text, split);
		if (strcmp(host, split ? rows[i].host : "before") != 0)
			fail_msg("\"%s\" gave host \"%s\"", rows[i].text, host);
		assert_int_equal(port, split ? rows[i].port : 7);
	}
}

static void test_endpoint_and_back(void **state)
{
	static const struct {
		const char *addr, *back;
		socklen_t len;
	} rows[] = {
		{"192.0.2.1", "192.0.2.1", sizeof(struct sockaddr_in)},
		{"2001:db8::1", "2001:db8::1", sizeof(struct sockaddr_in6)},
		{"::ffff:192.0.2.1", "192.0.2.1", sizeof(struct sockaddr_in6)},
		{"::192.0.2.1", "::192.0.2.1", sizeof(struct sockaddr_in6)},
	};
	struct endpoint nowhere = {0};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr addr = addr_of(rows[i].addr), back;
		struct endpoint at = addr_endpoint(&addr, 0x1234);
		char text[ADDR_TEXT];

		assert_int_equal(addr_port(&at), 0x1234);
		assert_int_equal(addr_endpoint_len(&at), rows[i].len);
		back = addr_of_endpoint(&at);
		assert_string_equal(addr_print(&back, text), rows[i].back);
	}
	assert_int_equal(addr_port(&nowhere), 0);
	assert_int_equal(addr_of_endpoint(&nowhere).family, 0);
}

static void test_endpoint_equal(void **state)
{
	static const struct {
		const char *a, *b;
		bool equal;
	} rows[] = {
		{"192.0.2.1:443", "192.0.2.1:443", true},
		{"192.0.2.1:443", "192.0.2.1:444", false},
		{"192.0.2.1:443", "192.0.2.2:443", false},
		{"192.0.2.1:443", "[::ffff:192.0.2.1]:443", false},
		{"[2001:db8::1]:443", "[2001:db8::1]:443", true},
		{"[2001:db8::1]:443", "[2001:db8::2]:443", false},
		{"[2001:db8::1]:443", "[2001:db8::1]:1", false},
		{"[fe80::1%1]:443", "[fe80::1%2]:443", false},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct endpoint a, b;

		assert_true(addr_endpoint_parse(rows[i].a, 0, &a));
		assert_true(addr_endpoint_parse(rows[i].b, 0, &b));
		if (addr_endpoint_equal(&a, &b) != rows[i].equal)
			fail_msg("%s against %s", rows[i].a, rows[i].b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_and_print),
		cmocka_unit_test(test_parse_leaves_the_rest_zero),
		cmocka_unit_test(test_no_address_prints),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_of_bytes),
		cmocka_unit_test(test_is_host),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_endpoint_parse),
		cmocka_unit_test(test_host_split),
		cmocka_unit_test(test_endpoint_and_back),
		cmocka_unit_test(test_endpoint_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
