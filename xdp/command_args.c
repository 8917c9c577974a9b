/* SPDX-License-Identifier: MIT */
/* The words of `sluice xdp`: operands and options in any order. Touches nothing but its input. */
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "xdp/command_priv.h"

static const char *const option_names[] = {"--mode", "--rules", "--json", "--all", "--watch"};

/* One run of the parser. */
struct parser {
	const struct command *command;
	char *const *words;
	int n, next;
	struct command_args args;
	char *error;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct parser *p, const char *format,
						      ...)
{
	int len = snprintf(p->error, COMMAND_ERROR_MAX, "xdp %s: ", p->command->name);
	va_list args;

	va_start(args, format);
	vsnprintf(p->error + len, (size_t)(COMMAND_ERROR_MAX - len), format, args);
	va_end(args);
	return -EINVAL;
}

/* The same, and how it is used. */
static int fail_usage(const struct parser *p, const char *word, const char *why)
{
	const char *quote = word ? "'" : "";

	return fail(p, "%s%.120s%s%s%s, as in: sluice xdp %s %s", quote, word ? word : "", quote,
		    word ? ": " : "", why, p->command->name, p->command->usage);
}

/* How many slips make b of a, or a number above limit, which is small: it bounds the work. */
static unsigned word_distance(const char *a, const char *b, unsigned limit)
{
	unsigned best;

	while (*a && *a == *b)
		a++, b++;
	if (!*a && !*b)
		return 0;
	if (!limit)
		return 1;
	best = *a && *b ? word_distance(a + 1, b + 1, limit - 1) : limit;
	if (*a)
		best = MIN(best, word_distance(a + 1, b, limit - 1));
	if (*b)
		best = MIN(best, word_distance(a, b + 1, limit - 1));
	return best + 1;
}

const char *command_nearest(const char *word, const char *const *names, size_t n, size_t stride)
{
	const char *nearest = NULL;
	unsigned best = 3; /* two slips are a typing error, three another word */

	for (size_t i = 0; i < n; i++) {
		const char *name = *(const char *const *)((const char *)names + i * stride);
		unsigned distance = word_distance(word, name, 2);

		if (strlen(word) >= 3 && strstr(name, word))
			distance = 1;
		if (distance < best && distance < strlen(name)) {
			best = distance;
			nearest = name;
		}
	}
	return nearest;
}

int command_parse_seconds(const char *text, int64_t *ret_ns)
{
	size_t whole = strspn(text, "0123456789"), decimals = 0;
	int64_t ns = 0, unit = NS_PER_S;

	if (text[whole] == '.') {
		decimals = strspn(text + whole + 1, "0123456789");
		if (!decimals || decimals > 9 || text[whole + 1 + decimals])
			return -EINVAL;
	} else if (text[whole]) {
		return -EINVAL;
	}
	if (!whole)
		return -EINVAL;
	for (size_t i = 0; i < whole; i++) {
		ns = ns * 10 + (text[i] - '0') * NS_PER_S;
		if (ns > 3600 * NS_PER_S)
			return -ERANGE;
	}
	for (size_t i = 0; i < decimals; i++) {
		unit /= 10;
		ns += (text[whole + 1 + i] - '0') * unit;
	}
	if (ns < NS_PER_S / 10 || ns > 3600 * NS_PER_S)
		return -ERANGE;
	*ret_ns = ns;
	return 0;
}

static int set_mode(struct parser *p, const char *word, const char *value)
{
	for (int mode = XDP_AUTO; mode <= XDP_GENERIC; mode++) {
		if (!strcmp(value, xdp_mode_name((enum xdp_mode)mode))) {
			p->args.mode = (enum xdp_mode)mode;
			return 0;
		}
	}
	return fail(p, "'%.120s': a mode is auto, native or generic", word);
}

