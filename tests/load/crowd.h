#pragma once
/* All devices of this process: who shall be connected, how many try at once, and what became of
 * them. */

#include <uv.h>

#include "device.h"
#include "samples.h"

enum { CROWD_WORDS_MAX = 48 };

struct crowd_word {
	const char *word;
	uint64_t count;
};

struct crowd {
	uv_loop_t loop;
	uv_check_t check;
	uv_timer_t tick;
	struct device_world world;
	struct certificate *certificates;
	struct device *devices;
	size_t count;
	size_t at_once; /* attempts under way */
	size_t by_state[DEVICE_STATES];
	size_t wanted;
	struct device *ready, **ready_end; /* whose time for an attempt has come, in order */
	size_t ready_count;
	size_t bucket; /* of devices, whose turn to be ticked it is */
	/* since the last mark */
	int64_t marked_us, first_up_us, last_up_us;
	uint64_t ups, attempts, moved;
	struct crowd_word failed[CROWD_WORDS_MAX];
	struct samples connect_us;
};

struct crowd_options {
	struct endpoint gateway;
	const char *gateway_name, *ca, *certificates;
	struct addr *sources;
	size_t source_count;
	size_t first, count, at_once;
	bool with_dtls;
};

/* False with one line in error. The options' texts are borrowed for ever. */
bool crowd_init(struct crowd *crowd, const struct crowd_options *options, char *error, size_t size);
void crowd_done(struct crowd *crowd);
/* The first count of the devices shall be connected; nobody is dropped. */
void crowd_want(struct crowd *crowd, size_t count);
/* The device shall not be connected any more. */
void crowd_drop(struct crowd *crowd, struct device *device, bool silently);
void crowd_leave(struct crowd *crowd, struct device *device);
/* Counts begin anew; present addresses are what later ones are compared with. */
void crowd_mark(struct crowd *crowd);
size_t crowd_up(const struct crowd *crowd);
size_t crowd_under_way(const struct crowd *crowd);
bool crowd_is_complete(const struct crowd *crowd); /* all that are wanted are up */
/* up, connecting, waiting, wanted, failed by word, ...: everything since the last mark. Owned by
 * the caller. */
json_t *crowd_report(struct crowd *crowd);
