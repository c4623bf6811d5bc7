/* key/holder: which keys it opens, what it signs, where the key is afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/xalloc.h"
#include "key/holder.h"
#include "key/remote.h"
#include "key/scheme.h"
#include "key/source.h"
#include "key/use.h"
#include "sys/child.h"
#include "wire/key_msg.h"

enum { NOBODY = 65534, WAIT_MS = 10000, TEXT = 600, PATH_ROOM = 300, SOCKETS = 2 };

/* A directory of the test's own. */
struct place {
	char path[64];
	char file[PATH_ROOM]; /* the last that in_place named */
};

static const char *in_place(struct place *place, const char *name)
{
	snprintf(place->file, sizeof(place->file), "%s/%s", place->path, name);
	return place->file;
}

static int make_place(void **state)
{
	struct place *place = xnew(struct place);

	snprintf(place->path, sizeof(place->path), "/tmp/tund-test-holder-XXXXXX");
	assert_non_null(mkdtemp(place->path));
	*state = place;
	return 0;
}

static int drop_place(void **state)
{
	struct place *place = *state;
	char command[PATH_ROOM];

	snprintf(command, sizeof(command), "rm -rf %s", place->path);
	assert_int_equal(system(command), 0);
	free(place);
	return 0;
}

static void write_file(const char *path, const void *bytes, size_t len, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static EVP_PKEY *make_key(const char *type, const char *group, unsigned bits)
{
	EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	assert_true(EVP_PKEY_keygen_init(making) > 0);
	if (group)
		assert_true(EVP_PKEY_CTX_set_group_name(making, group) > 0);
	if (bits)
		assert_true(EVP_PKEY_CTX_set_rsa_keygen_bits(making, (int)bits) > 0);
	assert_true(EVP_PKEY_generate(making, &key) > 0);
	EVP_PKEY_CTX_free(making);
	return key;
}

/* The holder in its process, and the test's ends of what leads to it. */
struct holding {
	struct holder_options options;
	struct child child;
	int theirs[SOCKETS], ours[SOCKETS];
	struct buf spki;
	char error[TEXT];
};

static int run_holder(int socket, void *argument)
{
	struct holder_options *options = argument;

	options->report = socket;
	return holder_run(options);
}

/* What holder_wait says. */
static int start_holding(struct holding *holding, const struct holder_options *options)
{
	*holding = (struct holding){.options = *options};
	for (int i = 0; i < SOCKETS; i++) {
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		holding->ours[i] = pair[0];
		holding->theirs[i] = pair[1];
	}
	holding->options.uid = NOBODY;
	holding->options.gid = NOBODY;
	holding->options.sockets = holding->theirs;
	holding->options.socket_count = SOCKETS;
	assert_int_equal(child_start(&holding->child, "keys", run_holder, &holding->options,
				     holding->theirs, SOCKETS),
			 0);
	for (int i = 0; i < SOCKETS; i++)
		close(holding->theirs[i]);
	return holder_wait(holding->child.socket, WAIT_MS, &holding->spki, holding->error,
			   sizeof(holding->error));
}

/* Its exit status, after the end of the report. */
static int stop_holding(struct holding *holding)
{
	int status;

	close(holding->child.socket);
	assert_int_equal(waitpid(holding->child.pid, &status, 0), holding->child.pid);
	for (int i = 0; i < SOCKETS; i++)
		close(holding->ours[i]);
	buf_done(&holding->spki);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static char *read_bio(BIO *bio, size_t *ret_len)
{
	char *bytes;
	long len = BIO_get_mem_data(bio, &bytes);
	char *copy = xalloc_zero(1, (size_t)len + 1);

	memcpy(copy, bytes, (size_t)len);
	*ret_len = (size_t)len;
	BIO_free(bio);
	return copy;
}

enum form {
	PKCS8_PEM,
	PKCS8_DER,
	TRADITIONAL_PEM,
	TRADITIONAL_DER,
	ENCRYPTED_PEM,
	ENCRYPTED_DER,
	AFTER_OTHER_BLOCKS,
	PUBLIC_PEM,
};

static char *print_key(EVP_PKEY *key, enum form form, size_t *ret_len)
{
	const EVP_CIPHER *aes = EVP_aes_256_cbc();
	BIO *bio = BIO_new(BIO_s_mem());
	int r = 0;

	if (form == AFTER_OTHER_BLOCKS)
		BIO_puts(bio, "text\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
			      "-----END EC PARAMETERS-----\n");
	if (form == PKCS8_PEM)
		r = PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	else if (form == PKCS8_DER)
		r = i2d_PKCS8PrivateKey_bio(bio, key, NULL, NULL, 0, NULL, NULL);
	else if (form == TRADITIONAL_PEM || form == AFTER_OTHER_BLOCKS)
		r = PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL);
	else if (form == TRADITIONAL_DER)
		r = i2d_PrivateKey_bio(bio, key);
	else if (form == ENCRYPTED_PEM)
		r = PEM_write_bio_PKCS8PrivateKey(bio, key, aes, "open sesame", 11, NULL, NULL);
	else if (form == ENCRYPTED_DER)
		r = i2d_PKCS8PrivateKey_bio(bio, key, aes, "open sesame", 11, NULL, NULL);
	else if (form == PUBLIC_PEM)
		r = PEM_write_bio_PUBKEY(bio, key);
	assert_int_equal(r, 1);
	return read_bio(bio, ret_len);
}

static void write_key(const char *path, EVP_PKEY *key, enum form form, mode_t mode)
{
	size_t len;
	char *bytes = print_key(key, form, &len);

	write_file(path, bytes, len, mode);
	free(bytes);
}

static const struct {
	const char *name;
	enum form form;
	const char *passphrase; /* what stands in its file; NULL: there is none */
	const char *error;	/* part of it; NULL: it opens */
} forms[] = {
	{"PKCS#8", PKCS8_PEM, NULL, NULL},
	{"PKCS#8 in DER", PKCS8_DER, NULL, NULL},
	{"SEC 1", TRADITIONAL_PEM, NULL, NULL},
	{"SEC 1 in DER", TRADITIONAL_DER, NULL, NULL},
	{"after other blocks", AFTER_OTHER_BLOCKS, NULL, NULL},
	{"encrypted", ENCRYPTED_PEM, "open sesame\n", NULL},
	{"encrypted in DER", ENCRYPTED_DER, "open sesame", NULL},
	{"a line of several", ENCRYPTED_PEM, "open sesame\r\nmore\n", NULL},
	{"not needed", PKCS8_PEM, "open sesame\n", NULL},
	{"no passphrase", ENCRYPTED_PEM, NULL, "/key: is encrypted; name a passphrase-file"},
	{"no passphrase for DER", ENCRYPTED_DER, NULL, "is encrypted; name a passphrase-file"},
	{"another passphrase", ENCRYPTED_PEM, "open sesam\n", "/pass does not open it"},
	{"another, for DER", ENCRYPTED_DER, "open sesam\n", "/pass does not open it"},
	{"empty passphrase", ENCRYPTED_PEM, "\n", "/pass: its first line is empty"},
	{"the public half", PUBLIC_PEM, NULL, "/key: holds no private key in PEM or DER"},
};

static void a_key_is_read_in_its_forms(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("EC", "P-256", 0);
	char *path = xalloc_string(in_place(place, "key"));
	char *pass = xalloc_string(in_place(place, "pass"));

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct holder_options options = {.key = path};
		struct holding holding;
		int r;

		print_message("  %s\n", forms[i].name);
		write_key(path, key, forms[i].form, 0600);
		if (forms[i].passphrase) {
			write_file(pass, forms[i].passphrase, strlen(forms[i].passphrase), 0400);
			options.passphrase_file = pass;
		}
		r = start_holding(&holding, &options);
		if (forms[i].error) {
			assert_int_equal(r, -EKEYREJECTED);
			if (!strstr(holding.error, forms[i].error))
				fail_msg("%s", holding.error);
			assert_int_equal(stop_holding(&holding), EXIT_FAILURE);
		} else {
			unsigned char *der = NULL;
			int len = i2d_PUBKEY(key, &der);

			assert_int_equal(r, 0);
			assert_int_equal(holding.spki.len, len);
			assert_memory_equal(holding.spki.data, der, (size_t)len);
			OPENSSL_free(der);
			assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
		}
		unlink(pass);
	}
	free(pass);
	free(path);
	EVP_PKEY_free(key);
}

