/* Numbered datagrams, one way, counted where they arrive: what a tunnel carries, and what it loses.
 *
 *	udp sink	counts; any number of trials after each other, until SIGTERM
 *	udp send	one trial at a given rate
 *	udp search	the highest rate that a path carries with less than a given loss
 *
 * A sender numbers its trial, says so to the sink, sends, waits until nothing comes in any more and
 * asks what came. It all goes through the tunnel that is measured. Datagrams are single ones, as
 * applications send them: sendmmsg saves the sender's time, UDP_SEGMENT would give the tunnel runs.
 *
 * Pacing is by the clock: what is due is sent every burst_us, and what a late wake-up left undone
 * with the next ones, a few bursts' worth at a time. A sender that cannot keep up takes longer than
 * it should and says so: that is no loss of the tunnel, and no rate either. */

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "fail.h"

enum {
	MAGIC = 0x74756e64,
	BATCH = 64,    /* datagrams a call */
	REST_US = 200, /* of a sink that has taken all there was */
	SIZE_MAX_BYTES = 65507,
	NUMBERED_MAX = 1 << 26, /* datagrams of a trial that are told from their copies */
	CATCH_UP = 4,		/* bursts at once after a late wake-up */
	SOCKET_BYTES = 16 * 1024 * 1024,
	ANSWER_MS = 200, /* until a question is asked again */
	ANSWER_TRIES = 15,
	SETTLE_US = 40 * 1000, /* a trial is over when the count stands still for this long */
	SETTLE_TRIES = 100,
	TRIALS_MAX = 256,
};

static const double ON_TIME = 0.97; /* of the wanted rate, at least, or the trial is void */

enum kind { KIND_DATA, KIND_BEGIN, KIND_QUERY, KIND_ANSWER };

/* Host order: both ends are on one machine. */
struct message {
	uint32_t magic, kind;
	uint64_t trial;
	uint32_t number; /* of data, from 0; of an answer, the question's */
};

struct answer {
	struct message message;
	uint64_t received, copies, late; /* late: after one with a higher number */
};

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_until(int64_t at_us)
{
	struct timespec at = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

static int open_socket(int family)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = SOCKET_BYTES;

	if (fd < 0)
		fail("no UDP socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		fail("cannot set the socket's buffers: %s; run it as root", strerror(errno));
	return fd;
}

/* ---- sink ---- */

struct sink {
	int fd;
	uint64_t trial, trials, received, copies, late, strays, total;
	uint32_t highest;
	uint64_t *seen; /* a bit a number */
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	struct endpoint peers[BATCH];
	uint8_t heads[BATCH][sizeof(struct answer)]; /* the rest of a datagram is not looked at */
};

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
	(void)number;
	stopped = 1;
}

static void begin_trial(struct sink *sink, uint64_t trial)
{
	if (trial == sink->trial)
		return;
	sink->trial = trial;
	sink->trials++;
	sink->received = sink->copies = sink->late = 0;
	sink->highest = 0;
	memset(sink->seen, 0, NUMBERED_MAX / 8);
}

static void count_data(struct sink *sink, const struct message *message)
{
	uint32_t number = message->number;

	if (message->trial != sink->trial || number >= NUMBERED_MAX) {
		sink->strays++;
		return;
	}
	if (sink->seen[number / 64] & UINT64_C(1) << number % 64) {
		sink->copies++;
		return;
	}
	sink->seen[number / 64] |= UINT64_C(1) << number % 64;
	sink->received++;
	sink->total++;
	if (number < sink->highest)
		sink->late++;
	else
		sink->highest = number;
}

static void answer(struct sink *sink, const struct message *question, const struct endpoint *peer)
{
	struct answer answer = {
		.message = *question,
		.received = sink->received,
		.copies = sink->copies,
		.late = sink->late,
	};

	answer.message.kind = KIND_ANSWER;
	if (sendto(sink->fd, &answer, sizeof(answer), 0, &peer->any, addr_endpoint_len(peer)) < 0)
		fprintf(stderr, "udp: cannot answer: %s\n", strerror(errno));
}

static void take_datagram(struct sink *sink, size_t i)
{
	struct message message;

	memcpy(&message, sink->heads[i], sizeof(message));
	if (sink->messages[i].msg_len < sizeof(message) || message.magic != MAGIC)
		return;
	if (message.kind == KIND_DATA) {
		count_data(sink, &message);
		return;
	}
	if (message.kind == KIND_BEGIN)
		begin_trial(sink, message.trial);
	if (message.trial == sink->trial)
		answer(sink, &message, &sink->peers[i]);
}

