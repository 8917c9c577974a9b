/* SPDX-License-Identifier: MIT */
/*
 * Addresses as the command line writes them: tcp:HOST:PORT, udp:HOST:PORT, tcp:[V6]:PORT,
 * unix:/path. Parsing and resolving are apart: parsing touches no network and is safe on any input.
 */
#ifndef SLUICE_ADDR_H
#define SLUICE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum addr_kind { ADDR_TCP, ADDR_UDP, ADDR_UNIX };

enum {
	ADDR_HOST_MAX = 255, /* RFC 1035 section 2.3.4, without the terminator */
	ADDR_PATH_MAX = 107, /* sun_path, without the terminator; unix(7) */
	ADDR_TEXT_MAX = 160, /* buffer for addr_format, with the terminator */
};

/* What was written, not yet resolved. */
struct addr_spec {
	enum addr_kind kind;
	uint16_t port;                /* host order; 0 lets the kernel pick */
	char host[ADDR_HOST_MAX + 1]; /* without brackets; for ADDR_UNIX the path */
};

/* An IPv4 or IPv6 socket address, as small as it goes: datagrams carry one each. */
union addr_inet {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* One socket address that bind(2) and connect(2) take. */
struct addr {
	enum addr_kind kind;
	socklen_t len;
	union {
		struct sockaddr sa;
		union addr_inet inet;
		struct sockaddr_un un;
	};
};

/*
 * Parses text. Returns 0, or -EINVAL with *ret_why set to a constant string that says what was
 * expected (*ret_spec is then untouched).
 */
int addr_parse(const char *text, struct addr_spec *ret_spec, const char **ret_why);

/*
 * Resolves spec with getaddrinfo(3) into at most max addresses, duplicates removed. Returns how
 * many (>= 1), or -EINVAL with *ret_why set to a string that needs no freeing. Blocks on DNS: for
 * start-up only.
 */
int addr_resolve(const struct addr_spec *spec, struct addr *ret_addrs, int max,
		 const char **ret_why);

/* Writes the canonical text of addr (as the command line takes it) into out, which has
 * ADDR_TEXT_MAX bytes. Returns out. */
const char *addr_format(const struct addr *addr, char *out);

/* Port in host order; 0 for ADDR_UNIX. */
uint16_t addr_port(const struct addr *addr);
void addr_set_port(struct addr *addr, uint16_t port);

/* True when addr is 0.0.0.0 or [::]. */
bool addr_is_wildcard(const struct addr *addr);

/* Port of an inet address in host order, and the size bind(2) wants for its family. */
uint16_t addr_inet_port(const union addr_inet *inet);
socklen_t addr_inet_len(const union addr_inet *inet);

/* In 127.0.0.0/8, or ::1. */
bool addr_inet_is_loopback(const union addr_inet *inet);

/* Same family, address and port (scope of link-local IPv6 included). */
bool addr_inet_equal(const union addr_inet *a, const union addr_inet *b);

#endif
