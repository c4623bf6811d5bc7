#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "certs.h"
#include "pki/identity.h"
#include "pki/trust.h"

enum { DAY_S = CERTS_DAY_S };

/* What the certificates of the tests are made once for. */
struct fixture {
	struct certs_pair root, sub, leaf, old, stranger;
	char *root_pem, *sub_pem, *leaf_pem, *key_pem, *old_pem, *stranger_pem;
	char *list_pem;
};

/* What trust_new reported. */
struct heard {
	unsigned problems, warnings;
	char problem[300], problem_file[100];
	char warning[300];
};

static void hear_problem(const char *file, const char *text, void *user)
{
	struct heard *heard = user;

	heard->problems++;
	snprintf(heard->problem, sizeof(heard->problem), "%s", text);
	snprintf(heard->problem_file, sizeof(heard->problem_file), "%s", file);
}

static void hear_warning(const char *file, const char *text, void *user)
{
	struct heard *heard = user;

	(void)file;
	heard->warnings++;
	snprintf(heard->warning, sizeof(heard->warning), "%s", text);
}

static char *make_list(const struct certs_list_spec *spec, const struct certs_pair *issuer)
{
	X509_CRL *crl = certs_make_list(spec, issuer);
	char *pem = certs_pem_list(crl);

	X509_CRL_free(crl);
	return pem;
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct certs_spec ca = {.subject = "CN=Corp CA", .ca = true};

	fixture->root = certs_make(&ca, NULL);
	ca.subject = "CN=Sub CA";
	fixture->sub = certs_make(&ca, &fixture->root);
	ca.subject = "CN=Stranger CA";
	fixture->stranger = certs_make(&ca, NULL);
	ca.subject = "CN=Old CA";
	ca.from_s = -9 * DAY_S;
	ca.until_s = -DAY_S;
	fixture->old = certs_make(&ca, NULL);
	fixture->leaf = certs_make(&(struct certs_spec){.subject = "CN=alice"}, &fixture->root);
	fixture->root_pem = certs_pem(fixture->root.cert);
	fixture->sub_pem = certs_pem(fixture->sub.cert);
	fixture->leaf_pem = certs_pem(fixture->leaf.cert);
	fixture->stranger_pem = certs_pem(fixture->stranger.cert);
	fixture->old_pem = certs_pem(fixture->old.cert);
	fixture->key_pem = certs_pem_key(fixture->root.key);
	fixture->list_pem = make_list(&(struct certs_list_spec){.number = 5}, &fixture->root);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	certs_free(&fixture->root);
	certs_free(&fixture->sub);
	certs_free(&fixture->stranger);
	certs_free(&fixture->old);
	certs_free(&fixture->leaf);
	free(fixture->root_pem);
	free(fixture->sub_pem);
	free(fixture->leaf_pem);
	free(fixture->stranger_pem);
	free(fixture->old_pem);
	free(fixture->key_pem);
	free(fixture->list_pem);
	free(fixture);
	return 0;
}

static struct trust *load_bytes(const void *ca, size_t ca_len, const void *list, size_t list_len,
				struct heard *heard)
{
	struct trust_source ca_source = {.file = "corp.crt", .data = ca, .len = ca_len};
	struct trust_source list_source = {.file = "corp.crl", .data = list, .len = list_len};

	*heard = (struct heard){.problems = 0};
	return trust_new(
		&(struct trust_options){
			.cas = &ca_source,
			.ca_count = 1,
			.crls = &list_source,
			.crl_count = list != NULL,
			.generation = 4,
		},
		hear_problem, hear_warning, heard);
}

static struct trust *load(const char *ca, const char *list, struct heard *heard)
{
	return load_bytes(ca, strlen(ca), list, list ? strlen(list) : 0, heard);
}

