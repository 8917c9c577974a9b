/* SPDX-License-Identifier: MIT */
/*
 * Datagrams over connected sockets. Each begins with its connection, number and time; the rest is
 * of the pattern. What is not answered in time is lost and makes room for the next.
 *
 * Batches go through sendmmsg() and recvmmsg(). Unless they are compared, only the headers of
 * answers are copied out of the kernel.
 */
#include "bench/client/gen.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "bench/client/seq.h"

enum {
	BATCH_MAX = 64,
	TURN_BATCHES = 4, /* of a flood, before other connections have a turn */
	GSO_BYTES_MAX = 65507,
};

#define PROOF_RETRY_NS (200 * BENCH_NS_PER_MS)
#define QUIET_NS (100 * BENCH_NS_PER_MS)

/* On the wire, in the order of this host's bytes: only the sender reads it. */
struct header {
	uint32_t index, number;
	int64_t sent_ns;
};

_Static_assert(sizeof(struct header) == BENCH_DGRAM_SIZE_MIN, "as documented");

/* A worker's room for one batch each way. */
struct bench_dgram {
	struct header tx_headers[BATCH_MAX];
	struct iovec tx_parts[2 * BATCH_MAX];
	struct mmsghdr tx[BATCH_MAX];
	struct iovec rx_parts[BATCH_MAX];
	struct mmsghdr rx[BATCH_MAX];
	uint8_t *rx_bytes;
	uint32_t rx_stride; /* of rx_bytes, one datagram */
	struct bench_seq *seqs;
	uint8_t *states;
};

static bool floods(const struct bench_worker *w)
{
	return w->opts->pattern != BENCH_RR;
}

/* ---- sending ---- */

static void prepare(struct bench_worker *w, const struct bench_conn *c, uint32_t i, int64_t now_ns)
{
	struct bench_dgram *d = w->dgram;
	uint64_t number = c->tx_msgs + i;
	uint32_t size = bench_size_of(w->opts, c->index, number);

	d->tx_headers[i] = (struct header){c->index, (uint32_t)number, now_ns};
	d->tx_parts[2 * i] = (struct iovec){&d->tx_headers[i], sizeof(struct header)};
	d->tx_parts[2 * i + 1] = (struct iovec){(void *)bench_pattern_at(w->run, c, number * 4099),
						size - sizeof(struct header)};
}

/* All of the batch as one large datagram that the kernel cuts into pieces of `size`. */
static int send_segments(const struct bench_conn *c, struct bench_dgram *d, uint32_t n,
			 uint32_t size)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(uint16_t))];
	} control = {0};
	struct msghdr msg = {
		.msg_iov = d->tx_parts,
		.msg_iovlen = 2 * n,
		.msg_control = &control,
		.msg_controllen = sizeof(control.space),
	};
	uint16_t segment = (uint16_t)size;

	control.header.cmsg_level = SOL_UDP;
	control.header.cmsg_type = UDP_SEGMENT;
	control.header.cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(&control.header), &segment, sizeof(segment));
	return sendmsg(c->fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : (int)n;
}

static int send_prepared(struct bench_worker *w, const struct bench_conn *c, uint32_t n)
{
	struct bench_dgram *d = w->dgram;
	int ret;

	if (w->opts->segment)
		return send_segments(c, d, n, w->opts->size_min);
	if (n == 1)
		return sendmsg(c->fd, &d->tx[0].msg_hdr, MSG_NOSIGNAL) < 0 ? -errno : 1;
	ret = sendmmsg(c->fd, d->tx, n, MSG_NOSIGNAL);
	return ret < 0 ? -errno : ret;
}

