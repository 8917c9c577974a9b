/* SPDX-License-Identifier: MIT */
/* Which datagrams may be answered: a table. */
#include <arpa/inet.h>
#include <string.h>

#include "sim.h"

enum { OWN_PORT = 5000 };

/* One bound address and one of this host's; NULL: none. */
struct reflect_row {
	const char *what, *own, *this_host, *peer, *asked;
	uint16_t port;
	bool group, reflects;
};

static const struct reflect_row rows[] = {
	{"a client", "192.0.2.1", NULL, "198.51.100.7", "192.0.2.1", 40000, false, false},
	{"port 0", NULL, NULL, "198.51.100.7", "192.0.2.1", 0, false, true},
	{"port 1", NULL, NULL, "198.51.100.7", "192.0.2.1", 1, false, false},
	{"echo", NULL, NULL, "198.51.100.7", "192.0.2.1", 7, false, true},
	{"port 8", NULL, NULL, "198.51.100.7", "192.0.2.1", 8, false, false},
	{"discard", NULL, NULL, "198.51.100.7", "192.0.2.1", 9, false, true},
	{"daytime", NULL, NULL, "198.51.100.7", "192.0.2.1", 13, false, true},
	{"qotd", NULL, NULL, "198.51.100.7", "192.0.2.1", 17, false, true},
	{"chargen", NULL, NULL, "198.51.100.7", "192.0.2.1", 19, false, true},
	{"dns", NULL, NULL, "198.51.100.7", "192.0.2.1", 53, false, false},
	{"echo, IPv6", NULL, NULL, "2001:db8::7", "2001:db8::1", 7, false, true},
	{"chargen, IPv6", NULL, NULL, "2001:db8::7", "2001:db8::1", 19, false, true},
	{"a client, IPv6", "2001:db8::1", NULL, "2001:db8::7", "2001:db8::1", 40000, false, false},
	{"to a group", NULL, NULL, "198.51.100.7", "224.0.0.1", 40000, true, true},
	{"to a group, IPv6", NULL, NULL, "2001:db8::7", "ff02::1", 40000, true, true},

	{"itself", "192.0.2.1", NULL, "192.0.2.1", "192.0.2.1", OWN_PORT, false, true},
	{"itself, address not known", "192.0.2.1", NULL, "192.0.2.1", NULL, OWN_PORT, false, true},
	{"this host, other port", "192.0.2.1", NULL, "192.0.2.1", "192.0.2.1", 40000, false, false},
	{"another host, own port", "192.0.2.1", NULL, "192.0.2.2", "192.0.2.1", OWN_PORT, false,
	 false},
	{"itself, IPv6", "2001:db8::1", NULL, "2001:db8::1", NULL, OWN_PORT, false, true},
	{"another host, own port, IPv6", "2001:db8::1", NULL, "2001:db8::2", "2001:db8::1",
	 OWN_PORT, false, false},

	{"wildcard, loopback", "0.0.0.0", NULL, "127.0.0.1", "192.0.2.1", OWN_PORT, false, true},
	{"wildcard, far loopback", "0.0.0.0", NULL, "127.9.9.9", NULL, OWN_PORT, false, true},
	{"wildcard, loopback, other port", "0.0.0.0", NULL, "127.0.0.1", "127.0.0.1", 40000, false,
	 false},
	{"wildcard, as asked", "0.0.0.0", NULL, "192.0.2.1", "192.0.2.1", OWN_PORT, false, true},
	{"wildcard, local address", "0.0.0.0", "192.0.2.9", "192.0.2.9", "192.0.2.1", OWN_PORT,
	 false, true},
	{"wildcard, local address, other port", "0.0.0.0", "192.0.2.9", "192.0.2.9", "192.0.2.1",
	 40000, false, false},
	{"wildcard, another host", "0.0.0.0", "192.0.2.9", "192.0.2.8", "192.0.2.1", OWN_PORT,
	 false, false},
	{"wildcard, another host, address not known", "0.0.0.0", "192.0.2.9", "192.0.2.8", NULL,
	 OWN_PORT, false, false},
	{"wildcard, loopback, IPv6", "::", NULL, "::1", "2001:db8::1", OWN_PORT, false, true},
	{"wildcard, as asked, IPv6", "::", NULL, "2001:db8::1", "2001:db8::1", OWN_PORT, false,
	 true},
	{"wildcard, local address, IPv6", "::", "2001:db8::9", "2001:db8::9", "2001:db8::1",
	 OWN_PORT, false, true},
	{"wildcard, another host, IPv6", "::", "2001:db8::9", "2001:db8::8", "2001:db8::1",
	 OWN_PORT, false, false},
	{"wildcard of the other family", "::", "192.0.2.9", "192.0.2.9", "192.0.2.9", OWN_PORT,
	 false, false},
	{"IPv4 wildcard, IPv6 peer", "0.0.0.0", NULL, "::1", "::1", OWN_PORT, false, false},
};

static union addr_inet inet_of(const char *host, uint16_t port)
{
	union addr_inet inet;

	memset(&inet, 0, sizeof(inet));
	if (!host)
		return inet;
	if (strchr(host, ':'))
		return sim_v6(host, port);
	inet.v4.sin_family = AF_INET;
	inet.v4.sin_port = htons(port);
	cr_assert_eq(inet_pton(AF_INET, host, &inet.v4.sin_addr), 1);
	return inet;
}

Test(udp_reflect, table)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct reflect_row *row = &rows[i];
		const struct addr own = {.kind = ADDR_UDP, .inet = inet_of(row->own, OWN_PORT)};
		const union addr_inet local = inet_of(row->this_host, 0);
		const struct udp_conf conf = {
			.mode = CONN_ECHO,
			.own = &own,
			.n_own = row->own != NULL,
			.local = &local,
			.n_local = row->this_host != NULL,
		};
		const struct dgram_meta meta = {
			.peer = inet_of(row->peer, row->port),
			.local = inet_of(row->asked, 0),
			.group = row->group,
		};

		cr_assert_eq(udp_would_reflect(&conf, &meta), row->reflects, "%s", row->what);
	}
}

/* Each of several bound addresses counts, and each address of the host. */
Test(udp_reflect, many_addresses)
{
	struct addr own[8];
	union addr_inet local[8];
	const struct udp_conf conf = {
		.own = own,
		.n_own = ARRAY_SIZE(own),
		.local = local,
		.n_local = ARRAY_SIZE(local),
	};

	for (uint32_t i = 0; i < 8; i++) {
		own[i] = (struct addr){.kind = ADDR_UDP,
				       .inet = sim_v4(i ? 0xc0000200 + i : INADDR_ANY,
						      (uint16_t)(OWN_PORT + i))};
		local[i] = sim_v4(0xcb007100 + i, 0);
	}
	for (uint32_t i = 0; i < 8; i++) {
		struct dgram_meta meta = {.peer = sim_v4(0xcb007100 + i, OWN_PORT)};

		cr_assert(udp_would_reflect(&conf, &meta));
		meta.peer = sim_v4(0xcb007100 + i, OWN_PORT + 1);
		cr_assert(!udp_would_reflect(&conf, &meta));
		meta.peer = sim_v4(0xc0000200 + i, (uint16_t)(OWN_PORT + i));
		cr_assert_eq(udp_would_reflect(&conf, &meta), i > 0);
	}
}
