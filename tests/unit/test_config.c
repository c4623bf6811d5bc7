#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <netinet/in.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "config/config.h"
#include "config/config_load.h"
#include "config/config_text.h"

/* What a case adds stands first, so its lines count from 1 (3 within the role's section). */
#define IDENTITY	 "identity { certificate = a.crt key = a.key }\n"
#define TRUST		 "trust { ca = ca.crt }\n"
#define REST		 IDENTITY TRUST
#define GATEWAY		 "gateway { pool = \"10.99.0.0/16\" }\n"
#define IN_GATEWAY(more) "gateway {\n pool = \"10.99.0.0/16\"\n " more "\n}\n" REST
#define IN_CLIENT(more)	 "client {\n gateway = \"vpn.corp.example\"\n " more "\n}\n" REST
#define SITE(more)	 "site b {\n match = 'cn=b'\n " more " }\n" GATEWAY REST
#define SITE6(more)                                                                                \
	"site b {\n match = 'cn=b'\n " more " }\n"                                                 \
	"gateway { pool = {'10.99.0.0/16', 'fd99::/64'} }\n" REST
#define KEY_BODY "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH"
#define KEY_PEM	 "-----BEGIN PRIVATE KEY-----\n" KEY_BODY "\n-----END PRIVATE KEY-----"

#define LABEL_63   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LABEL_60   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LABELS_252 LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_60

enum { PROBLEMS_MAX = 4 };

static struct config *load_text(const char *path, const char *text, size_t len, bool closed,
				struct config_problems *problems)
{
	char *copy = xalloc_zero(len + 1, 1);
	struct config *config;

	memcpy(copy, text, len);
	config = config_load_text(path, copy, len, closed, problems);
	free(copy);
	return config;
}

static struct config *load_good(const char *text)
{
	struct config_problems problems = {0};
	struct config *config = load_text("/etc/tund/x.conf", text, strlen(text), true, &problems);

	if (problems.count > 0)
		fail_msg("%u: %s", problems.items[0].line, problems.items[0].text);
	assert_non_null(config);
	return config;
}

