/* tunctl/certificates: a file that an operator names. What is sent is certificates in PEM form, and
 * never anything of a file with a key. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../tunctl/certificates.h"
#include "wire/ctl_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_certificate(const char *text)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----\n";
	size_t len = strlen(text);

	assert(len > strlen(begin) + strlen(end));
	assert(strncmp(text, begin, strlen(begin)) == 0);
	assert(strcmp(text + len - strlen(end), end) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf file = {0};
	json_t *certificates = NULL, *error;

	buf_append(&file, data, size);
	error = certificates_parse("file", &file, &certificates);
	assert(!error == (certificates != NULL));
	assert(!certificates || json_array_size(certificates) > 0);
	if (size && memmem(data, size, "PRIVATE KEY", 11))
		assert(error);
	if (error)
		assert(strncmp(ctl_msg_string(error, "error"), "file: ", 6) == 0);
	for (size_t i = 0; i < json_array_size(certificates); i++)
		check_certificate(json_string_value(json_array_get(certificates, i)));
	buf_done(&file);
	json_decref(certificates);
	json_decref(error);
	return 0;
}
