#include "pki/trust.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "pki/crl.h"
#include "pki/identity.h"

struct loader {
	struct trust *trust;
	trust_problem_fn problem, warn;
	void *user;
	size_t problem_count;
};

/* One object out of one source. */
typedef void (*load_fn)(struct loader *loader, const char *file, const uint8_t *der, size_t len);

static void report_problem(struct loader *loader, const char *file, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void report_warning(struct loader *loader, const char *file, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void report_problem(struct loader *loader, const char *file, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	text = xalloc_vprint(format, arguments);
	va_end(arguments);
	loader->problem_count++;
	if (loader->problem)
		loader->problem(file, text, loader->user);
}

static void report_warning(struct loader *loader, const char *file, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	text = xalloc_vprint(format, arguments);
	va_end(arguments);
	if (loader->warn)
		loader->warn(file, text, loader->user);
}

static void free_cert(X509 **cert)
{
	X509_free(*cert);
}

static void free_crl(X509_CRL **crl)
{
	X509_CRL_free(*crl);
}

static void free_bio(BIO **bio)
{
	BIO_free(*bio);
}

/* The certificate itself says that this one's key has signed it. */
static bool names_key_of(X509 *cert, X509 *issuer)
{
	const ASN1_OCTET_STRING *wanted = X509_get0_authority_key_id(cert);
	const ASN1_OCTET_STRING *key = X509_get0_subject_key_id(issuer);

	return wanted && key && ASN1_OCTET_STRING_cmp(wanted, key) == 0;
}

/* Of several keys under one name the one that made the signature is the issuer; OpenSSL alone goes
 * by name and key identifier, which not every certificate carries. Of several certificates with
 * that key one that is valid at the time in question is preferred. The only one of a name that is
 * also the one named by its key is taken at its word: OpenSSL verifies the chain once it is built,
 * and a signature costs a tenth of a handshake. */
static int find_issuer(X509 **ret, X509_STORE_CTX *question, X509 *cert)
{
	STACK_OF(X509) *candidates =
		X509_STORE_CTX_get1_certs(question, X509_get_issuer_name(cert));
	const X509_VERIFY_PARAM *when = X509_STORE_CTX_get0_param(question);
	bool is_only = sk_X509_num(candidates) == 1;
	X509 *best = NULL;

	for (int i = 0; i < sk_X509_num(candidates); i++) {
		X509 *candidate = sk_X509_value(candidates, i);

		/* An anchor's signature on itself was verified when it was loaded. */
		if (X509_cmp(candidate, cert) != 0 && !(is_only && names_key_of(cert, candidate)) &&
		    X509_verify(cert, X509_get0_pubkey(candidate)) != 1)
			continue;
		if (!best || X509_cmp_timeframe(when, X509_get0_notBefore(best),
						X509_get0_notAfter(best)) != 0)
			best = candidate;
	}
	*ret = best;
	if (best)
		X509_up_ref(best);
	sk_X509_pop_free(candidates, X509_free);
	return best != NULL;
}

static bool knows_ca(const struct trust *trust, X509 *cert)
{
	for (size_t i = 0; i < trust->ca_count; i++) {
		if (X509_cmp(trust->cas[i].cert, cert) == 0)
			return true;
	}
	return false;
}

/* NULL, or why the certificate cannot be an authority's. */
static const char *find_ca_problem(X509 *cert)
{
	/* Looking at the key usage makes OpenSSL parse the extensions. */
	X509_get_key_usage(cert);
	if (X509_get_extension_flags(cert) & EXFLAG_INVALID)
		return "its extensions are malformed";
	if (X509_check_ca(cert) != 1)
		return "it is no authority (basicConstraints CA:TRUE, and keyCertSign where there "
		       "is a keyUsage); name authorities only";
	if (!X509_get0_pubkey(cert))
		return "its public key cannot be used";
	if (X509_self_signed(cert, 0) == 1 && X509_self_signed(cert, 1) != 1)
		return "its signature on itself is wrong; fetch it again from the authority";
	return NULL;
}

static void add_ca(struct loader *loader, const char *file, X509 *cert)
{
	struct trust *trust = loader->trust;

	if (knows_ca(trust, cert))
		return;
	if (trust->ca_count == TRUST_CA_MAX) {
		report_problem(loader, file, "more than %d authorities", TRUST_CA_MAX);
		return;
	}
	if (!X509_STORE_add_cert(trust->store, cert)) {
		report_problem(loader, file, "an authority that OpenSSL does not take");
		return;
	}
	trust->cas = xalloc_grow(trust->cas, trust->ca_count + 1, sizeof(*trust->cas));
	X509_up_ref(cert);
	trust->cas[trust->ca_count++] = (struct trust_ca){
		.cert = cert,
		.is_root = X509_self_signed(cert, 0) == 1,
		.file = xalloc_string(file),
	};
}

static bool is_list(const uint8_t *der, size_t len)
{
	_cleanup_(free_crl) X509_CRL *crl = d2i_X509_CRL(NULL, &der, (long)len);

	return crl != NULL;
}

static bool is_cert(const uint8_t *der, size_t len)
{
	_cleanup_(free_cert) X509 *cert = d2i_X509(NULL, &der, (long)len);

	return cert != NULL;
}

static void load_ca(struct loader *loader, const char *file, const uint8_t *der, size_t len)
{
	const uint8_t *end = der;
	_cleanup_(free_cert) X509 *cert = d2i_X509(NULL, &end, (long)len);
	_cleanup_free_ char *subject = NULL;
	const char *problem;

	if (!cert && is_list(der, len)) {
		report_problem(loader, file,
			       "a revocation list where a certificate belongs; "
			       "name it in trust.crl");
		return;
	}
	if (!cert || end != der + len) {
		report_problem(loader, file, "not a whole certificate; PEM or DER is right");
		return;
	}
	problem = find_ca_problem(cert);
	if (!problem) {
		add_ca(loader, file, cert);
		return;
	}
	subject = identity_name_text(X509_get_subject_name(cert));
	report_problem(loader, file, "certificate \"%s\": %s", subject, problem);
}

static bool knows_crl(const struct trust *trust, X509_CRL *crl)
{
	for (size_t i = 0; i < trust->crl_count; i++) {
		if (X509_CRL_match(trust->crls[i].crl, crl) == 0)
			return true;
	}
	return false;
}

/* The first look-up sorts the entries, under a lock; now no thread waits for it. X509_CRL_sort
 * would also have the list encoded anew, in that order, which is not what was signed. */
static void sort_entries(X509_CRL *crl)
{
	X509_REVOKED *entry;
	ASN1_INTEGER *any = ASN1_INTEGER_new();

	if (any)
		X509_CRL_get0_by_serial(crl, &entry, any);
	ASN1_INTEGER_free(any);
}

static void add_crl(struct loader *loader, const char *file, X509_CRL *crl)
{
	struct trust *trust = loader->trust;

	if (knows_crl(trust, crl))
		return;
	if (trust->crl_count == TRUST_CRL_MAX) {
		report_problem(loader, file, "more than %d revocation lists", TRUST_CRL_MAX);
		return;
	}
	sort_entries(crl);
	X509_CRL_up_ref(crl);
	trust->crls = xalloc_grow(trust->crls, trust->crl_count + 1, sizeof(*trust->crls));
	trust->crls[trust->crl_count++] = (struct trust_crl){
		.crl = crl,
		.this_update = identity_time(X509_CRL_get0_lastUpdate(crl)),
		.next_update = identity_time(X509_CRL_get0_nextUpdate(crl)),
		.number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL),
		.file = xalloc_string(file),
	};
}

static void load_crl(struct loader *loader, const char *file, const uint8_t *der, size_t len)
{
	const uint8_t *end = der;
	_cleanup_(free_crl) X509_CRL *crl = d2i_X509_CRL(NULL, &end, (long)len);
	_cleanup_free_ char *issuer = NULL;
	const char *problem;

	if (!crl && is_cert(der, len)) {
		report_problem(loader, file,
			       "a certificate where a revocation list belongs; "
			       "name it in trust.ca");
		return;
	}
	if (!crl || end != der + len) {
		report_problem(loader, file, "not a whole revocation list; PEM or DER is right");
		return;
	}
	problem = crl_problem(crl);
	if (!problem) {
		add_crl(loader, file, crl);
		return;
	}
	issuer = identity_name_text(X509_CRL_get_issuer(crl));
	report_problem(loader, file, "revocation list of \"%s\": %s", issuer, problem);
}

/* As many blocks as begin must also have been read: a file that was cut off does not pass. */
static size_t count_blocks(const struct trust_source *source)
{
	static const char begin[] = "-----BEGIN ";
	const uint8_t *at = source->data, *end = source->data + source->len;
	size_t count = 0;

	while ((at = memmem(at, (size_t)(end - at), begin, sizeof(begin) - 1))) {
		if (at == source->data || at[-1] == '\n')
			count++;
		at += sizeof(begin) - 1;
	}
	return count;
}

/* The label is the file's to choose. */
static void refuse_label(struct loader *loader, const char *file, const char *label,
			 const char *what)
{
	enum { SHOWN_MAX = 40 };
	char text[4 * SHOWN_MAX + 1];
	size_t len = strlen(label);

	log_escape(label, len < SHOWN_MAX ? len : SHOWN_MAX, text, sizeof(text));
	report_problem(loader, file, "a block \"%s\" where a %s belongs", text, what);
}

static bool is_kind(const char *block, load_fn load)
{
	if (load == load_crl)
		return strcmp(block, PEM_STRING_X509_CRL) == 0 ||
		       strcmp(block, PEM_STRING_X509) == 0;
	/* The wrong one of the two goes on to a better message. */
	return strcmp(block, PEM_STRING_X509) == 0 || strcmp(block, PEM_STRING_X509_OLD) == 0 ||
	       strcmp(block, PEM_STRING_X509_CRL) == 0;
}

static void load_pem(struct loader *loader, const struct trust_source *source, load_fn load,
		     size_t expected)
{
	_cleanup_(free_bio) BIO *bio = BIO_new_mem_buf(source->data, (int)source->len);
	const char *what = load == load_crl ? "revocation list" : "certificate";
	size_t count = 0;

	for (;; count++) {
		char *name, *header;
		unsigned char *der;
		long len;

		if (!bio || !PEM_read_bio(bio, &name, &header, &der, &len))
			break;
		if (is_kind(name, load))
			load(loader, source->file, der, (size_t)len);
		else
			refuse_label(loader, source->file, name, what);
		OPENSSL_clear_free(der, (size_t)len);
		OPENSSL_free(name);
		OPENSSL_free(header);
	}
	if (count < expected)
		report_problem(loader, source->file,
			       "block %zu is cut off or damaged; fetch the file again", count + 1);
}

static void load_source(struct loader *loader, const struct trust_source *source, load_fn load)
{
	const char *what = load == load_crl ? "revocation list" : "certificate";
	size_t blocks;

	if (source->len > TRUST_FILE_MAX) {
		report_problem(loader, source->file, "larger than %d bytes", TRUST_FILE_MAX);
		return;
	}
	if (!source->len) {
		report_problem(loader, source->file, "empty; a %s in PEM or DER belongs here",
			       what);
		return;
	}
	blocks = count_blocks(source);
	if (blocks)
		load_pem(loader, source, load, blocks);
	else if (source->data[0] == 0x30) /* SEQUENCE: DER */
		load(loader, source->file, source->data, source->len);
	else
		report_problem(loader, source->file, "no %s in it; PEM or DER is right", what);
}

/* Tries all authorities that bear the list's name. */
static void find_signer(const struct trust *trust, struct trust_crl *list)
{
	for (size_t i = 0; i < trust->ca_count; i++) {
		X509 *ca = trust->cas[i].cert;

		if (X509_NAME_cmp(X509_get_subject_name(ca), X509_CRL_get_issuer(list->crl)) != 0)
			continue;
		list->issuer = ca;
		list->signature_ok = crl_signed_by(list->crl, ca);
		if (list->signature_ok)
			return;
	}
}

static void warn_of_cas(struct loader *loader, time_t now)
{
	for (size_t i = 0; i < loader->trust->ca_count; i++) {
		const struct trust_ca *ca = &loader->trust->cas[i];
		time_t from = identity_time(X509_get0_notBefore(ca->cert));
		time_t until = identity_time(X509_get0_notAfter(ca->cert));
		_cleanup_free_ char *subject = NULL;
		char when[CLOCK_TEXT];

		if (from <= now && now <= until)
			continue;
		subject = identity_name_text(X509_get_subject_name(ca->cert));
		report_warning(loader, ca->file, "authority \"%s\" %s %s", subject,
			       until < now ? "expired at" : "begins only at",
			       clock_print(until < now ? until : from, when));
	}
}

static void warn_of_crl(struct loader *loader, const struct trust_crl *list, time_t now)
{
	_cleanup_free_ char *issuer = identity_name_text(X509_CRL_get_issuer(list->crl));
	char when[CLOCK_TEXT];

	if (!list->issuer)
		report_warning(loader, list->file,
			       "revocation list of \"%s\", which trust.ca does not name", issuer);
	else if (!list->signature_ok)
		report_warning(loader, list->file,
			       "revocation list of \"%s\" is not signed by that authority; it "
			       "revokes nothing",
			       issuer);
	if (list->this_update > now)
		report_warning(loader, list->file, "revocation list of \"%s\" begins only at %s",
			       issuer, clock_print(list->this_update, when));
	if (!list->next_update)
		report_warning(loader, list->file,
			       "revocation list of \"%s\" never falls due (no nextUpdate)", issuer);
	else if (list->next_update < now)
		report_warning(loader, list->file,
			       "revocation list of \"%s\" was due for renewal at %s", issuer,
			       clock_print(list->next_update, when));
}

static bool has_anchor(const struct trust *trust)
{
	for (size_t i = 0; i < trust->ca_count; i++) {
		if (trust->cas[i].is_root)
			return true;
	}
	return false;
}

/* "00:1F" and "1f" are one serial: a denial must not miss for the way it was written. */
static void copy_serial(const char *from, char to[static IDENTITY_SERIAL_MAX + 1])
{
	size_t used = 0;

	while ((from[0] == '0' && from[1]) || from[0] == ':')
		from++;
	for (; *from && used < IDENTITY_SERIAL_MAX; from++) {
		if (*from != ':')
			to[used++] = (char)tolower((unsigned char)*from);
	}
	to[used] = '\0';
}

static int compare_denials(const void *a, const void *b)
{
	const struct trust_denial *x = a, *y = b;
	int order = memcmp(x->issuer_hash, y->issuer_hash, sizeof(x->issuer_hash));

	return order ? order : strcmp(x->serial, y->serial);
}

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, 32);
}

