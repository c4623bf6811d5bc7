/* pki/material: the files that a configuration names, good and bad, in a directory of the
 * test's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/err.h>

#include "base/xalloc.h"
#include "certs.h"
#include "config/config.h"
#include "config/config_load.h"
#include "pki/material.h"
#include "sys/sandbox.h"

enum { TEXT = 20000, PATH = 256 };

struct world {
	char dir[64];
	struct certs_pair root, other, leaf, middle, old, broken;
	X509_CRL *list;
};

static struct certs_pair make(const char *subject, bool ca, int64_t until_s,
			      const struct certs_pair *issuer)
{
	return certs_make(&(struct certs_spec){.subject = subject,
					       .ca = ca,
					       .ku = ca ? "critical,keyCertSign,cRLSign"
							: "critical,digitalSignature",
					       .eku = ca ? NULL : "serverAuth",
					       .from_s = -9 * CERTS_DAY_S,
					       .until_s = until_s},
			  issuer);
}

static void write_bytes(const struct world *world, const char *name, const void *bytes, size_t len)
{
	char path[PATH];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", world->dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
	assert_int_equal(chmod(path, 0644), 0);
}

static void write_file(const struct world *world, const char *name, char *text)
{
	write_bytes(world, name, text, strlen(text));
	free(text);
}

static char *join(char *a, char *b)
{
	char *both = xalloc_print("%s%s", a, b);

	free(a);
	free(b);
	return both;
}

static void make_directory(const struct world *world, const char *name)
{
	char path[PATH];

	snprintf(path, sizeof(path), "%s/%s", world->dir, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void change_mode(const struct world *world, const char *name, mode_t mode, uid_t uid)
{
	char path[PATH];

	snprintf(path, sizeof(path), "%s/%s", world->dir, name);
	assert_int_equal(chmod(path, mode), 0);
	assert_int_equal(chown(path, uid, 0), 0);
}

static void write_files(struct world *world)
{
	char *pem;

	write_file(world, "ca.crt", certs_pem(world->root.cert));
	write_file(world, "leaf.crt", certs_pem(world->leaf.cert));
	write_file(world, "chain.crt",
		   join(certs_pem(world->leaf.cert), certs_pem(world->middle.cert)));
	write_file(world, "old.crt", certs_pem(world->old.cert));
	write_file(world, "soon.crt", certs_pem(world->broken.cert));
	write_file(world, "ca.crl", certs_pem_list(world->list));
	write_file(world, "writable.crt", certs_pem(world->root.cert));
	change_mode(world, "writable.crt", 0664, 0);
	write_file(world, "foreign.crt", certs_pem(world->root.cert));
	change_mode(world, "foreign.crt", 0644, 12345);
	write_bytes(world, "empty", "", 0);
	write_bytes(world, "junk", "no certificate", 14);
	pem = join(certs_pem(world->leaf.cert), certs_pem(world->middle.cert));
	write_bytes(world, "cut.crt", pem, strlen(pem) - 40);
	free(pem);
	make_directory(world, "cas");
	write_file(world, "cas/one.crt", certs_pem(world->root.cert));
	write_file(world, "cas/two.crt", certs_pem(world->other.cert));
	write_bytes(world, "cas/.hidden", "no certificate", 14);
	make_directory(world, "cas/below");
	make_directory(world, "none");
	make_directory(world, "many");
	for (int i = 0; i <= 1000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "many/%04d", i);
		write_bytes(world, name, "", 0);
	}
}

static int make_world(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	strcpy(world->dir, "/tmp/test_material.XXXXXX");
	assert_non_null(mkdtemp(world->dir));
	world->root = make("O=Corp/CN=Root", true, 900 * CERTS_DAY_S, NULL);
	world->other = make("O=Other/CN=Root", true, 900 * CERTS_DAY_S, NULL);
	world->middle = make("O=Corp/CN=Middle", true, 800 * CERTS_DAY_S, &world->root);
	world->leaf = make("O=Corp/CN=gateway", false, 300 * CERTS_DAY_S, &world->middle);
	world->old = make("O=Corp/CN=gateway", false, -CERTS_DAY_S, &world->root);
	world->broken = make("O=Corp/CN=gateway", false, 5 * CERTS_DAY_S, &world->root);
	world->list = certs_make_list(&(struct certs_list_spec){.number = 1}, &world->root);
	write_files(world);
	*state = world;
	return 0;
}

static int free_world(void **state)
{
	struct world *world = *state;
	char *command = xalloc_print("rm -rf %s", world->dir);

	assert_int_equal(system(command), 0);
	free(command);
	certs_free(&world->root);
	certs_free(&world->other);
	certs_free(&world->middle);
	certs_free(&world->leaf);
	certs_free(&world->old);
	certs_free(&world->broken);
	X509_CRL_free(world->list);
	free(world);
	return 0;
}

/* Line 2 is the certificate, 5 the CAs, 6 the rest of trust. A name without a slash is a file of
 * the test's directory. */
