/* SPDX-License-Identifier: MIT */
/* Names, and where things are pinned: what is known without a kernel. */
#include <stdio.h>
#include <string.h>

#include "xdp/xdp.h"

static const char *const mode_names[] = {
	[XDP_AUTO] = "auto", [XDP_NATIVE] = "native", [XDP_GENERIC] = "generic"};

static const char *const reason_names[FILTER_REASONS] = {
	[FILTER_OTHER] = "other",
	[FILTER_MALFORMED] = "malformed-udp",
	[FILTER_HEADER_CHAIN] = "header-chain",
	[FILTER_FRAGMENT] = "fragment",
	[FILTER_LENGTH] = "length",
	[FILTER_PREFIX] = "prefix",
	[FILTER_PORT] = "port",
	[FILTER_DEFAULT] = "default",
	[FILTER_RATE_SOURCE] = "rate-source",
	[FILTER_RATE_PREFIX] = "rate-prefix",
	[FILTER_RATE_TOTAL] = "rate-total",
};

static const char *const fast_names[FAST_REASONS] = {
	[FAST_ECHOED] = "echoed",
	[FAST_FORWARDED] = "forwarded",
	[FAST_UP_OFF] = "up-off",
	[FAST_UP_SESSION] = "up-session",
	[FAST_UP_FRAGMENT] = "up-fragment",
	[FAST_UP_HEADERS] = "up-headers",
	[FAST_UP_BUFFERS] = "up-buffers",
	[FAST_UP_VLAN] = "up-vlan",
	[FAST_UP_ADDRESS] = "up-address",
	[FAST_UP_SOURCE] = "up-source",
	[FAST_UP_CHECKSUM] = "up-checksum",
	[FAST_UP_HOP_LIMIT] = "up-hop-limit",
	[FAST_UP_MTU] = "up-mtu",
	[FAST_UP_NEIGHBOUR] = "up-neighbour",
	[FAST_UP_ROUTE] = "up-route",
	[FAST_UP_EGRESS] = "up-egress",
	[FAST_UP_FORWARDING] = "up-forwarding",
	[FAST_UP_REFRESH] = "up-refresh",
};

const char *xdp_fast_name(enum fast_reason reason)
{
	return fast_names[reason];
}

const char *xdp_mode_name(enum xdp_mode mode)
{
	return mode_names[mode];
}

const char *xdp_reason_name(enum filter_reason reason)
{
	return reason_names[reason];
}

const char *xdp_pin_path(const char *ifname, char *out)
{
	snprintf(out, XDP_PATH_MAX, XDP_BPFFS "/sluice/%s", ifname);
	for (char *c = out + strlen(XDP_BPFFS "/sluice/"); *c; c++)
		if (*c == '.')
			*c = ',';
	return out;
}