static void copy_denials(struct trust *trust, const struct trust_denial *denials, size_t count)
{
	trust->denial_count = count;
	if (!count)
		return;
	trust->denials = xalloc_copy(denials, count * sizeof(*denials));
	trust->denied_keys = xalloc_zero(count, sizeof(*trust->denied_keys));
	for (size_t i = 0; i < count; i++) {
		copy_serial(denials[i].serial, trust->denials[i].serial);
		memcpy(trust->denied_keys[i], denials[i].spki_hash, 32);
	}
	qsort(trust->denials, count, sizeof(*trust->denials), compare_denials);
	qsort(trust->denied_keys, count, sizeof(*trust->denied_keys), compare_keys);
}

/* The callbacks that OpenSSL's chain building needs from a store. */
static X509_STORE *new_store(void)
{
	X509_STORE *store = X509_STORE_new();

	if (store)
		X509_STORE_set_get_issuer(store, find_issuer);
	return store;
}

static void load_all(struct loader *loader, const struct trust_options *options)
{
	struct trust *trust = loader->trust;
	const char *first = options->ca_count ? options->cas[0].file : "trust.ca";
	time_t now = clock_wall();

	for (size_t i = 0; i < options->ca_count; i++)
		load_source(loader, &options->cas[i], load_ca);
	for (size_t i = 0; i < options->crl_count; i++)
		load_source(loader, &options->crls[i], load_crl);
	if (!loader->problem_count && !has_anchor(trust))
		report_problem(loader, first,
			       "no self-signed authority; without a root nobody can be believed");
	if (loader->problem_count)
		return;
	warn_of_cas(loader, now);
	for (size_t i = 0; i < trust->crl_count; i++) {
		find_signer(trust, &trust->crls[i]);
		warn_of_crl(loader, &trust->crls[i], now);
	}
}

