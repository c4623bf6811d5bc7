/* ctl/candidate: what is made of what the parent has read. The test is the parent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "certs.h"
#include "config/config_load.h"
#include "ctl/candidate.h"
#include "sys/child.h"
#include "wire/bundle.h"

#define PATH "/etc/tund/x.conf"
#define TEXT                                                                                       \
	"gateway { pool = \"10.99.0.0/16\" dpd = \"9s\" }\n"                                       \
	"identity { certificate = gw.crt key = gw.key }\n"                                         \
	"trust { ca = ca.crt }\n"

struct basis { /* in force, of files alone */
	struct config *config;
	struct material material;
	struct buf spki;
};

struct fixture {
	struct basis basis;
	struct certs_pair ca, leaf, other;
	struct parent_link *link;
	int ours, parent;
	uint32_t asked;
	struct candidate *got;
};

static int make_fixture(void **state)
{
	const struct certs_spec ca = {.subject = "CN=Root", .ca = true},
				leaf = {.subject = "CN=gw"};
	struct fixture *fixture = xnew(struct fixture);
	int fds[2];

	fixture->ca = certs_make(&ca, NULL);
	fixture->leaf = certs_make(&leaf, &fixture->ca);
	fixture->other = certs_make(&leaf, &fixture->ca);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds))
		return -1;
	fixture->ours = fds[0];
	fixture->parent = fds[1];
	fixture->link = parent_link_new(fds[0]);
	*state = fixture;
	return 0;
}

static int drop_fixture(void **state)
{
	struct fixture *fixture = *state;

	candidate_free(fixture->got);
	parent_link_free(fixture->link);
	close(fixture->ours);
	close(fixture->parent);
	certs_free(&fixture->ca);
	certs_free(&fixture->leaf);
	certs_free(&fixture->other);
	free(fixture);
	return 0;
}

static void put(struct buf *bundle, enum bundle_kind kind, uint32_t number, const char *name,
		const void *bytes, size_t len)
{
	bundle_write_head(bundle, kind, number, name, len);
	buf_append(bundle, bytes, len);
}

static void put_text(struct buf *bundle, enum bundle_kind kind, uint32_t number, const char *name,
		     const char *text)
{
	put(bundle, kind, number, name, text, strlen(text));
}

static void put_key(struct buf *bundle, const struct certs_pair *pair)
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(pair->key, &der);

	put(bundle, BUNDLE_KEY, 41, "", der, (size_t)len);
	OPENSSL_free(der);
}

static void put_cert(struct buf *bundle, enum bundle_kind kind, const char *name, X509 *cert)
{
	char *pem = certs_pem(cert);

	put_text(bundle, kind, 0, name, pem);
	free(pem);
}

static void on_candidate(struct candidate *candidate, void *user)
{
	struct fixture *fixture = user;

	assert_null(fixture->got);
	fixture->got = candidate;
}

enum { KEY_IN_FORCE = 7, KEY_READ = 41 };

static void get_basis(struct candidate_basis *ret, void *user)
{
	struct fixture *fixture = user;

	*ret = (struct candidate_basis){
		.config = fixture->basis.config,
		.material = fixture->basis.material,
		.spki = &fixture->basis.spki,
		.key_generation = KEY_IN_FORCE,
	};
}

/* Takes bundle. error: instead of a descriptor. */
static const struct candidate *answer(struct fixture *fixture, struct buf *bundle, int error,
				      const char *text)
{
	struct parent_msg_reply reply = {.id = ++fixture->asked, .error = (uint32_t)error};
	struct buf packet = {0};
	int fd = memfd_create("reload", MFD_CLOEXEC);

	assert_int_equal(write(fd, bundle->data, bundle->len), bundle->len);
	strcpy(reply.text, text);
	parent_msg_write_reply(&packet, &reply);
	assert_int_equal(child_send(fixture->parent, packet.data, packet.len, &fd, !error), 0);
	assert_true(parent_link_take(fixture->link));
	assert_non_null(fixture->got);
	close(fd);
	buf_done(&packet);
	buf_done(bundle);
	return fixture->got;
}

static const struct candidate *ask(struct fixture *fixture, struct buf *bundle, int error,
				   const char *text)
{
	struct config running = {.path = (char *)PATH};

	candidate_ask(fixture->link, &running, get_basis, on_candidate, fixture);
	return answer(fixture, bundle, error, text);
}

