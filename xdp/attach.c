/* SPDX-License-Identifier: MIT */
/*
 * A filter on an interface: attached by a bpf_link that goes with this process, or is pinned and
 * stays. Native mode runs in the driver, generic mode behind it.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "core/util.h"
#include "xdp/load.h"

static int fail_busy(const char *ifname, const struct load_attached *there, char *error)
{
	const char *name = *there->name ? there->name : "its name needs CAP_SYS_ADMIN to be told";

	if (!strcmp(name, LOAD_PROGRAM_NAME))
		return load_fail(
			error, -EBUSY,
			"%s has a filter of sluice already: change its rules with 'sluice "
			"xdp rules %s FILE', or remove it with 'sluice xdp detach %s' or by "
			"ending the server that has it",
			ifname, ifname, ifname);
	if (!strcmp(name, "xdp_dispatcher"))
		return load_fail(
			error, -EBUSY,
			"%s runs libxdp's dispatcher (program %u), which only takes programs "
			"that libxdp loads: 'xdp-loader status %s' lists them; remove them with "
			"'xdp-loader unload %s --all', or filter on an interface above it (a VLAN, "
			"a bridge), where sluice runs beside them",
			ifname, there->program_id, ifname, ifname);
	return load_fail(error, -EBUSY,
			 "%s runs another XDP program already: %s (program %u, %s mode); end the "
			 "program that attached it, or remove it (ip link set dev %s xdp off)",
			 ifname, name, there->program_id, xdp_mode_name(there->mode), ifname);
}

/* ---- attaching ---- */

static int create_link(int program_fd, uint32_t ifindex, enum xdp_mode mode)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts);
	int fd;

	opts.flags = mode == XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
	fd = bpf_link_create(program_fd, (int)ifindex, BPF_XDP, &opts);
	return fd < 0 ? -errno : fd;
}

/* Native first. What the driver refuses is tried behind it, unless native was asked for. */
static int attach_link(struct xdp *xdp, enum xdp_mode wanted, char *error)
{
	struct load_attached there;
	struct bpf_link_info info;
	int fd = -EOPNOTSUPP;

	xdp->stored.mode = wanted == XDP_GENERIC ? XDP_GENERIC : XDP_NATIVE;
	if (wanted != XDP_GENERIC)
		fd = create_link(xdp->program_fd, xdp->ifindex, XDP_NATIVE);
	if (fd == -EBUSY || fd == -EEXIST) {
		if (!load_query(xdp->ifindex, &there) && there.program_id)
			return fail_busy(xdp->ifname, &there, error);
	} else if (fd < 0 && wanted == XDP_NATIVE) {
		return load_fail(
			error, fd,
			"%s cannot run XDP programs in its driver: %s%s; leave the mode out, "
			"or ask for generic",
			xdp->ifname, strerror(-fd),
			fd == -EINVAL || fd == -ERANGE ? " (its MTU may be too large for "
							 "that)"
						       : "");
	} else if (fd < 0) {
		if (wanted == XDP_AUTO)
			xdp->stored.native_err = fd;
		xdp->stored.mode = XDP_GENERIC;
		fd = create_link(xdp->program_fd, xdp->ifindex, XDP_GENERIC);
		if ((fd == -EBUSY || fd == -EEXIST) && !load_query(xdp->ifindex, &there) &&
		    there.program_id)
			return fail_busy(xdp->ifname, &there, error);
	}
	if (fd == -EPERM)
		return load_fail(error, fd,
				 "%s: attaching needs CAP_NET_ADMIN and CAP_BPF; run as root",
				 xdp->ifname);
	if (fd == -EEXIST)
		return load_fail(
			error, fd,
			"%s: an interface above it (a bond, a bridge, a VLAN) runs an XDP "
			"program, and the kernel refuses one below; attach to the one above, or "
			"remove its program",
			xdp->ifname);
	if (fd < 0)
		return load_fail(error, fd, "%s: attaching the filter: %s", xdp->ifname,
				 strerror(-fd));
	xdp->link_fd = fd;
	if (!load_link_info(fd, &info))
		xdp->link_id = info.id;
	return 0;
}

static int check_bpffs(char *error)
{
	struct statfs fs;

	if (!statfs(XDP_BPFFS, &fs) && (uint32_t)fs.f_type == BPF_FS_MAGIC)
		return 0;
	return load_fail(
		error, -ENOTSUP,
		"a filter is kept by pinning it below " XDP_BPFFS ", which is no bpf file system "
		"here: mount -t bpf bpf " XDP_BPFFS " (under 'ip netns exec' mounts end with the "
		"command: use nsenter --net=/run/netns/NAME)");
}

/* A folder of ours: anyone may write into a bpf file system, and who owns the folder owns what is
 * pinned in it. */
static int make_folder(const char *path, char *error)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return load_fail(error, -errno, "%s: %s", path, strerror(errno));
	if (lstat(path, &st))
		return load_fail(error, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return load_fail(error, -EPERM, "%s is not a folder of this user; remove it", path);
	return 0;
}

