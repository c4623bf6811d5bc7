/* parent_reload: what the parent hands to an engine that it does not believe. Real files, and a
 * real key holder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "certs.h"
#include "key/holder.h"
#include "parent_reload.h"
#include "sys/child.h"
#include "wire/bundle.h"

enum { NOBODY = 65534, WAIT_MS = 10000, PATH_ROOM = 300 };

struct fixture {
	char directory[64], path[PATH_ROOM];
	struct certs_pair ca, leaf;
	char *key_pem;
	struct parent_kit kit;
	struct parent_reload *reload;
	struct holder_options options;
	struct child child;
	int theirs, ours;
	/* what was answered */
	unsigned count;
	uint32_t id;
	int error;
	struct buf bundle; /* a copy; empty when there was none */
	char text[256];
};

static void write_file(const struct fixture *fixture, const char *name, const char *text)
{
	char path[PATH_ROOM];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", fixture->directory, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* key: what stands behind "key = ". */
static void write_config(const struct fixture *fixture, const char *role, const char *key)
{
	char *text = xalloc_print("%s\nidentity {\n certificate = gw.crt\n key = %s\n}\n"
				  "trust { ca = ca.crt }\n",
				  role, key);

	write_file(fixture, "x.conf", text);
	free(text);
}

#define GATEWAY "gateway { pool = \"10.99.0.0/16\" dpd = \"9s\" }"

static void on_done(void *user, uint32_t id, int fd, int error, const char *text)
{
	struct fixture *fixture = user;
	uint8_t piece[4096];
	ssize_t len;

	fixture->count++;
	fixture->id = id;
	fixture->error = error;
	snprintf(fixture->text, sizeof(fixture->text), "%s", text);
	buf_done(&fixture->bundle);
	fixture->bundle = (struct buf){0};
	while (fd >= 0 && (len = read(fd, piece, sizeof(piece))) > 0)
		buf_append(&fixture->bundle, piece, (size_t)len);
}

static int run_holder(int socket, void *argument)
{
	struct holder_options *options = argument;

	options->report = socket;
	return holder_run(options);
}

static void start_holder(struct fixture *fixture)
{
	char key[PATH_ROOM], error[600];
	struct buf spki = {0};
	int pair[2];

	snprintf(key, sizeof(key), "%s/gw.key", fixture->directory);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fixture->theirs = pair[0];
	fixture->ours = pair[1];
	fixture->options = (struct holder_options){
		.key = key,
		.uid = NOBODY,
		.gid = NOBODY,
		.sockets = &fixture->theirs,
		.socket_count = 1,
	};
	assert_int_equal(child_start(&fixture->child, "keys", run_holder, &fixture->options,
				     &fixture->theirs, 1),
			 0);
	assert_int_equal(holder_wait(fixture->child.socket, WAIT_MS, &spki, error, sizeof(error)),
			 0);
	buf_done(&spki);
	fcntl(fixture->child.socket, F_SETFL, O_NONBLOCK);
}

static int make_fixture(void **state)
{
	const struct certs_spec ca = {.subject = "CN=Root", .ca = true},
				leaf = {.subject = "CN=gw"};
	struct fixture *fixture = xnew(struct fixture);
	struct config_problems problems = {0};
	char *pem;

	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/tund-test-reload-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->path, sizeof(fixture->path), "%s/x.conf", fixture->directory);
	fixture->ca = certs_make(&ca, NULL);
	fixture->leaf = certs_make(&leaf, &fixture->ca);
	fixture->key_pem = certs_pem_key(fixture->leaf.key);
	write_file(fixture, "gw.key", fixture->key_pem);
	pem = certs_pem(fixture->leaf.cert);
	write_file(fixture, "gw.crt", pem);
	free(pem);
	pem = certs_pem(fixture->ca.cert);
	write_file(fixture, "ca.crt", pem);
	free(pem);
	write_config(fixture, GATEWAY, "gw.key");
	fixture->kit.config = config_load(fixture->path, &problems);
	assert_non_null(fixture->kit.config);
	start_holder(fixture);
	fixture->reload = parent_reload_new(&fixture->kit, fixture->child.socket, on_done, fixture);
	*state = fixture;
	return 0;
}

static int drop_fixture(void **state)
{
	struct fixture *fixture = *state;
	char command[PATH_ROOM];

	parent_reload_free(fixture->reload);
	close(fixture->child.socket);
	waitpid(fixture->child.pid, NULL, 0);
	close(fixture->ours);
	close(fixture->theirs);
	config_free((struct config *)fixture->kit.config);
	certs_free(&fixture->ca);
	certs_free(&fixture->leaf);
	free(fixture->key_pem);
	buf_done(&fixture->bundle);
	snprintf(command, sizeof(command), "rm -rf %s", fixture->directory);
	assert_int_equal(system(command), 0);
	free(fixture);
	return 0;
}

