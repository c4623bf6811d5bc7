/* What this machine can do at most with a VPN's kind of work: one of two ends, without anything that
 * makes it a VPN. No handshake, no replay window, no look at what is inside: a fixed key, a counter
 * for a nonce, one thread.
 *
 *	TUN ── readv ──▶ slices, each sealed where it lies ── sendmmsg, UDP_SEGMENT ──▶ UDP
 *	TUN ◀── writev ── slices, each opened where it lies ◀── recvmmsg, UDP_GRO ── UDP
 *
 * A super-packet is cut as a tunnel has to cut it, into slices of one tunnel packet each, and the
 * bytes are those of a DTLS 1.2 record with one byte of frame type. readv puts a super-packet into
 * its slices and writev takes it from there: it is never copied here.
 *
 *	 0             13                21     22                                     + 16
 *	| authenticated | nonce's counter | kind | the mtu bytes of the slice, or the rest | tag |
 *
 * Bytes 1 to 10 of a packet's first slice are the virtio header.
 *
 * --one-packet is the other yardstick: neither offloads nor batches, a packet a system call.
 * --no-seal leaves the cipher out of either. Ends on SIGTERM with its counters. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/addr.h"
#include "base/xalloc.h"
#include "fail.h"
#include "sys/tun.h"

enum {
	AUTHENTICATED = 13,
	NONCE_AT = 13,
	KIND_AT = 21,
	BODY_AT = 22,
	TAG = 16,
	OVERHEAD = BODY_AT + TAG,
	VIRTIO_AT = 1,
	VIRTIO = sizeof(struct tun_header),
	KIND_FIRST = 1,
	KIND_LAST = 2,

	MTU_MIN = 576,
	MTU_MAX = 9000,
	SLICES_MAX = TUN_PACKET_MAX / MTU_MIN + 1,
	RUN_BYTES = 65507,	/* of one UDP datagram over IPv4; over IPv6 a few more */
	RUN_SLICES = 64,	/* UDP_MAX_SEGMENTS of older kernels */
	OUT_RUNS = 16,		/* that wait for one sendmmsg */
	OUT_BYTES = 160 * 1024, /* the same: three full super-packets */
	OUT_SMALL = 64,		/* packets of one slice that are collected before they are sent */
	IN_RUNS = 4,		/* of one recvmmsg */
	IN_HALVES = 2, /* a packet may begin in one recvmmsg's runs and end in the next's */
	QUEUE_PACKETS = 4000,
	SOCKET_BYTES = 8 * 1024 * 1024,
	IDLE_MS = 200, /* how late a signal that came just before poll is seen */
};

static const size_t RUN_STRIDE = 65536;

struct options {
	const char *tun;
	struct endpoint local, remote;
	size_t mtu;
	bool one_packet, no_seal;
};

struct counters {
	uint64_t packets_out, packets_in, bytes_out, bytes_in, slices_out, slices_in;
	uint64_t not_sent, not_opened, not_written;
};

struct run {
	uint8_t *at;
	size_t len, segment, slices;
	bool closed; /* its last slice is short: nothing may follow */
};

struct control {
	_Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

struct bound {
	struct options options;
	int tun, udp;
	EVP_CIPHER_CTX *seal, *open;
	struct counters counters;

	uint8_t *out; /* OUT_BYTES and a super-packet; used of it waits to be sent */
	size_t out_used, run_count, small_count, slices_a_run;
	struct run runs[OUT_RUNS];
	struct iovec out_parts[SLICES_MAX + 1];
	struct mmsghdr out_messages[OUT_RUNS];
	struct iovec out_message_parts[OUT_RUNS];
	struct control out_controls[OUT_RUNS];

	uint8_t *in; /* IN_HALVES times IN_RUNS times RUN_STRIDE */
	unsigned in_half;
	struct iovec in_parts[SLICES_MAX + 1]; /* the packet that is being put together */
	size_t in_part_count, in_len;
	struct mmsghdr in_messages[IN_RUNS];
	struct iovec in_message_parts[IN_RUNS];
	struct control in_controls[IN_RUNS];
};

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
	(void)number;
	stopped = 1;
}

/* ---- one slice ---- */

/* The same fixed key for both directions; the fixed four bytes of the nonce
 * tell them apart, as a record's eight explicit ones are the sender's counter.
 */
