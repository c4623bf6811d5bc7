/* What the parent has read is parsed here, by the same code as at the start: this process has
 * nothing to lose. */
#include "ctl/candidate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "config/config_load.h"
#include "wire/bundle.h"

struct asking {
	void (*done)(struct candidate *candidate, void *user);
	void (*basis)(struct candidate_basis *ret, void *user);
	bool files_only;
	void *user;
	char path[]; /* of the configuration */
};

void candidate_free(struct candidate *candidate)
{
	if (!candidate)
		return;
	config_free(candidate->config);
	material_done(&candidate->material);
	buf_done(&candidate->spki);
	config_problems_done(&candidate->problems);
	config_problems_done(&candidate->warnings);
	free(candidate);
}

static void take_problem(struct candidate *candidate, const struct bundle_part *part)
{
	config_problem(&candidate->problems, part->name, part->number, "%.*s", (int)part->len,
		       (const char *)part->bytes);
}

/* A copy of the text, for reading it writes to it. */
static void take_config(struct candidate *candidate, const struct bundle_part *part)
{
	_cleanup_free_ char *text = xalloc_zero(part->len + 1, 1);

	memcpy(text, part->bytes, part->len);
	config_free(candidate->config);
	candidate->config = config_load_text(part->name, text, part->len, part->number != 0,
					     &candidate->problems);
}

static void take_file(const struct bundle_part *part, enum material_kind kind,
		      struct material_files *files)
{
	struct buf content = {0};

	buf_append(&content, part->bytes, part->len);
	material_files_add(files, kind, part->name, &content, part->number != 0);
}

static void take_part(struct candidate *candidate, const struct bundle_part *part,
		      struct material_files *files)
{
	switch (part->kind) {
	case BUNDLE_PROBLEM:
		take_problem(candidate, part);
		return;
	case BUNDLE_CONFIG:
		take_config(candidate, part);
		return;
	case BUNDLE_CERTIFICATE:
		take_file(part, MATERIAL_CERTIFICATE, files);
		return;
	case BUNDLE_CA:
		take_file(part, MATERIAL_CA, files);
		return;
	case BUNDLE_CRL:
		take_file(part, MATERIAL_CRL, files);
		return;
	case BUNDLE_KEY:
		buf_done(&candidate->spki);
		buf_append(&candidate->spki, part->bytes, part->len);
		candidate->key_generation = part->number;
		return;
	}
}

static void check_key(struct candidate *candidate)
{
	const struct config *config = candidate->config;

	if (candidate->spki.len && candidate->material.leaf &&
	    !material_key_fits(&candidate->material, &candidate->spki))
		config_problem(&candidate->problems, config->path,
			       config_line(config, "identity.key"), "identity.key: %s",
			       MATERIAL_KEY_MISMATCH);
}

/* ---- all of it ---- */

/* False where something is missing though nothing is wrong, which would be a fault of ours. */
static bool make_all(struct candidate *candidate, const struct candidate_basis *basis,
		     const struct material_files *files)
{
	if (candidate->config) {
		material_make(candidate->config, files, basis->material.trust, &candidate->problems,
			      &candidate->warnings, &candidate->material);
		check_key(candidate);
	}
	return candidate->problems.count > 0 || (candidate->spki.len && candidate->material.leaf);
}

/* ---- files alone ---- */

static void keep_key(struct candidate *candidate, const struct candidate_basis *basis)
{
	buf_done(&candidate->spki);
	buf_append(&candidate->spki, basis->spki->data, basis->spki->len);
	candidate->key_generation = basis->key_generation;
	candidate->key_stays = true;
}

/* Of a pair the two files are seldom replaced in one instant: the pair in force stays until both are
 * there. */
