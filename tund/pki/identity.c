#include "pki/identity.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum { NAME_DER_MAX = 4096 };

/* One certificate being read: where its parts go and what to say when one is refused. */
struct reading {
	struct identity_cert *cert;
	char *text;
	size_t size;
};

bool identity_equal(const struct identity *a, const struct identity *b)
{
	return a->kind == b->kind && strcmp(a->name, b->name) == 0 &&
	       memcmp(a->root, b->root, sizeof(a->root)) == 0;
}

const char *identity_kind_name(enum identity_kind kind)
{
	static const char *const names[] = {
		[IDENTITY_URI] = "uri",
		[IDENTITY_DNS] = "dns",
		[IDENTITY_EMAIL] = "email",
		[IDENTITY_CN] = "cn",
	};

	return names[kind];
}

static void free_bio(BIO **bio)
{
	BIO_free(*bio);
}

char *identity_name_text(const X509_NAME *name)
{
	_cleanup_(free_bio) BIO *bio = NULL;
	int der_len = i2d_X509_NAME(name, NULL);
	char *bytes;
	long len;

	if (der_len > NAME_DER_MAX)
		return xalloc_print("(a name of %d bytes)", der_len);
	bio = BIO_new(BIO_s_mem());
	if (!bio || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) < 0)
		return xalloc_string("(unreadable)");
	len = BIO_get_mem_data(bio, &bytes);
	return xalloc_print("%.*s", (int)len, len ? bytes : "");
}

bool identity_serial_text(const ASN1_INTEGER *serial, char ret[static IDENTITY_SERIAL_MAX + 1])
{
	BIGNUM *number = ASN1_INTEGER_to_BN(serial, NULL);
	char *hex = NULL;
	const char *digits;

	if (number && !BN_is_negative(number) && BN_num_bits(number) <= IDENTITY_SERIAL_MAX * 4)
		hex = BN_bn2hex(number);
	BN_free(number);
	if (!hex)
		return false;
	for (digits = hex; digits[0] == '0' && digits[1];)
		digits++;
	for (; *digits; digits++)
		*ret++ = (char)tolower((unsigned char)*digits);
	*ret = '\0';
	OPENSSL_free(hex);
	return true;
}

void identity_spki_hash(X509 *cert, uint8_t ret[static 32])
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	memset(ret, 0, 32);
	if (len > 0)
		SHA256(der, (size_t)len, ret);
	OPENSSL_free(der);
}

time_t identity_time(const ASN1_TIME *at)
{
	struct tm utc;

	return at && ASN1_TIME_to_tm(at, &utc) ? timegm(&utc) : 0;
}

static enum reason refuse(const struct reading *reading, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static enum reason refuse(const struct reading *reading, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reading->text, reading->size, format, arguments);
	va_end(arguments);
	return REASON_NAME_INVALID;
}

/* A value that rules compare and people read must not be cut, hidden or overwritten on its way. */
static const char *find_flaw(const unsigned char *value, size_t len, bool ascii)
{
	if (len == 0)
		return "is empty";
	if (len > IDENTITY_NAME_MAX)
		return "is longer than 255 bytes";
	for (size_t i = 0; i < len; i++) {
		unsigned char next = i + 1 < len ? value[i + 1] : 0;

		if (value[i] == 0)
			return "holds a zero byte";
		/* In UTF-8 the controls U+0080 to U+009F are c2 80 to c2 9f. */
		if (value[i] < 0x20 || value[i] == 0x7f || (value[i] == 0xc2 && next < 0xa0))
			return "holds a control character";
		if (ascii && value[i] >= 0x80)
			return "holds bytes that are not ASCII";
	}
	return NULL;
}

static enum reason add_value(const struct reading *reading, struct identity_values *values,
			     const char *what, const unsigned char *value, int len, bool ascii)
{
	const char *flaw = find_flaw(value, (size_t)len, ascii);
	char *item;

	if (flaw)
		return refuse(reading, "%s %s", what, flaw);
	if (values->count == IDENTITY_VALUES_MAX)
		return refuse(reading, "more than %d of: %s", IDENTITY_VALUES_MAX, what);
	item = xalloc_zero((size_t)len + 1, 1);
	memcpy(item, value, (size_t)len);
	values->items = xalloc_grow(values->items, values->count + 1, sizeof(*values->items));
	values->items[values->count++] = item;
	return REASON_NONE;
}

static enum reason read_attributes(const struct reading *reading, const X509_NAME *name, int nid,
				   const char *what, struct identity_values *values)
{
	enum reason reason = REASON_NONE;
	int at = -1;

	while (reason == REASON_NONE && (at = X509_NAME_get_index_by_NID(name, nid, at)) >= 0) {
		const ASN1_STRING *data = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
		unsigned char *utf8 = NULL;
		int len = ASN1_STRING_to_UTF8(&utf8, data);

		if (len < 0)
			return refuse(reading, "%s is no text", what);
		reason = add_value(reading, values, what, utf8, len, false);
		OPENSSL_free(utf8);
	}
	return reason;
}

