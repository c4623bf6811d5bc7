#include "base/loop.h"

#include <stdlib.h>

#include "base/cleanup.h"

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void loop_close_poll(uv_poll_t **poll)
{
	if (!*poll)
		return;
	uv_poll_stop(*poll);
	uv_close((uv_handle_t *)take(*poll), on_closed);
}

void loop_close_timer(uv_timer_t **timer)
{
	if (!*timer)
		return;
	uv_timer_stop(*timer);
	uv_close((uv_handle_t *)take(*timer), on_closed);
}
