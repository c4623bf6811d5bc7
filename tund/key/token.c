/* Opening, in this order:
 *
 *	1  read_uri      what is asked for; a PIN in the URI is refused
 *	2  find_slot     the one token that it means
 *	3  log_in        once, unless the token is about to lock
 *	4  find_key      the one private key that it means
 *	5  token_object  its public half
 *
 * A token that went away goes through 2 to 5 again when it is next to sign. */
#include "key/token.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "key/token_object.h"

enum {
	SLOTS_MAX = 64,
	NAMES_MAX = 300, /* of what there is, in a message */
	REOPEN_US = 1000000,
	SHOWN_BYTES = 256,
};

struct token {
	unsigned owners;
	struct library *library; /* borrowed */
	P11KitUri *uri;
	char *shown;  /* the URI, for messages */
	uint8_t *pin; /* in OpenSSL's secure heap; NULL: none */
	size_t pin_len;
	char *pin_file;
	bool pin_is_wrong; /* the token said so: never again */
	CK_FUNCTION_LIST *module;
	CK_SESSION_HANDLE session; /* 0: none */
	unsigned epoch;		   /* of the library, when the session was opened */
	CK_OBJECT_HANDLE key;
	bool asks_always; /* for its PIN, at each signature */
	EVP_PKEY *public;
	int64_t next_open_us;
};

struct report {
	char *text;
	size_t size;
};

static int fail(const struct token *token, const struct report *report, int error,
		const char *format, ...) __attribute__((format(printf, 4, 5)));

static int fail(const struct token *token, const struct report *report, int error,
		const char *format, ...)
{
	int len = snprintf(report->text, report->size, "%s: ", token->shown);
	va_list arguments;

	if (len < 0 || (size_t)len >= report->size)
		return error;
	va_start(arguments, format);
	vsnprintf(report->text + len, report->size - (size_t)len, format, arguments);
	va_end(arguments);
	return error;
}

static int fail_call(const struct token *token, const struct report *report, const char *what,
		     CK_RV rv)
{
	return fail(token, report, -EIO, "%s: %s (0x%lx)", what, token->library->strerror(rv), rv);
}

/* ---- 1 ---- */

static int read_uri(struct token *token, const char *text, const struct report *report)
{
	struct library *library = token->library;
	int r = library->uri_parse(text, P11_KIT_URI_FOR_ANY, token->uri);
	CK_ATTRIBUTE *type;

	if (r != P11_KIT_URI_OK)
		return fail(token, report, -EINVAL,
			    "is no PKCS#11 URI (%s); it would be like "
			    "pkcs11:token=hq;object=key, with %%20 for a blank",
			    library->uri_message(r));
	/* What stands in a URI is printed in lists and logs, and read by more than us. */
	if (library->uri_get_pin_value(token->uri) || library->uri_get_pin_source(token->uri))
		return fail(token, report, -EINVAL,
			    "holds a PIN or where it stands; write the PIN into a file and name "
			    "that as passphrase-file");
	type = library->uri_get_attribute(token->uri, CKA_CLASS);
	if (type && *(CK_OBJECT_CLASS *)type->pValue != CKO_PRIVATE_KEY)
		return fail(token, report, -EINVAL,
			    "means no private key; write type=private, or leave it out");
	return 0;
}

/* ---- 2 ---- */

struct found {
	CK_FUNCTION_LIST *module;
	CK_SLOT_ID slot;
	CK_TOKEN_INFO info;
	unsigned count;
	char names[NAMES_MAX]; /* of all tokens when none fits, else of those that do */
};

/* Fixed widths, padded with blanks. */
static int trimmed(const unsigned char *text, size_t len)
{
	while (len > 0 && text[len - 1] == ' ')
		len--;
	return (int)len;
}

static void add_name(struct found *found, const CK_TOKEN_INFO *info)
{
	size_t len = strlen(found->names);

	snprintf(found->names + len, sizeof(found->names) - len, "%stoken=%.*s serial=%.*s",
		 len ? ", " : "", trimmed(info->label, sizeof(info->label)), info->label,
		 trimmed(info->serialNumber, sizeof(info->serialNumber)), info->serialNumber);
}

