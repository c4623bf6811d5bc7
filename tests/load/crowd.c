#include "crowd.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "pki/material.h"
#include "pki/trust.h"

enum {
	TICK_MS = 10,
	BUCKETS = 10, /* so each device is looked at ten times a second, as a client does */
	SPARE_FILES = 64,
};

static struct crowd *crowd_of(const struct device *device)
{
	return device->world->user;
}

size_t crowd_up(const struct crowd *crowd)
{
	return crowd->by_state[DEVICE_UP];
}

size_t crowd_under_way(const struct crowd *crowd)
{
	size_t count = 0;

	for (int state = DEVICE_TCP; state <= DEVICE_DTLS; state++)
		count += crowd->by_state[state];
	return count;
}

bool crowd_is_complete(const struct crowd *crowd)
{
	return crowd_up(crowd) >= crowd->wanted && crowd_under_way(crowd) == 0;
}

/* ---- attempts, in turn ---- */

static void make_ready(struct crowd *crowd, struct device *device)
{
	if (device->queued)
		return;
	device->queued = true;
	device->next_ready = NULL;
	*crowd->ready_end = device;
	crowd->ready_end = &device->next_ready;
	crowd->ready_count++;
}

static struct device *take_ready(struct crowd *crowd)
{
	struct device *device = crowd->ready;

	crowd->ready = device->next_ready;
	if (!crowd->ready)
		crowd->ready_end = &crowd->ready;
	crowd->ready_count--;
	device->queued = false;
	return device;
}

static bool may_start(const struct device *device)
{
	return device->wanted && (device->state == DEVICE_OFF || device->state == DEVICE_WAITING);
}

/* Once a turn of the loop, behind its events: an attempt that fails at once does not start the
 * next from within. */
static void on_check(uv_check_t *check)
{
	struct crowd *crowd = check->data;
	size_t tries = crowd->ready_count;

	while (tries-- && crowd_under_way(crowd) < crowd->at_once) {
		struct device *device = take_ready(crowd);

		if (!may_start(device))
			continue;
		crowd->attempts++;
		device_start(device);
	}
}

static void on_tick(uv_timer_t *timer)
{
	struct crowd *crowd = timer->data;
	int64_t now_us = clock_now_us();

	for (size_t i = crowd->bucket; i < crowd->count; i += BUCKETS) {
		struct device *device = &crowd->devices[i];

		device_tick(device, now_us);
		if (device->state == DEVICE_WAITING && device->wanted &&
		    now_us >= device->retry_at_us)
			make_ready(crowd, device);
	}
	crowd->bucket = (crowd->bucket + 1) % BUCKETS;
}

/* ---- what devices tell ---- */

static void note_up(struct crowd *crowd, struct device *device)
{
	int64_t now_us = clock_now_us();

	if (crowd->ups++ == 0)
		crowd->first_up_us = now_us;
	crowd->last_up_us = now_us;
	samples_add(&crowd->connect_us, now_us - device->started_us);
	crowd->moved += device_has_moved(device);
}

static void on_entered(struct device *device, enum device_state before)
{
	struct crowd *crowd = crowd_of(device);

	crowd->by_state[before]--;
	crowd->by_state[device->state]++;
	if (device->state == DEVICE_UP)
		note_up(crowd, device);
	if (device->wanted &&
	    (device->state == DEVICE_OFF || (device->state == DEVICE_WAITING && !device->failures)))
		make_ready(crowd, device);
}

static void on_failed(struct device *device, const char *why)
{
	struct crowd *crowd = crowd_of(device);

	for (size_t i = 0; i < CROWD_WORDS_MAX; i++) {
		struct crowd_word *failed = &crowd->failed[i];

		if (!failed->word)
			failed->word = why;
		if (strcmp(failed->word, why) == 0) {
			failed->count++;
			return;
		}
	}
}

/* ---- what is wanted ---- */

static void want(struct crowd *crowd, struct device *device, bool wanted)
{
	crowd->wanted += wanted;
	crowd->wanted -= device->wanted;
	device->wanted = wanted;
}