static void test_pem(void **state)
{
	struct fixture *fixture = *state;
	struct heard heard;
	char *both = NULL;
	struct trust *trust;

	assert_true(asprintf(&both, "Corp, the root:\n%s\nsome text between\n%s%s\n-- \n",
			     fixture->root_pem, fixture->sub_pem, fixture->root_pem) > 0);
	trust = load(both, fixture->list_pem, &heard);
	assert_non_null(trust);
	assert_int_equal(trust->generation, 4);
	assert_int_equal(trust->ca_count, 2); /* the root once */
	assert_true(trust->cas[0].is_root);
	assert_false(trust->cas[1].is_root);
	assert_string_equal(trust->cas[0].file, "corp.crt");
	assert_int_equal(trust->crl_count, 1);
	assert_ptr_equal(trust->crls[0].issuer, trust->cas[0].cert);
	assert_true(trust->crls[0].signature_ok);
	assert_int_equal(ASN1_INTEGER_get(trust->crls[0].list->number), 5);
	assert_true(trust->crls[0].list->this_update < trust->crls[0].list->next_update);
	assert_string_equal(trust->crls[0].file, "corp.crl");
	assert_int_equal(heard.problems + heard.warnings, 0);
	trust_unref(trust);
	free(both);
}

static void test_der(void **state)
{
	struct fixture *fixture = *state;
	X509_CRL *crl = certs_make_list(&(struct certs_list_spec){.number = 1}, &fixture->root);
	size_t ca_len, list_len;
	uint8_t *ca = certs_der(fixture->root.cert, &ca_len);
	uint8_t *list = certs_der_list(crl, &list_len);
	struct heard heard;
	struct trust *trust = load_bytes(ca, ca_len, list, list_len, &heard);

	assert_non_null(trust);
	assert_int_equal(trust->ca_count, 1);
	assert_int_equal(trust->crl_count, 1);
	assert_true(trust->crls[0].signature_ok);
	trust_unref(trust);

	assert_null(load_bytes(list, list_len, NULL, 0, &heard));
	assert_non_null(strstr(heard.problem, "a revocation list where a certificate belongs"));
	assert_null(load_bytes(ca, ca_len, ca, ca_len, &heard));
	assert_non_null(strstr(heard.problem, "a certificate where a revocation list belongs"));
	assert_null(load_bytes(ca, ca_len - 1, NULL, 0, &heard));
	assert_non_null(strstr(heard.problem, "not a whole certificate"));
	assert_null(load_bytes(ca, ca_len, list, list_len - 1, &heard));
	assert_non_null(strstr(heard.problem, "not a whole revocation list"));
	ca = realloc(ca, ca_len + 1);
	ca[ca_len] = 0;
	assert_null(load_bytes(ca, ca_len + 1, NULL, 0, &heard)); /* a byte too many */
	assert_non_null(strstr(heard.problem, "not a whole certificate"));
	list = realloc(list, list_len + 1);
	list[list_len] = 0;
	assert_null(load_bytes(ca, ca_len, list, list_len + 1, &heard));
	assert_non_null(strstr(heard.problem, "not a whole revocation list"));
	free(ca);
	free(list);
	X509_CRL_free(crl);
}

/* What fails here leaves OpenSSL's error queue as it was. */
static void expect_problem(const char *ca, const char *list, const char *file, const char *text)
{
	struct heard heard;
	struct trust *trust;

	ERR_clear_error();
	ERR_raise(ERR_LIB_USER, 77);
	trust = load(ca, list, &heard);
	if (trust || heard.problems != 1 || !strstr(heard.problem, text))
		fail_msg("wanted \"%s\", got %u: %s", text, heard.problems, heard.problem);
	assert_string_equal(heard.problem_file, file);
	assert_int_equal(ERR_GET_REASON(ERR_get_error()), 77);
	assert_int_equal(ERR_peek_error(), 0);
}

static char *join(const char *a, const char *b)
{
	char *both = NULL;

	assert_true(asprintf(&both, "%s%s", a, b) >= 0);
	return both;
}