static void await(struct fixture *fixture)
{
	unsigned before = fixture->count;

	while (fixture->count == before) {
		struct pollfd poll_fd = {parent_reload_awaits(fixture->reload), POLLIN, 0};

		assert_true(poll_fd.fd >= 0);
		assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
		parent_reload_go_on(fixture->reload);
	}
}

/* The first part of this kind; false when there is none. */
static bool find_part(const struct fixture *fixture, enum bundle_kind kind,
		      struct bundle_part *part)
{
	struct span span = {fixture->bundle.data, fixture->bundle.len, false};

	while (bundle_read(&span, part)) {
		if (part->kind == kind)
			return true;
	}
	assert_false(span.failed);
	return false;
}

static void assert_problem(const struct fixture *fixture, unsigned line, const char *text)
{
	struct bundle_part part;
	char got[600];

	assert_true(find_part(fixture, BUNDLE_PROBLEM, &part));
	snprintf(got, sizeof(got), "%.*s", (int)part.len, (const char *)part.bytes);
	if (!strstr(got, text) || part.number != line)
		fail_msg("%u: %s", part.number, got);
	assert_string_equal(part.name, fixture->path);
	assert_false(find_part(fixture, BUNDLE_KEY, &part));
}

static void all_that_is_named_is_handed_over_but_the_key(void **state)
{
	struct fixture *fixture = *state;
	struct bundle_part part;

	parent_reload_ask(fixture->reload, 77, false);
	assert_int_equal(fixture->count, 0);
	await(fixture);
	assert_int_equal(fixture->id, 77);
	assert_int_equal(fixture->error, 0);
	assert_false(find_part(fixture, BUNDLE_PROBLEM, &part));
	assert_true(find_part(fixture, BUNDLE_CONFIG, &part));
	assert_int_equal(part.number, 1);
	assert_true(find_part(fixture, BUNDLE_CERTIFICATE, &part));
	assert_true(part.number == 0 && memmem(part.bytes, part.len, "BEGIN CERTIFICATE", 17));
	assert_true(find_part(fixture, BUNDLE_CA, &part));
	assert_true(find_part(fixture, BUNDLE_KEY, &part));
	assert_int_equal(part.number, 1);
	assert_null(memmem(fixture->bundle.data, fixture->bundle.len, "PRIVATE", 7));
}

static void a_key_in_place_is_not_in_what_is_handed_over(void **state)
{
	struct fixture *fixture = *state;
	char *quoted = xalloc_print("'%s'", fixture->key_pem);
	char *body = strchr(fixture->key_pem, '\n') + 1;
	struct bundle_part part;

	write_config(fixture, GATEWAY, quoted);
	parent_reload_ask(fixture->reload, 1, false);
	await(fixture);
	assert_false(find_part(fixture, BUNDLE_PROBLEM, &part));
	assert_true(find_part(fixture, BUNDLE_KEY, &part));
	for (char *line = strtok(body, "\n"); line && line[0] != '-'; line = strtok(NULL, "\n"))
		assert_null(memmem(fixture->bundle.data, fixture->bundle.len, line, strlen(line)));
	free(quoted);
}

static void one_at_a_time(void **state)
{
	struct fixture *fixture = *state;

	parent_reload_ask(fixture->reload, 1, false);
	parent_reload_ask(fixture->reload, 2, false);
	assert_int_equal(fixture->count, 1);
	assert_int_equal(fixture->id, 2);
	assert_int_equal(fixture->error, -EBUSY);
	assert_string_equal(fixture->text, "another reload is under way");
	await(fixture);
	assert_int_equal(fixture->id, 1);
	assert_int_equal(fixture->error, 0);
	assert_int_equal(parent_reload_awaits(fixture->reload), -1);
}

static void what_was_not_read_cannot_be_adopted(void **state)
{
	struct fixture *fixture = *state;
	const struct config *before = fixture->kit.config;

	parent_reload_adopt(fixture->reload, 0);
	parent_reload_adopt(fixture->reload, 1);
	assert_ptr_equal(fixture->kit.config, before);
	write_config(fixture, "gateway { pool = \"10.98.0.0/16\" dpd = \"11s\" }", "gw.key");
	parent_reload_ask(fixture->reload, 1, false);
	/* Not before it is known to be whole. */
	parent_reload_adopt(fixture->reload, 1);
	assert_ptr_equal(fixture->kit.config, before);
	await(fixture);
	parent_reload_adopt(fixture->reload, 2);
	parent_reload_adopt(fixture->reload, 0);
	assert_ptr_equal(fixture->kit.config, before);
	parent_reload_adopt(fixture->reload, 1);
	assert_int_equal(fixture->kit.config->gateway.dpd_s, 11);
	/* What needs a restart is as it was. */
	assert_true(fixture->kit.config->gateway.pool.items[0].addr.bytes[1] == 99);
	before = fixture->kit.config;
	parent_reload_adopt(fixture->reload, 1);
	assert_ptr_equal(fixture->kit.config, before);
}

