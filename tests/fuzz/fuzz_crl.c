/* pki/trust: bytes that are to be a revocation list, and bytes that are to be an authority. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "pki/crl.h"
#include "pki/trust.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Its key has signed the lists of the corpus and is gone. */
static const char authority[] = "-----BEGIN CERTIFICATE-----\n"
				"MIIBIDCB06ADAgECAgIQATAFBgMrZXAwEjEQMA4GA1UEAwwHRnV6eiBDQTAeFw0y\n"
				"NjExMjAwOTUwMzBaFw0zNjExMTgwOTUwMzBaMBIxEDAOBgNVBAMMB0Z1enogQ0Ew\n"
				"KjAFBgMrZXADIQBqPj60cjcFsEqv6N7UExbi2+dkc/T61Rr1N/yDDCR7NqNNMEsw\n"
				"DwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAQYwHQYDVR0OBBYEFPVpwCRU\n"
				"Gd9819JYSr/wKOub39N/MAkGA1UdIwQCMAAwBQYDK2VwA0EAVJopJnwMPdHMW8GN\n"
				"jUD2ZYUnqdi0A1saM+GYbtUoZ+0kT6sn79Fm05iXJsnZ0BnIZeMV5dwpKkhHlNh8\n"
				"/ndEDQ==\n"
				"-----END CERTIFICATE-----\n";

static void count_problem(const char *file, const char *text, void *user)
{
	assert(file && text && *text);
	++*(unsigned *)user;
}

static void read_warning(const char *file, const char *text, void *user)
{
	(void)user;
	assert(file && text && *text);
}

static struct trust *load(const struct trust_source *ca, const struct trust_source *list)
{
	unsigned problems = 0;
	struct trust *trust = trust_new(
		&(struct trust_options){
			.cas = ca,
			.ca_count = 1,
			.crls = list,
			.crl_count = list != NULL,
			.crl_policy = TRUST_CRL_STRICT,
		},
		count_problem, read_warning, &problems);

	assert(!trust == (problems > 0));
	assert(ERR_peek_error() == 0);
	return trust;
}

/* What our reader takes is a list to OpenSSL as well, with as many entries. */
static void compare(const uint8_t *data, size_t size)
{
	struct crl_list *list;
	const char *problem = crl_list_read(data, size, &list);
	X509_CRL *crl = problem ? NULL : d2i_X509_CRL(NULL, &data, (long)size);
	STACK_OF(X509_REVOKED) * entries;

	if (!problem) {
		assert(crl && X509_NAME_cmp(X509_CRL_get_issuer(crl), list->issuer) == 0);
		entries = X509_CRL_get_REVOKED(crl);
		assert(list->entry_count == (entries ? (size_t)sk_X509_REVOKED_num(entries) : 0));
		crl_list_seal(list);
	}
	crl_list_unref(list);
	X509_CRL_free(crl);
	ERR_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct trust_source known = {
		.file = "known.crt",
		.data = (const uint8_t *)authority,
		.len = sizeof(authority) - 1,
	};
	const struct trust_source unknown = {.file = "unknown", .data = data, .len = size};
	struct trust *trust = load(&known, &unknown);
	char text[512];

	compare(data, size);
	if (trust) {
		X509 *ca = trust->cas[0].cert;

		crl_check(trust, ca, ca, 2000000000, text, sizeof(text));
		trust_unref(trust);
	}
	trust_unref(load(&unknown, NULL));
	return 0;
}