static void a_key_may_stand_in_the_configuration(void **state)
{
	EVP_PKEY *key = make_key("ED25519", NULL, 0);
	struct holder_options options = {0};
	struct holding holding;
	size_t len;

	(void)state;
	options.pem = print_key(key, PKCS8_PEM, &len);
	assert_int_equal(start_holding(&holding, &options), 0);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	options.pem[40] ^= 1;
	options.pem[41] = '!';
	assert_int_equal(start_holding(&holding, &options), -EKEYREJECTED);
	assert_string_equal(holding.error,
			    "the key in the configuration: holds no private key in PEM or DER");
	assert_int_equal(stop_holding(&holding), EXIT_FAILURE);
	free(options.pem);
	EVP_PKEY_free(key);
}

enum what { KEY_FILE, DIRECTORY, FIFO, EMPTY, GARBAGE, LONG, LONGEST, MISSING };

static const struct {
	const char *name;
	enum what what;
	mode_t mode;
	uid_t owner;
	bool allow_insecure;
	const char *error; /* part of it; NULL: it opens */
} files[] = {
	{"owner may write", KEY_FILE, 0600, 0, false, NULL},
	{"owner may read", KEY_FILE, 0400, 0, false, NULL},
	{"all may read", KEY_FILE, 0644, 0, false,
	 "/key: readable by others (mode 0644); chmod 600 "},
	{"the group may read", KEY_FILE, 0640, 0, false, "/key: readable by others (mode 0640)"},
	{"others may read", KEY_FILE, 0604, 0, false, "readable by others (mode 0604)"},
	{"others may write", KEY_FILE, 0602, 0, false,
	 "writable or executable by others (mode 0602)"},
	{"the group may write", KEY_FILE, 0620, 0, false, "by others (mode 0620)"},
	{"others may execute", KEY_FILE, 0601, 0, false, "by others (mode 0601)"},
	{"somebody's", KEY_FILE, 0600, NOBODY, false, "/key: belongs to uid 65534; chown root "},
	{"checks are off", KEY_FILE, 0644, NOBODY, true, NULL},
	{"a directory", DIRECTORY, 0700, 0, false, "/key: not a regular file"},
	{"a FIFO", FIFO, 0600, 0, false, "/key: not a regular file"},
	{"empty", EMPTY, 0600, 0, false, "/key: holds no private key in PEM or DER"},
	{"garbage", GARBAGE, 0600, 0, false, "/key: holds no private key in PEM or DER"},
	{"as long as may be", LONGEST, 0600, 0, false, NULL},
	{"a byte longer", LONG, 0600, 0, false, "/key: longer than 65536 bytes"},
	{"missing", MISSING, 0600, 0, false, "/key: No such file or directory"},
};

static void make_file(const char *path, EVP_PKEY *key, enum what what)
{
	char *padded = xalloc_zero(1, 65537);
	size_t len;
	char *pem = print_key(key, PKCS8_PEM, &len);

	memset(padded, '\n', 65537);
	memcpy(padded, pem, len);
	if (what == KEY_FILE)
		write_file(path, pem, len, 0600);
	else if (what == DIRECTORY)
		assert_int_equal(mkdir(path, 0700), 0);
	else if (what == FIFO)
		assert_int_equal(mkfifo(path, 0600), 0);
	else if (what == EMPTY)
		write_file(path, "", 0, 0600);
	else if (what == GARBAGE)
		write_file(path, "\x30\x82\x01\x01rubbish", 11, 0600);
	else if (what == LONGEST || what == LONG)
		write_file(path, padded, what == LONG ? 65537 : 65536, 0600);
	free(pem);
	free(padded);
}

static void a_file_is_looked_at_before_it_is_read(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("EC", "P-384", 0);
	char *path = xalloc_string(in_place(place, "key"));

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const struct holder_options options = {
			.key = path,
			.allow_insecure_key = files[i].allow_insecure,
		};
		struct holding holding;
		int r;

		print_message("  %s\n", files[i].name);
		make_file(path, key, files[i].what);
		if (files[i].what != MISSING) {
			assert_int_equal(chmod(path, files[i].mode), 0);
			assert_int_equal(chown(path, files[i].owner, 0), 0);
		}
		r = start_holding(&holding, &options);
		if (files[i].error && !strstr(holding.error, files[i].error))
			fail_msg("%s", holding.error);
		assert_int_equal(r, files[i].error ? -EKEYREJECTED : 0);
		stop_holding(&holding);
		remove(path);
	}
	free(path);
	EVP_PKEY_free(key);
}

