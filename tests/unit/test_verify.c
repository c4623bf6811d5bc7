#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "certs.h"
#include "pki/verify.h"

enum { DAY_S = CERTS_DAY_S, DEPTH_MAX = 12, LISTS_MAX = 3, LEAF_SERIAL = 0x1f, SUB_SERIAL = 0x50 };

/* Who signs the leaf. A stranger's certificate is loaded nowhere; a namesake has the root's name
 * and a key of its own; the root itself can be shown as the leaf. */
enum signer { BY_ROOT, BY_SUB, BY_SELF, BY_STRANGER, BY_NAMESAKE, IS_ROOT };
enum sub_place { SUB_SENT, SUB_LOADED, SUB_WITHHELD };
enum list_signer { NO_LIST, OF_ROOT, OF_SUB, OF_NAMESAKE };
enum denial { NO_DENIAL, DENY_SERIAL, DENY_KEY, DENY_SERIAL_ELSEWHERE, DENY_SUB_KEY };

struct row {
	const char *name;
	enum reason expected;
	const char *says; /* part of the verdict's text */

	/* What is NULL in the leaf or the authorities is filled in for a valid one; "" leaves it
	 * out. */
	struct certs_spec leaf;
	enum signer by;
	struct certs_spec root, sub;
	unsigned depth; /* authorities below the root; BY_SUB: at least 1 */
	enum sub_place sub_is;
	bool sub_of_stranger; /* the first authority below is not the root's */
	bool namesake_loaded; /* as a second root */
	bool old_root_loaded; /* the same key and name, expired, loaded first */

	enum verify_role role;
	const char *peer_name; /* of a gateway; NULL is vpn.corp.example */
	enum trust_crl_policy policy;
	int64_t grace_s;
	struct {
		enum list_signer of;
		struct certs_list_spec spec;
	} lists[LISTS_MAX];
	enum denial denial;
	int64_t at_s; /* from now */
};

#define RAW(type, text)                                                                            \
	{                                                                                          \
		{                                                                                  \
			type, text, sizeof(text) - 1                                               \
		}                                                                                  \
	}
#define NAME_64	 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"
#define NAME_256 NAME_64 NAME_64 NAME_64 NAME_64
#define EXPIRED	 .from_s = -9 * DAY_S, .until_s = -2 * DAY_S
#define TO_COME	 .from_s = 2 * DAY_S, .until_s = 9 * DAY_S
#define REVOKES(number)                                                                            \
	.entries = {                                                                               \
		{.serial = number, .reason = CRL_REASON_KEY_COMPROMISE, .at_s = -DAY_S},           \
	}

