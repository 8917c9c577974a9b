/* SPDX-License-Identifier: MIT */
/*
 * The smallest honest TCP echo server on io_uring: one thread, one ring, one buffer ring. It is
 * the yardstick for `sluice echo -b io_uring`, so it does all that correctness asks for (short
 * sends, ENOBUFS, a full completion queue, half-close, resets) and nothing that an operator would:
 * a client that never reads may hold all of its buffers.
 *
 *	floor_uring PORT [BUF_BYTES BUF_COUNT]	listens on 127.0.0.1; 0 picks a port and prints it
 *
 * The buffer setting is an argument, because no single one is the cheapest: 4096 x 256 (default)
 * for messages up to a few KiB, 65536 x 32 for 64 KiB ones. Fewer run out more often, smaller ones
 * split a message into many sends.
 *
 * What it takes from the alternatives that were tried:
 * - Multishot recv: single-shot costs 1.1 to 1.25 times as much with 64 and 1,000 connections.
 * - Echo straight from the provided buffer, one send in flight per socket, the rest queued by
 *   buffer number: no copy and no allocation.
 * - Plain descriptors, and a completion for each send: neither direct descriptors nor
 *   IOSQE_CQE_SKIP_SUCCESS on non-blocking sends gained more than the noise.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX 65536
#define NONE -1

enum op { OP_ACCEPT, OP_RECV, OP_SEND };

struct conn {
	int head, tail; /* received buffers, the head is being sent; NONE when empty */
	unsigned off;   /* bytes of the head that are out */
	bool ended;     /* no more recv completions will come */
	bool failed;    /* drop what is queued */
};

static struct io_uring ring;
static struct io_uring_buf_ring *buf_ring;
static unsigned buf_bytes = 4096, buf_count = 256;
static unsigned bufs_back, bufs_free; /* to publish after this turn; published */
static char *buf_mem;
static unsigned *buf_len;
static int *buf_next;

static struct conn conns[FDS_MAX];
static int starved[FDS_MAX]; /* FIFO of those whose recv ended in ENOBUFS */
static unsigned starved_head, starved_tail;

static void die(const char *what, int err)
{
	fprintf(stderr, "floor_uring: %s: %s\n", what, strerror(err));
	exit(1);
}

static int listen_on(const char *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	socklen_t len = sizeof(sin);
	int on = 1, fd;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket", errno);
	/* accepted sockets inherit TCP_NODELAY */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) || listen(fd, 4096))
		die("cannot listen", errno);
	getsockname(fd, (struct sockaddr *)&sin, &len);
	printf("listening tcp:127.0.0.1:%u\nready\n", ntohs(sin.sin_port));
	fflush(stdout);
	return fd;
}

static char *buf_data(int buf)
{
	return buf_mem + (size_t)buf * buf_bytes;
}

static void buf_give_back(int buf)
{
	io_uring_buf_ring_add(buf_ring, buf_data(buf), buf_bytes, buf,
			      io_uring_buf_ring_mask(buf_count), bufs_back++);
}

static void bufs_publish(void)
{
	io_uring_buf_ring_advance(buf_ring, bufs_back);
	bufs_free += bufs_back;
	bufs_back = 0;
}

static void setup(void)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = 8192,
	};
	struct io_uring_buf_reg reg = {.ring_entries = buf_count};
	int ret = io_uring_queue_init_params(1024, &ring, &p);

	if (ret)
		die("cannot create a ring (Linux 6.1 or newer, permitted?)", -ret);
	ret = io_uring_register_ring_fd(&ring);
	if (ret < 0)
		die("register the ring", -ret);
	buf_ring = mmap(NULL, buf_count * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
			MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	buf_mem = mmap(NULL, (size_t)buf_bytes * buf_count, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	buf_len = calloc(buf_count, sizeof(*buf_len));
	buf_next = calloc(buf_count, sizeof(*buf_next));
	if (buf_ring == MAP_FAILED || buf_mem == MAP_FAILED || !buf_len || !buf_next)
		die("memory for the buffers", ENOMEM);
	reg.ring_addr = (uintptr_t)buf_ring;
	ret = io_uring_register_buf_ring(&ring, &reg, 0);
	if (ret)
		die("register the buffer ring", -ret);
	io_uring_buf_ring_init(buf_ring);
	for (unsigned i = 0; i < buf_count; i++)
		buf_give_back(i);
	bufs_publish();
}

static struct io_uring_sqe *sqe_get(void)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&ring)))
		io_uring_submit(&ring);
	return sqe;
}