static const struct problem_case {
	const char *text;
	const char *problems[PROBLEMS_MAX]; /* how each begins; none: a configuration */
} problem_cases[] = {
	{GATEWAY REST, {NULL}},
	{IN_CLIENT(""), {NULL}},

	/* missing and contradictory */
	{"", {"0: has neither gateway { } nor client { }"}},
	{REST, {"0: has neither gateway { } nor client { }"}},
	{"client { gateway = x }\n" GATEWAY REST, {"1: client and gateway (line 2) in one file"}},
	{"gateway {\n}\n" REST, {"1: gateway.pool is missing; write"}},
	{"gateway {\n pool = {}\n}\n" REST, {"2: gateway.pool is missing"}},
	{"client {\n}\n" REST, {"1: client.gateway is missing"}},
	{GATEWAY TRUST, {"0: identity.certificate is missing", "0: identity.key is missing"}},
	{"identity {\n certificate = ''\n key = ''\n}\n" GATEWAY TRUST,
	 {"2: identity.certificate: \"\" names nothing", "3: identity.key: \"\" names nothing"}},
	{GATEWAY IDENTITY, {"0: trust.ca is missing"}},
	{"trust { ca = {} }\n" GATEWAY IDENTITY, {"1: trust.ca is missing"}},
	{IN_GATEWAY("listen = {}"), {"3: gateway.listen is empty, so there is no way in"}},
	{IN_GATEWAY("domains = corp.example"), {"3: gateway.domains without gateway.dns"}},
	{IN_GATEWAY("domains = corp.example dns = 10.0.0.53"), {NULL}},
	{IN_GATEWAY("routes = 10.0.0.0/8 exclude = 10.0.0.0/8"),
	 {"3: gateway.exclude: 10.0.0.0/8 leaves nothing of gateway.routes 10.0.0.0/8"}},
	{IN_GATEWAY("routes = 10.0.0.0/8 exclude = 10.1.0.0/16"), {NULL}},
	{IN_CLIENT("full-tunnel = true routes = ignore"),
	 {"3: client.full-tunnel wants every route"}},
	{IN_CLIENT("full-tunnel = true routes = accept"), {NULL}},
	{IN_CLIENT("full-tunnel = true routes = '10.0.0.0/8'"), {NULL}},
	{IN_CLIENT("full-tunnel = false routes = ignore"), {NULL}},
	{"access a { match = 'cn=x' }\n" IN_CLIENT(""), {"1: access.a is for a gateway"}},
	{"site a { match = 'cn=x' }\n" IN_CLIENT(""), {"1: site.a is for a gateway"}},
	{"limits {\n handshakes = 3\n handshake-timeout = 3s\n}\n" IN_CLIENT(""),
	 {"2: limits.handshakes is for a gateway"}},
	{"trust {\n ca = a\n peer-name = x }\n" GATEWAY IDENTITY,
	 {"3: trust.peer-name is for a client"}},
	{"access a {\n allow = '10.0.0.0/8 any'\n}\naccess b {\n match = {} }\n" GATEWAY REST,
	 {"1: access.a.match is missing or empty", "5: access.b.match is missing or empty"}},
	{"daemon { user = root }\n" GATEWAY REST, {"1: daemon.user is root"}},
	{"daemon { workers = 0 }\n" GATEWAY REST, {"1: daemon.workers: \"0\" does not fit"}},
	{"daemon { workers = 65 }\n" GATEWAY REST, {"1: daemon.workers: \"65\" does not fit"}},
	{"daemon { workers = auto }\n" GATEWAY REST, {NULL}},
	{"daemon { workers = 64 }\n" GATEWAY REST, {NULL}},
	{"control { socket = "
	 "'/"
	 "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
	 "901234567890123456'\n}\n" GATEWAY REST,
	 {NULL}},
	{"control { socket = "
	 "'/"
	 "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
	 "9012345678901234567'\n}\n" GATEWAY REST,
	 {"1: control.socket is 108 bytes"}},

	/* pools */
	{"gateway {\n pool = {'10.99.0.0/16',\n '10.99.4.0/24'} }\n" REST,
	 {"2: gateway.pool: 10.99.0.0/16 and 10.99.4.0/24 overlap"}},
	{"gateway {\n pool = {'10.99.0.0/16', '10.98.0.0/16', 'fd99::/64'} }\n" REST, {NULL}},
	{"gateway {\n pool = {'10.99.0.0/30', 'fd99::/126'} }\n" REST, {NULL}},
	{"gateway {\n pool = {'10.99.0.0/31', 'fd99::/127'} }\n" REST,
	 {"2: gateway.pool: 10.99.0.0/31 is too small; an IPv4 pool is /8 to /30",
	  "2: gateway.pool: fd99::/127 is too small; an IPv6 pool is /16 to /126"}},
	{"gateway {\n pool = {'10.99.0.1', '0.0.0.0/0', '::/0'} }\n" REST,
	 {"2: gateway.pool: 10.99.0.1/32 is too small", "2: gateway.pool: 0.0.0.0/0 is too large",
	  "2: gateway.pool: 10.99.0.1/32 and 0.0.0.0/0 overlap",
	  "2: gateway.pool: ::/0 is too large"}},
	{"gateway {\n pool = {'127.0.0.0/16', '224.0.0.0/8', 'fe80::/64'} }\n" REST,
	 {"2: gateway.pool: 127.0.0.0/16 holds no addresses",
	  "2: gateway.pool: 224.0.0.0/8 holds no addresses",
	  "2: gateway.pool: fe80::/64 holds no addresses"}},
	{"gateway {\n pool = {'10.99.0.0/16',\n '10.98.0.1/16'} }\n" REST,
	 {"3: gateway.pool: \"10.98.0.1/16\" has host bits set; write \"10.98.0.0/16\""}},
	{IN_GATEWAY("listen = {'192.0.2.1', '10.99.0.7:443'}"),
	 {"2: gateway.pool holds the address of gateway.listen \"10.99.0.7:443\""}},

	/* ill-typed */
	{IN_GATEWAY("listen = {'0.0.0.0:0',\n '[::]:70000',\n 'host:443',\n '::'}"),
	 {"3: gateway.listen: \"0.0.0.0:0\" is no address and port",
	  "4: gateway.listen: \"[::]:70000\"", "5: gateway.listen: \"host:443\"",
	  "6: gateway.listen: \"::\""}},
	{IN_GATEWAY("listen = {'0.0.0.0:443', '[::]:443',\n '0.0.0.0'}"),
	 {"4: gateway.listen: \"0.0.0.0\" stands twice"}},
	{IN_GATEWAY("interface = 'a b'"), {"3: gateway.interface: \"a b\" is no interface name"}},
	{IN_GATEWAY("interface = ''"), {"3: gateway.interface: \"\" is no interface name"}},
	{IN_GATEWAY("interface = 'a/b'"), {"3: gateway.interface: \"a/b\""}},
	{IN_GATEWAY("interface = '.'"), {"3: gateway.interface: \".\""}},
	{IN_GATEWAY("interface = '..'"), {"3: gateway.interface: \"..\""}},
	{IN_GATEWAY("interface = 'all'"), {"3: gateway.interface: \"all\""}},
	{IN_GATEWAY("interface = 'tun%d'"), {"3: gateway.interface: \"tun%d\""}},
	{IN_GATEWAY("interface = 'a23456789012345'"), {NULL}},
	{IN_GATEWAY("interface = 'a234567890123456'"), {"3: gateway.interface:"}},
	{IN_GATEWAY("routes = {'10.0.0.0/8', '10.0.0.0/33', 'x'}"),
	 {"3: gateway.routes: \"10.0.0.0/33\" is no prefix",
	  "3: gateway.routes: \"x\" is no prefix"}},
	{IN_GATEWAY("exclude = '10.0.0.1/8'"),
	 {"3: gateway.exclude: \"10.0.0.1/8\" has host bits set; write \"10.0.0.0/8\""}},
	{IN_GATEWAY("dns = {'10.0.0.53/32', 'ns', '127.0.0.53'}"),
	 {"3: gateway.dns: \"10.0.0.53/32\" is no address", "3: gateway.dns: \"ns\" is no address",
	  "3: gateway.dns: \"127.0.0.53\" cannot be"}},
	{IN_GATEWAY("dns = 10.0.0.53 domains = {'.', '-x', 'a..b', 'corp.example.'}"),
	 {"3: gateway.domains: \"-x\" is no domain", "3: gateway.domains: \"a..b\"",
	  "3: gateway.domains: \"corp.example.\""}},
	{IN_GATEWAY("dns = 10.0.0.53 domains = '" LABELS_252 "a'"), {NULL}},
	{IN_GATEWAY("dns = 10.0.0.53 domains = '" LABELS_252 "ab'"), {"3: gateway.domains: \"aaa"}},
	{IN_GATEWAY("dns = 10.0.0.53 domains = 'a" LABEL_63 "'"), {"3: gateway.domains: \"aaa"}},
	{IN_GATEWAY("mtu = 575"), {"3: gateway.mtu: \"575\" does not fit"}},
	{IN_GATEWAY("mtu = 9217"), {"3: gateway.mtu: \"9217\" does not fit"}},
	{IN_GATEWAY("mtu = big"), {"3: gateway.mtu: \"big\" does not fit"}},
	{IN_GATEWAY("mtu = 576"), {NULL}},
	{IN_GATEWAY("mtu = 9216"), {NULL}},
	{"gateway {\n pool = 'fd99::/64'\n mtu = 1279 }\n" REST,
	 {"3: gateway.mtu: IPv6 needs 1280 bytes"}},
	{"gateway {\n pool = 'fd99::/64'\n mtu = 1280 }\n" REST, {NULL}},
	{IN_GATEWAY("max-sessions = 0"), {"3: gateway.max-sessions: \"0\" is out of range"}},
	{IN_GATEWAY("max-sessions = -1"), {"3: gateway.max-sessions: \"-1\" is not a number"}},
	{IN_GATEWAY("max-sessions = 0x10"), {"3: gateway.max-sessions: \"0x10\" is not a number"}},
	{IN_GATEWAY("max-sessions = ''"), {"3: gateway.max-sessions: \"\" is not a number"}},
	{IN_GATEWAY("max-sessions = 10000000000"), {"3: gateway.max-sessions: \"10000000000\" is"}},
	{IN_GATEWAY("max-sessions = 1000001"), {"3: gateway.max-sessions: \"1000001\" is out"}},
	{IN_GATEWAY("duplicate = both"),
	 {"3: gateway.duplicate: \"both\" is not known; write one of: replace refuse allow"}},
	{IN_GATEWAY("duplicate = ''"), {"3: gateway.duplicate: \"\" is not known"}},
	{IN_GATEWAY("duplicate = 'replace refuse'"), {"3: gateway.duplicate: \"replace refuse\""}},
	{IN_GATEWAY("dpd = 10x"),
	 {"3: gateway.dpd: \"10x\" is not a duration; write a number with s, m, h or d, or 0"}},
	{IN_GATEWAY("dpd = 10"), {"3: gateway.dpd: \"10\" is not a duration"}},
	{IN_GATEWAY("dpd = s"), {"3: gateway.dpd: \"s\" is not a duration"}},
	{IN_GATEWAY("dpd = '1h30m'"), {"3: gateway.dpd: \"1h30m\" is not a duration"}},
	{IN_GATEWAY("dpd = ''"), {"3: gateway.dpd: \"\" is not a duration"}},
	{IN_GATEWAY("dpd = 3650d"), {NULL}},
	{IN_GATEWAY("dpd = 3651d"), {"3: gateway.dpd: \"3651d\" is out of range"}},
	{IN_GATEWAY("dpd = 999999999d"), {"3: gateway.dpd: \"999999999d\" is out of range"}},
	/* what would overflow 32 bits, 64 bits, and their products */
	{IN_GATEWAY("dpd = 4294967297s"), {"3: gateway.dpd: \"4294967297s\" is out of range"}},
	{IN_GATEWAY("dpd = 18446744073709551617s"),
	 {"3: gateway.dpd: \"18446744073709551617s\" is"}},
	{IN_GATEWAY("dpd = 213503982334602d"), {"3: gateway.dpd: \"213503982334602d\" is out of"}},
	{IN_GATEWAY("dpd = -1s"), {"3: gateway.dpd: \"-1s\" is not a duration"}},
	{IN_GATEWAY("dpd = '+1s'"), {"3: gateway.dpd: \"+1s\" is not a duration"}},
	{IN_GATEWAY("dpd = '1.5s'"), {"3: gateway.dpd: \"1.5s\" is not a duration"}},
	{IN_GATEWAY("dpd = 100ms"), {"3: gateway.dpd: \"100ms\" is not a duration"}},
	{IN_GATEWAY("dpd = 1S"), {"3: gateway.dpd: \"1S\" is not a duration"}},
	{IN_GATEWAY("dpd = ' 1s'"), {"3: gateway.dpd: \" 1s\" is not a duration"}},
	{IN_GATEWAY("dpd = '1 s'"), {"3: gateway.dpd: \"1 s\" is not a duration"}},
	{IN_GATEWAY("dpd = 0s"), {NULL}},
	{IN_GATEWAY("dpd = 00"), {"3: gateway.dpd: \"00\" is not a duration"}},
	{IN_GATEWAY("max-sessions = 4294967297"),
	 {"3: gateway.max-sessions: \"4294967297\" is out of range; write 1 to 1000000"}},
	{IN_GATEWAY("max-sessions = 18446744073709551617"),
	 {"3: gateway.max-sessions: \"18446744073709551617\" is out of range"}},
	{IN_GATEWAY("max-sessions = 1e3"), {"3: gateway.max-sessions: \"1e3\" is not a number"}},
	{IN_GATEWAY("max-sessions = '10 000'"), {"3: gateway.max-sessions: \"10 000\" is not"}},
	{IN_GATEWAY("mtu = 4294967296"), {"3: gateway.mtu: \"4294967296\" does not fit"}},
	{IN_GATEWAY("mtu = -1400"), {"3: gateway.mtu: \"-1400\" does not fit"}},
	{IN_GATEWAY("mtu = 1400.0"), {"3: gateway.mtu: \"1400.0\" does not fit"}},
	{"renew { before = '4294967329%' }\n" GATEWAY REST,
	 {"1: renew.before: \"4294967329%\" is out of range"}},
	{"renew { before = '-1%' }\n" GATEWAY REST, {"1: renew.before: \"-1%\" is not a percent"}},
	{IN_GATEWAY("listen = '0.0.0.0:4294967739'"),
	 {"3: gateway.listen: \"0.0.0.0:4294967739\""}},
	{IN_GATEWAY("listen = '0.0.0.0:-443'"), {"3: gateway.listen: \"0.0.0.0:-443\""}},
	{IN_GATEWAY("listen = 'https://0.0.0.0'"), {"3: gateway.listen: \"https://0.0.0.0\""}},
	{IN_GATEWAY("listen = '[::ffff:192.0.2.1]:443'"), {NULL}},
	{IN_GATEWAY("routes = '10.0.0.0/-8'"), {"3: gateway.routes: \"10.0.0.0/-8\" is no prefix"}},
	{IN_GATEWAY("routes = '10.0.0.0/08'"), {"3: gateway.routes: \"10.0.0.0/08\" is no prefix"}},
	{IN_GATEWAY("routes = '10.0.0.0/4294967304'"),
	 {"3: gateway.routes: \"10.0.0.0/4294967304\""}},
	{IN_GATEWAY("routes = '10.0.0.0/255.0.0.0'"),
	 {"3: gateway.routes: \"10.0.0.0/255.0.0.0\""}},
	{IN_GATEWAY("routes = '010.0.0.0/8'"), {"3: gateway.routes: \"010.0.0.0/8\" is no prefix"}},
	{IN_GATEWAY("routes = '10.0/16'"), {"3: gateway.routes: \"10.0/16\" is no prefix"}},
	{IN_GATEWAY("routes = ''"), {"3: gateway.routes: \"\" is no prefix"}},
	{IN_GATEWAY("routes = 'fd00::1/8'"),
	 {"3: gateway.routes: \"fd00::1/8\" has host bits set; write \"fd00::/8\""}},
	{IN_GATEWAY("routes = 'fd00::/129'"), {"3: gateway.routes: \"fd00::/129\" is no prefix"}},
	{IN_GATEWAY("routes = 'fe80::1%eth0/64'"), {"3: gateway.routes: \"fe80::1%eth0/64\""}},
	{"limits { handshake-timeout = 0 }\n" GATEWAY REST,
	 {"1: limits.handshake-timeout: \"0\" is out of range; write 1s to 300s"}},
	{IN_CLIENT("full-tunnel = maybe"), {"3: client.full-tunnel: \"maybe\" is neither"}},
	{IN_CLIENT("routes = {}"), {"3: client.routes: \"\" (an empty list)"}},
	{IN_CLIENT("routes = {'accept', 'ignore'}"),
	 {"3: client.routes: \"accept\" is no prefix",
	  "3: client.routes: \"ignore\" is no prefix"}},
	{IN_CLIENT("routes = denied"), {"3: client.routes: \"denied\" is no prefix"}},
	{"client {\n gateway = {'a:443', '[2001:db8::1]:443', '192.0.2.1', 'b', '2001:db8::1',\n"
	 " 'A:443', '10.0.0.300', 'a:0'} }\n" REST,
	 {"2: client.gateway: \"2001:db8::1\" is no gateway",
	  "3: client.gateway: \"A:443\" stands twice",
	  "3: client.gateway: \"10.0.0.300\" is no gateway", "3: client.gateway: \"a:0\" is no"}},
	{"trust { ca = a peer-name = 'a_b' }\nclient { gateway = x }\n" IDENTITY,
	 {"1: trust.peer-name: \"a_b\" is neither"}},
	{"state { directory = '~/tund' }\n" GATEWAY REST,
	 {"1: state.directory: \"~/tund\" begins with ~, which only a shell replaces"}},
	{"trust {\n ca = {'a', '~/ca.crt'}\n crl = '~x/crl' }\n" GATEWAY IDENTITY,
	 {"2: trust.ca: \"~/ca.crt\" begins with ~", "3: trust.crl: \"~x/crl\" begins with ~"}},
	{"identity {\n certificate = '~/a.crt'\n key = '~/a.key'\n passphrase-file = "
	 "'~'\n}\n" GATEWAY TRUST,
	 {"2: identity.certificate: \"~/a.crt\" begins with ~",
	  "3: identity.key: \"~/a.key\" begins with ~",
	  "4: identity.passphrase-file: \"~\" begins with ~"}},
	{"trust { ca = {'', 'http://x', 'ldap://x'} }\n" GATEWAY IDENTITY,
	 {"1: trust.ca: \"\" is no path", "1: trust.ca: \"http://x\" is a URL",
	  "1: trust.ca: \"ldap://x\" is a URL"}},
	{"crypto { groups = 'X25519::P-256' }\n" GATEWAY REST,
	 {"1: crypto.groups: \"X25519::P-256\""}},
	{"crypto { groups = '' }\n" GATEWAY REST, {"1: crypto.groups: \"\" is no list of groups"}},
	{"crypto { groups = 'X25519/P' }\n" GATEWAY REST, {"1: crypto.groups: \"X25519/P\" is"}},
	{"daemon { user = '0' }\ncontrol { admins = '' observers = 'a b' }\n" GATEWAY REST,
	 {"1: daemon.user: \"0\" is no name", "2: control.observers: \"a b\" is no name",
	  "2: control.admins: \"\" is no name"}},
	{"log { level = loud\n format = xml }\n" GATEWAY REST,
	 {"1: log.level: \"loud\" is not known; write one of: error warn info debug",
	  "2: log.format: \"xml\" is not known"}},
	{"renew { before = 33 }\n" GATEWAY REST, {"1: renew.before: \"33\" is not a percentage"}},
	{"renew { before = '91%' }\n" GATEWAY REST, {"1: renew.before: \"91%\" is out of range"}},
	{"renew { before = '33%%' }\n" GATEWAY REST, {"1: renew.before: \"33%%\" is not"}},
	{"access a {\n match = {'cn=x',\n'x'}\n allow = '10.0.0.1/8 any' }\n" GATEWAY REST,
	 {"3: access.a.match: \"x\" is no condition: a condition begins with",
	  "4: access.a.allow: \"10.0.0.1/8 any\" is no rule: \"10.0.0.1/8\" has host bits set; "
	  "write "
	  "\"10.0.0.0/8 any\""}},
	{IN_GATEWAY("dpd = '\\x\\'\x7f\xc3'"),
	 {"3: gateway.dpd: \"\\x5cx'\\x7f\\xc3\" is not a duration"}},

	/* PEM in place */
	{"identity {\n certificate = \"-----BEGIN X509 CRL-----\nx\n-----END X509 CRL-----\"\n"
	 " key = a }\n" GATEWAY TRUST,
	 {"2: identity.certificate: \"-----BEGIN X509 CRL-----\\x0ax\\x0a-----END X509 CRL-----\" "
	  "is "
	  "not what belongs here"}},
	{"identity { key = a certificate = '" KEY_PEM "' }\n" GATEWAY TRUST,
	 {"1: identity.certificate: \"-----BEGIN PRIVATE KEY-----\\x0a        "}},
	{"trust { ca = {'-----BEGIN CERTIFICATE-----'} }\n" GATEWAY IDENTITY,
	 {"1: trust.ca: \"-----BEGIN CERTIFICATE-----\" has no -----END"}},
	{"trust { ca = a crl = '-----BEGIN CERTIFICATE-----' }\n" GATEWAY IDENTITY,
	 {"1: trust.crl: \"-----BEGIN CERTIFICATE-----\" is not what belongs here"}},
	{"identity { certificate = a key = '-----BEGIN CERTIFICATE-----' }\n" GATEWAY TRUST,
	 {"1: identity.key: \"-----BEGIN CERTIFICATE-----\" is PEM but no private key"}},
	{"identity { certificate = a key = \"-----BEGIN PRIVATE\\tKEY-----\" }\n" GATEWAY TRUST,
	 {"1: identity.key: \"-----BEGIN PRIVATE\\x09KEY-----\" is PEM but no private key"}},
	{"identity { certificate = a key = \"-----BEGIN \\\\PRIVATE KEY\n-----\" }\n" GATEWAY TRUST,
	 {"1: identity.key: \"-----BEGIN \\x5cPRIVATE KEY\\x0a-----\" is PEM but no private key"}},
	{"identity { certificate = a key = \"-----BEGIN PRIVATE KEY-----\nx\n\" }\n" GATEWAY TRUST,
	 {"1: the private key that begins here has no END line"}},

	{"identity { certificate = a key = \"-----BEGIN\nPRIVATE KEY-----\" }\n" GATEWAY TRUST,
	 {"1: identity.key: the BEGIN line of a key in place must not be split"}},
	{"identity { key = a certificate = '-----BEGIN CERTIFICATE-----\nx\n"
	 "-----END CERTIFICATE-----\n" KEY_PEM "' }\n" GATEWAY TRUST,
	 {"1: identity.certificate: \"-----BEGIN CERTIFICATE-----\\x0ax\\x0a-----END "
	  "CERTIFICATE----"
	  "-\\x0a-----BEG...\" holds a private key; its place is identity.key"}},

	/* not built yet; the values that mean "off" are fine */
	{"trust { ca = a ocsp = off }\ncrypto { post-quantum = off }\nmetrics { listen = '' }\n"
	 "renew { command = {} before = '33%' }\n" GATEWAY IDENTITY,
	 {NULL}},
	{"renew { }\n" GATEWAY REST, {NULL}},
	{IN_CLIENT("proxy = '' fail-closed = false dns = resolved"), {NULL}},
	{"trust {\n ca = a\n ocsp = try\n crl = {'x', 'http://x'} }\n" GATEWAY IDENTITY,
	 {"3: trust.ocsp is not built yet; leave it out",
	  "4: trust.crl = {\"http://...\"} is not built yet; leave it out"}},
	{"trust { ca = a ocsp = require }\n" GATEWAY IDENTITY, {"1: trust.ocsp is not built yet"}},
	{"crypto { post-quantum = require }\n" GATEWAY REST,
	 {"1: crypto.post-quantum = \"require\" is not built yet; leave it out"}},
	{"metrics { listen = '127.0.0.1:9443' }\n" GATEWAY REST,
	 {"1: metrics.listen is not built yet"}},
	{"renew { command = x }\n" GATEWAY REST, {"1: renew.command is not built yet"}},
	{"renew { before = '20%' }\n" GATEWAY REST, {"1: renew.before is not built yet"}},
	{IN_CLIENT("proxy = 'http://x:1'"), {"3: client.proxy is not built yet"}},
	{IN_CLIENT("fail-closed = true"), {"3: client.fail-closed = true is not built yet"}},
	{IN_CLIENT("dns = resolvconf"), {"3: client.dns = \"resolvconf\" is not built yet"}},

	/* sites */
	{"site berlin {\n match = 'dns:b' address = 10.99.0.2 networks = 10.20.0.0/16\n"
	 " allow = '10.0.0.0/8 any' accept = '10.0.0.0/8 any' }\n" GATEWAY REST,
	 {NULL}},
	{"site berlin {\n match = 'dns:b' }\n" GATEWAY REST, {NULL}},
	{"site berlin {\n networks = '10.20.0.0/16' }\n" GATEWAY REST,
	 {"1: site.berlin.match is missing or empty"}},
	{SITE("address = 10.99.0.0/24"), {"3: site.b.address: \"10.99.0.0/24\" is no address"}},
	{SITE("networks = '10.20.0.1/16'"),
	 {"3: site.b.networks: \"10.20.0.1/16\" has host bits set; write \"10.20.0.0/16\""}},
	{SITE("networks = {'10.20.0.0/16', '10.20.4.0/24'}"),
	 {"3: site.b.networks: 10.20.4.0/24 overlaps 10.20.0.0/16 of site \"b\" (line 1)"}},
	{"site a {\n match = 'cn=a' networks = {'10.20.4.0/24', '10.30.0.0/16'} }\n"
	 "site b {\n match = 'cn=b'\n networks = {'10.21.0.0/16', '10.20.0.0/16'} }\n" GATEWAY REST,
	 {"5: site.b.networks: 10.20.0.0/16 overlaps 10.20.4.0/24 of site \"a\" (line 1)"}},
	{SITE("networks = '10.99.0.0/16'"),
	 {"3: site.b.networks: 10.99.0.0/16 overlaps gateway.pool 10.99.0.0/16"}},
	{SITE("networks = '10.99.7.0/24'"),
	 {"3: site.b.networks: 10.99.7.0/24 overlaps gateway.pool"}},
	{SITE("networks = '10.0.0.0/8'"), {"3: site.b.networks: 10.0.0.0/8 overlaps gateway.pool"}},
	{SITE("networks = 'fd20::/48'"),
	 {"3: site.b.networks: fd20::/48 is IPv6 and gateway.pool has none"}},
	{SITE("networks = '0.0.0.0/0'"),
	 {"3: site.b.networks: 0.0.0.0/0 holds addresses that no site's hosts can have",
	  "3: site.b.networks: 0.0.0.0/0 overlaps gateway.pool"}},
	{SITE("networks = '224.0.0.0/4'"), {"3: site.b.networks: 224.0.0.0/4 holds addresses"}},
	{SITE("networks = '127.0.0.0/8'"), {"3: site.b.networks: 127.0.0.0/8 holds addresses"}},
	{SITE("networks = '169.254.1.0/24'"), {"3: site.b.networks: 169.254.1.0/24 holds"}},
	{SITE("networks = '128.0.0.0/1'"), {"3: site.b.networks: 128.0.0.0/1 holds addresses"}},
	{SITE6("networks = '::/0'"),
	 {"3: site.b.networks: ::/0 holds addresses", "3: site.b.networks: ::/0 overlaps"}},
	{SITE6("networks = 'fe80::/64'"), {"3: site.b.networks: fe80::/64 holds addresses"}},
	{SITE6("networks = 'ff05::/16'"), {"3: site.b.networks: ff05::/16 holds addresses"}},
	{SITE6("networks = '::/64'"), {"3: site.b.networks: ::/64 holds addresses"}},
	{SITE6("networks = {'2001:db8:1::/48', 'fd20::/48'}"), {NULL}},
	{"site b {\n match = 'cn=b'\n networks = '192.0.2.0/24' }\n"
	 "gateway { pool = '10.99.0.0/16' listen = '192.0.2.1' }\n" REST,
	 {"3: site.b.networks: 192.0.2.0/24 holds the address of gateway.listen"}},
	{"site b {\n match = 'cn=b'\n address = '192.0.2.1' }\n"
	 "gateway { pool = '10.99.0.0/16' listen = '192.0.2.1' }\n" REST,
	 {"3: site.b.address: 192.0.2.1 holds the address of gateway.listen"}},
	{SITE("address = '10.99.0.1'"), {"3: site.b.address: 10.99.0.1 is the gateway's own"}},
	{SITE("address = '10.99.0.0'"), {"3: site.b.address: 10.99.0.0 is the network's"}},
	{SITE("address = '10.99.255.255'"), {"3: site.b.address: 10.99.255.255 is for broadcasts"}},
	{SITE("address = '10.99.255.254'"), {NULL}},
	{SITE6("address = {'fd99::1', 'fd99::'}"),
	 {"3: site.b.address: fd99::1 is the gateway's own",
	  "3: site.b.address: fd99:: is the network's",
	  "3: site.b.address: fd99:: is the second of IPv6"}},
	{SITE6("address = 'fd99::ffff:ffff:ffff:ffff'"), {NULL}},
	{SITE6("address = {'10.99.0.2', 'fd99::2'}"), {NULL}},
	{SITE("address = 'fd99::2'"),
	 {"3: site.b.address: fd99::2 is IPv6 and gateway.pool has none"}},
	{SITE("address = {'10.99.0.2', '10.99.0.3'}"),
	 {"3: site.b.address: 10.99.0.3 is the second of IPv4"}},
	/* outside the pool, it is routed for itself */
	{SITE("address = '10.98.0.2'"), {NULL}},
	{SITE("address = '10.20.0.2' networks = '10.20.0.0/16'"),
	 {"3: site.b.address: 10.20.0.2 is in the networks of site \"b\" (line 1)"}},
	{"site a {\n match = 'cn=a' address = 10.99.0.2 }\n"
	 "site b {\n match = 'cn=b'\n address = 10.99.0.2 networks = '10.30.0.0/16' }\n" GATEWAY
		 REST,
	 {"5: site.b.address: 10.99.0.2 is also that of site \"a\" (line 1); take another"}},
	{"site a {\n match = 'cn=a'\n address = 10.30.0.2 }\n"
	 "site b {\n match = 'cn=b' networks = '10.30.0.0/16' }\n" GATEWAY REST,
	 {"3: site.a.address: 10.30.0.2 is in the networks of site \"b\" (line 4)"}},

	/* a problem of the grammar does not hide those of values, unless the file is broken */
	{"log {\n levle = info\n level = loud }\n" GATEWAY REST,
	 {"2: unknown option \"levle\"", "3: log.level: \"loud\""}},
	{"log {\n level = loud\n" GATEWAY REST, {"3: \"gateway\" begins before log"}},
};

