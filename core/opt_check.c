/* SPDX-License-Identifier: MIT */
/* Whether a command's options make sense together: addresses, their kinds, loops. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "opt_priv.h"

static const char *kind_name(enum addr_kind kind)
{
	return kind == ADDR_UDP ? "udp" : kind == ADDR_TCP ? "tcp" : "unix";
}

/* The number that host is, as IPv6 with IPv4 mapped into it (RFC 4291); false for a name. */
static bool host_number(const char *host, struct in6_addr *ret_number)
{
	struct in6_addr number = IN6ADDR_ANY_INIT;

	if (inet_pton(AF_INET, host, &number.s6_addr[12]) == 1) {
		number.s6_addr[10] = number.s6_addr[11] = 0xff;
	} else if (inet_pton(AF_INET6, host, &number) != 1) {
		return false;
	}
	*ret_number = number;
	return true;
}

static bool number_is_any(const struct in6_addr *number)
{
	static const uint8_t any_v4[16] = {[10] = 0xff, [11] = 0xff};

	return IN6_IS_ADDR_UNSPECIFIED(number) || !memcmp(number, any_v4, sizeof(any_v4));
}

static bool host_equal(const char *a, const char *b)
{
	struct in6_addr x, y;

	if (host_number(a, &x) && host_number(b, &y))
		return !memcmp(&x, &y, sizeof(x));
	return !strcasecmp(a, b);
}

static bool host_is_this_machine(const char *host)
{
	struct in6_addr number;

	if (!host_number(host, &number))
		return !strcasecmp(host, "localhost");
	return number_is_any(&number) || IN6_IS_ADDR_LOOPBACK(&number) ||
	       (IN6_IS_ADDR_V4MAPPED(&number) && number.s6_addr[12] == 127);
}

static bool host_is_any(const char *host)
{
	struct in6_addr number;

	return host_number(host, &number) && number_is_any(&number);
}

static bool spec_equal(const struct addr_spec *a, const struct addr_spec *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == ADDR_UNIX)
		return !strcmp(a->host, b->host);
	return a->port && a->port == b->port && host_equal(a->host, b->host);
}

/* True when what is sent to target arrives at listen. Names are not resolved for this. */
static bool spec_reaches(const struct addr_spec *target, const struct addr_spec *listen)
{
	if (spec_equal(target, listen))
		return true;
	if (target->kind != listen->kind || target->kind == ADDR_UNIX ||
	    target->port != listen->port)
		return false;
	return (host_is_any(listen->host) && host_is_this_machine(target->host)) ||
	       (host_is_any(target->host) && host_is_this_machine(listen->host));
}

/* Datagrams go to datagram targets; streams to streams, of either kind. */
static bool kinds_match(enum addr_kind a, enum addr_kind b)
{
	return (a == ADDR_UDP) == (b == ADDR_UDP);
}

static int check_listen(const struct opt *opt, const char *const *texts, char *error)
{
	const char *command = opt_command_name(opt->command);
	char quote[OPT_QUOTE_MAX];

	if (!opt->n_listen)
		return opt_fail(error,
				"%s: no address to listen on; add one, as in: sluice %s -l "
				"tcp:127.0.0.1:7007%s",
				command, command,
				opt->command == OPT_RELAY ? " -t tcp:127.0.0.1:80" : "");
	for (int i = 0; i < opt->n_listen; i++)
		for (int j = 0; j < i; j++)
			if (spec_equal(&opt->listen[i], &opt->listen[j]))
				return opt_fail(error,
						"'-l %s': given twice; leave one out, or choose "
						"another port",
						opt_quote(texts[i], quote));
	return 0;
}

static int check_target(const struct opt *opt, const struct addr_spec *target, const char *text,
			char *error)
{
	bool matched = false;

	if (target->kind != ADDR_UNIX && !target->port)
		return opt_fail(error,
				"'-t %s': a target needs a port from 1 to 65535, as in "
				"-t tcp:127.0.0.1:80",
				text);
	for (int i = 0; i < opt->n_listen; i++) {
		if (spec_reaches(target, &opt->listen[i]))
			return opt_fail(error,
					"'-t %s': the relay listens there itself, which would be a "
					"loop; choose another port or host",
					text);
		matched = matched || kinds_match(target->kind, opt->listen[i].kind);
	}
	if (!matched)
		return opt_fail(
			error, "'-t %s': no -l that could use it; add one, as in -l %s", text,
			target->kind == ADDR_UDP ? "udp:127.0.0.1:7007" : "tcp:127.0.0.1:7007");
	return 0;
}

static int check_relay(const struct opt *opt, const char *const *listen_text,
		       const char *const *target_text, char *error)
{
	char quote[OPT_QUOTE_MAX];

	if (!opt->n_target)
		return opt_fail(
			error,
			"relay: no target; add one, as in: sluice relay -l tcp:127.0.0.1:7007 "
			"-t tcp:127.0.0.1:80");
	for (int i = 0; i < opt->n_target; i++) {
		int r = check_target(opt, &opt->target[i], opt_quote(target_text[i], quote), error);

		if (r < 0)
			return r;
	}
	for (int i = 0; i < opt->n_listen; i++) {
		enum addr_kind kind = opt->listen[i].kind;
		int j = 0;

		while (j < opt->n_target && !kinds_match(kind, opt->target[j].kind))
			j++;
		if (j == opt->n_target)
			return opt_fail(error, "'-l %s': no target for %s; add one, as in -t %s",
					opt_quote(listen_text[i], quote), kind_name(kind),
					kind == ADDR_UDP ? "udp:127.0.0.1:53" : "tcp:127.0.0.1:80");
	}
	return 0;
}

/* The filter judges datagrams only. */
static int check_xdp(const struct opt *opt, char *error)
{
	char quote[OPT_QUOTE_MAX];
	int i = 0;

	if (opt->command == OPT_DISCARD && opt->fast_path == OPT_FAST_ON)
		return opt_fail(error, "--fast-path on: discard has none; to drop datagrams in "
				       "the driver, use rules: sluice help xdp");
	if (opt->command != OPT_RELAY && opt->fast_sessions)
		return opt_fail(error, "--fast-sessions: only a relay has sessions; leave it out");
	while (i < opt->n_listen && opt->listen[i].kind != ADDR_UDP)
		i++;
	if (!opt->n_xdp || i < opt->n_listen)
		return 0;
	return opt_fail(error,
			"'--xdp %s': no udp listener to filter for; add one, as in "
			"-l udp:192.0.2.1:7007, or leave --xdp out",
			opt_quote(opt->xdp[0], quote));
}

int opt_check(const struct opt *opt, const char *const *listen_text, const char *const *target_text,
	      char *error)
{
	int r;

	if (opt->command != OPT_RELAY && opt->n_target) {
		char quote[OPT_QUOTE_MAX];

		return opt_fail(error,
				"'-t %s': %s takes no target; to forward: sluice relay -l "
				"tcp:127.0.0.1:7007 -t tcp:127.0.0.1:80",
				opt_quote(target_text[0], quote), opt_command_name(opt->command));
	}
	r = check_listen(opt, listen_text, error);
	if (r == 0 && opt->command == OPT_RELAY)
		r = check_relay(opt, listen_text, target_text, error);
	return r < 0 ? r : check_xdp(opt, error);
}
