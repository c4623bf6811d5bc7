/* pki/material: the file of our own certificate, an authority's, a list. The first byte says which
 * of them the rest is; the others are in order. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "config/config_load.h"
#include "fuzz_authority.h"
#include "pki/material.h"

enum { CHAIN_MAX = 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct config *get_config(void)
{
	static struct config *config;
	char text[] = "gateway { pool = 10.99.0.0/16 }\n"
		      "identity { certificate = own key = key }\n"
		      "trust { ca = ca crl = crl }\n";
	struct config_problems problems = {0};

	if (!config)
		config = config_load_text("/fuzz.conf", text, sizeof(text) - 1, true, &problems);
	assert(config);
	return config;
}

/* One line each, fit for a terminal. */
static void check_texts(const struct config_problems *problems)
{
	for (size_t i = 0; i < problems->count; i++) {
		assert(problems->items[i].text[0]);
		for (const char *at = problems->items[i].text; *at; at++)
			assert((unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7f);
	}
}

static void add_file(struct material_files *files, enum material_kind kind, const char *name,
		     const void *data, size_t size)
{
	struct buf content = {0};

	buf_append(&content, data, size);
	material_files_add(files, kind, name, &content, false);
}

static void check_material(const struct material *material)
{
	struct buf spki = {0};
	unsigned char *der = NULL;
	int len;

	assert(material->leaf && material->chain && material->trust);
	assert(sk_X509_num(material->chain) <= CHAIN_MAX);
	len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(material->leaf), &der);
	assert(len > 0);
	buf_append(&spki, der, (size_t)len);
	assert(material_key_fits(material, &spki));
	spki.data[spki.len - 1] ^= 1;
	assert(!material_key_fits(material, &spki));
	buf_done(&spki);
	OPENSSL_free(der);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"/own", "/ca", "/crl"};
	struct material_files files = {0};
	struct config_problems problems = {0}, warnings = {0};
	struct material material;
	enum material_kind which;
	int r;

	if (size == 0)
		return 0;
	which = (enum material_kind)(data[0] % 3);
	for (int kind = MATERIAL_CERTIFICATE; kind <= MATERIAL_CA; kind++) {
		if (kind != (int)which)
			add_file(&files, (enum material_kind)kind, names[kind], authority,
				 sizeof(authority) - 1);
	}
	add_file(&files, which, names[which], data + 1, size - 1);
	r = material_make(get_config(), &files, NULL, &problems, &warnings, &material);
	assert((r == 0) == (problems.count == 0) && ERR_peek_error() == 0);
	check_texts(&problems);
	check_texts(&warnings);
	if (r == 0)
		check_material(&material);
	material_done(&material);
	material_files_done(&files);
	config_problems_done(&problems);
	config_problems_done(&warnings);
	return 0;
}