static void assert_problem(const struct candidate *got, unsigned line, const char *text)
{
	assert_true(got->problems.count > 0);
	if (strstr(got->problems.items[0].text, text) == NULL ||
	    got->problems.items[0].line != line)
		fail_msg("%u: %s", got->problems.items[0].line, got->problems.items[0].text);
	assert_string_equal(got->problems.items[0].file, PATH);
	/* Half a configuration is none. */
	assert_null(got->config);
	assert_null(got->material.leaf);
	assert_null(got->material.trust);
}

static void a_good_one_is_parsed(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};
	const struct candidate *got;

	put_text(&bundle, BUNDLE_CONFIG, 1, PATH, TEXT);
	put_cert(&bundle, BUNDLE_CERTIFICATE, "/etc/tund/gw.crt", fixture->leaf.cert);
	put_cert(&bundle, BUNDLE_CA, "/etc/tund/ca.crt", fixture->ca.cert);
	put_key(&bundle, &fixture->leaf);
	got = ask(fixture, &bundle, 0, "");
	assert_int_equal(got->problems.count, 0);
	assert_int_equal(got->config->gateway.dpd_s, 9);
	assert_string_equal(got->config->path, PATH);
	assert_int_equal(X509_cmp(got->material.leaf, fixture->leaf.cert), 0);
	assert_non_null(got->material.trust);
	assert_int_equal(got->key_generation, 41);
	assert_true(material_key_fits(&got->material, &got->spki));
}

static void a_key_that_does_not_fit_is_a_problem(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};

	put_text(&bundle, BUNDLE_CONFIG, 1, PATH, TEXT);
	put_cert(&bundle, BUNDLE_CERTIFICATE, "/etc/tund/gw.crt", fixture->leaf.cert);
	put_cert(&bundle, BUNDLE_CA, "/etc/tund/ca.crt", fixture->ca.cert);
	put_key(&bundle, &fixture->other);
	assert_problem(ask(fixture, &bundle, 0, ""), 2,
		       "identity.key: the key does not belong to the certificate");
}

static void what_the_parent_found_is_passed_on(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};
	const struct candidate *got;

	put_text(&bundle, BUNDLE_CONFIG, 1, PATH, TEXT);
	put_cert(&bundle, BUNDLE_CERTIFICATE, "/etc/tund/gw.crt", fixture->leaf.cert);
	put_text(&bundle, BUNDLE_CA, 1, "/etc/tund/ca.crt", "");
	put_text(&bundle, BUNDLE_PROBLEM, 3, PATH, "trust.ca: /etc/tund/ca.crt: 100% gone");
	got = ask(fixture, &bundle, 0, "");
	assert_problem(got, 3, "trust.ca: /etc/tund/ca.crt: 100% gone");
	assert_int_equal(got->problems.count, 1);
}

static void what_is_in_the_files_is_looked_at_here(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};
	const struct candidate *got;

	put_text(&bundle, BUNDLE_CONFIG, 1, PATH, TEXT);
	put_text(&bundle, BUNDLE_CERTIFICATE, 0, "/etc/tund/gw.crt", "rubbish");
	put_text(&bundle, BUNDLE_CA, 0, "/etc/tund/ca.crt", "rubbish");
	put_key(&bundle, &fixture->leaf);
	got = ask(fixture, &bundle, 0, "");
	assert_problem(got, 2, "identity.certificate: no certificate in PEM form is in it");
	assert_true(got->problems.count > 1);
	assert_int_equal(got->problems.items[1].line, 3);
}

/* By the same code as at the start: what the parent thought of it is not asked. */
static void the_text_is_parsed_here(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};

	put_text(&bundle, BUNDLE_CONFIG, 1, PATH,
		 "gateway {\n pool = \"10.99.0.0/16\"\n dpd = soon\n}\n");
	assert_problem(ask(fixture, &bundle, 0, ""), 0, "identity.certificate is missing");
	assert_int_equal(fixture->got->problems.items[fixture->got->problems.count - 1].line, 3);
}

