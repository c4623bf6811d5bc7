#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/tunnel_params.h"

enum { ERROR = 200 };

static struct addr parse(const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, &addr));
	return addr;
}

static void add(struct prefix_list *list, const char *text)
{
	struct prefix prefix;

	assert_true(prefix_parse(text, &prefix, NULL));
	prefix_list_add(list, &prefix);
}

static struct http_head read_head(const struct buf *text, bool is_request)
{
	struct http_head head;
	size_t len;

	assert_int_equal((is_request ? http_read_request : http_read_response)((char *)text->data,
									       text->len, &head,
									       &len),
			 HTTP_OK);
	assert_int_equal(len, text->len);
	return head;
}

/* ---- the offer ---- */

static struct tunnel_offer read_offer(const char *fields)
{
	struct tunnel_offer offer;
	struct buf text = {0};
	struct http_head head;

	buf_print(&text, "CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\n%s\r\n", fields);
	head = read_head(&text, true);
	tunnel_params_read_offer(&head, &offer);
	buf_done(&text);
	return offer;
}

static const struct tunnel_offer offers[] = {
	{.agent = "tund/1", .want4 = true},
	{.agent = "a b", .hostname = "laptop", .want6 = true, .full6 = true, .mtu = 1280},
	{.cookie = "c=1",
	 .agent = "x",
	 .want4 = true,
	 .want6 = true,
	 .psk = true,
	 .base_mtu = 1500},
	{.agent = "x", .want4 = true, .base_mtu = 576, .mtu = 9216},
};

static void test_offers(void **state)
{
	struct addr none = {0}, held4 = parse("10.99.0.7"), held6 = parse("fd00::7");

	(void)state;
	for (size_t i = 0; i < sizeof(offers) / sizeof(*offers); i++) {
		const struct tunnel_offer *want = &offers[i];
		struct tunnel_offer got;
		struct http_head head;
		struct buf text = {0};

		tunnel_params_write_offer(&text, want, "vpn.example", i % 2 ? &held4 : &none,
					  i % 2 ? &held6 : &none);
		head = read_head(&text, true);
		assert_true(http_text_is(head.method, "CONNECT"));
		assert_true(http_text_is(http_field(&head, "Host"), "vpn.example"));
		tunnel_params_read_offer(&head, &got);
		assert_string_equal(got.cookie, want->cookie);
		assert_string_equal(got.agent, want->agent);
		assert_string_equal(got.hostname, want->hostname);
		assert_int_equal(got.base_mtu, want->base_mtu);
		assert_int_equal(got.mtu, want->mtu);
		assert_int_equal(got.want4, want->want4);
		assert_int_equal(got.want6, want->want6);
		assert_int_equal(got.full6, want->full6);
		assert_int_equal(got.psk, want->psk);
		buf_done(&text);
	}
}

static const struct psk_case {
	const char *list;
	bool offered;
} psk_cases[] = {
	{"PSK-NEGOTIATE", true},
	{"PSK-NEGOTIATE:AES128-SHA", true},
	{"AES256-SHA:PSK-NEGOTIATE:AES128-SHA", true},
	{"AES256-SHA:AES128-SHA:PSK-NEGOTIATE", true},
	{":PSK-NEGOTIATE:", true},
	{"PSK-NEGOTIATE-2", false},
	{"PSK-NEGOTIATE-2:AES128-SHA", false},
	{"X-PSK-NEGOTIATE", false},
	{"PSK-NEGOTIAT", false},
	{"psk-negotiate", false},
	{"AES128-SHA", false},
	{"PSK-NEGOTIATE-2:PSK-NEGOTIATE", true},
	{"PSK-NEGOTIATE,AES128-SHA", false},
	{":", false},
	{"", false},
};

static void test_psk(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(psk_cases) / sizeof(*psk_cases); i++) {
		char fields[200];

		snprintf(fields, sizeof(fields), "X-DTLS-CipherSuite: %s\r\n", psk_cases[i].list);
		if (read_offer(fields).psk != psk_cases[i].offered)
			fail_msg("\"%s\"", psk_cases[i].list);
	}
	assert_false(read_offer("").psk);
}