static void a_passphrase_file_is_looked_at_as_well(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("EC", "P-256", 0);
	char *path = xalloc_string(in_place(place, "key"));
	char *pass = xalloc_string(in_place(place, "pass"));
	const struct holder_options options = {.key = path, .passphrase_file = pass};
	struct holding holding;

	write_key(path, key, ENCRYPTED_PEM, 0600);
	write_file(pass, "open sesame\n", 12, 0644);
	assert_int_equal(start_holding(&holding, &options), -EKEYREJECTED);
	assert_non_null(strstr(holding.error, "/pass: readable by others (mode 0644)"));
	stop_holding(&holding);
	free(pass);
	free(path);
	EVP_PKEY_free(key);
}

static const struct {
	const char *type, *group;
	unsigned bits;
	const char *error;
} kinds[] = {
	{"EC", "P-256", 0, NULL},
	{"EC", "P-384", 0, NULL},
	{"ED25519", NULL, 0, NULL},
	{"RSA", NULL, 2048, NULL},
	{"RSA", NULL, 1024, "/key: an RSA key of 1024 bits is too weak; use P-256, P-384, Ed25519"},
	{"RSA", NULL, 2047, "an RSA key of 2047 bits is too weak"},
	{"EC", "P-521", 0, "keys on the curve secp521r1 are not supported; use P-256 or P-384"},
	{"EC", "P-224", 0, "keys on the curve secp224r1 are not supported"},
	{"EC", "secp256k1", 0, "keys on the curve secp256k1 are not supported"},
	{"ED448", NULL, 0,
	 "keys of type ED448 are not supported; use P-256, P-384, Ed25519 or RSA"},
	{"X25519", NULL, 0, "keys of type X25519 are not supported"},
	{"RSA-PSS", NULL, 2048, "keys of type RSA-PSS are not supported"},
};

static void weak_and_foreign_keys_are_refused(void **state)
{
	struct place *place = *state;
	char *path = xalloc_string(in_place(place, "key"));
	const struct holder_options options = {.key = path};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		EVP_PKEY *key = make_key(kinds[i].type, kinds[i].group, kinds[i].bits);
		struct holding holding;
		int r;

		write_key(path, key, PKCS8_PEM, 0600);
		r = start_holding(&holding, &options);
		if (kinds[i].error && !strstr(holding.error, kinds[i].error))
			fail_msg("%s", holding.error);
		assert_int_equal(r, kinds[i].error ? -EKEYREJECTED : 0);
		stop_holding(&holding);
		EVP_PKEY_free(key);
	}
	free(path);
}

static const struct {
	const char *key;
	const char *error;
} addresses[] = {
	{"pkcs11:token=hq;object=key?pin-value=1234",
	 "pkcs11:token=hq;object=key: holds a PIN or where it stands; write the PIN into a file "
	 "and "
	 "name that as passphrase-file"},
	{"pkcs11:token=hq;pin-value=1234;object=key", "pkcs11:token=hq;: "},
	{"pkcs11:token=hq;object", "pkcs11:token=hq;object: is no PKCS#11 URI ("},
	{"pkcs11:object=key;type=cert",
	 "means no private key; write type=private, or leave it out"},
	{"pkcs11:object=key?module-path=/nowhere.so",
	 "pkcs11:object=key: the PKCS#11 module /nowhere.so does not load: "},
	{"nowhere:key", "nowhere:key: neither a file that exists nor an address"},
	{"file:/etc/key", "file:/etc/key: write the path without \"file:\""},
	{"FILE:/etc/key", "write the path without \"file:\""},
};

static void an_address_that_leads_nowhere_is_explained(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		const struct holder_options options = {.key = addresses[i].key};
		struct holding holding;

		assert_int_equal(start_holding(&holding, &options), -EKEYREJECTED);
		if (!strstr(holding.error, addresses[i].error) || strstr(holding.error, "1234"))
			fail_msg("%s", holding.error);
		stop_holding(&holding);
	}
}

/* A file whose name looks like an address is a file. */
static void a_path_with_a_colon_is_a_path(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("ED25519", NULL, 0);
	const struct holder_options options = {.key = "hq:key"};
	struct holding holding;
	char before[PATH_ROOM];

	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(place->path), 0);
	write_key("hq:key", key, PKCS8_PEM, 0600);
	assert_int_equal(start_holding(&holding, &options), 0);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	assert_int_equal(chdir(before), 0);
	EVP_PKEY_free(key);
}

#define SERVER "TLS 1.3, server CertificateVerify"
#define CLIENT "TLS 1.3, client CertificateVerify"

/* error: as a gateway's key holder. */
static const struct {
	const char *name;
	uint16_t scheme;
	const char *context;
	size_t spaces, hash;
	uint16_t error;
} requests[] = {
	{"as a server", 0x0403, SERVER, 64, 32, 0},
	{"as a client", 0x0403, CLIENT, 64, 48, EPERM},
	{"a digest only", 0x0403, NULL, 0, 32, EPERM},
	{"another context string", 0x0403, "TLS 1.3, server certificateVerify", 64, 32, EPERM},
	{"another length", 0x0403, SERVER, 64, 33, EPERM},
	{"SHA-512's length", 0x0403, SERVER, 64, 64, EPERM},
	{"no padding", 0x0403, SERVER, 0, 32, EPERM},
	{"a scheme of another curve", 0x0503, SERVER, 64, 32, EPERM},
	{"a scheme of another type", 0x0807, SERVER, 64, 32, EPERM},
	{"RSA-PSS", 0x0804, SERVER, 64, 32, EPERM},
	{"PKCS#1", 0x0401, SERVER, 64, 32, EPERM},
	{"ECDSA with SHA-1", 0x0203, SERVER, 64, 32, EPERM},
	{"no scheme", 0, SERVER, 64, 32, EPERM},
	{"as a server again", 0x0403, SERVER, 64, 32, 0},
};

