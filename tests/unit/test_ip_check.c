/* wire/ip_check: what may travel at all. A row's packet is good but for what its name says. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ip_check.h"

enum { PACKET_MAX = 256 };

#define A     "c0000201" /* 192.0.2.1 */
#define B     "c6336402" /* 198.51.100.2 */
#define C     "20010db8 00000000 00000000 00000001"
#define D     "20010db8 00000000 00000000 00000002"
#define PORTS "04d2162e"
#define UDP   PORTS "00080000"
#define TCP   PORTS "00000001 00000000 50020000 00000000"
#define OCTET "00000000 00000000"

/* A whole UDP packet between two addresses. */
#define V4(source, destination) "4500001c 00000000 40110000" source destination UDP
#define V6(source, destination) "60000000 00081140" source destination UDP
/* From A to B (C to D), with the rest of the packet; len, protocol, fragment field in
 * hexadecimal. */
#define V4_OF(len, fragment, protocol, rest)                                                       \
	"450000" len "0000" fragment "40" protocol "0000" A B rest
#define V6_OF(len, next, rest) "60000000 00" len next "40" C D rest
/* A fragment header, field and more in hexadecimal. */
#define PART(next, field) next "00" field "00000001"

struct row {
	const char *name, *hex;
	enum ip_error error;
};

static const struct row address_rows[] = {
	{"good v4", V4(A, B), IP_OK},
	{"good v6", V6(C, D), IP_OK},
	{"to a group", V4(A, "e00000fb"), IP_ERROR_MULTICAST},
	{"to the first group", V4(A, "e0000000"), IP_ERROR_MULTICAST},
	{"to the last group", V4(A, "efffffff"), IP_ERROR_MULTICAST},
	{"from a group", V4("e00000fb", B), IP_ERROR_MULTICAST},
	{"to all", V4(A, "ffffffff"), IP_ERROR_BROADCAST},
	{"from all", V4("ffffffff", B), IP_ERROR_BROADCAST},
	{"to loopback", V4(A, "7f000001"), IP_ERROR_LOOPBACK},
	{"to the end of loopback", V4(A, "7fffffff"), IP_ERROR_LOOPBACK},
	{"from loopback", V4("7f000001", B), IP_ERROR_LOOPBACK},
	{"to a link", V4(A, "a9fe0102"), IP_ERROR_LINK_LOCAL},
	{"from a link", V4("a9fe0102", B), IP_ERROR_LINK_LOCAL},
	{"beside the link's", V4(A, "a9fd0102"), IP_OK},
	{"to nobody", V4(A, "00000000"), IP_ERROR_UNSPECIFIED},
	{"from nobody", V4("00000000", B), IP_ERROR_UNSPECIFIED},
	{"to this network", V4(A, "00000001"), IP_ERROR_MARTIAN},
	{"from this network", V4("00ffffff", B), IP_ERROR_MARTIAN},
	{"to the future", V4(A, "f0000001"), IP_ERROR_MARTIAN},
	{"from the future", V4("fffffffe", B), IP_ERROR_MARTIAN},
	{"highest of a host", V4("dfffffff", "01000000"), IP_OK},
	{"a DHCP client's", V4("00000000", "ffffffff"), IP_ERROR_BROADCAST},
	{"v6 to a group", V6(C, "ff020000 00000000 00000000 00000016"), IP_ERROR_MULTICAST},
	{"v6 from a group", V6("ff050000 00000000 00000000 00000002", D), IP_ERROR_MULTICAST},
	{"v6 to loopback", V6(C, "00000000 00000000 00000000 00000001"), IP_ERROR_LOOPBACK},
	{"v6 from loopback", V6("00000000 00000000 00000000 00000001", D), IP_ERROR_LOOPBACK},
	{"v6 to nobody", V6(C, "00000000 00000000 00000000 00000000"), IP_ERROR_UNSPECIFIED},
	{"v6 from nobody", V6("00000000 00000000 00000000 00000000", D), IP_ERROR_UNSPECIFIED},
	{"v6 to a link", V6(C, "fe800000 00000000 00000000 00000002"), IP_ERROR_LINK_LOCAL},
	{"v6 to the end of a link", V6(C, "febfffff 00000000 00000000 00000002"),
	 IP_ERROR_LINK_LOCAL},
	{"v6 from a link", V6("fe800000 00000000 00000000 00000002", D), IP_ERROR_LINK_LOCAL},
	{"v6 beside the link's", V6(C, "fec00000 00000000 00000000 00000002"), IP_OK},
	{"v6 mapped", V6(C, "00000000 00000000 0000ffff 7f000001"), IP_ERROR_MARTIAN},
	{"v6 from mapped", V6("00000000 00000000 0000ffff" A, D), IP_ERROR_MARTIAN},
	{"v6 compatible", V6(C, "00000000 00000000 00000000" B), IP_ERROR_MARTIAN},
	{"v6 nearly mapped", V6(C, "00000000 00000000 0000fffe" B), IP_OK},
	{"v6 translated (RFC 6052) is a host's", V6(C, "0064ff9b 00000000 00000000" B), IP_OK},
	{"v6 report to a group from a link",
	 V6("fe800000 00000000 00000000 00000002", "ff020000 00000000 00000000 00000016"),
	 IP_ERROR_MULTICAST},
};

