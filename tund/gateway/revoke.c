/* A revocation:
 *
 *	1  find_denials      which certificates the operator means
 *	2  change_denials    a new snapshot, a higher generation: nobody gets in by them from here
 *	                     on; whoever is between its handshake and main is asked again there
 *	                     (admission)
 *	3  cut_denied        each session that stands on one: out of the table, its flows cut
 *	4  on_cut            every worker has acknowledged: no packet passes any more, keys are
 *	                     wiped
 *	5  commit            to the store, and to the disk (fdatasync)
 *	6  on_stored         the answer: what was denied, who was cut, how long it took
 *
 * Cut first, then commit, then answer: when the disk fails the session stays cut and the answer
 * says so. */
#include "gateway/revoke.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "gateway/cut.h"
#include "pki/verify.h"

/* ---- the certificates that were seen ---- */

static struct store_seen describe_cert(const struct identity_cert *cert)
{
	struct store_seen seen = {
		.identity = cert->identity,
		.first_at_s = clock_wall(),
		.last_at_s = clock_wall(),
		.not_after_s = cert->not_after,
	};

	memcpy(seen.key.issuer_hash, cert->issuer_hash, sizeof(seen.key.issuer_hash));
	memcpy(seen.key.spki_hash, cert->spki_hash, sizeof(seen.key.spki_hash));
	snprintf(seen.key.serial, sizeof(seen.key.serial), "%s", cert->serial);
	snprintf(seen.subject, sizeof(seen.subject), "%s", cert->subject);
	snprintf(seen.issuer, sizeof(seen.issuer), "%s", cert->issuer);
	return seen;
}

static bool same_denial(const struct trust_denial *a, const struct trust_denial *b)
{
	return memcmp(a->issuer_hash, b->issuer_hash, sizeof(a->issuer_hash)) == 0 &&
	       strcmp(a->serial, b->serial) == 0;
}

void revoke_remember_seen(struct gateway *gateway, const struct identity_cert *cert)
{
	struct store_seen seen = describe_cert(cert);

	seen_remember(&gateway->seen, &seen);
	store_put_seen(gateway->store, &seen);
}

/* ---- 1: what the operator means ---- */

struct denials {
	struct store_denied *items;
	size_t count;
};

static void add_denial(struct denials *denials, const struct store_seen *seen, const char *reason)
{
	struct store_denied denied = {.denial = seen->key, .denied_at_s = clock_wall()};

	for (size_t i = 0; i < denials->count; i++) {
		if (same_denial(&denials->items[i].denial, &seen->key))
			return;
	}
	snprintf(denied.identity, sizeof(denied.identity), "%s", seen->identity.name);
	snprintf(denied.subject, sizeof(denied.subject), "%s", seen->subject);
	snprintf(denied.issuer, sizeof(denied.issuer), "%s", seen->issuer);
	snprintf(denied.reason, sizeof(denied.reason), "%s", reason ? reason : "");
	denials->items = xalloc_grow(denials->items, denials->count + 1, sizeof(denied));
	denials->items[denials->count++] = denied;
}

static bool is_named(const struct seen *seen, const char *name)
{
	const char *kind = identity_kind_name(seen->kind);
	size_t kind_len = strlen(kind);

	if (strcmp(seen->name, name) == 0)
		return true;
	return strncmp(name, kind, kind_len) == 0 && name[kind_len] == ':' &&
	       strcmp(seen->name, name + kind_len + 1) == 0;
}

static void add_seen(struct denials *denials, const struct seen *seen, const char *reason)
{
	struct store_seen expanded = seen_expand(seen);

	add_denial(denials, &expanded, reason);
}

static void find_named(const struct gateway *gateway, const char *name, const char *reason,
		       struct denials *ret)
{
	for (const struct seen *seen = gateway->seen.first; seen; seen = seen->hh.next) {
		if (is_named(seen, name))
			add_seen(ret, seen, reason);
	}
}

/* Digits as they are compared: lower case, no colons, no leading zeros. False when it is no serial.
 */
static bool normalise_serial(const char *text, char *ret, size_t size)
{
	size_t len = 0;

	if (strncasecmp(text, "0x", 2) == 0)
		text += 2;
	for (; *text; text++) {
		if (*text == ':' || (len == 0 && *text == '0'))
			continue;
		if (!strchr("0123456789abcdefABCDEF", *text) || len + 1 >= size)
			return false;
		ret[len++] = (char)(*text | (*text >= 'A' && *text <= 'F' ? 0x20 : 0));
	}
	ret[len] = '\0';
	return len > 0;
}

static bool names_issuer(const char *printed, const char *issuer)
{
	return !issuer || strcasestr(printed, issuer) != NULL;
}