static enum reason read_subject(const struct reading *reading, X509 *leaf)
{
	const X509_NAME *subject = X509_get_subject_name(leaf);
	struct identity_cert *cert = reading->cert;
	enum reason reason;

	if (i2d_X509_NAME(subject, NULL) > NAME_DER_MAX)
		return refuse(reading, "the subject is longer than %d bytes", NAME_DER_MAX);
	reason = read_attributes(reading, subject, NID_commonName, "the common name", &cert->cn);
	if (cert->cn.count > 1)
		return refuse(reading, "the subject has several common names");
	if (reason == REASON_NONE)
		reason = read_attributes(reading, subject, NID_organizationName, "the organisation",
					 &cert->o);
	if (reason == REASON_NONE)
		reason = read_attributes(reading, subject, NID_organizationalUnitName,
					 "the organisational unit", &cert->ou);
	if (reason == REASON_NONE)
		reason = read_attributes(reading, X509_get_issuer_name(leaf), NID_commonName,
					 "the issuer's common name", &cert->issuer_cn);
	return reason;
}

static enum reason read_alternative(const struct reading *reading, const GENERAL_NAME *name)
{
	struct identity_cert *cert = reading->cert;
	struct identity_values *values;
	const char *what;

	if (name->type == GEN_URI) {
		values = &cert->uri;
		what = "a URI";
	} else if (name->type == GEN_DNS) {
		values = &cert->dns;
		what = "a DNS name";
	} else if (name->type == GEN_EMAIL) {
		values = &cert->email;
		what = "an email address";
	} else {
		return REASON_NONE;
	}
	return add_value(reading, values, what, ASN1_STRING_get0_data(name->d.ia5),
			 ASN1_STRING_length(name->d.ia5), true);
}

static enum reason read_alternatives(const struct reading *reading, X509 *leaf)
{
	int critical;
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, NULL);
	enum reason reason = REASON_NONE;

	if (!names && critical != -1)
		return refuse(reading, "the alternative names cannot be read");
	for (int i = 0; reason == REASON_NONE && i < sk_GENERAL_NAME_num(names); i++)
		reason = read_alternative(reading, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
	return reason;
}

/* The same DNS name in another case is the same identity; of an email address only the domain. */
static void fold_name(struct identity *identity)
{
	char *from = identity->name;

	if (identity->kind == IDENTITY_EMAIL)
		from = strrchr(identity->name, '@');
	else if (identity->kind != IDENTITY_DNS)
		return;
	for (; from && *from; from++)
		*from = (char)tolower((unsigned char)*from);
}

static enum reason choose_identity(const struct reading *reading)
{
	struct identity_cert *cert = reading->cert;
	const struct identity_values *by_kind[] = {
		[IDENTITY_URI] = &cert->uri,
		[IDENTITY_DNS] = &cert->dns,
		[IDENTITY_EMAIL] = &cert->email,
		[IDENTITY_CN] = &cert->cn,
	};

	for (int kind = IDENTITY_URI; kind <= IDENTITY_CN; kind++) {
		if (!by_kind[kind]->count)
			continue;
		cert->identity.kind = (enum identity_kind)kind;
		snprintf(cert->identity.name, sizeof(cert->identity.name), "%s",
			 by_kind[kind]->items[0]);
		fold_name(&cert->identity);
		return REASON_NONE;
	}
	return refuse(reading, "no URI, DNS name, email address or common name in it");
}

/* What every certificate has, whoever it names. */
static void read_facts(struct identity_cert *cert, X509 *leaf, X509 *root)
{
	cert->subject = identity_name_text(X509_get_subject_name(leaf));
	cert->issuer = identity_name_text(X509_get_issuer_name(leaf));
	X509_NAME_digest(X509_get_issuer_name(leaf), EVP_sha256(), cert->issuer_hash, NULL);
	identity_spki_hash(leaf, cert->spki_hash);
	X509_digest(leaf, EVP_sha256(), cert->cert_hash, NULL);
	cert->not_before = identity_time(X509_get0_notBefore(leaf));
	cert->not_after = identity_time(X509_get0_notAfter(leaf));
	cert->expires_at = cert->not_after;
	if (root)
		identity_spki_hash(root, cert->identity.root);
}

static enum reason read_names(const struct reading *reading, X509 *leaf)
{
	enum reason reason = REASON_NONE;

	if (!identity_serial_text(X509_get0_serialNumber(leaf), reading->cert->serial))
		reason = refuse(reading, "the serial number is negative or too long");
	if (reason == REASON_NONE)
		reason = read_subject(reading, leaf);
	if (reason == REASON_NONE)
		reason = read_alternatives(reading, leaf);
	return reason == REASON_NONE ? choose_identity(reading) : reason;
}

