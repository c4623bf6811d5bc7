#pragma once
/* What a PKCS#11 token holds: objects found by label and id, and the public half of a private key.
 */

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

#include "key/library.h"

struct token_object_place {
	CK_FUNCTION_LIST *module;
	CK_SESSION_HANDLE session; /* logged in */
};

/* Objects of the class; label and id NULL for any. The first in *ret, and how many in *count: 2 means
 * several. */
CK_RV token_object_find(const struct token_object_place *place, CK_OBJECT_CLASS class,
			const CK_ATTRIBUTE *label, const CK_ATTRIBUTE *id, CK_OBJECT_HANDLE *ret,
			size_t *count);
/* The private keys that match, as "object=... id=%...": for a message. Returns text. */
const char *token_object_names(const struct token_object_place *place, const CK_ATTRIBUTE *label,
			       const CK_ATTRIBUTE *id, char *text, size_t size);
/* False where the object lacks it. */
bool token_object_flag(const struct token_object_place *place, CK_OBJECT_HANDLE object,
		       CK_ATTRIBUTE_TYPE type);
/* NULL: the token does not tell, or it is of no kind that can be ours. OpenSSL's error queue may be
 * filled. The caller frees it. */
EVP_PKEY *token_object_public(const struct token_object_place *place, CK_OBJECT_HANDLE key);
