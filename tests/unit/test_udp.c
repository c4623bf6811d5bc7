/* sys/udp over loopback, in a network namespace of its own. Each test takes ports that the kernel
 * chooses. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "sys/udp.h"

enum { DATA_MAX = 200000, LOOPBACK_MTU = 65536 };

/* Ours, besides 127.0.0.0/8 and ::1. */
#define SECOND_V6     "fd00::2"
#define LINK_LOCAL_V6 "fe80::2"

static struct addr parse(const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, &addr));
	return addr;
}

static struct endpoint endpoint(const char *text, uint16_t port)
{
	struct addr addr = parse(text);

	return addr_endpoint(&addr, port);
}

static struct endpoint name_of(int fd)
{
	struct endpoint at = {0};
	socklen_t size = sizeof(at);

	assert_int_equal(getsockname(fd, &at.any, &size), 0);
	return at;
}

static int open_at(const char *text, unsigned *ret_offloads)
{
	struct endpoint at = endpoint(text, 0);
	int fd = -1;

	assert_int_equal(udp_open(&at, false, &fd, ret_offloads), 0);
	return fd;
}

/* A socket without GRO or anything else: it sees datagrams one by one. */
static int open_plain(const char *text)
{
	struct endpoint at = endpoint(text, 0);
	int fd = socket(at.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int size = 4 * 1024 * 1024;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)), 0);
	assert_int_equal(bind(fd, &at.any, addr_endpoint_len(&at)), 0);
	return fd;
}

static struct udp_path path_to(const char *text, int fd)
{
	struct endpoint at = name_of(fd);

	return (struct udp_path){.peer = endpoint(text, addr_port(&at))};
}

static int get_option(int fd, int level, int option)
{
	socklen_t size = sizeof(int);
	int value;

	assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
	return value;
}

static void set_option(int fd, int level, int option, int value)
{
	assert_int_equal(setsockopt(fd, level, option, &value, sizeof(value)), 0);
}

