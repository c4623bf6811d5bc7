#pragma once
/* Numbered UDP packets through the tunnels of some devices, to somebody who sends them back:
 * loss, order and round trips. */

#include "crowd.h"

struct stream_options {
	struct endpoint echo; /* IPv4, inside */
	size_t devices;	      /* the first so many take part, those that are up */
	double rate;	      /* packets a second, all devices together */
	size_t size;	      /* bytes of an inner packet */
};

struct stream {
	struct crowd *crowd;
	struct stream_options options;
	uv_timer_t timer;
	double owed;
	int64_t last_us, began_us, ended_us;
	size_t next;
	uint64_t sent, back, late, skipped;
	struct samples rtt_us;
};

void stream_init(struct stream *stream, struct crowd *crowd);
void stream_done(struct stream *stream); /* before the crowd's loop ends */
void stream_start(struct stream *stream, const struct stream_options *options);
/* Sends nothing more; what is under way still counts. */
void stream_stop(struct stream *stream);
/* sent, back, lost, late (behind a younger one), rtt_ms... Owned by the caller. */
json_t *stream_report(struct stream *stream);
