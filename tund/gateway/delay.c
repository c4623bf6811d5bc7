#include "gateway/delay.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "gateway/cut.h"
#include "gateway/gateway.h"

const int64_t delay_bounds_us[DELAY_BOUNDS] = {
	500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000,
};

struct measure {
	struct gateway *gateway;
	struct gateway_cut *then; /* NULL: nobody waits */
	struct delay_since since;
	enum reason reason;
	char *identity;
};

const char *delay_cause_name(enum delay_cause cause)
{
	static const char *const names[DELAY_CAUSES] = {
		[DELAY_REVOKE] = "revoke",
		[DELAY_FILE] = "file",
		[DELAY_RELOAD] = "reload",
		[DELAY_EXPIRED] = "expired",
	};

	return names[cause];
}

void delay_add(struct delay_histogram *histogram, int64_t delay_us)
{
	int at = 0;

	while (at < DELAY_BOUNDS && delay_us > delay_bounds_us[at])
		at++;
	histogram->counts[at]++;
	histogram->sum_us += delay_us;
}

static void tell(const struct measure *measure, int64_t delay_us)
{
	event_post(measure->gateway->options.events,
		   &(struct event){
			   .kind = EVENT_SESSION_CUT,
			   .reason = measure->reason,
			   .text = delay_cause_name(measure->since.cause),
			   .identity = measure->identity,
			   .delay_us = delay_us,
		   });
}

static void on_cut(void *user)
{
	struct measure *measure = user;
	int64_t delay_us = clock_now_us() - measure->since.us;

	delay_add(&measure->gateway->delays[measure->since.cause], delay_us);
	tell(measure, delay_us);
	if (measure->then)
		cut_acknowledge(measure->then);
	free(measure->identity);
	free(measure);
}

void delay_cut(struct gateway *gateway, struct session *session, enum reason reason,
	       const char *text, const struct delay_since *since, struct gateway_cut *then)
{
	struct measure *measure = xnew(struct measure);
	struct gateway_cut *cut = cut_new(on_cut, measure);

	*measure = (struct measure){
		.gateway = gateway,
		.then = then,
		.since = *since,
		.reason = reason,
		.identity = xalloc_string(session_name(session)),
	};
	if (then)
		cut_expect(then);
	gateway_cut_session(gateway, session, reason, text, cut);
	cut_done(cut);
}