void crowd_want(struct crowd *crowd, size_t count)
{
	for (size_t i = 0; i < count && i < crowd->count; i++) {
		struct device *device = &crowd->devices[i];

		want(crowd, device, true);
		if (device->state == DEVICE_OFF)
			make_ready(crowd, device);
	}
}

void crowd_drop(struct crowd *crowd, struct device *device, bool silently)
{
	want(crowd, device, false);
	device_drop(device, silently);
}

void crowd_leave(struct crowd *crowd, struct device *device)
{
	want(crowd, device, false);
	device_leave(device);
}

void crowd_mark(struct crowd *crowd)
{
	crowd->marked_us = clock_now_us();
	crowd->first_up_us = crowd->last_up_us = 0;
	crowd->ups = crowd->attempts = crowd->moved = 0;
	memset(crowd->failed, 0, sizeof(crowd->failed));
	samples_clear(&crowd->connect_us);
	crowd->world.counts = (struct device_counts){0};
	for (size_t i = 0; i < crowd->count; i++) {
		crowd->devices[i].was_v4 = crowd->devices[i].v4;
		crowd->devices[i].was_v6 = crowd->devices[i].v6;
	}
}

/* ---- the report ---- */

static json_t *counts_json(const struct device_counts *counts)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "handshakes", (json_int_t)counts->handshakes, "logins",
			 (json_int_t)counts->logins, "connects", (json_int_t)counts->connects,
			 "resumed", (json_int_t)counts->resumed, "associations",
			 (json_int_t)counts->associations, "records_rx",
			 (json_int_t)counts->records_rx, "records_tx",
			 (json_int_t)counts->records_tx, "datagrams_rx",
			 (json_int_t)counts->datagrams_rx, "datagrams_tx",
			 (json_int_t)counts->datagrams_tx, "keepalives_tx",
			 (json_int_t)counts->keepalives_tx, "probes_tx",
			 (json_int_t)counts->probes_tx, "probes_rx", (json_int_t)counts->probes_rx,
			 "answers_rx", (json_int_t)counts->answers_rx, "unreadable",
			 (json_int_t)(counts->unreadable + counts->forged));
}

static json_t *failed_json(const struct crowd *crowd)
{
	json_t *failed = json_object();

	for (size_t i = 0; i < CROWD_WORDS_MAX && crowd->failed[i].word; i++)
		json_object_set_new(failed, crowd->failed[i].word,
				    json_integer((json_int_t)crowd->failed[i].count));
	return failed;
}

json_t *crowd_report(struct crowd *crowd)
{
	double span_s = (double)(crowd->last_up_us - crowd->first_up_us) / CLOCK_SECOND_US;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:o, s:o, s:o}",
			 "wanted", (json_int_t)crowd->wanted, "up", (json_int_t)crowd_up(crowd),
			 "connecting", (json_int_t)crowd_under_way(crowd), "waiting",
			 (json_int_t)crowd->by_state[DEVICE_WAITING], "ups", (json_int_t)crowd->ups,
			 "attempts", (json_int_t)crowd->attempts, "moved", (json_int_t)crowd->moved,
			 "rate", span_s > 0 ? (double)(crowd->ups - 1) / span_s : 0.0, "marked_us",
			 (json_int_t)crowd->marked_us, "first_up_us",
			 (json_int_t)crowd->first_up_us, "last_up_us",
			 (json_int_t)crowd->last_up_us, "failed", failed_json(crowd), "connect_ms",
			 samples_json(&crowd->connect_us), "counts",
			 counts_json(&crowd->world.counts));
}

/* ---- making ---- */

static void on_trust_problem(const char *file, const char *text, void *user)
{
	(void)user;
	fprintf(stderr, "devices: %s: %s\n", file, text);
}

static struct trust *read_trust(const char *path, char *error, size_t size)
{
	struct buf content = {0};
	struct trust_source source = {.file = path};
	struct trust *trust;

