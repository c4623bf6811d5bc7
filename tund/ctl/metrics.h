#pragma once
/* What a monitoring system reads: one row a metric in metrics.c. */

#include "ctl/ctl.h"

/* The command. The answer's "metrics" are as wire/metrics_text wants them. */
void metrics_gateway(struct ctl_request *request, const json_t *message);
void metrics_client(struct ctl_request *request, const json_t *message);
