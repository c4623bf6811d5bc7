#include "ctl/pem.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "channel/lean.h"

static X509 *read_der(const char *name, const char *header, const unsigned char *der, long len)
{
	const unsigned char *end = der;
	X509 *certificate;

	if (strcmp(name, PEM_STRING_X509) != 0 || header[0])
		return NULL;
	/* Read as a peer's is: a key of a kind that is not known there is not known here. */
	certificate = X509_new_ex(lean_library(), NULL);
	if (certificate && d2i_X509(&certificate, &end, len) && end == der + len)
		return certificate;
	X509_free(certificate);
	return NULL;
}

X509 *pem_certificate(const char *text)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	unsigned char *der = NULL;
	char *name = NULL, *header = NULL;
	X509 *certificate = NULL;
	long len;

	ERR_set_mark();
	if (bio && PEM_read_bio(bio, &name, &header, &der, &len) == 1)
		certificate = read_der(name, header, der, len);
	ERR_pop_to_mark();
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(der);
	BIO_free(bio);
	return certificate;
}