static void look_at_slot(struct token *token, CK_FUNCTION_LIST *module, CK_SLOT_ID slot,
			 struct found *found, struct found *others)
{
	struct library *library = token->library;
	CK_SLOT_ID wanted = library->uri_get_slot_id(token->uri);
	CK_TOKEN_INFO info;
	CK_SLOT_INFO about;

	if (module->C_GetTokenInfo(slot, &info) != CKR_OK ||
	    module->C_GetSlotInfo(slot, &about) != CKR_OK)
		return;
	/* Without a PIN there are no private keys: lists of public certificates, blank tokens. */
	if (!(info.flags & CKF_TOKEN_INITIALIZED) || !(info.flags & CKF_LOGIN_REQUIRED))
		return;
	add_name(others, &info);
	if (!library->uri_match_token_info(token->uri, &info) ||
	    !library->uri_match_slot_info(token->uri, &about) ||
	    (wanted != (CK_SLOT_ID)-1 && wanted != slot))
		return;
	found->module = module;
	found->slot = slot;
	found->info = info;
	found->count++;
	add_name(found, &info);
}

static void look_at_module(struct token *token, CK_FUNCTION_LIST *module, struct found *found,
			   struct found *others)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG count = SLOTS_MAX;
	CK_INFO info;

	if (module->C_GetInfo(&info) != CKR_OK ||
	    !token->library->uri_match_module_info(token->uri, &info))
		return;
	if (module->C_GetSlotList(1, slots, &count) != CKR_OK)
		return;
	for (CK_ULONG i = 0; i < count; i++)
		look_at_slot(token, module, slots[i], found, others);
}

static int find_slot(struct token *token, struct found *ret, const struct report *report)
{
	struct found others = {0};

	*ret = (struct found){0};
	for (CK_FUNCTION_LIST **module = token->library->modules; *module; module++)
		look_at_module(token, *module, ret, &others);
	if (ret->count == 1)
		return 0;
	if (ret->count > 1)
		return fail(token, report, -ENOTUNIQ,
			    "%u tokens match; say which with token=, serial= or ?module-path= "
			    "(there are %s)",
			    ret->count, ret->names);
	return fail(token, report, -ENODEV, "no such token is present; %s%s",
		    others.names[0] ? "there are "
				    : "there is none at all; is it plugged in, and "
				      "its PKCS#11 module configured or named with "
				      "?module-path=?",
		    others.names);
}

/* ---- 3 ---- */

static int explain_login(struct token *token, CK_RV rv, const struct report *report)
{
	const char *file = token->pin_file;

	switch (rv) {
	case CKR_PIN_INCORRECT:
	case CKR_PIN_INVALID:
	case CKR_PIN_LEN_RANGE:
		token->pin_is_wrong = true;
		return fail(token, report, -EACCES,
			    "the token says that the PIN in %s is wrong; it is not tried again, as "
			    "a token locks after a few wrong ones",
			    file);
	case CKR_PIN_LOCKED:
		token->pin_is_wrong = true;
		return fail(token, report, -EACCES,
			    "the token is locked after too many wrong PINs; unblock it with its "
			    "maker's tool and its PUK or SO PIN");
	case CKR_PIN_EXPIRED:
		return fail(token, report, -EACCES, "the token's PIN has expired; set a new one");
	default:
		return fail_call(token, report, "the login failed", rv);
	}
}

/* What the token says of itself before anything is tried. */
static int check_token(struct token *token, const CK_TOKEN_INFO *info, const struct report *report)
{
	if (!(info->flags & CKF_USER_PIN_INITIALIZED))
		return fail(token, report, -EACCES, "the token has no user PIN yet; set one");
	if (info->flags & CKF_USER_PIN_LOCKED)
		return explain_login(token, CKR_PIN_LOCKED, report);
	if (!token->pin && (info->flags & CKF_PROTECTED_AUTHENTICATION_PATH))
		return fail(token, report, -EACCES,
			    "the token wants its PIN typed on its own keys, where no daemon can");
	if (!token->pin)
		return fail(token, report, -EACCES,
			    "the token asks for a PIN; write it into a file and name that as "
			    "passphrase-file");
	if (token->pin_is_wrong)
		return explain_login(token, CKR_PIN_INCORRECT, report);
	if (info->flags & CKF_USER_PIN_FINAL_TRY)
		return fail(token, report, -EACCES,
			    "the token has one try left before it locks, which is not risked; log "
			    "in once with another program (pkcs11-tool --login) and compare the "
			    "PIN in %s",
			    token->pin_file);
	return 0;
}