static size_t make_message(size_t i, uint8_t tbs[static KEY_MSG_TBS_MAX])
{
	size_t len = requests[i].spaces;

	memset(tbs, ' ', len);
	if (requests[i].context) {
		memcpy(tbs + len, requests[i].context, 34);
		len += 34;
	}
	memset(tbs + len, (int)(0x40 + i), requests[i].hash);
	return len + requests[i].hash;
}

static bool is_signature(EVP_PKEY *key, const uint8_t *tbs, size_t len,
			 const struct key_msg_reply *reply)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool is_one = EVP_DigestVerifyInit_ex(md, NULL, "SHA256", NULL, NULL, key, NULL) > 0 &&
		      EVP_DigestVerify(md, reply->signature, reply->signature_len, tbs, len) > 0;

	EVP_MD_CTX_free(md);
	return is_one;
}

static void ask(int socket, const void *packet, size_t len, uint8_t answer[static KEY_MSG_MAX],
		struct key_msg_reply *ret)
{
	ssize_t got;

	assert_int_equal(send(socket, packet, len, MSG_NOSIGNAL), len);
	got = recv(socket, answer, KEY_MSG_MAX, 0);
	assert_true(got > 0);
	assert_true(key_msg_reply_read(answer, (size_t)got, ret));
}

static void only_a_certificate_verify_is_signed(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("EC", "P-256", 0);
	const struct holder_options options = {.key = in_place(place, "key")};
	struct holding holding;

	write_key(options.key, key, PKCS8_PEM, 0600);
	assert_int_equal(start_holding(&holding, &options), 0);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		uint8_t tbs[KEY_MSG_TBS_MAX], packet[KEY_MSG_MAX], answer[KEY_MSG_MAX];
		const struct key_msg_request request = {
			.id = 1000 + i,
			.scheme = requests[i].scheme,
			.tbs = tbs,
			.tbs_len = make_message(i, tbs),
		};
		struct key_msg_reply reply;

		ask(holding.ours[i % SOCKETS], packet, key_msg_request_write(&request, packet),
		    answer, &reply);
		if (reply.error != requests[i].error)
			fail_msg("%s: %d", requests[i].name, reply.error);
		assert_int_equal(reply.id, 1000 + i);
		if (reply.error == 0)
			assert_true(is_signature(key, tbs, request.tbs_len, &reply));
	}
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(key);
}

/* ---- what an engine that is somebody else's would ask for ---- */

static size_t make_digest(EVP_PKEY *key, uint8_t **ret)
{
	unsigned len;

	(void)key;
	*ret = OPENSSL_zalloc(EVP_MAX_MD_SIZE);
	assert_true(EVP_Digest("a mail", 6, *ret, &len, EVP_sha256(), NULL) > 0);
	return len;
}

static size_t make_certificate_request(EVP_PKEY *key, uint8_t **ret)
{
	X509_REQ *request = X509_REQ_new();
	int len;

	X509_REQ_set_pubkey(request, key);
	*ret = NULL;
	len = i2d_re_X509_REQ_tbs(request, ret);
	X509_REQ_free(request);
	assert_true(len > 0);
	return (size_t)len;
}

static size_t make_certificate(EVP_PKEY *key, uint8_t **ret)
{
	X509 *certificate = X509_new();
	int len;

	X509_set_pubkey(certificate, key);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	/* Which algorithm it is signed with is part of what is signed. */
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	*ret = NULL;
	len = i2d_re_X509_tbs(certificate, ret);
	X509_free(certificate);
	assert_true(len > 0);
	return (size_t)len;
}

static size_t make_ocsp_request(EVP_PKEY *key, uint8_t **ret)
{
	OCSP_REQUEST *request = OCSP_REQUEST_new();
	int len;

	(void)key;
	*ret = NULL;
	len = i2d_OCSP_REQUEST(request, ret);
	OCSP_REQUEST_free(request);
	assert_true(len > 0);
	return (size_t)len;
}

static size_t make_verify(const char *context, uint8_t **ret)
{
	*ret = OPENSSL_zalloc(64 + 34 + 32);
	memset(*ret, ' ', 64);
	memcpy(*ret + 64, context, 34);
	return 64 + 34 + 32;
}

static size_t make_server_verify(EVP_PKEY *key, uint8_t **ret)
{
	(void)key;
	return make_verify(SERVER, ret);
}

static size_t make_client_verify(EVP_PKEY *key, uint8_t **ret)
{
	(void)key;
	return make_verify(CLIENT, ret);
}

static const struct {
	const char *name;
	size_t (*make)(EVP_PKEY *key, uint8_t **ret);
	bool is_client; /* the key holder */
	uint16_t scheme, error;
	enum use_refusal refusal; /* USE_REFUSALS: it signs */
} abuses[] = {
	{"a digest", make_digest, false, 0x0403, EPERM, USE_NO_TLS},
	{"PKCS#10", make_certificate_request, false, 0x0403, EPERM, USE_NO_TLS},
	{"an OCSP request", make_ocsp_request, false, 0x0403, EPERM, USE_NO_TLS},
	{"a certificate", make_certificate, false, 0x0403, EPERM, USE_NO_TLS},
	{"a client's, of a gateway", make_client_verify, false, 0x0403, EPERM, USE_OTHER_ROLE},
	{"a gateway's, of a client", make_server_verify, true, 0x0403, EPERM, USE_OTHER_ROLE},
	{"another key's scheme", make_server_verify, false, 0x0804, EPERM, USE_SCHEME},
	{"a gateway's, of a gateway", make_server_verify, false, 0x0403, 0, USE_REFUSALS},
	{"a client's, of a client", make_client_verify, true, 0x0403, 0, USE_REFUSALS},
};

/* The longest that a packet can carry: what is longer is no request at all. */
static size_t write_abuse(size_t i, EVP_PKEY *key, uint8_t packet[static KEY_MSG_MAX])
{
	struct key_msg_request request = {.id = 9, .scheme = abuses[i].scheme};
	uint8_t *bytes;
	size_t len;

	request.tbs_len = abuses[i].make(key, &bytes);
	request.tbs = bytes;
	if (request.tbs_len > KEY_MSG_TBS_MAX)
		request.tbs_len = KEY_MSG_TBS_MAX;
	len = key_msg_request_write(&request, packet);
	OPENSSL_free(bytes);
	return len;
}