static const struct mtu_case {
	const char *type, *mtu;
	unsigned read;
} mtu_cases[] = {
	{"IPv4", "575", 0},	    {"IPv4", "576", 576},	 {"IPv4", "9216", 9216},
	{"IPv4", "9217", 0},	    {"IPv6", "1279", 0},	 {"IPv6", "1280", 1280},
	{"IPv6,IPv4", "1279", 0},   {"IPv6,IPv4", "1280", 1280}, {"IPv4", "0", 0},
	{"IPv4", "1400x", 0},	    {"IPv4", "-1400", 0},	 {"IPv4", "", 0},
	{"IPv4", "99999999999", 0},
};

static void test_offered_mtu(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(mtu_cases) / sizeof(*mtu_cases); i++) {
		const struct mtu_case *row = &mtu_cases[i];
		struct tunnel_offer offer;
		char fields[200];

		snprintf(fields, sizeof(fields),
			 "X-CSTP-Address-Type: %s\r\nX-CSTP-MTU: %s\r\nX-CSTP-Base-MTU: %s\r\n",
			 row->type, row->mtu, row->mtu);
		offer = read_offer(fields);
		if (offer.mtu != row->read || offer.base_mtu != row->read)
			fail_msg("%s %s: %u", row->type, row->mtu, offer.mtu);
	}
}

static void test_offer_bounds(void **state)
{
	struct tunnel_offer offer = read_offer("");
	char fields[600], *long_text = fields + 300;

	(void)state;
	assert_true(offer.want4 && !offer.want6);
	assert_string_equal(offer.cookie, "");
	assert_string_equal(offer.agent, "");
	offer = read_offer("X-CSTP-Address-Type: IPv6\r\n");
	assert_true(!offer.want4 && offer.want6);
	assert_false(read_offer("X-CSTP-Full-IPv6-Capability: TRUE\r\n").full6);

	/* Too long to be one of ours: not empty, and equal to none. */
	memset(long_text, 'c', TUNNEL_PARAMS_COOKIE_MAX);
	long_text[TUNNEL_PARAMS_COOKIE_MAX] = '\0';
	memmove(fields, "Cookie: webvpn=", 15);
	memmove(fields + 15, long_text, TUNNEL_PARAMS_COOKIE_MAX);
	strcpy(fields + 15 + TUNNEL_PARAMS_COOKIE_MAX, "\r\n");
	offer = read_offer(fields);
	assert_string_not_equal(offer.cookie, "");
	assert_int_not_equal(offer.cookie[0], 'c');

	/* What a peer calls itself cannot spoil a terminal. */
	offer = read_offer("User-Agent: \xff\"\\\r\n");
	for (const char *c = offer.agent; *c; c++)
		assert_true(*c >= 0x20 && *c < 0x7f);
}

/* ---- the answer ---- */

static struct tunnel_params make_params(bool full6)
{
	struct tunnel_params params = {
		.v4 = parse("10.99.0.7"),
		.v6 = parse("fd00::7"),
		.v4_len = 16,
		.v6_len = 64,
		.full6 = full6,
		.mtu = 1400,
		.base_mtu = 1500,
		.dpd_s = 30,
		.keepalive_s = 20,
		.rekey_s = 3600,
		.idle_timeout_s = 1200,
		.session_timeout_s = 86400,
		.tunnel_all_dns = true,
		.has_dtls = true,
		.dtls_port = 65535,
		.app_id_len = DTLS_APP_ID,
		.dtls_dpd_s = 31,
		.dtls_keepalive_s = 21,
	};

	for (size_t i = 0; i < sizeof(params.app_id); i++)
		params.app_id[i] = (uint8_t)(i * 9);
	add(&params.dns, "10.0.0.53");
	add(&params.dns, "fd00::53");
	tunnel_params_add_domain(&params, "corp.example", 12);
	tunnel_params_add_domain(&params, "lab.examples", 11);
	/* Read back name by name: those of IPv4 first. */
	add(&params.routes, "10.0.0.0/8");
	add(&params.routes, "0.0.0.0/0");
	add(&params.routes, "fd10::/32");
	add(&params.exclude, "10.1.0.0/16");
	add(&params.exclude, "fd10:1::1");
	add(&params.networks, "10.20.0.0/16");
	add(&params.networks, "fd20::/48");
	return params;
}

static void assert_same_lists(const struct prefix_list *a, const struct prefix_list *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++)
		assert_true(prefix_equal(&a->items[i], &b->items[i]));
}

