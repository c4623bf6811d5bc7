/* pki/verify: the certificates that a peer sends, in DER, one behind the other, the leaf first. Bit
 * 0 of the first byte says what it wants to be. Nobody is let in whose leaf no loaded or sent
 * authority has signed, and the same question has the same answer. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "fuzz_authority.h"
#include "pki/trust.h"
#include "pki/verify.h"

enum { NOW_S = 1800000000, SENT_MAX = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Their keys are gone. */
static const char lists[] = "-----BEGIN X509 CRL-----\n"
			    "MIHhMIGUAgEBMAUGAytlcDAjMQ0wCwYDVQQKDARGdXp6MRIwEAYDVQQDDAlGdXp6\n"
			    "IHJvb3QXDTI2MDEwMTAwMDAwMFoXDTM1MTIzMDAwMDAwMFowFDASAgEfFw0yNjAx\n"
			    "MDEwMDAwMDBaoC8wLTAKBgNVHRQEAwIBATAfBgNVHSMEGDAWgBRULQOthCqsXLGS\n"
			    "3p74ClYiPI0mJjAFBgMrZXADQQD3ElDIFUTso+3ZMlNUGlquD2ewB1OEnjFiSRav\n"
			    "W514JLiDvoKikO6IV1XMVDefBDydjuvETSKA95OVlRZiGksD\n"
			    "-----END X509 CRL-----\n"
			    "-----BEGIN X509 CRL-----\n"
			    "MIHgMIGTAgEBMAUGAytlcDAiMQ0wCwYDVQQKDARGdXp6MREwDwYDVQQDDAhGdXp6\n"
			    "IHN1YhcNMjYwMTAxMDAwMDAwWhcNMzUxMjMwMDAwMDAwWjAUMBICAR8XDTI2MDEw\n"
			    "MTAwMDAwMFqgLzAtMAoGA1UdFAQDAgEBMB8GA1UdIwQYMBaAFEy/dUPRQsOkB//w\n"
			    "SDMfvtD2T0PKMAUGAytlcANBAGDCMZzzQa92/pWPZoZu+S1GKXbPhhBlBrvU7rh7\n"
			    "/liTib85r49vynBKPfGevMkm3oWx4Hxc82B2UQ8V9UOp4wQ=\n"
			    "-----END X509 CRL-----\n"
			    "-----BEGIN X509 CRL-----\n"
			    "MIHiMIGVAgEBMAUGAytlcDAkMQ0wCwYDVQQKDARGdXp6MRMwEQYDVQQDDApGdXp6\n"
			    "IG5hbWVkFw0yNjAxMDEwMDAwMDBaFw0zNTEyMzAwMDAwMDBaMBQwEgIBHxcNMjYw\n"
			    "MTAxMDAwMDAwWqAvMC0wCgYDVR0UBAMCAQEwHwYDVR0jBBgwFoAU8EtnFVR9Fjmv\n"
			    "PUtnCCavzttgWmIwBQYDK2VwA0EANtKNliKg25Yra5oVHM765Eb10Hs79DtTaEsm\n"
			    "NsQzj/K6O1YbAMNvdrM90tZpIkEyuKDZYxOvzA9NMF+s5PpwDg==\n"
			    "-----END X509 CRL-----\n";

static void fail_problem(const char *file, const char *text, void *user)
{
	(void)file;
	(void)text;
	(void)user;
	abort();
}

static void pass_warning(const char *file, const char *text, void *user)
{
	(void)user;
	assert(file && text[0]);
}

static struct trust *make_trust(const struct trust_denial *denials, size_t count)
{
	const struct trust_source ca = {.file = "ca",
					.data = (const uint8_t *)authority,
					.len = sizeof(authority) - 1};
	const struct trust_source crl = {.file = "crl",
					 .data = (const uint8_t *)lists,
					 .len = sizeof(lists) - 1};

	return trust_new(
		&(struct trust_options){
			.cas = &ca,
			.ca_count = 1,
			.crls = &crl,
			.crl_count = 1,
			.denials = denials,
			.denial_count = count,
			.crl_policy = TRUST_CRL_ADVISORY,
		},
		fail_problem, pass_warning, NULL);
}

/* What the authority has issued as 2f is denied. */
static struct trust *get_trust(void)
{
	static struct trust *trust;
	struct trust_denial denial = {.serial = "2f"};

	if (trust)
		return trust;
	trust = make_trust(NULL, 0);
	X509_NAME_digest(X509_get_subject_name(trust->cas[0].cert), EVP_sha256(),
			 denial.issuer_hash, NULL);
	trust_unref(trust);
	trust = make_trust(&denial, 1);
	return trust;
}

static bool is_signed_by(X509 *leaf, X509 *issuer)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer);
	bool is_signed = key && X509_verify(leaf, key) == 1;

	ERR_clear_error();
	return is_signed;
}

static void check_yes(const struct trust *trust, const struct verify_question *question,
		      const struct verdict *verdict)
{
	bool found = false;

	assert(verdict->cert && verdict->cert->identity.name[0] && verdict->cert->serial[0]);
	assert(verdict->cert->not_before <= NOW_S && verdict->cert->expires_at >= NOW_S);
	assert(strcmp(verdict->cert->serial, "2f") != 0 && verdict->cert->authority_count > 0);
	for (size_t i = 0; i < trust->ca_count; i++)
		found |= is_signed_by(question->leaf, trust->cas[i].cert);
	for (int i = 0; i < sk_X509_num(question->untrusted); i++)
		found |= is_signed_by(question->leaf, sk_X509_value(question->untrusted, i));
	assert(found);
}

static void ask(const struct trust *trust, const struct verify_question *question)
{
	struct verdict verdict = verify_ask(question), again = verify_ask(question);

	assert(verdict.reason == again.reason && strcmp(verdict.text, again.text) == 0);
	assert(verdict.reason != REASON_INTERNAL && ERR_peek_error() == 0);
	assert((verdict.reason == REASON_NONE) == (verdict.text[0] == '\0'));
	for (const char *at = verdict.text; *at; at++)
		assert((unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7f);
	if (verdict.reason == REASON_NONE)
		check_yes(trust, question, &verdict);
	verify_done(&verdict);
	verify_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *at = data + 1, *end = data + size;
	struct verify_question question = {.at = NOW_S, .peer_name = "vpn.corp.example"};
	struct trust *trust = get_trust();
	X509 *cert;

	if (size == 0)
		return 0;
	question.trust = trust;
	question.role = data[0] & 1 ? VERIFY_GATEWAY : VERIFY_DEVICE;
	question.leaf = d2i_X509(NULL, &at, end - at);
	question.untrusted = sk_X509_new_null();
	assert(question.untrusted);
	while (question.leaf && at < end && sk_X509_num(question.untrusted) < SENT_MAX) {
		cert = d2i_X509(NULL, &at, end - at);
		if (!cert)
			break;
		sk_X509_push(question.untrusted, cert);
	}
	ERR_clear_error();
	if (question.leaf)
		ask(trust, &question);
	X509_free(question.leaf);
	sk_X509_pop_free(question.untrusted, X509_free);
	return 0;
}
