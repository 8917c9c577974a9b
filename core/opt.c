/* SPDX-License-Identifier: MIT */
/* The command line: commands, options and what to say when one is wrong. */
#include "opt.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "opt_priv.h"
#include "util.h"

static const char *const command_names[] = {
	[OPT_ECHO] = "echo",       [OPT_DISCARD] = "discard", [OPT_RELAY] = "relay",
	[OPT_PROBE] = "probe",     [OPT_XDP] = "xdp",         [OPT_HELP] = "help",
	[OPT_VERSION] = "version",
};

static const struct option server_options[] = {
	{"listen", required_argument, NULL, 'l'},
	{"to", required_argument, NULL, 't'},
	{"backend", required_argument, NULL, 'b'},
	{"workers", required_argument, NULL, 'w'},
	{"cpus", required_argument, NULL, O_CPUS},
	{"max-conns", required_argument, NULL, O_MAX_CONNS},
	{"max-sessions", required_argument, NULL, O_MAX_SESSIONS},
	{"backlog", required_argument, NULL, O_BACKLOG},
	{"connect-timeout", required_argument, NULL, O_CONNECT_TIMEOUT},
	{"idle-timeout", required_argument, NULL, O_IDLE_TIMEOUT},
	{"drain-timeout", required_argument, NULL, O_DRAIN_TIMEOUT},
	{"buffer-memory", required_argument, NULL, O_BUFFER_MEMORY},
	{"log-level", required_argument, NULL, O_LOG_LEVEL},
	{"log-format", required_argument, NULL, O_LOG_FORMAT},
	{"xdp", required_argument, NULL, O_XDP},
	{"xdp-mode", required_argument, NULL, O_XDP_MODE},
	{"xdp-rules", required_argument, NULL, O_XDP_RULES},
	{"fast-path", required_argument, NULL, O_FAST_PATH},
	{"fast-sessions", required_argument, NULL, O_FAST_SESSIONS},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static const struct option probe_options[] = {
	{"json", no_argument, NULL, O_JSON},
	{"help", no_argument, NULL, 'h'},
	{0},
};

const char *opt_command_name(enum opt_command command)
{
	return command_names[command];
}

const char *opt_quote(const char *text, char *out)
{
	size_t len = strlen(text);
	bool cut = len >= OPT_QUOTE_MAX;
	size_t kept = cut ? OPT_QUOTE_MAX - 4 : len;

	for (size_t i = 0; i < kept; i++)
		out[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
	strcpy(out + kept, cut ? "..." : "");
	return out;
}

int opt_fail(char *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, OPT_ERROR_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

/* "--liste=X" is probably "--listen". */
static const char *nearest_option(const char *word, const struct option *options)
{
	const char *names[ARRAY_SIZE(server_options)];
	char name[32];
	size_t n = 0;

	if (strlen(word) < 3)
		return NULL;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
	for (; options[n].name; n++)
		names[n] = options[n].name;
	return opt_nearest(name, names, n);
}

/* What getopt's '?' and ':' do not tell: what was written, what is wrong, what may be meant. */
static int fail_unknown(const struct opt_parser *p, const struct option *options, bool no_value)
{
	const char *command = opt_command_name(p->opt->command);
	const char *word = p->argv[optind - 1];
	const char *nearest;
	char quote[OPT_QUOTE_MAX];

	opt_quote(word, quote);
	if (no_value)
		return opt_fail(p->error, "'%s': its value is missing; see: sluice help %s", quote,
				command);
	if (optopt == 'h' || optopt >= O_CPUS)
		return opt_fail(p->error, "'%s': it takes no value; see: sluice help %s", quote,
				command);
	if (optopt) /* one letter of a word that getopt may not have left yet */
		return opt_fail(p->error, "'-%c': no such option; see: sluice help %s",
				optopt > ' ' && optopt < 0x7f ? optopt : '?', command);
	nearest = nearest_option(word, options);
	if (nearest)
		return opt_fail(p->error,
				"'%s': no such option; did you mean --%s? See: sluice help %s",
				quote, nearest, command);
	return opt_fail(p->error, "'%s': no such option; see: sluice help %s", quote, command);
}

static int parse_options(struct opt_parser *p, int argc)
{
	bool probe = p->opt->command == OPT_PROBE;
	const struct option *options = probe ? probe_options : server_options;
	int letter;

	optind = 0; /* makes glibc's getopt start anew */
	opterr = 0;
	while ((letter = getopt_long(argc, p->argv, probe ? "+:h" : "+:l:t:b:w:h", options,
				     NULL)) != -1) {
		int r;

		if (letter == 'h') {
			p->opt->help_about = p->opt->command;
			p->opt->command = OPT_HELP;
			return 0;
		}
		if (letter == '?' || letter == ':')
			return fail_unknown(p, options, letter == ':');
		r = opt_set(p, letter);
		if (r < 0)
			return r;
	}
	if (optind < argc) {
		char quote[OPT_QUOTE_MAX];

		return opt_fail(p->error, "'%s': unexpected; %s sluice help %s",
				opt_quote(p->argv[optind], quote),
				probe ? "see:" : "an address follows -l or -t; see:",
				opt_command_name(p->opt->command));
	}
	if (!probe && !p->opt->n_xdp && p->needs_xdp)
		return opt_fail(p->error,
				"%s: no interface to do that on; add one, as in --xdp eth0",
				p->needs_xdp);
	return probe ? 0 : opt_check(p->opt, p->listen_text, p->target_text, p->error);
}

/* What the words mean is the filter's matter, save for a wish for help anywhere among them. */
static int parse_xdp(struct opt_parser *p, int argc)
{
	if (!argc)
		return opt_fail(p->error, "xdp: a subcommand is missing, as in: sluice xdp status; "
					  "see: sluice help xdp");
	for (int i = 0; i < argc && strcmp(p->argv[i], "--"); i++) {
		if (strcmp(p->argv[i], "--help") && strcmp(p->argv[i], "-h"))
			continue;
		p->opt->command = OPT_HELP;
		p->opt->help_about = OPT_XDP;
		return 0;
	}
	p->opt->xdp_argc = argc;
	p->opt->xdp_argv = p->argv;
	return 0;
}

static int find_command(const struct opt_parser *p, const char *word, enum opt_command *ret_command)
{
	const char *nearest;
	char quote[OPT_QUOTE_MAX];

	for (size_t i = 0; i < OPT_VERSION; i++) {
		if (!strcmp(word, command_names[i])) {
			*ret_command = (enum opt_command)i;
			return 0;
		}
	}
	nearest = opt_nearest(word, command_names, OPT_VERSION);
	opt_quote(word, quote);
	if (nearest)
		return opt_fail(p->error, "'%s': no such command; did you mean: sluice %s?", quote,
				nearest);
	return opt_fail(
		p->error,
		"'%s': no such command; there are echo, discard, relay, probe, xdp and help, as "
		"in: sluice echo -l tcp:127.0.0.1:7007",
		quote);
}

static int parse_command(struct opt_parser *p, int argc)
{
	const char *word = argc > 1 ? p->argv[1] : "";
	int r;

	if (argc < 2)
		return opt_fail(
			p->error,
			"a command is missing, as in: sluice echo -l tcp:127.0.0.1:7007; see: "
			"sluice help");
	if (!strcmp(word, "--version") || !strcmp(word, "-V"))
		p->opt->command = OPT_VERSION;
	else if (!strcmp(word, "--help") || !strcmp(word, "-h"))
		p->opt->command = OPT_HELP;
	else if ((r = find_command(p, word, &p->opt->command)) < 0)
		return r;
	return 0;
}

int opt_parse(int argc, char *const argv[], struct opt *ret_opt, char *error)
{
	struct opt_parser p = {.opt = ret_opt, .argv = argv, .error = error};
	int words, r;

	memset(ret_opt, 0, sizeof(*ret_opt));
	ret_opt->help_about = OPT_HELP;
	ret_opt->backlog = OPT_BACKLOG_DEFAULT;
	ret_opt->connect_timeout_ns = 5 * NS_PER_S;
	ret_opt->idle_timeout_ns = -1;
	ret_opt->drain_timeout_ns = 10 * NS_PER_S;
	ret_opt->log_level = LOG_INFO;

	r = parse_command(&p, argc);
	if (r < 0)
		return r;
	if (ret_opt->command == OPT_XDP) {
		p.argv = argv + 2;
		return parse_xdp(&p, argc - 2);
	}
	if (ret_opt->command != OPT_HELP && ret_opt->command != OPT_VERSION) {
		p.argv = argv + 1; /* the command is what getopt takes for the program's name */
		return parse_options(&p, argc - 1);
	}
	words = ret_opt->command == OPT_HELP ? 3 : 2;
	if (ret_opt->command == OPT_HELP && argc > 2 && strcmp(argv[2], "-h") &&
	    strcmp(argv[2], "--help")) {
		r = find_command(&p, argv[2], &ret_opt->help_about);
		if (r < 0)
			return r;
	}
	if (argc > words) {
		char quote[OPT_QUOTE_MAX];

		return opt_fail(error, "'%s': unexpected; leave it out, as in: sluice %s",
				opt_quote(argv[words], quote),
				ret_opt->command == OPT_HELP ? "help relay" : "--version");
	}
	return 0;
}
