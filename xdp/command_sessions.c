/* SPDX-License-Identifier: MIT */
/* `sluice xdp sessions`: the sessions of a relay that its fast path has, what went either way. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/util.h"
#include "xdp/command_priv.h"

static const char *inet_text(const union addr_inet *inet, char out[ADDR_TEXT_MAX])
{
	struct addr addr = {.kind = ADDR_UDP, .len = addr_inet_len(inet), .inet = *inet};
	const size_t scheme = sizeof("udp:") - 1;

	return addr_format(&addr, out) + scheme;
}

/* How long nothing has been forwarded, in seconds. */
static double idle_s(const struct xdp_session_row *row)
{
	return (double)(util_now_ns() - row->last_ns) / (double)NS_PER_S;
}

static json_t *way_json(const struct xdp_session_row *row, enum fast_way_name way)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "forwarded_packets",
			 (json_int_t)row->way[way].packets, "forwarded_bytes",
			 (json_int_t)row->way[way].bytes, "socket_packets",
			 (json_int_t)row->way[way].socket_packets, "socket_bytes",
			 (json_int_t)row->way[way].socket_bytes);
}

static json_t *row_json(const struct xdp_session_row *row)
{
	char client[ADDR_TEXT_MAX], asked[ADDR_TEXT_MAX], source[ADDR_TEXT_MAX],
		target[ADDR_TEXT_MAX];

	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "client",
			 inet_text(&row->client, client), "listener", inet_text(&row->asked, asked),
			 "source", inet_text(&row->source, source), "target",
			 inet_text(&row->target, target), "idle_s",
			 row->last_ns ? json_real(idle_s(row)) : json_null(), "to_target",
			 way_json(row, FAST_TO_TARGET), "to_client", way_json(row, FAST_TO_CLIENT));
}

void command_print_sessions_json(const struct xdp_session_row *rows, int n)
{
	printf("[");
	for (int i = 0; i < n; i++) {
		json_t *row = row_json(&rows[i]);

		printf("%s\n  ", i ? "," : "");
		json_dumpf(row, stdout, 0);
		json_decref(row);
	}
	printf("\n]\n");
}

static void print_way(const struct xdp_session_row *row, enum fast_way_name way)
{
	printf("  %s %" PRIu64 " datagrams, %" PRIu64 " bytes (%" PRIu64 " forwarded, %" PRIu64
	       " by sockets)\n",
	       way == FAST_TO_TARGET ? "to target:" : "to client:",
	       row->way[way].packets + row->way[way].socket_packets,
	       row->way[way].bytes + row->way[way].socket_bytes, row->way[way].packets,
	       row->way[way].socket_packets);
}

void command_print_sessions(const struct xdp_session_row *rows, int n)
{
	char client[ADDR_TEXT_MAX], asked[ADDR_TEXT_MAX], source[ADDR_TEXT_MAX],
		target[ADDR_TEXT_MAX];

	for (int i = 0; i < n; i++) {
		const struct xdp_session_row *row = &rows[i];

		printf("%s > %s | %s > %s", inet_text(&row->client, client),
		       inet_text(&row->asked, asked), inet_text(&row->source, source),
		       inet_text(&row->target, target));
		if (row->last_ns)
			printf(" idle=%.1fs\n", idle_s(row));
		else
			printf(" idle=-\n");
		print_way(row, FAST_TO_TARGET);
		print_way(row, FAST_TO_CLIENT);
	}
	printf("%d session%s in the fast path\n", n, n == 1 ? "" : "s");
}
