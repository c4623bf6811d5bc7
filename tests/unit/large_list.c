#include "large_list.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

enum {
	ENTRY = 53, /* bytes of one: serial, UTCTime, reasonCode */
	REST = 4096,
};

struct writer { /* of a buffer that is large enough */
	uint8_t *at;
};

static void put(struct writer *writer, const void *bytes, size_t len)
{
	memcpy(writer->at, bytes, len);
	writer->at += len;
}

static void put_head(struct writer *writer, uint8_t tag, size_t len)
{
	uint8_t head[] = {
		tag,	     0x84, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
		(uint8_t)len};
	uint8_t bytes = len < 0x80	  ? 0
			: len < 0x100	  ? 1
			: len < 0x10000	  ? 2
			: len < 0x1000000 ? 3
					  : 4;

	put(writer, head, 1);
	if (bytes)
		head[1] = 0x80 | bytes;
	else
		head[1] = (uint8_t)len;
	put(writer, head + 1, 1);
	put(writer, head + 6 - bytes, bytes);
}

void large_list_serial(size_t index, uint8_t ret[static LARGE_LIST_SERIAL])
{
	uint64_t state = index;

	for (size_t i = 0; i < LARGE_LIST_SERIAL; i += 4) {
		uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		memcpy(ret + i, &z, 4);
	}
	ret[0] = (ret[0] & 0x3f) | 0x40; /* positive, and as long as it says */
}

static void put_entries(struct writer *writer, size_t entries)
{
	uint8_t entry[ENTRY] = "\x30\x33\x02\x14....................\x17\x0d"
			       "260101000000Z"
			       "\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01";

	put_head(writer, 0x30, entries * ENTRY);
	for (size_t i = 0; i < entries; i++) {
		large_list_serial(i, entry + 4);
		entry[ENTRY - 1] = (uint8_t)(1 + i % 5);
		put(writer, entry, ENTRY);
	}
}

static void put_time(struct writer *writer, time_t at)
{
	char text[20];
	struct tm parts;

	strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", gmtime_r(&at, &parts));
	put_head(writer, 0x17, strlen(text) - 2); /* two digits of the year are enough */
	put(writer, text + 2, strlen(text) - 2);
}

static const uint8_t ecdsa_with_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
					    0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};

/* tbsCertList without its head. */
static void put_content(struct writer *writer, size_t entries, const struct certs_pair *issuer)
{
	static const uint8_t extensions[] = {0xa0, 0x0e, 0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03,
					     0x55, 0x1d, 0x14, 0x04, 0x03, 0x02, 0x01, 0x01};
	unsigned char *name = NULL;
	int name_len = i2d_X509_NAME(X509_get_subject_name(issuer->cert), &name);

	put(writer, "\x02\x01\x01", 3);
	put(writer, ecdsa_with_sha256, sizeof(ecdsa_with_sha256));
	put(writer, name, (size_t)name_len);
	put_time(writer, time(NULL) - 3600);
	put_time(writer, time(NULL) + 7 * CERTS_DAY_S);
	put_entries(writer, entries);
	put(writer, extensions, sizeof(extensions));
	OPENSSL_free(name);
}

/* Moves what is behind start, and writes its head before it. */
static void wrap(struct writer *writer, uint8_t *start, uint8_t tag)
{
	size_t len = (size_t)(writer->at - start);
	uint8_t head[8];
	struct writer before = {head};
	size_t head_len;

	put_head(&before, tag, len);
	head_len = (size_t)(before.at - head);
	memmove(start + head_len, start, len);
	memcpy(start, head, head_len);
	writer->at += head_len;
}

uint8_t *large_list_make(size_t entries, const struct certs_pair *issuer, size_t *ret_len)
{
	uint8_t *list = malloc(entries * ENTRY + REST), signature[256];
	size_t signature_len = sizeof(signature);
	struct writer writer = {list};
	EVP_MD_CTX *signing = EVP_MD_CTX_new();

	if (!list || !signing)
		abort();
	put_content(&writer, entries, issuer);
	wrap(&writer, list, 0x30);
	if (EVP_DigestSignInit(signing, NULL, EVP_sha256(), NULL, issuer->key) != 1 ||
	    EVP_DigestSign(signing, signature, &signature_len, list, (size_t)(writer.at - list)) !=
		    1)
		abort();
	EVP_MD_CTX_free(signing);
	put(&writer, ecdsa_with_sha256, sizeof(ecdsa_with_sha256));
	put_head(&writer, 0x03, signature_len + 1);
	put(&writer, "", 1); /* no unused bits */
	put(&writer, signature, signature_len);
	wrap(&writer, list, 0x30);
	*ret_len = (size_t)(writer.at - list);
	return list;
}

char *large_list_pem(const uint8_t *der, size_t len, size_t *ret_len)
{
	static const char begin[] = "-----BEGIN X509 CRL-----\n",
			  end[] = "-----END X509 CRL-----\n";
	char *pem = malloc(len / 48 * 65 + 256);
	struct writer writer = {(uint8_t *)pem};

	if (!pem)
		abort();
	put(&writer, begin, sizeof(begin) - 1);
	for (size_t i = 0; i < len; i += 48) {
		writer.at +=
			EVP_EncodeBlock(writer.at, der + i, (int)(len - i < 48 ? len - i : 48));
		put(&writer, "\n", 1);
	}
	put(&writer, end, sizeof(end) - 1);
	*ret_len = (size_t)(writer.at - (uint8_t *)pem);
	return pem;
}