/* As many networks as may be, and one more. */
static void test_many_networks(void **state)
{
	static const struct {
		unsigned sites, networks;
		const char *says;
	} rows[] = {
		{1, CONFIG_SITE_NETWORKS_MAX, NULL},
		{1, CONFIG_SITE_NETWORKS_MAX + 1, "more than 100 networks"},
		{15, CONFIG_SITE_NETWORKS_MAX, NULL},
		{16, CONFIG_SITE_NETWORKS_MAX, "more than 1500 networks together"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct config_problems problems = {0};
		struct buf text = {0};
		struct config *config;

		for (unsigned s = 0; s < rows[i].sites; s++) {
			buf_print(&text, "site s%u {\n match = 'cn=%u' networks = {", s, s);
			for (unsigned n = 0; n < rows[i].networks; n++)
				buf_print(&text, "%s'10.%u.%u.0/24'", n ? ", " : "", s, n);
			buf_print(&text, "} }\n");
		}
		buf_print(&text, GATEWAY REST);
		config =
			load_text("/etc/tund/x.conf", (char *)text.data, text.len, true, &problems);
		assert_int_equal(config != NULL, rows[i].says == NULL);
		if (rows[i].says)
			assert_true(problems.count == 1 &&
				    strstr(problems.items[0].text, rows[i].says));
		config_problems_done(&problems);
		config_free(config);
		buf_done(&text);
	}
}

static bool as_expected(const struct problem_case *row, const struct config_problems *problems)
{
	size_t i;

	for (i = 0; i < PROBLEMS_MAX && row->problems[i]; i++) {
		char text[1000];

		if (i >= problems->count)
			return false;
		snprintf(text, sizeof(text), "%u: %s", problems->items[i].line,
			 problems->items[i].text);
		if (strncmp(text, row->problems[i], strlen(row->problems[i])) != 0)
			return false;
	}
	return i == problems->count;
}

static void test_problems(void **state)
{
	size_t failures = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(problem_cases) / sizeof(problem_cases[0]); i++) {
		const struct problem_case *row = &problem_cases[i];
		struct config_problems problems = {0};
		struct config *config = load_text("/etc/tund/x.conf", row->text, strlen(row->text),
						  true, &problems);

		if (!as_expected(row, &problems) || !config != (problems.count > 0)) {
			failures++;
			print_error("%s\n", row->text);
			for (size_t k = 0; k < problems.count; k++)
				print_error("-> %u: %s\n", problems.items[k].line,
					    problems.items[k].text);
		}
		for (size_t k = 0; k < problems.count; k++) {
			assert_string_equal(problems.items[k].file, "/etc/tund/x.conf");
			assert_null(strchr(problems.items[k].text, '\n'));
		}
		config_free(config);
		config_problems_done(&problems);
	}
	assert_int_equal(failures, 0);
}