static void sent(struct bench_worker *w, struct bench_conn *c, uint32_t n, int64_t now_ns)
{
	bool in_window = bench_in_window(w->run, now_ns);
	bool measuring = bench_run_phase(w->run) == BENCH_MEASURE;
	uint64_t bytes = 0;

	if (!c->seq->awaited)
		c->active_ns = now_ns;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t number = bench_seq_send(c->seq);

		c->stamp_ns[number & w->stamp_mask] = now_ns;
		bytes += bench_size_of(w->opts, c->index, number);
	}
	c->tx_msgs += n;
	c->goal_msgs = c->tx_msgs;
	if (in_window)
		bench_count_add(&w->counts.dgram_sent, n);
	if (!measuring)
		return;
	bench_count_add(&w->counts.tx_bytes, bytes);
	if (w->opts->pattern == BENCH_STREAM)
		bench_count_add(&w->counts.msgs, n);
}

/* Sends n at most. False when the socket takes no more for now, or failed. */
static bool send_batch(struct bench_worker *w, struct bench_conn *c, uint32_t n)
{
	int64_t now_ns = bench_now_ns();
	int ret;

	for (uint32_t i = 0; i < n; i++)
		prepare(w, c, i, now_ns);
	ret = send_prepared(w, c, n);
	if (ret >= 0) {
		sent(w, c, (uint32_t)ret, now_ns);
		return true;
	}
	switch (-ret) {
	case EAGAIN:
		c->blocked = true;
		break;
	case ENOBUFS: /* of a device's queue: nothing tells when there is room */
	case EINTR:
		bench_worker_queue(w, c);
		break;
	case ECONNREFUSED: /* of an earlier one: the socket is as good as before */
		if (c->state == BENCH_CONN_PROVING) {
			bench_worker_fail(w, c, BENCH_ERR_CONNECT, "send", -ret);
			break;
		}
		bench_worker_error(w, c, BENCH_ERR_CONNECT, "send", -ret);
		bench_worker_queue(w, c);
		break;
	default:
		bench_worker_fail(w, c, bench_error_of(-ret), "send", -ret);
	}
	return false;
}

/* How many more may go now. */
static uint64_t room(const struct bench_worker *w, const struct bench_conn *c)
{
	uint64_t most = UINT64_MAX;

	if (w->opts->rate_per_s > 0)
		most = c->due_msgs - c->tx_msgs;
	else if (!bench_worker_loads(w))
		return 0;
	if (!floods(w)) {
		uint64_t free = c->seq->awaited < w->opts->depth ? w->opts->depth - c->seq->awaited
								 : 0;

		most = free < most ? free : most;
	}
	return most;
}

static void fill(struct bench_worker *w, struct bench_conn *c)
{
	uint32_t most = w->opts->batch;
	uint64_t n;

	if (w->opts->segment && most > GSO_BYTES_MAX / w->opts->size_min)
		most = GSO_BYTES_MAX / w->opts->size_min;
	for (int i = 0; c->fd >= 0 && !c->blocked && (n = room(w, c)); i++) {
		if (i == TURN_BATCHES) {
			bench_worker_queue(w, c);
			return;
		}
		if (!send_batch(w, c, n < most ? (uint32_t)n : most))
			return;
	}
}

/* ---- receiving ---- */

static void corrupt(struct bench_worker *w, struct bench_conn *c, const char *what)
{
	bench_count_add(&w->counts.dgram_corrupt, 1);
	bench_worker_error(w, c, BENCH_ERR_CORRUPT, what, 0);
}

/* Whether it is one of those sent, unchanged as far as can be told. */
static bool is_ours(struct bench_worker *w, struct bench_conn *c, const uint8_t *data, uint32_t len,
		    const struct header *header)
{
	uint64_t number;

	if (header->index != c->index || (uint32_t)c->tx_msgs - 1 - header->number >= c->tx_msgs)
		return false;
	/* one that has left the window: its size is known, its time is not */
	number = c->tx_msgs - 1 - (uint32_t)((uint32_t)c->tx_msgs - 1 - header->number);
	if (len != bench_size_of(w->opts, c->index, number))
		return false;
	if (bench_seq_find(c->seq, header->number, &number) &&
	    header->sent_ns != c->stamp_ns[number & w->stamp_mask])
		return false;
	return !w->opts->verify ||
	       !memcmp(data + sizeof(*header), bench_pattern_at(w->run, c, number * 4099),
		       len - sizeof(*header));
}