static void test_ca_problems(void **state)
{
	struct fixture *fixture = *state;
	char *half = strndup(fixture->sub_pem, strlen(fixture->sub_pem) / 2);
	char *cut = join(fixture->root_pem, half), *cut_first = join(half, fixture->root_pem);
	char *begun = join(fixture->root_pem, "-----BEGIN CERTIF");
	char *with_leaf = join(fixture->root_pem, fixture->leaf_pem);
	char *with_key = join(fixture->root_pem, fixture->key_pem);
	char *damaged = strdup(fixture->root_pem);

	memcpy(damaged + 100, "!!!!", 4);
	expect_problem("", NULL, "corp.crt", "empty");
	expect_problem("hello", NULL, "corp.crt", "no certificate in it");
	expect_problem("0garbage", NULL, "corp.crt", "not a whole certificate");
	expect_problem(half, NULL, "corp.crt", "block 1 is cut off or damaged");
	expect_problem(cut, NULL, "corp.crt", "block 2 is cut off or damaged");
	expect_problem(cut_first, NULL, "corp.crt", "block 1 is cut off or damaged");
	expect_problem(begun, NULL, "corp.crt", "block 2 is cut off or damaged");
	expect_problem(damaged, NULL, "corp.crt", "block 1 is cut off or damaged");
	expect_problem("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", NULL,
		       "corp.crt", "not a whole certificate");
	expect_problem(with_leaf, NULL, "corp.crt", "certificate \"CN=alice\": it is no authority");
	expect_problem(with_key, NULL, "corp.crt", "a block \"PRIVATE KEY\" where a certificate");
	expect_problem("-----BEGIN \x1b[2J\x07-----\nMAA=\n-----END \x1b[2J\x07-----\n", NULL,
		       "corp.crt", "a block \"\\x1b[2J\\x07\" where a certificate");
	expect_problem(fixture->list_pem, NULL, "corp.crt", "name it in trust.crl");
	expect_problem(fixture->sub_pem, NULL, "corp.crt", "no self-signed authority");
	free(half);
	free(cut);
	free(cut_first);
	free(begun);
	free(with_leaf);
	free(with_key);
	free(damaged);
}

