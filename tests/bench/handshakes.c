/* What OpenSSL alone does: full mutual TLS 1.3 handshakes, with the keys and
 * checks of tund's control channel, from nothing to both ends' Finished. Both
 * ends are in this process and their bytes go through memory; there is no
 * socket, no HTTP, no process that keeps the key.
 *
 * The settings are those of channel/tls.c and pki/verify.c: TLS 1.3 only,
 * X25519, TLS_AES_256_GCM_SHA384, no tickets; each end's chain built up to the
 * CA, strictly, for its purpose, against the lists where there are some, and
 * the server's name when --name is given. Each thread has contexts of its own,
 * as tund's handshake threads do. */

#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/xalloc.h"
#include "fail.h"

enum { THREADS_MAX = 256, INTERMEDIATES_MAX = 10, TURNS_MAX = 10 };

struct options {
	const char *cert, *key;		      /* the server's */
	const char *client_cert, *client_key; /* the client's */
	const char *ca, *crl, *name, *group;
	size_t threads;
	double seconds;
};

struct end { /* of one thread's connections */
	SSL_CTX *setup;
	double cpu_s;
};

struct thread {
	const struct options *options;
	pthread_t thread;
	struct end server, client;
	size_t handshakes;
	double elapsed_s;
};

static double clock_s(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The first error is the cause; a failed chain has its own text. */
static _Noreturn void fail_openssl(const char *what, const SSL *ssl)
{
	unsigned long code = ERR_peek_error();
	long verdict = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
	const char *reason = ERR_reason_error_string(code);

	fail("%s: %s%s%s", what, reason ? reason : "unknown error",
	     verdict == X509_V_OK ? "" : ": ",
	     verdict == X509_V_OK ? "" : X509_verify_cert_error_string(verdict));
}

/* The purpose, clientAuth or serverAuth, is OpenSSL's own default for either end. */
static void trust(SSL_CTX *setup, const struct options *options, bool is_server)
{
	X509_STORE *store = SSL_CTX_get_cert_store(setup);
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(setup);
	unsigned long flags = X509_V_FLAG_X509_STRICT;

	if (X509_STORE_load_file(store, options->ca) != 1)
		fail_openssl(options->ca, NULL);
	if (options->crl) {
		X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());

		if (!lookup || X509_load_crl_file(lookup, options->crl, X509_FILETYPE_PEM) < 1)
			fail_openssl(options->crl, NULL);
		flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
	}
	X509_VERIFY_PARAM_set_flags(param, flags);
	X509_VERIFY_PARAM_set_depth(param, INTERMEDIATES_MAX);
	if (!is_server && options->name &&
	    X509_VERIFY_PARAM_set1_host(param, options->name, 0) != 1)
		fail_openssl(options->name, NULL);
}