enum reason identity_read(X509 *leaf, X509 *root, struct identity_cert **ret, char *text,
			  size_t size)
{
	struct identity_cert *cert = xnew(struct identity_cert);
	enum reason reason;

	cert->refs = 1;
	read_facts(cert, leaf, root);
	reason = read_names(&(struct reading){.cert = cert, .text = text, .size = size}, leaf);
	if (reason == REASON_NONE)
		*ret = take(cert);
	identity_cert_unref(cert);
	return reason;
}

struct identity_cert *identity_describe(X509 *leaf, X509 *root)
{
	struct identity_cert *cert = xnew(struct identity_cert);

	cert->refs = 1;
	read_facts(cert, leaf, root);
	read_names(&(struct reading){.cert = cert}, leaf);
	return cert;
}

struct identity_cert *identity_cert_ref(struct identity_cert *cert)
{
	__atomic_add_fetch(&cert->refs, 1, __ATOMIC_RELAXED);
	return cert;
}

static void free_values(struct identity_values *values)
{
	for (size_t i = 0; i < values->count; i++)
		free(values->items[i]);
	free(values->items);
}

void identity_cert_unref(struct identity_cert *cert)
{
	if (!cert || __atomic_sub_fetch(&cert->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free_values(&cert->cn);
	free_values(&cert->o);
	free_values(&cert->ou);
	free_values(&cert->dns);
	free_values(&cert->email);
	free_values(&cert->uri);
	free_values(&cert->issuer_cn);
	free(cert->authorities);
	free(cert->subject);
	free(cert->issuer);
	free(cert);
}

/* The kinds of a condition. A value is compared with the certificate's values of that kind. */
static const struct condition_kind {
	const char *word;
	char separator;
	bool fold;     /* compared without case */
	size_t values; /* offset in struct identity_cert; 0: the serial number */
} condition_kinds[] = {
	{"cn", '=', false, offsetof(struct identity_cert, cn)},
	{"o", '=', false, offsetof(struct identity_cert, o)},
	{"ou", '=', false, offsetof(struct identity_cert, ou)},
	{"issuer", '=', true, offsetof(struct identity_cert, issuer_cn)},
	{"dns", ':', true, offsetof(struct identity_cert, dns)},
	{"email", ':', true, offsetof(struct identity_cert, email)},
	{"uri", ':', false, offsetof(struct identity_cert, uri)},
	{"serial", ':', false, 0},
};

/* Finds the kind and leaves the separator and the value in *ret_rest. */
static const struct condition_kind *find_kind(const char *condition, const char **ret_rest)
{
	size_t len = strcspn(condition, "=:");

	for (size_t i = 0; i < sizeof(condition_kinds) / sizeof(condition_kinds[0]); i++) {
		const struct condition_kind *kind = &condition_kinds[i];

		if (strlen(kind->word) == len && strncasecmp(condition, kind->word, len) == 0) {
			*ret_rest = condition + len;
			return kind;
		}
	}
	return NULL;
}

static bool is_hex(const char *value)
{
	return value[strspn(value, "0123456789abcdefABCDEF:")] == '\0' &&
	       value[strspn(value, ":")] != '\0';
}

const char *identity_condition_problem(const char *condition)
{
	const char *rest;
	const struct condition_kind *kind = find_kind(condition, &rest);

	if (!kind)
		return "a condition begins with cn=, o=, ou=, issuer=, dns:, email:, uri: or "
		       "serial:";
	if (*rest != kind->separator)
		return kind->separator == '=' ? "write = after cn, o, ou and issuer"
					      : "write : after dns, email, uri and serial";
	if (!rest[1])
		return "a value is missing; * stands for any";
	if (!kind->values && !is_hex(rest + 1))
		return "a serial number is written in hexadecimal digits, without *";
	return NULL;
}

static bool same_char(char a, char b, bool fold)
{
	return a == b || (fold && tolower((unsigned char)a) == tolower((unsigned char)b));
}

/* Only the last * ever has to be tried again, so the work is at most pattern times text. */
static bool match_glob(const char *pattern, const char *text, bool fold)
{
	const char *star = NULL, *retry = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			retry = text;
		} else if (same_char(*pattern, *text, fold)) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++retry;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == '\0';
}

/* digits as a person writes them: any case, leading zeros, colons between. */
static bool match_serial(const char *digits, const char *serial)
{
	digits += strspn(digits, "0:");
	if (!*digits)
		return strcmp(serial, "0") == 0;
	for (; *digits; digits++) {
		if (*digits == ':')
			continue;
		if (tolower((unsigned char)*digits) != *serial++)
			return false;
	}
	return *serial == '\0';
}

bool identity_matches(const struct identity_cert *cert, const char *condition)
{
	const struct identity_values *values;
	const char *rest;
	const struct condition_kind *kind;

	if (identity_condition_problem(condition))
		return false;
	kind = find_kind(condition, &rest);
	if (!kind->values)
		return match_serial(rest + 1, cert->serial);
	values = (const struct identity_values *)((const char *)cert + kind->values);
	for (size_t i = 0; i < values->count; i++) {
		if (match_glob(rest + 1, values->items[i], kind->fold))
			return true;
	}
	return false;
}
