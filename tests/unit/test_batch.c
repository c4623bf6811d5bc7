/* data/batch over loopback, in a network namespace of its own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "data/batch.h"

enum { LENGTH_MAX = 4000, DATAGRAMS = 200 };

struct ends {
	struct batch batch;
	struct batch_socket out, second; /* of ours */
	int in[2];			 /* where it goes */
	struct udp_path path[2];
	struct counts counts;
};

static struct endpoint loopback(void)
{
	struct addr addr;

	assert_true(addr_parse("127.0.0.1", &addr));
	return addr_endpoint(&addr, 0);
}

/* Sees datagrams one by one. */
static int open_plain(struct endpoint *ret_at)
{
	struct endpoint at = loopback();
	socklen_t size = sizeof(*ret_at);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int bytes = 4 * 1024 * 1024;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)), 0);
	assert_int_equal(bind(fd, &at.any, addr_endpoint_len(&at)), 0);
	*ret_at = (struct endpoint){0};
	assert_int_equal(getsockname(fd, &ret_at->any, &size), 0);
	return fd;
}

static void open_ends(struct ends *ends)
{
	struct endpoint at = loopback();

	memset(ends, 0, sizeof(*ends));
	assert_int_equal(udp_open(&at, false, &ends->out.fd, &ends->out.offloads), 0);
	assert_int_equal(udp_open(&at, false, &ends->second.fd, &ends->second.offloads), 0);
	for (int i = 0; i < 2; i++)
		ends->in[i] = open_plain(&ends->path[i].peer);
	batch_init(&ends->batch, &ends->counts);
}

static void close_ends(struct ends *ends)
{
	batch_done(&ends->batch);
	close(ends->out.fd);
	close(ends->second.fd);
	close(ends->in[0]);
	close(ends->in[1]);
}

static void add(struct ends *ends, unsigned to, uint8_t mark, size_t len)
{
	uint8_t datagram[LENGTH_MAX];

	memset(datagram, mark, len);
	batch_add(&ends->batch, &ends->out, &ends->path[to], datagram, len);
}

/* The next datagram at one of the ends, in order: its length, or 0. */
static size_t take_next(struct ends *ends, unsigned at, uint8_t mark)
{
	uint8_t datagram[LENGTH_MAX + 1];
	ssize_t len = recv(ends->in[at], datagram, sizeof(datagram), 0);

	if (len <= 0)
		return 0;
	for (ssize_t i = 0; i < len; i++)
		assert_int_equal(datagram[i], mark);
	return (size_t)len;
}

static const struct run_case {
	const char *name;
	struct {
		unsigned to;
		size_t len;
	} datagrams[8]; /* ended by length 0 */
	unsigned sends;
} run_cases[] = {
	{"one", {{0, 100}}, 1},
	{"equal ones", {{0, 100}, {0, 100}, {0, 100}}, 1},
	{"a shorter one ends the run", {{0, 100}, {0, 100}, {0, 50}}, 1},
	{"nothing follows a shorter one", {{0, 100}, {0, 50}, {0, 50}}, 2},
	{"a longer one begins anew", {{0, 100}, {0, 101}}, 2},
	{"another peer begins anew", {{0, 100}, {1, 100}, {0, 100}}, 3},
	{"all at once",
	 {{0, 1400}, {0, 1400}, {0, 60}, {0, 1400}, {1, 1400}, {1, 1400}, {1, 1}},
	 3},
};

static void test_runs(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(run_cases) / sizeof(*run_cases); i++) {
		const struct run_case *row = &run_cases[i];
		struct ends ends;
		size_t count = 0;

		open_ends(&ends);
		for (; count < 8 && row->datagrams[count].len; count++)
			add(&ends, row->datagrams[count].to, (uint8_t)count,
			    row->datagrams[count].len);
		batch_flush(&ends.batch);
		for (size_t k = 0; k < count; k++) {
			size_t len = take_next(&ends, row->datagrams[k].to, (uint8_t)k);

			if (len != row->datagrams[k].len)
				fail_msg("%s: number %zu has %zu bytes", row->name, k, len);
		}
		assert_int_equal(take_next(&ends, 0, 0) + take_next(&ends, 1, 0), 0);
		if (ends.counts.of[COUNT_UDP_SENDS] != row->sends)
			fail_msg("%s: %lu sends", row->name,
				 (unsigned long)ends.counts.of[COUNT_UDP_SENDS]);
		assert_int_equal(ends.counts.of[COUNT_UDP_DATAGRAMS_TX], count);
		close_ends(&ends);
	}
}

