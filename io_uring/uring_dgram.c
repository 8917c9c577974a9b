/* SPDX-License-Identifier: MIT */
/*
 * Datagrams: one multishot recvmsg per socket, one sendmsg request per datagram. Sends are tried
 * while submitting and never wait, so after the submit every buffer is free again, and only
 * failures have completed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "io_uring/uring_priv.h"

enum { DGRAM_SENT, DGRAM_FAILED }; /* buf->state */

void uring_dgram_arm(struct uring_io *u, struct io_sock *sock)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	struct msghdr *layout = sock->flags & S_PEER      ? &u->recv_peer
				: sock->flags & S_PKTINFO ? &u->recv_pktinfo
							  : &u->recv_any;

	sock->group = GROUP_DGRAM;
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
	struct iovec iov;
	_Alignas(struct cmsghdr) uint8_t control[NET_CMSG_MAX];
};

static struct dgram_header *header_make(struct uring_io *u, const struct io_sock *sock,
					struct buf *buf)
{
	struct dgram_header *h = uring_scratch(u, sizeof(*h));

	h->iov = (struct iovec){.iov_base = buf->data, .iov_len = buf->len};
	h->msg = (struct msghdr){.msg_iov = &h->iov, .msg_iovlen = 1};
	if (sock->flags & S_PEER)
		return h;
	h->msg.msg_name = &buf->dgram.peer;
	h->msg.msg_namelen = addr_inet_len(&buf->dgram.peer);
	h->msg.msg_controllen = net_cmsg_write(h->control, &buf->dgram);
	if (h->msg.msg_controllen)
		h->msg.msg_control = h->control;
	return h;
}

void uring_dgram_flush(struct uring_io *u, struct io_sock *sock)
{
	struct buf *buf;

	while ((buf = sock->out.head)) {
		struct dgram_header *h = header_make(u, sock, buf);
		struct io_uring_sqe *sqe = uring_sqe(u);

		sock->out.head = buf->next;
		io_uring_prep_sendmsg(sqe, sock->fd, &h->msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		sqe->user_data = uring_tag(sock, TAG_DGRAM + buf->class, buf->id);
		if (u->features & URING_SKIP_SENT)
			sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		buf->state = DGRAM_SENT;
		buf->next = u->dgrams;
		u->dgrams = buf;
	}
	sock->out = (struct buf_queue){0};
}

/* An ICMP error of an earlier datagram was reported instead of sending this one. */
static int send_again(struct uring_io *u, struct io_sock *sock, struct buf *buf)
{
	stats_add(&u->io.stats->drop_icmp, 1);
	return send(sock->fd, buf->data, buf->len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

void uring_on_dgram(struct uring_io *u, struct io_sock *sock, uint64_t user_data, int32_t res)
{
	enum buf_class class = (user_data & 0xff) - TAG_DGRAM;
	struct buf *buf = buf_by_id(&u->io.pool, class, (uint16_t)(user_data >> 8));

	if (res == -ECONNREFUSED && (sock->flags & S_PEER))
		res = send_again(u, sock, buf);
	if (res >= 0)
		return;
	buf->state = DGRAM_FAILED;
	if (res == -EAGAIN || res == -ENOBUFS)
		stats_add(&u->io.stats->drop_send_full, 1);
	else
		stats_add(&u->io.stats->drop_send_error, 1);
}

void uring_resolve_dgrams(struct uring_io *u)
{
	struct stats *stats = u->io.stats;
	struct buf *buf;

	while ((buf = u->dgrams)) {
		u->dgrams = buf->next;
		if (buf->state == DGRAM_SENT) {
			stats_add(&stats->dgrams_out, 1);
			stats_add(&stats->dgram_bytes_out, buf->len);
		}
		buf_put(&u->io.pool, buf);
	}
}

/* ---- receiving ---- */

/* Finds the parts of a received message in its buffer. False when it was cut. */
static bool dgram_parse(struct uring_io *u, struct io_sock *sock, struct buf *buf, uint32_t bytes)
{
	uint8_t *at = buf_memory(&u->io.pool, buf);
	const struct io_uring_recvmsg_out *out = (const struct io_uring_recvmsg_out *)at;
	const struct msghdr *layout = sock->flags & S_PKTINFO ? &u->recv_pktinfo : &u->recv_any;
	struct msghdr control = {0};
	uint32_t names = sock->flags & S_PEER ? 0 : layout->msg_namelen;
	uint32_t controls = sock->flags & S_PEER ? 0 : (uint32_t)layout->msg_controllen;
	uint32_t header = sizeof(*out) + names + controls;

	if (bytes < header || (out->flags & MSG_TRUNC))
		return false;
	if (names)
		memcpy(&buf->dgram.peer, at + sizeof(*out),
		       MIN(out->namelen, sizeof(buf->dgram.peer)));
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
