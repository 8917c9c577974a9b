/* SPDX-License-Identifier: MIT */
/* Addresses and sockets. */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct peer_addr parse_unix(const char *path)
{
	struct peer_addr addr = {.kind = PEER_UNIX, .len = sizeof(addr.un)};

	addr.un.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(addr.un.sun_path))
		peer_fail("%s: too long", path);
	strcpy(addr.un.sun_path, path);
	return addr;
}

struct peer_addr peer_addr_parse(const char *text)
{
	struct addrinfo *info, hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct peer_addr addr = {.kind = PEER_TCP};
	char host[PEER_TEXT_MAX], *colon;
	size_t len;

	if (!strncmp(text, "unix:", 5))
		return parse_unix(text + 5);
	if (!strncmp(text, "udp:", 4))
		addr.kind = PEER_UDP;
	else if (strncmp(text, "tcp:", 4))
		peer_fail("'%s' is not an address", text);
	snprintf(host, sizeof(host), "%s", text + 4);
	colon = strrchr(host, ':');
	if (!colon)
		peer_fail("'%s' has no port", text);
	*colon = '\0';
	len = strlen(host);
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		memmove(host, host + 1, len - 1);
	}
	if (getaddrinfo(host, colon + 1, &hints, &info))
		peer_fail("'%s' is not an address", text);
	memcpy(&addr.sa, info->ai_addr, info->ai_addrlen);
	addr.len = info->ai_addrlen;
	freeaddrinfo(info);
	return addr;
}

const char *peer_addr_format(const struct peer_addr *addr, char out[PEER_TEXT_MAX])
{
	const char *kind = addr->kind == PEER_UDP ? "udp" : "tcp";
	char host[INET6_ADDRSTRLEN];

	if (addr->kind == PEER_UNIX) {
		snprintf(out, PEER_TEXT_MAX, "unix:%s", addr->un.sun_path);
	} else if (addr->sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &addr->v6.sin6_addr, host, sizeof(host));
		snprintf(out, PEER_TEXT_MAX, "%s:[%s]:%u", kind, host, ntohs(addr->v6.sin6_port));
	} else {
		inet_ntop(AF_INET, &addr->v4.sin_addr, host, sizeof(host));
		snprintf(out, PEER_TEXT_MAX, "%s:%s:%u", kind, host, ntohs(addr->v4.sin_port));
	}
	return out;
}

struct peer_addr peer_addr_local(int fd, enum peer_kind kind)
{
	struct peer_addr addr = {.kind = kind, .len = sizeof(addr.un)};

	if (getsockname(fd, &addr.sa, &addr.len))
		peer_fail_errno("getsockname");
	return addr;
}

static void set_int(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		peer_fail_errno("setsockopt");
}

int peer_socket(const struct peer_addr *addr, const struct peer_opt *opt, bool bound)
{
	bool dgram = addr->kind == PEER_UDP;
	int fd = socket(addr->sa.sa_family, (dgram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		peer_fail_errno("socket");
	if (opt->buffer_bytes) {
		set_int(fd, SOL_SOCKET, SO_SNDBUF, opt->buffer_bytes);
		set_int(fd, SOL_SOCKET, SO_RCVBUF, opt->buffer_bytes);
	}
	if (addr->kind == PEER_TCP)
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (dgram)
		set_int(fd, SOL_SOCKET, SO_BROADCAST, 1);
	if (bound && bind(fd, &addr->sa, addr->len))
		peer_fail_errno("bind");
	return fd;
}

void peer_announce(int fd, enum peer_kind kind)
{
	struct peer_addr addr = peer_addr_local(fd, kind);
	char text[PEER_TEXT_MAX];

	printf("listening %s\nready\n", peer_addr_format(&addr, text));
	fflush(stdout);
}
