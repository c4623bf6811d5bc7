/* Round trips of ICMP echoes, answered by the kernel of the other end. The time
 * of an answer is the kernel's, of the moment it came out of the device: how
 * late this process is woken on a busy machine does not count. Nothing spins:
 * between sends it sleeps in ppoll. SIGTERM ends it before --count is reached. */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sys/prctl.h>
#include <sys/random.h>

#include "base/addr.h"
#include "base/xalloc.h"
#include "fail.h"

enum {
	HEADER = 8,    /* of an echo, ICMP and ICMPv6 alike */
	NUMBER_AT = 8, /* our own, 32 bits: the echo's has 16 */
	MARK_AT = 12,  /* 64 random bits: more than the identifier's 16 */
	SIZE_MIN = 12, /* of the data */
	SIZE_LIMIT = 8192,
	NS_A_SECOND = 1000000000,
};

struct options {
	struct addr to;
	int64_t interval_ns, wait_ns;
	size_t count, size;
};

struct pinger {
	struct options options;
	int fd;
	uint64_t mark;
	int64_t *sent_at, *rtt; /* ns; rtt is 0 until the answer is there */
	size_t sent, received, copies;
	uint8_t packet[HEADER + SIZE_LIMIT];
};

static int64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * NS_A_SECOND + now.tv_nsec;
}

/* A connected raw socket gets what comes from there only; the filter leaves the
 * answers. */
static void open_socket(struct pinger *pinger)
{
	struct endpoint to = addr_endpoint(&pinger->options.to, 0);
	bool v6 = pinger->options.to.family == 6;
	struct icmp6_filter answers6;
	uint32_t answers4 = ~(1U << ICMP_ECHOREPLY);
	int on = 1, error;

	pinger->fd = socket(to.any.sa_family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
			    v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	if (pinger->fd < 0)
		fail("no raw socket: %s; run it as root", strerror(errno));
	ICMP6_FILTER_SETBLOCKALL(&answers6);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &answers6);
	error = v6 ? setsockopt(pinger->fd, IPPROTO_ICMPV6, ICMP6_FILTER, &answers6,
				sizeof(answers6))
		   : setsockopt(pinger->fd, SOL_RAW, 1 /* ICMP_FILTER */, &answers4,
				sizeof(answers4));
	if (error < 0 || setsockopt(pinger->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
		fail("cannot set up the socket: %s", strerror(errno));
	if (connect(pinger->fd, &to.any, addr_endpoint_len(&to)) < 0)
		fail("no way there: %s", strerror(errno));
}

/* RFC 1071. ICMPv6's, which covers the addresses, is the kernel's business. */
static uint16_t sum_packet(const uint8_t *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
	if (len % 2)
		sum += (uint32_t)bytes[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void send_echo(struct pinger *pinger)
{
	bool v6 = pinger->options.to.family == 6;
	size_t len = HEADER + pinger->options.size;
	uint32_t number = (uint32_t)pinger->sent;
	uint8_t *packet = pinger->packet;

	memset(packet, 0, HEADER);
	packet[0] = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
	memcpy(packet + 4, &pinger->mark, 2);
	packet[6] = (uint8_t)(number >> 8);
	packet[7] = (uint8_t)number;
	memcpy(packet + NUMBER_AT, &number, sizeof(number));
	memcpy(packet + MARK_AT, &pinger->mark, sizeof(pinger->mark));
	if (!v6) {
		uint16_t sum = sum_packet(packet, len);

		packet[2] = (uint8_t)(sum >> 8);
		packet[3] = (uint8_t)sum;
	}
	pinger->sent_at[pinger->sent++] = clock_ns(CLOCK_REALTIME);
	/* What the path does not take is a loss. */
	if (send(pinger->fd, packet, len, 0) < 0 && errno != ENOBUFS && errno != EAGAIN)
		fail("cannot send: %s", strerror(errno));
}

static int64_t read_arrival(struct msghdr *message)
{
	struct timespec at;

	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
	     control = CMSG_NXTHDR(message, control)) {
		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&at, CMSG_DATA(control), sizeof(at));
		return (int64_t)at.tv_sec * NS_A_SECOND + at.tv_nsec;
	}
	return clock_ns(CLOCK_REALTIME);
}

static void take_answer(struct pinger *pinger, const uint8_t *echo, size_t len, int64_t at)
{
	uint64_t mark;
	uint32_t number;

	if (len < HEADER + SIZE_MIN)
		return;
	memcpy(&number, echo + NUMBER_AT, sizeof(number));
	memcpy(&mark, echo + MARK_AT, sizeof(mark));
	if (mark != pinger->mark || number >= pinger->sent)
		return;
	if (pinger->rtt[number]) {
		pinger->copies++;
		return;
	}
	at -= pinger->sent_at[number];
	pinger->rtt[number] = at > 0 ? at : 1;
	pinger->received++;
}

/* An IPv4 raw socket's packets begin with the IP header. */
static void receive(struct pinger *pinger)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct timespec))];
	uint8_t packet[HEADER + SIZE_LIMIT + 60];
	struct iovec part = {packet, sizeof(packet)};

	for (;;) {
		struct msghdr message = {
			.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t len = recvmsg(pinger->fd, &message, 0);
		size_t head = 0;

		if (len < 0)
			return;
		if (pinger->options.to.family == 4)
			head = len > 0 ? (size_t)(packet[0] & 15) * 4 : 0;
		if ((size_t)len > head)
			take_answer(pinger, packet + head, (size_t)len - head,
				    read_arrival(&message));
	}
}

