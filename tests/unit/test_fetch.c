/* pki/fetch: names become addresses, in a process that may do little else.
 *
 *   test --(requests)--> fetch process ---UDP 127.0.0.1:53---> name server
 *                        '---- a network and a resolv.conf of their own ----'  */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pki/fetch.h"
#include "sys/child.h"
#include "wire/fetch_msg.h"

enum { NOBODY = 65534, DNS_MAX = 512, DNS_HEADER = 12, TYPE_A = 1, TYPE_AAAA = 28, MANY = 20 };

/* The question's end in a query of one question, or 0. */
static size_t skip_question(const uint8_t *query, size_t len)
{
	size_t at = DNS_HEADER;

	while (at < len && query[at])
		at += (size_t)query[at] + 1;
	return at + 5 <= len ? at + 5 : 0;
}

static size_t add_answer(uint8_t *answer, size_t len, uint8_t type, uint8_t last)
{
	const uint8_t head[] = {0xc0, DNS_HEADER, 0, type, 0, 1, 0, 0, 0, 60, 0};
	const uint8_t v4[] = {4, 192, 0, 2, last};
	const uint8_t v6[] = {16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last};
	const uint8_t *data = type == TYPE_A ? v4 : v6;
	size_t data_len = type == TYPE_A ? sizeof(v4) : sizeof(v6);

	memcpy(answer + len, head, sizeof(head));
	memcpy(answer + len + sizeof(head), data, data_len);
	return len + sizeof(head) + data_len;
}

/* "both" has an address of each family, "many" has many of one, "none" none; no other name exists.
 */
static size_t answer_query(uint8_t *packet, size_t len)
{
	const char *name = (const char *)packet + DNS_HEADER + 1;
	uint8_t type, count = 0;

	len = skip_question(packet, len);
	if (!len)
		return 0;
	type = packet[len - 3];
	memcpy(packet + 2, (uint8_t[]){0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, 10);
	if (strncmp(name, "both", 4) == 0)
		count = 1;
	else if (strncmp(name, "many", 4) == 0)
		count = type == TYPE_A ? MANY : 0;
	else if (strncmp(name, "none", 4) != 0)
		packet[3] = 0x83;
	for (uint8_t i = 0; i < count; i++)
		len = add_answer(packet, len, type, (uint8_t)(7 + i));
	packet[7] = count;
	return len;
}

static void serve_names(int udp, pid_t parent)
{
	/* Of one uid with its parent, whose death could not reach it otherwise. */
	if (setresuid(NOBODY, NOBODY, NOBODY) || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) ||
	    getppid() != parent)
		_exit(1);
	for (;;) {
		struct sockaddr_storage peer;
		socklen_t peer_len = sizeof(peer);
		uint8_t packet[DNS_MAX];
		ssize_t len = recvfrom(udp, packet, sizeof(packet), 0, (struct sockaddr *)&peer,
				       &peer_len);

		if (len <= DNS_HEADER)
			continue;
		len = (ssize_t)answer_query(packet, (size_t)len);
		sendto(udp, packet, (size_t)len, 0, (struct sockaddr *)&peer, peer_len);
	}
}

static bool raise_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;

	close(fd);
	return done;
}

static bool replace_file(const char *path, const char *text)
{
	char name[] = "/tmp/tund-test-fetch-XXXXXX";
	int fd = mkstemp(name);
	size_t len = strlen(text);
	bool done = fd >= 0 && write(fd, text, len) == (ssize_t)len && fchmod(fd, 0644) == 0 &&
		    mount(name, path, NULL, MS_BIND, NULL) == 0;

	close(fd);
	unlink(name);
	return done;
}

/* A world of its own: one name server, and nothing behind it. */
static bool make_world(void)
{
	const struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons(53),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	pid_t own = getpid();
	int udp;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	if (!raise_loopback() ||
	    !replace_file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1\n") ||
	    !replace_file("/etc/nsswitch.conf", "hosts: files dns\n"))
		return false;
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(udp, (const struct sockaddr *)&at, sizeof(at)))
		return false;
	if (fork() == 0)
		serve_names(udp, own);
	close(udp);
	return true;
}

static int run_fetch(int socket, void *argument)
{
	(void)argument;
	return make_world() ? fetch_run(socket, NOBODY, NOBODY) : 99;
}

static int start_fetch(void **state)
{
	static struct child child;

	assert_int_equal(child_start(&child, "fetch", run_fetch, NULL, NULL, 0), 0);
	*state = &child;
	return 0;
}