static void test_gateway_defaults(void **state)
{
	struct config *config = load_good(GATEWAY REST);
	const struct config_gateway *gateway = &config->gateway;
	char text[ADDR_ENDPOINT_TEXT];

	(void)state;
	assert_int_equal(config->role, CONFIG_GATEWAY);
	assert_string_equal(config->path, "/etc/tund/x.conf");
	assert_string_equal(config->instance, "x");
	assert_int_equal(gateway->listen.count, 2);
	assert_string_equal(addr_endpoint_print(&gateway->listen.items[0], text), "0.0.0.0:443");
	assert_string_equal(addr_endpoint_print(&gateway->listen.items[1], text), "[::]:443");
	assert_string_equal(gateway->interface, "tund0");
	assert_int_equal(gateway->mtu, 0);
	assert_int_equal(gateway->max_sessions, 10000);
	assert_int_equal(gateway->duplicate, CONFIG_DUPLICATE_REPLACE);
	assert_int_equal(gateway->idle_timeout_s, 0);
	assert_int_equal(gateway->dpd_s, 10);
	assert_int_equal(gateway->keepalive_s, 30);
	assert_int_equal(gateway->rekey_s, 3600);
	assert_int_equal(gateway->cookie_lifetime_s, 300);
	assert_int_equal(gateway->hello_verify, CONFIG_HELLO_AUTO);
	assert_string_equal(config->identity.certificate, "/etc/tund/a.crt");
	assert_false(config->identity.certificate_is_pem);
	assert_string_equal(config->identity.key, "/etc/tund/a.key");
	assert_false(config->identity.key_in_place);
	assert_null(config->identity.passphrase_file);
	assert_string_equal(config->trust.ca.items[0], "/etc/tund/ca.crt");
	assert_int_equal(config->trust.crl.count, 0);
	assert_false(config->trust.crl_policy_set);
	assert_int_equal(config->trust.crl_policy, CONFIG_CRL_STRICT);
	assert_int_equal(config->trust.crl_grace_s, 3 * 24 * 3600);
	assert_null(config->trust.peer_name);
	assert_string_equal(config->crypto.groups, "X25519:P-256");
	assert_int_equal(config->crypto.post_quantum, CONFIG_PQ_PREFER);
	assert_string_equal(config->control_socket, "/run/tund/x.sock");
	assert_string_equal(config->observers, "tund");
	assert_string_equal(config->admins, "tundadm");
	assert_false(config->observers_set || config->admins_set || config->user_set);
	assert_int_equal(config->log_level, LOG_LEVEL_INFO);
	assert_false(config->log_json);
	assert_int_equal(config->limits.handshakes, 1000);
	assert_int_equal(config->limits.handshakes_per_source, 20);
	assert_int_equal(config->limits.pending, 1000);
	assert_int_equal(config->limits.pending_per_source, 100);
	assert_int_equal(config->limits.handshake_timeout_s, 15);
	assert_string_equal(config->state_directory, "/var/lib/tund/x");
	assert_string_equal(config->user, "tund");
	config_free(config);
}