static int log_in(struct token *token, const struct found *found, const struct report *report)
{
	CK_SESSION_INFO about;
	CK_RV rv;
	int r;

	rv = token->module->C_GetSessionInfo(token->session, &about);
	/* A process is logged in to a token with all its sessions or none. */
	if (rv == CKR_OK && about.state == CKS_RO_USER_FUNCTIONS)
		return 0;
	r = check_token(token, &found->info, report);
	if (r < 0)
		return r;
	rv = token->module->C_Login(token->session, CKU_USER, token->pin, token->pin_len);
	return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? 0
								: explain_login(token, rv, report);
}

/* ---- 4 ---- */

static int find_key(struct token *token, const struct report *report)
{
	CK_ATTRIBUTE *label = token->library->uri_get_attribute(token->uri, CKA_LABEL);
	CK_ATTRIBUTE *id = token->library->uri_get_attribute(token->uri, CKA_ID);
	const struct token_object_place place = {token->module, token->session};
	char names[NAMES_MAX];
	size_t count;
	CK_RV rv = token_object_find(&place, CKO_PRIVATE_KEY, label, id, &token->key, &count);

	if (rv != CKR_OK)
		return fail_call(token, report, "the token does not say what it holds", rv);
	if (count == 1)
		return 0;
	if (count > 1)
		return fail(token, report, -ENOTUNIQ,
			    "several private keys match; say which with id= or object= (there are "
			    "%s)",
			    token_object_names(&place, label, id, names, sizeof(names)));
	return fail(token, report, -ENOKEY, "the token holds no such private key; there are %s",
		    token_object_names(&place, NULL, NULL, names, sizeof(names)));
}

/* ---- 5 ---- */

static int take_public(struct token *token, const struct report *report)
{
	const struct token_object_place place = {token->module, token->session};
	EVP_PKEY *public = token_object_public(&place, token->key);
	int same = public && token->public ? EVP_PKEY_eq(public, token->public) : 1;

	ERR_clear_error();
	if (!public)
		return fail(token, report, -ENOKEY,
			    "the token does not tell the key's public half; store the public key "
			    "or the certificate under the same id");
	if (same != 1) {
		EVP_PKEY_free(public);
		return fail(token, report, -ENOKEY,
			    "the token that is there now holds another key; reload or restart");
	}
	EVP_PKEY_free(token->public);
	token->public = public;
	token->asks_always = token_object_flag(&place, token->key, CKA_ALWAYS_AUTHENTICATE);
	return 0;
}

static void close_session(struct token *token)
{
	/* The number may have become another's. */
	if (token->session && token->epoch == token->library->epoch)
		token->module->C_CloseSession(token->session);
	token->session = 0;
}

static int open_session(struct token *token, const struct report *report)
{
	struct found found;
	CK_RV rv;
	int r = find_slot(token, &found, report);

	if (r < 0)
		return r;
	token->module = found.module;
	token->epoch = token->library->epoch;
	rv = found.module->C_OpenSession(found.slot, CKF_SERIAL_SESSION, NULL, NULL,
					 &token->session);
	if (rv != CKR_OK) {
		token->session = 0;
		return fail_call(token, report, "no session with the token", rv);
	}
	r = log_in(token, &found, report);
	if (r == 0)
		r = find_key(token, report);
	if (r == 0)
		r = take_public(token, report);
	if (r < 0)
		close_session(token);
	return r;
}

/* Without its query, and without what may be a PIN. */
static char *print_shown(const char *uri)
{
	const char *pin = strstr(uri, "pin-");
	size_t len = strcspn(uri, "?");

	if (pin && (size_t)(pin - uri) < len)
		len = (size_t)(pin - uri);
	return xalloc_print("%.*s", (int)len, uri);
}

