/* What a list of 1,000,000 entries costs a process that does nothing else: the peak while it is
 * loaded, what stays, and the look-up. The list is made in a process of its own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "certs.h"
#include "large_list.h"
#include "pki/material.h"
#include "pki/trust.h"

enum {
	ENTRIES = 1000000,
	PEAK_MAX_KIB = 350 * 1024,
	AFTER_MAX_KIB = 64 * 1024,
	LOOKUPS = 1000000,
	LOOKUPS_MAX_S = 20,
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool is_sanitized = true; /* whose memory is not ours */
#else
static const bool is_sanitized = false;
#endif

struct world {
	struct certs_pair ca;
	char *ca_pem, pem_path[64], der_path[64];
};

static void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *file = fopen(path, "we");

	if (!file || fwrite(bytes, 1, len, file) != len || fclose(file) != 0)
		_exit(1);
}

static void make_files(const struct world *world)
{
	size_t len, pem_len;
	uint8_t *der = large_list_make(ENTRIES, &world->ca, &len);
	char *pem;

	write_file(world->der_path, der, len);
	pem = large_list_pem(der, len, &pem_len);
	write_file(world->pem_path, pem, pem_len);
	_exit(0);
}

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	int status;
	pid_t pid;

	world->ca = certs_make(&(struct certs_spec){.subject = "CN=Corp CA", .ca = true}, NULL);
	world->ca_pem = certs_pem(world->ca.cert);
	snprintf(world->pem_path, sizeof(world->pem_path), "/tmp/tund-large-%d.pem", getpid());
	snprintf(world->der_path, sizeof(world->der_path), "/tmp/tund-large-%d.der", getpid());
	pid = fork();
	if (pid == 0)
		make_files(world);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	unlink(world->pem_path);
	unlink(world->der_path);
	certs_free(&world->ca);
	free(world->ca_pem);
	free(world);
	return 0;
}

/* "VmHWM", "VmRSS": KiB. */
static long read_memory(const char *name)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[200];
	long value = -1;

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtol(strchr(line, ':') + 1, NULL, 10);
	}
	fclose(file);
	return value;
}

static void reset_peak(void)
{
	FILE *file = fopen("/proc/self/clear_refs", "we");

	assert_non_null(file);
	fputs("5", file);
	fclose(file);
}

static void fail_on_problem(const char *file, const char *text, void *user)
{
	(void)user;
	fail_msg("%s: %s", file, text);
}

static struct trust *load(const struct world *world, const char *path, const struct trust *previous)
{
	struct trust_source ca = {.file = "ca", .data = (const uint8_t *)world->ca_pem};
	struct trust_source list = {.file = path};
	struct buf content = {0};
	char error[200];
	struct trust *trust;

	ca.len = strlen(world->ca_pem);
	if (material_read_file(path, TRUST_FILE_MAX, &content, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	list.data = content.data;
	list.len = content.len;
	trust = trust_new(
		&(struct trust_options){
			.cas = &ca,
			.ca_count = 1,
			.crls = &list,
			.crl_count = 1,
			.previous = previous,
		},
		fail_on_problem, fail_on_problem, NULL);
	buf_done(&content);
	return trust;
}

static void check_memory(const char *what, int64_t started_us)
{
	long peak = read_memory("VmHWM"), after = read_memory("VmRSS");

	print_message("%s: %.2f s, %ld MiB at the peak, %ld MiB afterwards\n", what,
		      (double)(clock_now_us() - started_us) / 1e6, peak / 1024, after / 1024);
	if (is_sanitized)
		return;
	assert_in_range(peak, 1, PEAK_MAX_KIB);
	assert_in_range(after, 1, AFTER_MAX_KIB);
}

/* From DER and from PEM, and once more beside the snapshot in force. */
static void test_memory(void **state)
{
	const struct world *world = *state;
	struct trust *trust, *again;
	int64_t started_us = clock_now_us();

	reset_peak();
	trust = load(world, world->der_path, NULL);
	check_memory("DER", started_us);
	assert_int_equal(trust->crls[0].list->entry_count, ENTRIES);
	assert_true(trust->crls[0].signature_ok);
	trust_unref(trust);

	reset_peak();
	started_us = clock_now_us();
	trust = load(world, world->pem_path, NULL);
	check_memory("PEM", started_us);

	/* Nothing is read anew that is in force, nor held twice. */
	reset_peak();
	started_us = clock_now_us();
	again = load(world, world->pem_path, trust);
	check_memory("PEM again", started_us);
	assert_ptr_equal(again->crls[0].list, trust->crls[0].list);
	trust_unref(trust);
	trust_unref(again);
}

static bool finds(const struct trust *trust, size_t index)
{
	uint8_t bytes[LARGE_LIST_SERIAL];
	ASN1_INTEGER serial = {.type = V_ASN1_INTEGER, .length = sizeof(bytes), .data = bytes};
	struct serials_entry entry = {0};
	bool found;

	large_list_serial(index, bytes);
	found = crl_list_find(trust->crls[0].list, &serial, &entry);
	if (found)
		assert_int_equal(entry.reason, 1 + index % 5);
	return found;
}

static void test_lookup(void **state)
{
	const struct world *world = *state;
	struct trust *trust = load(world, world->der_path, NULL);
	int64_t started_us = clock_now_us(), took_us;

	for (size_t i = 0; i < LOOKUPS; i++) {
		/* Every second one is none of its entries. */
		size_t index = i % 2 ? i : ENTRIES + i;

		if (finds(trust, index) != (index < ENTRIES))
			fail_msg("entry %zu", index);
	}
	took_us = clock_now_us() - started_us;
	print_message("look-up: %lld ns\n", (long long)(took_us * 1000 / LOOKUPS));
	assert_in_range(took_us, 1, LOOKUPS_MAX_S * 1000000LL);
	trust_unref(trust);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_lookup),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