static void hash_name(const X509_NAME *name, uint8_t hash[static 32])
{
	unsigned char *der = NULL;
	int len = i2d_X509_NAME(name, &der);

	if (len > 0)
		EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL);
	OPENSSL_free(der);
}

/* A serial that was never seen here: under each authority whose name fits. */
static void find_unseen_serial(const struct gateway *gateway, const char *serial,
			       const struct revoke_selector *selector, const char *reason,
			       struct denials *ret)
{
	for (size_t i = 0; i < gateway->trust->ca_count; i++) {
		const X509_NAME *name = X509_get_subject_name(gateway->trust->cas[i].cert);
		struct store_seen seen = {.identity = {.kind = IDENTITY_CN}};
		_cleanup_free_ char *printed = X509_NAME_oneline(name, NULL, 0);

		if (!printed || !names_issuer(printed, selector->issuer))
			continue;
		hash_name(name, seen.key.issuer_hash);
		snprintf(seen.key.serial, sizeof(seen.key.serial), "%s", serial);
		log_escape(printed, strlen(printed), seen.issuer, sizeof(seen.issuer));
		snprintf(seen.identity.name, sizeof(seen.identity.name), "serial %s", serial);
		add_denial(ret, &seen, reason);
	}
}

static int find_serial(const struct gateway *gateway, const struct revoke_selector *selector,
		       const char *reason, struct denials *ret, char *error, size_t size)
{
	char serial[sizeof(((struct trust_denial *)0)->serial)];

	if (!normalise_serial(selector->serial, serial, sizeof(serial))) {
		snprintf(error, size, "not a serial number; write it in hexadecimal");
		return -EINVAL;
	}
	for (const struct seen *seen = gateway->seen.first; seen; seen = seen->hh.next) {
		if (strcmp(seen->key.serial, serial) == 0 &&
		    names_issuer(seen->issuer, selector->issuer))
			add_seen(ret, seen, reason);
	}
	if (ret->count == 0)
		find_unseen_serial(gateway, serial, selector, reason, ret);
	if (ret->count <= 1)
		return 0;
	snprintf(error, size, "%zu authorities have issued serial %s; name one with --issuer",
		 ret->count, serial);
	return -EINVAL;
}

/* Denied whether or not it was ever here; read without a chain, so without a root. */
static void find_certificate(const struct gateway *gateway, X509 *certificate, const char *reason,
			     struct denials *ret)
{
	struct identity_cert *cert = NULL;
	char text[256];
	struct store_seen seen;

	(void)gateway;
	identity_read(certificate, certificate, &cert, text, sizeof(text));
	if (!cert)
		return;
	seen = describe_cert(cert);
	add_denial(ret, &seen, reason);
	identity_cert_unref(cert);
}

static int find_denials(const struct gateway *gateway, const struct revoke_selector *selector,
			const char *reason, struct denials *ret, char *error, size_t size)
{
	int r = 0;

	if (selector->certificate)
		find_certificate(gateway, selector->certificate, reason, ret);
	else if (selector->serial)
		r = find_serial(gateway, selector, reason, ret, error, size);
	else
		find_named(gateway, selector->name, reason, ret);
	if (r < 0 || ret->count)
		return r;
	snprintf(error, size,
		 "no certificate was seen under that name here; deny it by --certificate or "
		 "--serial");
	return -ENOENT;
}

/* ---- 2: trust ---- */

/* base with exactly the denials of gateway->denied. */
void revoke_adopt(struct gateway *gateway, const struct trust *base)
{
	_cleanup_free_ struct trust_denial *denials =
		xnew_array(struct trust_denial, gateway->denied_count);
	struct trust *old = gateway->trust;

	for (size_t i = 0; i < gateway->denied_count; i++)
		denials[i] = gateway->denied[i].denial;
	gateway->trust =
		trust_with_denials(base, denials, gateway->denied_count, old->generation + 1);
	trust_unref(old);
}

static void change_denials(struct gateway *gateway)
{
	revoke_adopt(gateway, gateway->trust);
	event_post(gateway->options.events, &(struct event){.kind = EVENT_TRUST_CHANGED});
}

static void add_denied(struct gateway *gateway, const struct store_denied *denied)
{
	static const uint8_t unknown[sizeof(denied->denial.spki_hash)];

	for (size_t i = 0; i < gateway->denied_count; i++) {
		struct store_denied *known = &gateway->denied[i];

		if (!same_denial(&known->denial, &denied->denial))
			continue;
		/* Denied by its serial alone before, and now with its key. */
		if (memcmp(denied->denial.spki_hash, unknown, sizeof(unknown)) != 0)
			*known = *denied;
		return;
	}
	gateway->denied = xalloc_grow(gateway->denied, gateway->denied_count + 1, sizeof(*denied));
	gateway->denied[gateway->denied_count++] = *denied;
}