static struct config *make_config(const struct world *world, const char *certificate,
				  const char *ca, const char *rest)
{
	struct config_problems problems = {0};
	struct config *config;
	char path[PATH], text[TEXT];
	size_t len;

	snprintf(path, sizeof(path), "%s/x.conf", world->dir);
	len = (size_t)snprintf(text, sizeof(text),
			       "identity {\n certificate = \"%s\"\n key = a.key }\n"
			       "trust {\n ca = %s\n %s }\n"
			       "gateway { pool = \"10.99.0.0/16\" }\n",
			       certificate, ca, rest);
	assert_true(len < sizeof(text));
	config = config_load_text(path, text, len, true, &problems);
	if (problems.count)
		fail_msg("%u: %s", problems.items[0].line, problems.items[0].text);
	return config;
}

static const struct load_row {
	const char *name, *certificate, *ca, *rest;
	unsigned line;
	const char *problem; /* part of the first; NULL: it loads */
	const char *warning; /* part of the first; NULL: none */
} load_rows[] = {
	{"good", "leaf.crt", "ca.crt", "", 0, NULL, NULL},
	{"with intermediates", "chain.crt", "ca.crt", "", 0, NULL, NULL},
	{"a directory of CAs", "leaf.crt", "cas", "", 0, NULL, NULL},
	{"with a list", "leaf.crt", "ca.crt", "crl = ca.crl", 0, NULL, NULL},
	{"list, grace", "leaf.crt", "ca.crt", "crl = ca.crl\n crl-policy = grace", 0, NULL, NULL},
	{"list, advisory", "leaf.crt", "ca.crt", "crl = ca.crl\n crl-policy = advisory", 0, NULL,
	 NULL},
	{"expired", "old.crt", "ca.crt", "", 2, NULL, "our certificate expired at 20"},
	{"expires soon", "soon.crt", "ca.crt", "", 2, NULL, "our certificate expires at 20"},
	{"no such certificate", "gone.crt", "ca.crt", "", 2, "gone.crt: No such file", NULL},
	{"a directory for a certificate", "cas", "ca.crt", "", 2, "not a regular file", NULL},
	{"a certificate that is none", "junk", "ca.crt", "", 2, "no certificate in PEM form", NULL},
	{"an empty certificate", "empty", "ca.crt", "", 2, "no certificate in PEM form", NULL},
	{"an intermediate that is cut off", "cut.crt", "ca.crt", "", 2, "cut off or damaged", NULL},
	{"a URI", "pkcs11:object=x", "ca.crt", "", 2, "from a URI is not built yet", NULL},
	{"no such CA", "leaf.crt", "gone.crt", "", 5, "trust.ca: ", NULL},
	{"a CA that others may write", "leaf.crt", "writable.crt", "", 5,
	 "may be written by others (mode 0664); chmod go-w", NULL},
	{"a CA of somebody's", "leaf.crt", "foreign.crt", "", 5,
	 "belongs to uid 12345; it must belong to root", NULL},
	{"a CA that is none", "leaf.crt", "junk", "", 5, "junk: ", NULL},
	{"a certificate for a CA", "leaf.crt", "leaf.crt", "", 5, "leaf.crt: ", NULL},
	{"a directory with nothing", "leaf.crt", "none", "", 5, "trust.ca: ", NULL},
	{"a directory with too much", "leaf.crt", "many", "", 5, "holds more than 1000 files",
	 NULL},
	{"no such list", "leaf.crt", "ca.crt", "crl = gone.crl", 6, "trust.crl: ", NULL},
	{"a list that is none", "leaf.crt", "ca.crt", "crl = junk", 6, "junk: ", NULL},
};

