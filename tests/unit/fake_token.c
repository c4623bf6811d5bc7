#include <stdbool.h>

#include "fake_token.h"

#include <string.h>

#include <openssl/ec.h>
#include <openssl/x509.h>

enum { SLOT = 3, KEY = 5, FIRST_SESSION = 100, SCALAR = 32 };

__attribute__((visibility("default"))) struct fake_token fake_token;

static CK_SESSION_HANDLE session; /* 0: none */
static CK_SESSION_HANDLE last_session = FIRST_SESSION;
static bool is_logged_in, is_found;

static void lose_session(void)
{
	session = 0;
	is_logged_in = false;
}

static bool is_there(void)
{
	return !fake_token.is_away && !fake_token.needs_restart;
}

static CK_RV check_session(CK_SESSION_HANDLE handle)
{
	if (!is_there())
		lose_session();
	return session && handle == session ? CKR_OK : CKR_DEVICE_REMOVED;
}

static CK_RV initialize(void *arguments)
{
	(void)arguments;
	lose_session();
	if (!fake_token.is_away)
		fake_token.needs_restart = false;
	return CKR_OK;
}

static CK_RV finalize(void *arguments)
{
	(void)arguments;
	lose_session();
	return CKR_OK;
}

static void fill(unsigned char *field, size_t size, const char *text)
{
	memset(field, ' ', size);
	memcpy(field, text, strlen(text));
}

static CK_RV get_info(CK_INFO *info)
{
	*info = (CK_INFO){.cryptokiVersion = {2, 40}};
	fill(info->manufacturerID, sizeof(info->manufacturerID), "tund");
	fill(info->libraryDescription, sizeof(info->libraryDescription), "a token of tests");
	return CKR_OK;
}

static CK_RV get_slots(unsigned char present, CK_SLOT_ID *slots, CK_ULONG *count)
{
	(void)present;
	if (slots && is_there())
		slots[0] = SLOT;
	*count = is_there();
	return CKR_OK;
}

static CK_RV get_slot(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
	(void)slot;
	*info = (CK_SLOT_INFO){.flags = CKF_TOKEN_PRESENT};
	return CKR_OK;
}

static CK_RV get_token(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	(void)slot;
	if (!is_there())
		return CKR_TOKEN_NOT_PRESENT;
	*info = (CK_TOKEN_INFO){
		.flags = CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED |
			 fake_token.flags,
	};
	fill(info->label, sizeof(info->label), "fake");
	fill(info->serialNumber, sizeof(info->serialNumber), "1");
	return CKR_OK;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *user, CK_NOTIFY notify,
			  CK_SESSION_HANDLE *ret)
{
	(void)slot;
	(void)flags;
	(void)user;
	(void)notify;
	if (!is_there())
		return CKR_TOKEN_NOT_PRESENT;
	fake_token.sessions++;
	*ret = session = ++last_session;
	return CKR_OK;
}

static CK_RV close_session(CK_SESSION_HANDLE handle)
{
	if (check_session(handle) != CKR_OK)
		return CKR_SESSION_HANDLE_INVALID;
	lose_session();
	return CKR_OK;
}

static CK_RV get_session(CK_SESSION_HANDLE handle, CK_SESSION_INFO *info)
{
	CK_RV rv = check_session(handle);

	*info = (CK_SESSION_INFO){
		.slotID = SLOT,
		.state = is_logged_in ? CKS_RO_USER_FUNCTIONS : CKS_RO_PUBLIC_SESSION,
	};
	return rv;
}

static CK_RV log_in(CK_SESSION_HANDLE handle, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len)
{
	CK_RV rv = check_session(handle);

	(void)user;
	if (rv != CKR_OK)
		return rv;
	fake_token.logins++;
	rv = fake_token.login_fails;
	fake_token.login_fails = CKR_OK;
	if (rv != CKR_OK)
		return rv;
	if (len != strlen(fake_token.pin) || memcmp(pin, fake_token.pin, len) != 0)
		return CKR_PIN_INCORRECT;
	is_logged_in = true;
	return CKR_OK;
}

