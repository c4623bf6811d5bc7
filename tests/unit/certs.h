#pragma once
/* Certificates, lists and keys made at run time, so that none can expire in the repository. Texts
 * are in OpenSSL's notation for configuration files. Failure to make one ends the test program. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

enum certs_key {
	CERTS_P256,
	CERTS_ED25519,
	CERTS_RSA_2048,
	CERTS_RSA_1024,
	CERTS_P224,
	CERTS_P256_EXPLICIT,   /* the curve written out */
	CERTS_P256_COMPRESSED, /* the point in compressed form */
	CERTS_DSA,
	CERTS_RSA_PSS, /* 2048 bits, for no other scheme */
	CERTS_RSA_PSS_1024,
	CERTS_P192,
	CERTS_P384,
	CERTS_P521,
	CERTS_SECP256K1,
	CERTS_ED448,
	CERTS_X25519, /* cannot sign */
};

enum { CERTS_DAY_S = 86400, CERTS_RAW_MAX = 4 };

struct certs_bytes { /* bytes that OpenSSL's notation cannot say */
	int type;    /* GEN_DNS, GEN_EMAIL, GEN_URI; or the string type of a CN */
	const char *bytes;
	size_t len; /* 0: none */
};

struct certs_spec {
	const char *subject; /* "O=Corp/CN=alice"; NULL: empty */
	struct certs_bytes cn;
	bool ca;
	const char *basic; /* instead of what ca asks for; "" leaves it out */
	const char *ku, *eku, *san, *constraints; /* NULL: left out */
	const char *sections; /* configuration that the others refer to with @ or dirName: */
	struct certs_bytes raw_san[CERTS_RAW_MAX];
	unsigned dns_count;    /* so many more DNS names nN.corp.example */
	const char *other_oid; /* an extension of this kind, critical, with a NULL in it */
	bool other_is_minor;   /* not critical, that is */
	int twice;	       /* NID of an extension that stands there twice */
	bool no_key_ids;
	bool version_1; /* without extensions, as it was */
	enum certs_key key;
	EVP_PKEY *same_key;	 /* instead of a new one */
	bool no_such_key;	 /* it is of a kind that nobody knows */
	const char *digest;	 /* NULL: SHA-256, or none for Ed25519 */
	bool pss;		 /* the issuer, which has an RSA key, signs with RSA-PSS */
	uint64_t serial;	 /* 0: the next of the program */
	const char *serial_hex;	 /* instead: of any size, "-" in front */
	int64_t from_s, until_s; /* from now; both 0: a day ago to a year ahead */
	bool spoil;		 /* one bit of the signature is wrong */
	const char *from, *to; /* bytes of what is signed, the same number: OpenSSL would not write
				  * the second */
};

struct certs_pair {
	X509 *cert;
	EVP_PKEY *key;
};

struct certs_entry {
	uint64_t serial; /* 0 ends the entries */
	int reason;	 /* CRL_REASON_*; CRL_REASON_UNSPECIFIED writes none */
	int64_t at_s;	 /* from now */
	bool elsewhere;	 /* with a certificateIssuer, as indirect lists have */
};

enum { CERTS_ENTRY_MAX = 4 };

struct certs_list_spec {
	struct certs_entry entries[CERTS_ENTRY_MAX];
	int64_t this_s, next_s; /* from now; both 0: an hour ago to a week ahead */
	bool no_next;
	int64_t number; /* 0: none */
	bool version_1, version_3;
	bool bad_number, bad_time; /* that cannot be read; time: thisUpdate */
	bool critical; /* its number and key identifier, its entries' reasons and dates */
	bool delta;
	const char *scope; /* issuingDistributionPoint */
	const char *sections;
	const char *other_oid; /* as for certificates */
	bool other_is_minor;
	bool other_in_entry; /* of the first entry instead */
	const char *digest;
	bool spoil;
};

/* Of RSA and DSA always the same one. */
EVP_PKEY *certs_new_key(enum certs_key kind);
/* issuer NULL: self-signed. The caller frees the pair with certs_free. */
struct certs_pair certs_make(const struct certs_spec *spec, const struct certs_pair *issuer);
/* Its bytes, malloc'ed, which need not be a certificate that OpenSSL reads; spec->same_key is given. */
uint8_t *certs_make_der(const struct certs_spec *spec, const struct certs_pair *issuer,
			size_t *ret_len);
void certs_free(struct certs_pair *pair);
X509_CRL *certs_make_list(const struct certs_list_spec *spec, const struct certs_pair *issuer);

/* malloc'ed; PEM is also zero-terminated. */
char *certs_pem(X509 *cert);
char *certs_pem_list(X509_CRL *crl);
char *certs_pem_key(EVP_PKEY *key);
uint8_t *certs_der(X509 *cert, size_t *ret_len);
uint8_t *certs_der_list(X509_CRL *crl, size_t *ret_len);
