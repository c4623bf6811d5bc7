#pragma once
/* The subcommands, one file each: main has checked how many words follow. They return what tunctl
 * exits with. */

#include "arguments.h"

int status_main(const struct arguments *arguments);
int sessions_main(const struct arguments *arguments);
int show_main(const struct arguments *arguments);
int disconnect_main(const struct arguments *arguments);
int revoke_main(const struct arguments *arguments);
int unrevoke_main(const struct arguments *arguments);
int revoked_main(const struct arguments *arguments);
int explain_main(const struct arguments *arguments);
int reload_main(const struct arguments *arguments);
int trust_main(const struct arguments *arguments);
int verify_main(const struct arguments *arguments);
int watch_main(const struct arguments *arguments);
int metrics_main(const struct arguments *arguments);