static const struct row route_rows[] = {
	{"loose source route", "48000028 00000000 40110000" A B "830b04 c0000209 c000020a 00" UDP,
	 IP_ERROR_SOURCE_ROUTE},
	{"strict source route", "48000028 00000000 40110000" A B "890b04 c0000209 c000020a 00" UDP,
	 IP_ERROR_SOURCE_ROUTE},
	{"source route behind others",
	 "48000028 00000000 40110000" A B "01940400 00018307 04c00002" UDP, IP_ERROR_SOURCE_ROUTE},
	{"source route behind the end is no option",
	 "47000024 00000000 40110000" A B "01008307 04c00002" UDP, IP_OK},
	{"record route", "47000024 00000000 40110000" A B "07070400 00000000" UDP, IP_OK},
	{"router alert", "46000020 00000000 40110000" A B "94040000" UDP, IP_OK},
	{"option past the header", "46000020 00000000 40110000" A B "94050000" UDP,
	 IP_ERROR_HEADER},
	{"option of length 1", "46000020 00000000 40110000" A B "94010000" UDP, IP_ERROR_HEADER},
	{"option of length 0", "46000020 00000000 40110000" A B "94000000" UDP, IP_ERROR_HEADER},
	{"option without a length", "46000020 00000000 40110000" A B "01010194" UDP,
	 IP_ERROR_HEADER},
	{"routing header 0", V6_OF("20", "2b", "11020001 00000000" C UDP), IP_ERROR_SOURCE_ROUTE},
	{"routing header 0, used up", V6_OF("20", "2b", "11020000 00000000" C UDP),
	 IP_ERROR_SOURCE_ROUTE},
	{"routing header 2", V6_OF("20", "2b", "11020201 00000000" C UDP), IP_ERROR_SOURCE_ROUTE},
	{"routing header 4, used up", V6_OF("20", "2b", "11020400 00000000" C UDP), IP_OK},
	{"routing header behind options",
	 V6_OF("28", "3c", "2b000104 00000000 11020401 00000000" C UDP), IP_ERROR_SOURCE_ROUTE},
	{"two routing headers, the second used up",
	 V6_OF("18", "2b", "2b000401 00000000 11000400 00000000" UDP), IP_ERROR_SOURCE_ROUTE},
	{"options, hop by hop", V6_OF("10", "00", "11000104 00000000" UDP), IP_OK},
};

