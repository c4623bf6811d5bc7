/* Requests queue up; the thread takes all there are. Those that nobody waits for gather for a moment
 * and go into one transaction, since a commit costs a write to the disk; one with an answer has its
 * own, at once. */
#include "session/store.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/xalloc.h"
#include "session/store_db.h"

enum {
	BATCH_MAX = 1024, /* requests of one transaction: a denial waits for no more */
	GATHER_MS = 50,	  /* a session of so little age may be forgotten by a crash */
	NICE = 5,	  /* behind packets, before handshakes */
	PRUNE_EVERY = 1024,
	QUEUE_MAX = 65536, /* what may be lost is dropped beyond, when the disk hangs */
};

enum request_kind {
	PUT_LEASE,
	PUT_COOKIE,
	DROP_COOKIE,
	PUT_SEEN,
	DENY,
	UNDENY,
	TROUBLE, /* from the thread: text is how writing goes, "" is well */
};

/* Goes to the thread and, where there is an answer, comes back as that. */
struct request {
	struct mailbox_message message; /* next: in the queue too */
	enum request_kind kind;
	union {
		struct store_lease lease;
		struct store_cookie cookie;
		uint8_t hash[32];
		struct store_seen seen;
		struct store_denied *denied; /* count of them */
		struct trust_denial *denials;
	};
	size_t count;
	store_done_fn done;
	void *user;
	int error;
	char text[STORE_DB_TROUBLE];
};

struct store {
	pthread_t thread;
	struct mailbox *answers;
	char *directory;
	int (*enter)(void);
	struct store_db *db; /* the thread's */
	unsigned writes;     /* the thread's: since the last pruning */
	bool is_failing;     /* the thread's */
	char trouble[STORE_DB_TROUBLE];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct mailbox_message *first, **last;
	unsigned queued, awaited; /* of those queued, with an answer */
	bool is_behind, stopping, is_started;
	int start_error;
	char start_text[512];
	struct store_state state; /* until store_start hands it on */
};

static struct request *next_request(const struct request *request)
{
	return (struct request *)request->message.next;
}

/* The whole queue; the caller holds the lock. */
static struct request *take_queue(struct store *store)
{
	struct request *first = (struct request *)store->first;

	store->first = NULL;
	store->last = &store->first;
	store->queued = store->awaited = 0;
	return first;
}

static void free_request(struct request *request)
{
	if (request->kind == DENY)
		free(request->denied);
	else if (request->kind == UNDENY)
		free(request->denials);
	free(request);
}

/* ---- the thread ---- */

static int write_denied(struct store_db *db, const struct request *request)
{
	int r = 0;

	for (size_t i = 0; i < request->count && r == 0; i++)
		r = request->kind == DENY ? store_db_deny(db, &request->denied[i])
					  : store_db_undeny(db, &request->denials[i]);
	return r;
}

static int write_request(struct store *store, const struct request *request)
{
	struct store_db *db = store->db;

	switch (request->kind) {
	case PUT_LEASE:
		return store_db_put_lease(db, &request->lease);
	case PUT_COOKIE:
		return store_db_put_cookie(db, &request->cookie);
	case DROP_COOKIE:
		return store_db_drop_cookie(db, request->hash);
	case PUT_SEEN:
		return store_db_put_seen(db, &request->seen, clock_wall());
	default:
		return write_denied(db, request);
	}
}

static void tell_trouble(struct store *store, const char *text)
{
	struct request *note = xnew(struct request);

	note->kind = TROUBLE;
	snprintf(note->text, sizeof(note->text), "%s", text);
	mailbox_post(store->answers, &note->message);
}

/* Once when it begins, once when it is over. A transaction without a change proves nothing. */
static void note_outcome(struct store *store, int error, bool changed)
{
	if (error < 0) {
		tell_trouble(store, store_db_trouble(store->db));
		if (!store->is_failing)
			log_error("cannot write %s/state.db: %s; what is new will not survive a "
				  "restart",
				  store->directory, store_db_trouble(store->db));
		store->is_failing = true;
	} else if (store->is_failing && changed) {
		tell_trouble(store, "");
		log_info("%s/state.db can be written again", store->directory);
		store->is_failing = false;
	}
}

/* The requests from first up to, not including, end: all or none. */
static int write_batch(struct store *store, const struct request *first, const struct request *end)
{
	bool changed = false;
	int r = store_db_begin(store->db);

	for (; r == 0 && first != end; first = next_request(first))
		r = write_request(store, first);
	if (r == 0)
		r = store_db_commit(store->db, &changed);
	else
		store_db_rollback(store->db);
	note_outcome(store, r, changed);
	return r;
}