static void assert_counted(const struct use *use, const char *name, enum use_refusal refusal)
{
	uint64_t signatures = 0;

	for (size_t i = 0; i < SCHEME_MAX; i++)
		signatures += use->signatures[i];
	for (int i = 0; i < USE_REFUSALS; i++) {
		if (use->refused[i] != (i == (int)refusal))
			fail_msg("%s: %s counted %lu times", name,
				 use_refusal_name((enum use_refusal)i),
				 (unsigned long)use->refused[i]);
	}
	assert_int_equal(signatures, refusal == USE_REFUSALS);
}

static void a_compromised_engine_gets_no_other_signature(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("EC", "P-256", 0);
	char *path = xalloc_string(in_place(place, "key"));

	write_key(path, key, PKCS8_PEM, 0600);
	for (size_t i = 0; i < sizeof(abuses) / sizeof(abuses[0]); i++) {
		struct holder_options options = {.key = path, .is_client = abuses[i].is_client};
		uint8_t packet[KEY_MSG_MAX], answer[KEY_MSG_MAX];
		const struct use *view;
		struct key_msg_reply reply;
		struct holding holding;

		assert_int_equal(use_open(&options.use, &view), 0);
		assert_int_equal(start_holding(&holding, &options), 0);
		ask(holding.ours[0], packet, write_abuse(i, key, packet), answer, &reply);
		if (reply.error != abuses[i].error)
			fail_msg("%s: %d", abuses[i].name, reply.error);
		assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
		assert_counted(view, abuses[i].name, abuses[i].refusal);
		use_close(options.use);
		munmap((void *)view, sizeof(*view));
	}
	free(path);
	EVP_PKEY_free(key);
}

/* Who can only read them cannot make itself able to write. */
static void counts_cannot_be_made_writable(void **state)
{
	const struct use *view;
	struct use *counting;

	(void)state;
	assert_int_equal(use_open(&counting, &view), 0);
	counting->refused[USE_SCHEME] = 7;
	assert_int_equal(view->refused[USE_SCHEME], 7);
	assert_int_equal(mprotect((void *)view, sizeof(*view), PROT_READ | PROT_WRITE), -1);
	use_close(counting);
	assert_int_equal(view->refused[USE_SCHEME], 7);
	munmap((void *)view, sizeof(*view));
}

static void what_is_no_request_is_said_to_be_none(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("EC", "P-256", 0);
	const struct holder_options options = {.key = in_place(place, "key")};
	uint8_t answer[KEY_MSG_MAX], packet[2 * KEY_MSG_MAX] = {0};
	struct key_msg_reply reply;
	struct holding holding;

	write_key(options.key, key, PKCS8_PEM, 0600);
	assert_int_equal(start_holding(&holding, &options), 0);
	ask(holding.ours[0], packet, 1, answer, &reply);
	assert_int_equal(reply.error, EBADMSG);
	ask(holding.ours[0], packet, sizeof(packet), answer, &reply);
	assert_int_equal(reply.error, EBADMSG);

	/* The end of one socket is not the end of the others, nor of the holder. */
	close(holding.ours[0]);
	holding.ours[0] = -1;
	ask(holding.ours[1], packet, 1, answer, &reply);
	assert_int_equal(reply.error, EBADMSG);
	close(holding.ours[1]);
	holding.ours[1] = -1;
	usleep(50000);
	assert_int_equal(waitpid(holding.child.pid, NULL, WNOHANG), 0);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(key);
}

static unsigned count_descriptors(pid_t pid)
{
	char path[64], target[64];
	unsigned count = 0;

	for (int fd = 3; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		count += readlink(path, target, sizeof(target)) > 0;
	}
	return count;
}

/* What was passed with a message is closed behind the answer to it. */
static void assert_descriptors(pid_t pid, unsigned wanted)
{
	for (unsigned ms = 0; ms < 5000 && count_descriptors(pid) != wanted; ms += 10)
		usleep(10000);
	assert_int_equal(count_descriptors(pid), wanted);
}

/* ---- further keys ---- */

