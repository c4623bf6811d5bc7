/* A reload, from the parent's side. The engine can only ask for one; what is read is what root's
 * files name. When one of them has changed (parent_serve.c watches them), all of them are read
 * again, and the configuration in force names them: there is no 1.
 *
 *	1  read_config   the text, checked; a key in it is blanked before anything parses it
 *	2  read_files    certificate, CAs, lists: their bytes, looked at by nobody here
 *	3  load_key      opened here, read by the key holder, under a new generation
 *	4  go_on         its public half, or why there is none: all of it goes to the engine, which
 *			 parses and decides
 *	5  adopt         the engine has put it in force
 *
 * What keeps the new configuration from working is a part like the others: the engine tells them
 * all. Nothing here is in force before 5. */
#include "parent_reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "config/config_diff.h"
#include "config/config_load.h"
#include "config/config_text.h"
#include "key/holder.h"
#include "key/source.h"
#include "parent_limits.h"
#include "wire/bundle.h"

enum { KEY_TIMEOUT_US = 30 * 1000000, ERROR_TEXT = 1024 };

struct parent_reload {
	struct parent_kit *kit;
	int keys;
	parent_reload_fn done;
	void *user;
	/* the one under way */
	bool is_waiting; /* for the key holder */
	uint32_t id;
	int bundle, error; /* error: what it could not be written for */
	int64_t deadline_us;
	/* the last one read */
	struct config *config; /* NULL: there is none, or something was wrong */
	bool files_only, is_wrong;
	uint32_t generation;
};

struct parent_reload *parent_reload_new(struct parent_kit *kit, int keys, parent_reload_fn done,
					void *user)
{
	struct parent_reload *reload = xnew(struct parent_reload);

	*reload = (struct parent_reload){
		.kit = kit,
		.keys = keys,
		.done = done,
		.user = user,
		.bundle = -1,
	};
	return reload;
}

void parent_reload_free(struct parent_reload *reload)
{
	if (!reload)
		return;
	cleanup_close(&reload->bundle);
	config_free(reload->config);
	free(reload);
}

/* ---- what is handed over ---- */