static uint8_t *make_data(void)
{
	uint8_t *data = malloc(DATA_MAX);

	assert_non_null(data);
	for (size_t i = 0; i < DATA_MAX; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
	return data;
}

/* ---- open ---- */

static void test_open(void **state)
{
	unsigned offloads = 0;
	struct endpoint at;
	int v4, v6, other = 77;

	(void)state;
	v4 = open_at("0.0.0.0", &offloads);
	assert_int_equal(offloads, UDP_OFFLOAD_GSO | UDP_OFFLOAD_GRO);
	assert_true(fcntl(v4, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(v4, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(get_option(v4, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DO);
	/* The kernel doubles it; net.core.rmem_max does not hold against CAP_NET_ADMIN. */
	assert_int_equal(get_option(v4, SOL_SOCKET, SO_RCVBUF), 2 * UDP_BUFFER_BYTES);
	assert_int_equal(get_option(v4, SOL_SOCKET, SO_SNDBUF), 2 * UDP_BUFFER_BYTES);

	/* The same port with both families, because of V6ONLY; and no one else's. */
	at = name_of(v4);
	at = endpoint("::", addr_port(&at));
	assert_int_equal(udp_open(&at, false, &v6, &offloads), 0);
	assert_int_equal(get_option(v6, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_DO);
	assert_int_equal(udp_open(&at, false, &other, &offloads), -EADDRINUSE);
	at = endpoint("192.0.2.1", 0);
	assert_int_equal(udp_open(&at, false, &other, &offloads), -EADDRNOTAVAIL);
	assert_int_equal(other, 77);
	close(v4);
	close(v6);
}

static void test_open_reuseport(void **state)
{
	struct endpoint at = endpoint("127.0.0.1", 0);
	int first, second, other = 77;
	unsigned offloads;

	(void)state;
	assert_int_equal(udp_open(&at, true, &first, &offloads), 0);
	at = name_of(first);
	assert_int_equal(udp_open(&at, true, &second, &offloads), 0);
	assert_int_equal(udp_open(&at, false, &other, &offloads), -EADDRINUSE);
	close(first);
	close(second);
}

/* ---- send ---- */

struct send_row {
	const char *name;
	size_t len, segment, datagrams;
};

static const struct send_row send_rows[] = {
	{"one", 1200, 1200, 1},
	{"one, shorter than a segment", 300, 1200, 1},
	{"two", 2400, 1200, 2},
	{"a short last one", 2401, 1200, 3},
	{"64", 64 * 100, 100, 64},
	{"more segments than one run has", 200 * 100 + 1, 100, 201},
	{"more bytes than one run has", 140 * 1400, 1400, 140},
	{"big segments", 100000, 30000, 4},
	{"segments nearly a run", 130000, 64999, 3},
	{"segments of a run", 130000, 65000, 2},
	{"the biggest datagrams", 2 * 65488, 65488, 2},
	{"bytes", 70, 1, 70},
};

static void check_datagrams(int fd, const uint8_t *data, const struct send_row *row)
{
	static uint8_t got[UDP_DATAGRAM_MAX];
	size_t at = 0, expected;

	for (size_t i = 0; i < row->datagrams; i++, at += expected) {
		expected = row->len - at < row->segment ? row->len - at : row->segment;
		assert_int_equal(recv(fd, got, sizeof(got), 0), expected);
		assert_memory_equal(got, data + at, expected);
	}
	assert_int_equal(at, row->len);
	assert_int_equal(recv(fd, got, sizeof(got), 0), -1);
}

static void test_send(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};
	uint8_t *data = make_data();

	(void)state;
	/* Each row over IPv4 and IPv6, with and without GSO, kernel's and chosen source. */
	for (unsigned i = 0; i < 8 * sizeof(send_rows) / sizeof(send_rows[0]); i++) {
		const struct send_row *row = &send_rows[i / 8];
		const char *address = addresses[i & 1];
		unsigned offloads = 0, wanted;
		int from = open_at(address, &offloads), to = open_plain(address);
		struct udp_path path = path_to(address, to);
		size_t sent = 99999;

		if (i & 2)
			offloads &= ~UDP_OFFLOAD_GSO;
		if (i & 4)
			path.local = parse(address);
		wanted = offloads;
		print_message("%s, %s\n", row->name, address);
		assert_int_equal(udp_send(from, &offloads, &path, data, row->len, row->segment,
					  &sent),
				 0);
		assert_int_equal(sent, row->datagrams);
		assert_int_equal(offloads, wanted);
		check_datagrams(to, data, row);
		close(from);
		close(to);
	}
	free(data);
}

/* GSO saves system calls: a run is one message to a socket that takes it whole. */
static void test_send_is_one_run(void **state)
{
	unsigned offloads;
	int from = open_at("127.0.0.1", &offloads), to = open_at("127.0.0.1", &offloads);
	struct udp_receiver *receiver = udp_receiver_new();
	struct udp_path path = path_to("127.0.0.1", to);
	struct udp_run runs[UDP_BATCH];
	uint8_t *data = make_data();
	size_t sent;

	(void)state;
	assert_int_equal(udp_send(from, &offloads, &path, data, 64 * 500, 500, &sent), 0);
	assert_int_equal(udp_receive(receiver, to, runs), 1);
	assert_int_equal(runs[0].len, 64 * 500);
	offloads &= ~UDP_OFFLOAD_GSO;
	assert_int_equal(udp_send(from, &offloads, &path, data, 5 * 500, 500, &sent), 0);
	assert_int_equal(udp_receive(receiver, to, runs), 5);
	udp_receiver_free(receiver);
	free(data);
	close(from);
	close(to);
}

static void test_send_empty(void **state)
{
	unsigned offloads;
	int from = open_at("127.0.0.1", &offloads), to = open_plain("127.0.0.1");
	struct udp_path path = path_to("127.0.0.1", to);
	size_t sent = 99;
	uint8_t byte;

	(void)state;
	assert_int_equal(udp_send(from, &offloads, &path, &byte, 1, 0, &sent), -EINVAL);
	assert_int_equal(sent, 0);
	assert_int_equal(udp_send(from, &offloads, &path, &byte, 0, 0, &sent), 0);
	assert_int_equal(sent, 1);
	assert_int_equal(recv(to, &byte, 1, 0), 0);
	close(from);
	close(to);
}

/* The kernel refuses GSO (here: because the socket sends no checksums) but not single datagrams. */
static void test_send_gso_refused(void **state)
{
	const struct send_row row = {"", 2500, 1000, 3};
	unsigned offloads;
	int from = open_at("127.0.0.1", &offloads), to = open_plain("127.0.0.1");
	struct udp_path path = path_to("127.0.0.1", to);
	uint8_t *data = make_data();
	size_t sent;

	(void)state;
	set_option(from, SOL_SOCKET, SO_NO_CHECK, 1);
	assert_int_equal(udp_send(from, &offloads, &path, data, 1000, 1000, &sent), 0);
	assert_int_equal(recv(to, data + 10000, 1000, 0), 1000);
	assert_true(offloads & UDP_OFFLOAD_GSO);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(udp_send(from, &offloads, &path, data, row.len, row.segment,
					  &sent),
				 0);
		assert_int_equal(offloads, UDP_OFFLOAD_GRO);
		assert_int_equal(sent, row.datagrams);
		check_datagrams(to, data, &row);
	}
	free(data);
	close(from);
	close(to);
}

/* EINVAL has other reasons, which do not cost us GSO. */
static void test_send_foreign_source(void **state)
{
	unsigned offloads, wanted;
	int from = open_at("::", &offloads);
	struct udp_path path = path_to("::1", from);
	uint8_t *data = make_data();
	size_t sent = 99;

	(void)state;
	wanted = offloads;
	path.local = parse("2001:db8::77");
	assert_int_equal(udp_send(from, &offloads, &path, data, 3000, 1000, &sent), -EINVAL);
	assert_int_equal(sent, 0);
	assert_int_equal(offloads, wanted);
	free(data);
	close(from);
}

static void set_mtu(int mtu)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	request.ifr_mtu = mtu;
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &request), 0);
	close(fd);
}

static void test_send_too_big(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};
	uint8_t *data = make_data();

	(void)state;
	set_mtu(1500);
	for (unsigned i = 0; i < 4; i++) {
		const char *address = addresses[i & 1];
		size_t fits = i & 1 ? 1452 : 1472, sent = 99;
		unsigned offloads, wanted;
		int from = open_at(address, &offloads), to = open_plain(address);
		struct udp_path path = path_to(address, to);

		if (i & 2)
			offloads &= ~UDP_OFFLOAD_GSO;
		wanted = offloads;
		assert_int_equal(udp_send(from, &offloads, &path, data, fits + 1, fits + 1, &sent),
				 -EMSGSIZE);
		assert_int_equal(sent, 0);
		assert_int_equal(udp_send(from, &offloads, &path, data, 5 * fits, fits + 1, &sent),
				 -EMSGSIZE);
		assert_int_equal(sent, 0);
		assert_int_equal(offloads, wanted);
		assert_int_equal(udp_send(from, &offloads, &path, data, 5 * fits, fits, &sent), 0);
		assert_int_equal(sent, 5);
		assert_int_equal(offloads, wanted);
		close(from);
		close(to);
	}
	set_mtu(LOOPBACK_MTU);
	/* Past what IP can say at all. */
	for (unsigned i = 0; i < 2; i++) {
		unsigned offloads;
		int from = open_at("127.0.0.1", &offloads);
		struct udp_path path = path_to("127.0.0.1", from);
		size_t sent = 99;

		assert_int_equal(udp_send(from, &offloads, &path, data, DATA_MAX, 65508, &sent),
				 -EMSGSIZE);
		assert_int_equal(sent, 0);
		close(from);
	}
	free(data);
}