void revoke_load(struct gateway *gateway)
{
	if (gateway->denied_count)
		revoke_adopt(gateway, gateway->trust);
}

/* ---- 3 to 6 ---- */

void revoke_result_free(struct revoke_result *result)
{
	if (!result)
		return;
	free(result->denied);
	free(result->cut);
	free(result);
}

static void tell(const struct gateway *gateway, enum event_kind kind, const struct denials *denials,
		 const char *text)
{
	for (size_t i = 0; i < denials->count; i++)
		event_post(gateway->options.events,
			   &(struct event){
				   .kind = kind,
				   .text = text,
				   .identity = denials->items[i].identity,
				   .serial = denials->items[i].denial.serial,
			   });
}

/* 6 */
static void on_stored(int error, const char *text, void *user)
{
	struct revoke_result *result = user;

	result->error = error;
	snprintf(result->text, sizeof(result->text), "%s", text ? text : "");
	result->took_us = clock_now_us() - result->started_us;
	if (error)
		log_error("a denial is in force but not durable: %s", result->text);
	result->done(result, result->user);
}

/* 4, 5 */
static void on_cut(void *user)
{
	struct revoke_result *result = user;

	store_deny(result->gateway->store, result->denied, result->denied_count, on_stored, result);
}

static bool denies_authority(const struct trust *trust, X509 *authority)
{
	char serial[IDENTITY_SERIAL_MAX + 1];
	uint8_t issuer_hash[32], key[32];

	hash_name(X509_get_issuer_name(authority), issuer_hash);
	identity_spki_hash(authority, key);
	return identity_serial_text(X509_get0_serialNumber(authority), serial) &&
	       trust_denies(trust, issuer_hash, serial, key);
}

/* Of those that complete chains here. */
static bool denies_loaded(const struct trust *trust)
{
	for (size_t i = 0; i < trust->ca_count; i++) {
		if (denies_authority(trust, trust->cas[i].cert))
			return true;
	}
	return false;
}

/* Whether it is worth the signatures of asking. */
static bool denies_above(const struct trust *trust, const struct session *session)
{
	for (int i = 0; i < sk_X509_num(session->untrusted); i++) {
		if (denies_authority(trust, sk_X509_value(session->untrusted, i)))
			return true;
	}
	return false;
}

static bool is_denied(const struct gateway *gateway, const struct session *session, bool loaded)
{
	const struct identity_cert *cert = session->cert;
	struct verdict verdict;
	bool denied;

	if (!cert)
		return false;
	if (trust_denies(gateway->trust, cert->issuer_hash, cert->serial, cert->spki_hash))
		return true;
	/* An authority between it and the root may be what is denied. */
	if (!session->leaf || (!loaded && !denies_above(gateway->trust, session)))
		return false;
	verdict = gateway_ask_device(gateway, session->leaf, session->untrusted);
	denied = verdict.reason == REASON_CERT_DENIED;
	verify_done(&verdict);
	return denied;
}

/* 3 */
static void cut_denied(struct gateway *gateway, struct revoke_result *result)
{
	struct gateway_cut *cut = cut_new(on_cut, result);
	struct delay_since since = {DELAY_REVOKE, result->started_us};
	bool loaded = denies_loaded(gateway->trust);
	struct session *session, *next;

	HASH_ITER(hh, gateway->sessions.sessions, session, next)
	{
		struct revoke_cut *entry;

		if (!is_denied(gateway, session, loaded))
			continue;
		if (session->state == SESSION_PENDING) {
			session_table_remove(&gateway->sessions, session);
			continue;
		}
		result->cut = xalloc_grow(result->cut, result->cut_count + 1, sizeof(*entry));
		entry = &result->cut[result->cut_count++];
		*entry = (struct revoke_cut){.id = session->id, .peer = session->peer};
		snprintf(entry->identity, sizeof(entry->identity), "%s", session_name(session));
		delay_cut(gateway, session, REASON_REVOKED, "the certificate was revoked", &since,
			  cut);
	}
	cut_done(cut);
}

static struct revoke_result *make_result(struct gateway *gateway, struct denials *denials,
					 void (*done)(struct revoke_result *, void *), void *user)
{
	struct revoke_result *result = xnew(struct revoke_result);

	result->gateway = gateway;
	result->denied = denials->items;
	result->denied_count = denials->count;
	result->done = done;
	result->user = user;
	result->started_us = clock_now_us();
	return result;
}