/* What holder_take_report says, after a moment. */
static int take_report(struct holding *holding, uint32_t *generation)
{
	struct pollfd poll_fd = {.fd = holding->child.socket, .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
	buf_done(&holding->spki);
	return holder_take_report(holding->child.socket, generation, &holding->spki, holding->error,
				  sizeof(holding->error));
}

/* The file at path under this generation. What the parent or the holder says of it. */
static int load_file(struct holding *holding, const char *path, const char *pass,
		     uint32_t generation)
{
	const struct source source = {.key = path, .passphrase_file = pass};
	struct holder_load load = {
		.generation = generation,
		.key = path,
		.passphrase_file = pass,
	};
	uint32_t got = 0;
	int r = source_pass(&source, &load.key_fd, &load.passphrase_fd, holding->error,
			    sizeof(holding->error));

	if (r < 0)
		return r;
	assert_int_equal(holder_load(holding->child.socket, &load), 0);
	close(load.key_fd);
	if (load.passphrase_fd >= 0)
		close(load.passphrase_fd);
	r = take_report(holding, &got);
	assert_int_equal(got, generation);
	return r;
}

/* A P-256 key at path, under this generation; the caller frees it. */
static EVP_PKEY *load_new(struct holding *holding, const char *path, uint32_t generation)
{
	EVP_PKEY *key = make_key("EC", "P-256", 0);

	write_key(path, key, PKCS8_PEM, 0600);
	assert_int_equal(load_file(holding, path, NULL, generation), 0);
	return key;
}

/* The error, 0 for a signature that key made. */
static int sign_under(struct holding *holding, EVP_PKEY *key, uint32_t generation)
{
	uint8_t tbs[KEY_MSG_TBS_MAX], packet[KEY_MSG_MAX], answer[KEY_MSG_MAX];
	const struct key_msg_request request = {
		.id = 5,
		.generation = generation,
		.scheme = 0x0403,
		.tbs = tbs,
		.tbs_len = make_message(0, tbs),
	};
	struct key_msg_reply reply;

	ask(holding->ours[0], packet, key_msg_request_write(&request, packet), answer, &reply);
	if (reply.error)
		return reply.error;
	return is_signature(key, tbs, request.tbs_len, &reply) ? 0 : -1;
}

static void start_with(struct holding *holding, const char *path, EVP_PKEY *key)
{
	const struct holder_options options = {.key = path};

	write_key(path, key, PKCS8_PEM, 0600);
	assert_int_equal(start_holding(holding, &options), 0);
}

static void adopt(struct holding *holding, uint32_t generation)
{
	assert_int_equal(holder_adopt(holding->child.socket, generation, LOG_LEVEL_ERROR), 0);
	/* In turn with what is asked on other sockets. */
	usleep(30000);
}

static void a_further_key_signs_beside_the_first(void **state)
{
	char *path = xalloc_string(in_place(*state, "key"));
	EVP_PKEY *first = make_key("EC", "P-256", 0), *second, *third, *fourth;
	struct holding holding;

	start_with(&holding, path, first);
	assert_int_equal(sign_under(&holding, first, 0), 0);
	assert_int_equal(sign_under(&holding, first, 1), ENOKEY);
	second = load_new(&holding, path, 1);
	assert_int_equal(sign_under(&holding, second, 1), 0);
	assert_int_equal(sign_under(&holding, first, 0), 0);
	/* What is not adopted goes with the next; this is another's adoption. */
	adopt(&holding, 5);
	third = load_new(&holding, path, 2);
	assert_int_equal(sign_under(&holding, second, 1), ENOKEY);
	adopt(&holding, 2);
	assert_int_equal(sign_under(&holding, third, 2), 0);
	assert_int_equal(sign_under(&holding, first, 0), 0);
	/* What is not there cannot be adopted. */
	adopt(&holding, 3);
	adopt(&holding, 1);
	assert_int_equal(sign_under(&holding, third, 2), 0);
	assert_int_equal(sign_under(&holding, third, 3), ENOKEY);
	/* What goes wrong takes nothing away. */
	write_file(path, "", 0, 0600);
	assert_int_equal(load_file(&holding, path, NULL, 4), -EKEYREJECTED);
	assert_non_null(strstr(holding.error, "/key: holds no private key in PEM or DER"));
	assert_int_equal(sign_under(&holding, third, 2), 0);
	fourth = load_new(&holding, path, 5);
	assert_int_equal(sign_under(&holding, fourth, 5), 0);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(first);
	EVP_PKEY_free(second);
	EVP_PKEY_free(third);
	EVP_PKEY_free(fourth);
	free(path);
}

/* Handshakes that began with it need not fail, however often the file is read again. */
static void the_same_key_serves_under_all_its_generations(void **state)
{
	char *path = xalloc_string(in_place(*state, "key"));
	EVP_PKEY *key = make_key("EC", "P-256", 0), *other;
	struct holding holding;

	start_with(&holding, path, key);
	for (uint32_t generation = 1; generation < 30; generation++) {
		assert_int_equal(load_file(&holding, path, NULL, generation), 0);
		adopt(&holding, generation);
	}
	assert_int_equal(sign_under(&holding, key, 0), 0);
	assert_int_equal(sign_under(&holding, key, 29), 0);
	assert_int_equal(sign_under(&holding, key, 30), ENOKEY);
	other = load_new(&holding, path, 30);
	adopt(&holding, 30);
	assert_int_equal(sign_under(&holding, key, 17), 0);
	assert_int_equal(sign_under(&holding, other, 30), 0);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(other);
	EVP_PKEY_free(key);
	free(path);
}

static void only_so_many_earlier_keys_are_kept(void **state)
{
	enum { KEYS = 12, KEPT = 9 };
	char *path = xalloc_string(in_place(*state, "key"));
	EVP_PKEY *keys[KEYS] = {make_key("EC", "P-256", 0)};
	struct holding holding;

	start_with(&holding, path, keys[0]);
	for (uint32_t generation = 1; generation < KEYS; generation++) {
		keys[generation] = load_new(&holding, path, generation);
		adopt(&holding, generation);
	}
	for (uint32_t generation = 0; generation < KEYS; generation++)
		assert_int_equal(sign_under(&holding, keys[generation], generation),
				 generation < KEYS - KEPT ? ENOKEY : 0);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	for (size_t i = 0; i < KEYS; i++)
		EVP_PKEY_free(keys[i]);
	free(path);
}

/* Sandboxed, and from another type of key. */
static void further_keys_come_in_all_forms(void **state)
{
	char *path = xalloc_string(in_place(*state, "key"));
	char *pass = xalloc_string(in_place(*state, "pass"));
	EVP_PKEY *first = make_key("ED25519", NULL, 0), *key = make_key("EC", "P-256", 0);
	uint32_t generation = 0;
	struct holding holding;

	start_with(&holding, path, first);
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const char *named = forms[i].passphrase ? pass : NULL;
		int r;

		print_message("  %s\n", forms[i].name);
		write_key(path, key, forms[i].form, 0600);
		if (named)
			write_file(pass, forms[i].passphrase, strlen(forms[i].passphrase), 0400);
		r = load_file(&holding, path, named, ++generation);
		assert_int_equal(r, forms[i].error ? -EKEYREJECTED : 0);
		if (forms[i].error && !strstr(holding.error, forms[i].error))
			fail_msg("%s", holding.error);
		if (!forms[i].error)
			assert_int_equal(sign_under(&holding, key, generation), 0);
		unlink(pass);
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		EVP_PKEY *other = make_key(kinds[i].type, kinds[i].group, kinds[i].bits);

		write_key(path, other, PKCS8_PEM, 0600);
		assert_int_equal(load_file(&holding, path, NULL, ++generation),
				 kinds[i].error ? -EKEYREJECTED : 0);
		EVP_PKEY_free(other);
	}
	assert_descriptors(holding.child.pid, SOCKETS + 1);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(first);
	EVP_PKEY_free(key);
	free(pass);
	free(path);
}

static void a_further_key_is_looked_at_before_it_is_passed(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("EC", "P-256", 0);
	char *path = xalloc_string(in_place(place, "key"));
	uint32_t generation = 0;
	struct holding holding;

	start_with(&holding, path, key);
	remove(path);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int r;

		if (files[i].allow_insecure)
			continue;
		print_message("  %s\n", files[i].name);
		make_file(path, key, files[i].what);
		if (files[i].what != MISSING) {
			assert_int_equal(chmod(path, files[i].mode), 0);
			assert_int_equal(chown(path, files[i].owner, 0), 0);
		}
		r = load_file(&holding, path, NULL, ++generation);
		assert_int_equal(r < 0, files[i].error != NULL);
		if (files[i].error && !strstr(holding.error, files[i].error))
			fail_msg("%s", holding.error);
		remove(path);
	}
	assert_int_equal(sign_under(&holding, key, 0), 0);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(key);
	free(path);
}

