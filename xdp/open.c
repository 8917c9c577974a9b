/* SPDX-License-Identifier: MIT */
/* Finds filters: by interface, by their pins, by their links; and removes pinned ones. */
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "core/util.h"
#include "xdp/load.h"

enum { OPEN_TRIES = 10 };

const char *load_link_path(const char *ifname, char *out)
{
	char folder[XDP_PATH_MAX];

	snprintf(out, XDP_PATH_MAX, "%.70s/link", xdp_pin_path(ifname, folder));
	return out;
}

int load_interface(const char *ifname, uint32_t *ret_ifindex, char *error)
{
	*ret_ifindex = if_nametoindex(ifname);
	if (*ret_ifindex)
		return 0;
	return load_fail(error, -ENODEV, "%s: no such interface here (ip link lists them)", ifname);
}

int load_query(uint32_t ifindex, struct load_attached *ret)
{
	DECLARE_LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int err = bpf_xdp_query((int)ifindex, 0, &opts), fd;

	if (err)
		return err;
	memset(ret, 0, sizeof(*ret));
	ret->program_id = opts.prog_id;
	ret->mode = opts.attach_mode == XDP_ATTACHED_SKB ? XDP_GENERIC : XDP_NATIVE;
	fd = opts.prog_id ? bpf_prog_get_fd_by_id(opts.prog_id) : -1;
	if (fd < 0)
		return 0;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		snprintf(ret->name, sizeof(ret->name), "%s", info.name);
	close(fd);
	return 0;
}

int load_link_info(int fd, struct bpf_link_info *ret)
{
	uint32_t len = sizeof(*ret);

	memset(ret, 0, len);
	return bpf_obj_get_info_by_fd(fd, ret, &len) ? -errno : 0;
}

int load_find_link(const char *ifname, uint32_t program_id, bool *ret_pinned)
{
	char path[XDP_PATH_MAX];
	struct bpf_link_info info;
	uint32_t id = 0;
	int fd = bpf_obj_get(load_link_path(ifname, path));

	*ret_pinned = fd >= 0 && !load_link_info(fd, &info) && info.prog_id == program_id;
	if (*ret_pinned)
		return fd;
	if (fd >= 0)
		close(fd);
	while (!bpf_link_get_next_id(id, &id)) {
		fd = bpf_link_get_fd_by_id(id);
		if (fd < 0)
			continue;
		if (!load_link_info(fd, &info) && info.type == BPF_LINK_TYPE_XDP &&
		    info.prog_id == program_id)
			return fd;
		close(fd);
	}
	return -1;
}

/* Opens the program that was found there. -EAGAIN: another has taken its place meanwhile. */
static int open_found(const char *ifname, uint32_t ifindex, const struct load_attached *there,
		      struct xdp **ret_xdp, char *error)
{
	struct load_attached now;
	struct bpf_link_info link;
	struct xdp *xdp;
	int fd = bpf_prog_get_fd_by_id(there->program_id), err;

	if (fd < 0 && errno == ENOENT)
		return load_fail(error, -EAGAIN,
				 "%s: its XDP program changes all the time; try again", ifname);
	if (fd < 0)
		return load_fail(error, -errno,
				 errno == EPERM
					 ? "%s: opening a filter needs CAP_SYS_ADMIN; run as "
					   "root"
					 : "%s: opening its XDP program failed",
				 ifname);
	if (*there->name && strcmp(there->name, LOAD_PROGRAM_NAME)) {
		close(fd);
		return load_fail(error, -ENOENT,
				 "%s has no filter of sluice; it runs another XDP program: %s "
				 "(program %u)",
				 ifname, there->name, there->program_id);
	}
	err = load_open(fd, &xdp, error);
	if (err)
		return err;
	snprintf(xdp->ifname, sizeof(xdp->ifname), "%s", ifname);
	xdp->ifindex = ifindex;
	xdp->link_fd = load_find_link(ifname, there->program_id, &xdp->pinned);
	if (xdp->link_fd < 0 && !load_query(ifindex, &now) && now.program_id != there->program_id) {
		xdp_close(xdp);
		return load_fail(error, -EAGAIN,
				 "%s: its XDP program changes all the time; try again", ifname);
	}
	if (xdp->link_fd >= 0 && !load_link_info(xdp->link_fd, &link))
		xdp->link_id = link.id;
	*ret_xdp = xdp;
	return 0;
}