static void test_gateway_values(void **state)
{
	struct config *config = load_good(
		"gateway { pool = {'10.99.0.0/16', 'fd99::/64'} listen = '[2001:db8::1]:8443'\n"
		" dns = {'10.0.0.53', 'fd00::53'} mtu = 1400 duplicate = allow hello-verify = off\n"
		" idle-timeout = 12h rekey = '0' dpd = 90s cookie-lifetime = 3d domains = '.' }\n"
		"identity { certificate = \"\n-----BEGIN CERTIFICATE-----\nx\n-----END "
		"CERTIFICATE-----\"\n key = 'pkcs11:object=a' passphrase-file = '/run/pin' }\n"
		"trust { ca = {'cas', '-----BEGIN CERTIFICATE-----\nx\n-----END "
		"CERTIFICATE-----'}\n"
		" crl = 'a.crl' crl-policy = advisory }\n"
		"log { level = debug format = json } control { socket = s.sock admins = wheel }\n"
		"state { directory = '/srv/tund' } daemon { user = nobody }\n"
		"access b { match = 'cn=x' routes = 10.5.0.0/16 }\n"
		"access 'a c' { match = {'o=Corp', 'ou=E'} allow = {'10.0.0.0/8 tcp/22', 'fd00::/8 "
		"any'}\n"
		" accept = '10.1.0.0/16 udp' }\n");

	(void)state;
	assert_int_equal(config->gateway.pool.count, 2);
	assert_int_equal(config->gateway.listen.count, 1);
	assert_int_equal(addr_port(&config->gateway.listen.items[0]), 8443);
	assert_int_equal(config->gateway.dns.items[1].len, 128);
	assert_int_equal(config->gateway.mtu, 1400);
	assert_int_equal(config->gateway.duplicate, CONFIG_DUPLICATE_ALLOW);
	assert_int_equal(config->gateway.hello_verify, CONFIG_HELLO_OFF);
	assert_int_equal(config->gateway.idle_timeout_s, 12 * 3600);
	assert_int_equal(config->gateway.rekey_s, 0);
	assert_int_equal(config->gateway.dpd_s, 90);
	assert_int_equal(config->gateway.cookie_lifetime_s, 3 * 24 * 3600);
	assert_string_equal(config->gateway.domains.items[0], ".");
	assert_true(config->identity.certificate_is_pem);
	assert_string_equal(config->identity.certificate,
			    "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----");
	assert_string_equal(config->identity.key, "pkcs11:object=a");
	assert_string_equal(config->identity.passphrase_file, "/run/pin");
	assert_string_equal(config->trust.ca.items[0], "/etc/tund/cas");
	assert_string_equal(config->trust.crl.items[0], "/etc/tund/a.crl");
	assert_true(config->trust.crl_policy_set);
	assert_int_equal(config->trust.crl_policy, CONFIG_CRL_ADVISORY);
	assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
	assert_true(config->log_json);
	assert_string_equal(config->control_socket, "/etc/tund/s.sock");
	assert_true(config->admins_set && config->user_set && !config->observers_set);
	assert_string_equal(config->state_directory, "/srv/tund");
	assert_int_equal(config->access_count, 2);
	assert_string_equal(config->access[0].title, "b");
	assert_string_equal(config->access[1].title, "a c");
	assert_int_equal(config->access[1].line, 16);
	assert_int_equal(config->access[1].match.count, 2);
	assert_int_equal(config->access[1].allow.count, 2);
	assert_int_equal(config->access[1].allow.items[0].protocol, IPPROTO_TCP);
	assert_int_equal(config->access[1].allow.items[0].ports[0].last, 22);
	assert_true(config->access[1].allow.items[1].any_protocol);
	assert_int_equal(config->access[1].accept.items[0].protocol, IPPROTO_UDP);
	assert_int_equal(config->access[0].routes.count, 1);
	config_free(config);
}

