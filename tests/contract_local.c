/* SPDX-License-Identifier: MIT */
/* The address of a datagram socket, as local() tells it. */
#include <string.h>

#include "contract.h"

static void check_local(struct rig *rig, union addr_inet addr)
{
	struct host *host = host_new(rig, &addr);
	struct end *bound = end_dgram(rig, &addr), *dialled = end_new(rig);
	struct addr to = {.kind = ADDR_UDP, .len = addr_inet_len(&host->addr)};
	union addr_inet local, from;

	to.inet = host->addr;
	memset(&local, 0xee, sizeof(local));
	check(rig->ops->local(bound->sock, &local) == 0);
	check(addr_inet_equal(&local, &addr), "it is bound elsewhere");
	check(end_dial(dialled, &to));
	end_recv_start(dialled);
	until(dialled->n_connect);
	check(dialled->connect_res == 0);
	memset(&local, 0xee, sizeof(local));
	check(rig->ops->local(dialled->sock, &local) == 0);
	end_send(dialled, dgram_buf(rig, 1, 100, NULL));
	host_check_taken(host, 1, 100, &from);
	check(addr_inet_equal(&local, &from), "it sends from elsewhere");
	/* And that is where answers come. */
	host_send_pattern(host, &local, 2, 100);
	until(dialled->n_recv == 1);
}

CONTRACT(dgram_local_ipv4)
{
	check_local(rig, addr_v4(INADDR_LOOPBACK, 0));
}

CONTRACT(dgram_local_ipv6)
{
	check_local(rig, addr_v6(&in6addr_loopback, 0));
}

/* Of one that is bound to no address in particular, the port is what is to be told. */
CONTRACT(dgram_local_of_a_wildcard)
{
	union addr_inet addrs[] = {addr_v4(INADDR_ANY, 0), addr_v6(&in6addr_any, 0)}, local;

	for (uint32_t i = 0; i < ARRAY_SIZE(addrs); i++) {
		struct end *end = end_dgram(rig, &addrs[i]);

		check(rig->ops->local(end->sock, &local) == 0);
		check(addr_inet_equal(&local, &addrs[i]));
		check(addr_inet_port(&local) != 0);
	}
}
