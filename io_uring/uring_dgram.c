/* SPDX-License-Identifier: MIT */
/*
 * Datagrams: one multishot receive per socket, one send request per datagram, or per run of them
 * that the kernel can cut up (net_dgram_run). Sends are tried while submitting and never wait, so
 * after the submit every buffer is free again, and only failures have completed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "io_uring/uring_compat.h"
#include "io_uring/uring_priv.h"

/* buf->state. The datagrams of one request follow each other on u->dgrams, the last one first; that
 * one has the request's tag, and the others are joined to it. */
enum { DGRAM_SENT, DGRAM_JOINED, DGRAM_FAILED };

void uring_dgram_arm(struct uring_io *u, struct io_sock *sock)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	struct msghdr *layout = sock->flags & S_PKTINFO ? &u->recv_pktinfo : &u->recv_any;

	sock->group = GROUP_DGRAM;
	if (sock->flags & S_PEER)
		io_uring_prep_recv_multishot(sqe, sock->fd, NULL, 0, 0);
	else
		io_uring_prep_recvmsg_multishot(sqe, sock->fd, layout, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP_DGRAM;
	sqe->user_data = uring_tag(sock, TAG_RECV, 0);
	sock->flags |= S_ARMED | S_MULTISHOT;
	sock->inflight++;
}

/* ---- sending ---- */

struct dgram_header {
	struct msghdr msg;
	_Alignas(struct cmsghdr) uint8_t control[NET_CMSG_MAX];
	struct iovec iov[];
};

static struct msghdr *header_make(struct uring_io *u, const struct io_sock *sock,
				  const struct buf *buf, uint32_t run)
{
	struct dgram_header *h = uring_scratch(u, sizeof(*h) + run * sizeof(h->iov[0]));

	h->msg = (struct msghdr){.msg_iov = h->iov, .msg_iovlen = run};
	net_dgram_address(&h->msg, h->control, buf, sock->flags & S_PEER);
	for (uint32_t i = 0; i < run; i++, buf = buf->next)
		h->iov[i] = (struct iovec){.iov_base = buf->data, .iov_len = buf->len};
	return &h->msg;
}

/* A message header only where there are several datagrams, or a source address has to be told. */
static struct io_uring_sqe *send_request(struct uring_io *u, const struct io_sock *sock,
					 const struct buf *buf, uint32_t run)
{
	const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
	bool peer = sock->flags & S_PEER;
	struct io_uring_sqe *sqe;

	if (run > 1 || (!peer && buf->dgram.local.sa.sa_family)) {
		struct msghdr *msg = header_make(u, sock, buf, run);

		sqe = uring_sqe(u);
		io_uring_prep_sendmsg(sqe, sock->fd, msg, flags);
		return sqe;
	}
	sqe = uring_sqe(u);
	io_uring_prep_send(sqe, sock->fd, buf->data, buf->len, flags);
	if (!peer)
		uring_set_send_addr(sqe, &buf->dgram.peer, addr_inet_len(&buf->dgram.peer));
	return sqe;
}

/* Takes the first run of datagrams off the queue. Returns the last of them. */
static struct buf *run_take(struct uring_io *u, struct io_sock *sock, uint32_t run)
{
	struct buf *buf = NULL;

	for (; run > 0; run--) {
		buf = sock->out.head;
		sock->out.head = buf->next;
		buf->state = run > 1 ? DGRAM_JOINED : DGRAM_SENT;
		buf->next = u->dgrams;
		u->dgrams = buf;
	}
	return buf;
}

void uring_dgram_flush(struct uring_io *u, struct io_sock *sock)
{
	while (sock->out.head) {
		uint32_t run = net_dgram_run(sock->out.head, sock->flags & S_PEER,
					     sock->segment_limit, NET_RUN_MAX);
		struct io_uring_sqe *sqe = send_request(u, sock, sock->out.head, run);
		struct buf *last = run_take(u, sock, run);

		sqe->user_data = uring_tag(sock, TAG_DGRAM + last->class, last->id);
		if (u->features & URING_SKIP_SENT)
			sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	}
	sock->out = (struct buf_queue){0};
}