	if (material_read_file(path, TRUST_FILE_MAX, &content, error, size) < 0)
		return NULL;
	source.data = content.data;
	source.len = content.len;
	trust = trust_new(&(struct trust_options){.cas = &source, .ca_count = 1}, on_trust_problem,
			  on_trust_problem, NULL);
	buf_done(&content);
	if (!trust)
		snprintf(error, size, "%s: no authority can be read from it", path);
	return trust;
}

/* Two descriptors a device: a connection and a UDP socket. */
static bool raise_files(size_t devices, char *error, size_t size)
{
	rlim_t wanted = 2 * devices + SPARE_FILES;
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_cur >= wanted)
		return true;
	if (files.rlim_max < wanted)
		files.rlim_max = wanted;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) == 0)
		return true;
	snprintf(error, size, "%zu devices need %lu descriptors: ulimit -n", devices,
		 (unsigned long)wanted);
	return false;
}

static bool make_world(struct crowd *crowd, const struct crowd_options *options, char *error,
		       size_t size)
{
	struct tls_options tls = {
		.leaf = crowd->certificates[0].leaf, /* each connection gets its own */
		.key = crowd->certificates[0].key,
		.groups = "X25519:P-256",
		.hybrid = true,
	};

	crowd->world = (struct device_world){
		.loop = &crowd->loop,
		.gateway = options->gateway,
		.gateway_name = options->gateway_name,
		.host = options->gateway_name,
		.with_dtls = options->with_dtls,
		.user = crowd,
		.entered = on_entered,
		.failed = on_failed,
	};
	crowd->world.trust = read_trust(options->ca, error, size);
	if (!crowd->world.trust || tls_setup_init(&crowd->world.tls, &tls, error, size) < 0)
		return false;
	if (dtls_setup_init(&crowd->world.dtls) == 0)
		return true;
	snprintf(error, size, "cannot set up DTLS");
	return false;
}

static void make_devices(struct crowd *crowd, const struct crowd_options *options)
{
	static const struct addr any;

	crowd->count = options->count;
	crowd->devices = xnew_array(struct device, crowd->count);
	for (size_t i = 0; i < crowd->count; i++)
		device_init(&crowd->devices[i], &crowd->world, (uint32_t)(options->first + i),
			    &crowd->certificates[i],
			    options->source_count ? &options->sources[i % options->source_count]
						  : &any);
	crowd->by_state[DEVICE_OFF] = crowd->count;
}

bool crowd_init(struct crowd *crowd, const struct crowd_options *options, char *error, size_t size)
{
	*crowd = (struct crowd){.at_once = options->at_once};
	crowd->ready_end = &crowd->ready;
	if (!raise_files(options->count, error, size))
		return false;
	crowd->certificates = certificates_read(options->certificates, options->first,
						options->count, error, size);
	if (!crowd->certificates || !make_world(crowd, options, error, size))
		return false;
	uv_loop_init(&crowd->loop);
	make_devices(crowd, options);
	crowd_mark(crowd);
	uv_check_init(&crowd->loop, &crowd->check);
	crowd->check.data = crowd;
	uv_check_start(&crowd->check, on_check);
	uv_timer_init(&crowd->loop, &crowd->tick);
	crowd->tick.data = crowd;
	uv_timer_start(&crowd->tick, on_tick, TICK_MS, TICK_MS);
	return true;
}

void crowd_done(struct crowd *crowd)
{
	for (size_t i = 0; i < crowd->count; i++)
		crowd_drop(crowd, &crowd->devices[i], false);
	uv_close((uv_handle_t *)&crowd->check, NULL);
	uv_close((uv_handle_t *)&crowd->tick, NULL);
	uv_run(&crowd->loop, UV_RUN_DEFAULT);
	uv_loop_close(&crowd->loop);
	samples_done(&crowd->connect_us);
	free(crowd->devices);
	certificates_free(crowd->certificates, crowd->count);
	tls_setup_done(&crowd->world.tls);
	dtls_setup_done(&crowd->world.dtls);
	trust_unref(crowd->world.trust);
}
