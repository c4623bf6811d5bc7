#include "pki/trust.h"

#include <ctype.h>
#include <malloc.h>
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
	const struct trust *previous;
	trust_problem_fn problem, warn;
	void *user;
	size_t problem_count;
	const char **refused; /* files of lists, borrowed */
	size_t refused_count;
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

static bool is_refused(const struct loader *loader, const char *file)
{
	for (size_t i = 0; i < loader->refused_count; i++) {
		if (strcmp(loader->refused[i], file) == 0)
			return true;
	}
	return false;
}

static void free_cert(X509 **cert)
{
	X509_free(*cert);
}

static void free_list(struct crl_list **list)
{
	crl_list_unref(*list);
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
	_cleanup_(free_list) struct crl_list *list = NULL;

	crl_list_read(der, len, &list);
	return list != NULL;
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

static bool knows_crl(const struct trust *trust, const struct crl_list *list)
{
	for (size_t i = 0; i < trust->crl_count; i++) {
		if (memcmp(trust->crls[i].list->hash, list->hash, sizeof(list->hash)) == 0)
			return true;
	}
	return false;
}

/* Tries all authorities that bear the list's name. */
static void find_signer(const struct trust *trust, struct trust_crl *entry)
{
	for (size_t i = 0; i < trust->ca_count; i++) {
		X509 *ca = trust->cas[i].cert;

		if (X509_NAME_cmp(X509_get_subject_name(ca), entry->list->issuer) != 0)
			continue;
		entry->issuer = ca;
		entry->signature_ok = crl_list_settle(entry->list, ca);
		if (entry->signature_ok)
			return;
	}
}

static void add_crl(struct loader *loader, const char *file, struct crl_list *list)
{
	struct trust *trust = loader->trust;
	struct trust_crl *entry;

	if (knows_crl(trust, list))
		return;
	if (trust->crl_count == TRUST_CRL_MAX) {
		report_problem(loader, file, "more than %d revocation lists", TRUST_CRL_MAX);
		return;
	}
	trust->crls = xalloc_grow(trust->crls, trust->crl_count + 1, sizeof(*trust->crls));
	entry = &trust->crls[trust->crl_count++];
	*entry = (struct trust_crl){.list = crl_list_ref(list), .file = xalloc_string(file)};
	find_signer(trust, entry);
	if (!list->is_sealed)
		crl_list_seal(list);
}

/* The same bytes in the snapshot in force, with a signature that has been verified. */
static struct crl_list *find_read_before(const struct trust *previous, const uint8_t *der,
					 size_t len)
{
	uint8_t hash[32];

	if (!previous || !previous->crl_count)
		return NULL;
	crl_list_hash(der, len, hash);
	for (size_t i = 0; i < previous->crl_count; i++) {
		struct crl_list *list = previous->crls[i].list;

		if (list->signer && memcmp(list->hash, hash, sizeof(hash)) == 0)
			return list;
	}
	return NULL;
}

static void load_crl(struct loader *loader, const char *file, const uint8_t *der, size_t len)
{
	struct crl_list *known = find_read_before(loader->previous, der, len);
	_cleanup_(free_list) struct crl_list *list = NULL;
	_cleanup_free_ char *issuer = NULL;
	const char *problem;

	if (known) {
		add_crl(loader, file, known);
		return;
	}
	problem = crl_list_read(der, len, &list);
	if (!problem) {
		add_crl(loader, file, list);
		return;
	}
	if (!list) {
		report_problem(loader, file, "%s",
			       is_cert(der, len) ? "a certificate where a revocation list belongs; "
						   "name it in trust.ca"
						 : problem);
		return;
	}
	issuer = identity_name_text(list->issuer);
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

static void load_content(struct loader *loader, const struct trust_source *source, load_fn load)
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

static void drop_cas(struct trust *trust, size_t count)
{
	while (trust->ca_count > count) {
		struct trust_ca *ca = &trust->cas[--trust->ca_count];

		X509_free(ca->cert);
		free(ca->file);
	}
}

static void drop_crls(struct trust *trust, size_t count)
{
	while (trust->crl_count > count) {
		struct trust_crl *entry = &trust->crls[--trust->crl_count];

		crl_list_unref(entry->list);
		free(entry->file);
	}
}

/* False when the source is refused: then nothing of it is taken. */
static bool load_source(struct loader *loader, const struct trust_source *source, load_fn load)
{
	size_t problem_count = loader->problem_count;
	size_t ca_count = loader->trust->ca_count, crl_count = loader->trust->crl_count;

	if (source->unread)
		loader->problem_count++;
	else
		load_content(loader, source, load);
	if (loader->problem_count == problem_count)
		return true;
	drop_cas(loader->trust, ca_count);
	drop_crls(loader->trust, crl_count);
	return false;
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
	_cleanup_free_ char *issuer = identity_name_text(list->list->issuer);
	char when[CLOCK_TEXT];

	if (!list->issuer)
		report_warning(loader, list->file,
			       "revocation list of \"%s\", which trust.ca does not name", issuer);
	else if (!list->signature_ok)
		report_warning(loader, list->file,
			       "revocation list of \"%s\" is not signed by that authority; it "
			       "revokes nothing",
			       issuer);
	if (list->list->this_update > now)
		report_warning(loader, list->file, "revocation list of \"%s\" begins only at %s",
			       issuer, clock_print(list->list->this_update, when));
	if (!list->list->next_update)
		report_warning(loader, list->file,
			       "revocation list of \"%s\" never falls due (no nextUpdate)", issuer);
	else if (list->list->next_update < now)
		report_warning(loader, list->file,
			       "revocation list of \"%s\" was due for renewal at %s", issuer,
			       clock_print(list->list->next_update, when));
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

/* ---- what stays of the snapshot in force ---- */

static void keep_cas(struct loader *loader, const struct trust *previous)
{
	for (size_t i = 0; i < previous->ca_count; i++)
		add_ca(loader, previous->cas[i].file, previous->cas[i].cert);
}

/* Of the first count lists the one that speaks in the place of this one. Whose signature nobody has
 * verified has its name alone. */
static const struct trust_crl *find_successor(const struct trust *trust, size_t count,
					      const struct trust_crl *list, time_t now)
{
	const struct trust_crl *best = NULL;

	for (size_t i = 0; i < count; i++) {
		const struct trust_crl *other = &trust->crls[i];
		bool matches =
			list->issuer && list->signature_ok
				? crl_same_authority(list, other)
				: X509_NAME_cmp(list->list->issuer, other->list->issuer) == 0;

		if (matches && (!best || crl_is_newer(other, best, now)))
			best = other;
	}
	return best;
}

static char *print_number(const struct trust_crl *list)
{
	char *text = list->list->number ? i2s_ASN1_INTEGER(NULL, list->list->number) : NULL;
	char *copy = text ? xalloc_print("number %.60s", text) : xalloc_string("without a number");

	OPENSSL_free(text);
	return copy;
}

static void warn_of_older(struct loader *loader, const struct trust_crl *list,
			  const struct trust_crl *older)
{
	_cleanup_free_ char *issuer = identity_name_text(list->list->issuer);
	_cleanup_free_ char *number = print_number(list), *old_number = print_number(older);

	report_warning(loader, older->file,
		       "revocation list of \"%s\", %s: older than the list in force, %s (%s), "
		       "which stays",
		       issuer, old_number, number, list->file);
}

static void warn_of_kept(struct loader *loader, const struct trust_crl *list)
{
	_cleanup_free_ char *issuer = identity_name_text(list->list->issuer);

	report_warning(loader, list->file,
		       "holds the revocation list of \"%s\" no more; what it held stays in force "
		       "until there is a newer one, or a reload",
		       issuer);
}

/* Whether a list that is in force stays beside the first count ones, which have just been read. */
static bool stays(struct loader *loader, const struct trust_options *options, size_t count,
		  const struct trust_crl *list, time_t now)
{
	const struct trust_crl *successor = find_successor(loader->trust, count, list, now);
	bool is_verified = list->issuer && list->signature_ok;

	if (successor && crl_is_newer(list, successor, now) && (is_verified || options->keep)) {
		warn_of_older(loader, list, successor);
		return true;
	}
	if (successor || !options->keep)
		return false;
	if (!is_refused(loader, list->file))
		warn_of_kept(loader, list);
	return true;
}

/* An older list never takes the place of a newer one of the same key. */
static void keep_lists(struct loader *loader, const struct trust_options *options, time_t now)
{
	const struct trust *previous = options->previous;
	size_t count = loader->trust->crl_count;

	for (size_t i = 0; previous && i < previous->crl_count; i++) {
		const struct trust_crl *list = &previous->crls[i];

		if (!knows_crl(loader->trust, list->list) &&
		    stays(loader, options, count, list, now))
			add_crl(loader, list->file, list->list);
	}
}

static bool has_number_of(const struct trust_crl *a, const struct trust_crl *b)
{
	const struct crl_list *x = a->list, *y = b->list;

	return x->number && y->number && ASN1_INTEGER_cmp(x->number, y->number) == 0 &&
	       memcmp(x->hash, y->hash, sizeof(x->hash)) != 0 && crl_same_authority(a, b);
}

/* Two lists of one number: the authority's books are in disorder, or its key is in two hands. */
static void warn_of_twins(struct loader *loader, const struct trust_crl *list,
			  const struct trust_crl *others, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *issuer = NULL, *number = NULL;

		if (!has_number_of(list, &others[i]))
			continue;
		issuer = identity_name_text(list->list->issuer);
		number = print_number(list);
		report_warning(
			loader, list->file,
			"revocation list of \"%s\", %s: the list in %s has the same number and "
			"another content; ask the authority which is right",
			issuer, number, others[i].file);
	}
}

/* ---- all of it ---- */

static X509_STORE *new_store(const struct trust *trust)
{
	X509_STORE *store = X509_STORE_new();
	bool is_full = store != NULL;

	/* The callbacks that OpenSSL's chain building needs from a store. */
	if (store)
		X509_STORE_set_get_issuer(store, find_issuer);
	for (size_t i = 0; is_full && i < trust->ca_count; i++)
		is_full = X509_STORE_add_cert(store, trust->cas[i].cert) == 1;
	if (is_full)
		return store;
	X509_STORE_free(store);
	return NULL;
}

static void load_cas(struct loader *loader, const struct trust_options *options)
{
	const char *first = options->ca_count ? options->cas[0].file : "trust.ca";
	bool is_whole = true;

	for (size_t i = 0; i < options->ca_count; i++)
		is_whole &= load_source(loader, &options->cas[i], load_ca);
	if (is_whole && !has_anchor(loader->trust)) {
		report_problem(loader, first,
			       "no self-signed authority; without a root nobody can be believed");
		is_whole = false;
	}
	if (!is_whole && options->keep)
		keep_cas(loader, options->previous);
}

static void load_crls(struct loader *loader, const struct trust_options *options)
{
	loader->refused = xnew_array(const char *, options->crl_count);
	for (size_t i = 0; i < options->crl_count; i++) {
		if (!load_source(loader, &options->crls[i], load_crl))
			loader->refused[loader->refused_count++] = options->crls[i].file;
	}
}

static void settle_lists(struct loader *loader, const struct trust_options *options, time_t now)
{
	const struct trust *trust = loader->trust, *previous = options->previous;
	size_t count = trust->crl_count;

	keep_lists(loader, options, now);
	for (size_t i = 0; i < trust->crl_count; i++) {
		warn_of_crl(loader, &trust->crls[i], now);
		if (i >= count)
			continue;
		warn_of_twins(loader, &trust->crls[i], trust->crls, i);
		if (previous)
			warn_of_twins(loader, &trust->crls[i], previous->crls, previous->crl_count);
	}
}

static void load_all(struct loader *loader, const struct trust_options *options)
{
	struct trust *trust = loader->trust;
	time_t now = clock_wall();

	load_cas(loader, options);
	load_crls(loader, options);
	if (loader->problem_count && !options->keep)
		return;
	trust->store = new_store(trust);
	if (!trust->store)
		report_problem(loader, "trust.ca", "an authority that OpenSSL does not take");
	warn_of_cas(loader, now);
	settle_lists(loader, options, now);
}

/* Decoding a large file grows buffers step by step, whose remains the allocator would keep. */
static void give_memory_back(const struct trust_options *options)
{
	enum { LARGE = 4 * 1024 * 1024 };
	size_t len = 0;

	for (size_t i = 0; i < options->crl_count; i++)
		len += options->crls[i].len;
	if (len > LARGE)
		malloc_trim(0);
}

struct trust *trust_new(const struct trust_options *options, trust_problem_fn problem,
			trust_problem_fn warn, void *user)
{
	struct trust *trust = xnew(struct trust);
	struct loader loader = {
		.trust = trust,
		.previous = options->previous,
		.problem = problem,
		.warn = warn,
		.user = user,
	};

	trust->refs = 1;
	trust->generation = options->generation;
	trust->crl_policy = options->crl_policy;
	trust->crl_grace_s = options->crl_grace_s;
	copy_denials(trust, options->denials, options->denial_count);
	/* What fails to parse leaves errors behind, which a later SSL_get_error would misread. */
	ERR_set_mark();
	load_all(&loader, options);
	ERR_pop_to_mark();
	free(loader.refused);
	give_memory_back(options);
	if (trust->store && (!loader.problem_count || options->keep))
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
		crl_list_ref(copy->crls[i].list);
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
	drop_cas(trust, 0);
	drop_crls(trust, 0);
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