static CK_RV begin_finding(CK_SESSION_HANDLE handle, CK_ATTRIBUTE *attributes, CK_ULONG count)
{
	is_found = false;
	for (CK_ULONG i = 0; i < count; i++) {
		if (attributes[i].type == CKA_CLASS)
			is_found = *(CK_OBJECT_CLASS *)attributes[i].pValue == CKO_PRIVATE_KEY &&
				   fake_token.key && is_logged_in;
	}
	return check_session(handle);
}

static CK_RV find(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE *objects, CK_ULONG max,
		  CK_ULONG *count)
{
	*count = is_found && max > 0;
	if (*count)
		objects[0] = KEY;
	is_found = false;
	return check_session(handle);
}

static CK_RV end_finding(CK_SESSION_HANDLE handle)
{
	return check_session(handle);
}

/* One attribute at a time: the whole public key, as newer modules tell it. */
static CK_RV get_attribute(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object,
			   CK_ATTRIBUTE *attributes, CK_ULONG count)
{
	CK_RV rv = check_session(handle);
	unsigned char *at = attributes[0].pValue;

	(void)object;
	if (rv != CKR_OK)
		return rv;
	if (count != 1 || attributes[0].type != CKA_PUBLIC_KEY_INFO) {
		attributes[0].ulValueLen = (CK_ULONG)-1;
		return CKR_ATTRIBUTE_TYPE_INVALID;
	}
	attributes[0].ulValueLen = (CK_ULONG)i2d_PUBKEY(fake_token.key, at ? &at : NULL);
	return CKR_OK;
}

static CK_RV begin_signing(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	CK_RV rv = check_session(handle);

	if (rv != CKR_OK)
		return rv;
	if (key != KEY)
		return CKR_KEY_HANDLE_INVALID;
	return mechanism->mechanism == CKM_ECDSA ? CKR_OK : CKR_MECHANISM_INVALID;
}

static CK_RV sign(CK_SESSION_HANDLE handle, unsigned char *digest, CK_ULONG digest_len,
		  unsigned char *signature, CK_ULONG *len)
{
	EVP_PKEY_CTX *signing = EVP_PKEY_CTX_new(fake_token.key, NULL);
	unsigned char der[128];
	const unsigned char *at = der;
	size_t der_len = sizeof(der);
	CK_RV rv = check_session(handle);
	ECDSA_SIG *pair = NULL;

	if (rv == CKR_OK && (*len < 2 * SCALAR || EVP_PKEY_sign_init(signing) <= 0 ||
			     EVP_PKEY_sign(signing, der, &der_len, digest, digest_len) <= 0))
		rv = CKR_FUNCTION_FAILED;
	if (rv == CKR_OK) {
		pair = d2i_ECDSA_SIG(NULL, &at, (long)der_len);
		BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, SCALAR);
		BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + SCALAR, SCALAR);
		*len = 2 * SCALAR;
		fake_token.signatures++;
	}
	ECDSA_SIG_free(pair);
	EVP_PKEY_CTX_free(signing);
	return rv;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret)
{
	static CK_FUNCTION_LIST list = {
		.version = {2, 40},
		.C_Initialize = initialize,
		.C_Finalize = finalize,
		.C_GetInfo = get_info,
		.C_GetSlotList = get_slots,
		.C_GetSlotInfo = get_slot,
		.C_GetTokenInfo = get_token,
		.C_OpenSession = open_session,
		.C_CloseSession = close_session,
		.C_GetSessionInfo = get_session,
		.C_Login = log_in,
		.C_FindObjectsInit = begin_finding,
		.C_FindObjects = find,
		.C_FindObjectsFinal = end_finding,
		.C_GetAttributeValue = get_attribute,
		.C_SignInit = begin_signing,
		.C_Sign = sign,
	};

	*ret = &list;
	return CKR_OK;
}