static void half_of_it_is_none(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};

	put_text(&bundle, BUNDLE_CONFIG, 1, PATH, TEXT);
	put_cert(&bundle, BUNDLE_CERTIFICATE, "/etc/tund/gw.crt", fixture->leaf.cert);
	put_cert(&bundle, BUNDLE_CA, "/etc/tund/ca.crt", fixture->ca.cert);
	assert_problem(ask(fixture, &bundle, 0, ""), 0,
		       "the configuration cannot be read again: Bad message");
}

static void nothing_is_none(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};

	assert_problem(ask(fixture, &bundle, 0, ""), 0, "cannot be read again: File too large");
}

static void rubbish_is_none(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};

	buf_append(&bundle, "rubbish", 7);
	assert_problem(ask(fixture, &bundle, 0, ""), 0, "cannot be read again: Bad message");
}

static void an_error_is_a_problem_line(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};

	assert_problem(ask(fixture, &bundle, EBUSY, "another reload is under way"), 0,
		       "the configuration cannot be read again: another reload is under way");
}

/* ---- files alone: what is wrong stays as it is in force ---- */

static void put_in_force(struct fixture *fixture)
{
	struct basis *basis = &fixture->basis;
	struct config_problems problems = {0}, warnings = {0};
	struct material_files files = {0};
	struct buf ca = {0}, leaf = {0};
	unsigned char *der = NULL;
	char *pem = certs_pem(fixture->ca.cert), *own = certs_pem(fixture->leaf.cert);
	char *text = xalloc_string(TEXT);
	int len = i2d_PUBKEY(fixture->leaf.key, &der);

	basis->config = config_load_text(PATH, text, strlen(text), true, &problems);
	buf_append(&ca, pem, strlen(pem));
	buf_append(&leaf, own, strlen(own));
	buf_append(&basis->spki, der, (size_t)len);
	material_files_add(&files, MATERIAL_CERTIFICATE, "/etc/tund/gw.crt", &leaf, false);
	material_files_add(&files, MATERIAL_CA, "/etc/tund/ca.crt", &ca, false);
	assert_int_equal(material_make(basis->config, &files, NULL, &problems, &warnings,
				       &basis->material),
			 0);
	material_files_done(&files);
	config_problems_done(&warnings);
	OPENSSL_free(der);
	free(text);
	free(own);
	free(pem);
}

static void drop_from_force(struct fixture *fixture)
{
	config_free(fixture->basis.config);
	material_done(&fixture->basis.material);
	buf_done(&fixture->basis.spki);
}

static const struct candidate *ask_files(struct fixture *fixture, struct buf *bundle)
{
	candidate_ask_files(fixture->link, fixture->basis.config, get_basis, on_candidate, fixture);
	return answer(fixture, bundle, 0, "");
}

enum which { RUBBISH, NONE, IN_FORCE, OTHER, RENEWED, EXPIRED, OF_A_DEVICE };

static struct certs_pair make_which(struct fixture *fixture, enum which which)
{
	struct certs_spec spec = {.subject = "CN=gw", .eku = "serverAuth"};

	if (which == RENEWED)
		spec.same_key = fixture->leaf.key;
	if (which == EXPIRED)
		spec.from_s = -2 * CERTS_DAY_S, spec.until_s = -CERTS_DAY_S;
	if (which == OF_A_DEVICE)
		spec.eku = "clientAuth";
	return which == IN_FORCE ? fixture->leaf : certs_make(&spec, &fixture->ca);
}

