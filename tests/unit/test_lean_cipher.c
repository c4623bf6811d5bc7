#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "channel/lean.h"

enum { TLS_HEADER = 13, NONCE = 8, TAG = 16, PLAIN = 100, RECORD = NONCE + PLAIN + TAG };

/* As the record layer prepares its cipher: the fixed part of the nonce, then a record's header. */
static EVP_CIPHER_CTX *prepare(OSSL_LIB_CTX *library, const char *name, int is_sealing)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, name, NULL);
	EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();
	uint8_t key[32] = {1, 2, 3}, fixed[4] = {4, 5, 6, 7};

	assert_non_null(cipher);
	assert_int_equal(EVP_CipherInit_ex(made, cipher, NULL, key, NULL, is_sealing), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(made, EVP_CTRL_GCM_SET_IV_FIXED, 4, fixed), 1);
	EVP_CIPHER_free(cipher);
	return made;
}

static int set_header(EVP_CIPHER_CTX *cipher, size_t len)
{
	uint8_t header[TLS_HEADER] = {0, 1, 0, 0, 0, 0, 0, 9, 23, 0xfe, 0xfd, 0, 0};

	header[11] = (uint8_t)(len >> 8);
	header[12] = (uint8_t)len;
	return EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_TLS1_AAD, TLS_HEADER, header);
}

static size_t ask(EVP_CIPHER_CTX *cipher, const char *name)
{
	size_t value = 0;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(name, &value), OSSL_PARAM_END};

	assert_int_equal(EVP_CIPHER_CTX_get_params(cipher, params), 1);
	return value;
}

static void test_answers_are_the_providers(void **state)
{
	static const char *const names[] = {"AES-256-GCM", "AES-128-GCM"};
	static const char *const questions[] = {OSSL_CIPHER_PARAM_IVLEN,
						OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD,
						OSSL_CIPHER_PARAM_KEYLEN,
						OSSL_CIPHER_PARAM_AEAD_TAGLEN};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		EVP_CIPHER_CTX *lean = prepare(lean_library(), names[i], 1);
		EVP_CIPHER_CTX *whole = prepare(NULL, names[i], 1);

		assert_int_equal(EVP_CIPHER_CTX_get_iv_length(lean),
				 EVP_CIPHER_CTX_get_iv_length(whole));
		assert_int_equal(set_header(lean, PLAIN), TAG);
		assert_int_equal(set_header(whole, PLAIN), TAG);
		for (size_t k = 0; k < 4; k++)
			assert_int_equal(ask(lean, questions[k]), ask(whole, questions[k]));
		EVP_CIPHER_CTX_free(lean);
		EVP_CIPHER_CTX_free(whole);
	}
}

/* One seals as the record layer does, the other opens. */
static int carry(OSSL_LIB_CTX *from, OSSL_LIB_CTX *to, int damage)
{
	EVP_CIPHER_CTX *seal = prepare(from, "AES-256-GCM", 1);
	EVP_CIPHER_CTX *open = prepare(to, "AES-256-GCM", 0);
	uint8_t record[RECORD] = {0};
	int opened;

	for (size_t i = 0; i < PLAIN; i++)
		record[NONCE + i] = (uint8_t)i;
	assert_int_equal(set_header(seal, NONCE + PLAIN), TAG);
	assert_int_equal(EVP_Cipher(seal, record, record, RECORD), RECORD);
	record[NONCE + 3] ^= (uint8_t)damage;
	assert_int_equal(set_header(open, RECORD), TAG);
	opened = EVP_Cipher(open, record, record, RECORD);
	for (size_t i = 0; opened > 0 && i < PLAIN; i++)
		assert_int_equal(record[NONCE + i], (uint8_t)i);
	EVP_CIPHER_CTX_free(seal);
	EVP_CIPHER_CTX_free(open);
	return opened;
}

static void test_records_are_the_same(void **state)
{
	(void)state;
	assert_true(carry(lean_library(), NULL, 0) > 0);
	assert_true(carry(NULL, lean_library(), 0) > 0);
	assert_true(carry(lean_library(), lean_library(), 1) <= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_are_the_providers),
		cmocka_unit_test(test_records_are_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