static void assert_same(const struct tunnel_params *a, const struct tunnel_params *b)
{
	assert_true(addr_equal(&a->v4, &b->v4) && addr_equal(&a->v6, &b->v6));
	assert_int_equal(a->v4_len, b->v4_len);
	assert_int_equal(a->v6_len, b->v6_len);
	assert_int_equal(a->mtu, b->mtu);
	assert_int_equal(a->base_mtu, b->base_mtu);
	assert_same_lists(&a->dns, &b->dns);
	assert_same_lists(&a->routes, &b->routes);
	assert_same_lists(&a->exclude, &b->exclude);
	assert_same_lists(&a->networks, &b->networks);
	assert_int_equal(a->domain_count, b->domain_count);
	for (size_t i = 0; i < a->domain_count; i++)
		assert_string_equal(a->domains[i], b->domains[i]);
	assert_int_equal(a->tunnel_all_dns, b->tunnel_all_dns);
	assert_int_equal(a->dpd_s, b->dpd_s);
	assert_int_equal(a->keepalive_s, b->keepalive_s);
	assert_int_equal(a->rekey_s, b->rekey_s);
	assert_int_equal(a->idle_timeout_s, b->idle_timeout_s);
	assert_int_equal(a->session_timeout_s, b->session_timeout_s);
	assert_int_equal(a->has_dtls, b->has_dtls);
	assert_int_equal(a->dtls_port, b->dtls_port);
	assert_int_equal(a->app_id_len, b->app_id_len);
	assert_memory_equal(a->app_id, b->app_id, sizeof(a->app_id));
	assert_int_equal(a->dtls_dpd_s, b->dtls_dpd_s);
	assert_int_equal(a->dtls_keepalive_s, b->dtls_keepalive_s);
}

static void check_round_trip(struct tunnel_params *params)
{
	struct buf text = {0};
	struct tunnel_params got;
	struct http_head head;
	char error[ERROR] = "";

	tunnel_params_write_answer(&text, params, "tund");
	head = read_head(&text, false);
	assert_int_equal(head.status, 200);
	if (!tunnel_params_read_answer(&head, &got, error, sizeof(error)))
		fail_msg("%s", error);
	assert_same(params, &got);
	tunnel_params_done(&got);
	tunnel_params_done(params);
	buf_done(&text);
}

static void test_answers(void **state)
{
	struct tunnel_params params = make_params(true);

	(void)state;
	check_round_trip(&params);
	params = make_params(false);
	check_round_trip(&params);

	params = (struct tunnel_params){.v4 = parse("10.0.0.2"),
					.v4_len = 32,
					.mtu = 576,
					.base_mtu = 576};
	check_round_trip(&params);
	params = (struct tunnel_params){.v6 = parse("fd00::2"),
					.v6_len = 128,
					.full6 = true,
					.mtu = 1280,
					.base_mtu = 9216};
	check_round_trip(&params);
}

/* Clients compare these byte for byte. */
static void test_spelling(void **state)
{
	static const char *const lines[] = {
		"HTTP/1.1 200 CONNECTED\r\n",
		"\r\nX-CSTP-Version: 1\r\n",
		"\r\nX-CSTP-Address: 10.99.0.7\r\nX-CSTP-Netmask: 255.255.0.0\r\n",
		"\r\nX-CSTP-Address-IP6: fd00::7/64\r\n",
		"\r\nX-CSTP-Split-Include: 10.0.0.0/8\r\n",
		"\r\nX-CSTP-Split-Include-IP6: fd10::/32\r\n",
		"\r\nX-CSTP-Split-Exclude: 10.1.0.0/16\r\n",
		"\r\nX-CSTP-Split-Exclude-IP6: fd10:1::1/128\r\n",
		"\r\nX-Tund-Network: 10.20.0.0/16\r\nX-Tund-Network: fd20::/48\r\n",
		"\r\nX-CSTP-Default-Domain: corp.example\r\n",
		"\r\nX-CSTP-Split-DNS: lab.example\r\n",
		"\r\nX-CSTP-DNS: 10.0.0.53\r\n",
		"\r\nX-CSTP-Tunnel-All-DNS: true\r\n",
		"\r\nX-CSTP-Rekey-Time: 3600\r\nX-CSTP-Rekey-Method: new-tunnel\r\n",
		"\r\nX-DTLS-CipherSuite: PSK-NEGOTIATE\r\n",
		"\r\nX-DTLS-App-ID: 0009121b242d363f48515a636c757e8790",
		"\r\nX-CSTP-MTU: 1400\r\n\r\n",
	};
	struct tunnel_params params = make_params(true);
	struct buf text = {0};

	(void)state;
	tunnel_params_write_answer(&text, &params, "tund");
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		if (!memmem(text.data, text.len, lines[i], strlen(lines[i])))
			fail_msg("%s is not in\n%.*s", lines[i], (int)text.len, (char *)text.data);
	}
	tunnel_params_done(&params);
	buf_done(&text);
}

