#include "config/config_files.h"

#include <ctype.h>
#include <string.h>

#include "base/xalloc.h"

static char *join_path(const struct config_value *value, const char *path)
{
	if (path[0] == '/')
		return xalloc_string(path);
	return xalloc_print("%s/%s", value->directory, path);
}

static bool is_pem(const char *text)
{
	return strncmp(text + strspn(text, " \t\r\n"), "-----BEGIN", 10) == 0;
}

/* "pkcs11:...", "handle:0x81000001": a scheme, but "a/b:c" is a path. */
static bool is_uri(const char *text)
{
	size_t len = 0;

	while (isalnum((unsigned char)text[len]) || (text[len] && strchr("+.-", text[len])))
		len++;
	return len > 1 && isalpha((unsigned char)text[0]) && text[len] == ':';
}

/* PEM that is to hold blocks with this label, and no private key. */
static bool check_pem(const struct config_value *value, size_t index, const char *label)
{
	static const char opening[] = "-----BEGIN ";
	const char *text = value->texts[index];
	const char *begin = strstr(text, opening);

	if (strstr(text, "PRIVATE KEY-----"))
		return config_values_refuse(value, index,
					    "holds a private key; its place is identity.key");
	if (!begin || strncmp(begin + strlen(opening), label, strlen(label)) != 0)
		return config_values_refuse(value, index,
					    "is not what belongs here: -----BEGIN %s-----", label);
	if (!strstr(begin, "-----END "))
		return config_values_refuse(value, index, "has no -----END %s----- line", label);
	return true;
}

/* Nobody expands it here: it would be a directory of that name. */
static bool refuse_home(const struct config_value *value, size_t index)
{
	if (value->texts[index][0] != '~')
		return false;
	config_values_refuse(value, index,
			     "begins with ~, which only a shell replaces; write the whole path");
	return true;
}

bool config_files_path(const struct config_value *value, void *place)
{
	const char *text = value->texts[0];

	if (refuse_home(value, 0))
		return false;
	*(char **)place = text[0] ? join_path(value, text) : NULL;
	return true;
}

bool config_files_certificate(const struct config_value *value, void *place)
{
	const char *text = value->texts[0];

	if (text[0] == '\0')
		return config_values_refuse(value, 0,
					    "names nothing; name a file with the leaf first");
	if (is_pem(text)) {
		*(char **)place = xalloc_string(text + strspn(text, " \t\r\n"));
		return check_pem(value, 0, "CERTIFICATE");
	}
	return is_uri(text) ? config_values_text(value, place) : config_files_path(value, place);
}

/* A key in place has been blanked by now; what is left tells that there is one. */
bool config_files_key(const struct config_value *value, void *place)
{
	const char *text = value->texts[0];

	if (text[0] == '\0')
		return config_values_refuse(value, 0, "names nothing; name a file or a store URI");
	if (is_pem(text) && !strstr(text, "PRIVATE KEY-----"))
		return config_values_refuse(
			value, 0,
			"is PEM but no private key; -----BEGIN PRIVATE KEY----- "
			"belongs here, a path or a store URI");
	return is_pem(text) || is_uri(text) ? config_values_text(value, place)
					    : config_files_path(value, place);
}

static bool add_file(const struct config_value *value, size_t index, const char *label,
		     struct config_strings *ret)
{
	const char *text = value->texts[index];

	if (is_pem(text)) {
		config_values_add(ret, xalloc_string(text + strspn(text, " \t\r\n")));
		return check_pem(value, index, label);
	}
	if (text[0] == '\0')
		return config_values_refuse(value, index, "is no path; leave it out");
	if (strncmp(text, "http://", 7) == 0) {
		config_values_add(ret, xalloc_string(text));
		return true;
	}
	if (strstr(text, "://"))
		return config_values_refuse(value, index, "is a URL; name a file or a directory");
	if (refuse_home(value, index))
		return false;
	config_values_add(ret, join_path(value, text));
	return true;
}

bool config_files_authorities(const struct config_value *value, void *place)
{
	bool good = true;

	for (size_t i = 0; i < value->count; i++) {
		if (strncmp(value->texts[i], "http://", 7) == 0)
			good = config_values_refuse(value, i,
						    "is a URL; name a file or a directory");
		else
			good &= add_file(value, i, "CERTIFICATE", place);
	}
	return good;
}

bool config_files_lists(const struct config_value *value, void *place)
{
	bool good = true;

	for (size_t i = 0; i < value->count; i++)
		good &= add_file(value, i, "X509 CRL", place);
	return good;
}
