#pragma once
/* A PKCS#11 module with one token and one EC key, whose troubles a test decides: what no real token
 * does when asked to. The test finds it by the symbol fake_token. */

#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>

struct fake_token {
	EVP_PKEY *key; /* the test's; NULL: the token is empty */
	const char *pin;
	CK_FLAGS flags;			       /* in addition to those of a token in order */
	unsigned logins, signatures, sessions; /* that were tried */
	CK_RV login_fails;		       /* not CKR_OK: what the next login says, once */
	bool is_away;			       /* pulled out: sessions are lost */
	bool needs_restart; /* seen again after C_Finalize and C_Initialize alone */
};
