#pragma once
/* Certificates that an operator sends. */

#include <openssl/x509.h>

/* Of a text that is one CERTIFICATE block in PEM form, not encrypted; NULL: it is not. OpenSSL's
 * own reader of certificates asks the terminal for the password of an encrypted block, and the
 * sandbox has no terminal to open. */
X509 *pem_certificate(const char *text);