/* Authorities that must not be believed. */
static void test_bad_authorities(void **state)
{
	static const struct {
		const char *name;
		struct certs_spec spec;
		const char *problem;
	} bad[] = {
		{"altered", {.subject = "CN=X", .ca = true, .spoil = true}, "signature on itself"},
		{"CA:FALSE", {.subject = "CN=X", .basic = "CA:FALSE"}, "no authority"},
		{"no basicConstraints", {.subject = "CN=X", .ku = "keyCertSign"}, "no authority"},
		{"no keyCertSign",
		 {.subject = "CN=X", .ca = true, .ku = "cRLSign"},
		 "no authority"},
		{"malformed",
		 {.subject = "CN=X", .ca = true, .constraints = "DER:0500"},
		 "extensions are malformed"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct certs_pair pair = certs_make(&bad[i].spec, NULL);
		char *pem = certs_pem(pair.cert);

		expect_problem(pem, NULL, "corp.crt", bad[i].problem);
		free(pem);
		certs_free(&pair);
	}
}

static void test_list_problems(void **state)
{
	struct fixture *fixture = *state;
	char *half = strndup(fixture->list_pem, strlen(fixture->list_pem) / 2);
	char *delta =
		make_list(&(struct certs_list_spec){.number = 2, .delta = true}, &fixture->root);

	expect_problem(fixture->root_pem, "", "corp.crl", "empty; a revocation list");
	expect_problem(fixture->root_pem, "hello", "corp.crl", "no revocation list in it");
	expect_problem(fixture->root_pem, half, "corp.crl", "block 1 is cut off or damaged");
	expect_problem(fixture->root_pem, fixture->root_pem, "corp.crl", "name it in trust.ca");
	expect_problem(fixture->root_pem, fixture->key_pem, "corp.crl",
		       "a block \"PRIVATE KEY\" where a revocation list");
	expect_problem(fixture->root_pem, delta, "corp.crl",
		       "revocation list of \"CN=Corp CA\": a delta list; publish the full list");
	free(half);
	free(delta);
}

static void test_nothing_named(void **state)
{
	struct heard heard = {.problems = 0};

	(void)state;
	assert_null(trust_new(&(struct trust_options){.ca_count = 0}, hear_problem, hear_warning,
			      &heard));
	assert_int_equal(heard.problems, 1);
	assert_string_equal(heard.problem_file, "trust.ca");
	/* Nobody has to listen. */
	assert_null(trust_new(&(struct trust_options){.ca_count = 0}, NULL, NULL, NULL));
}

static void expect_warning(const char *ca, char *list, unsigned count, const char *text)
{
	struct heard heard;
	struct trust *trust = load(ca, list, &heard);

	if (!trust || heard.warnings != count || !strstr(heard.warning, text))
		fail_msg("wanted \"%s\", got %u: %s%s", text, heard.warnings, heard.warning,
			 heard.problem);
	trust_unref(trust);
	free(list);
}

static void test_warnings(void **state)
{
	struct fixture *fixture = *state;
	const char *root = fixture->root_pem;

	expect_warning(fixture->old_pem, NULL, 1, "authority \"CN=Old CA\" expired at");
	expect_warning(root,
		       make_list(&(struct certs_list_spec){.this_s = -9 * DAY_S, .next_s = -DAY_S},
				 &fixture->root),
		       1, "was due for renewal at");
	expect_warning(root,
		       make_list(&(struct certs_list_spec){.this_s = DAY_S, .next_s = 9 * DAY_S},
				 &fixture->root),
		       1, "begins only at");
	expect_warning(root, make_list(&(struct certs_list_spec){.no_next = true}, &fixture->root),
		       1, "never falls due");
	expect_warning(root, make_list(&(struct certs_list_spec){.spoil = true}, &fixture->root), 1,
		       "not signed by that authority");
	expect_warning(root, make_list(&(struct certs_list_spec){.number = 1}, &fixture->stranger),
		       1, "which trust.ca does not name");
}

/* Authorities write entries in any order, and what is signed is that order. */
static void test_entries_in_any_order(void **state)
{
	struct fixture *fixture = *state;
	char *list = make_list(&(struct certs_list_spec){.number = 1,
							 .entries = {{.serial = 0x90},
								     {.serial = 0x30},
								     {.serial = 0x60}}},
			       &fixture->root);
	struct heard heard;
	struct trust *trust = load(fixture->root_pem, list, &heard);

	assert_non_null(trust);
	assert_int_equal(heard.warnings, 0);
	assert_true(trust->crls[0].signature_ok);
	for (int serial = 0x30; serial <= 0x90; serial += 0x10) {
		ASN1_INTEGER *number = ASN1_INTEGER_new();
		struct serials_entry entry;

		ASN1_INTEGER_set(number, serial);
		assert_int_equal(crl_list_find(trust->crls[0].list, number, &entry),
				 serial % 0x30 == 0);
		ASN1_INTEGER_free(number);
	}
	trust_unref(trust);
	free(list);
}

/* With two authorities of one name the list belongs to the one that signed it. */
static void test_namesakes(void **state)
{
	struct fixture *fixture = *state;
	struct certs_pair other =
		certs_make(&(struct certs_spec){.subject = "CN=Corp CA", .ca = true}, NULL);
	char *other_pem = certs_pem(other.cert);
	char *both = join(fixture->root_pem, other_pem);
	char *list = make_list(&(struct certs_list_spec){.number = 1}, &other);
	struct heard heard;
	struct trust *trust = load(both, list, &heard);

	assert_non_null(trust);
	assert_true(trust->crls[0].signature_ok);
	assert_ptr_equal(trust->crls[0].issuer, trust->cas[1].cert);
	trust_unref(trust);
	trust = load(fixture->root_pem, list, &heard);
	assert_false(trust->crls[0].signature_ok);
	trust_unref(trust);
	certs_free(&other);
	free(other_pem);
	free(both);
	free(list);
}

/* ---- beside a snapshot that is in force ---- */

/* What is read again: a CA's file, and up to two lists' files. NULL: it is not there; UNREAD: it
 * could not be read. */
#define UNREAD "?"

struct again {
	const char *ca, *lists[2];
	bool keep;
};

static const char *const list_names[] = {"a.crl", "b.crl"};

static struct trust_source source_of(const char *file, const char *text)
{
	bool unread = strcmp(text, UNREAD) == 0;

	return (struct trust_source){.file = file,
				     .data = (const uint8_t *)(unread ? "" : text),
				     .len = unread ? 0 : strlen(text),
				     .unread = unread};
}

static struct trust *load_again(const struct trust *previous, const struct again *again,
				struct heard *heard)
{
	struct trust_source ca = source_of("corp.crt", again->ca), lists[2];
	size_t count = 0;

	for (size_t i = 0; i < 2; i++) {
		if (again->lists[i])
			lists[count++] = source_of(list_names[i], again->lists[i]);
	}
	*heard = (struct heard){.problems = 0};
	return trust_new(
		&(struct trust_options){
			.cas = &ca,
			.ca_count = 1,
			.crls = lists,
			.crl_count = count,
			.previous = previous,
			.keep = again->keep,
		},
		hear_problem, hear_warning, heard);
}

/* The numbers of the lists as one text, "5 7". */
static char *numbers_of(const struct trust *trust, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < trust->crl_count && used < size; i++) {
		assert_true(trust->crls[i].signature_ok);
		used += (size_t)snprintf(text + used, size - used, "%s%ld", i ? " " : "",
					 (long)ASN1_INTEGER_get(trust->crls[i].list->number));
	}
	return text;
}

