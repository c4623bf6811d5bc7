#pragma once
/* PKCS#11 libraries, found by p11-kit: the ones that the host has configured, or one that a URI
 * names. p11-kit itself (libp11-kit.so.0) is loaded when the first token is wanted and not before: a
 * tund without a token needs none of it. */

#include <stddef.h>

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

/* What is called of p11-kit. */
#define LIBRARY_CALLS(CALL)                                                                        \
	CALL(message)                                                                              \
	CALL(module_get_name)                                                                      \
	CALL(module_initialize)                                                                    \
	CALL(module_load)                                                                          \
	CALL(modules_finalize)                                                                     \
	CALL(modules_initialize)                                                                   \
	CALL(modules_load_and_initialize)                                                          \
	CALL(strerror)                                                                             \
	CALL(uri_free)                                                                             \
	CALL(uri_get_attribute)                                                                    \
	CALL(uri_get_module_path)                                                                  \
	CALL(uri_get_pin_source)                                                                   \
	CALL(uri_get_pin_value)                                                                    \
	CALL(uri_get_slot_id)                                                                      \
	CALL(uri_match_module_info)                                                                \
	CALL(uri_match_slot_info)                                                                  \
	CALL(uri_match_token_info)                                                                 \
	CALL(uri_message)                                                                          \
	CALL(uri_new)                                                                              \
	CALL(uri_parse)

struct library {
#define LIBRARY_FIELD(name) __typeof__(p11_kit_##name) *name;
	LIBRARY_CALLS(LIBRARY_FIELD)
#undef LIBRARY_FIELD
	CK_FUNCTION_LIST **modules; /* NULL-terminated */
	unsigned epoch;		    /* one more with each restart: sessions of before are no more */
	char *path;		    /* of the one that was named; NULL: all that are configured */
};

/* p11-kit without any module yet. -ENOPKG: there is none on this host. */
int library_open(struct library *library, char *error, size_t size);
/* Loads and initializes the module at path, or with NULL all that the host has configured. Once: a
 * second call is for the same, or -EOPNOTSUPP. 0 or -errno with one line. What is loaded stays until
 * the process ends, as many modules do not survive being unloaded. */
int library_load(struct library *library, const char *path, char *error, size_t size);
/* Ends and initializes the modules again: some see a token that came back only then. All sessions end.
 */
void library_restart(struct library *library);