/* An Ethernet where nobody answers ARP: what is sent waits, and fills the socket's buffer. */
static int make_silent_ethernet(void)
{
	struct ifreq request = {.ifr_name = "silent", .ifr_flags = IFF_TAP | IFF_NO_PI};
	struct endpoint at = endpoint("10.9.9.1", 0), mask = endpoint("255.255.255.0", 0);
	int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(tap >= 0);
	assert_int_equal(ioctl(tap, TUNSETIFF, &request), 0);
	memcpy(&request.ifr_addr, &at.in, sizeof(at.in));
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
	memcpy(&request.ifr_netmask, &mask.in, sizeof(mask.in));
	assert_int_equal(ioctl(fd, SIOCSIFNETMASK, &request), 0);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
	return tap;
}

static void test_send_full(void **state)
{
	struct udp_path path = {.peer = endpoint("10.9.9.9", 9)};
	int tap = make_silent_ethernet(), from, error = 0;
	uint8_t *data = make_data();
	size_t sent = 99;
	unsigned offloads;

	(void)state;
	from = open_at("0.0.0.0", &offloads);
	set_option(from, SOL_SOCKET, SO_SNDBUF, 8000);
	offloads = 0;
	error = udp_send(from, &offloads, &path, data, 60 * 1000, 1000, &sent);
	assert_int_equal(error, -EAGAIN);
	assert_true(sent > 0 && sent < 60);
	error = udp_send(from, &offloads, &path, data, 60 * 1000, 1000, &sent);
	assert_int_equal(error, -EAGAIN);
	assert_int_equal(sent, 0);
	offloads = UDP_OFFLOAD_GSO;
	error = udp_send(from, &offloads, &path, data, 60 * 1000, 1000, &sent);
	assert_true(error == -EAGAIN || error == -ENOBUFS);
	assert_int_equal(sent, 0);
	assert_int_equal(offloads, UDP_OFFLOAD_GSO);
	free(data);
	close(from);
	close(tap);
}