static void answered(struct bench_worker *w, struct bench_conn *c, uint64_t number, int64_t sent_ns,
		     int64_t now_ns)
{
	if (c->state == BENCH_CONN_PROVING) {
		bench_worker_opened(w, c);
		return;
	}
	if (w->opts->rate_per_s > 0 && number >= c->base_msgs)
		sent_ns = bench_worker_due_ns(w, c, number);
	c->rx_msgs++;
	bench_worker_answered(w, sent_ns, now_ns);
}

static void take(struct bench_worker *w, struct bench_conn *c, const uint8_t *data, uint32_t len,
		 int64_t now_ns)
{
	struct header header;
	bool in_window;
	uint64_t number;

	if (len < sizeof(header))
		return corrupt(w, c, "a datagram came back short");
	memcpy(&header, data, sizeof(header));
	if (!is_ours(w, c, data, len, &header))
		return corrupt(w, c, "a datagram came back that was not sent like that");
	in_window = bench_in_window(w->run, header.sent_ns);
	if (bench_run_phase(w->run) == BENCH_MEASURE)
		bench_count_add(&w->counts.rx_bytes, len);
	c->active_ns = now_ns;
	switch (bench_seq_receive(c->seq, header.number, &number)) {
	case BENCH_SEQ_REORDERED:
		bench_count_add(&w->counts.dgram_reordered, in_window);
		/* fall through */
	case BENCH_SEQ_NEW:
		bench_count_add(&w->counts.dgram_received, in_window);
		answered(w, c, number, header.sent_ns, now_ns);
		break;
	case BENCH_SEQ_DUPLICATE:
		bench_count_add(&w->counts.dgram_duplicates, in_window);
		break;
	case BENCH_SEQ_LATE:
		bench_count_add(&w->counts.dgram_late, in_window);
		break;
	case BENCH_SEQ_UNKNOWN:
		break; /* is_ours() has refused it */
	}
}

/* One batch. How many came, -EAGAIN when there was none, or -errno. */
static int receive_batch(struct bench_worker *w, struct bench_conn *c, uint32_t most)
{
	struct bench_dgram *d = w->dgram;
	int64_t now_ns;
	int n;

	/* longer ones are cut, but say how long they are */
	n = recvmmsg(c->fd, d->rx, most, MSG_TRUNC, NULL);
	if (n < 0)
		return -errno;
	now_ns = bench_now_ns();
	for (int i = 0; i < n; i++)
		take(w, c, d->rx_bytes + (size_t)i * d->rx_stride, d->rx[i].msg_len, now_ns);
	return n;
}

static void receive(struct bench_worker *w, struct bench_conn *c)
{
	uint32_t most;
	int ret;

	for (int i = 0; i < TURN_BATCHES; i++) {
		/* one more than can be there finds the socket empty: the next raises a new edge */
		most = floods(w) || c->seq->awaited + 1 > w->opts->batch
			       ? w->opts->batch
			       : (uint32_t)c->seq->awaited + 1;
		ret = receive_batch(w, c, most);
		if (ret == -EINTR)
			continue;
		if (ret == -ECONNREFUSED && c->state != BENCH_CONN_PROVING) {
			bench_worker_error(w, c, BENCH_ERR_CONNECT, "recv", -ret);
			continue;
		}
		if (ret == -ECONNREFUSED)
			return bench_worker_fail(w, c, BENCH_ERR_CONNECT, "recv", -ret);
		if (ret < 0 && ret != -EAGAIN)
			return bench_worker_fail(w, c, bench_error_of(-ret), "recv", -ret);
		if (ret < (int)most)
			return;
	}
	bench_worker_queue(w, c);
}

/* ---- what the worker calls ---- */

