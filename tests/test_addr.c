/* SPDX-License-Identifier: MIT */
/* Addresses: what is taken, what is refused and why, and text there and back. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "core/addr.h"
#include "core/util.h"

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

Test(addr, parse_takes)
{
	static const struct {
		const char *text;
		enum addr_kind kind;
		const char *host;
		uint16_t port;
	} rows[] = {
		{"tcp:127.0.0.1:7007", ADDR_TCP, "127.0.0.1", 7007},
		{"udp:127.0.0.1:7007", ADDR_UDP, "127.0.0.1", 7007},
		{"tcp:0.0.0.0:0", ADDR_TCP, "0.0.0.0", 0},
		{"tcp:a:65535", ADDR_TCP, "a", 65535},
		{"tcp:a:00080", ADDR_TCP, "a", 80},
		{"tcp:Host-1.example.org:1", ADDR_TCP, "Host-1.example.org", 1},
		{"tcp:under_score:1", ADDR_TCP, "under_score", 1},
		{"tcp:example.org.:1", ADDR_TCP, "example.org.", 1},
		{"tcp:1.2.3.4.example:1", ADDR_TCP, "1.2.3.4.example", 1},
		{"tcp:3com:1", ADDR_TCP, "3com", 1},
		{"tcp:[::1]:7007", ADDR_TCP, "::1", 7007},
		{"udp:[::]:7", ADDR_UDP, "::", 7},
		{"tcp:[2001:DB8::7]:443", ADDR_TCP, "2001:DB8::7", 443},
		{"tcp:[::ffff:1.2.3.4]:443", ADDR_TCP, "::ffff:1.2.3.4", 443},
		{"tcp:[fe80::1%eth0]:443", ADDR_TCP, "fe80::1%eth0", 443},
		{"tcp:" A63 "." A63 "." A63 "." A63 ":1", ADDR_TCP, A63 "." A63 "." A63 "." A63, 1},
		{"unix:/run/sluice.sock", ADDR_UNIX, "/run/sluice.sock", 0},
		{"unix:/with:colon and space", ADDR_UNIX, "/with:colon and space", 0},
		{"unix:/" A63 "/" A63, ADDR_UNIX, NULL, 0},
		{"unix:/" A63 "/123456789012345678901234567890123456789012", ADDR_UNIX,
		 "/" A63 "/123456789012345678901234567890123456789012", 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct addr_spec spec;
		const char *why = "";
		int r = addr_parse(rows[i].text, &spec, &why);

		if (!rows[i].host) {
			cr_expect_eq(r, -EINVAL, "%s", rows[i].text);
			continue;
		}
		cr_assert_eq(r, 0, "%s: %s", rows[i].text, why);
		cr_expect_eq(spec.kind, rows[i].kind, "%s", rows[i].text);
		cr_expect_str_eq(spec.host, rows[i].host);
		cr_expect_eq(spec.port, rows[i].port, "%s", rows[i].text);
	}
}

/* Each refused, with a reason that has this in it, and the output untouched. */
Test(addr, parse_refuses)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"", "tcp:HOST:PORT"},
		{"127.0.0.1:80", "tcp:HOST:PORT"},
		{"TCP:127.0.0.1:80", "tcp:HOST:PORT"},
		{"tcp", "tcp:HOST:PORT"},
		{"sctp:127.0.0.1:80", "tcp:HOST:PORT"},
		{" tcp:127.0.0.1:80", "tcp:HOST:PORT"},
		{"tcp:", "port is missing"},
		{"tcp::80", "host is missing"},
		{"tcp:127.0.0.1", "port is missing"},
		{"tcp:127.0.0.1:", "port is missing"},
		{"tcp:a:65536", "0 to 65535"},
		{"tcp:a:99999", "0 to 65535"},
		{"tcp:a:000080", "0 to 65535"},
		{"tcp:a:18446744073709551696", "0 to 65535"},
		{"tcp:a:-1", "0 to 65535"},
		{"tcp:a:+80", "0 to 65535"},
		{"tcp:a: 80", "0 to 65535"},
		{"tcp:a:80 ", "0 to 65535"},
		{"tcp:a:80x", "0 to 65535"},
		{"tcp:a:0x50", "0 to 65535"},
		{"tcp:a:http", "0 to 65535"},
		{"tcp:256.0.0.1:80", "four numbers"},
		{"tcp:127.1:80", "four numbers"},
		{"tcp:1.2.3.4.5:80", "four numbers"},
		{"tcp:010.0.0.1:80", "four numbers"},
		{"tcp:0:80", "four numbers"},
		{"tcp:2130706433:80", "four numbers"},
		{"tcp:0x7f000001:80", "four numbers"},
		{"tcp:1.2.3.0xff:80", "four numbers"},
		{"tcp:*:80", "0.0.0.0"},
		{"tcp:a b:80", "letters, digits"},
		{"tcp:a/b:80", "letters, digits"},
		{"tcp:h\xc3\xb6st:80", "letters, digits"},
		{"tcp:::1:80", "needs brackets"},
		{"tcp:::1", "needs brackets"},
		{"tcp:2001:db8::7:443", "needs brackets"},
		{"tcp:[::1:80", "closing bracket"},
		{"tcp:[::1]80", "after ]"},
		{"tcp:[::1]", "after ]"},
		{"tcp:[::1]:", "port is missing"},
		{"tcp:[]:80", "not an IPv6"},
		{"tcp:[127.0.0.1]:80", "not an IPv6"},
		{"tcp:[localhost]:80", "not an IPv6"},
		{"tcp:[::1::]:80", "not an IPv6"},
		{"tcp:[ ::1]:80", "not an IPv6"},
		{"tcp:[::ffff:1.2.3.400]:80", "not an IPv6"},
		{"tcp:[fe80::1%]:80", "interface"},
		{"tcp:[fe80::1%aninterfacename16]:80", "interface"},
		{"tcp:[%eth0]:80", "not an IPv6"},
		{"tcp:" A63 "." A63 "." A63 "." A63 ".a:1", "longer than 255"},
		{"unix:", "begin with /"},
		{"unix:relative", "begin with /"},
		{"unix:@abstract", "begin with /"},
		{"unix:/" A63 "/1234567890123456789012345678901234567890123", "107 bytes"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct addr_spec spec, before;
		const char *why = NULL;

		memset(&before, 0x5a, sizeof(before));
		spec = before;
		cr_assert_eq(addr_parse(rows[i].text, &spec, &why), -EINVAL, "%s", rows[i].text);
		cr_assert_not_null(why, "%s", rows[i].text);
		cr_expect(strstr(why, rows[i].why), "%s: %s", rows[i].text, why);
		cr_expect_eq(memcmp(&spec, &before, sizeof(spec)), 0, "%s", rows[i].text);
	}
}