static int send_plain(const struct io_sock *sock, const struct buf *buf)
{
	_Alignas(struct cmsghdr) uint8_t control[NET_CMSG_MAX];
	struct iovec iov = {.iov_base = buf->data, .iov_len = buf->len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	net_dgram_address(&msg, control, buf, sock->flags & S_PEER);
	return sendmsg(sock->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* What the run that ends with last was cut into: the length of its first datagram. */
static uint32_t segment_size(const struct buf *last)
{
	while (last->next && last->next->state == DGRAM_JOINED)
		last = last->next;
	return last->len;
}

static void count_failure(struct uring_io *u, struct buf *buf, int err)
{
	buf->state = DGRAM_FAILED;
	if (err == -EAGAIN || err == -ENOBUFS)
		stats_add(&u->io.stats->drop_send_full, 1);
	else
		stats_add(&u->io.stats->drop_send_error, 1);
}

/* Sends the datagrams of a failed request one at a time. */
static void send_again(struct uring_io *u, struct io_sock *sock, struct buf *last)
{
	struct buf *run[NET_RUN_MAX] = {last}, *buf;
	uint32_t n = 1;

	for (buf = last->next; buf && buf->state == DGRAM_JOINED && n < NET_RUN_MAX;
	     buf = buf->next)
		run[n++] = buf;
	while (n-- > 0) {
		int err = send_plain(sock, run[n]);

		if (err)
			count_failure(u, run[n], err);
	}
}

void uring_on_dgram(struct uring_io *u, struct io_sock *sock, uint64_t user_data, int32_t res)
{
	enum buf_class class = (user_data & 0xff) - TAG_DGRAM;
	struct buf *buf = buf_by_id(&u->io.pool, class, (uint16_t)(user_data >> 8));
	bool joined = buf->next && buf->next->state == DGRAM_JOINED;
	uint32_t limit = joined ? net_segment_refused(-res, segment_size(buf)) : 0;

	if (res >= 0)
		return;
	if (limit) {
		sock->segment_limit = limit;
	} else if (res == -ECONNREFUSED && (sock->flags & S_PEER)) {
		/* An ICMP error of an earlier datagram was reported instead. */
		stats_add(&u->io.stats->drop_icmp, 1);
	} else if (!joined) {
		count_failure(u, buf, res);
		return;
	}
	send_again(u, sock, buf);
}

void uring_resolve_dgrams(struct uring_io *u)
{
	struct stats *stats = u->io.stats;
	struct buf *buf;

	while ((buf = u->dgrams)) {
		u->dgrams = buf->next;
		if (buf->state != DGRAM_FAILED) {
			stats_add(&stats->dgrams_out, 1);
			stats_add(&stats->dgram_bytes_out, buf->len);
		}
		buf_put(&u->io.pool, buf);
	}
}

/* ---- receiving ---- */

/* Finds the parts of a received message in its buffer. False when it was cut. What a connected
 * socket receives is the datagram alone, and the buffer is longer than any. */
static bool dgram_parse(struct uring_io *u, struct io_sock *sock, struct buf *buf, uint32_t bytes)
{
	uint8_t *at = buf_memory(&u->io.pool, buf);
	const struct io_uring_recvmsg_out *out = (const struct io_uring_recvmsg_out *)at;
	const struct msghdr *layout = sock->flags & S_PKTINFO ? &u->recv_pktinfo : &u->recv_any;
	struct msghdr control = {0};
	uint32_t names = layout->msg_namelen;
	uint32_t controls = (uint32_t)layout->msg_controllen;
	uint32_t header = sizeof(*out) + names + controls;

	if (sock->flags & S_PEER) {
		buf->dgram.local.sa.sa_family = AF_UNSPEC;
		buf->data = at;
		buf->len = bytes;
		return true;
	}
	if (bytes < header || (out->flags & MSG_TRUNC))
		return false;
	memcpy(&buf->dgram.peer, at + sizeof(*out), MIN(out->namelen, sizeof(buf->dgram.peer)));
	control.msg_control = at + sizeof(*out) + names;
	control.msg_controllen = MIN(out->controllen, controls);
	net_cmsg_read(&control, &buf->dgram);
	buf->data = at + header;
	buf->len = MIN(out->payloadlen, bytes - header);
	return true;
}

static void dgram_deliver(struct uring_io *u, struct io_sock *sock, struct buf *buf, uint32_t bytes)
{
	if (!dgram_parse(u, sock, buf, bytes)) {
		stats_add(&u->io.stats->drop_truncated, 1);
		buf_put(&u->io.pool, buf);
		return;
	}
	stats_add(&u->io.stats->dgrams_in, 1);
	stats_add(&u->io.stats->dgram_bytes_in, buf->len);
	uring_deliver(u, sock, IO_RECV, (int32_t)buf->len, buf);
}

/* A receive without a header ends at an empty datagram, as at the end of a stream, and keeps its
 * buffer. */
static void dgram_deliver_empty(struct uring_io *u, struct io_sock *sock)
{
	struct buf *buf = buf_get(&u->io.pool, BUF_SMALL);

	if (buf)
		dgram_deliver(u, sock, buf, 0);
	else
		stats_add(&u->io.stats->drop_receive_full, 1);
}

void uring_on_dgram_recv(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe)
{
	struct buf *buf = NULL;
	uint16_t gen = sock->gen;

	if (cqe->flags & IORING_CQE_F_BUFFER)
		buf = uring_group_take(u, GROUP_DGRAM, cqe->flags);
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		sock->inflight--;
		sock->flags &= ~(uint32_t)(S_ARMED | S_MULTISHOT | S_CANCELLING);
	}
	if (sock->flags & S_CLOSING) {
		if (buf)
			buf_put(&u->io.pool, buf);
		uring_settle(u, sock);
		uring_report_done(u);
		return;
	}
	if (buf && cqe->res >= 0) {
		dgram_deliver(u, sock, buf, (uint32_t)cqe->res);
	} else if (cqe->res == 0 && (sock->flags & S_PEER)) {
		dgram_deliver_empty(u, sock);
	} else {
		if (buf)
			buf_put(&u->io.pool, buf);
		if (cqe->res == -ENOBUFS) {
			if (sock->flags & S_RECV)
				uring_group_wait(u, sock);
		} else if (cqe->res < 0 && cqe->res != -ECANCELED && cqe->res != -EINTR &&
			   cqe->res != -EAGAIN) {
			uring_deliver(u, sock, IO_RECV, cqe->res, NULL);
		}
	}
	if (sock->gen == gen && !(sock->flags & (S_ARMED | S_WAIT | S_CLOSING)))
		uring_dirty(u, sock);
}
