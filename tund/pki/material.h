#pragma once
/* The files that a configuration names: our certificate with its intermediates, and whom we trust;
 * the private key is not among them. Who may read them is not who makes something of them: at a
 * reload the parent reads and the engine makes; at the start both are one. */

#include <openssl/x509.h>

#include "base/buf.h"
#include "config/config.h"
#include "pki/trust.h"

struct material {
	X509 *leaf;
	STACK_OF(X509) * chain; /* what stands behind the leaf; empty, not NULL */
	struct trust *trust;
};

/* What a reload puts in the place of all of it; borrowed. */
struct material_renewal {
	const struct config *config;
	const struct material *material; /* its trust is without denials */
	const struct buf *spki;		 /* of the key, DER */
	uint32_t key_generation;
};

enum material_kind { MATERIAL_CERTIFICATE, MATERIAL_CA, MATERIAL_CRL };

struct material_files {
	struct material_file {
		enum material_kind kind;
		char *name; /* its path, or "trust.ca in place" */
		struct buf
			content; /* empty when it could not be read, for which there is a problem */
		bool unread;
	} * items;
	size_t count;
};

/* All that the configuration names or holds in place. Adds to problems what cannot be read. */
void material_read(const struct config *config, struct config_problems *problems,
		   struct material_files *ret);
/* Takes content. */
void material_files_add(struct material_files *files, enum material_kind kind, const char *name,
			struct buf *content, bool unread);
void material_files_done(struct material_files *files);
/* previous: what is in force, NULL at the start. Adds to problems what keeps it from working, to warnings what does not. What could not be read is
 * not complained about again. 0, or -EINVAL when something was missing or wrong; *ret is then
 * empty. */
int material_make(const struct config *config, const struct material_files *files,
		  const struct trust *previous, struct config_problems *problems,
		  struct config_problems *warnings, struct material *ret);
/* Of files that are read again because one of them may have changed. What is missing or wrong in them
 * stays as it is in force, our certificate with its chain as one, and is told among the problems.
 * Whether our certificate is the files'. */
bool material_renew(const struct config *config, const struct material_files *files,
		    const struct material *in_force, struct config_problems *problems,
		    struct config_problems *warnings, struct material *ret);
/* Our certificate and its chain are those that are in force. */
void material_keep_own(struct material *material, const struct material *in_force);
/* material_make and material_read. */
int material_load(const struct config *config, struct config_problems *problems,
		  struct config_problems *warnings, struct material *ret);
void material_done(struct material *material);

/* Whether spki (DER) is the public half of the certificate's key. */
bool material_key_fits(const struct material *material, const struct buf *spki);
#define MATERIAL_KEY_MISMATCH                                                                      \
	"the key does not belong to the certificate; identity.certificate must start with the "    \
	"leaf that was issued for it"

/* Reads a whole regular file that root (or we ourselves) owns and nobody else may write. 0 or
 * -errno with one line in error. */
int material_read_file(const char *path, size_t limit, struct buf *ret, char *error, size_t size);
