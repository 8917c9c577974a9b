/* SPDX-License-Identifier: MIT */
/*
 * What the fast path has to know of the interface that it is on and of this host, so that it serves
 * what a socket would have served and nothing else: read anew now and then, since it changes.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "core/util.h"
#include "xdp/load.h"

enum { HOP_LIMIT = 64, LINE_MAX_BYTES = 256 };

/* ---- the tables of addresses ---- */

static void words_of(const union addr_inet *addr, uint32_t out[4])
{
	if (addr->sa.sa_family == AF_INET6) {
		memcpy(out, &addr->v6.sin6_addr, 4 * sizeof(*out));
		return;
	}
	out[0] = out[1] = 0;
	out[2] = htonl(0xffff);
	memcpy(&out[3], &addr->v4.sin_addr, sizeof(out[3]));
}

static void add_local(struct fast_locals *locals, const union addr_inet *addr,
		      enum fast_local_kind kind)
{
	struct fast_locals *bucket;
	uint32_t words[4];

	words_of(addr, words);
	bucket = &locals[fast_local_bucket(words)];
	for (int i = 0; i < FAST_LOCAL_SLOTS; i++) {
		if (bucket->kind[i] && memcmp(bucket->addr[i], words, sizeof(words)))
			continue;
		memcpy(bucket->addr[i], words, sizeof(words));
		/* A subnet of /31 has its broadcast address for a host. */
		if (bucket->kind[i] != FAST_LOCAL_UNICAST)
			bucket->kind[i] = (uint8_t)kind;
		return;
	}
}

/* While one set takes the place of another, an address may not be found: its datagrams go up. */
static int write_locals(const struct xdp *xdp, const struct fast_locals *locals)
{
	size_t bytes = FAST_LOCAL_BUCKETS * sizeof(*locals);
	struct fast_locals *there = load_map_values(xdp, MAP_LOCALS, bytes);

	if (!there)
		return -errno;
	for (uint32_t i = 0; i < FAST_LOCAL_BUCKETS; i++) {
		if (!memcmp(&there[i], &locals[i], sizeof(*locals)))
			continue;
		for (int slot = 0; slot < FAST_LOCAL_SLOTS; slot++)
			__atomic_store_n(&there[i].kind[slot], FAST_LOCAL_NONE, __ATOMIC_SEQ_CST);
		memcpy(there[i].addr, locals[i].addr, sizeof(locals[i].addr));
		for (int slot = 0; slot < FAST_LOCAL_SLOTS; slot++)
			__atomic_store_n(&there[i].kind[slot], locals[i].kind[slot],
					 __ATOMIC_SEQ_CST);
	}
	load_unmap(there, bytes);
	return 0;
}

static int write_host(const struct xdp *xdp, const struct fast_host *host)
{
	struct fast_host *there = load_map_values(xdp, MAP_HOST, sizeof(*host));
	struct fast_host now = *host;

	if (!there)
		return -errno;
	now.refused = __atomic_load_n(&there->refused, __ATOMIC_SEQ_CST);
	now.on &= !now.refused;
	if (memcmp(there, &now, sizeof(now)))
		*there = now;
	load_unmap(there, sizeof(*host));
	return 0;
}

int xdp_fast_set(struct xdp *xdp, const struct fast_host *host, const union addr_inet *addrs,
		 uint32_t n_addrs)
{
	struct fast_locals locals[FAST_LOCAL_BUCKETS];
	int err = 0;

	memset(locals, 0, sizeof(locals));
	for (uint32_t i = 0; i < n_addrs; i++)
		add_local(locals, &addrs[i], FAST_LOCAL_UNICAST);
	if (xdp->stored.fast == FAST_ECHO)
		err = write_locals(xdp, locals);
	return err ? err : write_host(xdp, host);
}

void xdp_fast_off(struct xdp *xdp)
{
	struct fast_host *there = load_map_values(xdp, MAP_HOST, sizeof(*there));

	if (!there)
		return;
	__atomic_store_n(&there->on, 0, __ATOMIC_SEQ_CST);
	load_unmap(there, sizeof(*there));
}

/* ---- this host ---- */

static int read_number(const char *path, int otherwise)
{
	FILE *file = fopen(path, "re");
	int value = otherwise;

	if (!file)
		return otherwise;
	if (fscanf(file, "%d", &value) != 1)
		value = otherwise;
	fclose(file);
	return value;
}

static int read_setting(const char *format, const char *ifname, int otherwise)
{
	char path[LINE_MAX_BYTES];

	snprintf(path, sizeof(path), format, ifname);
	return read_number(path, otherwise);
}

int xdp_fast_can_route(int family)
{
	return read_number(family == AF_INET ? "/proc/sys/net/ipv4/conf/lo/forwarding"
					     : "/proc/sys/net/ipv6/conf/lo/forwarding",
			   0) != 0;
}

/* The numbers of the VLAN interfaces on this one. The file is there where the kernel has them. */
static void read_vlans(const char *ifname, __u64 vlans[FAST_VLANS / 64])
{
	FILE *file = fopen("/proc/net/vlan/config", "re");
	char line[LINE_MAX_BYTES], parent[LINE_MAX_BYTES];
	unsigned number;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " %*[^|]| %u | %255s", &number, parent) == 2 &&
		    !strcmp(parent, ifname) && number < FAST_VLANS)
			vlans[number / 64] |= 1ULL << number % 64;
	if (file)
		fclose(file);
}

