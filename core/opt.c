/* SPDX-License-Identifier: MIT */
/* The command line: commands, options and what to say when one is wrong. */
#include "opt.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
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

/* Options without a letter. */
enum {
	O_CPUS = 256,
	O_MAX_CONNS,
	O_MAX_SESSIONS,
	O_BACKLOG,
	O_CONNECT_TIMEOUT,
	O_IDLE_TIMEOUT,
	O_DRAIN_TIMEOUT,
	O_BUFFER_MEMORY,
	O_LOG_LEVEL,
	O_LOG_FORMAT,
	O_XDP,
	O_XDP_MODE,
	O_XDP_RULES,
	O_JSON,
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
	{"help", no_argument, NULL, 'h'},
	{0},
};

static const struct option probe_options[] = {
	{"json", no_argument, NULL, O_JSON},
	{"help", no_argument, NULL, 'h'},
	{0},
};

/* One run of the parser. */
struct parser {
	struct opt *opt;
	char *const *argv;
	char *error;
	const char *listen_text[OPT_LISTEN_MAX];
	const char *target_text[OPT_TARGET_MAX];
	bool xdp_mode_given;
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

/* The option that getopt has just read, as it was written: "-l X", "-lX", "--listen X". */
static const char *option_written(const struct parser *p, char *out)
{
	const char *last = p->argv[optind - 1];
	char text[2 * OPT_QUOTE_MAX];

	if (optarg != last)
		return opt_quote(last, out);
	snprintf(text, sizeof(text), "%s %s", p->argv[optind - 2], last);
	return opt_quote(text, out);
}

static int fail_option(const struct parser *p, const char *why)
{
	char written[OPT_QUOTE_MAX];

	return opt_fail(p->error, "'%s': %s", option_written(p, written), why);
}

static int add_address(struct parser *p, struct addr_spec *specs, const char **texts, int *n,
		       int max)
{
	const char *why;

	if (*n == max)
		return fail_option(p, "too many addresses; 64 can be given");
	if (addr_parse(optarg, &specs[*n], &why) < 0)
		return fail_option(p, why);
	texts[(*n)++] = optarg;
	return 0;
}

static int add_interface(const struct parser *p)
{
	struct opt *opt = p->opt;
	size_t len = strlen(optarg);

	if (!len || len >= IF_NAMESIZE)
		return fail_option(p, "interface names have 1 to 15 characters, as in --xdp eth0");
	for (int i = 0; i < opt->n_xdp; i++)
		if (!strcmp(opt->xdp[i], optarg))
			return fail_option(p, "given twice; leave one out");
	if (opt->n_xdp == OPT_XDP_MAX)
		return fail_option(p, "too many interfaces; 16 can be given");
	opt->xdp[opt->n_xdp++] = optarg;
	return 0;
}

static int set_number(const struct parser *p, int min, int max, const char *example, int *ret_value)
{
	char why[80];

	if (opt_parse_number(optarg, min, max, ret_value) == 0)
		return 0;
	snprintf(why, sizeof(why), "not a number from %d to %d, as in %s", min, max, example);
	return fail_option(p, why);
}

static int set_time(const struct parser *p, const char *example, bool may_be_off, int64_t min_ns,
		    int64_t *ret_ns)
{
	char why[120];
	int64_t ns;
	int r = !may_be_off && !strcmp(optarg, "off") ? -EINVAL : opt_parse_time(optarg, &ns);

	if (r == 0 && ns >= min_ns) {
		*ret_ns = ns;
		return 0;
	}
	if (r == 0 || r == -ERANGE)
		snprintf(why, sizeof(why), "must be from %s to 1000h, as in %s",
			 min_ns ? "1ms" : "0s", example);
	else
		snprintf(why, sizeof(why),
			 "not a time: a whole number with ms, s, m or h%s, as in %s",
			 may_be_off ? ", or off" : "", example);
	return fail_option(p, why);
}

static int set_buffer_memory(const struct parser *p)
{
	uint64_t bytes;
	int r = opt_parse_size(optarg, &bytes);

	if (r == -EINVAL)
		return fail_option(p, "not a size: a whole number with K, M or G, as in "
				      "--buffer-memory 256M");
	if (r < 0 || bytes < OPT_BUFFER_MEMORY_MIN || bytes > OPT_BUFFER_MEMORY_MAX)
		return fail_option(p, "must be from 4M to 1024G, as in --buffer-memory 256M");
	p->opt->buffer_memory = bytes;
	return 0;
}

static int set_cpus(const struct parser *p)
{
	int r = opt_parse_cpus(optarg, &p->opt->cpus, &p->opt->n_cpus);

	if (r == -ERANGE)
		return fail_option(p, "CPU numbers end at 1023, as in --cpus 0,2-5");
	return r < 0 ? fail_option(p, "not a list of CPU numbers, as in --cpus 0,2-5") : 0;
}

/* One of n words; its position is the value. */
static int set_word(const struct parser *p, const char *const *words, size_t n, int *ret_value)
{
	const char *nearest;
	char why[120] = "must be ";
	size_t len = strlen(why);

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(optarg, words[i])) {
			*ret_value = (int)i;
			return 0;
		}
	}
	for (size_t i = 0; i < n; i++) {
		const char *before = i == 0 ? "" : i + 1 < n ? ", " : " or ";

		len += (size_t)snprintf(why + len, sizeof(why) - len, "%s%s", before, words[i]);
		assert(len < sizeof(why)); /* the words are this file's */
	}
	nearest = opt_nearest(optarg, words, n);
	if (nearest)
		snprintf(why + len, sizeof(why) - len, "; did you mean %s?", nearest);
	return fail_option(p, why);
}