static const struct row rows[] = {
	/* Valid ones. */
	{.name = "P-256"},
	{.name = "Ed25519", .leaf.key = CERTS_ED25519, .root.key = CERTS_ED25519},
	{.name = "RSA of 2048 bits", .leaf.key = CERTS_RSA_2048},
	{.name = "an intermediate sent along", .by = BY_SUB},
	{.name = "an intermediate loaded", .by = BY_SUB, .sub_is = SUB_LOADED},
	{.name = "three intermediates", .by = BY_SUB, .depth = 3},
	{.name = "ten intermediates", .by = BY_SUB, .depth = 10},
	{.name = "a gateway", .role = VERIFY_GATEWAY},
	{.name = "a gateway behind an intermediate", .role = VERIFY_GATEWAY, .by = BY_SUB},
	{.name = "the root signed with SHA-1", .root.digest = "SHA1"},
	{.name = "no key identifiers", .leaf.no_key_ids = true, .root.no_key_ids = true},
	{.name = "authorities without keyUsage", .by = BY_SUB, .root.ku = "", .sub.ku = ""},
	{.name = "CA:TRUE not critical", .root.basic = "CA:TRUE"},
	{.name = "an empty subject beside a SAN", .leaf = {.subject = "", .san = "DNS:a.example"}},
	{.name = "two roots of one name, no key identifiers",
	 .by = BY_NAMESAKE,
	 .namesake_loaded = true,
	 .leaf.no_key_ids = true,
	 .root.no_key_ids = true},
	{.name = "a root renewed with its old key", .old_root_loaded = true},
	{.name = "a common name as UTF-16",
	 .leaf = {.subject = "O=Corp", .cn = {V_ASN1_BMPSTRING, "\0a\0l\0i\0c\0e", 10}}},

	/* Issuer. */
	{.name = "self-signed",
	 .by = BY_SELF,
	 .expected = REASON_ISSUER_UNKNOWN,
	 .says = "has signed itself"},
	{.name = "a stranger's certificate",
	 .by = BY_STRANGER,
	 .expected = REASON_ISSUER_UNKNOWN,
	 .says = "neither loaded nor sent along"},
	{.name = "a look-alike authority",
	 .by = BY_NAMESAKE,
	 .expected = REASON_ISSUER_UNKNOWN,
	 .says = "not signed by the loaded authority of that name"},
	{.name = "a look-alike authority without key identifiers",
	 .by = BY_NAMESAKE,
	 .leaf.no_key_ids = true,
	 .root.no_key_ids = true,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "an intermediate not sent",
	 .by = BY_SUB,
	 .sub_is = SUB_WITHHELD,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "an intermediate loaded without its root",
	 .by = BY_SUB,
	 .sub_is = SUB_LOADED,
	 .sub_of_stranger = true,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "an intermediate of a stranger",
	 .by = BY_SUB,
	 .sub_of_stranger = true,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "the leaf's signature altered",
	 .leaf.spoil = true,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "the leaf's signature altered, below an intermediate",
	 .by = BY_SUB,
	 .leaf.spoil = true,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "an intermediate's signature altered",
	 .by = BY_SUB,
	 .sub.spoil = true,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "issued by a CA:FALSE",
	 .by = BY_SUB,
	 .sub.basic = "critical,CA:FALSE",
	 .expected = REASON_ISSUER_UNKNOWN,
	 .says = "is no authority"},
	{.name = "issued without basicConstraints",
	 .by = BY_SUB,
	 .sub = {.basic = "", .ku = "digitalSignature"},
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "issued without keyCertSign",
	 .by = BY_SUB,
	 .sub.ku = "critical,cRLSign",
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "a stranger with a denied serial learns nothing",
	 .by = BY_NAMESAKE,
	 .denial = DENY_SERIAL,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "self-signed and expired",
	 .by = BY_SELF,
	 .leaf = {EXPIRED},
	 .expected = REASON_ISSUER_UNKNOWN},

	/* Time. */
	{.name = "expired",
	 .leaf = {EXPIRED},
	 .expected = REASON_CERT_EXPIRED,
	 .says = "expired at"},
	{.name = "expired at the time asked for",
	 .at_s = 400 * DAY_S,
	 .root = {.from_s = -DAY_S, .until_s = 900 * DAY_S},
	 .expected = REASON_CERT_EXPIRED},
	{.name = "valid at the time asked for",
	 .leaf = {EXPIRED},
	 .at_s = -3 * DAY_S,
	 .root = {.from_s = -20 * DAY_S, .until_s = DAY_S}},
	{.name = "begins later",
	 .leaf = {TO_COME},
	 .expected = REASON_CERT_NOT_YET_VALID,
	 .says = "begins only at"},
	{.name = "the root expired", .root = {EXPIRED}, .expected = REASON_ISSUER_EXPIRED},
	{.name = "the root begins later", .root = {TO_COME}, .expected = REASON_ISSUER_EXPIRED},
	{.name = "an intermediate expired",
	 .by = BY_SUB,
	 .sub = {EXPIRED},
	 .expected = REASON_ISSUER_EXPIRED,
	 .says = "certificate \"CN=Corp Sub 1"},
	{.name = "an intermediate begins later",
	 .by = BY_SUB,
	 .sub = {TO_COME},
	 .expected = REASON_ISSUER_EXPIRED},
	{.name = "expired, and no list",
	 .leaf = {EXPIRED},
	 .policy = TRUST_CRL_STRICT,
	 .expected = REASON_CERT_EXPIRED,
	 .says = "expired at"},
	{.name = "leaf and root expired",
	 .leaf = {EXPIRED},
	 .root = {EXPIRED},
	 .expected = REASON_ISSUER_EXPIRED},

	/* Path length. */
	{.name = "an intermediate below pathlen 0",
	 .by = BY_SUB,
	 .root.basic = "critical,CA:TRUE,pathlen:0",
	 .expected = REASON_PATH_TOO_LONG},
	{.name = "pathlen 1 allows one", .by = BY_SUB, .root.basic = "critical,CA:TRUE,pathlen:1"},
	{.name = "two intermediates below pathlen 1",
	 .by = BY_SUB,
	 .depth = 2,
	 .root.basic = "critical,CA:TRUE,pathlen:1",
	 .expected = REASON_PATH_TOO_LONG},
	{.name = "eleven intermediates",
	 .by = BY_SUB,
	 .depth = 11,
	 .expected = REASON_PATH_TOO_LONG},
	{.name = "path too long and the leaf's signature altered",
	 .by = BY_SUB,
	 .root.basic = "critical,CA:TRUE,pathlen:0",
	 .leaf.spoil = true,
	 .expected = REASON_ISSUER_UNKNOWN},
	{.name = "path too long and denied",
	 .by = BY_SUB,
	 .root.basic = "critical,CA:TRUE,pathlen:0",
	 .denial = DENY_KEY,
	 .expected = REASON_PATH_TOO_LONG},
	{.name = "path too long and revoked",
	 .by = BY_SUB,
	 .root.basic = "critical,CA:TRUE,pathlen:0",
	 .lists = {{OF_SUB, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_PATH_TOO_LONG},

	/* Purpose. */
	{.name = "device: serverAuth only",
	 .leaf.eku = "serverAuth",
	 .expected = REASON_PURPOSE_MISMATCH,
	 .says = "is not issued for clientAuth"},
	{.name = "device: both purposes", .leaf.eku = "clientAuth,serverAuth"},
	{.name = "device: no purpose", .leaf.eku = "", .expected = REASON_PURPOSE_MISMATCH},
	{.name = "device: any purpose",
	 .leaf.eku = "anyExtendedKeyUsage",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "device: another purpose",
	 .leaf.eku = "emailProtection,codeSigning",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "device: no keyUsage", .leaf.ku = ""},
	{.name = "device: keyUsage without signatures",
	 .leaf.ku = "critical,keyEncipherment,keyAgreement",
	 .expected = REASON_PURPOSE_MISMATCH,
	 .says = "digital signatures"},
	{.name = "device: the certificate of an authority",
	 .leaf = {.ca = true, .ku = "critical,digitalSignature,keyCertSign"},
	 .expected = REASON_PURPOSE_MISMATCH,
	 .says = "authority's own"},
	{.name = "device: the root itself",
	 .by = IS_ROOT,
	 .root = {.eku = "clientAuth", .ku = "critical,digitalSignature,keyCertSign"},
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "gateway: clientAuth only",
	 .role = VERIFY_GATEWAY,
	 .leaf.eku = "clientAuth",
	 .expected = REASON_PURPOSE_MISMATCH,
	 .says = "is not issued for serverAuth"},
	{.name = "gateway: both purposes",
	 .role = VERIFY_GATEWAY,
	 .leaf.eku = "clientAuth,serverAuth"},
	{.name = "gateway: no purpose",
	 .role = VERIFY_GATEWAY,
	 .leaf.eku = "",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "gateway: any purpose",
	 .role = VERIFY_GATEWAY,
	 .leaf.eku = "anyExtendedKeyUsage",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "gateway: keyUsage without signatures",
	 .role = VERIFY_GATEWAY,
	 .leaf.ku = "critical,keyEncipherment",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "device below an authority for gateways",
	 .by = BY_SUB,
	 .sub.eku = "serverAuth",
	 .expected = REASON_PURPOSE_MISMATCH,
	 .says = "may not vouch for clientAuth"},
	{.name = "gateway below an authority for devices",
	 .by = BY_SUB,
	 .role = VERIFY_GATEWAY,
	 .sub.eku = "clientAuth",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "device below an authority for devices", .by = BY_SUB, .sub.eku = "clientAuth"},
	{.name = "device below an authority for anything",
	 .by = BY_SUB,
	 .sub.eku = "anyExtendedKeyUsage"},
	{.name = "device below a root for gateways",
	 .root.eku = "serverAuth",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "an unknown critical extension",
	 .leaf.other_oid = "1.3.6.1.4.1.55555.1",
	 .expected = REASON_PURPOSE_MISMATCH,
	 .says = "critical extension"},
	{.name = "an unknown critical extension of an intermediate",
	 .by = BY_SUB,
	 .sub.other_oid = "1.3.6.1.4.1.55555.1",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "a malformed extension",
	 .leaf.ku = "DER:0500",
	 .expected = REASON_PURPOSE_MISMATCH,
	 .says = "malformed"},

	{.name = "no authority, but keyCertSign",
	 .leaf = {.basic = "CA:FALSE", .ku = "critical,digitalSignature,keyCertSign"},
	 .expected = REASON_PURPOSE_MISMATCH},

	/* Names of gateways. */
	{.name = "another name",
	 .role = VERIFY_GATEWAY,
	 .leaf.san = "DNS:other.corp.example",
	 .expected = REASON_NAME_MISMATCH,
	 .says = "vpn.corp.example"},
	{.name = "the second name",
	 .role = VERIFY_GATEWAY,
	 .leaf.san = "DNS:a.corp.example,DNS:vpn.corp.example"},
	{.name = "the name in another case",
	 .role = VERIFY_GATEWAY,
	 .peer_name = "VPN.Corp.Example"},
	{.name = "the name with a dot behind",
	 .role = VERIFY_GATEWAY,
	 .peer_name = "vpn.corp.example."},
	{.name = "the name as common name only",
	 .role = VERIFY_GATEWAY,
	 .leaf = {.subject = "CN=vpn.corp.example", .san = ""},
	 .expected = REASON_NAME_MISMATCH},
	{.name = "the name as common name beside another",
	 .role = VERIFY_GATEWAY,
	 .leaf = {.subject = "CN=vpn.corp.example", .san = "DNS:other.corp.example"},
	 .expected = REASON_NAME_MISMATCH},
	{.name = "a wildcard for a label",
	 .role = VERIFY_GATEWAY,
	 .leaf.san = "DNS:*.corp.example"},
	{.name = "a wildcard for part of a label",
	 .role = VERIFY_GATEWAY,
	 .leaf.san = "DNS:v*.corp.example",
	 .expected = REASON_NAME_MISMATCH},
	{.name = "a wildcard for two labels",
	 .role = VERIFY_GATEWAY,
	 .leaf.san = "DNS:*.example",
	 .expected = REASON_NAME_MISMATCH},
	{.name = "a dot in front is no wildcard",
	 .role = VERIFY_GATEWAY,
	 .peer_name = ".corp.example",
	 .expected = REASON_NAME_MISMATCH},
	{.name = "an empty name to look for",
	 .role = VERIFY_GATEWAY,
	 .peer_name = "",
	 .expected = REASON_NAME_MISMATCH},
	{.name = "an IPv4 address",
	 .role = VERIFY_GATEWAY,
	 .peer_name = "192.0.2.1",
	 .leaf.san = "IP:192.0.2.1"},
	{.name = "an IPv6 address",
	 .role = VERIFY_GATEWAY,
	 .peer_name = "2001:db8::1",
	 .leaf.san = "IP:2001:db8:0::1"},
	{.name = "another address",
	 .role = VERIFY_GATEWAY,
	 .peer_name = "192.0.2.2",
	 .leaf.san = "IP:192.0.2.1",
	 .expected = REASON_NAME_MISMATCH},
	{.name = "an address as DNS name",
	 .role = VERIFY_GATEWAY,
	 .peer_name = "192.0.2.1",
	 .leaf.san = "DNS:192.0.2.1",
	 .expected = REASON_NAME_MISMATCH},
	{.name = "a device needs no such name", .leaf.san = "DNS:other.corp.example"},

	/* Names that name nobody. */
	{.name = "a zero byte in the common name",
	 .leaf = {.subject = "O=Corp", .cn = {V_ASN1_UTF8STRING, "alice\0.example", 14}},
	 .expected = REASON_NAME_INVALID,
	 .says = "zero byte"},
	{.name = "a zero byte in a DNS name",
	 .role = VERIFY_GATEWAY,
	 .leaf.raw_san = RAW(GEN_DNS, "vpn.corp.example\0.evil.example"),
	 .leaf.san = "",
	 .expected = REASON_NAME_INVALID},
	{.name = "a control character in the common name",
	 .leaf.subject = "CN=ali\nce",
	 .expected = REASON_NAME_INVALID,
	 .says = "control character"},
	{.name = "a control character in the organisation",
	 .leaf.subject = "O=Corp\x1b[31m/CN=alice",
	 .expected = REASON_NAME_INVALID},
	{.name = "a control character in an email address",
	 .leaf.raw_san = RAW(GEN_EMAIL, "alice\r@corp.example"),
	 .expected = REASON_NAME_INVALID},
	{.name = "a URI that is not ASCII",
	 .leaf.raw_san = RAW(GEN_URI, "tund://corp/\xc3\xa4"),
	 .expected = REASON_NAME_INVALID,
	 .says = "not ASCII"},
	{.name = "an overlong common name",
	 .leaf.subject = "CN=" NAME_256,
	 .expected = REASON_NAME_INVALID,
	 .says = "255 bytes"},
	{.name = "an overlong DNS name",
	 .leaf.raw_san = RAW(GEN_DNS, NAME_256),
	 .expected = REASON_NAME_INVALID},
	{.name = "two common names",
	 .leaf.subject = "CN=alice/CN=bob",
	 .expected = REASON_NAME_INVALID,
	 .says = "several common names"},
	{.name = "an empty DNS name",
	 .leaf.san = "DER:30:02:82:00",
	 .expected = REASON_NAME_INVALID},
	{.name = "no name at all", .leaf.subject = "", .expected = REASON_NAME_INVALID},
	{.name = "only an organisation", .leaf.subject = "O=Corp", .expected = REASON_NAME_INVALID},
	{.name = "alternative names malformed",
	 .leaf.san = "DER:0500",
	 .expected = REASON_NAME_INVALID,
	 .says = "cannot be read"},
	{.name = "32 DNS names", .leaf.dns_count = 32},
	{.name = "33 DNS names", .leaf.dns_count = 33, .expected = REASON_NAME_INVALID},
	{.name = "5000 DNS names", .leaf.dns_count = 5000, .expected = REASON_NAME_INVALID},

	/* Name constraints. */
	{.name = "DNS: permitted",
	 .leaf.san = "DNS:a.corp.example",
	 .root.constraints = "critical,permitted;DNS:corp.example"},
	{.name = "DNS: not permitted",
	 .leaf.san = "DNS:a.evil.example",
	 .root.constraints = "critical,permitted;DNS:corp.example",
	 .expected = REASON_NAME_CONSTRAINT,
	 .says = "permitted subtree"},
	{.name = "DNS: excluded",
	 .leaf.san = "DNS:a.hq.corp.example",
	 .root.constraints = "critical,excluded;DNS:hq.corp.example",
	 .expected = REASON_NAME_CONSTRAINT,
	 .says = "excluded subtree"},
	{.name = "DNS: one of two not permitted",
	 .leaf.san = "DNS:a.corp.example,DNS:a.evil.example",
	 .root.constraints = "critical,permitted;DNS:corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "DNS: a common name that looks like one",
	 .leaf.subject = "CN=a.evil.example",
	 .root.constraints = "critical,permitted;DNS:corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "DNS: not permitted by an intermediate",
	 .by = BY_SUB,
	 .leaf.san = "DNS:a.evil.example",
	 .sub.constraints = "critical,permitted;DNS:corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "DNS: not permitted to a gateway",
	 .role = VERIFY_GATEWAY,
	 .root.constraints = "critical,permitted;DNS:other.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "URI: permitted",
	 .leaf.san = "URI:tund://berlin.corp.example/a",
	 .root.constraints = "critical,permitted;URI:.corp.example"},
	{.name = "URI: not permitted",
	 .leaf.san = "URI:tund://evil.example/a",
	 .root.constraints = "critical,permitted;URI:.corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "URI: excluded",
	 .leaf.san = "URI:tund://hq.corp.example/a",
	 .root.constraints = "critical,excluded;URI:hq.corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "URI: without the host that is constrained",
	 .leaf.san = "URI:urn:device:7",
	 .root.constraints = "critical,permitted;URI:.corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "email: permitted",
	 .leaf.san = "email:alice@corp.example",
	 .root.constraints = "critical,permitted;email:corp.example"},
	{.name = "email: not permitted",
	 .leaf.san = "email:alice@evil.example",
	 .root.constraints = "critical,permitted;email:corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "email: excluded",
	 .leaf.san = "email:root@corp.example",
	 .root.constraints = "critical,excluded;email:root@corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "IP: permitted",
	 .leaf.san = "IP:10.1.2.3",
	 .root.constraints = "critical,permitted;IP:10.0.0.0/255.0.0.0"},
	{.name = "IP: not permitted",
	 .leaf.san = "IP:192.0.2.1",
	 .root.constraints = "critical,permitted;IP:10.0.0.0/255.0.0.0",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "IP: excluded",
	 .leaf.san = "IP:10.1.2.3",
	 .root.constraints = "critical,excluded;IP:10.0.0.0/255.0.0.0",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "directory name: permitted",
	 .root = {.constraints = "critical,permitted;dirName:corp",
		  .sections = "[corp]\nO=Corp\n"}},
	{.name = "directory name: not permitted",
	 .root = {.constraints = "critical,permitted;dirName:corp",
		  .sections = "[corp]\nO=Other\n"},
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "directory name: excluded",
	 .root = {.constraints = "critical,excluded;dirName:corp", .sections = "[corp]\nO=Corp\n"},
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "a kind of constraint that OpenSSL does not know",
	 .leaf.san = "RID:1.2.3.4",
	 .root.constraints = "critical,permitted;RID:1.2.3.4",
	 .expected = REASON_NAME_CONSTRAINT},

	{.name = "a constraint with a minimum",
	 .leaf.san = "DNS:a.corp.example",
	 .root.constraints = "DER:3015A0133011820C636F72702E6578616D706C65800101",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "a constraint on an address of five bytes",
	 .leaf.san = "IP:10.1.2.3",
	 .root.constraints = "DER:300BA009300787050A000000FF",
	 .expected = REASON_NAME_CONSTRAINT},

	/* Signatures and keys. */
	{.name = "signed with SHA-1",
	 .leaf.digest = "SHA1",
	 .expected = REASON_SIGNATURE_WEAK,
	 .says = "SHA1"},
	{.name = "signed with MD5",
	 .leaf.digest = "MD5",
	 .root.key = CERTS_RSA_2048,
	 .expected = REASON_SIGNATURE_WEAK},
	{.name = "an intermediate signed with SHA-1",
	 .by = BY_SUB,
	 .sub.digest = "SHA1",
	 .expected = REASON_SIGNATURE_WEAK},
	{.name = "signed with SHA-384", .leaf.digest = "SHA384"},
	{.name = "RSA of 1024 bits",
	 .leaf.key = CERTS_RSA_1024,
	 .expected = REASON_KEY_WEAK,
	 .says = "1024"},
	{.name = "P-224", .leaf.key = CERTS_P224, .expected = REASON_KEY_WEAK},
	{.name = "DSA", .leaf.key = CERTS_DSA, .expected = REASON_KEY_WEAK, .says = "DSA"},
	{.name = "an intermediate with P-224",
	 .by = BY_SUB,
	 .sub.key = CERTS_P224,
	 .expected = REASON_KEY_WEAK},
	{.name = "a root with RSA of 1024 bits",
	 .root.key = CERTS_RSA_1024,
	 .expected = REASON_KEY_WEAK},
	{.name = "a curve written out",
	 .leaf.key = CERTS_P256_EXPLICIT,
	 .expected = REASON_KEY_WEAK},
	{.name = "RSA-PSS of 2048 bits", .leaf.key = CERTS_RSA_PSS},
	{.name = "RSA-PSS of 1024 bits",
	 .leaf.key = CERTS_RSA_PSS_1024,
	 .expected = REASON_KEY_WEAK,
	 .says = "1024"},
	{.name = "a key of an unknown kind",
	 .leaf.no_such_key = true,
	 .expected = REASON_KEY_WEAK,
	 .says = "cannot be used"},
	{.name = "a compressed point",
	 .leaf.key = CERTS_P256_COMPRESSED,
	 .expected = REASON_KEY_WEAK,
	 .says = "compressed"},

	/* Denials. */
	{.name = "denied by issuer and serial",
	 .denial = DENY_SERIAL,
	 .expected = REASON_CERT_DENIED,
	 .says = "denied"},
	{.name = "denied by key", .denial = DENY_KEY, .expected = REASON_CERT_DENIED},
	{.name = "the serial denied at another issuer", .denial = DENY_SERIAL_ELSEWHERE},
	{.name = "an intermediate denied",
	 .by = BY_SUB,
	 .denial = DENY_SUB_KEY,
	 .expected = REASON_CERT_DENIED},

	/* Lists. */
	{.name = "strict: a list", .policy = TRUST_CRL_STRICT, .lists = {{OF_ROOT, {.number = 7}}}},
	{.name = "strict: a list of a root renewed with its old key",
	 .old_root_loaded = true,
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}}}},
	{.name = "strict: lists of a root and of an intermediate of its name",
	 .by = BY_SUB,
	 .sub.subject = "O=Corp/CN=Corp CA",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}}, {OF_SUB, {.number = 8}}}},
	{.name = "strict: a newer list without a number",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7, .this_s = -2 * DAY_S, .next_s = DAY_S}},
		   {OF_ROOT, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED,
	 .says = "keyCompromise"},
	{.name = "revoked without a reason",
	 .lists = {{OF_ROOT, {.entries = {{.serial = LEAF_SERIAL}}}}},
	 .expected = REASON_CERT_REVOKED,
	 .says = "no reason given"},
	{.name = "revoked for a reason that was never given out",
	 .lists = {{OF_ROOT, {.entries = {{.serial = LEAF_SERIAL, .reason = 7}}}}},
	 .expected = REASON_CERT_REVOKED,
	 .says = "no reason given"},
	{.name = "strict: no list",
	 .policy = TRUST_CRL_STRICT,
	 .expected = REASON_CRL_MISSING,
	 .says = "there is no revocation list of \"CN=Corp CA,O=Corp\""},
	{.name = "strict: an expired list",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.this_s = -9 * DAY_S, .next_s = -DAY_S}}},
	 .expected = REASON_CRL_EXPIRED,
	 .says = "the revocation list of \"CN=Corp CA,O=Corp\" (list0.crl) was due for renewal at"},
	{.name = "strict: a forged list",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_NAMESAKE, {.number = 9}}},
	 .expected = REASON_CRL_INVALID,
	 .says = "not signed by that authority"},
	{.name = "strict: an altered list",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.spoil = true}}},
	 .expected = REASON_CRL_INVALID},
	{.name = "strict: a list that begins later",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.this_s = DAY_S, .next_s = 9 * DAY_S}}},
	 .expected = REASON_CRL_INVALID,
	 .says = "begins only at"},
	{.name = "strict: an authority that may not sign lists",
	 .policy = TRUST_CRL_STRICT,
	 .root.ku = "critical,keyCertSign",
	 .lists = {{OF_ROOT, {.number = 7}}},
	 .expected = REASON_CRL_INVALID},
	{.name = "strict: a forged list beside the right one",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}}, {OF_NAMESAKE, {.number = 9, REVOKES(LEAF_SERIAL)}}}},
	{.name = "strict: the list of another root of the same name",
	 .policy = TRUST_CRL_STRICT,
	 .namesake_loaded = true,
	 .lists = {{OF_NAMESAKE, {.number = 9}}},
	 .expected = REASON_CRL_MISSING},
	{.name = "strict: no nextUpdate",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.no_next = true}}}},
	{.name = "strict: a list of version 1",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.version_1 = true}}}},
	{.name = "strict: lists of root and intermediate",
	 .by = BY_SUB,
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}}, {OF_SUB, {.number = 7}}}},
	{.name = "strict: the intermediate's list is missing",
	 .by = BY_SUB,
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}}},
	 .expected = REASON_CRL_MISSING,
	 .says = "Corp Sub 1"},
	{.name = "strict: the root's list is missing",
	 .by = BY_SUB,
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_SUB, {.number = 7}}},
	 .expected = REASON_CRL_MISSING,
	 .says = "Corp CA"},
	{.name = "strict: an altered list of an intermediate that is sent",
	 .by = BY_SUB,
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}}, {OF_SUB, {.spoil = true}}},
	 .expected = REASON_CRL_INVALID},
	{.name = "strict: an altered list of an intermediate that is loaded",
	 .by = BY_SUB,
	 .sub_is = SUB_LOADED,
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}}, {OF_SUB, {.spoil = true}}},
	 .expected = REASON_CRL_INVALID},
	{.name = "grace: an expired list within the grace",
	 .policy = TRUST_CRL_GRACE,
	 .grace_s = 3 * DAY_S,
	 .lists = {{OF_ROOT, {.this_s = -9 * DAY_S, .next_s = -2 * DAY_S}}}},
	{.name = "grace: an expired list after the grace",
	 .policy = TRUST_CRL_GRACE,
	 .grace_s = 3 * DAY_S,
	 .lists = {{OF_ROOT, {.this_s = -9 * DAY_S, .next_s = -4 * DAY_S}}},
	 .expected = REASON_CRL_EXPIRED},
	{.name = "grace: no list",
	 .policy = TRUST_CRL_GRACE,
	 .grace_s = 3 * DAY_S,
	 .expected = REASON_CRL_MISSING},
	{.name = "grace: a forged list",
	 .policy = TRUST_CRL_GRACE,
	 .grace_s = 3 * DAY_S,
	 .lists = {{OF_NAMESAKE, {.number = 9}}},
	 .expected = REASON_CRL_INVALID},
	{.name = "strict: the grace does not count",
	 .policy = TRUST_CRL_STRICT,
	 .grace_s = 3 * DAY_S,
	 .lists = {{OF_ROOT, {.this_s = -9 * DAY_S, .next_s = -2 * DAY_S}}},
	 .expected = REASON_CRL_EXPIRED},
	{.name = "advisory: no list", .policy = TRUST_CRL_ADVISORY},
	{.name = "advisory: an expired list",
	 .policy = TRUST_CRL_ADVISORY,
	 .lists = {{OF_ROOT, {.this_s = -9 * DAY_S, .next_s = -4 * DAY_S}}}},
	{.name = "advisory: a forged list revokes nothing",
	 .policy = TRUST_CRL_ADVISORY,
	 .lists = {{OF_NAMESAKE, {REVOKES(LEAF_SERIAL)}}}},
	{.name = "off: a forged list revokes nothing",
	 .lists = {{OF_NAMESAKE, {REVOKES(LEAF_SERIAL)}}}},
	{.name = "off: an expired list",
	 .lists = {{OF_ROOT, {.this_s = -9 * DAY_S, .next_s = -1}}}},

	/* Revoked. */
	{.name = "strict: revoked",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED,
	 .says = "(keyCompromise) by the list list0.crl"},
	{.name = "strict: another is revoked",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL + 1)}}}},
	{.name = "off: revoked",
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "advisory: revoked",
	 .policy = TRUST_CRL_ADVISORY,
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "strict: revoked on an expired list",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL), .this_s = -9 * DAY_S, .next_s = -DAY_S}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "off: revoked on an expired list",
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL), .this_s = -9 * DAY_S, .next_s = -DAY_S}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "revoked on a list that begins later",
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL), .this_s = DAY_S, .next_s = 9 * DAY_S}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "revoked with a date to come",
	 .lists = {{OF_ROOT, {.entries = {{.serial = LEAF_SERIAL, .at_s = 9 * DAY_S}}}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "taken off the list again",
	 .lists = {{OF_ROOT,
		    {.entries = {{.serial = LEAF_SERIAL,
				  .reason = CRL_REASON_REMOVE_FROM_CRL,
				  .at_s = -DAY_S}}}}}},
	{.name = "on hold",
	 .lists = {{OF_ROOT,
		    {.entries = {{.serial = LEAF_SERIAL,
				  .reason = CRL_REASON_CERTIFICATE_HOLD,
				  .at_s = -DAY_S}}}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "an older list by number does not count",
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL), .number = 7}},
		   {OF_ROOT, {.number = 8, .this_s = -2 * DAY_S, .next_s = DAY_S}}}},
	{.name = "the newer list by number counts",
	 .lists = {{OF_ROOT, {.number = 7}},
		   {OF_ROOT,
		    {REVOKES(LEAF_SERIAL), .number = 8, .this_s = -2 * DAY_S, .next_s = DAY_S}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "the newer list by thisUpdate counts",
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}},
		   {OF_ROOT, {.this_s = -2 * DAY_S, .next_s = DAY_S}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "an older list by thisUpdate does not count",
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL), .this_s = -2 * DAY_S, .next_s = DAY_S}},
		   {OF_ROOT, {.number = 1}}}},
	{.name = "strict: a list published ahead of its time waits",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}},
		   {OF_ROOT, {.number = 8, .this_s = DAY_S, .next_s = 9 * DAY_S}}}},
	{.name = "strict: the newer list is expired",
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.number = 7}},
		   {OF_ROOT, {.number = 8, .this_s = -2 * DAY_S, .next_s = -DAY_S}}},
	 .expected = REASON_CRL_EXPIRED},
	{.name = "an intermediate that is sent is revoked",
	 .by = BY_SUB,
	 .lists = {{OF_ROOT, {REVOKES(SUB_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED,
	 .says = "certificate \"CN=Corp Sub 1"},
	{.name = "an intermediate that is loaded is revoked",
	 .by = BY_SUB,
	 .sub_is = SUB_LOADED,
	 .lists = {{OF_ROOT, {REVOKES(SUB_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "revoked by an intermediate that is sent",
	 .by = BY_SUB,
	 .lists = {{OF_SUB, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "revoked by an intermediate that is loaded",
	 .by = BY_SUB,
	 .sub_is = SUB_LOADED,
	 .lists = {{OF_SUB, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "the serial revoked by another authority",
	 .by = BY_SUB,
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}}}},
	{.name = "a gateway revoked",
	 .role = VERIFY_GATEWAY,
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED},

	/* Of two findings the more helpful. */
	{.name = "denied and revoked",
	 .denial = DENY_KEY,
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_DENIED},
	{.name = "revoked and expired",
	 .leaf = {EXPIRED},
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "revoked and signed with SHA-1",
	 .leaf.digest = "SHA1",
	 .lists = {{OF_ROOT, {REVOKES(LEAF_SERIAL)}}},
	 .expected = REASON_CERT_REVOKED},
	{.name = "weak signature and weak key",
	 .leaf = {.digest = "SHA1", .key = CERTS_P224},
	 .expected = REASON_SIGNATURE_WEAK},
	{.name = "weak key and name constraint",
	 .leaf = {.key = CERTS_P224, .san = "DNS:a.evil.example"},
	 .root.constraints = "critical,permitted;DNS:corp.example",
	 .expected = REASON_KEY_WEAK},
	{.name = "name constraint and unusable name",
	 .leaf = {.san = "DNS:a.evil.example", .subject = "CN=a/CN=b"},
	 .root.constraints = "critical,permitted;DNS:corp.example",
	 .expected = REASON_NAME_CONSTRAINT},
	{.name = "unusable name and wrong purpose",
	 .leaf = {.eku = "serverAuth", .subject = "CN=a/CN=b"},
	 .expected = REASON_NAME_INVALID},
	{.name = "wrong purpose and wrong name",
	 .role = VERIFY_GATEWAY,
	 .leaf.eku = "clientAuth",
	 .peer_name = "other.corp.example",
	 .expected = REASON_PURPOSE_MISMATCH},
	{.name = "wrong name and expired",
	 .role = VERIFY_GATEWAY,
	 .leaf = {EXPIRED},
	 .peer_name = "other.corp.example",
	 .expected = REASON_NAME_MISMATCH},
	{.name = "wrong name and the root expired",
	 .role = VERIFY_GATEWAY,
	 .root = {EXPIRED},
	 .peer_name = "other.corp.example",
	 .expected = REASON_NAME_MISMATCH},
	{.name = "ends before it begins",
	 .leaf = {.from_s = 2 * DAY_S, .until_s = -2 * DAY_S},
	 .expected = REASON_CERT_EXPIRED},
	{.name = "begins later and a forged list",
	 .leaf = {TO_COME},
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_NAMESAKE, {.number = 9}}},
	 .expected = REASON_CERT_NOT_YET_VALID},
	{.name = "expired and no list",
	 .leaf = {EXPIRED},
	 .policy = TRUST_CRL_STRICT,
	 .expected = REASON_CERT_EXPIRED},
	{.name = "begins later and no list",
	 .leaf = {TO_COME},
	 .policy = TRUST_CRL_STRICT,
	 .expected = REASON_CERT_NOT_YET_VALID},
	{.name = "a forged list and no list",
	 .by = BY_SUB,
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_NAMESAKE, {.number = 9}}},
	 .expected = REASON_CRL_INVALID},
	{.name = "no list and an expired list",
	 .by = BY_SUB,
	 .policy = TRUST_CRL_STRICT,
	 .lists = {{OF_ROOT, {.this_s = -9 * DAY_S, .next_s = -DAY_S}}},
	 .expected = REASON_CRL_MISSING},
};

/* All that a row describes, made. */
struct world {
	struct certs_pair root, old_root, namesake, stranger, leaf;
	struct certs_pair subs[DEPTH_MAX];
	unsigned depth;
	STACK_OF(X509) * untrusted;
	struct trust *trust;
};

static const char *or_default(const char *given, const char *otherwise)
{
	return given ? given : otherwise;
}

static struct certs_spec authority_spec(const struct certs_spec *wanted, const char *subject)
{
	struct certs_spec spec = *wanted;

	spec.subject = or_default(spec.subject, subject);
	spec.ku = or_default(spec.ku, "critical,keyCertSign,cRLSign");
	spec.ca = true;
	return spec;
}

static struct certs_spec leaf_spec(const struct row *row)
{
	struct certs_spec spec = row->leaf;
	bool gateway = row->role == VERIFY_GATEWAY;

	spec.subject = or_default(spec.subject, gateway ? "O=Corp/CN=gateway" : "O=Corp/CN=alice");
	spec.ku = or_default(spec.ku, "critical,digitalSignature");
	spec.eku = or_default(spec.eku, gateway ? "serverAuth" : "clientAuth");
	if (gateway)
		spec.san = or_default(spec.san, "DNS:vpn.corp.example");
	spec.serial = LEAF_SERIAL;
	return spec;
}

static void make_authorities(struct world *world, const struct row *row)
{
	struct certs_spec root = authority_spec(&row->root, "O=Corp/CN=Corp CA");
	struct certs_spec stranger =
		authority_spec(&(struct certs_spec){.subject = "CN=Stranger CA"}, NULL);
	const struct certs_pair *issuer = &world->root;

	world->root = certs_make(&root, NULL);
	world->namesake = certs_make(&root, NULL);
	world->stranger = certs_make(&stranger, NULL);
	if (row->old_root_loaded) {
		struct certs_spec old = root;

		old.from_s = -9 * DAY_S;
		old.until_s = -2 * DAY_S;
		old.same_key = world->root.key;
		world->old_root = certs_make(&old, NULL);
	}
	if (row->sub_of_stranger)
		issuer = &world->stranger;
	world->depth = row->depth ? row->depth : row->by == BY_SUB;
	for (unsigned i = 0; i < world->depth; i++) {
		char subject[64];
		struct certs_spec sub;

		snprintf(subject, sizeof(subject), "O=Corp/CN=Corp Sub %u", i + 1);
		sub = authority_spec(&row->sub, subject);
		sub.serial = SUB_SERIAL + i;
		world->subs[i] = certs_make(&sub, issuer);
		issuer = &world->subs[i];
	}
}

static void make_leaf(struct world *world, const struct row *row)
{
	const struct certs_pair *issuers[] = {
		[BY_ROOT] = &world->root,
		[BY_SUB] = world->depth ? &world->subs[world->depth - 1] : NULL,
		[BY_SELF] = NULL,
		[BY_STRANGER] = &world->stranger,
		[BY_NAMESAKE] = &world->namesake,
	};
	struct certs_spec spec = leaf_spec(row);

	if (row->by == IS_ROOT) {
		X509_up_ref(world->root.cert);
		EVP_PKEY_up_ref(world->root.key);
		world->leaf = world->root;
		return;
	}
	world->leaf = certs_make(&spec, issuers[row->by]);
	world->untrusted = sk_X509_new_null();
	for (unsigned i = 0; row->sub_is == SUB_SENT && i < world->depth; i++)
		sk_X509_push(world->untrusted, world->subs[i].cert);
	if (row->by == BY_NAMESAKE)
		sk_X509_push(world->untrusted, world->namesake.cert);
}

static void add_source(struct trust_source *sources, size_t *count, const char *file, char *pem)
{
	sources[(*count)++] =
		(struct trust_source){.file = file, .data = (uint8_t *)pem, .len = strlen(pem)};
}

static void free_sources(struct trust_source *sources, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free((void *)sources[i].data);
}

static void find_denial(const struct world *world, enum denial kind, struct trust_denial *ret)
{
	X509 *cert = kind == DENY_SUB_KEY ? world->subs[0].cert : world->leaf.cert;

	memset(ret, 0xee, sizeof(*ret));
	snprintf(ret->serial, sizeof(ret->serial), "7777");
	if (kind == DENY_SERIAL)
		X509_NAME_digest(X509_get_issuer_name(cert), EVP_sha256(), ret->issuer_hash, NULL);
	if (kind == DENY_SERIAL || kind == DENY_SERIAL_ELSEWHERE)
		snprintf(ret->serial, sizeof(ret->serial), "%x", LEAF_SERIAL);
	if (kind == DENY_KEY || kind == DENY_SUB_KEY)
		identity_spki_hash(cert, ret->spki_hash);
}

static void print_problem(const char *file, const char *text, void *user)
{
	(void)user;
	print_message("%s: %s\n", file, text);
}

static void make_trust(struct world *world, const struct row *row)
{
	static const char *const list_files[LISTS_MAX] = {"list0.crl", "list1.crl", "list2.crl"};
	struct trust_source cas[DEPTH_MAX + 3], crls[LISTS_MAX];
	size_t ca_count = 0, crl_count = 0;
	struct trust_denial denial;

	if (row->old_root_loaded)
		add_source(cas, &ca_count, "old.crt", certs_pem(world->old_root.cert));
	add_source(cas, &ca_count, "root.crt", certs_pem(world->root.cert));
	if (row->namesake_loaded)
		add_source(cas, &ca_count, "namesake.crt", certs_pem(world->namesake.cert));
	for (unsigned i = 0; row->sub_is == SUB_LOADED && i < world->depth; i++)
		add_source(cas, &ca_count, "sub.crt", certs_pem(world->subs[i].cert));
	for (int i = 0; i < LISTS_MAX && row->lists[i].of != NO_LIST; i++) {
		const struct certs_pair *issuer = row->lists[i].of == OF_ROOT  ? &world->root
						  : row->lists[i].of == OF_SUB ? &world->subs[0]
									       : &world->namesake;
		X509_CRL *crl = certs_make_list(&row->lists[i].spec, issuer);

		add_source(crls, &crl_count, list_files[i], certs_pem_list(crl));
		X509_CRL_free(crl);
	}
	find_denial(world, row->denial, &denial);
	world->trust = trust_new(
		&(struct trust_options){
			.cas = cas,
			.ca_count = ca_count,
			.crls = crls,
			.crl_count = crl_count,
			.denials = &denial,
			.denial_count = row->denial != NO_DENIAL,
			.crl_policy = row->policy,
			.crl_grace_s = row->grace_s,
		},
		print_problem, NULL, NULL);
	free_sources(cas, ca_count);
	free_sources(crls, crl_count);
	assert_non_null(world->trust);
}

static struct world make_world(const struct row *row)
{
	struct world world = {.trust = NULL};

	make_authorities(&world, row);
	make_leaf(&world, row);
	make_trust(&world, row);
	return world;
}

static void free_world(struct world *world)
{
	for (unsigned i = 0; i < world->depth; i++)
		certs_free(&world->subs[i]);
	certs_free(&world->root);
	certs_free(&world->old_root);
	certs_free(&world->namesake);
	certs_free(&world->stranger);
	certs_free(&world->leaf);
	sk_X509_free(world->untrusted);
	trust_unref(world->trust);
}

static struct verdict ask(const struct world *world, const struct row *row)
{
	return verify_ask(&(struct verify_question){
		.trust = world->trust,
		.leaf = world->leaf.cert,
		.untrusted = world->untrusted,
		.role = row->role,
		.peer_name = row->role == VERIFY_GATEWAY
				     ? or_default(row->peer_name, "vpn.corp.example")
				     : NULL,
		.at = time(NULL) + (time_t)row->at_s,
	});
}

/* Whatever the verdict, its text is one line for the operator. */
static bool is_one_line(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
			return false;
	}
	return true;
}

/* Whose fault it is stands in the text, too, unless that is about a list. */
static bool is_about_the_right(const struct verdict *verdict)
{
	char serial[IDENTITY_SERIAL_MAX + 16];

	if (verdict->reason == REASON_NONE || !verdict->about)
		return (verdict->reason == REASON_NONE) == !verdict->about;
	snprintf(serial, sizeof(serial), " serial %s ", verdict->about->serial);
	return strncmp(verdict->text, "certificate ", 12) != 0 || strstr(verdict->text, serial);
}

static bool is_right(const struct row *row, const struct verdict *verdict)
{
	if (verdict->reason != row->expected || !is_one_line(verdict->text) ||
	    !is_about_the_right(verdict))
		return false;
	if (!verdict->cert || !verdict->cert->subject || !verdict->cert->serial[0])
		return false;
	if (row->expected == REASON_NONE)
		return verdict->text[0] == '\0' && verdict->cert->identity.name[0];
	return verdict->text[0] && strstr(verdict->text, or_default(row->says, ""));
}

static void test_corpus(void **state)
{
	unsigned failed = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world world = make_world(&rows[i]);
		struct verdict verdict = ask(&world, &rows[i]);

		if (!is_right(&rows[i], &verdict)) {
			print_error("%s: got \"%s\", wanted \"%s\": %s\n", rows[i].name,
				    reason_word(verdict.reason), reason_word(rows[i].expected),
				    verdict.text);
			failed++;
		}
		verify_done(&verdict);
		free_world(&world);
	}
	assert_true(sizeof(rows) / sizeof(rows[0]) >= 60);
	assert_int_equal(failed, 0);
}

static void test_facts(void **state)
{
	const struct row row = {
		.name = "facts",
		.by = BY_SUB,
		.leaf = {.subject = "O=Corp/OU=Eng/CN=alice", .san = "email:alice@Corp.Example"},
		.sub = {.from_s = -DAY_S, .until_s = 5 * DAY_S},
	};
	struct world world = make_world(&row);
	struct verdict verdict = ask(&world, &row);
	const struct identity_cert *cert = verdict.cert;
	uint8_t root[32];

	(void)state;
	identity_spki_hash(world.root.cert, root);
	assert_int_equal(verdict.reason, REASON_NONE);
	assert_int_equal(cert->identity.kind, IDENTITY_EMAIL);
	assert_string_equal(cert->identity.name, "alice@corp.example");
	assert_memory_equal(cert->identity.root, root, 32);
	assert_string_equal(cert->subject, "CN=alice,OU=Eng,O=Corp");
	assert_string_equal(cert->issuer, "CN=Corp Sub 1,O=Corp");
	assert_string_equal(cert->serial, "1f");
	assert_int_equal(cert->expires_at, identity_time(X509_get0_notAfter(world.subs[0].cert)));
	assert_int_equal(cert->not_after, identity_time(X509_get0_notAfter(world.leaf.cert)));
	assert_int_equal(cert->authority_count, 2);
	assert_memory_equal(cert->authorities[1], root, 32);
	identity_spki_hash(world.subs[0].cert, root);
	assert_memory_equal(cert->authorities[0], root, 32);
	assert_int_equal(sk_X509_num(verdict.chain), 3);
	assert_int_equal(X509_cmp(sk_X509_value(verdict.chain, 0), world.leaf.cert), 0);
	assert_int_equal(X509_cmp(sk_X509_value(verdict.chain, 2), world.root.cert), 0);
	verify_done(&verdict);
	verify_done(&verdict); /* nothing is left to free */
	free_world(&world);
}

static void test_text(void **state)
{
	const struct row row = {
		.name = "text",
		.leaf = {.subject = "O=\"Corp\x1b/CN=al\nice", EXPIRED},
	};
	const struct row expired = {.name = "expired", .leaf = {EXPIRED}};
	struct world world = make_world(&row), plain = make_world(&expired);
	struct verdict verdict = ask(&world, &row), other = ask(&plain, &expired);
	char wanted[256], when[32];
	time_t until = identity_time(X509_get0_notAfter(plain.leaf.cert));

	(void)state;
	assert_non_null(strstr(verdict.text, "certificate \"CN=al\\0Aice,O=\\\"Corp\\1B\" serial"));
	assert_string_equal(verdict.cert->identity.name, "");
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime(&until));
	snprintf(wanted, sizeof(wanted),
		 "certificate \"CN=alice,O=Corp\" serial 1f issued by \"CN=Corp CA,O=Corp\" "
		 "expired at %s",
		 when);
	assert_string_equal(other.text, wanted);
	assert_string_equal(other.cert->identity.name, "alice");
	verify_done(&verdict);
	verify_done(&other);
	free_world(&world);
	free_world(&plain);
}

/* A stranger's claim to a name carries no root, so it never equals the real one's. */
static void test_unverified_identity(void **state)
{
	const struct row row = {.name = "stranger", .by = BY_STRANGER};
	const struct row real = {.name = "real"};
	struct world world = make_world(&row), other = make_world(&real);
	struct verdict verdict = ask(&world, &row), known = ask(&other, &real);
	const uint8_t none[32] = {0};

	(void)state;
	assert_string_equal(verdict.cert->identity.name, "alice");
	assert_memory_equal(verdict.cert->identity.root, none, 32);
	assert_false(identity_equal(&verdict.cert->identity, &known.cert->identity));
	verify_done(&verdict);
	verify_done(&known);
	free_world(&world);
	free_world(&other);
}

static void test_missing(void **state)
{
	const struct row row = {.name = "missing"};
	struct world world = make_world(&row);
	struct verdict verdict = verify_ask(&(struct verify_question){.trust = world.trust});

	(void)state;
	assert_int_equal(verdict.reason, REASON_CERT_MISSING);
	assert_null(verdict.cert);
	verify_done(&verdict);
	free_world(&world);
}

static void test_gateway_without_name(void **state)
{
	const struct row row = {.name = "no name", .role = VERIFY_GATEWAY};
	struct world world = make_world(&row);
	struct verdict verdict = verify_ask(&(struct verify_question){
		.trust = world.trust,
		.leaf = world.leaf.cert,
		.role = VERIFY_GATEWAY,
		.at = time(NULL),
	});

	(void)state;
	assert_int_equal(verdict.reason, REASON_NAME_MISMATCH);
	assert_non_null(strstr(verdict.text, "does not carry the name \"\""));
	verify_done(&verdict);
	free_world(&world);
}

/* A handshake is under way when the question is asked; its error queue is not ours. */
static void test_error_queue(void **state)
{
	static const struct row asked[] = {
		{.name = "unknown", .by = BY_STRANGER},
		{.name = "forged",
		 .policy = TRUST_CRL_STRICT,
		 .lists = {{OF_NAMESAKE, {.number = 1}}}},
		{.name = "malformed", .leaf.san = "DER:0500"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct world world = make_world(&asked[i]);
		struct verdict verdict;

		ERR_clear_error();
		ERR_raise(ERR_LIB_USER, 77);
		verdict = ask(&world, &asked[i]);
		assert_int_not_equal(verdict.reason, REASON_NONE);
		assert_int_equal(ERR_GET_REASON(ERR_get_error()), 77);
		assert_int_equal(ERR_peek_error(), 0);
		verify_done(&verdict);
		free_world(&world);
	}
}

/* Two ends in one process; the one that judges refuses for the reason under test. */
struct pair_of_ends {
	enum reason reason;
	int alert; /* what the other end received; -1 none */
};

static int refuse_peer(X509_STORE_CTX *building, void *user)
{
	const struct pair_of_ends *ends = user;

	X509_STORE_CTX_set_error(building, verify_x509_error(ends->reason));
	return 0;
}

static int accept_peer(X509_STORE_CTX *building, void *user)
{
	(void)user;
	X509_STORE_CTX_set_error(building, X509_V_OK);
	return 1;
}

static void hear_alert(const SSL *ssl, int where, int value)
{
	struct pair_of_ends *ends = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (ends && (where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT)
		ends->alert = value & 0xff;
}

static SSL_CTX *new_end(const struct certs_pair *identity, bool refuses, struct pair_of_ends *ends)
{
	SSL_CTX *end = SSL_CTX_new(TLS_method());

	SSL_CTX_set_min_proto_version(end, TLS1_3_VERSION);
	SSL_CTX_set_verify(end, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(end, refuses ? refuse_peer : accept_peer, ends);
	SSL_CTX_set_info_callback(end, hear_alert);
	SSL_CTX_set_app_data(end, refuses ? NULL : ends);
	assert_int_equal(SSL_CTX_use_certificate(end, identity->cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(end, identity->key), 1);
	return end;
}

static void run_handshake(SSL_CTX *client_end, SSL_CTX *server_end)
{
	SSL *client = SSL_new(client_end), *server = SSL_new(server_end);
	BIO *up = BIO_new(BIO_s_mem()), *down = BIO_new(BIO_s_mem());
	char byte;

	BIO_set_mem_eof_return(up, -1);
	BIO_set_mem_eof_return(down, -1);
	BIO_up_ref(up);
	BIO_up_ref(down);
	SSL_set_bio(client, down, up);
	SSL_set_bio(server, up, down);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (int i = 0; i < 4; i++) {
		SSL_do_handshake(client);
		SSL_do_handshake(server);
	}
	/* In TLS 1.3 the client is done before it can be refused. */
	SSL_read(client, &byte, 1);
	SSL_free(client);
	SSL_free(server);
	ERR_clear_error();
}

static int find_alert(const struct certs_pair *identity, enum reason reason, bool client_refuses)
{
	struct pair_of_ends ends = {.reason = reason, .alert = -1};
	SSL_CTX *client = new_end(identity, client_refuses, &ends);
	SSL_CTX *server = new_end(identity, !client_refuses, &ends);

	run_handshake(client, server);
	SSL_CTX_free(client);
	SSL_CTX_free(server);
	return ends.alert;
}

static const struct {
	enum reason reason;
	const char *alert;
	enum reason understood; /* at the refused end */
} alert_rows[] = {
	{REASON_CERT_EXPIRED, "certificate_expired", REASON_CERT_EXPIRED},
	{REASON_CERT_REVOKED, "certificate_revoked", REASON_CERT_REVOKED},
	{REASON_CERT_DENIED, "certificate_revoked", REASON_CERT_REVOKED},
	{REASON_ISSUER_UNKNOWN, "unknown_ca", REASON_ISSUER_UNKNOWN},
	{REASON_PURPOSE_MISMATCH, "unsupported_certificate", REASON_PURPOSE_MISMATCH},
	{REASON_CERT_NOT_YET_VALID, "bad_certificate", REASON_NONE},
	{REASON_NAME_MISMATCH, "bad_certificate", REASON_NONE},
	{REASON_NAME_CONSTRAINT, "bad_certificate", REASON_NONE},
	{REASON_NAME_INVALID, "bad_certificate", REASON_NONE},
	{REASON_PATH_TOO_LONG, "bad_certificate", REASON_NONE},
	{REASON_SIGNATURE_WEAK, "bad_certificate", REASON_NONE},
	{REASON_KEY_WEAK, "bad_certificate", REASON_NONE},
	{REASON_ISSUER_EXPIRED, "certificate_unknown", REASON_NONE},
	{REASON_CRL_MISSING, "certificate_unknown", REASON_NONE},
	{REASON_CRL_EXPIRED, "certificate_unknown", REASON_NONE},
	{REASON_CRL_INVALID, "certificate_unknown", REASON_NONE},
	{REASON_OCSP_UNAVAILABLE, "certificate_unknown", REASON_NONE},
	{REASON_NO_ACCESS, "handshake_failure", REASON_NONE},
	{REASON_FULL, "handshake_failure", REASON_NONE},
	{REASON_INTERNAL, "internal_error", REASON_NONE},
};

static void test_alerts_on_the_wire(void **state)
{
	struct certs_pair identity = certs_make(&(struct certs_spec){.subject = "CN=end"}, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(alert_rows) / sizeof(alert_rows[0]); i++) {
		int to_client = find_alert(&identity, alert_rows[i].reason, false);
		int to_server = find_alert(&identity, alert_rows[i].reason, true);

		assert_string_equal(verify_alert_name(to_client), alert_rows[i].alert);
		assert_int_equal(to_server, to_client);
		assert_int_equal(verify_reason_of_alert(to_client), alert_rows[i].understood);
	}
	certs_free(&identity);
}

/* RFC 8446, 6.2, and what earlier ones leave. */
static const struct {
	int alert;
	const char *name;
} names[] = {
	{0, "close_notify"},
	{10, "unexpected_message"},
	{20, "bad_record_mac"},
	{22, "record_overflow"},
	{40, "handshake_failure"},
	{42, "bad_certificate"},
	{43, "unsupported_certificate"},
	{44, "certificate_revoked"},
	{45, "certificate_expired"},
	{46, "certificate_unknown"},
	{47, "illegal_parameter"},
	{48, "unknown_ca"},
	{49, "access_denied"},
	{50, "decode_error"},
	{51, "decrypt_error"},
	{70, "protocol_version"},
	{71, "insufficient_security"},
	{80, "internal_error"},
	{86, "inappropriate_fallback"},
	{90, "user_canceled"},
	{109, "missing_extension"},
	{110, "unsupported_extension"},
	{112, "unrecognized_name"},
	{113, "bad_certificate_status_response"},
	{115, "unknown_psk_identity"},
	{116, "certificate_required"},
	{120, "no_application_protocol"},
};

static void test_alerts_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_string_equal(verify_alert_name(names[i].alert), names[i].name);
	assert_int_equal(verify_x509_error(REASON_NONE), X509_V_OK);
	assert_int_equal(verify_reason_of_alert(116), REASON_CERT_MISSING);
	assert_int_equal(verify_reason_of_alert(70), REASON_VERSION_TOO_OLD);
	assert_int_equal(verify_reason_of_alert(40), REASON_NONE);
	assert_int_equal(verify_reason_of_alert(0), REASON_NONE);
	assert_string_equal(verify_alert_name(99), "unknown");
	assert_int_equal(verify_reason_of_alert(99), REASON_NONE);
	for (int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++)
		assert_int_not_equal(verify_x509_error((enum reason)reason), X509_V_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* The quick ones first: tests/mutants.py waits for the first that fails. */
		cmocka_unit_test(test_alerts_named),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_error_queue),
		cmocka_unit_test(test_gateway_without_name),
		cmocka_unit_test(test_alerts_on_the_wire),
		cmocka_unit_test(test_unverified_identity),
		cmocka_unit_test(test_corpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
