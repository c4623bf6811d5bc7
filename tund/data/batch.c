#include "data/batch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

enum {
	DATAGRAM_MAX = 16 * 1024 + 512, /* the largest DTLS record */
	WAIT_MS = 5, /* for a full socket; longer, and the queue in front of us grows instead */
};

void batch_init(struct batch *batch, struct counts *counts)
{
	*batch = (struct batch){
		.data = xalloc_zero(UDP_RUN_BYTES + DATAGRAM_MAX, 1),
		.counts = counts,
	};
}

void batch_done(struct batch *batch)
{
	free(batch->data);
	*batch = (struct batch){0};
}

static int send_rest(struct batch *batch, size_t *sent)
{
	size_t more = 0;
	int r = udp_send(batch->socket->fd, &batch->socket->offloads, &batch->path,
			 batch->data + *sent * batch->segment, batch->len - *sent * batch->segment,
			 batch->segment, &more);

	*sent += r == 0 ? batch->datagrams - *sent : more;
	return r;
}

void batch_flush(struct batch *batch)
{
	struct counts *counts = batch->counts;
	size_t sent = 0;
	int r;

	if (batch->datagrams == 0)
		return;
	r = send_rest(batch, &sent);
	if (r == -EAGAIN || r == -ENOBUFS) {
		struct pollfd full = {batch->socket->fd, POLLOUT, 0};

		poll(&full, 1, WAIT_MS);
		r = send_rest(batch, &sent);
	}
	counts->of[COUNT_UDP_SENDS]++;
	counts->of[COUNT_UDP_DATAGRAMS_TX] += sent;
	if (batch->datagrams > 1 && (batch->socket->offloads & UDP_OFFLOAD_GSO))
		counts->of[COUNT_UDP_GSO_TX]++;
	batch->too_big |= r == -EMSGSIZE;
	if (r == -EMSGSIZE)
		counts->of[COUNT_DROP_TOO_BIG] += batch->datagrams - sent;
	else
		counts->of[COUNT_DROP_QUEUE_FULL] += batch->datagrams - sent;
	batch->len = batch->datagrams = 0;
}

static bool same_path(const struct udp_path *a, const struct udp_path *b)
{
	return addr_endpoint_equal(&a->peer, &b->peer) && addr_equal(&a->local, &b->local);
}

/* Whether a datagram of len bytes may follow: same path, not after a shorter one, not longer. */
static bool fits(const struct batch *batch, const struct batch_socket *socket,
		 const struct udp_path *path, size_t len)
{
	if (batch->datagrams == 0)
		return true;
	return batch->socket == socket && len <= batch->segment &&
	       batch->len == batch->datagrams * batch->segment &&
	       batch->datagrams < UDP_RUN_SEGMENTS && batch->len + len <= UDP_RUN_BYTES &&
	       same_path(&batch->path, path);
}

void batch_add(struct batch *batch, struct batch_socket *socket, const struct udp_path *path,
	       const uint8_t *datagram, size_t len)
{
	if (len > DATAGRAM_MAX)
		return;
	if (!fits(batch, socket, path, len))
		batch_flush(batch);
	if (batch->datagrams == 0) {
		batch->segment = len;
		batch->path = *path;
		batch->socket = socket;
	}
	memcpy(batch->data + batch->len, datagram, len);
	batch->len += len;
	batch->datagrams++;
}