static const struct row transport_rows[] = {
	{"v4 TCP", V4_OF("28", "0000", "06", TCP), IP_OK},
	{"v4 TCP of 19 bytes", V4_OF("27", "0000", "06", PORTS "00000001 00000000 50020000 000000"),
	 IP_ERROR_TRANSPORT},
	{"v4 TCP, ports alone", V4_OF("18", "0000", "06", PORTS), IP_ERROR_TRANSPORT},
	{"v4 TCP, nothing", V4_OF("14", "0000", "06", ""), IP_ERROR_TRANSPORT},
	{"v4 TCP data offset 4",
	 V4_OF("28", "0000", "06", PORTS "00000001 00000000 40020000 00000000"),
	 IP_ERROR_TRANSPORT},
	{"v4 TCP data offset past the end",
	 V4_OF("28", "0000", "06", PORTS "00000001 00000000 60020000 00000000"),
	 IP_ERROR_TRANSPORT},
	{"v4 TCP options",
	 V4_OF("2c", "0000", "06", PORTS "00000001 00000000 60020000 00000000 01010101"), IP_OK},
	{"v4 UDP of 7 bytes", V4_OF("1b", "0000", "11", PORTS "000700"), IP_ERROR_TRANSPORT},
	{"v4 UDP length 7", V4_OF("1c", "0000", "11", PORTS "00070000"), IP_ERROR_TRANSPORT},
	{"v4 UDP length 0", V4_OF("1c", "0000", "11", PORTS "00000000"), IP_ERROR_TRANSPORT},
	{"v4 UDP length past the end", V4_OF("1c", "0000", "11", PORTS "00090000"),
	 IP_ERROR_TRANSPORT},
	{"v4 UDP with room behind it", V4_OF("20", "0000", "11", UDP "00000000"), IP_OK},
	{"v4 ICMP of 7 bytes", V4_OF("1b", "0000", "01", "08000000 000100"), IP_ERROR_TRANSPORT},
	{"v4 ICMP of 8 bytes", V4_OF("1c", "0000", "01", "08000000 00010001"), IP_OK},
	{"v4 GRE, nothing", V4_OF("14", "0000", "2f", ""), IP_OK},
	{"v6 TCP", V6_OF("14", "06", TCP), IP_OK},
	{"v6 TCP, ports alone", V6_OF("04", "06", PORTS), IP_ERROR_TRANSPORT},
	{"v6 TCP data offset past the end",
	 V6_OF("14", "06", PORTS "00000001 00000000 f0020000 00000000"), IP_ERROR_TRANSPORT},
	{"v6 UDP length past the end", V6_OF("08", "11", PORTS "00090000"), IP_ERROR_TRANSPORT},
	{"v6 UDP length 0, a jumbogram's", V6_OF("08", "11", PORTS "00000000"), IP_ERROR_TRANSPORT},
	{"v6 UDP behind options, cut", V6_OF("0c", "3c", "11000104 00000000" PORTS),
	 IP_ERROR_TRANSPORT},
	{"v6 ICMPv6 of 4 bytes", V6_OF("04", "3a", "80000000"), IP_ERROR_TRANSPORT},
	{"v6 no next header", V6_OF("00", "3b", ""), IP_OK},
	{"v6 atomic fragment with a lying UDP length",
	 V6_OF("10", "2c", PART("11", "0000") PORTS "00090000"), IP_ERROR_TRANSPORT},
};

static const struct row fragment_rows[] = {
	{"first of UDP", V4_OF("1c", "2000", "11", PORTS "01000000"), IP_OK},
	{"first of UDP, its length is the whole's",
	 V4_OF("24", "2000", "11", PORTS "ffff0000" OCTET), IP_OK},
	{"first of TCP", V4_OF("2c", "2000", "06", TCP "00000000"), IP_OK},
	{"first of TCP without its flags", V4_OF("1c", "2000", "06", PORTS "00000001"),
	 IP_ERROR_FRAGMENT},
	{"first of TCP without all options",
	 V4_OF("2c", "2000", "06", PORTS "00000001 00000000 80020000 00000000 00000000"),
	 IP_ERROR_FRAGMENT},
	{"first without a byte", V4_OF("14", "2000", "2f", ""), IP_ERROR_FRAGMENT},
	{"first that is no multiple of 8", V4_OF("1d", "2000", "11", PORTS "01000000 00"),
	 IP_ERROR_FRAGMENT},
	{"middle", V4_OF("1c", "2003", "06", OCTET), IP_OK},
	{"middle that is no multiple of 8", V4_OF("20", "2003", "11", OCTET "00000000"),
	 IP_ERROR_FRAGMENT},
	{"last, of any length", V4_OF("17", "0003", "11", "000000"), IP_OK},
	{"last without a byte", V4_OF("14", "0003", "11", ""), IP_ERROR_FRAGMENT},
	{"later of TCP over its flags", V4_OF("1c", "0001", "06", OCTET), IP_ERROR_FRAGMENT},
	{"later of TCP over its checksum", V4_OF("1c", "0002", "06", OCTET), IP_ERROR_FRAGMENT},
	{"later of UDP, right behind its header", V4_OF("1c", "0001", "11", OCTET), IP_OK},
	{"last that ends at 65535", V4_OF("1f", "1ffc", "11", OCTET "000000"), IP_OK},
	{"last that ends at 65536", V4_OF("20", "1ffc", "11", OCTET "00000000"), IP_ERROR_FRAGMENT},
	{"last at the highest offset", V4_OF("1c", "1fff", "01", OCTET), IP_ERROR_FRAGMENT},
	{"v6 first of UDP", V6_OF("10", "2c", PART("11", "0001") PORTS "01000000"), IP_OK},
	{"v6 first of TCP without its flags",
	 V6_OF("10", "2c", PART("06", "0001") PORTS "00000001"), IP_ERROR_FRAGMENT},
	{"v6 first whose headers go on in the next",
	 V6_OF("10", "2c", PART("3c", "0001") "06000104 00000000"), IP_ERROR_FRAGMENT},
	{"v6 middle that is no multiple of 8",
	 V6_OF("14", "2c", PART("11", "0019") OCTET "00000000"), IP_ERROR_FRAGMENT},
	{"v6 middle", V6_OF("10", "2c", PART("11", "0019") OCTET), IP_OK},
	{"v6 last", V6_OF("0a", "2c", PART("11", "0018") "0000"), IP_OK},
	{"v6 later of TCP over its flags", V6_OF("10", "2c", PART("06", "0008") OCTET),
	 IP_ERROR_FRAGMENT},
	{"v6 last that ends at 65535", V6_OF("0f", "2c", PART("11", "fff8") "00000000 000000"),
	 IP_OK},
	{"v6 last that ends at 65536", V6_OF("10", "2c", PART("11", "fff8") OCTET),
	 IP_ERROR_FRAGMENT},
	{"v6 options before it count, too",
	 V6_OF("17", "3c", "2c000104 00000000" PART("11", "fff8") "00000000 000000"),
	 IP_ERROR_FRAGMENT},
};