static volatile sig_atomic_t is_ended;

static void on_end(int number)
{
	(void)number;
	is_ended = 1;
}

static void wait_until_ns(struct pinger *pinger, int64_t at)
{
	struct pollfd fd = {.fd = pinger->fd, .events = POLLIN};
	int64_t left = at - clock_ns(CLOCK_MONOTONIC);
	struct timespec timeout = {left / NS_A_SECOND, left % NS_A_SECOND};

	if (left > 0 && ppoll(&fd, 1, &timeout, NULL) > 0)
		receive(pinger);
}

static void run(struct pinger *pinger)
{
	int64_t next = clock_ns(CLOCK_MONOTONIC), end;

	while (pinger->sent < pinger->options.count && !is_ended) {
		if (clock_ns(CLOCK_MONOTONIC) < next) {
			wait_until_ns(pinger, next);
			continue;
		}
		send_echo(pinger);
		next += pinger->options.interval_ns;
		/* After a long delay of ours: no burst to catch up. */
		if (next < clock_ns(CLOCK_MONOTONIC))
			next = clock_ns(CLOCK_MONOTONIC) + pinger->options.interval_ns;
	}
	end = clock_ns(CLOCK_MONOTONIC) + pinger->options.wait_ns;
	while (pinger->received < pinger->sent && clock_ns(CLOCK_MONOTONIC) < end)
		wait_until_ns(pinger, end);
}

/* ---- the figures ---- */

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Nearest rank, in µs. */
static double percentile(const int64_t *sorted, size_t count, double share)
{
	size_t rank = (size_t)(share * (double)count + 0.999999);

	return (double)sorted[rank ? rank - 1 : 0] / 1000;
}

static void print_figures(struct pinger *pinger)
{
	int64_t *answered = xnew_array(int64_t, pinger->sent);
	size_t count = 0;

	for (size_t i = 0; i < pinger->sent; i++)
		if (pinger->rtt[i])
			answered[count++] = pinger->rtt[i];
	qsort(answered, count, sizeof(*answered), compare);
	printf("{\"sent\": %zu, \"received\": %zu, \"lost\": %zu, \"copies\": %zu", pinger->sent,
	       count, pinger->sent - count, pinger->copies);
	if (count)
		printf(", \"min_us\": %.1f, \"median_us\": %.1f, \"p90_us\": %.1f, "
		       "\"p99_us\": %.1f, \"max_us\": %.1f",
		       percentile(answered, count, 0), percentile(answered, count, 0.5),
		       percentile(answered, count, 0.9), percentile(answered, count, 0.99),
		       percentile(answered, count, 1));
	puts("}");
	free(answered);
	if (!count)
		fail("no echo came back");
}

static const char usage[] = "usage: ping --to ADDRESS [--interval-us US] [--count N] "
			    "[--size BYTES] [--wait-ms MS]";

static struct options read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"to", required_argument, NULL, 't'},
		{"interval-us", required_argument, NULL, 'i'},
		{"count", required_argument, NULL, 'c'},
		{"size", required_argument, NULL, 's'},
		{"wait-ms", required_argument, NULL, 'w'},
		{0},
	};
	struct options options = {
		.interval_ns = 2000000,
		.wait_ns = NS_A_SECOND,
		.count = 1000,
		.size = 56,
	};
	bool has_to = false;
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 't')
			has_to = addr_parse(optarg, &options.to);
		else if (option == 'i')
			options.interval_ns = (int64_t)fail_number(optarg, 1, 60000000) * 1000;
		else if (option == 'c')
			options.count = fail_number(optarg, 1, 100000000);
		else if (option == 's')
			options.size = fail_number(optarg, SIZE_MIN, SIZE_LIMIT);
		else if (option == 'w')
			options.wait_ns = (int64_t)fail_number(optarg, 0, 60000) * 1000000;
		else
			fail("%s", usage);
	}
	if (!has_to || optind != argc)
		fail("%s", usage);
	return options;
}

int main(int argc, char **argv)
{
	struct pinger *pinger = xnew(struct pinger);

	fail_name = "ping";
	pinger->options = read_options(argc, argv);
	pinger->sent_at = xnew_array(int64_t, pinger->options.count);
	pinger->rtt = xnew_array(int64_t, pinger->options.count);
	if (getrandom(&pinger->mark, sizeof(pinger->mark), 0) != sizeof(pinger->mark))
		fail("no random number: %s", strerror(errno));
	prctl(PR_SET_TIMERSLACK, 1UL);
	signal(SIGTERM, on_end);
	open_socket(pinger);
	run(pinger);
	print_figures(pinger);
	return 0;
}