/* "Port unreachable" waits in a connected socket for the next call; that one is not to suffer. */
static void test_icmp_errors(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};
	struct udp_receiver *receiver = udp_receiver_new();
	uint8_t *data = make_data();

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const char *address = addresses[i & 1];
		int nobody = open_plain(address), from;
		struct endpoint peer = name_of(nobody);
		struct udp_path path = {.peer.any.sa_family = AF_UNSPEC};
		struct udp_run runs[UDP_BATCH];
		unsigned offloads;
		size_t sent;

		from = open_at(address, &offloads);
		if (i & 2)
			offloads &= ~UDP_OFFLOAD_GSO;
		close(nobody);
		assert_int_equal(connect(from, &peer.any, addr_endpoint_len(&peer)), 0);
		for (unsigned j = 0; j < 3; j++) {
			assert_int_equal(udp_send(from, &offloads, &path, data, 1000, 1000, &sent),
					 0);
			assert_int_equal(sent, 1);
		}
		/* The errors of its first datagrams stop each call for the rest. */
		assert_int_equal(udp_send(from, &offloads, &path, data, 3000, 1000, &sent), 0);
		assert_int_equal(sent, 3);
		assert_int_equal(get_option(from, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
		assert_int_equal(udp_send(from, &offloads, &path, data, 9, 9, &sent), 0);
		assert_int_equal(udp_receive(receiver, from, runs), 0);
		assert_int_equal(get_option(from, SOL_SOCKET, SO_ERROR), 0);
		close(from);
	}
	udp_receiver_free(receiver);
	free(data);
}

/* ---- receive ---- */

static void check_path(const struct udp_run *run, const char *local, const struct endpoint *peer)
{
	struct addr expected = parse(local);

	assert_true(addr_equal(&run->path.local, &expected));
	assert_int_equal(addr_port(&run->path.peer), addr_port(peer));
}

static void test_receive_runs(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};
	/* Bytes, segment, and what segment comes out. */
	static const size_t rows[][3] = {{10000, 1000, 1000}, {10001, 1000, 1000},
					 {1999, 1000, 1000},  {1000, 1000, 1000},
					 {700, 1000, 700},    {64, 1, 1},
					 {64800, 1200, 1200}};
	struct udp_receiver *receiver = udp_receiver_new();
	uint8_t *data = make_data();

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		const char *address = addresses[i & 1];
		const size_t *row = rows[i / 2];
		unsigned offloads;
		int from = open_at(address, &offloads), to = open_at(address, &offloads);
		struct udp_path path = path_to(address, to);
		struct endpoint peer = name_of(from);
		struct udp_run runs[UDP_BATCH];
		size_t sent;

		assert_int_equal(udp_receive(receiver, to, runs), 0);
		assert_int_equal(udp_send(from, &offloads, &path, data, row[0], row[1], &sent), 0);
		assert_int_equal(udp_receive(receiver, to, runs), 1);
		assert_int_equal(runs[0].len, row[0]);
		assert_int_equal(runs[0].segment, row[2]);
		assert_memory_equal(runs[0].data, data, row[0]);
		assert_int_equal(runs[0].path.ifindex, 0);
		check_path(&runs[0], address, &peer);
		assert_int_equal(udp_receive(receiver, to, runs), 0);
		close(from);
		close(to);
	}
	udp_receiver_free(receiver);
	free(data);
}

