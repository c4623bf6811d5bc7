#include "pki/fetch.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/log.h"
#include "sys/child.h"
#include "sys/privs.h"
#include "sys/sandbox.h"
#include "wire/fetch_msg.h"

/* As getaddrinfo sorts them (RFC 6724): the best first. Several services make duplicates. */
static void add_address(struct fetch_msg_reply *reply, const struct addrinfo *found)
{
	struct endpoint endpoint = {0};
	struct addr address;

	if (found->ai_family != AF_INET && found->ai_family != AF_INET6)
		return;
	memcpy(&endpoint, found->ai_addr, found->ai_addrlen);
	address = addr_of_endpoint(&endpoint);
	for (size_t i = 0; i < reply->count; i++) {
		if (addr_equal(&reply->addresses[i], &address))
			return;
	}
	if (reply->count < FETCH_MSG_ADDRESSES_MAX)
		reply->addresses[reply->count++] = address;
}

static void resolve_host(const char *host, struct fetch_msg_reply *reply)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int r = getaddrinfo(host, NULL, &hints, &found);

	for (struct addrinfo *at = found; r == 0 && at; at = at->ai_next)
		add_address(reply, at);
	if (r != 0)
		snprintf(reply->error, sizeof(reply->error), "%s", gai_strerror(r));
	else if (reply->count == 0)
		snprintf(reply->error, sizeof(reply->error), "no IPv4 or IPv6 address");
	if (found)
		freeaddrinfo(found);
}

static int answer_request(int socket, const struct fetch_msg_request *request)
{
	struct fetch_msg_reply reply = {.id = request->id};
	uint8_t packet[FETCH_MSG_MAX];
	size_t len;

	if (addr_parse(request->host, &reply.addresses[0]))
		reply.count = 1;
	else
		resolve_host(request->host, &reply);
	len = fetch_msg_reply_write(&reply, packet);
	return len ? child_send(socket, packet, len, NULL, 0) : 0;
}

static int serve_requests(int socket)
{
	for (;;) {
		struct fetch_msg_request request;
		uint8_t packet[FETCH_MSG_MAX];
		ssize_t len = child_receive(socket, packet, sizeof(packet), NULL, NULL);

		if (len <= 0)
			return len == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
		if (!fetch_msg_request_read(packet, (size_t)len, &request))
			return EXIT_FAILURE;
		if (answer_request(socket, &request) < 0)
			return EXIT_SUCCESS;
	}
}

int fetch_run(int socket, uid_t uid, gid_t gid)
{
	int r = privs_drop_all(uid, gid);

	if (r == 0)
		r = child_die_with_parent();
	if (r == 0)
		r = sandbox_load(SANDBOX_FETCH);
	if (r < 0) {
		log_error("looking up names is off: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	return serve_requests(socket);
}