static EVP_CIPHER_CTX *make_cipher(bool seals, unsigned char way)
{
	static const unsigned char key[32] = {0x74, 0x75, 0x6e, 0x64};
	unsigned char fixed[4] = {way};
	EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();

	if (!made || EVP_CipherInit_ex(made, EVP_aes_256_gcm(), NULL, key, NULL, seals) != 1 ||
	    EVP_CIPHER_CTX_ctrl(made, EVP_CTRL_GCM_SET_IV_FIXED, sizeof(fixed), fixed) != 1)
		fail("OpenSSL has no AES-256-GCM");
	return made;
}

static void init_ciphers(struct bound *bound)
{
	bool higher = addr_port(&bound->options.local) > addr_port(&bound->options.remote);

	bound->seal = make_cipher(true, higher);
	bound->open = make_cipher(false, !higher);
}

/* EVP's mode for TLS records: two calls a slice, and the counter is its own.
 * Three calls of EVP_*Update after an init of the nonce, and the tag by ctrl,
 * take a sixth more; EVP_CTRL_AEAD_TLS1_AAD in place of the parameter asks for
 * the padding too, seven strcmp. False: the tag is wrong. */
static bool crypt_slice(EVP_CIPHER_CTX *cipher, uint8_t *slice, size_t record)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, slice,
						  AUTHENTICATED),
		OSSL_PARAM_construct_end(),
	};

	return EVP_CIPHER_CTX_set_params(cipher, params) == 1 &&
	       EVP_Cipher(cipher, slice + NONCE_AT, slice + NONCE_AT, (unsigned)record) > 0;
}

/* The last two bytes of what is authenticated are, as EVP wants them, the
 * length of what is given: the plain text behind its nonce, or all of the
 * sealed record. */
static void write_length(uint8_t *slice, size_t len)
{
	slice[AUTHENTICATED - 2] = (uint8_t)(len >> 8);
	slice[AUTHENTICATED - 1] = (uint8_t)len;
}

static void seal_slice(struct bound *bound, uint8_t *slice, size_t body)
{
	size_t record = BODY_AT - NONCE_AT + body + TAG;

	bound->counters.slices_out++;
	if (bound->options.no_seal)
		return;
	write_length(slice, record - TAG);
	if (!crypt_slice(bound->seal, slice, record))
		fail("OpenSSL does not seal");
}

static bool open_slice(struct bound *bound, uint8_t *slice, size_t body)
{
	size_t record = BODY_AT - NONCE_AT + body + TAG;

	bound->counters.slices_in++;
	if (bound->options.no_seal)
		return true;
	write_length(slice, record);
	return crypt_slice(bound->open, slice, record);
}

/* ---- out: super-packets ---- */

static void prepare_message(struct bound *bound, size_t i)
{
	const struct run *run = &bound->runs[i];
	struct msghdr *message = &bound->out_messages[i].msg_hdr;
	struct cmsghdr *control = (struct cmsghdr *)bound->out_controls[i].bytes;
	uint16_t segment = (uint16_t)run->segment;

	bound->out_message_parts[i] = (struct iovec){.iov_base = run->at, .iov_len = run->len};
	*message = (struct msghdr){.msg_iov = &bound->out_message_parts[i], .msg_iovlen = 1};
	if (run->slices < 2)
		return;
	control->cmsg_level = SOL_UDP;
	control->cmsg_type = UDP_SEGMENT;
	control->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(control), &segment, sizeof(segment));
	message->msg_control = control;
	message->msg_controllen = CMSG_SPACE(sizeof(segment));
}

/* A run that the socket does not take is lost: the kernel's queue is the only
 * one there is. */
static void send_runs(struct bound *bound)
{
	size_t done = 0;

	for (size_t i = 0; i < bound->run_count; i++)
		prepare_message(bound, i);
	while (done < bound->run_count) {
		int sent = sendmmsg(bound->udp, bound->out_messages + done,
				    (unsigned)(bound->run_count - done), 0);

		if (sent < 0) {
			bound->counters.not_sent += bound->runs[done].slices;
			sent = 1;
		}
		done += (size_t)sent;
	}
	bound->run_count = 0;
	bound->small_count = 0;
	bound->out_used = 0;
}