struct trust *trust_new(const struct trust_options *options, trust_problem_fn problem,
			trust_problem_fn warn, void *user)
{
	struct trust *trust = xnew(struct trust);
	struct loader loader = {.trust = trust, .problem = problem, .warn = warn, .user = user};

	trust->refs = 1;
	trust->generation = options->generation;
	trust->crl_policy = options->crl_policy;
	trust->crl_grace_s = options->crl_grace_s;
	trust->store = new_store();
	copy_denials(trust, options->denials, options->denial_count);
	/* What fails to parse leaves errors behind, which a later SSL_get_error would misread. */
	ERR_set_mark();
	if (trust->store)
		load_all(&loader, options);
	else
		report_problem(&loader, "trust.ca", "OpenSSL is out of memory");
	ERR_pop_to_mark();
	if (!loader.problem_count)
		return trust;
	trust_unref(trust);
	return NULL;
}

struct trust *trust_with_denials(const struct trust *trust, const struct trust_denial *denials,
				 size_t count, uint64_t generation)
{
	struct trust *copy = xnew(struct trust);

	/* One by one: others count references in trust meanwhile. */
	*copy = (struct trust){
		.refs = 1,
		.generation = generation,
		.store = trust->store,
		.ca_count = trust->ca_count,
		.crl_count = trust->crl_count,
		.crl_policy = trust->crl_policy,
		.crl_grace_s = trust->crl_grace_s,
	};
	X509_STORE_up_ref(copy->store);
	copy->cas = xalloc_copy(trust->cas, trust->ca_count * sizeof(*trust->cas));
	for (size_t i = 0; i < copy->ca_count; i++) {
		X509_up_ref(copy->cas[i].cert);
		copy->cas[i].file = xalloc_string(trust->cas[i].file);
	}
	copy->crls = xalloc_copy(trust->crls, trust->crl_count * sizeof(*trust->crls));
	for (size_t i = 0; i < copy->crl_count; i++) {
		X509_CRL_up_ref(copy->crls[i].crl);
		copy->crls[i].number = ASN1_INTEGER_dup(trust->crls[i].number);
		copy->crls[i].file = xalloc_string(trust->crls[i].file);
	}
	copy_denials(copy, denials, count);
	return copy;
}

