#pragma once
/* The control socket: who may ask what, and the operators' commands, one row each in commands.c. */

#include <sys/types.h>

#include <jansson.h>
#include <uv.h>

#include "client/client.h"
#include "gateway/gateway.h"
#include "key/use.h"
#include "pki/material.h"

struct ctl_options {
	const struct config *config;
	const struct config_problems *warnings;
	const struct config_problems *troubles; /* with files that have changed; NULL: none yet */
	const struct material *material;
	struct gateway *gateway; /* one of the two */
	struct client *client;
	const struct use *key_use;  /* NULL: not counted */
	struct event_hook *events;  /* of the role's; heard here */
	struct parent_link *parent; /* the engine's */
	int listen;
	gid_t observers, admins; /* -1: no such group */
	uv_loop_t *loop;
};

struct ctl {
	struct ctl_options options;
	uv_poll_t poll;
	struct ctl_request *first; /* every connection */
	struct watch *watch;
	struct reload *reload;
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
/* What is in force now: a reload replaces both. Borrowed. */
const struct trust *ctl_trust(const struct ctl *ctl);
X509 *ctl_leaf(const struct ctl *ctl);
/* Answers, once; takes reply. */
void ctl_answer(struct ctl_request *request, json_t *reply);

/* ---- a long answer ---- */

/* Made piece by piece as the asker takes it, so that it is never all in memory, and so that others
 * get their turn in between. */
struct ctl_pieces {
	bool (*next)(struct buf *out, void *user); /* appends some; false: that was the last */
	void (*done)(void *user);		   /* after the last, or the asker has left */
	void *user;
};

/* Answers, once, with a line of JSON that ends with the last piece. */
void ctl_answer_pieces(struct ctl_request *request, const struct ctl_pieces *pieces);

/* ---- an answer of many lines ---- */

struct ctl_stream {
	void (*has_room)(void *user); /* the asker has taken all there was */
	void (*left)(void *user);     /* the asker is gone, and the request with it */
	void *user;
};

/* The request becomes a stream, with its first line; takes first. It lasts until ctl_stream_end, or
 * until its asker leaves, or takes nothing of what waits for it for half a minute. */
void ctl_stream_begin(struct ctl_request *request, json_t *first, const struct ctl_stream *stream);
/* A line with its newline. False: the asker is slow, and so much waits for it already that this
 * line does not. Never ends the request. */
bool ctl_stream_line(struct ctl_request *request, const char *line, size_t len);
/* With the last line, which is never left out; takes last. The asker may ask again. */
void ctl_stream_end(struct ctl_request *request, json_t *last);
