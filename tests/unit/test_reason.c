#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "base/reason.h"

static void test_every_word_is_its_own_and_comes_back(void **state)
{
	(void)state;

	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		const char *word = reason_word((enum reason)i);
		enum reason back = REASON_NONE;

		if (!word || !word[0])
			fail_msg("reason %d has no word", i);
		if (strspn(word, "abcdefghijklmnopqrstuvwxyz-") != strlen(word))
			fail_msg("\"%s\" is no plain word", word);
		if (!reason_parse(word, &back) || (int)back != i)
			fail_msg("\"%s\" comes back as %d, not %d", word, (int)back, i);
	}
}

static void test_every_reason_has_advice(void **state)
{
	(void)state;

	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		const char *advice = reason_advice((enum reason)i);

		if (!advice || strlen(advice) < 10)
			fail_msg("no advice for %s", reason_word((enum reason)i));
		if (strchr(advice, '\n'))
			fail_msg("the advice for %s is more than a line",
				 reason_word((enum reason)i));
	}
}

/* Words that users see; they never change. */
static void test_words_are_stable(void **state)
{
	static const struct {
		enum reason reason;
		const char *word;
	} rows[] = {
		{REASON_NONE, ""},
		{REASON_CERT_EXPIRED, "cert-expired"},
		{REASON_CERT_REVOKED, "cert-revoked"},
		{REASON_ISSUER_UNKNOWN, "issuer-unknown"},
		{REASON_NO_ACCESS, "no-access"},
		{REASON_PEER_TIMEOUT, "peer-timeout"},
		{REASON_REVOKED, "revoked"},
		{REASON_INTERNAL, "internal"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(reason_word(rows[i].reason), rows[i].word);
}

static void test_unknown_words(void **state)
{
	static const char *const words[] = {"", "none", "Cert-Expired", "cert-expired ", "cert"};
	(void)state;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		enum reason reason = REASON_FULL;

		if (reason_parse(words[i], &reason))
			fail_msg("\"%s\" was taken", words[i]);
		assert_int_equal(reason, REASON_FULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_word_is_its_own_and_comes_back),
		cmocka_unit_test(test_every_reason_has_advice),
		cmocka_unit_test(test_words_are_stable),
		cmocka_unit_test(test_unknown_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