static int write_all(int fd, const void *bytes, size_t len)
{
	for (const uint8_t *at = bytes; len > 0;) {
		ssize_t done = write(fd, at, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		at += done;
		len -= (size_t)done;
	}
	return 0;
}

static void put(struct parent_reload *reload, enum bundle_kind kind, uint32_t number,
		const char *name, const void *bytes, size_t len)
{
	struct buf head = {0};

	if (reload->error)
		return;
	bundle_write_head(&head, kind, number, name, len);
	reload->error = head.failed ? -EFBIG : write_all(reload->bundle, head.data, head.len);
	if (reload->error == 0)
		reload->error = write_all(reload->bundle, bytes, len);
	buf_done(&head);
}

static void put_problems(struct parent_reload *reload, struct config_problems *problems)
{
	for (size_t i = 0; i < problems->count; i++) {
		const struct config_problem *problem = &problems->items[i];

		put(reload, BUNDLE_PROBLEM, problem->line, problem->file, problem->text,
		    strlen(problem->text));
		reload->is_wrong = true;
	}
	config_problems_done(problems);
}

/* Which names the files. */
static const struct config *config_of(const struct parent_reload *reload)
{
	return reload->files_only ? reload->kit->config : reload->config;
}

static void put_key_problem(struct parent_reload *reload, const char *text)
{
	const struct config *config = config_of(reload);
	struct config_problems problems = {0};

	config_problem(&problems, config->path, config_line(config, "identity.key"),
		       "identity.key: %s", text);
	put_problems(reload, &problems);
}

static void finish(struct parent_reload *reload)
{
	_cleanup_close_ int bundle = cleanup_take_fd(&reload->bundle);
	char text[256] = "";

	reload->is_waiting = false;
	/* Whatever the engine says then, it is not adopted. */
	if (reload->is_wrong || reload->error)
		config_free(take(reload->config));
	if (reload->error == 0 && lseek(bundle, 0, SEEK_SET) < 0)
		reload->error = -errno;
	if (reload->error)
		snprintf(text, sizeof(text), "what was read cannot be handed over: %s",
			 strerror(-reload->error));
	reload->done(reload->user, reload->id, reload->error ? -1 : bundle, reload->error, text);
}

/* ---- 1, 2 ---- */

static bool read_config(struct parent_reload *reload)
{
	const struct config *running = reload->kit->config;
	struct config_problems problems = {0};
	struct config_text text = {0};

	if (config_text_read(running->path, &text, &problems))
		reload->config = config_load_text(running->path, text.bytes, text.len, text.closed,
						  &problems);
	if (reload->config)
		put(reload, BUNDLE_CONFIG, text.closed, running->path, text.bytes, text.len);
	config_text_wipe(&text);
	put_problems(reload, &problems);
	return reload->config;
}

/* One is made of other processes' parts than the other. */
static bool is_same_role(struct parent_reload *reload)
{
	static const char *const names[] = {
		[CONFIG_GATEWAY] = "gateway",
		[CONFIG_CLIENT] = "client",
	};
	enum config_role is = reload->kit->config->role, wanted = reload->config->role;
	struct config_problems problems = {0};

	if (is == wanted)
		return true;
	config_problem(&problems, reload->config->path, config_line(reload->config, names[wanted]),
		       "%s: this instance runs as a %s; to be a %s needs a restart", names[wanted],
		       names[is], names[wanted]);
	put_problems(reload, &problems);
	return false;
}

static void read_files(struct parent_reload *reload)
{
	static const enum bundle_kind kinds[] = {
		[MATERIAL_CERTIFICATE] = BUNDLE_CERTIFICATE,
		[MATERIAL_CA] = BUNDLE_CA,
		[MATERIAL_CRL] = BUNDLE_CRL,
	};
	struct config_problems problems = {0};
	struct material_files files;

	material_read(config_of(reload), &problems, &files);
	for (size_t i = 0; i < files.count; i++) {
		const struct material_file *file = &files.items[i];

		put(reload, kinds[file->kind], file->unread, file->name, file->content.data,
		    file->content.len);
	}
	material_files_done(&files);
	if (!reload->files_only) {
		/* The interface that there is, whatever another start would call it. */
		parent_check_pool(reload->config, reload->kit->config->gateway.interface,
				  &problems);
		parent_limits_check(reload->kit, reload->config, &problems);
	}
	put_problems(reload, &problems);
}

/* ---- 3 ---- */

/* The key that stands in the file, in memory alone. The descriptor, or -errno with one line. */
static int open_key_in_place(const struct config *config, char *error, size_t size)
{
	_cleanup_close_ int fd = memfd_create("key", MFD_CLOEXEC);
	struct config_problems problems = {0};
	char *pem = config_key_in_place(config->path, &problems);
	int r = -EINVAL;

	if (!pem) {
		snprintf(error, size, "%s", problems.items[0].text);
	} else {
		r = fd < 0 ? -errno : write_all(fd, pem, strlen(pem));
		if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
			r = -errno;
		if (r < 0)
			snprintf(error, size, "the key cannot be handed over: %s", strerror(-r));
		explicit_bzero(pem, strlen(pem));
	}
	free(pem);
	config_problems_done(&problems);
	return r < 0 ? r : cleanup_take_fd(&fd);
}

static int load_key(struct parent_reload *reload, char *error, size_t size)
{
	const struct config *config = config_of(reload);
	const struct config_identity *identity = &config->identity;
	const struct source source = {
		.key = identity->key,
		.passphrase_file = identity->passphrase_file,
	};
	_cleanup_close_ int key = -1, passphrase = -1;
	struct holder_load load = {
		.generation = reload->generation,
		.key = identity->key,
		.passphrase_file = identity->passphrase_file,
	};
	int r = source_pass(&source, &key, &passphrase, error, size);

	if (r == 0 && identity->key_in_place)
		r = key = open_key_in_place(config, error, size);
	if (r < 0)
		return r;
	load.key_fd = key;
	load.passphrase_fd = passphrase;
	r = holder_load(reload->keys, &load);
	if (r < 0)
		snprintf(error, size, "the key holder does not listen: %s", strerror(-r));
	return r;
}

void parent_reload_ask(struct parent_reload *reload, uint32_t id, bool files_only)
{
	char error[ERROR_TEXT] = "";

	if (reload->is_waiting) {
		reload->done(reload->user, id, -1, -EBUSY, "another reload is under way");
		return;
	}
	config_free(take(reload->config));
	reload->files_only = files_only;
	reload->is_wrong = false;
	reload->id = id;
	reload->generation++;
	reload->bundle = memfd_create("reload", MFD_CLOEXEC);
	reload->error = reload->bundle < 0 ? -errno : 0;
	if (!files_only && (!read_config(reload) || !is_same_role(reload))) {
		finish(reload);
		return;
	}
	read_files(reload);
	if (load_key(reload, error, sizeof(error)) < 0) {
		put_key_problem(reload, error);
		finish(reload);
		return;
	}
	reload->is_waiting = true;
	reload->deadline_us = clock_now_us() + KEY_TIMEOUT_US;
}

/* ---- 4 ---- */

int parent_reload_awaits(const struct parent_reload *reload)
{
	return reload->is_waiting ? reload->keys : -1;
}

void parent_reload_go_on(struct parent_reload *reload)
{
	uint32_t generation = 0;
	char error[ERROR_TEXT];
	struct buf spki = {0};
	int r;

	if (!reload->is_waiting)
		return;
	r = holder_take_report(reload->keys, &generation, &spki, error, sizeof(error));
	if (r == -EAGAIN && clock_now_us() < reload->deadline_us)
		return;
	if (r == -EAGAIN) {
		put_key_problem(reload, "the key holder did not open the key in time");
		finish(reload);
	} else if (r == 0 && generation == reload->generation) {
		put(reload, BUNDLE_KEY, generation, "", spki.data, spki.len);
		finish(reload);
	} else if (r != 0 && (generation == reload->generation || r != -EKEYREJECTED)) {
		put_key_problem(reload, error);
		finish(reload);
	} /* else it is the late answer to an earlier one */
	buf_done(&spki);
}

/* ---- 5 ---- */

static void swap_config(struct parent_reload *reload)
{
	const struct config *running = reload->kit->config;

	config_diff_keep(reload->config, running);
	reload->kit->config = take(reload->config);
	config_free((struct config *)running);
	log_set_level(reload->kit->config->log_level);
}

/* Of files alone the engine may take some and leave others: the rest of what was wrong is no matter
 * of the key's. */
void parent_reload_adopt(struct parent_reload *reload, uint32_t generation)
{
	bool is_read = reload->files_only || reload->config;

	if (!is_read || reload->is_waiting || generation != reload->generation) {
		log_error("the engine adopts what was not read");
		return;
	}
	if (!reload->files_only)
		swap_config(reload);
	holder_adopt(reload->keys, generation, reload->kit->config->log_level);
}

/* ---- what to watch ---- */

/* A name that looks like a path: PEM in place and URIs do not change. */
static void add_path(struct parent_paths *paths, const char *name)
{
	if (!name || name[0] != '/')
		return;
	paths->items = xalloc_grow(paths->items, paths->count + 1, sizeof(*paths->items));
	paths->items[paths->count++] = (char *)name;
}

void parent_reload_list(const struct config *config, struct parent_paths *ret)
{
	const struct config_trust *trust = &config->trust;

	*ret = (struct parent_paths){0};
	if (!config->identity.certificate_is_pem)
		add_path(ret, config->identity.certificate);
	add_path(ret, config->identity.key);
	for (size_t i = 0; i < trust->ca.count; i++)
		add_path(ret, trust->ca.items[i]);
	for (size_t i = 0; i < trust->crl.count; i++)
		add_path(ret, trust->crl.items[i]);
}