static void a_further_key_may_stand_in_the_configuration(void **state)
{
	EVP_PKEY *first = make_key("EC", "P-256", 0), *second = make_key("EC", "P-256", 0);
	struct holder_load load = {.generation = 1, .passphrase_fd = -1};
	uint32_t generation = 0;
	struct holding holding;
	size_t len;
	char *pem = print_key(second, PKCS8_PEM, &len);

	start_with(&holding, in_place(*state, "key"), first);
	load.key_fd = memfd_create("key", MFD_CLOEXEC);
	assert_int_equal(write(load.key_fd, pem, len), len);
	assert_int_equal(lseek(load.key_fd, 0, SEEK_SET), 0);
	assert_int_equal(holder_load(holding.child.socket, &load), 0);
	assert_int_equal(take_report(&holding, &generation), 0);
	assert_int_equal(sign_under(&holding, second, 1), 0);
	/* At its end already: as an empty file. */
	load.generation = 2;
	assert_int_equal(holder_load(holding.child.socket, &load), 0);
	assert_int_equal(take_report(&holding, &generation), -EKEYREJECTED);
	assert_string_equal(holding.error,
			    "the key in the configuration: holds no private key in PEM or DER");
	close(load.key_fd);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(first);
	EVP_PKEY_free(second);
	free(pem);
}

/* What the holder may open is in its past. */
static void a_token_needs_a_restart(void **state)
{
	EVP_PKEY *key = make_key("EC", "P-256", 0);
	const struct source source = {.key = "pkcs11:token=hq;object=key?pin-value=1234"};
	const struct source wrong = {.key = "file:/etc/key"};
	struct holder_load load = {.generation = 1, .key = source.key};
	uint32_t generation = 0;
	struct holding holding;

	start_with(&holding, in_place(*state, "key"), key);
	assert_int_equal(source_pass(&source, &load.key_fd, &load.passphrase_fd, holding.error,
				     sizeof(holding.error)),
			 0);
	assert_int_equal(load.key_fd, -1);
	assert_int_equal(holder_load(holding.child.socket, &load), 0);
	assert_int_equal(take_report(&holding, &generation), -EKEYREJECTED);
	assert_string_equal(holding.error,
			    "a token is reached from the start alone, and this one began with a "
			    "key in a file; restart tund");
	assert_int_equal(source_pass(&wrong, &load.key_fd, &load.passphrase_fd, holding.error,
				     sizeof(holding.error)),
			 -EINVAL);
	assert_string_equal(holding.error, "file:/etc/key: write the path without \"file:\"");
	assert_int_equal(sign_under(&holding, key, 0), 0);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(key);
}

static int read_number(pid_t pid, const char *field, int base)
{
	char path[64], line[4096];
	size_t len = strlen(field);
	int number = -1;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	assert_non_null(status);
	while (fgets(line, sizeof(line), status)) {
		if (strncmp(line, field, len) == 0)
			number = (int)strtol(line + len, NULL, base);
	}
	fclose(status);
	return number;
}

static void it_keeps_nothing_but_its_sockets(void **state)
{
	struct place *place = *state;
	EVP_PKEY *key = make_key("EC", "P-256", 0);
	const struct holder_options options = {.key = in_place(place, "key")};
	struct holding holding;
	int filter;

	write_key(options.key, key, PKCS8_PEM, 0600);
	assert_int_equal(start_holding(&holding, &options), 0);
	assert_int_equal(read_number(holding.child.pid, "Uid:", 10), NOBODY);
	assert_int_equal(read_number(holding.child.pid, "Gid:", 10), NOBODY);
	assert_int_equal(read_number(holding.child.pid, "CapPrm:", 16), 0);
	assert_int_equal(read_number(holding.child.pid, "CapBnd:", 16), 0);
	assert_int_equal(read_number(holding.child.pid, "NoNewPrivs:", 10), 1);
	filter = read_number(holding.child.pid, "Seccomp:", 10);
	/* None in a sanitizer's build. */
	assert_true(filter == 2 || filter == 0);
	assert_descriptors(holding.child.pid, SOCKETS + 1);
	assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	EVP_PKEY_free(key);
}

static void an_end_without_a_report_is_an_error(void **state)
{
	char error[TEXT] = "";
	struct buf spki;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(holder_wait(pair[0], 20, &spki, error, sizeof(error)), -ETIMEDOUT);
	assert_string_equal(error, "the key holder did not open the key within 20 ms");
	close(pair[1]);
	assert_int_equal(holder_wait(pair[0], 20, &spki, error, sizeof(error)), -EPIPE);
	assert_string_equal(error, "the key holder ended before it opened the key");
	close(pair[0]);
}

/* What of the key may be found in memory, and under which name. */
struct needle {
	const char *name;
	bool is_in_use; /* this form of it is what the holder computes with */
	uint8_t bytes[1024];
	size_t len;
};

/* AddressSanitizer keeps what is freed as it was, and maps terabytes. */
#ifdef __SANITIZE_ADDRESS__
enum { CAN_SEARCH = 0 };
#else
enum { CAN_SEARCH = 1 };
#endif

enum { NEEDLES = 4, CHUNK = 1 << 20 };

static size_t add_needle(struct needle *needle, const char *name, bool is_in_use, const void *bytes,
			 size_t len)
{
	needle->name = name;
	needle->is_in_use = is_in_use;
	needle->len = len;
	memcpy(needle->bytes, bytes, len);
	return 1;
}

