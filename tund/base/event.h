#pragma once
/* What happens, told upwards to whoever listens: the control socket's watchers. The floors below
 * post and do not know who hears. Main thread. */

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/prefix.h"
#include "base/reason.h"

/* One row an event: its name is what operators see. */
#define EVENT_TABLE(X)                                                                             \
	/* a gateway */                                                                            \
	X(HANDSHAKE_REFUSED, "handshake-refused")                                                  \
	X(SESSION_OPENED, "session-opened")                                                        \
	X(SESSION_CLOSED, "session-closed")                                                        \
	X(SESSION_CUT, "session-cut")	/* trust in it has ended, and no packet passes any more */ \
	X(SESSION_AWAY, "session-away") /* its channel is lost, its addresses are kept */          \
	X(SESSION_BACK, "session-back")                                                            \
	X(SESSION_RENEWED, "session-renewed") /* on a new connection, with new keys */             \
	X(SESSION_CHANGED, "session-changed") /* other rights, by a reload */                      \
	X(SESSION_TRANSPORT, "session-transport")                                                  \
	X(REVOKED, "revoked") /* one a certificate */                                              \
	X(UNREVOKED, "unrevoked")                                                                  \
	X(SITE_UP, "site-up")                                                                      \
	X(SITE_DOWN, "site-down")                                                                  \
	/* a client */                                                                             \
	X(TUNNEL_CONNECTING, "tunnel-connecting")                                                  \
	X(TUNNEL_UP, "tunnel-up")                                                                  \
	X(TUNNEL_WAITING, "tunnel-waiting")                                                        \
	X(TUNNEL_RENEWED, "tunnel-renewed")                                                        \
	X(TUNNEL_TRANSPORT, "tunnel-transport")                                                    \
	X(ATTEMPT_FAILED, "attempt-failed")                                                        \
	/* both */                                                                                 \
	X(TRUST_CHANGED, "trust-changed")                                                          \
	X(RELOADED, "reloaded")                                                                    \
	X(STOPPING, "stopping")

enum event_kind {
#define EVENT_ENUM(name, text) EVENT_##name,
	EVENT_TABLE(EVENT_ENUM)
#undef EVENT_ENUM
		EVENT_KINDS,
};

/* What is not known or does not belong to the kind is zero. All is borrowed for the call. */
struct event {
	enum event_kind kind;
	uint64_t session; /* still in the table, also when it closes */
	enum reason reason;
	const char *text;     /* why, for people */
	const char *identity; /* whom it is about where there is no session; not escaped */
	const char *serial;
	const char *handshake_id;
	const char *site; /* its title */
	const struct endpoint *peer;
	const struct prefix_list *networks;
	int64_t delay_us; /* from the cause to the last packet */
};

/* Zeroed until somebody listens. */
struct event_hook {
	void (*heard)(const struct event *event, void *user);
	void *user;
};

/* hook may be NULL. */
void event_post(const struct event_hook *hook, const struct event *event);
const char *event_name(enum event_kind kind);
