/* make DIRECTORY: writes the corpus of rows.c there.
 *
 *	corpus.json  what every row expects, and the names of its files
 *	roots.pem    what is to be loaded, corpus.crl with it
 *	NNN.pem      a row's chain, the leaf first; NNN.key its key; NNN.sound where the leaf is one
 *		     that OpenSSL does not read: as it was before its bytes were exchanged
 *
 * Dates are told from now on and hold for years. A row's root has a name of its own where it differs
 * from the corpus's, so that all can be loaded at once; keys are shared, they are not what differs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/pem.h>

#include "rows.h"

enum { SENT_MAX = 40, KINDS = CERTS_X25519 + 1, YEARS_S = 3650 * CERTS_DAY_S };

enum place { LEAF, SUB, ROOT, STRANGER, PLACES };

struct corpus {
	const char *directory;
	FILE *roots;
	EVP_PKEY *keys[KINDS][PLACES];
	struct certs_pair root, stranger;
};

/* One row being made. */
struct chain {
	struct corpus *corpus;
	const struct rows_row *row;
	unsigned number;
	struct certs_pair root, stranger;
	struct certs_pair made[SENT_MAX]; /* to be freed */
	unsigned made_count;
	X509 *sent[SENT_MAX]; /* borrowed, behind the leaf */
	unsigned sent_count;
};

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "corpus: cannot make %s: %s\n", what, strerror(errno));
	exit(1);
}

static EVP_PKEY *key_of(struct corpus *corpus, enum certs_key kind, enum place place)
{
	EVP_PKEY **key = &corpus->keys[kind][place];

	if (!*key)
		*key = certs_new_key(kind);
	return *key;
}

static const char *or_default(const char *given, const char *otherwise)
{
	return given ? given : otherwise;
}

/* ---- certificates ---- */

/* What a row leaves out; wanted may be NULL. */
static struct certs_spec complete(struct corpus *corpus, const struct certs_spec *wanted,
				  enum place place)
{
	struct certs_spec spec = {0};

	if (wanted)
		spec = *wanted;
	if (!spec.from_s && !spec.until_s) {
		spec.from_s = -CERTS_DAY_S;
		spec.until_s = YEARS_S;
	}
	if (!spec.same_key)
		spec.same_key = key_of(corpus, spec.key, place);
	return spec;
}

static struct certs_pair make_authority(struct corpus *corpus, const struct certs_spec *wanted,
					enum place place, const char *subject,
					const struct certs_pair *issuer)
{
	struct certs_spec spec = complete(corpus, wanted, place);

	spec.subject = or_default(spec.subject, subject);
	spec.ku = or_default(spec.ku, "critical,keyCertSign,cRLSign");
	spec.ca = true;
	return certs_make(&spec, issuer);
}

static const struct certs_pair *keep(struct chain *chain, struct certs_pair pair)
{
	must(chain->made_count < SENT_MAX, "so many authorities");
	chain->made[chain->made_count] = pair;
	return &chain->made[chain->made_count++];
}

static void send_along(struct chain *chain, const struct certs_pair *pair)
{
	must(chain->sent_count < SENT_MAX, "so long a chain");
	chain->sent[chain->sent_count++] = pair->cert;
}

static const struct certs_pair *add_sub(struct chain *chain, unsigned nth, const char *more,
					const struct certs_pair *issuer)
{
	char subject[64];

	snprintf(subject, sizeof(subject), "O=Corp/CN=Corp Sub %u-%u%s", chain->number, nth, more);
	return keep(chain, make_authority(chain->corpus, chain->row->sub, SUB, subject, issuer));
}

/* The authorities between, from the root's neighbour down to who signs the leaf. */
static const struct certs_pair *add_subs(struct chain *chain, const struct certs_pair *issuer)
{
	const struct rows_row *row = chain->row;
	unsigned depth = row->depth ? row->depth : row->sub != NULL;

	for (unsigned i = 0; i < depth; i++)
		issuer = add_sub(chain, i + 1, "", issuer);
	return issuer;
}

/* Those that add_subs has made, the leaf's issuer first. */
static void send_subs(struct chain *chain)
{
	for (unsigned i = chain->made_count; i > 0; i--)
		send_along(chain, &chain->made[i - 1]);
}

