#pragma once
/* The parent process: makes everything that needs root, forks keys, fetch and engine, keeps the two
 * capabilities it needs for the rest of its life, serves the engine's few requests, and ends when
 * any of them does. See parent.c. */

#include <limits.h>

#include "config/config.h"
#include "key/use.h"
#include "pki/material.h"

enum { PARENT_PORTS_MAX = 16, PARENT_WORKERS_MAX = 64, PARENT_KEYS_MAX = 16 };

/* What the parent made and the engine gets. Descriptors are the engine's once it is forked. */
struct parent_kit {
	const struct config *config;
	const struct config_problems *warnings;
	struct material material;
	struct buf spki;
	char hostname[HOST_NAME_MAX + 1]; /* the engine may not ask */
	uid_t uid;
	gid_t gid, observers, admins; /* observers, admins: -1 where there is no such group */
	int control;		      /* the listening control socket */
	unsigned long descriptors;    /* that each process may have */
	size_t worker_count;
	int tuns[PARENT_WORKERS_MAX]; /* a queue for each */
	unsigned tun_offloads;
	struct parent_port { /* gateway: a listener; client: tcp is -1 */
		struct endpoint at;
		int tcp, udp[PARENT_WORKERS_MAX]; /* a socket for each */
		unsigned udp_offloads;
	} ports[PARENT_PORTS_MAX];
	size_t port_count;
	int key_sockets[PARENT_KEYS_MAX];
	size_t key_socket_count;
	const struct use *key_use; /* what the key holder counts; NULL: nothing */
	int fetch;		   /* the engine's end */
	struct prefix own4, own6;  /* gateway: its inner addresses */
};

/* Starts and runs until the end. The exit status. */
int parent_run(struct parent_kit *kit);
/* The user and the groups of the configuration. Adds to problems where one is named in the file
 * that does not exist. */
void parent_find_accounts(struct parent_kit *kit, struct config_problems *problems,
			  struct config_problems *warnings);
/* A pool must not hold an address that the host has now on another interface than ours. */
void parent_check_pool(const struct config *config, const char *interface,
		       struct config_problems *problems);
/* Starts the key holder only, to see whether the key opens and fits the certificate. Adds to
 * problems. */
void parent_check_key(struct parent_kit *kit, struct config_problems *problems);
