#pragma once
/* The files that a configuration names: our certificate with its intermediates, and whom we trust.
 * Read by the parent before anything is dropped; the private key is not among them. */

#include <openssl/x509.h>

#include "base/buf.h"
#include "config/config.h"
#include "pki/trust.h"

struct material {
	X509 *leaf;
	STACK_OF(X509) * chain; /* what stands behind the leaf; empty, not NULL */
	struct trust *trust;
};

/* Adds to problems what keeps it from working, to warnings what does not. 0, or -EINVAL when there
 * was a problem; *ret is then empty. */
int material_load(const struct config *config, struct config_problems *problems,
		  struct config_problems *warnings, struct material *ret);
void material_done(struct material *material);

/* Whether spki (DER) is the public half of the certificate's key. */
bool material_key_fits(const struct material *material, const struct buf *spki);

/* Reads a whole regular file that root (or we ourselves) owns and nobody else may write. 0 or
 * -errno with one line in error. */
int material_read_file(const char *path, size_t limit, struct buf *ret, char *error, size_t size);