static struct certs_spec leaf_spec(const struct chain *chain)
{
	struct certs_spec spec = complete(chain->corpus, &chain->row->leaf, LEAF);
	bool raw = spec.raw_san[0].len || spec.dns_count;

	spec.subject = or_default(spec.subject, "O=Corp/CN=alice");
	spec.ku = or_default(spec.ku, "critical,digitalSignature");
	spec.eku = or_default(spec.eku, "clientAuth,serverAuth");
	spec.san = or_default(spec.san, raw ? "" : "DNS:" ROWS_GATEWAY_NAME);
	return spec;
}

/* ---- shapes: each sends what is sent, and says who signs the leaf (NULL: itself) ---- */

static const struct certs_pair *shape_below(struct chain *chain)
{
	const struct certs_pair *issuer = add_subs(chain, &chain->root);

	switch (chain->row->shape) {
	case NOT_SENT:
		break;
	case REVERSED:
		for (unsigned i = 0; i < chain->made_count; i++)
			send_along(chain, &chain->made[i]);
		break;
	case WITH_OTHERS:
		send_along(chain, &chain->corpus->stranger);
		send_subs(chain);
		send_along(chain, &chain->corpus->root);
		break;
	default:
		send_subs(chain);
		if (chain->row->shape == WITH_ROOT)
			send_along(chain, &chain->root);
	}
	return issuer;
}

static const struct certs_pair *shape_stranger(struct chain *chain)
{
	const struct certs_pair *root = &chain->stranger;

	if (chain->row->shape == OF_NAMESAKE)
		root = keep(chain, make_authority(chain->corpus, NULL, STRANGER,
						  "O=Corp/CN=Corp CA", NULL));
	send_along(chain, root);
	return root;
}

static const struct certs_pair *shape_below_leaf(struct chain *chain)
{
	struct certs_spec spec = leaf_spec(chain);

	spec.subject = "O=Corp/CN=mallory";
	spec.same_key = key_of(chain->corpus, CERTS_P256, SUB);
	keep(chain, certs_make(&spec, &chain->root));
	send_subs(chain);
	return &chain->made[0];
}

/* One key and name, certified by the stranger and, unless CROSS_ONLY, by the root. */
static const struct certs_pair *shape_cross(struct chain *chain)
{
	const struct certs_pair *crossed = add_sub(chain, 1, "", &chain->stranger);

	send_along(chain, crossed);
	if (chain->row->shape != CROSS_ONLY)
		send_along(chain, add_sub(chain, 1, "", &chain->root));
	if (chain->row->shape == CROSS_AND_ROOT)
		send_along(chain, &chain->stranger);
	return crossed;
}

static const struct certs_pair *shape_namesake_first(struct chain *chain)
{
	const char *subject = "O=Corp/CN=Corp Sub of two";

	send_along(chain, keep(chain, make_authority(chain->corpus, NULL, STRANGER, subject,
						     &chain->root)));
	send_along(chain,
		   keep(chain, make_authority(chain->corpus, NULL, SUB, subject, &chain->root)));
	return &chain->made[1];
}

static const struct certs_pair *shape_root_crossed(struct chain *chain)
{
	send_along(chain, keep(chain, make_authority(chain->corpus, NULL, ROOT, "O=Corp/CN=Corp CA",
						     &chain->stranger)));
	return &chain->root;
}

/* a has certified b and b has certified a. */
static const struct certs_pair *shape_loop(struct chain *chain)
{
	const struct certs_spec other_key = {.same_key =
						     key_of(chain->corpus, CERTS_P256, STRANGER)};
	const struct certs_pair *first_a = add_sub(chain, 1, " a", NULL);
	const struct certs_pair *b = keep(chain, make_authority(chain->corpus, &other_key, SUB,
								"O=Corp/CN=Loop b", first_a));
	const struct certs_pair *a = add_sub(chain, 1, " a", b);

	send_along(chain, a);
	send_along(chain, b);
	if (chain->row->shape == LOOP_AND_ROOT)
		send_along(chain, add_sub(chain, 1, " a", &chain->root));
	return a;
}

