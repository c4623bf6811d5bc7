#pragma once
/* OpenSSL's default provider with less in it: the library context in which TLS parses its peer's
 * certificate. */

#include <openssl/types.h>

/* Made once, never freed. NULL, the default context, where that is in FIPS mode or this one cannot
 * be made. Any thread. */
OSSL_LIB_CTX *lean_library(void);
