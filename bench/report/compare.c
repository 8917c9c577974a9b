/* SPDX-License-Identifier: MIT */
/* The verb `compare`: its options, its files, its exit status. */
#include "compare.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "sweep.h"

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
	"usage: sluice-bench compare A.json B.json [options]\n"
	"\n"
	"Says what B does worse than A, and better, and how sure that is. Both are runs (what\n"
	"--json wrote) or both are sweeps (report.json of `make bench`).\n"
	"\n"
	"  --alpha P             how many of the changes that are named may be false (0.05)\n"
	"  --min-change PERCENT  smaller ones are not named (2)\n"
	"  --against SERVER      compare ratios to this server in the same cell and round, so\n"
	"                        that a machine that became slower is not taken for the\n"
	"                        server; best is one that both sweeps have unchanged, such as\n"
	"                        floor_epoll\n"
	"  --every-server        judge the other servers, too, and not only sluice\n"
	"  --all                 print also what is unchanged or not judged\n"
	"  --json FILE           every metric for programs; - is standard output, and the text\n"
	"                        then goes to standard error\n"
	"  --help\n"
	"\n"
	"A sweep's samples are its rounds. Each metric is tested with the Mann-Whitney test, and\n"
	"p is adjusted for their number (Benjamini and Hochberg). The ratio and its interval are\n"
	"Hodges' and Lehmann's. `all cells` is the geometric mean of each round. Not judged:\n"
	"latencies of closed loops (they repeat the throughput), and beyond 99 % (few messages).\n"
	"\n"
	"A run's samples are its intervals. Those that follow each other are alike, so they are\n"
	"put together in blocks until the blocks are not, but ten are kept. What differs from run\n"
	"to run cannot be seen in one run of each. Latencies are one figure each: shown, not\n"
	"judged.\n"
	"\n"
	"Exit status: 0 no regression was found, 1 one was, 2 wrong use or a file that cannot be\n"
	"read.\n";

static int usage_error(const char *why, const char *what)
{
	fprintf(stderr, "sluice-bench compare: %s%s%s\ntry `sluice-bench compare --help`\n", why,
		*what ? " " : "", what);
	return EXIT_USAGE;
}

static bool read_number(const char *text, double min, double max, double *ret_value)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max))
		return false;
	*ret_value = value;
	return true;
}

/* -1: go on; else the exit status. */
static int take_option(int c, char **argv, struct compare_options *options)
{
	double percent;

	switch (c) {
	case 'a':
		if (!read_number(optarg, 1e-6, 0.5, &options->alpha))
			return usage_error("--alpha wants a number from 0.000001 to 0.5, not",
					   optarg);
		return -1;
	case 'm':
		if (!read_number(optarg, 0, 1000, &percent))
			return usage_error("--min-change wants per cent from 0 to 1000, not",
					   optarg);
		options->min_change = percent / 100;
		return -1;
	case 'g':
		if (!sweep_name_ok(optarg))
			return usage_error("--against wants the name of a server, not", optarg);
		options->against = optarg;
		return -1;
	case 'l':
		options->all = true;
		return -1;
	case 'e':
		options->every = true;
		return -1;
	case 'j':
		options->json = optarg;
		return -1;
	case 'h':
		fputs(usage_text, stdout);
		return 0;
	case ':':
		return usage_error("a value is missing behind", argv[optind - 1]);
	default:
		return usage_error("no such option:", argv[optind - 1]);
	}
}

