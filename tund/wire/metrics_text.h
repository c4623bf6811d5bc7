#pragma once
/* Metrics as Prometheus reads them: text format 0.0.4,
 * https://prometheus.io/docs/instrumenting/exposition_formats/. As JSON they are
 *
 *	[{"name": "tund_sessions", "type": "gauge", "help": "...",
 *	  "samples": [{"labels": {"state": "open"}, "value": 3}]}]
 *
 * A histogram's sample has a "part", too: "bucket" (with a label "le"), "sum" or "count". */

#include <jansson.h>

#include "base/buf.h"

/* Appends every metric that is whole and well named; what is not is left out. ASCII alone: other
 * bytes and control characters in help texts and labels become \xHH. */
void metrics_text_write(struct buf *out, const json_t *metrics);