static void run_sink(const struct endpoint *at)
{
	struct sink *sink = xnew(struct sink);
	struct sigaction action = {.sa_handler =
					   on_stop}; /* without SA_RESTART: recvmmsg returns */

	sink->fd = open_socket(at->any.sa_family);
	if (bind(sink->fd, &at->any, addr_endpoint_len(at)) < 0)
		fail("cannot listen: %s", strerror(errno));
	sink->seen = xalloc_zero(1, NUMBERED_MAX / 8);
	for (size_t i = 0; i < BATCH; i++) {
		sink->parts[i] = (struct iovec){sink->heads[i], sizeof(sink->heads[i])};
		sink->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &sink->peers[i],
			.msg_iov = &sink->parts[i],
			.msg_iovlen = 1,
		};
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	fputs("ready\n", stderr);
	while (!stopped) {
		int count;

		for (size_t i = 0; i < BATCH; i++)
			sink->messages[i].msg_hdr.msg_namelen = sizeof(sink->peers[i]);
		count = recvmmsg(sink->fd, sink->messages, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < count; i++)
			take_datagram(sink, (size_t)i);
		/* To be woken by each datagram costs its sender more than the datagram does. */
		if (count > 0 && count < BATCH)
			sleep_until(now_us() + REST_US);
	}
	printf("{\"trials\": %llu, \"received\": %llu, \"strays\": %llu}\n",
	       (unsigned long long)sink->trials, (unsigned long long)sink->total,
	       (unsigned long long)sink->strays);
}

/* ---- send ---- */

struct sender {
	int fd; /* connected */
	size_t size;
	int64_t burst_us;
	double seconds;
	uint32_t questions;
	uint8_t *payloads; /* BATCH of size bytes */
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
};

struct trial {
	double rate; /* wanted */
	uint64_t sent, received, copies, late;
	double elapsed_s, sent_pps, lost_share;
	bool on_time;
};

/* Asks until the answer to one of these questions comes. False: it does not. */
static bool ask(struct sender *sender, enum kind kind, uint64_t trial, struct answer *ret)
{
	struct message question = {.magic = MAGIC, .kind = kind, .trial = trial};
	struct pollfd fd = {.fd = sender->fd, .events = POLLIN};
	uint32_t first = sender->questions;

	for (int tries = 0; tries < ANSWER_TRIES; tries++) {
		question.number = sender->questions++;
		/* An ICMP error of an earlier datagram is told here; the next try is past
     * it. */
		send(sender->fd, &question, sizeof(question), 0);
		while (poll(&fd, 1, ANSWER_MS) > 0) {
			ssize_t len = recv(sender->fd, ret, sizeof(*ret), MSG_DONTWAIT);

			if (len == (ssize_t)sizeof(*ret) && ret->message.magic == MAGIC &&
			    ret->message.kind == KIND_ANSWER && ret->message.trial == trial &&
			    ret->message.number >= first)
				return true;
		}
	}
	return false;
}

static void send_batch(struct sender *sender, uint64_t trial, uint64_t from, unsigned count)
{
	unsigned done = 0, errors = 0;

	for (unsigned i = 0; i < count; i++) {
		struct message message = {.magic = MAGIC,
					  .trial = trial,
					  .number = (uint32_t)(from + i)};

		memcpy(sender->payloads + i * sender->size, &message, sizeof(message));
	}
	while (done < count) {
		int sent = sendmmsg(sender->fd, sender->messages + done, count - done, 0);

		if (sent < 0 && errno == ENOBUFS) /* dropped here: the path's loss, as any other */
			sent = 1;
		else if (sent < 0 && ++errors > BATCH)
			fail("cannot send: %s", strerror(errno));
		else if (sent < 0 && errno == EMSGSIZE)
			fail("%zu bytes do not fit the path: take less", sender->size);
		done += sent > 0 ? (unsigned)sent : 0;
	}
}

/* How many went out, and how long it took. It ends when a quarter more than the
 * time is over. */
static uint64_t send_paced(struct sender *sender, uint64_t trial, double rate, double *ret_elapsed)
{
	uint64_t total = (uint64_t)llround(rate * sender->seconds), sent = 0;
	uint64_t burst = (uint64_t)(rate * (double)sender->burst_us / 1e6) + 1;
	int64_t start = now_us(), at = start, last = start;

	while (sent < total && (double)(at - start) < sender->seconds * 1.25e6) {
		uint64_t due = (uint64_t)((double)(now_us() - start) * rate / 1e6) + 1;
		uint64_t end = due < total ? due : total;

		if (end > sent + CATCH_UP * burst)
			end = sent + CATCH_UP * burst;
		while (sent < end) {
			unsigned count = end - sent < BATCH ? (unsigned)(end - sent) : BATCH;

			send_batch(sender, trial, sent, count);
			sent += count;
		}
		last = now_us();
		at = at + sender->burst_us > last ? at + sender->burst_us : last + 1;
		sleep_until(at);
	}
	*ret_elapsed = (double)(last - start) / 1e6;
	return sent;
}