static int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int stop_fetch(void **state)
{
	struct child *child = *state;

	if (child->socket >= 0)
		close(child->socket);
	if (child->pid > 0)
		assert_int_equal(wait_for(child->pid), EXIT_SUCCESS);
	return 0;
}

static void send_request(const struct child *child, uint32_t id, const char *host)
{
	struct fetch_msg_request request = {.id = id};
	uint8_t packet[FETCH_MSG_MAX];
	size_t len;

	snprintf(request.host, sizeof(request.host), "%s", host);
	len = fetch_msg_request_write(&request, packet);
	assert_int_not_equal(len, 0);
	assert_int_equal(child_send(child->socket, packet, len, NULL, 0), 0);
}

static struct fetch_msg_reply receive_reply(const struct child *child)
{
	struct fetch_msg_reply reply;
	uint8_t packet[FETCH_MSG_MAX];
	ssize_t len = child_receive(child->socket, packet, sizeof(packet), NULL, NULL);

	assert_true(len > 0);
	assert_true(fetch_msg_reply_read(packet, (size_t)len, &reply));
	return reply;
}

static bool has_address(const struct fetch_msg_reply *reply, const char *text)
{
	struct addr wanted;

	assert_true(addr_parse(text, &wanted));
	for (size_t i = 0; i < reply->count; i++) {
		if (addr_equal(&reply->addresses[i], &wanted))
			return true;
	}
	return false;
}

static const struct {
	const char *host;
	size_t least, most; /* addresses; 0: an error */
	const char *one, *another;
} lookups[] = {
	{"192.0.2.1", 1, 1, "192.0.2.1", NULL},
	{"2001:db8::1", 1, 1, "2001:db8::1", NULL},
	{"localhost", 1, 2, "127.0.0.1", NULL},
	{"both.example", 2, 2, "192.0.2.7", "2001:db8::7"},
	{"many.example", FETCH_MSG_ADDRESSES_MAX, FETCH_MSG_ADDRESSES_MAX, NULL, NULL},
	{"none.example", 0, 0, NULL, NULL},
	{"unknown.example", 0, 0, NULL, NULL},
	{"both.example", 2, 2, "192.0.2.7", "2001:db8::7"},
};

enum { LOOKUPS = sizeof(lookups) / sizeof(lookups[0]) };

/* All asked at once; the answers come in order. */
static void names_become_addresses(void **state)
{
	const struct child *child = *state;

	for (uint32_t i = 0; i < LOOKUPS; i++)
		send_request(child, 100 + i, lookups[i].host);
	for (uint32_t i = 0; i < LOOKUPS; i++) {
		struct fetch_msg_reply reply = receive_reply(child);

		print_message("  %s: %zu %s\n", lookups[i].host, reply.count, reply.error);
		assert_int_equal(reply.id, 100 + i);
		assert_in_range(reply.count, lookups[i].least, lookups[i].most);
		assert_int_equal(reply.error[0] != '\0', lookups[i].most == 0);
		if (lookups[i].one)
			assert_true(has_address(&reply, lookups[i].one));
		if (lookups[i].another)
			assert_true(has_address(&reply, lookups[i].another));
	}
}

static bool has_line(pid_t pid, const char *line)
{
	char path[64], found[256];
	bool has = false;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	assert_non_null(status);
	while (fgets(found, sizeof(found), status))
		has = has || strcmp(found, line) == 0;
	fclose(status);
	return has;
}

static void it_is_nobody(void **state)
{
	const struct child *child = *state;

	send_request(child, 1, "192.0.2.1");
	receive_reply(child);
	assert_true(has_line(child->pid, "Uid:\t65534\t65534\t65534\t65534\n"));
	assert_true(has_line(child->pid, "Gid:\t65534\t65534\t65534\t65534\n"));
	assert_true(has_line(child->pid, "Groups:\t \n"));
	assert_true(has_line(child->pid, "CapPrm:\t0000000000000000\n"));
	assert_true(has_line(child->pid, "NoNewPrivs:\t1\n"));
	/* No filter in a sanitizer's build. */
	assert_true(has_line(child->pid, "Seccomp:\t2\n") || has_line(child->pid, "Seccomp:\t0\n"));
}

static void what_is_no_request_ends_it(void **state)
{
	struct child *child = *state;

	assert_int_equal(child_send(child->socket, "?", 1, NULL, 0), 0);
	assert_int_equal(wait_for(child->pid), EXIT_FAILURE);
	child->pid = -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names_become_addresses, start_fetch, stop_fetch),
		cmocka_unit_test_setup_teardown(it_is_nobody, start_fetch, stop_fetch),
		cmocka_unit_test_setup_teardown(what_is_no_request_ends_it, start_fetch,
						stop_fetch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
