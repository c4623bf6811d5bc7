/* key/token: a token in trouble. The fake's counts say how often it was asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/err.h>

#include "fake_token.h"
#include "key/token.h"

enum { TEXT = 600, MOMENT_US = 1100000 };

#define PIN "471147"

static struct library library;
static struct fake_token *fake;
static const char *uri;
static char error[TEXT];

static int open_with(const char *pin, struct token **ret)
{
	const struct token_wanted wanted = {
		.uri = uri,
		.pin = (const uint8_t *)pin,
		.pin_len = pin ? strlen(pin) : 0,
		.pin_file = "/etc/tund/pin",
	};

	return token_open(&library, &wanted, ret, error, sizeof(error));
}

static void assert_said(const char *part)
{
	if (!strstr(error, part) || strstr(error, PIN))
		fail_msg("%s", error);
}

static int reset(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	(void)state;
	EVP_PKEY_free(fake->key);
	*fake = (struct fake_token){.key = key, .pin = PIN};
	return 0;
}

static int sign_something(struct token *token)
{
	static const uint8_t tbs[] = "anything";
	const struct scheme *scheme = scheme_find(0x0403);
	uint8_t signature[256];
	size_t len = sizeof(signature);
	int r = token_sign(token, scheme, tbs, sizeof(tbs), signature, &len, error, sizeof(error));

	if (r == 0)
		assert_true(scheme_verify(scheme, fake->key, tbs, sizeof(tbs), signature, len));
	return r;
}

static const struct {
	const char *name;
	const char *pin;
	CK_FLAGS flags;
	CK_RV login_fails;
	unsigned logins; /* that it may cost */
	const char *error;
} troubles[] = {
	{"in order", PIN, 0, CKR_OK, 1, NULL},
	{"a wrong PIN", "000000", 0, CKR_OK, 1, "says that the PIN in /etc/tund/pin is wrong"},
	{"a PIN that is too short", "1", 0, CKR_PIN_LEN_RANGE, 1, "is wrong"},
	{"one wrong PIN before", PIN, CKF_USER_PIN_COUNT_LOW, CKR_OK, 1, NULL},
	{"the last try", PIN, CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY, CKR_OK, 0,
	 "one try left before it locks, which is not risked; log in once with another program"},
	{"locked", PIN, CKF_USER_PIN_LOCKED, CKR_OK, 0, "locked after too many wrong PINs"},
	{"locked, says the login", PIN, 0, CKR_PIN_LOCKED, 1, "locked after too many wrong PINs"},
	{"an old PIN", PIN, 0, CKR_PIN_EXPIRED, 1, "the token's PIN has expired; set a new one"},
	{"no PIN named", NULL, 0, CKR_OK, 0, "asks for a PIN; write it into a file and name that"},
	{"its own keys", NULL, CKF_PROTECTED_AUTHENTICATION_PATH, CKR_OK, 0, "on its own keys"},
	{"something else", PIN, 0, CKR_DEVICE_ERROR, 1, "the login failed: "},
};

static void a_login_is_tried_once_or_not_at_all(void **state)
{
	for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
		struct token *token = NULL;
		int r;

		print_message("  %s\n", troubles[i].name);
		reset(state);
		fake->flags = troubles[i].flags;
		fake->login_fails = troubles[i].login_fails;
		r = open_with(troubles[i].pin, &token);
		assert_int_equal(fake->logins, troubles[i].logins);
		assert_int_equal(r == 0, troubles[i].error == NULL);
		if (troubles[i].error)
			assert_said(troubles[i].error);
		else
			assert_int_equal(sign_something(token), 0);
		token_free(token);
	}
}

