#pragma once
/* What an identity may reach and who may reach it: rules compiled to an immutable list, asked about
 * every packet in both directions. Default deny. Stateless: an answer passes where its question
 * may, told apart by TCP flags, ICMP types, and ports. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "wire/ip.h"

struct access;

enum access_direction {
	ACCESS_IN,  /* from the device into the network */
	ACCESS_OUT, /* from the network to the device */
};

/* The union of the blocks' rules; the blocks are not kept. */
struct access *access_compile(const struct config_access *const *blocks, size_t count);
/* Everything passes: the client's side, where the gateway decides. */
struct access *access_everything(void);
void access_free(struct access *access);

bool access_allows(const struct access *access, enum access_direction direction,
		   const uint8_t *packet, const struct ip_view *view);
