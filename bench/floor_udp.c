/* SPDX-License-Identifier: MIT */
/*
 * The smallest honest UDP echo server on sockets: one thread, one socket, many datagrams a call. It
 * is the yardstick for what is answered without a socket.
 *
 *	floor_udp PORT [ADDR]	listens on ADDR (127.0.0.1); 0 picks a port and prints it
 *
 * It sleeps in recvmmsg and takes what is there, up to a batch; a datagram that cannot be sent back
 * is left out. A batch of 64 is as good as one of 256.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define BUF_BYTES 2048
#define RECEIVE_BYTES (4 << 20)

static char bufs[BATCH][BUF_BYTES];
static struct sockaddr_in peers[BATCH];
static struct iovec iovs[BATCH];
static struct mmsghdr msgs[BATCH];

static void die(const char *what)
{
	fprintf(stderr, "floor_udp: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int listen_on(const char *port, const char *addr)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	socklen_t len = sizeof(sin);
	int bytes = RECEIVE_BYTES, fd;

	if (inet_pton(AF_INET, addr, &sin.sin_addr) != 1) {
		errno = EINVAL;
		die(addr);
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)))
		die("cannot listen");
	getsockname(fd, (struct sockaddr *)&sin, &len);
	printf("listening udp:%s:%u\nready\n", addr, ntohs(sin.sin_port));
	fflush(stdout);
	return fd;
}

static void prepare(void)
{
	for (int i = 0; i < BATCH; i++) {
		iovs[i] = (struct iovec){.iov_base = bufs[i], .iov_len = BUF_BYTES};
		msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &peers[i],
			.msg_namelen = sizeof(peers[i]),
			.msg_iov = &iovs[i],
			.msg_iovlen = 1,
		};
	}
}

static void echo(int fd, int n)
{
	int sent;

	for (int i = 0; i < n; i++)
		iovs[i].iov_len = msgs[i].msg_len;
	for (int i = 0; i < n; i += sent) {
		sent = sendmmsg(fd, msgs + i, n - i, 0);
		if (sent <= 0)
			sent = 1;
	}
	for (int i = 0; i < n; i++) {
		iovs[i].iov_len = BUF_BYTES;
		msgs[i].msg_hdr.msg_namelen = sizeof(peers[i]);
	}
}

int main(int argc, char **argv)
{
	int fd, n;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: floor_udp PORT [ADDR]\n");
		return 2;
	}
	fd = listen_on(argv[1], argc == 3 ? argv[2] : "127.0.0.1");
	prepare();
	for (;;) {
		n = recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
		if (n > 0)
			echo(fd, n);
		else if (n < 0 && errno != EINTR && errno != ECONNREFUSED)
			die("recvmmsg");
	}
}