static const struct certs_pair *shape_expired_and_new(struct chain *chain)
{
	const struct certs_spec old = {.from_s = -9 * CERTS_DAY_S, .until_s = -2 * CERTS_DAY_S};
	const char *subject = "O=Corp/CN=Corp Renewed Sub";

	send_along(chain,
		   keep(chain, make_authority(chain->corpus, &old, SUB, subject, &chain->root)));
	send_along(chain,
		   keep(chain, make_authority(chain->corpus, NULL, SUB, subject, &chain->root)));
	return &chain->made[0];
}

static const struct certs_pair *shape_self_issued(struct chain *chain)
{
	char name[256];
	const struct certs_pair *issued;

	X509_NAME_get_text_by_NID(X509_get_subject_name(chain->root.cert), NID_commonName, name,
				  sizeof(name));
	memmove(name + 10, name, strlen(name) + 1);
	memcpy(name, "O=Corp/CN=", 10);
	issued = keep(chain, make_authority(chain->corpus, NULL, SUB, name, &chain->root));
	send_along(chain, issued);
	return issued;
}

static const struct certs_pair *shape(struct chain *chain)
{
	switch (chain->row->shape) {
	case ALONE:
		return NULL;
	case OF_STRANGER:
	case OF_NAMESAKE:
		return shape_stranger(chain);
	case BELOW_A_LEAF:
		return shape_below_leaf(chain);
	case CROSS_SIGNED:
	case CROSS_AND_ROOT:
	case CROSS_ONLY:
		return shape_cross(chain);
	case NAMESAKE_FIRST:
		return shape_namesake_first(chain);
	case ROOT_CROSSED:
		return shape_root_crossed(chain);
	case LOOP:
	case LOOP_AND_ROOT:
		return shape_loop(chain);
	case EXPIRED_AND_NEW:
		return shape_expired_and_new(chain);
	case SELF_ISSUED:
		return shape_self_issued(chain);
	default:
		return shape_below(chain);
	}
}

/* ---- files ---- */

static FILE *create(const struct corpus *corpus, const char *name, mode_t mode)
{
	char path[4096];
	FILE *file;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", corpus->directory, name);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	file = fd < 0 ? NULL : fdopen(fd, "w");
	must(file, path);
	return file;
}

static void finish(FILE *file, const char *name)
{
	must(fclose(file) == 0, name);
}

static void write_leaf(FILE *file, const struct chain *chain, const struct certs_pair *issuer)
{
	struct certs_spec spec = leaf_spec(chain);
	uint8_t *der;
	size_t len;

	if (chain->row->shape == AN_AUTHORITY) {
		spec.basic = "critical,CA:TRUE";
		spec.ku = "critical,digitalSignature,keyCertSign,cRLSign";
	}
	if (chain->row->shape == THE_ROOT)
		der = certs_der(chain->root.cert, &len);
	else
		der = certs_make_der(&spec, issuer, &len);
	PEM_write(file, PEM_STRING_X509, "", der, (long)len);
	free(der);
}

static void write_chain(struct chain *chain, const char *name)
{
	const struct certs_pair *issuer = shape(chain);
	FILE *file = create(chain->corpus, name, 0644);

	write_leaf(file, chain, issuer);
	for (unsigned i = 0; i < chain->sent_count; i++)
		PEM_write_X509(file, chain->sent[i]);
	finish(file, name);
}

/* The leaf before its bytes were exchanged, for who can send only what OpenSSL reads. */
static void write_sound(struct chain *chain, const char *name)
{
	struct certs_spec spec = leaf_spec(chain);
	FILE *file = create(chain->corpus, name, 0644);
	struct certs_pair pair;

	spec.from = NULL;
	pair = certs_make(&spec, &chain->root);
	PEM_write_X509(file, pair.cert);
	finish(file, name);
	certs_free(&pair);
}

static void write_key(const struct chain *chain, const char *name)
{
	FILE *file = create(chain->corpus, name, 0600);
	EVP_PKEY *key = chain->row->shape == THE_ROOT ? chain->root.key : leaf_spec(chain).same_key;

	PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
	finish(file, name);
}