static SSL_CTX *make_setup(const struct options *options, bool is_server)
{
	const char *cert = is_server ? options->cert : options->client_cert;
	const char *key = is_server ? options->key : options->client_key;
	SSL_CTX *made = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

	if (!made)
		fail_openssl("no TLS", NULL);
	SSL_CTX_set_options(made,
			    SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_num_tickets(made, 0);
	SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(made, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	if (SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(made, "TLS_AES_256_GCM_SHA384") != 1 ||
	    SSL_CTX_set1_groups_list(made, options->group) != 1)
		fail_openssl(options->group, NULL);
	if (SSL_CTX_use_certificate_chain_file(made, cert) != 1)
		fail_openssl(cert, NULL);
	if (SSL_CTX_use_PrivateKey_file(made, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(made) != 1)
		fail_openssl(key, NULL);
	trust(made, options, is_server);
	return made;
}

/* ---- one handshake ---- */

static SSL *make_end(struct end *end, BIO *in, BIO *out)
{
	double begun = clock_s(CLOCK_THREAD_CPUTIME_ID);
	SSL *ssl = SSL_new(end->setup);

	if (!ssl)
		fail_openssl("no connection", NULL);
	SSL_set_bio(ssl, in, out);
	end->cpu_s += clock_s(CLOCK_THREAD_CPUTIME_ID) - begun;
	return ssl;
}

/* True when this end has nothing left to do. */
static bool step(struct end *end, SSL *ssl, const char *who)
{
	double begun = clock_s(CLOCK_THREAD_CPUTIME_ID);
	int result = SSL_do_handshake(ssl);

	if (result != 1 && SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ)
		fail_openssl(who, ssl);
	end->cpu_s += clock_s(CLOCK_THREAD_CPUTIME_ID) - begun;
	return result == 1;
}

static void free_end(struct end *end, SSL *ssl)
{
	double begun = clock_s(CLOCK_THREAD_CPUTIME_ID);

	SSL_free(ssl);
	end->cpu_s += clock_s(CLOCK_THREAD_CPUTIME_ID) - begun;
}

/* A pair of memory BIOs is a pair of wires; each end owns one reference to
 * both. */
static void shake_hands(struct thread *thread)
{
	BIO *up = BIO_new(BIO_s_mem()), *down = BIO_new(BIO_s_mem());
	bool client_done = false, server_done = false;
	SSL *client, *server;

	if (!up || !down || BIO_up_ref(up) != 1 || BIO_up_ref(down) != 1)
		fail("out of memory");
	/* Empty is "not yet", not the end. */
	BIO_set_mem_eof_return(up, -1);
	BIO_set_mem_eof_return(down, -1);
	client = make_end(&thread->client, down, up);
	server = make_end(&thread->server, up, down);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (int turns = 0; !client_done || !server_done; turns++) {
		if (turns == TURNS_MAX)
			fail("the handshake does not end");
		client_done = step(&thread->client, client, "the client");
		server_done = step(&thread->server, server, "the server");
	}
	if (SSL_get_verify_result(server) != X509_V_OK || !SSL_get0_peer_certificate(server))
		fail("the server let a client in that it did not verify");
	free_end(&thread->client, client);
	free_end(&thread->server, server);
}

static void *run(void *user)
{
	struct thread *thread = user;
	double begun, now;

	thread->server.setup = make_setup(thread->options, true);
	thread->client.setup = make_setup(thread->options, false);
	shake_hands(thread); /* what OpenSSL fetches once */
	thread->server.cpu_s = thread->client.cpu_s = 0;
	begun = clock_s(CLOCK_MONOTONIC);
	do {
		shake_hands(thread);
		thread->handshakes++;
		now = clock_s(CLOCK_MONOTONIC);
	} while (now - begun < thread->options->seconds);
	thread->elapsed_s = now - begun;
	SSL_CTX_free(thread->server.setup);
	SSL_CTX_free(thread->client.setup);
	return NULL;
}

/* "Alone" is what the threads would do with the server's half only: as many of
 * them as there are cores, at what a handshake costs that end. */
static void print_figures(const struct options *options, const struct thread *threads)
{
	size_t cores = (size_t)sysconf(_SC_NPROCESSORS_ONLN), handshakes = 0;
	size_t used = options->threads < cores ? options->threads : cores;
	double rate = 0, server_s = 0, client_s = 0;

	for (size_t i = 0; i < options->threads; i++) {
		handshakes += threads[i].handshakes;
		rate += (double)threads[i].handshakes / threads[i].elapsed_s;
		server_s += threads[i].server.cpu_s;
		client_s += threads[i].client.cpu_s;
	}
	printf("{\"threads\": %zu, \"cores\": %zu, \"seconds\": %g, \"handshakes\": "
	       "%zu, "
	       "\"per_second\": %.1f, \"server_alone_per_second\": %.1f, "
	       "\"server_cpu_ms\": %.4f, \"client_cpu_ms\": %.4f, \"group\": \"%s\", "
	       "\"crl\": %s, \"openssl\": \"%s\"}\n",
	       options->threads, cores, options->seconds, handshakes, rate,
	       (double)used * (double)handshakes / server_s, server_s * 1000 / (double)handshakes,
	       client_s * 1000 / (double)handshakes, options->group,
	       options->crl ? "true" : "false", OpenSSL_version(OPENSSL_VERSION));
}

static const char usage[] =
	"usage: handshakes --cert FILE --key FILE --client-cert FILE --client-key "
	"FILE --ca FILE "
	"[--crl FILE] [--name NAME] [--group X25519] [--threads N] [--seconds S]";

static struct options read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"cert", required_argument, NULL, 'c'},
		{"key", required_argument, NULL, 'k'},
		{"client-cert", required_argument, NULL, 'C'},
		{"client-key", required_argument, NULL, 'K'},
		{"ca", required_argument, NULL, 'a'},
		{"crl", required_argument, NULL, 'r'},
		{"name", required_argument, NULL, 'n'},
		{"group", required_argument, NULL, 'g'},
		{"threads", required_argument, NULL, 't'},
		{"seconds", required_argument, NULL, 's'},
		{0},
	};
	struct options options = {.group = "X25519", .threads = 1, .seconds = 3};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		const char **text = option == 'c'   ? &options.cert
				    : option == 'k' ? &options.key
				    : option == 'C' ? &options.client_cert
				    : option == 'K' ? &options.client_key
				    : option == 'a' ? &options.ca
				    : option == 'r' ? &options.crl
				    : option == 'n' ? &options.name
				    : option == 'g' ? &options.group
						    : NULL;

		if (text)
			*text = optarg;
		else if (option == 't')
			options.threads = fail_number(optarg, 1, THREADS_MAX);
		else if (option == 's')
			options.seconds = fail_fraction(optarg, 0.01, 600);
		else
			fail("%s", usage);
	}
	if (!options.cert || !options.key || !options.client_cert || !options.client_key ||
	    !options.ca || optind != argc)
		fail("%s", usage);
	return options;
}

int main(int argc, char **argv)
{
	struct thread threads[THREADS_MAX] = {0};
	struct options options;

	fail_name = "handshakes";
	options = read_options(argc, argv);
	for (size_t i = 0; i < options.threads; i++) {
		threads[i].options = &options;
		if (pthread_create(&threads[i].thread, NULL, run, &threads[i]) != 0)
			fail("no thread");
	}
	for (size_t i = 0; i < options.threads; i++)
		pthread_join(threads[i].thread, NULL);
	print_figures(&options, threads);
	return 0;
}
