/* wire/login_answer: the document that answers a login. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "wire/login_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct login_answer answer;

	login_answer_read((const char *)data, size, &answer);
	assert(memchr(answer.said, '\0', sizeof(answer.said)));
	assert(memchr(answer.token, '\0', sizeof(answer.token)));
	for (const char *c = answer.said; *c; c++)
		assert((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f);
	/* It goes into a header field as it is. */
	for (const char *c = answer.token; *c; c++)
		assert((unsigned char)*c > 0x20 && (unsigned char)*c < 0x7f && *c != ';');
	if (answer.verdict == LOGIN_SUCCESS)
		assert(memmem(data, size, "auth", 4) && memmem(data, size, "success", 7));
	else
		assert(!answer.token[0]);
	return 0;
}
