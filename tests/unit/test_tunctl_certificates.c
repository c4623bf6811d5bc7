#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "../../tunctl/certificates.h"
#include "wire/ctl_msg.h"

#define PEM(text)    "-----BEGIN CERTIFICATE-----\n" text "\n-----END CERTIFICATE-----\n"
#define BLOCK(label) "-----BEGIN " label "-----\nMIIB\n-----END " label "-----\n"

struct row {
	const char *name, *bytes;
	size_t len;	    /* 0: a string's */
	const char *wanted; /* the certificates, one behind the other; or part of the error */
	size_t count;	    /* 0: an error */
};

static void check(const struct row *row)
{
	struct buf file = {0};
	json_t *certificates = NULL, *error;
	char all[2048] = "";

	buf_append(&file, row->bytes, row->len ? row->len : strlen(row->bytes));
	error = certificates_parse("x.pem", &file, &certificates);
	buf_done(&file);
	if (row->count ? error != NULL : !error)
		fail_msg("%s: %s", row->name, error ? ctl_msg_string(error, "error") : "taken");
	if (error) {
		const char *text = ctl_msg_string(error, "error");

		assert_int_equal(json_integer_value(json_object_get(error, "exit")),
				 CTL_EXIT_USAGE);
		if (!strstr(text, row->wanted) || strncmp(text, "x.pem: ", 7) != 0)
			fail_msg("%s: %s", row->name, text);
		json_decref(error);
		return;
	}
	assert_int_equal(json_array_size(certificates), row->count);
	for (size_t i = 0; i < row->count; i++)
		strcat(all, json_string_value(json_array_get(certificates, i)));
	if (strcmp(all, row->wanted) != 0)
		fail_msg("%s: %s", row->name, all);
	json_decref(certificates);
}

#define DER(bytes) bytes, sizeof(bytes) - 1

static void files(void **state)
{
	static const struct row rows[] = {
		{"one", PEM("MIIB"), 0, PEM("MIIB"), 1},
		{"a chain", PEM("MIIA") PEM("MIIB"), 0, PEM("MIIA") PEM("MIIB"), 2},
		{"text around", "Subject: x\n" PEM("MIIA") "and\n" PEM("MIIB") "end", 0,
		 PEM("MIIA") PEM("MIIB"), 2},
		{"no newline at the end",
		 "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----", 0, PEM("A"), 1},
		{"DER, version 3", DER("\x30\x06\x30\x04\xa0\x02\x02\x00"), PEM("MAYwBKACAgA="), 1},
		{"nothing", "", 0, "no certificate in it", 0},
		{"text", "hello\n", 0, "no certificate in it", 0},
		{"a key", BLOCK("PRIVATE KEY"), 0, "a private key is in it, so nothing was sent",
		 0},
		{"a key behind it", PEM("A") BLOCK("EC PRIVATE KEY"), 0, "a private key", 0},
		{"a key before it", BLOCK("RSA PRIVATE KEY") PEM("A"), 0, "a private key", 0},
		{"an encrypted key", BLOCK("ENCRYPTED PRIVATE KEY"), 0, "a private key", 0},
		{"a list", BLOCK("X509 CRL"), 0, "a block \"X509 CRL\" where only certificates", 0},
		{"a trusted certificate", BLOCK("TRUSTED CERTIFICATE"), 0, "a block", 0},
		{"a label that begins so", BLOCK("CERTIFICATE REQUEST"), 0, "a block", 0},
		{"no label", "-----BEGIN -----\nA\n-----END -----\n", 0, "a block \"\"", 0},
		{"cut in the label", "-----BEGIN CERTIF", 0, "does not end", 0},
		{"cut in the body", "-----BEGIN CERTIFICATE-----\nMII", 0, "does not end", 0},
		{"cut in the end", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERT", 0,
		 "does not end", 0},
		{"cut behind a good one", PEM("A") "-----BEGIN CERTIFICATE-----\nMII", 0,
		 "does not end", 0},
		{"a zero in it",
		 DER("-----BEGIN CERTIFICATE-----\nM\0I\n-----END CERTIFICATE-----\n"),
		 "a damaged certificate", 0},
		{"not UTF-8", PEM("M\xff"), 0, "a damaged certificate", 0},
		{"a wild label", "-----BEGIN \x1b[2J-----\nA\n-----END \x1b[2J-----\n", 0,
		 "a block \\x22\\x1b[2J\\x22", 0},
		{"a key as DER", DER("\x30\x06\x02\x01\x00\x30\x01\x00"), "no certificate in it",
		 0},
		{"an EC key as DER", DER("\x30\x05\x02\x01\x01\x04\x00"), "no certificate in it",
		 0},
		{"an encrypted key as DER", DER("\x30\x06\x30\x04\x06\x00\x04\x00"),
		 "no certificate in it", 0},
		{"DER that ends early", DER("\x30\x82"), "no certificate in it", 0},
		{"DER with a huge length", DER("\x30\xff\x01"), "no certificate in it", 0},
		{"a sequence alone", DER("\x30\x00"), "no certificate in it", 0},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(&rows[i]);
}

/* 48 bytes a line, as PEM has them, and every length of the last group. */
static void der_becomes_pem(void **state)
{
	uint8_t der[64] = {0x30, 0x3e, 0x30, 0x3c, 0x02};
	(void)state;

	check(&(struct row){"64", (const char *)der, 64,
			    PEM("MD4wPAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
				"AAAAAAAAAAAAAAAAAAAAAA=="),
			    1});
	check(&(struct row){"63", (const char *)der, 63,
			    PEM("MD4wPAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
				"AAAAAAAAAAAAAAAAAAAA"),
			    1});
	check(&(struct row){"62", (const char *)der, 62,
			    PEM("MD4wPAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
				"AAAAAAAAAAAAAAAAAAA="),
			    1});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files),
		cmocka_unit_test(der_becomes_pem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
