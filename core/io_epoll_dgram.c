/* SPDX-License-Identifier: MIT */
/*
 * Datagrams on epoll: received and sent in batches, recvmmsg(2) and sendmmsg(2), and those that go
 * the same way as one message that the kernel cuts up (net_dgram_run). The buffers of one batch are
 * kept between receives, so that an idle UDP service holds one batch and no more.
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

/* Room for one more than came last: so a receive that takes all also learns that nothing is left,
 * and a session that gets one answer at a time does not prepare for many. */
static uint32_t rx_room(const struct io_sock *sock)
{
	return MAX(sock->room, (uint32_t)EPOLL_DGRAM_BATCH_MIN);
}

static void rx_adapt(struct io_sock *sock, uint32_t room, uint32_t n)
{
	sock->room = MIN(n < room ? n + 1 : room * 4, (uint32_t)EPOLL_DGRAM_BATCH);
}

/* Returns how many messages can be received, 0 when sock has to wait for a buffer. A connected
 * socket knows its peer, and asks for neither name nor control data. */
static uint32_t rx_prepare(struct epoll_io *e, struct io_sock *sock, uint32_t room)
{
	struct dgram_rx *rx = e->rx;
	bool any = !(sock->flags & S_PEER);
	uint32_t n;

	for (n = 0; n < room; n++) {
		struct buf *buf = rx->bufs[n];

		if (!buf)
			buf = n ? buf_get(&e->io.pool, BUF_LARGE) : epoll_take_buf(e, sock);
		if (!buf)
			break;
		rx->bufs[n] = buf;
		rx->iovs[n] = (struct iovec){.iov_base = buf->data, .iov_len = BUF_LARGE_BYTES};
		rx->msgs[n].msg_hdr = (struct msghdr){
			.msg_name = any ? &buf->dgram.peer : NULL,
			.msg_namelen = any ? sizeof(buf->dgram.peer) : 0,
			.msg_iov = &rx->iovs[n],
			.msg_iovlen = 1,
			.msg_control = any ? rx->controls[n] : NULL,
			.msg_controllen = any ? NET_CMSG_MAX : 0,
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
	uint32_t room = rx_prepare(e, sock, rx_room(sock));
	int n;

	if (!room)
		return false;
	n = recvmmsg(sock->fd, e->rx->msgs, room, MSG_DONTWAIT, NULL);
	if (n < 0) {
		if (errno == EINTR)
			return true;
		if (errno == EAGAIN)
			sock->flags &= ~(uint32_t)S_IN;
		else
			epoll_deliver(e, sock, IO_RECV, -errno, NULL);
		return sock->gen == gen && epoll_wants_recv(sock);
	}
	if ((uint32_t)n < room)
		sock->flags &= ~(uint32_t)S_IN;
	rx_adapt(sock, room, (uint32_t)n);
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
	struct iovec iovs[EPOLL_DGRAM_BATCH]; /* one a datagram; a message has one or more */
	_Alignas(struct cmsghdr) uint8_t controls[EPOLL_DGRAM_BATCH][NET_CMSG_MAX];
};

/* Makes messages of what is queued. Returns how many. */
static int tx_prepare(struct dgram_tx *tx, const struct io_sock *sock)
{
	bool peer = sock->flags & S_PEER;
	const struct buf *b = sock->out.head;
	uint32_t iovs = 0;
	int n;

	for (n = 0; b && iovs < EPOLL_DGRAM_BATCH; n++) {
		uint32_t run =
			net_dgram_run(b, peer, sock->segment_limit, EPOLL_DGRAM_BATCH - iovs);
		struct msghdr *msg = &tx->msgs[n].msg_hdr;

		*msg = (struct msghdr){.msg_iov = &tx->iovs[iovs], .msg_iovlen = run};
		net_dgram_address(msg, tx->controls[n], b, peer);
		for (; run > 0; run--, b = b->next)
			tx->iovs[iovs++] = (struct iovec){.iov_base = b->data, .iov_len = b->len};
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

/* Decides what an error of the first message means. Returns how many datagrams it costs. */
static int tx_failed(struct epoll_io *e, struct io_sock *sock, int err, bool *refused)
{
	struct stats *stats = e->io.stats;
	const struct buf *head = sock->out.head;
	uint32_t limit = net_segment_refused(err, head->len);

	if (err == EINTR)
		return 0;
	if (limit && net_dgram_run(head, sock->flags & S_PEER, sock->segment_limit, 2) > 1) {
		sock->segment_limit = limit;
		return 0;
	}
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

/* One datagram needs no message header where no source address has to be told. Returns 1 or -1. */
static int tx_one(const struct io_sock *sock, const struct buf *buf)
{
	bool peer = sock->flags & S_PEER;
	const struct sockaddr *to = peer ? NULL : &buf->dgram.peer.sa;
	socklen_t to_len = peer ? 0 : addr_inet_len(&buf->dgram.peer);
	ssize_t n = sendto(sock->fd, buf->data, buf->len, MSG_DONTWAIT | MSG_NOSIGNAL, to, to_len);

	return n < 0 ? -1 : 1;
}

/* Returns how many datagrams the kernel took, or -1. */
static int tx_batch(struct epoll_io *e, const struct io_sock *sock)
{
	const struct buf *head = sock->out.head;
	struct dgram_tx tx;
	uint32_t taken = 0;
	int n;

	if (!head->next && ((sock->flags & S_PEER) || !head->dgram.local.sa.sa_family)) {
		taken = 1;
		n = tx_one(sock, head);
	} else {
		n = tx_prepare(&tx, sock);
		n = sendmmsg(sock->fd, tx.msgs, (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
		for (int i = 0; i < n; i++)
			taken += (uint32_t)tx.msgs[i].msg_hdr.msg_iovlen;
	}
	if (n < 0)
		return -1;
	for (uint32_t i = 0; i < taken; i++, head = head->next)
		stats_add(&e->io.stats->dgram_bytes_out, head->len);
	return (int)taken;
}

void epoll_dgram_flush(struct epoll_io *e, struct io_sock *sock)
{
	bool refused = false;

	while (sock->out.head) {
		int n = tx_batch(e, sock);

		if (n < 0) {
			tx_consume(e, sock, tx_failed(e, sock, errno, &refused));
			continue;
		}
		stats_add(&e->io.stats->dgrams_out, (uint64_t)n);
		tx_consume(e, sock, n);
		refused = false;
	}
}