/* The private number in both byte orders, or the seed; a piece of the base64 text; of the DER. */
static size_t make_needles(const char *path, struct needle needles[static NEEDLES])
{
	char text[4096] = {0}, *line;
	EVP_PKEY *key;
	BIGNUM *number = NULL;
	uint8_t seed[64], order[512];
	size_t count = 0, len = sizeof(seed);
	BIO *bio = BIO_new_file(path, "r");
	FILE *file = fopen(path, "re");
	bool is_rsa;

	if (!file || fread(text, 1, sizeof(text) - 1, file) == 0)
		return 0;
	fclose(file);
	key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	if (!key)
		return 0;
	/* Where the text is of the private half alone: behind a head that is always the same,
	 * before the public half; far down for RSA, whose modulus comes first. */
	is_rsa = EVP_PKEY_is_a(key, "RSA");
	line = text;
	for (int i = 0; i < (is_rsa ? 10 : EVP_PKEY_is_a(key, "EC") ? 2 : 1); i++)
		line = strchr(line, '\n') + 1;
	if (EVP_PKEY_is_a(key, "ED25519"))
		line += 24;
	count += add_needle(&needles[count], "base64", false, line, 24);
	if (EVP_PKEY_is_a(key, "ED25519")) {
		EVP_PKEY_get_raw_private_key(key, seed, &len);
		count += add_needle(&needles[count], "seed", true, seed, 32);
	} else {
		EVP_PKEY_get_bn_param(key,
				      is_rsa ? OSSL_PKEY_PARAM_RSA_FACTOR1
					     : OSSL_PKEY_PARAM_PRIV_KEY,
				      &number);
		len = (size_t)BN_num_bytes(number);
		BN_bn2binpad(number, order, (int)len);
		count += add_needle(&needles[count], "number as written", false, order, len);
		BN_bn2lebinpad(number, order, (int)len);
		count += add_needle(&needles[count], "number as computed with", true, order, len);
	}
	EVP_PKEY_free(key);
	return count;
}

static unsigned count_in_range(int memory, uint64_t from, uint64_t to, const struct needle *needle,
			       uint8_t *chunk)
{
	unsigned count = 0;

	for (uint64_t at = from; at < to; at += CHUNK - needle->len) {
		size_t wanted = to - at < CHUNK ? (size_t)(to - at) : CHUNK;
		ssize_t len = pread(memory, chunk, wanted, (off_t)at);
		uint8_t *hit = chunk;

		if (len <= 0)
			break;
		while ((hit = memmem(hit, (size_t)(chunk + len - hit), needle->bytes,
				     needle->len))) {
			count++;
			hit++;
		}
		if (at + wanted >= to)
			break;
	}
	return count;
}

static unsigned count_in_process(pid_t pid, const struct needle *needle)
{
	uint8_t *chunk = malloc(CHUNK);
	char path[64], line[512];
	unsigned count = 0;
	int memory;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	memory = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		uint64_t from, to;

		if (sscanf(line, "%lx-%lx rw", &from, &to) == 2 && strstr(line, " rw"))
			count += count_in_range(memory, from, to, needle, chunk);
	}
	if (maps)
		fclose(maps);
	close(memory);
	free(chunk);
	return count;
}

/* In a process of its own, which may know the key: none of it is in the test, and the holder has it
 * in the form that it needs and in no other. */
static int search_processes(const char *path, pid_t holder, pid_t test)
{
	struct needle needles[NEEDLES];
	size_t needle_count = make_needles(path, needles);
	unsigned in_holder = 0;

	if (needle_count < 2)
		return 2;
	for (size_t i = 0; i < needle_count; i++) {
		unsigned there = count_in_process(holder, &needles[i]);
		unsigned here = count_in_process(test, &needles[i]);

		print_message("    %s: %u times in the holder, %u in the test\n", needles[i].name,
			      there, here);
		if (here)
			return 3;
		if (there && !needles[i].is_in_use)
			return 4;
		in_holder += there;
	}
	return in_holder ? 0 : 5;
}

static int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void the_key_is_in_the_holder_alone(void **state)
{
	struct place *place = *state;
	const char *path = in_place(place, "key");
	const struct holder_options options = {.key = path};
	pid_t test = getpid();

	if (!CAN_SEARCH)
		skip();
	for (size_t i = 0; i < 4; i++) {
		struct holding holding;
		EVP_PKEY *remote;
		pid_t pid = fork();

		/* Made where the test cannot have seen it. */
		if (pid == 0) {
			write_key(path, make_key(kinds[i].type, kinds[i].group, kinds[i].bits),
				  PKCS8_PEM, 0600);
			_exit(0);
		}
		assert_int_equal(wait_for(pid), 0);
		assert_int_equal(start_holding(&holding, &options), 0);
		remote = remote_key_new(holding.spki.data, holding.spki.len, holding.ours[0], 0);
		assert_non_null(remote);
		print_message("  %s\n", kinds[i].type);
		pid = fork();
		if (pid == 0)
			_exit(search_processes(path, holding.child.pid, test));
		assert_int_equal(wait_for(pid), 0);
		EVP_PKEY_free(remote);
		assert_int_equal(stop_holding(&holding), EXIT_SUCCESS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_key_is_read_in_its_forms, make_place, drop_place),
		cmocka_unit_test(a_key_may_stand_in_the_configuration),
		cmocka_unit_test_setup_teardown(a_file_is_looked_at_before_it_is_read, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(a_passphrase_file_is_looked_at_as_well, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(weak_and_foreign_keys_are_refused, make_place,
						drop_place),
		cmocka_unit_test(an_address_that_leads_nowhere_is_explained),
		cmocka_unit_test_setup_teardown(a_path_with_a_colon_is_a_path, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(only_a_certificate_verify_is_signed, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(a_compromised_engine_gets_no_other_signature,
						make_place, drop_place),
		cmocka_unit_test(counts_cannot_be_made_writable),
		cmocka_unit_test_setup_teardown(what_is_no_request_is_said_to_be_none, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(a_further_key_signs_beside_the_first, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(the_same_key_serves_under_all_its_generations,
						make_place, drop_place),
		cmocka_unit_test_setup_teardown(only_so_many_earlier_keys_are_kept, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(further_keys_come_in_all_forms, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(a_further_key_is_looked_at_before_it_is_passed,
						make_place, drop_place),
		cmocka_unit_test_setup_teardown(a_further_key_may_stand_in_the_configuration,
						make_place, drop_place),
		cmocka_unit_test_setup_teardown(a_token_needs_a_restart, make_place, drop_place),
		cmocka_unit_test_setup_teardown(it_keeps_nothing_but_its_sockets, make_place,
						drop_place),
		cmocka_unit_test(an_end_without_a_report_is_an_error),
		cmocka_unit_test_setup_teardown(the_key_is_in_the_holder_alone, make_place,
						drop_place),
	};

	if (remote_provider_load())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
