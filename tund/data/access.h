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
/* One more owner in the same thread; access_free is for each of them. */
struct access *access_ref(struct access *access);
void access_free(struct access *access);

/* Whether both let the same pass: the same rules, in whatever order. */
bool access_equal(const struct access *a, const struct access *b);

/* own: the device's addresses and the networks behind it. An ICMP error passes where the packet
 * that it quotes may have passed, also from a router that stands before the host which that was
 * for. */
bool access_allows(const struct access *access, enum access_direction direction,
		   const struct prefix_list *own, const uint8_t *packet,
		   const struct ip_view *view);