/* More than a run may have, by number and by bytes. */
static void test_long_runs(void **state)
{
	static const size_t lengths[] = {1, 300, 1400, LENGTH_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		size_t most = UDP_RUN_BYTES / lengths[i];
		struct ends ends;

		most = most < UDP_RUN_SEGMENTS ? most : UDP_RUN_SEGMENTS;
		open_ends(&ends);
		for (size_t k = 0; k < DATAGRAMS; k++) {
			add(&ends, 0, (uint8_t)k, lengths[i]);
			assert_true(ends.batch.datagrams <= most);
		}
		batch_flush(&ends.batch);
		for (size_t k = 0; k < DATAGRAMS; k++)
			assert_int_equal(take_next(&ends, 0, (uint8_t)k), lengths[i]);
		assert_int_equal(ends.counts.of[COUNT_UDP_SENDS], (DATAGRAMS + most - 1) / most);
		assert_int_equal(ends.counts.of[COUNT_UDP_DATAGRAMS_TX], DATAGRAMS);
		assert_int_equal(ends.counts.of[COUNT_DROP_QUEUE_FULL], 0);
		close_ends(&ends);
	}
}

static void test_nothing(void **state)
{
	struct ends ends;

	(void)state;
	open_ends(&ends);
	batch_flush(&ends.batch);
	batch_flush(&ends.batch);
	assert_int_equal(ends.counts.of[COUNT_UDP_SENDS], 0);
	close_ends(&ends);
}

/* Each leaves from the socket it was given to, to one peer too. */
static void test_two_sockets(void **state)
{
	struct ends ends;
	uint8_t byte = 1;

	(void)state;
	open_ends(&ends);
	for (int i = 0; i < 4; i++)
		batch_add(&ends.batch, i % 2 ? &ends.second : &ends.out, &ends.path[0], &byte, 1);
	batch_flush(&ends.batch);
	for (int i = 0; i < 4; i++) {
		struct endpoint from = {0}, wanted = {0};
		socklen_t size = sizeof(from), wanted_size = sizeof(wanted);
		int fd = i % 2 ? ends.second.fd : ends.out.fd;

		assert_int_equal(recvfrom(ends.in[0], &byte, 1, 0, &from.any, &size), 1);
		assert_int_equal(getsockname(fd, &wanted.any, &wanted_size), 0);
		assert_true(addr_endpoint_equal(&from, &wanted));
	}
	assert_int_equal(ends.counts.of[COUNT_UDP_SENDS], 4);
	close_ends(&ends);
}

/* Beyond what a record can be: not copied. Beyond what the path takes: said, and counted. */
static void test_too_big(void **state)
{
	static uint8_t bytes[UDP_DATAGRAM_MAX];
	struct ends ends;
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	open_ends(&ends);
	batch_add(&ends.batch, &ends.out, &ends.path[0], bytes, sizeof(bytes));
	assert_int_equal(ends.batch.datagrams, 0);

	assert_int_equal(ioctl(fd, SIOCGIFMTU, &request), 0);
	request.ifr_mtu = 1500;
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &request), 0);
	add(&ends, 0, 1, 1400);
	batch_flush(&ends.batch);
	assert_false(ends.batch.too_big);
	assert_int_equal(take_next(&ends, 0, 1), 1400);
	add(&ends, 0, 2, 1600);
	batch_flush(&ends.batch);
	assert_true(ends.batch.too_big);
	assert_int_equal(ends.counts.of[COUNT_DROP_TOO_BIG], 1);
	assert_int_equal(take_next(&ends, 0, 2), 0);
	request.ifr_mtu = 65536;
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &request), 0);
	close(fd);
	close_ends(&ends);
}

static int enter_namespace(void **state)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return -1;
	close(fd);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),	cmocka_unit_test(test_long_runs),
		cmocka_unit_test(test_nothing), cmocka_unit_test(test_two_sockets),
		cmocka_unit_test(test_too_big),
	};

	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
