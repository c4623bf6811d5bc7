/* wire/bundle: what a reload hands over, and what of it is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "wire/bundle.h"

static void add(struct buf *bundle, enum bundle_kind kind, uint32_t number, const char *name,
		const char *bytes)
{
	bundle_write_head(bundle, kind, number, name, strlen(bytes));
	buf_append(bundle, bytes, strlen(bytes));
}

static void parts_come_back_in_order(void **state)
{
	struct buf bundle = {0};
	struct bundle_part *part = xnew(struct bundle_part);
	struct span span;

	(void)state;
	add(&bundle, BUNDLE_PROBLEM, 17, "/etc/tund/x.conf", "is wrong");
	add(&bundle, BUNDLE_CRL, 1, "/etc/tund/crl", "");
	add(&bundle, BUNDLE_KEY, 0xfffffffe, "", "spki");
	span = (struct span){bundle.data, bundle.len, false};
	assert_true(bundle_read(&span, part));
	assert_int_equal(part->kind, BUNDLE_PROBLEM);
	assert_int_equal(part->number, 17);
	assert_string_equal(part->name, "/etc/tund/x.conf");
	assert_int_equal(part->len, 8);
	assert_memory_equal(part->bytes, "is wrong", 8);
	assert_true(bundle_read(&span, part));
	assert_int_equal(part->kind, BUNDLE_CRL);
	assert_int_equal(part->len, 0);
	assert_true(bundle_read(&span, part));
	assert_int_equal(part->number, 0xfffffffe);
	assert_string_equal(part->name, "");
	assert_false(bundle_read(&span, part));
	assert_false(span.failed);
	free(part);
	buf_done(&bundle);
}

/* Cut within a part, it fails; between two, it is a shorter one. */
static void a_cut_is_seen(void **state)
{
	struct bundle_part *part = xnew(struct bundle_part);
	struct buf bundle = {0};

	(void)state;
	add(&bundle, BUNDLE_CA, 0, "ca.crt", "bytes");
	for (size_t len = 1; len < bundle.len; len++) {
		uint8_t *copy = xalloc_copy(bundle.data, len);
		struct span span = {copy, len, false};

		assert_false(bundle_read(&span, part));
		assert_true(span.failed);
		free(copy);
	}
	buf_done(&bundle);
	free(part);
}

static const struct {
	const char *name;
	const char *bytes;
	size_t len;
	bool ok;
} rows[] = {
	{"the least", "\1\0\0\0\0\0\0\0\0\0\0", 11, true},
	{"the last kind", "\6\0\0\0\0\0\0\0\0\0\0", 11, true},
	{"no kind", "\0\0\0\0\0\0\0\0\0\0\0", 11, false},
	{"a kind that is none", "\7\0\0\0\0\0\0\0\0\0\0", 11, false},
	{"a length that lies", "\1\0\0\0\0\0\0\0\0\0\1", 11, false},
	{"the longest length", "\1\0\0\0\0\0\0\xff\xff\xff\xff", 11, false},
	{"a name that lies", "\1\0\0\0\0\0\5\0\0\0\0", 11, false},
	{"a zero in the name", "\1\0\0\0\0\0\1\0\0\0\0\0", 12, false},
};

static void lengths_are_held_to(void **state)
{
	struct bundle_part *part = xnew(struct bundle_part);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct span span = {(const uint8_t *)rows[i].bytes, rows[i].len, false};

		if (bundle_read(&span, part) != rows[i].ok || span.failed == rows[i].ok)
			fail_msg("%s", rows[i].name);
	}
	free(part);
}

static void a_name_has_its_limit(void **state)
{
	struct bundle_part *part = xnew(struct bundle_part);
	char *name = xalloc_zero(BUNDLE_NAME_MAX + 1, 1);
	struct buf bundle = {0};
	struct span span;

	(void)state;
	memset(name, 'a', BUNDLE_NAME_MAX);
	bundle_write_head(&bundle, BUNDLE_CA, 0, name, 0);
	assert_true(bundle.failed);
	buf_done(&bundle);
	bundle = (struct buf){0};
	name[BUNDLE_NAME_MAX - 1] = '\0';
	bundle_write_head(&bundle, BUNDLE_CA, 0, name, 0);
	assert_false(bundle.failed);
	span = (struct span){bundle.data, bundle.len, false};
	assert_true(bundle_read(&span, part));
	assert_string_equal(part->name, name);
	buf_done(&bundle);
	free(name);
	free(part);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_come_back_in_order),
		cmocka_unit_test(a_cut_is_seen),
		cmocka_unit_test(lengths_are_held_to),
		cmocka_unit_test(a_name_has_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