static struct certs_pair borrow(const struct certs_pair *pair)
{
	X509_up_ref(pair->cert);
	EVP_PKEY_up_ref(pair->key);
	return *pair;
}

/* The roots that this row hangs on; one of its own is loaded. */
static void find_roots(struct chain *chain)
{
	struct corpus *corpus = chain->corpus;
	const struct rows_row *row = chain->row;
	char subject[64];

	snprintf(subject, sizeof(subject), "O=Corp/CN=Corp CA %u", chain->number);
	chain->root = borrow(&corpus->root);
	chain->stranger = borrow(&corpus->stranger);
	if (row->root && row->shape == OF_STRANGER) {
		certs_free(&chain->stranger);
		chain->stranger = make_authority(corpus, row->root, STRANGER, subject, NULL);
	} else if (row->root) {
		certs_free(&chain->root);
		chain->root = make_authority(corpus, row->root, ROOT, subject, NULL);
		PEM_write_X509(corpus->roots, chain->root.cert);
	}
}

static json_t *describe(const struct rows_row *row, const char *chain, const char *key)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "name", row->name, "device",
			 row->device, "gateway", row->gateway, "tls_device",
			 or_default(row->tls_device, row->device), "tls_gateway",
			 or_default(row->tls_gateway, row->gateway), "why",
			 or_default(row->why, ""), "chain", chain, "key", key);
}

static json_t *make_row(struct corpus *corpus, unsigned number)
{
	struct chain chain = {.corpus = corpus, .row = &rows[number], .number = number + 1};
	char pem[16], key[16], sound[16];

	snprintf(pem, sizeof(pem), "%03u.pem", number + 1);
	snprintf(key, sizeof(key), "%03u.key", number + 1);
	find_roots(&chain);
	write_chain(&chain, pem);
	write_key(&chain, key);
	snprintf(sound, sizeof(sound), "%03u.sound", number + 1);
	if (rows[number].leaf.from)
		write_sound(&chain, sound);
	for (unsigned i = 0; i < chain.made_count; i++)
		certs_free(&chain.made[i]);
	certs_free(&chain.root);
	certs_free(&chain.stranger);
	return describe(&rows[number], pem, key);
}

static void write_list(struct corpus *corpus)
{
	const struct certs_list_spec spec = {
		.entries = {{.serial = ROWS_REVOKED, .at_s = -CERTS_DAY_S},
			    {.serial = ROWS_SUB_REVOKED, .at_s = -CERTS_DAY_S}},
		.this_s = -3600,
		.next_s = YEARS_S,
		.number = 1,
	};
	X509_CRL *list = certs_make_list(&spec, &corpus->root);
	FILE *file = create(corpus, "corpus.crl", 0644);

	PEM_write_X509_CRL(file, list);
	finish(file, "corpus.crl");
	X509_CRL_free(list);
}

static void write_all(struct corpus *corpus)
{
	json_t *table = json_array();
	FILE *file;

	corpus->root = make_authority(corpus, NULL, ROOT, "O=Corp/CN=Corp CA", NULL);
	corpus->stranger = make_authority(corpus, NULL, STRANGER, "CN=Stranger CA", NULL);
	corpus->roots = create(corpus, "roots.pem", 0644);
	PEM_write_X509(corpus->roots, corpus->root.cert);
	for (unsigned i = 0; i < rows_count; i++)
		json_array_append_new(table, make_row(corpus, i));
	finish(corpus->roots, "roots.pem");
	write_list(corpus);
	file = create(corpus, "corpus.json", 0644);
	must(json_dumpf(table, file, JSON_INDENT(1) | JSON_ENSURE_ASCII) == 0, "corpus.json");
	finish(file, "corpus.json");
	json_decref(table);
}

int main(int argc, char **argv)
{
	struct corpus corpus = {.directory = argv[1]};

	if (argc != 2) {
		fputs("usage: make DIRECTORY\n", stderr);
		return 2;
	}
	write_all(&corpus);
	certs_free(&corpus.root);
	certs_free(&corpus.stranger);
	for (int kind = 0; kind < KINDS; kind++) {
		for (int place = 0; place < PLACES; place++)
			EVP_PKEY_free(corpus.keys[kind][place]);
	}
	return 0;
}