static int set_named(struct parser *p, int letter)
{
	static const char *const backends[] = {
		[OPT_BACKEND_AUTO] = "auto",
		[OPT_BACKEND_URING] = "io_uring",
		[OPT_BACKEND_EPOLL] = "epoll",
	};
	static const char *const levels[] = {
		[LOG_ERROR] = "error",
		[LOG_WARN] = "warn",
		[LOG_INFO] = "info",
		[LOG_DEBUG] = "debug",
	};
	static const char *const formats[] = {[LOG_TEXT] = "text", [LOG_JSON] = "json"};
	static const char *const xdp_modes[] = {
		[OPT_XDP_AUTO] = "auto",
		[OPT_XDP_NATIVE] = "native",
		[OPT_XDP_GENERIC] = "generic",
	};
	int value = 0, r;

	switch (letter) {
	case 'b':
		r = set_word(p, backends, ARRAY_SIZE(backends), &value);
		p->opt->backend = (enum opt_backend)value;
		return r;
	case O_LOG_LEVEL:
		r = set_word(p, levels, ARRAY_SIZE(levels), &value);
		p->opt->log_level = (enum log_level)value;
		return r;
	case O_XDP_MODE:
		r = set_word(p, xdp_modes, ARRAY_SIZE(xdp_modes), &value);
		p->opt->xdp_mode = (enum opt_xdp_mode)value;
		p->xdp_mode_given = true;
		return r;
	default:
		r = set_word(p, formats, ARRAY_SIZE(formats), &value);
		p->opt->log_format = (enum log_format)value;
		return r;
	}
}

static int set_option(struct parser *p, int letter)
{
	struct opt *opt = p->opt;

	switch (letter) {
	case 'l':
		return add_address(p, opt->listen, p->listen_text, &opt->n_listen, OPT_LISTEN_MAX);
	case 't':
		return add_address(p, opt->target, p->target_text, &opt->n_target, OPT_TARGET_MAX);
	case 'w':
		return set_number(p, 1, OPT_WORKERS_MAX, "--workers 2", &opt->workers);
	case O_MAX_CONNS:
		return set_number(p, 1, OPT_CONNS_MAX, "--max-conns 10000", &opt->max_conns);
	case O_MAX_SESSIONS:
		return set_number(p, 1, OPT_CONNS_MAX, "--max-sessions 10000", &opt->max_sessions);
	case O_BACKLOG:
		return set_number(p, 1, OPT_BACKLOG_MAX, "--backlog 4096", &opt->backlog);
	case O_CONNECT_TIMEOUT:
		return set_time(p, "--connect-timeout 5s", false, NS_PER_MS,
				&opt->connect_timeout_ns);
	case O_IDLE_TIMEOUT:
		return set_time(p, "--idle-timeout 10m", true, 0, &opt->idle_timeout_ns);
	case O_DRAIN_TIMEOUT:
		return set_time(p, "--drain-timeout 10s", false, 0, &opt->drain_timeout_ns);
	case O_BUFFER_MEMORY:
		return set_buffer_memory(p);
	case O_CPUS:
		return set_cpus(p);
	case O_XDP:
		return add_interface(p);
	case O_XDP_RULES:
		opt->xdp_rules = optarg;
		return 0;
	case O_JSON:
		opt->json = true;
		return 0;
	default:
		return set_named(p, letter);
	}
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
static int fail_unknown(const struct parser *p, const struct option *options, bool no_value)
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

static int parse_options(struct parser *p, int argc)
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
		r = set_option(p, letter);
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
	if (!probe && !p->opt->n_xdp && (p->xdp_mode_given || p->opt->xdp_rules))
		return opt_fail(p->error,
				"--xdp-%s: no interface to filter on; add one, as in "
				"--xdp eth0",
				p->xdp_mode_given ? "mode" : "rules");
	return probe ? 0 : opt_check(p->opt, p->listen_text, p->target_text, p->error);
}

/* What the words mean is the filter's matter, save for a wish for help anywhere among them. */
static int parse_xdp(struct parser *p, int argc)
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

static int find_command(const struct parser *p, const char *word, enum opt_command *ret_command)
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

static int parse_command(struct parser *p, int argc)
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
	struct parser p = {.opt = ret_opt, .argv = argv, .error = error};
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
