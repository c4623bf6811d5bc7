#pragma once
/* The control socket: who may ask what, and the operators' commands, one row each in commands.c. */

#include <sys/types.h>

#include <jansson.h>
#include <uv.h>

#include "client/client.h"
#include "gateway/gateway.h"
#include "pki/material.h"

struct ctl_options {
	const struct config *config;
	const struct config_problems *warnings;
	const struct material *material;
	struct gateway *gateway; /* one of the two */
	struct client *client;
	int listen;
	gid_t observers, admins; /* -1: no such group */
	uv_loop_t *loop;
};

struct ctl {
	struct ctl_options options;
	uv_poll_t poll;
	struct ctl_request *first; /* every connection */
	size_t connections;
};

/* One request that waits for its answer. */
struct ctl_request;

/* Before the sandbox: JSON's hash tables take their seed from a file. */
void ctl_prepare(void);
struct ctl *ctl_start(const struct ctl_options *options);
/* When nobody is left to answer later. The handles are closed through the loop, which must run once
 * more. */
void ctl_free(struct ctl *ctl);

struct ctl *ctl_of(struct ctl_request *request);
/* Answers, once; takes reply. */
void ctl_answer(struct ctl_request *request, json_t *reply);