/* Makes room for the pin. An old one may be left of an interface that is gone. */
static int prepare_pin(const char *ifname, char *error)
{
	char path[XDP_PATH_MAX], folder[XDP_PATH_MAX];
	int err = check_bpffs(error);

	if (!err)
		err = make_folder(XDP_BPFFS "/sluice", error);
	if (!err)
		err = make_folder(xdp_pin_path(ifname, folder), error);
	if (err)
		return err;
	if (load_pin_lives(ifname))
		return load_fail(error, -EBUSY,
				 "%s is in use: by a filter on %s already ('sluice xdp detach %s' "
				 "removes it), or on an interface of that name in another network "
				 "namespace; there, mount a bpf file system of its own",
				 folder, ifname, ifname);
	return unlink(load_link_path(ifname, path)) && errno != ENOENT
		       ? load_fail(error, -errno, "%s: %s", path, strerror(errno))
		       : 0;
}

static int pin_link(struct xdp *xdp, char *error)
{
	char path[XDP_PATH_MAX];

	if (bpf_obj_pin(xdp->link_fd, load_link_path(xdp->ifname, path)))
		return load_fail(error, -errno, "pinning the filter at %s: %s", path,
				 strerror(errno));
	xdp->pinned = true;
	return 0;
}

static int new_info(const struct xdp_conf *conf, struct load_info *ret, char *error)
{
	memset(ret, 0, sizeof(*ret));
	ret->generation = 1;
	ret->attached_at = time(NULL);
	ret->pid = conf->pin ? 0 : (uint32_t)getpid();
	ret->settled = 1;
	ret->mode = conf->mode;
	ret->n_served = conf->n_served;
	ret->fast = conf->fast;
	ret->sessions = conf->sessions ? conf->sessions->capacity : 0;
	if (conf->n_served > FILTER_SERVED_MAX)
		return load_fail(error, -E2BIG, "more than %d addresses to filter for",
				 FILTER_SERVED_MAX);
	for (uint32_t i = 0; i < conf->n_served; i++)
		ret->served[i] = conf->served[i];
	if (getrandom(ret->keys, sizeof(ret->keys), 0) != sizeof(ret->keys))
		return load_fail(error, -errno, "no random numbers: %s", strerror(errno));
	return 0;
}

int xdp_load(const struct xdp_conf *conf, struct xdp **ret_xdp, char *error)
{
	struct load_info info;
	int err = new_info(conf, &info, error);

	if (err)
		return err;
	info.clock_is_set = 1;
	return load_program(&info, conf->rules, NULL, conf->sessions, ret_xdp, error);
}

/* Tunnels without an Ethernet header would pass everything for what it is not. */
static int check_ethernet(const char *ifname, char *error)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", ifname);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request))
		err = load_fail(error, -errno, "%s: asking for its kind: %s", ifname,
				strerror(errno));
	else if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER &&
		 request.ifr_hwaddr.sa_family != ARPHRD_LOOPBACK)
		err = load_fail(
			error, -ENOTSUP,
			"%s is no Ethernet interface (its kind is %u), and the filter reads "
			"Ethernet frames; attach it to the interface that carries the tunnel",
			ifname, request.ifr_hwaddr.sa_family);
	if (fd >= 0)
		close(fd);
	return err;
}

/* The rest of xdp_attach, with the program loaded. */
static int attach_loaded(struct xdp *xdp, const struct xdp_conf *conf, char *error)
{
	char folder[XDP_PATH_MAX];
	int err = conf->pin ? prepare_pin(conf->ifname, error) : 0;

	if (!err)
		err = attach_link(xdp, conf->mode, error);
	if (!err) {
		xdp->owner = !conf->pin;
		err = load_store(xdp);
		if (err)
			load_fail(error, err, "%s: storing the filter's state: %s", conf->ifname,
				  strerror(-err));
	}
	if (!err && conf->pin)
		err = pin_link(xdp, error);
	if (!err && conf->fast)
		load_watch(xdp); /* does without where it cannot be */
	if (err && conf->pin)
		rmdir(xdp_pin_path(conf->ifname, folder)); /* stays when it holds a pin */
	return err;
}

int xdp_attach(const struct xdp_conf *conf, struct xdp **ret_xdp, char *error)
{
	struct load_info info;
	struct xdp *xdp = NULL;
	struct load_attached there;
	uint32_t ifindex;
	int err = load_interface(conf->ifname, &ifindex, error);

	if (!err)
		err = check_ethernet(conf->ifname, error);
	if (!err)
		err = new_info(conf, &info, error);
	if (!err && !load_query(ifindex, &there) && there.program_id && *there.name)
		err = fail_busy(conf->ifname, &there, error);
	if (!err)
		err = load_program(&info, conf->rules, NULL, conf->sessions, &xdp, error);
	if (err)
		return err;
	snprintf(xdp->ifname, sizeof(xdp->ifname), "%s", conf->ifname);
	xdp->ifindex = ifindex;
	err = attach_loaded(xdp, conf, error);
	if (err)
		xdp_close(xdp);
	else
		*ret_xdp = xdp;
	return err;
}

void xdp_close(struct xdp *xdp)
{
	if (!xdp)
		return;
	for (int i = 0; i < MAPS; i++)
		if (xdp->map_fd[i] >= 0)
			close(xdp->map_fd[i]);
	load_unwatch(xdp);
	if (xdp->owner)
		bpf_link_detach(xdp->link_fd); /* now; closing does so later */
	if (xdp->link_fd >= 0)
		close(xdp->link_fd);
	if (xdp->program_fd >= 0)
		close(xdp->program_fd);
	free(xdp);
}