static bool read_answer(const char *fields, struct tunnel_params *ret, char error[static ERROR])
{
	struct buf text = {0};
	struct http_head head;
	bool ok;

	buf_print(&text, "HTTP/1.1 200 OK\r\n%s\r\n", fields);
	head = read_head(&text, false);
	error[0] = '\0';
	ok = tunnel_params_read_answer(&head, ret, error, ERROR);
	if (ok == (error[0] != '\0'))
		fail_msg("%s: read %d, error \"%s\"", fields, ok, error);
	buf_done(&text);
	return ok;
}

#define LEAST "X-CSTP-Address: 10.0.0.2\r\nX-CSTP-MTU: 1400\r\n"

static const struct address_case {
	const char *fields, *v4, *v6; /* as prefixes; NULL: none */
} address_cases[] = {
	{"X-CSTP-Address: 10.0.0.2\r\n", "10.0.0.2/32", NULL},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-Netmask: 255.255.255.255\r\n", "10.0.0.2/32", NULL},
	{"X-CSTP-Netmask: 255.255.254.0\r\nX-CSTP-Address: 10.0.0.2\r\n", "10.0.0.2/23", NULL},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-Netmask: 128.0.0.0\r\n", "10.0.0.2/1", NULL},
	{"X-CSTP-Address-IP6: fd00::2/64\r\n", NULL, "fd00::2/64"},
	{"X-CSTP-Address: fd00::2\r\nX-CSTP-Netmask: fd00::2/112\r\n", NULL, "fd00::2/112"},
	{"X-CSTP-Address: fd00::2\r\n", NULL, "fd00::2/128"},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-Netmask: 255.0.0.0\r\n"
	 "X-CSTP-Address: fd00::2\r\nX-CSTP-Netmask: fd00::2/64\r\n",
	 "10.0.0.2/8", "fd00::2/64"},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-Address-IP6: fd00::2/64\r\n", "10.0.0.2/32",
	 "fd00::2/64"},
};

static void test_addresses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(address_cases) / sizeof(*address_cases); i++) {
		const struct address_case *row = &address_cases[i];
		char fields[400], error[ERROR], v4[PREFIX_TEXT] = "", v6[PREFIX_TEXT] = "";
		struct tunnel_params got;

		snprintf(fields, sizeof(fields), "%sX-CSTP-MTU: 1400\r\n", row->fields);
		if (!read_answer(fields, &got, error))
			fail_msg("%s: %s", row->fields, error);
		if (got.v4.family)
			prefix_print(&(struct prefix){got.v4, got.v4_len}, v4);
		if (got.v6.family)
			prefix_print(&(struct prefix){got.v6, got.v6_len}, v6);
		if (strcmp(v4, row->v4 ? row->v4 : "") != 0 ||
		    strcmp(v6, row->v6 ? row->v6 : "") != 0)
			fail_msg("%s: \"%s\" and \"%s\"", row->fields, v4, v6);
		tunnel_params_done(&got);
	}
}

static const struct route_case {
	const char *text, *route;
} route_cases[] = {
	{"10.0.0.0/8", "10.0.0.0/8"},
	{"10.0.0.0/255.0.0.0", "10.0.0.0/8"},
	{"10.1.2.3/255.255.0.0", "10.1.0.0/16"},
	{"10.1.2.3/16", "10.1.0.0/16"},
	{"0.0.0.0/0.0.0.0", "0.0.0.0/0"},
	{"0.0.0.0/0", "0.0.0.0/0"},
	{"10.1.2.3", "10.1.2.3/32"},
	{"10.1.2.3/255.255.255.255", "10.1.2.3/32"},
	{"fd00::1:2/32", "fd00::/32"},
	{"fd00::1", "fd00::1/128"},
	{"::/0", "::/0"},
};