/* A super-packet starts a run of its own, so that no more than two carry it. */
static void append_slice(struct bound *bound, uint8_t *slice, size_t len, bool starts_run)
{
	struct run *run = bound->run_count ? &bound->runs[bound->run_count - 1] : NULL;

	if (starts_run || !run || run->closed || len > run->segment ||
	    run->slices == bound->slices_a_run || run->len + len > RUN_BYTES) {
		if (bound->run_count == OUT_RUNS)
			fail("more runs than there is room for");
		run = &bound->runs[bound->run_count++];
		*run = (struct run){.at = slice, .segment = len};
	}
	run->closed = len < run->segment;
	run->len += len;
	run->slices++;
}

/* Where the next packet is read to: the virtio header into the first slice's
 * head, the rest with the gaps between that the slices need. */
static size_t place_parts(struct bound *bound)
{
	size_t mtu = bound->options.mtu, left = TUN_PACKET_MAX, count = 1;
	uint8_t *slice = bound->out + bound->out_used;

	bound->out_parts[0] = (struct iovec){.iov_base = slice + VIRTIO_AT, .iov_len = VIRTIO};
	for (; left > 0; slice += mtu + OVERHEAD) {
		size_t body = left < mtu ? left : mtu;

		bound->out_parts[count++] =
			(struct iovec){.iov_base = slice + BODY_AT, .iov_len = body};
		left -= body;
	}
	return count;
}

static void seal_packet(struct bound *bound, size_t len)
{
	size_t mtu = bound->options.mtu;
	bool is_super = len > mtu;
	uint8_t kind = KIND_FIRST;

	for (size_t left = len; left > 0;) {
		uint8_t *slice = bound->out + bound->out_used;
		size_t body = left < mtu ? left : mtu;

		left -= body;
		slice[KIND_AT] = kind | (left ? 0 : KIND_LAST);
		seal_slice(bound, slice, body);
		append_slice(bound, slice, body + OVERHEAD, is_super && (kind & KIND_FIRST));
		bound->out_used += body + OVERHEAD;
		kind = 0;
	}
	bound->small_count += !is_super;
}

/* A few super-packets, or many small ones: what is there, and not so much that the cache forgets its
 * beginning. */
static bool pump_out(struct bound *bound)
{
	bool moved = false;

	while (bound->small_count < OUT_SMALL && bound->run_count < OUT_RUNS - 2 &&
	       bound->out_used < OUT_BYTES) {
		ssize_t len = readv(bound->tun, bound->out_parts, (int)place_parts(bound));

		if (len <= VIRTIO)
			break;
		moved = true;
		bound->counters.packets_out++;
		bound->counters.bytes_out += (size_t)len - VIRTIO;
		seal_packet(bound, (size_t)len - VIRTIO);
	}
	if (bound->run_count)
		send_runs(bound);
	return moved;
}

/* ---- in: super-packets ---- */

static void write_packet(struct bound *bound)
{
	if (writev(bound->tun, bound->in_parts, (int)bound->in_part_count) < 0)
		bound->counters.not_written++;
	bound->counters.packets_in++;
	bound->counters.bytes_in += bound->in_len;
	bound->in_part_count = 0;
}

/* What is missing in the middle is the kernel's to find: its length does not
 * fit the headers. */
static void take_slice(struct bound *bound, uint8_t *slice, size_t len)
{
	size_t body = len - OVERHEAD;

	if (len <= OVERHEAD || !open_slice(bound, slice, body)) {
		bound->counters.not_opened++;
		return;
	}
	if (slice[KIND_AT] & KIND_FIRST) {
		bound->in_parts[0] =
			(struct iovec){.iov_base = slice + VIRTIO_AT, .iov_len = VIRTIO};
		bound->in_part_count = 1;
		bound->in_len = 0;
	}
	if (bound->in_part_count == 0 || bound->in_part_count > SLICES_MAX)
		return;
	bound->in_parts[bound->in_part_count++] =
		(struct iovec){.iov_base = slice + BODY_AT, .iov_len = body};
	bound->in_len += body;
	if (slice[KIND_AT] & KIND_LAST)
		write_packet(bound);
}

/* The control message comes only with what the kernel has joined. */
static size_t read_segment(const struct msghdr *message, size_t len)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);
	int segment;

	if (!control || control->cmsg_level != SOL_UDP || control->cmsg_type != UDP_GRO)
		return len;
	memcpy(&segment, CMSG_DATA(control), sizeof(segment));
	return segment > 0 ? (size_t)segment : len;
}