struct trust *trust_ref(struct trust *trust)
{
	__atomic_add_fetch(&trust->refs, 1, __ATOMIC_RELAXED);
	return trust;
}

void trust_unref(struct trust *trust)
{
	if (!trust || __atomic_sub_fetch(&trust->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (size_t i = 0; i < trust->ca_count; i++) {
		X509_free(trust->cas[i].cert);
		free(trust->cas[i].file);
	}
	for (size_t i = 0; i < trust->crl_count; i++) {
		X509_CRL_free(trust->crls[i].crl);
		ASN1_INTEGER_free(trust->crls[i].number);
		free(trust->crls[i].file);
	}
	free(trust->cas);
	free(trust->crls);
	free(trust->denials);
	free(trust->denied_keys);
	X509_STORE_free(trust->store);
	free(trust);
}

bool trust_denies(const struct trust *trust, const uint8_t issuer_hash[static 32],
		  const char *serial, const uint8_t spki_hash[static 32])
{
	struct trust_denial wanted = {.serial = ""};

	if (!trust->denial_count)
		return false;
	if (bsearch(spki_hash, trust->denied_keys, trust->denial_count, 32, compare_keys))
		return true;
	if (!*serial)
		return false;
	memcpy(wanted.issuer_hash, issuer_hash, 32);
	copy_serial(serial, wanted.serial);
	return bsearch(&wanted, trust->denials, trust->denial_count, sizeof(wanted),
		       compare_denials) != NULL;
}