static void pairs_of_files(void **state)
{
	static const struct {
		const char *name;
		enum which cert, key, wanted_cert;
		uint32_t wanted_key;
		const char *problem;
	} rows[] = {
		{"the same", IN_FORCE, IN_FORCE, IN_FORCE, KEY_READ, NULL},
		{"both new", OTHER, OTHER, OTHER, KEY_READ, NULL},
		{"certificate first", OTHER, IN_FORCE, IN_FORCE, KEY_IN_FORCE, "the other half"},
		{"key first", IN_FORCE, OTHER, IN_FORCE, KEY_IN_FORCE, "the other half"},
		{"same key", RENEWED, IN_FORCE, RENEWED, KEY_READ, NULL},
		{"same key, unread", RENEWED, NONE, RENEWED, KEY_IN_FORCE, NULL},
		{"key unread", OTHER, NONE, IN_FORCE, KEY_IN_FORCE, NULL},
		{"rubbish", RUBBISH, IN_FORCE, IN_FORCE, KEY_READ, "no certificate in PEM form"},
		{"rubbish with a new key", RUBBISH, OTHER, IN_FORCE, KEY_IN_FORCE,
		 "no certificate"},
		{"unread", NONE, IN_FORCE, IN_FORCE, KEY_READ, NULL},
		{"expired", EXPIRED, EXPIRED, IN_FORCE, KEY_IN_FORCE, "cert-expired"},
		{"a device's", OF_A_DEVICE, OF_A_DEVICE, IN_FORCE, KEY_IN_FORCE,
		 "purpose-mismatch"},
	};
	struct fixture *fixture = *state;

	put_in_force(fixture);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct certs_pair cert = make_which(fixture, rows[i].cert), key = cert;
		struct buf bundle = {0};
		const struct candidate *got;
		X509 *wanted;

		if (rows[i].key != rows[i].cert)
			key = make_which(fixture, rows[i].key);
		if (rows[i].cert == RUBBISH)
			put_text(&bundle, BUNDLE_CERTIFICATE, 0, "/etc/tund/gw.crt", "rubbish");
		else if (rows[i].cert != NONE)
			put_cert(&bundle, BUNDLE_CERTIFICATE, "/etc/tund/gw.crt", cert.cert);
		put_cert(&bundle, BUNDLE_CA, "/etc/tund/ca.crt", fixture->ca.cert);
		if (rows[i].key != NONE)
			put_key(&bundle, &key);
		got = ask_files(fixture, &bundle);
		wanted = rows[i].wanted_cert == IN_FORCE ? fixture->leaf.cert : cert.cert;
		if (X509_cmp(got->material.leaf, wanted) != 0 ||
		    got->key_generation != rows[i].wanted_key ||
		    got->key_stays != (rows[i].wanted_key == KEY_IN_FORCE))
			fail_msg("%s: key %u", rows[i].name, got->key_generation);
		assert_true(material_key_fits(&got->material, &got->spki));
		assert_int_equal(got->problems.count, rows[i].problem ? 1 : 0);
		if (rows[i].problem && !strstr(got->problems.items[0].text, rows[i].problem))
			fail_msg("%s: %s", rows[i].name, got->problems.items[0].text);
		candidate_free(take(fixture->got));
		if (rows[i].key != rows[i].cert && rows[i].key != IN_FORCE)
			certs_free(&key);
		if (rows[i].cert != IN_FORCE)
			certs_free(&cert);
	}
	drop_from_force(fixture);
}

/* What is wrong with one keeps none of the others. */
static void bad_authorities_stay(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};
	const struct candidate *got;

	put_in_force(fixture);
	put_cert(&bundle, BUNDLE_CERTIFICATE, "/etc/tund/gw.crt", fixture->leaf.cert);
	put_text(&bundle, BUNDLE_CA, 0, "/etc/tund/ca.crt", "rubbish");
	put_key(&bundle, &fixture->leaf);
	got = ask_files(fixture, &bundle);
	assert_int_equal(got->problems.count, 1);
	assert_non_null(strstr(got->problems.items[0].text, "ca.crt"));
	assert_int_equal(got->material.trust->ca_count, 1);
	assert_int_equal(X509_cmp(got->material.trust->cas[0].cert, fixture->ca.cert), 0);
	assert_int_equal(got->key_generation, KEY_READ);
	drop_from_force(fixture);
}

static void files_that_the_parent_cannot_hand_over(void **state)
{
	struct fixture *fixture = *state;
	struct buf bundle = {0};
	const struct candidate *got;

	put_in_force(fixture);
	candidate_ask_files(fixture->link, fixture->basis.config, get_basis, on_candidate, fixture);
	got = answer(fixture, &bundle, ENOSPC, "");
	assert_null(got->material.leaf);
	assert_int_equal(got->problems.count, 1);
	drop_from_force(fixture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, drop_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_good_one_is_parsed),
		TEST(a_key_that_does_not_fit_is_a_problem),
		TEST(what_the_parent_found_is_passed_on),
		TEST(what_is_in_the_files_is_looked_at_here),
		TEST(the_text_is_parsed_here),
		TEST(half_of_it_is_none),
		TEST(nothing_is_none),
		TEST(rubbish_is_none),
		TEST(an_error_is_a_problem_line),
		TEST(pairs_of_files),
		TEST(bad_authorities_stay),
		TEST(files_that_the_parent_cannot_hand_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