/* More than a batch: none is lost, none comes twice, buffers do not overlap. */
static void test_receive_batches(void **state)
{
	unsigned offloads;
	int from = open_at("127.0.0.1", &offloads), to = open_at("127.0.0.1", &offloads);
	struct udp_receiver *receiver = udp_receiver_new();
	struct udp_path path = path_to("127.0.0.1", to);
	struct udp_run runs[UDP_BATCH];
	uint8_t *data = make_data();
	size_t sent;

	(void)state;
	for (size_t i = 0; i < UDP_BATCH + 7; i++)
		assert_int_equal(udp_send(from, &offloads, &path, data + i, 60000, 60000, &sent),
				 0);
	/* After a batch of big ones, four at a time. */
	for (size_t at = 0, expected; at < UDP_BATCH + 7; at += expected) {
		expected = at == 0 ? UDP_BATCH : at == UDP_BATCH ? 4 : 3;
		assert_int_equal(udp_receive(receiver, to, runs), expected);
		for (size_t i = 0; i < expected; i++) {
			assert_int_equal(runs[i].len, 60000);
			assert_memory_equal(runs[i].data, data + at + i, 60000);
		}
	}
	/* And after small ones many again. */
	for (size_t batch = 0; batch < 3; batch++) {
		for (size_t i = 0; i < UDP_BATCH; i++)
			udp_send(from, &offloads, &path, data + i, 100, 100, &sent);
		for (size_t left = UDP_BATCH; batch < 2 && left;)
			left -= (size_t)udp_receive(receiver, to, runs);
	}
	assert_int_equal(udp_receive(receiver, to, runs), UDP_BATCH);
	udp_receiver_free(receiver);
	udp_receiver_free(NULL);
	free(data);
	close(from);
	close(to);
}

/* A socket bound to every address answers from the one that was asked, alone or in runs. */
static void test_reply_address(void **state)
{
	static const struct {
		const char *any, *asked;
		bool link_local;
	} rows[] = {{"0.0.0.0", "127.0.0.1", false},
		    {"0.0.0.0", "127.0.0.2", false},
		    {"::", "::1", false},
		    {"::", SECOND_V6, false},
		    {"::", LINK_LOCAL_V6, true}};
	struct udp_receiver *receiver = udp_receiver_new();
	unsigned loopback = if_nametoindex("lo");
	uint8_t *data = make_data();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned offloads;
		int server = open_at(rows[i].any, &offloads),
		    client = open_at(rows[i].any, &offloads);
		struct udp_path path = path_to(rows[i].asked, server);
		struct endpoint peer = name_of(client);
		struct udp_run asked[UDP_BATCH], runs[UDP_BATCH];
		size_t sent;

		print_message("%s\n", rows[i].asked);
		if (rows[i].link_local)
			path.peer.in6.sin6_scope_id = loopback;
		assert_int_equal(udp_send(client, &offloads, &path, data, 10, 10, &sent), 0);
		assert_int_equal(udp_receive(receiver, server, asked), 1);
		assert_int_equal(asked[0].path.ifindex, rows[i].link_local ? loopback : 0);
		check_path(&asked[0], rows[i].asked, &peer);

		/* From this connected socket's peer, or it does not arrive. */
		assert_int_equal(connect(client, &path.peer.any, addr_endpoint_len(&path.peer)), 0);
		assert_int_equal(udp_send(server, &offloads, &asked[0].path, data, 5, 5, &sent), 0);
		assert_int_equal(udp_send(server, &offloads, &asked[0].path, data, 5000, 500,
					  &sent),
				 0);
		assert_int_equal(udp_receive(receiver, client, runs), 2);
		assert_int_equal(runs[0].len, 5);
		assert_int_equal(runs[1].len, 5000);
		assert_true(addr_endpoint_equal(&runs[1].path.peer, &path.peer));
		close(server);
		close(client);
	}
	udp_receiver_free(receiver);
	free(data);
}