static void copy_pin(struct token *token, const struct token_wanted *wanted)
{
	token->pin_file = wanted->pin_file ? xalloc_string(wanted->pin_file) : NULL;
	if (wanted->pin_len == 0)
		return;
	token->pin = OPENSSL_secure_malloc(wanted->pin_len);
	if (!token->pin)
		return;
	memcpy(token->pin, wanted->pin, wanted->pin_len);
	token->pin_len = wanted->pin_len;
}

int token_open(struct library *library, const struct token_wanted *wanted, struct token **ret,
	       char *error, size_t size)
{
	const struct report report = {error, size};
	struct token *token = xnew(struct token);
	char why[SHOWN_BYTES];
	int r;

	token->owners = 1;
	token->library = library;
	token->shown = print_shown(wanted->uri);
	copy_pin(token, wanted);
	r = library_open(library, why, sizeof(why));
	if (r == 0) {
		token->uri = library->uri_new();
		r = read_uri(token, wanted->uri, &report);
		if (r == 0) {
			r = library_load(library, library->uri_get_module_path(token->uri), why,
					 sizeof(why));
			r = r < 0 ? fail(token, &report, r, "%s", why)
				  : open_session(token, &report);
		}
	} else {
		fail(token, &report, r, "%s", why);
	}
	if (r < 0)
		token_free(token);
	else
		*ret = token;
	return r;
}

struct token *token_ref(struct token *token)
{
	token->owners++;
	return token;
}

void token_free(struct token *token)
{
	if (!token || --token->owners > 0)
		return;
	close_session(token);
	if (token->uri)
		token->library->uri_free(token->uri);
	OPENSSL_secure_clear_free(token->pin, token->pin_len);
	EVP_PKEY_free(token->public);
	free(token->pin_file);
	free(token->shown);
	free(token);
}

EVP_PKEY *token_public(const struct token *token)
{
	return token->public;
}

/* ---- signing ---- */

/* What PKCS#11 calls a scheme, and what it is given: a digest, or for Ed25519 the message. */
struct signing {
	CK_MECHANISM mechanism;
	CK_RSA_PKCS_PSS_PARAMS pss;
	uint8_t input[EVP_MAX_MD_SIZE];
	const uint8_t *bytes;
	unsigned len;
};

static bool prepare_signing(const struct scheme *scheme, const uint8_t *tbs, size_t tbs_len,
			    struct signing *ret)
{
	static const struct {
		unsigned bytes;
		CK_MECHANISM_TYPE digest;
		unsigned long mask;
	} digests[] = {
		{32, CKM_SHA256, CKG_MGF1_SHA256},
		{48, CKM_SHA384, CKG_MGF1_SHA384},
		{64, CKM_SHA512, CKG_MGF1_SHA512},
	};

	*ret = (struct signing){.bytes = tbs, .len = (unsigned)tbs_len};
	ret->mechanism.mechanism = scheme->digest ? CKM_ECDSA : CKM_EDDSA;
	if (!scheme->digest)
		return true;
	if (!EVP_Q_digest(NULL, scheme->digest, NULL, tbs, tbs_len, ret->input, NULL))
		return false;
	ret->bytes = ret->input;
	ret->len = (unsigned)EVP_MD_get_size(EVP_get_digestbyname(scheme->digest));
	for (size_t i = 0; scheme->is_pss && i < sizeof(digests) / sizeof(digests[0]); i++) {
		if (digests[i].bytes != ret->len)
			continue;
		ret->pss = (CK_RSA_PKCS_PSS_PARAMS){
			.hashAlg = digests[i].digest,
			.mgf = digests[i].mask,
			.sLen = ret->len,
		};
		ret->mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &ret->pss, sizeof(ret->pss)};
	}
	return true;
}