static void what_is_wrong_cannot_be_adopted(void **state)
{
	struct fixture *fixture = *state;
	const struct config *before = fixture->kit.config;

	write_config(fixture, GATEWAY, "missing.key");
	parent_reload_ask(fixture->reload, 1, false);
	assert_int_equal(fixture->count, 1);
	assert_problem(fixture, 4, "identity.key: ");
	parent_reload_adopt(fixture->reload, 1);
	assert_ptr_equal(fixture->kit.config, before);
	write_file(fixture, "bad.key", "rubbish");
	write_config(fixture, GATEWAY, "bad.key");
	parent_reload_ask(fixture->reload, 2, false);
	await(fixture);
	assert_problem(fixture, 4, "bad.key: holds no private key in PEM or DER");
	parent_reload_adopt(fixture->reload, 2);
	assert_ptr_equal(fixture->kit.config, before);
}

static void another_role_is_not_read_further(void **state)
{
	struct fixture *fixture = *state;
	struct bundle_part part;

	write_config(fixture, "client { gateway = \"vpn.corp.example\" }", "missing.key");
	parent_reload_ask(fixture->reload, 1, false);
	assert_problem(fixture, 1,
		       "client: this instance runs as a gateway; to be a client needs a restart");
	assert_false(find_part(fixture, BUNDLE_CERTIFICATE, &part));
	parent_reload_adopt(fixture->reload, 1);
	assert_int_equal(fixture->kit.config->role, CONFIG_GATEWAY);
}

static void more_sessions_than_open_files_are_a_problem(void **state)
{
	struct fixture *fixture = *state;
	const struct config *before = fixture->kit.config;
	struct bundle_part part;

	fixture->kit.descriptors = 20000;
	write_config(fixture, "gateway { pool = \"10.99.0.0/16\"\n max-sessions = 50000 }",
		     "gw.key");
	parent_reload_ask(fixture->reload, 1, false);
	await(fixture);
	assert_true(find_part(fixture, BUNDLE_PROBLEM, &part));
	assert_int_equal(part.number, 2);
	assert_non_null(memmem(part.bytes, part.len, "max-sessions: 50000 need", 24));
	parent_reload_adopt(fixture->reload, 1);
	assert_ptr_equal(fixture->kit.config, before);
}

/* Files alone: those of the configuration in force, whatever its own file says by now. */
static void files_alone(void **state)
{
	struct fixture *fixture = *state;
	const struct config *before = fixture->kit.config;
	struct bundle_part part;

	write_config(fixture, "rubbish", "missing.key");
	parent_reload_ask(fixture->reload, 1, true);
	await(fixture);
	assert_false(find_part(fixture, BUNDLE_PROBLEM, &part));
	assert_false(find_part(fixture, BUNDLE_CONFIG, &part));
	assert_true(find_part(fixture, BUNDLE_CERTIFICATE, &part));
	assert_true(find_part(fixture, BUNDLE_KEY, &part));
	assert_int_equal(part.number, 1);
	parent_reload_adopt(fixture->reload, 1);
	assert_ptr_equal(fixture->kit.config, before);
}

static void paths_to_watch(void **state)
{
	static const char *const wanted[] = {"/a/gw.crt", "/b/gw.key", "/c/ca.crt", "/d", "/e/crl"};
	char *cas[] = {"/c/ca.crt", "-----BEGIN CERTIFICATE-----", "/d"};
	char *crls[] = {"/e/crl", "http://ca.example/crl"};
	struct config config = {
		.identity = {.certificate = "/a/gw.crt", .key = "/b/gw.key"},
		.trust = {.ca = {cas, 3}, .crl = {crls, 2}},
	};
	struct parent_paths paths;

	(void)state;
	parent_reload_list(&config, &paths);
	assert_int_equal(paths.count, 5);
	for (size_t i = 0; i < paths.count; i++)
		assert_string_equal(paths.items[i], wanted[i]);
	free(paths.items);
	config.identity.certificate_is_pem = true;
	config.identity.key = "pkcs11:token=hq";
	parent_reload_list(&config, &paths);
	assert_int_equal(paths.count, 3);
	free(paths.items);
}

static void the_end_of_the_holder_is_a_problem(void **state)
{
	struct fixture *fixture = *state;

	kill(fixture->child.pid, SIGKILL);
	waitpid(fixture->child.pid, NULL, 0);
	parent_reload_ask(fixture->reload, 1, false);
	if (fixture->count == 0)
		await(fixture);
	assert_problem(fixture, 4, "identity.key: the key holder ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, drop_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_that_is_named_is_handed_over_but_the_key),
		TEST(a_key_in_place_is_not_in_what_is_handed_over),
		TEST(one_at_a_time),
		TEST(what_was_not_read_cannot_be_adopted),
		TEST(what_is_wrong_cannot_be_adopted),
		TEST(another_role_is_not_read_further),
		TEST(more_sessions_than_open_files_are_a_problem),
		TEST(files_alone),
		cmocka_unit_test(paths_to_watch),
		TEST(the_end_of_the_holder_is_a_problem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
