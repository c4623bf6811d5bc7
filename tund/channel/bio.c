#include "channel/bio.h"

#include <pthread.h>
#include <string.h>

static int read_port(BIO *bio, char *out, int size)
{
	struct bio_port *port = BIO_get_data(bio);
	size_t len = port->in_len < (size_t)size ? port->in_len : (size_t)size;

	BIO_clear_retry_flags(bio);
	if (port->in_len == 0) {
		if (port->eof)
			return 0;
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(out, port->in, len);
	if (port->peek)
		return (int)len;
	if (port->datagrams)
		port->in_len = 0;
	else
		port->in_len -= len;
	port->in += len;
	return (int)len;
}

static int write_port(BIO *bio, const char *bytes, int len)
{
	struct bio_port *port = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	port->write(port->user, (const uint8_t *)bytes, (size_t)len);
	return len;
}

/* What the DTLS code asks of its transport. The path's MTU is set from outside
 * (SSL_OP_NO_QUERY_MTU). */
static long control_port(BIO *bio, int command, long number, void *pointer)
{
	struct bio_port *port = BIO_get_data(bio);

	(void)pointer;
	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return port->eof && port->in_len == 0;
	case BIO_CTRL_PENDING:
		return (long)port->in_len;
	case BIO_CTRL_DGRAM_SET_PEEK_MODE:
		port->peek = number != 0;
		return 1;
	case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
		return 48;
	default:
		return 0;
	}
}

static int create_port(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

/* Made once, never changed: OpenSSL wants one table for all BIOs of a kind. */
static BIO_METHOD *method;

static void make_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "port");
	if (!method)
		return;
	BIO_meth_set_read(method, read_port);
	BIO_meth_set_write(method, write_port);
	BIO_meth_set_ctrl(method, control_port);
	BIO_meth_set_create(method, create_port);
}

BIO *bio_new(struct bio_port *port)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	pthread_once(&once, make_method);
	bio = method ? BIO_new(method) : NULL;
	if (bio)
		BIO_set_data(bio, port);
	return bio;
}