static void dgram_open(struct bench_worker *w, struct bench_conn *c)
{
	int ret = bench_socket_open(w, c);

	if (ret) {
		bench_worker_fail(w, c, BENCH_ERR_CONNECT, "connect", -ret);
		return;
	}
	if (w->opts->pattern == BENCH_STREAM) {
		bench_worker_opened(w, c);
		return;
	}
	c->state = BENCH_CONN_PROVING;
	send_batch(w, c, 1);
}

static void dgram_event(struct bench_worker *w, struct bench_conn *c, uint32_t events)
{
	if (events & EPOLLOUT)
		c->blocked = false;
	if (events & ~(uint32_t)EPOLLOUT)
		receive(w, c);
	if (c->fd >= 0 && c->state == BENCH_CONN_OPEN)
		fill(w, c);
}

static void dgram_resume(struct bench_worker *w, struct bench_conn *c)
{
	receive(w, c);
	if (c->fd >= 0 && c->state == BENCH_CONN_OPEN)
		fill(w, c);
}

static void dgram_check(struct bench_worker *w, struct bench_conn *c, int64_t now_ns)
{
	uint64_t number;

	if (c->state == BENCH_CONN_PROVING) {
		if (!c->tx_msgs ||
		    now_ns - c->stamp_ns[(c->tx_msgs - 1) & w->stamp_mask] > PROOF_RETRY_NS)
			send_batch(w, c, 1);
		return;
	}
	if (floods(w))
		return;
	while (bench_seq_oldest(c->seq, &number) &&
	       now_ns - c->stamp_ns[number & w->stamp_mask] > w->opts->timeout_ns)
		bench_seq_lose_oldest(c->seq);
	fill(w, c);
}

static bool dgram_awaits(struct bench_worker *w, struct bench_conn *c)
{
	if (w->opts->pattern == BENCH_STREAM)
		return false;
	if (floods(w))
		return c->seq->awaited && bench_now_ns() - c->active_ns < QUIET_NS;
	return c->seq->awaited || (w->opts->rate_per_s > 0 && c->tx_msgs < c->due_msgs);
}

static int dgram_init(struct bench_worker *w)
{
	uint64_t window_size = w->stamp_mask + 1;
	struct bench_dgram *d = calloc(1, sizeof(*d));

	w->dgram = d;
	if (!d)
		return -ENOMEM;
	d->rx_stride = w->opts->verify ? w->opts->size_max : sizeof(struct header);
	d->rx_bytes = malloc((size_t)BATCH_MAX * d->rx_stride);
	d->seqs = calloc(w->n_conns, sizeof(*d->seqs));
	d->states = calloc(w->n_conns, window_size);
	if (!d->rx_bytes || !d->seqs || !d->states)
		return -ENOMEM;
	for (uint32_t i = 0; i < BATCH_MAX; i++) {
		d->rx_parts[i] =
			(struct iovec){d->rx_bytes + (size_t)i * d->rx_stride, d->rx_stride};
		d->rx[i].msg_hdr = (struct msghdr){.msg_iov = &d->rx_parts[i], .msg_iovlen = 1};
		d->tx[i].msg_hdr = (struct msghdr){.msg_iov = &d->tx_parts[2 * i], .msg_iovlen = 2};
	}
	for (uint32_t i = 0; i < w->n_conns; i++) {
		bench_seq_init(&d->seqs[i], d->states + i * window_size, window_size);
		w->conns[i].seq = &d->seqs[i];
	}
	return 0;
}

static void dgram_free(struct bench_worker *w)
{
	if (!w->dgram)
		return;
	free(w->dgram->rx_bytes);
	free(w->dgram->seqs);
	free(w->dgram->states);
	free(w->dgram);
}

const struct bench_proto bench_dgram_proto = {
	.init = dgram_init,
	.free = dgram_free,
	.open = dgram_open,
	.start = fill,
	.due = fill,
	.event = dgram_event,
	.resume = dgram_resume,
	.check = dgram_check,
	.awaits = dgram_awaits,
};
