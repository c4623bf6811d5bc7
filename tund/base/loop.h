#pragma once
/* libuv's habits, once: a handle that was allocated may only be freed when libuv has let go of it.
 */

#include <uv.h>

/* Stops and closes it, frees it at a later turn of its loop, and leaves NULL. NULL is fine. */
void loop_close_poll(uv_poll_t **poll);
void loop_close_timer(uv_timer_t **timer);