/* Asks until everything has come or nothing comes any more. */
static void collect(struct sender *sender, uint64_t id, struct trial *trial)
{
	struct answer answer;
	uint64_t before = UINT64_MAX;

	for (int tries = 0; tries < SETTLE_TRIES; tries++) {
		if (!ask(sender, KIND_QUERY, id, &answer))
			fail("the sink no longer answers");
		if (answer.received == before || answer.received >= trial->sent)
			break;
		before = answer.received;
		sleep_until(now_us() + SETTLE_US);
	}
	trial->received = answer.received;
	trial->copies = answer.copies;
	trial->late = answer.late;
}

static struct trial run_trial(struct sender *sender, double rate)
{
	struct trial trial = {.rate = rate};
	struct answer answer;
	uint64_t id;

	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		fail("no random number: %s", strerror(errno));
	if (!ask(sender, KIND_BEGIN, id, &answer))
		fail("no sink answers; start \"udp sink\" there first");
	trial.sent = send_paced(sender, id, rate, &trial.elapsed_s);
	collect(sender, id, &trial);
	trial.sent_pps = (double)trial.sent / fmax(trial.elapsed_s, sender->seconds);
	trial.lost_share = 1 - (double)trial.received / (double)trial.sent;
	trial.on_time = trial.sent_pps >= ON_TIME * rate;
	return trial;
}

static void print_trial(const struct trial *trial)
{
	printf("{\"rate\": %.0f, \"sent\": %llu, \"received\": %llu, \"lost_share\": "
	       "%.6f, "
	       "\"copies\": %llu, \"late\": %llu, \"elapsed_s\": %.4f, \"sent_pps\": "
	       "%.0f, "
	       "\"on_time\": %s}",
	       trial->rate, (unsigned long long)trial->sent, (unsigned long long)trial->received,
	       trial->lost_share, (unsigned long long)trial->copies,
	       (unsigned long long)trial->late, trial->elapsed_s, trial->sent_pps,
	       trial->on_time ? "true" : "false");
}

static struct sender *make_sender(const struct endpoint *to, size_t size)
{
	struct sender *sender = xnew(struct sender);

	sender->fd = open_socket(to->any.sa_family);
	sender->size = size;
	sender->payloads = xalloc_zero(BATCH, size);
	if (connect(sender->fd, &to->any, addr_endpoint_len(to)) < 0)
		fail("no way there: %s", strerror(errno));
	for (size_t i = 0; i < BATCH; i++) {
		sender->parts[i] = (struct iovec){sender->payloads + i * size, size};
		sender->messages[i].msg_hdr =
			(struct msghdr){.msg_iov = &sender->parts[i], .msg_iovlen = 1};
	}
	prctl(PR_SET_TIMERSLACK, 1UL);
	return sender;
}

/* ---- search ---- */

struct search {
	struct sender *sender;
	double max_loss, from, until;
	double climb; /* factor; small where from is known to be near */
	struct trial trials[TRIALS_MAX];
	size_t count;
};

static const double NEAR = 1.03, TOO_LOW = 100;

static bool passes(struct search *search, double rate)
{
	struct trial *trial;

	if (search->count == TRIALS_MAX)
		fail("no end after %d trials: this path is too unsteady to search", TRIALS_MAX);
	trial = &search->trials[search->count++];
	*trial = run_trial(search->sender, rate);
	return trial->on_time && trial->lost_share < search->max_loss;
}

/* Two of at most three: one hiccup of the machine neither makes nor breaks a
 * rate. */
static bool passes_twice(struct search *search, double rate, bool passed_once)
{
	bool first = passed_once || passes(search, rate);
	bool second = passes(search, rate);

	return first == second ? first : passes(search, rate);
}

/* While climbing one pass is enough to go on, and two failures are needed to
 * stop. */
static double climb(struct search *search, double *ret_too_high)
{
	double low = 0, rate = search->from;

	while (rate <= search->until && (passes(search, rate) || passes(search, rate))) {
		low = rate;
		rate = rate * search->climb > search->until && rate < search->until
			       ? search->until
			       : rate * search->climb;
	}
	*ret_too_high = rate;
	return low;
}