static void take_run(struct bound *bound, uint8_t *at, size_t len, size_t segment)
{
	while (len > 0) {
		size_t slice = len < segment ? len : segment;

		take_slice(bound, at, slice);
		at += slice;
		len -= slice;
	}
}

static bool pump_in(struct bound *bound)
{
	uint8_t *half = bound->in + bound->in_half * IN_RUNS * RUN_STRIDE;
	int count;

	for (size_t i = 0; i < IN_RUNS; i++) {
		bound->in_message_parts[i] =
			(struct iovec){.iov_base = half + i * RUN_STRIDE, .iov_len = RUN_STRIDE};
		bound->in_messages[i].msg_hdr = (struct msghdr){
			.msg_iov = &bound->in_message_parts[i],
			.msg_iovlen = 1,
			.msg_control = &bound->in_controls[i],
			.msg_controllen = sizeof(bound->in_controls[i]),
		};
	}
	count = recvmmsg(bound->udp, bound->in_messages, IN_RUNS, MSG_DONTWAIT, NULL);
	for (int i = 0; i < count; i++) {
		size_t len = bound->in_messages[i].msg_len;

		take_run(bound, half + (size_t)i * RUN_STRIDE, len,
			 read_segment(&bound->in_messages[i].msg_hdr, len));
	}
	if (count > 0 && bound->in_part_count)
		bound->in_half = (bound->in_half + 1) % IN_HALVES;
	return count > 0;
}

/* ---- one packet a call ---- */

static bool pump_one_out(struct bound *bound)
{
	uint8_t *slice = bound->out;
	ssize_t len;
	int count = 0;

	for (; count < OUT_SMALL; count++) {
		len = read(bound->tun, slice + BODY_AT, TUN_PACKET_MAX);
		if (len <= 0)
			break;
		slice[KIND_AT] = KIND_FIRST | KIND_LAST;
		seal_slice(bound, slice, (size_t)len);
		bound->counters.packets_out++;
		bound->counters.bytes_out += (size_t)len;
		if (send(bound->udp, slice, (size_t)len + OVERHEAD, 0) < 0)
			bound->counters.not_sent++;
	}
	return count > 0;
}

static bool pump_one_in(struct bound *bound)
{
	uint8_t *slice = bound->in;
	ssize_t len;
	int count = 0;

	for (; count < OUT_SMALL; count++) {
		len = recv(bound->udp, slice, RUN_STRIDE, MSG_DONTWAIT);
		if (len < 0)
			break;
		if (len <= OVERHEAD || !open_slice(bound, slice, (size_t)len - OVERHEAD)) {
			bound->counters.not_opened++;
			continue;
		}
		bound->counters.packets_in++;
		bound->counters.bytes_in += (size_t)len - OVERHEAD;
		if (write(bound->tun, slice + BODY_AT, (size_t)len - OVERHEAD) < 0)
			bound->counters.not_written++;
	}
	return count > 0;
}

/* ---- the whole ---- */

static void open_tun(struct bound *bound)
{
	static const unsigned long sets[] = {
		TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6 | TUN_OFFLOAD_USO4 |
			TUN_OFFLOAD_USO6,
		TUN_OFFLOAD_CSUM | TUN_OFFLOAD_TSO4 | TUN_OFFLOAD_TSO6,
	};
	bool one_packet = bound->options.one_packet;
	struct ifreq request = {
		.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (one_packet ? 0 : IFF_VNET_HDR)),
	};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", bound->options.tun);
	bound->tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (bound->tun < 0 || ioctl(bound->tun, TUNSETIFF, &request) < 0)
		fail("cannot make the TUN device %s: %s", bound->options.tun, strerror(errno));
	if (!one_packet && ioctl(bound->tun, TUNSETOFFLOAD, sets[0]) < 0 &&
	    ioctl(bound->tun, TUNSETOFFLOAD, sets[1]) < 0)
		fail("no super-packets on %s: %s", bound->options.tun, strerror(errno));
}

/* A TUN device's own 500 are 2 ms of small packets: a queue that a process which has to wait for its
 * turn overflows. TCP does not fill either. */
static void set_queue(const char *device)
{
	struct ifreq request = {.ifr_qlen = QUEUE_PACKETS};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (fd < 0 || ioctl(fd, SIOCSIFTXQLEN, &request) < 0)
		fail("cannot set the queue of %s: %s", device, strerror(errno));
	close(fd);
}