/* A veth brings frames of a local sender as they left it, checksums unfinished; and see fast.h. */
static bool is_veth(int fd, struct ifreq *request)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};

	request->ifr_data = (char *)&info;
	if (ioctl(fd, SIOCETHTOOL, request))
		return true; /* not known, and right for all */
	return !strcmp(info.driver, "veth");
}

/* The inode, which the kernel has in 32 bits. */
static uint32_t own_netns(void)
{
	struct stat st;

	return stat("/proc/thread-self/ns/net", &st) ? 0 : (uint32_t)st.st_ino;
}

static int read_interface(const struct xdp *xdp, struct fast_host *host)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	if (fd < 0)
		return -errno;
	memcpy(request.ifr_name, xdp->ifname, sizeof(request.ifr_name));
	if (ioctl(fd, SIOCGIFHWADDR, &request))
		err = -errno;
	else
		memcpy(host->mac, request.ifr_hwaddr.sa_data, sizeof(host->mac));
	if (!err)
		host->partial = host->redirect = is_veth(fd, &request);
	close(fd);
	return err;
}

/* The greater of the settings for all interfaces and for this one counts; ip-sysctl. */
static bool is_strict(const char *ifname)
{
	int all = read_setting("/proc/sys/net/ipv4/conf/%s/rp_filter", "all", 0);
	int own = read_setting("/proc/sys/net/ipv4/conf/%s/rp_filter", ifname, 0);

	return MAX(all, own) == 1;
}

/* The kernel has a broadcast route for it whether or not the address was given one. */
static void add_broadcast(const struct ifaddrs *entry, struct fast_locals *locals)
{
	const union addr_inet *mask = (const union addr_inet *)entry->ifa_netmask;
	const union addr_inet *broad = (const union addr_inet *)entry->ifa_broadaddr;
	union addr_inet all = {.v4 = *(const struct sockaddr_in *)entry->ifa_addr};

	if (!(entry->ifa_flags & IFF_BROADCAST))
		return;
	if (broad && broad->sa.sa_family == AF_INET)
		add_local(locals, broad, FAST_LOCAL_BROADCAST);
	if (!mask || mask->sa.sa_family != AF_INET || ~ntohl(mask->v4.sin_addr.s_addr) < 2)
		return; /* RFC 3021: a subnet of two has none */
	all.v4.sin_addr.s_addr |= ~mask->v4.sin_addr.s_addr;
	add_local(locals, &all, FAST_LOCAL_BROADCAST);
}

static void add_interface(const struct xdp *xdp, const struct ifaddrs *entry,
			  struct fast_locals *locals)
{
	const union addr_inet *addr = (const union addr_inet *)entry->ifa_addr;

	if (!addr || !(entry->ifa_flags & IFF_UP) || entry->ifa_flags & IFF_LOOPBACK)
		return;
	if (addr->sa.sa_family == AF_INET) {
		add_local(locals, addr, FAST_LOCAL_UNICAST);
		add_broadcast(entry, locals);
	} else if (addr->sa.sa_family == AF_INET6 && (!IN6_IS_ADDR_LINKLOCAL(&addr->v6.sin6_addr) ||
						      !strcmp(entry->ifa_name, xdp->ifname))) {
		add_local(locals, addr, FAST_LOCAL_UNICAST);
	}
}

static int read_locals(const struct xdp *xdp, struct fast_locals *locals)
{
	struct ifaddrs *list;

	if (getifaddrs(&list))
		return -errno;
	for (const struct ifaddrs *entry = list; entry; entry = entry->ifa_next)
		add_interface(xdp, entry, locals);
	freeifaddrs(list);
	return 0;
}

bool xdp_is_attached(const struct xdp *xdp)
{
	struct bpf_link_info info;

	return xdp->link_fd >= 0 && !load_link_info(xdp->link_fd, &info) &&
	       info.xdp.ifindex == xdp->ifindex;
}

int xdp_fast_refresh(struct xdp *xdp, char *error)
{
	struct fast_locals locals[FAST_LOCAL_BUCKETS];
	struct fast_host host;
	int err;

	if (!xdp_is_attached(xdp))
		return -ENODEV;
	memset(&host, 0, sizeof(host));
	memset(locals, 0, sizeof(locals));
	err = read_interface(xdp, &host);
	if (err == -ENODEV)
		return err;
	host.on = 1;
	host.ifindex = xdp->ifindex;
	host.netns = own_netns();
	host.reverse = is_strict(xdp->ifname);
	host.hop_limit4 = (uint8_t)read_number("/proc/sys/net/ipv4/ip_default_ttl", HOP_LIMIT);
	host.hop_limit6 = (uint8_t)read_setting("/proc/sys/net/ipv6/conf/%s/hop_limit", xdp->ifname,
						HOP_LIMIT);
	read_vlans(xdp->ifname, host.vlans);
	if (!err && xdp->stored.fast == FAST_ECHO) {
		err = read_locals(xdp, locals);
		if (!err)
			err = write_locals(xdp, locals);
	}
	if (!err)
		err = write_host(xdp, &host);
	return err ? load_fail(error, err, "%s: looking up what the fast path needs: %s",
			       xdp->ifname, strerror(-err))
		   : 0;
}
