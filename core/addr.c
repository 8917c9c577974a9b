/* SPDX-License-Identifier: MIT */
/* Addresses: text to struct and back. No state. */
#include "addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

static const char *const kind_names[] = {
	[ADDR_TCP] = "tcp",
	[ADDR_UDP] = "udp",
	[ADDR_UNIX] = "unix",
};

/* ctype.h depends on the locale; these do not. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_host_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
	       c == '.' || c == '_';
}

static int fail(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

static int parse_port(const char *text, uint16_t *ret_port, const char **ret_why)
{
	unsigned port = 0;
	size_t n;

	if (!*text)
		return fail(ret_why, "the port is missing, as in tcp:127.0.0.1:7007");
	for (n = 0; text[n]; n++) {
		if (!is_digit(text[n]) || n >= 5)
			return fail(ret_why, "the port must be a number from 0 to 65535");
		port = port * 10 + (unsigned)(text[n] - '0');
	}
	if (port > UINT16_MAX)
		return fail(ret_why, "the port must be a number from 0 to 65535");
	*ret_port = (uint16_t)port;
	return 0;
}

/* What inet_aton(3) would take for a number: then only a dotted quad is meant to get through. */
static bool looks_numeric(const char *host)
{
	const char *label = strrchr(host, '.');

	label = label ? label + 1 : host;
	if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
		return true;
	return *label && label[strspn(label, "0123456789")] == '\0';
}

static int check_name(const char *host, const char **ret_why)
{
	struct in_addr v4;

	if (!*host)
		return fail(ret_why, "the host is missing, as in tcp:127.0.0.1:7007 "
				     "(0.0.0.0 or [::] for every address)");
	for (const char *c = host; *c; c++)
		if (!is_host_char(*c))
			return fail(ret_why, "a host has letters, digits, dots and hyphens "
					     "(0.0.0.0 or [::] for every address)");
	if (looks_numeric(host) && inet_pton(AF_INET, host, &v4) != 1)
		return fail(ret_why, "an IPv4 address has four numbers from 0 to 255, "
				     "as in 127.0.0.1");
	return 0;
}

/* An address as it stands between brackets, with a scope or without: fe80::1%eth0 (RFC 4007). */
static int check_v6(const char *host, const char **ret_why)
{
	const char *scope = strchr(host, '%');
	char number[INET6_ADDRSTRLEN];
	size_t len = scope ? (size_t)(scope - host) : strlen(host);
	struct in6_addr v6;

	if (len >= sizeof(number))
		return fail(ret_why, "not an IPv6 address, as in tcp:[::1]:7007");
	memcpy(number, host, len);
	number[len] = '\0';
	if (inet_pton(AF_INET6, number, &v6) != 1)
		return fail(ret_why, "not an IPv6 address, as in tcp:[::1]:7007");
	if (scope && (!scope[1] || strlen(scope + 1) >= IF_NAMESIZE || strchr(scope, '/')))
		return fail(ret_why, "after % comes an interface, as in tcp:[fe80::1%eth0]:7007");
	return 0;
}

static int parse_inet(const char *text, struct addr_spec *spec, const char **ret_why)
{
	bool bracket = *text == '[';
	const char *host = text + bracket;
	const char *end = bracket ? strchr(host, ']') : strchr(host, ':');
	const char *port;
	int r;

	if (bracket && !end)
		return fail(ret_why, "the closing bracket is missing, as in tcp:[::1]:7007");
	if (!end)
		return fail(ret_why, "the port is missing, as in tcp:127.0.0.1:7007");
	port = end + bracket;
	if (*port != ':')
		return fail(ret_why, "after ] comes :PORT, as in tcp:[::1]:7007");
	port++;
	if (!bracket && strchr(port, ':'))
		return fail(ret_why, "an IPv6 address needs brackets, as in tcp:[::1]:7007");
	if (end - host > ADDR_HOST_MAX)
		return fail(ret_why, "the host is longer than 255 bytes");
	memcpy(spec->host, host, (size_t)(end - host));
	r = bracket ? check_v6(spec->host, ret_why) : check_name(spec->host, ret_why);
	return r < 0 ? r : parse_port(port, &spec->port, ret_why);
}

static int parse_unix(const char *text, struct addr_spec *spec, const char **ret_why)
{
	if (*text != '/')
		return fail(ret_why, "the path must begin with /, as in unix:/run/sluice.sock");
	if (strlen(text) > ADDR_PATH_MAX)
		return fail(ret_why, "the path is longer than 107 bytes; choose a shorter one");
	memcpy(spec->host, text, strlen(text) + 1);
	return 0;
}

int addr_parse(const char *text, struct addr_spec *ret_spec, const char **ret_why)
{
	struct addr_spec spec;

	memset(&spec, 0, sizeof(spec));
	for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++) {
		size_t len = strlen(kind_names[i]);
		int r;

		if (strncmp(text, kind_names[i], len) || text[len] != ':')
			continue;
		spec.kind = (enum addr_kind)i;
		text += len + 1;
		r = spec.kind == ADDR_UNIX ? parse_unix(text, &spec, ret_why)
					   : parse_inet(text, &spec, ret_why);
		if (r == 0)
			*ret_spec = spec;
		return r;
	}
	return fail(ret_why, "an address is tcp:HOST:PORT, udp:HOST:PORT, tcp:[V6]:PORT or "
			     "unix:/path");
}

