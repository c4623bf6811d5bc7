/* sys/tun, in a network namespace of its own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "data/offload.h"
#include "sys/tun.h"
#include "wire/ip.h"

enum { WAIT_MS = 2000, PORT = 7000 };

#define HERE  "10.1.2.1"
#define THERE "10.1.2.2"

static struct sockaddr_in at(const char *address, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

	assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
	return in;
}

/* Up, with HERE/24. No IPv6: its router solicitations would mix with what is looked for. */
static void configure(const char *name)
{
	struct ifreq request = {.ifr_addr.sa_family = AF_INET};
	struct sockaddr_in in = at(HERE, 0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char path[100];
	int ipv6;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	ipv6 = open(path, O_WRONLY | O_CLOEXEC);
	if (ipv6 >= 0) {
		assert_int_equal(write(ipv6, "1", 1), 1);
		close(ipv6);
	}
	assert_true(fd >= 0);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	memcpy(&request.ifr_addr, &in, sizeof(in));
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
	in = at("255.255.255.0", 0);
	memcpy(&request.ifr_netmask, &in, sizeof(in));
	assert_int_equal(ioctl(fd, SIOCSIFNETMASK, &request), 0);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, WAIT_MS) == 1;
}

static ssize_t read_packet(int fd, struct tun_header *header, uint8_t *packet)
{
	assert_true(is_readable(fd));
	return tun_read(fd, header, packet, TUN_PACKET_MAX);
}

/* Every kernel that we run on has TSO; datagrams came with 6.2, both families at once. */
static unsigned expected_offloads(void)
{
	unsigned offloads =
		TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6 | TUN_OFFLOAD_ECN;
	unsigned major, minor;
	struct utsname kernel;

	assert_int_equal(uname(&kernel), 0);
	assert_int_equal(sscanf(kernel.release, "%u.%u", &major, &minor), 2);
	if (major > 6 || (major == 6 && minor >= 2))
		offloads |= TUN_OFFLOAD_USO4 | TUN_OFFLOAD_USO6;
	return offloads;
}

static void test_open(void **state)
{
	unsigned offloads = 0;
	uint8_t packet[100];
	struct tun_header header;
	int fd = -1;

	(void)state;
	assert_int_equal(tun_open("t0", &fd, &offloads), 0);
	assert_true(fd >= 0);
	assert_true(if_nametoindex("t0") > 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(offloads, expected_offloads());
	configure("t0");
	assert_int_equal(tun_read(fd, &header, packet, sizeof(packet)), -EAGAIN);
	close(fd);
	/* Not persistent. */
	assert_int_equal(if_nametoindex("t0"), 0);
}

static void test_bad_names(void **state)
{
	static const char *const names[] = {"",	   ".",	   "..",
					    "a/b", "a:b",  "a b",
					    "t%d", "a\nb", "sixteen-letters-"};
	unsigned offloads = 77;
	int fd = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		print_message("\"%s\"\n", names[i]);
		assert_int_equal(tun_open(names[i], &fd, &offloads), -EINVAL);
		assert_int_equal(tun_open_queue(names[i], &fd), -EINVAL);
	}
	assert_int_equal(fd, 77);
	assert_int_equal(offloads, 77);
	assert_int_equal(tun_open("fifteen-letters", &fd, &offloads), 0);
	close(fd);
}