static void settle_pair(struct candidate *candidate, const struct candidate_basis *basis,
			bool is_renewed)
{
	bool has_key = candidate->spki.len > 0; /* else there is a problem that says why */

	if (has_key && material_key_fits(&candidate->material, &candidate->spki))
		return;
	if (has_key && is_renewed)
		config_problem(&candidate->problems, basis->config->path,
			       config_line(basis->config, "identity.key"),
			       "identity.key: the key does not belong to the certificate; put the "
			       "other half of the pair in place");
	keep_key(candidate, basis);
	if (!material_key_fits(&candidate->material, &candidate->spki))
		material_keep_own(&candidate->material, &basis->material);
}

static void renew(struct candidate *candidate, const struct candidate_basis *basis,
		  const struct material_files *files)
{
	bool is_renewed =
		material_renew(basis->config, files, &basis->material, &candidate->problems,
			       &candidate->warnings, &candidate->material);

	settle_pair(candidate, basis, is_renewed);
}

/* ---- the bundle ---- */

static bool take_bundle(struct candidate *candidate, const struct candidate_basis *basis,
			bool files_only, struct span span)
{
	struct material_files files = {0};
	_cleanup_free_ struct bundle_part *part = xnew(struct bundle_part);
	bool is_whole = true;

	while (bundle_read(&span, part))
		take_part(candidate, part, &files);
	if (files_only && !span.failed)
		renew(candidate, basis, &files);
	else if (!files_only)
		is_whole = make_all(candidate, basis, &files);
	material_files_done(&files);
	return !span.failed && is_whole;
}

static int read_bundle(struct candidate *candidate, const struct candidate_basis *basis,
		       bool files_only, int fd)
{
	struct stat about;
	void *bytes;
	bool is_whole;

	if (fstat(fd, &about) < 0)
		return -errno;
	if (about.st_size <= 0 || about.st_size > BUNDLE_MAX)
		return -EFBIG;
	bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	is_whole = take_bundle(candidate, basis, files_only,
			       (struct span){bytes, (size_t)about.st_size, false});
	munmap(bytes, (size_t)about.st_size);
	return is_whole ? 0 : -EBADMSG;
}

static void on_reload(int fd, int error, const char *text, void *user)
{
	_cleanup_free_ struct asking *asking = user;
	_cleanup_close_ int bundle = fd;
	struct candidate *candidate = xnew(struct candidate);
	struct candidate_basis basis;

	asking->basis(&basis, asking->user);
	if (bundle >= 0)
		error = read_bundle(candidate, &basis, asking->files_only, bundle);
	else if (error == 0)
		error = -EBADMSG;
	if (error < 0)
		config_problem(&candidate->problems, asking->path, 0,
			       "the configuration cannot be read again: %s",
			       bundle < 0 && text[0] ? text : strerror(-error));
	/* Half a configuration is none. */
	if (candidate->problems.count && !asking->files_only) {
		config_free(take(candidate->config));
		material_done(&candidate->material);
	}
	asking->done(candidate, asking->user);
}

static struct asking *make_asking(const struct config *running,
				  void (*basis)(struct candidate_basis *ret, void *user),
				  void (*done)(struct candidate *candidate, void *user), void *user)
{
	size_t room = strlen(running->path) + 1;
	struct asking *asking = xalloc_zero(1, sizeof(*asking) + room);

	asking->done = done;
	asking->basis = basis;
	asking->user = user;
	memcpy(asking->path, running->path, room);
	return asking;
}

void candidate_ask(struct parent_link *link, const struct config *running,
		   void (*basis)(struct candidate_basis *ret, void *user),
		   void (*done)(struct candidate *candidate, void *user), void *user)
{
	parent_link_ask_reload(link, on_reload, make_asking(running, basis, done, user));
}

void candidate_ask_files(struct parent_link *link, const struct config *running,
			 void (*basis)(struct candidate_basis *ret, void *user),
			 void (*done)(struct candidate *candidate, void *user), void *user)
{
	struct asking *asking = make_asking(running, basis, done, user);

	asking->files_only = true;
	parent_link_ask_files(link, on_reload, asking);
}