/* gai_strerror's texts name no remedy for the two failures that users meet. */
static const char *resolve_why(int error)
{
	switch (error) {
	case EAI_NONAME:
	case EAI_NODATA:
		return "no such host; check the name, or write the number";
	case EAI_AGAIN:
		return "no name server answered; try again, or write the number";
	default:
		return gai_strerror(error);
	}
}

static bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->len == b->len && !memcmp(&a->sa, &b->sa, a->len);
}

static int resolve_unix(const struct addr_spec *spec, struct addr *ret_addr)
{
	struct addr addr;
	size_t len = strnlen(spec->host, ADDR_PATH_MAX);

	memset(&addr, 0, sizeof(addr));
	addr.kind = ADDR_UNIX;
	addr.un.sun_family = AF_UNIX;
	memcpy(addr.un.sun_path, spec->host, len);
	addr.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	*ret_addr = addr;
	return 1;
}

int addr_resolve(const struct addr_spec *spec, struct addr *ret_addrs, int max,
		 const char **ret_why)
{
	struct addrinfo *list, hints;
	int n = 0, r;

	assert(max > 0);
	if (spec->kind == ADDR_UNIX)
		return resolve_unix(spec, ret_addrs);
	memset(&hints, 0, sizeof(hints));
	hints.ai_family = AF_UNSPEC;
	hints.ai_socktype = spec->kind == ADDR_UDP ? SOCK_DGRAM : SOCK_STREAM;
	r = getaddrinfo(spec->host, NULL, &hints, &list);
	if (r)
		return fail(ret_why, resolve_why(r));
	for (struct addrinfo *info = list; info && n < max; info = info->ai_next) {
		struct addr addr;
		int i = 0;

		if (info->ai_addrlen > sizeof(addr.inet) ||
		    (info->ai_family != AF_INET && info->ai_family != AF_INET6))
			continue;
		memset(&addr, 0, sizeof(addr));
		addr.kind = spec->kind;
		addr.len = info->ai_addrlen;
		memcpy(&addr.inet, info->ai_addr, info->ai_addrlen);
		addr_set_port(&addr, spec->port);
		while (i < n && !addr_equal(&ret_addrs[i], &addr))
			i++;
		if (i == n)
			ret_addrs[n++] = addr;
	}
	freeaddrinfo(list);
	return n ? n : fail(ret_why, "the name has no IPv4 or IPv6 address");
}

static void format_unix(const struct addr *addr, char *out)
{
	size_t offset = offsetof(struct sockaddr_un, sun_path);
	size_t len = addr->len > offset ? addr->len - offset : 0;
	const char *path = addr->un.sun_path;

	/* An unbound socket has no path at all, an abstract one begins with a zero byte. */
	if (len > 0 && !*path)
		snprintf(out, ADDR_TEXT_MAX, "unix:@%.*s", (int)(len - 1), path + 1);
	else
		snprintf(out, ADDR_TEXT_MAX, "unix:%.*s", (int)len, path);
}

const char *addr_format(const struct addr *addr, char *out)
{
	char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE + 1] = "";
	uint32_t id;

	if (addr->kind == ADDR_UNIX) {
		format_unix(addr, out);
		return out;
	}
	if (addr->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &addr->inet.v4.sin_addr, host, sizeof(host));
		snprintf(out, ADDR_TEXT_MAX, "%s:%s:%u", kind_names[addr->kind], host,
			 addr_port(addr));
		return out;
	}
	inet_ntop(AF_INET6, &addr->inet.v6.sin6_addr, host, sizeof(host));
	id = addr->inet.v6.sin6_scope_id;
	if (id) {
		scope[0] = '%';
		if (!if_indextoname(id, scope + 1))
			snprintf(scope, sizeof(scope), "%%%u", id);
	}
	snprintf(out, ADDR_TEXT_MAX, "%s:[%s%s]:%u", kind_names[addr->kind], host, scope,
		 addr_port(addr));
	return out;
}

uint16_t addr_port(const struct addr *addr)
{
	return addr->kind == ADDR_UNIX ? 0 : addr_inet_port(&addr->inet);
}

void addr_set_port(struct addr *addr, uint16_t port)
{
	if (addr->kind == ADDR_UNIX)
		return;
	if (addr->sa.sa_family == AF_INET)
		addr->inet.v4.sin_port = htons(port);
	else
		addr->inet.v6.sin6_port = htons(port);
}

bool addr_is_wildcard(const struct addr *addr)
{
	if (addr->kind == ADDR_UNIX)
		return false;
	if (addr->sa.sa_family == AF_INET)
		return addr->inet.v4.sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&addr->inet.v6.sin6_addr);
}

uint16_t addr_inet_port(const union addr_inet *inet)
{
	return ntohs(inet->sa.sa_family == AF_INET ? inet->v4.sin_port : inet->v6.sin6_port);
}

socklen_t addr_inet_len(const union addr_inet *inet)
{
	return inet->sa.sa_family == AF_INET ? sizeof(inet->v4) : sizeof(inet->v6);
}

bool addr_inet_is_loopback(const union addr_inet *inet)
{
	if (inet->sa.sa_family == AF_INET)
		return ntohl(inet->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return inet->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&inet->v6.sin6_addr);
}

bool addr_inet_equal(const union addr_inet *a, const union addr_inet *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr &&
		       a->v4.sin_port == b->v4.sin_port;
	return a->v6.sin6_port == b->v6.sin6_port &&
	       !memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) &&
	       (!IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr) ||
		a->v6.sin6_scope_id == b->v6.sin6_scope_id);
}