static void a_token_that_comes_back_is_logged_in_to_again(void **state)
{
	struct token *token;

	(void)state;
	assert_int_equal(open_with(PIN, &token), 0);
	assert_int_equal(sign_something(token), 0);
	fake->is_away = true;
	assert_int_equal(sign_something(token), -EIO);
	assert_said("no such token is present");
	fake->is_away = false;
	/* Not more than once a second, however many hands are shaken. */
	assert_int_equal(sign_something(token), -EIO);
	assert_said("looked for again within a second");
	usleep(MOMENT_US);
	assert_int_equal(sign_something(token), 0);
	assert_int_equal(fake->logins, 2);
	assert_int_equal(sign_something(token), 0);
	assert_int_equal(fake->sessions, 2);
	token_free(token);
}

static void a_module_that_has_to_be_started_again_is(void **state)
{
	struct token *token;

	(void)state;
	assert_int_equal(open_with(PIN, &token), 0);
	fake->needs_restart = true;
	assert_int_equal(sign_something(token), 0);
	assert_int_equal(fake->logins, 2);
	token_free(token);
}

/* Somebody has changed it meanwhile: the old one is wrong once, and not once a second. */
static void a_pin_that_became_wrong_is_tried_once(void **state)
{
	struct token *token;

	(void)state;
	assert_int_equal(open_with(PIN, &token), 0);
	fake->pin = "123456";
	fake->is_away = true;
	assert_int_equal(sign_something(token), -EIO);
	fake->is_away = false;
	for (int i = 0; i < 3; i++) {
		usleep(MOMENT_US);
		assert_int_equal(sign_something(token), -EIO);
		assert_said("the PIN in /etc/tund/pin is wrong");
	}
	assert_int_equal(fake->logins, 2);
	token_free(token);
}

static void another_key_is_not_taken_for_the_one_that_went(void **state)
{
	struct token *token;

	(void)state;
	assert_int_equal(open_with(PIN, &token), 0);
	fake->is_away = true;
	assert_int_equal(sign_something(token), -EIO);
	fake->is_away = false;
	EVP_PKEY_free(fake->key);
	fake->key = EVP_EC_gen("P-256");
	usleep(MOMENT_US);
	assert_int_equal(sign_something(token), -EIO);
	assert_said("the token that is there now holds another key");
	assert_int_equal(fake->signatures, 0);
	token_free(token);
}

static void a_token_without_the_key_says_so(void **state)
{
	struct token *token = NULL;

	(void)state;
	EVP_PKEY_free(fake->key);
	fake->key = NULL;
	assert_int_equal(open_with(PIN, &token), -ENOKEY);
	assert_said("holds no such private key; there are none");
}

/* What it cannot do is no reason to log in again. */
static void a_scheme_that_the_token_lacks_is_said(void **state)
{
	static const uint8_t tbs[] = "anything";
	uint8_t signature[1024];
	size_t len = sizeof(signature);
	struct token *token;

	(void)state;
	assert_int_equal(open_with(PIN, &token), 0);
	assert_int_equal(token_sign(token, scheme_find(0x0804), tbs, sizeof(tbs), signature, &len,
				    error, sizeof(error)),
			 -EIO);
	assert_said("cannot sign as TLS 1.3 wants it (scheme 0x0804)");
	assert_int_equal(fake->sessions, 1);
	token_free(token);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_login_is_tried_once_or_not_at_all),
		cmocka_unit_test_setup(a_token_that_comes_back_is_logged_in_to_again, reset),
		cmocka_unit_test_setup(a_module_that_has_to_be_started_again_is, reset),
		cmocka_unit_test_setup(a_pin_that_became_wrong_is_tried_once, reset),
		cmocka_unit_test_setup(another_key_is_not_taken_for_the_one_that_went, reset),
		cmocka_unit_test_setup(a_token_without_the_key_says_so, reset),
		cmocka_unit_test_setup(a_scheme_that_the_token_lacks_is_said, reset),
	};
	void *module = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
	char named[TEXT];
	int r;

	if (!module)
		return EXIT_FAILURE;
	fake = dlsym(module, "fake_token");
	snprintf(named, sizeof(named), "pkcs11:token=fake?module-path=%s", argv[1]);
	uri = named;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	EVP_PKEY_free(fake->key);
	return r;
}
