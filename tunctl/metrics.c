#include <stdio.h>

#include "ask.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "commands.h"
#include "wire/metrics_text.h"

static void render_metrics(const json_t *reply)
{
	_cleanup_(buf_done) struct buf text = {0};

	metrics_text_write(&text, json_object_get(reply, "metrics"));
	if (text.len)
		fwrite(text.data, 1, text.len, stdout);
}

int metrics_main(const struct arguments *arguments)
{
	return ask_run(arguments, json_pack("{s:s}", "command", "metrics"), false, render_metrics);
}
