/* SPDX-License-Identifier: MIT */
/* What `sluice xdp status` and `sluice xdp stats` print. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/util.h"
#include "xdp/command_priv.h"

#define COUNT_FORMAT "%16" PRIu64 " %20" PRIu64 "  "
static const char *const fast_modes[FAST_MODES] = {
	[FAST_OFF] = "off", [FAST_ECHO] = "echo", [FAST_RELAY] = "relay"};

#define COUNT_HEADER "         packets                bytes  "

static const char *format_scaled(double value, double base, const char *const units[], size_t n,
				 char *out)
{
	size_t i = 0;
	int decimals;

	while (i + 1 < n && value >= 999.5) {
		value /= base;
		i++;
	}
	decimals = i == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
	snprintf(out, COMMAND_NUMBER_MAX, "%.*f%s", decimals, value, units[i]);
	return out;
}

const char *command_format_bits(double bits_per_s, char *out)
{
	static const char *const units[] = {"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};

	return format_scaled(bits_per_s, 1000, units, ARRAY_SIZE(units), out);
}

const char *command_format_bytes(uint64_t bytes, char *out)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};

	return format_scaled((double)bytes, 1024, units, ARRAY_SIZE(units), out);
}

const char *command_format_rate(double per_s, char *out)
{
	snprintf(out, COMMAND_NUMBER_MAX, "%.*f", per_s >= 0.05 && per_s < 9.95, per_s);
	return out;
}

const char *command_verdict_name(enum filter_verdict verdict)
{
	return verdict == FILTER_DROP ? "drop" : "pass";
}

void command_print_info(const struct xdp_info *info)
{
	time_t at = (time_t)info->attached_at;
	char memory[COMMAND_NUMBER_MAX], path[XDP_PATH_MAX], since[40] = "?";
	struct tm tm;

	if (localtime_r(&at, &tm))
		strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%S%z", &tm);
	printf("%s mode=%s ", info->ifname, xdp_mode_name(info->mode));
	if (info->pinned)
		printf("pinned=%s", xdp_pin_path(info->ifname, path));
	else if (!info->pid)
		printf("pinned=elsewhere"); /* another mount namespace, or under a former name */
	else
		printf("server=%" PRIu32 " listeners=%" PRIu32, info->pid, info->n_served);
	printf(" rules=%" PRIu32 " limits=%" PRIu32 " memory=%s generation=%" PRIu64 " since=%s",
	       info->n_rules, info->n_limits, command_format_bytes(info->memory, memory),
	       info->generation, since);
	printf("%s%s\n", info->fast ? " fast-path=" : "", info->fast ? fast_modes[info->fast] : "");
}

static json_t *count_json(const struct filter_count *count)
{
	return json_pack("{s:I, s:I}", "packets", (json_int_t)count->packets, "bytes",
			 (json_int_t)count->bytes);
}

json_t *command_info_json(const struct xdp_info *info)
{
	return json_pack("{s:s, s:s, s:s?, s:b, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
			 "s:I}",
			 "interface", info->ifname, "mode", xdp_mode_name(info->mode),
			 "native_error", info->native_err ? strerror(-info->native_err) : NULL,
			 "pinned", info->pinned, "fast_path", fast_modes[info->fast], "pid",
			 info->pinned ? json_null() : json_integer((json_int_t)info->pid),
			 "listeners", (json_int_t)info->n_served, "rules",
			 (json_int_t)info->n_rules, "limits", (json_int_t)info->n_limits, "memory",
			 (json_int_t)info->memory, "generation", (json_int_t)info->generation,
			 "attached_at", (json_int_t)info->attached_at, "ifindex",
			 (json_int_t)info->ifindex, "program", (json_int_t)info->program, "link",
			 (json_int_t)info->link);
}

static void print_reasons(const struct xdp_stats *stats)
{
	printf("\n" COUNT_HEADER "reason\n");
	for (int r = 0; r < FILTER_REASONS; r++) {
		for (int v = 0; v < FILTER_VERDICTS; v++) {
			const struct filter_count *count = &stats->by_reason[r][v];

			if (count->packets)
				printf(COUNT_FORMAT "%s %s\n", (uint64_t)count->packets,
				       (uint64_t)count->bytes,
				       command_verdict_name((enum filter_verdict)v),
				       xdp_reason_name((enum filter_reason)r));
		}
	}
}