/* The rate that counts is *low; 0 when none was found. */
static double find_highest(struct search *search)
{
	double high, low = climb(search, &high);

	if (low == search->until && passes_twice(search, low, true))
		return low;
	if (low == 0)
		high = search->from;
	/* The climb's last may have been luck. Downwards until one stands. */
	while (low == 0 || !passes_twice(search, low, true)) {
		high = low > 0 ? low : high;
		low = high / search->climb;
		if (low < TOO_LOW)
			return 0;
		if (!passes(search, low)) {
			high = low;
			low = 0;
		}
	}
	while (high / low > NEAR) {
		double middle = sqrt(high * low);

		if (passes_twice(search, middle, false))
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void run_search(struct search *search)
{
	double rate = find_highest(search);

	printf("{\"size\": %zu, \"max_loss\": %g, \"pps\": %.0f, \"until_reached\": %s, "
	       "\"trials\": [",
	       search->sender->size, search->max_loss, rate,
	       rate >= search->until ? "true" : "false");
	for (size_t i = 0; i < search->count; i++) {
		fputs(i ? ", " : "", stdout);
		print_trial(&search->trials[i]);
	}
	puts("]}");
}

/* ---- arguments ---- */

static const char usage[] = "usage: udp sink --listen ADDRESS:PORT\n"
			    "       udp send --to ADDRESS:PORT --size BYTES --rate PPS --seconds S "
			    "[--burst-us US]\n"
			    "       udp search --to ADDRESS:PORT --size BYTES [--max-loss SHARE] "
			    "[--seconds-per-trial S] [--from PPS] [--until PPS] [--climb FACTOR] "
			    "[--burst-us US]";

struct options {
	struct endpoint at;
	bool has_at;
	size_t size;
	double rate, seconds, max_loss, from, until, climb;
	int64_t burst_us;
};

static struct options read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"listen", required_argument, NULL, 'a'},
		{"to", required_argument, NULL, 'a'},
		{"size", required_argument, NULL, 'z'},
		{"rate", required_argument, NULL, 'r'},
		{"seconds", required_argument, NULL, 's'},
		{"seconds-per-trial", required_argument, NULL, 's'},
		{"burst-us", required_argument, NULL, 'b'},
		{"max-loss", required_argument, NULL, 'l'},
		{"from", required_argument, NULL, 'f'},
		{"until", required_argument, NULL, 'u'},
		{"climb", required_argument, NULL, 'c'},
		{0},
	};
	struct options options = {
		.size = 64,
		.seconds = 1,
		.max_loss = 0.005,
		.from = 10000,
		.until = 2e6,
		.climb = 1.6,
		.burst_us = 200,
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 'a')
			options.has_at = addr_endpoint_parse(optarg, 0, &options.at);
		else if (option == 'z')
			options.size = fail_number(optarg, sizeof(struct message), SIZE_MAX_BYTES);
		else if (option == 'r')
			options.rate = fail_fraction(optarg, 1, 1e8);
		else if (option == 's')
			options.seconds = fail_fraction(optarg, 0.01, 600);
		else if (option == 'b')
			options.burst_us = (int64_t)fail_number(optarg, 1, 1000000);
		else if (option == 'l')
			options.max_loss = fail_fraction(optarg, 0.0001, 1);
		else if (option == 'f')
			options.from = fail_fraction(optarg, TOO_LOW, 1e8);
		else if (option == 'u')
			options.until = fail_fraction(optarg, TOO_LOW, 1e8);
		else if (option == 'c')
			options.climb = fail_fraction(optarg, 1.01, 100);
		else
			fail("%s", usage);
	}
	if (optind != argc || !options.has_at)
		fail("%s", usage);
	return options;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	struct options options;
	struct sender *sender;

	fail_name = "udp";
	options = read_options(argc - (argc > 1), argv + (argc > 1));
	if (strcmp(command, "sink") == 0) {
		run_sink(&options.at);
		return 0;
	}
	sender = make_sender(&options.at, options.size);
	sender->seconds = options.seconds;
	sender->burst_us = options.burst_us;
	if (strcmp(command, "send") == 0 && options.rate > 0) {
		struct trial trial = run_trial(sender, options.rate);

		print_trial(&trial);
		puts("");
	} else if (strcmp(command, "search") == 0 && options.from <= options.until) {
		struct search *search = xnew(struct search);

		search->sender = sender;
		search->max_loss = options.max_loss;
		search->from = options.from;
		search->until = options.until;
		search->climb = options.climb;
		run_search(search);
	} else {
		fail("%s", usage);
	}
	return 0;
}