static void test_client_values(void **state)
{
	struct config *config = load_good(IN_CLIENT(""));

	(void)state;
	assert_int_equal(config->role, CONFIG_CLIENT);
	assert_string_equal(config->client.gateways.items[0], "vpn.corp.example");
	assert_string_equal(config->client.interface, "tund0");
	assert_true(config->client.routes_accept);
	assert_int_equal(config->client.routes.count, 0);
	assert_int_equal(config->client.dns, CONFIG_DNS_AUTO);
	assert_int_equal(config->client.transport, CONFIG_TRANSPORT_AUTO);
	assert_false(config->client.full_tunnel);
	assert_null(config->trust.peer_name);
	config_free(config);

	config = load_good(
		IN_CLIENT("routes = {'10.0.0.0/8', 'fd00::/8'} transport = tcp dns = off"));
	assert_false(config->client.routes_accept);
	assert_int_equal(config->client.routes.count, 2);
	assert_int_equal(config->client.transport, CONFIG_TRANSPORT_TCP);
	assert_int_equal(config->client.dns, CONFIG_DNS_OFF);
	config_free(config);

	config = load_good(IN_CLIENT("routes = ignore full-tunnel = no"));
	assert_false(config->client.routes_accept);
	assert_int_equal(config->client.routes.count, 0);
	config_free(config);
}

static const struct peer_case {
	const char *text, *peer_name;
} peer_cases[] = {
	{"client { gateway = vpn.example }" REST, NULL},
	{"client { gateway = '192.0.2.1:443' }" REST, "192.0.2.1"},
	{"client { gateway = '[2001:db8::1]' }" REST, "2001:db8::1"},
	{"client { gateway = {'192.0.2.1', '192.0.2.2'} }" REST, NULL},
	{"client { gateway = 192.0.2.1 } trust { peer-name = vpn.example ca = a }" IDENTITY,
	 "vpn.example"},
	{"client { gateway = vpn.example } trust { peer-name = 192.0.2.7 ca = a }" IDENTITY,
	 "192.0.2.7"},
};

static void test_peer_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(peer_cases) / sizeof(peer_cases[0]); i++) {
		struct config *config = load_good(peer_cases[i].text);

		if (peer_cases[i].peer_name)
			assert_string_equal(config->trust.peer_name, peer_cases[i].peer_name);
		else
			assert_null(config->trust.peer_name);
		config_free(config);
	}
}

static void test_line(void **state)
{
	struct config *config = load_good("\ngateway {\n pool = '10.99.0.0/16'\n}\n" REST
					  "access a.b {\n match =\n 'cn=x' }");

	(void)state;
	assert_int_equal(config_line(config, "gateway"), 2);
	assert_int_equal(config_line(config, "gateway.pool"), 3);
	assert_int_equal(config_line(config, "gateway.mtu"), 2);
	assert_int_equal(config_line(config, "trust.ca"), 6);
	assert_int_equal(config_line(config, "access.a.b"), 7);
	assert_int_equal(config_line(config, "access.a.b.match"), 8);
	assert_int_equal(config_line(config, "access.a.b.allow"), 7);
	assert_int_equal(config_line(config, "crypto.groups"), 0);
	assert_int_equal(config_line(config, ""), 0);
	config_free(config);
}

static const struct instance_case {
	const char *path, *instance; /* NULL: refused */
} instance_cases[] = {
	{"/etc/tund/hq.conf", "hq"},
	{"/etc/tund/hq", "hq"},
	{"/a.conf", "a"},
	{"/etc/tund/A-b_c.9.conf", "A-b_c.9"},
	{"/1234567890123456789012345678901234567890123456789012345678901234.conf",
	 "1234567890123456789012345678901234567890123456789012345678901234"},
	{"/12345678901234567890123456789012345678901234567890123456789012345.conf", NULL},
	{"/etc/tund/.conf", NULL},
	{"/etc/tund/...conf", NULL},
	{"/etc/tund/a b.conf", NULL},
	{"/etc/tund/", NULL},
};

static void test_instance(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(instance_cases) / sizeof(instance_cases[0]); i++) {
		const struct instance_case *row = &instance_cases[i];
		struct config_problems problems = {0};
		struct config *config =
			load_text(row->path, GATEWAY REST, strlen(GATEWAY REST), true, &problems);

		if (!config != !row->instance ||
		    (config && strcmp(config->instance, row->instance)))
			fail_msg("%s", row->path);
		config_free(config);
		config_problems_done(&problems);
	}
}

/* A sample from the folder beside this one's. */
static char *read_sample(const char *name)
{
	char *path = xalloc_print("%.*sconf/%s",
				  (int)(strlen(__FILE__) - strlen("tests/unit/test_config.c")),
				  __FILE__, name);
	FILE *file = fopen(path, "r");
	char *text = xalloc_zero(1, 65536);

	if (!file)
		fail_msg("%s cannot be opened", path);
	assert_true(fread(text, 1, 65535, file) > 0);
	fclose(file);
	free(path);
	return text;
}