static int prune(struct store *store, bool *ret_changed)
{
	int r = store_db_begin(store->db);

	if (r == 0)
		r = store_db_prune(store->db, clock_wall());
	if (r == 0)
		return store_db_commit(store->db, ret_changed);
	store_db_rollback(store->db);
	return r;
}

static void answer_request(struct store *store, struct request *request, int error)
{
	request->error = error;
	if (error < 0)
		snprintf(request->text, sizeof(request->text), "%s", store_db_trouble(store->db));
	mailbox_post(store->answers, &request->message);
}

/* One transaction of the front of the list; returns what is left. */
static struct request *serve_some(struct store *store, struct request *first)
{
	struct request *end = next_request(first);
	int r;

	for (unsigned count = 1; !first->done && end && !end->done && count < BATCH_MAX; count++)
		end = next_request(end);
	r = write_batch(store, first, end);
	while (first != end) {
		struct request *next = next_request(first);

		if (first->done)
			answer_request(store, first, r);
		else
			free_request(first);
		first = next;
		store->writes++;
	}
	return end;
}

/* Waits for more of those that nobody waits for; the caller holds the lock. */
static void gather(struct store *store)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += GATHER_MS * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (r == 0 && !store->stopping && !store->awaited && store->queued < BATCH_MAX)
		r = pthread_cond_clockwait(&store->changed, &store->lock, CLOCK_MONOTONIC, &until);
}

/* NULL when the store is to stop and nothing is left. */
static struct request *wait_requests(struct store *store)
{
	struct request *first;

	pthread_mutex_lock(&store->lock);
	while (!store->first && !store->stopping)
		pthread_cond_wait(&store->changed, &store->lock);
	gather(store);
	first = take_queue(store);
	pthread_mutex_unlock(&store->lock);
	return first;
}

/* A full disk does not keep the gateway from starting: what is stored can still be read. */
static int read_database(struct store *store)
{
	bool changed;
	int r = prune(store, &changed);

	if (r == -ENOSPC)
		note_outcome(store, r, false);
	if (r == 0 || r == -ENOSPC)
		r = store_db_load(store->db, clock_wall(), &store->state);
	if (r < 0)
		snprintf(store->start_text, sizeof(store->start_text), "%s/state.db: %s",
			 store->directory, store_db_trouble(store->db));
	return r;
}

static int open_database(struct store *store)
{
	int r = store->enter ? store->enter() : 0;

	if (r < 0) {
		snprintf(store->start_text, sizeof(store->start_text),
			 "cannot confine the store: %s", strerror(-r));
		return r;
	}
	r = store_db_open(store->directory, &store->db, store->start_text,
			  sizeof(store->start_text));
	return r < 0 ? r : read_database(store);
}

static void tell_started(struct store *store, int error)
{
	pthread_mutex_lock(&store->lock);
	store->start_error = error;
	store->is_started = true;
	pthread_cond_signal(&store->changed);
	pthread_mutex_unlock(&store->lock);
}

static void prune_now(struct store *store)
{
	bool changed = false;
	int r = prune(store, &changed);

	note_outcome(store, r, changed);
	store->writes = 0;
}

static void *run_store(void *arg)
{
	struct store *store = arg;
	struct request *first;
	int r;

	pthread_setname_np(pthread_self(), "store");
	setpriority(PRIO_PROCESS, 0, NICE);
	r = open_database(store);
	tell_started(store, r);
	while (r == 0 && (first = wait_requests(store))) {
		while (first)
			first = serve_some(store, first);
		if (store->writes >= PRUNE_EVERY)
			prune_now(store);
	}
	store_db_close(store->db);
	return NULL;
}

/* ---- the main thread ---- */

static void take_answer(struct mailbox_message *message, void *owner)
{
	struct request *answer = (struct request *)message;
	struct store *store = owner;

	if (answer->kind == TROUBLE)
		memcpy(store->trouble, answer->text, sizeof(store->trouble));
	else
		answer->done(answer->error, answer->error ? answer->text : NULL, answer->user);
	free_request(answer);
}

/* Signals are for the main thread. */
static int start_thread(struct store *store)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&store->thread, NULL, run_store, store);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		snprintf(store->start_text, sizeof(store->start_text),
			 "cannot start the store's thread: %s", strerror(-r));
	return r;
}

static int wait_started(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	while (!store->is_started)
		pthread_cond_wait(&store->changed, &store->lock);
	pthread_mutex_unlock(&store->lock);
	return store->start_error;
}

