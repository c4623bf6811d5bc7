/* pki/identity: a certificate that a peer sent is read, described and matched. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "pki/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plain(const char *text)
{
	for (; *text; text++)
		assert((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void check_values(const struct identity_values *values)
{
	assert(values->count <= IDENTITY_VALUES_MAX);
	for (size_t i = 0; i < values->count; i++) {
		check_plain(values->items[i]);
		assert(strlen(values->items[i]) <= IDENTITY_NAME_MAX);
	}
}

static void check_cert(const struct identity_cert *cert)
{
	check_plain(cert->identity.name);
	check_plain(cert->subject);
	check_plain(cert->issuer);
	assert(strspn(cert->serial, "0123456789abcdef") == strlen(cert->serial));
	check_values(&cert->cn);
	check_values(&cert->o);
	check_values(&cert->ou);
	check_values(&cert->dns);
	check_values(&cert->email);
	check_values(&cert->uri);
	check_values(&cert->issuer_cn);
	identity_matches(cert, "cn=*a*");
	identity_matches(cert, "dns:*.*.example");
	identity_matches(cert, "serial:1f");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *at = data;
	X509 *leaf = d2i_X509(NULL, &at, (long)size);
	struct identity_cert *cert = NULL, *described;
	char text[160];

	ERR_clear_error();
	if (!leaf)
		return 0;
	if (identity_read(leaf, leaf, &cert, text, sizeof(text)) == REASON_NONE) {
		assert(cert->identity.name[0] && cert->serial[0] && cert->cn.count <= 1);
		check_cert(cert);
	} else {
		assert(!cert && text[0]);
		check_plain(text);
	}
	described = identity_describe(leaf, NULL);
	check_cert(described);
	identity_cert_unref(cert);
	identity_cert_unref(described);
	X509_free(leaf);
	ERR_clear_error();
	return 0;
}