static void set_option(int fd, int level, int option, int value, const char *what)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		fail("%s: %s", what, strerror(errno));
}

static void open_udp(struct bound *bound)
{
	const struct options *options = &bound->options;
	int fd = socket(options->local.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("no UDP socket: %s", strerror(errno));
	set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES, "SO_RCVBUFFORCE");
	set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BYTES, "SO_SNDBUFFORCE");
	if (!options->one_packet)
		set_option(fd, SOL_UDP, UDP_GRO, 1, "UDP_GRO");
	if (bind(fd, &options->local.any, addr_endpoint_len(&options->local)) < 0)
		fail("cannot bind the UDP socket: %s", strerror(errno));
	if (connect(fd, &options->remote.any, addr_endpoint_len(&options->remote)) < 0)
		fail("cannot connect the UDP socket: %s", strerror(errno));
	bound->udp = fd;
}

static void move(struct bound *bound)
{
	bool one_packet = bound->options.one_packet;
	struct pollfd fds[] = {
		{.fd = bound->tun, .events = POLLIN},
		{.fd = bound->udp, .events = POLLIN},
	};

	while (!stopped) {
		bool moved = one_packet ? pump_one_out(bound) : pump_out(bound);

		moved |= one_packet ? pump_one_in(bound) : pump_in(bound);
		if (!moved)
			poll(fds, 2, IDLE_MS);
	}
}

static void print_counters(const struct counters *counters)
{
	printf("{\"packets_out\": %llu, \"bytes_out\": %llu, \"slices_out\": %llu, "
	       "\"packets_in\": %llu, \"bytes_in\": %llu, \"slices_in\": %llu, "
	       "\"not_sent\": %llu, \"not_opened\": %llu, \"not_written\": %llu}\n",
	       (unsigned long long)counters->packets_out, (unsigned long long)counters->bytes_out,
	       (unsigned long long)counters->slices_out, (unsigned long long)counters->packets_in,
	       (unsigned long long)counters->bytes_in, (unsigned long long)counters->slices_in,
	       (unsigned long long)counters->not_sent, (unsigned long long)counters->not_opened,
	       (unsigned long long)counters->not_written);
}

static const char usage[] = "usage: bound --tun NAME --local ADDRESS:PORT --remote ADDRESS:PORT "
			    "[--mtu BYTES] [--one-packet] [--no-seal]";

static struct options read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"tun", required_argument, NULL, 't'},
		{"local", required_argument, NULL, 'l'},
		{"remote", required_argument, NULL, 'r'},
		{"mtu", required_argument, NULL, 'm'},
		{"one-packet", no_argument, NULL, '1'},
		{"no-seal", no_argument, NULL, 'n'},
		{0},
	};
	struct options options = {.mtu = 1434};
	bool local = false, remote = false;
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 't')
			options.tun = optarg;
		else if (option == 'l')
			local = addr_endpoint_parse(optarg, 0, &options.local);
		else if (option == 'r')
			remote = addr_endpoint_parse(optarg, 0, &options.remote);
		else if (option == 'm')
			options.mtu = fail_number(optarg, MTU_MIN, MTU_MAX);
		else if (option == '1')
			options.one_packet = true;
		else if (option == 'n')
			options.no_seal = true;
		else
			fail("%s", usage);
	}
	if (!options.tun || !local || !remote || optind != argc)
		fail("%s", usage);
	return options;
}

int main(int argc, char **argv)
{
	struct bound *bound = xnew(struct bound);
	size_t slice;

	fail_name = "bound";
	bound->options = read_options(argc, argv);
	slice = bound->options.mtu + OVERHEAD;
	bound->slices_a_run = RUN_BYTES / slice < RUN_SLICES ? RUN_BYTES / slice : RUN_SLICES;
	bound->out = xalloc_zero(1, OUT_BYTES + 2 * RUN_STRIDE);
	bound->in = xalloc_zero((size_t)IN_HALVES * IN_RUNS, RUN_STRIDE);
	init_ciphers(bound);
	open_tun(bound);
	set_queue(bound->options.tun);
	open_udp(bound);
	signal(SIGTERM, on_stop);
	signal(SIGINT, on_stop);
	fputs("ready\n", stderr);
	move(bound);
	print_counters(&bound->counters);
	return 0;
}