/* What became of datagrams that passed, where a server serves them there. */
static void print_fast(const struct xdp_stats *stats)
{
	bool any = false;

	for (int i = 0; i < FAST_REASONS; i++) {
		if (!stats->fast[i].packets)
			continue;
		if (!any)
			printf("\n" COUNT_HEADER "fast path\n");
		any = true;
		printf(COUNT_FORMAT "%s\n", (uint64_t)stats->fast[i].packets,
		       (uint64_t)stats->fast[i].bytes, xdp_fast_name((enum fast_reason)i));
	}
}

void command_print_stats(const struct xdp_stats *stats, bool all)
{
	bool whole = all || stats->n_rules <= COMMAND_RULES_BRIEF;
	uint32_t left_out = 0;
	char text[RULE_TEXT_MAX];

	printf(COUNT_HEADER "verdict\n");
	for (int v = 0; v < FILTER_VERDICTS; v++)
		printf(COUNT_FORMAT "%s\n", (uint64_t)stats->by_verdict[v].packets,
		       (uint64_t)stats->by_verdict[v].bytes,
		       command_verdict_name((enum filter_verdict)v));
	print_reasons(stats);
	print_fast(stats);
	printf("\n" COUNT_HEADER "rule (of a limit: what it dropped)\n");
	for (uint32_t i = 0; i < stats->n_rules; i++) {
		const struct filter_count *count = &stats->by_rule[i];

		if (whole || count->packets)
			printf(COUNT_FORMAT "%s\n", (uint64_t)count->packets,
			       (uint64_t)count->bytes, rule_format(&stats->rules[i], text));
		else
			left_out++;
	}
	if (left_out)
		printf("\n%" PRIu32 " of %" PRIu32 " rules matched nothing and are left out; "
		       "--all prints them\n",
		       left_out, stats->n_rules);
}

static void print_member(const char *name, json_t *value)
{
	printf("  \"%s\": ", name);
	json_dumpf(value, stdout, 0);
	puts(",");
	json_decref(value);
}

/* Written piece by piece: a set of a million rules would be a tree of some 600 MB. */
void command_print_stats_json(const struct xdp_info *info, const struct xdp_stats *stats)
{
	json_t *verdicts = json_object(), *reasons = json_object(), *fast = json_object();
	char text[RULE_TEXT_MAX];

	for (int v = 0; v < FILTER_VERDICTS; v++)
		json_object_set_new(verdicts, command_verdict_name((enum filter_verdict)v),
				    count_json(&stats->by_verdict[v]));
	for (int r = 0; r < FILTER_REASONS; r++)
		json_object_set_new(reasons, xdp_reason_name((enum filter_reason)r),
				    json_pack("{s:o, s:o}", command_verdict_name(FILTER_PASS),
					      count_json(&stats->by_reason[r][FILTER_PASS]),
					      command_verdict_name(FILTER_DROP),
					      count_json(&stats->by_reason[r][FILTER_DROP])));
	for (int i = 0; i < FAST_REASONS; i++)
		json_object_set_new(fast, xdp_fast_name((enum fast_reason)i),
				    count_json(&stats->fast[i]));
	puts("{");
	print_member("filter", command_info_json(info));
	print_member("verdicts", verdicts);
	print_member("reasons", reasons);
	print_member("fast_path", fast);
	printf("  \"rules\": [");
	for (uint32_t i = 0; i < stats->n_rules; i++) {
		json_t *rule = json_pack("{s:s, s:I, s:I}", "rule",
					 rule_format(&stats->rules[i], text), "packets",
					 (json_int_t)stats->by_rule[i].packets, "bytes",
					 (json_int_t)stats->by_rule[i].bytes);

		printf("%s\n    ", i ? "," : "");
		json_dumpf(rule, stdout, 0);
		json_decref(rule);
	}
	printf("\n  ]\n}\n");
}