static void test_lists_in_force(void **state)
{
	struct fixture *fixture = *state;
	struct certs_list_spec spec = {.number = 4};
	char *four = make_list(&spec, &fixture->root);
	char *five = fixture->list_pem, *six, *six_and_half, *other_five,
	     *half = strndup(five, strlen(five) / 2);

	spec.number = 6;
	six = make_list(&spec, &fixture->root);
	six_and_half = join(six, half);
	other_five = make_list(&(struct certs_list_spec){.number = 5, .entries = {{.serial = 9}}},
			       &fixture->root);

	/* a.crl has number 5 in force. */
	const struct {
		const char *name, *lists[2];
		bool keep;
		const char *numbers; /* NULL: refused as a whole */
		const char *problem, *warning;
	} rows[] = {
		{"the same", {five}, false, "5", "", ""},
		{"the same, kept", {five}, true, "5", "", ""},
		{"a newer one", {six}, false, "6", "", ""},
		{"a newer one in another file", {NULL, six}, true, "6", "", ""},
		{"an older one",
		 {four},
		 false,
		 "4 5",
		 "",
		 "older than the list in force, number 5"},
		{"an older one, kept", {four}, true, "4 5", "", "older than the list in force"},
		{"an older one elsewhere", {NULL, four}, false, "4 5", "", "number 4: older than"},
		{"the number twice", {other_five}, false, "5", "", "the same number and another"},
		{"taken away", {NULL}, false, "", "", ""},
		{"taken away, kept", {NULL}, true, "5", "", "stays in force until"},
		{"cut off", {half}, false, NULL, "block 1 is cut off", ""},
		{"cut off, kept", {half}, true, "5", "block 1 is cut off", ""},
		{"cut off behind a newer one, kept", {six_and_half}, true, "5", "block 2", ""},
		{"empty, kept", {""}, true, "5", "empty", ""},
		{"unread", {UNREAD}, false, NULL, "", ""},
		{"unread, kept", {UNREAD}, true, "5", "", ""},
		{"cut off beside a newer one, kept", {half, six}, true, "6", "block 1", ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct heard heard;
		char numbers[40];
		struct trust *before =
			load_again(NULL, &(struct again){.ca = fixture->root_pem, .lists = {five}},
				   &heard);
		struct trust *trust =
			load_again(before,
				   &(struct again){.ca = fixture->root_pem,
						   .lists = {rows[i].lists[0], rows[i].lists[1]},
						   .keep = rows[i].keep},
				   &heard);

		trust_unref(before);
		if (!trust != !rows[i].numbers ||
		    (trust &&
		     strcmp(numbers_of(trust, numbers, sizeof(numbers)), rows[i].numbers) != 0) ||
		    (rows[i].problem[0] ? !strstr(heard.problem, rows[i].problem)
					: heard.problems) ||
		    (rows[i].warning[0] ? !strstr(heard.warning, rows[i].warning) : heard.warnings))
			fail_msg("%s: %s: %s, %s", rows[i].name, trust ? numbers : "none",
				 heard.problem, heard.warning);
		trust_unref(trust);
	}
	free(four);
	free(six);
	free(six_and_half);
	free(other_five);
	free(half);
}

/* A list that stays is judged by the authorities that are loaded now. */
static void test_authorities_in_force(void **state)
{
	struct fixture *fixture = *state;
	char *two = join(fixture->root_pem, fixture->stranger_pem);
	char *half = strndup(two, strlen(two) - 100);
	char *more = join(fixture->old_pem, "-----BEGIN CERTIF");
	static const struct {
		const char *name;
		bool keep;
		size_t count; /* 0: refused as a whole */
	} rows[] = {{"whole", false, 0}, {"kept", true, 2}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *const bad[] = {half, UNREAD, fixture->sub_pem, "hello", more};

		for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
			struct again again = {.ca = two, .lists = {fixture->list_pem}};
			struct heard heard;
			struct trust *before = load_again(NULL, &again, &heard), *trust;

			again.ca = bad[j];
			again.keep = rows[i].keep;
			trust = load_again(before, &again, &heard);
			trust_unref(before);
			if (!trust != !rows[i].count)
				fail_msg("%s %zu: %s", rows[i].name, j, heard.problem);
			assert_int_equal(heard.problems, bad[j] != bad[1]);
			if (!trust)
				continue;
			assert_int_equal(trust->ca_count - (j == 2), rows[i].count);
			assert_int_equal(sk_X509_OBJECT_num(X509_STORE_get0_objects(trust->store)),
					 trust->ca_count);
			assert_true(trust->crls[0].signature_ok);
			trust_unref(trust);
		}
	}
	free(two);
	free(half);
	free(more);
}

