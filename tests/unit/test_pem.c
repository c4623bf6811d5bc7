#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "certs.h"
#include "ctl/pem.h"

static void check(const char *name, const char *text, bool wanted)
{
	X509 *certificate = pem_certificate(text);

	if ((certificate != NULL) != wanted)
		fail_msg("%s: %s", name, certificate ? "was taken" : "was refused");
	assert_int_equal(ERR_peek_error(), 0);
	X509_free(certificate);
}

static char *replace(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *replaced = calloc(strlen(text) + strlen(to) + 1, 1);

	assert_non_null(at);
	sprintf(replaced, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	return replaced;
}

static void only_a_whole_certificate_is_read(void **state)
{
	struct certs_pair pair = certs_make(&(struct certs_spec){.subject = "CN=x"}, NULL);
	char *pem = certs_pem(pair.cert), *key = certs_pem_key(pair.key);
	X509_CRL *list = certs_make_list(&(struct certs_list_spec){0}, &pair);
	char *list_pem = certs_pem_list(list);
	const struct {
		const char *name, *from, *to;
	} rows[] = {
		/* OpenSSL would ask the terminal for a password, which the sandbox answers with
		 * the end of the process. */
		{"encrypted", "CERTIFICATE-----\n",
		 "CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,"
		 "00112233445566778899AABBCCDDEEFF\n\n"},
		{"a header", "CERTIFICATE-----\n", "CERTIFICATE-----\nX-Note: a\n\n"},
		{"cut", "-----END", "-----EN"},
		{"another label", "BEGIN CERTIFICATE", "BEGIN X509 CERTIFICATE"},
		{"damaged", "MII", "AAA"},
		{"more inside", "\n-----END", "AAAA\n-----END"},
	};
	(void)state;

	check("whole", pem, true);
	check("nothing", "", false);
	check("text", "x", false);
	check("a key", key, false);
	check("a list", list_pem, false);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = replace(pem, rows[i].from, rows[i].to);

		check(rows[i].name, text, false);
		free(text);
	}
	free(pem);
	free(key);
	free(list_pem);
	X509_CRL_free(list);
	certs_free(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_whole_certificate_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
