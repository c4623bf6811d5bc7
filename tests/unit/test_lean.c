#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "certs.h"
#include "channel/lean.h"

static X509 *parse(OSSL_LIB_CTX *library, X509 *cert)
{
	X509 *parsed = X509_new_ex(library, NULL);
	size_t len;
	uint8_t *der = certs_der(cert, &len);
	const uint8_t *at = der;

	assert_non_null(d2i_X509(&parsed, &at, (long)len));
	free(der);
	return parsed;
}

static bool is_usable(enum certs_key kind)
{
	struct certs_pair pair =
		certs_make(&(struct certs_spec){.subject = "CN=a", .key = kind}, NULL);
	X509 *parsed = parse(lean_library(), pair.cert);
	/* By the key that was parsed, and by one of the default context: chains mix them. */
	EVP_PKEY *key = X509_get0_pubkey(parsed);
	bool verifies = key && X509_verify(parsed, key) == 1 &&
			X509_verify(parsed, X509_get0_pubkey(pair.cert)) == 1 &&
			X509_verify(pair.cert, key) == 1;

	X509_free(parsed);
	certs_free(&pair);
	return verifies;
}

static void keys_that_certificates_may_have_are_parsed_and_verify(void **state)
{
	(void)state;
	assert_non_null(lean_library());
	assert_true(is_usable(CERTS_P256));
	assert_true(is_usable(CERTS_ED25519));
	assert_true(is_usable(CERTS_RSA_2048));
	assert_true(is_usable(CERTS_P224));
	assert_true(is_usable(CERTS_P256_EXPLICIT));
	assert_true(is_usable(CERTS_P256_COMPRESSED));
}

static void a_key_that_no_certificate_may_have_is_left_out(void **state)
{
	struct certs_pair pair =
		certs_make(&(struct certs_spec){.subject = "CN=a", .key = CERTS_DSA}, NULL);
	X509 *parsed = parse(lean_library(), pair.cert);

	(void)state;
	assert_non_null(X509_get0_pubkey(pair.cert));
	assert_null(X509_get0_pubkey(parsed));
	X509_free(parsed);
	certs_free(&pair);
}

/* What the default context offers to TLS 1.3, and nothing of it fewer. */
static void groups_and_ciphers_are_those_of_the_default_context(void **state)
{
	static const char *const groups[] = {"X25519", "P-256",	    "P-384",	     "P-521",
					     "X448",   "ffdhe2048", "X25519MLKEM768"};
	SSL_CTX *with = SSL_CTX_new_ex(lean_library(), NULL, TLS_method());
	SSL_CTX *without = SSL_CTX_new(TLS_method());

	(void)state;
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		assert_int_equal(SSL_CTX_set1_groups_list(with, groups[i]),
				 SSL_CTX_set1_groups_list(without, groups[i]));
	for (int i = 0; i < 3; i++)
		assert_string_equal(
			SSL_CIPHER_get_name(sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(with), i)),
			SSL_CIPHER_get_name(sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(without), i)));
	SSL_CTX_free(with);
	SSL_CTX_free(without);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_that_certificates_may_have_are_parsed_and_verify),
		cmocka_unit_test(a_key_that_no_certificate_may_have_is_left_out),
		cmocka_unit_test(groups_and_ciphers_are_those_of_the_default_context),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