/* A list that nobody had signed is read anew when its authority comes, and settled. */
static void test_an_authority_that_comes_later(void **state)
{
	struct fixture *fixture = *state;
	struct again again = {.ca = fixture->stranger_pem, .lists = {fixture->list_pem}};
	struct heard heard;
	struct trust *before = load_again(NULL, &again, &heard), *trust;

	assert_null(before->crls[0].issuer);
	again.ca = fixture->root_pem;
	trust = load_again(before, &again, &heard);
	assert_true(trust->crls[0].signature_ok);
	assert_non_null(trust->crls[0].list->signer);
	assert_null(before->crls[0].list->signer);
	trust_unref(before);
	trust_unref(trust);
}

static void fill_denials(struct trust_denial *denials, size_t count)
{
	memset(denials, 0, count * sizeof(*denials));
	for (size_t i = 0; i < count; i++) {
		denials[i].issuer_hash[0] = (uint8_t)(i * 7);
		snprintf(denials[i].serial, sizeof(denials[i].serial), "%zx", 0x100 + i);
		denials[i].spki_hash[0] = 1;
		denials[i].spki_hash[1] = (uint8_t)(i * 11);
	}
}

static void test_denials(void **state)
{
	struct fixture *fixture = *state;
	struct trust_denial denials[100];
	struct heard heard;
	struct trust *plain = load(fixture->root_pem, fixture->list_pem, &heard), *trust;
	const uint8_t other[32] = {0xff, 0xff, 0xff};

	fill_denials(denials, 100);
	snprintf(denials[50].serial, sizeof(denials[50].serial), "00:AB:Cd");
	trust = trust_with_denials(plain, denials, 100, 5);
	assert_false(trust_denies(plain, denials[3].issuer_hash, "103", denials[3].spki_hash));
	assert_int_equal(plain->generation, 4);
	trust_unref(plain);
	assert_int_equal(trust->generation, 5);
	assert_int_equal(trust->ca_count, 1);
	assert_int_equal(trust->crl_count, 1);
	assert_int_equal(ASN1_INTEGER_get(trust->crls[0].list->number), 5);
	for (size_t i = 0; i < 100; i++) {
		char serial[65];

		snprintf(serial, sizeof(serial), "%zx", i == 50 ? 0xabcd : 0x100 + i);
		assert_true(trust_denies(trust, denials[i].issuer_hash, serial, other));
		assert_true(trust_denies(trust, other, "1", denials[i].spki_hash));
		assert_false(trust_denies(trust, other, serial, other));
	}
	assert_false(trust_denies(trust, denials[3].issuer_hash, "104", other));
	assert_false(trust_denies(trust, denials[3].issuer_hash, "", other));
	trust_unref(trust);
}

