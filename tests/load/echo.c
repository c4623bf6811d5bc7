#include "echo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"

enum { BATCH = 64, DATAGRAM_MAX = 2048, BUFFER_BYTES = 16 * 1024 * 1024 };

struct echo {
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	struct endpoint peers[BATCH];
	uint8_t bytes[BATCH][DATAGRAM_MAX];
};

static void prepare(struct echo *echo)
{
	for (int i = 0; i < BATCH; i++) {
		echo->pieces[i] = (struct iovec){echo->bytes[i], DATAGRAM_MAX};
		echo->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &echo->peers[i],
			.msg_namelen = sizeof(echo->peers[i]),
			.msg_iov = &echo->pieces[i],
			.msg_iovlen = 1,
		};
	}
}

static void send_back(struct echo *echo, int fd, int count)
{
	int sent = 0;

	for (int i = 0; i < count; i++)
		echo->pieces[i].iov_len = echo->messages[i].msg_len;
	while (sent < count) {
		int some = sendmmsg(fd, echo->messages + sent, (unsigned)(count - sent), 0);

		sent += some > 0 ? some : 1; /* one that cannot be sent is lost */
	}
}

int echo_run(const char *at)
{
	static struct echo echo;
	struct endpoint local;
	int fd, bytes = BUFFER_BYTES;

	if (!addr_endpoint_parse(at, 0, &local)) {
		fprintf(stderr, "devices: %s is not ADDRESS:PORT\n", at);
		return 1;
	}
	fd = socket(local.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, &local.any, addr_endpoint_len(&local)) < 0) {
		fprintf(stderr, "devices: %s: %s\n", at, strerror(errno));
		return 1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int count;

		prepare(&echo);
		count = recvmmsg(fd, echo.messages, BATCH, MSG_WAITFORONE, NULL);
		if (count > 0)
			send_back(&echo, fd, count);
	}
}
