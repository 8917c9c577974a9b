/* SPDX-License-Identifier: MIT */
/* Owns nothing: the sockets of the contract suite on the fake backend. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "contract.h"
#include "fake_io.h"

static void fake_init(struct rig *rig)
{
	fake_seed(rig->io, rig->seed);
	fake_conf(rig->io)->blocks = true;
}

static void fake_nothing(struct rig *rig)
{
	(void)rig;
}

static uint32_t fake_fds(struct rig *rig)
{
	return fake_fds_open(rig->io);
}

static void fake_close_fd(struct rig *rig, int fd)
{
	fake_fd_close(rig->io, fd);
}

static void fake_limit(struct rig *rig, bool limit)
{
	fake_fds_gone(rig->io, limit ? -EMFILE : 0);
}

static int fake_make_pair(struct rig *rig, const struct link_conf *conf, struct peer *peer)
{
	uint32_t window = fake_conf(rig->io)->window_bytes;
	int fd;

	if (conf->end_recv || conf->peer_send)
		fake_conf(rig->io)->window_bytes = (uint32_t)(conf->end_recv + conf->peer_send);
	peer->fake = fake_pair(rig->io, &fd);
	fake_conf(rig->io)->window_bytes = window;
	if (conf->end_send || conf->peer_recv)
		fake_peer_window(peer->fake, (uint32_t)(conf->end_send + conf->peer_recv));
	return fd;
}

/* An address of its own for everything that wants one. */
static void pick_addr(struct rig *rig, enum net net, struct addr *ret_addr)
{
	*ret_addr = (struct addr){.kind = ADDR_TCP, .len = sizeof(ret_addr->inet.v4)};
	ret_addr->inet = addr_v4(INADDR_LOOPBACK, (uint16_t)(2000 + rig->seed_next++));
	if (net == NET_TCP6) {
		ret_addr->len = sizeof(ret_addr->inet.v6);
		ret_addr->inet = addr_v6(&in6addr_loopback, (uint16_t)(2000 + rig->seed_next++));
	}
}

static int fake_make_listener(struct rig *rig, enum net net, int backlog, struct addr *ret_addr)
{
	pick_addr(rig, net, ret_addr);
	return fake_listen(rig->io, ret_addr, (uint32_t)backlog);
}

static bool fake_make_connection(struct rig *rig, const struct addr *addr, struct peer *peer)
{
	peer->fake = fake_connect(rig->io, addr);
	return peer->fake != NULL;
}

static void fake_remote(struct rig *rig, enum net net, struct addr *ret_addr)
{
	pick_addr(rig, net, ret_addr);
	fake_dial_plan(rig->io, ret_addr, FAKE_ACCEPT, 0, 1000);
}

static bool fake_remote_accept(struct rig *rig, const struct addr *addr, struct peer *peer)
{
	peer->fake = fake_dialled(rig->io, addr);
	return peer->fake != NULL;
}

static void fake_refusing(struct rig *rig, enum net net, struct addr *ret_addr)
{
	pick_addr(rig, net, ret_addr);
	fake_dial_plan(rig->io, ret_addr, FAKE_REFUSE, -ECONNREFUSED, 1000);
}

static void fake_silent(struct rig *rig, struct addr *ret_addr)
{
	pick_addr(rig, NET_TCP4, ret_addr);
	fake_dial_plan(rig->io, ret_addr, FAKE_SILENT, 0, 0);
}

static ssize_t fake_write(struct peer *peer, const void *data, size_t len)
{
	return fake_peer_write(peer->fake, data, len);
}

static ssize_t fake_read(struct peer *peer, void *out, size_t size)
{
	return fake_peer_read(peer->fake, out, size);
}

static void fake_shut(struct peer *peer)
{
	fake_peer_shutdown(peer->fake);
}

static void fake_reset(struct peer *peer)
{
	fake_peer_reset(peer->fake);
}

static void fake_close_peer(struct peer *peer)
{
	if (peer->fake)
		fake_peer_close(peer->fake);
}

static bool fake_clog(struct rig *rig, union addr_inet *ret_addr)
{
	*ret_addr = addr_v4(INADDR_LOOPBACK, 1);
	fake_conf(rig->io)->send_full_percent = 50;
	return true;
}

static int fake_dgram(struct rig *rig, union addr_inet *addr)
{
	uint16_t port = htons((uint16_t)(2000 + rig->seed_next++));

	if (addr->sa.sa_family == AF_INET)
		addr->v4.sin_port = port;
	else
		addr->v6.sin6_port = port;
	return fake_dgram_bind(rig->io, addr);
}

static int fake_host_make(struct host *host)
{
	uint16_t port = htons((uint16_t)(2000 + host->rig->seed_next++));

	if (host->addr.sa.sa_family == AF_INET && !host->addr.v4.sin_port)
		host->addr.v4.sin_port = port;
	else if (host->addr.sa.sa_family == AF_INET6 && !host->addr.v6.sin6_port)
		host->addr.v6.sin6_port = port;
	host->fake = fake_host_open(host->rig->io, &host->addr);
	return 0;
}

static void fake_host_end(struct host *host)
{
	if (host->fake)
		fake_host_close(host->fake);
	host->fake = NULL;
}

static int fake_host_tx(struct host *host, const union addr_inet *to, const void *data, size_t n)
{
	fake_host_send(host->fake, to, data, n);
	return 0;
}

static ssize_t fake_host_rx(struct host *host, void *out, size_t size, union addr_inet *from)
{
	return fake_host_recv(host->fake, out, size, from);
}

const struct world world_fake = {
	.init = fake_init,
	.free = fake_nothing,
	.fds = fake_fds,
	.fd_close = fake_close_fd,
	.fds_limit = fake_limit,
	.pair = fake_make_pair,
	.listen = fake_make_listener,
	.connect = fake_make_connection,
	.remote = fake_remote,
	.remote_accept = fake_remote_accept,
	.refusing = fake_refusing,
	.silent = fake_silent,
	.write = fake_write,
	.read = fake_read,
	.shutdown = fake_shut,
	.reset = fake_reset,
	.close = fake_close_peer,
	.clog = fake_clog,
	.dgram = fake_dgram,
	.host_open = fake_host_make,
	.host_close = fake_host_end,
	.host_send = fake_host_tx,
	.host_recv = fake_host_rx,
};
