/* session/session and session/session_table. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "certs.h"
#include "session/session_table.h"

static struct identity make_identity(const char *name, uint8_t root)
{
	struct identity identity = {.kind = IDENTITY_CN};

	snprintf(identity.name, sizeof(identity.name), "%s", name);
	memset(identity.root, root, sizeof(identity.root));
	return identity;
}

static void test_states(void **state)
{
	static const struct {
		enum session_state state;
		const char *name;
	} rows[] = {
		{SESSION_PENDING, "pending"},
		{SESSION_OPEN, "open"},
		{SESSION_AWAY, "away"},
		{SESSION_CLOSED, "closed"},
	};
	struct session session = {.identity = make_identity("alice", 1)};

	(void)state;
	assert_string_equal(session_name(&session), "alice");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_string_equal(session_state_name(rows[i].state), rows[i].name);
		session_enter(&session, rows[i].state, i % 2 ? "why" : NULL);
		assert_int_equal(session.state, rows[i].state);
	}
}

static const struct key_case {
	const char *name;
	enum identity_kind kind;
	uint8_t root;
	const char *begins;
} key_cases[] = {
	{"alice", IDENTITY_CN, 0xab, "cn:alice@ababab"},
	{"alice", IDENTITY_CN, 0x01, "cn:alice@010101"},
	{"alice", IDENTITY_DNS, 0xab, "dns:alice@ababab"},
	{"a@b.example", IDENTITY_EMAIL, 0xab, "email:a@b.example@ababab"},
	{"urn:x", IDENTITY_URI, 0xab, "uri:urn:x@ababab"},
};

static void test_lease_keys(void **state)
{
	char key[LEASE_KEY_MAX], other[LEASE_KEY_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(key_cases) / sizeof(*key_cases); i++) {
		struct identity identity = make_identity(key_cases[i].name, key_cases[i].root);

		identity.kind = key_cases[i].kind;
		session_lease_key(&identity, key);
		if (strncmp(key, key_cases[i].begins, strlen(key_cases[i].begins)) != 0)
			fail_msg("%s", key);
		/* The whole hash, so that no two roots share one. */
		assert_int_equal(strlen(strrchr(key, '@')), 65);
	}
	/* The longest name leaves room for all of it. */
	for (uint8_t root = 1; root <= 2; root++) {
		struct identity identity = make_identity("", root);

		identity.kind = IDENTITY_EMAIL;
		memset(identity.name, 'x', IDENTITY_NAME_MAX);
		session_lease_key(&identity, root == 1 ? key : other);
	}
	assert_string_not_equal(key, other);
	assert_int_equal(strlen(strrchr(key, '@')), 65);
}

/* ---- the table ---- */

static void test_ids(void **state)
{
	struct session_table table = {0};
	struct identity alice = make_identity("alice", 1);
	struct session *a = session_table_add(&table, &alice), *b, *c;

	(void)state;
	b = session_table_add(&table, &alice);
	assert_int_not_equal(a->id, 0);
	assert_int_not_equal(a->id, b->id);
	assert_ptr_equal(session_table_find(&table, a->id), a);
	assert_ptr_equal(session_table_find(&table, b->id), b);
	assert_null(session_table_find(&table, 0));
	assert_null(session_table_find(&table, b->id + 1));
	session_table_remove(&table, b);
	/* Numbers are not used again. */
	c = session_table_add(&table, &alice);
	assert_true(c->id > a->id + 1);
	session_table_remove(&table, a);
	session_table_remove(&table, c);
	assert_null(table.sessions);
}

static void test_cookies(void **state)
{
	struct session_table table = {0};
	struct identity alice = make_identity("alice", 1);
	struct session *a = session_table_add(&table, &alice);
	struct session *b = session_table_add(&table, &alice);
	struct session *none = session_table_add(&table, &alice);
	uint8_t hash[SESSION_COOKIE] = {7}, other[SESSION_COOKIE] = {7};

	(void)state;
	other[SESSION_COOKIE - 1] = 1;
	assert_null(session_table_by_cookie(&table, hash));
	session_table_set_cookie(&table, a, hash);
	assert_ptr_equal(session_table_by_cookie(&table, hash), a);
	assert_null(session_table_by_cookie(&table, other));
	session_table_set_cookie(&table, b, other);
	assert_ptr_equal(session_table_by_cookie(&table, other), b);
	session_table_remove(&table, a);
	assert_null(session_table_by_cookie(&table, hash));
	assert_ptr_equal(session_table_by_cookie(&table, other), b);
	session_table_remove(&table, b);
	session_table_remove(&table, none);
	assert_null(table.by_cookie);
}

static void test_identities(void **state)
{
	struct session_table table = {0};
	struct identity who[] = {make_identity("alice", 1), make_identity("bob", 1),
				 make_identity("alice", 2), make_identity("alice", 1)};
	struct session *sessions[4];

	(void)state;
	who[3].kind = IDENTITY_DNS;
	for (int i = 0; i < 4; i++)
		sessions[i] = session_table_add(&table, &who[i]);
	for (int i = 0; i < 4; i++) {
		assert_ptr_equal(session_table_by_identity(&table, &who[i], NULL), sessions[i]);
		assert_null(session_table_by_identity(&table, &who[i], sessions[i]));
	}
	session_table_add(&table, &who[0]);
	assert_int_equal(session_table_by_identity(&table, &who[0], sessions[0])->id, 5);
	while (table.sessions)
		session_table_remove(&table, table.sessions);
	assert_null(session_table_by_identity(&table, &who[0], NULL));
}

/* The certificates are the session's own references: given twice, changed, and gone with it. */
static void test_certs(void **state)
{
	struct session_table table = {0};
	struct identity alice = make_identity("alice", 1);
	struct session *session = session_table_add(&table, &alice);
	struct certs_pair root =
		certs_make(&(struct certs_spec){.subject = "CN=r", .ca = true}, NULL);

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct certs_pair leaf =
			certs_make(&(struct certs_spec){.subject = "CN=alice"}, &root);
		struct identity_cert *cert = identity_describe(leaf.cert, root.cert);
		STACK_OF(X509) *untrusted = sk_X509_new_null();

		sk_X509_push(untrusted, root.cert);
		cert->expires_at = 1000 + i;
		session_set_cert(session, cert, leaf.cert, i ? untrusted : NULL);
		session_set_cert(session, cert, leaf.cert, i ? untrusted : NULL);
		assert_int_equal(session->expires_at, 1000 + i);
		assert_ptr_equal(session->leaf, leaf.cert);
		assert_int_equal(session->untrusted != NULL, i > 0);
		identity_cert_unref(cert);
		sk_X509_free(untrusted);
		certs_free(&leaf);
	}
	/* Its own again. */
	session_set_cert(session, session->cert, session->leaf, session->untrusted);
	assert_int_equal(sk_X509_num(session->untrusted), 1);
	certs_free(&root);
	session_table_remove(&table, session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),	   cmocka_unit_test(test_lease_keys),
		cmocka_unit_test(test_ids),	   cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_identities), cmocka_unit_test(test_certs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