/* A descriptor of the device made as any other program would. */
static int make_foreign(const char *name, int flags)
{
	struct ifreq request = {.ifr_flags = (short)flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
	return fd;
}

static void test_name_taken(void **state)
{
	int ours = -1, fd = 77, foreign;
	unsigned offloads = 77;

	(void)state;
	assert_int_equal(tun_open("lo", &fd, &offloads), -EBUSY);
	assert_int_equal(tun_open("t1", &ours, &offloads), 0);
	offloads = 77;
	assert_int_equal(tun_open("t1", &fd, &offloads), -EBUSY);
	close(ours);

	foreign = make_foreign("t2", IFF_TAP | IFF_NO_PI);
	assert_int_equal(tun_open("t2", &fd, &offloads), -EBUSY);
	close(foreign);

	/* Of the very same kind: only IFF_TUN_EXCL keeps us from joining it. */
	foreign = make_foreign("t3", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	assert_int_equal(tun_open("t3", &fd, &offloads), -EBUSY);
	assert_int_equal(ioctl(foreign, TUNSETPERSIST, 1), 0);
	close(foreign);
	assert_int_equal(tun_open("t3", &fd, &offloads), -EBUSY);
	foreign = make_foreign("t3", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	assert_int_equal(ioctl(foreign, TUNSETPERSIST, 0), 0);
	close(foreign);
	assert_int_equal(fd, 77);
	assert_int_equal(offloads, 77);
}

static int open_elsewhere(const char *name)
{
	unsigned offloads;
	int fd;

	return tun_open(name, &fd, &offloads) == -EBUSY ? 0 : 1;
}

static void test_name_taken_by_process(void **state)
{
	unsigned offloads;
	int fd, status;
	pid_t pid;

	(void)state;
	assert_int_equal(tun_open("t4", &fd, &offloads), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(open_elsewhere("t4"));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(fd);
}

static void test_queues(void **state)
{
	unsigned offloads, queues = 0;
	int fds[4], other = 77;

	(void)state;
	assert_int_equal(tun_open_queue("t5", &other), -ENODEV);
	assert_int_equal(if_nametoindex("t5"), 0);
	assert_int_equal(other, 77);
	assert_int_equal(tun_open("t5", &fds[0], &offloads), 0);
	for (queues = 1; queues < 4; queues++)
		assert_int_equal(tun_open_queue("t5", &fds[queues]), 0);
	/* The device goes with the last. */
	for (size_t i = 0; i < 4; i++) {
		assert_true(if_nametoindex("t5") > 0);
		close(fds[i]);
	}
	assert_int_equal(if_nametoindex("t5"), 0);
}

/* A datagram of the kernel's comes out, with its checksum to be completed; the answer goes in. */
static void test_datagram(void **state)
{
	struct sockaddr_in here = at(HERE, PORT), there = at(THERE, PORT + 1);
	uint8_t room[OFFLOAD_HEADROOM + 2000], *packet = room + OFFLOAD_HEADROOM, *piece;
	uint8_t swapped[2000], got[100];
	int fd, udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct tun_header header, zeros = {0};
	struct offload_split split;
	unsigned offloads;
	size_t len;

	(void)state;
	assert_int_equal(tun_open("t6", &fd, &offloads), 0);
	configure("t6");
	assert_int_equal(bind(udp, (struct sockaddr *)&here, sizeof(here)), 0);
	assert_int_equal(sendto(udp, "hello", 5, 0, (struct sockaddr *)&there, sizeof(there)), 5);
	assert_true(is_readable(fd));
	assert_int_equal(tun_read(fd, &header, packet, 2000), 33);
	assert_int_equal(header.gso_type, TUN_GSO_NONE);
	assert_int_equal(header.flags, TUN_CSUM_NEEDED);
	assert_int_equal(offload_split_init(&split, &header, packet, 33), 0);
	assert_true(offload_split_next(&split, &piece, &len));
	assert_int_equal(len, 33);

	/* Addresses and ports change places: the checksums stay right. */
	memcpy(swapped, piece, len);
	memcpy(swapped + 12, piece + 16, 4);
	memcpy(swapped + 16, piece + 12, 4);
	memcpy(swapped + 20, piece + 22, 2);
	memcpy(swapped + 22, piece + 20, 2);
	assert_int_equal(tun_write(fd, &zeros, swapped, len), 0);
	assert_true(is_readable(udp));
	assert_int_equal(recv(udp, got, sizeof(got), MSG_DONTWAIT), 5);
	assert_memory_equal(got, "hello", 5);

	/* What the kernel does not take for a packet. */
	assert_int_equal(tun_write(fd, &zeros, "\0\0\0\0", 4), -EINVAL);
	assert_int_equal(tun_write(-1, &zeros, swapped, len), -EBADF);
	assert_int_equal(tun_read(-1, &header, packet, 2000), -EBADF);
	close(udp);
	close(fd);
}

/* The far end of a TCP connection, played by hand. */
struct far_end {
	int tun;
	uint8_t syn[40]; /* what the kernel began with */
	uint32_t sequence, ack;
};

/* A SYN ACK, an ACK, or data (zeros): in packet, from the far end. */
static size_t build_answer(struct far_end *far, uint8_t flags, size_t payload, uint8_t *packet)
{
	size_t len = 48 + payload;
	uint8_t *tcp = packet + 20;
	uint64_t sum;

	memset(packet, 0, len);
	memcpy(packet, (const uint8_t[]){0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, IP_PROTO_TCP}, 10);
	ip_put16(packet + 2, (uint16_t)len);
	memcpy(packet + 12, far->syn + 16, 4);
	memcpy(packet + 16, far->syn + 12, 4);
	memcpy(tcp, far->syn + 22, 2);
	memcpy(tcp + 2, far->syn + 20, 2);
	ip_put32(tcp + 4, far->sequence);
	ip_put32(tcp + 8, far->ack);
	tcp[12] = 0x70;
	tcp[13] = flags;
	ip_put16(tcp + 14, 65535);
	if (flags & TH_SYN) /* MSS 1000, window scale 10: a window of 64 MB */
		memcpy(tcp + 20, "\x02\x04\x03\xe8\x03\x03\x0a\x00", 8);
	ip_set_v4_checksum(packet);
	sum = ip_sum_pseudo(4, packet + 12, packet + 16, IP_PROTO_TCP, (uint32_t)(len - 20));
	ip_put_sum(tcp + 16, (uint16_t)~ip_sum_fold(ip_sum(tcp, len - 20, sum)));
	far->sequence += (uint32_t)payload + (flags & TH_SYN ? 1 : 0);
	return len;
}

static void answer(struct far_end *far, uint8_t flags)
{
	const struct tun_header zeros = {0};
	uint8_t packet[48];

	assert_int_equal(build_answer(far, flags, 0, packet), sizeof(packet));
	assert_int_equal(tun_write(far->tun, &zeros, packet, sizeof(packet)), 0);
}

/* The device up and a socket connected to the far end. */
static int connect_far(const char *name, struct far_end *far, unsigned *ret_offloads)
{
	static uint8_t packet[TUN_PACKET_MAX];
	struct sockaddr_in there = at(THERE, PORT);
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct tun_header header;

	assert_int_equal(tun_open(name, &far->tun, ret_offloads), 0);
	configure(name);
	assert_int_equal(connect(tcp, (struct sockaddr *)&there, sizeof(there)), -1);
	assert_int_equal(errno, EINPROGRESS);
	assert_true(read_packet(far->tun, &header, packet) >= 40);
	memcpy(far->syn, packet, 40);
	far->ack = ip_get32(far->syn + 24) + 1;
	answer(far, TH_SYN | TH_ACK);
	assert_int_equal(read_packet(far->tun, &header, packet), 40);
	return tcp;
}

/* Takes the pieces of one packet, whose payload is zeros, in sequence. The payload's length. */
static size_t take_pieces(const struct tun_header *header, uint8_t *packet, size_t len,
			  uint32_t *next)
{
	struct offload_split split;
	size_t payload = 0, piece_len, headers;
	uint8_t *piece;

	assert_int_equal(offload_split_init(&split, header, packet, len), 0);
	while (offload_split_next(&split, &piece, &piece_len)) {
		struct ip_view view;

		assert_int_equal(ip_read(piece, piece_len, &view), IP_OK);
		headers = view.transport + (piece[view.transport + 12] >> 4) * 4U;
		assert_true(piece_len - headers <= 1000);
		assert_int_equal(ip_get32(piece + view.transport + 4), *next);
		*next += (uint32_t)(piece_len - headers);
		payload += piece_len - headers;
	}
	return payload;
}

/* The kernel's own TCP hands over more than a segment at once, and it splits. */
static void test_tcp_super_packet(void **state)
{
	static uint8_t room[OFFLOAD_HEADROOM + TUN_PACKET_MAX], data[40000];
	uint8_t *packet = room + OFFLOAD_HEADROOM;
	size_t largest = 0, payload = 0;
	struct far_end far = {.sequence = 1000};
	struct tun_header header;
	unsigned offloads;
	ssize_t len;
	int tcp = connect_far("t7", &far, &offloads);

	(void)state;
	assert_int_equal(send(tcp, data, sizeof(data), 0), sizeof(data));
	while (payload < sizeof(data)) {
		len = read_packet(far.tun, &header, packet);
		assert_true(len > 40);
		if ((size_t)len > largest)
			largest = (size_t)len;
		payload += take_pieces(&header, packet, (size_t)len, &far.ack);
		answer(&far, TH_ACK);
	}
	assert_int_equal(payload, sizeof(data));
	assert_true(largest > 2000);
	close(tcp);
	close(far.tun);
}

/* Segments joined here are taken by the kernel's TCP. */
static void test_tcp_joined(void **state)
{
	static uint8_t joined[OFFLOAD_JOIN_MAX], got[20000];
	struct offload_join join = {.packet = joined};
	struct far_end far = {.sequence = 2000};
	struct tun_header header;
	uint8_t packet[1048];
	unsigned offloads;
	size_t len;
	int tcp = connect_far("t9", &far, &offloads);

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		len = build_answer(&far, TH_ACK, i < 9 ? 1000 : 500, packet);
		assert_true(offload_join_add(&join, offloads, packet, len));
	}
	assert_true(offload_join_finish(&join, &header));
	assert_int_equal(join.len, 48 + 9500);
	assert_int_equal(tun_write(far.tun, &header, join.packet, join.len), 0);
	assert_true(is_readable(tcp));
	assert_int_equal(recv(tcp, got, sizeof(got), 0), 9500);
	close(tcp);
	close(far.tun);
}

/* Datagrams joined here arrive one by one at a socket. */
static void test_udp_joined(void **state)
{
	static uint8_t joined[OFFLOAD_JOIN_MAX];
	struct sockaddr_in here = at(HERE, PORT);
	struct offload_join join = {.packet = joined};
	uint8_t packet[128] = {0x45, 0, 0,  128, 0, 0, 0x40, 0, 64, IP_PROTO_UDP,
			       0,    0, 10, 1,	 2, 2, 10,   1, 2,  1},
		got[200];
	int fd, udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct tun_header header;
	unsigned offloads;
	uint64_t sum;

	(void)state;
	assert_int_equal(tun_open("t8", &fd, &offloads), 0);
	if (!(offloads & TUN_OFFLOAD_USO4)) {
		close(fd);
		close(udp);
		skip();
	}
	configure("t8");
	assert_int_equal(bind(udp, (struct sockaddr *)&here, sizeof(here)), 0);
	ip_set_v4_checksum(packet);
	ip_put16(packet + 20, 9);
	ip_put16(packet + 22, PORT);
	ip_put16(packet + 24, 108);
	for (uint8_t i = 0; i < 10; i++) {
		packet[28] = i;
		ip_put16(packet + 26, 0);
		sum = ip_sum_pseudo(4, packet + 12, packet + 16, IP_PROTO_UDP, 108);
		sum = ip_sum(packet + 20, 108, sum);
		ip_put_sum(packet + 26, (uint16_t)~ip_sum_fold(sum));
		assert_true(offload_join_add(&join, offloads, packet, sizeof(packet)));
	}
	assert_true(offload_join_finish(&join, &header));
	assert_int_equal(join.len, 28 + 1000);
	assert_int_equal(tun_write(fd, &header, join.packet, join.len), 0);
	for (uint8_t i = 0; i < 10; i++) {
		assert_true(is_readable(udp));
		assert_int_equal(recv(udp, got, sizeof(got), MSG_DONTWAIT), 100);
		assert_int_equal(got[0], i);
	}
	close(udp);
	close(fd);
}

/* Everything happens in a namespace that ends with this process. */
static int enter_namespace(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_bad_names),
		cmocka_unit_test(test_name_taken),
		cmocka_unit_test(test_name_taken_by_process),
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_datagram),
		cmocka_unit_test(test_tcp_super_packet),
		cmocka_unit_test(test_tcp_joined),
		cmocka_unit_test(test_udp_joined),
	};

	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
