/* SPDX-License-Identifier: MIT */
/* Peers that misbehave or are not there, and kernels that refuse. */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void __attribute__((noreturn)) wait_for_end(void)
{
	alarm(0);
	for (;;)
		pause();
}

static uint16_t port_of(const struct peer_addr *addr)
{
	return addr->sa.sa_family == AF_INET ? addr->v4.sin_port : addr->v6.sin6_port;
}

/* The kernel writes the IP header, and the checksum where IPv6 insists on it. */
int peer_raw(int argc, char **argv, const struct peer_opt *opt)
{
	struct peer_addr from = peer_addr_parse(argv[1]), to = peer_addr_parse(argv[2]);
	size_t len = peer_number(argv[3]);
	struct {
		struct udphdr header;
		uint8_t data[1400];
	} packet = {.header = {.source = port_of(&from), .dest = port_of(&to)}};
	int fd = socket(to.sa.sa_family, SOCK_RAW, IPPROTO_UDP), offset = 6;

	(void)argc;
	if (fd < 0)
		peer_fail_errno("socket");
	if (len > sizeof(packet.data))
		peer_fail("at most %zu bytes", sizeof(packet.data));
	packet.header.len = htons((uint16_t)(sizeof(packet.header) + len));
	peer_bytes(opt->send_seed, 0, packet.data, len);
	/* A raw socket takes the protocol's number, or nothing, where others have a port. */
	if (to.sa.sa_family == AF_INET6) {
		from.v6.sin6_port = to.v6.sin6_port = 0;
		if (setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &offset, sizeof(offset)))
			peer_fail_errno("setsockopt");
	} else {
		int on = 1;

		setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	}
	if (bind(fd, &from.sa, from.len))
		peer_fail_errno("bind");
	len += sizeof(packet.header);
	if (sendto(fd, &packet, len, 0, &to.sa, to.len) != (ssize_t)len)
		peer_fail_errno("sendto");
	return EXIT_SUCCESS;
}

/* TCP: bound, not listening. UDP: connected to itself, so datagrams of others find no socket. */
int peer_refuse(int argc, char **argv, const struct peer_opt *opt)
{
	struct peer_addr at = peer_addr_parse(argv[1]);
	int fd = peer_socket(&at, opt, true);

	(void)argc;
	if (at.kind == PEER_UDP) {
		at = peer_addr_local(fd, at.kind);
		if (connect(fd, &at.sa, at.len))
			peer_fail_errno("connect");
	}
	peer_announce(fd, at.kind);
	wait_for_end();
}

/* Whether one more connection waits, instead of being taken or refused. */
static bool is_full(const struct peer_addr *at, const struct peer_opt *opt)
{
	int fd = peer_socket(at, opt, false);
	struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

	if (fcntl(fd, F_SETFL, O_NONBLOCK))
		peer_fail_errno("fcntl");
	if (!connect(fd, &at->sa, at->len))
		return false;
	if (errno == EAGAIN)
		return true;
	if (errno != EINPROGRESS)
		peer_fail_errno("connect");
	return poll(&poll_fd, 1, 200) == 0;
}

int peer_full(int argc, char **argv, const struct peer_opt *opt)
{
	struct peer_addr at = peer_addr_parse(argv[1]), bound;
	int fd = peer_socket(&at, opt, true);

	(void)argc;
	if (listen(fd, 0))
		peer_fail_errno("listen");
	bound = peer_addr_local(fd, at.kind);
	for (int i = 0; !is_full(&bound, opt); i++)
		if (i == 100)
			peer_fail("takes connection after connection");
	peer_announce(fd, at.kind);
	wait_for_end();
}

/* What a container's default profile does: io_uring_setup, _enter and _register end with EPERM. */
int peer_without_io_uring(int argc, char **argv, const struct peer_opt *opt)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	(void)argc, (void)opt;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		peer_fail_errno("seccomp");
	alarm(0);
	signal(SIGPIPE, SIG_DFL);
	execvp(argv[1], argv + 1);
	peer_fail_errno("execvp");
}