/* Preparing clears the user data, so this comes last. */
static void sqe_tag(struct io_uring_sqe *sqe, enum op op, int fd)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)op << 32 | (unsigned)fd);
}

static void accept_arm(int lfd)
{
	struct io_uring_sqe *sqe = sqe_get();

	io_uring_prep_multishot_accept(sqe, lfd, NULL, NULL, SOCK_CLOEXEC);
	sqe_tag(sqe, OP_ACCEPT, lfd);
}

static void recv_arm(int fd)
{
	struct io_uring_sqe *sqe = sqe_get();

	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe_tag(sqe, OP_RECV, fd);
}

/* Sends the head of the queue; closes when it is empty and nothing can follow. */
static void send_head(int fd)
{
	struct conn *c = &conns[fd];
	struct io_uring_sqe *sqe;

	while (c->failed && c->head != NONE) {
		buf_give_back(c->head);
		c->head = buf_next[c->head];
	}
	if (c->head == NONE) {
		if (c->ended)
			close(fd);
		return;
	}
	sqe = sqe_get();
	io_uring_prep_send(sqe, fd, buf_data(c->head) + c->off, buf_len[c->head] - c->off,
			   MSG_NOSIGNAL | MSG_WAITALL);
	sqe_tag(sqe, OP_SEND, fd);
}

static void on_accept(int lfd, const struct io_uring_cqe *cqe)
{
	if (cqe->res == -EMFILE || cqe->res == -ENFILE || cqe->res >= FDS_MAX)
		die("accept", EMFILE);
	if (cqe->res >= 0) {
		conns[cqe->res] = (struct conn){.head = NONE};
		recv_arm(cqe->res);
	}
	if (!(cqe->flags & IORING_CQE_F_MORE))
		accept_arm(lfd);
}

static void on_recv(int fd, const struct io_uring_cqe *cqe)
{
	struct conn *c = &conns[fd];
	bool idle = c->head == NONE;

	if (cqe->flags & IORING_CQE_F_BUFFER) {
		int buf = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

		bufs_free--;
		buf_len[buf] = cqe->res;
		buf_next[buf] = NONE;
		if (idle) {
			c->head = buf;
			c->off = 0;
		} else {
			buf_next[c->tail] = buf;
		}
		c->tail = buf;
	}
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		if (cqe->res == -ENOBUFS) {
			starved[starved_tail++ % FDS_MAX] = fd;
			return;
		}
		if (cqe->res > 0) {
			recv_arm(fd);
		} else {
			c->ended = true;
			c->failed |= cqe->res < 0;
		}
	}
	if (idle)
		send_head(fd);
}

static void on_send(int fd, const struct io_uring_cqe *cqe)
{
	struct conn *c = &conns[fd];

	if (cqe->res < 0)
		c->failed = true;
	else
		c->off += cqe->res;
	if (!c->failed && c->off == buf_len[c->head]) {
		buf_give_back(c->head);
		c->head = buf_next[c->head];
		c->off = 0;
	}
	send_head(fd);
}

/* Returns whether some still wait although there are buffers: then the next turn must not sleep. */
static bool starved_arm(void)
{
	for (unsigned n = bufs_free; n && starved_head != starved_tail; n--)
		recv_arm(starved[starved_head++ % FDS_MAX]);
	return bufs_free && starved_head != starved_tail;
}

int main(int argc, char **argv)
{
	struct io_uring_cqe *cqe;
	unsigned head, n;
	bool again = false;
	int ret;

	if (argc == 4) {
		buf_bytes = atoi(argv[2]);
		buf_count = atoi(argv[3]);
	}
	if ((argc != 2 && argc != 4) || !buf_bytes || !buf_count || (buf_count & (buf_count - 1))) {
		fprintf(stderr, "usage: floor_uring PORT [BUF_BYTES BUF_COUNT (a power of two)]\n");
		return 2;
	}
	setup();
	accept_arm(listen_on(argv[1]));
	for (;;) {
		ret = again ? io_uring_submit_and_get_events(&ring)
			    : io_uring_submit_and_wait(&ring, 1);
		if (ret < 0 && ret != -EINTR)
			die("io_uring_enter", -ret);
		n = 0;
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			int fd = (int)cqe->user_data;

			switch (cqe->user_data >> 32) {
			case OP_ACCEPT:
				on_accept(fd, cqe);
				break;
			case OP_RECV:
				on_recv(fd, cqe);
				break;
			case OP_SEND:
				on_send(fd, cqe);
				break;
			}
			n++;
		}
		io_uring_cq_advance(&ring, n);
		if (bufs_back)
			bufs_publish();
		again = starved_arm();
	}
}