/* Counted in the simplest way that is right for the samples: whether the text ends in a section. */
static bool ends_inside(const char *text, size_t len)
{
	bool comment = false, quoted = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (comment)
			comment = text[i] != '\n';
		else if (text[i] == '"')
			quoted = !quoted;
		else if (!quoted && text[i] == '#')
			comment = true;
		else if (!quoted)
			depth += (text[i] == '{') - (text[i] == '}');
	}
	return quoted || depth > 0;
}

/* Cut off at every byte: refused, but at the few places where what is left is whole. */
static void test_cut_off(void **state)
{
	static const char *const names[] = {"gateway.conf", "laptop.conf"};

	(void)state;
	for (size_t n = 0; n < 2; n++) {
		char *text = read_sample(names[n]);
		size_t len = strlen(text), accepted = 0;

		for (size_t cut = 0; cut <= len; cut++) {
			struct config_problems problems = {0};
			struct config *config =
				load_text("/etc/tund/x.conf", text, cut, true, &problems);

			if (config && ends_inside(text, cut))
				fail_msg("%s is accepted when cut off at byte %zu", names[n], cut);
			if (!config)
				assert_true(problems.count > 0);
			if (!config && cut == len)
				fail_msg("%s: %u: %s", names[n], problems.items[0].line,
					 problems.items[0].text);
			accepted += config != NULL;
			config_free(config);
			config_problems_done(&problems);
		}
		assert_true(accepted > 1);
		free(text);
	}
}

/* One byte of a sample changed: never a crash, and a problem or a configuration. */
static void test_changed_byte(void **state)
{
	static const char others[] = "{}\"'=,#/*\\$ \n\x01\xff";
	char *text = read_sample("gateway.conf");
	size_t len = strlen(text);

	(void)state;
	for (size_t at = 0; at < len; at += 3) {
		struct config_problems problems = {0};
		char *copy = xalloc_copy(text, len + 1);
		struct config *config;

		copy[at] = others[at % (sizeof(others) - 1)];
		config = load_text("/etc/tund/x.conf", copy, len, true, &problems);
		assert_true(!config == (problems.count > 0));
		for (size_t i = 0; i < problems.count; i++)
			assert_null(strstr(problems.items[i].text, "libconfuse takes"));
		config_free(config);
		config_problems_done(&problems);
		free(copy);
	}
	free(text);
}

static const struct blank_case {
	const char *text, *blanked; /* NULL: unchanged */
	size_t count;
	const char *key; /* what config_text_key finds */
} blank_cases[] = {
	{"a = b", NULL, 0, NULL},
	{"'" KEY_PEM "'",
	 "'-----BEGIN PRIVATE KEY-----\n                                    \n-----END PRIVATE "
	 "KEY-----'",
	 1, KEY_PEM "\n"},
	{"-----BEGIN RSA PRIVATE KEY-----\r\na: b\r\n\r\nxy\r\n-----END RSA PRIVATE KEY-----\r\n",
	 "-----BEGIN RSA PRIVATE KEY----- \n     \n \n   \n-----END RSA PRIVATE KEY-----\r\n", 1,
	 "-----BEGIN RSA PRIVATE KEY-----\r\na: b\r\n\r\nxy\r\n-----END RSA PRIVATE KEY-----\n"},
	{"\"-----BEGIN PRIVATE KEY-----\\nxy\\n-----END PRIVATE KEY-----\\n\"",
	 "\"-----BEGIN PRIVATE KEY-----      -----END PRIVATE KEY-----\\n\"", 1,
	 "-----BEGIN PRIVATE KEY-----\nxy\n-----END PRIVATE KEY-----\n"},
	{"# -----BEGIN EC PRIVATE KEY-----\n# xy\n# -----END EC PRIVATE KEY-----",
	 "# -----BEGIN EC PRIVATE KEY-----\n    \n# -----END EC PRIVATE KEY-----", 1,
	 "-----BEGIN EC PRIVATE KEY-----\n# xy\n# -----END EC PRIVATE KEY-----\n"},
	{"-----BEGIN CERTIFICATE-----\nxy\n-----END CERTIFICATE-----\n"
	 "-----BEGIN PRIVATE KEY-----\nxy\n-----END PRIVATE KEY-----\n"
	 "-----BEGIN ENCRYPTED PRIVATE KEY-----\nz\n-----END ENCRYPTED PRIVATE KEY-----",
	 "-----BEGIN CERTIFICATE-----\nxy\n-----END CERTIFICATE-----\n"
	 "-----BEGIN PRIVATE KEY-----\n  \n-----END PRIVATE KEY-----\n"
	 "-----BEGIN ENCRYPTED PRIVATE KEY-----\n \n-----END ENCRYPTED PRIVATE KEY-----",
	 2, "-----BEGIN PRIVATE KEY-----\nxy\n-----END PRIVATE KEY-----\n"},
	/* not whole: to the end */
	{"-----BEGIN PRIVATE KEY-----\nxy\nz", "-----BEGIN PRIVATE KEY-----\n  \n ", 1, NULL},
	{"-----BEGIN PRIVATE KEY-----\nx\n-----END CERTIFICATE-----\ny",
	 "-----BEGIN PRIVATE KEY-----\n \n                         \n ", 1, NULL},
	{"-----BEGIN PRIVATE KEY-----", NULL, 1, NULL},
	{"-----BEGIN PRIVATE KEY----", NULL, 0, NULL},
	{"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", NULL, 0, NULL},
};

static void test_blank(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(blank_cases) / sizeof(blank_cases[0]); i++) {
		const struct blank_case *row = &blank_cases[i];
		struct config_problems problems = {0};
		char *copy = xalloc_string(row->text);
		char *key = config_text_key(copy, strlen(copy), 0);

		if (!key != !row->key || (key && strcmp(key, row->key) != 0))
			fail_msg("row %zu: %s", i, key ? key : "no key");
		assert_int_equal(config_text_blank_keys("x", copy, strlen(copy), &problems),
				 row->count);
		assert_string_equal(copy, row->blanked ? row->blanked : row->text);
		assert_int_equal(problems.count, row->count > 0 && !row->key);
		config_problems_done(&problems);
		free(key);
		free(copy);
	}
}

/* A directory of this process's own. */
static char *make_directory(void)
{
	char *path = xalloc_string("/tmp/test_config.XXXXXX");

	assert_non_null(mkdtemp(path));
	return path;
}

static void write_file(const char *path, const char *text, size_t len, mode_t mode)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
}

/* The problem's text, or "" for a configuration. */
static void expect_load(const char *path, const char *problem)
{
	struct config_problems problems = {0};
	struct config *config = config_load(path, &problems);

	if (!config != (problem[0] != '\0') ||
	    (!config && (problems.count != 1 || !strstr(problems.items[0].text, problem) ||
			 strcmp(problems.items[0].file, path) != 0)))
		fail_msg("%s: not \"%s\" but \"%s\"", path, problem,
			 problems.count > 0 ? problems.items[0].text : "");
	config_free(config);
	config_problems_done(&problems);
}

static void test_file(void **state)
{
	static const char text[] = GATEWAY REST;
	static const char with_key[] =
		GATEWAY TRUST "identity { certificate = a\n key = '" KEY_PEM "' }";
	_cleanup_free_ char *directory = make_directory();
	_cleanup_free_ char *path = xalloc_print("%s/x.conf", directory);
	_cleanup_free_ char *big = xalloc_zero(1, CONFIG_TEXT_MAX + 1);

	(void)state;
	expect_load(path, "cannot be opened: No such file");
	expect_load(directory, "is not a regular file");
	write_file(path, text, strlen(text), 0644);
	expect_load(path, "");
	write_file(path, text, strlen(text), 0664);
	expect_load(path, "has mode 0664");
	write_file(path, text, strlen(text), 0646);
	expect_load(path, "has mode 0646");
	write_file(path, text, strlen(text) + 1, 0600);
	expect_load(path, "holds a zero byte");
	/* It says that it has no bytes, and then has some: as one that grows. */
	expect_load("/proc/self/status", "was changed while it was read");
	write_file(path, with_key, strlen(with_key), 0600);
	expect_load(path, "");
	write_file(path, with_key, strlen(with_key), 0640);
	expect_load(path, "holds a private key and others than its owner may read it");
	write_file(path, with_key, strlen(with_key), 0604);
	expect_load(path, "holds a private key and others than its owner may read it");

	memset(big, ' ', CONFIG_TEXT_MAX + 1);
	memcpy(big, text, strlen(text));
	write_file(path, big, CONFIG_TEXT_MAX, 0600);
	expect_load(path, "");
	write_file(path, big, CONFIG_TEXT_MAX + 1, 0600);
	expect_load(path, "at most 1048576 are read");

	write_file(path, text, strlen(text), 0600);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 0), 0);
		expect_load(path, "belongs to uid 12345");
	}
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_load(path, "is not a regular file");
	unlink(path);
	rmdir(directory);
}

