#pragma once
/* What main decides about a verified peer: whether it has access, whether it may be here twice,
 * which session and addresses it gets, and what it is told. */

#include "gateway/gateway.h"

/* Consumes the event. */
void admission_login(struct gateway *gateway, struct handshake_event *event);
void admission_connect(struct gateway *gateway, struct handshake_event *event);
/* As above, but what is the site's has been seen to. */
void admission_connect_now(struct gateway *gateway, struct handshake_event *event);

/* The blocks of the configuration in force that match a certificate; *ret_count 0: it is not let
 * in, as also one that two sites could mean. The caller frees. Also what tunctl verify asks. */
const struct config_access **admission_blocks(const struct gateway *gateway,
					      const struct identity_cert *cert, size_t *ret_count);
/* The one among them that is a site's, or NULL. */
const struct config_access *admission_site(const struct gateway *gateway,
					   const struct identity_cert *cert);
/* Puts the session on the blocks of the configuration in force that match its certificate. */
void admission_stand(struct gateway *gateway, struct session *session);
/* What the session's flows may carry, by its lease and blocks: spec's own and access. */
void admission_rules(const struct session *session, struct flow_spec *spec);