/* A token gives r and s side by side; TLS wants a sequence (RFC 8422 section 5.4). */
static bool encode_ecdsa(uint8_t *signature, size_t room, size_t *len)
{
	ECDSA_SIG *pair = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(signature, (int)(*len / 2), NULL);
	BIGNUM *s = BN_bin2bn(signature + *len / 2, (int)(*len / 2), NULL);
	uint8_t *at = signature;
	int der_len = -1;

	if (pair && r && s && ECDSA_SIG_set0(pair, r, s)) {
		r = s = NULL;
		der_len = i2d_ECDSA_SIG(pair, NULL);
		if (der_len > 0 && (size_t)der_len <= room)
			i2d_ECDSA_SIG(pair, &at);
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(pair);
	*len = der_len > 0 ? (size_t)der_len : 0;
	return der_len > 0 && (size_t)der_len <= room;
}

static CK_RV sign_once(struct token *token, struct signing *signing, uint8_t *signature,
		       CK_ULONG *len)
{
	CK_FUNCTION_LIST *module = token->module;
	CK_RV rv = CKR_SESSION_HANDLE_INVALID;

	if (!token->session || token->epoch != token->library->epoch)
		return rv;
	rv = module->C_SignInit(token->session, &signing->mechanism, token->key);
	if (rv == CKR_OK && token->asks_always && !token->pin_is_wrong)
		rv = module->C_Login(token->session, CKU_CONTEXT_SPECIFIC, token->pin,
				     token->pin_len);
	if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LOCKED)
		token->pin_is_wrong = true;
	if (rv != CKR_OK)
		return rv;
	return module->C_Sign(token->session, (uint8_t *)signing->bytes, signing->len, signature,
			      len);
}

/* What another mechanism, or a PIN, would not mend: the token, the session or the key is gone. */
static bool is_gone(CK_RV rv)
{
	switch (rv) {
	case CKR_DEVICE_ERROR:
	case CKR_DEVICE_REMOVED:
	case CKR_TOKEN_NOT_PRESENT:
	case CKR_TOKEN_NOT_RECOGNIZED:
	case CKR_SESSION_CLOSED:
	case CKR_SESSION_HANDLE_INVALID:
	case CKR_OBJECT_HANDLE_INVALID:
	case CKR_KEY_HANDLE_INVALID:
	case CKR_USER_NOT_LOGGED_IN:
	case CKR_FUNCTION_FAILED:
	case CKR_GENERAL_ERROR:
		return true;
	default:
		return false;
	}
}

/* 0, or the reason in report: it is away, or was a moment ago. */
static int open_again(struct token *token, const struct report *report)
{
	int64_t now_us = clock_now_us();
	int r;

	if (now_us < token->next_open_us)
		return fail(token, report, -EAGAIN,
			    "the token is away; it is looked for again within a second");
	close_session(token);
	token->next_open_us = now_us + REOPEN_US;
	r = open_session(token, report);
	if (r != -ENODEV)
		return r;
	library_restart(token->library);
	return open_session(token, report);
}

int token_sign(struct token *token, const struct scheme *scheme, const uint8_t *tbs, size_t tbs_len,
	       uint8_t *signature, size_t *len, char *error, size_t size)
{
	const struct report report = {error, size};
	struct signing signing;
	CK_ULONG made = *len;
	size_t room = *len;
	CK_RV rv;

	if (!prepare_signing(scheme, tbs, tbs_len, &signing))
		return fail(token, &report, -EIO, "no digest for scheme 0x%04x", scheme->id);
	rv = sign_once(token, &signing, signature, &made);
	if (is_gone(rv)) {
		if (open_again(token, &report) < 0)
			return -EIO;
		log_info("%s: the token was away and is back", token->shown);
		made = room;
		rv = sign_once(token, &signing, signature, &made);
	}
	if (rv == CKR_MECHANISM_INVALID || rv == CKR_MECHANISM_PARAM_INVALID)
		return fail(token, &report, -EIO,
			    "the token cannot sign as TLS 1.3 wants it (scheme 0x%04x): %s; a key "
			    "on P-256 is what most tokens can",
			    scheme->id, token->library->strerror(rv));
	if (rv != CKR_OK)
		return fail_call(token, &report, "the token does not sign", rv);
	*len = made;
	if (scheme->group && !encode_ecdsa(signature, room, len))
		return fail(token, &report, -EIO, "the token's signature is none");
	return 0;
}
