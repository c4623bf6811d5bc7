#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

static const char *const state_names[] = {
	[SESSION_PENDING] = "pending",
	[SESSION_OPEN] = "open",
	[SESSION_AWAY] = "away",
	[SESSION_CLOSED] = "closed",
};

const char *session_state_name(enum session_state state)
{
	return state_names[state];
}

const char *session_name(const struct session *session)
{
	return session->identity.name;
}

void session_enter(struct session *session, enum session_state state, const char *why)
{
	if (session->state == state)
		return;
	log_info("session %lu %s: %s -> %s%s%s", (unsigned long)session->id, session_name(session),
		 state_names[session->state], state_names[state], why ? ", " : "", why ? why : "");
	session->state = state;
}

void session_lease_key(const struct identity *identity, char key[static LEASE_KEY_MAX])
{
	int len = snprintf(key, LEASE_KEY_MAX, "%s:%s@", identity_kind_name(identity->kind),
			   identity->name);

	for (size_t i = 0; i < sizeof(identity->root) && len + 2 < LEASE_KEY_MAX; i++)
		len += snprintf(key + len, LEASE_KEY_MAX - (size_t)len, "%02x", identity->root[i]);
}

void session_set_cert(struct session *session, struct identity_cert *cert, X509 *leaf,
		      STACK_OF(X509) * untrusted)
{
	struct identity_cert *old_cert = session->cert;
	STACK_OF(X509) *old_untrusted = session->untrusted;
	X509 *old_leaf = session->leaf;

	/* The new ones may be the old ones: taken before those are let go. */
	X509_up_ref(leaf);
	session->cert = identity_cert_ref(cert);
	session->leaf = leaf;
	session->untrusted = untrusted ? X509_chain_up_ref(untrusted) : NULL;
	identity_cert_unref(old_cert);
	X509_free(old_leaf);
	sk_X509_pop_free(old_untrusted, X509_free);
}
