#pragma once
/* Signatures of the provider "tund": collects nothing and digests nothing, sends the whole message
 * to the key holder and waits. Only what a TLS 1.3 handshake does: sign in one call, never verify.
 */

#include <openssl/core_dispatch.h>

extern const OSSL_DISPATCH remote_sign_functions[];