static void test_routes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(route_cases) / sizeof(*route_cases); i++) {
		const struct route_case *row = &route_cases[i];
		char fields[400], error[ERROR], text[PREFIX_TEXT];
		struct tunnel_params got;

		snprintf(fields, sizeof(fields),
			 LEAST "X-CSTP-Split-Include: %s\r\nX-CSTP-Split-Exclude-IP6: %s\r\n",
			 row->text, row->text);
		if (!read_answer(fields, &got, error))
			fail_msg("%s: %s", row->text, error);
		assert_int_equal(got.routes.count, 1);
		assert_int_equal(got.exclude.count, 1);
		assert_string_equal(prefix_print(got.routes.items, text), row->route);
		assert_string_equal(prefix_print(got.exclude.items, text), row->route);
		tunnel_params_done(&got);
	}
}

static const struct timer_case {
	const char *fields;
	unsigned dpd_s, idle_s, rekey_s, session_s;
} timer_cases[] = {
	{"", 0, 0, 0, 0},
	{"X-CSTP-DPD: 30\r\n", 30, 0, 0, 0},
	{"X-CSTP-DPD: 0\r\n", 0, 0, 0, 0},
	{"X-CSTP-DPD: none\r\n", 0, 0, 0, 0},
	{"X-CSTP-Idle-Timeout: none\r\nX-CSTP-Session-Timeout: NONE\r\n", 0, 0, 0, 0},
	{"X-CSTP-Idle-Timeout: 60\r\nX-CSTP-Session-Timeout: 70\r\n", 0, 60, 0, 70},
	{"X-CSTP-Rekey-Time: 99\r\n", 0, 0, 99, 0},
	{"X-CSTP-Rekey-Time: 99\r\nX-CSTP-Rekey-Method: ssl\r\n", 0, 0, 99, 0},
	{"X-CSTP-Rekey-Time: 99\r\nX-CSTP-Rekey-Method: none\r\n", 0, 0, 0, 0},
	{"X-CSTP-Rekey-Method: new-tunnel\r\n", 0, 0, 0, 0},
};

static void test_timers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(timer_cases) / sizeof(*timer_cases); i++) {
		const struct timer_case *row = &timer_cases[i];
		char fields[400], error[ERROR];
		struct tunnel_params got;

		snprintf(fields, sizeof(fields), LEAST "%s", row->fields);
		assert_true(read_answer(fields, &got, error));
		if (got.dpd_s != row->dpd_s || got.idle_timeout_s != row->idle_s ||
		    got.rekey_s != row->rekey_s || got.session_timeout_s != row->session_s)
			fail_msg("%s: %u %u %u %u", row->fields, got.dpd_s, got.idle_timeout_s,
				 got.rekey_s, got.session_timeout_s);
		tunnel_params_done(&got);
	}
}

#define APP_ID_32 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static const struct dtls_case {
	const char *port, *suite, *app_id;
	bool has;
} dtls_cases[] = {
	{"443", "PSK-NEGOTIATE", APP_ID_32, true}, {"1", "PSK-NEGOTIATE", "00", true},
	{"0", "PSK-NEGOTIATE", APP_ID_32, false},  {"65536", "PSK-NEGOTIATE", APP_ID_32, false},
	{"x", "PSK-NEGOTIATE", APP_ID_32, false},  {"443", "AES128-SHA", APP_ID_32, false},
	{"443", "PSK-NEGOTIATE", NULL, false},
};

static void test_dtls(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(dtls_cases) / sizeof(*dtls_cases); i++) {
		const struct dtls_case *row = &dtls_cases[i];
		char fields[400], error[ERROR];
		struct tunnel_params got;

		snprintf(fields, sizeof(fields),
			 LEAST "X-DTLS-Port: %s\r\nX-DTLS-CipherSuite: %s\r\n%s%s%s", row->port,
			 row->suite, row->app_id ? "X-DTLS-App-ID: " : "",
			 row->app_id ? row->app_id : "", row->app_id ? "\r\n" : "");
		assert_true(read_answer(fields, &got, error));
		if (got.has_dtls != row->has)
			fail_msg("%s %s: %d", row->port, row->suite, got.has_dtls);
		tunnel_params_done(&got);
	}
}