static struct addr resolved(const char *text)
{
	struct addr_spec spec;
	struct addr addr;
	const char *why = "";

	cr_assert_eq(addr_parse(text, &spec, &why), 0, "%s: %s", text, why);
	cr_assert_eq(addr_resolve(&spec, &addr, 1, &why), 1, "%s: %s", text, why);
	return addr;
}

Test(addr, numbers_resolve_and_format_back)
{
	static const struct {
		const char *text, *canonical;
		int family;
		bool wildcard;
	} rows[] = {
		{"tcp:127.0.0.1:7007", NULL, AF_INET, false},
		{"udp:0.0.0.0:0", NULL, AF_INET, true},
		{"udp:255.255.255.255:65535", NULL, AF_INET, false},
		{"tcp:[::1]:7007", NULL, AF_INET6, false},
		{"udp:[::]:53", NULL, AF_INET6, true},
		{"tcp:[0:0:0:0:0:0:0:1]:1", "tcp:[::1]:1", AF_INET6, false},
		{"tcp:[2001:DB8::0007]:1", "tcp:[2001:db8::7]:1", AF_INET6, false},
		{"tcp:[fe80::1%lo]:1", NULL, AF_INET6, false},
		{"unix:/run/a b:c", NULL, AF_UNIX, false},
		{"unix:/" A63 "/123456789012345678901234567890123456789012", NULL, AF_UNIX, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct addr addr = resolved(rows[i].text);
		char text[ADDR_TEXT_MAX];

		cr_expect_eq(addr.sa.sa_family, rows[i].family, "%s", rows[i].text);
		cr_expect_eq(addr_is_wildcard(&addr), rows[i].wildcard, "%s", rows[i].text);
		cr_expect_eq(addr_format(&addr, text), text);
		cr_expect_str_eq(text, rows[i].canonical ? rows[i].canonical : rows[i].text);
	}
}

Test(addr, socket_lengths)
{
	struct addr addr = resolved("unix:/x");

	cr_expect_eq(addr.len, offsetof(struct sockaddr_un, sun_path) + 3);
	addr = resolved("tcp:127.0.0.1:1");
	cr_expect_eq(addr.len, sizeof(struct sockaddr_in));
	cr_expect_eq(addr_inet_len(&addr.inet), addr.len);
	addr = resolved("tcp:[::1]:1");
	cr_expect_eq(addr.len, sizeof(struct sockaddr_in6));
	cr_expect_eq(addr_inet_len(&addr.inet), addr.len);
}

Test(addr, ports)
{
	static const char *const texts[] = {"tcp:127.0.0.1:258", "udp:[::1]:258"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct addr addr = resolved(texts[i]);

		cr_expect_eq(addr_port(&addr), 258);
		cr_expect_eq(addr_inet_port(&addr.inet), 258);
		addr_set_port(&addr, 65535);
		cr_expect_eq(addr_port(&addr), 65535);
		addr_set_port(&addr, 0);
		cr_expect_eq(addr_port(&addr), 0);
	}
	struct addr addr = resolved("unix:/x"), before = addr;

	addr_set_port(&addr, 9);
	cr_expect_eq(addr_port(&addr), 0);
	cr_expect_eq(memcmp(&addr, &before, sizeof(addr)), 0);
}

/* What getpeername(2) gives for unix sockets without a path of their own. */
Test(addr, formats_unnamed_and_abstract_unix)
{
	struct addr addr;
	char text[ADDR_TEXT_MAX];

	memset(&addr, 0, sizeof(addr));
	addr.kind = ADDR_UNIX;
	addr.un.sun_family = AF_UNIX;
	addr.len = sizeof(sa_family_t);
	cr_expect_str_eq(addr_format(&addr, text), "unix:");
	memcpy(addr.un.sun_path, "\0name", 5);
	addr.len = offsetof(struct sockaddr_un, sun_path) + 5;
	cr_expect_str_eq(addr_format(&addr, text), "unix:@name");
	memset(addr.un.sun_path, 'x', sizeof(addr.un.sun_path));
	addr.len = sizeof(struct sockaddr_un);
	cr_expect_eq(strlen(addr_format(&addr, text)), strlen("unix:") + 108);
}

Test(addr, formats_a_scope_whose_interface_is_gone)
{
	struct addr addr = resolved("tcp:[fe80::1%lo]:1");
	char text[ADDR_TEXT_MAX];

	addr.inet.v6.sin6_scope_id = UINT32_MAX;
	cr_expect_str_eq(addr_format(&addr, text), "tcp:[fe80::1%4294967295]:1");
}

Test(addr, resolve_names_this_machine_without_duplicates)
{
	struct addr_spec spec;
	struct addr addrs[16];
	const char *why = "";
	int n;

	cr_assert_eq(addr_parse("tcp:localhost:80", &spec, &why), 0);
	n = addr_resolve(&spec, addrs, (int)ARRAY_SIZE(addrs), &why);
	cr_assert_geq(n, 1, "%s", why);
	for (int i = 0; i < n; i++) {
		cr_expect_eq(addrs[i].kind, ADDR_TCP);
		cr_expect_eq(addr_port(&addrs[i]), 80);
		for (int j = 0; j < i; j++)
			cr_expect(!addr_inet_equal(&addrs[i].inet, &addrs[j].inet));
	}
	cr_expect_eq(addr_resolve(&spec, addrs, 1, &why), 1);
}

Test(addr, resolve_says_why_not)
{
	struct addr_spec spec;
	struct addr addr, before;
	const char *why = NULL;

	/* An interface that is not there fails without asking any name server. */
	cr_assert_eq(addr_parse("tcp:[fe80::1%nosuchif]:80", &spec, &why), 0);
	memset(&before, 0x5a, sizeof(before));
	addr = before;
	cr_expect_eq(addr_resolve(&spec, &addr, 1, &why), -EINVAL);
	cr_assert_not_null(why);
	cr_expect(strlen(why) > 5);
	cr_expect_eq(memcmp(&addr, &before, sizeof(addr)), 0);
}

Test(addr, inet_equality)
{
	static const char *const texts[] = {
		"udp:127.0.0.1:1",    "udp:127.0.0.1:2",
		"udp:127.0.0.2:1",    "udp:[::1]:1",
		"udp:[::1]:2",        "udp:[::2]:1",
		"udp:[fe80::1%lo]:1", "udp:[::ffff:127.0.0.1]:1",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(texts); j++) {
			struct addr a = resolved(texts[i]), b = resolved(texts[j]);

			cr_expect_eq(addr_inet_equal(&a.inet, &b.inet), i == j, "%s %s", texts[i],
				     texts[j]);
		}
	}
	struct addr a = resolved("udp:[fe80::1%lo]:1"), b = a;

	b.inet.v6.sin6_scope_id++;
	cr_expect(!addr_inet_equal(&a.inet, &b.inet), "another link");
	a = b = resolved("udp:[2001:db8::1]:1");
	b.inet.v6.sin6_scope_id++;
	b.inet.v6.sin6_flowinfo++;
	cr_expect(addr_inet_equal(&a.inet, &b.inet), "global addresses have no scope");
}