int xdp_open(const char *ifname, struct xdp **ret_xdp, char *error)
{
	struct load_attached there;
	uint32_t ifindex;
	int err = load_interface(ifname, &ifindex, error);

	if (err)
		return err;
	err = -EAGAIN;
	for (int i = 0; i < OPEN_TRIES && err == -EAGAIN; i++) {
		err = load_query(ifindex, &there);
		if (err)
			return load_fail(error, err, "%s: asking for its XDP program: %s", ifname,
					 strerror(-err));
		if (!there.program_id)
			return load_fail(error, -ENOENT,
					 "%s has no filter; 'sluice xdp attach %s' attaches one",
					 ifname, ifname);
		err = open_found(ifname, ifindex, &there, ret_xdp, error);
	}
	return err;
}

int xdp_list(char (*ret_names)[IF_NAMESIZE], int max, char *error)
{
	struct if_nameindex *list = if_nameindex();
	int n = 0;

	if (!list)
		return load_fail(error, -errno, "listing the interfaces: %s", strerror(errno));
	for (struct if_nameindex *i = list; i->if_index && n < max; i++) {
		struct load_attached there;

		if (load_query(i->if_index, &there) || !there.program_id)
			continue;
		if (!*there.name) {
			n = load_fail(error, -EPERM,
				      "%s runs an XDP program; telling which needs CAP_SYS_ADMIN: "
				      "run as root",
				      i->if_name);
			break;
		}
		if (!strcmp(there.name, LOAD_PROGRAM_NAME))
			snprintf(ret_names[n++], IF_NAMESIZE, "%s", i->if_name);
	}
	if_freenameindex(list);
	return n;
}

bool load_pin_lives(const char *ifname)
{
	char path[XDP_PATH_MAX];
	struct bpf_link_info info;
	int fd = bpf_obj_get(load_link_path(ifname, path));
	bool lives = fd >= 0 && !load_link_info(fd, &info) && info.xdp.ifindex;

	if (fd >= 0)
		close(fd);
	return lives;
}

static int remove_pin(const char *ifname)
{
	char path[XDP_PATH_MAX];

	if (unlink(load_link_path(ifname, path)))
		return -errno;
	rmdir(xdp_pin_path(ifname, path));
	return 0;
}

/* Not pinned here: removes it if nobody else's process has it. fd: its link, or -1. */
static int detach_unpinned(const char *ifname, int fd, char *error)
{
	struct xdp *xdp;
	int err = xdp_open(ifname, &xdp, error);

	if (err)
		return err;
	if (xdp->stored.pid)
		err = load_fail(error, -EBUSY,
				"the filter on %s belongs to a server (process %u) and goes when "
				"that ends",
				ifname, xdp->stored.pid);
	else if (fd < 0 || bpf_link_detach(fd))
		err = load_fail(error, -EPERM,
				"the filter on %s is not pinned in this mount namespace, and its "
				"link cannot be opened; run as root",
				ifname);
	xdp_close(xdp);
	return err;
}

int xdp_detach(const char *ifname, char *error)
{
	struct load_attached there;
	uint32_t ifindex = if_nametoindex(ifname);
	bool pinned = false;
	int err, fd = -1;

	/* What is left of an interface that has gone. */
	if (!ifindex && !load_pin_lives(ifname) && !remove_pin(ifname))
		return 0;
	err = load_interface(ifname, &ifindex, error);
	if (err)
		return err;
	if (!load_pin_lives(ifname))
		remove_pin(ifname); /* of an interface that had the name before */
	if (!load_query(ifindex, &there) && there.program_id)
		fd = load_find_link(ifname, there.program_id, &pinned);
	if (!pinned)
		err = detach_unpinned(ifname, fd, error);
	else if (bpf_link_detach(fd)) /* now; removing the pin does so later */
		err = load_fail(error, -errno, "%s: detaching: %s", ifname, strerror(errno));
	else if ((err = remove_pin(ifname)))
		load_fail(error, err, "%s: removing its pin: %s", ifname, strerror(-err));
	if (fd >= 0)
		close(fd);
	return err;
}