static const struct broken_case {
	const char *fields, *says;
} broken_cases[] = {
	{"X-CSTP-Address: 10.0.0.2\r\n", "no usable MTU"},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-MTU: 575\r\n", "no usable MTU"},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-MTU: 9217\r\n", "no usable MTU"},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-MTU: x\r\n", "no usable MTU"},
	{"X-CSTP-MTU: 1400\r\n", "no address"},
	{"X-CSTP-MTU: 1279\r\nX-CSTP-Address-IP6: fd00::2/64\r\n", "no address"},
	{LEAST "X-CSTP-Address: 10.0.0\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address: 10.0.0.2/24\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address:\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address: 127.0.0.1\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address: 0.0.0.0\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address: 224.0.0.1\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address: 255.255.255.255\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address: ::1\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address: ff02::1\r\n", "X-CSTP-Address"},
	{LEAST "X-CSTP-Address-IP6: fe80::1/64\r\n", "X-CSTP-Address-IP6"},
	{LEAST "X-CSTP-Address-IP6: ::/0\r\n", "X-CSTP-Address-IP6"},
	{LEAST "X-CSTP-Address-IP6: fd00::2\r\nX-CSTP-Address-IP6: fd00::2/x\r\n",
	 "X-CSTP-Address-IP6"},
	{LEAST "X-CSTP-Netmask: fe80::1/64\r\n", "X-CSTP-Netmask"},
	{LEAST "X-CSTP-Netmask: fd00::2/\r\n", "X-CSTP-Netmask"},
	{LEAST "X-CSTP-Netmask:\r\n", "X-CSTP-Netmask"},
	{LEAST "X-CSTP-Netmask: 255.255.0.0/16\r\n", "X-CSTP-Netmask"},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-MTU: 1400 \r\nX-CSTP-DPD: 1\t2\r\n", "timer"},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-MTU: -1400\r\n", "no usable MTU"},
	{"X-CSTP-Address: 10.0.0.2\r\nX-CSTP-MTU: 99999999999\r\n", "no usable MTU"},
	{LEAST "X-CSTP-Address-IP6: 10.0.0.2/24\r\n", "X-CSTP-Address-IP6"},
	{LEAST "X-CSTP-Address-IP6: fd00::2/129\r\n", "X-CSTP-Address-IP6"},
	{LEAST "X-CSTP-Netmask: 255.0.255.0\r\n", "X-CSTP-Netmask"},
	{LEAST "X-CSTP-Netmask: 0.0.0.255\r\n", "X-CSTP-Netmask"},
	{LEAST "X-CSTP-Netmask: 16\r\n", "X-CSTP-Netmask"},
	{LEAST "X-CSTP-DNS: dns.example\r\n", "X-CSTP-DNS"},
	{LEAST "X-CSTP-DNS-IP6: fd00::/64\r\n", "X-CSTP-DNS-IP6"},
	{LEAST "X-CSTP-Split-DNS: a b\r\n", "X-CSTP-Split-DNS"},
	{LEAST "X-CSTP-Split-DNS: ;reboot\r\n", "X-CSTP-Split-DNS"},
	{LEAST "X-CSTP-Split-DNS:\r\n", "X-CSTP-Split-DNS"},
	{LEAST "X-CSTP-Split-Include: 10.0.0.0/33\r\n", "X-CSTP-Split-Include"},
	{LEAST "X-CSTP-Split-Include: 10.0.0.0/255.0.255.0\r\n", "X-CSTP-Split-Include"},
	{LEAST "X-CSTP-Split-Include: 10.0.0.0/\r\n", "X-CSTP-Split-Include"},
	{LEAST "X-CSTP-Split-Exclude: x\r\n", "X-CSTP-Split-Exclude"},
	{LEAST "X-Tund-Network: x\r\n", "X-Tund-Network"},
	{LEAST "X-Tund-Network: 10.0.0.0/33\r\n", "X-Tund-Network"},
	{LEAST "X-CSTP-DPD: soon\r\n", "timer"},
	{LEAST "X-CSTP-Rekey-Time: -1\r\n", "timer"},
	{LEAST "X-CSTP-Idle-Timeout: 9999999999\r\n", "timer"},
	{LEAST "X-DTLS-App-ID: 0\r\n", "X-DTLS-App-ID"},
	{LEAST "X-DTLS-App-ID:\r\n", "X-DTLS-App-ID"},
	{LEAST "X-DTLS-App-ID: 0g\r\n", "X-DTLS-App-ID"},
	{LEAST "X-DTLS-App-ID: 0x\r\n", "X-DTLS-App-ID"},
	{LEAST "X-DTLS-App-ID: 00+1\r\n", "X-DTLS-App-ID"},
	{LEAST "X-DTLS-App-ID: 00 1\r\n", "X-DTLS-App-ID"},
	{LEAST "X-DTLS-App-ID: 00\t1\r\n", "X-DTLS-App-ID"},
	{LEAST "X-DTLS-App-ID: " APP_ID_32 "20\r\n", "X-DTLS-App-ID"},
	{LEAST "X-CSTP-Split-DNS: \"\xff\r\n", "\\x22\\xff"},
};

