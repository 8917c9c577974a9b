/* SPDX-License-Identifier: MIT */
/* The verb `report`: a sweep's runs into a folder of tables and plots. */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "markdown.h"
#include "output.h"
#include "plot.h"
#include "sweep.h"

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
	"usage: sluice-bench report RUNS.jsonl --out DIR\n"
	"\n"
	"Makes of the runs of a sweep (`make bench` keeps them in build/bench/runs.jsonl; - reads\n"
	"standard input) the files report.md, report.json, report.csv and, where gnuplot is\n"
	"installed, plots as SVG and PNG. `sluice-bench compare` compares two such report.json.\n"
	"\n"
	"  --out DIR   the folder, made when it is not there; files of these names are replaced\n"
	"  --help\n"
	"\n"
	"Exit status: 0 all written, 1 not, 2 wrong use or a file that is not a sweep's.\n";

struct report_options {
	const char *runs, *dir;
};

static int usage_error(const char *why, const char *what)
{
	fprintf(stderr, "sluice-bench report: %s%s%s\ntry `sluice-bench report --help`\n", why,
		*what ? " " : "", what);
	return EXIT_USAGE;
}

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct report_options *ret)
{
	static const struct option options[] = {
		{"out", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	/* 0 and not 1: glibc then forgets what it knew of an earlier command line. */
	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":o:h", options, NULL)) != -1) {
		switch (c) {
		case 'o':
			ret->dir = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		case ':':
			return usage_error("a value is missing behind", argv[optind - 1]);
		default:
			return usage_error("no such option:", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return usage_error("which runs? Give the sweep's RUNS.jsonl", "");
	if (optind + 1 < argc)
		return usage_error("one file of runs at a time, not also", argv[optind + 1]);
	if (!ret->dir || !*ret->dir)
		return usage_error("where to? Give --out DIR", "");
	ret->runs = argv[optind];
	return -1;
}

static int read_runs(const char *path, struct sweep *ret_sweep)
{
	bool standard = !strcmp(path, "-");
	FILE *file = standard ? stdin : fopen(path, "re");
	struct sweep_error error;
	int r;

	if (!file) {
		r = -errno;
		fprintf(stderr, "sluice-bench report: %s: %s\n", path, strerror(-r));
		return r;
	}
	r = sweep_read(file, ret_sweep, &error);
	if (!standard)
		fclose(file);
	if (r < 0 && error.line)
		fprintf(stderr, "sluice-bench report: %s:%zu: %s\n", path, error.line, error.text);
	else if (r < 0)
		fprintf(stderr, "sluice-bench report: %s: %s\n", path, error.text);
	else if (ret_sweep->cut_line)
		fprintf(stderr, "sluice-bench report: %s:%zu: cut off, and left out\n", path,
			ret_sweep->cut_line);
	return r;
}

/* With the folders above it. 0 or -errno, reported. */
static int make_folder(const char *path)
{
	char *copy = strdup(path);
	int r = copy ? 0 : -ENOMEM;

	for (char *c = copy; !r && c && *c;) {
		c += strspn(c, "/");
		c += strcspn(c, "/");
		if (*c == '/')
			*c = '\0';
		if (*copy && mkdir(copy, 0777) && errno != EEXIST)
			r = -errno;
		if (strlen(copy) < strlen(path))
			copy[strlen(copy)] = '/';
		else
			break;
	}
	free(copy);
	if (r < 0)
		fprintf(stderr, "sluice-bench report: %s: %s\n", path, strerror(-r));
	return r;
}

static int write_json(FILE *file, const struct sweep *sweep, const struct plots *plots)
{
	json_t *json = output_json(sweep);
	int r = json ? 0 : -ENOMEM;

	(void)plots;
	if (json && (json_dumpf(json, file, JSON_INDENT(1)) || fputc('\n', file) == EOF))
		r = -EIO;
	json_decref(json);
	return r;
}

static int write_csv(FILE *file, const struct sweep *sweep, const struct plots *plots)
{
	(void)plots;
	output_csv(file, sweep);
	return 0;
}

typedef int writer_fn(FILE *file, const struct sweep *sweep, const struct plots *plots);

static int write_file(const char *dir, const char *name, writer_fn *writer,
		      const struct sweep *sweep, const struct plots *plots)
{
	FILE *file;
	char *path;
	int r;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return -ENOMEM;
	file = fopen(path, "we");
	if (!file) {
		r = -errno;
		goto out;
	}
	r = writer(file, sweep, plots);
	if (ferror(file) && !r)
		r = -EIO;
	if (fclose(file) && !r)
		r = -errno;
out:
	if (r < 0)
		fprintf(stderr, "sluice-bench report: %s: %s\n", path, strerror(-r));
	free(path);
	return r;
}

static int write_all(const char *dir, const struct sweep *sweep)
{
	struct plots plots;
	int r = make_folder(dir);

	if (!r)
		r = plots_write(dir, sweep, &plots);
	if (!r)
		r = write_file(dir, "report.md", markdown_write, sweep, &plots);
	if (!r)
		r = write_file(dir, "report.json", write_json, sweep, &plots);
	if (!r)
		r = write_file(dir, "report.csv", write_csv, sweep, &plots);
	if (r < 0)
		return EXIT_FAILURE;
	for (enum plot plot = 0; plot < PLOT_COUNT; plot++)
		if (plots.written[plot] && !plots.drawn[plot] && !plots.no_gnuplot)
			return EXIT_FAILURE;
	printf("%s/report.md: %zu runs, %u rounds", dir, sweep->runs, sweep->rounds);
	if (sweep->limited)
		printf(", %zu disturbed or limited by the generator", sweep->limited);
	if (sweep->failed)
		printf(", %zu failed", sweep->failed);
	putchar('\n');
	return EXIT_SUCCESS;
}

int report_command(int argc, char **argv)
{
	struct report_options options = {.runs = NULL};
	struct sweep sweep;
	int status = read_options(argc, argv, &options);

	if (status >= 0)
		return status;
	if (read_runs(options.runs, &sweep) < 0)
		return EXIT_USAGE;
	status = write_all(options.dir, &sweep);
	sweep_free(&sweep);
	return status;
}