/* SECONDS may follow as a word of its own; what is no number is an interface. */
static int set_watch(struct parser *p, const char *word, const char *value)
{
	const char *next = p->next < p->n ? p->words[p->next] : "";
	int r = 0;

	if (!value && *next && !next[strspn(next, "0123456789.")]) {
		value = word = next;
		p->next++;
	}
	p->args.watch_ns = NS_PER_S;
	if (value)
		r = command_parse_seconds(value, &p->args.watch_ns);
	return r < 0 ? fail(p, "'%.120s': seconds are from 0.1 to 3600, as in --watch 0.5", word)
		     : 0;
}

static int fail_option(const struct parser *p, const char *word, const char *name)
{
	const char *nearest =
		command_nearest(name, option_names, ARRAY_SIZE(option_names), sizeof(char *));

	if (nearest && strstr(p->command->usage, nearest))
		return fail(p, "'%.120s': no such option; did you mean %s?", word, nearest);
	return fail(p, "'%.120s': no such option; see: sluice help xdp", word);
}

static int parse_option(struct parser *p, const char *word)
{
	const char *value = strchr(word, '=');
	char name[16];
	size_t i = 0;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
	while (i < ARRAY_SIZE(option_names) && strcmp(name, option_names[i]))
		i++;
	if (i == ARRAY_SIZE(option_names) || !strstr(p->command->usage, name))
		return fail_option(p, word, name);
	if (value)
		value++;
	if (!strcmp(name, "--watch"))
		return set_watch(p, word, value);
	if (!strcmp(name, "--json") || !strcmp(name, "--all")) {
		if (value)
			return fail(p, "'%.120s': it takes no value; write %s", word, name);
		p->args.json |= !strcmp(name, "--json");
		p->args.all |= !strcmp(name, "--all");
		return 0;
	}
	if (!value && p->next < p->n)
		value = p->words[p->next++];
	if (!value || !*value)
		return fail_usage(p, word, "its value is missing");
	if (!strcmp(name, "--mode"))
		return set_mode(p, value, value);
	p->args.rules = value;
	return 0;
}

/* Names are also file names below the folder of pins. */
static int check_interface(const struct parser *p, const char *name)
{
	if (!*name || strlen(name) >= IF_NAMESIZE || strchr(name, '/') || !strcmp(name, ".") ||
	    !strcmp(name, ".."))
		return fail(p, "'%.120s': interface names have 1 to 15 characters and no slash",
			    name);
	return 0;
}

static int check_operands(struct parser *p)
{
	const struct command *command = p->command;
	struct command_args *args = &p->args;
	bool named = strstr(command->usage, "IFACE") != NULL;

	if (args->n_rest < command->min)
		return fail_usage(p, NULL,
				  args->n_rest ? "a rule is missing"
				  : named      ? "an interface is missing"
					       : "a file is missing");
	if (args->n_rest > command->max)
		return fail_usage(p, args->rest[command->max], "unexpected");
	if (args->all && args->watch_ns)
		return fail(p, "--all is for counters; leave it or --watch out");
	if (!named || !args->n_rest)
		return 0;
	args->ifname = *args->rest;
	memmove(args->rest, args->rest + 1, (size_t)--args->n_rest * sizeof(*args->rest));
	return check_interface(p, args->ifname);
}

int command_parse(const struct command *command, int argc, char *const argv[],
		  struct command_args *ret_args, char *error)
{
	struct parser p = {.command = command, .words = argv, .n = argc, .error = error};
	bool operands_only = false;
	int r = 0;

	p.args.rest = calloc((size_t)argc + 1, sizeof(*p.args.rest));
	if (!p.args.rest) {
		fail(&p, "out of memory");
		return -ENOMEM;
	}
	while (r == 0 && p.next < argc) {
		char *word = argv[p.next++];

		if (operands_only || word[0] != '-' || !word[1])
			p.args.rest[p.args.n_rest++] = word;
		else if (!strcmp(word, "--"))
			operands_only = true;
		else
			r = parse_option(&p, word);
	}
	if (r == 0)
		r = check_operands(&p);
	if (r < 0)
		free(p.args.rest);
	else
		*ret_args = p.args;
	return r;
}
