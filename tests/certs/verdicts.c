/* verdicts DIRECTORY: asks pki/verify about every row of the corpus that make has written there, in
 * both roles, and prints the table; those that differ from what the row expects are marked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "channel/lean.h"
#include "pki/verify.h"
#include "rows.h"

static const char *directory;

/* The program ends when there is none. */
static struct buf read_file(const char *name)
{
	struct buf bytes = {.limit = TRUST_FILE_MAX};
	char path[4096], piece[4096];
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "re");
	if (!file) {
		fprintf(stderr, "%s cannot be read; tests/certs/make writes it\n", path);
		exit(2);
	}
	while ((len = fread(piece, 1, sizeof(piece), file)))
		buf_append(&bytes, piece, len);
	fclose(file);
	return bytes;
}

static void print_problem(const char *file, const char *text, void *user)
{
	(void)user;
	fprintf(stderr, "%s: %s\n", file, text);
}

static struct trust *load_trust(void)
{
	_cleanup_(buf_done) struct buf roots = read_file("roots.pem");
	_cleanup_(buf_done) struct buf list = read_file("corpus.crl");
	const struct trust_source ca = {.file = "roots.pem", .data = roots.data, .len = roots.len};
	const struct trust_source crl = {.file = "corpus.crl", .data = list.data, .len = list.len};
	struct trust *trust = trust_new(
		&(struct trust_options){.cas = &ca, .ca_count = 1, .crls = &crl, .crl_count = 1},
		print_problem, NULL, NULL);

	if (!trust)
		exit(2);
	return trust;
}

/* As a peer's is read. */
static X509 *read_cert(BIO *bio)
{
	X509 *cert = X509_new_ex(lean_library(), NULL);

	if (PEM_read_bio_X509(bio, &cert, NULL, NULL))
		return cert;
	X509_free(cert);
	return NULL;
}

/* The leaf, or NULL when it cannot be read; the others are added to chain. */
static X509 *read_chain(unsigned number, STACK_OF(X509) * chain)
{
	char name[16];
	_cleanup_(buf_done) struct buf file = {0};
	X509 *leaf, *cert;
	BIO *bio;

	snprintf(name, sizeof(name), "%03u.pem", number + 1);
	file = read_file(name);
	bio = BIO_new_mem_buf(file.data, (int)file.len);
	leaf = read_cert(bio);
	while (leaf && (cert = read_cert(bio)))
		sk_X509_push(chain, cert);
	ERR_clear_error();
	BIO_free(bio);
	return leaf;
}

static const char *ask(struct trust *trust, X509 *leaf, STACK_OF(X509) * chain,
		       enum verify_role role, char *text, size_t size)
{
	struct verdict verdict = {0};

	text[0] = '\0';
	if (!leaf)
		return ROWS_UNREADABLE;
	verdict = verify_ask(&(struct verify_question){
		.trust = trust,
		.leaf = leaf,
		.untrusted = chain,
		.role = role,
		.peer_name = role == VERIFY_GATEWAY ? ROWS_GATEWAY_NAME : NULL,
		.at = time(NULL),
	});
	snprintf(text, size, "%s", verdict.text);
	verify_done(&verdict);
	return verdict.reason == REASON_NONE ? "ok" : reason_word(verdict.reason);
}

static bool check(const char *role, const char *word, const char *expected, const char *text)
{
	if (strcmp(word, expected) == 0)
		return true;
	printf("     ^ as a %s: %s, and the row says %s: %s\n", role, word, expected, text);
	return false;
}

/* How many of the row's two verdicts are wrong. */
static unsigned judge(struct trust *trust, unsigned number)
{
	const struct rows_row *row = &rows[number];
	STACK_OF(X509) *chain = sk_X509_new_null();
	X509 *leaf = read_chain(number, chain);
	char text[2][sizeof((struct verdict){0}.text)];
	const char *device = ask(trust, leaf, chain, VERIFY_DEVICE, text[0], sizeof(text[0]));
	const char *gateway = ask(trust, leaf, chain, VERIFY_GATEWAY, text[1], sizeof(text[1]));
	unsigned wrong;

	printf("%03u  %-50s  %-18s  %s\n", number + 1, row->name, device, gateway);
	wrong = !check("device", device, row->device, text[0]);
	wrong += !check("gateway", gateway, row->gateway, text[1]);
	X509_free(leaf);
	sk_X509_pop_free(chain, X509_free);
	return wrong;
}

int main(int argc, char **argv)
{
	struct trust *trust;
	unsigned wrong = 0;

	if (argc != 2) {
		fputs("usage: verdicts DIRECTORY\n", stderr);
		return 2;
	}
	directory = argv[1];
	trust = load_trust();
	printf("     %-50s  %-18s  %s\n", "", "as a device", "as a gateway");
	for (unsigned i = 0; i < rows_count; i++)
		wrong += judge(trust, i);
	printf("%zu certificates and chains, %u verdicts differ\n", rows_count, wrong);
	trust_unref(trust);
	return wrong ? 1 : 0;
}