/* What was asked for by those who heard the last answers. */
static void cancel_rest(struct store *store)
{
	struct request *request = take_queue(store);

	while (request) {
		struct request *next = next_request(request);

		if (request->done)
			request->done(-ECANCELED, "the store has stopped", request->user);
		free_request(request);
		request = next;
	}
}

static void free_store(struct store *store)
{
	mailbox_free(store->answers);
	cancel_rest(store);
	pthread_mutex_destroy(&store->lock);
	pthread_cond_destroy(&store->changed);
	free(store->directory);
	free(store);
}

int store_start(const char *directory, uv_loop_t *loop, int (*enter)(void), struct store **ret,
		struct store_state *ret_state, char *error, size_t size)
{
	struct store *store = xnew(struct store);
	int r;

	store->directory = xalloc_string(directory);
	store->enter = enter;
	store->last = &store->first;
	store->answers = mailbox_new(loop, take_answer, store);
	pthread_mutex_init(&store->lock, NULL);
	pthread_cond_init(&store->changed, NULL);
	r = start_thread(store);
	if (r == 0) {
		r = wait_started(store);
		if (r < 0)
			pthread_join(store->thread, NULL);
	}
	if (r < 0) {
		snprintf(error, size, "%s", store->start_text);
		free_store(store);
		return r;
	}
	*ret_state = store->state;
	*ret = store;
	return 0;
}

void store_state_done(struct store_state *state)
{
	free(state->leases);
	free(state->cookies);
	free(state->denied);
	free(state->seen);
	*state = (struct store_state){0};
}

void store_stop(struct store *store)
{
	if (!store)
		return;
	pthread_mutex_lock(&store->lock);
	store->stopping = true;
	pthread_cond_signal(&store->changed);
	pthread_mutex_unlock(&store->lock);
	pthread_join(store->thread, NULL);
	free_store(store);
}

/* False when it is dropped. */
static bool enqueue(struct store *store, struct request *request)
{
	bool fits;

	pthread_mutex_lock(&store->lock);
	fits = request->done || store->queued < QUEUE_MAX;
	if (fits) {
		*store->last = &request->message;
		store->last = &request->message.next;
		store->queued++;
		store->awaited += request->done != NULL;
		/* It is woken for the first, and then only when it need not wait for more. */
		if (store->queued == 1 || store->awaited || store->queued == BATCH_MAX)
			pthread_cond_signal(&store->changed);
	}
	pthread_mutex_unlock(&store->lock);
	return fits;
}

static void post_request(struct store *store, struct request *request)
{
	bool fits = enqueue(store, request);

	if (!fits) {
		free_request(request);
		if (!store->is_behind)
			log_error("%s/state.db cannot be written fast enough; leases and sessions "
				  "are being forgotten",
				  store->directory);
	}
	store->is_behind = !fits;
}

static struct request *make_request(enum request_kind kind)
{
	struct request *request = xnew(struct request);

	request->kind = kind;
	return request;
}

void store_put_lease(struct store *store, const struct store_lease *lease)
{
	struct request *request = make_request(PUT_LEASE);

	request->lease = *lease;
	post_request(store, request);
}

void store_put_cookie(struct store *store, const struct store_cookie *cookie)
{
	struct request *request = make_request(PUT_COOKIE);

	request->cookie = *cookie;
	post_request(store, request);
}

void store_drop_cookie(struct store *store, const uint8_t hash[static 32])
{
	struct request *request = make_request(DROP_COOKIE);

	memcpy(request->hash, hash, sizeof(request->hash));
	post_request(store, request);
}

void store_put_seen(struct store *store, const struct store_seen *seen)
{
	struct request *request = make_request(PUT_SEEN);

	request->seen = *seen;
	post_request(store, request);
}

void store_deny(struct store *store, const struct store_denied *denied, size_t count,
		store_done_fn done, void *user)
{
	struct request *request = make_request(DENY);

	request->denied = xalloc_copy(denied, count * sizeof(*denied));
	request->count = count;
	request->done = done;
	request->user = user;
	post_request(store, request);
}

void store_undeny(struct store *store, const struct trust_denial *denials, size_t count,
		  store_done_fn done, void *user)
{
	struct request *request = make_request(UNDENY);

	request->denials = xalloc_copy(denials, count * sizeof(*denials));
	request->count = count;
	request->done = done;
	request->user = user;
	post_request(store, request);
}

const char *store_trouble(const struct store *store)
{
	return store->trouble[0] ? store->trouble : NULL;
}