int revoke_deny(struct gateway *gateway, const struct revoke_selector *selector, const char *reason,
		void (*done)(struct revoke_result *, void *), void *user, char *error, size_t size)
{
	struct denials denials = {0};
	struct revoke_result *result;
	int r = find_denials(gateway, selector, reason, &denials, error, size);

	if (r < 0) {
		free(denials.items);
		return r;
	}
	result = make_result(gateway, &denials, done, user);
	tell(gateway, EVENT_REVOKED, &denials, reason);
	for (size_t i = 0; i < result->denied_count; i++) {
		const struct store_denied *denied = &result->denied[i];

		log_warn("denying %s \"%s\" serial %s%s%s", denied->identity, denied->subject,
			 denied->denial.serial, reason ? ": " : "", reason ? reason : "");
		add_denied(gateway, denied);
	}
	change_denials(gateway);
	cut_denied(gateway, result);
	return 0;
}

/* ---- taking a denial back ---- */

static bool is_meant(const struct store_denied *denied, const struct denials *meant)
{
	for (size_t i = 0; i < meant->count; i++) {
		if (same_denial(&denied->denial, &meant->items[i].denial))
			return true;
	}
	return false;
}

/* Denials by the operator's selector: names and serials are looked up among the denials themselves.
 */
static void find_denied(const struct gateway *gateway, const struct revoke_selector *selector,
			struct denials *ret)
{
	char serial[sizeof(((struct trust_denial *)0)->serial)] = "";

	if (selector->certificate) {
		find_certificate(gateway, selector->certificate, NULL, ret);
		return;
	}
	if (selector->serial)
		normalise_serial(selector->serial, serial, sizeof(serial));
	for (size_t i = 0; i < gateway->denied_count; i++) {
		const struct store_denied *denied = &gateway->denied[i];
		const char *name = selector->name;
		const char *colon = name ? strchr(name, ':') : NULL;
		bool meant = selector->serial
				     ? strcmp(denied->denial.serial, serial) == 0 &&
					       names_issuer(denied->issuer, selector->issuer)
				     : strcmp(denied->identity, name) == 0 ||
					       (colon && strcmp(denied->identity, colon + 1) == 0);

		if (!meant)
			continue;
		ret->items = xalloc_grow(ret->items, ret->count + 1, sizeof(*denied));
		ret->items[ret->count++] = *denied;
	}
}

static void drop_denied(struct gateway *gateway, const struct denials *meant,
			struct denials *dropped)
{
	size_t kept = 0;

	for (size_t i = 0; i < gateway->denied_count; i++) {
		if (!is_meant(&gateway->denied[i], meant)) {
			gateway->denied[kept++] = gateway->denied[i];
			continue;
		}
		dropped->items =
			xalloc_grow(dropped->items, dropped->count + 1, sizeof(*dropped->items));
		dropped->items[dropped->count++] = gateway->denied[i];
	}
	gateway->denied_count = kept;
}

int revoke_undeny(struct gateway *gateway, const struct revoke_selector *selector,
		  void (*done)(struct revoke_result *, void *), void *user, char *error,
		  size_t size)
{
	struct denials meant = {0}, dropped = {0};
	_cleanup_free_ struct trust_denial *keys = NULL;
	struct revoke_result *result;

	find_denied(gateway, selector, &meant);
	drop_denied(gateway, &meant, &dropped);
	free(meant.items);
	if (dropped.count == 0) {
		snprintf(error, size, "nothing of that name is denied here; see tunctl revoked");
		return -ENOENT;
	}
	tell(gateway, EVENT_UNREVOKED, &dropped, NULL);
	change_denials(gateway);
	result = make_result(gateway, &dropped, done, user);
	keys = xnew_array(struct trust_denial, dropped.count);
	for (size_t i = 0; i < dropped.count; i++) {
		log_warn("no longer denying %s serial %s", dropped.items[i].identity,
			 dropped.items[i].denial.serial);
		keys[i] = dropped.items[i].denial;
	}
	store_undeny(gateway->store, keys, dropped.count, on_stored, result);
	return 0;
}

/* ---- time ---- */

void revoke_expired(struct gateway *gateway)
{
	time_t now = clock_wall();
	struct session *session;

	while ((session = session_table_take_expired(&gateway->sessions, now))) {
		struct delay_since since = {
			.cause = DELAY_EXPIRED,
			.us = clock_of_wall_us(session->expires_at),
		};

		if (session->state != SESSION_PENDING)
			delay_cut(gateway, session, REASON_EXPIRED, "the certificate has expired",
				  &since, NULL);
	}
}
