#pragma once
/* What the parent's files share: the parent itself, and its life after the start
 * (parent_serve.c). */

#include "parent.h"
#include "sys/child.h"
#include "sys/filewatch.h"
#include "sys/netlink.h"

enum { CHILD_KEYS, CHILD_FETCH, CHILD_ENGINE, CHILD_COUNT };

struct parent {
	struct parent_kit *kit;
	struct child children[CHILD_COUNT];
	int lock;
	struct netlink *netlink;
	struct netlink_plan plan; /* what is set on the interface */
	int64_t deadline_us;	  /* for what a predecessor may still hold */
	bool has_dns, has_socket;
	struct parent_reload *reload;
	struct filewatch *files; /* NULL: changes are found by a reload alone */
	int64_t changed_us; /* when the first of the changes came that the engine has not heard of; 0: none */
	int64_t quiet_us; /* until when no other must come for it to hear of them */
};

const char *parent_serve_interface(const struct config *config);
/* A gateway's own addresses on its device and the routes of its pools; sets kit's own4 and own6.
 * The caller frees it. */
struct netlink_plan parent_serve_plan(struct parent_kit *kit);
bool parent_serve_forwards(unsigned family); /* 4 or 6: whether this host does, or may */

/* Until a signal, or until one of the children has ended. signals: a signalfd. The exit status. */
int parent_serve(struct parent *parent, int signals);