static void check_texts(const struct load_row *row, const struct config_problems *said,
			const char *wanted)
{
	if ((said->count > 0) != (wanted != NULL))
		fail_msg("%s: %s", row->name,
			 said->count ? said->items[0].text : "nothing is said");
	if (!wanted)
		return;
	if (!strstr(said->items[0].text, wanted) || said->items[0].line != row->line)
		fail_msg("%s: line %u: %s", row->name, said->items[0].line, said->items[0].text);
}

static void check_load(const struct world *world, const struct load_row *row)
{
	struct config *config = make_config(world, row->certificate, row->ca, row->rest);
	struct config_problems problems = {0}, warnings = {0};
	struct material material;
	int r = material_load(config, &problems, &warnings, &material);

	print_message("%s\n", row->name);
	check_texts(row, &problems, row->problem);
	if (!row->problem)
		check_texts(row, &warnings, row->warning);
	assert_int_equal(r, row->problem ? -EINVAL : 0);
	assert_int_equal(material.leaf != NULL, r == 0);
	assert_int_equal(material.trust != NULL, r == 0);
	material_done(&material);
	config_problems_done(&problems);
	config_problems_done(&warnings);
	config_free(config);
}

static void test_load(void **state)
{
	for (size_t i = 0; i < sizeof(load_rows) / sizeof(load_rows[0]); i++)
		check_load(*state, &load_rows[i]);
}

/* All that is wrong is said at once, each once. */
static void test_every_problem_once(void **state)
{
	struct config *config =
		make_config(*state, "gone.crt", "{gone-a.crt, writable.crt}", "crl = gone.crl");
	struct config_problems problems = {0}, warnings = {0};
	struct material material;

	assert_int_equal(material_load(config, &problems, &warnings, &material), -EINVAL);
	assert_int_equal(problems.count, 4);
	config_problems_done(&problems);
	config_problems_done(&warnings);
	config_free(config);
}

static void test_order_of_the_chain(void **state)
{
	struct world *world = *state;
	struct config *config = make_config(world, "chain.crt", "ca.crt", "");
	struct config_problems problems = {0}, warnings = {0};
	struct material material;
	struct buf spki = {0};
	unsigned char *der = NULL;
	int len;

	assert_int_equal(material_load(config, &problems, &warnings, &material), 0);
	assert_int_equal(X509_cmp(material.leaf, world->leaf.cert), 0);
	assert_int_equal(sk_X509_num(material.chain), 1);
	assert_int_equal(X509_cmp(sk_X509_value(material.chain, 0), world->middle.cert), 0);

	len = i2d_PUBKEY(world->leaf.key, &der);
	buf_append(&spki, der, (size_t)len);
	assert_true(material_key_fits(&material, &spki));
	spki.data[len - 1] ^= 1;
	assert_false(material_key_fits(&material, &spki));
	spki.data[len - 1] ^= 1;
	spki.len--;
	assert_false(material_key_fits(&material, &spki));
	buf_done(&spki);
	OPENSSL_free(der);
	der = NULL;
	len = i2d_PUBKEY(world->root.key, &der);
	buf_append(&spki, der, (size_t)len);
	assert_false(material_key_fits(&material, &spki));
	buf_done(&spki);
	OPENSSL_free(der);
	material_done(&material);
	config_free(config);
}

/* Certificates that stand in the configuration itself. */
static void test_in_place(void **state)
{
	struct world *world = *state;
	char *leaf = certs_pem(world->leaf.cert), *root = certs_pem(world->root.cert);
	char *quoted = xalloc_print("\"%s\"", root);
	struct config *config = make_config(world, leaf, quoted, "");
	struct config_problems problems = {0}, warnings = {0};
	struct material_files files;
	struct material material;

	material_read(config, &problems, &files);
	assert_int_equal(problems.count, 0);
	assert_int_equal(files.count, 2);
	assert_int_equal(files.items[0].kind, MATERIAL_CERTIFICATE);
	assert_string_equal(files.items[0].name, "identity.certificate in place");
	assert_int_equal(files.items[1].kind, MATERIAL_CA);
	assert_string_equal(files.items[1].name, "trust.ca in place");
	assert_int_equal(material_make(config, &files, NULL, &problems, &warnings, &material), 0);
	assert_int_equal(X509_cmp(material.leaf, world->leaf.cert), 0);
	material_done(&material);
	material_files_done(&files);
	config_free(config);
	free(leaf);
	free(root);
	free(quoted);
}