/* Control messages that nobody asked for, and more of them than there is room for. */
static void test_receive_odd_control(void **state)
{
	unsigned offloads;
	int from = open_at("127.0.0.1", &offloads), to = open_at("0.0.0.0", &offloads);
	struct udp_receiver *receiver = udp_receiver_new();
	struct udp_path path = path_to("127.0.0.3", to);
	struct endpoint peer = name_of(from);
	struct udp_run runs[UDP_BATCH];
	uint8_t *data = make_data();
	size_t sent;

	(void)state;
	set_option(to, IPPROTO_IP, IP_RECVTTL, 1);
	assert_int_equal(udp_send(from, &offloads, &path, data, 10, 10, &sent), 0);
	assert_int_equal(udp_receive(receiver, to, runs), 1);
	assert_int_equal(runs[0].segment, 10);
	check_path(&runs[0], "127.0.0.3", &peer);

	/* Cut short. A good one behind it is found all the same. */
	set_option(to, SOL_SOCKET, SO_TIMESTAMP, 1);
	assert_int_equal(udp_send(from, &offloads, &path, data, 5000, 1000, &sent), 0);
	assert_int_equal(udp_receive(receiver, to, runs), 0);
	assert_int_equal(udp_send(from, &offloads, &path, data, 5000, 1000, &sent), 0);
	set_option(to, SOL_SOCKET, SO_TIMESTAMP, 0);
	set_option(to, IPPROTO_IP, IP_RECVTTL, 0);
	assert_int_equal(udp_receive(receiver, to, runs), 1);
	assert_int_equal(runs[0].segment, 1000);

	/* None at all: one datagram, address unknown. */
	set_option(to, IPPROTO_IP, IP_PKTINFO, 0);
	set_option(to, SOL_UDP, UDP_GRO, 0);
	assert_int_equal(udp_send(from, &offloads, &path, data, 10, 10, &sent), 0);
	assert_int_equal(udp_receive(receiver, to, runs), 1);
	assert_int_equal(runs[0].path.local.family, 0);
	udp_receiver_free(receiver);
	free(data);
	close(from);
	close(to);
}

static void test_receive_empty(void **state)
{
	unsigned offloads;
	int from = open_at("127.0.0.1", &offloads), to = open_at("127.0.0.1", &offloads);
	struct udp_receiver *receiver = udp_receiver_new();
	struct udp_path path = path_to("127.0.0.1", to);
	struct udp_run runs[UDP_BATCH];
	size_t sent;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(udp_send(from, &offloads, &path, (const uint8_t *)"abc", i & 1, 3,
					  &sent),
				 0);
	assert_int_equal(udp_receive(receiver, to, runs), 1);
	assert_int_equal(runs[0].len, 1);
	assert_int_equal(runs[0].data[0], 'a');
	assert_int_equal(udp_receive(receiver, -1, runs), -EBADF);
	udp_receiver_free(receiver);
	close(from);
	close(to);
}

/* ---- path MTU ---- */

static void test_path_mtu(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};
	int pair[2];

	(void)state;
	set_mtu(1444);
	for (unsigned i = 0; i < 2; i++) {
		unsigned offloads;
		int fd = open_at(addresses[i], &offloads);
		struct endpoint peer = endpoint(addresses[i], 9);

		assert_int_equal(udp_path_mtu(fd), -ENOTCONN);
		assert_int_equal(connect(fd, &peer.any, addr_endpoint_len(&peer)), 0);
		assert_int_equal(udp_path_mtu(fd), 1444);
		close(fd);
	}
	set_mtu(LOOPBACK_MTU);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(udp_path_mtu(pair[0]), -EAFNOSUPPORT);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(udp_path_mtu(-1), -EBADF);
}

static void add_v6(const char *text, uint32_t prefix_len)
{
	struct addr addr = parse(text);
	struct in6_ifreq request = {.ifr6_prefixlen = prefix_len};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(&request.ifr6_addr, addr.bytes, 16);
	request.ifr6_ifindex = (int)if_nametoindex("lo");
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
	close(fd);
}

/* A namespace that ends with this process, its loopback up, with more addresses. */
static int enter_namespace(void **state)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd;

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return -1;
	close(fd);
	add_v6(SECOND_V6, 128);
	add_v6(LINK_LOCAL_V6, 64);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_open_reuseport),
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_send_is_one_run),
		cmocka_unit_test(test_send_empty),
		cmocka_unit_test(test_send_gso_refused),
		cmocka_unit_test(test_send_foreign_source),
		cmocka_unit_test(test_send_too_big),
		cmocka_unit_test(test_send_full),
		cmocka_unit_test(test_icmp_errors),
		cmocka_unit_test(test_receive_runs),
		cmocka_unit_test(test_receive_batches),
		cmocka_unit_test(test_reply_address),
		cmocka_unit_test(test_receive_odd_control),
		cmocka_unit_test(test_receive_empty),
		cmocka_unit_test(test_path_mtu),
	};

	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