static int read_options(int argc, char **argv, struct compare_options *options)
{
	static const struct option known[] = {
		{"alpha", required_argument, NULL, 'a'},
		{"min-change", required_argument, NULL, 'm'},
		{"against", required_argument, NULL, 'g'},
		{"every-server", no_argument, NULL, 'e'},
		{"all", no_argument, NULL, 'l'},
		{"json", required_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c, status = -1;

	/* 0 and not 1: glibc then forgets what it knew of an earlier command line. */
	optind = 0;
	opterr = 0;
	while (status < 0 && (c = getopt_long(argc, argv, ":h", known, NULL)) != -1)
		status = take_option(c, argv, options);
	if (status >= 0)
		return status;
	if (argc - optind != 2)
		return usage_error("give two files, A and then B", "");
	options->path[0] = argv[optind];
	options->path[1] = argv[optind + 1];
	return -1;
}

/* The whole of a file, which the caller frees. 0 or -errno. */
static int read_text(const char *path, char **ret_text, size_t *ret_len)
{
	FILE *file = fopen(path, "re");
	size_t len = 0, capacity = 1 << 16;
	char *text = NULL;
	int r = file ? 0 : -errno;

	while (!r) {
		char *grown = realloc(text, capacity);

		if (!grown) {
			r = -ENOMEM;
			break;
		}
		text = grown;
		len += fread(text + len, 1, capacity - len, file);
		if (len < capacity) {
			r = ferror(file) ? -errno : 0;
			break;
		}
		capacity *= 2;
		r = capacity > 2 * (size_t)COMPARE_FILE_MAX ? -EFBIG : 0;
	}
	if (file)
		fclose(file);
	if (r < 0) {
		free(text);
		return r;
	}
	*ret_text = text;
	*ret_len = len;
	return 0;
}

static int read_side(const char *path, struct compare_side *ret_side)
{
	char *text, error[COMPARE_ERROR_MAX] = "";
	size_t len;
	int r = read_text(path, &text, &len);

	if (!r) {
		r = compare_parse(text, len, ret_side, error);
		free(text);
	}
	if (r < 0)
		fprintf(stderr, "sluice-bench compare: %s: %s\n", path,
			*error ? error : strerror(-r));
	return r;
}

static int write_json(const struct compare_judgement *judgement,
		      const struct compare_options *options)
{
	bool standard = !strcmp(options->json, "-");
	FILE *file = standard ? stdout : fopen(options->json, "we");
	json_t *json = compare_json(judgement, options);
	bool failed = !file || !json;

	if (!failed)
		failed = json_dumpf(json, file, JSON_INDENT(1)) || fputc('\n', file) == EOF;
	if (file && (standard ? fflush(file) : fclose(file)))
		failed = true;
	json_decref(json);
	if (!failed)
		return 0;
	fprintf(stderr, "sluice-bench compare: --json %s: %s\n", options->json,
		errno ? strerror(errno) : "writing failed");
	return -EIO;
}

static int prepare(struct compare_side side[2], const struct compare_options *options)
{
	if (side[0].sweep != side[1].sweep)
		return usage_error("one file is a run and the other a sweep: compare like with "
				   "like",
				   "");
	if (options->against && !side[0].sweep)
		return usage_error("--against is for sweeps", "");
	for (int i = 0; i < 2 && options->against; i++) {
		int r = compare_against(&side[i], options->against);

		if (r == -ENOENT)
			return usage_error("no cell with --against server", options->against);
		if (r < 0)
			return usage_error(strerror(-r), "");
	}
	if (side[0].sweep && compare_add_sums(side) < 0)
		return usage_error(strerror(ENOMEM), "");
	return 0;
}

static int judge(struct compare_side side[2], const struct compare_options *options)
{
	FILE *out = options->json && !strcmp(options->json, "-") ? stderr : stdout;
	struct compare_judgement judgement;
	int status = prepare(side, options), r;

	if (status)
		return status;
	r = compare_judge(&side[0], &side[1], options->alpha, options->min_change, options->every,
			  &judgement);
	if (r < 0)
		return usage_error(strerror(-r), "");
	if (!judgement.n) {
		compare_judgement_free(&judgement);
		return usage_error("the two have no metric in common: nothing to compare", "");
	}
	compare_print(out, side, &judgement, options);
	status = judgement.count[COMPARE_REGRESSION] ? 1 : 0;
	if (options->json && write_json(&judgement, options) < 0)
		status = EXIT_USAGE;
	compare_judgement_free(&judgement);
	return status;
}

int compare_command(int argc, char **argv)
{
	struct compare_options options = {.alpha = 0.05, .min_change = 0.02};
	struct compare_side side[2] = {{.n = 0}};
	int status = read_options(argc, argv, &options);

	if (status >= 0)
		return status;
	status = EXIT_USAGE;
	if (!read_side(options.path[0], &side[0]) && !read_side(options.path[1], &side[1]))
		status = judge(side, &options);
	compare_side_free(&side[0]);
	compare_side_free(&side[1]);
	return status;
}