/* What is hidden or no file is passed over; the rest comes by name. */
static void test_directory(void **state)
{
	struct config *config = make_config(*state, "leaf.crt", "cas", "");
	struct config_problems problems = {0};
	struct material_files files;

	material_read(config, &problems, &files);
	assert_int_equal(files.count, 3);
	assert_non_null(strstr(files.items[1].name, "cas/one.crt"));
	assert_non_null(strstr(files.items[2].name, "cas/two.crt"));
	material_files_done(&files);
	config_free(config);
}

/* A reload makes from what another process has read; a file it could not read is the whole's end,
 * and not complained about again. */
static void test_unread(void **state)
{
	struct config *config = make_config(*state, "leaf.crt", "ca.crt", "");
	struct config_problems problems = {0}, warnings = {0};
	struct material_files files = {0}, read;
	struct buf nothing = {0};
	struct material material;

	material_read(config, &problems, &read);
	for (size_t i = 0; i < read.count; i++)
		material_files_add(&files, read.items[i].kind, read.items[i].name,
				   &read.items[i].content, false);
	material_files_add(&files, MATERIAL_CA, "other.crt", &nothing, true);
	assert_int_equal(material_make(config, &files, NULL, &problems, &warnings, &material),
			 -EINVAL);
	assert_int_equal(problems.count, 0);
	assert_null(material.leaf);
	material_files_done(&files);
	material_files_add(&files, MATERIAL_CERTIFICATE, "leaf.crt", &nothing, true);
	assert_int_equal(material_make(config, &files, NULL, &problems, &warnings, &material),
			 -EINVAL);
	material_files_done(&files);
	material_files_done(&read);
	config_problems_done(&problems);
	config_problems_done(&warnings);
	config_free(config);
}

static void test_read_file(void **state)
{
	const struct world *world = *state;
	struct buf content = {0};
	char path[PATH], error[200] = "";

	snprintf(path, sizeof(path), "%s/junk", world->dir);
	assert_int_equal(material_read_file(path, 14, &content, error, sizeof(error)), 0);
	assert_int_equal(content.len, 14);
	assert_memory_equal(content.data, "no certificate", 14);
	buf_done(&content);
	assert_int_equal(material_read_file(path, 13, &content, error, sizeof(error)), -EFBIG);
	assert_non_null(strstr(error, "has 14 bytes, more than the limit of 13"));
	assert_null(content.data);
	assert_int_equal(material_read_file("/dev/null", 13, &content, error, sizeof(error)),
			 -EINVAL);
	assert_int_equal(material_read_file("/nowhere/x", 13, &content, error, sizeof(error)),
			 -ENOENT);
	assert_string_equal(error, "/nowhere/x: No such file or directory");
}

/* OpenSSL would ask a terminal for the passphrase of what says that it is encrypted; the engine,
 * which makes material too, would be ended for that. The child's status: 0. */
static int make_encrypted(const struct config *config, const char *leaf)
{
	static const char mark[] = "-----BEGIN CERTIFICATE-----\n";
	static const char says[] = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
				   "00112233445566778899AABBCCDDEEFF\n\n";
	struct config_problems problems = {0}, warnings = {0};
	struct material_files files = {0};
	struct buf content = {0};
	struct material material;

	buf_print(&content, "%s%s%s", mark, says, leaf + strlen(mark));
	material_files_add(&files, MATERIAL_CERTIFICATE, "own", &content, false);
	if (sandbox_load(SANDBOX_ENGINE) < 0)
		return 1;
	material_make(config, &files, NULL, &problems, &warnings, &material);
	if (problems.count == 0 || !strstr(problems.items[0].text, "no certificate in PEM form"))
		return 2;
	return ERR_peek_error() == 0 ? 0 : 3;
}

static void test_encrypted(void **state)
{
	const struct world *world = *state;
	struct config *config = make_config(world, "leaf.crt", "ca.crt", "");
	char *leaf = certs_pem(world->leaf.cert);
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		_exit(make_encrypted(config, leaf));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	free(leaf);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load),	  cmocka_unit_test(test_every_problem_once),
		cmocka_unit_test(test_in_place),  cmocka_unit_test(test_order_of_the_chain),
		cmocka_unit_test(test_unread),	  cmocka_unit_test(test_directory),
		cmocka_unit_test(test_read_file), cmocka_unit_test(test_encrypted),
	};

	return cmocka_run_group_tests(tests, make_world, free_world);
}
