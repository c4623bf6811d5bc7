#include "base/event.h"

static const char *const names[] = {
#define EVENT_NAME(name, text) [EVENT_##name] = (text),
	EVENT_TABLE(EVENT_NAME)
#undef EVENT_NAME
};

void event_post(const struct event_hook *hook, const struct event *event)
{
	if (hook && hook->heard)
		hook->heard(event, hook->user);
}

const char *event_name(enum event_kind kind)
{
	return names[kind];
}