static void test_zero_byte(void **state)
{
	static const char text[] = GATEWAY IDENTITY "\0" TRUST;
	_cleanup_free_ char *directory = make_directory();
	_cleanup_free_ char *path = xalloc_print("%s/x.conf", directory);
	struct config_problems problems = {0};

	(void)state;
	assert_null(load_text("/etc/tund/x.conf", text, sizeof(text) - 1, true, &problems));
	assert_int_equal(problems.count, 1);
	assert_non_null(strstr(problems.items[0].text, "holds a zero byte"));
	config_problems_done(&problems);
	write_file(path, text, sizeof(text) - 1, 0600);
	assert_null(config_load(path, &problems));
	assert_int_equal(problems.count, 1);
	assert_int_equal(problems.items[0].line, 3);
	config_problems_done(&problems);
	unlink(path);
	rmdir(directory);
}

static void test_relative_path(void **state)
{
	_cleanup_free_ char *directory = make_directory();
	_cleanup_free_ char *path = xalloc_print("%s/x.conf", directory);
	_cleanup_free_ char *want = xalloc_print("%s/a.crt", directory);
	_cleanup_close_ int here = open(".", O_RDONLY | O_DIRECTORY);
	struct config_problems problems = {0};
	struct config *config;

	(void)state;
	write_file(path, GATEWAY REST, strlen(GATEWAY REST), 0600);
	assert_int_equal(chdir(directory), 0);
	config = config_load("x.conf", &problems);
	assert_int_equal(fchdir(here), 0);
	assert_non_null(config);
	assert_string_equal(config->path, path);
	assert_string_equal(config->identity.certificate, want);
	config_free(config);
	unlink(path);
	rmdir(directory);
}

static void test_key_in_place(void **state)
{
	static const char text[] =
		"# -----BEGIN PRIVATE KEY-----\n# old\n# -----END PRIVATE KEY-----\n" GATEWAY TRUST
		"identity { certificate = a\n key = \"\n" KEY_PEM
		"\n\"\n}\n# -----BEGIN PRIVATE KEY-----\n#-----END PRIVATE KEY-----";
	static const char without[] = GATEWAY REST "# " KEY_PEM;
	_cleanup_free_ char *directory = make_directory();
	_cleanup_free_ char *path = xalloc_print("%s/x.conf", directory);
	struct config_problems problems = {0};
	struct config *config;
	char *key;

	(void)state;
	write_file(path, text, strlen(text), 0600);
	config = config_load(path, &problems);
	assert_non_null(config);
	assert_true(config->identity.key_in_place);
	assert_null(config->identity.key);
	config_free(config);
	key = config_key_in_place(path, &problems);
	assert_non_null(key);
	assert_string_equal(key, KEY_PEM "\n");
	free(key);
	assert_int_equal(problems.count, 0);

	write_file(path, text, strlen(text), 0640);
	assert_null(config_key_in_place(path, &problems));
	assert_int_equal(problems.count, 1);
	config_problems_done(&problems);
	write_file(path, without, strlen(without), 0600);
	assert_null(config_key_in_place(path, &problems));
	assert_int_equal(problems.count, 1);
	config_problems_done(&problems);
	unlink(path);
	assert_null(config_key_in_place(path, &problems));
	assert_int_equal(problems.count, 1);
	config_problems_done(&problems);
	rmdir(directory);
}

/* The secret as it stands in no memory but the kernel's and, for a moment, the buffer it is read
 * into: this program knows it only masked. */
enum { MASK = 0x15, SECRET_LEN = 36 };
static const unsigned char masked[SECRET_LEN] = {'A', 'q', 'Z', 'k', 'B', 'r', 'Y', 'm', 'C',
						 's', 'X', 'n', 'D', 't', 'W', 'v', 'E', 'u',
						 'V', 'z', 'F', 'x', 'U', 'y', 'G', 'w', 'T',
						 'p', 'H', 'o', 'S', 'q', 'J', 'l', 'R', 'd'};

static size_t count_secret(const unsigned char *bytes, size_t len)
{
	size_t found = 0;

	for (size_t i = 0; i + SECRET_LEN <= len; i++) {
		size_t k = 0;

		while (k < SECRET_LEN && (bytes[i + k] ^ MASK) == masked[k])
			k++;
		found += k == SECRET_LEN;
	}
	return found;
}

/* How often the secret stands in this process's writable memory. */
static size_t search_memory(void)
{
	enum { REGION_MAX = 64 * 1024 * 1024, STEP = 65536 };
	_cleanup_close_ int memory = open("/proc/self/mem", O_RDONLY);
	FILE *maps = fopen("/proc/self/maps", "r");
	static unsigned char window[STEP + SECRET_LEN];
	unsigned long begin, end;
	char line[512], mode[8];
	size_t found = 0;

	assert_true(maps && memory >= 0);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &begin, &end, mode) != 3 || mode[1] != 'w' ||
		    end - begin > REGION_MAX)
			continue;
		for (unsigned long at = begin; at < end; at += STEP) {
			ssize_t got = pread(memory, window, sizeof(window), (off_t)at);

			/* The window itself is writable memory too. */
			if (got > 0 && !(at < (unsigned long)window + sizeof(window) &&
					 at + (unsigned long)got > (unsigned long)window))
				found += count_secret(window, (size_t)got);
			explicit_bzero(window, sizeof(window));
		}
	}
	fclose(maps);
	return found;
}

static void write_secret(const char *path)
{
	static const char begin[] = GATEWAY TRUST "identity { certificate = a\n key = "
						  "'-----BEGIN PRIVATE KEY-----\n";
	static const char end[] = "\n-----END PRIVATE KEY-----' }";
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, begin, strlen(begin)), (ssize_t)strlen(begin));
	for (size_t i = 0; i < SECRET_LEN; i++) {
		unsigned char byte = masked[i] ^ MASK;

		assert_int_equal(write(fd, &byte, 1), 1);
	}
	assert_int_equal(write(fd, end, strlen(end)), (ssize_t)strlen(end));
}

static void test_key_is_nowhere(void **state)
{
	_cleanup_free_ char *directory = make_directory();
	_cleanup_free_ char *path = xalloc_print("%s/x.conf", directory);
	struct config_problems problems = {0};
	struct config *config;
	struct config_text text;

	(void)state;
	write_secret(path);
	assert_int_equal(search_memory(), 0);
	/* The search finds what there is. */
	assert_true(config_text_read(path, &text, &problems));
	assert_true(search_memory() >= 1);
	config_text_wipe(&text);
	assert_int_equal(search_memory(), 0);

	config = config_load(path, &problems);
	assert_non_null(config);
	assert_true(config->identity.key_in_place);
	assert_int_equal(search_memory(), 0);
	config_free(config);
	unlink(path);
	rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_problems),
		cmocka_unit_test(test_many_networks),
		cmocka_unit_test(test_gateway_defaults),
		cmocka_unit_test(test_gateway_values),
		cmocka_unit_test(test_client_values),
		cmocka_unit_test(test_peer_name),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_instance),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_changed_byte),
		cmocka_unit_test(test_blank),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_zero_byte),
		cmocka_unit_test(test_relative_path),
		cmocka_unit_test(test_key_in_place),
		cmocka_unit_test(test_key_is_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