static void test_refs(void **state)
{
	struct fixture *fixture = *state;
	struct heard heard;
	struct trust *trust = load(fixture->root_pem, NULL, &heard);

	assert_ptr_equal(trust_ref(trust), trust);
	trust_unref(trust);
	assert_int_equal(trust->ca_count, 1);
	trust_unref(trust);
	trust_unref(NULL);
}

static void test_too_many(void **state)
{
	struct heard heard;
	struct fixture *fixture = *state;
	struct certs_spec spec = {.ca = true,
				  .subject = "CN=Many",
				  .same_key = fixture->root.key,
				  .no_key_ids = true};
	size_t len = 0;
	char *all = NULL;
	FILE *out = open_memstream(&all, &len);

	for (int i = 0; i <= TRUST_CA_MAX; i++) {
		struct certs_pair pair = certs_make(&spec, NULL);
		char *pem = certs_pem(pair.cert);

		fputs(pem, out);
		free(pem);
		certs_free(&pair);
	}
	fclose(out);
	assert_null(load(all, NULL, &heard));
	assert_int_equal(heard.problems, 1);
	assert_non_null(strstr(heard.problem, "more than 1000 authorities"));
	free(all);
}

static void test_too_large(void **state)
{
	struct heard heard;

	(void)state;
	/* Refused before a byte is looked at. */
	assert_null(load_bytes("x", (size_t)TRUST_FILE_MAX + 1, NULL, 0, &heard));
	assert_non_null(strstr(heard.problem, "larger than"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pem),
		cmocka_unit_test(test_der),
		cmocka_unit_test(test_ca_problems),
		cmocka_unit_test(test_bad_authorities),
		cmocka_unit_test(test_list_problems),
		cmocka_unit_test(test_nothing_named),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_namesakes),
		cmocka_unit_test(test_entries_in_any_order),
		cmocka_unit_test(test_lists_in_force),
		cmocka_unit_test(test_authorities_in_force),
		cmocka_unit_test(test_an_authority_that_comes_later),
		cmocka_unit_test(test_denials),
		cmocka_unit_test(test_refs),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