/* What ip_read refuses, is refused with the same. */
static const struct row read_rows[] = {
	{"nothing", "", IP_ERROR_SHORT},
	{"version 5", "5500001c 00000000 40110000" A B UDP, IP_ERROR_VERSION},
	{"header length", "4400001c 00000000 40110000" A B UDP, IP_ERROR_HEADER},
	{"total length", "4500001d 00000000 40110000" A B UDP, IP_ERROR_LENGTH},
	{"payload length", V6_OF("09", "11", UDP), IP_ERROR_LENGTH},
	{"its length before its address", "4500001d 00000000 40110000" A "7f000001" UDP,
	 IP_ERROR_LENGTH},
	{"its address before its ports", "45000018 00000000 40110000" A "7f000001" PORTS,
	 IP_ERROR_LOOPBACK},
};

static size_t read_hex(const char *hex, uint8_t *ret)
{
	size_t len = 0;
	char pair[3] = {0};

	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		memcpy(pair, hex++, 2);
		assert_true(len < PACKET_MAX);
		ret[len++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return len;
}

/* In memory of exactly its size, so that the address sanitizer sees a byte read too far. */
static void check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t bytes[PACKET_MAX], *exact;
		size_t len = read_hex(rows[i].hex, bytes);
		struct ip_view view;
		enum ip_error error;

		exact = malloc(len ? len : 1);
		assert_non_null(exact);
		memcpy(exact, bytes, len);
		error = ip_check(exact, len, &view);
		if (error != rows[i].error)
			fail_msg("%s: %d, not %d", rows[i].name, error, rows[i].error);
		free(exact);
	}
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void test_addresses(void **state)
{
	(void)state;
	CHECK_ROWS(address_rows);
}

static void test_routes(void **state)
{
	(void)state;
	CHECK_ROWS(route_rows);
}

static void test_transport(void **state)
{
	(void)state;
	CHECK_ROWS(transport_rows);
}

static void test_fragments(void **state)
{
	(void)state;
	CHECK_ROWS(fragment_rows);
}

static void test_what_is_no_packet(void **state)
{
	(void)state;
	CHECK_ROWS(read_rows);
}

/* Where a view is given, it is ip_read's. */
static void test_view(void **state)
{
	uint8_t packet[PACKET_MAX];
	size_t len = read_hex(V4_OF("1c", "2003", "11", OCTET), packet);
	struct ip_view view = {0};

	(void)state;
	assert_int_equal(ip_check(packet, len, &view), IP_OK);
	assert_true(view.is_fragment && view.is_later_fragment && view.more_fragments);
	assert_int_equal(view.fragment_at, 24);
	assert_int_equal(view.transport, 20);
	assert_false(view.is_routed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),	  cmocka_unit_test(test_routes),
		cmocka_unit_test(test_transport),	  cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_what_is_no_packet), cmocka_unit_test(test_view),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
