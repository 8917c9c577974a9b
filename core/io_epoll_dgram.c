/* SPDX-License-Identifier: MIT */
/*
 * Datagrams on epoll: received and sent in batches, recvmmsg(2) and sendmmsg(2). The buffers of one
 * batch are kept between receives, so that an idle UDP service holds one batch and no more.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "io_epoll_priv.h"
#include "util.h"

enum { BATCHES_PER_TURN = 4 };

int epoll_dgram_open(struct epoll_io *e)
{
	if (!e->rx)
		e->rx = calloc(1, sizeof(*e->rx));
	return e->rx ? 0 : -ENOMEM;
}

void epoll_dgram_free(struct epoll_io *e)
{
	free(e->rx);
}

/* Returns how many messages can be received, 0 when sock has to wait for a buffer. */
static int rx_prepare(struct epoll_io *e, struct io_sock *sock)
{
	struct dgram_rx *rx = e->rx;
	int n;

	for (n = 0; n < EPOLL_DGRAM_BATCH; n++) {
		struct buf *buf = rx->bufs[n];

		if (!buf)
			buf = n ? buf_get(&e->io.pool, BUF_LARGE) : epoll_take_buf(e, sock);
		if (!buf)
			break;
		rx->bufs[n] = buf;
		rx->iovs[n] = (struct iovec){.iov_base = buf->data, .iov_len = BUF_LARGE_BYTES};
		rx->msgs[n].msg_hdr = (struct msghdr){
			.msg_name = &buf->dgram.peer,
			.msg_namelen = sizeof(buf->dgram.peer),
			.msg_iov = &rx->iovs[n],
			.msg_iovlen = 1,
			.msg_control = rx->controls[n],
			.msg_controllen = NET_CMSG_MAX,
		};
	}
	return n;
}

static void dgram_deliver(struct epoll_io *e, struct io_sock *sock, int i)
{
	struct msghdr *msg = &e->rx->msgs[i].msg_hdr;
	struct buf *buf = e->rx->bufs[i];

	e->rx->bufs[i] = NULL;
	if (msg->msg_flags & MSG_TRUNC) {
		stats_add(&e->io.stats->drop_truncated, 1);
		buf_put(&e->io.pool, buf);
		return;
	}
	buf->len = e->rx->msgs[i].msg_len;
	net_cmsg_read(msg, &buf->dgram);
	stats_add(&e->io.stats->dgrams_in, 1);
	stats_add(&e->io.stats->dgram_bytes_in, buf->len);
	epoll_deliver(e, sock, IO_RECV, (int32_t)buf->len, buf);
}

/* Returns false when the socket is empty, gone or stopped. */
static bool dgram_recv_batch(struct epoll_io *e, struct io_sock *sock)
{
	uint32_t gen = sock->gen;
	int room = rx_prepare(e, sock), n;

	if (!room)
		return false;
	n = recvmmsg(sock->fd, e->rx->msgs, (unsigned)room, MSG_DONTWAIT, NULL);
	if (n < 0) {
		if (errno == EINTR)
			return true;
		if (errno == EAGAIN)
			sock->flags &= ~(uint32_t)S_IN;
		else
			epoll_deliver(e, sock, IO_RECV, -errno, NULL);
		return sock->gen == gen && epoll_wants_recv(sock);
	}
	if (n < room)
		sock->flags &= ~(uint32_t)S_IN;
	for (int i = 0; i < n; i++) {
		/* Its owner has closed it: what else came with this batch goes with it. */
		if (sock->gen != gen || (sock->flags & S_CLOSING))
			break;
		dgram_deliver(e, sock, i);
	}
	epoll_dgram_flush_all(e);
	return sock->gen == gen && epoll_wants_recv(sock);
}

void epoll_dgram_recv(struct epoll_io *e, struct io_sock *sock)
{
	for (int i = 0; i < BATCHES_PER_TURN; i++)
		if (!dgram_recv_batch(e, sock))
			return;
	epoll_run(e, sock);
}