static void test_broken_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(broken_cases) / sizeof(*broken_cases); i++) {
		const struct broken_case *row = &broken_cases[i];
		struct tunnel_params got;
		char error[ERROR];

		if (read_answer(row->fields, &got, error))
			fail_msg("%s was taken", row->fields);
		if (!strstr(error, row->says))
			fail_msg("%s: \"%s\"", row->fields, error);
		assert_null(strchr(error, '\n'));
		tunnel_params_done(&got);
	}
}

/* Above the limits: domains and resolvers are left out, routes refuse the answer. */
static void test_answer_limits(void **state)
{
	struct buf fields = {0};
	struct tunnel_params got;
	char error[ERROR];

	(void)state;
	buf_print(&fields, "%s", LEAST);
	for (int i = 0; i < TUNNEL_PARAMS_DNS_MAX + 1; i++)
		buf_print(&fields, "X-CSTP-DNS: 10.0.0.%d\r\n", i + 1);
	for (int i = 0; i < TUNNEL_PARAMS_DOMAINS_MAX + 1; i++)
		buf_print(&fields, "X-CSTP-Split-DNS: d%d\r\n", i);
	buf_append(&fields, "", 1);
	assert_true(read_answer((char *)fields.data, &got, error));
	assert_int_equal(got.dns.count, TUNNEL_PARAMS_DNS_MAX);
	assert_int_equal(got.domain_count, TUNNEL_PARAMS_DOMAINS_MAX);
	tunnel_params_done(&got);
	buf_done(&fields);
}

static void test_many_routes(void **state)
{
	static const struct {
		size_t count, networks;
		bool ok;
		const char *says;
	} rows[] = {
		{TUNNEL_PARAMS_ROUTES_MAX, TUNNEL_PARAMS_NETWORKS_MAX, true, ""},
		{TUNNEL_PARAMS_ROUTES_MAX + 1, 0, false, "X-CSTP-Split-Include"},
		{0, TUNNEL_PARAMS_NETWORKS_MAX + 1, false, "X-Tund-Network"},
	};
	struct addr first = parse("10.0.0.0");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct tunnel_params got, params = {.v4 = parse("10.0.0.2"), .mtu = 1400};
		struct http_head head;
		struct buf text = {0};
		char error[ERROR] = "";

		for (size_t k = 0; k < rows[i].count; k++) {
			struct addr addr = addr_add(&first, k);
			struct prefix prefix = prefix_host(&addr);

			prefix_list_add(&params.routes, &prefix);
		}
		for (size_t k = 0; k < rows[i].networks; k++) {
			struct addr addr = addr_add(&first, k);
			struct prefix prefix = prefix_host(&addr);

			prefix_list_add(&params.networks, &prefix);
		}
		tunnel_params_write_answer(&text, &params, "tund");
		head = read_head(&text, false);
		assert_int_equal(tunnel_params_read_answer(&head, &got, error, sizeof(error)),
				 rows[i].ok);
		if (rows[i].ok)
			assert_same_lists(&got.routes, &params.routes);
		else
			assert_non_null(strstr(error, rows[i].says));
		tunnel_params_done(&got);
		tunnel_params_done(&params);
		buf_done(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offers),	       cmocka_unit_test(test_psk),
		cmocka_unit_test(test_offered_mtu),    cmocka_unit_test(test_offer_bounds),
		cmocka_unit_test(test_answers),	       cmocka_unit_test(test_spelling),
		cmocka_unit_test(test_addresses),      cmocka_unit_test(test_routes),
		cmocka_unit_test(test_timers),	       cmocka_unit_test(test_dtls),
		cmocka_unit_test(test_broken_answers), cmocka_unit_test(test_answer_limits),
		cmocka_unit_test(test_many_routes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
