#pragma once
/* The ciphers of OpenSSL's default provider, AES-GCM among them quicker to ask: part of
 * channel/lean. */

#include <openssl/core.h>

/* all: what the provider has. Called once, before any cipher is used; the list lasts for good. */
const OSSL_ALGORITHM *lean_cipher_list(const OSSL_ALGORITHM *all);
