#pragma once
/* Kinds of options that name files, store URIs, or hold PEM in place. */

#include "config/config_values.h"

bool config_files_path(const struct config_value *value, void *place);
bool config_files_certificate(const struct config_value *value, void *place);
bool config_files_key(const struct config_value *value, void *place);
bool config_files_authorities(const struct config_value *value, void *place);
bool config_files_lists(const struct config_value *value, void *place);
