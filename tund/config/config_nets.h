#pragma once
/* Kinds of options that hold host names, addresses and prefixes. */

#include "config/config_values.h"

/* Letters, digits and - in labels of 1 to 63, 253 in all; not all of the last label digits. */
bool config_nets_is_dns_name(const char *text);

bool config_nets_host(const struct config_value *value, void *place);
bool config_nets_domains(const struct config_value *value, void *place);
bool config_nets_dials(const struct config_value *value, void *place);
bool config_nets_listens(const struct config_value *value, void *place);
bool config_nets_addresses(const struct config_value *value, void *place);
bool config_nets_prefixes(const struct config_value *value, void *place);
bool config_nets_routes(const struct config_value *value, void *place);
