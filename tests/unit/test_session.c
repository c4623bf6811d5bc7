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

enum { CROWD = 2000 };

/* Among thousands, of two names each; those found are in the order in which they came. */
static void test_names_in_a_crowd(void **state)
{
	struct session_table table = {0};
	struct session *found;

	(void)state;
	for (int i = 0; i < CROWD; i++) {
		char name[16];
		struct identity identity;

		snprintf(name, sizeof(name), "n%d", i / 2);
		identity = make_identity(name, (uint8_t)(i % 2));
		session_table_add(&table, &identity);
	}
	for (int i = 0; i < CROWD; i += 2) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i / 2);
		found = session_table_by_name(&table, name);
		assert_int_equal(found->id, i + 1);
		assert_int_equal(found->next_of_name->id, i + 2);
		assert_null(found->next_of_name->next_of_name);
		/* The first goes, the second stays to be found. */
		session_table_remove(&table, found);
		found = session_table_by_name(&table, name);
		assert_int_equal(found->id, i + 2);
		assert_ptr_equal(session_table_by_identity(&table, &found->identity, NULL), found);
		assert_null(session_table_by_identity(&table, &found->identity, found));
	}
	assert_null(session_table_by_name(&table, "n"));
	session_table_done(&table);
	assert_null(table.sessions);
	assert_null(table.by_name);
}

static void test_what_ends_by_itself(void **state)
{
	struct session_table table = {0};
	struct identity alice = make_identity("alice", 1);
	struct session *sessions[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		sessions[i] = session_table_add(&table, &alice);
		session_table_give_up_at(&table, sessions[i], 300 - i);
		session_table_expire_at(&table, sessions[i], 1000 + i);
	}
	assert_null(session_table_take_late(&table, 297));
	assert_ptr_equal(session_table_take_late(&table, 298), sessions[2]);
	assert_null(session_table_take_late(&table, 298));
	session_table_remove(&table, sessions[1]);
	assert_ptr_equal(session_table_take_late(&table, 1000), sessions[0]);
	assert_null(session_table_take_late(&table, 1000));
	assert_int_equal(sessions[0]->expires_at, 1000);
	session_table_expire_at(&table, sessions[0], 2000); /* its certificate was renewed */
	assert_null(session_table_take_expired(&table, 1001));
	assert_ptr_equal(session_table_take_expired(&table, 1002), sessions[2]);
	assert_null(session_table_take_expired(&table, 1999));
	assert_ptr_equal(session_table_take_expired(&table, 2000), sessions[0]);
	session_table_done(&table);
}

static void test_links(void **state)
{
	struct session_table table = {0};
	struct identity alice = make_identity("alice", 1);
	struct config_access sites[2] = {0};
	struct session *first = session_table_add(&table, &alice);
	struct session *second = session_table_add(&table, &alice);

	(void)state;
	session_table_set_site(&table, first, NULL);
	assert_null(table.links);
	session_table_set_site(&table, second, &sites[0]);
	session_table_set_site(&table, first, &sites[0]);
	session_table_set_site(&table, second, &sites[1]); /* another, after a reload */
	assert_ptr_equal(table.links, second);
	assert_ptr_equal(second->next_link, first);
	assert_null(first->next_link);
	session_table_set_site(&table, second, NULL);
	assert_null(second->site);
	assert_ptr_equal(table.links, first);
	session_table_remove(&table, first);
	assert_null(table.links);
	session_table_done(&table);
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
		session_set_cert(session, cert, leaf.cert, i ? untrusted : NULL);
		session_set_cert(session, cert, leaf.cert, i ? untrusted : NULL);
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
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_lease_keys),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_identities),
		cmocka_unit_test(test_certs),
		cmocka_unit_test(test_names_in_a_crowd),
		cmocka_unit_test(test_what_ends_by_itself),
		cmocka_unit_test(test_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
