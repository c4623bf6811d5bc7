#include "key/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/xalloc.h"

#define FILE_NAME "libp11-kit.so.0"

static bool find_calls(struct library *library, void *handle)
{
	bool all = true;

#define FIND(name)                                                                                 \
	*(void **)&library->name = dlsym(handle, "p11_kit_" #name);                                \
	all &= library->name != NULL;
	LIBRARY_CALLS(FIND)
#undef FIND
	return all;
}

int library_open(struct library *library, char *error, size_t size)
{
	void *handle = library->uri_new ? NULL : dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL);

	if (library->uri_new)
		return 0;
	if (handle && find_calls(library, handle))
		return 0;
	snprintf(error, size, "needs p11-kit (%s), which does not load; install libp11-kit0",
		 FILE_NAME);
	*library = (struct library){0};
	return -ENOPKG;
}

static int load_one(struct library *library, const char *path, char *error, size_t size)
{
	CK_FUNCTION_LIST *module = library->module_load(path, 0);
	CK_RV rv = module ? library->module_initialize(module) : CKR_OK;

	if (!module || rv != CKR_OK) {
		const char *why = module ? library->strerror(rv) : library->message();

		snprintf(error, size, "the PKCS#11 module %s does not load: %s", path,
			 why ? why : "p11-kit does not say why");
		return -ENOPKG;
	}
	library->modules = xnew_array(CK_FUNCTION_LIST *, 2);
	library->modules[0] = module;
	library->path = xalloc_string(path);
	return 0;
}

static int load_all(struct library *library, char *error, size_t size)
{
	library->modules = library->modules_load_and_initialize(0);
	if (library->modules && library->modules[0])
		return 0;
	snprintf(error, size,
		 "no PKCS#11 module is configured (/usr/share/p11-kit/modules); install the "
		 "token's, or name it with ?module-path=");
	return -ENOPKG;
}

int library_load(struct library *library, const char *path, char *error, size_t size)
{
	if (!library->modules)
		return path ? load_one(library, path, error, size) : load_all(library, error, size);
	if (!path == !library->path && (!path || strcmp(path, library->path) == 0))
		return 0;
	snprintf(error, size,
		 "another PKCS#11 module than the one that was loaded at the start; restart tund");
	return -EOPNOTSUPP;
}

void library_restart(struct library *library)
{
	library->epoch++;
	library->modules_finalize(library->modules);
	/* One that fails has no slots then: its tokens are away. */
	library->modules_initialize(library->modules, NULL);
}