void epoll_dgram_send(struct epoll_io *e, struct io_sock *sock, struct buf *chain)
{
	while (chain) {
		struct buf *next = chain->next;

		buf_queue_push(&sock->out, chain);
		if (++sock->dgrams == EPOLL_DGRAM_BATCH)
			epoll_dgram_flush(e, sock);
		chain = next;
	}
	if (sock->out.head && !(sock->flags & S_DIRTY)) {
		sock->flags |= S_DIRTY;
		sock->next_dirty = e->dirty;
		e->dirty = sock;
	}
}

void epoll_dgram_flush_all(struct epoll_io *e)
{
	struct io_sock *sock;

	while ((sock = e->dirty)) {
		e->dirty = sock->next_dirty;
		sock->flags &= ~(uint32_t)S_DIRTY;
		epoll_dgram_flush(e, sock);
	}
}

struct dgram_tx {
	struct mmsghdr msgs[EPOLL_DGRAM_BATCH];
	struct iovec iovs[EPOLL_DGRAM_BATCH];
	_Alignas(struct cmsghdr) uint8_t controls[EPOLL_DGRAM_BATCH][NET_CMSG_MAX];
};

static int tx_prepare(struct dgram_tx *tx, const struct io_sock *sock)
{
	int n = 0;

	for (struct buf *b = sock->out.head; b && n < EPOLL_DGRAM_BATCH; b = b->next, n++) {
		struct msghdr *msg = &tx->msgs[n].msg_hdr;

		tx->iovs[n] = (struct iovec){.iov_base = b->data, .iov_len = b->len};
		*msg = (struct msghdr){.msg_iov = &tx->iovs[n], .msg_iovlen = 1};
		if (sock->flags & S_PEER)
			continue;
		msg->msg_name = &b->dgram.peer;
		msg->msg_namelen = addr_inet_len(&b->dgram.peer);
		msg->msg_controllen = net_cmsg_write(tx->controls[n], &b->dgram);
		if (msg->msg_controllen)
			msg->msg_control = tx->controls[n];
	}
	return n;
}

/* Takes the first n datagrams off the queue, sent or given up. */
static void tx_consume(struct epoll_io *e, struct io_sock *sock, int n)
{
	while (n-- > 0) {
		struct buf *head = sock->out.head;

		sock->out.head = head->next;
		sock->out.bytes -= head->len;
		sock->dgrams--;
		buf_put(&e->io.pool, head);
	}
	if (!sock->out.head)
		sock->out.tail = NULL;
}

/* Decides what an error of the first datagram means. Returns how many datagrams it costs. */
static int tx_failed(struct epoll_io *e, struct io_sock *sock, int err, bool *refused)
{
	struct stats *stats = e->io.stats;

	if (err == EINTR)
		return 0;
	if (err == EAGAIN || err == ENOBUFS) {
		stats_add(&stats->drop_send_full, sock->dgrams);
		return (int)sock->dgrams;
	}
	/* An ICMP error of an earlier datagram is reported instead of sending this one. Once: then
	 * it counts. */
	if (err == ECONNREFUSED && !*refused) {
		*refused = true;
		stats_add(&stats->drop_icmp, 1);
		return 0;
	}
	stats_add(&stats->drop_send_error, 1);
	return 1;
}

void epoll_dgram_flush(struct epoll_io *e, struct io_sock *sock)
{
	struct dgram_tx tx;
	bool refused = false;

	while (sock->out.head) {
		int n = tx_prepare(&tx, sock);

		n = sendmmsg(sock->fd, tx.msgs, (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0) {
			tx_consume(e, sock, tx_failed(e, sock, errno, &refused));
			continue;
		}
		for (int i = 0; i < n; i++)
			stats_add(&e->io.stats->dgram_bytes_out, tx.msgs[i].msg_len);
		stats_add(&e->io.stats->dgrams_out, (uint64_t)n);
		tx_consume(e, sock, n);
		refused = false;
	}
}
